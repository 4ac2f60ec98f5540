"""The thread in which a model works: one call after the other, and another thread when a call never comes back.

Requests that wait for the same model are handed to it together. A model of rows says the same of a row whatever rows
are beside it (`fuseline check` looks), and most of what a call costs is not for its rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

TOGETHER = 64  # requests at most that one call answers

Many = Callable[[Sequence[Any]], Sequence[Any]]  # items to their answers; an exception among these is raised


@dataclass(eq=False)
class _Call:
    """One call of the model. As a context it keeps whatever is raised inside, SystemExit too: a model may raise all."""

    over: bool = False
    lost: bool = False
    error: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error
        return True


@dataclass(eq=False)
class _Job:
    """One item that waits for `many`, and who waits for its answer."""

    many: Many
    item: Any
    future: asyncio.Future[Any]
    alone: bool
    call: _Call | None = None

    def deliver(self, answer: Any) -> None:
        """Settle the future in its loop; an error that would end the server becomes one that does not."""
        if self.future.done():
            return
        if not isinstance(answer, BaseException):
            self.future.set_result(answer)
        elif isinstance(answer, Exception) and not isinstance(answer, StopIteration):
            self.future.set_exception(answer)
        else:
            self.future.set_exception(RuntimeError(f"{type(answer).__name__}: {answer}"))


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
        self._jobs: deque[_Job] = deque()
        self._closed = False
        self._state = Condition()
        self._begin()

    async def run(self, call: Callable[[], Any], seconds: float) -> Any:
        """What `call` returns or raises. Raises TimeoutError after `seconds`, whether it was begun or not."""
        return await self._run(_Job(lambda items: [call()], None, _future(), alone=True), seconds)

    async def run_together(self, many: Many, item: Any, seconds: float) -> Any:
        """The answer to `item`, of one call with all that wait for the same `many`; else as `run`."""
        return await self._run(_Job(many, item, _future(), alone=False), seconds)

    def close(self) -> None:
        """End the thread after what it does now, and what waits."""
        with self._state:
            self._closed = True
            self._state.notify()

    async def _run(self, job: _Job, seconds: float) -> Any:
        with self._state:
            self._jobs.append(job)
            self._state.notify()
        try:
            async with asyncio.timeout(seconds):
                return await job.future
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(job, hung=isinstance(error, TimeoutError))
            raise

    def _begin(self) -> None:
        Thread(target=self._work, name="model", daemon=True).start()

    def _give_up(self, job: _Job, hung: bool) -> None:
        with self._state:
            call = job.call
            if call is None:
                with suppress(ValueError):
                    self._jobs.remove(job)
                return
            if not hung or call.over or call.lost:
                return
            call.lost = True
            self.lost += 1
            self._begin()
        self._on_lost(self.lost)

    def _work(self) -> None:
        while jobs := self._next():
            call = jobs[0].call
            assert call is not None
            answers: Sequence[Any] = ()
            with call:
                answers = jobs[0].many([job.item for job in jobs])
            with self._state:
                call.over = True
                self.lost -= call.lost
            if call.error is not None:
                answers = [call.error] * len(jobs)
            with suppress(RuntimeError):  # the loop has ended
                jobs[0].future.get_loop().call_soon_threadsafe(_deliver, jobs, answers)
            if call.lost:
                return  # another thread has taken its place

    def _next(self) -> list[_Job]:
        """The jobs of the next call, none at the end."""
        with self._state:
            while not self._jobs and not self._closed:
                self._state.wait()
            jobs = [self._jobs.popleft()] if self._jobs else []
            while jobs and not jobs[0].alone and self._jobs and len(jobs) < TOGETHER:
                if self._jobs[0].alone or self._jobs[0].many != jobs[0].many:
                    break
                jobs.append(self._jobs.popleft())
            call = _Call()
            for job in jobs:
                job.call = call
        return jobs


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _deliver(jobs: Sequence[_Job], answers: Sequence[Any]) -> None:
    for job, answer in zip(jobs, answers, strict=True):
        job.deliver(answer)
