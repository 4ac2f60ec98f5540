"""The promises of the ledger, under everything that can happen: rules, faults, crashes and races in any order."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from fuseline import records as r
from fuseline.artifacts import digest as digest_of
from fuseline.batches import Batches, Received, drop, identify, replay
from fuseline.breaker import Policy
from fuseline.errors import NotWritten, Refused, UnknownOutcome
from fuseline.ledger import CHECKPOINT_EVERY, Ledger, decode
from fuseline.predictions import PREDICTIONS, Predictions, Scored
from fuseline.state import State, fold
from fuseline.storage import Listed, MemoryStore

LEDGER, VISIBLE, INBOX = "p/ledger/", "p/predictions/", "inbox/p/"
WRITES = ("create", "put", "upload", "copy", "delete", "delete_if")
FAULTS = ("crash-before", "crash-after", "fail-before", "lose-reply", "drop", "stale-list")
REACHED = (
    *("Started", "Published", "Quarantined", "Withdrawn", "Replayed", "Dropped", "Tripped", "HalfOpened", "Reset"),
    *("Promoted", "champion", "trial", "fallback", "published again", "meanwhile", *FAULTS),
)
FILES = ("a.csv", "a.jsonl", "b.csv")  # two of one name
POLICY = Policy(cool_down_hours=0.01)


class Crash(Exception):
    """The process ends here; no code of ours may catch it."""


@dataclass
class Fault:
    """What goes wrong in one action: at its `nth` call of the store that is no get (for a write fault: its nth write).

    Gets are left out because nothing happens between two of them; the one before a write is the write's own moment.
    """

    kind: str
    nth: int


class FaultyMemory:
    """One process's view of the store, in which one fault happens; `watch` looks after each change."""

    url = "memory://"

    def __init__(self, disk: MemoryStore, fault: Fault | None, watch: Callable[[], None], old: list[Listed]) -> None:
        self.disk, self.fault, self.watch, self.old = disk, fault, watch, old
        self.calls, self.writes = count(1), count(1)
        self.meanwhile: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            way = self._way(name)
            if way and (way != "stale-list" or name == "list"):
                SEEN.update([way])
            if way == "crash-before":
                raise Crash
            if way == "fail-before":
                raise NotWritten("nothing was written")
            if way == "drop":
                raise UnknownOutcome("no reply, and nothing written")
            if way == "meanwhile" and self.meanwhile is not None:
                self.meanwhile()
            if way == "stale-list" and name == "list":
                return iter([item for item in self.old if item.key.startswith(args[0])])
            result = getattr(self.disk, name)(*args)
            if name in WRITES:
                self.watch()
            if way == "crash-after":
                raise Crash
            if way == "lose-reply":
                raise UnknownOutcome("written, but no reply")
            return result

        return call

    def _way(self, name: str) -> str:
        if self.fault is None:
            return ""
        if self.fault.kind == "stale-list":
            return "stale-list"
        only_writes = self.fault.kind in ("fail-before", "lose-reply", "drop")
        if name == "get" or (only_writes and name not in WRITES):
            return ""
        return self.fault.kind if next(self.writes if only_writes else self.calls) == self.fault.nth else ""


def clock(start: int = 0) -> Callable[[], str]:
    ticks = count(start)

    def now() -> str:
        minutes, seconds = divmod(next(ticks), 60)
        return f"2026-03-08T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}+00:00"

    return now


@cache
def beginning() -> dict[str, bytes]:
    """A ledger that is two entries short of its first checkpoint, with a champion and one before it."""
    store, state = MemoryStore(), State()
    ledger = Ledger(store, "p", clock(), "begin")
    first: list[r.Event] = []
    for version in ("v00", "v0"):
        first += [r.Registered(version, "d", {}), r.Promoted(version, None, "gate", "first")]
    for event in [*first, *[r.TrainingStarted("x")] * (CHECKPOINT_EVERY - 6)]:
        entry = ledger.append(lambda state, event=event: event, since=state)
        assert entry is not None
        state = state.apply(entry)
    return {item.key: store.get(item.key) for item in store.list("")}


class Promises(RuleBasedStateMachine):
    """Many short processes work on one store; what they did is read from the store itself, after every write."""

    @initialize()
    def begin(self) -> None:
        self.disk, self.clock = MemoryStore(), clock(1000)
        for key, data in beginning().items():
            self.disk.put(key, data)
        self.old: list[Listed] = list(self.disk.list(""))
        self.numbers = count(1)
        self.held: list[Scored] = []  # by publishers that may settle at any time, and more than once
        self.kept: dict[str, bytes] = {}  # identity to bytes of each batch that was received
        self.entries: list[r.Entry] = []
        self.read = State()
        self.published: dict[str, tuple[int, str]] = {}  # identity to entry and attempt, by the entries alone
        self.tripped = 0  # the last entry that brought a trip, by the entries alone
        self.champions: list[tuple[str, str]] = []
        self.raced = False
        self.look()

    # ── a process ────────────────────────────────────────────────────────────────────────────────

    def run(self, act: Callable[[FaultyMemory], object], fault: Fault | None, meanwhile: str = "") -> bool:
        """Run one action as a process of its own. Whether it came to its end."""
        before = list(self.disk.list(""))
        store = FaultyMemory(self.disk, fault, self.look, self.old)
        if fault is not None and fault.kind == "meanwhile":
            store.meanwhile, self.raced = lambda: self.another(meanwhile), True
        try:
            act(store)
        except Refused:
            return True
        except (Crash, NotWritten, UnknownOutcome):
            return False
        finally:
            self.old, self.raced = before, False
            self.look()
        return True

    def another(self, kind: str) -> None:
        """What another process does, whole, in the middle of the one that runs."""
        store = FaultyMemory(self.disk, None, self.look, self.old)
        try:
            self.actions()[kind](store)
        except Refused:
            return

    def ledger(self, store: Any) -> Ledger:
        return Ledger(store, "p", self.clock, "me")

    def predictions(self, store: Any) -> Predictions:
        return Predictions(store, self.ledger(store), Batches(store, "p"), POLICY)

    def pick(self, number: int, *statuses: Any) -> str | None:
        """The identity of some batch, one in these statuses if there is one."""
        known = list(self.read.with_status(*statuses))[::-1] or list(self.read.batches)  # the newest first
        return known[number % len(known)] if known else None

    def actions(self, number: int = 0) -> dict[str, Callable[[FaultyMemory], object]]:
        return {
            "trip": lambda s: self.write(
                s, r.Tripped("x", r.Trip(self.clock() if number % 2 else None, 1 + number % 2))
            ),
            "half open": lambda s: self.write(s, r.HalfOpened("x")),
            "reset": lambda s: self.write(s, r.Reset("x")),
            "promote": lambda s: self.promote(s),
            "rollback": lambda s: self.write(
                s, r.Promoted(self.read.last_good or "v0", self.read.champion, "rollback", "x")
            ),
            "settle": lambda s: self.predictions(s).settle(self.held[-1 - number % len(self.held)]) if self.held else 0,
            "withdraw": lambda s: self.on(self.pick(number, "published"), self.predictions(s).withdraw, "x"),
            "replay": lambda s: self.on(
                self.pick(number, "quarantined", "withdrawn", "replaced"),
                lambda b: replay(self.ledger(s), Batches(s, "p"), b, "x"),
            ),
            "repair": lambda s: self.on(self.pick(number, "quarantined", "withdrawn"), lambda b: self.repair(s, b)),
            "drop": lambda s: self.on(self.pick(number, "quarantined"), lambda b: drop(self.ledger(s), b, "x")),
            "reconcile": lambda s: self.predictions(s).reconcile(self.ledger(s).state()),
            "score": lambda s: self.score(s, FILES[number % 3], "pass"),
        }

    @staticmethod
    def on(batch: str | None, act: Callable[..., object], *args: str) -> None:
        if batch is not None:
            act(batch, *args)

    def write(self, store: Any, event: r.Event) -> None:
        self.ledger(store).append(lambda state: event)

    def promote(self, store: Any) -> None:
        version = f"v{next(self.numbers)}"
        self.write(store, r.Registered(version, "d", {}))
        self.write(store, r.Promoted(version, self.read.champion, "gate", "better"))

    def repair(self, store: Any, batch: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "repaired.csv"
            path.write_bytes(b"repaired %d" % next(self.numbers))
            replay(self.ledger(store), Batches(store, "p"), batch, "x", path)

    # ── a run over the inbox, as flows do it, up to where its publisher takes over ───────────────

    def score(self, store: Any, file: str, verdict: r.Verdict) -> None:
        """Take one batch: one that the ledger knows as undone from its kept copy, else the inbox's file."""
        batches, ledger = Batches(store, "p"), self.ledger(store)
        state = ledger.state()
        undone = [(k, b) for k, b in state.with_status("started", "waiting").items() if b.file == file]
        received: Received | None
        if undone:
            batch, known = undone[0]
            received = Received(batch, known.name, file, known.digest, batches.input_key(batch, file))
        else:
            received = batches.receive(file)
        if received is None:
            return
        if received.batch in state.batches and state.batches[received.batch].final:
            batches.finish(received.file, received.digest)
            return
        other = state.published_as(received.name)
        if other is not None and other != received.batch:
            return
        self.start(store, ledger, received, verdict)

    def start(self, store: Any, ledger: Ledger, received: Received, verdict: r.Verdict) -> None:
        def mode_of(state: State) -> tuple[r.Mode, str | None]:
            modes: dict[str, tuple[r.Mode, str | None]] = {
                "closed": ("champion", state.champion),
                "half_open": ("trial", state.champion),
                "open": ("fallback", state.last_good),
            }
            return modes[state.breaker.status]

        def start(state: State) -> r.Started | None:
            mode, version = mode_of(state)
            known = state.batches.get(received.batch)
            if version is None or (known is not None and known.final):
                return None
            pinned = known is not None and (known.status, known.version, known.mode) == ("started", version, mode)
            if pinned and known is not None and known.started > state.tripped:
                return None
            return r.Started(
                received.batch, received.name, received.file, received.digest, version, mode, self.clock(), 1
            )

        ledger.append(start)
        known = ledger.state().batches.get(received.batch)
        if known is None or known.status != "started" or known.version is None:
            return
        attempt = f"run{next(self.numbers)}"
        staged = f"{received.batch} by {attempt}".encode()
        store.put(f"p/batches/{received.batch}/{attempt}/{PREDICTIONS}", staged)
        self.held.append(
            Scored(
                batch=received.batch,
                name=received.name,
                file=received.file,
                input_digest=received.digest,
                attempt=attempt,
                started=known.started,
                version=known.version,
                mode=known.mode,
                scored_at=known.scored_at,
                rows=1,
                rejected=0,
                digest=digest_of(staged),
                assessment=r.Assessment(verdict),
            )
        )

    # ── rules ────────────────────────────────────────────────────────────────────────────────────

    numbers_ = st.integers(0, 5)
    verdicts = st.sampled_from(["pass", "warn", "pass", "halt", "inconclusive"])
    nth = st.sampled_from((1, 1, 1, 2, 2, 3, 4, 5, 6))
    real = st.builds(Fault, st.sampled_from(FAULTS), nth)
    faults = st.none() | st.none() | real
    races = st.builds(Fault, st.just("meanwhile"), nth)
    others = st.sampled_from(["trip", "half open", "reset", "promote", "settle", "withdraw", "replay", "reconcile"])

    def arrive(self, file: str) -> None:
        """A file arrives; over another only if that one is known to the ledger already."""
        there = self.disk.get(INBOX + file) if self.disk.exists(INBOX + file) else None
        if there is None or identify(file, digest_of(there))[0] in self.read.batches:
            self.disk.put(INBOX + file, b"rows %d" % next(self.numbers))

    @rule(file=st.sampled_from(FILES))
    def deliver_again(self, file: str) -> None:
        """The bytes of a batch that is known arrive once more."""
        batch = next((k for k, b in self.read.batches.items() if b.file == file), None)
        if batch in self.kept and not self.disk.exists(INBOX + file):
            self.disk.put(INBOX + file, self.kept[batch])

    @rule(file=st.sampled_from(FILES), verdict=verdicts, fault=faults)
    def score_one(self, file: str, verdict: r.Verdict, fault: Fault | None) -> None:
        self.arrive(file)
        self.run(lambda store: self.score(store, file, verdict), fault)

    @rule(file=st.sampled_from(FILES), verdict=verdicts, fault=faults, new=st.booleans())
    def score_and_settle(self, file: str, verdict: r.Verdict, fault: Fault | None, new: bool) -> None:
        if new:
            self.arrive(file)

        def whole(store: FaultyMemory) -> None:
            before = len(self.held)
            self.score(store, file, verdict)
            for scored in self.held[before:]:
                self.predictions(store).settle(scored)

        self.run(whole, fault)

    @rule(number=numbers_, fault=faults)
    def publish_anew(self, number: int, fault: Fault | None) -> None:
        """A published batch is withdrawn, replayed, scored and settled once more."""

        def whole(store: FaultyMemory) -> None:
            batch = self.pick(number, "published")
            if batch is None:
                return
            self.predictions(store).withdraw(batch, "x")
            replay(self.ledger(store), Batches(store, "p"), batch, "x")
            before = len(self.held)
            self.score(store, self.read.batches[batch].file, "pass")
            for scored in self.held[before:]:
                self.predictions(store).settle(scored)

        self.run(whole, fault)

    @rule(number=numbers_, fault=faults)
    def settle(self, number: int, fault: Fault | None) -> None:
        self.run(self.actions(number)["settle"], fault)

    @rule(number=numbers_, fault=races, other=others)
    def settle_in_a_race(self, number: int, fault: Fault, other: str) -> None:
        self.run(self.actions(number)["settle"], fault, other)

    @rule(kind=st.sampled_from(["half open", "reset", "promote", "rollback", "trip"]), fault=faults)
    def turn(self, kind: str, fault: Fault | None) -> None:
        self.run(self.actions()[kind], fault)

    @rule(number=numbers_)
    def trip_and_come_back(self, number: int) -> None:
        """What a trip outdates is still held by publishers when the line is well again."""
        for kind in ("trip", "score", ("reset", "half open", "promote")[number % 3], "settle"):
            self.run(self.actions(number)[kind], None)

    @rule(kind=st.sampled_from(["half open", "reset", "trip"]), fault=real | races, other=others)
    def turn_and_count(self, kind: str, fault: Fault, other: str) -> None:
        """A lost reply, or another who was first, neither loses an entry nor doubles it."""
        before = len(self.entries)
        events: dict[str, r.Event] = {
            "half open": r.HalfOpened("counted"),
            "reset": r.Reset("counted"),
            "trip": r.Tripped("counted", r.Trip(None)),
        }
        ended = self.run(lambda store: self.write(store, events[kind]), fault, other)
        times = sum(entry.event == events[kind] for entry in self.entries[before:])
        assert times == 1 or (times == 0 and not ended), f"{events[kind]} was written {times} times"

    @rule(number=numbers_, kind=st.sampled_from(["withdraw", "replay", "repair", "drop"]), fault=faults)
    def handle(self, number: int, kind: str, fault: Fault | None) -> None:
        self.run(self.actions(number)[kind], fault)

    @rule(number=numbers_, kind=st.sampled_from(["withdraw", "reconcile", "replay"]), fault=races, other=others)
    def handle_in_a_race(self, number: int, kind: str, fault: Fault, other: str) -> None:
        self.run(self.actions(number)[kind], fault, other)

    @rule(fault=faults)
    def reconcile(self, fault: Fault | None) -> None:
        ended = self.run(self.actions()["reconcile"], fault)
        if ended and (fault is None or fault.kind != "stale-list"):
            assert self.visible() == self.expected(), "after a reconcile the folder is what the ledger says"

    # ── what must hold ───────────────────────────────────────────────────────────────────────────

    def visible(self) -> set[str]:
        return {item.key.removeprefix(VISIBLE).removesuffix(".parquet") for item in self.disk.list(VISIBLE)}

    def expected(self) -> set[str]:
        return {f"{batch}.{seq}" for batch, (seq, _) in self.published.items()}

    def look(self) -> None:
        """After each write: read what is new in the ledger, and hold the folder against it."""
        while self.disk.exists(key := f"{LEDGER}{self.read.seq + 1:08d}.json"):
            entry = decode(self.disk.get(key), key)
            self.check(entry)
            self.entries.append(entry)
            self.read = self.read.apply(entry)
        for item in self.disk.list("p/batches/"):
            batch, _, rest = item.key.removeprefix("p/batches/").partition("/")
            if rest.startswith("input."):
                data = self.disk.get(item.key)
                assert self.kept.setdefault(batch, data) == data, "a kept copy never changes"
        if not self.raced:
            assert self.visible() <= self.expected(), "at every instant only published batches are visible"

    def check(self, entry: r.Entry) -> None:
        """One more entry, against the state before it and a model that only reads events."""
        assert entry.seq == self.read.seq + 1
        match entry.event:
            case r.Published(batch=batch, mode=mode, attempt=attempt, assessment=assessment):
                assert self.read.breaker.admits(mode), f"entry {entry.seq} publishes past the breaker"
                assert self.read.breaker.status != "open" or mode == "fallback"
                assert batch not in self.published, f"entry {entry.seq} publishes {batch} a second time"
                assert assessment.verdict in ("pass", "warn")
                started = self.read.batches[batch]
                assert started.status == "started"
                assert started.started > self.tripped, f"entry {entry.seq} publishes what was begun before a trip"
                assert mode != "trial" or started.version == self.read.champion
                names = [self.read.batches[other].name for other in self.published]
                assert started.name not in names, f"entry {entry.seq} publishes the name {started.name} a second time"
                self.published[batch] = (entry.seq, attempt)
                SEEN.update([mode])
                if any(isinstance(e.event, r.Published) and e.event.batch == batch for e in self.entries):
                    SEEN.update(["published again"])
            case r.Withdrawn(batch=batch):
                del self.published[batch]
            case r.Quarantined(batch=batch, assessment=assessment):
                assert batch not in self.published and assessment.verdict in ("halt", "inconclusive")
            case r.Promoted(version=version):
                self.champions.append((entry.at, version))
            case _:
                pass
        if getattr(entry.event, "trip", None) is not None:
            self.tripped = entry.seq

    @invariant()
    def what_is_visible_is_what_was_staged(self) -> None:
        visible = self.visible()
        for batch, (seq, attempt) in self.published.items():
            if f"{batch}.{seq}" in visible:
                staged = self.disk.get(f"p/batches/{batch}/{attempt}/{PREDICTIONS}")
                assert self.disk.get(f"{VISIBLE}{batch}.{seq}.parquet") == staged

    @invariant()
    def the_ledger_has_no_gap_and_no_entry_twice(self) -> None:
        keys = [item.key for item in self.disk.list(LEDGER)]
        keys = [key for key in keys if re.fullmatch(r"\d+\.json", key.removeprefix(LEDGER))]
        assert keys == [f"{LEDGER}{n:08d}.json" for n in range(1, len(keys) + 1)]
        assert len(self.entries) == len(keys)
        assert max(Counter(entry.id for entry in self.entries).values()) == 1

    @invariant()
    def nothing_is_lost(self) -> None:
        inbox = {
            identify(item.key.removeprefix(INBOX), digest_of(self.disk.get(item.key)))[0]
            for item in self.disk.list(INBOX)
        }
        for batch in self.kept.keys() | self.read.batches.keys():
            known = self.read.batches.get(batch)
            assert known is not None or batch in inbox, f"{batch} was received and is nowhere"
            if known is not None:
                data = self.disk.get(Batches(self.disk, "p").input_key(batch, known.file))
                assert data == self.kept[batch] and batch.endswith(digest_of(data)[:12])
        for entry in self.entries:
            if isinstance(entry.event, r.Replayed) and entry.event.repaired is not None:
                assert entry.event.repaired in inbox | self.read.batches.keys(), "the repaired file is nowhere"

    @invariant()
    def the_state_from_the_checkpoint_is_the_state_from_the_first_entry(self) -> None:
        state = Ledger(self.disk, "p", self.clock, "me").state()
        assert state == self.read
        assert set(state.with_status("published")) == set(self.published)

    @invariant()
    def who_was_champion_at_any_time_is_known(self) -> None:
        for at in [self.entries[0].at, *(at for at, _ in self.champions), self.clock()]:
            naive = [version for since, version in self.champions if since <= at]
            assert self.read.champion_at(at) == (naive[-1] if naive else None)
        assert self.read.champion == self.champions[-1][1]

    def teardown(self) -> None:
        """The store is well again: one reconcile makes the folder right, and the fold from scratch agrees."""
        if not hasattr(self, "disk"):
            return
        self.run(self.actions()["reconcile"], None)
        assert self.visible() == self.expected()
        assert fold(self.entries) == self.read
        tried = Counter(type(entry.event).__name__ for entry in islice(self.entries, CHECKPOINT_EVERY - 2, None))
        SEEN.update(tried)


SEEN: Counter[str] = Counter()  # what the examples really reached


@pytest.mark.no_cover  # it is three times as slow under coverage, and each module has tests of its own
def test_the_promises_hold_whatever_happens() -> None:
    fixed = settings(max_examples=130, stateful_step_count=40, deadline=None, derandomize=True, database=None)
    SEEN.clear()
    run_state_machine_as_test(Promises, settings=fixed)
    never = {kind for kind in REACHED if not SEEN[kind]}
    assert not never, f"the examples never reach {never}: {SEEN}"
