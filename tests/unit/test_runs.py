"""Work on a line through real flows: what it records when they fail, and that alerts never change its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fuseline import records as r
from fuseline import runs
from fuseline.bootstrap import Line
from fuseline.errors import FuselineError, NotWritten, Refused, SettingsError
from fuseline.faults import FaultyStore, parse_rules
from fuseline.storage import open_store

NONSENSE = "nosuch://hunter2 arn:aws:sns:nowhere"
Make = Callable[..., Line]

pytestmark = pytest.mark.usefixtures("uncovered")


@pytest.fixture
def make(tiny: Any, tmp_path: Path) -> Make:
    """`make(**settings)`: the line over a folder, as a process of its own would open it."""

    def made(faults: str = "", **settings: Any) -> Line:
        tiny.store = open_store(str(tmp_path / "store"))
        here = tiny.line
        chosen = replace(here.settings, store=str(tmp_path / "store"), faults=faults, **settings)
        return replace(here, settings=chosen, store=FaultyStore(here.store, parse_rules(faults)))

    return made


def failures(here: Line) -> list[r.Failed]:
    return [e.event for e in here.ledger.entries() if isinstance(e.event, r.Failed)]


def deliver(tiny: Any, rows: Any) -> None:
    tiny.deliver("day1", rows(60, 2).drop(columns="bought"))


def test_a_failed_flow_is_recorded_and_its_error_is_raised_as_it_was(make, tiny, rows):
    here = make()
    deliver(tiny, rows)
    with pytest.raises(Refused, match="tiny has no champion yet") as raised:
        runs.infer(here)
    assert failures(here) == [r.Failed("InferenceFlow", str(raised.value))]
    assert [owed.kind for owed in here.ledger.state().alerts.values()] == ["failure"]


def test_a_setting_that_a_flow_finds_wrong_is_a_failed_flow_too(make, tiny):
    here = make()
    (tiny.folder.parent.parent / "data" / "history.parquet").unlink()
    with pytest.raises(SettingsError, match="history"):
        runs.train(here)
    assert [one.flow for one in failures(here)] == ["TrainingFlow"]


def test_a_ledger_that_cannot_be_written_is_the_error_that_is_raised(make):
    here = make(faults="fail-before create */ledger/* times=999")
    with pytest.raises(NotWritten, match="ledger/00000001"):
        runs.train(here)
    assert failures(make()) == []


def test_where_the_store_is_gone_the_flow_says_so(make, tmp_path):
    here = make()
    (tmp_path / "store").write_text("a file where the folder was")
    with pytest.raises(FuselineError, match=r"(?s)InferenceFlow failed.*Not a directory"):
        runs.run("infer", here)


def test_an_interrupt_is_no_failure(make, tiny, rows):
    here = make()
    deliver(tiny, rows)

    def interrupt(step: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.infer(here, interrupt)
    assert here.ledger.state().seq == 0


def test_addresses_that_make_no_sense_do_not_hide_why_a_flow_failed(make, tiny, rows):
    here = make(alerts=NONSENSE)
    deliver(tiny, rows)
    with pytest.raises(Refused, match="tiny has no champion yet"):
        runs.infer(here)
    (tried,) = [e.event for e in here.ledger.entries() if isinstance(e.event, r.AlertTried)]
    assert sorted(why.split(":")[0] for why in tried.failed.values()) == ["FUSELINE_ALERTS"] * 2
    assert "hunter2" not in str(tried) + repr(here)


def test_a_run_that_ended_well_ends_well_whatever_becomes_of_its_alerts(make):
    here = make(alerts=NONSENSE, faults="fail-before create */ledger/* content=alerttaken times=999")
    here.ledger.append(lambda state: r.Failed("TrainingFlow", "no such luck"))
    assert runs.run("feedback", here) == []
    assert [owed.tries for owed in here.ledger.state().alerts.values()] == [0]


def test_an_empty_inbox_starts_no_flow_and_is_told_when_it_lasts(make, tiny):
    here = make()
    here.ledger.append(lambda state: r.Registered("v0001", "d" * 64, {}))
    here.ledger.append(lambda state: r.Promoted("v0001", None, "gate", "first"))
    assert runs.infer(here) == []
    tiny.clock.forward(37)
    later = make()
    assert runs.infer(later) == runs.infer(later) == []
    assert [type(e.event) for e in later.ledger.entries(2)] == [r.Overdue]


def test_a_flow_that_failed_and_ends_well_is_mended_even_if_it_had_nothing_to_do(make):
    here = make()
    here.ledger.append(lambda state: r.Failed("FeedbackFlow", "no such luck"))
    for _ in range(2):
        runs.run("feedback", here)
    assert [type(e.event) for e in here.ledger.entries()] == [r.Failed, r.Mended]
    assert here.ledger.state().failing == {}


def test_without_labels_no_flow_is_started(make):
    here = make()
    assert runs.feedback(here) == []
    assert here.ledger.state().seq == 0


def test_a_retrain_is_wanted_until_somebody_takes_it_and_again_if_that_takes_too_long(make, tiny):
    here = make()
    assert not runs.wanted(here, here.ledger.state())
    assert runs.train(here, if_asked=True) == []
    here.ledger.append(lambda state: r.RetrainAsked("AUC fell"))
    assert runs.wanted(here, here.ledger.state())
    here.ledger.append(lambda state: r.TrainingStarted("TrainingFlow/7"))
    assert not runs.wanted(here, here.ledger.state())
    tiny.clock.forward(here.project.config.training.timeout_hours + 1)
    assert runs.wanted(make(), here.ledger.state())
