from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest

from fuseline.errors import Refused, SettingsError
from fuseline.serving import spool as spooling
from fuseline.serving.spool import Owner, Spool, lives

# A server that writes lines as fast as it can, says so, and is killed.
WRITER = """
import sys
from itertools import count
from pathlib import Path
from fuseline.serving.spool import Spool
names = (f"{sys.argv[2]}-{i}" for i in count())
spool = Spool(Path(sys.argv[1]), lambda: next(names), 1 << 30)
for i in count():
    spool.append(b"%d" % i + b"x" * 1000, 1)
    if spool.rows == 50:
        spool.roll()
    print(i, flush=True)
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    """Makes spools over one folder; their files are named a0, a1, … over all of them."""
    numbers, spools = count(), []

    def make(most: int = 1 << 20) -> Spool:
        spools.append(Spool(tmp_path / "spool", lambda: f"a{next(numbers)}", most))
        return spools[-1]

    yield make
    for spool in spools:
        spool.close()


def read(spool: Spool) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in spool.ready()}


def left_by(spool: Spool, **owner: Any) -> Path:
    """Make the folder of a spool that of another process."""
    document = json.loads((spool.own / "owner.json").read_text())
    (spool.own / "owner.json").write_text(json.dumps({**document, **owner}))
    return spool.own


def silent(folder: Path) -> None:
    """As if there had been no sign of life for a long time."""
    before = time.time() - 2 * spooling.SILENT
    for path in (folder / "owner.json", folder):
        if path.exists():
            os.utime(path, (before, before))


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


def test_lines_are_in_a_file_at_once_and_ready_when_it_has_ended(made) -> None:
    spool = made()
    spool.append(b"one", 1)
    spool.append(b"two", 3)
    assert (spool.rows, read(spool)) == (4, {})
    assert (spool.own / "a0.jsonl").read_bytes() == b"one\ntwo\n"
    spool.roll()
    assert (spool.rows, spool.age, read(spool)) == (0, 0.0, {"a0": b"one\ntwo\n"})
    spool.append(b"three", 1)
    spool.roll()
    spool.roll()
    assert read(spool) == {"a0": b"one\ntwo\n", "a1": b"three\n"}


def test_the_age_is_that_of_the_first_line(made) -> None:
    spool = made()
    assert spool.age == 0.0
    spool.append(b"one", 1)
    first = spool.age
    spool.append(b"two", 1)
    assert 0.0 <= first <= spool.age < 5.0


def test_a_full_spool_takes_nothing_until_something_is_delivered(made) -> None:
    spool = made(most=2000)
    spool.append(b"x" * 1500, 1)
    with pytest.raises(Refused, match=r"0 MiB wait in .*, and no more than 0 are kept"):
        spool.append(b"x" * 600, 1)
    spool.append(b"y" * 300, 1)
    spool.roll()
    (path,) = spool.ready()
    assert path.read_bytes().count(b"\n") == 2
    spool.remove(path)
    spool.append(b"x" * 1900, 1)


def test_a_line_that_the_disk_took_half_of_does_not_spoil_the_next(made) -> None:
    class Half:
        """A file on a disk that is full for a moment."""

        def __init__(self, file: Any) -> None:
            self.file, self.left = file, [2, -1]

        def write(self, data: Any) -> int:
            if not self.left:
                return self.file.write(data)
            if (size := self.left.pop(0)) < 0:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:size])

        def close(self) -> None:
            self.file.close()

    spool = made()
    spool.append(b"one", 1)
    spool._file = Half(spool._file)
    with pytest.raises(OSError, match="No space left"):
        spool.append(b"torn", 1)
    spool.append(b"two", 1)
    spool.append(b"three", 1)
    spool.roll()
    assert (read(spool), spool.rows) == ({"a0": b"one\nto\ntwo\nthree\n"}, 0)


def test_what_cannot_be_delivered_is_kept_with_its_reasons(made, tmp_path) -> None:
    spool = made()
    for _ in range(2):
        kept = spool.put_aside("a0", [b"\xff", b"torn"], ["line 1: no UTF-8", "line 2: äh"])
    assert kept == tmp_path / "spool" / "aside" / "a0.lines"
    assert kept.read_bytes() == b"\xff\ntorn\n"
    assert kept.with_suffix(".txt").read_text(encoding="utf-8") == "line 1: no UTF-8\nline 2: äh\n"
    assert made().adopt() == 0 and kept.exists()


def test_a_folder_that_cannot_be_used_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"requests cannot be kept in .*file/x: .*Choose another folder"):
        Spool(tmp_path / "file" / "x", lambda: "a", 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_nobody_else_may_read_what_people_asked(made) -> None:
    spool = made()
    assert [path.stat().st_mode & 0o777 for path in (spool.folder, spool.own)] == [0o700, 0o700]


def test_an_end_without_anything_left_leaves_no_folder(made) -> None:
    spool = made()
    spool.close()
    assert not spool.own.exists() and spool.folder.exists()
    other = made()
    other.append(b"one", 1)
    other.close()
    assert read(other) == {"a0": b"one\n"} and (other.own / "owner.json").exists()


# ── what others left ─────────────────────────────────────────────────────────────────────────────


def test_of_a_server_that_lives_nothing_is_taken(made) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    other.roll()
    silent(other.own)  # it hangs, and lives
    assert (spool.adopt(), read(spool), list(read(other))) == (0, {}, ["a0"])


def test_what_a_server_of_another_id_left_is_taken_at_once(made) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    other.append(b"two", 1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = left_by(other, pid=ended.pid, created=1.0)
    assert (spool.adopt(), read(spool)) == (1, {"a0": b"one\ntwo\n"})
    assert not folder.exists()
    assert spool.adopt() == 0


def test_an_id_that_another_process_has_now_is_waited_for(made) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    folder = left_by(other, created=1.0)
    assert spool.adopt() == 0
    silent(folder)
    assert spool.adopt() == 1


def test_a_server_elsewhere_is_known_by_its_signs_of_life_only(made) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    folder = left_by(other, place="another container", pid=2**22 - 3)
    assert lives(folder) and spool.adopt() == 0
    silent(folder)
    assert not lives(folder) and spool.adopt() == 1


@pytest.mark.parametrize("owner", [None, b"", b'{"pid": 1', b'{"pid": "x"}'])
def test_a_folder_of_nobody_is_taken_after_a_while(made, owner) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    path = other.own / "owner.json"
    path.unlink() if owner is None else path.write_bytes(owner)
    assert spool.adopt() == 0  # somebody may be making it
    silent(other.own)
    assert spool.adopt() == 1


def test_a_server_that_was_taken_for_ended_begins_anew_and_nothing_is_lost(made) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    left_by(other, place="another container")
    silent(other.own)
    assert spool.adopt() == 1
    other._beaten -= spooling.BEAT_EVERY  # it wakes up
    other.append(b"two", 1)
    other.roll()
    assert (read(spool), read(other)) == ({"a0": b"one\n"}, {"a1": b"two\n"})
    assert lives(other.own)


def test_a_sign_of_life_is_given_now_and_then(made) -> None:
    spool = made()
    silent(spool.own)
    spool.beat()
    left_by(spool, place="another container")
    silent(spool.own)
    assert not lives(spool.own)
    spool._beaten -= spooling.BEAT_EVERY
    spool.beat()
    assert lives(spool.own)


def test_a_folder_that_cannot_be_removed_is_said_and_its_files_are_taken(made, caplog) -> None:
    other, spool = made(), made()
    other.append(b"one", 1)
    folder = left_by(other, place="another container")
    silent(folder)
    (folder / "notes.txt").write_text("mine")
    assert (spool.adopt(), read(spool)) == (1, {"a0": b"one\n"})
    assert f"what is left in {folder} cannot be taken over: " in caplog.text
    assert (folder / "notes.txt").exists()


def test_what_is_taken_counts_as_kept(made) -> None:
    other, spool = made(), made(most=1000)
    other.append(b"x" * 900, 1)
    left_by(other, place="another container")
    silent(other.own)
    spool.adopt()
    with pytest.raises(Refused):
        spool.append(b"x" * 200, 1)


def test_the_owner_is_this_process() -> None:
    me = Owner.me()
    assert (me.pid, me.place) == (os.getpid(), spooling.place())
    assert me.created == psutil.Process().create_time()


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts servers that write."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "spool"), name]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_of_servers_that_are_killed_amid_their_work_every_line_is_there(made, writing, tmp_path) -> None:
    first, second = writing("first"), writing("second")
    said = {}
    for process in (first, second):
        while process.stdout.readline().strip() != b"120":
            pass
    first.kill()  # and nobody waits for it: to the system it is there, as a zombie
    said["first"] = [120, *map(int, first.stdout.read().split())][-1]
    while psutil.Process(first.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    spool = made()
    taken = spool.adopt()
    found = b"\n".join(read(spool).values()).split(b"\n")  # the last line of a file may be torn
    assert taken == len(read(spool)) >= 3
    assert all(name.startswith("first-") for name in read(spool))
    numbers = sorted(int(line.rstrip(b"x")) for line in found if line)
    assert numbers[: said["first"] + 1] == list(range(said["first"] + 1))
    second.kill()
    second.wait()
    spool.adopt()
    assert any(name.startswith("second-") for name in read(spool))
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [spool.own.name]
