"""Follows the ledger of one project: reads what is new when somebody asks, and knows it when it cannot be read.

All of it happens on one event loop; only what waits for the store is done in threads, so that nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from fuseline import opinion, report
from fuseline.bootstrap import Line
from fuseline.chronicle import Chronicle, Settled
from fuseline.errors import FuselineError, NotFound, StoreError
from fuseline.figures import ProjectFacts
from fuseline.pages import Second, Trouble, look
from fuseline.records import Entry
from fuseline.threads import in_thread

FRESH, PATIENCE = 1.0, 4.0  # seconds, see Follower

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _News:
    """What a look at the store found: entries that follow those of `chronicle`, which is new where all began anew.

    Attributes:
        error: why no more could be read; None where it is all that there is.
    """

    line: Line
    chronicle: Chronicle
    entries: list[Entry]
    error: FuselineError | None


class Follower:
    """What is known of one project.

    Args:
        opened: opens its line. Each look opens it again, so that a change of project.toml shows; the store is kept.
        clock: gives the time now, ISO 8601 in UTC.
        fresh: seconds for which what was read is not asked for again.
        patience: seconds that a reader of a page waits for the store; whatever was begun goes on.

    Attributes:
        chronicle: the ledger as it was read last; None before the first time.
        facts: what its settings say.
        trouble: why it cannot be read now; None while it can.
    """

    def __init__(
        self,
        project: str,
        opened: Callable[[], Line],
        clock: Callable[[], str],
        fresh: float = FRESH,
        patience: float = PATIENCE,
    ) -> None:
        self.project, self._opened, self._clock, self._fresh, self._patience = project, opened, clock, fresh, patience
        self.chronicle: Chronicle | None = None
        self.facts: ProjectFacts | None = None
        self.trouble: Trouble | None = None
        self._line: Line | None = None
        self._seen = ""  # when it was read last
        self._looked = -fresh  # on the clock of the machine
        self._reading: asyncio.Task[None] | None = None
        self._so_far = 0  # entries that the first reading has behind it
        self._pages: dict[str, bytes] = {}
        self._made_of: object = None
        self._seconds: dict[tuple[str, str], Second] = {}

    async def look(self) -> None:
        """Read what is new. All who ask at the same time share one reading, and wait no longer than their patience."""
        if self._reading is None and time.monotonic() - self._looked >= self._fresh:
            self._reading = asyncio.create_task(self._read())
        if reading := self._reading:
            done, _ = await asyncio.wait([reading], timeout=self._patience)
            if done:
                reading.result()
            elif self.chronicle is None and self._so_far:
                text = f"The ledger is being read, {self._so_far:,} entries so far; this takes a while the first time."
                self._troubled(text, loud=False)
            else:
                self._troubled(self._slow())

    async def _read(self) -> None:
        try:
            self._take(await in_thread(self._news))
        except FuselineError as error:
            self._troubled(str(error))
        finally:
            self._looked, self._reading = time.monotonic(), None

    def _news(self) -> _News:
        """Ask the store. The chronicle that is shown is not changed here: this runs beside the loop."""
        fresh = self._opened()
        line = fresh if self._line is None else replace(self._line, project=fresh.project)
        known = self.chronicle
        if known is None or (known.entries and not _is_there(line, known.entries[-1])):
            chronicle = Chronicle()
            error = self._fill(chronicle.add, line.ledger.history())
            return _News(line, chronicle, [], error)
        entries: list[Entry] = []
        error = self._fill(entries.append, line.ledger.entries(known.state.seq))
        return _News(line, known, entries, error)

    def _fill(self, add: Callable[[Entry], None], entries: Iterator[Entry]) -> FuselineError | None:
        """Add entries as far as they can be read; returns why they cannot be read further, if so."""
        self._so_far = 0
        try:
            for entry in entries:
                add(entry)
                self._so_far += 1
        except FuselineError as error:
            return error
        return None

    def _take(self, news: _News) -> None:
        if self.chronicle is not None and news.chronicle is not self.chronicle:
            known = self.chronicle.state.seq
            log.warning("%s: its ledger of %d entries is gone, another one begins", self.project, known)
        for entry in news.entries:
            news.chronicle.add(entry)
        self._line = news.line
        if news.chronicle.entries or news.error is None:
            self.chronicle, self._seen = news.chronicle, self._clock()
            self.facts = report.facts_of(news.line.project.config, news.chronicle)
        if news.error is not None:
            self._troubled(str(news.error))
        elif self.trouble is not None:
            log.warning("%s: the ledger is readable", self.project)
            self.trouble = None

    def _troubled(self, text: str, loud: bool = True) -> None:
        if loud and (self.trouble is None or self.trouble.text != text):
            log.warning("%s: %s", self.project, text)
        since = self.trouble.since if self.trouble else self._clock()
        self.trouble = Trouble(text, since, self._seen)

    def _slow(self) -> str:
        return f"The store has not answered for {self._patience:g} s. It is still being asked: check that it runs."

    # ── pages ────────────────────────────────────────────────────────────────────────────────────

    async def page(self, path: str, make: Callable[[Chronicle], Awaitable[bytes]]) -> bytes:
        """A page of the project: made once for what is known now and some seconds, however many ask for it.

        Raises StoreError where the ledger was never read.
        """
        _, chronicle = self._known()
        entries = chronicle.entries
        made_of = (entries[-1].id if entries else "", look(self.facts), self.trouble, self._clock()[:18])
        if made_of != self._made_of:
            self._made_of, self._pages = made_of, {}
        pages = self._pages
        if path not in pages:
            pages[path] = await make(chronicle)
        return pages[path]

    async def second(self, event: Settled) -> Second | None:
        """Evidently's opinion on an outcome, where the store has one and answers."""
        key, line = (event.batch, event.attempt), self._line
        if key in self._seconds or line is None or self.trouble is not None or not event.attempt:
            return self._seconds.get(key)
        with suppress(TimeoutError, FuselineError):
            if said := await asyncio.wait_for(in_thread(lambda: _second(line, event)), self._patience):
                self._seconds[key] = said
        return self._seconds.get(key)

    async def evidently(self, name: str) -> bytes:
        """Evidently's own page of this name. Raises NotFound, or another StoreError where the store does not answer."""
        line, chronicle = self._known()
        outcomes = filter(None, map(chronicle.outcome, chronicle.batches))
        event = next((o.event for o in outcomes if report.opinion_page(o.event) == name), None)
        if event is None:
            raise NotFound(f"The ledger of {self.project} has no batch with a page {name!r} of Evidently's.")
        try:
            return await asyncio.wait_for(in_thread(lambda: _evidently(line, event)), self._patience)
        except TimeoutError as error:
            raise StoreError(self._slow()) from error

    def _known(self) -> tuple[Line, Chronicle]:
        if self._line is None or self.chronicle is None:
            raise StoreError(self.trouble.text if self.trouble else "The ledger was not read yet.")
        return self._line, self.chronicle


def _is_there(line: Line, entry: Entry) -> bool:
    """Whether the ledger still has this entry: an emulator that was started again has lost all."""
    try:
        return line.ledger.entry(entry.seq).id == entry.id
    except NotFound:
        return False


def _second(line: Line, event: Settled) -> Second | None:
    said = opinion.read(line.batches, event.batch, event.attempt)
    if said is None or said.error:
        return None if said is None else Second(said)
    there = any(line.store.exists(key) for key in _places(line, event))
    return Second(said, report.opinion_link(event) if there else "")


def _evidently(line: Line, event: Settled) -> bytes:
    staged, copied = _places(line, event)
    try:
        return line.store.get(staged)
    except NotFound:
        return line.store.get(copied)


def _places(line: Line, event: Settled) -> tuple[str, str]:
    """Where Evidently's page of an outcome can be: beside its figures, and where `fuseline report` copied it to."""
    staged = line.batches.staged_key(event.batch, event.attempt, opinion.REPORT)
    return staged, f"{line.project.name}/reports/{opinion.LIBRARY}/{report.opinion_page(event)}"
