from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fuseline import sources
from fuseline.errors import SettingsError, Unreadable
from fuseline.projects import Config, Project, Source
from fuseline.storage import MemoryStore

HOTELS = b"hotel,stars\nh1,3\nh2,5\n"
AREAS = b"area,sea\na1,yes\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Rows in a file, hotels in a file, areas in the store."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_bytes(b"hotel,area,y\nh1,a1,1\n")
    (tmp_path / "data" / "hotels.csv").write_bytes(HOTELS)
    named = {
        "rows": Source("data/rows.csv"),
        "hotels": Source("data/hotels.csv", "hotel"),
        "areas": Source("store:shared/areas.csv", "area"),
    }
    return Project("p", tmp_path / "projects" / "p", Config(target="y", sources=named))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.put("shared/areas.csv", AREAS)
    return made


def with_sources(project: Project, **named: Source) -> Project:
    return replace(project, config=replace(project.config, sources=named))


# ── where they are ───────────────────────────────────────────────────────────────────────────────


def test_the_first_source_is_the_history_and_the_others_are_joined(project: Project) -> None:
    assert sources.history(project) == ("rows", Source("data/rows.csv"))
    assert list(sources.joined(project)) == ["hotels", "areas"]


def test_a_project_without_a_source_is_told_what_to_add(project: Project) -> None:
    with pytest.raises(SettingsError, match=r"project p names no source to train on: .*\n\[sources.history\]\npath ="):
        sources.history(with_sources(project))
    assert sources.joined(with_sources(project)) == {}


def test_a_path_is_relative_to_the_folder_that_holds_the_projects(
    project: Project, store: MemoryStore, tmp_path: Path
) -> None:
    with sources.local(store, project, "hotels", Source("data/hotels.csv")) as path:
        assert path == tmp_path.resolve() / "data" / "hotels.csv"


def test_a_path_may_be_absolute(project: Project, store: MemoryStore, tmp_path: Path) -> None:
    with sources.local(store, project, "x", Source(str(tmp_path / "data" / "hotels.csv"))) as path:
        assert path.read_bytes() == HOTELS


def test_a_source_may_be_in_the_store(project: Project, store: MemoryStore) -> None:
    with sources.local(store, project, "areas", Source("store:shared/areas.csv")) as path:
        assert path.read_bytes() == AREAS
        assert path.suffix == ".csv"


@pytest.mark.parametrize("path", ["data/no.csv", "data"])
def test_a_file_that_is_not_there_names_the_source_and_the_path(
    project: Project, store: MemoryStore, tmp_path: Path, path: str
) -> None:
    with pytest.raises(SettingsError) as caught, sources.local(store, project, "hotels", Source(path)):
        pass
    said = str(caught.value)
    assert said.startswith(f"[sources.hotels] of project p: {tmp_path.resolve() / path} does not exist")
    assert f"relative to {tmp_path.resolve()}, or as `store:<key>`" in said


def test_a_key_that_is_not_there_names_the_source_and_the_key(project: Project, store: MemoryStore) -> None:
    said = r"\[sources.areas\] of project p: the store has no 'shared/no.csv'"
    with (
        pytest.raises(SettingsError, match=said),
        sources.local(store, project, "areas", Source("store:shared/no.csv")),
    ):
        pass


# ── kept copies ──────────────────────────────────────────────────────────────────────────────────


def test_each_joined_source_is_kept_under_its_digest(project: Project, store: MemoryStore) -> None:
    kept = sources.keep(store, project)
    assert list(kept) == ["hotels", "areas"]
    assert kept["hotels"].startswith("p/sources/hotels-") and kept["hotels"].endswith(".csv")
    assert (store.get(kept["hotels"]), store.get(kept["areas"])) == (HOTELS, AREAS)


def test_a_source_that_did_not_change_is_kept_once(project: Project, store: MemoryStore) -> None:
    assert sources.keep(store, project) == sources.keep(store, project)
    assert len(list(store.list("p/sources/"))) == 2


def test_a_source_that_changes_is_kept_again_and_the_old_copy_stays(
    project: Project, store: MemoryStore, tmp_path: Path
) -> None:
    before = sources.keep(store, project)
    (tmp_path / "data" / "hotels.csv").write_bytes(HOTELS + b"h3,1\n")
    after = sources.keep(store, project)
    assert after["hotels"] != before["hotels"] and after["areas"] == before["areas"]
    assert store.get(before["hotels"]) == HOTELS
    assert sources.read(store, project, before)[0][0].num_rows == 2
    assert sources.read(store, project, after)[0][0].num_rows == 3


def test_kept_copies_are_read_with_the_column_to_join_by(project: Project, store: MemoryStore) -> None:
    (hotels, hotel), (areas, area) = sources.read(store, project, sources.keep(store, project))
    assert (hotel, area) == ("hotel", "area")
    assert hotels.column("stars").to_pylist() == [3, 5]
    assert areas.column_names == ["area", "sea"]


def test_a_source_that_was_not_kept_then_is_not_read_now(project: Project, store: MemoryStore) -> None:
    kept = sources.keep(store, project)
    del kept["hotels"]
    assert [key for _, key in sources.read(store, project, kept)] == ["area"]
    assert sources.read(store, project, {}) == []


def test_a_source_that_cannot_be_parsed_says_so(project: Project, store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "data" / "hotels.parquet").write_bytes(b"PAR1 and nothing else")
    broken = with_sources(project, rows=Source("data/rows.csv"), hotels=Source("data/hotels.parquet", "hotel"))
    with pytest.raises(Unreadable):
        sources.read(store, broken, sources.keep(store, broken))
