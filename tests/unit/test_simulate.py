from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from fuseline.artifacts import digest
from fuseline.bootstrap import Line
from fuseline.projects import read_project
from fuseline.records import Labelled, Started
from fuseline.settings import Settings
from fuseline.storage import MemoryStore, open_store

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "data" / "simulate.py"
INBOX, LABELS = "inbox/bookings/", "labels/bookings/"


def load(path: Path) -> ModuleType:
    """The script as a module; it finds data/generate.py beside itself, as it does when it is run."""
    spec = importlib.util.spec_from_file_location(f"by_path_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as paths:
        paths.syspath_prepend(path.parent)
        spec.loader.exec_module(module)
    return module


s: Any = load(SCRIPT)
g: Any = sys.modules["generate"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The first days as data/generate.py writes them."""
    return g.generate(tmp_path_factory.mktemp("made"), rows=1_000, days=9, history_days=1, history_rows=1)


@pytest.fixture
def here() -> Line:
    """The line of the bookings over an empty store in memory."""
    settings = Settings(projects=ROOT / "projects", now="2026-11-20T06:00:00+00:00")
    return Line(settings, read_project(settings.projects, "bookings"), MemoryStore(), "tester")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store in a folder that the environment names."""
    monkeypatch.setenv("FUSELINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("FUSELINE_PROJECTS", str(ROOT / "projects"))
    return tmp_path / "store"


def next_day(here: Line, days: int = 1, labels_after: int = 3) -> list[str]:
    known = s.look(here)
    return list(s.deliver(here, known, known.newest + days, labels_after))


def names(here: Line, prefix: str) -> list[str]:
    return [item.key.removeprefix(prefix).removesuffix(".parquet")[-2:] for item in here.store.list(prefix)]


def take(here: Line, day: str) -> None:
    """What a run does: the ledger says that the batch was started, and the file leaves the inbox."""
    data = here.store.get(f"{INBOX}{day}.parquet")
    batch = f"{day}.{digest(data)[:12]}"
    started = Started(batch, day, f"{day}.parquet", digest(data), "v0001", "champion", "2026-11-20T06:00:00+00:00", 9)
    here.ledger.append(lambda state: started)
    here.store.delete(f"{INBOX}{day}.parquet")


# ── the days ─────────────────────────────────────────────────────────────────────────────────────


def test_each_call_delivers_the_next_day(here: Line) -> None:
    assert next_day(here) == ["day 1: 1,000 bookings of 2026-03-01"]
    assert next_day(here) == ["day 2: 1,000 bookings of 2026-03-02"]
    assert names(here, INBOX) == ["01", "02"]


def test_a_day_has_the_bytes_that_the_generator_gives_it_among_others(here: Line, made: Any) -> None:
    next_day(here, days=9)
    for day in made.days:
        assert here.store.get(f"{INBOX}{day.batch.name}") == day.batch.read_bytes()
    for day in made.days[:6]:
        assert here.store.get(f"{LABELS}{day.labels.name}") == day.labels.read_bytes()


def test_a_day_that_is_made_alone_says_the_same_of_itself(made: Any, tmp_path: Path) -> None:
    alone = g.one_day(tmp_path, 8, rows=1_000)
    assert (alone.day, alone.incident, alone.labels_due) == (
        made.days[7].day,
        "price_eur arrives in cents",
        made.days[7].labels_due,
    )
    assert alone.repaired.read_bytes() == made.days[7].repaired.read_bytes()
    with pytest.raises(ValueError, match="--number must be from 1"):
        g.one_day(tmp_path, 0)


def test_the_joined_table_and_the_history_are_of_the_same_world(here: Line, tmp_path: Path) -> None:
    world = g.generate(tmp_path, days=1, history_days=1)  # as `make train` writes it
    next_day(here)
    with here.store.local(f"{INBOX}2026-03-01.parquet") as path:
        batch = pq.read_table(path)
    assert set(batch["hotel_id"].to_pylist()) <= set(pq.read_table(world.hotels)["hotel_id"].to_pylist())
    history = pq.read_schema(world.history)
    assert list(batch.schema) == [field for field in history if field.name != "status"]
    assert world.days[0].day == s.START


def test_the_incident_in_cents_comes_again_each_twenty_days(tmp_path: Path) -> None:
    faulty = [n for n in range(1, 50) if g.one_day(tmp_path, n, rows=2).incident]
    assert faulty == [8, 28, 48]
    paid = pq.read_table(tmp_path / "batches" / "2026-03-28.parquet")["price_eur"].to_pandas()
    true = pq.read_table(tmp_path / "repaired" / "2026-03-28.parquet")["price_eur"].to_pandas()
    assert (paid / true).dropna().round().tolist() == [100.0, 100.0]
    assert not g.one_day(tmp_path, 28, rows=2, incidents=False).incident


def test_the_day_in_cents_is_told_of(here: Line) -> None:
    assert next_day(here, days=8)[-1] == (
        "day 8: 1,000 bookings of 2026-03-08 (price_eur arrives in cents); labels of 2026-03-05"
    )


# ── which is next ────────────────────────────────────────────────────────────────────────────────


def test_a_day_that_was_scored_is_known_to_the_ledger(here: Line) -> None:
    next_day(here, days=2)
    take(here, "2026-03-01")
    take(here, "2026-03-02")
    assert names(here, INBOX) == []
    assert next_day(here) == ["day 3: 1,000 bookings of 2026-03-03"]


def test_a_store_that_lost_everything_begins_again_with_the_same_days(here: Line) -> None:
    next_day(here, days=3)
    before = here.store.get(f"{INBOX}2026-03-01.parquet")
    emptied = replace(here, store=MemoryStore())
    assert next_day(emptied)[0].startswith("day 1:")
    assert emptied.store.get(f"{INBOX}2026-03-01.parquet") == before


def test_files_of_other_names_do_not_count(here: Line) -> None:
    here.store.put(f"{INBOX}mine.csv", b"booking_id\n1\n")
    here.store.put(f"{INBOX}2026-03-01/more.parquet", b"")
    assert next_day(here)[0].startswith("day 1:")


def test_a_file_with_a_date_far_ahead_skips_no_day(here: Line) -> None:
    here.store.put(f"{INBOX}2027-01-01.parquet", b"mine")
    here.store.put(f"{INBOX}2026-03-02.csv", b"mine")
    assert next_day(here)[0].startswith("day 1:")
    take(here, "2026-03-01")
    assert next_day(here)[0].startswith("day 3:")


def test_two_at_the_same_time_deliver_the_same_bytes(here: Line) -> None:
    known = s.look(here)
    first = list(s.deliver(here, known, 5, 3))
    before = {item.key: here.store.get(item.key) for item in here.store.list("")}
    assert list(s.deliver(here, known, 5, 3)) == first
    assert {item.key: here.store.get(item.key) for item in here.store.list("")} == before


# ── the labels ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("after", "there"), [(0, ["01", "02", "03", "04", "05"]), (3, ["01", "02"]), (9, [])])
def test_labels_come_so_many_days_later(here: Line, after: int, there: list[str]) -> None:
    next_day(here, days=5, labels_after=after)
    assert names(here, LABELS) == there


def test_labels_hold_the_outcome_of_each_booking_of_their_day(here: Line) -> None:
    next_day(here, days=4)
    with (
        here.store.local(f"{LABELS}2026-03-01.parquet") as labels,
        here.store.local(f"{INBOX}2026-03-01.parquet") as batch,
    ):
        assert pq.read_table(labels).column_names == ["booking_id", "status"]
        assert pq.read_table(labels)["booking_id"].equals(pq.read_table(batch)["booking_id"])


def test_labels_that_a_killed_run_owed_come_with_the_next_day(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.main(["--first", "3"])
    killed = run(folder.parent, FUSELINE_FAULTS="kill-before upload labels/*")
    assert killed.returncode == -signal.SIGKILL
    assert len(list((folder / "inbox" / "bookings").iterdir())) == 4
    assert not (folder / "labels").exists()
    capsys.readouterr()
    s.main([])
    assert capsys.readouterr().out == "day 5: 1,000 bookings of 2026-03-05; labels of 2026-03-01, 2026-03-02\n"


def test_a_run_that_is_killed_before_the_batch_leaves_nothing_half_done(folder: Path) -> None:
    s.main(["--first", "1"])
    before = everything(folder)
    assert run(folder.parent, FUSELINE_FAULTS="kill-before upload inbox/*").returncode == -signal.SIGKILL
    assert everything(folder) == before


def test_labels_that_were_read_do_not_come_again(here: Line) -> None:
    next_day(here, days=4)
    read = Labelled({"2026-03-01.parquet": "0" * 64}, (), 0, None, None, None, None, "pass")
    here.ledger.append(lambda state: read)
    here.store.delete(f"{LABELS}2026-03-01.parquet")
    assert next_day(here) == ["day 5: 1,000 bookings of 2026-03-05; labels of 2026-03-02"]


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_command_delivers_one_day_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.main([])
    assert capsys.readouterr().out == "day 1: 1,000 bookings of 2026-03-01\n"
    assert [p.name for p in (folder / "inbox" / "bookings").iterdir()] == ["2026-03-01.parquet"]
    s.main(["--days", "2", "--labels-after", "1"])
    assert len(list((folder / "inbox" / "bookings").iterdir())) == 3
    assert len(list((folder / "labels" / "bookings").iterdir())) == 2


def test_the_first_days_are_delivered_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s.main(["--first", "4"])
    assert len(capsys.readouterr().out.splitlines()) == 4
    before = sorted(folder.rglob("*.parquet"))
    assert len(before) == 5  # four batches, and the labels of the first
    for many in ("4", "2"):
        s.main(["--first", many])
        assert capsys.readouterr().out == f"days 1 to {many} are there: nothing is delivered\n"
    assert sorted(folder.rglob("*.parquet")) == before


def test_first_days_of_which_a_killed_run_left_some_out_are_completed(folder: Path) -> None:
    s.main(["--first", "1"])
    s.main(["--first", "3"])
    assert len(list((folder / "inbox" / "bookings").iterdir())) == 3


def test_it_delivers_to_a_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    monkeypatch.setenv("FUSELINE_STORE", f"s3://{bucket}/line")
    monkeypatch.setenv("FUSELINE_PROJECTS", str(ROOT / "projects"))
    s.main(["--first", "2"])
    store = open_store(f"s3://{bucket}/line")
    assert [item.key for item in store.list("")] == [f"{INBOX}2026-03-01.parquet", f"{INBOX}2026-03-02.parquet"]
    assert store.get(f"{INBOX}2026-03-02.parquet") == made.days[1].batch.read_bytes()


@pytest.mark.parametrize("store", ["s3://not-there/line", "ftp://elsewhere"])
def test_a_store_that_cannot_be_used_is_an_error_of_one_line(
    s3: str, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUSELINE_STORE", store)
    monkeypatch.setenv("FUSELINE_PROJECTS", str(ROOT / "projects"))
    with pytest.raises(SystemExit) as ended:
        s.main([])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: ") and store in said and said.count("\n") == 1


def test_a_server_that_is_down_is_an_error_without_a_traceback(folder: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "a", "AWS_REGION": "us-east-1"}
    done = run(folder.parent, FUSELINE_STORE="s3://bucket", AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", **keys)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Could not connect" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "0"], "must be from 1 to 3,660, not 0"),
        (["--first", "three"], "invalid"),
        (["--first", "3", "--days", "3"], "not allowed with"),
        (["--labels-after", "-1"], "must be from 0 to 366, not -1"),
    ],
)
def test_a_silly_argument_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        s.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_it_runs_as_a_script_from_anywhere_and_loads_no_heavy_library(folder: Path) -> None:
    done = run(folder.parent, "-X", "importtime")
    assert (done.returncode, done.stdout) == (0, "day 1: 1,000 bookings of 2026-03-01\n")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"metaflow", "sklearn", "scipy", "joblib", "boto3", "rich", "jinja2", "apprise"}


def run(folder: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own."""
    command, environment = [sys.executable, *options, str(SCRIPT)], {**os.environ, **more}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
