from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from fuseline.serving.outcome import media_type, tensors_of, to_json
from fuseline.serving.problem import Problem


@dataclass
class Price:
    amount: float


class Offer(BaseModel):
    price: float


FRAME = pd.DataFrame(
    {
        "n": [1.5, None],
        "i": pd.array([1, None], dtype="Int64"),
        "t": pd.to_datetime(["2026-03-08", None]),
        "c": pd.Categorical(["x", None]),
        3: [True, False],
    }
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (float("nan"), None),
        ([float("inf"), 1], [None, 1]),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.float64("nan"), None),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(3.5), 3.5),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.array(["2026-03-08", "NaT"], dtype="datetime64[ns]"), ["2026-03-08T00:00:00", None]),
        (np.longdouble(1.5), 1.5),
        (np.array(["a", None], dtype=object), ["a", None]),
        (pd.Series([1.0, None]), [1.0, None]),
        (pd.Series(pd.to_datetime(["2026-03-08", None])), ["2026-03-08T00:00:00", None]),
        (pd.Index(["a"]), ["a"]),
        (pd.Timestamp("2026-03-08"), "2026-03-08T00:00:00"),
        ([pd.NaT, pd.NA], [None, None]),
        (datetime(2026, 3, 8), "2026-03-08T00:00:00"),
        (Price(2.0), {"amount": 2.0}),
        (Offer(price=2.0), {"price": 2.0}),
        ((1, {"a"}), [1, ["a"]]),
        ({1: np.array([2])}, {"1": [2]}),
        (b"abc", "YWJj"),
        (
            FRAME,
            [
                {"n": 1.5, "i": 1, "t": "2026-03-08T00:00:00", "c": "x", "3": True},
                {"n": None, "i": None, "t": None, "c": None, "3": False},
            ],
        ),
        (pd.DataFrame(), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_that_has_json_becomes_it(value, expected):
    assert json.loads(to_json(value, "predict")) == expected


def looped() -> list:
    """A list that holds itself."""
    found: list = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "object has no JSON"),
        (1j, "complex has no JSON"),
        (np.array([1j]), "complex has no JSON"),
        ((i for i in [1]), "generator has no JSON"),
        ({(1, 2): 3}, "tuple has no JSON"),
        ("\ud800", "surrogates not allowed"),
        (looped(), "recursion"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "names a column twice"),
    ],
)
def test_what_has_no_json_is_the_models_failure_and_is_named(value, said):
    with pytest.raises(Problem, match=f"predict returned what cannot become JSON: .*{said}") as told:
        to_json({"predictions": value}, "predict")
    assert told.value.kind == "model-failed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", "application/octet-stream"),
        (b"%PDF-1.7", "application/pdf"),
        (b"", "application/octet-stream"),
    ],
)
def test_bytes_are_known_by_how_they_begin(data, expected):
    assert media_type(data) == expected


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────


def plain(value, *classes):
    """Name to values and, of arrays, the dtype."""
    found = tensors_of(value, "predict", classes)
    return {t.name: t.values if isinstance(t.values, list) else (t.values.dtype.name, t.values.tolist()) for t in found}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], {"predictions": ("int64", [1, 2])}),
        (np.array([0.5], dtype="float32"), {"predictions": ("float64", [0.5])}),
        (3.5, {"predictions": ("float64", [3.5])}),
        ([True], {"predictions": ("bool", [True])}),
        (["a", None], {"predictions": ["a", None]}),
        (pd.Series([1.5, 2]), {"predictions": ("float64", [1.5, 2.0])}),
        ([[1, 2], [3, 4]], {"predictions_0": ("int64", [1, 3]), "predictions_1": ("int64", [2, 4])}),
        ({"y": [1, 2], "label": ["a", "b"]}, {"y": ("int64", [1, 2]), "label": ["a", "b"]}),
        ({"y": 1.0}, {"y": ("float64", [1.0])}),
        ([{"y": 1.0}, {"z": "a"}], {"y": ("float64", [1.0, None]), "z": [None, "a"]}),
        (pd.DataFrame({"y": [1], "c": ["a"]}), {"y": ("int64", [1]), "c": ["a"]}),
    ],
    ids=str,
)
def test_what_hooks_return_becomes_named_columns(value, expected):
    found = plain(value)
    if "z" in expected:
        assert np.isnan(found["y"][1][1])
        found["y"][1][1] = None
    assert found == expected


def test_the_scores_of_several_classes_are_named_after_them():
    assert plain([{"score": [0.1, 0.2, 0.7]}], "a", "b", "c") == {
        "score_a": ("float64", [0.1]),
        "score_b": ("float64", [0.2]),
        "score_c": ("float64", [0.7]),
    }


@pytest.mark.parametrize("value", [b"\x89PNG", [object()], [[1], [1, 2]], np.zeros((2, 2, 2)), [1, "a", None]])
def test_what_is_no_column_is_refused(value):
    with pytest.raises(Problem, match="which is no column of numbers or text"):
        tensors_of(value, "predict")
