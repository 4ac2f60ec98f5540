"""The same kind of rows in another mix: worlds in which every value means what it meant, and rows are weighted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fuseline.selection import CAP, rake
from fuseline.situation import Situation


@dataclass(frozen=True)
class Same:
    """Nothing happened."""

    prior: ClassVar[float] = 10.0
    fitted: ClassVar[int] = 0

    @classmethod
    def propose(cls, seen: Situation) -> Iterator[Same]:
        """Always."""
        yield cls()

    def weights(self, seen: Situation) -> np.ndarray:
        """All alike."""
        return np.ones(len(next(iter(seen.cells.values()))))

    def sentence(self) -> str:
        """For people."""
        return "nothing but chance"


@dataclass(frozen=True)
class Raked:
    """Rows are weighted until the changed columns, and the scores if they changed, have the batch's shares."""

    columns: tuple[str, ...]
    scores: bool
    prior: ClassVar[float] = 10.0

    @classmethod
    def propose(cls, seen: Situation) -> Iterator[Raked]:
        """All changed columns together, and each of the two most changed ones alone."""
        change = seen.change
        if change.columns or change.scores:
            yield cls(change.columns, change.scores)
        if len(change.columns) + change.scores > 1:
            for column in change.columns[:2]:
                yield cls((column,), False)
            if change.scores:
                yield cls((), True)

    @property
    def fitted(self) -> int:
        """Columns and scores."""
        return len(self.columns) + self.scores

    def weights(self, seen: Situation) -> np.ndarray:
        """Raked weights."""
        groups = [seen.group(c) for c in self.columns] + (seen.score_groups() if self.scores else [])
        return rake(groups)

    def sentence(self) -> str:
        """For people."""
        names = [*self.columns, "score"] if self.scores else self.columns
        what = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        return f"another mix of the same kind of rows (by {what})"


@dataclass(frozen=True)
class LabelShift:
    """The classes, or high and low targets, come in other shares: rows are weighted by their labels alone.

    The weights of the classes are those under which the mean scores are the batch's (Lipton, Wang & Smola, ICML 2018);
    for a regression they rise or fall with the rank of the target.
    """

    prior: ClassVar[float] = 10.0
    fitted: ClassVar[int] = 1

    @classmethod
    def propose(cls, seen: Situation) -> Iterator[LabelShift]:
        """Where the scores are spread differently."""
        if seen.change.scores:
            yield cls()

    def weights(self, seen: Situation) -> np.ndarray:
        """Weights by class, or by rank of the target."""
        if seen.task == "regression":
            return _tilted(seen.target, seen.scores, float(seen.batch_scores.mean()))
        return _class_weights(seen.target.astype(np.int64), seen.scores, seen.batch_scores)

    def sentence(self) -> str:
        """For people."""
        return "the same kind of rows, with the labels in other shares"


def _class_weights(target: np.ndarray, scores: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Weights by class under which the mean scores of the pool are those of the batch, as far as weights of 30 go."""
    columns, there = (s if s.ndim == 2 else np.column_stack([1.0 - s, s]) for s in (scores, batch))
    classes = columns.shape[1]
    shares = np.bincount(target, minlength=classes) / len(target)
    means = np.stack([columns[target == k].mean(axis=0) if shares[k] else shares for k in range(classes)], axis=1)
    wanted = np.linalg.lstsq(means, there.mean(axis=0), rcond=1e-3)[0]
    factors = np.clip(wanted, 1e-3, None) / np.maximum(shares, 1e-9)
    weights: np.ndarray = np.clip(factors, 0.0, CAP)[target]
    weights /= weights.mean()
    return weights


def _tilted(target: np.ndarray, scores: np.ndarray, mean: float) -> np.ndarray:
    """Weights exp(θ·rank of the target) under which the mean score of the pool is `mean`."""
    ranks: np.ndarray = np.argsort(np.argsort(target, kind="stable"), kind="stable") / len(target) - 0.5
    low, high = -8.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2.0
        weights = np.exp(middle * ranks)
        low, high = (middle, high) if weights @ scores / weights.sum() < mean else (low, middle)
    weights = np.exp((low + high) / 2.0 * ranks)
    found: np.ndarray = weights / weights.mean()
    return found
