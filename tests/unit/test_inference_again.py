"""Batches that come again: delivered twice, replayed, dropped, withdrawn."""

from __future__ import annotations

import pandas as pd

from fuseline import records as r
from fuseline.batches import drop, replay


def clean(rows) -> pd.DataFrame:
    return rows.drop(columns="bought")


def in_cents(rows) -> pd.DataFrame:
    return clean(rows).assign(price=lambda d: d["price"] * 100)


# ── files that come again ────────────────────────────────────────────────────────────────────────


def test_a_published_file_that_is_delivered_again_is_cleaned_away(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer("a1")
    before = trained.state.seq
    trained.deliver("day1", clean(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert trained.state.seq == before
    assert len(trained.published()) == 1


def test_a_quarantined_file_that_is_delivered_again_is_cleaned_away_and_stays_in_quarantine(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    trained.reset()
    trained.deliver("day1", in_cents(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert [b.status for b in trained.state.batches.values()] == ["quarantined"]


def test_another_content_under_a_published_name_is_quarantined_without_a_trip(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    (first,) = trained.infer("a1")
    trained.deliver("day1", clean(rows(200, 3)))
    assert trained.infer("a2") == []
    now = trained.state
    statuses = {k: b.status for k, b in now.batches.items()}
    other = next(k for k in statuses if k != first.event.batch)
    assert statuses == {first.event.batch: "published", other: "quarantined"}
    assert now.breaker.status == "closed"
    event = trained.line.ledger.entry(now.batches[other].seq).event
    assert f"with other contents ({first.event.batch})" in event.assessment.sentence
    assert "withdraw that one first and replay this" in event.assessment.sentence
    assert trained.line.batches.waiting() == []
    assert trained.store.exists(trained.line.batches.input_key(other, "day1.parquet"))
    trained.line.predictions.withdraw("day1", "wrong rows")
    replay(trained.line.ledger, trained.line.batches, other, "the right rows")
    (entry,) = trained.infer("a3")
    assert entry.event.batch == other
    assert trained.published()["day1"]["id"].iloc[0] == "3-0"


def test_of_two_files_of_one_name_in_one_run_the_first_is_published_and_the_other_quarantined(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.store.put("inbox/tiny/day1.csv", clean(rows(200, 3)).to_csv(index=False).encode())
    assert len(trained.infer("a1")) == 1
    assert trained.line.batches.waiting() == ["day1.parquet"], "the CSV file comes first"
    trained.infer("a2")
    assert sorted(b.status for b in trained.state.batches.values()) == ["published", "quarantined"]
    assert trained.line.batches.waiting() == []


# ── replay and drop ──────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_is_replayed_as_it_was_is_judged_again(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    trained.reset()
    trained.setting("[checks]\ntolerance = 0.9\n")
    replay(trained.line.ledger, trained.line.batches, "day1", "prices in cents are right")
    assert trained.line.batches.waiting() == [], "it is scored from its kept copy"
    trained.clock.forward(3)
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Published)
    assert entry.event.batch == first.event.batch
    assert entry.event.assessment.verdict == "warn"
    assert set(trained.published()["day1"]["scored_at"]) == {pd.Timestamp(trained.clock.now)}


def test_a_batch_that_is_replayed_as_it_was_and_is_no_better_is_quarantined_again(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    trained.reset()
    replay(trained.line.ledger, trained.line.batches, "day1", "try again")
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Quarantined)
    assert trained.state.breaker.status == "open"


def test_a_repaired_file_is_published_under_the_old_name(trained, rows, tmp_path):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    trained.reset()
    clean(rows(200, 2)).to_csv(tmp_path / "mended.csv", index=False)
    arrives = replay(trained.line.ledger, trained.line.batches, "day1", "in euros", tmp_path / "mended.csv")
    (entry,) = trained.infer("a2")
    assert entry.event.batch == arrives
    now = trained.state
    assert {k: b.status for k, b in now.batches.items()} == {first.event.batch: "replaced", arrives: "published"}
    assert trained.line.batches.waiting() == []
    assert trained.published().keys() == {"day1"}


def test_a_dropped_batch_is_never_scored_again_and_its_copy_stays(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    trained.reset()
    drop(trained.line.ledger, "day1", "useless")
    trained.deliver("day1", in_cents(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert trained.state.batches[first.event.batch].status == "dropped"
    assert trained.store.exists(trained.line.batches.input_key(first.event.batch, "day1.parquet"))


def test_a_withdrawn_batch_is_published_again_by_a_replay(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer("a1")
    trained.line.predictions.withdraw("day1", "a mistake")
    assert trained.published() == {}
    assert trained.infer("a2") == []
    replay(trained.line.ledger, trained.line.batches, "day1", "no mistake")
    assert len(trained.infer("a3")) == 1
    assert trained.published().keys() == {"day1"}
