from __future__ import annotations

from pathlib import Path
from typing import Any

from fuseline import records as r
from fuseline.bootstrap import Line
from fuseline.opinion import encode as written
from fuseline.projects import Config, read_project
from fuseline.report import refresh, write
from fuseline.settings import Settings
from fuseline.storage import MemoryStore

CONFIG = Config("status", task="binary")


def told_twice(lore: Any, store: MemoryStore) -> tuple[Any, str, str]:
    """A story whose last batch has an opinion in the store; with the keys of the batch's page and of Evidently's."""
    s = lore.story()
    batch = s.stop("2026-03-12", "v0003", lore.HALT, None)
    store.put(f"bookings/batches/{batch}/a1/evidently.json", written(lore.OPINION))
    store.put(f"bookings/batches/{batch}/a1/evidently.html", b"<html>")
    return s, f"bookings/reports/batches/{batch}.html", f"bookings/reports/evidently/{batch}.a1.html"


def test_write_puts_evidentlys_page_where_the_link_leads(lore: Any) -> None:
    store = MemoryStore()
    s, key, copied = told_twice(lore, store)
    assert copied not in write(store, "bookings", lore.stored(s, store), s.at, CONFIG)
    (link,) = [link for link in lore.Page(store.get(key).decode()).links if "evidently" in link]
    assert link == f"../evidently/{copied.rpartition('/')[2]}"
    assert store.get(copied) == b"<html>"


def test_evidentlys_page_is_copied_once_and_copied_again_if_it_is_lost(lore: Any) -> None:
    store = MemoryStore()
    s, _, copied = told_twice(lore, store)
    ledger = lore.stored(s, store)
    write(store, "bookings", ledger, s.at, CONFIG)
    store.put(copied, b"as it was")
    write(store, "bookings", ledger, s.at, CONFIG)
    assert store.get(copied) == b"as it was"
    store.delete(copied)
    write(store, "bookings", ledger, s.at, CONFIG)
    assert store.get(copied) == b"<html>"


def test_write_does_without_what_is_lost_or_broken_of_an_opinion(lore: Any) -> None:
    store = MemoryStore()
    s, key, copied = told_twice(lore, store)
    store.delete(f"bookings/batches/{key.rpartition('/')[2].removesuffix('.html')}/a1/evidently.html")
    write(store, "bookings", lore.stored(s, store), s.at, CONFIG)
    assert b"no longer in the store" in store.get(key)
    assert not store.exists(copied)
    store.put(f"bookings/batches/{key.rpartition('/')[2].removesuffix('.html')}/a1/evidently.json", b"{")
    write(store, "bookings", lore.stored(s, store), s.at, CONFIG)
    assert b"evidently.json cannot be read" in store.get(key)


def test_write_puts_what_pages_makes(lore: Any, told: Any) -> None:
    store = MemoryStore()
    keys = write(store, "bookings", lore.stored(told, store), told.at, CONFIG)
    made = told.pages(hours=0)
    assert {k.removeprefix("bookings/reports/") for k in keys} == set(made)
    assert all(store.get(f"bookings/reports/{path}").decode() == page for path, page in made.items())
    assert keys[-1] == "bookings/reports/index.html"


def test_a_second_write_leaves_old_batches_alone(lore: Any) -> None:
    s, store = lore.long_story(), MemoryStore()
    ledger = lore.stored(s, store)
    assert len(write(store, "bookings", ledger, s.at, CONFIG)) == 131
    assert len(write(store, "bookings", ledger, s.at, CONFIG)) == 101  # 200 entries, two for each batch


def test_a_batch_whose_status_changed_is_written_again(lore: Any) -> None:
    s, store = lore.long_story(), MemoryStore()
    write(store, "bookings", lore.stored(s, store), s.at, CONFIG)
    batch = next(iter(s.state.batches))
    s.say(r.Withdrawn(batch, "wrong file"))
    assert f"bookings/reports/batches/{batch}.html" in write(store, "bookings", lore.stored(s, store), s.at, CONFIG)
    assert b"withdrawn later" in store.get(f"bookings/reports/batches/{batch}.html")


def test_a_page_that_was_lost_is_made_again(lore: Any) -> None:
    s, store = lore.long_story(), MemoryStore()
    ledger = lore.stored(s, store)
    write(store, "bookings", ledger, s.at, CONFIG)
    key = f"bookings/reports/batches/{next(iter(s.state.batches))}.html"
    page = store.get(key)
    store.delete(key)
    assert key in write(store, "bookings", ledger, s.at, CONFIG)
    assert store.get(key) == page


def test_other_facts_make_every_page_again(lore: Any) -> None:
    s, store = lore.long_story(), MemoryStore()
    ledger = lore.stored(s, store)
    write(store, "bookings", ledger, s.at, CONFIG)
    assert len(write(store, "bookings", ledger, s.at)) == 131


def line(folder: Path, toml: str) -> Line:
    (folder / "bookings").mkdir()
    (folder / "bookings" / "project.toml").write_text(toml)
    settings = Settings("memory://", folder, "2026-03-12T06:00:00+00:00")
    return Line(settings, read_project(folder, "bookings"), MemoryStore(), "mara")


def test_refresh_says_nothing_of_a_task_that_is_not_known_yet(tmp_path: Path) -> None:
    here = line(tmp_path, 'target = "status"')
    assert refresh(here) == ["bookings/reports/index.html"]
    assert b"predicts" not in here.store.get("bookings/reports/index.html")


def test_refresh_takes_the_task_from_the_champion(tmp_path: Path) -> None:
    here = line(tmp_path, 'target = "cost"\n[schedule]\nevery_hours = 12')
    metrics = {"rmse": 100.0, "se": 2.0}
    here.ledger.append(lambda state: r.Registered("v0001", "d" * 64, metrics))
    here.ledger.append(lambda state: r.Promoted("v0001", None, "gate", "first"))
    started = r.Started("b.1", "b", "b.csv", "d" * 64, "v0001", "champion", here.settings.clock(), 10)
    here.ledger.append(lambda state: started)
    here.ledger.append(
        lambda state: r.Published(
            "b.1", "a", "v0001", "champion", 10, 0, here.settings.clock(), "e", r.Assessment("pass")
        )
    )
    assert len(refresh(here)) == 2
    page = here.store.get("bookings/reports/index.html").decode()
    assert "predicts <b>cost</b>" in page
    assert "one is expected every 12 h" in page
    assert "tolerance 0.05" in here.store.get("bookings/reports/batches/b.1.html").decode()
