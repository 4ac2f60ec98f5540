"""The third stage: what the change costs the model, read in the worlds that look like the batch.

In a world the labels are known, so the loss of the metric can be read. The estimate is the mean over the worlds, each
believed as far as it looks like the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fuseline.explain import SHARP, World
from fuseline.records import Task
from fuseline.selection import weighted_metric

NOISE = 1.0  # standard errors of a weighted metric that count for nothing
EXPECTED_NOISE = 0.7  # of these, where errors are expected ones
DOUBTED = 0.1  # of the belief in the likeliest world: what is believed less is left out


@dataclass(frozen=True, eq=False)
class Reading:
    """A world with what it costs.

    Attributes:
        harm: AUC lost, or the share of RMSE gained; negative where the metric gets better.
        belief: how far the world is believed, 0 to 1; all together are 1.
    """

    world: World
    harm: float
    belief: float


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the change is estimated to cost.

    Attributes:
        total: AUC lost, or the share of RMSE gained; 0.0 or more.
        risk: the same with no world counted for more than `most` of `estimate`: what the decision is made by, so that
            an explanation that is hardly believed cannot halt because it would be a catastrophe.
        readings: the worlds, the most believed first.
    """

    total: float = 0.0
    risk: float = 0.0
    readings: tuple[Reading, ...] = ()

    @property
    def selection(self) -> float:
        """How far it is believed that the batch is another mix of the same kind of rows, 0 to 1."""
        return sum(r.belief for r in self.readings if r.world.selection is not None)


class Outcome:
    """The labels and scores of the pool, and the metric under weights or other scores.

    Args:
        target: places of the classes, or numbers, shape (rows,).
        scores: shape (rows,) or (rows, classes).
        part: numbers of the rows that are scored again.
        known: what is known of the rows without their labels, e.g. their cells, shape (rows, any).
    """

    def __init__(self, task: Task, target: np.ndarray, scores: np.ndarray, part: np.ndarray, known: np.ndarray) -> None:
        self.task, self.target, self.scores, self.part, self.known = task, target, scores, part, known

    @cached_property
    def expected_errors(self) -> np.ndarray:
        """Of a regression the root of each row's expected squared error, given what is known of it; shape (rows,).

        Weighted means of squared errors hang on few rows where losses have a heavy tail; of expected squared errors
        they do not. Boosted trees with a Poisson loss, fitted on two thirds of the rows to predict the other third.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.model_selection import KFold

        with np.errstate(over="ignore"):
            errors: np.ndarray = np.abs(self.target - self.scores)
        unit = float(errors.max(initial=0.0)) or 1.0
        squares = np.square(errors / unit) if np.isfinite(unit) else np.zeros(len(errors))  # no square overflows
        if np.count_nonzero(squares) < 30:
            return errors
        mean = float(squares.mean())
        rows = np.column_stack([self.known, self.scores])
        found = np.empty(len(squares))
        for fit, ask in KFold(3, shuffle=True, random_state=0).split(rows):
            trees = HistGradientBoostingRegressor(
                loss="poisson", max_iter=40, learning_rate=0.08, max_leaf_nodes=4, min_samples_leaf=200, random_state=0
            )
            found[ask] = trees.fit(rows[fit], squares[fit] / mean).predict(rows[ask])
        expected: np.ndarray = unit * np.sqrt(found * mean / found.mean())
        return expected

    @property
    def measurable(self) -> bool:
        """Whether the rows have a metric at all."""
        whole = weighted_metric(self.task, self.target, self.scores, np.ones(len(self.target)))
        part = weighted_metric(self.task, self.target[self.part], self.scores[self.part], np.ones(len(self.part)))
        return len(self.target) > 1 and whole is not None and part is not None

    def loss(self, world: World, balance: np.ndarray) -> float:
        """What a world costs."""
        if world.scores is None:
            return self._weighted(world.weights)
        return self.replayed(world.scores, world.weights, balance)

    def _weighted(self, weights: np.ndarray) -> float:
        """The loss h, nearer to 0.0 by its standard error e, as h·max(0, 1 - (e/h)²): few rows say little."""
        if np.ptp(weights) == 0.0:
            return 0.0
        whole = np.ones(len(weights))
        before = weighted_metric(self.task, self.target, self.scores, whole)
        after = weighted_metric(self.task, self.target, self.scores, weights)
        if before is None or after is None:
            return 0.0
        unit = before[0] if self.task == "regression" else 1.0
        error = NOISE * float(np.linalg.norm((after[1] - before[1]) / (unit or 1.0)))
        found = lost(self.task, before[0], after[0])
        if self.task == "regression":
            zeros, error = np.zeros(len(whole)), error * EXPECTED_NOISE
            expected = (weighted_metric(self.task, self.expected_errors, zeros, w) for w in (whole, weights))
            found = lost(self.task, *(figure[0] for figure in expected if figure is not None))
        return found * max(0.0, 1.0 - (error / found) ** 2) if found else 0.0

    def replayed(self, scores: np.ndarray, weights: np.ndarray, balance: np.ndarray) -> float:
        """The loss of weighted rows `part` with these scores, against what they were with the weights `balance`."""
        target = self.target[self.part]
        before = weighted_metric(self.task, target, self.scores[self.part], balance)
        after = weighted_metric(self.task, target, scores, weights)
        if before is None:
            return 0.0
        return lost(self.task, before[0], None if after is None else after[0])


def lost(task: Task, before: float, after: float | None) -> float:
    """As `performance.loss`, of figures."""
    if after is None:
        return 1.0
    if task != "regression":
        return before - after
    return after / before - 1.0 if before else float(after > 0.0)


def estimate(worlds: Sequence[World], losses: Sequence[float], most: float) -> Estimate:
    """The mean loss over the worlds: Σ π T⁻⁸ h / Σ π T⁻⁸, and 0.0 if that is negative.

    π is a world's prior, T its distance from the batch, h what it costs. Worlds that are believed less than a tenth as
    far as the first are left out.

    Args:
        most: what a world counts for at most in the risk.
    """
    if not worlds:
        return Estimate()
    least = min(w.distance for w in worlds)  # 1e-300 and the like have no eighth power
    belief = np.array([w.prior * (w.distance / least) ** -SHARP for w in worlds])
    counted = np.where(belief >= DOUBTED * belief.max(), belief, 0.0)
    counted /= counted.sum()
    belief /= belief.sum()
    total, risk = (float(counted @ np.minimum(losses, cap)) for cap in (np.inf, most))
    readings = [Reading(w, h, float(b)) for w, h, b in zip(worlds, losses, belief, strict=True)]
    return Estimate(max(total, 0.0), max(risk, 0.0), tuple(sorted(readings, key=lambda r: -r.belief)))
