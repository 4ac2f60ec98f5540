"""What one request may hold, and how many are held at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fuseline.serving.problem import Problem

MIB = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """The limits of the API; a message that one is broken names it.

    Attributes:
        body_bytes: of one request.
        rows: of one request.
        keys: names that one record may have.
        depth: how deep lists and objects may be nested.
        seconds: until a request that waits for the model is given up; a body must arrive within it, too.
        requests: that are held at a time; more are told to come again.
        held_bytes: of the bodies of all of them together.
    """

    body_bytes: int = 64 * MIB
    rows: int = 100_000
    keys: int = 10_000
    depth: int = 16
    seconds: float = 30.0
    requests: int = 64
    held_bytes: int = 512 * MIB

    def check_rows(self, found: int) -> None:
        """Raise Problem for too many rows."""
        if found > self.rows:
            raise Problem(
                "too-large",
                f"{found:,} rows in one request: at most {self.rows:,} are taken. Send them in several requests",
                limit=self.rows,
            )

    def check_keys(self, row: int, found: int) -> None:
        """Raise Problem for a record of too many names."""
        if found > self.keys:
            raise Problem(
                "too-large",
                f"row {row} has {found:,} keys: at most {self.keys:,} are taken. Send the model's columns only",
                limit=self.keys,
            )

    def check_depth(self, value: Any) -> None:
        """Raise Problem for lists and objects inside each other beyond the limit."""
        level: Iterable[Any] = [value]
        for _ in range(self.depth):
            level = [inner for outer in level for inner in _inside(outer)]
            if not level:
                return
        if any(isinstance(v, dict | list) for v in level):
            raise self.too_deep()

    def too_deep(self) -> Problem:
        """The problem of a body that is nested too deep."""
        return Problem(
            "nested-too-deep",
            f"lists or objects are nested over {self.depth} deep. Send flat records, one value for each column",
            limit=self.depth,
        )


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
