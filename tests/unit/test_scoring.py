"""The scoring pass: the same rows give the same scores and figures however they come, in memory that does not grow."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseline.folder import FolderStore
from fuseline.predictions import METRICS, PREDICTIONS, REJECTED, Scored

ROWS = 7_000


@pytest.fixture
def deliver(trained, tmp_path):
    """`deliver(file, rows)`: puts rows into the inbox in the format that the file's ending says."""

    def put(file: str, rows: pd.DataFrame, **options: object) -> None:
        path = tmp_path / "data" / file
        match path.suffix:
            case ".parquet":
                rows.to_parquet(path, index=False, **options)
            case ".csv":
                rows.to_csv(path, index=False, **options)
            case ".jsonl":
                rows.to_json(path, orient="records", lines=True, double_precision=15)
        trained.store.upload(f"inbox/tiny/{file}", path)

    return put


def scored(project, attempt: str = "a1", shards: int = 4, name: str = "") -> Scored:
    """Score and judge the only batch of the inbox, or the one of this name; it is not settled."""
    line = replace(project.line, settings=replace(project.line.settings, shards=shards))
    inference = line.inference(attempt)
    plan = inference.plan()
    (job,) = [job for job in plan.jobs if name in ("", job.name)]
    return inference.assess(job, [inference.score(job, piece) for j, piece in plan.pieces if j is job])


def staged(project, done: Scored, file: str) -> bytes:
    return project.store.get(project.line.batches.staged_key(done.batch, done.attempt, file))


def table(project, done: Scored, file: str = PREDICTIONS) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(staged(project, done, file)))


def features(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="bought")


# ── the same whatever the sharding ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_one_shard_and_eight_give_the_same_bytes_figures_and_verdict(trained, deliver, rows, factor):
    batch = features(rows(ROWS, 2))
    batch["price"] *= factor
    batch.loc[[5, 6_000, ROWS - 1], "price"] = None  # never null in training
    batch.loc[[7, 5_000], "id"] = batch.loc[0, "id"]
    deliver("day1.parquet", batch, row_group_size=700)
    one, eight = scored(trained, "one", 1), scored(trained, "eight", 8)
    assert replace(eight, attempt="one") == one
    for file in (PREDICTIONS, REJECTED, METRICS):
        assert staged(trained, one, file) == staged(trained, eight, file), file
    assert one.assessment.verdict == ("warn" if factor == 1.0 else "halt")
    parts = [k.key for k in trained.store.list(f"tiny/batches/{one.batch}/eight/part-")]
    assert len(parts) == 8, "or the second run was not sharded at all"


def test_shards_may_be_scored_and_merged_in_any_order(trained, deliver, rows):
    deliver("day1.parquet", features(rows(3_000, 2)), row_group_size=500)
    inference = trained.line.inference("a1")
    plan = inference.plan()
    (job,) = plan.jobs
    scores = [inference.score(job, piece) for _, piece in reversed(plan.pieces)]
    backwards = inference.assess(job, scores)
    data = staged(trained, backwards, METRICS)
    forwards = inference.assess(job, scores[::-1])
    assert forwards == backwards
    assert staged(trained, forwards, METRICS) == data


def test_row_groups_of_another_size_give_the_same_scores(trained, deliver, rows):
    batch = features(rows(3_000, 2))
    deliver("whole.parquet", batch)
    deliver("cut.parquet", batch, row_group_size=150)
    whole, cut = (table(trained, scored(trained, name=name)) for name in ("whole", "cut"))
    np.testing.assert_allclose(cut["score"], whole["score"], rtol=0, atol=1e-15)
    assert list(cut["id"]) == list(whole["id"])


def test_csv_json_lines_and_parquet_of_the_same_rows_give_the_same_scores(trained, deliver, rows):
    batch = features(rows(2_000, 2))
    for file in ("a.parquet", "b.csv", "c.jsonl"):
        deliver(file, batch)
    by_format = {}
    for name in ("a", "b", "c"):
        done = scored(trained, name=name)
        by_format[name] = table(trained, done).drop(columns="batch")
        assert (done.rows, done.rejected, done.assessment.verdict) == (2_000, 0, "pass")
    pd.testing.assert_frame_equal(by_format["b"], by_format["a"], check_exact=True)
    pd.testing.assert_frame_equal(by_format["c"], by_format["a"], check_exact=True)


@pytest.mark.parametrize("kind", ["large_string", "dictionary"])
def test_text_in_another_arrow_type_gives_the_same_scores(trained, deliver, rows, kind):
    batch = features(rows(500, 2))
    deliver("plain.parquet", batch)
    types = {"large_string": pa.large_string(), "dictionary": pa.dictionary(pa.int32(), pa.string())}
    other = pa.Table.from_pandas(batch, preserve_index=False)
    for name in ("id", "colour"):
        other = other.set_column(other.column_names.index(name), name, other.column(name).cast(types[kind]))
    sink = pa.BufferOutputStream()
    pq.write_table(other, sink)
    trained.store.put("inbox/tiny/other.parquet", bytes(sink.getvalue()))
    plain, same = (table(trained, scored(trained, name=name)) for name in ("plain", "other"))
    assert list(same["score"]) == list(plain["score"])


# ── every row is scored or rejected ──────────────────────────────────────────────────────────────


def test_every_row_is_scored_or_rejected_with_its_number_and_its_reason(trained, deliver, rows):
    batch = features(rows(1_000, 2)).astype({"price": object})
    batch.loc[3, "price"] = "cheap"
    batch.loc[44, "price"] = ""
    batch.loc[555, "id"] = ""
    batch.loc[556, "price"] = "inf"
    batch.loc[999, ["price", "id"]] = ["dear", ""]
    deliver("day1.csv", batch)
    done = scored(trained)
    rejected = table(trained, done, REJECTED).set_index("row")["reason"]
    assert rejected.to_dict() == {
        3: "price: 'cheap' is no number",
        44: "price is null (training never saw a null there)",
        555: "id is missing",
        556: "price is infinite",
        999: "price: 'dear' is no number; id is missing",
    }
    predictions = table(trained, done)
    assert list(predictions["id"]) == list(batch["id"].drop(index=rejected.index))
    assert (done.rows, done.rejected) == (995, 5)
    reasons = json.loads(staged(trained, done, METRICS))["reasons"]
    assert reasons == {"price is no number": 2, "price is null": 1, "price is infinite": 1, "id is missing": 2}


@pytest.mark.parametrize("line", ["7,8", "1,2,3,4,5,6", "'"])
def test_a_broken_csv_line_is_rejected_and_the_rows_around_it_keep_their_numbers(trained, deliver, rows, line):
    batch = features(rows(400, 2))
    lines = batch.to_csv(index=False).splitlines()
    lines.insert(101, line)  # row 100
    lines[301] = lines[301].replace(",", ",x", 1)  # row 300: the price is no number
    trained.store.put("inbox/tiny/day1.csv", "\n".join(lines).encode())
    done = scored(trained)
    assert (done.rows, done.rejected) == (399, 2)
    rejected = table(trained, done, REJECTED)
    assert sorted(rejected["row"]) == [100, 300]
    assert "not a row" in json.loads(staged(trained, done, METRICS))["reasons"]
    assert list(table(trained, done)["id"]) == [i for n, i in enumerate(batch["id"]) if n != 299]


def test_a_broken_json_line_is_rejected_and_the_rows_around_it_are_scored(trained, rows):
    lines = features(rows(400, 2)).to_json(orient="records", lines=True).splitlines()
    lines[100] = lines[100][:-5]
    lines[200] = "[1, 2]"
    trained.store.put("inbox/tiny/day1.jsonl", "\n".join(lines).encode())
    done = scored(trained)
    assert (done.rows, done.rejected) == (398, 2)
    rejected = table(trained, done, REJECTED).set_index("row")["reason"]
    assert sorted(rejected.index) == [100, 200]
    assert rejected[200].startswith("is JSON, but no object")


def test_a_batch_of_which_all_rows_are_rejected_stages_no_predictions(trained, deliver, rows):
    deliver("day1.parquet", features(rows(50, 2)).assign(price=np.nan))
    done = scored(trained)
    assert (done.rows, done.rejected, done.digest) == (0, 50, "")
    assert not trained.store.exists(trained.line.batches.staged_key(done.batch, "a1", PREDICTIONS))
    assert len(table(trained, done, REJECTED)) == 50


def test_a_clean_batch_stages_no_rejected_rows(trained, deliver, rows):
    deliver("day1.parquet", features(rows(50, 2)))
    done = scored(trained)
    assert not trained.store.exists(trained.line.batches.staged_key(done.batch, "a1", REJECTED))


# ── what a row of the predictions says ───────────────────────────────────────────────────────────


def test_every_row_says_which_batch_version_mode_and_time_it_is_of(trained, deliver, rows):
    deliver("day1.parquet", features(rows(50, 2)))
    done = scored(trained)
    found = table(trained, done)
    assert list(found.columns) == ["id", "score", "batch", "version", "mode", "scored_at"]
    assert set(found["batch"]) == {done.batch}
    assert set(found["version"]) == {"v0001"}
    assert set(found["mode"]) == {"champion"}
    assert set(found["scored_at"]) == {pd.Timestamp("2026-03-01T06:00:00Z")}
    assert found["score"].between(0, 1).all()


def test_the_target_in_a_batch_is_not_used(trained, deliver, rows):
    deliver("day1.parquet", rows(300, 2))
    done = scored(trained)
    assert done.assessment.verdict == "pass"
    assert "bought" not in table(trained, done)


def test_rows_without_an_id_column_are_named_by_batch_and_row_number(tiny, rows):
    toml = 'target = "bought"\ndrop = ["id"]\n[sources.history]\npath = "data/history.parquet"\n'
    tiny.write("project.toml", toml)
    tiny.train()
    batch = features(rows(300, 2)).astype({"price": object})
    batch.loc[1, "price"] = "x"
    lines = batch.to_csv(index=False).splitlines()
    lines.insert(3, "broken")
    tiny.store.put("inbox/tiny/day 1.csv", "\n".join(lines).encode())
    done = scored(tiny)
    found = table(tiny, done)
    assert list(found["row_id"]) == ["day-1:0", *(f"day-1:{row}" for row in range(3, 301))]
    assert list(found.columns)[:2] == ["row_id", "score"]


def test_a_joined_source_gives_its_columns_to_the_rows_of_each_shard(with_shops, rows, sold, tmp_path):
    with_shops.train()
    batch = features(sold(rows(600, 2)))
    batch.loc[[10, 500], "shop"] = ["nowhere", None]
    path = tmp_path / "day1.parquet"
    batch.to_parquet(path, row_group_size=100, index=False)
    with_shops.store.upload("inbox/tiny/day1.parquet", path)
    done = scored(with_shops)
    assert set(table(with_shops, done, REJECTED)["row"]) == {10, 500}
    found = table(with_shops, done)
    expected = batch.drop(index=[10, 500])["shop"].map({"a": 0.25, "b": 0.5, "c": 0.75})
    assert list(found["score"]) == list(expected)


def test_what_postprocess_adds_is_published_beside_the_score(tiny, rows):
    tiny.write(
        "predict.py",
        "def postprocess(scores, data):\n    return {'call': scores > 0.5, 'dear': data['price'].to_numpy() > 100}\n",
    )
    tiny.train()
    tiny.deliver("day1", features(rows(300, 2)))
    found = table(tiny, scored(tiny))
    assert list(found.columns) == ["id", "score", "call", "dear", "batch", "version", "mode", "scored_at"]
    assert (found["call"] == (found["score"] > 0.5)).all()


# ── code that fails ──────────────────────────────────────────────────────────────────────────────


def test_code_that_fails_in_one_shard_leaves_no_predictions_of_the_batch(tiny, rows, tmp_path):
    tiny.write(
        "predict.py",
        "def preprocess(data, artifacts):\n"
        "    if (data['price'] > 1e6).any():\n        raise ValueError('too dear')\n    return data\n",
    )
    tiny.train()
    batch = features(rows(400, 2))
    batch.loc[250, "price"] = 1e7
    batch.to_parquet(tmp_path / "day1.parquet", row_group_size=100, index=False)
    tiny.store.upload("inbox/tiny/day1.parquet", tmp_path / "day1.parquet")
    inference = tiny.line.inference("a1")
    plan = inference.plan()
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    assert [s.fault is None for s in scores] == [True, True, False, True]
    assert scores[2].rows == 0
    assert scores[2].part == ""
    done = inference.assess(plan.jobs[0], scores)
    assert done.assessment.verdict == "halt"
    assert done.assessment.fault == "model"
    assert "too dear" in done.assessment.sentence
    assert "predict.py, line 3" in done.assessment.sentence


# ── memory ───────────────────────────────────────────────────────────────────────────────────────

MEASURE = """
import resource, sys, tempfile
from pathlib import Path
import pyarrow as pa
from fuseline import tables
from fuseline.folder import FolderStore
from fuseline.models import Models
from fuseline.projects import read_project
from fuseline.scoring import Scorer

project, store = read_project(Path(sys.argv[1]), "tiny"), FolderStore(Path(sys.argv[2]))
scorer = Scorer(project.config, Models(store, "tiny").open("v0001"), [], "day1")
for name in sys.argv[3:]:
    with tempfile.TemporaryDirectory() as folder:
        (shard,) = tables.shards(Path(name), 1)
        score = scorer.score(Path(name), shard, {"batch": pa.scalar("b")}, Path(folder))
    print(score.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_rows(trained, rows, tmp_path):
    store = FolderStore(tmp_path / "store")
    for item in trained.store.list("tiny/versions/"):
        store.put(item.key, trained.store.get(item.key))
    some = pa.Table.from_pandas(features(rows(50_000, 2)), preserve_index=False)
    paths = [tmp_path / "small.parquet", tmp_path / "large.parquet"]
    for path, times in zip(paths, (1, 10), strict=True):
        with pq.ParquetWriter(path, some.schema) as writer:
            for _ in range(times):
                writer.write_table(some)
    command = [sys.executable, "-c", MEASURE, str(trained.folder.parent), str(tmp_path / "store"), *map(str, paths)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert [int(said[0]), int(said[2])] == [50_000, 500_000]
    grown = float(said[3]) - float(said[1])  # MB; the larger one has 450,000 rows more, over 100 MB as a frame
    assert grown < 60, f"scoring ten times the rows took {grown:.0f} MB more"
