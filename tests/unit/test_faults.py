"""Every fault does what its name says, as often as its rule says, and the ledger stands them."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fuseline.errors import (
    AlreadyExists,
    NotFound,
    NotWritten,
    SettingsError,
    StoreError,
    UnknownOutcome,
    UnsafeStore,
)
from fuseline.faults import ACTIONS, OPERATIONS, WRITES, FaultyStore, Rule, parse_rules
from fuseline.folder import FolderStore
from fuseline.ledger import Ledger
from fuseline.records import RetrainAsked
from fuseline.storage import MemoryStore, Store, probe

SHA_1 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # of b"1"


def faulty(rules: str, store: Store | None = None) -> FaultyStore:
    return FaultyStore(MemoryStore() if store is None else store, parse_rules(rules))


def calls(store: Store, folder: Path) -> dict[str, Callable[[], object]]:
    """Every method of a store; the key is `a`, which is there, but for `create`."""
    (folder / "file").write_bytes(b"2")
    return {
        "get": lambda: store.get("a"),
        "exists": lambda: store.exists("a"),
        "list": lambda: list(store.list("a")),
        "local": lambda: store.local("a").__enter__(),
        "put": lambda: store.put("a", b"2"),
        "create": lambda: store.create("new", b"2"),
        "upload": lambda: store.upload("a", folder / "file"),
        "copy": lambda: store.copy("b", "a"),
        "delete": lambda: store.delete("a"),
    }


def filled() -> MemoryStore:
    store = MemoryStore()
    store.put("a", b"1")
    store.put("b", b"2")
    return store


def content(store: Store) -> dict[str, bytes]:
    return {item.key: store.get(item.key) for item in store.list("")}


# ── rules as text ────────────────────────────────────────────────────────────────────────────────


def test_a_rule_is_read_with_every_option():
    text = "delay put */versions/* content='a b; c=d' nth=2 times=3 seconds=0.5"
    assert parse_rules(text) == (Rule("delay", "put", "*/versions/*", "a b; c=d", 2, 3, 0.5),)


def test_rules_are_separated_by_semicolons_and_empty_ones_are_left_out():
    two = (Rule("drop", "put", "a"), Rule("kill-after", "*", "b*"))
    assert parse_rules("drop put a; kill-after * b*") == two
    assert parse_rules(" ; drop put a;kill-after * b* ;;") == two
    assert parse_rules("") == parse_rules(" ; ") == ()


def test_a_pattern_may_hold_what_a_shell_would_read_as_something_else():
    assert parse_rules("drop put 'a b/#x=1'")[0].key == "a b/#x=1"
    assert parse_rules("drop put date=2026-*")[0].key == "date=2026-*"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("explode put *", r"'explode' is no action; accepted are fail-before, .*ignore-create"),
        ("drop write *", r"'write' is no operation for drop; accepted are \*, create, put"),
        ("drop get *", r"'get' is no operation for drop"),
        ("stale-list put *", r"'put' is no operation for stale-list; accepted are \*, list"),
        ("ignore-create put *", r"'put' is no operation for ignore-create"),
        ("drop put", r"'drop put' is no rule; expected <action> <operation> <key pattern>"),
        ("drop", r"'drop' is no rule"),
        ("drop put * soon", r"'soon' is no option; accepted are content=<text>"),
        ("drop put * size=3", r"'size=3' is no option"),
        ("drop put * nth=two", r"'nth=two': expected a number after nth="),
        ("drop put * times=1.5", r"'times=1.5': expected a number"),
        ("delay put * seconds=", r"'seconds=': expected a number"),
        ("drop put * nth=0", r"nth=0 must be 1 or more"),
        ("drop put * times=0", r"times=0 must be 1 or more"),
        ("delay put * seconds=-1", r"seconds=-1.0 must be 0 or more"),
        ("delay put * seconds=nan", r"seconds=nan must be 0 or more, and finite"),
        ("delay put * seconds=inf", r"seconds=inf must be 0 or more, and finite"),
        ("drop put 'a", r"cannot be split into words.*close the quotes"),
        ("drop put a; explode put *", r"'explode' is no action"),
    ],
)
def test_a_wrong_rule_names_the_word_and_what_is_accepted(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_rules(text)


# ── which calls a rule speaks of ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_rule_speaks_of_its_operation_only(operation, tmp_path):
    for name in OPERATIONS:
        call = calls(faulty(f"fail-before {operation} *", filled()), tmp_path)[name]
        if name == operation:
            with pytest.raises(StoreError, match=r"injected fault: nothing was done"):
                call()
        else:
            call()


def test_a_star_is_every_operation_that_the_action_has_a_meaning_for(tmp_path):
    for name, call in calls(faulty("drop * * times=99", filled()), tmp_path).items():
        if name in WRITES:
            with pytest.raises(UnknownOutcome):
                call()
        else:
            call()


def test_a_conditional_delete_counts_as_a_delete():
    store = faulty("drop delete a", filled())
    with pytest.raises(UnknownOutcome):
        store.delete_if("a", SHA_1)
    assert store.delete_if("a", SHA_1) is True


def test_a_star_in_a_pattern_also_matches_slashes_and_case_counts():
    store = faulty("drop put */ledger/*; drop put p/[xy].csv times=9")
    with pytest.raises(UnknownOutcome):
        store.put("p/q/ledger/1/2", b"")
    store.put("p/Ledger/1", b"")
    store.put("p/z.csv", b"")
    with pytest.raises(UnknownOutcome):
        store.put("p/x.csv", b"")


def test_a_rule_for_copies_is_held_against_the_target():
    store = faulty("drop copy a", filled())
    store.copy("a", "c")
    with pytest.raises(UnknownOutcome):
        store.copy("b", "a")


def test_content_is_looked_for_in_what_is_written(tmp_path):
    (tmp_path / "file").write_bytes(b"... published ...")
    store = faulty("drop * * content=published times=9", filled())
    for call in (
        lambda: store.put("a", b'{"kind": "published"}'),
        lambda: store.create("new", b"published"),
        lambda: store.upload("a", tmp_path / "file"),
    ):
        with pytest.raises(UnknownOutcome):
            call()
    store.put("a", b"quarantined")
    store.copy("a", "published")
    store.delete("published")
    with pytest.raises(NotWritten, match="cannot be uploaded"):
        store.upload("a", tmp_path / "missing")


def test_a_rule_begins_at_its_nth_match_and_ends_after_its_times():
    store = faulty("fail-before put a* nth=3 times=2")
    failed = []
    for turn in range(8):
        store.put("b", b"")  # no match, so not counted
        try:
            store.put(f"a{turn}", b"")
        except NotWritten:
            failed.append(turn)
    assert failed == [2, 3]


def test_rules_count_each_for_itself_and_act_in_their_order():
    store = faulty("drop put *; fail-before put * nth=2")
    with pytest.raises(UnknownOutcome):
        store.put("a", b"")
    with pytest.raises(NotWritten):
        store.put("a", b"")
    store.put("a", b"")
    both = faulty("fail-before put *; drop put *")
    with pytest.raises(NotWritten):
        both.put("a", b"")
    both.put("a", b"")


def test_matches_are_counted_right_across_threads():
    store = faulty("fail-before put * nth=100 times=37")
    failed: list[int] = []
    start = threading.Barrier(16)

    def work() -> None:
        start.wait()
        for turn in range(50):
            try:
                store.put("a", b"")
            except NotWritten:
                failed.append(turn)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 37


# ── what the actions do ──────────────────────────────────────────────────────────────────────────


def test_without_a_rule_that_applies_a_store_is_the_store_it_wraps(tmp_path):
    inner, store = filled(), faulty("drop put elsewhere/*", filled())
    assert store.url == inner.url
    for one, other in zip(calls(inner, tmp_path).values(), calls(store, tmp_path).values(), strict=True):
        one(), other()
    assert content(store) == content(inner) == {"b": b"2", "new": b"2"}
    with store.local("b") as path:
        assert path.read_bytes() == b"2"
    assert not path.exists()


@pytest.mark.parametrize(
    ("action", "raises"), [("fail-before", NotWritten), ("full", NotWritten), ("drop", UnknownOutcome)]
)
@pytest.mark.parametrize("operation", WRITES)
def test_these_do_nothing_and_say_so(action, raises, operation, tmp_path):
    if operation not in ACTIONS[action]:
        with pytest.raises(SettingsError):
            parse_rules(f"{action} {operation} *")
        return
    inner = filled()
    store = faulty(f"{action} {operation} *", inner)
    with pytest.raises(raises, match=rf"{operation} '.+' in memory://: injected fault"):
        calls(store, tmp_path)[operation]()
    assert content(inner) == {"a": b"1", "b": b"2"}
    calls(store, tmp_path)[operation]()
    assert content(inner) != {"a": b"1", "b": b"2"}


def test_a_failed_read_is_not_called_a_write_that_failed():
    with pytest.raises(StoreError) as caught:
        faulty("fail-before get *", filled()).get("a")
    assert type(caught.value) is StoreError


@pytest.mark.parametrize("operation", WRITES)
def test_a_lost_reply_comes_after_the_work(operation, tmp_path):
    inner, plain = filled(), filled()
    calls(plain, tmp_path)[operation]()
    with pytest.raises(UnknownOutcome, match=r"the reply was lost; look up whether it was done"):
        calls(faulty(f"lose-reply {operation} *", inner), tmp_path)[operation]()
    assert content(inner) == content(plain) != content(filled())


def test_a_reply_that_says_no_is_lost_as_well():
    store = faulty("lose-reply create *", filled())
    with pytest.raises(UnknownOutcome):
        store.create("a", b"2")
    with pytest.raises(AlreadyExists):
        store.create("a", b"2")
    assert store.get("a") == b"1"


def test_a_delay_waits_and_then_does_it():
    store = faulty("delay get * seconds=0.05", filled())
    began = time.monotonic()
    assert store.get("a") == b"1"
    assert time.monotonic() - began >= 0.05


def test_a_stale_list_leaves_out_what_is_new_and_nothing_else():
    store = faulty("stale-list list p/* nth=2 times=1", filled())
    store.put("p/new", b"")
    assert [item.key for item in store.list("p/")] == ["p/new"]
    assert list(store.list("p/")) == []
    assert store.get("p/new") == b""
    assert store.exists("p/new")
    assert [item.key for item in store.list("p/")] == ["p/new"]


def test_a_stale_list_still_shows_what_was_there_before():
    store = faulty("stale-list list * times=9", filled())
    store.put("c", b"")
    store.put("a", b"12")
    assert [(item.key, item.size) for item in store.list("")] == [("a", 2), ("b", 1)]


def test_a_store_that_ignores_create_is_found_unsafe_by_the_probe():
    store = faulty("ignore-create create * times=9")
    with pytest.raises(UnsafeStore, match=r"memory:// does not keep create-only puts: the second create.*succeeded"):
        probe(store)
    assert content(store) == {}


KILLED = """
    import sys
    from pathlib import Path
    from fuseline.faults import FaultyStore, parse_rules
    from fuseline.folder import FolderStore

    store = FaultyStore(FolderStore(Path(sys.argv[1])), parse_rules(sys.argv[2]))
    store.create("p/1", b"first")
    store.create("p/2", b"second")
    print("survived")
"""


@pytest.mark.parametrize(("action", "left"), [("kill-before", ["p/1"]), ("kill-after", ["p/1", "p/2"])])
def test_a_process_is_really_killed_before_or_after_the_work(action, left, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "store"), f"{action} create * content=second"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, ""), ended.stderr
    assert [item.key for item in FolderStore(tmp_path / "store").list("")] == left


# ── a ledger over it ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rules", ["lose-reply create *", "drop create *", "lose-reply * */ledger/* times=3"])
@pytest.mark.parametrize("more", ["", "; drop create * nth=2", "; stale-list list * times=99"])
def test_an_entry_whose_reply_is_lost_is_written_exactly_once(rules, more):
    inner = MemoryStore()
    ledger = Ledger(faulty(rules + more, inner), "p", lambda: "2026-03-01T06:00:00+00:00", "me")
    entry = ledger.append(lambda state: RetrainAsked("drift") if state.seq == 0 else None)
    assert entry is not None
    assert list(Ledger(inner, "p", str, "you").entries()) == [entry]
    assert list(content(inner)) == ["p/ledger/00000001.json"]


def test_an_entry_that_certainly_failed_is_not_written_and_can_be_appended_again():
    inner = MemoryStore()
    ledger = Ledger(faulty("full create *", inner), "p", lambda: "2026-03-01T06:00:00+00:00", "me")
    with pytest.raises(NotWritten):
        ledger.append(lambda _: RetrainAsked("drift"))
    assert content(inner) == {}
    assert ledger.append(lambda _: RetrainAsked("drift")) is not None
    assert len(content(inner)) == 1
    with pytest.raises(NotFound):
        ledger.entry(2)
