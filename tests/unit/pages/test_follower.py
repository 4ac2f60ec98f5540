from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from fuseline import records as r
from fuseline.bootstrap import Line
from fuseline.chronicle import Chronicle
from fuseline.errors import StoreError
from fuseline.follower import Follower
from fuseline.ledger import encode
from fuseline.projects import read_project
from fuseline.settings import Settings
from fuseline.storage import MemoryStore


class Shop(MemoryStore):
    """A store that can be gone."""

    gone = ""

    def get(self, key: str) -> bytes:
        if self.gone:
            raise StoreError(self.gone)
        return super().get(key)


class Told:
    """A follower of a project with a ledger, and a count of the pages that were made."""

    def __init__(self, folder: Path, entries: list[r.Entry], fresh: float) -> None:
        (folder / "bookings").mkdir()
        (folder / "bookings" / "project.toml").write_text('target = "status"\n')
        self.folder, self.store, self.made, self.now = folder, Shop(), 0, "2026-03-12T18:00:00+00:00"
        self.write(entries)
        self.follower = Follower("bookings", self.open, lambda: self.now, fresh)

    def open(self) -> Line:
        return Line(Settings(projects=self.folder), read_project(self.folder, "bookings"), self.store, "x")

    def write(self, entries: list[r.Entry]) -> None:
        for entry in entries:
            self.store.put(f"bookings/ledger/{entry.seq:08d}.json", encode(entry))

    async def make(self, chronicle: Chronicle) -> bytes:
        self.made += 1
        return str(chronicle.state.seq).encode()

    async def ask(self, path: str = "index.html") -> bytes:
        await self.follower.look()
        return await self.follower.page(path, self.make)


@pytest.fixture
def at(tmp_path: Path, told: Any) -> Told:
    return Told(tmp_path, told.entries[:-1], fresh=0.0)


def test_a_page_is_made_once_for_what_is_known_and_some_seconds(at: Told, told: Any) -> None:
    async def ask() -> None:
        assert [await at.ask() for _ in range(5)] == [str(len(told.entries) - 1).encode()] * 5
        at.now = "2026-03-12T18:00:09+00:00"
        await at.ask()
        assert at.made == 1
        await at.ask("batches/a")
        assert at.made == 2
        at.now = "2026-03-12T18:00:10+00:00"
        await at.ask()
        assert at.made == 3
        at.write(told.entries[-1:])
        assert await at.ask() == str(len(told.entries)).encode()
        assert at.made == 4
        at.store.gone = "it is gone"
        await at.ask()
        await at.ask()
        assert at.made == 5

    asyncio.run(ask())


def test_what_was_read_just_now_is_not_asked_for_again(tmp_path: Path, told: Any) -> None:
    at = Told(tmp_path, told.entries[:-1], fresh=60.0)

    async def ask() -> None:
        await at.ask()
        at.write(told.entries[-1:])
        assert await at.ask() == str(len(told.entries) - 1).encode()

    asyncio.run(ask())


def test_trouble_is_said_once_in_the_log_and_so_is_its_end(at: Told, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        at.store.gone = "start the server"
        for at.now in ("2026-03-12T18:00:00+00:00", "2026-03-12T18:01:00+00:00"):
            await at.follower.look()
        assert at.follower.trouble is not None
        assert (at.follower.trouble.since, at.follower.trouble.seen) == ("2026-03-12T18:00:00+00:00", "")
        with pytest.raises(StoreError, match="start the server"):
            await at.follower.page("index.html", at.make)
        at.store.gone = ""
        for _ in range(3):
            await at.follower.look()
        assert at.follower.trouble is None

    with caplog.at_level(logging.WARNING):
        asyncio.run(ask())
    assert caplog.messages == ["bookings: start the server", "bookings: the ledger is readable"]


def test_the_banner_knows_since_when_and_when_it_was_read_last(at: Told) -> None:
    async def ask() -> None:
        await at.follower.look()
        at.store.gone = "start the server"
        for at.now in ("2026-03-12T18:01:00+00:00", "2026-03-12T18:02:00+00:00"):
            await at.follower.look()

    asyncio.run(ask())
    trouble = at.follower.trouble
    assert trouble is not None
    assert (trouble.since, trouble.seen) == ("2026-03-12T18:01:00+00:00", "2026-03-12T18:00:00+00:00")


def test_a_ledger_that_was_lost_is_said_in_the_log(at: Told, told: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        await at.ask()
        for item in list(at.store.list("")):
            at.store.delete(item.key)
        assert await at.ask() == b"0"
        assert await at.ask() == b"0"

    asyncio.run(ask())
    assert caplog.messages == [f"bookings: its ledger of {len(told.entries) - 1} entries is gone, another one begins"]
