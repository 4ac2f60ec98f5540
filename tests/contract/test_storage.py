"""What every store promises, tested in the same words on all of them. S3 is a real server: see tests/conftest.py."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import boto3.session
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.errors import AlreadyExists, NotFound, NotWritten, SettingsError, UnsafeStore
from fuseline.folder import FolderStore
from fuseline.s3 import S3Store
from fuseline.storage import Listed, MemoryStore, Store, open_store, probe

ODD = [
    "a key with spaces.txt",
    "folder.with.dots/file..name",
    "date=2026-03-01/part-0.parquet",
    "größe/日本語/🚲.json",
    "plus+and&percent%20?#[x]'\"",
    "back\\slash/~tilde",
    ".hidden/.file",
    "UPPER/lower",
]
NO_KEYS = ["", "/", "/etc/passwd", "a//b", "a/", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a\0b", ".tmp/x"]


@pytest.fixture(params=["memory", "folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind; the one on S3 has a prefix."""
    if request.param == "s3":
        on_s3 = S3Store(request.getfixturevalue("bucket"), "team/a")
        yield on_s3
        on_s3.close()
    else:
        yield MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "store")


def keys(store: Store, prefix: str = "") -> list[str]:
    return [item.key for item in store.list(prefix)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ── one object ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 300])
def test_what_is_put_is_got(store, data):
    store.put("a/b", data)
    assert store.get("a/b") == data
    assert store.exists("a/b")
    assert list(store.list("")) == [Listed("a/b", len(data))]


def test_a_put_overwrites(store):
    store.put("a", b"first, and longer")
    store.put("a", b"second")
    assert store.get("a") == b"second"
    assert list(store.list("")) == [Listed("a", 6)]


def test_what_is_created_is_got(store):
    store.create("p/ledger/00000001.json", b"entry")
    assert store.get("p/ledger/00000001.json") == b"entry"


@pytest.mark.parametrize("first", ["put", "create", "upload", "copy"])
def test_a_create_refuses_a_key_that_was_written_in_any_way(store, first, tmp_path):
    if first == "upload":
        (tmp_path / "file").write_bytes(b"first")
        store.upload("a", tmp_path / "file")
    elif first == "copy":
        store.put("b", b"first")
        store.copy("b", "a")
    else:
        getattr(store, first)("a", b"first")
    with pytest.raises(AlreadyExists, match="nothing was written"):
        store.create("a", b"second")
    assert store.get("a") == b"first"


def test_a_key_is_free_again_once_it_is_deleted(store):
    store.create("a", b"first")
    store.delete("a")
    assert not store.exists("a")
    store.create("a", b"second")
    assert store.get("a") == b"second"


def test_a_missing_key_is_not_found(store):
    store.put("folder/a", b"1")
    for key in ("missing", "folder", "folder/a/b", "folder/b"):
        assert not store.exists(key)
        with pytest.raises(NotFound):
            store.get(key)
        with pytest.raises(NotFound), store.local(key):
            pass


def test_deleting_a_missing_key_is_no_error(store):
    store.put("folder/a", b"1")
    for key in ("missing", "folder", "folder/a/b"):
        store.delete(key)
    assert keys(store) == ["folder/a"]


@pytest.mark.parametrize("key", ODD)
def test_a_key_may_hold_odd_characters(store, key):
    store.create(key, b"1")
    store.put(key, key.encode())
    store.copy(key, f"copy/{key}")
    assert store.get(f"copy/{key}") == key.encode()
    assert keys(store) == sorted([f"copy/{key}", key])
    assert keys(store, key[:-1]) == [key]
    with store.local(key) as path:
        assert (path.name, path.read_bytes()) == (key.rpartition("/")[2], key.encode())
    store.delete(key)
    assert not store.exists(key)


def test_a_key_that_is_no_relative_path_is_refused_everywhere(store, tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    store.put("source", b"1")
    calls = (
        lambda key: store.get(key),
        lambda key: store.put(key, b"1"),
        lambda key: store.create(key, b"1"),
        lambda key: store.exists(key),
        lambda key: store.delete(key),
        lambda key: store.delete_if(key, sha256(b"1")),
        lambda key: store.upload(key, tmp_path / "file"),
        lambda key: store.copy(key, "target"),
        lambda key: store.copy("source", key),
        lambda key: store.local(key).__enter__(),
    )
    for key in NO_KEYS:
        for call in calls:
            with pytest.raises(ValueError, match="is no key"):
                call(key)
    assert keys(store) == ["source"]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a//", ".tmp/"])
def test_a_prefix_that_no_key_can_start_with_is_refused(store, prefix):
    with pytest.raises(ValueError, match="is no key"):
        keys(store, prefix)


# ── listings ─────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_store_lists_nothing(store):
    assert keys(store) == keys(store, "a") == keys(store, "a/b/") == []


def test_a_prefix_need_not_end_at_a_folder(store):
    made = ["a/b/1", "a/b2", "a/bc/1", "a/c", "ab", "b"]
    for key in made:
        store.put(key, b"1")
    for prefix in ("", "a", "a/", "a/b", "a/b/", "a/bc/1", "a/bc/1x", "a/b/1/", "z"):
        assert keys(store, prefix) == [key for key in made if key.startswith(prefix)], prefix


def test_a_listing_is_in_the_order_of_sorted(store):
    made = ["a!/1", "a", "a-b", "a.json/x", "a/z", "a/B", "a/b", "a0", "b/10", "b/9", "ä", "a/🚲", "a/\uffee"]
    made.remove("a" if isinstance(store, FolderStore) else "a/z")  # a folder cannot hold both a file and a folder `a`
    for key in made:
        store.put(key, b"1")
    assert keys(store) == sorted(made)


def test_a_listing_has_the_sizes_in_bytes(store):
    for size in (0, 1, 1000):
        store.put(f"p/{size:04d}", b"x" * size)
    assert [item.size for item in store.list("p/")] == [0, 1, 1000]


def test_a_listing_on_s3_goes_beyond_one_page(bucket):
    pages = []

    def three(params: dict[str, object], **_: object) -> dict[str, object]:
        pages.append(params.get("ContinuationToken"))
        return params | {"MaxKeys": 3}  # instead of the thousand that a page holds

    with closing(boto3.session.Session().client("s3", config=Config(retries={"total_max_attempts": 1}))) as client:
        client.meta.events.register("provide-client-params.s3.ListObjectsV2", three)
        store = S3Store(bucket, "team/a", client=client)
        for i in range(8):
            store.put(f"many/{i}", b"")
        assert keys(store, "many/") == [f"many/{i}" for i in range(8)]
    assert len(set(pages)) == 3


PART = st.text("ab.-0/\u00e9 ", min_size=1, max_size=5)


@pytest.mark.parametrize("kind", ["memory", "folder"])
@given(wanted=st.lists(PART, max_size=12), prefix=PART | st.just(""))
@settings(max_examples=60, deadline=None)
def test_a_listing_is_sorted_and_whole_whatever_the_keys(kind, wanted, prefix):
    with tempfile.TemporaryDirectory() as folder:
        store: Store = MemoryStore() if kind == "memory" else FolderStore(Path(folder))
        made = set()
        for key in wanted:
            try:
                store.put(key, key.encode())
            except (ValueError, NotWritten):  # no key; or, in a folder, a file where a folder is needed
                continue
            made.add(key)
        assert list(store.list("")) == [Listed(key, len(key.encode())) for key in sorted(made)]
        try:
            found = keys(store, prefix)
        except ValueError:
            return
        assert found == sorted(key for key in made if key.startswith(prefix))


# ── files, copies, conditional deletes ───────────────────────────────────────────────────────────


def test_a_file_of_20_mb_is_uploaded_whole(store, tmp_path):
    data = os.urandom(1 << 20) * 20
    (tmp_path / "big").write_bytes(data)
    store.put("folder/big", b"older")
    store.upload("folder/big", tmp_path / "big")
    assert list(store.list("")) == [Listed("folder/big", len(data))]
    with store.local("folder/big") as path:
        assert sha256(path.read_bytes()) == sha256(data)
    assert (tmp_path / "big").read_bytes() == data


def test_a_file_that_is_not_there_is_not_uploaded(store, tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(NotWritten, match="cannot be uploaded"):
            store.upload("a", path)
    assert not store.exists("a")


def test_a_local_file_has_the_content_and_the_name_of_the_key(store):
    store.put("p/model.joblib", b"weights")
    with store.local("p/model.joblib") as path:
        assert (path.name, path.read_bytes()) == ("model.joblib", b"weights")
    assert store.get("p/model.joblib") == b"weights"
    if not isinstance(store, FolderStore):
        assert not path.parent.exists()


def test_an_error_in_the_body_of_local_comes_out_as_it_is(store):
    store.put("a", b"1")
    with pytest.raises(OSError, match="of the body"), store.local("a"):
        raise OSError("of the body")


def test_a_copy_overwrites_and_leaves_its_source(store):
    store.put("a", b"new")
    store.put("b/c", b"old")
    store.copy("a", "b/c")
    assert store.get("a") == store.get("b/c") == b"new"
    store.put("a", b"newer")
    assert store.get("b/c") == b"new"
    store.delete("a")
    assert store.get("b/c") == b"new"


def test_a_copy_repeated_changes_nothing(store):
    store.put("a", b"1")
    for _ in range(2):
        store.copy("a", "b")
    assert keys(store) == ["a", "b"]


def test_a_copy_of_a_missing_key_is_not_found_and_leaves_the_target(store):
    store.put("target", b"old")
    with pytest.raises(NotFound):
        store.copy("missing", "target")
    assert store.get("target") == b"old"


def test_a_conditional_delete_removes_only_the_bytes_it_names(store):
    store.put("inbox/day.csv", b"newer")
    assert store.delete_if("inbox/day.csv", sha256(b"older")) is False
    assert store.get("inbox/day.csv") == b"newer"
    assert store.delete_if("inbox/day.csv", sha256(b"newer")) is True
    assert not store.exists("inbox/day.csv")
    assert store.delete_if("inbox/day.csv", sha256(b"newer")) is True


def test_a_conditional_delete_never_takes_a_folder(store):
    store.put("a/b", b"1")
    assert store.delete_if("a", sha256(b"1")) is True
    assert store.delete_if("a/b/c", sha256(b"1")) is True
    assert keys(store) == ["a/b"]


# ── many at once ─────────────────────────────────────────────────────────────────────────────────


def test_of_16_writers_of_one_key_exactly_one_wins(store):
    def write(key: str, name: bytes) -> bool:
        start.wait()
        try:
            store.create(key, name * 1000)
        except AlreadyExists:
            return False
        return True

    for turn in range(3 if isinstance(store, S3Store) else 20):
        start = threading.Barrier(16)
        key, names = f"race/{turn}", [bytes([65 + i]) for i in range(16)]
        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(write, [key] * 16, names))
        assert won.count(True) == 1
        assert store.get(key) == names[won.index(True)] * 1000


def test_a_create_never_overwrites_a_put_at_the_same_moment(tmp_path):
    for store in (MemoryStore(), FolderStore(tmp_path)):
        for turn in range(50):
            start = threading.Barrier(2)

            def create(store: Store = store, key: str = f"k{turn}", start: threading.Barrier = start) -> None:
                start.wait()
                with suppress(AlreadyExists):
                    store.create(key, b"created")

            thread = threading.Thread(target=create)
            thread.start()
            start.wait()
            store.put(f"k{turn}", b"put")
            thread.join()
            assert store.get(f"k{turn}") == b"put"


def test_a_reader_of_a_folder_never_sees_half_a_file(tmp_path):
    store = FolderStore(tmp_path / "store")
    size = 1 << 19
    values = [bytes([65 + i]) * size for i in range(4)]
    (tmp_path / "file").write_bytes(values[3])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(store.get("a/b"))
                sizes = [item.size for item in store.list("")]
                assert sizes == [size]
            except NotFound:
                continue

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            store.create("a/b", values[2])
            for turn in range(12):
                store.put("a/b", values[turn % 2])
                store.upload("a/b", tmp_path / "file")
        finally:
            done.set()
        reader.result()
    assert len(seen) > 3
    assert {len(data) for data in seen} == {size}
    assert {len(set(data)) for data in seen} == {1}


# ── the probe, and what a setting names ──────────────────────────────────────────────────────────


def test_the_probe_passes_and_leaves_nothing(store):
    probe(store)
    assert keys(store) == []


class Careless(MemoryStore):
    """A store that answers a second create with an error, as it should, but writes all the same."""

    def create(self, key: str, data: bytes) -> None:
        known = self.exists(key)
        self.put(key, data)
        if known:
            raise AlreadyExists(key)


def test_a_store_that_refuses_and_writes_all_the_same_is_unsafe():
    store = Careless()
    with pytest.raises(UnsafeStore, match="was refused, but changed the object"):
        probe(store)
    assert keys(store) == []


def test_a_setting_opens_the_store_that_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_store("memory://").url == "memory://"
    assert open_store("s3://bucket").url == "s3://bucket"
    assert open_store("s3://Bucket.x/team a/b/").url == "s3://Bucket.x/team a/b"
    assert open_store("store").url == (tmp_path / "store").as_uri()
    assert open_store("~/store").url == (tmp_path / "home" / "store").as_uri()
    assert open_store(f"{tmp_path}/ä b#?%").url == (tmp_path / "ä b#?%").as_uri()


def test_the_url_of_a_folder_opens_the_same_folder(tmp_path):
    store = open_store(str(tmp_path / "a b" / "größe%20#?"))
    store.put("a", b"1")
    assert open_store(store.url).get("a") == b"1"


@pytest.mark.parametrize(
    "setting",
    [
        *("", "s3://", "s3:///prefix", "s3:bucket", "s3://b?x=1", "s3://b/p#x", "s3://[b", "gs://bucket", "file:x"),
        *("file://host/x", "http://localhost:4566/bucket", "memory:", "~nobody-of-that-name/x", "a\0b", "file:///a\0b"),
    ],
)
def test_anything_else_is_a_settings_error_that_says_what_is_accepted(setting):
    with pytest.raises(SettingsError, match=r"FUSELINE_STORE.*accepted are a folder, .*s3://bucket/prefix"):
        open_store(setting)
