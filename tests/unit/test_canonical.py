"""Any frame as canonical values: nothing raises for what a batch holds, and what is lost is counted."""

from __future__ import annotations

import datetime
from decimal import Decimal
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.canonical import Canonical, Kind, as_given, canonical, identities, kind_of, repeats

KINDS: tuple[Kind, ...] = ("number", "text", "datetime")
DTYPES = {"number": "float64", "text": "object", "datetime": "datetime64[ns]"}


def brought(column: object, kind: Kind) -> Canonical:
    return canonical(pd.DataFrame({"x": column}), {"x": kind})


def numbers(column: object) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in brought(column, "number").values["x"]]


def times(column: object) -> list[str | None]:
    return [None if np.isnat(v) else str(v)[:19] for v in brought(column, "datetime").values["x"]]


def texts(column: object) -> list[str | None]:
    return list(brought(column, "text").values["x"])


def objects(*values: object) -> pd.Series:
    made = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):  # one by one: numpy would make an array of lists, or of numbers
        made[i] = value
    return pd.Series(made, dtype=object)


# ── what a column holds ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Series([1, 2]), "number"),
        (pd.Series([1.5, np.nan], dtype="float32"), "number"),
        (pd.Series([True, False]), "number"),
        (pd.Series([True, None], dtype="boolean"), "number"),
        (pd.Series([1, None], dtype="Int64"), "number"),
        (pd.Series([1, None], dtype="int64[pyarrow]"), "number"),
        (pd.to_timedelta(pd.Series([1, 2]), unit="s"), "number"),
        (pd.Series(pd.date_range("2025-01-01", periods=2)), "datetime"),
        (pd.Series(pd.date_range("2025-01-01", periods=2, tz="Europe/Rome")), "datetime"),
        (objects("a", None), "text"),
        (pd.Series(["a", "b"], dtype="category"), "text"),
        (pd.Series([1, 2]).astype("category"), "text"),
        (pd.Series(["a", None], dtype="string"), "text"),
        (objects("a", 1, None), "text"),
        (objects(True, None, False), "number"),
        (objects(1, 2.5, None), "number"),
        (objects(Decimal("1.5"), None), "number"),
        (objects(None, None), "text"),
    ],
)
def test_the_kind_of_a_column_is_told_by_its_type(column: pd.Series, kind: Kind) -> None:
    assert kind_of(column) == kind


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pd.Series([1, -2]), [1.0, -2.0]),
        (pd.Series([2**64 - 1], dtype="uint64"), [float(2**64 - 1)]),
        (pd.Series([0.5, np.nan], dtype="float32"), [0.5, None]),
        (pd.Series([True, False]), [1.0, 0.0]),
        (pd.Series([True, None], dtype="boolean"), [1.0, None]),
        (pd.Series([3, None], dtype="Int64"), [3.0, None]),
        (pd.Series([3, None], dtype="int64[pyarrow]"), [3.0, None]),
        (pd.to_timedelta(pd.Series([90, None]), unit="s"), [90.0, None]),
        (objects("1", " 2.5 ", None), [1.0, 2.5, None]),
        (objects(Decimal("1.5"), 2, True), [1.5, 2.0, 1.0]),
        (pd.Series([1, 2, None]).astype("category"), [1.0, 2.0, None]),
        (pd.Series(["3", None], dtype="string"), [3.0, None]),
    ],
)
def test_numbers_of_any_type_become_floats(column: pd.Series, found: list[float | None]) -> None:
    made = brought(column, "number")
    assert numbers(column) == found
    assert not made.broken
    assert not made.infinite


def test_what_is_no_number_is_null_and_counted_but_a_null_is_not() -> None:
    assert brought(objects("1", "ten", None, "", "7 %", np.nan), "number").broken == {"x": 3}
    assert numbers(objects("1", "ten", None, "", "7 %", np.nan)) == [1.0, None, None, None, None, None]
    days = pd.Series(pd.to_datetime(["2025-01-01", None]))
    assert brought(days, "number").broken == {"x": 1}
    assert numbers(days) == [None, None]


def test_infinite_numbers_are_null_and_counted_apart() -> None:
    column = pd.Series([np.inf, -np.inf, 1.0, np.nan])
    found = brought(column, "number")
    assert (found.infinite, found.broken) == ({"x": 2}, {})
    assert numbers(column) == [None, None, 1.0, None]
    assert np.isinf(column[:2]).all()  # not changed
    assert brought(objects("inf", "-inf", "x", "2"), "number").infinite == {"x": 2}


def test_whole_numbers_that_no_float_holds_are_counted_as_broken() -> None:
    found = brought(objects(10**400, "7", -(10**5000), None, 2**70), "number")
    assert found.broken == {"x": 2}
    assert numbers(objects(10**400, "7", -(10**5000), None, 2**70)) == [None, 7.0, None, None, float(2**70)]


def test_complex_numbers_are_no_numbers() -> None:
    assert brought(pd.Series([1 + 2j, 3 + 0j]), "number").broken == {"x": 2}
    assert brought(objects(1 + 2j, 3, None), "number").broken == {"x": 1}


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def test_times_of_any_type_become_times_in_utc() -> None:
    assert times(pd.Series(pd.to_datetime(["2025-03-01 12:00", None]))) == ["2025-03-01T12:00:00", None]
    assert times(pd.Series(pd.to_datetime(["2025-03-01 12:00"])).dt.tz_localize("Europe/Rome")) == [
        "2025-03-01T11:00:00"
    ]
    assert times(objects("2025-03-01", "2025-03-01T12:00+02:00", None)) == [
        "2025-03-01T00:00:00",
        "2025-03-01T10:00:00",
        None,
    ]
    assert times(objects(datetime.date(2025, 3, 1), datetime.datetime(2025, 3, 1, 5))) == [
        "2025-03-01T00:00:00",
        "2025-03-01T05:00:00",
    ]
    assert times(pd.Series(pd.to_datetime(["2025-03-01", None])).astype("timestamp[us][pyarrow]")) == [
        "2025-03-01T00:00:00",
        None,
    ]


def test_what_is_no_time_is_null_and_counted() -> None:
    assert brought(objects("2025-01-01", "yesterday", "2025-13-45", None), "datetime").broken == {"x": 2}
    assert brought(pd.Series([1.0, np.nan, 3.0]), "datetime").broken == {"x": 2}
    assert times(pd.Series([1.0, np.nan, 3.0])) == [None, None, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_beyond_what_nanoseconds_reach_are_broken_and_do_not_turn_round(unit: str) -> None:
    column = pd.Series(np.array(["9999-12-31", "2025-01-01", "0001-01-01", "NaT"], dtype=f"datetime64[{unit}]"))
    assert times(column) == [None, "2025-01-01T00:00:00", None, None]
    assert brought(column, "datetime").broken == {"x": 2}
    assert brought(column.dt.tz_localize("UTC"), "datetime").broken == {"x": 2}
    assert brought(objects(datetime.date(9999, 12, 31)), "datetime").broken == {"x": 1}


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (objects("a", None, np.nan, pd.NA, ""), ["a", None, None, None, ""]),
        (objects("a", 1, 2.5, None, True), ["a", "1", "2.5", None, "True"]),
        (pd.Series([1, 2]), ["1", "2"]),
        (pd.Series([True, False]), ["True", "False"]),
        (pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]),
        (pd.Series([2, 1, None]).astype("category"), ["2.0", "1.0", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series(["a", None], dtype="string[pyarrow]"), ["a", None]),
        (objects(b"a", [1]), ["b'a'", "[1]"]),
        (pd.Series([], dtype=object), []),
    ],
)
def test_anything_becomes_text_and_no_value_becomes_none(column: pd.Series, found: list[str | None]) -> None:
    copy = column.copy()
    assert texts(column) == found
    pd.testing.assert_series_equal(column, copy)
    assert not brought(column, "text").broken


# ── frames ───────────────────────────────────────────────────────────────────────────────────────


def test_a_column_that_is_not_there_is_missing_and_null() -> None:
    found = canonical(pd.DataFrame({"y": [1.0, 2.0]}), {"n": "number", "y": "number", "t": "text", "d": "datetime"})
    assert found.missing == ("n", "t", "d")
    assert list(found.values) == ["n", "y", "t", "d"]
    assert np.isnan(found.values["n"]).all()
    assert found.values["t"].tolist() == [None, None]
    assert np.isnat(found.values["d"]).all()
    assert [v.shape for v in found.values.values()] == [(2,)] * 4


def test_a_column_that_is_there_twice_is_null_as_nobody_knows_which_is_meant() -> None:
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["x", "y", "x"])
    found = canonical(frame, {"x": "number", "y": "number"})
    assert (found.twice, found.missing) == (("x",), ())
    assert np.isnan(found.values["x"]).all()
    assert found.values["y"].tolist() == [2.0]


def test_other_columns_and_a_strange_index_are_ignored() -> None:
    frame = pd.DataFrame({"x": [1, 2], "more": [[1], {}]}, index=[7, 7])
    assert canonical(frame, {"x": "number"}).values["x"].tolist() == [1.0, 2.0]


STRANGE = {
    "lists": objects([1], [2], None),
    "arrays": objects(np.array([1, 2]), np.array([3])),
    "dicts": objects({"a": 1}, None, 3),
    "anything": objects(object(), "\ud800", "\x00", datetime.time(1, 2), pd.Timestamp("2025-01-01"), 1.5, True),
    "periods": pd.Series(pd.period_range("2025-01-01", periods=3, freq="D")),
    "intervals": pd.Series(pd.interval_range(0, 3)),
    "sparse": pd.Series(pd.arrays.SparseArray([0.0, 0.0, 1.0])),
    "aware and not": objects(datetime.datetime(2025, 1, 1), datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)),
    "lists of arrow": pd.Series([[1], [2]]).astype(pd.ArrowDtype(pa.list_(pa.int64()))),
    "decimals of arrow": pd.Series([Decimal("1.5"), None]).astype(pd.ArrowDtype(pa.decimal128(5, 2))),
    "days of arrow": pd.Series([datetime.date(2025, 1, 1), None]).astype("date32[day][pyarrow]"),
    "durations of arrow": pd.to_timedelta(pd.Series([1, None]), unit="s").astype("duration[ns][pyarrow]"),
    "days by category": pd.Series(pd.date_range("2025-01-01", periods=2)).astype("category"),
    "long durations": pd.Series(np.array([10**12], dtype="timedelta64[s]")),
    "huge": objects(10**400, -(10**400), 1e308, float("inf"), 10**30),
    "complex": pd.Series([1 + 2j]),
    "nothing": pd.Series([], dtype=object),
}


@pytest.mark.parametrize("times", [1, 60])  # pandas takes other ways where a column is long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", STRANGE)
def test_nothing_that_a_batch_holds_raises(what: str, kind: Kind, times: int) -> None:
    column = pd.concat([STRANGE[what]] * times, ignore_index=True)
    found = brought(column, kind)
    values = found.values["x"]
    assert values.dtype == DTYPES[kind]
    assert values.shape == (len(column),)
    assert found.broken.get("x", 0) + found.infinite.get("x", 0) == pd.isna(values).sum() - column.isna().sum()
    if kind == "number":
        assert not np.isinf(values).any()
    if kind == "text":
        assert all(v is None or isinstance(v, str) for v in values)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.dates(), st.complex_numbers()
        ),
        max_size=8,
    ),
    st.sampled_from(KINDS),
)
def test_any_values_are_brought_to_any_kind_and_what_is_lost_is_counted(values: list, kind: Kind) -> None:
    column = objects(*values)
    copy = column.copy()
    found = brought(column, kind)
    assert found.values["x"].dtype == DTYPES[kind]
    lost = int((pd.isna(found.values["x"]) & column.notna().to_numpy()).sum())
    assert lost == found.broken.get("x", 0) + found.infinite.get("x", 0)
    pd.testing.assert_series_equal(column, copy)
    if kind == "text":
        assert lost == 0


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False)), max_size=8), st.sampled_from(KINDS))
def test_what_is_canonical_stays_as_it_is(values: list, kind: Kind) -> None:
    once = brought(objects(*values), kind)
    again = canonical(pd.DataFrame(dict(once.values)), {"x": kind})
    np.testing.assert_array_equal(again.values["x"], once.values["x"])
    assert not again.broken
    assert not again.infinite


# ── as a model was given it ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, -3]),
        pd.Series([1.5, np.nan]),
        pd.Series([True, False]),
        pd.Series([0.0, 7.0]),
        pd.Series(["b", "a", None], dtype="category"),
        pd.Series([3, 1]).astype("category"),
        objects("a", None),
        pd.Series(pd.to_datetime(["2025-01-01", None])),
        pd.Series([], dtype="int64"),
    ],
)
def test_a_model_gets_back_what_it_was_given(column: pd.Series) -> None:
    values = brought(column, kind_of(column)).values["x"]
    found = pd.Series(as_given(values, column.dtype))
    assert found.dtype == column.dtype
    pd.testing.assert_series_equal(found, column)


def test_times_in_a_zone_and_durations_are_given_back() -> None:
    for column in (
        pd.Series(pd.to_datetime(["2025-03-01 12:00", None])).dt.tz_localize("Europe/Rome"),
        pd.to_timedelta(pd.Series([90, None]), unit="s"),
    ):
        found = pd.Series(as_given(brought(column, kind_of(column)).values["x"], column.dtype))
        pd.testing.assert_series_equal(found, column)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5, 2.0], "int64"),
        ([np.nan, 2.0], "int64"),
        ([2.0**60, 1.0], "int64"),
        ([2.0, 1.0], "bool"),
        ([np.nan, 1.0], "bool"),
        ([0.5], "bool"),
        ([1.5], "float32"),
    ],
)
def test_numbers_that_do_not_fit_stay_floats(values: list[float], dtype: str) -> None:
    found = as_given(np.array(values), np.dtype(dtype))
    np.testing.assert_array_equal(np.asarray(found), np.array(values))
    assert np.asarray(found).dtype == np.float64


def test_nullable_numbers_are_given_back_as_plain_ones() -> None:
    assert np.asarray(as_given(np.array([1.0, 2.0]), pd.Int64Dtype())).dtype == np.int64
    assert np.asarray(as_given(np.array([1.0, 0.0]), pd.BooleanDtype())).dtype == bool


def test_a_level_that_a_category_lacks_is_null() -> None:
    found = as_given(np.array(["a", "c", None], dtype=object), pd.CategoricalDtype(["a", "b"]))
    assert pd.Series(found).isna().tolist() == [False, True, True]


def test_what_is_no_type_changes_nothing() -> None:
    values = np.array([1.0])
    assert as_given(values, None) is values


# ── rows that come twice ─────────────────────────────────────────────────────────────────────────

ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, -0.0, 1.5, float("nan"), -float("nan")]), st.sampled_from([0, 1, 2])),
    min_size=1,
    max_size=30,
)


def hashes(rows: list[tuple[float, int]]) -> np.ndarray:
    values = {
        "x": np.array([x for x, _ in rows]),
        "day": np.array([c for _, c in rows]).astype("datetime64[D]").astype("datetime64[ns]"),
        "city": objects(*("abc"[c] for _, c in rows)).to_numpy(),
    }
    return identities(values, {"city": np.array([c for _, c in rows])})


@given(ROWS)
def test_rows_have_one_identity_exactly_where_they_are_equal(rows: list[tuple[float, int]]) -> None:
    found = hashes(rows)
    plain = [("null" if np.isnan(x) else x + 0.0, c) for x, c in rows]
    for i, a in enumerate(plain):
        for j, b in enumerate(plain):
            assert (found[i] == found[j]) == (a == b)


@given(ROWS, st.randoms(use_true_random=False))
def test_a_rows_identity_does_not_depend_on_the_others(rows: list[tuple[float, int]], random: Random) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    assert (hashes([rows[i] for i in order]) == hashes(rows)[order]).all()


def test_a_column_more_or_another_order_of_columns_is_another_identity() -> None:
    x, y = np.array([1.0]), np.array([2.0])
    found = [identities(v, {})[0] for v in ({"x": x}, {"x": x, "y": y}, {"y": y, "x": x}, {"x": y, "y": x})]
    assert found[0] not in found[1:]
    assert found[1] != found[2] == found[3]  # names do not count, places do


def test_identities_of_many_rows_do_not_collide_and_change_nothing() -> None:
    values = {"x": np.random.default_rng(0).normal(size=100_000)}
    copy = values["x"].copy()
    assert len(np.unique(identities(values, {}))) == 100_000
    assert (values["x"] == copy).all()


@given(st.lists(st.integers(0, 4), max_size=30))
def test_copies_are_numbered_in_an_order_that_does_not_depend_on_how_rows_came(found: list[int]) -> None:
    same = np.array(found, dtype=np.uint64)
    order, copies = repeats(same)
    assert sorted(order.tolist()) == list(range(len(found)))
    assert same[order].tolist() == sorted(found)
    seen: dict[int, int] = {}
    for value, copy in zip(same[order].tolist(), copies.tolist(), strict=True):
        assert copy == seen.get(value, 0)
        seen[value] = copy + 1
