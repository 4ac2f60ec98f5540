"""The tables that rows are made of besides the batch: named in project.toml, pinned by content, joined by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fuseline.artifacts import file_digest
from fuseline.errors import NotFound, SettingsError
from fuseline.projects import Project, Source
from fuseline.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa

STORED = "store:"


@contextmanager
def local(store: Store, project: Project, name: str, source: Source) -> Iterator[Path]:
    """A local file with a source's rows. Raises SettingsError naming the source where there is none."""
    where = f"[sources.{name}] of project {project.name}"
    if source.path.startswith(STORED):
        try:
            with store.local(source.path.removeprefix(STORED)) as path:
                yield path
        except NotFound as error:
            raise SettingsError(f"{where}: the store has no {source.path.removeprefix(STORED)!r}") from error
        return
    path = project.root / source.path
    if not path.is_file():
        raise SettingsError(
            f"{where}: {path} does not exist. Give `path` relative to {project.root}, or as `{STORED}<key>`"
        )
    yield path


def history(project: Project) -> tuple[str, Source]:
    """The first source: the labelled rows that batches continue. Raises SettingsError if none is named."""
    for name, source in project.config.sources.items():
        return name, source
    raise SettingsError(
        f"project {project.name} names no source to train on: add to project.toml\n"
        '[sources.history]\npath = "data/history.parquet"'
    )


def joined(project: Project) -> dict[str, Source]:
    """The other sources, in the order of project.toml."""
    return dict(list(project.config.sources.items())[1:])


def keep(store: Store, project: Project) -> dict[str, str]:
    """Keep a copy of each joined source under its digest; returns source name to key."""
    kept = {}
    for name, source in joined(project).items():
        with local(store, project, name, source) as path:
            key = f"{project.name}/sources/{name}-{file_digest(path)[:12]}{path.suffix.lower()}"
            if not store.exists(key):
                store.upload(key, path)
        kept[name] = key
    return kept


def read(store: Store, project: Project, kept: Mapping[str, str]) -> list[tuple[pa.Table, str]]:
    """The kept copies as (table, column to join by), in the order of project.toml."""
    from fuseline import tables

    found = []
    for name, source in joined(project).items():
        if name in kept:
            assert source.join is not None
            with store.local(kept[name]) as path:
                found.append((tables.read_table(path), source.join))
    return found
