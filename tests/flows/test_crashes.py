"""InferenceFlow killed with SIGKILL at every point that matters, and two of them at once: real processes."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fuseline import launch
from fuseline.bootstrap import Line, line
from fuseline.errors import FuselineError
from fuseline.records import Published, Started
from fuseline.settings import Settings

FIRST, LATER = "2026-03-02T06:00:00+00:00", "2026-03-02T09:00:00+00:00"

POINTS = {
    "before scoring a shard": "kill-before upload */part-00000.parquet",
    "after scoring a shard": "kill-after upload */part-00000.parquet",
    "before the verdict": "kill-before put */metrics.json",
    "after the verdict": "kill-after put */metrics.json",
    "before the publish entry": "kill-before create */ledger/* content=published",
    "after the publish entry": "kill-after create */ledger/* content=published",
    "before the visible output": "kill-before copy */predictions/*",
    "after the visible output": "kill-after copy */predictions/*",
}


def at(trained: Path, target: Path, **settings: str) -> Line:
    """A line of its own: a copy of the trained store, one batch in its inbox."""
    shutil.copytree(trained, target)
    chosen = replace(Settings(), store=str(target / "store"), projects=target / "projects", user="tester", now=FIRST)
    return line("tiny", settings=replace(chosen, **settings))  # type: ignore[arg-type]


def published(here: Line) -> list[Published]:
    return [e.event for e in here.ledger.entries() if isinstance(e.event, Published)]


def visible(here: Line) -> dict[str, bytes]:
    """What consumers read, by batch; the number of the entry that published it is left out of the names."""
    folder = Path(here.settings.store) / "tiny" / "predictions"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len({path.stem.rsplit(".", 1)[0] for path in files}) == len(files)
    return {path.stem.rsplit(".", 1)[0]: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A line whose batch was published while nothing happened; to be read, not changed."""
    here = at(trained, tmp_path_factory.mktemp("undisturbed") / "line")
    launch.run("infer", "tiny", here.settings)
    return here


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_any_point_and_run_again_publishes_once_and_the_same(point, trained, undisturbed, tmp_path):
    here = at(trained, tmp_path / "line", faults=POINTS[point])
    with pytest.raises(FuselineError):
        launch.run("infer", "tiny", here.settings)
    again = line("tiny", settings=replace(here.settings, faults="", now=LATER))
    assert len(visible(again)) <= len(published(again)) <= 1
    assert again.batches.waiting() == ["day1.parquet"]

    launch.run("infer", "tiny", again.settings)

    assert len(published(again)) == 1
    assert visible(again) == visible(undisturbed)
    assert again.batches.waiting() == []
    assert sum(isinstance(e.event, Started) for e in again.ledger.entries()) == 1


def test_two_runs_at_once_publish_each_batch_once(trained, undisturbed, tmp_path):
    here = at(trained, tmp_path / "line")
    for day in (2, 3):
        source = here.batches.inbox_key("day1.parquet")
        with here.store.local(source) as path:
            here.store.upload(here.batches.inbox_key(f"day{day}.parquet"), path)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(launch.run, "infer", "tiny", here.settings) for _ in range(2)]
        for run in runs:
            run.result()
    assert sorted(p.batch.split(".")[0] for p in published(here)) == ["day1", "day2", "day3"]
    assert len(visible(here)) == 3
    assert visible(undisturbed).items() <= visible(here).items()
    assert here.batches.waiting() == []


def test_pandas_and_duckdb_pointed_at_the_folder_read_what_the_ledger_says(undisturbed):
    import duckdb
    import pandas as pd

    folder = Path(undisturbed.settings.store) / "tiny" / "predictions"
    (entry,) = published(undisturbed)
    read = pd.read_parquet(folder)
    assert (len(read), set(read["batch"])) == (entry.rows, {entry.batch})
    with duckdb.connect() as connection:
        query = "select count(*), min(batch), max(version) from read_parquet(?)"
        assert connection.execute(query, [f"{folder}/*.parquet"]).fetchone() == (entry.rows, entry.batch, entry.version)
