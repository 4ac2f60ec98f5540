from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuseline.errors import SettingsError, Unreadable
from fuseline.projects import Config, Project, Source
from fuseline.serving.beside import Beside
from fuseline.storage import MemoryStore

HOTELS = b"hotel,stars\nh1,3\nh2,5\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Rows and hotels in files, areas in the store."""
    (tmp_path / "hotels.csv").write_bytes(HOTELS)
    named = {
        "rows": Source("rows.csv"),
        "hotels": Source("hotels.csv", "hotel"),
        "areas": Source("store:areas.csv", "area"),
    }
    return Project("p", tmp_path / "projects" / "p", Config(target="y", sources=named))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.put("areas.csv", b"area,sea\na1,yes\n")
    return made


@pytest.fixture
def hotels(tmp_path: Path) -> Path:
    return tmp_path / "hotels.csv"


def rows(beside: Beside) -> list[int]:
    return [table.num_rows for table, _ in beside.tables]


def test_the_tables_are_read_at_the_first_look_only(store, project):
    beside = Beside(store, project)
    assert [beside.look() for _ in range(4)] == [True, False, False, False]
    assert rows(beside) == [2, 1]
    assert [key for _, key in beside.tables] == ["hotel", "area"]
    assert list(beside.kept) == ["hotels", "areas"] and all(map(store.exists, beside.kept.values()))


def test_a_project_without_other_tables_has_none(store, tmp_path):
    beside = Beside(store, Project("p", tmp_path / "projects" / "p", Config("y", sources={"a": Source("a.csv")})))
    beside.look()
    assert (beside.look(), beside.read, beside.tables, beside.kept) == (False, True, [], {})


def test_a_file_that_changes_is_read_when_two_looks_find_it_the_same(store, project, hotels):
    beside = Beside(store, project)
    beside.look()
    hotels.write_bytes(HOTELS + b"h3")  # somebody is writing it
    assert (beside.look(), rows(beside)) == (False, [2, 1])
    hotels.write_bytes(HOTELS + b"h3,1\n")
    assert (beside.look(), rows(beside)) == (False, [2, 1])
    assert (beside.look(), rows(beside)) == (True, [3, 1])
    assert beside.look() is False


def test_a_file_that_was_only_touched_is_not_another_one(store, project, hotels):
    beside = Beside(store, project)
    beside.look()
    os.utime(hotels, (1, 1))
    assert [beside.look() for _ in range(3)] == [False, False, False]


def test_what_is_in_the_store_is_compared_by_content_now_and_then(store, project):
    beside, often = Beside(store, project), Beside(store, project, store_every=0.0)
    beside.look()
    often.look()
    store.put("areas.csv", b"area,sea\na1,yes\na2,no\n")
    assert (beside.look(), rows(beside)) == (False, [2, 1])
    assert (often.look(), rows(often)) == (True, [2, 2])
    assert often.look() is False


def test_a_file_that_is_gone_leaves_its_table_and_is_said_until_it_is_back(store, project, hotels):
    beside = Beside(store, project)
    beside.look()
    hotels.rename(hotels.with_suffix(".old"))
    assert beside.look() is False
    for _ in range(3):
        with pytest.raises(SettingsError, match=r"\[sources.hotels\].*does not exist"):
            beside.look()
        assert rows(beside) == [2, 1]
    hotels.with_suffix(".old").rename(hotels)
    with pytest.raises(SettingsError):
        beside.look()
    assert [beside.look() for _ in range(3)] == [False, False, False]


def test_a_file_that_cannot_be_read_is_said_until_it_changes(store, project, hotels):
    beside = Beside(store, project)
    beside.look()
    hotels.write_bytes(b"\0\0")
    beside.look()
    for _ in range(3):
        with pytest.raises(Unreadable):
            beside.look()
    assert rows(beside) == [2, 1]
    hotels.write_bytes(HOTELS + b"h3,1\n")
    with pytest.raises(Unreadable):
        beside.look()
    assert (beside.look(), rows(beside)) == (True, [3, 1])


def test_tables_that_were_never_read_are_said_to_be_so(store, project, hotels):
    hotels.unlink()
    beside = Beside(store, project)
    for _ in range(2):
        with pytest.raises(SettingsError):
            beside.look()
        assert not beside.read
    hotels.write_bytes(HOTELS)
    assert beside.look() is True
