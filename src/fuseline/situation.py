"""A batch that differs, beside the labelled reference: what every kind of world looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from fuseline.cells import Axis, numbers
from fuseline.dependence import Dependence, block
from fuseline.detect import Change
from fuseline.records import Task
from fuseline.replay import move, rescale
from fuseline.selection import CAP, Group

FINE = 64  # narrow ranges of equal mass
MISSING = 0.02  # share of a batch that no weights can make of the reference: the column's meaning changed
NOISE = 2.0  # standard errors of a cell's change that may be chance
CONSTANT = 0.98  # share of one cell in a column that is as good as constant
SELDOM = 0.1  # share of a value that few rows have
NULLS_MORE = 0.25  # more nulls than so are no other mix of rows


class Situation:
    """A batch that differs, beside the labelled reference.

    Attributes:
        axes: columns by name; score_axes: the scores.
        pool: reference rows by column, each of shape (rows,); `cells` their cells, `score_cells` those of their scores.
        part: numbers of the pool's rows in which faults are drawn.
        batch, batch_cells, batch_score_cells: the same of sampled rows of the batch.
        change: what was detected.
        matter: the columns that worlds are compared by: those that changed, then the important ones.
    """

    def __init__(
        self,
        axes: Mapping[str, Axis],
        score_axes: Mapping[str, Axis],
        pool: Mapping[str, np.ndarray],
        cells: Mapping[str, np.ndarray],
        score_cells: Mapping[str, np.ndarray],
        part: np.ndarray,
        batch: Mapping[str, np.ndarray],
        batch_cells: Mapping[str, np.ndarray],
        batch_score_cells: Mapping[str, np.ndarray],
        change: Change,
        matter: Sequence[str],
        together: Dependence | None,
        seed: int,
        task: Task,
        target: np.ndarray,
        scores: np.ndarray,
        batch_scores: np.ndarray,
    ) -> None:
        self.axes, self.score_axes, self.pool, self.cells, self.score_cells = axes, score_axes, pool, cells, score_cells
        self.part, self.batch, self.batch_cells, self.batch_score_cells = part, batch, batch_cells, batch_score_cells
        self.change, self.matter, self.together, self.seed = change, tuple(matter), together, seed
        self.task, self.target, self.scores, self.batch_scores = task, target, scores, batch_scores
        self._ranked: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def rows(self) -> int:
        """Sampled rows of the batch."""
        return len(next(iter(self.batch_cells.values())))

    @cached_property
    def violated(self) -> tuple[str, ...]:
        """The changed columns that no weights could make of the reference."""
        return tuple(c for c in self.change.columns if self.missing(c) > MISSING)

    @cached_property
    def apart(self) -> tuple[str, ...]:
        """The columns that no longer go together with the others, though with each other (`dependence.block`)."""
        if self.together is None:
            return ()
        names = self.together.columns
        return tuple(names[i] for i in block(self.together.broken({c: self.batch_cells[c] for c in names})))

    def ranked(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """The known values of a column of numbers or times in the pool and in the batch, ascending; sorted once."""
        if column not in self._ranked:
            pool, batch = (np.sort(v[~_null(v)]) for v in (self.pool[column], self.batch[column]))
            self._ranked[column] = pool, batch
        return self._ranked[column]

    def missing(self, column: str) -> float:
        """The share of the batch that weights of at most 30 cannot make of the reference.

        1.0 for far more nulls, for a column that became constant, and for a value that was rare and is common now.
        """
        axis, rows = self.axes[column], self.rows
        was, now = axis.shares, axis.counts(self.batch_cells[column]) / rows
        if now[-1] - was[-1] > NULLS_MORE or (now.max() > CONSTANT and now.max() - was[now.argmax()] > NULLS_MORE):
            return 1.0
        lacking = float(np.maximum(now - CAP * was, 0.0).sum())
        if axis.ordered:
            lacking = max(lacking, self._lacking_values(column))
        elif _sudden(was[:-3], now[:-3]):
            return 1.0
        return lacking if lacking * rows >= 3.0 else 0.0

    def _lacking_values(self, column: str) -> float:
        """The same of single values and narrow ranges that are common in the batch: a default, another unit."""
        known, there = (numbers(v) for v in self.ranked(column))
        values, counts = np.unique(there, return_counts=True)
        shares = counts / self.rows
        low, high = (np.searchsorted(known, values, side) for side in ("left", "right"))
        was = np.maximum(high - low, 0.5) / max(len(known), 1)
        if _sudden(was, shares):
            return 1.0
        lacking = float(np.maximum(shares - CAP * was, 0.0)[shares > MISSING].sum())
        # equal values share their ranks
        spread = np.repeat(low, counts) + _turns(counts) * np.repeat(high - low, counts)
        fine = np.bincount(np.minimum(spread * FINE // max(len(known), 1), FINE - 1).astype(np.int64), minlength=FINE)
        return max(lacking, float(np.maximum(fine / self.rows - CAP / FINE, 0.0).sum()))

    def denoised(self, column: str) -> np.ndarray:
        """The batch's share of each cell without its noise, shape (cells,): a change counts as far as it is no chance.

        A cell's change d with its standard error e is taken by max(0, 1 - (2e/d)²), after James & Stein (1961).
        """
        axis, rows = self.axes[column], self.rows
        p, q = axis.shares, axis.counts(self.batch_cells[column]) / rows
        both = (p * len(axis.reference) + q * rows) / (len(axis.reference) + rows)
        error = np.sqrt(both * (1.0 - both) * (1.0 / rows + 1.0 / len(axis.reference)))
        kept = np.maximum(0.0, 1.0 - np.square(NOISE * error / np.where(q != p, q - p, np.inf)))
        found: np.ndarray = p + (q - p) * kept
        doubtful = (1.0 - kept) * p
        if doubtful.sum() > 0.0:  # what is sure stays, what may be chance makes up for it
            found = np.maximum(found + (1.0 - found.sum()) * doubtful / doubtful.sum(), 0.0)
        found /= found.sum()
        return found

    def moved(self, column: str, rng: np.random.Generator) -> np.ndarray:
        """Values of the rows `part` with the least mass moved that gives the batch's cells."""
        there = self.batch_cells[column]
        shares = self.axes[column].shares, self.denoised(column)
        return move(self.pool[column][self.part], self.cells[column][self.part], shares, self.batch[column], there, rng)

    def rescaled(self, column: str, rng: np.random.Generator, *, turned: bool = False) -> np.ndarray:
        """Values of the rows `part` with the batch's values of their ranks."""
        nulls = float(self.axes[column].shares[-1]), float(self.denoised(column)[-1])
        return rescale(self.pool[column][self.part], *self.ranked(column), nulls, rng, turned=turned)

    def group(self, column: str) -> Group:
        """A column as raking wants it."""
        return self._group(self.axes[column], self.cells[column], self.batch_cells[column])

    def score_groups(self) -> list[Group]:
        """The scores as raking wants them."""
        return [self._group(a, self.score_cells[k], self.batch_score_cells[k]) for k, a in self.score_axes.items()]

    @staticmethod
    def _group(axis: Axis, cells: np.ndarray, batch: np.ndarray) -> Group:
        inner = np.arange(axis.size)
        if axis.ordered and axis.size > 3:
            inner[-3], inner[-2] = 0, axis.size - 4
        return Group(inner[cells], inner[batch], axis.size)

    def draw(self, *key: int) -> np.random.Generator:
        """A generator that depends on the key and the seed alone."""
        return np.random.default_rng([self.seed, *key])

    def number(self, column: str) -> int:
        """The place of a column among all."""
        return list(self.axes).index(column)


def _sudden(was: np.ndarray, now: np.ndarray) -> bool:
    """Whether a value that few rows had gained more than a quarter of all rows: a default that was filled in."""
    return bool(np.any((was < SELDOM) & (now - was > NULLS_MORE)))


def _turns(counts: np.ndarray) -> np.ndarray:
    """0 to 1 for the copies of each value, evenly."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    found: np.ndarray = (np.arange(int(counts.sum())) - starts + 0.5) / np.repeat(counts, counts)
    return found


def _null(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
    return found
