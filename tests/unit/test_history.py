"""What is remembered of the batches that a version scored before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
import numpy as np
import pandas as pd
import pytest

from fuseline import records as r
from fuseline.errors import DataError
from fuseline.history import History
from fuseline.monitoring import Monitoring
from fuseline.opinion import SAMPLE
from fuseline.predictions import METRICS
from fuseline.stages import HISTORY
from fuseline.storage import MemoryStore, Store
from fuseline.tables import to_bytes


class Counting(MemoryStore):
    """A store that counts which files are read."""

    def __init__(self, like: Store) -> None:
        super().__init__()
        self.gets: Counter[str] = Counter()
        for item in like.list(""):
            self.put(item.key, like.get(item.key))

    def get(self, key: str) -> bytes:
        self.gets[key.rpartition("/")[2]] += 1
        return super().get(key)


def clean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="bought")


def publish(project, rows, days: range, count: int = 90) -> None:
    """One batch a day, each in a run of its own."""
    for day in days:
        project.deliver(f"day{day:02d}", clean(rows(count, 50 + day)))
        (entry,) = project.infer(f"a{day:02d}")
        assert isinstance(entry.event, r.Published)
        project.clock.forward(24)


def history(project, version: str = "v0001") -> History:
    line = project.line
    return History(Monitoring(line.project.config, line.models.open(version)), line.ledger, line.batches)


def staged(project, name: str, file: str) -> str:
    """Where a file of the published batch of this name is."""
    now = project.line.ledger.state()
    (batch,) = (k for k, b in now.batches.items() if b.name == name)
    return project.line.batches.staged_key(batch, now.batches[batch].attempt, file)


def sizes(found) -> list[int]:
    """Rows of each remembered batch."""
    return [int(past.counts["score"].sum()) for past in found]


# ── which batches ────────────────────────────────────────────────────────────────────────────────


def test_the_newest_published_batches_are_remembered_the_oldest_first(trained, rows):
    for day in range(1, 4):
        publish(trained, rows, range(day, day + 1), 100 + day)
    assert sizes(history(trained).before("day04")) == [101, 102, 103]


def test_no_more_are_remembered_than_are_judged_together(trained, rows):
    trained.deliver("day00", clean(rows(150, 50)))
    trained.infer("a00")
    trained.clock.forward(1)
    for day in range(1, HISTORY):
        trained.deliver(f"day{day:02d}", clean(rows(60, 50 + day)))
    assert len(trained.infer("a01")) == HISTORY - 1
    assert sizes(history(trained).before("another")) == [60] * (HISTORY - 1)


def test_what_was_held_back_or_scored_by_another_version_is_not_remembered(trained, rows):
    publish(trained, rows, range(1, 2))
    trained.deliver("day02", clean(rows(400, 2)).assign(price=lambda d: d["price"] * 100))
    (entry,) = trained.infer("a02")
    assert isinstance(entry.event, r.Quarantined)
    trained.line.ledger.append(lambda _: r.Reset("mended"))
    assert sizes(history(trained).before("day03")) == [90]
    trained.promote_copy()
    assert history(trained, "v0002").before("day03") == []


def test_a_batch_is_not_remembered_for_itself(trained, rows):
    publish(trained, rows, range(1, 3))
    (batch,) = (k for k, b in trained.line.ledger.state().batches.items() if b.name == "day01")
    assert len(history(trained).before(batch)) == 1


def test_what_is_published_meanwhile_is_added_and_what_is_withdrawn_is_left_out(trained, rows):
    publish(trained, rows, range(1, 2), 101)
    found = history(trained)
    assert sizes(found.before("x")) == [101]
    publish(trained, rows, range(2, 3), 102)
    assert sizes(found.before("x")) == [101, 102]
    trained.line.predictions.withdraw("day01", "wrong rows")
    assert sizes(found.before("x")) == [102]


def test_rows_are_remembered_of_small_batches_only(trained, rows):
    publish(trained, rows, range(1, 2), 199)
    publish(trained, rows, range(2, 3), 200)
    small, large = history(trained).before("x")
    assert len(small.rows.scores) == 199
    assert large.rows is None


# ── each is read once ────────────────────────────────────────────────────────────────────────────


def test_in_a_run_of_many_batches_everything_is_read_once(trained, rows):
    publish(trained, rows, range(1, 4))
    for day in range(11, 16):
        trained.deliver(f"day{day}", clean(rows(60, day)))
    trained.store = store = Counting(trained.store)
    inference = trained.line.inference("a9")
    plan = inference.plan()
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    fresh, ledger = trained.line.inference("a9"), trained.line.ledger.state().seq
    store.gets.clear()
    assert len([fresh.assess(job, [s for s in scores if s.batch == job.batch]) for job in plan.jobs]) == 5
    assert (store.gets["reference.parquet"], store.gets["manifest.json"]) == (1, 1)
    assert (store.gets[METRICS], store.gets[SAMPLE]) == (3, 3)
    entries = sum(n for file, n in store.gets.items() if file[:8].isdigit())
    assert entries <= ledger + 5, "the ledger is read once, and then only what is new"


def test_the_verdicts_of_a_run_are_those_of_batches_that_are_judged_one_by_one(trained, rows):
    publish(trained, rows, range(1, 4))
    for day in range(11, 15):
        trained.deliver(f"day{day}", clean(rows(90, day)).assign(age=lambda d: d["age"] + 12))
    inference = trained.line.inference("a9")
    plan = inference.plan()
    scores = {job.batch: [inference.score(job, piece)] for job, piece in plan.pieces}
    together = [inference.assess(job, scores[job.batch]) for job in plan.jobs]
    alone = [trained.line.inference("a9").assess(job, scores[job.batch]) for job in plan.jobs]
    assert together == alone
    assert any("judged together with" in one.assessment.sentence for one in together)


# ── files that are gone or broken ────────────────────────────────────────────────────────────────


def changed(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        document = msgspec.json.decode(data)
        change(document)
        return msgspec.json.encode(document)

    return damage


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "it is cut off": lambda data: data[: len(data) // 2],
    "it is empty": lambda data: b"",
    "it is no JSON": lambda data: b"\xff\xfe",
    "it is a list": lambda data: b"[]",
    "it is null": lambda data: b"null",
    "it has no profile": changed(lambda d: d.pop("profile")),
    "it has no assessment": changed(lambda d: d.pop("assessment")),
    "the profile is text": changed(lambda d: d.update(profile="x")),
    "the assessment is a list": changed(lambda d: d.update(assessment=[])),
    "a column is missing": changed(lambda d: d["profile"]["columns"].pop("price")),
    "a column is null": changed(lambda d: d["profile"]["columns"].update(price=None)),
    "the score is missing": changed(lambda d: d["profile"].update(scores={})),
    "a column has other bins": changed(lambda d: d["profile"]["columns"]["price"]["counts"].pop()),
    "counts are text": changed(lambda d: d["profile"]["columns"]["price"].update(counts="many")),
    "a count is text": changed(lambda d: d["profile"]["columns"]["price"]["counts"].__setitem__(0, "many")),
    "a count is below 0": changed(lambda d: d["profile"]["columns"]["price"]["counts"].__setitem__(0, -1)),
    "a count is a share": changed(lambda d: d["profile"]["columns"]["price"]["counts"].__setitem__(0, 0.5)),
    "a count is beyond all": lambda data: data.replace(b'"counts": [\n', b'"counts": [1' + b"0" * 30 + b",", 1),
    "it has a newer format": changed(lambda d: d.update(format=99)),
}


@pytest.fixture
def two_days(trained, rows):
    """The project after two published days of 91 and 92 rows."""
    for day in (1, 2):
        publish(trained, rows, range(day, day + 1), 90 + day)
    return trained


def test_metrics_that_are_broken_are_an_error_and_their_batch_is_left_out(two_days):
    key = staged(two_days, "day01", METRICS)
    whole = two_days.store.get(key)
    for how, damage in BROKEN.items():
        two_days.store.put(key, damage(whole))
        found = history(two_days)
        with pytest.raises(DataError, match=r"^metrics\.json of an earlier batch cannot be read: "):
            found.monitoring.past(two_days.store.get(key))
        assert sizes(found.before("x")) == [92], how


def without(table, name: str):
    return table.drop_columns([name])


def as_text(table, name: str):
    at = table.column_names.index(name)
    return table.set_column(at, name, [[str(v) for v in table.column(name).to_pylist()]])


SAMPLES: dict[str, Callable[[bytes], bytes]] = {
    "it is cut off": lambda data: data[:-20],
    "it is empty": lambda data: b"",
    "it is no Parquet": lambda data: b"PAR1" * 8,
    **{
        f"{name} is {what}": lambda data, change=change, name=name: to_bytes(change(table_of(data), name))
        for what, change in (("missing", without), ("text", as_text))
        for name in ("price", "age", "score")
    },
    "colour is missing": lambda data: to_bytes(without(table_of(data), "colour")),
    "colour is numbers": lambda data: to_bytes(
        table_of(data).set_column(table_of(data).column_names.index("colour"), "colour", [np.zeros(91)])
    ),
}


def table_of(data: bytes):
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(data))


def test_a_sample_that_is_broken_is_an_error_and_its_batch_is_left_out(two_days):
    metrics, key = two_days.store.get(staged(two_days, "day01", METRICS)), staged(two_days, "day01", SAMPLE)
    whole = two_days.store.get(key)
    for how, damage in SAMPLES.items():
        two_days.store.put(key, damage(whole))
        found = history(two_days)
        with pytest.raises(DataError, match=r"^sample\.parquet of an earlier batch (cannot be read|holds other types)"):
            found.monitoring.past(metrics, two_days.store.get(key))
        assert sizes(found.before("x")) == [92], how


@pytest.mark.parametrize("file", [METRICS, SAMPLE])
def test_a_batch_whose_files_were_cleared_away_is_left_out(two_days, file):
    two_days.store.delete(staged(two_days, "day01", file))
    assert sizes(history(two_days).before("x")) == [92]


def test_a_batch_after_a_broken_one_is_judged_with_what_is_left(trained, rows):
    def older(count: int, seed: int) -> pd.DataFrame:
        return clean(rows(count, seed)).assign(age=lambda d: d["age"] + 12)

    for day, count in ((1, 80), (2, 90), (3, 70)):
        trained.deliver(f"day{day}", older(count, 50 + day))
        (entry,) = trained.infer(f"a{day}")
        assert isinstance(entry.event, r.Published)
        trained.clock.forward(24)
    trained.store.put(staged(trained, "day2", METRICS), b"{")
    trained.deliver("day4", older(90, 54))
    (entry,) = trained.infer("a4")
    assert "(90 rows, judged together with the 150 rows before)" in entry.event.assessment.sentence
