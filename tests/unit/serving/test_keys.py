from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.errors import SettingsError
from fuseline.serving.keys import Keys, new, presented


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


# ── making and checking ──────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_known_by_its_entry_and_by_nothing_else() -> None:
    key, entry = new("shop")
    assert re.fullmatch(r"fl_[A-Za-z0-9_-]{43}", key)
    assert entry == f"shop:{digest(key)}"
    assert key not in entry
    keys = Keys.parse(entry)
    assert keys.check(key) == "shop"
    assert [keys.check(other) for other in (key + "x", key[:-1], key.upper(), "", None, entry, digest(key))] == [
        None
    ] * 7


def test_every_key_is_another_one() -> None:
    assert len({new("shop")[0] for _ in range(100)}) == 100


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n", "\t ,\n", "  "])
def test_entries_are_separated_by_spaces_or_commas(between: str) -> None:
    (one, first), (two, second) = new("shop"), new("audit")
    keys = Keys.parse(f"{between}{first}{between}{second}{between}")
    assert (keys.check(one), keys.check(two), len(keys)) == ("shop", "audit", 2)


def test_a_client_may_have_two_keys_while_it_changes_from_one_to_the_other() -> None:
    (old, first), (fresh, second) = new("shop"), new("shop")
    keys = Keys.parse(f"{first} {second}")
    assert (keys.check(old), keys.check(fresh)) == ("shop", "shop")
    assert Keys.parse(second).check(old) is None


def test_the_same_entry_twice_is_one() -> None:
    key, entry = new("shop")
    keys = Keys.parse(f"{entry} {entry.replace(digest(key), digest(key).upper())}")
    assert (len(keys), keys.check(key)) == (1, "shop")


def test_two_clients_with_the_same_key_cannot_be_told_apart_and_are_refused() -> None:
    _, entry = new("shop")
    with pytest.raises(SettingsError, match="shop and audit have the same key, so nobody could tell") as caught:
        Keys.parse(f"{entry} {entry.replace('shop', 'audit')}")
    assert entry.partition(":")[2] not in str(caught.value)


def test_without_entries_nobody_has_a_key() -> None:
    assert not Keys.parse("") and not Keys.parse(" \n ")
    assert Keys.parse("").check("fl_x") is None


# ── entries that are none ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["{key}", "shop:{key}", "x:{digest} {key}", "shop:{key},x:{digest}"])
def test_a_key_in_place_of_its_digest_is_refused_with_the_way_out_and_not_repeated(text: str) -> None:
    key, _ = new("shop")
    with pytest.raises(SettingsError, match=r"is a key itself: .*`fuseline key NAME` makes") as caught:
        Keys.parse(text.format(key=key, digest=digest("other")))
    assert key not in str(caught.value) and key[3:] not in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    [
        *("hunter2hunter2", "shop:hunter2", "shop:", ":", "shop", f":{'0' * 64}", f"a b:{'0' * 64}"),
        *(f"shop:{'0' * 63}", f"shop:{'0' * 65}", f"shop:{'g' * 64}", f"sh/op:{'0' * 64}", f"{'s' * 65}:{'0' * 64}"),
        "shop:" + "\N{ARABIC-INDIC DIGIT ZERO}" * 64,
    ],
)
def test_what_is_no_entry_is_refused_by_its_place_and_not_repeated(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"entry \d of FUSELINE_API_KEYS is no name with a digest") as caught:
        Keys.parse(f"ok:{digest('k')} {secret}")
    assert "hunter2" not in str(caught.value)


def test_a_setting_of_nothing_but_commas_is_not_taken_for_no_keys() -> None:
    with pytest.raises(SettingsError, match="FUSELINE_API_KEYS is set and holds no entry"):
        Keys.parse(" , ,")


def test_the_digest_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="the digest of an empty text"):
        Keys.parse(f"shop:{digest('')}")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b", "-a", "ä", "x" * 65, "a\n"])
def test_a_name_that_cannot_stand_in_an_entry_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a client"):
        new(name)


def test_keys_are_not_shown() -> None:
    keys = Keys.parse(new("shop")[1])
    assert "shop" not in repr(keys) and keys.entries[0][1] not in repr(keys)


# ── what clients send ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer fl_a")], "fl_a"),
        ([(b"Authorization", b"bearer  fl_a ")], "fl_a"),
        ([(b"x-api-key", b" fl_b ")], "fl_b"),
        ([(b"X-API-Key", b"fl_b"), (b"x-api-key", b"fl_c")], "fl_b"),
        ([(b"x-api-key", b"fl_b"), (b"authorization", b"Bearer fl_a")], "fl_a"),
        ([(b"x-api-key", b"fl_b"), (b"authorization", b"Basic Zmw6YQ==")], "fl_b"),
        ([(b"authorization", b"fl_a")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b""), (b"x-api-key", b"")], None),
        ([(b"accept", b"*/*")], None),
        ([], None),
    ],
)
def test_a_key_comes_as_a_bearer_or_in_a_header_of_its_own(headers: list, key: str | None) -> None:
    assert presented(headers) == key


def test_a_key_that_is_not_ascii_is_compared_byte_by_byte() -> None:
    keys = Keys.parse(f"shop:{digest('schlüssel')}")
    assert keys.check(presented([(b"x-api-key", "schlüssel".encode())])) == "shop"
    assert keys.check(presented([(b"x-api-key", "schlüssel".encode("latin-1"))])) is None


@given(st.binary(max_size=200))
def test_no_bytes_of_a_header_are_taken_for_a_key_or_end_in_an_error(data: bytes) -> None:
    keys = Keys.parse(f"shop:{digest('k')}")
    assert keys.check(presented([(b"authorization", b"Bearer " + data), (b"x-api-key", data)])) is None or data == b"k"


@given(st.text(st.characters(), max_size=20))
def test_no_text_ends_in_an_error(text: str) -> None:
    assert Keys.parse(f"shop:{digest('k')}").check(text) is (None if text != "k" else "shop")


@pytest.mark.parametrize("text", ["\ud800", "x" * 1_000_000, "\0"])
def test_odd_and_huge_keys_are_only_wrong(text: str) -> None:
    assert Keys.parse(f"shop:{digest('k')}").check(text) is None
