"""The object store: a folder, S3, or memory, behind one small protocol.

Keys are relative paths with `/` between their parts. Three promises hold on every store, and
`tests/contract/test_storage.py` tests each of them on all three:

1. `create` never overwrites: of many writers of one key exactly one succeeds.
2. A reader sees a whole object or none, never half of one.
3. A failed write says whether it certainly did not happen (`NotWritten`) or may have (`UnknownOutcome`).

`fuseline.folder` and `fuseline.s3` hold the stores that last; the latter is the only module that imports boto3, and it
does so at its first call.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from fuseline.errors import (
    AlreadyExists,
    NotFound,
    NotWritten,
    SettingsError,
    UnsafeStore,
)

TEMPORARY = ".tmp"  # first part of the keys that FolderStore keeps for files that are being written


@dataclass(frozen=True)
class Listed:
    """One object of a listing.

    Attributes:
        key: the whole key, not only what follows the prefix.
        size: in bytes.
    """

    key: str
    size: int


@dataclass(frozen=True)
class Facts:
    """What an S3 server was seen to do, and what it says of its bucket.

    Attributes:
        bucket: its name.
        conditional_deletes: whether it refuses to delete an object that is not the one that is named (by its ETag).
        checks_bodies: whether it refuses a body that does not fit the checksum that comes with it.
        versioned: whether it keeps what is overwritten and deleted; None if it does not tell.
        encryption: how it encrypts what it stores, e.g. `aws:kms`, or empty; None if it does not tell.
    """

    bucket: str
    conditional_deletes: bool
    checks_bodies: bool
    versioned: bool | None
    encryption: str | None


class Store(Protocol):
    """Where objects are kept. Every method raises ValueError for a key that is no relative path.

    Attributes:
        url: `file:///folder`, `s3://bucket/prefix` or `memory://`.
    """

    url: str

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over another one if there is one. Raises NotWritten or UnknownOutcome."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Write the object if the key is free. Raises AlreadyExists, NotWritten or UnknownOutcome."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object; a folder is none."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        ...

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with the text `prefix`, at any depth, sorted by key."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write a whole local file, over another object if there is one. Raises NotWritten or UnknownOutcome."""
        ...

    def delete_if(self, key: str, digest: str) -> bool:
        """Remove the object if its bytes have this SHA-256; another one that took its place meanwhile stays.

        Returns False if another object is at the key. No error if there is none.
        """
        ...

    def copy(self, source: str, target: str) -> None:
        """Copy inside the store, over another object if there is one. Raises NotFound if there is no source."""
        ...

    def local(self, key: str) -> AbstractContextManager[Path]:
        """A local file to read (never to write), with the last part of the key as its name. Raises NotFound."""
        ...


def open_store(url: str) -> Store:
    """The store that a setting names: a folder, `file:///folder`, `s3://bucket/prefix` or `memory://`.

    Nothing is read, written or connected to yet. Raises SettingsError for anything else.

    >>> open_store("s3://models/team-a/").url
    's3://models/team-a'
    """
    if url == "memory://":
        return MemoryStore()
    from fuseline.folder import FolderStore
    from fuseline.s3 import S3Store

    try:
        if url.startswith("file:///"):
            return FolderStore(Path(unquote(url.removeprefix("file://"))))
        parts = urlsplit(url) if url.startswith("s3://") else None
        if parts is not None and parts.netloc and not parts.query and not parts.fragment:
            return S3Store(parts.netloc, parts.path)
        if not url or "://" in url or url.startswith(("file:", "s3:", "memory:")):
            raise ValueError("it names no store")
        return FolderStore(Path(url).expanduser())
    except (ValueError, RuntimeError) as error:  # a folder of an unknown user (~nobody) is a RuntimeError
        raise SettingsError(
            f"FUSELINE_STORE is {url!r}: {error}; accepted are a folder, file:///folder, s3://bucket/prefix "
            "and memory://"
        ) from error


def probe(store: Store) -> None:
    """Try whether the store keeps the promise of `create`, with a key of its own that it removes again.

    Raises UnsafeStore if a second `create` of one key succeeds or changes the object: some S3-compatible
    servers ignore `If-None-Match`, and no ledger could be kept there.
    """
    key = f".probe/{uuid.uuid4().hex}"
    store.create(key, b"first")
    try:
        try:
            store.create(key, b"second")
        except AlreadyExists:
            refused = True
        else:
            refused = False
        found = store.get(key)
    finally:
        store.delete(key)
    if not refused or found != b"first":
        said = "was refused, but changed the object" if refused else "succeeded"
        raise UnsafeStore(
            f"{store.url} does not keep create-only puts: the second create of one key {said}. Two runs could "
            "overwrite each other's ledger there. Use a folder, AWS S3, or an S3 server that answers 412 to "
            "If-None-Match: *"
        )


def check_key(key: str) -> str:
    """The key itself if it is a relative path without empty parts, `.` and `..`; else ValueError."""
    parts = key.split("/")
    if "\0" in key or parts[0] == TEMPORARY or any(part in ("", ".", "..") for part in parts):
        raise ValueError(
            f"{key!r} is no key: expected parts with one '/' between them, none of them empty, '.' or '..', "
            f"the first not {TEMPORARY!r}"
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself if keys can start with it; else ValueError."""
    folder, slash, _ = prefix.rpartition("/")
    if slash:
        check_key(folder)
    return prefix


def check_readable(path: Path) -> None:
    """Say it in our words when the file that is to be uploaded cannot be opened."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise NotWritten(f"{path} cannot be uploaded: {error.strerror}; nothing was written") from error


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


class MemoryStore:
    """A store that ends with the process: for tests, and for trying things out."""

    def __init__(self) -> None:
        self.url = "memory://"
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        try:
            return self._objects[check_key(key)]
        except KeyError:
            raise NotFound(f"there is no key {key!r} in {self.url}") from None

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over another one if there is one."""
        with self._lock:
            self._objects[check_key(key)] = bytes(data)

    def create(self, key: str, data: bytes) -> None:
        """Write the object if the key is free. Raises AlreadyExists."""
        with self._lock:
            if check_key(key) in self._objects:
                raise AlreadyExists(f"{key!r} is already in {self.url}; nothing was written")
            self._objects[key] = bytes(data)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return check_key(key) in self._objects

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        self._objects.pop(check_key(key), None)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, sorted by key, as it was at the first step."""
        check_prefix(prefix)
        for key, data in sorted(self._objects.copy().items()):
            if key.startswith(prefix):
                yield Listed(key, len(data))

    def upload(self, key: str, path: Path) -> None:
        """Write a whole local file. Raises NotWritten if it cannot be read."""
        check_readable(path)
        self.put(key, path.read_bytes())

    def delete_if(self, key: str, digest: str) -> bool:
        """Remove the object if its bytes have this SHA-256."""
        with self._lock:
            data = self._objects.get(check_key(key))
            if data is None:
                return True
            if hashlib.sha256(data).hexdigest() != digest:
                return False
            del self._objects[key]
            return True

    def copy(self, source: str, target: str) -> None:
        """Copy inside the store. Raises NotFound if there is no source."""
        self.put(target, self.get(source))

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A temporary file with the object in it, removed at exit. Raises NotFound."""
        data = self.get(key)
        with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            path.write_bytes(data)
            yield path
