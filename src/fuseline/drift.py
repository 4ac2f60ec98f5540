"""Whether a batch differs from the reference: distances between counts, against what chance does at its size.

Everything is computed from counts over the same bins, so the size of the batch does not matter.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, log, log2, sqrt
from statistics import NormalDist

import numpy as np

TAIL = 0.02  # the exponential tail begins at the 98th percentile of the draws
FIRST_NODE = 50  # rows of the smallest batch that thresholds are simulated for


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
    """Binned Kolmogorov-Smirnov distance (Smirnov, Annals of Mathematical Statistics 1948): the greatest difference of
    the shares up to a bin, max |Σ (p - q)|.

    Args:
        p, q: shares in the order of the bins, shape (..., bins), each adding up to 1.

    Returns:
        shape (...): from 0 to 1.

    >>> float(ks(np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])))
    0.25
    """
    found: np.ndarray = np.abs(np.cumsum(p - q, axis=-1)).max(axis=-1)
    return found


@lru_cache(maxsize=4096)
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
) -> tuple[float, float, float]:
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
        The thresholds of the triangular discrimination and of the KS distance, which is 0.0 if not `ordered`; and the
        triangular discrimination that a clean batch exceeds once in a thousand times.

    >>> [round(t, 4) for t in threshold(np.array([500, 300, 200]), 100, 0.01, seed=0, ordered=True)]
    [0.0561, 0.1451, 0.0856]
    """
    rng = np.random.default_rng(seed)
    total = max(int(reference_counts.sum()), 1)
    shares = (reference_counts + 0.5) / (reference_counts + 0.5).sum()
    p, q = (rng.multinomial(n, shares, size=draws) / n for n in (total, max(rows, 1)))
    apart = triangular(p, q)
    return critical(apart, budget), critical(ks(p, q), budget) if ordered else 0.0, critical(apart, LOOSE)


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


LOOSE = 1e-3  # probability at which a column is looked at, once something fired


class Thresholds:
    """The thresholds of one column for batches of any size.

    They are simulated (`threshold`) for sizes 50, 100, 200 and so on when first asked for, and kept. Between two sizes
    the triangular discrimination is interpolated as a multiple of 1/n + 1/N and the KS distance as one of its root,
    which hardly change with the size: n·N/(n + N) times the one is nearly χ²/2, and the root of it times the other has
    Kolmogorov's law.

    >>> thresholds = Thresholds(np.array([500, 300, 200]), 0.01, [0], ordered=False)
    >>> [round(thresholds.at(n)[0], 4) for n in (100, 150, 200)]
    [0.0509, 0.0365, 0.0291]

    Args:
        reference_counts: rows by cell, shape (cells,).
        budget: probability of a false alarm of the column.
    """

    def __init__(self, reference_counts: np.ndarray, budget: float, seed: list[int], ordered: bool) -> None:
        self.counts, self.budget, self.seed, self.ordered = reference_counts, budget, seed, ordered
        self._nodes: dict[int, np.ndarray] = {}

    def at(self, rows: int) -> tuple[float, float, float]:
        """The thresholds of the triangular discrimination and of the KS distance for a batch of so many rows.

        Returns:
            Both, and the triangular discrimination that a clean batch exceeds once in a thousand times.
        """
        place = max(log2(max(rows, 1) / FIRST_NODE), 0.0)
        low, part = int(place), place - int(place)
        scaled = self._node(low) if part == 0.0 else (1.0 - part) * self._node(low) + part * self._node(low + 1)
        noise = 1.0 / max(rows, 1) + 1.0 / max(int(self.counts.sum()), 1)
        return float(scaled[0]) * noise, float(scaled[1]) * sqrt(noise), float(scaled[2]) * noise

    def _node(self, k: int) -> np.ndarray:
        if k not in self._nodes:
            rows = FIRST_NODE * 2**k
            each = self.budget / 2.0 if self.ordered else self.budget
            found = threshold(self.counts, rows, each, [*self.seed, k], ordered=self.ordered)
            noise = 1.0 / rows + 1.0 / max(int(self.counts.sum()), 1)
            self._nodes[k] = np.array([found[0] / noise, found[1] / sqrt(noise), found[2] / noise])
        return self._nodes[k]


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
