"""Reference rows weighted until they look like a batch, and a metric of weighted rows.

A batch may hold the same kind of rows as the reference in another mix. Raking finds the mix from the shares of the
columns that changed. Everything is computed from cells, so that the size and the unit of a value do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fuseline.drift import triangular
from fuseline.records import Task

CAP = 30.0  # a row stands for at most so many rows


@dataclass(frozen=True, eq=False)
class Group:
    """A column as raking wants it.

    Attributes:
        reference, batch: the cell of each row, 0 to size - 1.
        size: how many cells there are.
    """

    reference: np.ndarray
    batch: np.ndarray
    size: int

    @property
    def target(self) -> np.ndarray:
        """The batch's shares of the cells without its noise: p + λ(q - p), λ = max(0, 1 - E₀[td]/td).

        td is the triangular discrimination of p and q, and E₀[td] = (cells - 1)/2 · (1/n + 1/N) its mean if nothing
        changed: the positive part of what James & Stein (1961) shrink by.

        >>> Group(np.repeat([0, 1], 50), np.repeat([0, 1], [90, 10]), 2).target.round(9).tolist()  # td is 0.38095
        [0.8895, 0.1105]
        """
        p, q = self._shares()
        filled = (p + q) > 0.0
        chance = (int(filled.sum()) - 1) / 2.0 * (1.0 / len(self.batch) + 1.0 / len(self.reference))
        found: np.ndarray = p + (q - p) * max(0.0, 1.0 - chance / max(float(triangular(p, q)), 1e-12))
        return found

    def _shares(self) -> tuple[np.ndarray, np.ndarray]:
        p, q = (np.bincount(c, minlength=self.size) / len(c) for c in (self.reference, self.batch))
        return p, q


def rake(groups: Sequence[Group], rounds: int = 25) -> np.ndarray:
    """Weights under which the reference has the batch's shares of every column's cells, as far as weights go.

    Iterative proportional fitting (Deming & Stephan 1940): the weights of each cell are multiplied by its target and
    divided by its share, column after column until the shares fit. After each round weights are cut at 30 times the
    mean: that holds back rows in the rare cells of several columns, though not a cell that is rare as a whole.

    Args:
        groups: the columns, all of the same rows; at least one.

    Returns:
        shape (reference rows,), of mean 1.

    >>> weights = rake([Group(np.repeat([0, 1], 50), np.repeat([0, 1], [90, 10]), 2)])
    >>> weights[[0, -1]].round(9).tolist()
    [1.779, 0.221]
    """
    targets = [g.target for g in groups]
    weights = np.ones(len(groups[0].reference))
    for _ in range(rounds):
        worst = 0.0
        for group, target in zip(groups, targets, strict=True):
            now = np.bincount(group.reference, weights, group.size) / weights.sum()
            worst = max(worst, float(np.abs(now - target)[now > 0.0].max()))
            weights = weights * np.where(now > 0.0, target / np.where(now > 0.0, now, 1.0), 0.0)[group.reference]
        weights = np.minimum(weights / weights.mean(), CAP)
        if worst < 1e-3:
            break
    found: np.ndarray = weights / weights.mean()
    return found


def effective(weights: np.ndarray) -> float:
    """How many equally weighted rows say as much: (Σw)² / Σw² (Kish 1965).

    >>> effective(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    return float(weights.sum() ** 2 / np.square(weights).sum())


def weighted_metric(
    task: Task, target: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray] | None:
    """The metric of `performance.measure` with weighted rows; None if it cannot be measured.

    AUC is the weighted share of the pairs of a positive and a negative row that are in order, ties counting half
    (Hanley & McNeil, Radiology 1982), of several classes the mean over classes against the rest; RMSE is
    √(Σ w·error² / Σ w).

    Args:
        target: places of the classes, or numbers, shape (rows,).
        scores: shape (rows,) or (rows, classes).
        weights: shape (rows,), 0 or more.

    Returns:
        The metric, and each row's part of its error (for AUC: DeLong, DeLong & Clarke-Pearson, Biometrics 1988; for
        RMSE by the delta method), shape (rows,): the root of the sum of their squares is the standard error; of two
        weightings of the same rows, the parts are subtracted first.

    >>> weighted_metric("binary", np.array([0, 0, 1]), np.array([0.1, 0.9, 0.5]), np.array([3.0, 1.0, 1.0]))[0]
    0.75
    """
    if task == "regression":
        return _rmse(np.abs(target - scores), weights)
    if task == "binary":
        return _auc(target == 1, scores, weights)
    found = [_auc(target == k, scores[:, k], weights) for k in range(scores.shape[1])]
    usable = [f for f in found if f is not None]
    if not usable:
        return None
    return float(np.mean([value for value, _ in usable])), np.mean([parts for _, parts in usable], axis=0)


def _rmse(errors: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray] | None:
    unit = float(errors.max(initial=0.0))  # squares of large errors would overflow
    if not np.isfinite(unit) or weights.sum() <= 0.0:
        return None
    squares, shares = np.square(errors / (unit or 1.0)), weights / weights.sum()
    value = float(np.sqrt(shares @ squares))
    parts = shares * (squares - value**2) / (2.0 * value) if value else np.zeros(len(errors))
    return (value * unit, parts * unit) if unit else (0.0, parts)


def _auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray] | None:
    yes, no = np.where(positive, weights, 0.0), np.where(positive, 0.0, weights)
    if yes.sum() <= 0.0 or no.sum() <= 0.0:
        return None
    yes, no = yes / yes.sum(), no / no.sum()
    _, place = np.unique(scores, return_inverse=True)
    below, above = np.bincount(place, no), np.bincount(place, yes)
    beaten = (np.cumsum(below) - below / 2.0)[place]  # share of the negatives that a row beats
    beating = 1.0 - (np.cumsum(above) - above / 2.0)[place]  # share of the positives that beat a row
    value = float(yes @ beaten)
    return value, yes * (beaten - value) + no * (beating - value)
