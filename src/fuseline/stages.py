"""The four stages in a row: detect, explain, estimate, decide. What the flows and `Monitor` both call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fuseline import decide, leak
from fuseline.decide import Stakes
from fuseline.errors import DataError, ModelFault
from fuseline.harm import Reading
from fuseline.phrases import describe
from fuseline.records import Cause, Check, Explanation
from fuseline.reference import Reference, Rows

SMALL = 200  # rows: smaller batches are judged together with those before
HISTORY = 16  # batches that are remembered


@dataclass(frozen=True, eq=False)
class Past:
    """What is remembered of an earlier batch.

    Attributes:
        counts: rows by cell of each column and score.
        changed: whether it could be told from the reference.
        rows: its rows where it was small, so that they can be judged with the next ones; else None.
    """

    counts: Mapping[str, np.ndarray]
    changed: bool = False
    rows: Rows | None = None


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the stages say of a batch.

    Attributes:
        harm: estimated loss of the metric; None if it cannot be estimated.
        changed: whether the batch can be told from the reference.
        counts: rows by cell, to be remembered.
    """

    harm: float | None
    causes: list[Cause]
    checks: list[Check]
    worlds: tuple[Explanation, ...] = ()
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    changed: bool = False


def judge(
    reference: Reference,
    rows: Rows,
    stakes: Stakes,
    counts: Mapping[str, np.ndarray] | None = None,
    past: Sequence[Past] = (),
) -> Judgement:
    """Judge a batch without its labels.

    Args:
        rows: all its rows, or a uniform sample of them.
        counts: rows by cell of all rows, where `rows` is a sample.
        past: earlier batches, the oldest first: for slow leaks, and to judge small batches together.
    """
    if not len(rows.scores):
        return Judgement(0.0, [], [])
    seen = reference.see(rows, counts)
    own, parts = seen.counts, [rows, *_small_ones_before(rows, past)]
    together, pooled = rows, []
    if len(parts) > 1:
        together = _joined(parts)
        seen = reference.see(together)
        pooled = [Check(f"batches judged together ({seen.rows} rows)", len(parts), HISTORY + 1)]
    change = reference.detector.detect(seen)
    if not change.fired:
        steady = [p.counts for p in past if not p.changed][-HISTORY:]
        checks, creeping = leak.check(reference.columns, [*steady, own], reference.budget)
        return Judgement(0.0, creeping, [*change.checks, *checks, *pooled], (), own)

    def alone(reading: Reading) -> Mapping[str, float]:
        return reference.alone(reading.world.values)

    def said(column: str) -> str:
        return describe(column, reference.frame[column].to_numpy(), together.values[column])

    try:
        estimate = reference.harm(seen, change, together, stakes.tolerance)
        causes = decide.causes(change, estimate, stakes, said, alone)
    except (ModelFault, DataError) as error:
        sentence = f"the harm of the change in {', '.join(change.columns) or 'the scores'} cannot be estimated: {error}"
        unknown = Cause("harm", sentence, level="inconclusive")
        return Judgement(None, [unknown], [*change.checks, *pooled], (), own, True)
    if stakes.on_drift == "halt" and _lasts(past) and all(c.level == "warn" for c in causes):
        causes = [decide.lasting(change, stakes), *causes]
    if pooled:
        note = f" ({len(rows.scores)} rows, judged together with the {seen.rows - len(rows.scores)} rows before)"
        causes = [_noted(c, note) for c in causes]
    return Judgement(estimate.total, causes, [*change.checks, *pooled], decide.explanations(estimate), own, True)


def _lasts(past: Sequence[Past]) -> bool:
    """Whether each of the two batches before had changed, too."""
    return len(past) >= 2 and all(p.changed for p in past[-2:])


def _noted(cause: Cause, note: str) -> Cause:
    return replace(cause, sentence=cause.sentence + note)


def _small_ones_before(rows: Rows, past: Sequence[Past]) -> list[Rows]:
    """As many of the small batches right before a small one as make up 200 rows with it, the newest first."""
    parts: list[Rows] = []
    for earlier in reversed(past):
        if earlier.rows is None or len(rows.scores) + sum(len(p.scores) for p in parts) >= SMALL:
            break
        parts.append(earlier.rows)
    return parts


def _joined(parts: Sequence[Rows]) -> Rows:
    values = {c: np.concatenate([p.values[c] for p in parts]) for c in parts[0].values}
    return Rows(values, np.concatenate([p.scores for p in parts]))
