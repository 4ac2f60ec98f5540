"""Batches on their way: from the inbox into a copy that nobody changes, and back out of quarantine by hand.

A batch is one file; its identity is its name and the digest of its bytes. The file stays in the inbox until an
entry of the ledger says what became of it, so a crash at any line loses nothing.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fuseline.artifacts import file_digest
from fuseline.breaker import Policy
from fuseline.errors import NotFound, Refused, SettingsError
from fuseline.events import is_batch
from fuseline.ledger import Ledger
from fuseline.records import FORMATS, Dropped, Replayed
from fuseline.state import Batch, State
from fuseline.storage import Store

ODD = re.compile(r"[^A-Za-z0-9_=+-]+")


@dataclass(frozen=True)
class Received:
    """A file of the inbox with its identity; `key` is where the copy that is scored is kept."""

    batch: str
    name: str
    file: str
    digest: str
    key: str


def identify(file: str, digest: str) -> tuple[str, str]:
    """Identity and name of a batch.

    >>> identify("2026-03-08.parquet", "0123456789abcdef")
    ('2026-03-08.0123456789ab', '2026-03-08')
    """
    name = ODD.sub("-", PurePosixPath(file).stem).strip("-") or "batch"
    return f"{name}.{digest[:12]}", name


class Batches:
    """The inbox, the kept copies and the quarantine of one project."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project

    def inbox_key(self, file: str) -> str:
        """Where a file of this name arrives."""
        return f"inbox/{self.project}/{file}"

    def input_key(self, batch: str, file: str) -> str:
        """Where the copy of a batch is kept."""
        return f"{self.project}/batches/{batch}/input{PurePosixPath(file).suffix.lower()}"

    def staged_key(self, batch: str, attempt: str, file: str) -> str:
        """Where an attempt to score a batch puts a file of its own."""
        return f"{self.project}/batches/{batch}/{attempt}/{file}"

    def waiting(self) -> list[str]:
        """The names of the files in the inbox that can be batches, in the order of names."""
        prefix = self.inbox_key("")
        names = [item.key.removeprefix(prefix) for item in self.store.list(prefix)]
        return [name for name in names if is_batch(name)]

    def receive(self, file: str) -> Received | None:
        """Keep a copy of a file of the inbox under its identity; None if it is gone meanwhile."""
        try:
            with self._private(file) as path:
                digest = file_digest(path)
                batch, name = identify(file, digest)
                key = self.input_key(batch, file)
                if not self.store.exists(key):
                    self.store.upload(key, path)
        except NotFound:
            return None
        return Received(batch, name, file, digest, key)

    def finish(self, file: str, digest: str) -> None:
        """Take a file out of the inbox once the ledger knows its fate; another file of that name stays."""
        self.store.delete_if(self.inbox_key(file), digest)

    @contextmanager
    def _private(self, file: str) -> Iterator[Path]:
        """A copy that a writer who is still at work on the inbox's file cannot change under us."""
        with self.store.local(self.inbox_key(file)) as path, tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
            yield Path(shutil.copyfile(path, Path(folder) / path.name))


def find(state: State, batch: str) -> tuple[str, Batch]:
    """A batch by its identity or its name (then the newest of that name). Raises SettingsError if there is none."""
    if batch in state.batches:
        return batch, state.batches[batch]
    named = [(k, b) for k, b in state.batches.items() if b.name == batch]
    if not named:
        known = sorted({b.name for b in state.batches.values()})[-5:]
        raise SettingsError(f"there is no batch {batch!r}. The newest: {', '.join(known) or 'none'}")
    return max(named, key=lambda kb: kb[1].seq)


def replay(ledger: Ledger, batches: Batches, batch: str, reason: str, repaired: Path | None = None) -> str:
    """Let a quarantined or withdrawn batch be scored again, as it was or as a repaired file.

    As it was, it is scored from its kept copy. A repaired file is a batch of its own that arrives under the old name.

    Returns:
        The identity of the batch that will be scored.

    Raises:
        Refused: the batch is neither in quarantine nor withdrawn, or its name is taken in the inbox.
    """
    identity, known = find(ledger.state(), batch)
    _replayable(identity, known)
    arrives = identity
    if repaired is not None:
        # The file first: after a crash in between the old batch is still in quarantine, and running this again ends it.
        file = f"{known.name}{repaired.suffix.lower()}"
        if not file.endswith(FORMATS):
            raise Refused(f"{repaired.name} cannot be scored: a batch ends in {', '.join(FORMATS)}")
        arrives, _ = identify(file, file_digest(repaired))
        before = ledger.state().batches.get(arrives)
        if arrives != identity and before is not None and before.final:
            raise Refused(f"{repaired.name} has the bytes of {arrives}, which is {before.status}: replay that one")
        if arrives != identity:
            _deliver(batches, file, repaired)

    def put_back(state: State) -> Replayed:
        _replayable(identity, state.batches[identity])
        return Replayed(identity, reason, None if arrives == identity else arrives)

    ledger.append(put_back)
    return arrives


def _deliver(batches: Batches, file: str, path: Path) -> None:
    target = batches.inbox_key(file)
    if batches.store.exists(target):
        with batches.store.local(target) as there:
            same = file_digest(there) == file_digest(path)
        if not same:
            raise Refused(f"{target} is taken by another file: let it be scored first, or move it away")
    batches.store.upload(target, path)


def drop(ledger: Ledger, batch: str, reason: str) -> str:
    """Give a quarantined batch up: it is never published. Its files stay where they are. Raises Refused."""
    identity, _ = find(ledger.state(), batch)

    def give_up(state: State) -> Dropped:
        if state.batches[identity].status != "quarantined":
            raise Refused(f"{identity} is {state.batches[identity].status}; only a quarantined batch can be dropped")
        return Dropped(identity, reason)

    ledger.append(give_up)
    return identity


def _replayable(identity: str, batch: Batch) -> None:
    if batch.status not in ("quarantined", "withdrawn", "replaced"):
        raise Refused(f"{identity} is {batch.status}; only a quarantined, withdrawn or replaced batch can be replayed")


def something_to_do(batches: Batches, state: State, policy: Policy, now: str) -> bool:
    """Whether a run could settle anything: something waits, and the breaker lets it through."""
    if not batches.waiting() and not state.with_status("started", "waiting"):
        return False
    if state.breaker.status != "open" or state.breaker.cooled_down(now):
        return True
    return policy.while_open == "fallback" and state.last_good is not None
