"""The pages of a served model: one to use it in a browser, and one that shows the document of the API.

Both are the same for every model. The page of the model asks `./model` what to show, with a key where one is needed, so
that it gives nothing away by itself. Nothing in them comes from elsewhere, and all addresses are relative, so that they
work behind any path of a proxy.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from importlib.resources import files

STYLES = ("style.css", "serve.css")
SCRIPTS = (
    "serve-rows.js",
    "serve-dom.js",
    "serve-api.js",
    "serve-form.js",
    "serve-answer.js",
    "serve-send.js",
    "serve-many.js",
    "serve-snippets.js",
    "serve.js",
)
ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
NOWHERE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def shell(name: str = "") -> bytes:
    """The page at `/`.

    Args:
        name: what people call the model; empty where that is not for everybody, the page then asks for it.
    """
    return _filled(
        "serve.html",
        title=html.escape(f"{name} · Fuseline" if name else "Fuseline"),
        name=html.escape(name),
        styles="\n".join(f"<style>{_inline(style)}</style>" for style in STYLES),
        scripts="\n".join(f"<script>{_inline(script)}</script>" for script in SCRIPTS),
    )


def policy() -> str:
    """The Content-Security-Policy of `shell`: its own styles and scripts, and nothing from elsewhere."""
    return (
        f"default-src 'none'; style-src {_digests(STYLES)}; script-src {_digests(SCRIPTS)}; img-src data: blob:; "
        f"connect-src 'self'; {NOWHERE}"
    )


@cache
def docs() -> bytes:
    """The page at `/docs`: Swagger UI, which reads `./openapi.json`."""
    return _filled("docs.html", style=_inline("docs.css"), script=_inline("docs.js"))


def docs_policy() -> str:
    """The Content-Security-Policy of `docs`: Swagger UI has its pictures in its own style."""
    return (
        f"default-src 'none'; style-src 'self' {_digests(('docs.css',))}; script-src 'self' {_digests(('docs.js',))}; "
        f"img-src 'self' data:; font-src data:; connect-src 'self'; {NOWHERE}"
    )


def own_policy() -> str:
    """The Content-Security-Policy of a page that a project brings: what it has in itself, nothing from elsewhere."""
    return (
        "default-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """A file of Swagger UI that `docs` needs, at `./assets/<name>`, and its media type.

    Returns:
        None for any other name, and where Swagger UI is not installed.
    """
    if name not in ASSETS:
        return None
    try:
        versions = [place for place in files("swagger_ui_bundle").joinpath("vendor").iterdir() if place.is_dir()]
    except ModuleNotFoundError:  # `docs` says what to install
        return None
    newest = max(versions, key=lambda place: place.name)
    return newest.joinpath(name).read_bytes(), f"{ASSETS[name]}; charset=utf-8"


def _filled(template: str, **parts: str) -> bytes:
    """A template with its `{{ places }}` filled, each once: what is filled in is not looked at again."""
    return re.sub(r"\{\{ (\w+) \}\}", lambda place: parts[place[1]], _text(template)).encode()


def _text(name: str) -> str:
    return files("fuseline").joinpath("templates", name).read_text("utf-8")


@cache
def _inline(name: str) -> str:
    """A style or a script as it stands in a page."""
    return f"\n{_text(name)}"


@cache
def _digests(names: tuple[str, ...]) -> str:
    """What a Content-Security-Policy calls these files."""
    sums = (hashlib.sha256(_inline(name).encode()).digest() for name in names)
    return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in sums)
