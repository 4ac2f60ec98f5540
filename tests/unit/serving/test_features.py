from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from fuseline.serving.features import SAME, Block, Ramp, Scale, Table, Unknown, name_of, steps_of, through

NUMBERS = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [4.0, 4.0, 2.0, 1.0]})
TEXTS = pd.DataFrame({"c": ["x", "y", "x", None]}, dtype=object)
OF_NUMBERS = Block((Ramp(0), Ramp(1)), ("a", "b"))
OF_TEXTS = Block((Table(0, {}, SAME),), ("c",))


# ── what is known ────────────────────────────────────────────────────────────────────────────────


def test_a_scaler_keeps_what_is_missing_missing_and_an_imputer_fills_it_where_it_stands() -> None:
    filled = through(SimpleImputer().fit(NUMBERS), OF_NUMBERS)
    assert filled == Block((Ramp(0, 2.5), Ramp(1, 2.75)))
    scaled = through(MaxAbsScaler().fit(NUMBERS.to_numpy()), filled)
    assert [f.missing for f in scaled.features if f is not None] == [2.5 / 4, 2.75 / 4]  # type: ignore[union-attr]
    first, _ = through(MaxAbsScaler().fit(NUMBERS), OF_NUMBERS).features
    assert isinstance(first, Ramp)
    assert math.isnan(first.missing)


def test_a_level_is_one_at_its_place_and_zero_elsewhere() -> None:
    x, y, null = through(OneHotEncoder(handle_unknown="ignore").fit(TEXTS), OF_TEXTS).features
    assert x == Table(0, {"x": 1.0}, 0.0)
    assert y == Table(0, {"y": 1.0}, 0.0)
    assert null == Table(0, {None: 1.0}, 0.0)


def test_an_infrequent_level_takes_what_training_never_saw() -> None:
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2).fit(TEXTS)
    x, rest = through(encoder, OF_TEXTS).features
    assert x == Table(0, {"x": 1.0}, 0.0)
    assert rest == Table(0, {"x": 0.0, "y": 1.0, None: 1.0}, 1.0)


def test_a_level_that_one_encoder_refuses_stays_refused_behind_another() -> None:
    first = OneHotEncoder(handle_unknown="error", sparse_output=False).fit(TEXTS)
    second = OneHotEncoder(handle_unknown="ignore").fit(first.transform(TEXTS))
    block = through(second, through(first, OF_TEXTS))
    values = [f.special.get("new", f.otherwise) for f in block.features if isinstance(f, Table)]
    assert math.inf in values
    assert math.inf not in [f.special.get("y", f.otherwise) for f in block.features if isinstance(f, Table)]


def test_an_indicator_comes_after_all_that_was_imputed() -> None:
    data = NUMBERS.assign(b=[math.nan, 4.0, 2.0, 1.0])
    block = through(SimpleImputer(add_indicator=True).fit(data), OF_NUMBERS)
    assert block.features[2:] == (Table(1, {None: 1.0}, 0.0),)


def test_steps_of_pipelines_in_pipelines_stand_in_a_row() -> None:
    one, two, three = StandardScaler(), MaxAbsScaler(), RobustScaler()
    assert steps_of(make_pipeline(one, "passthrough", make_pipeline(two, make_pipeline(three)), None)) == [
        one,
        two,
        three,
    ]


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.floats(0, 1))
def test_a_number_is_scaled_alone_as_it_is_in_an_array(x: float, minus: float, over: float, high: float) -> None:
    scale = Scale(minus, over, 2.0, 1.0, 0.0, high)
    found = scale.many(np.array([x, math.nan, math.inf]))
    assert found[0] == scale.one(x)
    assert math.isnan(scale.one(math.nan)) and math.isnan(found[1])
    assert scale.one(math.inf) == found[2] == math.inf


# ── what is not ──────────────────────────────────────────────────────────────────────────────────


def select(columns: Any, **options: Any) -> ColumnTransformer:
    return ColumnTransformer([("one", "passthrough", columns)], **options)


UNKNOWN = [
    FunctionTransformer(np.log1p),
    FunctionTransformer(validate=True),
    PolynomialFeatures(),
    PCA(1),
    KBinsDiscretizer(2, quantile_method="averaged_inverted_cdf"),
    Normalizer(),
    OrdinalEncoder(),
    PowerTransformer(),
    QuantileTransformer(n_quantiles=2),
    KNNImputer(),
    SimpleImputer(missing_values=-1),
    SimpleImputer(missing_values=4.0),
    FeatureUnion([("one", StandardScaler())]),
    OneHotEncoder(handle_unknown="ignore", dtype=np.float32),
    StandardScaler().set_output(transform="pandas"),
    select(["a"]).set_output(transform="pandas"),
    select(["a"], transformer_weights={"one": 2.0}),
    make_column_transformer((PCA(1), ["a", "b"])),
    make_column_transformer((make_pipeline(StandardScaler(), FunctionTransformer(np.abs)), ["a"])),
]


@pytest.mark.parametrize("step", UNKNOWN, ids=lambda step: repr(step)[:60])
def test_a_step_or_a_setting_that_is_not_known_is_not_guessed(step: Any) -> None:
    step.fit(NUMBERS)
    with pytest.raises(Unknown):
        through(step, OF_NUMBERS)


KNOWN = [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, SimpleImputer, OneHotEncoder, FunctionTransformer]


@pytest.mark.parametrize("base", KNOWN)
def test_a_subclass_of_a_known_step_is_not_known(base: type[BaseEstimator]) -> None:
    through(base().fit(NUMBERS), OF_NUMBERS)
    step = type(base.__name__, (base,), {})().fit(NUMBERS)
    with pytest.raises(Unknown):
        through(step, OF_NUMBERS)


class OwnPipeline(Pipeline):
    """A subclass may do anything."""


class OwnColumns(ColumnTransformer):
    """A subclass may do anything."""


def test_a_subclass_of_a_pipeline_is_one_step_that_is_not_known() -> None:
    for step in (OwnPipeline([("one", StandardScaler())]), OwnColumns([("one", StandardScaler(), ["a"])])):
        assert steps_of(step.fit(NUMBERS)) == [step]
        assert name_of(step) == ""
        with pytest.raises(Unknown):
            through(step, OF_NUMBERS)


def test_text_is_not_scaled_and_a_datetime_is_not_encoded() -> None:
    for step, block in (
        (StandardScaler().fit(NUMBERS[["a"]].rename(columns={"a": "c"})), OF_TEXTS),
        (StandardScaler().fit(NUMBERS), Block((Ramp(0), None), ("a", "b"))),
        (SimpleImputer().fit(NUMBERS), Block((Ramp(0), None), ("a", "b"))),
        (OneHotEncoder().fit(NUMBERS), Block((Ramp(0), None), ("a", "b"))),
    ):
        with pytest.raises(Unknown):
            through(step, block)


@pytest.mark.parametrize("kind", ["float32", "int64", "object"])
def test_an_imputer_of_other_numbers_than_the_frame_has_is_not_known(kind: str) -> None:
    step = SimpleImputer(strategy="most_frequent").fit(NUMBERS.astype(kind))
    with pytest.raises(Unknown):
        through(step, OF_NUMBERS)


def test_one_imputer_over_text_and_numbers_is_not_known() -> None:
    data = NUMBERS[["a"]].join(TEXTS)
    step = SimpleImputer(strategy="most_frequent").fit(data)
    for features in ((Ramp(0), Table(1, {}, SAME)), (Table(0, {}, SAME), Ramp(1))):
        with pytest.raises(Unknown):
            through(step, Block(features, ("a", "c")))


def test_categories_of_other_types_than_the_column_are_not_known() -> None:
    for data in (NUMBERS[["a"]].astype(object), NUMBERS[["a"]] > 2):
        step = OneHotEncoder(handle_unknown="ignore").fit(data)
        with pytest.raises(Unknown):
            through(step, Block((Ramp(0),), ("a",)))
    with pytest.raises(Unknown):
        through(OneHotEncoder().fit(NUMBERS[["a"]]), Block((Table(0, {}, SAME),), ("a",)))


def test_a_number_that_is_scaled_is_not_encoded() -> None:
    scaler = StandardScaler().fit(NUMBERS)
    encoder = OneHotEncoder().fit(scaler.transform(NUMBERS))
    with pytest.raises(Unknown):
        through(encoder, through(scaler, OF_NUMBERS))


def test_an_encoder_that_leaves_nothing_of_a_column_is_not_known() -> None:
    step = OneHotEncoder(drop="first").fit(NUMBERS[["a"]] * 0)
    with pytest.raises(Unknown):
        through(step, Block((Ramp(0),), ("a",)))


def test_a_step_that_was_fitted_on_an_array_is_not_given_a_frame() -> None:
    for step in (StandardScaler(), make_column_transformer((StandardScaler(), [0]))):
        with pytest.raises(Unknown):
            through(step.fit(NUMBERS.to_numpy()), OF_NUMBERS)
        with pytest.raises(Unknown):
            through(step.fit(NUMBERS.to_numpy()), Block((Ramp(0),)))


def test_a_column_as_a_series_is_not_known() -> None:
    step = make_column_transformer((StandardScaler(), ["a"])).fit(NUMBERS)
    for columns in ("a", 0, np.int64(0)):
        step.transformers_ = [(name, inner, columns) for name, inner, _ in step.transformers_]
        with pytest.raises(Unknown):
            through(step, OF_NUMBERS)
