"""Keeps one process answering: a model's code can hang, leak memory or crash, and clients should not notice.

The keeper holds the listening socket and imports nothing of the model. Its child loads the model and answers. While
there is no child, or none that is ready, connections wait in the socket's queue. A child sends a sign of life each
second: where they stay away, some code never lets go of the interpreter.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from multiprocessing.connection import wait
from typing import Any

from fuseline.errors import FuselineError
from fuseline.serving import memory as ram
from fuseline.serving.child import Child as Child  # what `start` is given
from fuseline.serving.journal import Journal
from fuseline.serving.kept import Kept

INTERRUPTED = 130  # exit code: a second Ctrl-C, so requests in flight were cut off
LOOK = 1.0  # seconds between two looks at a child
LONGEST_PAUSE = 30.0  # seconds between two attempts to start a child
SHARE = 0.8  # of all memory: what a child may have by default
GROWTH = 1.25  # times what it had when it was ready: what a child may have, however low the limit
HARD = 1.5  # times what it may have: it is killed
FULL = 0.95  # of all memory: what a child and its successor may have together
MB = 2**20


def keep(
    start: Callable[..., None],
    arguments: tuple[Any, ...],
    listening: socket.socket,
    memory: int | None = None,
    patience: float = 30.0,
    *,
    silence: float = 60.0,
    total: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Keep a process that answers until SIGTERM or SIGINT; call it in the main thread.

    A child that dies is started again: at once, or after 1, 2, 4 … 30 s where it was not ready before. One that asks
    for it, or has too much memory, gets a successor on the same socket, and stops when that one is ready.

    Args:
        start: a function of a module, called in the child as `start(child, *arguments)` with a `Child`. It calls
            `child.ready()`, and returns after `child.stopping` is set.
        arguments: of plain values, which are pickled.
        listening: is closed when it stops.
        memory: bytes that a child may have resident, None for 80 % of `total`.
        patience: seconds that requests in flight have to be answered when a child stops.
        silence: seconds without a sign of life after which a child is killed.
        total: bytes that all may have together, None for what the container or the machine has. Where a child and its
            successor would need more, the successor is started when the child has ended.
        ready: called once, when the first child is ready.

    Returns:
        The exit code: 0, or 130 where a second SIGINT cut requests off.

    Raises:
        FuselineError: the first child ended before it was ready; with the text and the exit code of its error.
    """
    return _Keeper(start, arguments, listening, memory, patience, silence, total, ready).run()


class _Keeper:
    def __init__(
        self,
        start: Callable[..., None],
        arguments: tuple[Any, ...],
        listening: socket.socket,
        memory: int | None,
        patience: float,
        silence: float,
        total: int | None,
        ready: Callable[[], None],
    ) -> None:
        self._start, self._arguments, self._listening, self._ready = start, arguments, listening, ready
        self._memory, self._patience, self._silence, self._given = memory, patience, silence, total
        self._journal = Journal()
        self._children: list[Kept] = []  # one that starts, one that serves, any number that leave
        self._known_good = False  # whether one was ever ready
        self._stopping = self._forced = False
        self._why = ("started", "")  # event and reason of the next one that is ready
        self._pause, self._not_before = 0.0, -math.inf
        self._next_look = time.monotonic() + LOOK
        self._signals: list[int] = []
        self._woken, self._wake = multiprocessing.Pipe(duplex=False)

    def run(self) -> int:
        with self._heeding():
            try:
                while self._children or not self._stopping:
                    self._begin_where_needed()
                    self._wait()
                    self._heed()
                    for child in list(self._children):
                        self._hear(child)
                        self._attend(child)
                    self._look()
            finally:
                for child in self._children:
                    child.kill()
                    child.bury()
        return INTERRUPTED if self._forced else 0

    def _wait(self) -> None:
        """Until something happens or is due."""
        due = min([self._next_look, *(child.until for child in self._children)])
        if time.monotonic() < self._not_before:
            due = min(due, self._not_before)
        signs = [self._woken, *(sign for child in self._children for sign in child.signs)]
        with suppress(InterruptedError):  # Ctrl-C on Windows
            wait(signs, max(0.0, due - time.monotonic()))

    # ── signals ──────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _heeding(self) -> Iterator[None]:
        """Note signals instead of dying of them."""

        def note(number: int, _: object) -> None:
            self._signals.append(number)
            self._wake.send_bytes(b".")

        numbers = [signal.SIGINT, signal.SIGTERM]
        if sys.platform == "win32":
            numbers.append(signal.SIGBREAK)
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heed(self) -> None:
        while self._woken.poll():
            self._woken.recv_bytes()
        while self._signals:
            number = self._signals.pop(0)
            if not self._stopping:
                self._stop(signal.Signals(number).name)
            elif number == signal.SIGINT:
                self._forced = True
                for child in self._children:
                    self._kill(child, "it was interrupted twice")

    def _stop(self, reason: str) -> None:
        self._stopping = True
        self._listening.close()
        for child in self._children:
            self._journal.info("stopping", reason=reason, pid=child.pid)
            child.leave(self._patience)

    # ── children ─────────────────────────────────────────────────────────────────────────────────

    def _begin_where_needed(self) -> None:
        """See to it that one serves, and that it has a successor where it is to be replaced."""
        states = {child.state for child in self._children}
        if self._stopping or "starting" in states or time.monotonic() < self._not_before:
            return
        if "serving" in states:
            reason = next(child.reason for child in self._children if child.state == "serving")
            if not reason:
                return
            self._why = ("replaced", reason)
        elif any(child.alone for child in self._children):
            return
        first = not self._known_good
        try:
            child = Kept.begin(self._start, self._arguments, self._listening, self._patience, first)
        except OSError as error:
            if first:
                raise FuselineError(f"The process that serves cannot be started: {error}.") from error
            self._try_later(f"it cannot be started: {error}", 0)
        else:
            self._children.append(child)

    def _try_later(self, how: str, pid: int) -> None:
        self._pause = min(max(1.0, 2 * self._pause), LONGEST_PAUSE)
        self._not_before = time.monotonic() + self._pause
        self._journal.error("failed", reason=f"{how}; the next one is started in {self._pause:g} s", pid=pid)

    def _hear(self, child: Kept) -> None:
        for word in child.hear():
            child.unheard = 0
            if word.kind == "ready":
                self._welcome(child)
            elif word.kind == "replace":
                child.reason = child.reason or word.text
            elif word.kind == "failed":
                child.failure = word
                child.hurry()
            elif word.kind == "done":
                child.hurry()

    def _welcome(self, child: Kept) -> None:
        """It is ready: the one that serves may go."""
        if child.state != "starting":
            return
        for other in self._children:
            if other.state == "serving":
                other.leave(self._patience)
        child.state, child.first, self._pause = "serving", ram.resident(child.pid), 0.0
        if self._known_good:
            event, reason = self._why
            self._journal.warning(event, reason=reason, pid=child.pid)
            return
        self._known_good = True
        if GROWTH * child.first > self._limit:
            reason = f"it may have {_mb(self._limit)}, and has {_mb(child.first)} before it is asked anything"
            self._journal.warning("memory", reason=f"{reason}: {GROWTH:g} times that is its limit", pid=child.pid)
        self._ready()

    def _attend(self, child: Kept) -> None:
        """Kill the late, and bury the dead."""
        if not child.ended():
            if time.monotonic() >= child.until:
                self._kill(child, "it did not end in time")
            return
        self._hear(child)  # its last words
        child.bury()
        self._children.remove(child)
        if child.state == "leaving" or self._stopping:
            return
        if child.state == "serving":
            if not child.killed:  # else it is said
                self._journal.error("died", reason=child.how, pid=child.pid)
            self._why = ("restarted", child.how)
        elif self._known_good:
            self._try_later(child.how, child.pid)
        else:
            raise child.error

    def _kill(self, child: Kept, reason: str) -> None:
        self._journal.error("killed", reason=reason, pid=child.pid)
        child.kill(reason)

    # ── each second ──────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _total(self) -> int:
        return ram.total() if self._given is None else self._given

    @property
    def _limit(self) -> int:
        return int(SHARE * self._total) if self._memory is None else self._memory

    def _look(self) -> None:
        """See whether each one lives, and how much memory it has."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK
        for child in self._children:
            if child.state == "starting" or child.killed:  # who starts may take as long and as much as it must
                continue
            child.unheard += 1  # looks, not seconds: a machine that slept accuses nobody
            if child.unheard * LOOK > self._silence:
                self._kill(child, f"there was no sign of life for {self._silence:g} s")
            else:
                self._weigh(child)

    def _weigh(self, child: Kept) -> None:
        resident, limit = ram.resident(child.pid), max(self._limit, int(GROWTH * child.first))
        if resident > HARD * limit:
            self._kill(child, f"it has {_mb(resident)}, over {_mb(int(HARD * limit))}")
        elif resident > limit and child.state == "serving" and not child.reason:
            child.reason = f"it has {_mb(resident)}, over {_mb(limit)}"
            if resident + child.first > FULL * self._total:
                self._why, child.alone = ("replaced", child.reason), True
                child.leave(self._patience)


def _mb(size: int) -> str:
    return f"{size // MB:,} MB"
