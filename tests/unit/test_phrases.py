"""What happened to a column, in words: right, and never more than the values say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.phrases import FACTORS, describe

numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=60)
wild = st.lists(st.one_of(st.none(), st.floats(allow_infinity=False, allow_nan=False)), max_size=60)
levels = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=60)


def floats(values: list) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def objects(values: list) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def prices(rows: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(4.0, 0.6, rows)


# ── factors and shifts ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [300, 4000])
@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (100.0, "looks multiplied by 100 (median"),
        (0.01, "looks multiplied by 0.01 (median"),
        (1000.0, "looks multiplied by 1,000 (median"),
        (60.0, "looks multiplied by 60 (hours to minutes"),
        (1.609344, "looks multiplied by 1.609 (miles to kilometres)"),
        (0.45359237, "looks multiplied by 0.4536 (pounds to kilograms)"),
        (-1.0, "looks to have its sign turned (median"),
        (1.3, "moved (median"),
        (5.0, "moved (median"),
    ],
)
def test_a_factor_is_recognised_in_other_rows(factor: float, said: str, rows: int) -> None:
    assert describe("price", prices(), prices(rows, 2) * factor).startswith(f"price {said}")


@pytest.mark.parametrize("factor", FACTORS)
def test_every_well_known_factor_is_recognised_in_the_same_rows(factor: float) -> None:
    assert f"looks multiplied by {FACTORS[factor]} (median" in describe("price", prices(), prices() * factor)


def test_zeros_do_not_hide_a_factor() -> None:
    before = np.where(np.arange(4000) % 2 == 0, 0.0, prices())
    assert "multiplied by 100" in describe("price", before, before * 100)


def test_too_few_values_show_no_factor() -> None:
    assert describe("x", np.arange(1.0, 15.0), np.arange(1.0, 15.0) * 100) == "x moved (median 750 v. 7.5)"


def test_a_factor_of_only_some_values_is_none() -> None:
    before = prices()
    assert describe("x", before, np.where(before > 60.0, before * 100, before)).startswith("x moved (")


def test_a_spread_that_only_begins_like_a_factor_is_none() -> None:
    before = prices()
    assert describe("x", before, before**1.15).startswith("x moved (median")


def test_a_shift_is_recognised() -> None:
    celsius = np.random.default_rng(0).normal(20.0, 5.0, 3000)
    assert "looks shifted by 273" in describe("temperature", celsius, celsius + 273.15)
    assert "looks shifted by -60" in describe("temperature", celsius, celsius - 60.0)


def test_a_small_shift_and_one_of_a_constant_are_only_a_move() -> None:
    celsius = np.random.default_rng(0).normal(20.0, 5.0, 3000)
    assert describe("t", celsius, celsius + 1.0).startswith("t moved (median")
    assert describe("t", np.full(99, 20.0), np.append(np.full(98, 25.0), 26.0)) == "t moved (median 25 v. 20)"


def test_a_change_of_spread_alone_is_no_shift_and_no_factor() -> None:
    wide = np.random.default_rng(0).normal(0.0, 1.0, 3000)
    assert describe("x", wide, np.abs(wide) ** 3).startswith("x moved (median")
    even = np.linspace(-1.0, 1.0, 501)
    assert describe("x", even, np.sign(even) * np.sqrt(np.abs(even))).startswith("x moved (mean")


def test_values_that_lie_around_nought_alike_have_no_sign_to_turn() -> None:
    even = np.linspace(-1.0, 1.0, 501)
    assert describe("x", even, -even) == "x differs little from the reference"


# ── everything else ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (np.arange(100.0), np.full(100, np.nan), "is null in 100 % of rows (0 % in the reference)"),
        (np.full(100, np.nan), np.arange(100.0), "is null in 0 % of rows (100 % in the reference)"),
        (np.arange(100.0), np.full(100, 7.0), "is 7 in every row (100 values in the reference)"),
        (np.full(100, 7.0), np.full(100, 7.0), "differs little from the reference"),
        (np.arange(100.0), np.arange(100.0), "differs little from the reference"),
        (np.arange(100.0), np.array([]), "has no rows to compare"),
        (np.array([]), np.arange(100.0), "has no rows to compare"),
        (np.full(9, np.nan), np.full(9, np.nan), "differs little from the reference"),
        (np.repeat([0.0, 1.0], [900, 100]), np.repeat([0.0, 1.0], [600, 400]), "moved (mean 0.4 v. 0.1)"),
        (
            objects(["Madrid", "Rome"] * 50),
            objects(["Madrd", "Rome"] * 50),
            "has 50 % of values never seen (e.g. 'Madrd')",
        ),
        (objects(["a"] * 99), objects(list("bbbccd") * 9), "has 100 % of values never seen (e.g. 'b', 'c', 'd')"),
        (objects(["a", "b"] * 50), objects(["a"] * 80 + ["b"] * 20), "moved ('a' is 80 % of rows v. 50 %)"),
        (objects(["a", "b"] * 50), objects(["a"] * 52 + ["b"] * 48), "differs little from the reference"),
        (objects(["a", "b"] * 500), objects(["a", "b"] * 500 + ["c"]), "differs little from the reference"),
        (
            objects(["a", "b"] * 50),
            objects(["a", None] * 50),
            "is null in 50 % of rows (0 % in the reference) and moved ('a' is 100 % of rows v. 50 %)",
        ),
    ],
)
def test_what_happened_is_said(before: np.ndarray, after: np.ndarray, said: str) -> None:
    copies = before.copy(), after.copy()
    assert describe("x", before, after) == f"x {said}"
    pd.testing.assert_series_equal(pd.Series(before), pd.Series(copies[0]))
    pd.testing.assert_series_equal(pd.Series(after), pd.Series(copies[1]))


@pytest.mark.parametrize(
    ("nulls", "said"),
    [
        (0, "0 %"),
        (1, "under 0.1 %"),
        (20, "1.0 %"),
        (500, "25 %"),
        (1986, "99.3 %"),
        (1999, "over 99.9 %"),
        (2000, "100 %"),
    ],
)
def test_hardly_any_and_nearly_all_are_not_said_as_none_and_all(nulls: int, said: str) -> None:
    before = np.where(np.arange(2000) < nulls, np.nan, 1.0)
    after = np.full(2000, 1.0 if nulls > 1000 else np.nan)
    assert f"({said} in the reference)" in describe("x", before, after)


def test_times_are_said_as_dates() -> None:
    before = pd.Series(pd.date_range("2025-01-01", periods=365))
    assert describe("day", before, before + pd.Timedelta(days=365)) == "day moved (median 2026-07-02 v. 2025-07-02)"
    assert describe("day", before, before.where(before.isna(), before[0])).startswith("day is 2025-01-01 in every row")


def test_a_small_share_of_nulls_is_said_and_one_row_is_not() -> None:
    after = prices()
    after[:40] = np.nan
    assert describe("price", prices(), after) == "price is null in 1.0 % of rows (0 % in the reference)"
    after[1:40] = prices()[1:40]
    assert describe("price", prices(), after) == "price differs little from the reference"


def test_the_level_that_changed_most_is_named_whatever_the_order_of_rows() -> None:
    before = objects(["a"] * 40 + ["b"] * 40 + ["c"] * 20)
    after = objects(["a"] * 10 + ["b"] * 40 + ["c"] * 50)
    order = np.random.default_rng(0).permutation(100)
    assert describe("x", before, after) == describe("x", before[order], after[order])
    assert "'c' is 50 % of rows v. 20 %" in describe("x", before, after)


@settings(deadline=None)
@given(numbers, numbers)
def test_any_numbers_have_a_sentence_that_does_not_depend_on_the_order_of_rows(before: list, after: list) -> None:
    said = describe("x", floats(before), floats(after))
    assert said.startswith("x ")
    assert "nan" not in said
    assert describe("x", floats(before[::-1]), floats(after[::-1])) == said


@settings(deadline=None)
@given(wild, wild)
def test_the_greatest_numbers_that_there_are_have_a_sentence(before: list, after: list) -> None:
    assert describe("x", floats(before), floats(after)).startswith("x ")


@settings(deadline=None)
@given(levels, levels)
def test_any_levels_have_a_sentence_that_does_not_depend_on_the_order_of_rows(before: list, after: list) -> None:
    said = describe("x", objects(before), objects(after))
    assert said.startswith("x ")
    assert describe("x", objects(before[::-1]), objects(after[::-1])) == said


@settings(deadline=None)
@given(numbers)
def test_of_the_same_values_nothing_is_said(values: list) -> None:
    said = describe("x", floats(values), floats(values[::-1]))
    assert said == ("x differs little from the reference" if values else "x has no rows to compare")
