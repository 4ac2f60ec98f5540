"""What is wrong with a request, as problem details (RFC 9457): one exception, raised anywhere below the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

MEDIA_TYPE = "application/problem+json"
SHOWN = 1000  # rows that one answer names at most
TITLES = {  # kind -> status of HTTP, title
    "not-json": (400, "The body is not JSON"),
    "bad-request": (400, "The request cannot be understood"),
    "nested-too-deep": (400, "The body is nested too deep"),
    "unauthorized": (401, "A key is needed"),
    "not-found": (404, "There is no such thing"),
    "wrong-method": (405, "This address takes another method"),
    "too-slow-body": (408, "The body did not arrive in time"),
    "too-large": (413, "The request is too large"),
    "wrong-media-type": (415, "The content type is not taken"),
    "no-rows": (422, "There are no rows"),
    "bad-rows": (422, "Some rows cannot be scored"),
    "bad-input": (422, "The model does not take this"),
    "busy": (429, "More requests than can be held"),
    "model-failed": (500, "The model failed"),
    "fault": (500, "A fault in Fuseline itself"),
    "not-ready": (503, "The model is not ready"),
    "breaker-open": (503, "The breaker is open"),
    "too-slow": (504, "The model took too long"),
}


@dataclass(frozen=True)
class RowFault:
    """Why one row of a request has no prediction.

    Attributes:
        row: its index in the request, from 0.
        column: the column that is to blame, None where it is not one.
    """

    row: int
    column: str | None
    reason: str


class Problem(Exception):
    """A request that is not answered, or not in whole.

    Args:
        kind: a key of `TITLES`, which gives status and title.
        detail: what failed, what was found and what to do.
        rows: the rows that are to blame; all of them, an answer names the first 1,000.
        headers: of the answer, e.g. `Retry-After`.
        more: members beside the standard ones, e.g. `limit`.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        rows: Sequence[RowFault] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.rows, self.more = kind, detail, tuple(rows), more
        self.status, self.title = TITLES[kind]
        self.headers = dict(headers or {})

    def document(self, request_id: str = "") -> dict[str, Any]:
        """The members of the problem details."""
        said: dict[str, Any] = {
            "type": f"urn:fuseline:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if request_id:
            said["request_id"] = request_id
        if self.rows:
            said["rows"] = [asdict(fault) for fault in self.rows[:SHOWN]]
        if len(self.rows) > SHOWN:
            said["rows_not_shown"] = len(self.rows) - SHOWN
        return {**said, **self.more}

    def encode(self, request_id: str = "") -> bytes:
        """The body of the answer."""
        return msgspec.json.encode(self.document(request_id))
