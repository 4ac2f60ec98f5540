"""The process that answers, as its keeper sees it."""

from __future__ import annotations

import math
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Literal

from fuseline.errors import FuselineError
from fuseline.serving.child import GRACE, STOP, Word, live


class Kept:
    """A child that runs.

    Attributes:
        state: `leaving` is one that was told to end.
        failure: why it failed, as it said itself; None while it has not.
        killed: why it was killed.
        reason: why it is to be replaced; empty while it is not.
        first: bytes that it had when it was ready.
        unheard: looks of its keeper since its last sign of life.
        until: when it is to be killed, in seconds of the monotonic clock.
        alone: its successor is not started before it has ended, since there is no memory for both.
    """

    def __init__(self, process: BaseProcess, line: Connection) -> None:
        self._process, self._line = process, line
        self.pid = process.pid or 0
        self.state: Literal["starting", "serving", "leaving"] = "starting"
        self.failure: Word | None = None
        self.killed = self.reason = ""
        self.first = self.unheard = 0
        self.until = math.inf
        self.alone = False

    @classmethod
    def begin(
        cls,
        start: Callable[..., None],
        arguments: tuple[Any, ...],
        listening: socket.socket,
        patience: float,
        first: bool,
    ) -> Kept:
        """Start a process that calls `start(child, *arguments)`; see `Child` for the rest. Raises OSError."""
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=live, args=(start, arguments, theirs, listening, patience, first)
        )
        with theirs, _apart():
            process.start()
        return cls(process, ours)

    @property
    def signs(self) -> list[Any]:
        """What `multiprocessing.connection.wait` takes: there is something to hear, or it has ended."""
        return [self._process.sentinel, *([] if self._line.closed else [self._line])]

    def hear(self) -> Iterator[Word]:
        """All that it has said since the last time."""
        try:
            while not self._line.closed and self._line.poll():
                yield self._line.recv()
        except (EOFError, OSError):
            self._line.close()  # the process itself tells how it ended

    def leave(self, patience: float) -> None:
        """Have it answer what is in flight and end, within `patience` seconds; one that starts ends at once."""
        if self.state == "starting":
            self._process.kill()
        elif self.state == "serving":
            self.until = time.monotonic() + patience + GRACE
            if not self._line.closed:
                with suppress(OSError):
                    self._line.send(STOP)
        self.state = "leaving"

    def hurry(self) -> None:
        """It has answered all that it will: nothing keeps it."""
        self.until = min(self.until, time.monotonic() + GRACE)

    def kill(self, reason: str = "") -> None:
        """End it at once."""
        self.killed, self.until = reason, math.inf
        self._process.kill()

    def ended(self) -> bool:
        """Whether it runs no more."""
        return not self._process.is_alive()

    def bury(self) -> None:
        """Wait until it has ended, and let go of what it leaves."""
        self._process.join()
        self._line.close()

    @property
    def how(self) -> str:
        """How it ended, for people."""
        if self.killed or self.failure:
            return self.killed or (self.failure.text if self.failure else "")
        code = self._process.exitcode or 0
        if code >= 0:
            return f"it ended with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "a signal without a name"
        return f"it was ended by signal {-code}, {name}" + ("; perhaps memory ran out" if name == "SIGKILL" else "")

    @property
    def error(self) -> FuselineError:
        """Why it never was ready, with the exit code that says so."""
        if self.failure:
            error = FuselineError(self.failure.text)
            error.exit_code = self.failure.code
            return error
        return FuselineError(
            f"The process that serves failed before it was ready: {self.how}. What it wrote above may say why."
        )


@contextmanager
def _apart() -> Iterator[None]:
    """Start a process that has nothing of the program that runs here.

    It would run the main module again, and so import the whole command line for nothing. And a Ctrl-C while it still
    imports would be a traceback; a signal that is ignored when a process begins stays ignored.
    """
    main, handler = sys.modules["__main__"], signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.signal(signal.SIGINT, handler)
