"""Reference rows weighted until they look like a batch, and how well they look like it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.performance import measure
from fuseline.selection import CAP, Cut, Likeness, cut, effective, rake, weighted_metric

values = st.lists(st.one_of(st.none(), st.floats(allow_nan=False, width=32)), min_size=1, max_size=60)
levels = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=60)


def floats(found: list) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in found], dtype=np.float64)


def objects(found: list) -> np.ndarray:
    made = np.empty(len(found), dtype=object)
    made[:] = found
    return made


def normal(rows: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


def shares(column: Cut, places: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    found = np.bincount(column.coarse[places], weights, column.size)
    return found / found.sum()


# ── bins ─────────────────────────────────────────────────────────────────────────────────────────


@given(values, values)
def test_every_number_is_in_one_bin_and_again_in_the_same(before: list, after: list) -> None:
    column = cut(floats(before), floats(after))
    np.testing.assert_array_equal(column.places(floats(before)), column.reference)
    assert column.shares(column.batch).sum() == pytest.approx(1.0)
    assert (column.batch == column.size - 1).tolist() == [v is None for v in after]


@given(levels, levels)
def test_levels_that_the_reference_lacks_are_together(before: list, after: list) -> None:
    column = cut(objects(before), objects(after))
    for level, place in zip(after, column.batch, strict=True):
        expected = column.size - 1 if level is None else column.size - 2
        assert (place == expected) == (level is None or level not in before)


def test_rare_levels_are_together_and_are_not_unseen() -> None:
    many = objects([f"level {i % 100}" for i in range(5000)])
    column = cut(many, objects(["level 99", "no such"]))
    assert column.size == 64 + 3
    assert column.batch.tolist() == [64, 65]


def test_values_out_of_range_have_bins_of_their_own() -> None:
    column = cut(normal(), np.array([-99.0, 0.0, 99.0]))
    low, middle, high = column.batch.tolist()
    assert (low, high) == (column.size - 3, column.size - 2)
    assert middle < column.size - 3


def test_times_are_cut_as_numbers() -> None:
    days = np.arange("2025-01-01", "2025-12-31", dtype="datetime64[D]").astype("datetime64[ns]")
    column = cut(days, np.array(["NaT", "2024-01-01", "2025-06-01"], dtype="datetime64[ns]"))
    assert column.batch[0] == column.size - 1
    assert column.batch[1] == column.size - 3


@pytest.mark.parametrize(
    ("batch", "violated"),
    [
        (normal(1000, 1), False),
        (normal(1000, 1) + 1.0, False),
        (normal(1000, 1)[normal(1000, 1) > 1.0], False),
        (normal(1000, 1) * 100, True),
        (normal(1000, 1) / 100, True),
        (np.full(1000, 0.5), True),
        (np.full(1000, np.nan), True),
        (np.where(np.arange(1000) % 10 == 0, np.nan, normal(1000, 1)), True),
        (np.array([99.0]), False),  # too few to tell
    ],
)
def test_what_no_weights_can_make_of_the_reference_is_missing(batch: np.ndarray, violated: bool) -> None:
    assert (cut(normal(), batch).missing > 0.02) == violated


def test_far_more_nulls_are_no_mix_even_where_the_reference_has_some() -> None:
    some = np.where(np.arange(4000) % 10 == 0, np.nan, normal())
    assert cut(some, np.where(np.arange(500) % 5 == 0, np.nan, normal(500))).missing == 0.0
    assert cut(some, np.full(500, np.nan)).missing == 1.0


def test_one_value_may_gain_what_the_reference_has_of_it() -> None:
    days = np.tile(np.arange(1.0, 31.0), 200)
    assert cut(days, np.repeat([5.0, 6.0], 500)).missing < 0.02


# ── weights ──────────────────────────────────────────────────────────────────────────────────────


def test_raked_rows_have_the_shares_of_the_batch() -> None:
    x, city = normal(), objects(["a", "b", "b", "c"] * 1000)
    columns = [cut(x, normal(2000, 1) + 0.5), cut(city, objects(["a", "a", "b", "c"] * 500))]
    weights = rake(columns)
    assert weights.mean() == pytest.approx(1.0)
    assert weights.max() <= CAP * 1.01
    for column in columns:
        np.testing.assert_allclose(
            shares(column, column.reference, weights)[: len(column.target)], column.target, atol=0.01
        )


def test_the_same_rows_keep_their_weights() -> None:
    np.testing.assert_allclose(rake([cut(normal(), normal())]), 1.0)


def test_a_clean_batch_is_hardly_followed_and_a_changed_one_is() -> None:
    clean, changed = cut(normal(), normal(1000, 1)), cut(normal(), normal(1000, 1) + 1.0)
    assert clean.signal < 3.0 < 30.0 < changed.signal
    before, after = shares(changed, changed.reference)[:17], shares(changed, changed.batch)[:17]
    assert np.abs(changed.target - after[: len(changed.target)]).max() < 0.05 * np.abs(after - before).max()
    assert cut(np.zeros(50), np.ones(50)).signal == pytest.approx(100.0)  # td is 2, and by chance 1/2 · 2/50
    assert cut(np.zeros(50), np.zeros(50)).signal == 1.0


@given(values, values)
def test_weights_are_finite_and_positive_together(before: list, after: list) -> None:
    weights = rake([cut(floats(before), floats(after))])
    assert np.isfinite(weights).all()
    assert (weights >= 0.0).all()
    assert 1.0 - 1e-9 <= effective(weights) <= len(before) + 1e-6


# ── the weighted metric ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_equal_weights_give_the_metric_and_its_error(task: str) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3 if task == "multiclass" else 2, 500)
    scores = rng.random((500, 3)) + np.eye(3)[target] * 0.3 if task == "multiclass" else rng.random(500) + 0.3 * target
    classes = {"binary": ("0", "1"), "multiclass": ("0", "1", "2"), "regression": ()}[task]
    expected = measure(task, target, scores, classes)
    value, parts = weighted_metric(task, target, scores, np.ones(500))
    assert value == pytest.approx(expected.value)
    assert np.linalg.norm(parts) == pytest.approx(expected.se, rel=0.01)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_weight_of_two_is_a_row_that_comes_twice(task: str) -> None:
    rng = np.random.default_rng(0)
    target, scores, times = rng.integers(0, 2, 200), rng.random(200), rng.integers(0, 4, 200)
    once = weighted_metric(task, target, scores, times.astype(float))[0]
    again = weighted_metric(task, np.repeat(target, times), np.repeat(scores, times), np.ones(times.sum()))[0]
    assert once == pytest.approx(again)


def test_what_cannot_be_measured_is_none() -> None:
    ones = np.ones(4)
    assert weighted_metric("binary", np.array([1, 1, 1, 1]), ones, ones) is None
    assert weighted_metric("binary", np.array([0, 0, 1, 1]), ones, np.array([1.0, 1.0, 0.0, 0.0])) is None
    assert weighted_metric("multiclass", np.array([0, 0, 0, 0]), np.ones((4, 2)), ones) is None
    assert weighted_metric("regression", ones, np.array([0.0, 0.0, 0.0, np.inf]), ones) is None
    assert weighted_metric("regression", ones, ones, ones)[0] == 0.0


def test_large_errors_do_not_overflow() -> None:
    assert weighted_metric("regression", np.zeros(3), np.full(3, 1e300), np.ones(3))[0] == pytest.approx(1e300)


# ── likeness ─────────────────────────────────────────────────────────────────────────────────────


def pair(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return x, x + 0.5 * rng.normal(size=rows)


def likeness(batch: tuple[np.ndarray, np.ndarray]) -> Likeness:
    reference = pair(4000, 0)
    columns = {name: cut(a, b) for name, a, b in zip("xy", reference, batch, strict=True)}
    scores = [cut(reference[0] + reference[1], batch[0] + batch[1])]
    return Likeness(columns, scores, reference[0] + reference[1])


def test_a_clean_batch_is_near_and_a_broken_one_is_far() -> None:
    x, y = pair(1000, 1)
    ones = np.ones(4000)
    clean, dealt = likeness((x, y)), likeness((np.random.default_rng(2).permutation(x), y))
    near = clean.distance(clean.reference, ones, 0)
    assert near < 60.0
    assert dealt.distance(dealt.reference, ones, 0) > 10.0 * near


def test_the_right_weights_bring_a_selection_near() -> None:
    x, y = pair(4000, 1)
    kept = np.random.default_rng(3).random(4000) < np.where(x > 0.0, 0.9, 0.2)
    like = likeness((x[kept], y[kept]))
    raked = rake([like.cuts["x"]])
    assert like.distance(like.reference, raked, 1) < 0.2 * like.distance(like.reference, np.ones(4000), 0)


def test_every_fitted_column_costs_two_and_no_world_is_nearer_than_the_floor() -> None:
    like = likeness(pair(4000, 0))
    ones = np.ones(4000)
    wide = like.reference.shape[1]
    assert like.distance(like.reference, ones, 0) == pytest.approx(0.15 * wide)
    assert like.distance(like.reference, ones, 50) == pytest.approx(100.0)


def test_without_the_scores_the_features_are_those_of_the_columns_alone() -> None:
    like = likeness(pair(500, 1))
    plain = like.standard(like.features({n: c.reference for n, c in like.cuts.items()}, None))
    np.testing.assert_allclose(plain, like.reference[:, : like.plain])
    assert like.plain == 5
    assert like.distance(plain, np.ones(4000), 0) > 0.0
