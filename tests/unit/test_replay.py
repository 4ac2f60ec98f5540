"""Reference rows with the batch's values: what moves, what stays, and what else can happen to a column."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.replay import happen, kinds_of, replay
from fuseline.selection import cut

numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=80)
levels = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=80)


def floats(values: list) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def objects(values: list) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ── replay ───────────────────────────────────────────────────────────────────────────────────────


@given(numbers)
def test_numbers_that_are_spread_alike_stay_where_they_are(values: list) -> None:
    reference = floats(values)
    np.testing.assert_array_equal(replay(reference, rng().permutation(reference), rng()), reference)


@given(levels)
def test_levels_that_are_as_common_stay_where_they_are(values: list) -> None:
    reference = objects(values)
    assert replay(reference, rng().permutation(reference), rng()).tolist() == values


@given(numbers, numbers)
def test_numbers_keep_their_ranks_and_take_the_batchs_values(before: list, after: list) -> None:
    reference, batch = floats(before), floats(after)
    copies = reference.copy(), batch.copy()
    found = replay(reference, batch, rng())
    assert found.dtype == np.float64
    assert abs(np.isnan(found).sum() - len(reference) * np.isnan(batch).mean()) <= 0.5 + 1e-9
    assert set(found[~np.isnan(found)]) <= set(batch)
    kept = ~np.isnan(found) & ~np.isnan(reference)
    order = np.lexsort((found[kept], reference[kept]))
    assert (np.diff(found[kept][order]) >= 0.0).all()
    if np.isnan(found).sum() >= np.isnan(reference).sum():
        assert np.isnan(found[np.isnan(reference)]).all()  # nulls stay null before others become null
    np.testing.assert_array_equal(reference, copies[0])
    np.testing.assert_array_equal(batch, copies[1])


@given(levels, levels)
def test_levels_become_as_common_as_in_the_batch_with_the_least_moves(before: list, after: list) -> None:
    found = replay(objects(before), objects(after), rng()).tolist()
    had, has, batch = Counter(before), Counter(found), Counter(after)
    for level in set(had) | set(batch):
        assert abs(has[level] - batch[level] * len(before) / len(after)) < 1.0
    moved = sum(a != b for a, b in zip(before, found, strict=True))
    assert moved == sum((had - has).values())


def test_times_are_replayed_as_times() -> None:
    reference = np.array(["2025-01-02", "NaT", "2025-01-01"], dtype="datetime64[ns]")
    batch = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[ns]")
    found = replay(reference, batch, rng())
    assert found.dtype == reference.dtype
    assert not np.isnat(found).any()
    assert found[0] > found[2]
    assert np.isnat(replay(reference, np.array(["NaT"], dtype="datetime64[ns]"), rng())).all()


def test_without_rows_nothing_moves() -> None:
    reference = np.array([1.0, 2.0])
    found = replay(reference, np.array([]), rng())
    assert found.tolist() == [1.0, 2.0]
    assert found is not reference
    assert replay(np.array([]), reference, rng()).tolist() == []


# ── what else can happen ─────────────────────────────────────────────────────────────────────────


def test_the_first_kind_of_fault_is_the_simplest() -> None:
    assert kinds_of(np.zeros(2), True) == ("moved", "part", "turned", "dealt")
    assert kinds_of(np.zeros(2), False) == ("dealt", "turned")
    assert kinds_of(objects(["a"]), True)[0] == "moved"
    assert kinds_of(objects(["a"]), False) == ("dealt",)
    assert "turned" not in kinds_of(np.array(["2025-01-01"], dtype="datetime64[ns]"), True)


def test_part_of_the_rows_moves_to_the_bins_that_have_too_few() -> None:
    before = np.random.default_rng(0).normal(100.0, 10.0, 4000)
    batch = np.where(np.arange(1000) % 4 == 0, 100.0, 1.0) * before[:1000]
    found = happen("part", before, batch, cut(before, batch), rng())
    assert (found > 1000.0).mean() == pytest.approx(0.25, abs=0.01)
    assert (found == before).mean() > 0.65
    assert set(found) <= set(before) | set(batch)


def test_turned_values_keep_their_spread_and_lose_their_order() -> None:
    before = np.append(np.arange(100.0), np.nan)
    found = happen("turned", before, before, cut(before, before), rng())
    assert found[:100].tolist() == before[:100][::-1].tolist()
    assert np.isnan(found[100])


def test_swapped_levels_get_the_name_that_is_as_common() -> None:
    before = objects(["a", "a", "a", "b", "b", "c", None])
    batch = objects(["y", "y", "y", "x", "x"])
    found = happen("swapped", before, batch, cut(before, batch), rng())
    assert found.tolist() == ["y", "y", "y", "x", "x", "c", None]
