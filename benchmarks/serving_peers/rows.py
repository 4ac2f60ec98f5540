"""The rows of the benchmark, and how the peers read records: the same in each of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

NUMBERS = [f"n{i}" for i in range(8)]
TEXTS = {"country": 30, "channel": 6, "device": 4, "segment": 12, "plan": 5, "city": 60}  # name: how many levels
COLUMNS = [*NUMBERS, *TEXTS]


def draw(rows: int, seed: int, unseen: float = 0.0) -> pd.DataFrame:
    """Made-up rows with 5 % nulls; `unseen` is the share of texts that training never saw. `y` is the outcome."""
    rng = np.random.default_rng(seed)
    total, data = np.zeros(rows), {}
    for i, name in enumerate(NUMBERS):
        values = rng.normal(i, 1 + i, rows).round(4)
        total += (values - i) / (1 + i) * (0.3 if i % 2 else -0.2)
        data[name] = np.where(rng.random(rows) < 0.05, np.nan, values)
    for name, levels in TEXTS.items():
        codes = rng.integers(0, levels, rows)
        total += 0.5 * (codes % 3 == 0) - 0.15
        texts = np.array([f"{name}-{i}" for i in range(levels)], dtype=object)[codes]
        texts[rng.random(rows) < unseen] = f"{name}-new"
        texts[rng.random(rows) < 0.05] = None
        data[name] = texts
    return pd.DataFrame(data).assign(y=(rng.random(rows) < 1 / (1 + np.exp(-total))).astype("int64"))


def frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Columns as the frame that the model was trained on: their order and their types."""
    kinds = dict.fromkeys(NUMBERS, np.float64) | dict.fromkeys(TEXTS, object)
    return pd.DataFrame({name: np.array(columns[name], kind) for name, kind in kinds.items()})


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Records as columns: a frame of these is made ten times quicker than one of a list of dicts."""
    return {name: [record.get(name) for record in records] for name in COLUMNS}


def model() -> Any:
    """The pipeline that all of them serve: the file that Fuseline trained."""
    import joblib

    return joblib.load(os.environ["BENCH_MODEL"])
