"""What a change costs: read in each world, and the mean over the worlds as far as each is believed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fuseline.damage import Joined, Moved, Rescaled
from fuseline.explain import World
from fuseline.harm import Estimate, Outcome, Reading, estimate, lost
from fuseline.mixes import Same
from fuseline.performance import measure


def world(distance: float = 1.0, prior: float = 1.0, *columns: str) -> World:
    """A world with faults in these columns, or else a mix of rows."""
    faults = tuple(Moved(c) for c in columns)
    return World(distance, 1.0, prior, np.ones(3), None if faults else Same(), faults)


# ── the mean over the worlds ─────────────────────────────────────────────────────────────────────


def test_without_worlds_nothing_is_lost():
    found = estimate([], [], 1.0)
    assert (found.total, found.risk, found.readings, found.selection) == (0.0, 0.0, (), 0)


def test_one_world_is_all_there_is():
    found = estimate([world(5.0, 1.0, "a")], [0.03], 1.0)
    assert (found.total, found.risk) == (0.03, 0.03)
    assert [(r.harm, r.belief) for r in found.readings] == [(0.03, 1.0)]


def test_worlds_that_are_as_near_and_as_likely_count_alike():
    found = estimate([world(5.0, 1.0, "a"), world(5.0, 1.0, "b")], [0.02, 0.04], 1.0)
    assert found.total == pytest.approx(0.03)
    assert [r.belief for r in found.readings] == [0.5, 0.5]


def test_the_nearer_world_is_believed_and_comes_first():
    found = estimate([world(10.0, 1.0, "a"), world(5.0, 1.0, "b"), world(6.0)], [0.5, 0.01, 0.02], 1.0)
    assert [r.harm for r in found.readings] == [0.01, 0.02, 0.5]
    assert found.readings[0].belief > 2.0 * found.readings[1].belief > 20.0 * found.readings[2].belief


def test_the_likelier_world_is_believed_as_many_times_more():
    first, second = estimate([world(5.0, 4.0, "a"), world(5.0, 1.0, "b")], [0.0, 0.0], 1.0).readings
    assert first.belief == pytest.approx(4.0 * second.belief)


def test_a_world_that_is_hardly_believed_does_not_count_even_if_it_would_be_a_catastrophe():
    found = estimate([world(5.0, 100.0), world(5.0, 1.0, "a")], [0.0, 1e9], 1.0)
    assert found.total == 0.0
    assert len(found.readings) == 2


def test_in_the_risk_no_world_counts_for_more_than_the_most():
    found = estimate([world(5.0, 3.0), world(5.0, 1.0, "a")], [0.0, 0.4], 0.05)
    assert found.total == pytest.approx(0.1)
    assert found.risk == pytest.approx(0.0125)


def test_a_change_that_helps_costs_nothing():
    found = estimate([world(5.0, 1.0, "a")], [-0.2], 1.0)
    assert (found.total, found.risk) == (0.0, 0.0)
    assert found.readings[0].harm == -0.2


@pytest.mark.parametrize("distance", [1e-300, 1e-9, 1e300])
def test_tiny_and_huge_distances_have_a_mean(distance):
    found = estimate([world(distance), world(distance * 2, 1.0, "a")], [0.01, 0.5], 1.0)
    assert found.total == pytest.approx(0.01)


def test_how_far_a_mix_is_believed():
    joined = World(5.0, 1.0, 1.0, np.ones(3), None, (Joined(("a", "b")), Rescaled("c")))
    readings = tuple(Reading(w, 0.0, b) for w, b in ((world(), 0.5), (joined, 0.3), (world(1.0, 1.0, "a"), 0.2)))
    found = Estimate(0.0, 0.0, readings)
    assert found.selection == 0.5


losses = st.floats(-1.0, 1.0)
told = st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(1e-3, 10.0), losses), min_size=1, max_size=8)


@given(told, st.floats(1e-3, 1.0))
def test_any_estimate_lies_among_what_the_worlds_cost(worlds, most):
    harms = [h for _, _, h in worlds]
    found = estimate([world(d, p, "a") for d, p, _ in worlds], harms, most)
    assert 0.0 <= found.total <= max(max(harms), 0.0) + 1e-9
    assert 0.0 <= found.risk <= min(found.total, most) + 1e-9
    assert sum(r.belief for r in found.readings) == pytest.approx(1.0)
    beliefs = [r.belief for r in found.readings]
    assert beliefs == sorted(beliefs, reverse=True)


# ── what a world costs ───────────────────────────────────────────────────────────────────────────


def outcome(task: str, target: np.ndarray, scores: np.ndarray, part: np.ndarray | None = None) -> Outcome:
    part = np.arange(len(target)) if part is None else part
    return Outcome(task, target, scores, part, np.arange(len(target), dtype=np.float64)[:, None])


def labelled(rows: int = 4_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A number, labels that depend on it, and scores that rank it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return x, (rng.random(rows) < 1.0 / (1.0 + np.exp(-2.0 * x))).astype(np.int64), x


def mix(weights: np.ndarray) -> World:
    return World(1.0, 1.0, 1.0, weights, Same())


def replay(scores: np.ndarray, weights: np.ndarray) -> World:
    return World(1.0, 1.0, 1.0, weights, None, (Moved("x"),), scores)


def test_rows_that_all_weigh_alike_lose_nothing():
    _, target, scores = labelled()
    assert outcome("binary", target, scores).loss(mix(np.full(4_000, 3.0)), np.ones(4_000)) == 0.0


def test_another_mix_costs_what_the_model_is_worse_on_it():
    x, target, scores = labelled()
    middle = np.where(np.abs(x) < 0.5, 1.0, 0.05)  # where the model knows little
    found = outcome("binary", target, scores).loss(mix(middle), np.ones(4_000))
    real = roc_auc_score(target, scores) - roc_auc_score(target, scores, sample_weight=middle)
    assert real > 0.05
    assert found == pytest.approx(real, rel=0.1)
    assert outcome("binary", target, scores).loss(mix(np.where(np.abs(x) > 0.5, 1.0, 0.05)), np.ones(4_000)) < 0.0


def test_a_loss_that_may_be_chance_is_taken_for_less():
    _, target, scores = labelled(200)
    rng = np.random.default_rng(1)
    for _ in range(20):
        weights = rng.exponential(1.0, 200)
        real = roc_auc_score(target, scores) - roc_auc_score(target, scores, sample_weight=weights)
        found = outcome("binary", target, scores).loss(mix(weights), np.ones(200))
        assert abs(found) < abs(real)
        assert found * real >= 0.0


def test_replayed_rows_cost_what_their_scores_lose():
    x, target, scores = labelled()
    found = outcome("binary", target, scores).loss(replay(-x, np.ones(4_000)), np.ones(4_000))
    assert found == pytest.approx(2.0 * roc_auc_score(target, scores) - 1.0)


def test_only_the_part_is_replayed_and_held_against_itself():
    x, target, scores = labelled()
    part = np.flatnonzero(x > 0.0)
    one = outcome("binary", target, scores, part)
    assert one.replayed(scores[part], np.ones(len(part)), np.ones(len(part))) == 0.0
    assert one.replayed(-x[part], np.ones(len(part)), np.ones(len(part))) == pytest.approx(
        2.0 * roc_auc_score(target[part], scores[part]) - 1.0
    )


def test_a_regression_loses_a_share_of_its_rmse():
    rng = np.random.default_rng(0)
    target = rng.normal(size=2_000)
    scores = target + 0.1 * rng.normal(size=2_000)
    ones = np.ones(2_000)
    found = outcome("regression", target, scores).loss(replay(np.zeros(2_000), ones), ones)
    before, after = (measure("regression", target, s, ()).value for s in (scores, np.zeros(2_000)))
    assert found == pytest.approx(after / before - 1.0)


def test_a_mix_costs_a_regression_what_its_errors_are_expected_to_be():
    rng = np.random.default_rng(0)
    x = rng.random(4_000)
    errors = (0.2 + x) * rng.normal(size=4_000)
    one = Outcome("regression", errors, np.zeros(4_000), np.arange(4_000), np.floor(x * 10)[:, None])
    found = one.loss(mix(np.where(x > 0.5, 1.8, 0.2)), np.ones(4_000))
    real = np.sqrt(np.average(errors**2, weights=np.where(x > 0.5, 1.8, 0.2)) / np.mean(errors**2)) - 1.0
    assert real > 0.1
    assert found == pytest.approx(real, abs=0.06)


def test_one_enormous_loss_does_not_decide_what_a_mix_costs():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=4_000)
    errors[0] = 1_000.0
    weights = np.ones(4_000)
    weights[0] = 20.0
    one = Outcome("regression", errors, np.zeros(4_000), np.arange(4_000), rng.random((4_000, 1)))
    assert one.loss(mix(weights), np.ones(4_000)) < 1.0  # by the errors themselves it would be more than 3


@pytest.mark.parametrize(
    "errors",
    [
        np.zeros(200),  # a perfect model
        np.where(np.arange(200) == 7, 5.0, 0.0),  # but for one row
        np.arange(20.0),  # too few rows to expect anything of
        np.where(np.arange(200) == 7, 1e200, 1.0),
        np.full(200, 1e300),
        np.where(np.arange(200) % 2 == 0, 1.7e308, -1.7e308),
    ],
)
def test_any_errors_have_a_finite_loss(errors):
    weights = np.linspace(0.5, 1.5, len(errors))
    one = outcome("regression", errors, np.zeros(len(errors)))
    assert np.isfinite(one.loss(mix(weights), np.ones(len(errors))))
    assert np.isfinite(one.loss(replay(errors / 2.0, weights), np.ones(len(errors))))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_mix_without_one_of_the_classes_has_no_metric_and_costs_nothing_that_is_known(task):
    _, target, scores = labelled(400)
    columns = scores if task == "binary" else np.column_stack([1.0 - scores, scores])
    one = outcome(task, target, columns)
    only = np.where(target == 1, 1.0, 0.0)
    assert one.loss(mix(only), np.ones(400)) == 0.0
    assert one.loss(replay(columns, only), np.ones(400)) == 1.0
    assert one.loss(replay(columns, np.ones(400)), only) == 0.0


@pytest.mark.parametrize(
    ("task", "target", "measurable"),
    [
        ("binary", np.array([0, 1, 0, 1]), True),
        ("binary", np.array([1, 1, 1, 1]), False),
        ("binary", np.array([0, 0, 0, 1]), False),  # the part has one class only
        ("regression", np.array([1.0, 2.0, 3.0, 4.0]), True),
        ("regression", np.array([1.0]), False),
        ("regression", np.array([]), False),
    ],
)
def test_whether_anything_can_be_lost_at_all(task, target, measurable):
    part = np.arange(min(len(target), 3))
    assert outcome(task, target, np.linspace(0.0, 1.0, len(target)), part).measurable is measurable


@pytest.mark.parametrize(
    ("task", "before", "after", "loss"),
    [
        ("binary", 0.8, 0.75, 0.05),
        ("binary", 0.8, 0.85, -0.05),
        ("multiclass", 0.8, None, 1.0),
        ("regression", 10.0, 12.0, 0.2),
        ("regression", 10.0, None, 1.0),
        ("regression", 0.0, 0.0, 0.0),
        ("regression", 0.0, 3.0, 1.0),
    ],
)
def test_a_loss_is_auc_or_a_share_of_rmse(task, before, after, loss):
    assert lost(task, before, after) == pytest.approx(loss)
