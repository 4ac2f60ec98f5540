"""Which rows of a request a model fails on, so that one bad row does not cost the others their answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fuseline.errors import ModelFault
from fuseline.serving.problem import Problem, RowFault
from fuseline.serving.reader import Rows

TRIES = 64  # calls of the model that the search may take


def isolate(
    score: Callable[[Rows], dict[str, Any]], rows: Rows, healthy: Callable[[], None]
) -> tuple[dict[str, Any], Rows]:
    """Score rows; where the model fails, halve them until the rows that it fails on are found.

    Args:
        score: the columns of predictions for rows; raises ModelFault.
        healthy: raises ModelFault where the model itself has stopped working.

    Returns:
        The columns of the rows that could be scored, and these rows; the others are among their faults.

    Raises:
        Problem: `model-failed` where the model fails on what it could score before; `bad-rows` where no row is left.
    """
    try:
        return score(rows), rows
    except ModelFault as error:
        first = error
    try:
        healthy()
    except ModelFault as error:
        raise Problem("model-failed", str(error)) from error
    bad = _failing(score, rows, first)
    faults = [*rows.faults, *(RowFault(rows.kept[place], None, reason) for place, reason in bad.items())]
    left = replace(
        rows.some([place for place in range(len(rows.kept)) if place not in bad]),
        faults=tuple(sorted(faults, key=lambda fault: fault.row)),
    )
    if not left.kept:
        raise Problem("bad-rows", f"the model cannot score what was sent: {first}", rows=left.faults)
    try:
        return score(left), left
    except ModelFault as error:
        raise Problem("model-failed", f"the model fails on rows that it scores by themselves: {error}") from error


def _failing(score: Callable[[Rows], dict[str, Any]], rows: Rows, error: ModelFault) -> dict[int, str]:
    """The places of rows that the model fails on, each with why; where too many fail, the rest is not tried."""
    bad: dict[int, str] = {}
    parts, tries = [(list(range(len(rows.kept))), str(error))], 0
    while parts:
        places, reason = parts.pop()
        if len(places) == 1:
            bad[places[0]] = reason
            continue
        if tries >= TRIES:
            bad.update(dict.fromkeys(places, f"not scored, the model fails on too many rows: {reason}"))
            continue
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            tries += 1
            try:
                score(rows.some(half))
            except ModelFault as wrong:
                parts.append((half, str(wrong)))
    return bad
