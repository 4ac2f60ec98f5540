"""The verdict and its causes, from what was detected and what it is estimated to cost."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.damage import Dealt, Exchanged, Joined, Moved, Rescaled, Swapped
from fuseline.decide import GROSS, STRANGE, Stakes, causes, explanations, gross, lasting, natural, verdict
from fuseline.detect import Change
from fuseline.explain import World
from fuseline.harm import Estimate, estimate
from fuseline.mixes import LabelShift, Raked, Same
from fuseline.records import Assessment, Cause, Check

STAKES = Stakes("auc", 0.8, 0.02, "warn", 6)
LOW, HIGH = 0.2 * STAKES.bound, 10.0 * STAKES.bound


def world(*faults: Any, mix: Any = None, distance: float = 10.0, prior: float = 1.0) -> World:
    values = {c: np.zeros(1) for f in faults for c in f.columns}
    return World(distance, 10.0, prior, np.ones(1), mix, tuple(faults), None if mix else np.zeros(1), values)


def costing(*readings: tuple[World, float]) -> Estimate:
    worlds, losses = zip(*readings, strict=True)
    return estimate(worlds, losses, 5.0 * STAKES.bound)


def decided(change: Change, found: Estimate, stakes: Stakes = STAKES, **alone: float) -> list[Cause]:
    return causes(change, found, stakes, lambda c: f"{c} moved", lambda _: alone)


def said(found: list[Cause]) -> list[tuple[str, str, str | None]]:
    return [(c.level, c.kind, c.column) for c in found]


# ── what is at stake ─────────────────────────────────────────────────────────────────────────────


def test_less_than_the_tolerance_halts_but_no_small_part_of_it():
    assert 0.3 * STAKES.tolerance < STAKES.bound < STAKES.tolerance
    assert Stakes("auc", 0.8, 0.04).bound == 2.0 * STAKES.bound


@pytest.mark.parametrize(
    ("stakes", "harm", "sentence"),
    [
        (Stakes("auc", 0.81, 0.02), 0.18, "AUC would fall from 0.810 to 0.630"),
        (Stakes("auc_ovr", 0.81, 0.02), 0.9, "AUC would fall from 0.810 to 0.000"),
        (Stakes("rmse", 12.0, 0.05), 0.128, "RMSE would rise by 12.8%"),
    ],
)
def test_what_a_loss_means_is_said(stakes, harm, sentence):
    assert stakes.cost(harm) == sentence


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def test_without_causes_the_verdict_is_pass():
    assert verdict((), (), 0.0) == Assessment("pass", 0.0)


def test_the_worst_level_decides_and_its_cause_comes_first():
    rank = {"halt": 0, "inconclusive": 1, "warn": 2}
    for levels in product(rank, repeat=3):
        found = verdict([Cause(str(i), level, level=level) for i, level in enumerate(levels)], (), 0.0)
        assert found.verdict == min(levels, key=rank.__getitem__)
        ranked = [(rank[c.level], c.kind) for c in found.causes]
        assert ranked == sorted(ranked)  # of one level they stay in their order


def test_what_was_compared_is_kept():
    check, cause = Check("distance", 0.1, 0.2, "x"), Cause("distance", "x moved", "x", level="warn")
    found = verdict([cause], [check], None, {"revenue": 3.0}, explanations(costing((world(Moved("x")), 0.01))))
    assert (found.checks, found.causes, found.business, found.harm) == ((check,), (cause,), {"revenue": 3.0}, None)
    assert [w.sentence for w in found.worlds] == ["some values of x are replaced"]


# ── the worlds that are told ─────────────────────────────────────────────────────────────────────


def test_worlds_are_told_with_what_they_cost_the_most_believed_first():
    found = explanations(costing((world(mix=Same(), distance=30.0), 0.0), (world(Moved("x")), 0.03)))
    assert [w.sentence for w in found] == ["some values of x are replaced"]  # the other is much further
    assert (found[0].columns, found[0].harm) == (("x",), 0.03)
    assert found[0].belief > 0.9
    assert (found[0].distance, found[0].chance) == (10.0, 10.0)


def test_worlds_that_are_hardly_believed_and_more_than_a_few_are_not_told():
    many = costing(*((world(Moved(f"x{i}")), 0.0) for i in range(12)))
    assert 3 <= len(explanations(many)) < 12
    lonely = costing((world(Moved("x")), 0.0), (world(Moved("y"), distance=100.0), 0.0))
    assert [w.columns for w in explanations(lonely)] == [("x",)]


# ── harm halts ───────────────────────────────────────────────────────────────────────────────────


def test_a_broken_column_halts_in_the_words_of_what_happened_to_it():
    (cause,) = decided(Change(columns=("x",)), costing((world(Rescaled("x")), HIGH)))
    assert said([cause]) == [("halt", "distance", "x")]
    assert cause.sentence == f"x moved: {STAKES.cost(HIGH)}"
    assert (cause.observed, cause.bound, cause.harm) == (pytest.approx(HIGH), STAKES.bound, pytest.approx(HIGH))


def test_a_kind_that_the_values_do_not_show_is_said_by_its_name():
    (cause,) = decided(Change(columns=("x",)), costing((world(Swapped("x")), HIGH)))
    assert cause.sentence == f"levels of x have each other's names: {STAKES.cost(HIGH)}"


def test_columns_that_did_not_change_by_themselves_halt_too():
    (cause,) = decided(Change(broken=("x",)), costing((world(Dealt("x")), HIGH)))
    assert said([cause]) == [("halt", "distance", "x")]
    assert cause.sentence.startswith("x looks dealt to other rows: ")
    (cause,) = decided(Change(broken=("x", "y")), costing((world(Joined(("x", "y"))), HIGH)))
    assert cause.sentence.startswith("x, y look joined to the wrong rows: ")


def test_one_fault_of_several_columns_is_told_once():
    (cause,) = decided(Change(columns=("x", "y")), costing((world(Exchanged(("x", "y"))), HIGH)))
    assert cause.sentence.startswith("x and y look exchanged: ")
    several = decided(Change(columns=("x", "y", "z")), costing((world(Exchanged(("x", "y"))), HIGH)))
    assert said(several) == [("halt", "distance", "x"), ("warn", "distance", "z")]


def test_of_several_faults_each_halts_that_costs_too_much_alone_the_costliest_first():
    found = decided(
        Change(columns=("x", "y", "z")),
        costing((world(Rescaled("x"), Moved("y"), Moved("z")), HIGH)),
        x=2 * STAKES.bound,
        y=LOW,
        z=3 * STAKES.bound,
    )
    assert said(found) == [("halt", "distance", "z"), ("halt", "distance", "x"), ("warn", "distance", "y")]
    assert [c.harm for c in found[:2]] == [3 * STAKES.bound, 2 * STAKES.bound]
    assert found[0].sentence == f"z moved: {STAKES.cost(3 * STAKES.bound)}"


def test_faults_that_only_cost_too_much_together_halt_together():
    found = decided(Change(columns=("x", "y")), costing((world(Rescaled("x"), Swapped("y")), HIGH)), x=LOW, y=LOW)
    assert said(found) == [("halt", "distance", None), ("warn", "distance", "x"), ("warn", "distance", "y")]
    assert found[0].sentence == f"x moved; levels of y have each other's names; together: {STAKES.cost(HIGH)}"


def test_another_mix_of_rows_halts_where_the_model_does_not_cope_with_it():
    mix = Raked(("x", "y"), False)
    (cause,) = decided(Change(columns=("x", "y")), costing((world(mix=mix), HIGH)))
    assert said([cause]) == [("halt", "mix", None)]
    assert cause.sentence == f"x, y changed, as in {mix.sentence()}: {STAKES.cost(HIGH)}"
    (cause,) = decided(Change(columns=("x",)), costing((world(mix=mix), HIGH)))
    assert cause.column == "x"
    (cause,) = decided(Change(scores=True), costing((world(mix=LabelShift()), HIGH)))
    assert cause.sentence.startswith("the scores are spread differently, as in the same kind of rows, with the labels ")


def test_the_world_that_speaks_is_one_that_costs_too_much_though_another_is_nearer():
    change = Change(columns=("x",))
    both = costing((world(Rescaled("x"), prior=2.0), 0.0), (world(Moved("x")), HIGH))
    (cause,) = decided(change, both)
    assert cause.level == "halt"
    assert cause.harm == pytest.approx(HIGH / 3.0)


def test_what_is_hardly_believed_does_not_halt_alone():
    doubted = costing((world(mix=Same(), prior=8.0), 0.0), (world(Moved("x")), 0.5))
    assert doubted.total > STAKES.bound > doubted.risk
    assert [c.level for c in decided(Change(columns=("x",)), doubted)] == ["warn"]


def test_the_bound_itself_does_not_halt():
    for harm, level in ((STAKES.bound, "warn"), (1.001 * STAKES.bound, "halt")):
        assert [c.level for c in decided(Change(columns=("x",)), costing((world(Moved("x")), harm)))] == [level]


# ── change without harm warns ────────────────────────────────────────────────────────────────────


def test_a_changed_column_without_harm_warns():
    (cause,) = decided(Change(columns=("x",)), costing((world(Moved("x")), LOW)))
    assert said([cause]) == [("warn", "distance", "x")]
    assert cause.sentence == "x moved; little harm is expected of it"
    assert (cause.harm, cause.bound) == (pytest.approx(LOW), STAKES.bound)


def test_a_harmless_mix_is_told_for_every_column():
    found = decided(Change(columns=("x", "y")), costing((world(mix=Raked(("x", "y"), False)), LOW)))
    assert said(found) == [("warn", "distance", "x"), ("warn", "distance", "y")]
    assert all("another mix of the same kind of rows, and the model copes with that" in c.sentence for c in found)


def test_a_change_that_helps_does_no_negative_harm():
    (cause,) = decided(Change(columns=("x",)), costing((world(Moved("x")), -0.1)))
    assert (cause.level, cause.harm) == ("warn", 0.0)


def test_columns_that_only_fell_apart_warn():
    (cause,) = decided(Change(broken=("x", "y")), costing((world(Dealt("x")), LOW)))
    assert said([cause]) == [("warn", "distance", "x")]
    assert "no longer goes together with the other columns" in cause.sentence


def test_scores_that_only_are_spread_differently_warn_with_the_figure_that_is_furthest_off():
    checks = (Check("distance", 0.5, 0.1, "x"), Check("score distance", 0.2, 0.1), Check("score ks", 0.9, 0.3))
    (cause,) = decided(Change(checks, scores=True), costing((world(mix=Same()), 0.0)))
    assert said([cause]) == [("warn", "score", None)]
    assert (cause.observed, cause.bound) == (0.9, 0.3)


# ── drift ────────────────────────────────────────────────────────────────────────────────────────

FOUR = ("a", "b", "c", "d")
FAR = 10.0 * STRANGE * 1.5


@pytest.mark.parametrize(
    ("columns", "distance", "of", "drifts"),
    [
        (FOUR, FAR, 6, True),
        (FOUR[:3], FAR, 5, False),  # few columns are looked at one by one
        (FOUR, FAR, 8, False),  # not most of the columns
        (FOUR, 10.0, 6, False),  # a world is near
    ],
)
def test_it_is_natural_drift_where_most_columns_changed_and_no_world_is_near(columns, distance, of, drifts):
    found = costing((world(mix=Same(), distance=distance), 0.0), (world(Moved("a"), distance=2 * distance), 0.0))
    assert natural(Change(columns=columns), found, Stakes("auc", 0.8, 0.02, columns=of)) is drifts


def test_without_any_world_nothing_is_natural():
    assert not natural(Change(columns=FOUR), Estimate(), STAKES)


@pytest.mark.parametrize("policy", ["warn", "halt"])
@pytest.mark.parametrize("harm", [0.0, HIGH])
def test_of_natural_drift_the_policy_decides_and_not_the_estimate(policy, harm):
    stakes = Stakes("auc", 0.8, 0.02, policy, 6)
    found = decided(Change(columns=FOUR), costing((world(mix=Raked(FOUR, False), distance=FAR), harm)), stakes)
    assert said(found) == [(policy, "drift", None)]
    assert found[0].sentence == (
        "4 of 6 columns changed at once (a, b, c …), as in natural drift: what it costs shows only in labels"
    )


@pytest.mark.parametrize("name", ["nulls", "unseen", "out of range"])
def test_what_no_population_does_is_no_drift_if_it_costs_too_much(name):
    checks = (Check(name, GROSS + 0.11, 0.1, "a"),)
    assert gross(Change(checks))
    assert not gross(Change((Check(name, GROSS + 0.09, 0.1, "a"), Check("distance", 2.0, 0.1, "a"))))
    change = Change(checks, FOUR)
    far = world(Moved("a"), distance=FAR)
    assert decided(change, costing((far, HIGH)))[0].kind == "distance"
    assert decided(change, costing((far, LOW)))[0].kind == "drift"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (Change(columns=("a", "b")), "a, b"),
        (Change(columns=FOUR), "a, b, c …"),
        (Change(broken=("x",)), "x"),
        (Change(scores=True), "the scores"),
    ],
)
def test_change_that_lasts_is_the_policys_to_decide(change, what):
    cause = lasting(change, Stakes("auc", 0.8, 0.02, "halt"))
    assert (cause.level, cause.kind) == ("halt", "drift")
    assert cause.sentence.startswith(f"{what} changed in three batches in a row: ")


# ── always ───────────────────────────────────────────────────────────────────────────────────────

names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6).map(tuple)
harms = st.floats(-0.5, 0.5)
faults = st.lists(
    st.sampled_from([Rescaled("a"), Moved("b"), Swapped("c"), Dealt("d"), Joined(("e", "f"))]),
    unique=True,
    min_size=1,
    max_size=3,
)
some_world = st.one_of(
    st.builds(lambda fs, d: world(*fs, distance=d), faults, st.floats(1.0, 500.0)),
    st.builds(lambda d: world(mix=Same(), distance=d), st.floats(1.0, 500.0)),
)


@given(names, names, st.booleans(), st.lists(st.tuples(some_world, harms), min_size=1, max_size=5))
def test_a_batch_that_differs_has_a_cause_and_halts_if_and_only_if_the_risk_is_too_large(
    columns, broken, scores, worlds
):
    change = Change((Check("score distance", 0.2, 0.1),), columns, scores or not (columns or broken), broken)
    found = costing(*worlds)
    alone = dict.fromkeys("abcdef", 0.0)
    told = decided(change, found, **alone)
    assert told
    if told[0].kind != "drift":
        assert any(c.level == "halt" for c in told) == (found.risk > STAKES.bound)
    assert all(c.sentence and (c.harm is None or c.harm >= 0.0) for c in told)
    columns_told = [c.column for c in told if c.column is not None]
    assert len(columns_told) == len(set(columns_told))
