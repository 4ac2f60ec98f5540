"""Distances between counts, and what chance does to them at a batch's size."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import comb, isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import drift
from fuseline.records import Check

EVEN = np.full(16, 1 / 16)


@dataclass(frozen=True, eq=False)
class Counts:
    regular: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    null: int = 0
    unseen: int = 0
    below: int = 0
    above: int = 0
    ordered: bool = True


def drawn(rows: int, seed: int, shares: np.ndarray = EVEN, ordered: bool = True) -> Counts:
    return Counts(np.random.default_rng(seed).multinomial(rows, shares), ordered=ordered)


def checks_of(reference: Counts, batch: Counts, budget: float = 1e-3) -> dict[str, Check]:
    found = drift.column_checks({"x": reference}, {"x": batch}, {"x": 0.1}, budget, seed=0)
    return {c.name: c for c in found}


histograms = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(0, 50), min_size=k, max_size=k).filter(any)] * 2)
)


@given(histograms)
def test_distances_are_symmetric_bounded_and_nothing_between_equals(both: tuple[list[int], list[int]]) -> None:
    p, q = (np.array(h) / sum(h) for h in both)
    for distance, most in ((drift.triangular, 2.0), (drift.ks, 1.0)):
        assert distance(p, p) == 0.0
        assert distance(p, q) == pytest.approx(distance(q, p), abs=1e-12)
        assert -1e-12 <= distance(p, q) <= most + 1e-12


@given(histograms, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_distances_grow_with_the_share_that_is_changed(
    both: tuple[list[int], list[int]], some: float, more: float
) -> None:
    p, q = (np.array(h) / sum(h) for h in both)
    less, most = sorted([some, more])
    for distance in (drift.triangular, drift.ks):
        assert distance(p, p + less * (q - p)) <= distance(p, p + most * (q - p)) + 1e-12


def test_distances_of_what_has_nothing_in_common_are_greatest() -> None:
    assert drift.triangular(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 2.0
    assert drift.ks(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


# ── the bound of a count ─────────────────────────────────────────────────────────────────────────


def beta_binomial(count: int, rows: int, a: int, b: int) -> float:
    """For whole a and b: the chance as a ratio of binomial coefficients."""
    return comb(count + a - 1, count) * comb(rows - count + b - 1, rows - count) / comb(rows + a + b - 1, rows)


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(0, 200), st.integers(0, 150), st.sampled_from([0.05, 1e-3, 1e-6]))
def test_the_bound_is_the_least_count_that_is_seldom_exceeded(found: int, more: int, rows: int, chance: float) -> None:
    reference_rows = found + more
    bound = drift.null_bound(found, reference_rows, rows, chance)
    law = [beta_binomial(c, rows, found + 1, more + 1) for c in range(rows + 1)]
    assert sum(law[bound + 1 :]) <= chance * (1 + 1e-6)
    assert bound == 0 or sum(law[bound:]) >= chance * (1 - 1e-6)


def test_the_bound_of_values_beyond_an_extreme_is_the_law_of_exceedances() -> None:
    rng = np.random.default_rng(0)
    bound = drift.null_bound(0, 500, 200, 0.01)
    reference, batch = rng.random((20_000, 500)).max(axis=1), rng.random((20_000, 200))
    exceeded = ((batch > reference[:, None]).sum(axis=1) > bound).mean()
    assert 0.002 < exceeded <= 0.013


def test_the_bound_of_a_hundred_million_rows_is_the_share_with_the_references_error() -> None:
    bound = drift.null_bound(3000, 10_000, 100_000_000, 1e-5) / 1e8
    assert bound == pytest.approx(0.3 + 4.265 * (0.3 * 0.7 / 10_000) ** 0.5, rel=2e-3)


def test_no_rows_exceed_nothing() -> None:
    assert drift.null_bound(5, 100, 0, 1e-4) == 0
    assert drift.null_bound(0, 0, 50, 1e-4) == 50


def test_log_gamma_is_right() -> None:
    from math import lgamma

    at = [0.5, 1.0, 2.0, 3.7, 10.0, 1e3, 1e6, 1e8]
    assert drift._log_gamma(np.array(at)) == pytest.approx([lgamma(x) for x in at], rel=1e-12, abs=1e-9)


# ── thresholds ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [200, 5000])
def test_clean_batches_fire_as_seldom_as_the_budget_says(rows: int) -> None:
    shares = np.r_[np.full(12, 0.07), 0.15, 0.01]
    fired, trials, budget = 0, 1200, 0.01
    for seed in range(trials // 100):
        reference = drawn(4000, seed, shares)
        names = [f"c{i}" for i in range(100)]
        bounds = drift.threshold(reference.regular, rows, budget, [seed], ordered=True)
        rng = np.random.default_rng([seed, 1])
        batch = rng.multinomial(rows, shares, size=len(names)) / rows
        p = reference.regular / 4000
        fired += int(((drift.triangular(p, batch) > bounds[0]) | (drift.ks(p, batch) > bounds[1])).sum())
    assert fired <= 2 * budget * trials * 1.9  # two distances; 24 are expected, 45 would be far from chance


def test_a_batch_alone_redrawn_would_fire_far_more_often() -> None:
    rng, rows, reference_rows = np.random.default_rng(0), 5000, 1000
    fired_both = fired_one = 0
    for seed in range(60):
        reference, batch = drawn(reference_rows, seed), drawn(rows, 1000 + seed)
        p, q = reference.regular / reference_rows, batch.regular / rows
        both, _ = drift.threshold(reference.regular, rows, 0.001, seed, draws=500)
        one = drift.critical(drift.triangular(p, rng.multinomial(rows, p, size=500) / rows), 0.001)
        fired_both += bool(drift.triangular(p, q) > both)
        fired_one += bool(drift.triangular(p, q) > one)
    assert fired_both <= 1
    assert fired_one >= 20


def test_thresholds_are_the_same_for_the_same_seed_and_shrink_with_size() -> None:
    counts = drawn(10_000, 0).regular
    at = [drift.threshold(counts, n, 1e-4, 7, ordered=True) for n in (200, 5000, 100_000_000)]
    assert at[0] == drift.threshold(counts, 200, 1e-4, 7, ordered=True)
    assert at[0] > at[1] > at[2] > (0.0, 0.0)
    assert at[0][1] > at[1][1] > at[2][1] > 0.0


def test_a_smaller_budget_has_a_higher_threshold() -> None:
    draws = np.random.default_rng(0).gamma(3.0, 1.0, 2000)
    at = [drift.critical(draws, p) for p in (0.05, 0.01, 1e-3, 1e-5)]
    assert at == sorted(at)
    assert at[-1] == pytest.approx(19.9, rel=0.15)  # the true quantile of this gamma law
    assert drift.critical(np.full(10, 0.25), 1e-3) == 0.25


# ── all columns ──────────────────────────────────────────────────────────────────────────────────


def test_the_same_rows_are_at_no_distance() -> None:
    reference = {"x": drawn(1000, 0), "city": drawn(1000, 1, ordered=False), "score": drawn(1000, 2)}
    found = drift.column_checks(reference, reference, {"x": 0.1, "city": 0.0}, 1e-3, 0)
    assert all(c.observed == 0.0 and not c.fired for c in found)


def test_every_column_has_its_checks_and_a_score_names_itself() -> None:
    reference = {"x": drawn(1000, 0), "city": drawn(1000, 1, ordered=False), "score": drawn(1000, 2)}
    found = drift.column_checks(reference, reference, {"x": 0.1, "city": 0.0}, 1e-3, 0)
    assert [(c.column, c.name) for c in found] == [
        ("x", "distance"),
        ("x", "ks"),
        ("x", "nulls"),
        ("x", "out of range"),
        ("city", "distance"),
        ("city", "nulls"),
        ("city", "unseen"),
        (None, "score distance"),
        (None, "score ks"),
    ]


def test_a_feature_that_is_called_score_is_a_feature() -> None:
    counts = {"score_home": drawn(1000, 0), "score_0": drawn(1000, 1), "score_1": drawn(1000, 2)}
    found = drift.column_checks(counts, counts, {"score_home": 0.2}, 1e-3, 0)
    assert {c.column for c in found} == {"score_home", None}
    assert {c.name for c in found if c.column is None} == {
        "score_0 distance",
        "score_0 ks",
        "score_1 distance",
        "score_1 ks",
    }


def test_a_shifted_column_fires_and_a_clean_one_does_not() -> None:
    tilted = EVEN * np.linspace(0.5, 1.5, 16)
    reference = {"x": drawn(5000, 0), "y": drawn(5000, 1)}
    batch = {"x": drawn(5000, 2, tilted / tilted.sum()), "y": drawn(5000, 3)}
    found = drift.column_checks(reference, batch, {"x": 0.0, "y": 1.0}, 1e-3, 0)
    assert {c.column for c in found if c.fired} == {"x"}
    assert {c.name for c in found if c.fired} == {"distance", "ks"}


def test_nulls_unseen_levels_and_values_out_of_range_have_their_own_checks() -> None:
    reference = drawn(5000, 0)
    batch = drawn(4900, 1)
    assert checks_of(reference, Counts(batch.regular, null=100))["nulls"].fired
    assert checks_of(reference, Counts(batch.regular, below=60, above=40))["out of range"].observed == 0.02
    assert checks_of(reference, Counts(batch.regular, below=60, above=40))["out of range"].fired
    assert not checks_of(reference, Counts(batch.regular, above=1))["out of range"].fired
    text = Counts(batch.regular, unseen=100, ordered=False)
    assert checks_of(drawn(5000, 0, ordered=False), text)["unseen"].fired


def test_many_levels_seen_once_announce_more_that_were_never_seen() -> None:
    once = Counts(np.r_[4900, np.ones(100, dtype=np.int64)], ordered=False)
    often = Counts(np.r_[4800, np.full(100, 2, dtype=np.int64)], ordered=False)
    batch = Counts(np.r_[4900, np.zeros(100, dtype=np.int64)], unseen=100, ordered=False)
    assert not checks_of(once, batch)["unseen"].fired
    assert checks_of(often, batch)["unseen"].fired


def test_rare_levels_are_put_together() -> None:
    many = np.random.default_rng(0).multinomial(5000, np.r_[np.full(64, 0.01), np.full(1000, 0.00036)])
    reference = Counts(many, ordered=False)
    moved = many.copy()
    moved[64:] = moved[64:][::-1]
    assert checks_of(reference, Counts(moved, ordered=False))["distance"].observed < 0.01
    assert len(drift._cells(reference, reference)) == 67


@given(
    st.lists(st.integers(0, 500), min_size=0, max_size=5),
    st.lists(st.integers(0, 500), min_size=5, max_size=5),
    st.booleans(),
    st.integers(0, 300),
    st.integers(0, 300),
)
@settings(max_examples=60, deadline=None)
def test_any_counts_give_finite_answers(
    regular: list[int], beyond: list[int], ordered: bool, was_null: int, null: int
) -> None:
    reference = Counts(np.array(regular, dtype=np.int64), null=was_null, ordered=ordered)
    below, above = (beyond[0], beyond[1]) if ordered else (0, 0)
    batch = Counts(
        np.array(beyond[: len(regular)], dtype=np.int64), null, 0 if ordered else beyond[2], below, above, ordered
    )
    copy = batch.regular.copy()
    for check in checks_of(reference, batch).values():
        assert check.observed is not None
        assert check.bound is not None
        assert isfinite(check.observed)
        assert isfinite(check.bound)
        assert check.observed >= 0.0
    assert (batch.regular == copy).all()


@pytest.mark.parametrize("ordered", [True, False])
def test_edge_cases_are_judged(ordered: bool) -> None:
    usual = drawn(5000, 0, ordered=ordered)
    nothing = Counts(np.zeros(16, dtype=np.int64), ordered=ordered)
    one = Counts(np.eye(16, dtype=np.int64)[3], ordered=ordered)
    void = Counts(np.zeros(16, dtype=np.int64), null=5000, ordered=ordered)
    constant = Counts(np.array([5000]), ordered=ordered)
    assert not any(c.fired for c in checks_of(usual, nothing).values())
    assert not any(c.fired for c in checks_of(usual, one).values())
    assert checks_of(usual, void)["nulls"].fired
    assert checks_of(usual, void)["distance"].observed == 2.0
    assert checks_of(usual, void)["distance"].fired
    assert not any(c.fired for c in checks_of(constant, constant).values())
    assert not any(c.fired for c in checks_of(nothing, nothing).values())


def test_a_column_without_values_fires_when_values_come() -> None:
    reference = Counts(null=5000)
    found = checks_of(reference, Counts(null=100, above=4900))
    assert found["distance"].fired
    assert found["out of range"].fired


def test_weights_of_nothing_are_shared_evenly() -> None:
    assert drift._by_importance(["a", "b"], {"a": 0.0, "b": -1.0}) == {"a": 0.5, "b": 0.5}
    shares = drift._by_importance(["a", "b", "c"], {"a": 0.3, "b": 0.0})
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["a"] > shares["b"] == shares["c"] > 0.0


def test_clean_batches_of_many_columns_keep_the_promise() -> None:
    names = [f"c{i}" for i in range(10)]
    budget, fired, batches = 0.1, 0, 30
    reference = {k: drawn(5000, i) for i, k in enumerate([*names, "score"])}
    for seed in range(batches):
        batch = {k: drawn(1000, 100 + 50 * seed + i) for i, k in enumerate(reference)}
        fired += any(c.fired for c in drift.column_checks(reference, batch, dict.fromkeys(names, 0.1), budget, 0))
    assert fired <= 9  # 3 are expected
