"""What late labels say: the metric of the newest batches against the reference's. Labels are the authority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fuseline import performance
from fuseline.given import has_label
from fuseline.records import Measured, Task, Verdict

WINDOWS = (1, 2, 4, 8)  # labelled batches that are measured together
POOLED = WINDOWS[-1]
LEAST = 30  # rows

Labelled = tuple[np.ndarray, np.ndarray]  # labels and scores of a batch


@dataclass(frozen=True)
class Realised:
    """What labels say of the newest batches.

    Attributes:
        metric: `auc`, `auc_ovr` or `rmse`.
        value: of this batch; None if it cannot be measured.
        se: its standard error.
        rows: labelled rows of this batch.
        batches: how many of the newest batches the verdict is read from.
        pooled: the metric of these batches together, held against `bound`.
        verdict: `halt` where the model is worse than on the reference by more than the tolerance and not by chance;
            `inconclusive` where there are too few labels.
    """

    metric: str
    value: float | None
    se: float | None
    rows: int
    batches: int
    pooled: float | None
    bound: float | None
    verdict: Verdict


def realise(
    batches: Sequence[Labelled], reference: Measured, task: Task, classes: Sequence[str], tolerance: float, z: float
) -> Realised:
    """Hold the newest 1, 2, 4 and 8 labelled batches against the reference, one-sided.

    Args:
        batches: the oldest first, the last one is what the figures are of.
        z: standard errors by which a window must be worse (`performance.worse_than`).

    Raises:
        DataError: a label that the reference does not know.
    """
    truth, scores = batches[-1]
    own = performance.measure(task, truth, scores, classes)
    value, se = (None, None) if own is None else (own.value, own.se)
    rows = int(np.count_nonzero(has_label(truth)))
    first: Realised | None = None
    for window in (w for w in WINDOWS if w <= len(batches)):
        pooled = _pooled(batches[-window:], task, classes)
        if pooled is None or pooled.rows < LEAST:
            continue
        worse, bound = performance.worse_than(pooled, reference, tolerance, task, z)
        verdict: Verdict = "halt" if worse else "pass"
        found = Realised(pooled.metric, value, se, rows, window, pooled.value, bound, verdict)
        if worse:
            return found
        first = first or found
    return first or Realised(reference.metric, value, se, rows, 1, None, None, "inconclusive")


def _pooled(batches: Sequence[Labelled], task: Task, classes: Sequence[str]) -> Measured | None:
    truths, scores = zip(*batches, strict=True)
    return performance.measure(
        task, np.concatenate([t.astype(object) for t in truths]), np.concatenate(scores), classes
    )
