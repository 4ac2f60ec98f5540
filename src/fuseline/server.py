"""Runs an ASGI application until it is interrupted: one process, quiet but for errors."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from fuseline.errors import SettingsError

NEEDED = ("fastapi", "prometheus_client", "uvicorn")  # the extra `serve`


def need() -> None:
    """Raise SettingsError where what a server needs is not installed."""
    for name in NEEDED:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise SettingsError(f"{name} is not installed: pip install 'fuseline[serve]'") from error


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
    with _listening(host, port) as listening:
        shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
        ready(f"http://{shown}:{listening.getsockname()[1]}/")
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        with suppress(KeyboardInterrupt):
            Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    refused = f"{host}, port {port} cannot be listened at: {{}}. Choose another port or address"
    if not 0 <= port <= 65_535:
        raise SettingsError(refused.format("ports go from 0 to 65535"))
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error  # Python adds the address to it, which we name already
        raise SettingsError(refused.format(why)) from error
