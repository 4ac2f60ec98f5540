"""A store in a folder: the embedded default, without any server."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuseline.errors import AlreadyExists, NotFound, NotWritten, StoreError, UnknownOutcome
from fuseline.storage import TEMPORARY, Listed, check_key, check_prefix, check_readable


class FolderStore:
    """A store in a folder: no server, and every object is a file that any tool can read.

    Every write fills a temporary file in `<root>/.tmp`, syncs it to the disk, and then gives it its name in
    one step. A writer that is killed leaves at most a file in `.tmp`, which nobody reads. The folder needs a
    file system with hard links (all usual ones but FAT), because a link is what fails if a name is taken.

    Args:
        root: the folder; it is made at the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.url = self.root.as_uri()

    def get(self, key: str) -> bytes:
        """The whole file. Raises NotFound."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise self._missing(key) from error
        except OSError as error:
            raise StoreError(_said(f"{key!r} cannot be read", self.root, error)) from error

    def put(self, key: str, data: bytes) -> None:
        """Write the file, over another one if there is one. Raises NotWritten or UnknownOutcome."""
        self._write(key, lambda path: _fill(path, data), os.replace)

    def create(self, key: str, data: bytes) -> None:
        """Write the file if the name is free. Raises AlreadyExists, NotWritten or UnknownOutcome."""
        self._write(key, lambda path: _fill(path, data), _link)

    def exists(self, key: str) -> bool:
        """Whether there is such a file; a folder is none."""
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise StoreError(_said(f"{key!r} cannot be looked up", self.root, error)) from error

    def delete(self, key: str) -> None:
        """Remove the file, but not its folder; no error if there is none. Raises NotWritten."""
        try:
            if self.exists(key):
                self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise NotWritten(_said(f"{key!r} was not deleted", self.root, error)) from error

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every file whose key starts with `prefix`, sorted by key; only the folders that can hold one are read."""
        folder, slash, start = check_prefix(prefix).rpartition("/")
        try:
            misplaced = self.root.exists() and not self.root.is_dir()
        except OSError as error:
            raise StoreError(_said(f"{prefix!r} cannot be listed", self.root, error)) from error
        if misplaced:
            raise StoreError(f"{self.root} is a file, but a store is a folder: set FUSELINE_STORE to another path")
        yield from self._walk(folder + slash, start)

    def upload(self, key: str, path: Path) -> None:
        """Write a whole local file. Raises NotWritten or UnknownOutcome."""
        check_readable(path)
        self._write(key, lambda temporary: shutil.copyfile(path, temporary), os.replace)

    def delete_if(self, key: str, digest: str) -> bool:
        """Remove the file if its bytes have this SHA-256.

        Only a file of that digest is taken: by renaming it, which nobody can come between. If another one had taken
        its place meanwhile, that one is put back under its name, or beside it where an even newer one has the name.
        """
        path, aside = self._path(key), self.root / TEMPORARY / uuid.uuid4().hex
        try:
            before = path.lstat()
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return True
        except OSError as error:
            raise StoreError(_said(f"{key!r} cannot be read", self.root, error)) from error
        if found != digest:
            return False
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
            same = _identity(aside.lstat()) == _identity(before)
            if not same:
                _put_back(aside, path)
            aside.unlink()
        except OSError as error:
            if not self.exists(key):  # somebody else took it
                return True
            raise NotWritten(_said(f"{key!r} was not deleted", self.root, error)) from error
        return same

    def copy(self, source: str, target: str) -> None:
        """Give the file a second name by a hard link; where links are refused its bytes are copied."""
        if not self.exists(source):
            raise self._missing(source)
        path = self._path(source).resolve()  # a link to a symbolic link would copy the symbolic link

        def fill(temporary: Path) -> None:
            try:
                os.link(path, temporary)
            except OSError:
                shutil.copyfile(path, temporary)

        self._write(target, fill, os.replace)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """The file itself: do not write to it. Raises NotFound."""
        if not self.exists(key):
            raise self._missing(key)
        yield self._path(key)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _missing(self, key: str) -> NotFound:
        return NotFound(f"there is no key {key!r} in {self.root}")

    def _write(self, key: str, fill: Callable[[Path], Any], place: Callable[[Path, Path], None]) -> None:
        target = self._path(key)
        temporary = self.root / TEMPORARY / uuid.uuid4().hex
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            fill(temporary)
            _sync(temporary)
            place(temporary, target)
        except OSError as error:
            raise NotWritten(_said(f"{key!r} was not written", self.root, error)) from error
        finally:
            # Also after os.replace: it leaves the old name where both names are links to one file.
            with suppress(OSError):
                temporary.unlink()
        _sync_folder(target.parent)

    def _walk(self, folder: str, start: str) -> Iterator[Listed]:
        """Files below `folder` (which is empty or ends with a slash) whose next part starts with `start`."""
        try:
            with os.scandir(self.root / folder) as entries:
                found = [(f"{e.name}/" if e.is_dir() else e.name, e) for e in entries if e.name.startswith(start)]
        except (FileNotFoundError, NotADirectoryError):
            return  # the store is new, or the folder was removed while we looked
        except OSError as error:
            raise StoreError(_said(f"{folder!r} cannot be listed", self.root, error)) from error
        # With its slash a folder sorts as the keys in it do: "a.json" < "a/b" < "a0".
        for name, entry in sorted(found, key=lambda pair: pair[0]):
            if folder + name == f"{TEMPORARY}/":
                continue
            if name.endswith("/"):
                yield from self._walk(folder + name, "")
            else:
                with suppress(FileNotFoundError):  # deleted while we looked, or a symbolic link to nothing
                    yield Listed(folder + name, entry.stat().st_size)


def _fill(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


def _link(source: Path, target: Path) -> None:
    """Give a complete file its name, unless the name is taken."""
    try:
        os.link(source, target)
    except FileExistsError as error:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target)) from error
        raise AlreadyExists(f"{target} already exists; nothing was written") from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        raise NotWritten(
            f"{target} was not written: its file system refuses hard links ({error.strerror}), which create-only "
            "puts need. Set FUSELINE_STORE to a folder on another file system, or to s3://bucket/prefix"
        ) from error


def _identity(stat: os.stat_result) -> tuple[int, int, int, int]:
    """What changes if a file is replaced or written to."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _put_back(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        os.link(aside, path.with_name(f"{path.stem}.{aside.name[:8]}{path.suffix}"))


def _sync(path: Path) -> None:
    """Have the disk hold the content of a file (or the names in a folder) before we go on."""
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # Windows syncs what can be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut. Some file systems cannot sync a folder, and need not (EINVAL)."""
    if sys.platform == "win32":
        return  # NTFS has names in its journal, and folders cannot be opened
    try:
        _sync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise UnknownOutcome(
                f"a file in {folder} was written, but the disk did not confirm it: {error.strerror}. "
                "Check the disk; the write may be lost at a power cut"
            ) from error


_ADVICE = {
    errno.ENOSPC: "the disk is full: free space, or set FUSELINE_STORE to a folder on another disk",
    errno.EDQUOT: "this user's quota is used up: free space, or set FUSELINE_STORE to a folder on another disk",
    errno.EFBIG: "a limit on the size of files is reached: raise it (ulimit -f), or use another disk",
    errno.EROFS: "it is mounted read-only: mount it for writing, or set FUSELINE_STORE to another folder",
    errno.EACCES: "this user may not: change the folder's owner or mode, or set FUSELINE_STORE to another folder",
    errno.EPERM: "this user may not: change the folder's owner or mode, or set FUSELINE_STORE to another folder",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed: move the file away",
    errno.EEXIST: "a part of the path is a file where a folder is needed: move the file away",
    errno.EISDIR: "there is a folder of that name: move it away, or use another key",
    errno.ENAMETOOLONG: "a part of the key is too long for a file name: use a shorter one",
    errno.EXDEV: "a subfolder is another file system: make the whole store one file system",
}


def _said(what: str, root: Path, error: OSError) -> str:
    """What failed, in which store, what the system found, and what to do."""
    where = f" ({error.filename})" if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "check that the folder is there and can be used")
    return f"{what} in {root}: {error.strerror or error}{where}; {advice}"
