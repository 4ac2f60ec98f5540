"""Lines that wait on the disk until they are delivered: whatever ends the process, they are not lost.

Each process has a folder of its own in the spool, with a file `owner.json` that says whose it is and whose time of
change says that it lives. What a process that has ended left behind is taken over by another one.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import msgspec

from fuseline.errors import Refused, SettingsError

OWNER, ASIDE, ENDING = "owner.json", "aside", ".jsonl"
BEAT_EVERY = 10.0  # seconds between two signs of life
SILENT = 300.0  # seconds without one, after which an owner that cannot be looked up is taken for ended
SAME = 10.0  # seconds by which the start of a process may seem to shift when a clock is set

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A process: its id, when it began (seconds since 1970), and where ids of processes mean the same as here."""

    pid: int
    created: float
    place: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        import psutil

        return cls(os.getpid(), psutil.Process().create_time(), place())


def place() -> str:
    """The machine, or the container in it, in which ids of processes are counted."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        namespace = ""
    return f"{platform.node()} {namespace}".strip()


class Spool:
    """Files of lines: one that is written to, and those that are to be delivered.

    `append` may be called while another thread calls the rest.

    Args:
        folder: of all processes that log the same; made where it is not there.
        naming: gives the name of the next file, without its ending; no name twice.
        most: bytes that this process keeps at most.

    Attributes:
        own: the folder of this process.
        rows: rows in the file that is written to.

    Raises:
        SettingsError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, naming: Callable[[], str], most: int) -> None:
        self.folder, self.most, self._naming = folder.absolute(), most, naming
        self.rows = 0
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._path: Path | None = None  # of the file that is written to
        self._torn = False  # whether its last line was not written to the end
        self._bytes = 0
        self._begun = self._beaten = 0.0  # on the clock of the machine
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what people ask is nobody else's business
            self.own = self._settle()
        except OSError as error:
            raise SettingsError(
                f"requests cannot be kept in {folder}: {error.strerror}. Choose another folder"
            ) from error

    @property
    def age(self) -> float:
        """Seconds since the first line of the file that is written to; 0 without one."""
        return time.monotonic() - self._begun if self._path is not None else 0.0

    def append(self, line: bytes, rows: int) -> None:
        """Write a line, which has no line break in it, as far as the operating system: then a kill cannot take it.

        Raises:
            Refused: the spool is full; nothing was written.
            OSError: the disk refused it.
        """
        with self._lock:
            if self._bytes + len(line) > self.most:
                raise Refused(
                    f"{self._bytes / 2**20:,.0f} MiB wait in {self.own}, and no more than {self.most / 2**20:,.0f} are "
                    "kept. Mend the store that they are to go to"
                )
            self._beat()
            file = self._file or self._begin()
            left = memoryview(b"\n" * self._torn + line + b"\n")
            self._torn = True
            while left:
                written = file.write(left)
                left, self._bytes = left[written:], self._bytes + written
            self._torn = False
            self.rows += rows

    def roll(self) -> None:
        """End the file that is written to; the next line begins another one."""
        with self._lock:
            self._end()

    def ready(self) -> list[Path]:
        """The files that are to be delivered, the oldest first."""
        with self._lock:
            current = self._path
        return sorted(path for path in self.own.glob(f"*{ENDING}") if path != current)

    def remove(self, path: Path) -> None:
        """Remove a file that was delivered."""
        size = path.stat().st_size
        path.unlink()
        with self._lock:
            self._bytes = max(0, self._bytes - size)

    def put_aside(self, name: str, lines: Sequence[bytes], reasons: Sequence[str]) -> Path:
        """Keep lines that cannot be delivered, with the reason for each; the same again changes nothing."""
        aside = self.folder / ASIDE
        aside.mkdir(mode=0o700, exist_ok=True)
        (aside / f"{name}.txt").write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8")
        kept = aside / f"{name}.lines"
        kept.write_bytes(b"".join(line + b"\n" for line in lines))
        return kept

    def beat(self) -> None:
        """Show that this process lives; called more often than every few minutes."""
        with self._lock:
            self._beat()

    def adopt(self) -> int:
        """Take over the files of processes that have ended; returns how many."""
        taken = 0
        for folder in sorted(self.folder.iterdir()):
            if folder == self.own or folder.name == ASIDE or not folder.is_dir() or lives(folder):
                continue
            try:
                (folder / OWNER).unlink(missing_ok=True)  # first: should its owner live after all, it begins anew
                for path in sorted(folder.glob(f"*{ENDING}")):
                    path.replace(self.own / path.name)
                    taken += 1
                    with self._lock:
                        self._bytes += (self.own / path.name).stat().st_size
                folder.rmdir()
            except FileNotFoundError:
                continue  # another server takes it
            except OSError as error:
                log.warning("what is left in %s cannot be taken over: %s", folder, error.strerror)
        return taken

    def close(self) -> None:
        """End the file that is written to, and remove the folder of this process if nothing is left in it."""
        with self._lock:
            self._end()
            if not any(self.own.glob(f"*{ENDING}")):
                with suppress(OSError):
                    (self.own / OWNER).unlink(missing_ok=True)
                    self.own.rmdir()

    def _settle(self) -> Path:
        """Make a folder of this process."""
        me = Owner.me()
        own = self.folder / f"{me.pid}-{secrets.token_hex(4)}"
        own.mkdir(mode=0o700, parents=True)
        (own / OWNER).write_bytes(msgspec.json.encode(me))
        self._beaten = time.monotonic()
        return own

    def _beat(self) -> None:
        if time.monotonic() - self._beaten < BEAT_EVERY:
            return
        self._beaten = time.monotonic()
        try:
            os.utime(self.own / OWNER)
        except FileNotFoundError:  # another process took us for ended, with all that was written until now
            self._end()
            self._bytes = 0
            self.own = self._settle()

    def _begin(self) -> FileIO:
        self._path, self._begun = self.own / f"{self._naming()}{ENDING}", time.monotonic()
        self._file = self._path.open("ab", buffering=0)
        return self._file

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._path, self._torn, self.rows = None, None, False, 0


def lives(folder: Path) -> bool:
    """Whether the process that a folder belongs to goes on, as far as that can be told; rather yes than no."""
    import psutil

    try:
        silent = time.time() - (folder / OWNER).stat().st_mtime > SILENT
        owner = msgspec.json.decode((folder / OWNER).read_bytes(), type=Owner)
    except (FileNotFoundError, msgspec.MsgspecError):  # it is being made, or half taken over
        with suppress(FileNotFoundError):
            return time.time() - folder.stat().st_mtime <= SILENT
        return True
    if owner.place != place():
        return not silent
    try:
        process = psutil.Process(owner.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - owner.created) <= SAME or not silent
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return not silent
