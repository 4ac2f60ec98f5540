"""The data sets of the benchmark: real ones from a folder beside the project, and generated ones of several shapes.

Another data set is one line in `SETS`: a name, a function that gives features and target, a model, and whether settings
may be tuned on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

Task = Literal["binary", "multiclass", "regression"]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROWS = {"train": 15_000, "reference": 10_000}


@dataclass(frozen=True)
class Set:
    """A data set: what is loaded, how it is modelled, whether settings were tuned on it."""

    name: str
    load: Callable[[], tuple[pd.DataFrame, np.ndarray]]
    task: Task
    model: str = "boosting"
    tuned: bool = False
    reference: int = 10_000

    @property
    def missing(self) -> str | None:
        """Why it cannot be loaded; None if it can."""
        file = getattr(self.load, "file", None)
        return None if file is None or (SHARED / file).is_file() else f"{file} is not in {SHARED.name}"


@dataclass
class Case:
    """A fitted model with its held-out reference and a pool of rows from which batches are drawn."""

    set: Set
    seed: int = 0

    @cached_property
    def parts(self) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
        """train, reference and pool, split at random."""
        frame, target = self.set.load()
        mixed = np.random.default_rng(self.seed).permutation(len(frame))
        ends = ROWS["train"], ROWS["train"] + self.set.reference
        pieces = {"train": mixed[: ends[0]], "reference": mixed[ends[0] : ends[1]], "pool": mixed[ends[1] :]}
        return {k: (frame.iloc[v].reset_index(drop=True), target[v]) for k, v in pieces.items()}

    @cached_property
    def model(self):
        """The fitted pipeline."""
        return pipeline(self.set.task, self.set.model).fit(*self.parts["train"])

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """Scores as a project's predict gives them: (rows,), or (rows, classes) for several classes."""
        if self.set.task == "regression":
            return self.model.predict(frame)
        chances = self.model.predict_proba(frame)
        return chances[:, 1] if self.set.task == "binary" else chances

    @cached_property
    def reference(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Held-out labelled rows."""
        return self.parts["reference"]

    @cached_property
    def pool(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Rows for batches, and for the true loss of what is done to them."""
        return self.parts["pool"]

    @cached_property
    def pool_scores(self) -> np.ndarray:
        """What the model says of the pool."""
        return self.score(self.pool[0])


def pipeline(task: Task, model: str):
    """A pipeline that takes any frame of numbers and text."""
    numbers, text = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    if model == "boosting":
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        make = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
        return make_pipeline(
            make_column_transformer((codes, text), remainder="passthrough"),
            make(max_iter=80, random_state=0),
        )
    onehot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    linear = Ridge(1.0) if task == "regression" else LogisticRegression(max_iter=300)
    return make_pipeline(
        make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), numbers), (onehot, text)), linear
    )


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float64, everything else as text with None."""
    made = {}
    for name in frame:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column):
            made[name] = column.astype(np.float64)
        else:
            made[name] = column.astype(object).where(column.notna(), None)
    return pd.DataFrame(made)


# ── real ────────────────────────────────────────────────────────────────────────────────────────


def real(file: str, drop: tuple[str, ...] = ()) -> Callable[[], tuple[pd.DataFrame, np.ndarray]]:
    """A Parquet file of the shared folder with the column `target`."""

    def load() -> tuple[pd.DataFrame, np.ndarray]:
        frame = pd.read_parquet(SHARED / file)
        return plain(frame.drop(columns=["target", *drop])), frame["target"].to_numpy()

    load.file = file
    return load


# ── generated ───────────────────────────────────────────────────────────────────────────────────

N = 65_000


def _latent(rng: np.random.Generator, columns: int, shared: float) -> np.ndarray:
    """Correlated normals, shape (N, columns): each has `shared` of its variance in common with two factors."""
    factors, load = rng.normal(size=(N, 2)), rng.normal(size=(2, columns))
    load *= np.sqrt(shared) / np.linalg.norm(load, axis=0)
    return factors @ load + np.sqrt(1.0 - shared) * rng.normal(size=(N, columns))


def _text(rng: np.random.Generator, latent: np.ndarray, levels: list[str], skew: float = 1.0) -> np.ndarray:
    """Levels of unequal size that follow a latent number."""
    weights = np.arange(1, len(levels) + 1) ** -skew
    edges = np.quantile(latent, np.cumsum(weights / weights.sum())[:-1])
    return np.array(levels, dtype=object)[rng.permutation(len(levels))][np.searchsorted(edges, latent)]


def _nulls(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    found = values.copy()
    found[rng.random(len(values)) < share] = None if values.dtype == object else np.nan
    return found


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def shop() -> tuple[pd.DataFrame, np.ndarray]:
    """Two classes; skewed numbers with nulls and zeros, text of few and of many levels, columns that go together."""
    rng = np.random.default_rng(11)
    z = _latent(rng, 12, 0.5)
    frame = pd.DataFrame(
        {
            "price": np.round(np.exp(4.0 + 0.8 * z[:, 0]), 2),
            "nights": 1.0 + rng.poisson(np.exp(0.6 + 0.3 * z[:, 1])),
            "lead": np.round(np.exp(3.0 + 1.2 * z[:, 2])),
            "age": _nulls(rng, np.round(np.clip(40 + 12 * z[:, 3], 18, 90)), 0.05),
            "visits": np.where(z[:, 4] < 0.3, 0.0, np.round(np.exp(z[:, 4]))),
            "rating": np.round(np.clip(7 + 1.2 * z[:, 5], 1, 10), 1),
            "country": _text(rng, z[:, 6], [f"C{i:02d}" for i in range(30)]),
            "channel": _nulls(rng, _text(rng, z[:, 7], ["web", "app", "agent", "phone"]), 0.03),
            "segment": _text(rng, z[:, 8], ["a", "b", "c", "d", "e", "f"], 0.5),
            "meal": _text(rng, z[:, 9], ["none", "half", "full"]),
            "noise": rng.normal(size=N),
            "weekday": rng.integers(0, 7, N).astype(np.float64),
        }
    )
    linear = 1.1 * z[:, 0] + 0.9 * z[:, 2] - 0.7 * z[:, 4] + 0.9 * z[:, 6] + 0.6 * z[:, 7] + 0.5 * z[:, 0] * z[:, 8]
    return frame, (rng.random(N) < _sigmoid(linear - 1.0)).astype(np.int64)


def sensors() -> tuple[pd.DataFrame, np.ndarray]:
    """Regression on ten numbers that go together a little, with a smooth law and normal noise (after Friedman 1991)."""
    rng = np.random.default_rng(12)
    ranks = pd.DataFrame(_latent(rng, 10, 0.35)).rank(pct=True).to_numpy()
    pairs = np.sin(np.pi * ranks[:, 0] * ranks[:, 1])
    y = 10 * pairs + 20 * (ranks[:, 2] - 0.5) ** 2 + 10 * ranks[:, 3] + 5 * ranks[:, 4]
    frame = pd.DataFrame({f"s{i}": np.round(20.0 + 30.0 * ranks[:, i], 2) for i in range(10)})
    return frame, y + rng.normal(size=N) * 2.0


def losses() -> tuple[pd.DataFrame, np.ndarray]:
    """Regression on claim amounts: gamma with a heavy tail, text and numbers."""
    rng = np.random.default_rng(13)
    z = _latent(rng, 8, 0.4)
    frame = pd.DataFrame(
        {
            "value": np.round(np.exp(9.0 + 0.7 * z[:, 0])),
            "age": np.round(np.clip(45 + 14 * z[:, 1], 18, 85)),
            "years": np.round(np.clip(8 + 5 * z[:, 2], 0, 30)),
            "km": _nulls(rng, np.round(np.exp(9.3 + 0.5 * z[:, 3])), 0.08),
            "body": _text(rng, z[:, 4], ["sedan", "hatch", "wagon", "ute", "truck", "bus"]),
            "region": _text(rng, z[:, 5], [f"R{i}" for i in range(12)], 0.7),
            "use": _text(rng, z[:, 6], ["private", "business"]),
            "bonus": np.round(np.clip(50 + 25 * z[:, 7], 0, 100)),
        }
    )
    mean = np.exp(6.0 + 0.7 * z[:, 0] + 0.5 * z[:, 3] - 0.4 * z[:, 7] + 0.5 * z[:, 4])
    return frame, np.round(mean * rng.gamma(0.8, 1.0 / 0.8, N), 2)


def policies() -> tuple[pd.DataFrame, np.ndarray]:
    """Regression on claim costs of policies: nineteen in twenty have none, and a few are very large."""
    rng = np.random.default_rng(17)
    z = _latent(rng, 6, 0.3)
    frame = pd.DataFrame(
        {
            "duration": np.round(np.clip(rng.beta(1.2, 1.0, N), 0.01, 1.0), 3),
            "worth": np.round(np.exp(0.5 + 0.6 * z[:, 0]), 2),
            "make": _text(rng, z[:, 1], [f"B{i:02d}" for i in range(12)], 1.3),
            "zone": _text(rng, z[:, 2], ["A", "B", "C", "D", "E"], 0.6),
            "driver": _text(rng, z[:, 3], ["young", "middle", "old"], 0.4),
            "sex": _text(rng, z[:, 4], ["F", "M"], 0.2),
        }
    )
    claims = rng.poisson(0.1 * frame["duration"] * np.exp(0.4 * z[:, 3] + 0.2 * z[:, 1]))
    return frame, np.round(claims * np.exp(7.0 + 0.3 * z[:, 0] + 1.2 * rng.normal(size=N)), 2)


def kinds() -> tuple[pd.DataFrame, np.ndarray]:
    """Four classes on numbers and text."""
    rng = np.random.default_rng(14)
    z = _latent(rng, 9, 0.3)
    frame = pd.DataFrame({f"x{i}": np.round(5.0 + 2.0 * z[:, i], 3) for i in range(6)})
    frame["colour"] = _text(rng, z[:, 6], ["red", "green", "blue", "black", "white"], 0.6)
    frame["maker"] = _text(rng, z[:, 7], [f"M{i}" for i in range(20)])
    frame["count"] = rng.poisson(np.exp(0.5 + 0.5 * z[:, 8])).astype(np.float64)
    pull = np.column_stack(
        [z[:, 0] + z[:, 6], z[:, 1] - 0.8 * z[:, 7], 1.2 * z[:, 2], 0.8 * z[:, 3] * z[:, 4] + z[:, 8]]
    )
    return frame, np.array(["north", "south", "east", "west"])[np.argmax(pull + rng.gumbel(size=pull.shape), axis=1)]


def wide() -> tuple[pd.DataFrame, np.ndarray]:
    """Two classes, one in twelve; 30 columns of which many are sparse counts or rare flags."""
    rng = np.random.default_rng(15)
    z = _latent(rng, 30, 0.35)
    made: dict[str, np.ndarray] = {}
    for i in range(10):
        made[f"amount{i}"] = np.where(z[:, i] < 0.8, 0.0, np.round(np.exp(2.0 + z[:, i]), 2))
    for i in range(10, 18):
        made[f"flag{i}"] = (z[:, i] > 1.5).astype(np.float64)
    for i in range(18, 26):
        made[f"level{i}"] = np.round(100.0 + 15.0 * z[:, i])
    for i in range(26, 30):
        made[f"code{i}"] = _text(rng, z[:, i], [f"K{j}" for j in range(8)])
    linear = z[:, :3].sum(axis=1) * 0.7 + 1.2 * (z[:, 10] > 1.5) + 0.8 * z[:, 18] + 0.6 * z[:, 26] + 0.5 * z[:, 19]
    return pd.DataFrame(made), (rng.random(N) < _sigmoid(linear - 3.6)).astype(np.int64)


def demand() -> tuple[pd.DataFrame, np.ndarray]:
    """Regression on counts with seasons, strongly dependent columns and text."""
    rng = np.random.default_rng(16)
    z = _latent(rng, 7, 0.7)
    hour, month = rng.integers(0, 24, N), rng.integers(1, 13, N)
    warm = 12.0 - 10.0 * np.cos(2 * np.pi * month / 12) + 3.0 * z[:, 0]
    frame = pd.DataFrame(
        {
            "hour": hour.astype(np.float64),
            "month": month.astype(np.float64),
            "temperature": np.round(warm, 1),
            "feels": np.round(warm + 1.5 * z[:, 1], 1),
            "humidity": np.round(np.clip(60 - 8 * z[:, 0] + 10 * z[:, 2], 5, 100)),
            "wind": np.round(np.exp(2.0 + 0.5 * z[:, 3]), 1),
            "sky": _text(rng, z[:, 2], ["clear", "clouds", "rain", "snow"]),
            "day": np.array(["work", "weekend", "holiday"], dtype=object)[rng.choice(3, N, p=[0.68, 0.28, 0.04])],
            "stock": np.round(200 + 60 * z[:, 4]),
        }
    )
    level = 1.0 + np.exp(-((hour - 8) ** 2) / 8) + 1.3 * np.exp(-((hour - 18) ** 2) / 10)
    mean = 40.0 * level * np.exp(0.04 * (warm - 12)) * np.where(frame["sky"].isin(["rain", "snow"]), 0.6, 1.0)
    return frame, rng.poisson(np.maximum(mean, 1.0)).astype(np.float64)


SETS = (
    Set("bank", real("bank.parquet"), "binary", tuned=True),
    Set("shop", shop, "binary", "logistic", tuned=True),
    Set("sensors", sensors, "regression", tuned=True),
    Set("losses", losses, "regression", "logistic", tuned=True),
    Set("policies", policies, "regression", tuned=True),
    Set("small", shop, "binary", tuned=True, reference=1_500),
    Set("elec2", real("elec2.parquet", ("t",)), "binary"),
    Set("ausprivauto", real("ausprivauto.parquet"), "regression"),
    Set("kinds", kinds, "multiclass"),
    Set("wide", wide, "binary"),
    Set("demand", demand, "regression"),
)
