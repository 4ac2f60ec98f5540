"""What a store is able to do besides create-only puts, tried with keys of its own that are removed again.

Create-only puts are a must, since the ledger stands on them: `storage.probe` refuses a store without them. What is
tried here is good to have. A lack of it is told together with what it means, and stops nothing.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from fuseline.folder import FolderStore
from fuseline.records import Finding
from fuseline.storage import Facts, Store

REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.")  # how their names begin
MOUNTS = Path("/proc/self/mounts")  # on Linux; other systems are not asked


@runtime_checkable
class Telling(Protocol):
    """A store that can tell more of itself: the one on S3."""

    def facts(self) -> Facts:
        """Try and ask. Raises StoreError."""
        ...


def abilities(store: Store) -> Iterator[Finding]:
    """One finding for each thing that was tried; a lack that does no harm is well, and has a `fix` all the same.

    Raises:
        StoreError: a request failed that any store must be able to answer.
    """
    facts = store.facts() if isinstance(store, Telling) else None
    yield _listing(store)
    yield _deletes(store, facts is None or facts.conditional_deletes)
    if facts is not None:
        yield _checks(facts)
        yield _versions(facts)
        yield _encrypts(facts)
    if isinstance(store, FolderStore):
        yield place(store.root, _mounts())


@contextmanager
def _own_key(store: Store) -> Iterator[str]:
    """A key that nobody else has, free again at exit."""
    key = f".probe/{uuid.uuid4().hex}"
    try:
        yield key
    finally:
        store.delete(key)


def _listing(store: Store) -> Finding:
    with _own_key(store) as key:
        store.put(key, b"1")
        shown = [item.key for item in store.list(key)]
        store.delete(key)
        left = [item.key for item in store.list(key)]
    if shown == [key] and not left:
        return Finding(True, "store: a listing shows at once what was written and deleted")
    return Finding(
        True,
        "store: a listing does not show at once what was written or deleted",
        "a file in the inbox may be taken up a run later, and a withdrawn one stay visible until the next run; "
        "nothing is lost by that. AWS S3 and a folder show it at once",
    )


def _deletes(store: Store, safe: bool) -> Finding:
    with _own_key(store) as key:
        store.put(key, b"newer")
        kept = not store.delete_if(key, hashlib.sha256(b"older").hexdigest()) and store.exists(key)
        taken = store.delete_if(key, hashlib.sha256(b"newer").hexdigest()) and not store.exists(key)
    if not (kept and taken):
        did = "deleted another object than it was told" if not kept else "did not delete what it was told"
        fix = f"it {did}: set FUSELINE_STORE to a folder, AWS S3, or another S3 server"
        return Finding(False, "store: deletes a file only if it is still the one that was read", fix)
    if safe:
        return Finding(True, "store: deletes a file only if it is still the one that was read")
    return Finding(
        True,
        "store: deletes what is there: the server has no conditional deletes",
        "a file that replaces another one in the inbox, under its name and within a moment of its end, could be lost: "
        "give each batch a name of its own",
    )


def _checks(facts: Facts) -> Finding:
    if facts.checks_bodies:
        return Finding(True, "store: refuses a body that does not fit its checksum")
    return Finding(
        True,
        "store: takes a body that does not fit its checksum",
        "bytes that change on their way to it are noticed only when they are read: reach it by https",
    )


def _versions(facts: Facts) -> Finding:
    if facts.versioned is None:
        return Finding(True, f"store: bucket {facts.bucket} does not tell whether it keeps versions")
    if facts.versioned:
        return Finding(True, f"store: bucket {facts.bucket} keeps versions of what is overwritten and deleted")
    return Finding(
        True,
        f"store: bucket {facts.bucket} keeps no versions of what is overwritten and deleted",
        f"a mistake cannot be undone there: aws s3api put-bucket-versioning --bucket {facts.bucket} "
        "--versioning-configuration Status=Enabled",
    )


def _encrypts(facts: Facts) -> Finding:
    if facts.encryption is None:
        return Finding(True, f"store: bucket {facts.bucket} does not tell whether it encrypts")
    if facts.encryption:
        return Finding(True, f"store: bucket {facts.bucket} encrypts what it stores ({facts.encryption})")
    return Finding(
        True,
        f"store: bucket {facts.bucket} does not encrypt what it stores",
        "who has its disks can read it all: set a default encryption (aws s3api put-bucket-encryption)",
    )


def _mounts() -> str:
    """What is mounted where; empty on a system that does not tell."""
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # pragma: no cover
        return ""


def place(folder: Path, mounts: str) -> Finding:
    """Where an absolute folder is, by the lines of `/proc/self/mounts`."""
    kind = file_system(folder, mounts)
    if not kind:
        return Finding(True, "store: a folder; this system does not tell on which file system")
    if not kind.startswith(REMOTE):
        return Finding(True, f"store: a folder of this machine ({kind})")
    return Finding(
        True,
        f"store: a folder that may be on another machine ({kind})",
        "other machines can see new files there seconds late: run the line on one machine, or set FUSELINE_STORE "
        "to s3://bucket/prefix",
    )


def file_system(path: Path, mounts: str) -> str:
    r"""The kind of file system that an absolute path is on; empty if no line says it.

    >>> file_system(Path("/srv/my data/store"), "/dev/sda1 / ext4 rw 0 0\nhost:/x /srv/my\\040data nfs4 rw 0 0\n")
    'nfs4'
    """
    found, depth = "", -1
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point))
        if path.is_relative_to(place) and len(place.parts) >= depth:  # of two at one point the later one is on top
            found, depth = kind, len(place.parts)
    return found
