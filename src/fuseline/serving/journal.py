"""What happened, a line of JSON each, for people who search logs by request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec


def clock() -> str:
    """The time now, ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Journal:
    """Writes lines like `{"at": "…", "level": "info", "event": "request", "request_id": "…", "status": 200, …}`.

    Args:
        out: where to, standard error by default; a line is written whole, and at once.
    """

    def __init__(self, out: BinaryIO | None = None, now: Callable[[], str] = clock) -> None:
        self._out, self._now = out or sys.stderr.buffer, now

    def info(self, event: str, **facts: Any) -> None:
        """Note what is as it should be."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Note what somebody should look at."""
        self._write("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Note what went wrong."""
        self._write("error", event, facts)

    def _write(self, level: str, event: str, facts: dict[str, Any]) -> None:
        line = {"at": self._now(), "level": level, "event": event, **facts}
        self._out.write(msgspec.json.encode(line, enc_hook=str) + b"\n")
        self._out.flush()
