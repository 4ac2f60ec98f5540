"""Columns of every type, and columns of anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseline import Monitor
from fuseline.records import Assessment


def finite(found: Assessment) -> Assessment:
    """The assessment, after a look at every figure and word of it."""
    json.dumps(asdict(found), allow_nan=False)
    assert not [c.sentence for c in found.causes if re.search(r"\bnan\b", c.sentence)]
    assert found.verdict in ("pass", "warn", "halt", "inconclusive")
    assert (found.verdict == "pass") == (not found.causes)
    return found


def orders(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers, truth values, categories, times and text, and whether an order came back."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"price": rng.gamma(4.0, 25.0, rows).round(2), "express": rng.random(rows) < 0.3})
    frame["size"] = pd.Categorical(rng.choice(["s", "m", "l"], rows, p=[0.5, 0.3, 0.2]), categories=["s", "m", "l"])
    frame["at"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    notes = np.char.add("n", (np.arange(rows) % 7).astype(str)).astype(object)
    frame["note"] = np.where(rng.random(rows) < 0.2, None, notes)
    odds = (100.0 - frame["price"]) / 30.0 + (frame["size"] == "l")
    return frame, np.where(rng.random(rows) < 1.0 / (1.0 + np.exp(-odds)), "kept", "returned").astype(object)


def returned(frame: pd.DataFrame) -> np.ndarray:
    """The model of the orders: it wants the columns, and nothing of their types."""
    price = pd.to_numeric(frame["price"], errors="coerce").fillna(100.0).clip(-1e6, 1e6).to_numpy(dtype=np.float64)
    return (price - 100.0) / 30.0 - (frame["size"] == "l").to_numpy(dtype=np.float64)


# ── columns of every type ────────────────────────────────────────────────────────────────────────

TYPES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "category": lambda d: pd.cut(d["price"], [0, 50, 100, 1e9], labels=["low", "middle", "high"]),
    "unordered": lambda d: pd.Categorical(np.where(d["price"] > 100, "high", "low")),
    "numbered": lambda d: pd.Categorical((d["price"] // 50).astype(int)),
    "int64": lambda d: d["price"].astype("int64"),
    "int8": lambda d: (d["price"] > 100).astype("int8"),
    "Int64": lambda d: pd.array(d["price"].round().where(d.index % 9 != 0), dtype="Int64"),
    "float32": lambda d: d["price"].astype("float32"),
    "bool": lambda d: d["price"] > 100,
    "boolean": lambda d: pd.array((d["price"] > 100).where(d.index % 9 != 0), dtype="boolean"),
    "truth values and nulls": lambda d: (d["price"] > 100).astype(object).where(d.index % 9 != 0, None),
    "datetime64[ns]": lambda d: pd.Timestamp("2025-01-01") + pd.to_timedelta(d["price"], unit="h"),
    "datetime64[s]": lambda d: (pd.Timestamp("2025-01-01") + pd.to_timedelta(d["price"], unit="h")).astype(
        "datetime64[s]"
    ),
    "with a zone": lambda d: pd.Timestamp("2025-01-01", tz="Europe/Rome") + pd.to_timedelta(d["price"], unit="h"),
    "timedelta64[ns]": lambda d: pd.to_timedelta(d["price"], unit="h"),
    "string": lambda d: pd.array(np.where(d["price"] > 100, "high", "low"), dtype="string"),
    "objects": lambda d: np.where(d["price"] > 100, "high", "low").astype(object),
    "free text": lambda d: [f"order {p}" for p in d["price"]],
    "null": lambda d: np.full(len(d), np.nan),
    "null text": lambda d: np.full(len(d), None),
    "constant": lambda d: 1,
}


@pytest.mark.parametrize("name", TYPES)
def test_a_column_of_any_type_is_watched_and_given_to_the_model_as_it_was(tmp_path, name):
    seen = set()

    def score(data: pd.DataFrame) -> np.ndarray:
        extra = data["extra"]
        seen.add(type(extra.dtype).__name__ if isinstance(extra.dtype, pd.CategoricalDtype) else extra.dtype.kind)
        if name == "with a zone":
            _ = extra - pd.Timestamp("2025-01-01", tz="Europe/Rome")
        if name == "timedelta64[ns]":
            _ = extra.dt.total_seconds()
        return returned(data)

    first, truth = orders(600, 1)
    second, _ = orders(400, 2)
    first, second = (d.assign(extra=TYPES[name](d)) for d in (first, second))
    monitor = Monitor.fit(first, truth, score)
    assert finite(monitor.assess(second)).verdict in ("pass", "warn")
    odd = second.assign(price=90.0)
    found = finite(monitor.assess(odd))
    assert found.verdict == "halt"
    assert found.causes[0].column == "price"
    assert len(seen - {"f", "O", "i", "b"}) <= 1
    monitor.save(tmp_path)
    assert Monitor.load(tmp_path, score).assess(odd) == found
    assert monitor.assess(monitor.profile(odd, score(odd))).harm == pytest.approx(found.harm)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "s", "m", "n1", "null", "1e400", "2025-01-01", "\ud800", "٣", 10**400, b"x", pd.NA, pd.NaT]),
    st.sampled_from(
        [pd.Timestamp("2025-02-01"), pd.Timestamp("2025-02-01", tz="UTC"), pd.Timedelta(1, "h"), (1,), [1]]
    ),
)
kept_as_it_is = st.just(None)
columns_of = st.one_of(kept_as_it_is, st.lists(values, min_size=1, max_size=6))


@pytest.fixture(scope="module")
def of_orders() -> Monitor:
    return Monitor.fit(*orders(300, 1), returned)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(dict.fromkeys(["price", "express", "size", "at", "note"], columns_of)), st.integers(0, 300)
)
def test_no_frame_of_the_right_columns_raises(of_orders, odd, rows):
    frame, _ = orders(300, 2)
    scores = returned(frame)[:rows]
    frame = frame[:rows]
    for name, column in odd.items():
        if column is not None:
            several = np.empty(rows, dtype=object)
            several[:] = (column * rows)[:rows]
            frame = frame.assign(**{name: pd.Series(several, index=frame.index, dtype=object)})
    of_orders.forget()
    found = finite(of_orders.assess(frame, scores))
    of_orders.forget()
    profiled = finite(of_orders.assess(of_orders.profile(frame, scores)))
    if "contract" not in {c.kind for c in found.causes} and "duplicates" not in {c.kind for c in found.causes}:
        assert profiled.verdict == found.verdict
