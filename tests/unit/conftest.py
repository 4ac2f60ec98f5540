"""A small project that trains in a moment, and its line over a store in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fuseline.artifacts import digest
from fuseline.bootstrap import Line
from fuseline.canonical import canonical, kind_of
from fuseline.detect import Change
from fuseline.harm import Estimate
from fuseline.inference import Inference
from fuseline.models import promote
from fuseline.monitor import Monitor
from fuseline.performance import measure
from fuseline.predictions import Scored
from fuseline.projects import read_project
from fuseline.records import Entry, Reset, Task
from fuseline.reference import Reference, Rows
from fuseline.settings import Settings
from fuseline.situation import Situation
from fuseline.state import State
from fuseline.storage import MemoryStore, Store

TOML = """
target = "bought"
id = "id"

[sources.history]
path = "data/history.parquet"

[labels]
min_rows = 200
"""

TRAIN = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def train(data, target):
    columns = make_column_transformer(
        (SimpleImputer(), ["price", "age"]),
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=300)).fit(data, target)
"""

PREDICT = """
def metrics(predictions):
    return {"mean_score": float(predictions["score"].mean())}
"""


def draw(rows: int, seed: int) -> pd.DataFrame:
    """Labelled rows: `bought` depends on price and colour, ages have nulls."""
    rng = np.random.default_rng(seed)
    price = rng.gamma(4.0, 25.0, rows)
    colour = rng.choice(["red", "green", "blue"], rows, p=[0.5, 0.3, 0.2])
    age = np.where(rng.random(rows) < 0.05, np.nan, rng.normal(40, 10, rows).round())
    log_odds = 1.5 - price / 50 + 1.5 * (colour == "red")
    bought = rng.random(rows) < 1 / (1 + np.exp(-log_odds))
    ids = [f"{seed}-{i}" for i in range(rows)]
    return pd.DataFrame(
        {"id": ids, "price": price, "age": age, "colour": colour, "bought": np.where(bought, "yes", "no")}
    )


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: str = "2026-03-01T06:00:00+00:00"

    def __call__(self) -> str:
        return self.now

    def forward(self, hours: float) -> None:
        self.now = (datetime.fromisoformat(self.now) + timedelta(hours=hours)).isoformat()


@dataclass
class Tiny:
    """The project's folder, and its line over a store; every change of setting makes a new line."""

    folder: Path
    store: Store
    clock: Clock
    shards: int = 4

    @property
    def line(self) -> Line:
        settings = replace(Settings(), projects=self.folder.parent, now=self.clock(), user="tester", shards=self.shards)
        return Line(settings, read_project(self.folder.parent, self.folder.name), self.store, "tester")

    def write(self, file: str, text: str) -> None:
        """Replace a file of the project."""
        (self.folder / file).write_text(text, encoding="utf-8")

    def setting(self, text: str) -> None:
        """Add lines to project.toml."""
        self.write("project.toml", TOML + text)

    def train(self, run: str = "t1") -> str:
        """Train, judge, conclude; returns the version."""
        training = self.line.training()
        plan = training.plan(run)
        manifest = training.evaluate(plan, training.fit(plan))
        training.conclude(manifest, training.judge(manifest))
        return manifest.version

    def deliver(self, name: str, rows: pd.DataFrame) -> None:
        """Put a Parquet file into the inbox."""
        path = self.folder.parent.parent / "data" / f"{name}.parquet"
        rows.to_parquet(path, index=False)
        self.store.upload(f"inbox/{self.folder.name}/{name}.parquet", path)

    def deliver_labels(self, name: str, rows: pd.DataFrame) -> None:
        """Put a CSV file of outcomes into the labels' folder."""
        self.store.put(f"labels/{self.folder.name}/{name}.csv", rows[["id", "bought"]].to_csv(index=False).encode())

    def recode(self, predict: str, version: str = "v0001") -> None:
        """Give a trained version another predict.py, as if it had been trained and registered with it."""
        key = f"{self.folder.name}/versions/{version}"
        before = self.store.get(f"{key}/manifest.json")
        manifest = json.loads(before)
        manifest["files"]["code/predict.py"] = {"digest": digest(predict.encode()), "size": len(predict)}
        after = json.dumps(manifest).encode()
        self.store.put(f"{key}/code/predict.py", predict.encode())
        self.store.put(f"{key}/manifest.json", after)
        for item in list(self.store.list(f"{self.folder.name}/ledger/")):
            entry = self.store.get(item.key)
            self.store.put(item.key, entry.replace(digest(before).encode(), digest(after).encode()))

    def promote_copy(self) -> str:
        """Make a second version, which scores like the first, the champion."""
        for item in list(self.store.list(f"{self.folder.name}/versions/v0001/")):
            data = self.store.get(item.key)
            if item.key.endswith("manifest.json"):
                data = data.replace(b'"v0001"', b'"v0002"')
            self.store.put(item.key.replace("v0001", "v0002"), data)
        self.line.models.register(self.line.ledger, self.line.models.manifest("v0002"))
        return promote(self.line.ledger, "v0002", "better").version

    def begin(self, attempt: str = "a1") -> tuple[Inference, list[Scored]]:
        """A run over the inbox up to the point where it would settle its batches."""
        inference = self.line.inference(attempt)
        plan = inference.plan()
        scores = [inference.score(job, piece) for job, piece in plan.pieces]
        return inference, [inference.assess(j, [s for s in scores if s.batch == j.batch]) for j in plan.jobs]

    def infer(self, attempt: str = "a1") -> list[Entry]:
        """One run over the inbox."""
        inference, scored = self.begin(attempt)
        return inference.settle(scored)

    @property
    def state(self) -> State:
        """What the ledger adds up to."""
        return self.line.ledger.state()

    def reset(self) -> None:
        """Close the breaker by hand."""
        self.line.ledger.append(lambda state: Reset("mended"))

    def published(self) -> dict[str, pd.DataFrame]:
        """What consumers can read: name of the batch to its rows; each file is of a batch that the ledger publishes."""
        now, folder = self.state, f"{self.folder.name}/predictions/"
        visible = {item.key for item in self.store.list(folder)}
        assert visible == self.line.predictions.visible(now).keys()
        frames = [pd.read_parquet(io.BytesIO(self.store.get(key))) for key in sorted(visible)]
        return {now.batches[str(f["batch"].iloc[0])].name: f for f in frames}

    def feedback(self) -> Entry | None:
        """One reading of the labels."""
        feedback = self.line.feedback()
        return feedback.conclude(feedback.measure(feedback.waiting()))


def new_project(root: Path) -> Tiny:
    """The project with 1,200 labelled rows of history, over an empty store in memory."""
    folder = root / "projects" / "tiny"
    folder.mkdir(parents=True)
    (root / "data").mkdir()
    draw(1_200, 1).to_parquet(root / "data" / "history.parquet", index=False)
    made = Tiny(folder, MemoryStore(), Clock())
    for file, text in (("project.toml", TOML), ("train.py", TRAIN), ("predict.py", PREDICT)):
        made.write(file, text)
    return made


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """The project with 1,200 labelled rows of history, over an empty store in memory."""
    return new_project(tmp_path)


@pytest.fixture(scope="session")
def after_training(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Everything in the store after the first training: key to bytes."""
    made = new_project(tmp_path_factory.mktemp("trained"))
    made.train()
    return {item.key: made.store.get(item.key) for item in made.store.list("")}


@pytest.fixture
def trained(tiny: Tiny, after_training: dict[str, bytes]) -> Tiny:
    """The project with a champion, v0001; its training is done once for all tests."""
    for key, data in after_training.items():
        tiny.store.put(key, data)
    return tiny


@pytest.fixture
def rows() -> Callable[[int, int], pd.DataFrame]:
    """`rows(count, seed)`: labelled rows like the history's."""
    return draw


SHOPS_TOML = """
target = "bought"
id = "id"

[sources.history]
path = "data/history.parquet"

[sources.shops]
path = "data/shops.parquet"
join = "shop"
"""

SHOPS_PREDICT = """
def predict(data, artifacts):
    return data["discount"]
"""


def in_shops(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the shop that each was sold in: a, b, c, a, ..."""
    return rows.assign(shop=[("a", "b", "c")[i % 3] for i in range(len(rows))])


@pytest.fixture
def with_shops(tiny: Tiny) -> Tiny:
    """The project with a table of shops that is joined to its rows; the score of a row is its shop's discount."""
    data = tiny.folder.parent.parent / "data"
    in_shops(draw(1_200, 1)).to_parquet(data / "history.parquet", index=False)
    pd.DataFrame({"shop": ["a", "b", "c"], "discount": [0.25, 0.5, 0.75]}).to_parquet(
        data / "shops.parquet", index=False
    )
    tiny.write("project.toml", SHOPS_TOML)
    tiny.write("predict.py", SHOPS_PREDICT)
    return tiny


@pytest.fixture
def sold() -> Callable[[pd.DataFrame], pd.DataFrame]:
    """`sold(rows)`: the rows with the shop that each was sold in."""
    return in_shops


RULE = """
import numpy as np


class Rule:
    def predict_proba(self, data):
        log_odds = 1.5 - data["price"].to_numpy() / 50 + 1.5 * (data["colour"] == "red").to_numpy()
        score = 1 / (1 + np.exp(-log_odds))
        return np.column_stack([1 - score, score])


def train(data, target):
    return Rule()
"""


@pytest.fixture
def light(tiny: Tiny) -> Tiny:
    """The project with a model that needs no library and no fitting."""
    tiny.write("train.py", RULE)
    return tiny


# ── people: columns that go together, and models of them ────────────────────────────────────────

CLASSES: dict[Task, tuple[str, ...]] = {
    "binary": ("no", "yes"),
    "multiclass": ("basic", "none", "plus"),
    "regression": (),
}


class People:
    """A population of five columns that go together, and a model that never saw the rows that are drawn later."""

    def __init__(self, task: Task) -> None:
        from sklearn.compose import make_column_transformer
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        self.task, self.classes = task, CLASSES[task]
        columns = make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "rent", "debt"]),
            (OneHotEncoder(handle_unknown="ignore"), ["job"]),
        )
        last = Ridge() if task == "regression" else LogisticRegression(max_iter=500)
        self.model = make_pipeline(columns, last).fit(*self.draw(3_000, 1))

    def draw(self, rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
        """Features, shape (rows, 5), and labels."""
        rng = np.random.default_rng(seed)
        age = rng.normal(45.0, 12.0, rows)
        income = np.exp(0.02 * age + rng.normal(7.0, 0.35, rows))
        rent = 0.3 * income + rng.gamma(4.0, 60.0, rows)
        debt = np.where(rng.random(rows) < 0.1, np.nan, 40.0 - 0.5 * age + rng.normal(0.0, 6.0, rows))
        job = np.select([income > 3400, age > 52, income < 2000], ["manager", "retired", "student"], "worker")
        likes = (age - 45.0) / 10.0 - (rent - 1100.0) / 500.0 - np.nan_to_num((debt - 18.0) / 10.0)
        likes += 1.2 * (job == "manager") - 0.9 * (job == "retired")
        frame = pd.DataFrame({"age": age, "income": income, "rent": rent, "debt": debt, "job": job.astype(object)})
        if self.task == "regression":
            return frame, 50.0 + 10.0 * likes + rng.normal(0.0, 10.0, rows)
        felt = likes + rng.logistic(size=rows)
        if self.task == "binary":
            return frame, np.where(felt > 0.0, "yes", "no").astype(object)
        return frame, np.select([felt > 1.5, felt > -1.0], ["plus", "basic"], "none").astype(object)

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """What the model says of features in any order of columns."""
        if self.task == "regression":
            return self.model.predict(frame)
        scores = self.model.predict_proba(frame)
        return scores[:, 1] if self.task == "binary" else scores

    def measure(self, frame: pd.DataFrame, truth: np.ndarray) -> float:
        """The metric of labelled rows."""
        found = measure(self.task, truth, self.score(frame), self.classes)
        assert found is not None
        return found.value

    def cost(self, fault: Callable[[pd.DataFrame], pd.DataFrame]) -> float:
        """What a fault really costs, on 20,000 fresh rows: AUC lost, or the share of RMSE gained."""
        frame, truth = self.draw(20_000, 3)
        before, after = self.measure(frame, truth), self.measure(fault(frame), truth)
        return after / before - 1.0 if self.task == "regression" else before - after

    @cached_property
    def fitted(self) -> Monitor:
        """Fitted on 3,000 labelled rows; asked of no batch itself."""
        task: Any = "regression" if self.task == "regression" else "classification"
        frame, truth = self.draw(3_000, 2)
        return Monitor.fit(frame, truth, self.score, task)

    def monitor(self, **told: Any) -> Monitor:
        """A monitor that remembers nothing, perhaps with other settings; thresholds are simulated once for all."""
        frame = self.draw(3_000, 2)[0]
        kinds, dtypes = {c: kind_of(frame[c]) for c in frame}, dict(frame.dtypes)
        return Monitor(replace(self.fitted.settings, **told), self.reference, kinds, dtypes, self.score)

    @property
    def reference(self) -> Reference:
        """These rows, made ready."""
        return self.fitted.reference

    def rows(self, frame: pd.DataFrame) -> Rows:
        """Rows as the stages want them."""
        return Rows(canonical(frame, {c: kind_of(frame[c]) for c in frame}).values, self.score(frame))

    def situation(self, frame: pd.DataFrame, change: Change | None = None) -> Situation:
        """A batch beside the reference; `change` is what is detected, unless it is given."""
        rows = self.rows(frame)
        seen = self.reference.see(rows)
        return self.reference._situation(seen, change or self.reference.detector.detect(seen), rows)

    def estimate(self, frame: pd.DataFrame, change: Change | None = None) -> Estimate:
        """Which worlds look like a batch, and what they cost."""
        rows = self.rows(frame)
        seen = self.reference.see(rows)
        return self.reference.harm(seen, change or self.reference.detector.detect(seen), rows, 0.02)


@pytest.fixture(scope="session")
def people() -> People:
    """People of whom a model says whether they buy."""
    return People("binary")


@pytest.fixture(scope="session")
def spenders() -> People:
    """People of whom a model says how much they spend."""
    return People("regression")


@pytest.fixture(scope="session")
def planners() -> People:
    """People of whom a model says which of three plans they choose."""
    return People("multiclass")
