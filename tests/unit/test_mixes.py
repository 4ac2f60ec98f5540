"""Worlds in which the same kind of rows come in another mix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fuseline.detect import Change
from fuseline.mixes import LabelShift, Raked, Same
from fuseline.selection import CAP


@dataclass
class Labelled:
    """What `LabelShift` looks at: labels and scores of the pool, and the scores of the batch."""

    task: str
    target: np.ndarray
    scores: np.ndarray
    batch_scores: np.ndarray


@pytest.fixture(scope="module")
def older(people):
    """A batch in which older people are four times as likely."""
    frame, _ = people.draw(6_000, 4)
    return frame[np.random.default_rng(0).random(6_000) < np.where(frame["age"] > 48, 0.8, 0.2)]


def test_nothing_happened_is_always_worth_a_look_and_weighs_all_rows_alike(people, older):
    seen = people.situation(older, Change())
    (same,) = Same.propose(seen)
    assert (same.weights(seen) == 1.0).all()
    assert len(same.weights(seen)) == 3_000
    assert same.fitted == 0
    assert same.sentence() == "nothing but chance"


@pytest.mark.parametrize(
    ("change", "proposed"),
    [
        (Change(), []),
        (Change(columns=("age",)), [Raked(("age",), False)]),
        (Change(scores=True), [Raked((), True)]),
        (
            Change(columns=("age", "job", "debt")),
            [Raked(("age", "job", "debt"), False), Raked(("age",), False), Raked(("job",), False)],
        ),
        (
            Change(columns=("age",), scores=True),
            [Raked(("age",), True), Raked(("age",), False), Raked((), True)],
        ),
    ],
)
def test_all_that_changed_is_raked_together_and_the_most_changed_alone(people, older, change, proposed):
    assert list(Raked.propose(people.situation(older, change))) == proposed
    assert [r.fitted for r in proposed] == [len(r.columns) + r.scores for r in proposed]


def test_raked_rows_have_the_shares_of_the_batch(people, older):
    seen = people.situation(older, Change(columns=("age", "job"), scores=True))
    weights = Raked(("age", "job"), True).weights(seen)
    assert weights.mean() == pytest.approx(1.0)
    assert weights.max() <= CAP * 1.1
    assert np.average(seen.pool["age"], weights=weights) == pytest.approx(older["age"].mean(), abs=0.5)
    assert np.average(seen.pool["job"] == "retired", weights=weights) == pytest.approx(
        (older["job"] == "retired").mean(), abs=0.02
    )
    assert np.average(seen.scores, weights=weights) == pytest.approx(people.score(older).mean(), abs=0.02)
    # what goes together with them follows, though it was not raked
    known = ~np.isnan(seen.pool["debt"])
    assert np.average(seen.pool["debt"][known], weights=weights[known]) == pytest.approx(older["debt"].mean(), abs=0.7)


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (Raked(("age",), False), "another mix of the same kind of rows (by age)"),
        (Raked(("a", "b", "c", "d"), True), "another mix of the same kind of rows (by a, b, c …)"),
        (Raked((), True), "another mix of the same kind of rows (by score)"),
        (LabelShift(), "the same kind of rows, with the labels in other shares"),
    ],
)
def test_what_happened_is_said(world, said):
    assert world.sentence() == said


# ── the labels in other shares ───────────────────────────────────────────────────────────────────


def test_labels_are_weighted_only_where_the_scores_changed(people, older):
    assert list(LabelShift.propose(people.situation(older, Change(columns=("age",))))) == []
    assert list(LabelShift.propose(people.situation(older, Change(scores=True)))) == [LabelShift()]


@pytest.mark.parametrize("rate", [0.2, 0.8])
def test_two_classes_get_the_shares_that_the_scores_of_the_batch_show(people, rate):
    frame, truth = people.draw(20_000, 4)
    yes = np.flatnonzero(truth == "yes")[: int(5_000 * rate)]
    no = np.flatnonzero(truth == "no")[: int(5_000 * (1 - rate))]
    seen = people.situation(frame.iloc[np.concatenate([yes, no])], Change(scores=True))
    weights = LabelShift().weights(seen)
    assert np.average(seen.target, weights=weights) == pytest.approx(rate, abs=0.07)
    assert len(np.unique(weights)) == 2


def test_several_classes_get_the_shares_that_the_scores_of_the_batch_show(planners):
    frame, truth = planners.draw(20_000, 4)
    wanted = {"basic": 0.2, "none": 0.6, "plus": 0.2}
    rows = np.concatenate([np.flatnonzero(truth == k)[: int(4_000 * share)] for k, share in wanted.items()])
    seen = planners.situation(frame.iloc[rows], Change(scores=True))
    found = np.bincount(seen.target, LabelShift().weights(seen)) / len(seen.target)
    assert found == pytest.approx(list(wanted.values()), abs=0.08)


def test_a_class_that_the_pool_does_not_have_is_no_reason_to_fail():
    target = np.array([0, 0, 1, 1] * 50)
    scores = np.tile([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1]], (50, 1))
    batch = np.tile([0.3, 0.6, 0.1], (40, 1))
    weights = LabelShift().weights(Labelled("multiclass", target, scores, batch))
    assert np.isfinite(weights).all()
    assert weights[target == 1].sum() > weights[target == 0].sum()


def test_no_row_stands_for_more_than_the_cap():
    target = np.array([1] * 2 + [0] * 998)
    scores = np.where(target == 1, 0.9, 0.1)
    weights = LabelShift().weights(Labelled("binary", target, scores, np.full(100, 0.9)))
    assert np.isfinite(weights).all()
    assert weights.max() / weights.min() <= CAP / 1e-3 * 1.01


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_targets_of_a_regression_are_tilted_until_the_mean_score_is_met(spenders, share):
    frame, truth = spenders.draw(4_000, 4)
    kept = np.random.default_rng(0).random(4_000) < np.where(truth > np.median(truth), share, 1.0 - share)
    seen = spenders.situation(frame[kept], Change(scores=True))
    weights = LabelShift().weights(seen)
    assert weights.mean() == pytest.approx(1.0)
    assert np.average(seen.scores, weights=weights) == pytest.approx(seen.batch_scores.mean(), abs=0.1)
    order = np.argsort(seen.target)
    assert (np.diff(weights[order]) * (1 if share > 0.5 else -1) >= 0.0).all()


def test_a_mean_score_that_no_tilt_reaches_gives_finite_weights():
    target = np.arange(100.0)
    weights = LabelShift().weights(Labelled("regression", target, target, np.full(10, 1e9)))
    assert np.isfinite(weights).all()
    assert weights[-1] == weights.max()
