"""Answers on a socket that other processes have, too: uvicorn, which begins and stops without losing a request."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from fuseline.errors import FuselineError
from fuseline.server import BACKLOG

KEPT = 75  # seconds that a connection without a request is kept
HEAD = 64 * 1024  # bytes of a request's line and headers
LINGER = 1.0  # seconds that connections without a request are still kept when it stops: one may be on its way
TICK = 0.02  # seconds between two looks at what it waits for


def answer(
    application: Any,
    opened: socket.socket,
    accepting: threading.Event,
    stopping: threading.Event,
    patience: float = 30.0,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Run an ASGI application with a lifespan until told to stop; signals are the caller's.

    To stop is to accept nothing more, to answer what was asked, and to close each connection with its next answer,
    which says so. Connections without a request are closed after a second, in which one that is on its way arrives.

    Args:
        opened: listens; it is closed here, and goes on in the other processes.
        accepting: connections are accepted once it is set.
        stopping: set, in any thread, to stop.
        patience: seconds that requests in flight have then; what takes longer is cut off.
        begun: called once the loop runs, whether connections are accepted or not; it does not block.

    Raises:
        FuselineError: the application's lifespan did not begin.
    """
    config = uvicorn.Config(
        application,
        interface="asgi3",
        http=_protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEPT,
        h11_max_incomplete_event_size=HEAD,
    )
    try:
        _Server(config, accepting, stopping, patience, begun).run(sockets=[opened])
    except SystemExit as ended:  # uvicorn's word for a lifespan that failed
        raise FuselineError("The server could not start; the log says why.") from ended


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        accepting: threading.Event,
        stopping: threading.Event,
        patience: float,
        begun: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._accepting, self._stopping, self._patience, self._begun = accepting, stopping, patience, begun

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._begun()
        while not self._accepting.is_set():
            if self._stopping.is_set():
                self.should_exit = True
                return
            await asyncio.sleep(TICK)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._stopping.is_set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # closes the socket here; it does not shut it down
        await self._finish()
        await self.lifespan.shutdown()

    async def _finish(self) -> None:
        """Answer what was asked, and close every connection."""
        state, clock = self.server_state, asyncio.get_running_loop().time
        state.default_headers = [*state.default_headers, (b"connection", b"close")]  # of requests that still come
        for _ in range(5):
            await asyncio.sleep(0)  # what was accepted becomes a connection
        began = clock()
        while state.connections and clock() < began + self._patience:
            for connection in list(state.connections):
                cycle = getattr(connection, "cycle", None)
                asked = cycle is not None and not cycle.response_complete
                if asked or clock() > began + LINGER:
                    connection.shutdown()  # at once, or after the answer
            await asyncio.sleep(TICK)
        if state.connections:
            logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # an answer that is cut off now is no error
            for task in list(state.tasks):
                task.cancel()
            await asyncio.sleep(TICK)


def _protocol() -> type[asyncio.Protocol] | str:
    """The protocol of uvicorn over httptools, which knows no limit for the head of a request; h11 has one itself."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ModuleNotFoundError:
        return "h11"

    class Limited(HttpToolsProtocol):
        head: int | None = None  # bytes of a head that has begun and not ended

        def on_message_begin(self) -> None:
            self.head = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.head = None
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.head is not None and not self.transport.is_closing():
                self.head += len(data)
                if self.head > HEAD:
                    self.send_400_response(f"The line and the headers of a request may have {HEAD // 1024} KB.")

    return Limited
