"""Whether a batch differs from the reference: distances between counts, against what chance does at its size.

Everything is computed from counts over the same bins, so the size of the batch does not matter. Values beyond the
range count as the outermost bin for the distances, and have a check of their own. Of text only the 64 most common
levels are told apart; the others are put together.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from math import ceil, floor, log, sqrt
from statistics import NormalDist
from typing import Protocol

import numpy as np

from fuseline.records import Check

DISTANCES = 5 / 7  # of the budget; the rest is for null, unseen and out-of-range counts
SCORES = 0.4  # of the budget of the distances; the rest is for the columns
LEVELS_MOST = 64
TAIL = 0.02  # the exponential tail begins at the 98th percentile of the draws


class Counts(Protocol):
    """The counts of one column: rows by regular bin, and outside of them. `bins.Histogram` is one."""

    @property
    def regular(self) -> np.ndarray:
        """int64, shape (regular bins,)."""
        ...

    @property
    def null(self) -> int:
        """Rows without a value."""
        ...

    @property
    def unseen(self) -> int:
        """Rows with a level that the reference does not know."""
        ...

    @property
    def below(self) -> int:
        """Rows under the reference's least value."""
        ...

    @property
    def above(self) -> int:
        """Rows over the reference's greatest value."""
        ...

    @property
    def ordered(self) -> bool:
        """Whether neighbouring bins are close in value."""
        ...


def triangular(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Triangular discrimination (Le Cam 1986; Topsøe, IEEE Trans. Inf. Theory 2000): the sum of (p - q)² / (p + q).

    Args:
        p, q: shares, shape (..., bins), each adding up to 1. A bin that is empty in both adds nothing.

    Returns:
        shape (...): from 0 (equal) to 2 (nothing in common).

    >>> float(triangular(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.75, 0.0])))
    0.13333333333333333
    """
    total = p + q
    found: np.ndarray = (np.square(p - q) / np.where(total > 0.0, total, 1.0)).sum(axis=-1)
    return found


def ks(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Binned Kolmogorov-Smirnov distance: the greatest difference of the shares up to a bin.

    Args:
        p, q: shares in the order of the bins, shape (..., bins), each adding up to 1.

    Returns:
        shape (...): from 0 to 1.

    >>> float(ks(np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])))
    0.25
    """
    found: np.ndarray = np.abs(np.cumsum(p - q, axis=-1)).max(axis=-1)
    return found


def null_bound(found: int, reference_rows: int, rows: int, probability: float, prior: float = 1.0) -> int:
    """The count that a clean batch exceeds with at most this probability: a beta-binomial predictive bound.

    With `found` of `reference_rows` rows in the reference and a Beta(`prior`, 1) prior on the share, the count in
    `rows` new rows is beta-binomial with a = found + prior and b = reference_rows - found + 1 (Aitchison &
    Dunsmore 1975). The uniform prior (1) is, for values beyond an extreme that the reference itself defined, the law
    of exceedances.

    Args:
        prior: how many more rows there might have been; 2 for values beyond either of two extremes.
        probability: of a false alarm, under 0.1.

    Returns:
        The least count c with P(count > c) <= probability: exact up to about 4,000 possible counts, beyond that rounded
        up by under 1/40 of the standard deviation.

    >>> null_bound(30, 1000, 200, 0.001)
    16
    """
    a, b = found + prior, reference_rows - found + 1.0
    mean = rows * a / (a + b)
    sd = sqrt(mean * b / (a + b) * (a + b + rows) / (a + b + 1.0))
    low, high = max(0, floor(mean - 10.0 * sd)), min(rows, ceil(mean + 60.0 * sd) + 10)
    step = max(1, (high - low) // 4000)
    counts = np.arange(low, high + step, step, dtype=np.float64).clip(max=rows)
    chance = step * np.exp(
        _log_gamma(rows + 1.0)
        - _log_gamma(counts + 1.0)
        - _log_gamma(rows - counts + 1.0)
        + _log_beta(counts + a, rows - counts + b)
        - _log_beta(a, b)
    )
    beyond = np.cumsum(chance[::-1])[::-1] - chance  # P(count > c)
    fits = np.flatnonzero(beyond <= probability)
    return int(counts[fits[0]])


def threshold(
    reference_counts: np.ndarray,
    rows: int,
    budget: float,
    seed: int | list[int],
    draws: int = 2000,
    ordered: bool = False,
) -> tuple[float, float]:
    """What the distances of a clean batch of this size exceed with the probability `budget`.

    Both sides are drawn: the reference again at its own size, and a batch of `rows` rows, as multinomials of the
    reference's shares (half a row is added to each bin). Drawing the batch alone gives far too many false alarms. The
    critical value is the larger of a gamma law with the draws' mean and variance (its quantile by Wilson & Hilferty,
    PNAS 1931) and of an exponential tail through their 98th percentile.

    Args:
        reference_counts: rows by bin, shape (bins,).
        rows: rows of the batch; at least 1 is drawn.
        budget: probability of a false alarm of each of the two distances.
        seed: the same seed gives the same threshold.
        ordered: whether the KS distance is wanted.

    Returns:
        The thresholds of the triangular discrimination and of the KS distance; the second is 0.0 if not `ordered`.
    """
    rng = np.random.default_rng(seed)
    total = max(int(reference_counts.sum()), 1)
    shares = (reference_counts + 0.5) / (reference_counts + 0.5).sum()
    p, q = (rng.multinomial(n, shares, size=draws) / n for n in (total, max(rows, 1)))
    return critical(triangular(p, q), budget), critical(ks(p, q), budget) if ordered else 0.0


def critical(draws: np.ndarray, probability: float) -> float:
    """The value that the law of these draws exceeds with this probability, read beyond the draws themselves.

    The larger of a gamma fit by moments and an exponential tail beyond the 98th percentile (see `threshold`).

    >>> round(critical(np.arange(1.0, 101.0), 0.0001), 3)
    236.175
    """
    mean, variance = float(draws.mean()), float(draws.var())
    if variance <= 0.0:
        return float(draws.max())
    shape, z = mean * mean / variance, NormalDist().inv_cdf(1.0 - probability)
    gamma = mean * max(1.0 - 1.0 / (9.0 * shape) + z / (3.0 * sqrt(shape)), 0.0) ** 3
    start = float(np.quantile(draws, 1.0 - TAIL))
    beyond = draws[draws > start]
    excess = float((beyond - start).mean()) if len(beyond) else 0.0
    return max(gamma, start + excess * max(log(TAIL / probability), 0.0))


def column_checks(
    reference: Mapping[str, Counts],
    batch: Mapping[str, Counts],
    weights: Mapping[str, float],
    budget: float,
    seed: int,
) -> list[Check]:
    """Every column and score of a batch against the reference.

    The budget is split so that clean batches fire with about that probability over all checks: 5/7 to the distances (of
    that 40 % to the scores and 60 % to the columns, by importance plus a quarter of the mean importance; half to each
    distance of an ordered column), 2/7 to the counts of nulls, unseen levels and values out of range.

    Args:
        reference, batch: counts over the same bins, by column; a score is a key that `weights` does not have and that
            is `score` or begins with `score_`.
        weights: importance by column, 0 or more.
        budget: probability that a clean batch fires anything, over 0 and under 0.1.
        seed: of the simulated thresholds.

    Returns:
        For each column of the reference `distance` and, where it is ordered, `ks`; where they can occur, `nulls`,
        `out of range` and `unseen`, as shares of the rows. The checks of a score have no column and have its key in
        their name. All figures are finite.

    Raises:
        KeyError: the batch lacks a column of the reference.
    """
    scores = [k for k in reference if k not in weights and (k == "score" or k.startswith("score_"))]
    columns = [k for k in reference if k not in scores]
    shares = dict.fromkeys(scores, SCORES / max(len(scores), 1))
    shares |= {k: (1.0 - SCORES) * s for k, s in _by_importance(columns, weights).items()}
    checks: list[Check] = []
    for name in reference:
        score = name in scores
        before, after = reference[name], batch[name]
        found = _distances(name, before, after, budget * DISTANCES * shares[name], seed)
        if not score:
            found += _counted(before, after, budget * (1.0 - DISTANCES) / len(columns))
        checks += [
            Check(f"{name} {what}" if score else what, float(value), float(bound), None if score else name)
            for what, value, bound in found
        ]
    return checks


def _by_importance(columns: list[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Each column's share: its importance and a quarter of the mean, so that none is left without."""
    known = {name: max(weights.get(name, 0.0), 0.0) for name in columns}
    floor_ = sum(known.values()) / max(len(columns), 1) / 4.0
    total = sum(value + floor_ for value in known.values())
    return {k: (v + floor_) / total if total else 1.0 / len(columns) for k, v in known.items()}


def _distances(name: str, before: Counts, after: Counts, budget: float, seed: int) -> list[tuple[str, float, float]]:
    cells = _cells(before, before), _cells(after, before)
    rows = [int(c.sum()) for c in cells]
    if not min(rows):
        p = q = np.zeros(1)  # nothing to compare: no distance
    else:
        p, q = (c / n for c, n in zip(cells, rows, strict=True))
    each = budget / 2.0 if before.ordered else budget
    bounds = threshold(cells[0], rows[1], each, [seed, zlib.crc32(name.encode())], ordered=before.ordered)
    found = [("distance", float(triangular(p, q)), bounds[0])]
    return [*found, ("ks", float(ks(p, q)), bounds[1])] if before.ordered else found


def _cells(counts: Counts, reference: Counts) -> np.ndarray:
    """The counts that are compared: regular bins with what lies beyond them, or the commonest levels; then null."""
    regular = np.array(counts.regular, dtype=np.int64)
    if reference.ordered:
        if not len(regular):  # the reference has no value at all
            return np.array([counts.below + counts.above, counts.null])
        regular[0] += counts.below
        regular[-1] += counts.above
        return np.append(regular, counts.null)
    order = np.argsort(-reference.regular, kind="stable")
    rare = int(regular[order[LEVELS_MOST:]].sum())
    return np.append(regular[order[:LEVELS_MOST]], [rare, counts.unseen, counts.null])


def _counted(before: Counts, after: Counts, budget: float) -> list[tuple[str, float, float]]:
    """Nulls, and values that the reference does not have, as shares of the batch with their bounds."""
    n, rows = _rows(before), _rows(after)
    if before.ordered:
        beyond = ("out of range", before.below + before.above, after.below + after.above, 2.0)
    else:
        # a level that was seen once says how often one comes that was never seen (Good, Biometrika 1953)
        once = int((before.regular == 1).sum())
        beyond = ("unseen", max(before.unseen, once), after.unseen, 1.0)
    found = []
    for what, known, observed, prior in (("nulls", before.null, after.null, 1.0), beyond):
        bound = null_bound(known, n, rows, budget / 2.0, prior)
        found.append((what, observed / max(rows, 1), bound / max(rows, 1)))
    return found


def _rows(counts: Counts) -> int:
    return int(counts.regular.sum()) + counts.null + counts.unseen + counts.below + counts.above


def _log_beta(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    found: np.ndarray = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
    return found


def _log_gamma(x: np.ndarray | float) -> np.ndarray:
    """log Γ(x) of positive x by Stirling's series, after raising x by 8; right to 1e-10.

    >>> round(float(_log_gamma(5.0)), 9)  # log 24
    3.17805383
    """
    x = np.asarray(x, dtype=np.float64)
    raised = x + 8.0
    product = x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5) * (x + 6) * (x + 7)
    inverse = 1.0 / raised
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
    found: np.ndarray = (raised - 0.5) * np.log(raised) - raised + 0.5 * log(2.0 * np.pi) + series - np.log(product)
    return found
