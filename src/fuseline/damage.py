"""Values that mean something else: worlds in which columns of the reference are broken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fuseline.drift import triangular
from fuseline.replay import deal, rename
from fuseline.situation import Situation

RARER, RARE = 0.3, 0.1  # how likely a kind is that is not the simplest explanation


@dataclass(frozen=True)
class _One(ABC):
    """A fault of one column."""

    column: str
    usual: ClassVar[float] = 1.0  # how likely the kind is, where nothing speaks against it

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def prior(self, seen: Situation) -> float:
        """As its kind is."""
        return self.usual

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """New values."""
        return {self.column: self.made(seen, seen.draw(seen.number(self.column)))}

    @abstractmethod
    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The column's new values in the rows `part`."""


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

    def prior(self, seen: Situation) -> float:
        """Rarer where hardly a number is left in its range: that is rather another unit."""
        axis, cells = seen.axes[self.column], seen.batch_cells[self.column]
        beyond = float(axis.counts(cells)[-3:-1].sum()) / len(cells) if axis.ordered else 0.0
        return RARER if beyond > 0.5 else self.usual

    def sentence(self) -> str:
        """For people."""
        return f"some values of {self.column} are replaced"


@dataclass(frozen=True)
class Turned(_One):
    """Numbers have their order turned round: a sign, a scale that runs the other way."""

    usual: ClassVar[float] = RARER

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

    def sentence(self) -> str:
        """For people."""
        return f"{self.column} has its order turned round"


@dataclass(frozen=True)
class Noisy(_One):
    """Numbers are wider spread than they were: noise is added to them, and perhaps an offset."""

    usual: ClassVar[float] = RARER

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
        with np.errstate(over="ignore", invalid="ignore"):  # squares of huge values
            more = float(now.var() - was.var())
            return more**0.5 if more > 0.1 * float(was.var()) and np.isfinite(more) else 0.0

    def made(self, seen: Situation, rng: np.random.Generator) -> np.ndarray:
        """The value, and normal noise around the difference of the means."""
        values = seen.pool[self.column][seen.part]
        offset = float(np.nanmean(seen.batch[self.column]) - np.nanmean(seen.pool[self.column]))
        found: np.ndarray = values + offset + self._noise(seen) * rng.normal(size=len(values))
        return found

    def sentence(self) -> str:
        """For people."""
        return f"{self.column} is much noisier"


@dataclass(frozen=True)
class Swapped(_One):
    """Levels of text have each other's names."""

    usual: ClassVar[float] = RARER

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
        return RARE if self.column in seen.change.columns else self.usual

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
        few, many = seen.apart, tuple(c for c in seen.together.columns if c not in seen.apart)
        steady = [side for side in (few, many) if not set(side) & set(seen.change.columns)]  # each spread as it was
        if len(few) > 1 and few in steady:
            yield cls(few)
        if few and len(many) <= 2 * len(few) and many in steady:  # the labels may have stayed with either side
            yield cls(many, 0.3)

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """Values of random rows of the batch, the same rows for all columns."""
        at = seen.draw(len(seen.axes)).integers(0, seen.rows, len(seen.part))
        return {c: seen.batch[c][at] for c in self.columns}

    def prior(self, seen: Situation) -> float:
        """The labels rather stayed with the larger side."""
        return self.side

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
    """Whether the batch's values of each column are spread as the other's were, and not, or no better, as its own."""
    loose = 0.05 if set(pair) <= {*seen.change.broken, *seen.change.loosened} else 0.0
    for mine, other in (pair, pair[::-1]):
        axis = seen.axes[mine]
        now = axis.counts(seen.batch_cells[mine]) / seen.rows
        was = axis.counts(axis.place(seen.pool[other][seen.part])) / len(seen.part)
        if np.abs(now - was).sum() > 0.8 * np.abs(now - axis.shares).sum() + 0.02 + loose:
            return False
    return True
