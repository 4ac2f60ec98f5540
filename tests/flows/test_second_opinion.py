"""Whatever becomes of the second opinion, the run ends well and its batch is published: real processes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fuseline import launch
from fuseline.bootstrap import Line, line
from fuseline.opinion import read
from fuseline.records import Published
from fuseline.settings import Settings


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Line:
    """A copy of the trained store with one batch in its inbox."""
    shutil.copytree(trained, tmp_path / "line")
    settings = Settings(store=str(tmp_path / "line" / "store"), projects=tmp_path / "line" / "projects", user="tester")
    return line("tiny", settings=replace(settings, now="2026-03-02T06:00:00+00:00"))


def evidently(folder: Path, does: str, environment: pytest.MonkeyPatch) -> None:
    """Put a library of that name in front of any real one, for the processes that are started from here."""
    (folder / "evidently").mkdir(parents=True)
    (folder / "evidently" / "__init__.py").write_text(does)
    before = os.environ.get("PYTHONPATH")
    environment.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([before] if before else [])]))


def published(here: Line) -> Published:
    (event,) = (e.event for e in here.ledger.entries() if isinstance(e.event, Published))
    return event


def page_of(here: Line, event: Published) -> str:
    return here.store.get(f"tiny/reports/batches/{event.batch}.html").decode()


def test_a_library_that_crashes_is_told_on_the_page_of_the_batch(here, tmp_path, monkeypatch):
    evidently(tmp_path / "library", "import os; os.abort()", monkeypatch)
    launch.run("infer", "tiny", here.settings)
    event = published(here)
    opinion = read(here.batches, event.batch, event.attempt)
    assert opinion is not None and opinion.error.startswith("it ended with signal 6")
    page = page_of(here, event)
    assert "Evidently was asked: it ended with signal 6" in page
    assert "It is published" in page


def test_a_store_that_fails_under_the_opinion_fails_no_run(here, tmp_path, monkeypatch):
    evidently(tmp_path / "library", "", monkeypatch)
    steps: list[str] = []
    launch.run("infer", "tiny", replace(here.settings, faults="fail-before put */evidently.json"), steps.append)
    assert steps == ["start", "score", "assess", "publish", "explain", "end"]
    event = published(here)
    assert read(here.batches, event.batch, event.attempt) is None
    assert "It is published" in page_of(here, event)
    assert "Evidently" not in page_of(here, event)
