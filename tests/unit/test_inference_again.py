"""Batches that come again: delivered twice, replayed, dropped, withdrawn."""

from __future__ import annotations

import io

import pandas as pd

from fuseline import records as r
from fuseline.batches import drop, replay


def clean(rows) -> pd.DataFrame:
    return rows.drop(columns="bought")


def in_cents(rows) -> pd.DataFrame:
    return clean(rows).assign(price=lambda d: d["price"] * 100)


def state(project):
    return project.line.ledger.state()


def reset(project) -> None:
    project.line.ledger.append(lambda _: r.Reset("mended"))


def published(project) -> dict[str, pd.DataFrame]:
    """What consumers can read: name of the batch to its rows; each file is of a batch that the ledger publishes."""
    now = state(project)
    visible = {item.key for item in project.store.list("tiny/predictions/")}
    assert visible == project.line.predictions.visible(now).keys()
    frames = [pd.read_parquet(io.BytesIO(project.store.get(key))) for key in sorted(visible)]
    return {now.batches[str(f["batch"].iloc[0])].name: f for f in frames}


# ── files that come again ────────────────────────────────────────────────────────────────────────


def test_a_published_file_that_is_delivered_again_is_cleaned_away(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer("a1")
    before = state(trained).seq
    trained.deliver("day1", clean(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert state(trained).seq == before
    assert len(published(trained)) == 1


def test_a_quarantined_file_that_is_delivered_again_is_cleaned_away_and_stays_in_quarantine(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    reset(trained)
    trained.deliver("day1", in_cents(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert [b.status for b in state(trained).batches.values()] == ["quarantined"]


def test_another_content_under_a_published_name_is_quarantined_without_a_trip(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    (first,) = trained.infer("a1")
    trained.deliver("day1", clean(rows(200, 3)))
    assert trained.infer("a2") == []
    now = state(trained)
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
    assert published(trained)["day1"]["id"].iloc[0] == "3-0"


def test_of_two_files_of_one_name_in_one_run_the_first_is_published_and_the_other_quarantined(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.store.put("inbox/tiny/day1.csv", clean(rows(200, 3)).to_csv(index=False).encode())
    assert len(trained.infer("a1")) == 1
    assert trained.line.batches.waiting() == ["day1.parquet"], "the CSV file comes first"
    trained.infer("a2")
    assert sorted(b.status for b in state(trained).batches.values()) == ["published", "quarantined"]
    assert trained.line.batches.waiting() == []


# ── replay and drop ──────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_is_replayed_as_it_was_is_judged_again(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    reset(trained)
    trained.setting("[checks]\ntolerance = 0.9\n")
    replay(trained.line.ledger, trained.line.batches, "day1", "prices in cents are right")
    assert trained.line.batches.waiting() == [], "it is scored from its kept copy"
    trained.clock.forward(3)
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Published)
    assert entry.event.batch == first.event.batch
    assert entry.event.assessment.verdict == "warn"
    assert set(published(trained)["day1"]["scored_at"]) == {pd.Timestamp(trained.clock.now)}


def test_a_batch_that_is_replayed_as_it_was_and_is_no_better_is_quarantined_again(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    reset(trained)
    replay(trained.line.ledger, trained.line.batches, "day1", "try again")
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Quarantined)
    assert state(trained).breaker.status == "open"


def test_a_repaired_file_is_published_under_the_old_name(trained, rows, tmp_path):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    reset(trained)
    clean(rows(200, 2)).to_csv(tmp_path / "mended.csv", index=False)
    arrives = replay(trained.line.ledger, trained.line.batches, "day1", "in euros", tmp_path / "mended.csv")
    (entry,) = trained.infer("a2")
    assert entry.event.batch == arrives
    now = state(trained)
    assert {k: b.status for k, b in now.batches.items()} == {first.event.batch: "replaced", arrives: "published"}
    assert trained.line.batches.waiting() == []
    assert published(trained).keys() == {"day1"}


def test_a_dropped_batch_is_never_scored_again_and_its_copy_stays(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    reset(trained)
    drop(trained.line.ledger, "day1", "useless")
    trained.deliver("day1", in_cents(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert state(trained).batches[first.event.batch].status == "dropped"
    assert trained.store.exists(trained.line.batches.input_key(first.event.batch, "day1.parquet"))


def test_a_withdrawn_batch_is_published_again_by_a_replay(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer("a1")
    trained.line.predictions.withdraw("day1", "a mistake")
    assert published(trained) == {}
    assert trained.infer("a2") == []
    replay(trained.line.ledger, trained.line.batches, "day1", "no mistake")
    assert len(trained.infer("a3")) == 1
    assert published(trained).keys() == {"day1"}
