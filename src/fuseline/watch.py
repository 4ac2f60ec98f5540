"""`fuseline watch`: infer as soon as a file lands, by the messages of a queue.

Messages come at least once and in any order, and other runs may be at work: the ledger sees to it that a batch is
published once. A message only says where to look. It is deleted when what it names was settled, or can never be.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from types import FrameType

from fuseline import events, runs
from fuseline.batches import something_to_do
from fuseline.bootstrap import Line, line, store_of
from fuseline.errors import DataError, FuselineError, QueueError, Refused, SettingsError
from fuseline.events import Arrival
from fuseline.narrative import sentence
from fuseline.queues import Message, Queue, kept
from fuseline.records import Published, Quarantined
from fuseline.settings import Settings
from fuseline.state import State

LONGEST = 60.0  # seconds between two attempts to reach a queue that fails
SHOWN = 3  # files that one line names


class Intake:
    """What is done about messages: one run for each project that they name.

    Attributes:
        stopping: set it, and no further run is begun.

    Args:
        say: takes a line for each thing that happens.

    Raises:
        SettingsError: the store is not on S3, so that no message can speak of it.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings, self.say, self.stopping = settings, say, False
        self.store = store_of(settings).url
        if not self.store.startswith("s3://"):
            raise SettingsError(
                f"FUSELINE_STORE is {settings.store!r}, and files are announced by buckets only: set it to "
                "s3://bucket/prefix, or run `fuseline infer` on a schedule"
            )

    def tell(self, what: str, *about: str) -> None:
        """Say what happened: the time, the project and the file that it is about, and the rest on lines of its own."""
        words = [word if word.isprintable() else ascii(word) for word in about]
        first, *rest = what.splitlines() or [""]
        time_ = self.settings.clock()[:19].replace("T", " ")
        self.say("\n    ".join(["  ".join([time_, *words, first]), *rest]))

    def take(self, bodies: Sequence[str]) -> list[bool]:
        """Deal with messages; says of each whether it is done, or should come again."""
        named = [self._arrivals(body) for body in bodies]
        files: dict[str, set[str]] = {}
        for arrival in chain.from_iterable(found or () for found in named):
            files.setdefault(arrival.project, set()).add(arrival.file)
        left = {Arrival(project, file) for project, those in files.items() for file in self._run(project, those)}
        return [found is not None and left.isdisjoint(found) for found in named]

    def catch_up(self) -> None:
        """One run for each project that has files waiting: nobody may have been there when they landed."""
        for project in self._projects():
            self._run(project, None)

    def _projects(self) -> list[str]:
        return sorted(path.parent.name for path in self.settings.projects.glob("*/project.toml"))

    def _arrivals(self, body: str) -> list[Arrival] | None:
        """The files that a message names; None for a message that cannot be read."""
        try:
            objects = events.landed(body)
        except DataError as error:
            self.tell(f"left in the queue: {error}")
            return None
        if not objects:
            self.tell("a message that tells of no new file: nothing to do")
        return [found for found in map(self._arrival, objects) if found is not None]

    def _arrival(self, one: events.Landed) -> Arrival | None:
        found = events.arrival(one, self.store)
        if found is None:
            self.tell(f"is no file in an inbox of {self.store}: nothing to do", one.url)
        elif found.project not in (known := self._projects()):
            said = f"there is no such project in {self.settings.projects} ({', '.join(known) or 'none'}): nothing to do"
            self.tell(said, found.project, found.file)
        else:
            return found
        return None

    def _run(self, project: str, wanted: set[str] | None) -> list[str]:
        """Infer for a project; returns those of the wanted files (None: of all that wait) that are left to do."""
        files = sorted(wanted or ())
        if self.stopping:
            return files
        try:
            here = line(project, settings=self.settings)
            files = files or here.batches.waiting()
            return self._infer(here, files) if files else []
        except FuselineError as error:
            then = "its message comes again" if wanted else "it stays in the inbox"
            self.tell(f"not done, {then}: {error}", project, _listed(files))
            return files

    def _infer(self, here: Line, files: Sequence[str]) -> list[str]:
        project, state = here.project.name, here.ledger.state()
        if state.champion is None:
            raise Refused(f"{project} has no champion yet. Train one: fuseline train {project}")
        if self._more(here, state):
            self.tell("taken up", project, _listed(files))
        entries = runs.infer(here)
        state, told = here.ledger.state(), set()
        for entry in entries:
            if isinstance(entry.event, Published | Quarantined):
                told.add(file := state.batches[entry.event.batch].file)
                self.tell(sentence(entry), project, file)
        waiting, more = set(here.batches.waiting()), self._more(here, state)
        for file in files:
            if file in waiting:
                held = f"waits in the inbox, the breaker is open: {state.breaker.reason}"
                self.tell("not settled yet, another run may be at it" if more else held, project, file)
            elif file not in told:
                self.tell(_before(state, file), project, file)
        return [file for file in files if more and file in waiting]

    def _more(self, here: Line, state: State) -> bool:
        return something_to_do(here.batches, state, here.project.config.breaker, self.settings.clock())


def _before(state: State, file: str) -> str:
    """What became of a file that is not in the inbox any more."""
    found = [batch for batch in state.batches.values() if batch.file == file]
    newest = max(found, key=lambda batch: batch.seq, default=None)
    return f"nothing to do: it is {newest.status} already" if newest else "nothing to do: it is gone from the inbox"


def _listed(files: Sequence[str]) -> str:
    """The first of some files, and how many more there are.

    >>> _listed(["a.csv", "b.csv"]), _listed(["a.csv", "b.csv", "c.csv", "d.csv"])
    ('a.csv, b.csv', 'a.csv, b.csv, c.csv and 1 more')
    """
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(files[:SHOWN]) + more


class Watch:
    """Takes messages from a queue until it is stopped.

    Args:
        sleep: waits so many seconds.
    """

    def __init__(self, intake: Intake, queue: Queue, sleep: Callable[[float], None] = time.sleep) -> None:
        self.intake, self.queue, self.sleep = intake, queue, sleep
        self._behind, self._failures, self._trouble = True, 0, ""

    def run(self) -> None:
        """Go on until SIGTERM or Ctrl-C, as KeyboardInterrupt: it ends at once, or when the run at hand is over."""
        self.intake.tell(f"watching {self.intake.store}/inbox/ through queue {self.queue.name}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            while not self.intake.stopping:
                self.turn()
        self.intake.tell("stopped; nothing is half done")

    def turn(self) -> None:
        """Catch up where that is due (at the start, and after a queue that failed), else wait for messages once."""
        if self._behind:
            self._behind = False
            with self._to_the_end():
                self.intake.catch_up()
        elif messages := self._received():
            with self._to_the_end():
                self._deal(messages)

    def _received(self) -> list[Message]:
        try:
            messages = self.queue.receive()
        except QueueError as error:
            if str(error) != self._trouble:
                self.intake.tell(f"{error}. Trying again until it answers")
            self._trouble = str(error)
            self.sleep(min(2.0**self._failures, LONGEST))
            self._failures = min(self._failures + 1, 10)
            return []
        if self._trouble:
            self.intake.tell(f"queue {self.queue.name} answers again")
            self._behind, self._failures, self._trouble = True, 0, ""  # it may have lost messages
        return messages

    def _deal(self, messages: Sequence[Message]) -> None:
        try:
            with kept(self.queue, messages):
                done = self.intake.take([message.body for message in messages])
            if finished := [message for message, ended in zip(messages, done, strict=True) if ended]:
                self.queue.delete(finished)
            if self.intake.stopping and len(finished) < len(messages):
                self.queue.hide([message for message in messages if message not in finished], 0)
        except QueueError as error:
            self.intake.tell(f"{error}. Its messages come again, which does no harm")
        except KeyboardInterrupt:
            with suppress(QueueError):
                self.queue.hide(messages, 0)
            raise

    @contextmanager
    def _to_the_end(self) -> Iterator[None]:
        """The first SIGTERM or Ctrl-C lets the run that is at hand end; a second one interrupts it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            if self.intake.stopping:
                raise KeyboardInterrupt
            self.intake.stopping = True
            self.intake.tell("stopping when this run is over; a second Ctrl-C interrupts it")

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
