from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fuseline import records as r
from fuseline.errors import LedgerError, StoreError
from fuseline.ledger import Ledger
from fuseline.serving.trail import Trail
from fuseline.storage import MemoryStore

NOW = "2026-03-01T06:00:00+00:00"


class Counted:
    """A store that counts its calls, and can be down."""

    url = "memory://"

    def __init__(self) -> None:
        self.inner, self.calls, self.down = MemoryStore(), Counter[str](), False

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls[name] += 1
            if self.down:
                raise StoreError("the store does not answer")
            return getattr(self.inner, name)(*args)

        return call


def ledger_in(store: Any) -> Ledger:
    return Ledger(store, "p", lambda: NOW, "me")


def register(ledger: Ledger, *versions: str) -> None:
    for version in versions:
        ledger.append(lambda state, v=version: r.Registered(v, "d" * 64, {}))


def promote(ledger: Ledger, version: str) -> None:
    ledger.append(lambda state: r.Promoted(version, state.champion, "manual", ""))


@pytest.fixture
def store() -> Counted:
    made = Counted()
    register(ledger_in(made), "v1", "v2")
    promote(ledger_in(made), "v1")
    return made


def test_what_is_new_is_added_to_what_is_known(store):
    trail = Trail(ledger_in(store))
    trail.look()
    assert (trail.state.champion, trail.state.seq, trail.ledgers) == ("v1", 3, 1)
    promote(ledger_in(store), "v2")
    trail.look()
    assert (trail.state, trail.ledgers) == (ledger_in(store).state(), 1)
    assert trail.state.champion == "v2"


def test_a_look_costs_one_get_where_nothing_is_new(store):
    trail = Trail(ledger_in(store))
    trail.look()
    store.calls.clear()
    for _ in range(5):
        trail.look()
    assert store.calls == {"get": 5}


def test_a_ledger_without_entries_is_followed_from_its_first_on():
    store = Counted()
    trail = Trail(ledger_in(store))
    trail.look()
    trail.look()
    assert (trail.state.seq, trail.ledgers) == (0, 1)
    register(ledger_in(store), "v1")
    trail.look()
    assert (list(trail.state.versions), trail.ledgers) == (["v1"], 1)


def test_a_store_that_does_not_answer_leaves_what_is_known(store):
    trail = Trail(ledger_in(store))
    store.down = True
    with pytest.raises(StoreError):
        trail.look()
    assert trail.state is None
    store.down = False
    trail.look()
    store.down = True
    with pytest.raises(StoreError):
        trail.look()
    assert trail.state.champion == "v1"


def test_an_entry_that_cannot_be_read_does_not_keep_back_the_ones_before_it(store):
    trail = Trail(ledger_in(store))
    trail.look()
    promote(ledger_in(store), "v2")
    store.inner.put("p/ledger/00000005.json", b"{")
    for _ in range(2):
        with pytest.raises(LedgerError, match="is not a ledger entry"):
            trail.look()
        assert (trail.state.champion, trail.state.seq) == ("v2", 4)


def emptied(store: Counted) -> dict[str, bytes]:
    kept = {item.key: store.inner.get(item.key) for item in list(store.inner.list(""))}
    for key in kept:
        store.inner.delete(key)
    return kept


def test_a_ledger_that_is_gone_is_said_until_it_is_back(store):
    trail = Trail(ledger_in(store), there_every=0.0)
    trail.look()
    kept = emptied(store)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"ledger of p, which had 3 entries, is gone: p/ledger/00000003.json is"):
            trail.look()
        assert trail.state.champion == "v1"
    for key, data in kept.items():
        store.inner.put(key, data)
    trail.look()
    assert (trail.state.champion, trail.ledgers) == ("v1", 1)


def test_a_ledger_that_is_gone_stays_said_where_it_is_looked_for_seldom(store):
    trail = Trail(ledger_in(store))
    trail.look()
    emptied(store)
    trail.look()  # not noticed yet: nothing is new, and it was there a moment ago
    register(ledger_in(store), "a", "b", "c", "d")  # entry 4 of another ledger
    for _ in range(2):
        with pytest.raises(LedgerError, match="is gone"):
            trail.look()
        assert (trail.state.champion, trail.state.seq) == ("v1", 3)
    emptied(store)
    with pytest.raises(LedgerError, match="is gone"):
        trail.look()


def test_another_ledger_is_followed_once_it_has_a_champion(store):
    trail = Trail(ledger_in(store), there_every=0.0)
    trail.look()
    emptied(store)
    register(ledger_in(store), "w1")
    with pytest.raises(LedgerError):
        trail.look()
    promote(ledger_in(store), "w1")
    trail.look()
    assert (trail.state, trail.ledgers) == (ledger_in(store).state(), 2)
    promote_again = r.Promoted("w1", "w1", "manual", "")
    ledger_in(store).append(lambda state: promote_again)
    trail.look()
    assert (trail.state.seq, trail.ledgers) == (3, 2)


def test_a_shorter_ledger_of_the_same_beginning_is_noticed(store):
    trail = Trail(ledger_in(store), there_every=0.0)
    trail.look()
    store.inner.delete("p/ledger/00000003.json")
    with pytest.raises(LedgerError, match="is gone"):
        trail.look()
