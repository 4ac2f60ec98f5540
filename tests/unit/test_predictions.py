from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, get_args

import pytest

from fuseline import records as r
from fuseline.artifacts import digest as digest_of
from fuseline.batches import Batches, replay
from fuseline.breaker import Policy
from fuseline.errors import NotFound, Refused, SettingsError
from fuseline.ledger import Ledger
from fuseline.predictions import PREDICTIONS, Predictions, Scored
from fuseline.state import State
from fuseline.storage import Listed, MemoryStore, Store

PASS, WARN, HALT, UNKNOWN = (r.Assessment(v) for v in get_args(r.Verdict))


class Crash(Exception):
    """The process ends here; no code of ours may catch it."""


class Hooked:
    """A store that lets a test come in before and after each of its calls."""

    url = "memory://"

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.before: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None
        self.after: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.before(name, args)
            result = getattr(self.inner, name)(*args)
            self.after(name, args)
            return result

        return call

    def crash_at(self, nth: int, when: str) -> None:
        """End the process before or after its nth call."""
        calls = count(1)

        def crash(name: str, args: tuple[Any, ...]) -> None:
            if next(calls) == nth:
                raise Crash(f"{when} call {nth}: {name} {args[0]}")

        setattr(self, when, crash)

    def once(self, when: str, wanted: str, key: str, act: Callable[[], object]) -> None:
        """Do something else, whole, before or after the first call of this name whose first key holds `key`."""
        done = []

        def come_in(name: str, args: tuple[Any, ...]) -> None:
            if name == wanted and key in args[-1 if name == "copy" else 0] and not done:
                done.append(True)
                act()

        setattr(self, when, come_in)


class World:
    """A project whose batches are scored by hand; every process has its own services on one store."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.store, self.ticks, self.attempts = MemoryStore(), count(), count(1)
        self.policy = policy or Policy()
        self.write(r.Registered("v1", "d", {}), r.Promoted("v1", None, "gate", "first"))

    def clock(self) -> str:
        minutes, seconds = divmod(next(self.ticks), 60)
        return f"2026-03-08T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}+00:00"

    def ledger(self, store: Any = None, by: str = "me") -> Ledger:
        return Ledger(store or self.store, "p", self.clock, by)

    def predictions(self, store: Any = None, by: str = "me") -> Predictions:
        store = store or self.store
        return Predictions(store, self.ledger(store, by), Batches(store, "p"), self.policy)

    def write(self, *events: r.Event) -> None:
        for event in events:
            self.ledger().append(lambda state, event=event: event)

    @property
    def state(self) -> State:
        return self.ledger().state()

    def deliver(self, file: str = "a.csv", data: bytes = b"1") -> None:
        self.store.put(f"inbox/p/{file}", data)

    def scored(
        self, file: str = "a.csv", assessment: r.Assessment = PASS, mode: r.Mode = "champion", version: str = "v1"
    ) -> Scored:
        """Receive and start a file of the inbox as a run does, and stage what one attempt makes of it."""
        received = Batches(self.store, "p").receive(file)
        assert received is not None
        return self.attempt(received.batch, received.name, file, received.digest, assessment, mode, version)

    def attempt(
        self, batch: str, name: str, file: str, digest: str, assessment: r.Assessment, mode: r.Mode, version: str
    ) -> Scored:
        at = self.clock()
        self.write(r.Started(batch, name, file, digest, version, mode, at, 3))
        attempt = f"run{next(self.attempts)}"
        staged = f"predictions of {batch} by {attempt}".encode()
        self.store.put(f"p/batches/{batch}/{attempt}/{PREDICTIONS}", staged)
        started = self.state.seq
        return Scored(
            batch, name, file, digest, attempt, started, version, mode, at, 3, 0, digest_of(staged), assessment
        )

    def again(self, scored: Scored) -> Scored:
        """The same batch started and scored once more."""
        return self.attempt(
            scored.batch, scored.name, scored.file, scored.input_digest, PASS, scored.mode, scored.version
        )

    def staged(self, scored: Scored) -> bytes:
        return self.store.get(f"p/batches/{scored.batch}/{scored.attempt}/{PREDICTIONS}")

    @property
    def visible(self) -> dict[str, bytes]:
        prefix = "p/predictions/"
        return {i.key.removeprefix(prefix): self.store.get(i.key) for i in self.store.list(prefix)}

    @property
    def inbox(self) -> list[str]:
        return [item.key.removeprefix("inbox/p/") for item in self.store.list("inbox/p/")]

    def kinds(self) -> Counter[str]:
        return Counter(type(entry.event).__name__ for entry in self.ledger().entries())

    def shows(self, *scored: Scored) -> bool:
        """Whether the folder holds exactly these attempts, and the ledger says so too."""
        published = {key: b.attempt for key, b in self.state.with_status("published").items()}
        return published == {s.batch: s.attempt for s in scored} and self.visible == {
            self.file(s.batch): self.staged(s) for s in scored
        }

    def file(self, batch: str) -> str:
        """The name of what consumers read: the batch and the entry that published it."""
        return f"{batch}.{self.state.batches[batch].seq}.parquet"

    def hide(self, scored: Scored) -> None:
        """Remove what is visible, as a withdrawal that crashed before its entry does."""
        self.store.delete(f"p/predictions/{self.file(scored.batch)}")

    @property
    def may_be_visible(self) -> set[str]:
        return {self.file(batch) for batch in self.state.with_status("published")}


@pytest.fixture
def world() -> World:
    world = World()
    world.deliver()
    return world


# ── settle ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("assessment", [PASS, WARN], ids=["pass", "warn"])
def test_a_good_batch_is_published_visible_and_out_of_the_inbox(world: World, assessment: r.Assessment) -> None:
    scored = world.scored(assessment=assessment)
    entry = world.predictions(by="run7").settle(scored)
    assert entry is not None and entry.event == r.Published(
        batch=scored.batch,
        attempt=scored.attempt,
        version="v1",
        mode="champion",
        rows=3,
        rejected=0,
        scored_at=scored.scored_at,
        digest=scored.digest,
        assessment=assessment,
        run="run7",
    )
    assert world.shows(scored) and world.inbox == []
    assert digest_of(world.visible[f"{scored.batch}.{entry.seq}.parquet"]) == scored.digest


def test_a_halted_batch_is_quarantined_trips_and_is_not_visible(world: World) -> None:
    scored = world.scored(assessment=HALT)
    entry = world.predictions().settle(scored)
    assert entry is not None and isinstance(entry.event, r.Quarantined) and entry.event.trip is not None
    assert world.state.batches[scored.batch].status == "quarantined" and world.state.breaker.status == "open"
    assert world.visible == {} and world.inbox == []
    assert world.store.get(f"p/batches/{scored.batch}/input.csv") == b"1"


def test_batches_that_cannot_be_judged_are_quarantined_and_trip_at_the_limit() -> None:
    world, statuses = World(Policy(inconclusive_limit=3)), []
    for number in range(3):
        world.deliver(f"b{number}.csv", b"%d" % number)
        world.predictions().settle(world.scored(f"b{number}.csv", UNKNOWN))
        statuses.append(world.state.breaker.status)
    assert statuses == ["closed", "closed", "open"]
    assert world.visible == {} and len(world.state.with_status("quarantined")) == 3


def test_a_batch_that_is_settled_twice_is_published_once(world: World) -> None:
    scored = world.scored()
    assert world.predictions().settle(scored) is not None
    assert world.predictions().settle(scored) is None
    assert world.kinds()["Published"] == 1 and world.shows(scored)


def test_of_two_attempts_at_one_start_the_first_counts(world: World) -> None:
    first = world.scored()
    second = replace(first, attempt="other")
    world.store.put(f"p/batches/{first.batch}/other/{PREDICTIONS}", b"other")
    assert world.predictions().settle(first) is not None
    assert world.predictions().settle(second) is None
    assert world.predictions().settle(replace(second, assessment=HALT)) is None
    assert world.shows(first) and world.state.breaker.status == "closed"


@pytest.mark.parametrize("assessment", [PASS, HALT], ids=["pass", "halt"])
def test_an_attempt_that_was_started_anew_meanwhile_does_not_count(world: World, assessment: r.Assessment) -> None:
    old = world.scored(assessment=assessment)
    new = world.again(old)
    assert world.predictions().settle(old) is None and world.visible == {} and world.inbox == ["a.csv"]
    assert world.predictions().settle(new) is not None and world.shows(new)


def test_a_file_that_replaced_the_one_that_was_scored_stays_in_the_inbox(world: World) -> None:
    scored = world.scored()
    world.deliver(data=b"2")
    world.predictions().settle(scored)
    assert world.shows(scored) and world.inbox == ["a.csv"]


@pytest.mark.parametrize("mode", get_args(r.Mode))
@pytest.mark.parametrize("status", ["closed", "open", "half_open"])
def test_a_batch_is_published_only_where_the_breaker_admits_its_mode(status: str, mode: r.Mode) -> None:
    world = World()
    world.deliver()
    if status != "closed":
        world.write(r.Tripped("x", r.Trip(None)))
    if status == "half_open":
        world.write(r.HalfOpened("x"))
    scored = world.scored(mode=mode)
    entry = world.predictions().settle(scored)
    if (status, mode) in {("closed", "champion"), ("open", "fallback"), ("half_open", "trial")}:
        assert entry is not None and world.shows(scored) and world.inbox == []
    else:
        assert entry is None and world.shows() and world.inbox == ["a.csv"]
        assert world.state.batches[scored.batch].status == "started"


def test_a_trial_that_passes_closes_the_breaker_and_one_that_halts_opens_it_for_longer() -> None:
    for assessment, status in ((PASS, "closed"), (HALT, "open")):
        world = World(Policy(cool_down_hours=1.0))
        world.deliver()
        world.write(r.Tripped("x", r.Trip("2026-03-08T00:00:05+00:00")), r.HalfOpened("x"))
        world.predictions().settle(world.scored(assessment=assessment, mode="trial"))
        assert world.state.breaker.status == status
        if status == "open":
            assert world.state.breaker.trips == 2
            assert (world.state.breaker.until or "").startswith("2026-03-08T02:00")


def test_what_no_attempt_scored_is_quarantined_once_whether_it_was_started_or_not() -> None:
    world = World()
    world.deliver("a.csv")
    cause = r.Assessment("inconclusive", None, (r.Cause("unreadable", "cut off", level="inconclusive"),))
    unscored = replace(world.scored(), attempt="", started=0, rows=0, digest="", assessment=cause)
    fresh = replace(unscored, batch="b.0", name="b", file="b.csv")
    for one in (unscored, fresh):
        entry = world.predictions().settle(one)
        assert entry is not None and isinstance(entry.event, r.Quarantined)
        assert (entry.event.attempt, entry.event.digest, entry.event.assessment) == ("", one.input_digest, cause)
        assert world.predictions().settle(one) is None
    assert world.inbox == []


def test_where_neither_data_nor_model_is_at_fault_the_breaker_stays_as_it_is() -> None:
    for trip, status in ((False, "closed"), (True, "open")):
        world = World()
        world.deliver("a.csv")
        entry = world.predictions().settle(replace(world.scored(assessment=HALT), trip=trip))
        assert entry is not None and world.state.breaker.status == status


# ── races ────────────────────────────────────────────────────────────────────────────────────────


def test_a_publisher_that_races_a_trip_loses(world: World) -> None:
    scored, hooked = world.scored(), Hooked(world.store)
    hooked.once("before", "create", "ledger", lambda: world.write(r.Tripped("by hand", r.Trip(None))))
    assert world.predictions(hooked).settle(scored) is None
    assert world.kinds()["Published"] == 0 and world.shows() and world.inbox == ["a.csv"]


def test_a_publisher_that_races_a_halted_batch_loses(world: World) -> None:
    world.deliver("b.csv", b"2")
    good, bad, hooked = world.scored(), world.scored("b.csv", HALT), Hooked(world.store)
    hooked.once("before", "create", "ledger", lambda: world.predictions().settle(bad))
    assert world.predictions(hooked).settle(good) is None
    assert world.shows() and world.inbox == ["a.csv"]


def test_two_publishers_of_one_batch_publish_it_once(world: World) -> None:
    scored, hooked = world.scored(), Hooked(world.store)
    hooked.once("before", "create", "ledger", lambda: world.predictions().settle(scored))
    assert world.predictions(hooked).settle(scored) is None
    assert world.kinds()["Published"] == 1 and world.shows(scored) and world.inbox == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_that_is_withdrawn_while_it_is_made_visible_does_not_stay(world: World, when: str) -> None:
    scored, hooked = world.scored(), Hooked(world.store)
    hooked.once(when, "copy", "predictions", lambda: world.predictions().withdraw(scored.batch, "wrong"))
    assert world.predictions(hooked).settle(scored) is not None
    assert world.shows() and world.kinds()["Withdrawn"] == 1


def test_a_copy_by_a_slow_reconcile_does_not_replace_a_newer_publication(world: World) -> None:
    """After the copy the batch is published: but by a later attempt than the one that was copied."""
    old = world.scored()
    world.predictions().settle(old)
    world.hide(old)
    newer = []

    def publish_anew() -> None:
        world.predictions().withdraw(old.batch, "wrong")
        replay(world.ledger(), Batches(world.store, "p"), old.batch, "again")
        newer.append(world.again(old))
        world.predictions().settle(newer[0])

    hooked = Hooked(world.store)
    hooked.once("before", "copy", "predictions", publish_anew)
    world.predictions(hooked).reconcile(world.state)
    world.predictions().reconcile(world.state)
    assert world.shows(*newer), "consumers read the attempt that was withdrawn"


def test_a_new_publication_does_not_show_what_a_crashed_withdrawal_left(world: World) -> None:
    """A reconcile comes between the delete and the entry, then the withdrawal crashes: the file is still there."""
    old = world.scored()
    world.predictions().settle(old)
    hooked = Hooked(world.store)
    hooked.once("after", "delete", "predictions", lambda: world.predictions().reconcile(world.state))

    def crash(name: str, args: tuple[Any, ...]) -> None:
        if name == "delete" and world.kinds()["Withdrawn"]:
            raise Crash

    hooked.before = crash
    with pytest.raises(Crash):
        world.predictions(hooked).withdraw(old.batch, "wrong")
    replay(world.ledger(), Batches(world.store, "p"), old.batch, "again")
    new = world.again(old)
    world.predictions().settle(new)
    world.predictions().reconcile(world.state)
    assert world.shows(new), "consumers read the attempt that was withdrawn"


def test_two_batches_of_one_name_are_not_both_published(world: World) -> None:
    """Two that are started together both find the name free; the first that is settled takes it."""
    world.deliver("a.jsonl", b"2")
    first, second = world.scored(), world.scored("a.jsonl")
    assert first.name == second.name
    world.predictions().settle(first)
    world.predictions().settle(second)
    assert len(world.state.with_status("published")) == 1, "their rows carry the same ids"


def test_a_trial_of_the_champion_before_does_not_close_the_breaker_for_the_new_one(world: World) -> None:
    """Labels tripped v1 and only a new champion may try; a slow run still holds a trial of v1."""
    world.write(r.Tripped("x", r.Trip("2026-03-08T00:00:05+00:00")), r.HalfOpened("x"))
    slow = world.scored(mode="trial", version="v1")
    world.write(
        r.Tripped("labels: v1 is wrong", r.Trip(None)),
        r.Registered("v2", "d", {}),
        r.Promoted("v2", "v1", "gate", "better"),
    )
    assert world.state.breaker.status == "half_open"
    assert world.predictions().settle(slow) is None, "v1's trial was begun before the trip"
    assert world.state.breaker.status == "half_open", "v2 has not been tried"


def test_a_batch_that_was_scored_before_a_trip_is_not_published_after_it_by_the_version_that_tripped(
    world: World,
) -> None:
    """The breaker is closed again by v2's trial, so that by its status alone v1's scores would be admitted."""
    world.deliver("b.csv", b"2")
    slow = world.scored()
    world.write(
        r.Tripped("labels: v1 is wrong", r.Trip(None)),
        r.Registered("v2", "d", {}),
        r.Promoted("v2", "v1", "gate", "better"),
    )
    world.predictions().settle(world.scored("b.csv", mode="trial", version="v2"))
    assert world.state.breaker.status == "closed"
    assert world.predictions().settle(slow) is None


# ── crashes ──────────────────────────────────────────────────────────────────────────────────────


def crashes(prepare: Callable[[World], Callable[[Predictions], object]]) -> Iterator[tuple[World, str]]:
    """The world after a crash at each call of the store in turn, before and after it, as long as there is one."""
    for when in ("before", "after"):
        for nth in count(1):
            world = World()
            world.deliver()
            act, hooked = prepare(world), Hooked(world.store)
            hooked.crash_at(nth, when)
            try:
                act(world.predictions(hooked))
            except Crash as crash:
                yield world, str(crash)
            else:
                assert nth > 5, "it was never interrupted"
                break


def test_wherever_a_publisher_crashes_the_batch_is_published_once_and_nothing_is_left_over() -> None:
    held: list[Scored] = []

    def prepare(world: World) -> Callable[[Predictions], object]:
        held.append(world.scored())
        return lambda predictions: predictions.settle(held[-1])

    for world, crash in crashes(prepare):
        scored = held[-1]
        assert set(world.visible) <= world.may_be_visible, crash
        assert world.inbox == ["a.csv"] or world.state.batches[scored.batch].final, crash
        world.predictions().reconcile(world.state)
        world.predictions().settle(scored)
        assert world.shows(scored) and world.kinds()["Published"] == 1, crash
        assert world.inbox == [] and world.store.get(f"p/batches/{scored.batch}/input.csv") == b"1", crash


def test_wherever_a_publisher_crashes_another_attempt_publishes_it_at_most_once() -> None:
    held: list[Scored] = []

    def prepare(world: World) -> Callable[[Predictions], object]:
        held.append(world.scored())
        return lambda predictions: predictions.settle(held[-1])

    for world, crash in crashes(prepare):
        first = held[-1]
        world.predictions().reconcile(world.state)
        settled = world.state.batches[first.batch].final
        last = first if settled else world.again(first)
        assert (world.predictions().settle(last) is None) == settled, crash
        assert (world.predictions().settle(first)) is None, crash
        assert world.shows(last) and world.kinds()["Published"] == 1 and world.inbox == [], crash


def test_wherever_a_quarantine_crashes_the_batch_is_quarantined_once() -> None:
    held: list[Scored] = []

    def prepare(world: World) -> Callable[[Predictions], object]:
        held.append(world.scored(assessment=HALT))
        return lambda predictions: predictions.settle(held[-1])

    for world, crash in crashes(prepare):
        assert world.inbox == ["a.csv"] or world.state.batches[held[-1].batch].final, crash
        world.predictions().settle(held[-1])
        assert world.kinds()["Quarantined"] == 1 and world.state.breaker.trips == 1, crash
        assert world.shows() and world.inbox == [], crash


def test_wherever_a_withdrawal_crashes_nothing_stays_visible_that_is_not_published() -> None:
    held: list[Scored] = []

    def prepare(world: World) -> Callable[[Predictions], object]:
        held.append(world.scored())
        world.predictions().settle(held[-1])
        return lambda predictions: predictions.withdraw(held[-1].batch, "wrong")

    for world, crash in crashes(prepare):
        assert set(world.visible) <= world.may_be_visible, crash
        world.predictions().reconcile(world.state)
        withdrawn = world.state.batches[held[-1].batch].status == "withdrawn"
        assert world.shows(*([] if withdrawn else held[-1:])), crash
        if not withdrawn:
            world.predictions().withdraw(held[-1].batch, "wrong")
        assert world.shows() and world.kinds()["Withdrawn"] == 1, crash


def test_wherever_a_reconcile_crashes_the_next_one_ends_it() -> None:
    held: list[Scored] = []

    def prepare(world: World) -> Callable[[Predictions], object]:
        held.append(world.scored())
        world.predictions().settle(held[-1])
        world.hide(held[-1])
        world.store.put("p/predictions/stray.parquet", b"x")
        return lambda predictions: predictions.reconcile(predictions.ledger.state())

    for world, crash in crashes(prepare):
        world.predictions().reconcile(world.state)
        assert world.shows(held[-1]), crash


# ── withdraw and reconcile ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", ["a", "identity"])
def test_a_withdrawn_batch_is_gone_at_once(world: World, by: str) -> None:
    scored = world.scored()
    world.predictions().settle(scored)
    assert world.predictions().withdraw(scored.batch if by == "identity" else by, "wrong prices") == scored.batch
    assert world.shows() and world.state.batches[scored.batch].status == "withdrawn"
    assert world.staged(scored), "what was published can still be looked at"


def test_what_is_not_published_cannot_be_withdrawn(world: World) -> None:
    with pytest.raises(SettingsError, match="no batch 'a'"):
        world.predictions().withdraw("a", "x")
    scored = world.scored()
    with pytest.raises(Refused, match="is started; only a published batch"):
        world.predictions().withdraw("a", "x")
    world.predictions().settle(scored)
    world.predictions().withdraw("a", "x")
    with pytest.raises(Refused, match="is withdrawn; only a published batch"):
        world.predictions().withdraw("a", "x")
    assert world.kinds()["Withdrawn"] == 1


def test_a_batch_that_two_people_withdraw_is_withdrawn_once(world: World) -> None:
    scored = world.scored()
    world.predictions().settle(scored)
    hooked = Hooked(world.store)
    hooked.once("before", "create", "ledger", lambda: world.predictions().withdraw("a", "first"))
    with pytest.raises(Refused, match="is withdrawn"):
        world.predictions(hooked).withdraw("a", "second")
    assert world.shows() and world.kinds()["Withdrawn"] == 1


def test_a_published_batch_is_withdrawn_by_name_although_another_of_that_name_was_refused(world: World) -> None:
    """The refused one is told "withdraw that one first": then the name must find the published one."""
    scored = world.scored()
    world.predictions().settle(scored)
    world.write(r.Quarantined("a.2", "a", "a.csv", "", "v1", "champion", 0, 0, r.Assessment("halt", None)))
    assert world.predictions().withdraw("a", "the other one is right") == scored.batch


def test_a_reconcile_in_the_middle_of_a_withdrawal_leaves_nothing_visible(world: World) -> None:
    scored = world.scored()
    world.predictions().settle(scored)
    hooked = Hooked(world.store)
    hooked.once("after", "delete", "predictions", lambda: world.predictions().reconcile(world.state))
    world.predictions(hooked).withdraw(scored.batch, "wrong")
    assert world.shows()


def test_a_withdrawal_in_the_middle_of_a_reconcile_leaves_nothing_visible(world: World) -> None:
    for when, call in (("before", "list"), ("after", "list"), ("before", "copy"), ("after", "copy")):
        world = World()
        world.deliver()
        scored = world.scored()
        world.predictions().settle(scored)
        world.hide(scored)
        hooked, state = Hooked(world.store), world.state
        hooked.once(when, call, "predictions", lambda w=world, s=scored: w.predictions().withdraw(s.batch, "x"))
        world.predictions(hooked).reconcile(state)
        assert world.shows(), f"{when} {call}"


def test_a_batch_that_is_published_while_reconcile_looks_for_strays_stays(world: World) -> None:
    scored, state = world.scored(), world.state
    world.predictions().settle(scored)
    world.predictions().reconcile(state)
    assert world.shows(scored)


def test_strays_are_removed_and_what_is_published_is_shown_again(world: World) -> None:
    scored = world.scored()
    world.predictions().settle(scored)
    world.store.put("p/predictions/b.123.parquet", b"stray")
    world.store.put("p/predictions/sub/c.parquet", b"stray")
    world.hide(scored)
    world.store.put("p2/predictions/b.parquet", b"another project's")
    world.predictions().reconcile(world.state)
    assert world.shows(scored) and world.store.exists("p2/predictions/b.parquet")


def test_a_reconcile_of_what_is_well_writes_nothing(world: World) -> None:
    scored = world.scored()
    world.predictions().settle(scored)
    hooked, calls = Hooked(world.store), Counter[str]()
    hooked.before = lambda name, args: calls.update([name])
    world.predictions(hooked).reconcile(world.state)
    assert calls == {"list": 1}


def test_a_list_that_is_stale_makes_nothing_visible_that_is_not_published(world: World) -> None:
    class Stale(Hooked):
        def list(self, prefix: str) -> Iterator[Listed]:
            return iter(())

    scored = world.scored()
    world.predictions().settle(scored)
    world.predictions(Stale(world.store)).reconcile(world.state)
    assert world.shows(scored)


def test_predictions_that_are_gone_are_named_with_what_to_do(world: World) -> None:
    scored = world.scored()
    world.store.delete(f"p/batches/{scored.batch}/{scored.attempt}/{PREDICTIONS}")
    for again in (
        lambda: world.predictions().settle(scored),
        lambda: world.predictions().reconcile(world.state),
    ):
        with pytest.raises(NotFound, match=rf"{scored.attempt}/{PREDICTIONS} is gone.*fuseline predictions p --withd"):
            again()
    world.predictions().withdraw(scored.batch, "gone")
    world.predictions().reconcile(world.state)
    assert world.shows()


def test_one_batch_whose_predictions_are_gone_does_not_hide_the_others(world: World) -> None:
    world.deliver("b.csv", b"2")
    first, second = world.scored(), world.scored("b.csv")
    for scored in (first, second):
        world.predictions().settle(scored)
        world.hide(scored)
    world.store.delete(f"p/batches/{first.batch}/{first.attempt}/{PREDICTIONS}")
    with pytest.raises(NotFound):
        world.predictions().reconcile(world.state)
    assert list(world.visible) == [world.file(second.batch)]


def test_a_batch_of_which_nothing_was_predicted_is_refused_before_anything_is_written(world: World) -> None:
    scored, before = replace(world.scored(), digest=""), world.state
    with pytest.raises(Refused, match=f"nothing was predicted for {scored.batch}"):
        world.predictions().settle(scored)
    assert world.state == before and world.inbox == ["a.csv"]
    assert world.predictions().settle(replace(scored, assessment=HALT)) is not None


def test_a_trip_after_which_the_breaker_was_reset_still_outdates_what_was_begun_before_it(world: World) -> None:
    old = world.scored()
    world.write(r.Tripped("x", r.Trip(None)), r.Reset("mended"))
    assert world.predictions().settle(old) is None and world.inbox == ["a.csv"]
    new = world.again(old)
    assert world.predictions().settle(new) is not None and world.shows(new)


def test_a_trial_of_a_version_that_was_replaced_meanwhile_is_not_published(world: World) -> None:
    world.write(r.Tripped("x", r.Trip(None)), r.HalfOpened("x"))
    trial = world.scored(mode="trial")
    world.write(r.Registered("v2", "d", {}), r.Promoted("v2", "v1", "gate", "better"))
    assert world.predictions().settle(trial) is None
    assert world.state.breaker.status == "half_open"
