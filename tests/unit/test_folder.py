"""A folder where something is in the way, read-only, full or changed by others. Every place here is real."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from fuseline.errors import AlreadyExists, NotFound, NotWritten, StoreError, UnknownOutcome
from fuseline.folder import FolderStore, _link, _put_back, _sync_folder
from fuseline.storage import Listed

LONG = "x" * 300  # no file system of Linux has names of more than 255 bytes


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def keys(store: FolderStore, prefix: str = "") -> list[str]:
    return [item.key for item in store.list(prefix)]


def left_over(store: FolderStore) -> list[Path]:
    """Temporary files that a write did not clear away."""
    return list((store.root / ".tmp").iterdir()) if (store.root / ".tmp").is_dir() else []


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_folder_is_made_at_the_first_write_only(store):
    assert keys(store) == []
    assert not store.exists("a")
    store.delete("a")
    with pytest.raises(NotFound):
        store.get("a")
    assert not store.root.exists()
    store.put("a/b", b"1")
    assert (store.root / "a" / "b").read_bytes() == b"1"
    assert left_over(store) == []


# ── something is in the way ──────────────────────────────────────────────────────────────────────


def test_a_store_below_a_file_cannot_be_written_and_holds_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    store = FolderStore(tmp_path / "file" / "store")
    for write in (store.put, store.create):
        with pytest.raises(NotWritten, match=r"'a' was not written in .*store: .*a file where a folder is needed"):
            write("a", b"1")
    assert keys(store) == []
    assert not store.exists("a")
    store.delete("a")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_store_that_is_itself_a_file_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(StoreError, match=r"is a file, but a store is a folder: set FUSELINE_STORE"):
        keys(store)
    with pytest.raises(NotWritten, match="a file where a folder is needed"):
        store.put("a", b"1")


@pytest.mark.parametrize("key", ["a/b", "a/b/c"])
def test_a_key_below_a_file_is_not_written(store, key):
    store.put("a", b"1")
    with pytest.raises(NotWritten, match="a file where a folder is needed"):
        store.create(key, b"2")
    assert keys(store) == ["a"]
    assert left_over(store) == []


@pytest.mark.parametrize("write", ["put", "create"])
def test_a_key_that_names_a_folder_is_not_written(store, write):
    store.put("a/b", b"1")
    with pytest.raises(NotWritten, match=r"Is a directory.*there is a folder of that name: move it away"):
        getattr(store, write)("a", b"2")
    assert keys(store) == ["a/b"]
    assert left_over(store) == []


def test_a_name_that_is_too_long_is_named_as_the_reason(store):
    for write in (store.put, store.create):
        with pytest.raises(NotWritten, match=r"File name too long.*use a shorter one"):
            write(LONG, b"1")
    for read in (store.get, store.exists, store.delete, lambda key: store.delete_if(key, "0")):
        with pytest.raises(StoreError, match="File name too long"):
            read(LONG)
    with pytest.raises(StoreError, match=r"cannot be listed.*File name too long"):
        keys(store, f"{LONG}/")
    with pytest.raises(StoreError, match=r"cannot be listed.*File name too long"):
        keys(FolderStore(store.root / LONG))
    assert left_over(store) == []


# ── read-only, full, without links ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("root", ["/proc/fuseline", "/sys/kernel/fuseline"])
def test_a_read_only_place_is_not_written_and_the_error_names_it(root):
    store = FolderStore(Path(root))
    for write in (store.put, store.create):
        with pytest.raises(NotWritten, match=rf"'a/b' was not written in {root}: .+; .+"):
            write("a/b", b"1")
    assert keys(store) == []


def test_a_file_that_may_not_be_removed_is_not_deleted():
    process = FolderStore(Path("/proc/self"))
    with pytest.raises(NotWritten, match=r"'limits' was not deleted in .*Operation not permitted"):
        process.delete("limits")
    with pytest.raises(NotWritten, match="'limits' was not deleted"):
        process.delete_if("limits", sha256(Path("/proc/self/limits").read_bytes()))
    assert process.exists("limits")


def test_a_file_that_cannot_be_read_is_an_error_and_not_missing():
    with pytest.raises(StoreError, match=r"'mem' cannot be read in .*Input/output error") as caught:
        FolderStore(Path("/proc/self")).get("mem")  # the first page of a process is never mapped
    assert not isinstance(caught.value, NotFound)


FULL = """
    import resource, sys
    from pathlib import Path
    from fuseline.errors import NotWritten
    from fuseline.folder import FolderStore

    root = Path(sys.argv[1])
    big = root / "big"
    big.write_bytes(b"x" * 10_000)
    store = FolderStore(root / "store")
    store.put("old", b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
    writes = (
        lambda: store.put("old", b"x" * 10_000),
        lambda: store.create("new", b"x" * 10_000),
        lambda: store.upload("old", big),
    )
    for write in writes:
        try:
            write()
        except NotWritten as error:
            print(error)
    store.put("small", b"1")
"""


def test_a_write_that_hits_the_limit_of_file_sizes_leaves_what_was_there(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path)], capture_output=True, text=True, check=True
    )
    said = ended.stdout.splitlines()
    assert len(said) == 3
    assert all("File too large" in line and "raise it (ulimit -f)" in line for line in said)
    store = FolderStore(tmp_path / "store")
    assert list(store.list("")) == [Listed("old", 3), Listed("small", 1)]
    assert left_over(store) == []


def test_a_file_system_without_hard_links_is_refused_with_the_reason(tmp_path):
    (tmp_path / "folder").mkdir()  # Linux refuses a link to a folder as FAT refuses every link: EPERM
    with pytest.raises(NotWritten, match=r"refuses hard links .*which create-only puts need. Set FUSELINE_STORE"):
        _link(tmp_path / "folder", tmp_path / "link")


def test_a_folder_that_the_disk_does_not_confirm_leaves_the_outcome_unknown(tmp_path):
    with pytest.raises(UnknownOutcome, match="the disk did not confirm it: No such file"):
        _sync_folder(tmp_path / "gone")


def test_a_file_system_that_cannot_sync_folders_is_accepted():
    _sync_folder(Path("/proc/self"))


# ── what others do in the folder ─────────────────────────────────────────────────────────────────


def test_what_a_killed_writer_leaves_is_never_listed(store):
    store.put("a", b"1")
    (store.root / ".tmp" / "0123").write_bytes(b"half")
    assert keys(store) == keys(store, "a") == ["a"]
    assert keys(store, ".tmp") == []
    store.put("deep/.tmp/b", b"1")
    assert keys(store) == ["a", "deep/.tmp/b"]


def test_files_that_other_tools_put_there_are_objects(store):
    (store.root / "inbox").mkdir(parents=True)
    (store.root / "inbox" / "day.csv").write_bytes(b"a,b")
    (store.root / "inbox" / "link.csv").symlink_to("day.csv")
    (store.root / "inbox" / "broken.csv").symlink_to("missing.csv")
    assert list(store.list("inbox/")) == [Listed("inbox/day.csv", 3), Listed("inbox/link.csv", 3)]
    with pytest.raises(AlreadyExists):
        store.create("inbox/day.csv", b"")


def test_a_copy_of_a_symbolic_link_is_a_copy_of_its_file(store):
    store.put("a", b"1")
    (store.root / "link").symlink_to("a")
    store.copy("link", "folder/copy")
    store.delete("a")
    assert store.get("folder/copy") == b"1"
    assert not (store.root / "folder" / "copy").is_symlink()


def test_a_copy_from_another_file_system_copies_the_bytes(store):
    store.root.mkdir()
    (store.root / "link").symlink_to("/proc/version")
    store.copy("link", "copy")
    assert store.get("copy") == Path("/proc/version").read_bytes()


def test_local_is_the_file_itself(store):
    store.put("p/a.csv", b"1")
    with store.local("p/a.csv") as path:
        assert path == store.root / "p" / "a.csv"
    assert path.exists()


def test_a_file_that_takes_the_place_while_one_is_deleted_stays(store):
    store.put("old", b"")
    pipe = store.root / "day.csv"
    os.mkfifo(pipe)
    deleted: list[bool] = []
    thread = threading.Thread(target=lambda: deleted.append(store.delete_if("day.csv", sha256(b"judged"))))
    thread.start()
    with pipe.open("wb") as file:  # from here on delete_if is reading the old content
        store.put("day.csv", b"newer")
        file.write(b"judged")
    thread.join()
    assert deleted == [False]
    assert store.get("day.csv") == b"newer"
    assert left_over(store) == []


def test_a_file_that_is_put_back_goes_beside_an_even_newer_one(store):
    for name, data in (("aside-0123", b"newer"), ("day.csv", b"newest")):
        store.put(name, data)
    _put_back(store.root / "aside-0123", store.root / "day.csv")
    assert store.get("day.csv") == b"newest"
    assert store.get("day.aside-01.csv") == b"newer"


def test_of_many_that_delete_one_file_none_fails(store):
    for _ in range(20):
        store.put("a", b"1")
        start, answers = threading.Barrier(4), []

        def delete(start: threading.Barrier = start, answers: list[bool] = answers) -> None:
            start.wait()
            answers.append(store.delete_if("a", sha256(b"1")))

        threads = [threading.Thread(target=delete) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [True] * 4
        assert keys(store) == []
