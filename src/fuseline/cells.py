"""Rows as cells: the place of every value among the bins of the reference.

A cell is a small whole number. Whatever compares rows (marginals, dependence, likeness of worlds, raking) works on
cells, so that units, types and sizes of values do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fuseline.bins import Binning, Bins, hash_bins, named_scores, number_places

if TYPE_CHECKING:
    import pandas as pd

COMMON = 64  # levels of text that are told apart


@dataclass(frozen=True, eq=False)
class Axis:
    """One column or score in cells.

    The cells of numbers are the regular bins, then below, above and null; of text the common levels, the commonest
    first, then rare, unseen and null.

    >>> city = axis("city", Binning("levels", levels=("a", "b")), np.array(["b", "b", "a"], dtype=object))
    >>> city.place(np.array(["a", "b", "z", None], dtype=object)).tolist()
    [1, 0, 3, 4]

    Attributes:
        binning: the bins of the reference.
        table: the cell of each place of the binning, laid out as `Binning.counts`.
        size: how many cells there are.
        reference: the cell of each reference row, shape (rows,).
    """

    name: str
    binning: Binning
    table: np.ndarray
    size: int
    reference: np.ndarray

    @property
    def ordered(self) -> bool:
        """Whether neighbouring cells are close in value."""
        return self.binning.kind == "numeric"

    def place(self, values: np.ndarray) -> np.ndarray:
        """The cells of canonical values (float64, datetime64, or object with None), shape (rows,)."""
        return place(self.binning, self.table, values)

    def fold(self, counts: np.ndarray) -> np.ndarray:
        """Rows by cell, from rows by bin as `Binning.counts` has them."""
        return np.bincount(self.table, weights=counts, minlength=self.size).astype(np.int64)

    def counts(self, cells: np.ndarray) -> np.ndarray:
        """Rows by cell, int64, shape (size,)."""
        return np.bincount(cells, minlength=self.size)

    @cached_property
    def shares(self) -> np.ndarray:
        """The share of reference rows in each cell, shape (size,)."""
        return self.counts(self.reference) / max(len(self.reference), 1)

    @cached_property
    def middles(self) -> np.ndarray:
        """The middle rank of each cell of an ordered axis, 0 to 1 (ridits: Bross, Biometrics 1958).

        Of the k-th regular cell p₁ + ... + p₍ₖ₋₁₎ + pₖ/2, where p are the shares of the known values that are in range;
        0 of what is below, 1 of what is above, and of null one half. Their mean over the reference is one half.

        >>> axis("x", Binning("numeric", edges=(0.0, 1.0, 2.0)), np.array([1.0, 2.0, 2.0, 2.0])).middles.tolist()
        [0.125, 0.625, 0.0, 1.0, 0.5]
        """
        regular = self.shares[:-3]
        known = max(float(regular.sum()), 1e-9)
        return np.append((np.cumsum(regular) - regular / 2.0) / known, [0.0, 1.0, 0.5])


def axes(bins: Bins, frame: pd.DataFrame, scores: np.ndarray) -> tuple[dict[str, Axis], dict[str, Axis]]:
    """The axes of all features, and of the scores, with the cells of the reference rows.

    Args:
        frame: canonical features of the reference rows.
        scores: shape (rows,) or (rows, classes).
    """
    values = {name: frame[name].to_numpy() for name in bins.columns}
    columns = {name: axis(name, binning, values[name]) for name, binning in bins.columns.items()}
    named = named_scores(np.asarray(scores, dtype=np.float64))
    return columns, {name: axis(name, binning, named[name]) for name, binning in bins.scores.items()}


def axis(name: str, binning: Binning, values: np.ndarray) -> Axis:
    """An axis with the cells of these reference values."""
    table = _table(binning, values)
    return Axis(name, binning, table, int(table.max()) + 1, place(binning, table, values))


def _table(binning: Binning, values: np.ndarray) -> np.ndarray:
    if binning.kind == "numeric":
        return np.arange(binning.size)
    known = binning.counts or np.bincount(_places(binning, values), minlength=binning.size)
    regular = np.asarray(known[: binning.regular])
    common = min(len(regular), COMMON)
    table = np.full(binning.size, common, dtype=np.int64)
    table[np.argsort(-regular, kind="stable")[:common]] = np.arange(common)
    table[-2:] = common + 1, common + 2
    return table


def place(binning: Binning, table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The cells of values, shape (rows,)."""
    found: np.ndarray = table[_places(binning, values)]
    return found


def _places(binning: Binning, values: np.ndarray) -> np.ndarray:
    """Where values lie in `Binning.counts`, shape (rows,)."""
    if binning.kind == "numeric":
        return number_places(binning, numbers(values))
    import pandas as pd

    if binning.kind == "hashed":
        codes, texts = pd.factorize(values)
        hashed: np.ndarray = np.append(hash_bins(texts), binning.regular + 1)[codes]
        return hashed
    found: np.ndarray = _index(binning.levels).get_indexer(pd.Index(values, dtype=object))
    lost = np.flatnonzero(found < 0)
    if len(lost):
        found = np.where(found < 0, binning.regular, found)
        found[lost[pd.isna(values[lost])]] = binning.regular + 1
    return found


def numbers(values: np.ndarray) -> np.ndarray:
    """Numbers or times as float64 with NaN for null: times in seconds since 1970, as a contract counts them."""
    if values.dtype.kind != "M":
        return np.asarray(values, dtype=np.float64)
    return np.where(np.isnat(values), np.nan, values.astype("datetime64[ns]").astype(np.int64) / 1e9)


@lru_cache(maxsize=512)
def _index(levels: tuple[str, ...]) -> pd.Index:
    """The levels as an index whose hash table is made once."""
    import pandas as pd

    found: pd.Index = pd.Index(np.asarray(levels, dtype=object), dtype=object)
    return found
