"""What a monitor makes of labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fuseline import Monitor
from fuseline.errors import DataError, FuselineError


@pytest.fixture
def monitor(people) -> Monitor:
    """A monitor of 3,000 labelled people that remembers nothing."""
    return people.monitor()


def test_labels_that_agree_pass(monitor, people):
    frame, truth = people.draw(1_000, 5)
    found = monitor.observe(truth, people.score(frame))
    assert (found.verdict, found.metric, found.rows, found.batches) == ("pass", "auc", 1_000, 1)
    assert found.value == pytest.approx(monitor.measured.value, abs=0.04)
    assert found.pooled == found.value
    assert found.bound < monitor.measured.value - 0.02
    assert 0.0 < found.se < 0.05


@pytest.mark.parametrize(
    ("who", "flip"),
    [
        ("people", lambda t: np.where(t == "yes", "no", "yes")),
        ("planners", lambda t: np.roll(t, 1)),
        ("spenders", lambda t: -t),
    ],
)
def test_flipped_labels_halt(who, flip, request):
    who = request.getfixturevalue(who)
    monitor, (frame, truth) = who.monitor(), who.draw(600, 5)
    found = monitor.observe(flip(truth), who.score(frame))
    assert found.verdict == "halt"
    assert (found.value > found.bound) if who.task == "regression" else (found.value < found.bound)


@pytest.mark.parametrize(
    "known",
    [lambda t: t[:20], lambda t: np.where(np.arange(len(t)) < 20, t, None), lambda t: t[:0], lambda t: t[t == "no"]],
)
def test_few_labels_are_inconclusive(monitor, people, known):
    frame, truth = people.draw(500, 5)
    labels = known(truth)
    scores = people.score(frame)[: len(labels)]
    found = monitor.observe(labels, scores)
    assert (found.verdict, found.pooled, found.bound) == ("inconclusive", None, None)
    assert found.rows == sum(v is not None for v in labels)


def test_few_labels_of_several_batches_are_measured_together(monitor, people):
    frame, truth = people.draw(160, 5)
    scores = people.score(frame)
    verdicts = [monitor.observe(truth[i : i + 20], scores[i : i + 20]).verdict for i in range(0, 160, 20)]
    assert verdicts[0] == "inconclusive"
    assert verdicts[-1] == "pass"


def test_a_loss_that_no_single_batch_shows_is_found_over_several(monitor, people):
    frame, truth = people.draw(4_000, 5)
    scores = people.score(frame)
    rng = np.random.default_rng(0)
    other = np.where(rng.random(4_000) < 0.13, rng.permutation(truth), truth)  # some labels are of other rows
    verdicts = [monitor.observe(other[i : i + 500], scores[i : i + 500]) for i in range(0, 4_000, 500)]
    assert verdicts[0].verdict == "pass"
    halted = next(v for v in verdicts if v.verdict == "halt")
    assert halted.batches > 1
    assert halted.pooled < halted.bound


def test_one_bad_batch_is_not_hidden_by_good_ones_before(monitor, people):
    frame, truth = people.draw(4_500, 5)
    scores = people.score(frame)
    for i in range(0, 4_000, 500):
        assert monitor.observe(truth[i : i + 500], scores[i : i + 500]).verdict == "pass"
    found = monitor.observe(np.roll(truth[4_000:], 1), scores[4_000:])
    assert (found.verdict, found.batches) == ("halt", 1)


def test_labels_may_be_a_series_and_scores_two_columns(people):
    monitor, (frame, truth) = people.monitor(), people.draw(400, 5)
    expected = monitor.observe(truth, people.score(frame))
    again = people.monitor().observe(pd.Series(truth).astype("category"), people.model.predict_proba(frame))
    assert again == expected


def test_wrong_labels_are_refused_and_not_kept(people):
    monitor, (frame, truth) = people.monitor(), people.draw(400, 5)
    scores = people.score(frame)
    with pytest.raises(DataError, match="'perhaps'"):
        monitor.observe(np.full(400, "perhaps"), scores)
    with pytest.raises(FuselineError, match="shape"):
        monitor.observe(truth, scores[:5])
    assert monitor.observe(truth, scores) == people.monitor().observe(truth, scores)


def test_forgotten_labels_are_not_measured_again(people):
    monitor, (frame, truth) = people.monitor(), people.draw(40, 5)
    scores = people.score(frame)
    monitor.observe(truth[:20], scores[:20])
    monitor.forget()
    assert monitor.observe(truth[20:], scores[20:]).verdict == "inconclusive"
