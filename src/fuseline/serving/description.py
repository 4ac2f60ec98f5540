"""What a client must know of a model before it asks: the JSON of `GET /model`, from which the page makes its form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuseline.contract import Column
    from fuseline.serving.served import Served

LEVELS = 200  # of a column that are listed
LETTERS = 500  # of an example
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TRUE = ("true", "1", "1.0")


def describe(served: Served, threshold: float | None, limits: Mapping[str, int | float]) -> dict[str, Any]:
    """One model as plain values.

    Args:
        served: the model that answers now.
        threshold: the score that a row must reach by default to be in an answer; None for none.
        limits: of one request, e.g. `rows`, `body_bytes` and `seconds`.

    Returns:
        `name`, `version`, `mode`, `reason`, `task` (None where it is not known), `threshold`, `scores` (the
        names of the columns that have the scores, empty where they are not known), `limits`, `files` (whether the model
        reads a file as it is), `example` (what a request may hold, None where nobody knows), `id` (the column that
        names a row, None without one) and `columns`: None without a contract, else for each column `name`, `kind`,
        `nullable`, `levels`, `levels_left_out`, `low`, `high`, `examples` and `default`. Dates are in ISO 8601.
    """
    contract, example = served.contract, served.example()
    takes = getattr(served, "kind", None)
    return {
        "name": served.name,
        "version": served.version,
        "mode": served.mode,
        "reason": served.reason,
        "task": getattr(served, "task", None),
        "threshold": threshold,
        "scores": list(getattr(served, "score_names", ())),
        "limits": dict(limits),
        "files": takes == "bytes",
        "example": example,
        "id": contract.id if contract else None,
        "columns": [_column(column, _first(example)) for column in contract.columns] if contract else None,
    }


def _first(example: Any) -> Mapping[str, Any]:
    """The record of an example; of a list the first, empty where it holds none."""
    found = example[0] if isinstance(example, list) and example else example
    return found if isinstance(found, Mapping) else {}


def _column(column: Column, record: Mapping[str, Any]) -> dict[str, Any]:
    examples: list[Any] = [value_of(column, text) for text in column.examples]
    default = record[column.name] if column.name in record else next(iter(examples), None)
    low: Any = column.low
    high: Any = column.high
    if column.kind == "datetime":
        low, high = (None if seconds is None else _moment(seconds) for seconds in (low, high))
        default = value_of(column, default) if isinstance(default, str) else None
        low, high, default, *examples = _shortest([low, high, default, *examples])
    levels = None if column.levels is None else list(column.levels[:LEVELS])
    return {
        "name": column.name,
        "kind": column.kind,
        "nullable": column.nullable,
        "levels": levels,
        "levels_left_out": len(column.levels or ()) - len(levels or ()),
        "low": low,
        "high": high,
        "examples": examples,
        "default": default,
    }


def value_of(column: Column, text: str) -> Any:
    """An example of the contract, which is text there, as a request would hold it."""
    match column.kind:
        case "number":
            number = float(text)
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "boolean":
            return text.strip().lower() in TRUE
        case "datetime":
            return text.replace(" ", "T")[:19]  # to the second
        case _:
            return text[:LETTERS]


def _moment(seconds: float) -> str:
    """Seconds since 1970 in ISO 8601, to the second."""
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None, microsecond=0).isoformat()


def _shortest(moments: list[str | None]) -> list[str | None]:
    """Days where all of them begin one, else as they are."""
    if all(moment is None or moment[10:] in ("", "T00:00:00") for moment in moments):
        return [None if moment is None else moment[:10] for moment in moments]
    return moments
