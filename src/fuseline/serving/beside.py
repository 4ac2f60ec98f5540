"""The tables that the rows of a project are joined to, kept as they are now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fuseline import sources
from fuseline.errors import FuselineError, StoreError
from fuseline.projects import Project
from fuseline.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa

STORE_EVERY = 60.0  # seconds between two comparisons of what is in the store, which have to read it


class Beside:
    """The tables of the sources beyond the first.

    A file is looked at each time, by its size and time of change; what is in the store once a minute, by its content.

    Args:
        store_every: seconds between two comparisons of what is in the store.

    Attributes:
        kept: name of each source to the key of the copy that `tables` was read from.
        tables: (table, column to join by), in the order of project.toml.
    """

    def __init__(self, store: Store, project: Project, store_every: float = STORE_EVERY) -> None:
        self.store, self.project, self._store_every = store, project, store_every
        self.kept: dict[str, str] = {}
        self.tables: list[tuple[pa.Table, str]] = []
        self.read = False  # whether `tables` was read at all
        self._files: dict[str, tuple[int, int] | None] = {}  # as they were at the last look
        self._of: dict[str, tuple[int, int] | None] = {}  # as they were when `tables` was read
        self._compared = 0.0  # when the store was looked at, on the clock of the machine
        self._error: FuselineError | None = None  # why what is there now cannot be read
        named = sources.joined(project)
        self._local = {name: one.path for name, one in named.items() if not one.path.startswith(sources.STORED)}
        self._stored = len(named) > len(self._local)

    def look(self) -> bool:
        """Read the tables where they are others than before; returns whether they are.

        A file that changes is read at the second look that finds it the same, as somebody may still be writing it.

        Raises:
            FuselineError: a source is gone or cannot be read; the tables are those of before.
        """
        before, self._files = self._files, self._signs()
        changed = self._files != self._of and self._files == before
        due = self._stored and time.monotonic() - self._compared >= self._store_every
        if self.read and not changed and not due:
            if self._error is not None:  # nothing has changed since, so nothing is better
                raise self._error.with_traceback(None)
            return False
        seen = self._files
        try:
            another = self._take(sources.keep(self.store, self.project))
        except StoreError:
            raise  # it may answer at the next look
        except FuselineError as error:
            self._of, self._compared, self._error = seen, time.monotonic(), error
            raise
        self._of, self._compared, self._error = seen, time.monotonic(), None
        return another

    def _take(self, kept: dict[str, str]) -> bool:
        """Read these copies, unless they are those that were read."""
        if self.read and kept == self.kept:
            return False
        self.tables = sources.read(self.store, self.project, kept)
        self.kept, self.read = kept, True
        return True

    def _signs(self) -> dict[str, tuple[int, int] | None]:
        """Size and time of change of each local file, None where it is not there."""
        found: dict[str, tuple[int, int] | None] = {}
        for name, path in self._local.items():
            try:
                seen = (self.project.root / path).stat()
            except OSError:
                found[name] = None
            else:
                found[name] = (seen.st_size, seen.st_mtime_ns)
        return found
