"""Answers of a server that people only read from: what browsers may do with them, and pages in place of errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fuseline import pages
from fuseline.errors import FuselineError, NotFound

if TYPE_CHECKING:
    from fastapi import Request, Response

METHODS = ("GET", "HEAD")
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
FOREIGN = (  # what pages that others made may do: draw, but reach neither us nor anybody else
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; frame-ancestors {}"
)


def policy() -> str:
    """The Content-Security-Policy of our own pages: their one style, their one script, and nothing from elsewhere."""
    style, script = pages.inline_digest("style.css"), pages.inline_digest("live.js")
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src data:; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def page(request: Request, body: bytes, status: int = 200) -> Response:
    """One of our pages."""
    return _html(request, body, policy(), status)


def foreign(request: Request, body: bytes, framed: bool = False) -> Response:
    """A page that others made, with no rights; `framed` if one of ours may show it inside."""
    return _html(request, body, FOREIGN.format("'self'" if framed else "'none'"), 200)


def elsewhere(project: str) -> Response:
    """The way to a project's dashboard, from the address above it."""
    from fastapi.responses import RedirectResponse

    return RedirectResponse(f"{quote(project, safe='')}/", 307)


def json(status: int, said: dict[str, Any]) -> Response:
    """A JSON document."""
    from fastapi.responses import JSONResponse

    return JSONResponse(said, status)


async def failed(request: Request, error: Exception) -> Response:
    """A page that says what is wrong, in our words."""
    match error:
        case NotFound():
            return page(request, pages.problem("Not found", str(error)), 404)
        case FuselineError():
            todo = "This page looks again every five seconds, and shows what it is for as soon as it can."
            return page(request, pages.problem("Not readable", str(error), todo), 503)
        case _:
            todo = "The log of the server has the whole error."
            return page(request, pages.problem("A fault", f"{type(error).__name__} in Fuseline itself.", todo), 500)


async def nothing(request: Request, error: Exception) -> Response:
    """There is no such page."""
    return page(request, pages.problem("Not found", f"There is nothing at {request.url.path}."), 404)


async def guard(request: Request, call_next: Callable[[Request], Any]) -> Response:
    """Nothing can be changed from here, and no browser is to guess what a page is or to tell where it was."""
    from fastapi.responses import PlainTextResponse

    if request.method in METHODS:
        response: Response = await call_next(request)
    else:
        allowed = {"Allow": ", ".join(METHODS)}
        response = PlainTextResponse("These pages are only for reading.\n", 405, allowed)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _html(request: Request, body: bytes, security: str, status: int) -> Response:
    """A page, or that it is still the one that the browser has."""
    from fastapi import Response

    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"Content-Security-Policy": security, "ETag": tag}
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type="text/html")
