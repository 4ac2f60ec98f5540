"""What may have happened to a batch: each kind of world is one small class.

A *selection* keeps the meaning of every value: the batch is another mix of the same kind of rows, so reference rows are
weighted. A *fault* keeps the rows and breaks values: reference rows get other values in some columns. A kind says where
it is worth a look (`propose`), draws what the reference would be in such a world, and has a sentence for people.

A new kind is a class here with a line in `SELECTIONS` or `FAULTS`, and a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, Self

import numpy as np

from fuseline import dependence
from fuseline.cells import Axis, numbers
from fuseline.dependence import Dependence
from fuseline.detect import Change
from fuseline.drift import triangular
from fuseline.records import Task
from fuseline.replay import deal, move, rename, rescale
from fuseline.selection import CAP, Group, rake

FINE = 64  # narrow ranges of equal mass
MISSING = 0.02  # share of a batch that no weights can make of the reference: the column's meaning changed
NOISE = 2.0  # standard errors of a cell's change that may be chance
RARER, RARE = 0.3, 0.1  # how likely a kind is that is not the simplest explanation
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

    @property
    def rows(self) -> int:
        """Sampled rows of the batch."""
        return len(next(iter(self.batch_cells.values())))

    @cached_property
    def violated(self) -> tuple[str, ...]:
        """The changed columns that no weights could make of the reference."""
        return tuple(c for c in self.change.columns if self.missing(c) > MISSING)

    @cached_property
    def ranked(self) -> Mapping[str, np.ndarray]:
        """The known numbers of each ordered column that changed, ascending."""
        found = {c: numbers(self.pool[c]) for c in self.change.columns if self.axes[c].ordered}
        return {c: np.sort(v[~np.isnan(v)]) for c, v in found.items()}

    def missing(self, column: str) -> float:
        """The share of the batch that weights of at most 30 cannot make of the reference; 1.0 for far more nulls."""
        axis, rows = self.axes[column], self.rows
        was, now = axis.shares, axis.counts(self.batch_cells[column]) / rows
        if now[-1] - was[-1] > NULLS_MORE:
            return 1.0
        lacking = float(np.maximum(now - CAP * was, 0.0).sum())
        if axis.ordered:
            lacking = max(lacking, self._lacking_values(column))
        return lacking if lacking * rows >= 3.0 else 0.0

    def _lacking_values(self, column: str) -> float:
        """The same of single values and narrow ranges that are common in the batch: a default, another unit."""
        known, there = self.ranked[column], numbers(self.batch[column])
        there = np.sort(there[~np.isnan(there)])
        values, counts = np.unique(there, return_counts=True)
        shares = counts / self.rows
        low, high = (np.searchsorted(known, values, side) for side in ("left", "right"))
        was = np.maximum(high - low, 0.5) / max(len(known), 1)
        lacking = float(np.maximum(shares - CAP * was, 0.0)[shares > MISSING].sum())
        spread = np.repeat(low, counts) + _turns(counts) * np.repeat(
            high - low, counts
        )  # equal values share their ranks
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
        steady = kept == 0.0
        rest = 1.0 - float(found[~steady].sum())
        if steady.any() and p[steady].sum() > 0.0 and rest > 0.0:
            found[steady] = p[steady] * rest / p[steady].sum()
        found /= found.sum()
        return found

    def moved(self, column: str, rng: np.random.Generator) -> np.ndarray:
        """Values of the rows `part` with the least mass moved that gives the batch's cells."""
        there = self.batch_cells[column]
        shares = self.axes[column].shares, self.denoised(column)
        return move(self.pool[column][self.part], self.cells[column][self.part], shares, self.batch[column], there, rng)

    def rescaled(self, column: str, rng: np.random.Generator, *, turned: bool = False) -> np.ndarray:
        """Values of the rows `part` with the batch's values of their ranks."""
        known = [np.sort(v[~_null(v)]) for v in (self.pool[column], self.batch[column])]  # times stay times
        nulls = float(self.axes[column].shares[-1]), float(self.denoised(column)[-1])
        return rescale(self.pool[column][self.part], known[0], known[1], nulls, rng, turned=turned)

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


def _turns(counts: np.ndarray) -> np.ndarray:
    """0 to 1 for the copies of each value, evenly."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    found: np.ndarray = (np.arange(int(counts.sum())) - starts + 0.5) / np.repeat(counts, counts)
    return found


def _null(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
    return found


# ── the same rows in another mix ────────────────────────────────────────────────────────────────


class Selection(Protocol):
    """Another mix of the same kind of rows."""

    prior: ClassVar[float]

    @classmethod
    def propose(cls, seen: Situation) -> Iterator[Self]:
        """The worlds of this kind that are worth a look."""
        ...

    @property
    def fitted(self) -> int:
        """How many columns are made to fit."""
        ...

    def weights(self, seen: Situation) -> np.ndarray:
        """Weights of the pool's rows, of mean 1."""
        ...

    def sentence(self) -> str:
        """What happened, for people."""
        ...


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
        what = ", ".join(self.columns[:3]) + (" …" if len(self.columns) > 3 else "")
        return f"another mix of the same kind of rows (by {what or 'score'})"


@dataclass(frozen=True)
class Prior:
    """The classes, or high and low targets, come in other shares: rows are weighted by their labels alone.

    The weights of the classes are those under which the mean scores are the batch's (Lipton, Wang & Smola, ICML 2018);
    for a regression they rise or fall with the rank of the target.
    """

    prior: ClassVar[float] = 10.0
    fitted: ClassVar[int] = 1

    @classmethod
    def propose(cls, seen: Situation) -> Iterator[Prior]:
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


SELECTIONS: tuple[type[Selection], ...] = (Same, Raked, Prior)


# ── values that mean something else ─────────────────────────────────────────────────────────────


class Fault(Protocol):
    """Columns whose values no longer mean what they meant."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Self]:
        """The worlds of this kind in which `column` is broken that are worth a look."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are broken."""
        ...

    def prior(self, seen: Situation) -> float:
        """How many times likelier it is than the simplest kind, before one looks."""
        ...

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """New values of these columns in the rows `part` of the pool."""
        ...

    def sentence(self) -> str:
        """What happened, for people."""
        ...


@dataclass(frozen=True)
class _One:
    """A fault of one column."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def prior(self, seen: Situation) -> float:
        """As likely as others."""
        return 1.0

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """New values."""
        return {self.column: self.made(seen, seen.draw(seen.number(self.column)))}

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The column's new values in the rows `part`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Rescaled(_One):
    """Numbers keep their order: another unit, an offset, a clipped range, nulls at random."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Rescaled]:
        """A changed column of numbers or times."""
        if column in seen.change.columns and seen.axes[column].ordered:
            yield cls(column)

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """Each value gets the batch's value of the same rank."""
        return seen.rescaled(self.column, rng)

    def sentence(self) -> str:
        """For people."""
        return f"{self.column} is rescaled or shifted"


@dataclass(frozen=True)
class Moved(_One):
    """As few rows as possible have another value: a default filled in, levels renamed, nulls."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Moved]:
        """A changed column."""
        if column in seen.change.columns:
            yield cls(column)

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The least mass that gives the batch's cells is moved."""
        return seen.moved(self.column, rng)

    def sentence(self) -> str:
        """For people."""
        return f"some values of {self.column} are replaced"


@dataclass(frozen=True)
class Turned(_One):
    """Numbers have their order turned round: a sign, a scale that runs the other way."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Turned]:
        """A column of numbers that goes together with the others less than it did, or that looks mirrored."""
        if seen.axes[column].ordered and seen.pool[column].dtype.kind == "f":
            changed = column in seen.change.columns
            if column in seen.change.loosened or (changed and _mirrored(seen, column)):
                yield cls(column)

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The k-th least gets the batch's k-th greatest value."""
        return seen.rescaled(self.column, rng, turned=True)

    def prior(self, seen: Situation) -> float:
        """Rarer than another unit."""
        return RARER

    def sentence(self) -> str:
        """For people."""
        return f"{self.column} has its order turned round"


@dataclass(frozen=True)
class Noisy(_One):
    """Numbers are wider spread than they were: noise is added to them, and perhaps an offset."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Noisy]:
        """A changed column of numbers with a larger variance."""
        if column in seen.change.columns and seen.pool[column].dtype.kind == "f" and cls(column)._noise(seen) > 0.0:
            yield cls(column)

    def _noise(self, seen: Situation) -> float:
        """The standard deviation of the noise that makes up for the difference of the variances."""
        was, now = (v[np.isfinite(v)] for v in (seen.pool[self.column], seen.batch[self.column]))
        if min(len(was), len(now)) < 2:
            return 0.0
        more = float(now.var() - was.var())
        return more**0.5 if more > 0.1 * float(was.var()) and np.isfinite(more) else 0.0

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The value, and normal noise around the difference of the means."""
        values = seen.pool[self.column][seen.part]
        offset = float(np.nanmean(seen.batch[self.column]) - np.nanmean(seen.pool[self.column]))
        found: np.ndarray = values + offset + self._noise(seen) * rng.normal(size=len(values))
        return found

    def prior(self, seen: Situation) -> float:
        """Rarer than another unit."""
        return RARER

    def sentence(self) -> str:
        """For people."""
        return f"{self.column} is much noisier"


@dataclass(frozen=True)
class Swapped(_One):
    """Levels of text have each other's names."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Swapped]:
        """A changed column of text whose levels are as common as before, or that goes together with others less."""
        if column not in seen.change.columns or seen.axes[column].ordered:
            return
        if column in seen.change.loosened or column in seen.violated or _as_common(seen, column):
            yield cls(column)

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The k-th most common level gets the name of the batch's k-th most common one."""
        import pandas as pd

        was, now = (pd.Series(v[self.column]).value_counts().index for v in (seen.pool, seen.batch))
        return rename(seen.pool[self.column][seen.part], dict(zip(was, now, strict=False)))

    def prior(self, seen: Situation) -> float:
        """Rarer than other names."""
        return RARER

    def sentence(self) -> str:
        """For people."""
        return f"levels of {self.column} have each other's names"


@dataclass(frozen=True)
class Dealt(_One):
    """A share of the rows has the values of other rows: a join by the wrong key, a sort of one column alone."""

    share: float = 1.0

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Dealt]:
        """A column that goes together with the others less than it did."""
        if column in seen.change.loosened:
            yield cls(column)
            yield cls(column, 0.5)

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """Values of random rows of the batch."""
        found: np.ndarray = seen.pool[self.column][seen.part].copy()
        if self.share < 1.0 and self.column in seen.change.columns:
            found = seen.rescaled(self.column, rng) if seen.axes[self.column].ordered else seen.moved(self.column, rng)
        hit = rng.random(len(found)) < self.share
        found[hit] = deal(seen.batch[self.column], int(hit.sum()), rng)
        return found

    def prior(self, seen: Situation) -> float:
        """Hardly along with another change of the same column."""
        return RARE if self.column in seen.change.columns else 1.0

    def sentence(self) -> str:
        """For people."""
        return f"{self.column} looks dealt to other rows" + ("" if self.share == 1.0 else " in about half of the rows")


@dataclass(frozen=True)
class Joined:
    """Several columns come from other rows, together: a join by the wrong key."""

    columns: tuple[str, ...]
    side: float = 1.0

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Joined]:
        """The columns that no longer go with the others but with each other, and the others."""
        if seen.together is None or column not in seen.change.broken:
            return
        names = seen.together.columns
        found = dependence.block(seen.together.broken({c: seen.batch_cells[c] for c in names}))
        few, many = tuple(names[i] for i in found), tuple(c for i, c in enumerate(names) if i not in found)
        if len(few) > 1:
            yield cls(few)
        if few and len(many) <= 2 * len(few):  # the labels may have stayed with either side
            yield cls(many, 0.3)

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """Values of random rows of the batch, the same rows for all columns."""
        at = seen.draw(len(seen.axes)).integers(0, seen.rows, len(seen.part))
        return {c: seen.batch[c][at] for c in self.columns}

    def prior(self, seen: Situation) -> float:
        """The labels rather stayed with the larger side; hardly along with other changes."""
        return self.side * (RARE if set(self.columns) & set(seen.change.columns) else 1.0)

    def sentence(self) -> str:
        """For people."""
        return f"{', '.join(self.columns)} look joined to the wrong rows"


@dataclass(frozen=True)
class Exchanged:
    """Two columns have each other's values."""

    columns: tuple[str, str]

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Exchanged]:
        """A column of numbers or text with another that looks like what it was."""
        for other in seen.matter:
            pair = (column, other) if seen.number(column) < seen.number(other) else (other, column)
            kinds = {seen.pool[c].dtype.kind for c in pair}
            if other != column and len(kinds) == 1 and _crosswise(seen, pair):
                yield cls(pair)

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """Each column's values in the other."""
        a, b = self.columns
        return {a: seen.pool[b][seen.part], b: seen.pool[a][seen.part]}

    def prior(self, seen: Situation) -> float:
        """As likely as others."""
        return 1.0

    def sentence(self) -> str:
        """For people."""
        return f"{self.columns[0]} and {self.columns[1]} look exchanged"


def _mirrored(seen: Situation, column: str) -> bool:
    """Whether the sign of the values has changed, or the long tail is on the other side."""
    was, now = (v[np.isfinite(v)] for v in (seen.pool[column], seen.batch[column]))
    if min(len(was), len(now)) < 20:
        return False
    before, after = (np.quantile(v, np.linspace(0.1, 0.9, 9)) for v in (was, now))
    turned = -before[::-1]
    spread = float(before[-1] - before[0]) or 1.0
    if float(np.abs(after - turned).max()) < 0.1 * spread < float(np.abs(after - before).max()):
        return True
    shapes = [(q - q[4]) / (float(q[-1] - q[0]) or 1.0) for q in (before, after, turned)]
    return float(np.abs(shapes[1] - shapes[2]).max()) < 0.5 * float(np.abs(shapes[1] - shapes[0]).max())


def _as_common(seen: Situation, column: str) -> bool:
    """Whether the levels' shares, the largest first, are those of the reference."""
    axis = seen.axes[column]
    was, now = axis.shares, axis.counts(seen.batch_cells[column]) / seen.rows
    return float(triangular(np.sort(was), np.sort(now))) < 0.1 * float(triangular(was, now))


def _crosswise(seen: Situation, pair: tuple[str, str]) -> bool:
    """Whether the batch's values of each column are spread as the other's were, rather than as its own."""
    for mine, other in (pair, pair[::-1]):
        axis = seen.axes[mine]
        now = axis.counts(seen.batch_cells[mine]) / seen.rows
        was = axis.counts(axis.place(seen.pool[other][seen.part])) / len(seen.part)
        if np.abs(now - was).sum() > 0.8 * np.abs(now - axis.shares).sum() + 0.02:
            return False
    return True


FAULTS: tuple[type[Fault], ...] = (Rescaled, Moved, Noisy, Turned, Swapped, Dealt, Joined, Exchanged)
