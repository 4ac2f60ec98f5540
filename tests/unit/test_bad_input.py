"""Everything that can be wrong with what comes in: each a clear error or verdict, and nothing of it is lost."""

from __future__ import annotations

import hashlib
import io
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fuseline import records as r
from fuseline.batches import identify
from fuseline.bootstrap import line
from fuseline.errors import (
    ArtifactError,
    DataError,
    LedgerError,
    ModelFault,
    NotWritten,
    ProjectError,
    Refused,
    SettingsError,
    StoreError,
    UnsafeStore,
)
from fuseline.faults import FaultyStore, parse_rules
from fuseline.folder import FolderStore
from fuseline.ledger import encode
from fuseline.projects import read_project
from fuseline.settings import Settings
from fuseline.storage import MemoryStore, probe


def parquet(rows: pd.DataFrame) -> bytes:
    return rows.drop(columns="bought", errors="ignore").to_parquet(index=False)


def text(rows: pd.DataFrame, **options: object) -> str:
    return rows.drop(columns="bought", errors="ignore").to_csv(index=False, **options)


def state(project):
    return project.line.ledger.state()


def where(project, file: str, data: bytes) -> str:
    """Where a delivered file is now: `inbox`, or the status of its batch. Fails if its bytes are nowhere."""
    batch, _ = identify(file, hashlib.sha256(data).hexdigest())
    inbox = project.line.batches.inbox_key(file)
    if project.store.exists(inbox):
        assert project.store.get(inbox) == data
        return "inbox"
    assert project.store.get(project.line.batches.input_key(batch, file)) == data, "the kept copy is another"
    return state(project).batches[batch].status


def arrives(project, file: str, data: bytes, rows: int | None = None) -> r.Assessment:
    """Deliver one file and run; its assessment. Every row must be scored or rejected, and the file accounted for."""
    project.store.put(f"inbox/tiny/{file}", data)
    project.infer()
    found = where(project, file, data)
    (known,) = state(project).batches.values()
    event = project.line.ledger.entry(known.seq).event
    assert found == {r.Published: "published", r.Quarantined: "quarantined"}[type(event)]
    visible = [project.store.get(item.key) for item in project.store.list("tiny/predictions/")]
    assert len(visible) == (found == "published")
    if rows is not None:
        assert event.rows + event.rejected == rows
        assert staged(project, event, "predictions.parquet") == event.rows
        assert staged(project, event, "rejected.parquet") == event.rejected
    return event.assessment


def staged(project, event, file: str) -> int:
    key = project.line.batches.staged_key(event.batch, event.attempt, file)
    return pq.read_metadata(io.BytesIO(project.store.get(key))).num_rows if project.store.exists(key) else 0


# ── columns ──────────────────────────────────────────────────────────────────────────────────────


def test_a_target_that_is_missing_from_the_history_is_an_error_before_a_version_exists(tiny, rows):
    rows(300, 1).drop(columns="bought").to_parquet(tiny.folder.parent.parent / "data" / "history.parquet")
    tiny.deliver("day1", rows(100, 2))
    with pytest.raises(DataError, match=r"target 'bought' is not a column of data/history\.parquet; it has: id, price"):
        tiny.train()
    assert state(tiny).versions == {}
    assert tiny.line.batches.waiting() == ["day1.parquet"]


def test_a_target_that_is_wholly_null_in_the_history_is_an_error(tiny, rows):
    rows(300, 1).assign(bought=None).to_parquet(tiny.folder.parent.parent / "data" / "history.parquet")
    with pytest.raises(DataError, match=r"no row of data/history\.parquet has a value in the target 'bought'"):
        tiny.train()


@pytest.mark.parametrize("column", ["price", "age", "colour", "id"])
def test_a_missing_column_quarantines_the_batch_and_names_it(trained, rows, column):
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2).drop(columns=column)), 300)
    assert found.verdict == "halt"
    assert found.sentence == f"column {column} is missing"
    assert any(c.kind == "rejected" and "all rows" in c.sentence for c in found.causes)


def test_a_missing_column_to_join_by_quarantines_the_batch(with_shops, rows, sold):
    with_shops.train()
    found = arrives(with_shops, "day1.parquet", parquet(rows(300, 2)))
    assert found.verdict in ("halt", "inconclusive")
    assert "the rows have no column 'shop' to join by" in found.sentence
    assert "id, price, age, colour" in found.sentence


def test_an_extra_column_warns_and_every_row_is_scored(trained, rows):
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2).assign(size=1, shape="round")), 300)
    assert found.verdict == "warn"
    assert found.sentence == "training did not have the columns size, shape; not used"


def test_a_renamed_column_quarantines_the_batch_and_the_new_name_is_guessed(trained, rows):
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2).rename(columns={"colour": "colours"})), 300)
    assert found.verdict == "halt"
    assert found.sentence == "column colour is missing; perhaps it was renamed to 'colours'?"


def test_a_column_of_another_type_that_says_the_same_is_scored(trained, rows):
    batch = rows(300, 2).assign(price=lambda d: d["price"].map(repr))
    assert arrives(trained, "day1.parquet", parquet(batch), 300).verdict == "pass"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["cheap"] * 300, "all rows were rejected: price is no number (300)"),
        ([[1.0]] * 300, "column price holds list<element: double>, training had number: no row can be scored"),
        ([b"\xff\xfe"] * 300, "price is no number"),
        ([pd.Timestamp("2026-01-01")] * 300, "price is no number"),
        ([{"eur": 1.0}] * 300, "column price holds struct<eur: double>, training had number"),
        ([None] * 300, "all rows were rejected: price is null (300)"),
    ],
    ids=["text", "lists", "bytes", "dates", "structs", "nothing"],
)
def test_a_column_of_another_type_quarantines_the_batch(trained, rows, values, said):
    batch = rows(300, 2).drop(columns="bought").assign(price=pd.Series(values))
    found = arrives(trained, "day1.parquet", parquet(batch), 300)
    assert found.verdict == "halt"
    assert any(said in c.sentence for c in found.causes), [c.sentence for c in found.causes]


def test_a_column_that_is_wholly_null_is_a_verdict(trained, rows):
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2).assign(age=None)), 300)
    assert found.verdict in ("warn", "halt")
    assert "age is null in 100 % of rows" in found.sentence


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("day1.parquet", b"", "is empty"),
        ("day1.csv", b"", "is empty"),
        ("day1.jsonl", b"", "is empty"),
        ("day1.csv", b"\n \n", "is empty"),
        ("day1.csv", b"id,price,age,colour\n", "has a header and no rows"),
        ("day1.parquet", b"id,price\n1,2\n", "is no Parquet file"),
        ("day1.csv", b"PAR1\x00\x00", "is no CSV file"),
        ("day1.jsonl", b'{"id": 1, "pri', "input.jsonl"),
    ],
)
def test_a_file_without_rows_or_of_another_kind_is_quarantined(trained, file, data, said):
    found = arrives(trained, file, data)
    assert found.verdict == "inconclusive"
    assert said in found.sentence
    assert state(trained).breaker.status == "closed", "one of them does not stop the line"


def test_a_parquet_file_with_columns_and_no_rows_is_quarantined(trained, rows):
    assert "no rows" in arrives(trained, "day1.parquet", parquet(rows(300, 2).iloc[:0])).sentence


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_parquet_file_is_quarantined(trained, rows, share):
    data = parquet(rows(300, 2))
    found = arrives(trained, "day1.parquet", data[: int(len(data) * share)])
    assert found.verdict == "inconclusive"
    assert "is cut off after" in found.sentence or "is no Parquet file" in found.sentence


def test_a_parquet_file_that_is_damaged_inside_is_quarantined(trained, rows):
    data = bytearray(parquet(rows(3_000, 2)))
    data[200:2_000] = bytes(1_800)
    found = arrives(trained, "day1.parquet", bytes(data))
    assert found.verdict == "inconclusive"
    assert "is damaged" in found.sentence


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_csv_file_with_another_usual_delimiter_is_scored(trained, rows, delimiter):
    assert arrives(trained, "day1.csv", text(rows(300, 2), sep=delimiter).encode(), 300).verdict == "pass"


def test_a_csv_file_with_a_delimiter_that_nobody_uses_is_quarantined(trained, rows):
    found = arrives(trained, "day1.csv", text(rows(300, 2), sep="^").encode())
    assert found.verdict == "inconclusive"
    assert "every line is separated by '^'" in found.sentence


@pytest.mark.parametrize(("encoding", "at"), [("latin-1", 0), ("latin-1", 299), ("utf-16", 0), ("cp1252", 150)])
def test_a_csv_file_in_another_encoding_is_quarantined(trained, rows, encoding, at):
    batch = rows(300, 2)
    batch.loc[at, "colour"] = "grün"
    found = arrives(trained, "day1.csv", text(batch).encode(encoding))
    assert found.verdict == "inconclusive"
    assert "UTF-8" in found.sentence or "UTF-16" in found.sentence


def test_a_csv_file_of_which_a_late_line_is_in_another_encoding_is_quarantined(trained, rows):
    batch = rows(40_000, 2)
    batch.loc[39_000, "colour"] = "grün"
    found = arrives(trained, "day1.csv", text(batch).encode("latin-1"))
    assert found.verdict == "inconclusive"
    assert "UTF-8" in found.sentence


def test_a_csv_file_with_the_mark_that_excel_writes_is_scored(trained, rows):
    assert arrives(trained, "day1.csv", text(rows(300, 2)).encode("utf-8-sig"), 300).verdict == "pass"


def test_a_column_that_is_named_twice_quarantines_the_batch(trained, rows):
    data = text(rows(300, 2)).replace("age", "price", 1).encode()
    assert "names a column twice: price" in arrives(trained, "day1.csv", data).sentence


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_of_which_all_rows_are_rejected_is_quarantined_with_the_reasons(trained, rows):
    batch = rows(300, 2).astype({"price": object}).assign(price="?")
    found = arrives(trained, "day1.csv", text(batch).encode(), 300)
    assert (found.verdict, found.harm) == ("halt", None)
    assert found.sentence == "all rows were rejected: price is no number (300)"


def test_broken_lines_of_a_csv_file_are_rejected_and_the_rest_is_published(trained, rows):
    lines = text(rows(300, 2)).splitlines()
    lines[50] += ",more"
    lines[60] = "less"
    found = arrives(trained, "day1.csv", "\n".join(lines).encode(), 300)
    assert found.verdict == "warn"
    assert found.sentence == "2 of 300 rows were rejected: not a row (2)"


def test_repeated_ids_quarantine_the_batch(trained, rows):
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2).assign(id="same")), 300)
    assert found.verdict == "halt"
    assert found.sentence == "99.67% of the rows repeat an id that was there before"


BIG_TOML = 'target = "y"\nid = "id"\n[sources.history]\npath = "data/history.parquet"\n'
BIG_TRAIN = "def train(data, target):\n    return {'model': 'none'}\n"
BIG_PREDICT = "def predict(data, artifacts):\n    return data['a'].to_numpy() / 2 + 0.25\n"


def test_one_bad_row_in_a_million_is_rejected_and_the_others_are_published(tiny):
    rows, bad = 1_000_000, 654_321

    def draw(count: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        return pd.DataFrame({"id": np.arange(count), "a": rng.random(count), "b": rng.random(count)})

    history = draw(2_000, 1)
    history["y"] = (history["a"] + history["b"] > 1).astype(int)
    history.to_parquet(tiny.folder.parent.parent / "data" / "history.parquet")
    for file, code in (("project.toml", BIG_TOML), ("train.py", BIG_TRAIN), ("predict.py", BIG_PREDICT)):
        tiny.write(file, code)
    tiny.train()
    batch = draw(rows, 2)
    batch.loc[bad, "a"] = None
    begun = time.process_time()
    found = arrives(tiny, "day1.parquet", batch.to_parquet(row_group_size=250_000), rows)
    assert time.process_time() - begun < 10, "CPU seconds; it takes about three"
    assert found.verdict == "warn"
    assert found.sentence == f"1 of {rows:,} rows were rejected: a is null (1)"
    (known,) = state(tiny).batches
    rejected = pd.read_parquet(io.BytesIO(tiny.store.get(f"tiny/batches/{known}/a1/rejected.parquet")))
    assert rejected.to_dict("list") == {"row": [bad], "reason": ["a is null (training never saw a null there)"]}


# ── the project's code ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("def train(data, target):\n    return 1 / 0\n", ModelFault, r"ZeroDivisionError.*train\.py, line 2"),
        ("def train(data, target):\n    return None\n", ModelFault, "must return a fitted estimator"),
        ("def train(data, target):\n    return {'scaler': 1}\n", ModelFault, "must return a fitted estimator"),
        ("def train(data, target):\n    return lambda x: x\n", ModelFault, "cannot be stored"),
        ("def fit(data, target):\n    pass\n", ProjectError, r"defines no function train\(data, target\)"),
        ("def train(data target):\n    pass\n", ProjectError, r"train\.py of project tiny cannot be imported: Syntax"),
        ("import no_such_module\n", ProjectError, "No module named 'no_such_module'"),
    ],
)
def test_a_train_py_that_fails_is_an_error_with_its_line_and_makes_no_version(tiny, rows, code, error, said):
    tiny.write("train.py", code)
    tiny.deliver("day1", rows(100, 2))
    with pytest.raises(error, match=said):
        tiny.train()
    assert state(tiny).versions == {}
    assert tiny.line.batches.waiting() == ["day1.parquet"]


BAD_PREDICTS = [
    ("raise KeyError('shoe size')", "predict in predict.py failed: KeyError: 'shoe size' (predict.py, line 2)"),
    ("return np.zeros(len(data) - 1)", "predict returned scores of shape (299,) for 300 rows; expected (300,)"),
    ("return np.zeros((len(data), 3))", "predict returned scores of shape (300, 3) for 300 rows"),
    ("return np.where(data['age'] > 40, np.nan, 0.5)", "scores that are NaN or infinite"),
    ("return np.full(len(data), np.inf)", "predict returned 300 scores that are NaN or infinite (the first in row 0)"),
    ("return ['high'] * len(data)", "predict must return numbers, one score per row"),
    ("return None", "predict "),
]


@pytest.mark.parametrize(("body", "said"), BAD_PREDICTS)
def test_a_predict_py_that_fails_on_a_batch_quarantines_it_and_blames_the_model(trained, rows, body, said):
    trained.recode(f"def predict(data, artifacts):\n    import numpy as np; {body}\n")
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2)))
    assert (found.verdict, found.fault) == ("halt", "model")
    assert said in found.sentence
    assert state(trained).breaker.status == "open"


@pytest.mark.parametrize(("body", "said"), BAD_PREDICTS[:1] + BAD_PREDICTS[3:4])
def test_a_predict_py_that_fails_at_once_makes_no_version(tiny, rows, body, said):
    tiny.write("predict.py", f"def predict(data, artifacts):\n    import numpy as np; {body}\n")
    tiny.deliver("day1", rows(100, 2))
    with pytest.raises(ModelFault) as caught:
        tiny.train()
    assert said in str(caught.value)
    assert state(tiny).versions == {}
    assert tiny.line.batches.waiting() == ["day1.parquet"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def postprocess(scores, data):\n    return {'call': [1]}\n", "postprocess returned 1 rows for 300"),
        ("def postprocess(scores, data):\n    return 7\n", "postprocess must return a DataFrame or a dict of columns"),
        (
            "def postprocess(scores, data):\n    raise ValueError('x')\n",
            "postprocess in predict.py failed: ValueError: x",
        ),
        ("def postprocess(scores, data):\n    return {'call': [1, 'a', None] * 100}\n", "call"),
        ("def postprocess(scores, data):\n    return {'call': [object()] * 300}\n", "call"),
        ("def warm_up(artifacts):\n    raise OSError('no file')\n", "warm_up in predict.py failed: OSError: no file"),
    ],
)
def test_other_hooks_that_fail_quarantine_the_batch_and_blame_the_model(trained, rows, code, said):
    trained.recode(code)
    found = arrives(trained, "day1.parquet", parquet(rows(300, 2)))
    assert (found.verdict, found.fault) == ("halt", "model")
    assert said in found.sentence


@pytest.mark.parametrize("shards", [1, 4])
def test_a_column_of_postprocess_whose_type_depends_on_the_rows_quarantines_the_batch(trained, rows, shards):
    batch = rows(300, 2).drop(columns="bought")
    batch.loc[0, "price"] = 1.0
    trained.recode(
        "def postprocess(scores, data):\n"
        "    return {'note': [b'\\xff'] * len(data) if data['price'].iloc[0] != 1.0 else [1] * len(data)}\n"
    )
    trained.shards = shards
    found = arrives(trained, "day1.parquet", batch.to_parquet(index=False, row_group_size=100))
    assert (found.verdict, found.fault) == ("halt", "model")
    assert "note" in found.sentence
    assert "other columns" in found.sentence


def test_a_predict_py_that_cannot_be_imported_any_more_is_an_error_and_the_files_stay(trained, rows):
    data = parquet(rows(100, 2))
    trained.store.put("inbox/tiny/day1.parquet", data)
    trained.recode("import no_such_module\n")
    with pytest.raises(ProjectError, match=r"predict\.py of project tiny cannot be imported: .*'no_such_module'"):
        trained.infer()
    assert where(trained, "day1.parquet", data) == "inbox"


# ── versions and the ledger ──────────────────────────────────────────────────────────────────────


def test_without_a_champion_the_files_stay_and_the_error_says_how_to_train_one(tiny, rows):
    data = parquet(rows(100, 2))
    tiny.store.put("inbox/tiny/day1.parquet", data)
    with pytest.raises(Refused, match=r"tiny has no champion yet.*1 files wait in the inbox.*fuseline train tiny"):
        tiny.infer()
    assert where(tiny, "day1.parquet", data) == "inbox"


@pytest.mark.parametrize(
    "file", ["artifacts/model.joblib", "code/predict.py", "contract.json", "bins.json", "reference.parquet"]
)
def test_a_version_with_a_flipped_byte_is_not_opened_and_the_files_stay(trained, rows, file):
    key = f"tiny/versions/v0001/{file}"
    good = trained.store.get(key)
    trained.store.put(key, good[:50] + bytes([good[50] ^ 1]) + good[51:])
    data = parquet(rows(300, 2).assign(age=None))  # so that the reference is read as well
    trained.store.put("inbox/tiny/day1.parquet", data)
    with pytest.raises(ArtifactError, match=rf"{key} is not what was stored: its SHA-256 is .*It was not opened"):
        trained.infer("a1")
    assert where(trained, "day1.parquet", data) == "inbox"
    assert list(trained.store.list("tiny/predictions/")) == []
    trained.store.put(key, good)
    assert len(trained.infer("a2")) == 1
    assert where(trained, "day1.parquet", data) in ("published", "quarantined")


def test_a_manifest_that_is_no_json_is_an_error_and_the_files_stay(trained, rows):
    trained.store.put("tiny/versions/v0001/manifest.json", b"{")
    data = parquet(rows(100, 2))
    trained.store.put("inbox/tiny/day1.parquet", data)
    with pytest.raises(ArtifactError, match=r"manifest\.json is not a manifest"):
        trained.infer()
    assert where(trained, "day1.parquet", data) == "inbox"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not a ledger entry"),
        (b"\x00\xff", "is not a ledger entry"),
        (b'{"format": 1, "seq": 5, "id": "x", "at": "", "by": "", "kind": "reset", "data": {"rea', "is not a ledger"),
        (b'{"format": 99}', "has format 99; this Fuseline reads formats up to 2.*upgrade this one"),
        (b'{"format": 1, "seq": 5, "id": "x", "at": "", "by": "", "kind": "moved", "data": {}}', "does not hold what"),
        (encode(r.Entry(7, "x", "", "", r.Reset("x"))), "says that it is entry 7"),
    ],
)
def test_an_entry_of_the_ledger_that_cannot_be_read_stops_everything_and_is_named(trained, rows, data, said):
    seq = state(trained).seq + 1
    key = trained.line.ledger.key(seq)
    trained.store.put(key, data)
    batch = parquet(rows(100, 2))
    trained.store.put("inbox/tiny/day1.parquet", batch)
    for act in (trained.infer, trained.feedback, trained.train):
        with pytest.raises(LedgerError, match=f"{key} {said}"):
            act()
    assert trained.store.get("inbox/tiny/day1.parquet") == batch
    assert list(trained.store.list("tiny/predictions/")) == []
    assert trained.store.get(key) == data


# ── the store ────────────────────────────────────────────────────────────────────────────────────

ALWAYS = "times=1000000"


@pytest.mark.parametrize("fault", ["full", "fail-before"])
def test_a_store_that_takes_no_writes_loses_nothing_and_the_next_run_goes_on(trained, rows, fault):
    """`fail-before` is what a read-only store does."""
    disk, data = trained.store, parquet(rows(100, 2))
    disk.put("inbox/tiny/day1.parquet", data)
    before = {item.key: disk.get(item.key) for item in disk.list("")}
    rules = "; ".join(f"{fault} {write} * {ALWAYS}" for write in ("create", "put", "upload", "copy"))
    trained.store = FaultyStore(disk, parse_rules(rules))
    with pytest.raises(NotWritten, match="no space left on device" if fault == "full" else "nothing was done"):
        trained.infer("a1")
    assert {item.key: disk.get(item.key) for item in disk.list("")} == before
    trained.store = disk
    assert len(trained.infer("a2")) == 1
    assert where(trained, "day1.parquet", data) == "published"


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_store_that_fills_up_at_any_write_loses_nothing(trained, rows, nth):
    disk, data = trained.store, parquet(rows(100, 2))
    disk.put("inbox/tiny/day1.parquet", data)
    trained.store = FaultyStore(disk, parse_rules(f"full * * nth={nth} {ALWAYS}"))
    with pytest.raises(NotWritten, match="no space left on device"):
        trained.infer("a1")
    trained.store = disk
    assert where(trained, "day1.parquet", data) in ("inbox", "published")
    trained.infer("a2")
    assert where(trained, "day1.parquet", data) == "published"
    assert sum(isinstance(e.event, r.Published) for e in trained.line.ledger.entries()) == 1
    assert len(list(disk.list("tiny/predictions/"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_an_error_and_the_files_stay(trained, rows, tmp_path):
    root = tmp_path / "store"
    folder = FolderStore(root)
    for item in trained.store.list(""):
        folder.put(item.key, trained.store.get(item.key))
    trained.store = folder
    trained.deliver("day1", rows(100, 2))
    folders = [root, *(p for p in root.rglob("*") if p.is_dir())]
    for path in folders:
        path.chmod(0o500)
    try:
        with pytest.raises(StoreError):
            trained.infer()
    finally:
        for path in folders:
            path.chmod(0o700)
    assert trained.line.batches.waiting() == ["day1.parquet"]


def test_a_store_that_ignores_create_only_puts_is_refused():
    disk = MemoryStore()
    with pytest.raises(UnsafeStore, match=r"memory:// does not keep create-only puts.*Use a folder, AWS S3"):
        probe(FaultyStore(disk, parse_rules(f"ignore-create create * {ALWAYS}")))
    assert list(disk.list("")) == [], "the probe leaves nothing behind"
    probe(disk)


def test_no_ledger_is_begun_on_a_store_that_ignores_create_only_puts(tiny):
    tiny.store = FaultyStore(tiny.store, parse_rules(f"ignore-create create * {ALWAYS}"))
    with pytest.raises(UnsafeStore, match="does not keep create-only puts"):
        tiny.line.training().plan("t1")
    assert list(tiny.store.list("")) == []


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_project_is_an_error_that_names_the_near_one(tiny):
    settings = replace(Settings(), projects=tiny.folder.parent, store="memory://")
    with pytest.raises(SettingsError, match=r"there is no project 'tinny'.*Did you mean 'tiny'\?.*fuseline new tinny"):
        line("tinny", settings=settings)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('target = "y"\n[brekaer]\n', "unknown key 'brekaer'. Did you mean 'breaker'?"),
        ('target = "y"\n[breaker]\ncooldown_hours = 2\n', "'breaker.cooldown_hours'. Did you mean 'cool_down_hours'?"),
        ('target = "y"\n[breaker]\nwhile_open = "hodl"\n', "'hold', 'fallback'"),
        ('target = "y"\n[training]\nholdout = 1.5\n', "training.holdout = 1.5 is outside of 0.05 to 0.9"),
        ('targets = "y"\n', "unknown key 'targets'. Did you mean 'target'?"),
        ('id = "y"\n', "the key 'target' is missing"),
        ('target = "y\n', "is not valid TOML"),
        ("target = 7\n", "`$.target`"),
    ],
)
def test_a_typo_in_project_toml_is_an_error_that_names_file_and_key(tiny, toml, said):
    tiny.write("project.toml", toml)
    with pytest.raises(SettingsError) as caught:
        read_project(tiny.folder.parent, "tiny")
    assert said in str(caught.value)
    assert str(Path("tiny") / "project.toml") in str(caught.value)
