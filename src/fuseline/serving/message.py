"""One HTTP request and its reply, as ASGI has them: headers, a body within limits, and what is sent back."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fuseline.serving.bounds import Bounds
from fuseline.serving.problem import MEDIA_TYPE, Problem
from fuseline.serving.served import JSON, Standing

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

ID = re.compile(rb"[\w.:/+=-]{1,64}", re.ASCII)
SAFE = (  # what no browser is to do with any reply
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Gone(Exception):
    """The client went away before its request was whole: nobody is to be answered."""


@dataclass(frozen=True)
class Reply:
    """What is sent back."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    rejected: int = 0

    @classmethod
    def of(cls, problem: Problem, request_id: str) -> Reply:
        """A problem, as RFC 9457 has it."""
        headers, rejected = problem.headers, len({fault.row for fault in problem.rows})
        return cls(problem.encode(request_id), problem.status, MEDIA_TYPE, headers, rejected=rejected)


class Request:
    """What came in.

    Attributes:
        id: the client's, where it is a short plain word, or a new one.
        standing: what the source offered when it came: one model answers the whole of it.
        whole: whether its body was read to the end.
    """

    def __init__(self, scope: Mapping[str, Any], receive: Receive, standing: Standing) -> None:
        self.standing = standing
        self.method, self.path = str(scope["method"]), str(scope["path"])
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query, self._receive = scope["query_string"], receive
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if ID.fullmatch(given) else secrets.token_hex(8)
        self.whole = False

    @property
    def content_type(self) -> str:
        """With its parameters, as it came."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    def query(self) -> dict[str, str]:
        """What stands behind the `?`, the last of each name. Raises Problem."""
        if not self._query:
            return {}
        try:
            return dict(parse_qsl(self._query.decode(), keep_blank_values=True, max_num_fields=1000))
        except (ValueError, UnicodeDecodeError) as error:
            raise Problem("bad-request", f"the query cannot be read: {error}") from error

    def length(self, bounds: Bounds) -> int:
        """What the body has, in bytes, as the client says; all that it may have where that is not known before it ends.

        Raises Problem for too many.
        """
        said = self.headers.get(b"content-length", b"")
        pieces = b"transfer-encoding" in self.headers
        length = int(said[:19]) if said.isdigit() else bounds.body_bytes if pieces else 0
        if length > bounds.body_bytes:
            raise _too_large(bounds, f"{length:,} bytes")
        return length

    async def body(self, bounds: Bounds) -> bytes:
        """The whole body. Raises Problem for one that is too large or too slow, Gone where the client left."""
        try:
            async with asyncio.timeout(bounds.seconds):
                return await self._pieces(bounds)
        except TimeoutError as error:
            detail = f"the body did not arrive within {bounds.seconds:g} s, the limit"
            raise Problem("too-slow-body", detail, limit=bounds.seconds) from error

    async def _pieces(self, bounds: Bounds) -> bytes:
        pieces, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > bounds.body_bytes:
                raise _too_large(bounds, f"over {bounds.body_bytes:,} bytes")
            if not message.get("more_body", False):
                self.whole = True
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def send(self, reply: Reply, send: Send, extra: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send a reply to it."""
        headers = [
            (b"content-type", reply.media_type.encode("latin-1")),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", self.id.encode()),
            *SAFE,
            *extra,
            *((name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()),
        ]
        if "Cache-Control" not in reply.headers:
            headers.append((b"cache-control", b"no-store"))
        if not self.whole and self.method == "POST":
            headers.append((b"connection", b"close"))  # the rest of a body that nobody reads
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else reply.body})


def _too_large(bounds: Bounds, found: str) -> Problem:
    detail = f"the body has {found}: at most {bounds.body_bytes:,} bytes are taken. Send the rows in several requests"
    return Problem("too-large", detail, limit=bounds.body_bytes)
