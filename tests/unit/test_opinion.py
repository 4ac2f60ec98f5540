from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from fuseline.batches import Batches
from fuseline.errors import NotWritten
from fuseline.faults import FaultyStore, parse_rules
from fuseline.opinion import FIGURES, LIBRARY, REPORT, SAMPLE, Column, Opinion, encode, explain, installed, read
from fuseline.records import Entry
from fuseline.storage import MemoryStore

OLDEST = b"""{"format": 1, "library": "evidently 0.7.23", "rows": 400, "reference_rows": 300, "seconds": 1.5,
 "share": 0.5, "error": "", "left_out": {"age": "the batch has no value in it"}, "columns": [
 {"name": "price", "method": "K-S p_value", "score": 0.001, "threshold": 0.05, "drifted": true},
 {"name": "colour", "method": "chi-square p_value", "score": null, "threshold": 0.05, "drifted": null}]}"""

# What an expert does with the folder that it is given; the real one is `fuseline.expert`.
GOOD = f"""
import sys, pathlib
for place in sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.is_dir()):
    assert (place / "sample.parquet").exists() and (place / "reference.parquet").exists()
    (place / "evidently.html").write_text("<html>" + place.name)
    (place / "evidently.json").write_bytes({OLDEST!r})
"""


def expert(does: str) -> list[str]:
    return [sys.executable, "-c", does]


@pytest.fixture
def settled(trained: Any, rows: Callable[[int, int], pd.DataFrame]) -> tuple[Any, list[Entry]]:
    """Two batches that a run settled: one published, one quarantined."""
    trained.deliver("day1", rows(400, 2).drop(columns="bought"))
    trained.deliver("day2", rows(400, 3).drop(columns="bought").assign(price=lambda d: d["price"] * 1000))
    return trained.line, trained.infer()


def ask(line: Any, entries: list[Entry], does: str, patience: float = 60.0) -> dict[str, Opinion]:
    return explain(entries, line.batches, line.models, expert(does), patience)


def key(entry: Any, file: str) -> str:
    return f"tiny/batches/{entry.event.batch}/{entry.event.attempt}/{file}"


def test_a_library_that_is_not_there_is_known_without_importing_it():
    assert not installed("no_such_library")
    assert installed("json")
    assert LIBRARY not in sys.modules


def test_every_settled_batch_has_its_opinion_beside_its_metrics(settled):
    line, entries = settled
    assert [type(e.event).__name__ for e in entries] == ["Published", "Quarantined"]
    found = ask(line, entries, GOOD)
    assert list(found) == [e.event.batch for e in entries]
    for i, entry in enumerate(entries):
        assert line.store.exists(key(entry, "metrics.json"))
        assert line.store.get(key(entry, REPORT)) == f"<html>{i:04d}".encode()
        assert read(line.batches, entry.event.batch, entry.event.attempt) == found[entry.event.batch]
    opinion = found[entries[0].event.batch]
    assert opinion.drifted == ("price",)
    assert opinion.data_set_drifted
    assert [c.by_chance for c in opinion.columns] == [True, True]


def test_the_sample_holds_features_and_scores_of_at_most_5000_rows(settled):
    line, entries = settled
    with line.store.local(key(entries[0], SAMPLE)) as path:
        sample = pd.read_parquet(path)
    assert list(sample.columns) == ["price", "age", "colour", "score"]
    assert len(sample) == 400
    assert sample["score"].between(0, 1).all()


BREAKDOWNS = {
    "import sys; sys.exit('the disk is full')": "it ended with exit code 1: the disk is full",
    "raise ValueError('An empty column')": "it ended with exit code 1: ValueError: An empty column",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "it ended with signal 9",
    "pass": "it ended with exit code 0",
    "import time; time.sleep(60)": "it was stopped after 0.5 s",
    "import sys, pathlib\nfor p in pathlib.Path(sys.argv[1]).glob('0*'): (p / 'evidently.json').write_text('{')": (
        "it ended with exit code 0"
    ),
}


@pytest.mark.parametrize("does", BREAKDOWNS)
def test_an_expert_that_fails_crashes_or_hangs_leaves_its_failure_in_the_store(settled, does):
    line, entries = settled
    found = ask(line, entries, does, patience=0.5 if "sleep" in does else 60.0)
    assert [o.error for o in found.values()] == [BREAKDOWNS[does]] * 2
    for entry in entries:
        assert json.loads(line.store.get(key(entry, FIGURES)))["error"] == BREAKDOWNS[does]
        assert not line.store.exists(key(entry, REPORT))


def test_what_was_finished_before_the_expert_crashed_is_kept(settled):
    line, entries = settled
    found = ask(line, entries, GOOD.replace("assert", "assert place.name == '0000', 'the second'\n    assert", 1))
    first, second = (found[e.event.batch] for e in entries)
    assert not first.error and first.share == 0.5
    assert second.error == "it ended with exit code 1: AssertionError: the second"


def test_an_expert_that_cannot_be_started_is_said_to_be(settled):
    line, entries = settled
    found = explain(entries, line.batches, line.models, ["/nowhere/python"])
    assert all(o.error.startswith("it could not be started") for o in found.values())


@pytest.mark.skipif(installed(), reason="Evidently is installed")
def test_without_the_library_the_real_expert_says_that_it_is_missing(settled):
    line, entries = settled
    found = explain(entries[:1], line.batches, line.models)
    (opinion,) = found.values()
    assert opinion.error == "it ended with exit code 1: ModuleNotFoundError: No module named 'evidently'"


def test_nobody_is_asked_where_there_is_no_sample(settled):
    line, entries = settled
    for entry in entries:
        line.store.delete(key(entry, SAMPLE))
    assert explain(entries, line.batches, line.models, ["/nowhere/python"]) == {}
    assert not line.store.exists(key(entries[0], FIGURES))


def test_a_batch_of_which_no_row_was_accepted_has_no_sample_and_no_opinion(trained, rows):
    trained.deliver("day1", rows(50, 2).drop(columns="bought").assign(price=float("inf")))
    entries = trained.infer()
    assert [type(e.event).__name__ for e in entries] == ["Quarantined"]
    assert ask(trained.line, entries, GOOD) == {}


def test_a_damaged_reference_is_an_opinion_with_an_error(settled):
    line, entries = settled
    line.store.put("tiny/versions/v0001/reference.parquet", b"damaged")
    found = ask(line, entries, "pass")
    assert all("reference.parquet" in o.error for o in found.values())


def test_entries_of_other_kinds_are_left_alone(trained):
    line = trained.line
    assert explain(list(line.ledger.entries()), line.batches, line.models, ["/nowhere/python"]) == {}


def test_the_figures_are_written_after_the_page_that_they_promise(settled):
    line, entries = settled
    batches = Batches(FaultyStore(line.store, parse_rules(f"fail-before upload */{REPORT}")), "tiny")
    with pytest.raises(NotWritten):
        explain(entries, batches, line.models, expert(GOOD))
    assert not line.store.exists(key(entries[0], FIGURES))


# ── the format ───────────────────────────────────────────────────────────────────────────────────


def stored(data: bytes) -> Batches:
    batches = Batches(MemoryStore(), "tiny")
    batches.store.put(batches.staged_key("b", "a", FIGURES), data)
    return batches


def test_the_oldest_format_is_read():
    opinion = read(stored(OLDEST), "b", "a")
    assert opinion == Opinion(
        (
            Column("price", "K-S p_value", 0.001, 0.05, True),
            Column("colour", "chi-square p_value", None, 0.05, None),
        ),
        {"age": "the batch has no value in it"},
        0.5,
        400,
        300,
        1.5,
        "evidently 0.7.23",
    )


def test_an_opinion_survives_the_store():
    opinion = Opinion((Column("a", "PSI", 0.2, 0.1, True),), {"b": "why"}, 1.0, 5, 6, 0.7, "evidently 1", "")
    assert read(stored(encode(opinion)), "b", "a") == opinion


def test_there_is_no_opinion_where_there_is_no_file():
    assert read(Batches(MemoryStore(), "tiny"), "b", "a") is None


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"format": 1, "rows": "many"}', b"\xff"])
def test_figures_that_cannot_be_read_are_an_error_and_no_exception(data):
    opinion = read(stored(data), "b", "a")
    assert opinion is not None and "evidently.json cannot be read" in opinion.error


def test_a_newer_format_asks_for_a_newer_fuseline():
    opinion = read(stored(b'{"format": 2}'), "b", "a")
    assert opinion is not None and opinion.error == ("evidently.json has format 2; this Fuseline reads 1: upgrade it")
