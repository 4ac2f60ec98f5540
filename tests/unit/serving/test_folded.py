from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler

from fuseline.casts import Kind
from fuseline.contract import Column, Contract
from fuseline.frames import to_frame
from fuseline.records import Task
from fuseline.serving.folded import Folded, fold

KINDS: dict[str, Kind] = {
    "price": "number",
    "colour": "text",
    "at": "datetime",
    "month": "number",
    "member": "boolean",
    "city": "text",
}
CONTRACT = Contract(tuple(Column(n, k, True, 1, 9) for n, k in KINDS.items()), None, None, None, 9)
TYPES = {"number": pa.float64(), "boolean": pa.float64(), "text": pa.string(), "datetime": pa.timestamp("ns")}
SEEN = {
    "month": [1.0, 2.0, 3.0, 4.0, 12.0],
    "member": [0.0, 1.0],
    "colour": ["red", "green", "blue", "", "nan", "None", "missing_value"],
    "city": ["Graz", "Wien", "Linz", "Wels"],
}
ODD = {"month": [13.0, -0.0, 2.5], "member": [1.0], "colour": ["pink", "RED", " "], "city": ["Köln", "graz", "\x00"]}

Columns = list[list[Any]]


def draw(seed: int, rows: int, nulls: float = 0.15, odd: float = 0.0) -> Columns:
    """Values of each column, shape (columns, rows); `odd` is how often one is none that training saw."""
    rng = np.random.default_rng(seed)

    def value(name: str) -> Any:
        if rng.random() < nulls:
            return None
        if name == "price":
            return float(rng.normal(5, 3) if rng.random() >= odd else rng.choice([0.0, -1e6, 1e5]))
        if name == "at":
            return int(rng.integers(10**18))
        known = ODD[name] if rng.random() < odd else SEEN[name]
        return known[min(int(rng.exponential(1.5)), len(known) - 1)]

    return [[value(name) for _ in range(rows)] for name in KINDS]


def frame(columns: Columns) -> pd.DataFrame:
    """The frame that the batch flow makes of the same values."""
    arrays = [pa.array(v, TYPES[k]) for v, k in zip(columns, KINDS.values(), strict=True)]
    coded = [a.dictionary_encode() if pa.types.is_string(a.type) else a for a in arrays]
    return to_frame(pa.RecordBatch.from_arrays(coded, names=list(KINDS)), CONTRACT)


def outcome(rows: int, task: Task) -> np.ndarray:
    rng = np.random.default_rng(rows)
    return rng.choice(["no", "yes"], rows) if task == "binary" else rng.normal(size=rows)


def folded(model: Any, task: Task = "binary", positive: str = "yes") -> Folded:
    found = fold(model, CONTRACT, task, ("no", "yes") if task == "binary" else (), positive)
    assert found is not None
    return found


def asked(model: Any, data: pd.DataFrame, task: Task, place: int = 1) -> np.ndarray:
    """What scikit-learn says of each row, NaN where it raises."""

    def scores(part: pd.DataFrame) -> Any:
        return model.predict_proba(part)[:, place] if task == "binary" else model.predict(part).ravel()

    try:
        return np.asarray(scores(data))
    except ValueError:
        if len(data) == 1:
            return np.array([math.nan])
    return np.concatenate([asked(model, data.iloc[[i]], task, place) for i in range(len(data))])


def rows_of(columns: Columns) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True))


def equal(found: Sequence[float] | np.ndarray, expected: np.ndarray) -> bool:
    """To 1e-12 of a probability, or of a prediction over 1; NaN is NaN."""
    return bool(list(found) == pytest.approx(list(expected), rel=1e-12, abs=1e-12, nan_ok=True))


# ── any pipeline of known steps is equal to scikit-learn ─────────────────────────────────────────


@st.composite
def number_imputers(draw: st.DrawFn) -> SimpleImputer:
    return SimpleImputer(
        strategy=draw(st.sampled_from(["mean", "median", "most_frequent", "constant"])),
        add_indicator=draw(st.booleans()),
        keep_empty_features=draw(st.booleans()),
    )


@st.composite
def text_imputers(draw: st.DrawFn) -> SimpleImputer:
    return SimpleImputer(
        strategy=draw(st.sampled_from(["most_frequent", "constant"])),
        missing_values=draw(st.sampled_from([None, "red", "", math.nan])),
        fill_value=draw(st.sampled_from([None, "none", "blue"])),
        add_indicator=draw(st.booleans()),
        keep_empty_features=draw(st.booleans()),
    )


@st.composite
def scalers(draw: st.DrawFn) -> Any:
    one, two = draw(st.booleans()), draw(st.booleans())
    return draw(
        st.sampled_from(
            [
                StandardScaler(with_mean=one, with_std=two),
                MinMaxScaler(clip=one, feature_range=(-1, 1) if two else (0, 1)),
                MaxAbsScaler(),
                RobustScaler(with_centering=one, with_scaling=two),
                "passthrough",
            ]
        )
    )


@st.composite
def encoders(draw: st.DrawFn) -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown=draw(st.sampled_from(["ignore", "infrequent_if_exist", "warn", "error"])),
        drop=draw(st.sampled_from([None, "first", "if_binary"])),
        min_frequency=draw(st.sampled_from([None, 8, 0.2])),
        max_categories=draw(st.sampled_from([None, 2, 3])),
        sparse_output=draw(st.booleans()),
    )


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Pipeline, Task]:
    """Numbers imputed and scaled, text and numbers encoded, some columns twice, and steps over all of it."""
    numbers = [*draw(st.lists(number_imputers(), max_size=1)), *draw(st.lists(scalers(), max_size=2)), "passthrough"]
    texts = [*draw(st.lists(text_imputers(), max_size=1)), draw(encoders())]
    parts = [
        ("numbers", make_pipeline(*numbers), draw(st.permutations(["price", "month", "member"]))),
        ("texts", make_pipeline(*texts), ["city", "colour"]),
        ("again", draw(encoders()), ["member", "month"]),
        ("dropped", "drop", ["at"]),
        ("empty", StandardScaler(), []),
    ]
    chosen = parts[: draw(st.integers(1, 2))] + parts[draw(st.integers(2, 3)) :]
    columns = ColumnTransformer(draw(st.permutations(chosen)), sparse_threshold=draw(st.sampled_from([0, 1.0])))
    after = [SimpleImputer(), StandardScaler(with_mean=False), MaxAbsScaler()]
    task: Task = draw(st.sampled_from(["binary", "regression"]))
    classifiers = [LogisticRegression(max_iter=50), LogisticRegression(C=0.01, fit_intercept=False)]
    last = draw(st.sampled_from(classifiers if task == "binary" else [Ridge(), Lasso(0.01)]))
    return make_pipeline(columns, *draw(st.lists(st.sampled_from(after), max_size=2)), last), task


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=pipelines(), seed=st.integers(0, 9_999), nulls=st.sampled_from([0.0, 0.2]))
def test_every_pipeline_of_known_steps_scores_as_scikit_learn_does(
    made: tuple[Pipeline, Task], seed: int, nulls: float
) -> None:
    model, task = made
    asking = draw(seed + 1, 12, odd=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of unknown levels and of fits that were cut short
        try:
            model.fit(frame(draw(seed, 50, nulls)), outcome(50, task))
        except ValueError:  # e.g. nulls without an imputer
            return
        expected = asked(model, frame(asking), task)
    found = fold(model, CONTRACT, task, ("no", "yes"))
    if found is None:  # text was encoded away to nothing, or reached the end
        return
    assert equal(found.score_many(asking), expected)
    assert equal([found.score_one(row) for row in rows_of(asking)], expected)


def usual(last: Any, **encoder: Any) -> Pipeline:
    """What most people write, over all columns but the datetime."""
    encoder = {"handle_unknown": "ignore", **encoder}
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["price", "month", "member"]),
            (OneHotEncoder(**encoder), ["colour", "city"]),
        ),
        last,
    )


@pytest.fixture(scope="module")
def logistic() -> Pipeline:
    return usual(LogisticRegression()).fit(frame(draw(1, 200)), outcome(200, "binary"))


@pytest.mark.parametrize("positive", ["no", "yes"])
def test_the_score_is_the_probability_of_the_positive_class(logistic: Pipeline, positive: str) -> None:
    asking = draw(2, 100, odd=0.1)
    expected = asked(logistic, frame(asking), "binary", place=("no", "yes").index(positive))
    assert equal(folded(logistic, positive=positive).score_many(asking), expected)
    assert equal([folded(logistic, positive=positive).score_one(row) for row in rows_of(asking)], expected)


def test_the_last_class_is_the_positive_one_if_none_is_named(logistic: Pipeline) -> None:
    row = rows_of(draw(2, 1))[0]
    assert folded(logistic, positive="").score_one(row) == folded(logistic, positive="yes").score_one(row)


REGRESSIONS = [LinearRegression(), Ridge(), Lasso(0.1), ElasticNet(0.1), SGDRegressor(), HuberRegressor(max_iter=500)]


@pytest.mark.parametrize("last", REGRESSIONS, ids=str)
def test_a_linear_regression_predicts_the_same(last: Any) -> None:
    model = usual(last).fit(frame(draw(1, 200)), outcome(200, "regression"))
    asking = draw(2, 50)
    assert equal(folded(model, "regression").score_many(asking), asked(model, frame(asking), "regression"))


def test_a_target_in_two_dimensions_changes_nothing() -> None:
    model = usual(LinearRegression()).fit(frame(draw(1, 99)), outcome(99, "regression").reshape(-1, 1))
    asking = draw(2, 9)
    assert equal(folded(model, "regression").score_many(asking), asked(model, frame(asking), "regression"))


def test_columns_that_a_selector_found_are_followed() -> None:
    columns = make_column_transformer(
        (SimpleImputer(), make_column_selector(dtype_include=np.number)),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object)),
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame(draw(1, 80)), outcome(80, "binary"))
    asking = draw(2, 20)
    assert equal(folded(model).score_many(asking), asked(model, frame(asking), "binary"))


def test_columns_are_selected_by_name_whatever_their_order_was_in_training() -> None:
    data = frame(draw(1, 80))
    model = usual(LogisticRegression()).fit(data[["city", "month", "colour", "price", "member"]], outcome(80, "binary"))
    asking = draw(2, 20)
    assert equal(folded(model).score_many(asking), asked(model, frame(asking), "binary"))


def test_what_remains_is_passed_through() -> None:
    encoder = OneHotEncoder(handle_unknown="ignore", drop=["red", "Graz"])
    columns = ColumnTransformer([("t", encoder, ["colour", "city"]), ("d", "drop", ["at"])], remainder="passthrough")
    model = make_pipeline(columns, SimpleImputer(), Ridge()).fit(frame(draw(1, 80)), outcome(80, "regression"))
    asking = draw(2, 20)
    assert equal(folded(model, "regression").score_many(asking), asked(model, frame(asking), "regression"))


def test_columns_of_an_array_are_selected_by_place() -> None:
    first = make_column_transformer((SimpleImputer(), ["price", "month"]), ("passthrough", ["member"]))
    second = ColumnTransformer([("s", RobustScaler(), [2, 0])], remainder="passthrough")
    model = make_pipeline(first, second, SimpleImputer(), Ridge()).fit(frame(draw(1, 80)), outcome(80, "regression"))
    asking = draw(2, 20)
    assert equal(folded(model, "regression").score_many(asking), asked(model, frame(asking), "regression"))


def test_a_model_without_a_pipeline_is_folded() -> None:
    contract = Contract((CONTRACT.columns[0], CONTRACT.columns[3]), None, None, None, 9)
    data = frame(draw(1, 80, nulls=0))[["price", "month"]]
    model = LogisticRegressionCV(l1_ratios=[0], scoring="accuracy", use_legacy_attributes=False).fit(
        data, outcome(80, "binary")
    )
    found = fold(model, contract, "binary", ("no", "yes"))
    assert found is not None
    assert equal(found.score_many([data["price"].tolist(), data["month"].tolist()]), asked(model, data, "binary"))


# ── nulls, unseen levels and numbers at the edge ─────────────────────────────────────────────────


def one_text(encoder: OneHotEncoder, *steps: Any) -> Pipeline:
    model = make_pipeline(make_column_transformer((make_pipeline(*steps, encoder), ["colour"])), Ridge())
    return model.fit(frame([[1.0] * 4, ["red", "red", "blue", None], *[[None] * 4] * 4]), [1.0, 3.0, 5.0, 11.0])


def of_colour(model: Pipeline, colour: str | None) -> float:
    return folded(model, "regression").score_one([None, colour, None, None, None, None])


def of_colour_by_sklearn(model: Pipeline, colour: str | None) -> float:
    return float(asked(model, frame([[1.0], [colour], *[[None]] * 4]), "regression")[0])


@pytest.mark.parametrize("colour", ["red", "blue", None, "pink", "nan", "None", ""])
def test_null_is_a_level_of_its_own_and_no_text_is_taken_for_it(colour: str | None) -> None:
    model = one_text(OneHotEncoder(handle_unknown="ignore"))
    assert of_colour(model, colour) == pytest.approx(of_colour_by_sklearn(model, colour), abs=1e-12)


def test_an_imputer_of_nan_leaves_null_alone_and_one_of_none_fills_it() -> None:
    left = one_text(OneHotEncoder(handle_unknown="ignore"), SimpleImputer(strategy="most_frequent"))
    filled = one_text(
        OneHotEncoder(handle_unknown="ignore"), SimpleImputer(strategy="most_frequent", missing_values=None)
    )
    assert of_colour(left, None) != of_colour(left, "red")
    assert of_colour(filled, None) == of_colour(filled, "red")


def test_an_unseen_level_is_nothing_or_infrequent_or_refused() -> None:
    nothing = one_text(OneHotEncoder(handle_unknown="ignore", min_frequency=2))
    infrequent = one_text(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2))
    refused = one_text(OneHotEncoder(handle_unknown="error", min_frequency=2))
    assert of_colour(nothing, "pink") != of_colour(nothing, "blue")
    assert of_colour(infrequent, "pink") == of_colour(infrequent, "blue")
    assert math.isnan(of_colour(refused, "pink"))
    assert not math.isnan(of_colour(refused, "blue"))


def test_a_refused_level_stays_refused_behind_an_imputer() -> None:
    columns = make_column_transformer((OneHotEncoder(sparse_output=False), ["colour"]), (StandardScaler(), ["price"]))
    model = make_pipeline(columns, SimpleImputer(), MinMaxScaler(clip=True), Ridge())
    model.fit(frame(draw(1, 60)), outcome(60, "regression"))
    score = folded(model, "regression").score_one
    assert math.isnan(score([1.0, "pink", None, None, None, None]))
    assert not math.isnan(score([None, "red", None, None, None, None]))


def test_a_null_without_an_imputer_is_nan_in_its_row_only() -> None:
    model = make_pipeline(make_column_transformer((StandardScaler(), ["price", "month"])), LogisticRegression())
    found = folded(model.fit(frame(draw(1, 60, nulls=0)), outcome(60, "binary")))
    columns: Columns = [[1.0, None, 2.0], [None] * 3, [None] * 3, [1.0, 2.0, math.nan], [None] * 3, [None] * 3]
    assert np.isnan(found.score_many(columns)).tolist() == [False, True, True]
    assert [math.isnan(found.score_one(row)) for row in rows_of(columns)] == [False, True, True]


def test_a_column_that_was_always_null_is_dropped_or_kept_as_the_imputer_does() -> None:
    data = frame(draw(1, 60)).assign(price=np.nan)
    for keep in (False, True):
        columns = make_column_transformer((SimpleImputer(keep_empty_features=keep), ["price", "month"]))
        model = make_pipeline(columns, Ridge())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data, outcome(60, "regression"))
            asking = draw(2, 20)
            expected = asked(model, frame(asking), "regression")
        assert equal(folded(model, "regression").score_many(asking), expected)


def test_sums_that_are_far_from_zero_do_not_overflow() -> None:
    model = make_pipeline(make_column_transformer(("passthrough", ["price"])), LogisticRegression())
    model.fit(frame(draw(1, 60, nulls=0)), outcome(60, "binary"))
    model[-1].coef_, model[-1].intercept_ = np.array([[1.0]]), np.zeros(1)
    sums = [-1e300, -800.0, -700.0, -40.0, -1.0, 0.0, 1.0, 40.0, 700.0, 800.0, 1e300]
    columns: Columns = [sums, *[[None] * len(sums)] * 5]
    for positive, place in (("no", 0), ("yes", 1)):
        found = folded(model, positive=positive)
        assert equal(found.score_many(columns), asked(model, frame(columns), "binary", place))
        assert equal([found.score_one(row) for row in rows_of(columns)], asked(model, frame(columns), "binary", place))


def test_what_no_float_holds_is_nan() -> None:
    model = make_pipeline(make_column_transformer((SimpleImputer(), ["price", "month"])), LinearRegression())
    found = folded(model.fit(frame(draw(1, 60)), outcome(60, "regression")), "regression")
    columns: Columns = [[10**400, 3, 1e308], [None] * 3, [None] * 3, [1, -(10**400), 2], [None] * 3, [None] * 3]
    assert np.isnan(found.score_many(columns)).tolist() == [True, True, False]
    assert [math.isnan(found.score_one(row)) for row in rows_of(columns)] == [True, True, False]


def test_whole_numbers_and_booleans_are_numbers(logistic: Pipeline) -> None:
    found = folded(logistic)
    assert found.score_one([3, "red", None, 4, True, "Graz"]) == found.score_one([3.0, "red", None, 4.0, 1.0, "Graz"])
    columns: Columns = [[3, 3.0], ["red"] * 2, [None] * 2, [4, 4.0], [False, 0.0], ["Graz"] * 2]
    assert len(set(found.score_many(columns).tolist())) == 1


def test_rows_score_alike_alone_and_together_and_columns_are_not_changed(logistic: Pipeline) -> None:
    asking = draw(3, 40, odd=0.2)
    before = [list(values) for values in asking]
    found = folded(logistic)
    together = found.score_many(tuple(map(tuple, asking)))
    assert together == pytest.approx([found.score_one(row) for row in rows_of(asking)], abs=1e-15)
    assert asking == before


def test_no_rows_have_no_scores(logistic: Pipeline) -> None:
    assert folded(logistic).score_many([[] for _ in KINDS]).shape == (0,)


# ── where anything is not known, nothing is folded ───────────────────────────────────────────────


@pytest.mark.parametrize(
    ("last", "task"),
    [
        (PoissonRegressor(), "regression"),  # its prediction is an exponential
        (RandomForestRegressor(2, max_depth=1), "regression"),
        (SGDClassifier(loss="log_loss"), "binary"),
        (LogisticRegression(), "regression"),
        (Ridge(), "binary"),
        (LogisticRegression(), "multiclass"),
    ],
    ids=str,
)
def test_a_model_of_another_kind_is_not_folded(last: BaseEstimator, task: Task) -> None:
    target = np.where(outcome(60, "binary") == "yes", 1.0, 2.0)
    model = usual(last).fit(frame(draw(1, 60)), target)
    assert fold(model, CONTRACT, task, ("1.0", "2.0")) is None


def test_three_classes_are_not_folded() -> None:
    model = usual(LogisticRegression()).fit(frame(draw(1, 60)), np.arange(60) % 3)
    assert fold(model, CONTRACT, "multiclass", ("0", "1", "2")) is None
    assert fold(model, CONTRACT, "binary", ("0", "1")) is None


def test_two_targets_are_not_folded() -> None:
    model = usual(Ridge()).fit(frame(draw(1, 60)), np.arange(120.0).reshape(60, 2))
    assert fold(model, CONTRACT, "regression", ()) is None


def test_a_pipeline_of_steps_without_a_model_is_not_folded() -> None:
    assert fold(make_pipeline(StandardScaler()), CONTRACT, "regression", ()) is None
    assert fold(make_pipeline("passthrough"), CONTRACT, "regression", ()) is None


def test_a_probability_of_another_formula_is_not_folded() -> None:
    model = usual(LogisticRegression()).fit(frame(draw(1, 60)), outcome(60, "binary"))
    model[-1].multi_class = "multinomial"  # as scikit-learn before 1.8 kept it
    assert fold(model, CONTRACT, "binary", ("no", "yes")) is None


class OwnModel(LogisticRegression):
    """A subclass may do anything."""


class OwnPipeline(Pipeline):
    """A subclass may do anything."""


def test_a_model_or_pipeline_of_ones_own_is_not_folded() -> None:
    data, target = frame(draw(1, 60)), outcome(60, "binary")
    assert fold(usual(OwnModel()).fit(data, target), CONTRACT, "binary", ("no", "yes")) is None
    own = OwnPipeline(usual(LogisticRegression()).steps).fit(data, target)
    assert fold(own, CONTRACT, "binary", ("no", "yes")) is None


def test_text_or_a_datetime_at_the_end_is_not_folded(logistic: Pipeline) -> None:
    model = make_pipeline(make_column_transformer(("passthrough", ["price", "month"])), LinearRegression())
    model.fit(frame(draw(1, 60, nulls=0)), outcome(60, "regression"))
    for kind in ("text", "datetime"):
        columns = tuple(Column(c.name, kind if c.name == "price" else c.kind, True, 0, 9) for c in CONTRACT.columns)  # type: ignore[arg-type]
        assert fold(model, Contract(columns, None, None, None, 9), "regression", ()) is None


def test_columns_in_another_order_or_of_other_names_are_not_guessed() -> None:
    data = frame(draw(1, 60))[["month", "price"]]
    model = make_pipeline(SimpleImputer(), Ridge()).fit(data, outcome(60, "regression"))
    price, month = CONTRACT.columns[0], CONTRACT.columns[3]
    other = Column("weight", "number", True, 0, 9)
    for columns, known in (((month, price), True), ((price, month), False), ((month, other), False), ((month,), False)):
        found = fold(model, Contract(columns, None, None, None, 9), "regression", ())
        assert (found is not None) is known


@pytest.mark.parametrize("name", ["coef_", "intercept_", "n_features_in_", "classes_"])
def test_a_model_without_an_attribute_is_not_folded(name: str) -> None:
    model = usual(LogisticRegression()).fit(frame(draw(1, 60)), outcome(60, "binary"))
    delattr(model[-1], name)
    assert fold(model, CONTRACT, "binary", ("no", "yes")) is None
