"""Runs an ASGI application until it is interrupted: one process, quiet but for errors."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from fuseline.errors import SettingsError

NEEDED = ("fastapi", "prometheus_client", "uvicorn")  # by the dashboard, out of the extra `serve`
BACKLOG = 2048  # connections that wait to be accepted; the system may allow fewer


def need(names: Sequence[str] = NEEDED) -> None:
    """Raise SettingsError where what a server needs is not installed; imports none of it.

    Args:
        names: of top-level modules.
    """
    for name in names:
        if find_spec(name) is None:
            raise SettingsError(f"{name} is not installed: pip install 'fuseline[serve]'")


def run(application: Any, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, and end within about a second of it.

    Args:
        host: the address to listen at, e.g. `127.0.0.1` for this machine only.
        port: 0 takes a free one.
        ready: called with the address of the application once it can be asked.

    Raises:
        SettingsError: the address cannot be had.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # an answer that is cut off now is no error
            await super().shutdown(sockets)

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    with listening(host, port) as opened:
        ready(address(host, opened))
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        with suppress(KeyboardInterrupt):
            Server(config).run(sockets=[opened])


def address(host: str, opened: socket.socket) -> str:
    """Where people find what listens there, e.g. `http://localhost:8080/`."""
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{opened.getsockname()[1]}/"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; connections to it wait until somebody accepts them.

    Args:
        port: 0 takes a free one.

    Raises:
        SettingsError: the address cannot be had.
    """
    refused = f"{host}, port {port} cannot be listened at: {{}}. Choose another port or address"
    if not 0 <= port <= 65_535:
        raise SettingsError(refused.format("ports go from 0 to 65535"))
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.create_server(found[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error  # Python adds the address to it, which we name already
        raise SettingsError(refused.format(why)) from error
    # Connections inherit it. Without it the second of two small writes waits for the client, 40 ms and more: asyncio
    # itself asks for it on sockets only that are expressly of TCP, which those of create_server are not.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened
