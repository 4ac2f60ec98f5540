"""Work that waits for others, done beside an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from fuseline.errors import FuselineError

Answer = TypeVar("Answer")


def in_thread(work: Callable[[], Answer]) -> asyncio.Future[Answer]:
    """Do work in a thread of its own, which does not keep the process alive: a store that hangs cannot hold up its end.

    The future raises the FuselineError of the work. Any other error is in the log, with its traceback.
    """
    outcome: Future[Answer] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except FuselineError as error:
            outcome.set_exception(error)
        finally:
            if not outcome.done():
                outcome.set_exception(RuntimeError("work in a thread failed; the log says why"))

    threading.Thread(target=run, name="fuseline", daemon=True).start()
    return asyncio.wrap_future(outcome)
