from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.chronicle import Chronicle, Cut, Outcome
from fuseline.state import fold


def test_it_is_the_same_whether_its_entries_come_one_by_one_or_at_once(told: Any) -> None:
    grown = Chronicle()
    for place, entry in enumerate(told.entries, 1):
        grown.add(entry)
        whole = Chronicle(told.entries[:place])
        assert grown.state == whole.state == fold(told.entries[:place])
        assert grown.timeline(60) == whole.timeline(60)
        assert grown.newest(5) == whole.newest(5)
        assert grown.versions() == whole.versions()


def test_an_entry_that_does_not_follow_is_refused_and_changes_nothing(told: Any) -> None:
    chronicle = Chronicle(told.entries[:10])
    with pytest.raises(ValueError, match="entry 12 does not follow entry 10"):
        chronicle.add(told.entries[11])
    assert len(chronicle.entries) == 10
    chronicle.add(told.entries[10])


@given(st.integers(1, 80))
def test_a_short_timeline_is_the_end_of_the_long_one(months: Any, outcomes: int) -> None:
    whole, short = months.timeline(10_000), months.timeline(outcomes)
    assert whole[len(whole) - len(short) :] == short
    assert sum(isinstance(step, Outcome) for step in short) == min(outcomes, 26)
    assert short == whole or isinstance(short[0], Outcome)


@pytest.fixture(scope="module")
def months(told: Any) -> Chronicle:
    return told.chronicle


def test_the_timeline_has_what_moved_the_breaker_without_a_batch(told: Any) -> None:
    cuts = [step.kind for step in told.chronicle.timeline(60) if isinstance(step, Cut)]
    assert cuts == ["champion", "trip", "champion"]


def test_an_outcome_tells_what_became_of_its_batch_since(lore: Any) -> None:
    s = lore.Story()
    s.train("v0001", 0.9)
    s.champion("v0001", None)
    batch = s.stop("a", "v0001", lore.HALT, None)
    chronicle = s.chronicle
    before = chronicle.outcome(batch)
    assert before.known.status == "quarantined" and chronicle.with_status("quarantined") == [before]
    s.say(r.Dropped(batch, "of no use"))
    chronicle.add(s.entries[-1])
    assert chronicle.outcome(batch) == replace(
        before, known=replace(before.known, status="dropped", seq=len(s.entries))
    )
    assert chronicle.with_status("quarantined") == []


def test_a_batch_that_is_scored_again_has_one_newest_outcome(lore: Any) -> None:
    s = lore.Story()
    s.train("v0001", 0.9)
    s.champion("v0001", None)
    first = s.publish("a", "v0001", lore.PASS)
    held = s.stop("b", "v0001", lore.HALT, None)
    s.publish("c", "v0001", lore.PASS)
    s.say(r.Replayed(held, "it is right"))
    s.settle(held, "v0001", lore.PASS, "champion", 100)
    chronicle = s.chronicle
    assert [o.event.batch for o in chronicle.newest(2)] == [held, chronicle.batches[1]]
    assert chronicle.batches[0] == first and chronicle.batches[-1] == held
    assert [o.newest for o in chronicle.timeline(10) if isinstance(o, Outcome)] == [True, False, True, True]
    assert chronicle.published.event.batch == held


def test_an_empty_ledger_has_no_story() -> None:
    nothing = Chronicle()
    assert (nothing.timeline(5), nothing.newest(5), nothing.versions(), nothing.batches) == ([], [], [], [])
    assert nothing.published is None and nothing.outcome("b") is None
