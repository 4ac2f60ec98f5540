"""The thread in which a model works: one call after the other, and another thread when a call never comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any


@dataclass(eq=False)
class _Job:
    """One call. As a context it keeps whatever is raised inside: a model may raise anything, SystemExit too."""

    call: Callable[[], Any]
    future: asyncio.Future[Any]
    begun: bool = False
    over: bool = False
    given_up: bool = False
    answer: Any = None
    error: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error
        return True

    def deliver(self) -> None:
        """Settle the future, in its loop; an error that would end the server becomes one that does not."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.answer)
        elif isinstance(self.error, Exception) and not isinstance(self.error, StopIteration):
            self.future.set_exception(self.error)
        else:
            self.future.set_exception(RuntimeError(f"{type(self.error).__name__}: {self.error}"))


class Worker:
    """Runs calls for an event loop. A project's code need not be safe for threads: no two calls run at a time.

    Args:
        on_lost: called in the loop, with how many threads are lost, each time that a call is given up while it runs.

    Attributes:
        lost: calls that were given up while they ran, and have not come back. Their threads cannot be ended.
    """

    def __init__(self, on_lost: Callable[[int], None] = lambda lost: None) -> None:
        self.lost = 0
        self._on_lost = on_lost
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = Lock()
        self._begin()

    async def run(self, call: Callable[[], Any], seconds: float) -> Any:
        """What `call` returns or raises. Raises TimeoutError after `seconds`, whether it was begun or not."""
        job = _Job(call, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(seconds):
                return await job.future
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(job, hung=isinstance(error, TimeoutError))
            raise

    def close(self) -> None:
        """End the thread after what it does now."""
        self._jobs.put(None)

    def _begin(self) -> None:
        Thread(target=self._work, name="model", daemon=True).start()

    def _give_up(self, job: _Job, hung: bool) -> None:
        with self._lock:
            running = job.begun and not job.over
            job.given_up = hung or not running
            if not (hung and running):
                return
            self.lost += 1
            self._begin()
        self._on_lost(self.lost)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                if job.given_up:
                    continue
                job.begun = True
            with job:
                job.answer = job.call()
            with self._lock:
                job.over = True
                self.lost -= job.given_up
            if job.given_up:
                return  # another thread has taken its place
            job.future.get_loop().call_soon_threadsafe(job.deliver)
