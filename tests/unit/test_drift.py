"""Distances between counts, and what chance does to them at a batch's size."""

from __future__ import annotations

from math import comb, lgamma
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import drift
from fuseline.drift import FIRST_NODE, Thresholds, critical, ks, null_bound, threshold, triangular

EVEN = np.full(16, 1 / 16)


def drawn(rows: int, seed: int, shares: np.ndarray = EVEN) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(rows, shares)


histograms = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(0, 50), min_size=k, max_size=k).filter(any)] * 2)
)


# ── distances ────────────────────────────────────────────────────────────────────────────────────


@given(histograms)
def test_distances_are_symmetric_bounded_and_nothing_between_equals(both: tuple[list[int], list[int]]) -> None:
    p, q = (np.array(h) / sum(h) for h in both)
    for distance, most in ((triangular, 2.0), (ks, 1.0)):
        assert distance(p, p) == 0.0
        assert distance(p, q) == pytest.approx(distance(q, p), abs=1e-12)
        assert -1e-12 <= distance(p, q) <= most + 1e-12


@given(histograms, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_distances_grow_with_the_share_that_is_changed(
    both: tuple[list[int], list[int]], some: float, more: float
) -> None:
    p, q = (np.array(h) / sum(h) for h in both)
    less, most = sorted([some, more])
    for distance in (triangular, ks):
        assert distance(p, p + less * (q - p)) <= distance(p, p + most * (q - p)) + 1e-12


@given(histograms, st.randoms(use_true_random=False))
def test_the_order_of_bins_is_irrelevant_to_the_triangular_discrimination(both: tuple, random: Random) -> None:
    p, q = (np.array(h) / sum(h) for h in both)
    order = list(range(len(p)))
    random.shuffle(order)
    assert triangular(p[order], q[order]) == pytest.approx(triangular(p, q), abs=1e-12)


def test_distances_of_what_has_nothing_in_common_are_greatest() -> None:
    assert triangular(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 2.0
    assert ks(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_many_batches_are_compared_at_once() -> None:
    p, many = EVEN, np.stack([drawn(100, k) / 100 for k in range(3)])
    for distance in (triangular, ks):
        np.testing.assert_allclose(distance(p, many), [distance(p, q) for q in many])


def test_what_moves_one_way_is_farther_than_what_moves_to_neighbours_only_by_the_ks_distance() -> None:
    one_way, neighbours = EVEN + np.repeat([-0.03, 0.03], 8), EVEN + np.tile([-0.03, 0.03], 8)
    assert triangular(EVEN, one_way) == pytest.approx(triangular(EVEN, neighbours))
    assert ks(EVEN, one_way) == pytest.approx(8 * ks(EVEN, neighbours))


# ── the bound of a count ─────────────────────────────────────────────────────────────────────────


def beta_binomial(count: int, rows: int, a: int, b: int) -> float:
    """For whole a and b: the chance as a ratio of binomial coefficients."""
    return comb(count + a - 1, count) * comb(rows - count + b - 1, rows - count) / comb(rows + a + b - 1, rows)


@settings(max_examples=60)
@given(
    st.integers(0, 40),
    st.integers(0, 200),
    st.integers(0, 150),
    st.sampled_from([0.05, 1e-3, 1e-6]),
    st.sampled_from([1, 2]),
)
def test_the_bound_is_the_least_count_that_is_seldom_exceeded(
    found: int, more: int, rows: int, chance: float, prior: int
) -> None:
    reference_rows = found + more
    bound = null_bound(found, reference_rows, rows, chance, float(prior))
    law = [beta_binomial(c, rows, found + prior, more + 1) for c in range(rows + 1)]
    assert sum(law[bound + 1 :]) <= chance * (1 + 1e-6)
    assert bound == 0 or sum(law[bound:]) >= chance * (1 - 1e-6)


@settings(max_examples=40)
@given(st.integers(0, 100), st.integers(0, 2000), st.integers(1, 5000))
def test_the_bound_rises_with_what_the_reference_has_and_falls_with_the_probability(
    found: int, more: int, rows: int
) -> None:
    bound = null_bound(found, found + more, rows, 1e-3)
    assert 0 <= bound <= rows
    assert null_bound(found + 1, found + 1 + more, rows, 1e-3) >= bound
    assert null_bound(found, found + more, rows, 1e-5) >= bound
    assert null_bound(found, found + more, rows, 1e-3, 2.0) >= bound


@pytest.mark.parametrize("prior", [1.0, 2.0])
def test_the_bound_of_values_beyond_extremes_is_the_law_of_exceedances(prior: float) -> None:
    rng = np.random.default_rng(0)
    bound = null_bound(0, 500, 200, 0.01, prior)
    reference, batch = rng.random((8000, 500)), rng.random((8000, 200))
    beyond = batch > reference.max(axis=1)[:, None]
    if prior == 2.0:
        beyond |= batch < reference.min(axis=1)[:, None]
    assert 0.002 < (beyond.sum(axis=1) > bound).mean() <= 0.014


def test_the_bound_of_a_hundred_million_rows_is_the_share_with_the_references_error() -> None:
    bound = null_bound(3000, 10_000, 100_000_000, 1e-5) / 1e8
    assert bound == pytest.approx(0.3 + 4.265 * (0.3 * 0.7 / 10_000) ** 0.5, rel=2e-3)


def test_no_rows_exceed_nothing() -> None:
    assert null_bound(5, 100, 0, 1e-4) == 0
    assert null_bound(0, 0, 50, 1e-4) == 50


@given(st.floats(0.01, 1e9))
def test_log_gamma_is_right(x: float) -> None:
    assert float(drift._log_gamma(x)) == pytest.approx(lgamma(x), rel=1e-11, abs=1e-9)


# ── critical values ──────────────────────────────────────────────────────────────────────────────


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 100.0), min_size=2, max_size=50), st.floats(1e-6, 0.01), st.floats(1e-6, 0.01))
def test_a_rarer_value_is_a_larger_one(draws: list[float], one: float, other: float) -> None:
    rare, usual = sorted([one, other])
    assert critical(np.array(draws), rare) >= critical(np.array(draws), usual) - 1e-9


def test_the_critical_value_is_the_quantile_of_a_gamma_law() -> None:
    draws = np.random.default_rng(0).gamma(3.0, 1.0, 20_000)
    for probability, quantile in ((0.01, 8.41), (1e-3, 11.23), (1e-5, 16.55)):  # by scipy.stats.gamma(3).isf
        assert critical(draws, probability) == pytest.approx(quantile, rel=0.1)


def test_a_heavy_tail_is_not_taken_for_a_gamma_law() -> None:
    draws = np.random.default_rng(0).pareto(3.0, 20_000)
    assert critical(draws, 1e-3) > 0.8 * (1e-3 ** (-1 / 3) - 1.0)


def test_draws_that_are_all_alike_are_their_own_critical_value() -> None:
    assert critical(np.full(10, 0.25), 1e-3) == 0.25
    assert critical(np.zeros(10), 1e-3) == 0.0


# ── thresholds ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [200, 5000])
def test_clean_batches_fire_as_seldom_as_the_budget_says(rows: int) -> None:
    shares = np.r_[np.full(12, 0.07), 0.15, 0.01]
    fired = loose = 0
    for seed in range(12):
        reference = drawn(4000, seed, shares)
        bounds = threshold(reference, rows, 0.01, [seed], ordered=True)
        batch = np.random.default_rng([seed, 1]).multinomial(rows, shares, size=100) / rows
        p = reference / 4000
        fired += int(((triangular(p, batch) > bounds[0]) | (ks(p, batch) > bounds[1])).sum())
        loose += int((triangular(p, batch) > bounds[2]).sum())
    assert fired <= 45  # of 1,200 and of two distances: 24 are expected
    assert loose <= 6  # 1.2 are expected


def test_a_batch_alone_redrawn_would_fire_far_more_often() -> None:
    rng, rows, reference_rows = np.random.default_rng(0), 5000, 1000
    fired_both = fired_one = 0
    for seed in range(60):
        p, q = drawn(reference_rows, seed) / reference_rows, drawn(rows, 1000 + seed) / rows
        both = threshold(drawn(reference_rows, seed), rows, 0.001, seed, draws=500)[0]
        one = critical(triangular(p, rng.multinomial(rows, p, size=500) / rows), 0.001)
        fired_both += bool(triangular(p, q) > both)
        fired_one += bool(triangular(p, q) > one)
    assert fired_both <= 1
    assert fired_one >= 20


def test_thresholds_are_the_same_for_the_same_seed_and_shrink_with_size() -> None:
    counts = drawn(10_000, 0)
    copy = counts.copy()
    at = np.array([threshold(counts, n, 1e-4, 7, ordered=True) for n in (200, 5000, 100_000_000)])
    assert tuple(at[0]) == threshold(counts, 200, 1e-4, 7, ordered=True)
    assert (at[0] > at[1]).all()
    assert (at[1] > at[2]).all()
    assert (at[2] > 0.0).all()
    assert (counts == copy).all()


def test_levels_have_no_ks_distance_and_the_loose_threshold_does_not_follow_the_budget() -> None:
    counts = drawn(1000, 0)
    strict, mild = (threshold(counts, 500, budget, 0) for budget in (1e-6, 1e-2))
    assert strict[1] == mild[1] == 0.0
    assert strict[2] == mild[2]
    assert strict[0] > strict[2] > mild[0]


@pytest.mark.parametrize("counts", [np.zeros(3, dtype=np.int64), np.array([5000]), np.array([0, 5000, 0])])
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_thresholds_of_a_constant_or_empty_reference_are_finite(counts: np.ndarray, rows: int) -> None:
    found = threshold(counts, rows, 1e-4, 0, ordered=True)
    assert np.isfinite(found).all()
    assert min(found) >= 0.0


# ── thresholds of any size ───────────────────────────────────────────────────────────────────────

KEPT = Thresholds(drawn(3000, 0), 1e-3, [0], True)


def test_at_the_sizes_that_are_simulated_thresholds_are_those_of_the_simulation() -> None:
    counts = drawn(3000, 0)
    for k, rows in ((0, FIRST_NODE), (3, 8 * FIRST_NODE)):
        for ordered, each in ((True, 0.5e-3), (False, 1e-3)):  # of two distances each has half of the budget
            found = Thresholds(counts, 1e-3, [4, 2], ordered).at(rows)
            assert found == pytest.approx(threshold(counts, rows, each, [4, 2, k], ordered=ordered))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_larger_batch_has_smaller_thresholds(one: int, other: int) -> None:
    few, many = sorted([one, other])
    assert np.all(np.array(KEPT.at(many)) <= np.array(KEPT.at(few)) * 1.02)


@pytest.mark.parametrize("rows", [70, 330, 4700])
def test_between_two_sizes_thresholds_are_near_what_would_be_simulated(rows: int) -> None:
    expected = threshold(drawn(3000, 0), rows, 0.5e-3, 1, draws=8000, ordered=True)
    assert KEPT.at(rows) == pytest.approx(expected, rel=0.12)


def test_thresholds_are_simulated_once() -> None:
    found = Thresholds(drawn(3000, 0), 1e-3, [0], False)
    first = found.at(333)
    assert sorted(found._nodes) == [2, 3]
    kept = {k: v.copy() for k, v in found._nodes.items()}
    assert found.at(333) == first
    assert all((found._nodes[k] == kept[k]).all() for k in kept)
    found.at(10)
    assert sorted(found._nodes) == [0, 2, 3]


def test_a_batch_without_rows_has_thresholds() -> None:
    assert np.isfinite(KEPT.at(0)).all()
