"""Limits that are the same wherever they are held: the loss that is accepted, rows, and bounds of business figures."""

from __future__ import annotations

import math

from fuseline.records import Cause, Check, Fault, Task

AUC_LOST, RMSE_GAINED = 0.02, 0.05  # the tolerance where nobody says another
TIMES = 2.0  # the rows that are expected, or a part of them


def tolerance(task: Task, told: float | None = None) -> float:
    """The loss that is accepted: of AUC (one class against the rest, where there are several), or the share of RMSE.

    A batch is halted where more than `breaker.HALTS` of it is estimated to be lost, since an estimate has an error; and
    labels condemn a model that has lost all of it (`performance.worse_than`).

    Args:
        told: what the user says; None for the default.

    >>> tolerance("binary"), tolerance("regression"), tolerance("binary", 0.1)
    (0.02, 0.05, 0.1)
    """
    if told is not None:
        return told
    return RMSE_GAINED if task == "regression" else AUC_LOST


def against_expected(rows: int, expected: int | None) -> tuple[list[Cause], list[Check]]:
    """The rows of a batch against those of a usual one: less than half, or more than twice as many, halt.

    Args:
        expected: rows of a usual batch; None where nothing is expected.

    Returns:
        The cause, if it halts, and the check.

    >>> causes, checks = against_expected(300, 1_000)
    >>> causes[0].sentence, round(checks[0].observed, 2), checks[0].fired
    ('300 rows where about 1,000 are usual', 3.33, True)
    """
    if expected is None:
        return [], []
    check = Check("rows against expected", max(rows / expected, expected / max(rows, 1)), TIMES)
    if not check.fired:
        return [], [check]
    said = f"{rows:,} rows where about {expected:,} are usual"
    return [Cause("rows", said, None, float(rows), float(expected))], [check]


def against_bounds(
    name: str, value: float | None, least: float | None, most: float | None, fault: Fault = "data"
) -> tuple[list[Cause], list[Check]]:
    """A business figure against its bounds: out of them it halts; missing or not finite, it is inconclusive.

    Args:
        value: None where metrics() did not return it.
        least, most: the bounds; None for no bound.
        fault: whether the data or the model is to be mended.

    Returns:
        The cause, if there is one, and the checks, one for each bound.

    >>> causes, checks = against_bounds("revenue", 3.0, 5.0, None)
    >>> causes[0].sentence, checks[0].fired
    ('revenue is 3, below its bound of 5', True)
    """
    if value is None or not math.isfinite(value):
        said = "was not returned by metrics()" if value is None else f"is {value}"
        return [Cause("business", f"{name} {said}", fault=fault, level="inconclusive")], []
    causes, checks = [], []
    for bound, at_least, word in ((least, True, "below"), (most, False, "above")):
        if bound is None:
            continue
        checks.append(Check(name, value, bound, at_least=at_least))
        if checks[-1].fired:
            sentence = f"{name} is {value:,.4g}, {word} its bound of {bound:,.4g}"
            causes.append(Cause("business", sentence, None, value, bound, fault=fault))
    return causes, checks
