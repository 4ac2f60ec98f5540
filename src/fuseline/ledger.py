"""The ledger: the ordered, append-only record of every change of state of a project. It is the truth.

Entry *n+1* is created by a put that fails if the key exists. Whoever loses reads on, decides again on what it
found, and tries the next place. From this one primitive follow all promises.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from fuseline.errors import AlreadyExists, LedgerError, NotFound, NotWritten, StoreError, UnknownOutcome
from fuseline.records import Entry, Event
from fuseline.state import FOLD, State
from fuseline.storage import Store

FORMAT = 2  # 1 knew neither failures nor alerts
CHECKPOINT_EVERY = 100  # entries; reading costs at most so many gets and one checkpoint, and a chapter has so many
ATTEMPTS = 8  # tries to settle one entry whose outcome is unknown
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Event)}


@dataclass(frozen=True)
class _Format:
    format: int


@dataclass(frozen=True)
class _Document:
    """An entry as it is stored; `data` is the event, whose type is `kind`."""

    format: int
    seq: int
    id: str
    at: str
    by: str
    kind: str
    data: dict[str, Any]


def encode(entry: Entry) -> bytes:
    """The JSON of an entry, as it is stored. Raises LedgerError for what could not be read back, e.g. a NaN."""
    event = msgspec.to_builtins(entry.event)
    document = _Document(FORMAT, entry.seq, entry.id, entry.at, entry.by, kind_of(entry.event), event)
    data = msgspec.json.format(msgspec.json.encode(document), indent=1)
    decode(data, f"entry {entry.seq}, which was not written,")
    return data


def decode(data: bytes, key: str) -> Entry:
    """Read an entry back; `key` is named in the error when it cannot be."""
    try:
        written = msgspec.json.decode(data, type=_Format).format
    except msgspec.DecodeError as error:
        raise LedgerError(
            f"{key} is not a ledger entry: {error}. Nothing is published until it is readable: "
            "restore this object from the store's versions or from a backup."
        ) from error
    if written > FORMAT:
        raise LedgerError(
            f"{key} has format {written!r}; this Fuseline reads formats up to {FORMAT}. "
            "A newer Fuseline wrote to this ledger: upgrade this one."
        )
    try:
        document = msgspec.json.decode(data, type=_Document)
        event: Event = msgspec.convert(document.data, KINDS[document.kind])
        return Entry(document.seq, document.id, document.at, document.by, event)
    except (KeyError, msgspec.ValidationError) as error:
        raise LedgerError(
            f"{key} does not hold what an entry of format {written} holds: {error!r}. "
            "Restore this object from the store's versions or from a backup."
        ) from error


class Ledger:
    """The ledger of one project in one store.

    Args:
        store: where it lives.
        project: whose it is.
        clock: gives the time of a new entry, ISO 8601 in UTC.
        by: who writes: a flow's run or a person.
    """

    def __init__(self, store: Store, project: str, clock: Callable[[], str], by: str) -> None:
        self.store, self.project, self.clock, self.by = store, project, clock, by

    def key(self, seq: int) -> str:
        """Where entry `seq` is stored."""
        return f"{self.project}/ledger/{seq:08d}.json"

    @property
    def _checkpoint_key(self) -> str:
        return f"{self.project}/ledger/checkpoint.json"

    def _chapter_key(self, last: int) -> str:
        return f"{self.project}/ledger/{last - CHECKPOINT_EVERY + 1:08d}-{last:08d}.json"

    def entry(self, seq: int) -> Entry:
        """Entry `seq`. Raises NotFound or LedgerError."""
        entry = decode(self.store.get(self.key(seq)), self.key(seq))
        if entry.seq != seq:
            raise LedgerError(f"{self.key(seq)} says that it is entry {entry.seq}: the ledger was copied wrongly")
        return entry

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """The entries from `after + 1` to the end, read one by one.

        Places are probed with gets, never listed, so that a store with stale lists cannot hide an entry.
        """
        seq = after
        while True:
            seq += 1
            try:
                yield self.entry(seq)
            except NotFound:
                return

    def history(self) -> Iterator[Entry]:
        """All entries, a hundred with one get where their chapter is there; what a chapter lacks is read one by one."""
        last = 0
        while chapter := self._chapter(last + CHECKPOINT_EVERY):
            yield from chapter
            last += CHECKPOINT_EVERY
        yield from self.entries(last)

    def state(self, since: State | None = None) -> State:
        """The state at the end of the ledger, from the last checkpoint or from `since` on."""
        state = since or self._checkpoint()
        for entry in self.entries(after=state.seq):
            state = state.apply(entry)
        return state

    def state_at(self, at: str) -> State:
        """The state as it was at time `at` (ISO 8601, UTC): after the last entry that is not later."""
        state = State()
        for entry in self.history():
            if entry.at > at:
                break
            state = state.apply(entry)
        return state

    def append(self, decide: Callable[[State], Event | None], since: State | None = None) -> Entry | None:
        """Write the event that `decide` makes of the newest state, if it makes one.

        `decide` raises Refused if its precondition does not hold; it is asked again whenever another writer was
        first, so that what it saw is exactly what the entry follows.

        Returns:
            The entry, or None where `decide` found nothing to do.
        """
        state = self.state(since)
        while True:
            event = decide(state)
            if event is None:
                return None
            entry = Entry(state.seq + 1, secrets.token_hex(8), self.clock(), self.by, event)
            if self._settle(entry):
                self._maybe_checkpoint(state, entry)
                return entry
            state = self.state(state)

    def _settle(self, entry: Entry) -> bool:
        """Write `entry` at its place; False if another's is there. Unknown outcomes are looked up.

        After a lost reply the same bytes are put at the same place again: wherever the first one is, at most one
        of the two is written, and the id tells whose it is.
        """
        key, data = self.key(entry.seq), encode(entry)
        error: StoreError | None = None
        for _ in range(ATTEMPTS):
            try:
                self.store.create(key, data)
                return True
            except AlreadyExists:
                return self.entry(entry.seq).id == entry.id
            except NotWritten:
                if error is None:
                    raise  # certain: nothing was written, now or before
                continue
            except UnknownOutcome as lost:
                error = lost
        raise UnknownOutcome(
            f"whether {key} was written is unknown after {ATTEMPTS} tries ({error}). Run the same command again when "
            "the store answers: it looks the entry up and does not write it twice."
        ) from error

    def _checkpoint(self) -> State:
        # A checkpoint only saves reading: without a usable one the entries are folded from the first.
        with suppress(NotFound, KeyError, TypeError, msgspec.MsgspecError):
            document = msgspec.json.decode(self.store.get(self._checkpoint_key))
            if document["fold"] == FOLD:
                return msgspec.convert(document["state"], State, str_keys=True)
        return State()

    def _maybe_checkpoint(self, before: State, entry: Entry) -> None:
        if entry.seq % CHECKPOINT_EVERY:
            return
        document = {"fold": FOLD, "state": before.apply(entry)}
        with suppress(StoreError):  # the entry itself is written; the next checkpoint does the same job
            self.store.put(self._checkpoint_key, msgspec.json.encode(document))
            places = range(entry.seq - CHECKPOINT_EVERY + 1, entry.seq + 1)
            pages = b",\n".join(self.store.get(self.key(seq)) for seq in places)
            self.store.create(self._chapter_key(entry.seq), b"[" + pages + b"]")

    def _chapter(self, last: int) -> list[Entry]:
        # A chapter only saves reading, as a checkpoint does: where it is not whole, the entries themselves are read.
        key = self._chapter_key(last)
        with suppress(NotFound, LedgerError, msgspec.MsgspecError):
            parts = msgspec.json.decode(self.store.get(key), type=list[msgspec.Raw])
            found = [decode(bytes(part), key) for part in parts]
            if [entry.seq for entry in found] == list(range(last - CHECKPOINT_EVERY + 1, last + 1)):
                return found
        return []


def kind_of(event: Event) -> str:
    """The name of an event in the ledger, e.g. `published`."""
    return type(event).__name__.lower()
