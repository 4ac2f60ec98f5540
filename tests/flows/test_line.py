"""The whole loop through the flows and the store that the setting names: a folder's twin on S3 (moto's server)."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fuseline import cards, launch
from fuseline.bootstrap import Line, line
from fuseline.records import Held, Labelled, Promoted, Published, Quarantined
from fuseline.settings import Settings

TRAIN = """
from sklearn.linear_model import LogisticRegression

def train(data, target):
    return LogisticRegression().fit(data, target)
"""


@pytest.fixture
def on_s3(trained: Path, bucket: str, tmp_path: Path) -> Line:
    """The project, with a model of scikit-learn, on an empty bucket."""
    for folder in ("projects", "data"):
        shutil.copytree(trained / folder, tmp_path / folder)
    (tmp_path / "projects" / "tiny" / "train.py").write_text(TRAIN)
    settings = Settings(store=f"s3://{bucket}/line", projects=tmp_path / "projects", user="tester")
    return line("tiny", settings=replace(settings, now="2026-03-01T06:00:00+00:00"))


def kinds(here: Line) -> Iterator[Any]:
    return (e.event for e in here.ledger.entries())


def card(here: Line, run: launch.Run) -> str:
    """The card that a run left, as another process finds it."""
    flow, number = run.by.split("/")
    found = cards.read(flow, number, here.settings.environment())
    assert [one.step for one in found.cards] == ["end"], found.why
    return found.cards[0].html


def kept(here: Line, run: launch.Run) -> str:
    """The card that a run left in the bucket."""
    flow, number = run.by.split("/")
    (item,) = here.store.list(f"metaflow/mf.cards/{flow}/runs/{number}/steps/end/tasks/")
    return here.store.get(item.key).decode()


def put(here: Line, key: str, rows: pd.DataFrame, folder: Path) -> None:
    rows.to_csv(folder / "delivery.csv", index=False)
    here.store.upload(key, folder / "delivery.csv")


def test_the_loop_on_s3_trains_publishes_halts_and_reads_labels(on_s3, draw, tmp_path):
    trained = launch.run("train", "tiny", on_s3.settings)
    assert "tiny: v0001" in kept(on_s3, trained)
    assert [type(e) for e in kinds(on_s3) if isinstance(e, Promoted | Held)] == [Promoted]

    put(on_s3, "inbox/tiny/day1.csv", draw(600, 2).drop(columns="bought"), tmp_path)
    broken = draw(600, 3).drop(columns="bought").assign(price=lambda d: d["price"] * 100)
    put(on_s3, "inbox/tiny/day2.csv", broken, tmp_path)
    put(on_s3, "inbox/tiny/day3.csv", draw(600, 4).drop(columns="bought"), tmp_path)
    inferred = launch.run("infer", "tiny", on_s3.settings)

    (published,) = [e for e in kinds(on_s3) if isinstance(e, Published)]
    (quarantined,) = [e for e in kinds(on_s3) if isinstance(e, Quarantined)]
    assert published.batch.startswith("day1.")
    assert "price looks multiplied by 100" in quarantined.assessment.sentence
    assert on_s3.ledger.state().breaker.status == "open"
    assert on_s3.batches.waiting() == ["day3.csv"]
    (visible,) = on_s3.store.list("tiny/predictions/")
    with on_s3.store.local(visible.key) as path:
        read = pd.read_parquet(path)
    assert len(read) == 600 and set(read["batch"]) == {published.batch} and set(read["version"]) == {"v0001"}

    put(on_s3, "labels/tiny/day1.csv", draw(600, 2)[["id", "bought"]], tmp_path)
    read_labels = launch.run("feedback", "tiny", on_s3.settings)
    (labelled,) = [e for e in kinds(on_s3) if isinstance(e, Labelled)]
    assert labelled.batches[0].rows == 600 and labelled.verdict == "pass"
    assert b"price looks multiplied by 100" in on_s3.store.get("tiny/reports/index.html")

    shown = kept(on_s3, inferred)
    assert "1 batch published, 1 held back. 1 file left to a later run" in shown
    assert shown.index(published.batch) < shown.index("● pass") < shown.index(quarantined.batch) < shown.index("■ halt")
    assert quarantined.assessment.sentence in html.unescape(shown)
    assert f"<td>{published.batch}</td><td>v0001</td><td>600</td>" in kept(on_s3, read_labels)


def test_a_flow_with_nothing_to_do_ends_well(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "line")
    root = tmp_path / "line"
    (root / "store" / "inbox" / "tiny" / "day1.parquet").unlink()
    settings = Settings(store=str(root / "store"), projects=root / "projects", user="tester")
    here = line("tiny", settings=settings)
    before = here.ledger.state()
    steps: list[str] = []
    run = launch.run("infer", "tiny", settings, steps.append)
    assert steps == ["start", "score", "assess", "publish", "explain", "end"]
    assert here.ledger.state() == before
    assert "No batch was scored." in card(here, run)
    assert "No new labels were read." in card(here, launch.run("feedback", "tiny", settings))
