from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from fuseline.serving.estimator import Estimator
from fuseline.serving.problem import Problem

RNG = np.random.default_rng(0)
DATA = pd.DataFrame(
    {"price": RNG.gamma(4, 25, 200), "age": RNG.normal(40, 10, 200), "colour": RNG.choice(["red", "green"], 200)}
)
BOUGHT = np.where(DATA["price"] > 100, "yes", "no")
COLUMNS = make_column_transformer(
    (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["price", "age"]),
    (OneHotEncoder(handle_unknown="ignore"), ["colour"]),
)
MODEL = make_pipeline(COLUMNS, LogisticRegression()).fit(DATA, BOUGHT)


def test_a_row_that_training_could_have_seen_is_its_example():
    example = Estimator(MODEL).example()
    assert example["colour"] == "green"
    assert example["price"] == pytest.approx(DATA["price"].median(), rel=1e-3)
    assert list(example) == ["price", "age", "colour"]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (LinearRegression().fit(DATA[["price"]], DATA["age"]), {"price": 0.0}),
        (LinearRegression().fit([[1.0, 2.0]], [1.0]), [[0.0, 0.0]]),
        (
            make_pipeline(StandardScaler(), LinearRegression()).fit(DATA[["age"]], DATA["price"]),
            {"age": pytest.approx(DATA["age"].mean(), 1e-3)},
        ),
        (LinearRegression(), None),
        (clone(MODEL), None),
    ],
)
def test_what_an_object_knows_of_its_columns_makes_the_example(model, example):
    assert Estimator(model).example() == example


def test_its_inputs_have_the_names_and_types_of_its_columns():
    assert Estimator(MODEL).inputs() == [("price", "FP64"), ("age", "FP64"), ("colour", "BYTES")]
    assert Estimator(LinearRegression().fit([[1.0, 2.0]], [1.0])).inputs() == [("x0", "FP64"), ("x1", "FP64")]


def test_of_two_classes_the_score_is_the_probability_of_the_last():
    found = Estimator(MODEL).predict(DATA[:3])
    assert found == [{"score": p} for p in MODEL.predict_proba(DATA[:3])[:, 1].tolist()]
    assert Estimator(MODEL).classes == ("no", "yes")
    assert Estimator(MODEL).outputs() == [("score", "FP64")]


def test_of_several_classes_the_score_is_a_list_of_all():
    model = LogisticRegression().fit(DATA[["price"]], np.digitize(DATA["price"], [80, 120]))
    one = Estimator(model)
    assert one.predict(DATA[["price"]][:2]) == [{"score": p} for p in model.predict_proba(DATA[["price"]][:2]).tolist()]
    assert one.outputs() == [("score_0", "FP64"), ("score_1", "FP64"), ("score_2", "FP64")]


PREDICTED = [
    (DATA["age"], RandomForestRegressor(3), "FP64"),
    (BOUGHT, LinearSVC(), "BYTES"),
    (DATA[["age", "price"]], LinearRegression(), "FP64"),
]


@pytest.mark.parametrize(("target", "model", "datatype"), PREDICTED)
def test_without_probabilities_it_is_a_prediction(target, model, datatype):
    one = Estimator(model.fit(DATA[["price"]], target))
    assert one.predict(DATA[["price"]][:2]) == [{"prediction": p} for p in model.predict(DATA[["price"]][:2]).tolist()]
    assert one.outputs() == [("prediction", datatype)]


def test_an_object_that_was_never_fitted_says_so():
    from sklearn.exceptions import NotFittedError

    Estimator(MODEL).check_fitted()
    for model in (LinearRegression(), clone(MODEL)):
        with pytest.raises(NotFittedError):
            Estimator(model).check_fitted()


# ── frames ──────────────────────────────────────────────────────────────────────────────────────


def test_columns_are_brought_to_the_order_of_training_and_extra_ones_are_told():
    sent = DATA[:2].assign(foo=1)[["foo", "colour", "age", "price"]]
    found, extra = Estimator(MODEL).arranged(sent)
    pd.testing.assert_frame_equal(found, DATA[:2])
    assert extra == ["foo"]


@pytest.mark.parametrize("left", ["price", "colour"])
def test_a_column_that_is_missing_or_wholly_null_is_a_null_of_its_type(left):
    one = Estimator(MODEL)
    missing, _ = one.arranged(DATA[:1].drop(columns=[left]))
    null, _ = one.arranged(pd.DataFrame([{**DATA.iloc[0].to_dict(), left: None}]))
    expected = math.nan if left == "price" else None
    pd.testing.assert_frame_equal(missing, DATA[:1].assign(**{left: expected}))
    pd.testing.assert_frame_equal(null, missing)
    assert one.predict(missing) == one.predict(null)


def test_a_row_of_unknown_columns_alone_is_refused():
    with pytest.raises(Problem, match=r"knows none of the columns.* price, age, colour"):
        Estimator(MODEL).arranged(pd.DataFrame({"pirce": [1.0]}))
