"""Coroutines of a plain file, run to their end from any thread, all in one event loop.

One loop for all, because what a warm-up hook opens, such as a client of another service, works only in its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Coroutines:
    """An event loop in a thread of its own, which starts with the first coroutine and ends with this object."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """What an awaitable returns; blocks. Raises what it raises."""
        from asyncio import run_coroutine_threadsafe

        return run_coroutine_threadsafe(_awaited(awaitable), self._started()).result()

    def _started(self) -> asyncio.AbstractEventLoop:
        from asyncio import new_event_loop

        with self._lock:
            if self._loop is None:
                self._loop = new_event_loop()
                thread = Thread(target=self._loop.run_forever, name="hooks", daemon=True)
                thread.start()
                weakref.finalize(self, _end, self._loop, thread)
            return self._loop


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _end(loop: asyncio.AbstractEventLoop, thread: Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=1)
    if not thread.is_alive():
        loop.close()
