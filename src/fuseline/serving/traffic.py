"""What was asked and answered becomes a batch of the project: live traffic goes through the same breaker and labels.

Each request is a line on the disk before the next one is answered. After so many rows, or so long, the lines become

| key | what it holds |
|---|---|
| `<project>/requests/<name>.jsonl` | everything that was asked and answered, with time, request and version |
| `inbox/<project>/<name>.jsonl` | the rows that were asked about, as a batch that is scored and judged like any other |

in this order; then the file goes. Both are put so that nothing is overwritten, and their names and bytes follow from
the file: after a crash the same is done again, and comes to the same.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import msgspec

from fuseline import sources
from fuseline.bootstrap import Line
from fuseline.errors import AlreadyExists, FuselineError, Refused, StoreError, UnknownOutcome
from fuseline.models import Model
from fuseline.serving.exchange import UNREADABLE, Columns, Exchange, batch
from fuseline.serving.served import Answered, Asked
from fuseline.serving.spool import Spool

ROWS, SECONDS = 10_000, 3600.0  # of one batch
MOST = 1 << 30  # bytes that wait on the disk at most
ADOPT_EVERY = 60.0  # seconds between two looks for what other processes left
PATIENCE = 60.0  # seconds after which a delivery that failed is tried again at the latest

log = logging.getLogger(__name__)


class Traffic:
    """Logs what is asked and answered.

    `add` is called on the event loop, `tick` and `close` in a thread.

    Args:
        spool: a folder on this machine for what is not in the store yet; several servers may share it.
        rows, seconds: a batch is made of so many rows, or after so long.
        most: bytes that wait there at most; what is asked beyond them is not logged, and that is said.

    Attributes:
        trouble: what is wrong, empty if nothing is.
        lost: requests that were not logged.

    Raises:
        SettingsError: the folder cannot be used.
    """

    def __init__(self, line: Line, spool: Path, rows: int = ROWS, seconds: float = SECONDS, most: int = MOST) -> None:
        self.line, self.rows, self.seconds = line, rows, seconds
        self._token, self._numbers = secrets.token_hex(4), count(1)
        self.spool = Spool(spool, self._name, most)
        self.lost = 0
        self._unlogged = self._undelivered = ""
        self._delivering = threading.Lock()
        self._failures, self._again = 0, 0.0  # deliveries in a row that failed; when the next one may be
        self._adopted = 0.0  # when it was looked for what others left, on the clock of the machine
        self._adopt()

    @property
    def trouble(self) -> str:
        """What is wrong."""
        return ". ".join(said for said in (self._unlogged, self._undelivered) if said)

    def add(self, asked: Asked, answered: Answered, version: str) -> None:
        """Write down one request and its answer. Never raises: a client has its answer whatever the disk does."""
        exchange = Exchange.of(asked, answered, version, self.line.settings.clock())
        try:
            self.spool.append(msgspec.json.encode(exchange), answered.rows + answered.rejected)
        except (OSError, Refused, ValueError) as error:  # the last: half a character in what a client sent
            self.lost += 1
            if not self._unlogged:
                log.error("%s: requests are not logged from now on: %s", self.line.project.name, error)
            self._unlogged = f"requests are not logged, {self.lost:,} so far: {error}"
            return
        if self._unlogged:
            log.warning("%s: requests are logged again; %d were not", self.line.project.name, self.lost)
            self._unlogged = ""
        if self.spool.rows >= self.rows:
            self.spool.roll()

    def tick(self) -> None:
        """Deliver what is due; called each second. Never raises: what cannot be done now is tried again."""
        with self._delivering:
            try:
                self._tick()
            except OSError as error:
                self._failed(error)

    def close(self) -> None:
        """Deliver everything. What the store does not take stays in the spool, for the next server that starts."""
        with self._delivering:
            try:
                self.spool.roll()
                self._adopt()
                self._deliver_all()
                self.spool.close()
            except OSError as error:
                self._failed(error)

    def _tick(self) -> None:
        self.spool.beat()
        if self.spool.age >= self.seconds:
            self.spool.roll()
        if time.monotonic() - self._adopted >= ADOPT_EVERY:
            self._adopt()
        if time.monotonic() >= self._again:
            self._deliver_all()

    def _adopt(self) -> None:
        self._adopted = time.monotonic()
        if taken := self.spool.adopt():
            log.warning("%s: files of requests that another server left: %d", self.line.project.name, taken)

    # ── delivery ─────────────────────────────────────────────────────────────────────────────────

    def _deliver_all(self) -> None:
        """Deliver the files that are ready; one that cannot be does not hold up the others, but a store does."""
        failed = False
        for path in self.spool.ready():
            try:
                self._deliver(path)
            except (FuselineError, OSError) as error:
                self._failed(error)
                failed = True
                if isinstance(error, StoreError):
                    break
        if not failed:
            self._failures, self._again, self._undelivered = 0, 0.0, ""

    def _failed(self, error: Exception) -> None:
        said = f"requests wait in {self.spool.own} and are not in the store yet: {error}"
        if said != self._undelivered:
            log.warning("%s: %s", self.line.project.name, said)
        self._undelivered, self._failures = said, self._failures + 1
        self._again = time.monotonic() + min(PATIENCE, 2.0 ** min(self._failures, 10))

    def _deliver(self, path: Path) -> None:
        name, project = path.stem, self.line.project.name
        exchanges, lines = self._read(path)
        if exchanges:
            self._create(f"{project}/requests/{name}.jsonl", lines)
            rows = self._batch(exchanges)
            if rows:
                self._create(self.line.batches.inbox_key(f"{name}.jsonl"), rows)
        self.spool.remove(path)

    def _read(self, path: Path) -> tuple[list[Exchange], bytes]:
        """The exchanges of a file and their lines; others, as of a process that was killed at it, are put aside."""
        decoder = msgspec.json.Decoder(Exchange)
        found, good, bad, reasons = [], [], [], []
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if not line:
                continue
            try:
                found.append(decoder.decode(line))
                good.append(line + b"\n")
            except UNREADABLE as error:
                bad.append(line)
                reasons.append(f"line {number} of {path.name}, {len(line):,} bytes: {error}")
        if bad:
            aside = self.spool.put_aside(path.stem, bad, reasons)
            log.warning("%s: lines that are no requests are kept in %s: %s", self.line.project.name, aside, reasons[0])
        return found, b"".join(good)

    def _create(self, key: str, data: bytes) -> None:
        """Put what only this file makes; what is there already was put by an attempt before."""
        try:
            self.line.store.create(key, data)
        except AlreadyExists:
            return
        except UnknownOutcome:
            if not self.line.store.exists(key):
                raise

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────

    def _batch(self, exchanges: Sequence[Exchange]) -> bytes:
        """The rows that were asked about. Raises FuselineError where a version or a table cannot be read."""
        joined = self._joined()
        columns = {version: self._columns(version, joined) for version in {one.version for one in exchanges}}
        rows, left_out = batch(exchanges, columns)
        for said in left_out:
            log.warning("%s: the log of requests has more than the batch: %s", self.line.project.name, said)
        return rows

    def _columns(self, version: str, joined: frozenset[str]) -> Columns:
        contract = Model(self.line.models, self.line.models.manifest(version)).contract
        return Columns(contract, self.line.project.config, joined)

    def _joined(self) -> frozenset[str]:
        """The columns that a batch gets from other tables, and must not bring itself."""
        from fuseline import tables

        found: set[str] = set()
        for name, source in sources.joined(self.line.project).items():
            with sources.local(self.line.store, self.line.project, name, source) as path:
                found |= {column for column, _ in tables.describe(path) if column != source.join}
        return frozenset(found)

    def _name(self) -> str:
        """The name of the next batch: when it began, something that no other server has, and a number."""
        moment = self.line.settings.clock()[:19].replace(":", "")
        return f"live-{moment}-{self._token}-{next(self._numbers):04d}"
