"""Whether columns still go together as in the reference: swaps and wrong joins leave every single column as it was.

Each column gets up to two scores of its cells, those that go together most with all other columns (correspondence
analysis, Benzécri 1973; Greenacre 1984), and a prediction of them from the other columns. What is watched is the mean
over rows of score times prediction: it falls to 0 where a column was dealt to other rows. Scores and predictions are
fitted on one half of the reference, means are read off the other: on the same half they are too large, and clean
batches would fire. Spreads are read off both: a rare row may lie in the first half only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

import numpy as np

SCORES = 2  # of a column
RIDGE = 0.02


@dataclass(frozen=True, eq=False)
class Dependence:
    """How columns go together in the reference.

    Attributes:
        columns: their names, in the order of everything else here.
        tables: of each column the scores of its cells, shape (cells, scores).
        owner: the column of each score, shape (scores of all,).
        predict: predicts each score from those of the other columns, shape (scores, scores).
        mean: of score times prediction, by column, on the second half of the reference.
        sd, skew: of the same on both halves.
        together: mean products of scores on the second half, shape (scores, scores).
        spread: their standard deviations by row, shape (scores, scores).
        rows: rows of the second half.
    """

    columns: tuple[str, ...]
    tables: tuple[np.ndarray, ...]
    owner: np.ndarray
    predict: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    skew: np.ndarray
    together: np.ndarray
    spread: np.ndarray
    rows: int

    def scores(self, cells: Mapping[str, np.ndarray]) -> np.ndarray:
        """The scores of rows, shape (rows, scores of all)."""
        return _scores(self.tables, [cells[c] for c in self.columns])

    def products(self, cells: Mapping[str, np.ndarray], columns: Sequence[int]) -> np.ndarray:
        """Score times prediction of rows, summed over the scores of a column, shape (rows, columns).

        Args:
            columns: places of some of the columns, ascending.
        """
        scores = self.scores(cells)
        mine = np.flatnonzero(np.isin(self.owner, columns))
        found = scores[:, mine] * (scores @ self.predict[:, mine])
        return _by_owner(found, np.searchsorted(np.asarray(columns), self.owner[mine]), len(columns))

    def change(self, cells: Mapping[str, np.ndarray]) -> np.ndarray:
        """How far each column's mean of score times prediction is off, in standard errors, shape (columns,).

        z = (mean of the batch - mean of the reference) / (sd · √(1/n + 1/N)), with n rows in the batch and N in the
        second half of the reference; negative where a column goes together with the others less than it did.

        >>> age = np.arange(800) // 2 % 2
        >>> income = np.where(np.arange(800) % 16 < 4, 1 - age, age)
        >>> known = learn(["age", "income"], {"age": age, "income": income}, {"age": 2, "income": 2})
        >>> known.change({"age": age[:100], "income": np.roll(income[:100], 2)}).round(3).tolist()
        [-9.675, -9.675]
        """
        scores = self.scores(cells)
        products = _by_owner(scores * (scores @ self.predict), self.owner, len(self.columns))
        error = self.sd * sqrt(1.0 / len(scores) + 1.0 / self.rows)
        found: np.ndarray = (products.mean(axis=0) - self.mean) / error
        return found

    def bounds(self, rows: int, probability: float, shares: np.ndarray | None = None) -> np.ndarray:
        """What |z| of a clean batch exceeds with this probability, over all columns; shape (columns,).

        The normal quantile z with Cornish and Fisher's correction for the skewness s of a mean of m rows (Revue de
        l'Institut International de Statistique, 1938): z + (z² - 1)·|s|/(6·√m), where 1/m = 1/n + 1/N.

        Args:
            shares: of each column in the probability, adding up to 1; equal by default.

        >>> age = np.arange(800) // 2 % 2
        >>> income = np.where(np.arange(800) % 16 < 4, 1 - age, age)
        >>> known = learn(["age", "income"], {"age": age, "income": income}, {"age": 2, "income": 2})
        >>> known.bounds(100, 0.001).round(3).tolist()  # z is 3.481
        [3.717, 3.717]
        """
        shares = np.full(len(self.columns), 1.0 / len(self.columns)) if shares is None else shares
        z = np.array([NormalDist().inv_cdf(1.0 - probability * s / 2.0) for s in shares])
        few = 1.0 / (1.0 / rows + 1.0 / self.rows)
        found: np.ndarray = z + (z * z - 1.0) * np.abs(self.skew) / (6.0 * sqrt(few))
        return found

    def broken(self, cells: Mapping[str, np.ndarray]) -> np.ndarray:
        """The evidence that a pair of columns goes together as before rather than not at all, shape (columns, columns).

        The log-likelihood ratio (Neyman & Pearson 1933) of the mean products of their scores under the two, each nearly
        normal: of a product of mean m in the batch and M in the reference (m² - (m - M)²) / (2·s²·(1/n + 1/N)), summed
        over the pairs of scores; positive where they go together as before.

        >>> age = np.arange(800) // 2 % 2
        >>> income = np.where(np.arange(800) % 16 < 4, 1 - age, age)
        >>> known = learn(["age", "income"], {"age": age, "income": income}, {"age": 2, "income": 2})
        >>> as_before, dealt = income[:100], np.roll(income[:100], 2)
        >>> [float(known.broken({"age": age[:100], "income": i})[0, 1].round(3)) for i in (as_before, dealt)]
        [10.133, -36.8]
        """
        scores = self.scores(cells)
        n = len(scores)
        now = scores.T @ scores / n
        noise = np.maximum(np.square(self.spread), 0.05) * (1.0 / n + 1.0 / self.rows)
        by_score = (np.square(now) - np.square(now - self.together)) / (2.0 * noise)
        pairs = np.zeros((len(self.columns), len(self.columns)))
        np.add.at(pairs, (self.owner[:, None], self.owner[None, :]), by_score)
        np.fill_diagonal(pairs, 0.0)
        return pairs


def learn(columns: Sequence[str], cells: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Dependence | None:
    """How these columns go together in the reference rows; None for under two columns or 100 rows.

    A column's scores are the left singular vectors of D⁻½(P - r·r')D⁻½ against the cells of all other columns, where P
    are the shares of pairs of cells, r those of cells, and D has r on its diagonal (Greenacre 1984). The first is kept,
    and the second if its singular value is beyond that of independent columns, (√own cells + √other cells)/√rows
    (Marchenko & Pastur 1967). The predictions are ridge regressions (Hoerl & Kennard, Technometrics 1970).

    Args:
        cells: of the reference rows in no particular order: even rows fit, odd rows measure.
        sizes: how many cells each column has.
    """
    columns = tuple(columns)
    rows = len(next(iter(cells.values()), ()))
    if len(columns) < 2 or rows < 100:
        return None
    first, second = ([cells[c][part::2] for c in columns] for part in (0, 1))
    tables = _tables(first, [sizes[c] for c in columns])
    owner = np.repeat(np.arange(len(columns)), [t.shape[1] for t in tables])
    fitted, scores = _scores(tables, first), _scores(tables, second)
    predict = _predictors(fitted, owner)
    products, before = (_by_owner(s * (s @ predict), owner, len(columns)) for s in (scores, fitted))
    mean, every = products.mean(axis=0), np.concatenate([products, before])  # a rare row may lie in one half only
    sd = np.sqrt(every.var(axis=0) + 1.0 / len(every))  # one row may come that is off by 1, where none ever was
    together = scores.T @ scores / len(scores)
    spread = np.sqrt(np.maximum(np.square(scores).T @ np.square(scores) / len(scores) - np.square(together), 0.0))
    skew = np.clip((((every - every.mean(axis=0)) / sd) ** 3).mean(axis=0), -30.0, 30.0)
    return Dependence(columns, tables, owner, predict, mean, sd, skew, together, spread, len(scores))


def _tables(cells: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
    """The scores of each column's cells: left singular vectors of the standardised residuals against all others."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    whole = _burt(cells, sizes, starts)
    shares = np.diag(whole).copy()
    root = np.sqrt(np.maximum(shares, 1e-12))
    residuals = (whole - np.outer(shares, shares)) / np.outer(root, root)
    found = []
    for k, size in enumerate(sizes):
        own = slice(starts[k], starts[k + 1])
        others = np.delete(residuals[own], np.arange(starts[k], starts[k + 1]), axis=1)
        vectors, strength, _ = np.linalg.svd(others, full_matrices=False)
        used = int((shares[own] > 0.0).sum())
        noise = (sqrt(used) + sqrt(int((shares > 0.0).sum()) - used)) / sqrt(len(cells[0]))  # of independent columns
        kept = max(1, int((strength[:SCORES] > noise).sum()))
        table = vectors[:, :kept] / root[own, None]
        table[shares[own] <= 0.0] = 0.0
        spread = np.sqrt(shares[own] @ np.square(table))
        found.append(np.clip(table / np.maximum(spread, 1e-9), -6.0, 6.0).reshape(size, kept))
    return tuple(found)


def _burt(cells: Sequence[np.ndarray], sizes: Sequence[int], starts: np.ndarray) -> np.ndarray:
    """The share of rows in each pair of cells, shape (cells of all, cells of all)."""
    rows = len(cells[0])
    whole = np.zeros((int(starts[-1]), int(starts[-1])))
    for i, a in enumerate(cells):
        for j in range(i, len(cells)):
            pair = np.bincount(a * sizes[j] + cells[j], minlength=sizes[i] * sizes[j]).reshape(sizes[i], sizes[j])
            whole[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = pair / rows
            whole[starts[j] : starts[j + 1], starts[i] : starts[i + 1]] = pair.T / rows
    return whole


def _scores(tables: Sequence[np.ndarray], cells: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([table[place] for table, place in zip(tables, cells, strict=True)], axis=1)


def _predictors(scores: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Ridge regressions of each column's scores on those of the others."""
    whole = scores.T @ scores / len(scores)
    found: np.ndarray = np.zeros_like(whole)
    for k in range(int(owner.max()) + 1):
        mine, others = np.flatnonzero(owner == k), np.flatnonzero(owner != k)
        inner = whole[np.ix_(others, others)] + RIDGE * np.eye(len(others))
        found[np.ix_(others, mine)] = np.linalg.solve(inner, whole[np.ix_(others, mine)])
    return found


def _by_owner(products: np.ndarray, owner: np.ndarray, columns: int) -> np.ndarray:
    """The sums over each column's scores, shape (rows, columns)."""
    starts = np.searchsorted(owner, np.arange(columns))
    found: np.ndarray = np.add.reduceat(products, starts, axis=1)
    return found


def block(evidence: np.ndarray) -> tuple[int, ...]:
    """The columns that no longer go together with the others, though with each other: a join by the wrong key.

    A pair on one side should go together as before, a pair across should not: with a side s of 1 or -1 for each column
    the sum of evidence·s·s' over the pairs is made large. Columns change sides one by one as long as that gains, once
    from all on one side, and once from the signs of the leading eigenvector (Newman, PNAS 2006).

    Args:
        evidence: as `Dependence.broken` gives it.

    Returns:
        The smaller side, ascending; empty where no pair is better explained as broken.

    >>> together = np.array([[0, 9, -4, -3], [9, 0, -5, -2], [-4, -5, 0, 7], [-3, -2, 7, 0]], dtype=float)
    >>> block(together)
    (0, 1)
    """
    strongest = np.linalg.eigh(evidence)[1][:, -1]
    found = [_improved(evidence, start) for start in (np.ones(len(evidence)), np.where(strongest < 0.0, -1.0, 1.0))]
    best = max(found, key=lambda side: float(side @ evidence @ side))
    sides = [tuple(int(i) for i in np.flatnonzero(best == s)) for s in (1.0, -1.0)]
    return min(sides, key=lambda s: (len(s), s))


def _improved(evidence: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Columns change sides while the sum over pairs of evidence · sides gains by it."""
    side = side.copy()
    while True:
        gains = -2.0 * side * (evidence @ side)
        most = int(np.argmax(gains))
        if gains[most] <= log(100.0):
            return side
        side[most] *= -1.0
