"""What creeps: a small change that no single batch shows, and several in a row do.

For each figure of a column (nulls, values never seen, the middle rank) the newest 1, 2, 4, 8 and 16 batches together
are held against the reference and all batches before them: a window-limited generalised likelihood ratio scheme (Lai,
Journal of the Royal Statistical Society B, 1995). Since older batches join the reference, what is odd about the
reference itself does not add up to an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from fuseline.cells import Axis
from fuseline.records import Cause, Check

WINDOWS = (1, 2, 4, 8, 16)  # batches
FIGURES = {"nulls": "null share", "unseen": "share of values never seen", "out of range": "share out of range"}
Counts = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Creep:
    """A figure of a column over the newest batches, against all before.

    Attributes:
        z: how many standard errors they are apart; positive where it grew.
        batches: how many of the newest it is read from.
        now, before: the figure; shares, or ranks from 0 to 1.
    """

    column: str
    figure: str
    z: float
    batches: int
    now: float
    before: float

    @property
    def sentence(self) -> str:
        """For people."""
        over = f"over the last {self.batches} batches"
        if self.figure in FIGURES:
            what = f"the {FIGURES[self.figure]} of {self.column} creeps"
            return f"{what}: {self.now:.2%} {over} v. {self.before:.2%} before"
        where = "upwards" if self.z > 0 else "downwards"
        return f"{self.column} creeps {where}: mean rank {self.now:.3f} {over} v. {self.before:.3f} before"


def creeps(axes: Mapping[str, Axis], batches: Sequence[Counts]) -> list[Creep]:
    """For each figure of each column the window that is furthest off.

    With the mean a of m rows in the window and b of M rows before it, z = (a - b) / √(s²·(1/m + 1/M)); s² is the
    variance of all rows. A figure with under 3 expected in the window, min(m, M)·s², is left to the exact bounds of
    single batches.

    Args:
        batches: rows by cell of each column and batch, the oldest first, this one last.

    >>> from fuseline.bins import Binning
    >>> from fuseline.cells import axis
    >>> age = axis("age", Binning("numeric", edges=(0.0, 1.0, 2.0)), np.repeat([1.0, 2.0], 500))
    >>> few_nulls = {"age": np.array([48, 48, 0, 0, 4])}  # two bins, below, above, null
    >>> [(c.figure, c.batches, round(c.z, 3)) for c in creeps({"age": age}, [few_nulls] * 4)]
    [('nulls', 4, 6.264), ('out of range', 1, 0.0), ('rank', 1, 0.0)]
    """
    found = []
    for name, axis in axes.items():
        known = axis.counts(axis.reference)
        stack = np.stack([known, *(b[name] for b in batches)])
        for figure, values in _figures(axis).items():
            found.append(_worst(name, figure, stack, values))
    return found


def _figures(axis: Axis) -> dict[str, np.ndarray]:
    """Of each figure the value that a row of each cell counts for."""
    null = np.zeros(axis.size)
    null[-1] = 1.0
    if not axis.ordered:
        unseen = np.zeros(axis.size)
        unseen[-2] = 1.0
        return {"nulls": null, "unseen": unseen}
    outside = np.zeros(axis.size)
    outside[-3:-1] = 1.0
    return {"nulls": null, "out of range": outside, "rank": axis.middles}


def _worst(name: str, figure: str, stack: np.ndarray, values: np.ndarray) -> Creep:
    rows, sums, squares = stack.sum(axis=1), stack @ values, stack @ np.square(values)
    best = Creep(name, figure, 0.0, 1, 0.0, 0.0)
    for window in WINDOWS:
        if window >= len(stack):
            break
        m, before = int(rows[-window:].sum()), int(rows[:-window].sum())
        if not m or not before:
            continue
        # half a row is added, so that what never happened has a variance too
        mean = (sums.sum() + 0.5 * values.mean()) / (m + before + 0.5)
        variance = max(float((squares.sum() + 0.5) / (m + before + 0.5) - mean**2), 1e-12)
        a, b = float(sums[-window:].sum() / m), float(sums[:-window].sum() / before)
        expected = min(m, before) * variance
        error = sqrt(variance * (1.0 / m + 1.0 / before))
        z = (a - b) / error if expected >= 3.0 else 0.0  # too few for a normal law: single batches have exact bounds
        if abs(z) > abs(best.z):
            best = Creep(name, figure, z, window, a, b)
    return best


def check(axes: Mapping[str, Axis], batches: Sequence[Counts], budget: float) -> tuple[list[Check], list[Cause]]:
    """The furthest creep against what clean batches reach with the probability `budget`, and a warning beyond it.

    The bound is the normal quantile of budget/2 shared evenly among all figures and windows (Bonferroni). What one
    batch alone shows is no creep: other checks say it.

    Returns:
        The check, and a cause that warns; neither before there are two batches.
    """
    found = creeps(axes, batches)
    if len(batches) < 2 or not found:
        return [], []
    bound = NormalDist().inv_cdf(1.0 - budget / (2.0 * len(found) * len(WINDOWS)))
    worst = max(found, key=lambda c: abs(c.z))
    checks = [Check("slow leak", abs(worst.z), bound, worst.column)]
    if not checks[0].fired or worst.batches < 2:
        return checks, []
    return checks, [Cause("leak", worst.sentence, worst.column, abs(worst.z), bound, level="warn")]
