"""Reference rows weighted until they look like a batch, and how well weighted or replayed rows look like it.

A batch may hold the same kind of rows as the reference in another mix. Raking finds the mix from the shares of the
columns that changed. Everything is computed from places in bins of the reference (`Cut`), so that the size and the unit
of a value do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fuseline.drift import triangular
from fuseline.records import Task

if TYPE_CHECKING:
    import pandas as pd

CAP = 30.0  # a row stands for at most so many rows
FINE, COARSE = 64, 16  # bins of a column: to see what the reference lacks, and to rake by
MISSING = 0.02  # share of a batch that no weights can make of the reference: the columns' meaning changed
NULLS_MORE = 0.25  # more nulls than so are no other mix of rows
RIDGE = 0.01  # added to the variances of the standardised features
SIXTHS = np.arange(1, 6) / 6


@dataclass(frozen=True, eq=False)
class Cut:
    """A column in bins of its reference.

    Attributes:
        edges: of a numeric column, ascending: bin k holds edges[k - 1] < x <= edges[k].
        levels: of a text column, the commonest first.
        reference: the bin of each reference row, shape (rows,).
        batch: the bin of each row of the batch. The last three bins are below (or the rare levels), above (or unseen)
            and null.
        coarse: the coarse bin of each bin.
        size: how many bins there are.
    """

    edges: np.ndarray | None
    levels: pd.Index | None
    reference: np.ndarray
    batch: np.ndarray
    coarse: np.ndarray
    size: int

    def places(self, values: np.ndarray) -> np.ndarray:
        """The bins of other values of the column."""
        return _text_places(self.levels, values) if self.levels is not None else _places(self.edges, values)

    def shares(self, places: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The share of each bin, shape (size,)."""
        counts = np.bincount(places, weights, self.size)
        found: np.ndarray = counts / counts.sum()
        return found

    @property
    def missing(self) -> float:
        """The share of the batch that weights cannot make of the reference; 1.0 where nulls became far more."""
        was, now = self.shares(self.reference), self.shares(self.batch)
        if now[-1] - was[-1] > NULLS_MORE:
            return 1.0
        lacking = float(np.maximum(now - CAP * was, 0.0).sum())
        return lacking if lacking * len(self.batch) >= 3.0 else 0.0

    @property
    def target(self) -> np.ndarray:
        """The batch's shares of the coarse bins without its noise: p + λ(q - p), λ = max(0, 1 - E₀[td]/td).

        td is the triangular discrimination of p and q, and E₀[td] = (bins - 1)/2 · (1/n + 1/N) its mean if nothing
        changed.
        """
        p, q = self._coarse_shares()
        found: np.ndarray = p + (q - p) * max(0.0, 1.0 - 1.0 / self.signal)
        return found

    @property
    def signal(self) -> float:
        """How many times as large as by chance the change of the coarse shares is: td / E₀[td] of `target`, over 0."""
        p, q = self._coarse_shares()
        filled = (p + q) > 0.0
        chance = (int(filled.sum()) - 1) / 2.0 * (1.0 / len(self.batch) + 1.0 / len(self.reference))
        return max(float(triangular(p, q)) / chance, 1e-9) if chance else 1.0

    def _coarse_shares(self) -> tuple[np.ndarray, np.ndarray]:
        bins = int(self.coarse.max()) + 1
        p, q = (np.bincount(self.coarse[c], minlength=bins) / len(c) for c in (self.reference, self.batch))
        return p, q


def cut(reference: np.ndarray, batch: np.ndarray) -> Cut:
    """A column of reference and batch in bins of the reference.

    Args:
        reference, batch: float64, datetime64 or object (text) with None, shape (rows,), at least one row.
    """
    if reference.dtype == object:
        import pandas as pd

        levels = pd.Index(pd.Series(reference).value_counts().index, dtype=object)
        places, there = _text_places(levels, reference), _text_places(levels, batch)
        size = min(len(levels), FINE) + 3
        return Cut(None, levels, places, there, np.arange(size), size)
    known = _numbers(reference)
    known = known[~np.isnan(known)]
    at = np.linspace(0.0, 1.0, FINE + 1)
    edges = np.unique(np.quantile(known, at, method="inverted_cdf")) if len(known) else known
    places = _places(edges, reference)
    size = len(edges) + 3
    shares = np.bincount(places, minlength=size)[:-3] / max(len(known), 1)
    middle = np.minimum(((np.cumsum(shares) - shares / 2) * COARSE).astype(np.int64), COARSE - 1)
    coarse = np.append(middle, [0, COARSE - 1, COARSE])
    return Cut(edges, None, places, _places(edges, batch), coarse, size)


def _numbers(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "M":
        return np.asarray(values, dtype=np.float64)
    return np.where(np.isnat(values), np.nan, values.astype(np.int64).astype(np.float64))


def _places(edges: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    assert edges is not None
    values = _numbers(values)
    found: np.ndarray = np.searchsorted(edges, values)
    if len(edges):
        found[values < edges[0]] = len(edges)
        found[values > edges[-1]] = len(edges) + 1
    found[np.isnan(values)] = len(edges) + 2
    return found


def _text_places(levels: pd.Index, values: np.ndarray) -> np.ndarray:
    import pandas as pd

    codes, found = pd.factorize(values)
    common = min(len(levels), FINE)
    table = np.minimum(levels.get_indexer(pd.Index(found, dtype=object)), common)
    table = np.append(np.where(table < 0, common + 1, table), common + 2)
    places: np.ndarray = table[codes]  # a null has code -1, the last
    return places


def rake(cuts: Sequence[Cut], rounds: int = 25) -> np.ndarray:
    """Weights under which the reference has the batch's shares of every column's bins, as far as weights go.

    Iterative proportional fitting (Deming & Stephan 1940), column after column until the shares fit, with weights of
    at most 30 times the mean.

    Args:
        cuts: the columns, all of the same rows; at least one.

    Returns:
        shape (reference rows,), of mean 1.
    """
    groups = [c.coarse[c.reference] for c in cuts]
    targets = [c.target for c in cuts]
    weights = np.ones(len(groups[0]))
    for _ in range(rounds):
        worst = 0.0
        for group, target in zip(groups, targets, strict=True):
            now = np.bincount(group, weights, len(target)) / weights.sum()
            worst = max(worst, float(np.abs(now - target)[now > 0.0].max()))
            weights = weights * np.where(now > 0.0, target / np.where(now > 0.0, now, 1.0), 0.0)[group]
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

    Args:
        target: places of the classes, or numbers, shape (rows,).
        scores: shape (rows,) or (rows, classes).
        weights: shape (rows,), 0 or more.

    Returns:
        The metric, and each row's part of its error (by the delta method), shape (rows,): the root of the sum of their
        squares is the standard error; of two weightings of the same rows, the parts are subtracted first.

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
    unit = float(errors.max())  # squares of large errors would overflow
    if not np.isfinite(unit):
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


# ── how well rows look like the batch ────────────────────────────────────────────────────────────


class Likeness:
    """Compares rows with the batch by the means of features of a few columns and of the scores.

    The features φ are the columns' standardised codes, their squares and products, and of each score its code and the
    sixth it lies in. The code of a number is its rank in the reference, of a level the mean score it has there.

    Args:
        cuts: a few columns, by name.
        scores: the scores as columns; their `Cut`s hold those of reference and batch.
        value: a score of each reference row, shape (rows,).
    """

    def __init__(self, cuts: dict[str, Cut], scores: Sequence[Cut], value: np.ndarray) -> None:
        self.cuts, self.scores = cuts, scores
        self.codes = {name: _codes(c, value) for name, c in cuts.items()}
        self.score_codes = [_codes(c, value) for c in scores]
        whole = self.features({n: c.reference for n, c in cuts.items()}, [c.reference for c in scores])
        there = self.features({n: c.batch for n, c in cuts.items()}, [c.batch for c in scores])
        self.rows = len(there)
        self.centre, self.spread = whole.mean(axis=0), whole.std(axis=0) + 1e-9
        self.batch = (there.mean(axis=0) - self.centre) / self.spread
        self.plain = self._columns(len(cuts))  # features without the scores
        whole = (whole - self.centre) / self.spread
        self.reference = whole
        covariance = whole.T @ whole / len(whole) + RIDGE * np.eye(whole.shape[1])
        self._inverse = np.linalg.inv(covariance)
        self._plain_inverse = np.linalg.inv(covariance[: self.plain, : self.plain])

    @staticmethod
    def _columns(n: int) -> int:
        return 2 * n + n * (n - 1) // 2

    def features(self, places: dict[str, np.ndarray], scores: Sequence[np.ndarray] | None) -> np.ndarray:
        """The features of rows, shape (rows, features), from the bins that they lie in; without scores if None."""
        codes = [self.codes[name][place] for name, place in places.items()]
        found = [*codes, *(np.square(c) for c in codes)]
        found += [a * b for i, a in enumerate(codes) for b in codes[:i]]
        for table, c, place in zip(self.score_codes, self.scores, scores or (), strict=bool(scores)):
            found.append(table[place])
            sixth = np.searchsorted(SIXTHS, _middles(c))[place]
            found += [(sixth == k).astype(np.float64) for k in range(6)]
        return np.column_stack(found)

    def standard(self, features: np.ndarray) -> np.ndarray:
        """Features as `reference` has them."""
        wide = features.shape[1]
        found: np.ndarray = (features - self.centre[:wide]) / self.spread[:wide]
        return found

    def distance(self, features: np.ndarray, weights: np.ndarray, columns: int) -> float:
        """T = Δ'Σ⁻¹Δ / (1/n + 1/ESS + 1/2000) + 2·columns, at least 0.15 for each feature.

        Args:
            features: standardised, shape (rows, features), with or without the scores'.
            weights: of the rows, shape (rows,).
            columns: how many were fitted.
        """
        wide = features.shape[1]
        apart = self.batch[:wide] - weights @ features / weights.sum()
        inverse = self._plain_inverse if wide == self.plain else self._inverse
        noise = 1.0 / self.rows + 1.0 / effective(weights) + 1.0 / 2000.0
        fit = float(apart @ inverse @ apart) / noise
        return max(fit + 2.0 * columns, 0.15 * float(wide))


def _middles(column: Cut) -> np.ndarray:
    """The middle rank of each bin, 0 to 1; of a null one half."""
    shares = column.shares(column.reference)[:-3]
    known = max(float(shares.sum()), 1e-9)
    return np.append((np.cumsum(shares) - shares / 2.0) / known, [0.0, 1.0, 0.5])


def _codes(column: Cut, value: np.ndarray) -> np.ndarray:
    """The standardised code of each bin."""
    if column.levels is None:
        found = _middles(column)
    else:
        rows = np.bincount(column.reference, minlength=column.size)
        found = (np.bincount(column.reference, value, column.size) + value.mean()) / (rows + 1.0)
    mine = found[column.reference]
    standard: np.ndarray = (found - mine.mean()) / (mine.std() + 1e-9)
    return standard
