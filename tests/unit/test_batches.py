from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.artifacts import digest as digest_of
from fuseline.batches import Batches, Received, drop, find, identify, replay, something_to_do
from fuseline.breaker import Policy
from fuseline.errors import Refused, SettingsError
from fuseline.folder import FolderStore
from fuseline.ledger import Ledger
from fuseline.state import State
from fuseline.storage import MemoryStore, Store, check_key

ROWS, OTHER = b"id\n1\n", b"id\n2\n"
BATCH = f"a.{digest_of(ROWS)[:12]}"


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


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def batches(store: MemoryStore) -> Batches:
    return Batches(store, "p")


@pytest.fixture
def ledger(store: MemoryStore) -> Ledger:
    ticks = count()
    return Ledger(store, "p", lambda: f"2026-03-08T00:00:{next(ticks):02d}+00:00", "me")


def write(ledger: Ledger, *events: r.Event) -> None:
    for event in events:
        ledger.append(lambda state, event=event: event)


def quarantined(batch: str = BATCH, name: str = "a", file: str = "a.csv") -> r.Quarantined:
    return r.Quarantined(batch, name, file, "run", "v1", "champion", 1, 0, r.Assessment("halt"))


def published(batch: str = BATCH) -> r.Published:
    return r.Published(batch, "run", "v1", "champion", 1, 0, "t", "d", r.Assessment("pass"))


def started(batch: str = BATCH, name: str = "a", file: str = "a.csv") -> r.Started:
    return r.Started(batch, name, file, digest_of(ROWS), "v1", "champion", "t", 1)


def inbox(store: Store) -> dict[str, bytes]:
    return {item.key.removeprefix("inbox/p/"): store.get(item.key) for item in store.list("inbox/p/")}


# ── identity ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("2026-03-08.parquet", "2026-03-08"),
        ("2026.03.08.csv", "2026-03-08"),
        ("A file (2).CSV", "A-file-2"),
        ("../../etc/passwd.csv", "passwd"),
        ("größe.csv", "gr-e"),
        ("date=2026-03-08+x_y.jsonl", "date=2026-03-08+x_y"),
        ("---.csv", "batch"),
        ("日本.csv", "batch"),
    ],
)
def test_a_name_is_what_every_store_and_shell_takes(file: str, name: str) -> None:
    assert identify(file, "0123456789abcdef") == (f"{name}.0123456789ab", name)


@given(st.text(min_size=1), st.binary(max_size=4))
def test_any_name_of_a_file_gives_an_identity_that_is_one_part_of_a_key(file: str, data: bytes) -> None:
    batch, name = identify(file, digest_of(data))
    assert check_key(f"p/batches/{batch}/x") and "/" not in batch and "." not in name
    assert batch == f"{name}.{digest_of(data)[:12]}"


def test_the_same_bytes_under_another_name_are_another_batch() -> None:
    assert identify("a.csv", "0" * 64)[0] != identify("b.csv", "0" * 64)[0]
    assert identify("a.csv", "0" * 64)[0] != identify("a.csv", "1" * 64)[0]


# ── the inbox ────────────────────────────────────────────────────────────────────────────────────


def test_files_that_can_be_batches_wait_in_the_order_of_names(store: MemoryStore, batches: Batches) -> None:
    for file in ("b.csv", "a.parquet", "C.JSONL", "notes.txt", ".hidden.csv", "_tmp.csv", "sub/d.csv", "csv", "x.csv~"):
        store.put(f"inbox/p/{file}", b"")
    store.put("inbox/p2/e.csv", b"")
    store.put("inbox/q/f.csv", b"")
    assert batches.waiting() == ["C.JSONL", "a.parquet", "b.csv"]


def test_an_empty_inbox_has_nothing_that_waits(batches: Batches) -> None:
    assert batches.waiting() == []


def test_a_received_file_is_copied_and_stays_in_the_inbox(store: MemoryStore, batches: Batches) -> None:
    store.put("inbox/p/a.CSV", ROWS)
    assert batches.receive("a.CSV") == Received(BATCH, "a", "a.CSV", digest_of(ROWS), f"p/batches/{BATCH}/input.csv")
    assert store.get(f"p/batches/{BATCH}/input.csv") == ROWS and inbox(store) == {"a.CSV": ROWS}


def test_a_file_that_is_gone_is_not_received(store: MemoryStore, batches: Batches) -> None:
    assert batches.receive("a.csv") is None
    assert list(store.list("")) == []


def test_a_file_that_is_received_twice_is_kept_once(store: MemoryStore, batches: Batches) -> None:
    store.put("inbox/p/a.csv", ROWS)
    first = batches.receive("a.csv")
    assert batches.receive("a.csv") == first
    assert [item.key for item in store.list("p/")] == [f"p/batches/{BATCH}/input.csv"]


def test_a_replaced_file_is_another_batch_and_both_copies_are_kept(store: MemoryStore, batches: Batches) -> None:
    received = []
    for data in (ROWS, OTHER):
        store.put("inbox/p/a.csv", data)
        received.append(batches.receive("a.csv"))
    kept = [store.get(one.key) for one in received if one]
    assert kept == [ROWS, OTHER]


def test_a_writer_that_goes_on_while_a_file_is_received_does_not_change_the_copy(tmp_path: Path) -> None:
    """On a folder the inbox's file is read where it lies: what is kept must be what was digested."""
    inner = FolderStore(tmp_path)
    inner.put("inbox/p/a.csv", ROWS)
    store = Hooked(inner)

    def append(name: str, args: tuple[Any, ...]) -> None:
        if name == "exists":  # between the digest and the upload
            with (tmp_path / "inbox/p/a.csv").open("ab") as file:
                file.write(b"more\n")

    store.before = append
    received = Batches(store, "p").receive("a.csv")
    assert received is not None and digest_of(inner.get(received.key)) == received.digest == digest_of(ROWS)


def test_keys_of_a_batch_lie_in_its_own_folder(batches: Batches) -> None:
    assert batches.inbox_key("a.csv") == "inbox/p/a.csv"
    assert batches.input_key("a.1", "a.PARQUET") == "p/batches/a.1/input.parquet"
    assert batches.staged_key("a.1", "run", "metrics.json") == "p/batches/a.1/run/metrics.json"


def test_a_finished_file_leaves_the_inbox(store: MemoryStore, batches: Batches) -> None:
    store.put("inbox/p/a.csv", ROWS)
    batches.finish("a.csv", digest_of(ROWS))
    assert inbox(store) == {}
    batches.finish("a.csv", digest_of(ROWS))  # again: nothing happens


def test_a_file_that_was_replaced_while_it_was_scored_stays(store: MemoryStore, batches: Batches) -> None:
    store.put("inbox/p/a.csv", OTHER)
    batches.finish("a.csv", digest_of(ROWS))
    assert inbox(store) == {"a.csv": OTHER}


def test_a_file_that_arrives_while_the_old_one_is_finished_stays(store: MemoryStore) -> None:
    """The look at the bytes and the delete must be one step of the store: else the new file is lost between them."""
    hooked = Hooked(store)
    store.put("inbox/p/a.csv", ROWS)

    def deliver(name: str, args: tuple[Any, ...]) -> None:
        if name in ("delete", "delete_if"):
            store.put("inbox/p/a.csv", OTHER)

    hooked.before = deliver
    Batches(hooked, "p").finish("a.csv", digest_of(ROWS))
    everywhere = [store.get(item.key) for item in store.list("")]
    assert OTHER in everywhere, "the new file is nowhere any more"


# ── back out of quarantine ───────────────────────────────────────────────────────────────────────


def test_a_batch_is_found_by_its_identity_or_as_the_newest_of_its_name(ledger: Ledger) -> None:
    write(ledger, started("a.1"), started("a.2"), started("b.1", "b", "b.csv"), quarantined("a.1"))
    state = ledger.state()
    assert find(state, "a.2") == ("a.2", state.batches["a.2"])
    assert find(state, "a") == ("a.1", state.batches["a.1"])


def test_a_batch_that_is_not_there_is_an_error_that_names_some_that_are(ledger: Ledger) -> None:
    with pytest.raises(SettingsError, match=r"no batch 'x'\. The newest: none"):
        find(State(), "x")
    write(ledger, started("a.1"), started("b.1", "b"))
    with pytest.raises(SettingsError, match=r"no batch 'x'\. The newest: a, b"):
        find(ledger.state(), "x")


def test_a_batch_is_replayed_as_it_was_from_its_kept_copy(store: MemoryStore, batches: Batches, ledger: Ledger) -> None:
    write(ledger, started(), quarantined())
    assert replay(ledger, batches, "a", "the check was wrong") == BATCH
    assert ledger.state().batches[BATCH].status == "waiting" and inbox(store) == {}
    assert ledger.entry(3).event == r.Replayed(BATCH, "the check was wrong")


def test_a_withdrawn_batch_can_be_replayed(batches: Batches, ledger: Ledger) -> None:
    write(ledger, started(), published(), r.Withdrawn(BATCH, "x"))
    replay(ledger, batches, BATCH, "y")
    assert ledger.state().batches[BATCH].status == "waiting"


def test_a_repaired_file_arrives_under_the_old_name_as_a_batch_of_its_own(
    store: MemoryStore, batches: Batches, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, started(), quarantined())
    (tmp_path / "my repair.JSONL").write_bytes(OTHER)
    arrives = replay(ledger, batches, BATCH, "price was in cents", tmp_path / "my repair.JSONL")
    assert arrives == f"a.{digest_of(OTHER)[:12]}" and inbox(store) == {"a.jsonl": OTHER}
    assert ledger.state().batches[BATCH].status == "replaced"
    assert ledger.entry(3).event == r.Replayed(BATCH, "price was in cents", arrives)
    received = batches.receive("a.jsonl")
    assert received is not None and received.batch == arrives


def test_a_repair_that_changes_nothing_is_a_replay_as_it_was(batches: Batches, ledger: Ledger, tmp_path: Path) -> None:
    write(ledger, started(), quarantined())
    (tmp_path / "a.csv").write_bytes(ROWS)
    assert replay(ledger, batches, BATCH, "x", tmp_path / "a.csv") == BATCH
    assert ledger.state().batches[BATCH].status == "waiting"


def test_a_repaired_file_does_not_overwrite_another_that_waits(
    store: MemoryStore, batches: Batches, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, started(), quarantined())
    store.put("inbox/p/a.csv", ROWS)
    (tmp_path / "a.csv").write_bytes(OTHER)
    with pytest.raises(Refused, match=r"inbox/p/a\.csv is taken"):
        replay(ledger, batches, BATCH, "x", tmp_path / "a.csv")
    assert inbox(store) == {"a.csv": ROWS} and ledger.state().batches[BATCH].status == "quarantined"


def test_a_replay_that_crashed_after_the_file_arrived_is_ended_by_running_it_again(
    store: MemoryStore, batches: Batches, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, started(), quarantined())
    store.put("inbox/p/a.csv", OTHER)
    (tmp_path / "a.csv").write_bytes(OTHER)
    arrives = replay(ledger, batches, BATCH, "x", tmp_path / "a.csv")
    assert inbox(store) == {"a.csv": OTHER} and ledger.entry(3).event == r.Replayed(BATCH, "x", arrives)


def test_a_batch_whose_repair_was_worse_can_be_replayed_as_it_was(batches: Batches, ledger: Ledger) -> None:
    write(ledger, started(), quarantined(), r.Replayed(BATCH, "x", "a.2"))
    assert replay(ledger, batches, BATCH, "the repair was worse") == BATCH
    assert ledger.state().batches[BATCH].status == "waiting"


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((), "started"),
        ((published(),), "published"),
        ((quarantined(), r.Dropped(BATCH, "x")), "dropped"),
        ((quarantined(), r.Replayed(BATCH, "x")), "waiting"),
    ],
)
def test_only_a_quarantined_withdrawn_or_replaced_batch_is_replayed(
    events: tuple[r.Event, ...], status: str, store: MemoryStore, batches: Batches, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, started(), *events)
    (tmp_path / "a.csv").write_bytes(OTHER)
    for repaired in (None, tmp_path / "a.csv"):
        with pytest.raises(Refused, match=f"{BATCH} is {status}; only a quarantined, withdrawn or replaced"):
            replay(ledger, batches, BATCH, "x", repaired)
    assert inbox(store) == {} and ledger.state().seq == 1 + len(events)


def test_a_replay_that_races_a_drop_is_refused(store: MemoryStore, ledger: Ledger) -> None:
    write(ledger, started(), quarantined())
    hooked = Hooked(store)
    raced = Ledger(hooked, "p", ledger.clock, "slow")

    def dropped_first(name: str, args: tuple[Any, ...]) -> None:
        if name == "create":
            hooked.before = lambda name, args: None
            drop(ledger, BATCH, "useless")

    hooked.before = dropped_first
    with pytest.raises(Refused, match="is dropped"):
        replay(raced, Batches(hooked, "p"), BATCH, "x")


def test_a_quarantined_batch_is_dropped_and_its_copy_kept(store: MemoryStore, batches: Batches, ledger: Ledger) -> None:
    store.put("inbox/p/a.csv", ROWS)
    received = batches.receive("a.csv")
    write(ledger, started(), quarantined())
    assert drop(ledger, "a", "useless") == BATCH
    assert ledger.state().batches[BATCH].status == "dropped" and ledger.entry(3).event == r.Dropped(BATCH, "useless")
    assert received is not None and store.get(received.key) == ROWS


@pytest.mark.parametrize("events", [(), (published(),), (quarantined(), r.Dropped(BATCH, "x"))])
def test_only_a_quarantined_batch_is_dropped(events: tuple[r.Event, ...], ledger: Ledger) -> None:
    write(ledger, started(), *events)
    with pytest.raises(Refused, match="only a quarantined batch can be dropped"):
        drop(ledger, BATCH, "x")
    assert ledger.state().seq == 1 + len(events)


def undone(state: State, store: Store) -> set[str]:
    """What the next run will score: batches that are not final, and files whose batch is not final or not known."""
    found = {key for key, batch in state.batches.items() if not batch.final}
    for file in Batches(store, "p").waiting():
        batch, _ = identify(file, digest_of(store.get(f"inbox/p/{file}")))
        if batch not in state.batches or not state.batches[batch].final:
            found.add(batch)
    return found


def test_a_repair_that_goes_back_to_bytes_known_before_is_refused_or_scored(
    store: MemoryStore, batches: Batches, ledger: Ledger, tmp_path: Path
) -> None:
    """The repair was worse, so the first file is sent again: it is final, and must not be left for nobody to score."""
    worse = f"a.{digest_of(OTHER)[:12]}"
    write(ledger, started(), quarantined(), r.Replayed(BATCH, "x", worse), started(worse), quarantined(worse))
    (tmp_path / "a.csv").write_bytes(ROWS)
    with pytest.raises(Refused, match=f"{BATCH}, which is replaced: replay that one"):
        replay(ledger, batches, worse, "the first was better", tmp_path / "a.csv")
    assert ledger.state().batches[worse].status == "quarantined" and inbox(store) == {}
    assert replay(ledger, batches, BATCH, "the first was better") in undone(ledger.state(), store)


def test_a_repaired_file_of_a_kind_that_is_never_scored_is_refused(
    store: MemoryStore, batches: Batches, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, started(), quarantined())
    (tmp_path / "a.xlsx").write_bytes(OTHER)
    with pytest.raises(Refused, match=r"a\.xlsx cannot be scored: a batch ends in \.parquet, \.csv, \.jsonl"):
        replay(ledger, batches, BATCH, "x", tmp_path / "a.xlsx")
    assert ledger.state().batches[BATCH].status == "quarantined" and inbox(store) == {}


def test_what_a_run_could_settle(store: MemoryStore, batches: Batches, ledger: Ledger) -> None:
    hold, fallback, early, late = Policy(), Policy(while_open="fallback"), "2026-03-01", "2026-04-01"
    assert not something_to_do(batches, ledger.state(), hold, early), "nothing waits"
    write(ledger, r.Registered("v1", "d", {}), r.Promoted("v1", None, "gate", ""), started())
    assert something_to_do(batches, ledger.state(), hold, early), "a batch was begun"
    write(ledger, published())
    assert not something_to_do(batches, ledger.state(), hold, early)
    store.put("inbox/p/b.csv", OTHER)
    assert something_to_do(batches, ledger.state(), hold, early), "a file waits"
    write(ledger, r.Tripped("x", r.Trip("2026-03-09")))
    assert not something_to_do(batches, ledger.state(), hold, early), "the breaker is open"
    assert something_to_do(batches, ledger.state(), hold, late), "it has cooled down"
    assert not something_to_do(batches, ledger.state(), fallback, early), "there is no version before this one"
    write(ledger, r.Registered("v2", "d", {}), r.Promoted("v2", "v1", "gate", ""), r.Tripped("x", r.Trip(None)))
    assert something_to_do(batches, ledger.state(), fallback, early)
    assert not something_to_do(batches, ledger.state(), hold, late)
