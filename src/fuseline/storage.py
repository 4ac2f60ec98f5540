"""The object store: a folder, S3, or memory, behind one small protocol.

Keys are relative paths with `/` between their parts. Three promises hold on every store, and
`tests/contract/test_storage.py` tests each of them on all three:

1. `create` never overwrites: of many writers of one key exactly one succeeds.
2. A reader sees a whole object or none, never half of one.
3. A failed write says whether it certainly did not happen (`NotWritten`) or may have (`UnknownOutcome`).

This is the only module that imports boto3, and it does so at the first call of an `S3Store`.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from fuseline.errors import (
    AlreadyExists,
    NotFound,
    NotWritten,
    SettingsError,
    StoreError,
    UnknownOutcome,
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
    if url.startswith("file:///"):
        return FolderStore(Path(unquote(url.removeprefix("file://"))))
    parts = urlsplit(url) if url.startswith("s3://") else None
    if parts is not None and parts.netloc and not parts.query and not parts.fragment:
        return S3Store(parts.netloc, parts.path)
    if not url or "://" in url or url.startswith(("file:", "s3:", "memory:")):
        raise SettingsError(
            f"FUSELINE_STORE: {url!r} names no store; accepted are a folder, file:///folder, "
            "s3://bucket/prefix and memory://"
        )
    return FolderStore(Path(url).expanduser())


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


def _readable(path: Path) -> None:
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
        _readable(path)
        self.put(key, path.read_bytes())

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


# ── a folder ─────────────────────────────────────────────────────────────────────────────────────


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
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is a file, but a store is a folder: set FUSELINE_STORE to another path")
        yield from self._walk(folder + slash, start)

    def upload(self, key: str, path: Path) -> None:
        """Write a whole local file. Raises NotWritten or UnknownOutcome."""
        _readable(path)
        self._write(key, lambda temporary: shutil.copyfile(path, temporary), os.replace)

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
        raise AlreadyExists(f"{target} already exists; nothing was written") from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        raise NotWritten(
            f"{target} was not written: its file system refuses hard links ({error.strerror}), which create-only "
            "puts need. Set FUSELINE_STORE to a folder on another file system, or to s3://bucket/prefix"
        ) from error


def _sync(path: Path) -> None:
    """Have the disk hold the content of a file (or the names in a folder) before we go on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut. Some file systems cannot sync a folder, and need not (EINVAL)."""
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


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────


class S3Store:
    """A store in a bucket of AWS S3 or of a server that speaks its language.

    The client is made at the first call from boto3's own variables and profiles (AWS_PROFILE, AWS_REGION,
    AWS_ENDPOINT_URL_S3 and so on). Servers other than AWS are addressed by path, unless the profile sets
    `s3.addressing_style`.

    `put`, `upload` and `copy` overwrite, so boto3 may repeat them by itself. `create` must not be repeated
    blindly: if the reply to the first attempt is lost, the second is told 412 because of our own object, and a
    write that happened would be reported as one that did not. So `create` has a client without retries, and a
    lost reply is an UnknownOutcome.

    Args:
        bucket: its name; it must exist.
        prefix: put before every key, with a slash; may be empty.
        client: a boto3 client to use for everything instead; its retries must be off (`total_max_attempts` 1).
    """

    def __init__(self, bucket: str, prefix: str = "", client: Any = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._clients = {} if client is None else {True: client, False: client}
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        where = self._where(key)
        with self._asking(f"{key!r} cannot be read"), self._client().get_object(**where)["Body"] as body:
            data: bytes = body.read()
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write the object, over another one if there is one. Raises NotWritten or UnknownOutcome."""
        where = self._where(key)
        with self._asking(f"{key!r} was not written", write=True):
            self._client().put_object(**where, Body=data)

    def create(self, key: str, data: bytes) -> None:
        """Write the object if the key is free. Raises AlreadyExists, NotWritten or UnknownOutcome."""
        where = self._where(key)
        for wait in (0.1, 0.2, 0.4, 0.8, 0.0):
            with self._asking(f"{key!r} was not written", write=True):
                if self._create_once(where, data):
                    return
            time.sleep(wait)
        raise NotWritten(
            f"{key!r} was not written in {self.url}: the server answered 409 five times, because others write "
            "or delete the same key just now; try again"
        )

    def exists(self, key: str) -> bool:
        """Whether there is such an object. Asks by a listing, because a HEAD cannot tell a missing bucket."""
        full = self._where(key)["Key"]
        with self._asking(f"{key!r} cannot be looked up"):
            found = self._client().list_objects_v2(Bucket=self.bucket, Prefix=full, MaxKeys=1)
        return any(item["Key"] == full for item in found.get("Contents", ()))

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        where = self._where(key)
        with self._asking(f"{key!r} was not deleted", write=True):
            self._client().delete_object(**where)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, sorted by key, a thousand for each request."""
        start = self._full("")
        full = start + check_prefix(prefix)
        with self._asking(f"{prefix!r} cannot be listed"):
            pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=full)
            for page in pages:
                for item in page.get("Contents", ()):
                    if not item["Key"].endswith("/"):  # consoles make empty objects to show folders
                        yield Listed(item["Key"].removeprefix(start), item["Size"])

    def upload(self, key: str, path: Path) -> None:
        """Write a whole local file, in parts where it is large. Raises NotWritten or UnknownOutcome."""
        where = self._where(key)
        _readable(path)
        with self._asking(f"{key!r} was not written", write=True):
            self._client().upload_file(str(path), **where)

    def copy(self, source: str, target: str) -> None:
        """Copy inside the bucket, without the bytes passing through here. Raises NotFound if there is no source."""
        origin, where = self._where(source), self._where(target)
        with self._asking(f"{source!r} was not copied to {target!r}", write=True):
            self._client().copy(origin, **where)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A temporary download, removed at exit. Raises NotFound."""
        where = self._where(key)
        with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
            path = Path(folder) / key.rpartition("/")[2]
            with self._asking(f"{key!r} cannot be downloaded"):
                self._client().download_file(Filename=str(path), **where)
            yield path

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.close()

    def _create_once(self, where: dict[str, str], data: bytes) -> bool:
        """Whether it was written; False if the server wants it tried again. Raises AlreadyExists."""
        from botocore.exceptions import ClientError

        try:
            self._client(retries=False).put_object(**where, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) == 412:
                raise AlreadyExists(f"s3://{self.bucket}/{where['Key']} already exists; nothing was written") from error
            if error.response["Error"]["Code"] == "ConditionalRequestConflict":
                return False
            raise
        return True

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._full(check_key(key))}

    def _client(self, retries: bool = True) -> Any:
        with self._lock:
            if retries not in self._clients:
                self._clients[retries] = _make_client(retries)
            return self._clients[retries]

    @contextmanager
    def _asking(self, failed: str, write: bool = False) -> Iterator[None]:
        """Turn what boto3 raises into the errors of a Store."""
        try:
            yield
        except _boto_errors() as error:
            cause = _cause(error)
            kind = _kind(cause, write)
            advice = _advice(cause, self.bucket)
            if kind is UnknownOutcome:
                failed = failed.replace("was not", "may or may not have been")
            raise kind(f"{failed} in {self.url}: {cause}; {advice}") from error


def _make_client(retries: bool) -> Any:
    import boto3.session
    from botocore.config import Config

    tries: dict[str, Any] = {"mode": "standard"} if retries else {"mode": "standard", "total_max_attempts": 1}
    config = Config(retries=tries, connect_timeout=10, read_timeout=60, max_pool_connections=32)
    session = boto3.session.Session()  # one of our own: the default session is not safe in threads
    client = session.client("s3", config=config)
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if "amazonaws.com" in host or "addressing_style" in (client.meta.config.s3 or {}):
        return client
    client.close()
    return session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
