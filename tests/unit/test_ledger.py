from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.errors import (
    AlreadyExists,
    FuselineError,
    LedgerError,
    NotFound,
    NotWritten,
    Refused,
    StoreError,
    UnknownOutcome,
)
from fuseline.folder import FolderStore
from fuseline.ledger import ATTEMPTS, CHECKPOINT_EVERY, KINDS, Ledger, decode, encode, kind_of
from fuseline.state import FOLD, State, fold
from fuseline.storage import Listed, MemoryStore, Store

ASK = r.RetrainAsked("drift")


class Hooked:
    """A store that counts its calls and lets a test come in before and after each of them."""

    url = "memory://"

    def __init__(self, inner: Store) -> None:
        self.inner, self.calls = inner, Counter[str]()
        self.before: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None
        self.after: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls[name] += 1
            self.before(name, args)
            result = getattr(self.inner, name)(*args)
            self.after(name, args)
            return result

        return call


def clock() -> Callable[[], str]:
    ticks = count()

    def now() -> str:
        minutes, seconds = divmod(next(ticks), 60)
        return f"2026-03-{1 + minutes // 1440:02d}T{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}+00:00"

    return now


def ledger_in(store: Any, by: str = "me") -> Ledger:
    return Ledger(store, "p", clock(), by)


def written(store: Store) -> list[r.Entry]:
    return list(ledger_in(store).entries())


# ── one entry as JSON ────────────────────────────────────────────────────────────────────────────

FLOATS, WHOLE, TEXT = st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.text()
CAUSES = st.builds(r.Cause, observed=st.none() | FLOATS, bound=st.none() | FLOATS, harm=st.none() | FLOATS)
CHECKS = st.builds(r.Check, observed=st.none() | FLOATS, bound=st.none() | FLOATS)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "metrics": st.dictionaries(TEXT, FLOATS),
    "checks": st.lists(CHECKS).map(tuple),
    "causes": st.lists(CAUSES).map(tuple),
    "batches": st.lists(st.builds(r.BatchMeasured, rows=WHOLE, value=st.none() | FLOATS, se=st.none() | FLOATS)).map(
        tuple
    ),
    "assessment": st.builds(
        r.Assessment,
        harm=st.none() | FLOATS,
        causes=st.lists(CAUSES, max_size=2).map(tuple),
        checks=st.lists(CHECKS, max_size=2).map(tuple),
        business=st.dictionaries(TEXT, FLOATS, max_size=2),
    ),
    "pooled": st.none() | st.builds(r.Measured, value=FLOATS, se=FLOATS, rows=WHOLE),
    "reference": st.none() | FLOATS,
    "bound": st.none() | FLOATS,
    "figures": st.dictionaries(TEXT, FLOATS, max_size=2),
    "every_hours": FLOATS,
    "rows": WHOLE,
    "rejected": WHOLE,
    "unmatched": WHOLE,
}


def events(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{field: KNOWN[field] for field in kind.__annotations__ if field in KNOWN})


ENTRIES = st.builds(r.Entry, st.integers(1, 10**8), TEXT, TEXT, TEXT, st.one_of(*map(events, get_args(r.Event))))


@given(ENTRIES)
@settings(max_examples=300, deadline=None)
def test_every_event_reads_back_as_it_was_written(entry: r.Entry) -> None:
    assert decode(encode(entry), "k") == entry


def test_every_kind_of_event_has_a_name_of_its_own() -> None:
    assert len(KINDS) == len(get_args(r.Event))
    assert kind_of(ASK) == "retrainasked" and KINDS["retrainasked"] is r.RetrainAsked


OLDEST = b"""{
 "format": 1,
 "seq": 7,
 "id": "0123456789abcdef",
 "at": "2026-03-08T06:00:00+00:00",
 "by": "InferenceFlow/12",
 "kind": "quarantined",
 "data": {
  "batch": "2026-03-08.0123456789ab",
  "name": "2026-03-08",
  "file": "2026-03-08.parquet",
  "attempt": "run-12",
  "version": "v1",
  "mode": "champion",
  "rows": 1000,
  "rejected": 3,
  "assessment": {
   "verdict": "halt",
   "harm": 0.08,
   "causes": [
    {"kind": "harm", "sentence": "price_eur is 100 times what it was", "column": "price_eur", "observed": 100.0,
     "bound": 1.2, "harm": 0.08, "fault": "data", "level": "halt"}
   ],
   "checks": [{"name": "scale", "observed": 100.0, "bound": 1.2, "column": "price_eur"}],
   "business": {"expected_revenue_eur": 1250.5}
  },
  "trip": {"until": "2026-03-09T06:00:00+00:00", "trials": 1},
  "run": "InferenceFlow/12"
 }
}"""


def test_an_entry_of_the_oldest_format_stays_readable() -> None:
    cause = r.Cause("harm", "price_eur is 100 times what it was", "price_eur", 100.0, 1.2, 0.08)
    checks = (r.Check("scale", 100.0, 1.2, "price_eur"),)
    assert decode(OLDEST, "k") == r.Entry(
        seq=7,
        id="0123456789abcdef",
        at="2026-03-08T06:00:00+00:00",
        by="InferenceFlow/12",
        event=r.Quarantined(
            batch="2026-03-08.0123456789ab",
            name="2026-03-08",
            file="2026-03-08.parquet",
            attempt="run-12",
            version="v1",
            mode="champion",
            rows=1000,
            rejected=3,
            assessment=r.Assessment("halt", 0.08, (cause,), checks, {"expected_revenue_eur": 1250.5}),
            trip=r.Trip("2026-03-09T06:00:00+00:00", 1),
            run="InferenceFlow/12",
        ),
    )


@pytest.mark.parametrize("data", [b"", b"{", b"not json", b"[]", b"3", b"null", b"\xff\xfe", OLDEST[:100]])
def test_what_is_not_json_is_named_and_nothing_is_guessed(data: bytes) -> None:
    with pytest.raises(LedgerError, match=r"p/ledger/00000007\.json is not a ledger entry: .*restore"):
        decode(data, "p/ledger/00000007.json")


@pytest.mark.parametrize("number", [None, "1", 1.5, [1]])
def test_an_entry_without_a_number_of_its_format_is_none(number: object) -> None:
    with pytest.raises(LedgerError, match="k is not a ledger entry"):
        decode(json.dumps({**json.loads(OLDEST), "format": number}).encode(), "k")


def test_a_newer_format_is_told_apart_even_if_nothing_else_is_as_it_was() -> None:
    with pytest.raises(LedgerError, match=r"k has format 3.* upgrade"):
        decode(b'{"format": 3, "all": "different"}', "k")


@pytest.mark.parametrize("number", [3, 99])
def test_a_newer_format_asks_for_an_upgrade(number: object) -> None:
    with pytest.raises(LedgerError, match=r"k has format .* upgrade"):
        decode(json.dumps({**json.loads(OLDEST), "format": number}).encode(), "k")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "exploded"},
        {"kind": None},
        {"kind": ["quarantined"]},
        {"data": None},
        {"data": {}},
        {"data": {**json.loads(OLDEST)["data"], "rows": "many"}},
        {"data": {**json.loads(OLDEST)["data"], "mode": "guess"}},
    ],
    ids=["unknown kind", "no kind", "a list as kind", "no data", "empty data", "wrong type", "unknown mode"],
)
def test_an_entry_that_holds_something_else_is_an_error_of_the_ledger(changes: dict[str, object]) -> None:
    with pytest.raises(LedgerError, match="k does not hold what an entry of format 1 holds"):
        decode(json.dumps({**json.loads(OLDEST), **changes}).encode(), "k")


@pytest.mark.parametrize("field", ["seq", "id", "at", "by", "kind", "data"])
def test_an_entry_without_one_of_its_fields_is_an_error_of_the_ledger(field: str) -> None:
    document = json.loads(OLDEST)
    del document[field]
    with pytest.raises(LedgerError, match="k does not hold"):
        decode(json.dumps(document).encode(), "k")


@pytest.mark.parametrize("field", ["id", "at", "by"])
def test_an_entry_whose_own_fields_are_no_text_is_an_error_of_the_ledger(field: str) -> None:
    with pytest.raises(LedgerError):
        decode(json.dumps({**json.loads(OLDEST), field: None}).encode(), "k")


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_json_cannot_hold_does_not_end_the_ledger(figure: float) -> None:
    """JSON has no NaN: it is written as null, and a null where a number must be can never be read again."""
    ledger = ledger_in(MemoryStore())
    try:
        ledger.append(lambda state: r.Registered("v1", "d", {"auc": figure}))
    except (FuselineError, ValueError):
        assert written(ledger.store) == [], "refused: then nothing may be there"
    ledger.append(lambda state: ASK)
    assert ledger.state().retrain is not None


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_ledger_is_an_empty_project() -> None:
    assert ledger_in(MemoryStore()).state() == State()
    assert ledger_in(MemoryStore()).state_at("2026-03-08T00:00:00+00:00") == State()


def test_an_entry_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        ledger_in(MemoryStore()).entry(1)


def test_entries_of_two_projects_do_not_mix() -> None:
    store = MemoryStore()
    ledger_in(store).append(lambda state: ASK)
    assert Ledger(store, "q", clock(), "me").state() == State()
    assert Ledger(store, "p2", clock(), "me").state() == State()


def test_an_entry_whose_number_is_not_its_place_is_an_error() -> None:
    store = MemoryStore()
    ledger = ledger_in(store)
    for _ in range(2):
        ledger.append(lambda state: ASK)
    store.put(ledger.key(2), store.get(ledger.key(1)))
    with pytest.raises(LedgerError, match=r"p/ledger/00000002\.json says that it is entry 1"):
        ledger.state()


def test_nothing_is_written_after_an_entry_that_cannot_be_read() -> None:
    store = MemoryStore()
    ledger = ledger_in(store)
    ledger.append(lambda state: ASK)
    store.put(ledger.key(1), b"garbage")
    before = {item.key for item in store.list("")}
    with pytest.raises(LedgerError):
        ledger.append(lambda state: ASK)
    assert {item.key for item in store.list("")} == before


def test_the_state_at_a_time_is_that_of_the_last_entry_that_is_not_later() -> None:
    ledger = ledger_in(MemoryStore())
    made = [ledger.append(lambda state: r.Reset(f"r{state.seq}")) for _ in range(3)]
    times = [entry.at for entry in made if entry]
    assert [ledger.state_at(t).seq for t in times] == [1, 2, 3]
    assert ledger.state_at(times[1].replace("+00:00", ".999+00:00")).seq == 2
    assert ledger.state_at("2025-01-01T00:00:00+00:00") == State()


def test_entries_can_be_read_from_any_place_on() -> None:
    ledger = ledger_in(MemoryStore())
    for _ in range(5):
        ledger.append(lambda state: ASK)
    assert [entry.seq for entry in ledger.entries(after=3)] == [4, 5]
    assert ledger.state(since=fold(list(ledger.entries())[:2])) == ledger.state()


def test_lists_that_are_stale_hide_nothing() -> None:
    class Stale(MemoryStore):
        def list(self, prefix: str) -> Iterator[Listed]:
            return iter(())

    store = Stale()
    for by in ("one", "two", "one"):
        ledger_in(store, by).append(lambda state: ASK)
    assert [(e.seq, e.by) for e in written(store)] == [(1, "one"), (2, "two"), (3, "one")]


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_carries_its_place_time_writer_and_event() -> None:
    ledger = Ledger(MemoryStore(), "p", lambda: "2026-03-08T06:00:00+00:00", "ann")
    entry = ledger.append(lambda state: ASK)
    assert entry is not None and written(ledger.store) == [entry]
    assert (entry.seq, entry.at, entry.by, entry.event) == (1, "2026-03-08T06:00:00+00:00", "ann", ASK)


def test_a_decision_for_nothing_writes_nothing() -> None:
    store = MemoryStore()
    assert ledger_in(store).append(lambda state: None) is None
    assert list(store.list("")) == []


def test_a_refusal_leaves_nothing() -> None:
    def refuse(state: State) -> r.Event:
        raise Refused("no")

    store = MemoryStore()
    with pytest.raises(Refused, match="no"):
        ledger_in(store).append(refuse)
    assert list(store.list("")) == []


def test_a_decision_is_made_again_on_what_the_winner_wrote() -> None:
    store = MemoryStore()
    seen = []

    def decide(state: State) -> r.Event | None:
        seen.append((state.seq, state.retrain is not None))
        if state.seq == 0:
            ledger_in(store, "other").append(lambda state: ASK)
        return None if state.retrain else ASK

    assert ledger_in(store).append(decide) is None
    assert seen == [(0, False), (1, True)]
    assert [entry.by for entry in written(store)] == ["other"]


def test_a_state_that_is_out_of_date_does_no_harm() -> None:
    ledger = ledger_in(MemoryStore())
    for _ in range(3):
        ledger.append(lambda state: ASK, since=State())
    assert [entry.seq for entry in ledger.entries()] == [1, 2, 3]


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_eight_writers_at_once_leave_no_gap_and_each_entry_once(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else FolderStore(tmp_path)
    each, mine = (20 if kind == "memory" else 5), dict[str, list[str]]()

    def work(by: str) -> None:
        ledger = ledger_in(store, by)
        made = [ledger.append(lambda state: r.RetrainAsked(f"{by} after {state.seq}")) for _ in range(each)]
        mine[by] = [entry.id for entry in made if entry]

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = written(store)
    assert [entry.seq for entry in entries] == list(range(1, 8 * each + 1))
    assert {by: [e.id for e in entries if e.by == by] for by in mine} == mine and len(mine) == 8
    for entry in entries:
        assert isinstance(entry.event, r.RetrainAsked)
        assert entry.event.reason == f"{entry.by} after {entry.seq - 1}", "it saw exactly what it follows"


# ── when the store fails ─────────────────────────────────────────────────────────────────────────


class Flaky(Hooked):
    """A store whose creates of entries go wrong in the given ways, one after the other; then all is well."""

    def __init__(self, inner: Store, *ways: str) -> None:
        super().__init__(inner)
        self.ways, self.late = list(ways), list[tuple[str, bytes]]()

    def create(self, key: str, data: bytes) -> None:
        self.calls["create"] += 1
        way = self.ways.pop(0) if self.ways else "well"
        if way == "fail":
            raise NotWritten("nothing written")
        if way in ("lose", "well"):
            self.inner.create(key, data)
        if way == "late":
            self.late.append((key, data))
        if way == "late arrives":
            self.arrive()
            self.inner.create(key, data)
        if way == "another wins":
            ledger_in(self.inner, "other").append(lambda state: ASK)
        if way not in ("well", "late arrives"):
            raise UnknownOutcome("no reply")

    def arrive(self) -> None:
        for key, data in self.late:
            try:
                self.inner.create(key, data)
            except AlreadyExists:
                continue
        self.late.clear()


@pytest.mark.parametrize(
    "ways",
    [
        ["lose"],
        ["drop"],
        ["late"],
        ["late", "late arrives"],
        ["lose", "lose"],
        ["drop", "fail", "drop"],
        ["drop", "lose", "fail"],
        ["late", "late", "lose"],
        ["drop"] * (ATTEMPTS - 1),
    ],
    ids=", ".join,
)
def test_an_entry_whose_reply_was_lost_is_written_once(ways: list[str]) -> None:
    store = Flaky(MemoryStore(), *ways)
    entry = ledger_in(store).append(lambda state: ASK)
    store.arrive()
    assert written(store.inner) == [entry]


@pytest.mark.parametrize("ways", [["another wins"], ["drop", "another wins"], ["late", "another wins"]], ids=", ".join)
def test_a_writer_that_lost_its_reply_and_its_place_writes_once_at_the_next(ways: list[str]) -> None:
    store = Flaky(MemoryStore(), *ways)
    entry = ledger_in(store).append(lambda state: ASK)
    store.arrive()
    assert [e.by for e in written(store.inner)] == ["other", "me"]
    assert written(store.inner)[1] == entry


def test_a_put_that_failed_certainly_is_reported_and_nothing_is_there() -> None:
    store = Flaky(MemoryStore(), "fail")
    with pytest.raises(NotWritten):
        ledger_in(store).append(lambda state: ASK)
    assert store.calls["create"] == 1 and list(store.inner.list("")) == []


def test_a_store_that_never_replies_is_reported_as_unknown_after_some_tries() -> None:
    store = Flaky(MemoryStore(), *["drop"] * ATTEMPTS)
    with pytest.raises(UnknownOutcome, match=r"p/ledger/00000001\.json .* unknown .* Run the same command again"):
        ledger_in(store).append(lambda state: ASK)
    assert store.calls["create"] == ATTEMPTS


def test_after_an_unknown_outcome_the_same_command_finds_its_entry_and_writes_no_second() -> None:
    store = Flaky(MemoryStore(), "late", *["drop"] * (ATTEMPTS - 1))

    def once(state: State) -> r.Event | None:
        return None if state.retrain else ASK

    with pytest.raises(UnknownOutcome):
        ledger_in(store).append(once)
    store.arrive()
    assert ledger_in(store).append(once) is None
    assert len(written(store.inner)) == 1


def test_a_duplicate_that_arrives_after_the_place_is_taken_changes_nothing() -> None:
    store = Flaky(MemoryStore(), *["late"] * ATTEMPTS)
    with pytest.raises(UnknownOutcome):
        ledger_in(store, "slow").append(lambda state: ASK)
    entry = ledger_in(store, "fast").append(lambda state: ASK)
    store.arrive()
    assert written(store.inner) == [entry]


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────

CHECKPOINT = "p/ledger/checkpoint.json"


def filled(entries: int, store: Any = None) -> Any:
    """A ledger of many entries, with versions, batches, a breaker and labels in its state."""
    store = MemoryStore() if store is None else store
    ledger, state = ledger_in(store), State()
    begin: list[r.Event] = [
        r.Registered("v1", "d", {"auc": 0.9}),
        r.Promoted("v1", None, "gate", "first", (r.Check("auc", 0.9, 0.8),)),
        r.Started("a.1", "a", "a.csv", "1", "v1", "champion", "t", 5, {"h": "k"}),
        r.Published("a.1", "run", "v1", "champion", 5, 0, "t", "d", r.Assessment("pass")),
        r.Labelled({"l": "d"}, (r.BatchMeasured("a.1", "v1", 3, 0.9, 0.1),), 0, "v1", None, None, None, "pass"),
        r.Tripped("x", r.Trip(None, 2)),
    ]
    for number in range(entries):
        event = begin[number] if number < len(begin) else r.RetrainAsked(f"reason {number}")
        entry = ledger.append(lambda state, event=event: event, since=state)
        assert entry is not None
        state = state.apply(entry)
    return store


@pytest.fixture(scope="module")
def hundreds() -> dict[str, bytes]:
    store = filled(2 * CHECKPOINT_EVERY + 7)
    return {item.key: store.get(item.key) for item in store.list("")}


def restored(objects: dict[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    for key, data in objects.items():
        store.put(key, data)
    return store


def test_the_state_from_a_checkpoint_is_the_state_from_the_first_entry(hundreds: dict[str, bytes]) -> None:
    store = Hooked(restored(hundreds))
    assert ledger_in(store).state() == fold(written(store.inner))
    assert store.calls["get"] == 1 + 7 + 1, "the checkpoint, what follows it, and the place after the last"


def unusable(objects: dict[str, bytes]) -> dict[str, bytes | None]:
    document = json.loads(objects[CHECKPOINT])
    return {
        "missing": None,
        "empty": b"",
        "garbage": b"\xff{",
        "half of it": objects[CHECKPOINT][:200],
        "a list": b"[1]",
        "a number": b"7",
        "no fold": json.dumps({"state": document["state"]}).encode(),
        "no state": json.dumps({"fold": FOLD}).encode(),
        "a state that is none": json.dumps({"fold": FOLD, "state": {"seq": "x"}}).encode(),
        "an older fold": json.dumps({"fold": FOLD - 1, "state": {"seq": 3, "champion": "wrong"}}).encode(),
        "a newer fold": json.dumps({"fold": FOLD + 1, "state": {"new": 1}}).encode(),
    }


def test_a_checkpoint_that_cannot_be_used_changes_no_answer(hundreds: dict[str, bytes]) -> None:
    store = restored(hundreds)
    right = fold(written(store))
    for what, data in unusable(hundreds).items():
        store.delete(CHECKPOINT) if data is None else store.put(CHECKPOINT, data)
        assert ledger_in(store).state() == right, what


def test_an_older_checkpoint_that_comes_late_changes_no_answer(hundreds: dict[str, bytes]) -> None:
    store = restored(hundreds)
    older = fold(written(store)[:CHECKPOINT_EVERY])
    store.put(CHECKPOINT, msgspec.json.encode({"fold": FOLD, "state": older}))
    assert ledger_in(store).state() == fold(written(store))


@pytest.mark.parametrize("error", [NotWritten, UnknownOutcome, StoreError])
def test_an_entry_is_written_although_its_checkpoint_was_not(error: type[StoreError]) -> None:
    def fail(name: str, args: tuple[Any, ...]) -> None:
        if name == "put":
            raise error("the store is full")

    store = Hooked(MemoryStore())
    store.before = fail
    filled(CHECKPOINT_EVERY + 1, store)
    assert store.calls["put"] == 1, "after the checkpoint its chapter is not even tried"
    assert len(written(store.inner)) == CHECKPOINT_EVERY + 1
    assert ledger_in(store).state() == fold(written(store.inner))


# ── chapters ─────────────────────────────────────────────────────────────────────────────────────


def chapters(objects: dict[str, bytes]) -> list[str]:
    return sorted(key for key in objects if "-" in key)


def test_a_history_is_read_a_hundred_entries_at_a_time(hundreds: dict[str, bytes]) -> None:
    store = Hooked(restored(hundreds))
    assert list(ledger_in(store).history()) == written(store.inner)
    assert store.calls["get"] == 2 + 1 + 7 + 1, "two chapters, the one that is not there, the rest, and the place after"


def unreadable(chapter: bytes, other: bytes) -> dict[str, bytes | None]:
    return {
        "missing": None,
        "empty": b"",
        "garbage": b"\xff{",
        "half of it": chapter[: len(chapter) // 2],
        "no entries": b"[]",
        "one entry too few": json.dumps(json.loads(chapter)[1:]).encode(),
        "another chapter": other,
        "not entries": b'[{"format": 1}]',
        "a newer format": chapter.replace(b'"format": 2', b'"format": 99', 1),
    }


def test_a_chapter_that_cannot_be_used_changes_no_answer(hundreds: dict[str, bytes]) -> None:
    first, second = chapters(hundreds)
    right = written(restored(hundreds))
    for what, data in unreadable(hundreds[first], hundreds[second]).items():
        store = restored(hundreds)
        store.delete(first) if data is None else store.put(first, data)
        assert list(ledger_in(store).history()) == right, what


def requests_to_open(entries: int) -> int:
    store = Hooked(filled(entries))
    assert ledger_in(store).state().seq == entries
    return sum(store.calls.values())


def test_opening_ten_thousand_entries_asks_the_store_no_more_than_opening_a_hundred() -> None:
    assert requests_to_open(10_000) <= 2 * requests_to_open(100) + 2
    assert requests_to_open(399) <= CHECKPOINT_EVERY + 2
