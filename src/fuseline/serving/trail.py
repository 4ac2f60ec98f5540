"""The ledger of a project as far as it was read: one get at each look when nothing is new."""

from __future__ import annotations

import logging
import math
import time

from fuseline.errors import LedgerError, NotFound
from fuseline.ledger import Ledger
from fuseline.records import Entry
from fuseline.state import State

THERE_EVERY = 30.0  # seconds between two looks whether the entries that were read are still there

log = logging.getLogger(__name__)


class Trail:
    """Follows one ledger.

    A ledger never gets shorter, unless its store was made anew, as an emulator is at its start. That is noticed before
    anything of another ledger is added to what is known.

    Args:
        there_every: seconds between two looks whether the entry that was read last is still there.

    Attributes:
        state: what the entries add up to; None before they could be read.
        ledgers: how many ledgers were followed.
    """

    def __init__(self, ledger: Ledger, there_every: float = THERE_EVERY) -> None:
        self.ledger, self._there_every = ledger, there_every
        self.state: State | None = None
        self.ledgers = 0
        self._last: Entry | None = None
        self._looked = 0.0  # when it was seen to be there, on the clock of the machine

    def look(self) -> None:
        """Read on.

        Raises:
            FuselineError: the ledger cannot be read, or is gone; `state` is what was known before, and what could be
                read of what is new.
        """
        if self.state is None or self._last is None:
            self._begin(self.ledger.state())
            return
        entries = self.ledger.entries(self.state.seq)
        entry = next(entries, None)
        due = time.monotonic() - self._looked >= self._there_every
        if (due or entry is not None) and not self._is_there(self._last):
            self._anew(self.state)
            return
        while entry is not None:
            self.state, self._last = self.state.apply(entry), entry
            entry = next(entries, None)

    def _begin(self, state: State) -> None:
        last = self.ledger.entry(state.seq) if state.seq else None
        self.ledgers += self._last is not None or self.state is None
        self.state, self._last, self._looked = state, last, time.monotonic()

    def _is_there(self, entry: Entry) -> bool:
        try:
            there = self.ledger.entry(entry.seq).id == entry.id
        except NotFound:
            there = False
        self._looked = time.monotonic() if there else -math.inf  # what is gone is looked for each time
        return there

    def _anew(self, known: State) -> None:
        """Follow the ledger that has taken the place of the one that is gone, once it has a champion."""
        project = self.ledger.project
        fresh = self.ledger.state()
        if fresh.champion is None:
            raise LedgerError(
                f"the ledger of {project}, which had {known.seq:,} entries, is gone: {self.ledger.key(known.seq)} is "
                f"not there. Restore the store, or train again: fuseline train {project}"
            )
        log.warning("%s: its ledger of %d entries is gone, another one begins", project, known.seq)
        self._begin(fresh)
