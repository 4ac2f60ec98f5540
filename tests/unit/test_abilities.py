"""What a store is found to be able to do: in memory, in a folder, on real S3 servers, and on poorer ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fuseline.abilities import abilities, file_system, place
from fuseline.errors import StoreError, UnsafeStore
from fuseline.faults import FaultyStore, parse_rules
from fuseline.folder import FolderStore
from fuseline.records import Finding
from fuseline.s3 import S3Store
from fuseline.storage import MemoryStore, Store, probe

LISTS = "store: a listing shows at once what was written and deleted"
DELETES = "store: deletes a file only if it is still the one that was read"
DELETES_ANY = "store: deletes what is there: the server has no conditional deletes"
CHECKS = "store: refuses a body that does not fit its checksum"
TAKES_ANY = "store: takes a body that does not fit its checksum"


class Poorer:
    """A real server in front of an S3 server: it does not pass on some headers, and answers some paths by itself."""

    def __init__(self, behind: str, deaf_to: tuple[str, ...] = (), answers: dict[str, int] | None = None) -> None:
        host, deaf, answers = behind.removeprefix("http://"), {name.lower() for name in deaf_to}, answers or {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = next((code for part, code in answers.items() if part in self.path), None)
                if status is not None:
                    self.reply(status, {}, b"<Error><Code>Said</Code><Message>by the test</Message></Error>")
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() not in deaf | {"expect"}}
                with closing(HTTPConnection(host)) as onward:
                    onward.request(self.command, self.path, body, headers)
                    answer = onward.getresponse()
                    self.reply(answer.status, dict(answer.getheaders()), answer.read())

            def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                passed = {k: v for k, v in headers.items() if k.lower().startswith(("etag", "x-amz", "content-type"))}
                for name, value in {**passed, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def on_poorer(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., S3Store]]:
    """`on_poorer(deaf_to=…, answers=…)`: a store on a server that can do less."""
    opened: list[S3Store | Poorer] = []
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def make(**how: object) -> S3Store:
        server = Poorer(s3, **how)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        store = S3Store(bucket, "p")
        opened.extend((store, server))
        return store

    yield make
    for thing in opened:
        thing.close()


@pytest.fixture
def on_s3(bucket: str) -> Iterator[S3Store]:
    with closing(S3Store(bucket, "p")) as store:
        yield store


def said(store: Store) -> dict[str, Finding]:
    """What is found, by its text; nothing may be left in the store."""
    found = {finding.what: finding for finding in abilities(store)}
    assert list(store.list("")) == []
    return found


def about(found: dict[str, Finding], word: str) -> Finding:
    (one,) = [finding for what, finding in found.items() if word in what]
    return one


# ── without a server ─────────────────────────────────────────────────────────────────────────────


def test_a_store_in_memory_can_do_what_is_tried():
    assert list(said(MemoryStore()).values()) == [Finding(True, LISTS), Finding(True, DELETES)]


def test_a_folder_tells_its_file_system(tmp_path):
    found = list(said(FolderStore(tmp_path / "store")).values())
    assert found[:2] == [Finding(True, LISTS), Finding(True, DELETES)]
    assert found[2].ok
    assert found[2].what.startswith("store: a folder")
    assert len(found) == 3


def test_a_store_whose_listings_are_late_is_told_and_is_no_error():
    (finding,) = [f for f in abilities(FaultyStore(MemoryStore(), parse_rules("stale-list list * times=99"))) if f.fix]
    assert finding.ok
    assert finding.what == "store: a listing does not show at once what was written or deleted"
    assert "taken up a run later" in finding.fix


class Careless(MemoryStore):
    """A store that deletes whatever is there."""

    def delete_if(self, key: str, digest: str) -> bool:
        self.delete(key)
        return True


class Idle(MemoryStore):
    """A store that never deletes on a condition."""

    def delete_if(self, key: str, digest: str) -> bool:
        return False


@pytest.mark.parametrize(("store", "did"), [(Careless(), "deleted another object"), (Idle(), "did not delete")])
def test_a_store_whose_conditional_deletes_do_something_else_is_wrong(store, did):
    finding = said(store)[DELETES]
    assert not finding.ok
    assert did in finding.fix


def test_an_error_of_the_store_comes_out_as_it_is(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="file"):
        list(abilities(FolderStore(tmp_path / "file")))


MOUNTED = r"""/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
host:/data /srv/all\040data nfs4 rw,vers=4.2 0 0
/dev/sdb1 /srv/all\040data/fast xfs rw 0 0
/dev/sdc1 /twice ext3 rw 0 0
//host/share /twice cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/store", "ext4"),
        ("/srv/all data", "nfs4"),
        ("/srv/all data/store", "nfs4"),
        ("/srv/all data/fast/store", "xfs"),
        ("/srv/all datasets", "ext4"),
        ("/twice/store", "cifs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(path, kind):
    assert file_system(Path(path), MOUNTED) == kind


def test_a_folder_on_another_machine_is_told_and_is_no_error():
    finding = place(Path("/srv/all data/store"), MOUNTED)
    assert (finding.ok, finding.what) == (True, "store: a folder that may be on another machine (nfs4)")
    assert "run the line on one machine" in finding.fix


def test_a_folder_of_this_machine_lacks_nothing():
    assert place(Path("/home/me"), MOUNTED) == Finding(True, "store: a folder of this machine (ext4)")


def test_a_system_that_does_not_tell_what_is_mounted_is_no_error():
    assert place(Path("/home/me"), "") == Finding(
        True, "store: a folder; this system does not tell on which file system"
    )


# ── on S3 ────────────────────────────────────────────────────────────────────────────────────────


def test_an_s3_server_is_told_for_what_it_is(on_s3, bucket, emulator):
    good, lacking = {
        "moto": ([LISTS, DELETES], [TAKES_ANY, f"store: bucket {bucket} does not encrypt what it stores"]),
        "localstack": ([LISTS, CHECKS, f"store: bucket {bucket} encrypts what it stores (AES256)"], [DELETES_ANY]),
    }[emulator]
    lacking = [*lacking, f"store: bucket {bucket} keeps no versions of what is overwritten and deleted"]
    found = said(on_s3).values()
    assert all(finding.ok for finding in found)
    assert {finding.what for finding in found if not finding.fix} == set(good)
    assert {finding.what for finding in found if finding.fix} == set(lacking)


def test_a_bucket_with_versions_and_encryption_is_told(on_s3, bucket, s3_client):
    s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3_client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    found = said(on_s3)
    assert found[f"store: bucket {bucket} keeps versions of what is overwritten and deleted"].fix == ""
    assert found[f"store: bucket {bucket} encrypts what it stores (aws:kms)"].fix == ""


def test_a_bucket_whose_versions_are_suspended_keeps_none(on_s3, bucket, s3_client):
    for status in ("Enabled", "Suspended"):
        s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    assert about(said(on_s3), "versions").what.endswith("keeps no versions of what is overwritten and deleted")


def test_a_server_that_ignores_conditions_is_refused_and_left_clean(on_poorer):
    store = on_poorer(deaf_to=("If-None-Match",))
    with pytest.raises(UnsafeStore, match="the second create of one key succeeded"):
        probe(store)
    assert list(store.list("")) == []


def test_a_server_that_deletes_whatever_the_condition_is_told_and_is_no_error(on_poorer):
    finding = about(said(on_poorer(deaf_to=("If-Match",))), "deletes")
    assert (finding.ok, finding.what) == (True, DELETES_ANY)
    assert "give each batch a name of its own" in finding.fix


def test_a_server_that_does_not_see_a_checksum_takes_any_body(on_poorer):
    finding = about(said(on_poorer(deaf_to=("x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm"))), "checksum")
    assert (finding.ok, finding.what) == (True, TAKES_ANY)
    assert "https" in finding.fix


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_what_a_server_does_not_tell_is_no_lack(on_poorer, status):
    found = said(on_poorer(answers={"?versioning": status, "?encryption": status}))
    assert about(found, "versions") == Finding(True, about(found, "versions").what)
    assert about(found, "versions").what.endswith("does not tell whether it keeps versions")
    assert about(found, "encrypts").what.endswith("does not tell whether it encrypts")
    assert about(found, "encrypts").fix == ""


def test_a_server_in_trouble_is_an_error_that_says_so(on_poorer):
    with pytest.raises(StoreError, match="the server is in trouble"):
        list(abilities(on_poorer(answers={"?versioning": 503})))
