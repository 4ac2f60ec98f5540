"""What the user of a monitor gives: labels, scores and types, brought to one form or refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fuseline.errors import DataError, ModelFault
from fuseline.given import asked, by_text, form_of, has_label, in_types, labelled, shaped, type_name, type_named

FRAME = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "c"]})


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def test_a_target_is_taken_out_of_the_features():
    frame, truth = labelled(FRAME.assign(kept=["yes", "no", None]), "kept")
    assert list(frame.columns) == ["x", "y"]
    assert truth.tolist() == ["yes", "no"]
    assert frame.index.tolist() == [0, 1]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_rows_without_a_label_are_left_out(missing):
    frame, truth = labelled(FRAME, [1, missing, 0])
    assert frame["x"].tolist() == [1.0, 3.0]
    assert truth.tolist() == [1, 0]
    assert has_label(np.array([1, missing], dtype=object)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("frame", "target", "said"),
    [
        (FRAME, "z", "has no column 'z'; it has: x, y"),
        (FRAME, [1, 0], "2 labels for 3 rows"),
        (FRAME[["x"]], "x", "no feature besides the target"),
        (FRAME, [None] * 3, "no row of the reference has a label"),
        (FRAME.set_axis(["x", "x"], axis=1), [1, 0, 1], "has x more than once"),
        (FRAME.set_axis([1, "1"], axis=1), [1, 0, 1], "has 1 more than once"),
    ],
)
def test_labels_that_do_not_fit_are_refused(frame, target, said):
    with pytest.raises(DataError, match=said):
        labelled(frame, target)


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        (["yes", "no", "no"], ("binary", ("no", "yes"))),
        ([2, 1, 3], ("multiclass", ("1", "2", "3"))),
        ([True, False], ("binary", ("False", "True"))),
    ],
)
def test_two_classes_are_binary_and_more_are_several(labels, form):
    assert form_of("classification", np.array(labels)) == form
    assert form_of("regression", np.array([1.0, 2.0])) == ("regression", ())


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        ("ranking", [1, 2], "task is 'ranking'"),
        ("classification", ["a", "a"], r"one class only \(a\)"),
        ("classification", ["a", 1], "Give all of them the same type"),
    ],
)
def test_a_task_without_a_form_is_refused(task, labels, said):
    with pytest.raises(DataError, match=said):
        form_of(task, np.array(labels, dtype=object))


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("made", "task", "classes", "expected"),
    [
        (np.array([1, 2]), "binary", 2, [1.0, 2.0]),
        (np.array([[0.9, 0.1], [0.3, 0.7]]), "binary", 2, [0.1, 0.7]),
        (np.array([[5.0], [6.0]]), "regression", 0, [5.0, 6.0]),
        (np.array([True, False]), "binary", 2, [1.0, 0.0]),
        (np.array(["1", "2.5"]), "regression", 0, [1.0, 2.5]),
        (np.eye(3)[:2], "multiclass", 3, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    ],
)
def test_scores_have_one_shape(made, task, classes, expected):
    assert shaped(made, 2, task, classes).tolist() == expected


@pytest.mark.parametrize(
    ("made", "task", "classes", "said"),
    [
        (np.array([1.0]), "binary", 2, r"shape \(1,\); expected \(2,\)"),
        (np.array([[1.0], [2.0]]), "binary", 2, r"shape \(2, 1\)"),
        (np.eye(2), "multiclass", 3, r"expected \(2, 3\)"),
        (np.array([1.0, np.inf]), "regression", 0, "1 scores are not finite"),
        (np.array(["high", "low"]), "binary", 2, "must be numbers"),
        (np.array([None, 1.0]), "binary", 2, "not finite|must be numbers"),
    ],
)
def test_scores_of_another_shape_are_the_models_fault(made, task, classes, said):
    with pytest.raises(ModelFault, match=said):
        shaped(made, 2, task, classes)


def test_a_model_that_fails_is_said_to():
    def score(frame: pd.DataFrame) -> np.ndarray:
        raise KeyError("rates")

    with pytest.raises(ModelFault, match="failed on 3 rows: KeyError: 'rates'"):
        asked(score, FRAME, "binary", 2)
    assert asked(lambda d: d["x"], FRAME, "binary", 2).tolist() == [1.0, 2.0, 3.0]


# ── types ────────────────────────────────────────────────────────────────────────────────────────


def test_names_of_columns_become_text_and_a_frame_that_has_it_is_the_same():
    assert by_text(FRAME) is FRAME
    numbered = FRAME.set_axis([0, 1], axis=1)
    assert list(by_text(numbered).columns) == ["0", "1"]
    assert list(numbered.columns) == [0, 1]


@pytest.mark.parametrize(
    "dtype",
    [
        *map(np.dtype, ["float64", "int8", "bool", "datetime64[ns]", "datetime64[s]", "timedelta64[ns]", "O"]),
        pd.Int64Dtype(),
        pd.BooleanDtype(),
        pd.StringDtype(),
        pd.DatetimeTZDtype(tz="Europe/Rome"),
        pd.CategoricalDtype(["a", "b"]),
        pd.CategoricalDtype(["low", "high"], ordered=True),
        pd.CategoricalDtype([1, 2]),
        pd.CategoricalDtype([1.5, 2.5]),
        pd.CategoricalDtype([False, True]),
    ],
    ids=str,
)
def test_a_type_is_read_as_it_was_written(dtype):
    assert type_named(json.loads(json.dumps(type_name(dtype)))) == dtype


@pytest.mark.parametrize("categories", [pd.to_datetime(["2025-01-01"]), pd.interval_range(0, 2)])
def test_categories_that_json_does_not_know_are_refused(categories):
    with pytest.raises(DataError, match="cannot be saved"):
        type_name(pd.CategoricalDtype(categories))


def test_a_part_has_the_types_that_the_model_was_given():
    part = pd.DataFrame({"n": [1.0, 2.0], "c": ["a", None], "t": pd.to_datetime(["2025-01-01", None])}, index=[5, 6])
    part["c"] = part["c"].astype(object)
    types = {"n": np.dtype("int64"), "c": pd.CategoricalDtype(["a", "b"]), "t": pd.DatetimeTZDtype(tz="UTC")}
    found = in_types(part, types)
    assert found.dtypes.to_dict() == types
    assert found.index.tolist() == [5, 6]
    assert found["c"].isna().tolist() == [False, True]
