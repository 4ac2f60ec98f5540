"""Reference rows with the batch's values: what moves, what stays, and what else can happen to a column."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.replay import deal, move, rename, rescale

numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=80)
known = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)
cells = st.lists(st.integers(0, 5), min_size=1, max_size=60)
levels = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=60)


def floats(values: list) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def objects(values: list) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shares(places: np.ndarray, size: int = 6) -> np.ndarray:
    return np.bincount(places, minlength=size) / len(places)


# ── the least mass moves ─────────────────────────────────────────────────────────────────────────


def moved(before: np.ndarray, after: np.ndarray, seed: int = 0) -> np.ndarray:
    """Cells as their own values: the batch's values are 100 more, so that one can tell what came from it."""
    return move(before + 0.0, before, (shares(before), shares(after)), after + 100.0, after, rng(seed))


@given(cells)
def test_rows_that_are_spread_alike_stay_where_they_are(before: list[int]) -> None:
    there = np.array(before)
    assert moved(there, rng().permutation(there)).tolist() == before


@given(cells, cells, st.integers(0, 5))
def test_rows_leave_only_cells_with_too_many_for_cells_with_too_few(before: list, after: list, seed: int) -> None:
    there, then = np.array(before), np.array(after)
    p, q = shares(there), shares(then)
    for was, value in zip(before, moved(there, then, seed), strict=True):
        if value >= 100.0:
            assert p[was] > q[was]
            assert p[int(value) - 100] < q[int(value) - 100]
        else:
            assert value == was


@given(cells, cells)
def test_a_cell_that_the_batch_has_not_is_left_by_all(before: list, after: list) -> None:
    gone = [v for v, was in zip(moved(np.array(before), np.array(after)), before, strict=True) if was not in after]
    assert all(v >= 100.0 for v in gone)


@given(cells, cells)
def test_moving_changes_none_of_what_it_is_given(before: list, after: list) -> None:
    there, then = np.array(before), np.array(after)
    given_ = [there + 0.0, there, shares(there), shares(then), then + 100.0, then]
    copies = [a.copy() for a in given_]
    found = move(given_[0], given_[1], (given_[2], given_[3]), given_[4], given_[5], rng())
    assert found is not given_[0]
    assert found.dtype == given_[0].dtype
    for array, copy in zip(given_, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_many_rows_get_the_shares_of_the_batch_by_the_least_moves() -> None:
    before = rng(2).choice(4, 20_000, p=[0.4, 0.3, 0.2, 0.1])
    after = rng(1).choice(4, 20_000, p=[0.1, 0.3, 0.2, 0.4])
    found = moved(before, after)
    assert shares((found % 100).astype(int)) == pytest.approx(shares(after), abs=0.015)
    assert (found >= 100.0).mean() == pytest.approx(np.maximum(shares(before) - shares(after), 0.0).sum(), abs=0.01)


def test_what_moves_gets_any_value_that_the_batch_has_in_the_cell() -> None:
    before, then = np.zeros(900, dtype=np.int64), np.ones(3, dtype=np.int64)
    found = move(
        before + 0.0, before, (np.array([1.0, 0.0]), np.array([0.0, 1.0])), np.array([7.0, 8.0, 9.0]), then, rng()
    )
    assert all(250 < count < 350 for count in Counter(found).values())
    assert set(found) == {7.0, 8.0, 9.0}


def test_no_row_moves_to_a_cell_of_which_the_batch_shows_no_value() -> None:
    before, target = np.array([0, 0, 1, 1]), np.array([0.0, 0.5, 0.5])
    found = move(before + 0.0, before, (np.array([0.5, 0.5, 0.0]), target), np.array([0.0]), np.array([0]), rng())
    assert found.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_levels_and_times_are_moved_as_what_they_are() -> None:
    before, then = np.array([0, 0]), np.array([1])
    shift = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert move(objects(["a", "a"]), before, shift, objects([None]), then, rng()).tolist() == [None, None]
    days = np.array(["2025-01-01", "2025-01-02"], dtype="datetime64[ns]")
    found = move(days, before, shift, days[:1], then, rng())
    assert found.dtype == days.dtype
    assert (found == days[0]).all()


# ── ranks are kept ───────────────────────────────────────────────────────────────────────────────


@given(numbers, known)
def test_numbers_keep_their_ranks_and_take_the_batchs_values(before: list, after: list) -> None:
    values, batch = floats(before), np.sort(floats(after))
    reference = np.sort(values[~np.isnan(values)])
    copies = values.copy(), reference.copy(), batch.copy()
    share = float(np.isnan(values).mean())
    found = rescale(values, reference, batch, (share, share), rng())
    null = np.isnan(values)
    if not null.all():
        np.testing.assert_array_equal(np.isnan(found), null)
        assert set(found[~null]) <= set(batch)
        distinct, place = np.unique(values[~null], return_inverse=True)
        lows, highs = (np.full(len(distinct), v) for v in (np.inf, -np.inf))
        np.minimum.at(lows, place, found[~null])
        np.maximum.at(highs, place, found[~null])
        assert (lows[1:] >= highs[:-1]).all()
    for array, copy in zip((values, reference, batch), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40, unique=True))
def test_the_same_values_stay_where_they_are_and_turned_they_are_reversed(before: list) -> None:
    values = np.sort(floats(before))
    assert rescale(values, values, values, (0.0, 0.0), rng()).tolist() == values.tolist()
    assert rescale(values, values, values, (0.0, 0.0), rng(), turned=True).tolist() == values[::-1].tolist()


def test_another_unit_is_given_back() -> None:
    prices = np.sort(rng().lognormal(4.0, 0.6, 5000))
    found = rescale(prices[::7], prices, prices * 100.0, (0.0, 0.0), rng())
    assert found == pytest.approx(prices[::7] * 100.0)


def test_values_that_are_many_times_there_are_spread_over_their_ranks() -> None:
    found = rescale(np.zeros(4000), np.array([0.0, 0.0, 1.0, 1.0]), np.arange(4.0), (0.0, 0.0), rng())
    assert set(found) == {0.0, 1.0}
    assert (found == 0.0).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.3), (0.2, 0.5), (0.5, 0.2), (0.4, 0.0), (0.25, 1.0), (1.0, 0.4)])
def test_rows_become_null_or_are_filled_as_the_shares_say(before: float, after: float) -> None:
    values = np.where(np.arange(20_000) < 20_000 * before, np.nan, rng().normal(size=20_000))
    reference = np.sort(values[~np.isnan(values)])
    found = rescale(values, reference, np.linspace(5.0, 6.0, 50), (before, after), rng())
    assert np.isnan(found).mean() == pytest.approx(after, abs=0.02)
    was = np.isnan(values)
    if after > before:
        assert np.isnan(found[was]).all()  # nulls stay null before others become null
    elif before < 1.0:
        assert not np.isnan(found[~was]).any()
    assert np.nanmin(found) >= 5.0 if after < 1.0 else True


def test_without_known_values_in_the_batch_all_are_null() -> None:
    values = np.array([1.0, np.nan])
    assert np.isnan(rescale(values, values[:1], np.zeros(0), (0.5, 1.0), rng())).all()
    days = np.array(["2025-01-01", "NaT"], dtype="datetime64[ns]")
    assert np.isnat(rescale(days, days[:1], days[:0], (0.5, 1.0), rng())).all()


def test_times_are_replayed_as_times() -> None:
    before = np.array(["2025-01-02", "NaT", "2025-01-01"], dtype="datetime64[ns]")
    batch = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[ns]")
    found = rescale(before, np.sort(before[[0, 2]]), batch, (1 / 3, 1 / 3), rng())
    assert found.dtype == before.dtype
    assert found[[0, 2]].tolist() == batch[[1, 0]].tolist()
    assert np.isnat(found[1])


# ── other rows, other names ──────────────────────────────────────────────────────────────────────


@given(levels, st.integers(0, 50))
def test_dealt_values_are_the_batchs(batch: list, rows: int) -> None:
    found = deal(objects(batch), rows, rng())
    assert len(found) == rows
    assert set(found) <= set(batch)


def test_every_row_of_the_batch_is_dealt_as_often() -> None:
    many = Counter(deal(np.arange(4.0), 8000, rng()))
    assert all(count == pytest.approx(2000, abs=200) for count in many.values())


@given(levels)
def test_renamed_levels_have_the_new_name_where_there_is_one(values: list) -> None:
    before = objects(values)
    names: dict[object, object] = {"a": "b", "b": "a", "c": "new"}
    assert rename(before, names).tolist() == [None if v is None else names.get(v, v) for v in values]
    assert rename(before, {}).tolist() == values
    assert before.tolist() == values


def test_of_no_rows_nothing_is_renamed() -> None:
    assert rename(objects([]), {"a": "b"}).tolist() == []
