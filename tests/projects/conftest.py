"""A project of this repository, played over a store in memory: trained, and one batch scored."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fuseline.bootstrap import Line
from fuseline.gate import decide
from fuseline.projects import read_project
from fuseline.settings import Settings
from fuseline.storage import MemoryStore

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
Play = Callable[[str, Path, Path], Line]


def play(name: str, root: Path, batch: Path) -> Line:
    """Train `projects/<name>` on the data below `root`, and infer one batch.

    The gate judges by its bounds alone: the rehearsal in a clean process has tests of its own.
    """
    shutil.copytree(PROJECTS / name, root / "projects" / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = replace(Settings(), projects=root / "projects", now="2026-03-02T06:00:00+00:00", user="tester")
    line = Line(settings, read_project(root / "projects", name), MemoryStore(), "tester")
    training = line.training()
    plan = training.plan("t1")
    manifest = training.evaluate(plan, training.fit(plan))
    judged = decide(manifest.task, manifest.metrics, bounds=line.project.config.gate, paired=None, fault="")
    training.conclude(manifest, judged)
    line.store.upload(f"inbox/{name}/{batch.name}", batch)
    inference = line.inference("a1")
    pinned = inference.plan()
    scores = [inference.score(job, piece) for job, piece in pinned.pieces]
    inference.settle([inference.assess(job, [s for s in scores if s.batch == job.batch]) for job in pinned.jobs])
    return line


@pytest.fixture(scope="session")
def played() -> Play:
    """`played(project, root, batch)`: its line with a champion and a batch that was scored."""
    return play
