"""The process that answers, as it sees itself: it tells its keeper how it fares, and is told when to stop."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from fuseline.errors import FuselineError
from fuseline.serving.journal import Journal

BEAT = 1.0  # seconds between two signs of life
GRACE = 2.0  # seconds that a process has to end, once it has answered all that it will
STOP = "stop"  # all that a keeper says


@dataclass(frozen=True)
class Word:
    """What a child tells its keeper.

    Attributes:
        text: the reason, for people.
        code: that the process should end with, of an error.
    """

    kind: Literal["beat", "ready", "replace", "failed", "done"]
    text: str = ""
    code: int = 0


class Child:
    """What the function that serves is given.

    Args:
        line: to the keeper.
        first: nobody served before it, so it accepts connections before it is ready.

    Attributes:
        listening: the socket to accept connections from; the keeper and a successor have it, too.
        stopping: set when no more requests are to be taken: those in flight are answered, then the function returns.
        patience: seconds that these have.
    """

    def __init__(self, line: Connection, listening: socket.socket, patience: float, first: bool = True) -> None:
        self.listening, self.patience = listening, patience
        self.stopping = threading.Event()
        self._accepting = threading.Event()
        self._line, self._one_at_a_time = line, threading.Lock()
        if first:
            self._accepting.set()

    def serve(self, application: Any, begun: Callable[[], None] = lambda: None) -> None:
        """Answer with an ASGI application until told to stop; returns when all is answered.

        The first child of a keeper accepts connections at once, so that the application can say that it is not ready.
        A later one accepts them when it is ready: until then they are answered by the one before it, or wait.

        Args:
            begun: called once the event loop runs; it does not block.

        Raises:
            FuselineError: the application's lifespan did not begin.
        """
        from fuseline.serving.listener import answer

        answer(application, self.listening, self._accepting, self.stopping, self.patience, begun)

    def ready(self) -> None:
        """Say that requests are answered from now on."""
        self._accepting.set()
        self._tell(Word("ready"))
        gc.freeze()  # what is loaded by now stays: no collection need look at it

    def replace(self, reason: str) -> None:
        """Ask for a successor. This process goes on until that one is ready; asking twice brings one.

        Args:
            reason: goes into the log, e.g. `3 threads are lost in the model`.
        """
        self._tell(Word("replace", reason))

    def failed(self, error: FuselineError) -> None:
        """Say why this process cannot serve, and stop; it is not tried again where nothing was ever served."""
        self._tell(Word("failed", str(error), error.exit_code))
        self.stopping.set()

    def _tell(self, word: Word) -> None:
        """Nobody hears it where the keeper is gone."""
        with self._one_at_a_time, suppress(OSError):
            self._line.send(word)

    def _follow(self) -> None:
        """Listen to the keeper until it is gone; then end, within `patience`. Runs in a thread of its own."""
        with suppress(EOFError, OSError):
            while True:
                if not self._line.poll(BEAT):
                    self._tell(Word("beat"))
                elif self._line.recv() == STOP:
                    self.stopping.set()
        if not self.stopping.is_set():
            Journal().error("orphaned", reason="the keeper is gone: what is in flight is answered", pid=os.getpid())
        self.stopping.set()
        time.sleep(self.patience + GRACE)
        os._exit(1)  # nobody is left to do it from outside


def live(
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    line: Connection,
    listening: socket.socket,
    patience: float,
    first: bool,
) -> None:
    """All that the process does: `start(child, *arguments)`. A FuselineError is told to the keeper."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both: the keeper decides what comes of it
    listening.set_inheritable(False)
    child = Child(line, listening, patience, first)
    # A handler interrupts whatever the main thread does, perhaps with the lock of this very event.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=child.stopping.set).start())
    threading.Thread(target=child._follow, name="keeper", daemon=True).start()
    try:
        start(child, *arguments)
    except FuselineError as error:
        child.failed(error)
        sys.exit(error.exit_code)
    child._tell(Word("done"))
