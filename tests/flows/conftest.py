"""A small project over a folder, trained once for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fuseline.bootstrap import line
from fuseline.settings import Settings

TOML = 'target = "bought"\nid = "id"\n[sources.history]\npath = "data/history.parquet"\n'
TRAIN = """
import numpy as np


class Rule:
    def predict_proba(self, data):
        score = 1 / (1 + np.exp(data["price"].to_numpy() / 30 - 3 + (data["age"].to_numpy() - 40) / 7))
        return np.column_stack([1 - score, score])


def train(data, target):
    return Rule()
"""  # no scikit-learn: its import is half of what a run costs; `test_line` and the tests of Evidently run with it


def made_up(rows: int, seed: int) -> pd.DataFrame:
    """Labelled rows: `bought` depends on price and age."""
    rng = np.random.default_rng(seed)
    price, age = rng.gamma(4.0, 25.0, rows), rng.normal(40, 10, rows)
    bought = rng.random(rows) < 1 / (1 + np.exp(price / 30 - 3 + (age - 40) / 7))
    ids = [f"{seed}-{i}" for i in range(rows)]
    return pd.DataFrame({"id": ids, "price": price, "age": age, "bought": np.where(bought, "yes", "no")})


@pytest.fixture(autouse=True)
def always(uncovered: None) -> None:
    """Every test of this folder runs flows."""


@pytest.fixture
def draw() -> Callable[[int, int], pd.DataFrame]:
    """`draw(rows, seed)`: labelled rows like the history's."""
    return made_up


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project, a store with a champion, and one batch in the inbox; to be copied, not changed."""
    root = tmp_path_factory.mktemp("trained")
    folder = root / "projects" / "tiny"
    folder.mkdir(parents=True)
    (root / "data").mkdir()
    made_up(1_200, 1).to_parquet(root / "data" / "history.parquet", index=False)
    (folder / "project.toml").write_text(TOML)
    (folder / "train.py").write_text(TRAIN)
    settings = Settings(store=str(root / "store"), projects=root / "projects", now="2026-03-01T06:00:00+00:00")
    here = line("tiny", by="tester", settings=settings)
    training = here.training()
    plan = training.plan("t1")
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))
    inbox = root / "store" / "inbox" / "tiny"
    inbox.mkdir(parents=True)
    batch = made_up(400, 2).drop(columns="bought")
    batch.to_parquet(root / "day1.parquet", index=False)
    shutil.copyfile(root / "day1.parquet", inbox / "day1.parquet")
    return root
