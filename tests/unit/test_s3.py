"""S3 when it goes wrong: a server that refuses, hangs up, answers nonsense or is not there; and a ledger over S3."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import boto3.session
import pytest
from botocore.config import Config

from fuseline.errors import (
    AlreadyExists,
    FuselineError,
    NotFound,
    NotWritten,
    SettingsError,
    StoreError,
    UnknownOutcome,
)
from fuseline.ledger import CHECKPOINT_EVERY, Ledger
from fuseline.records import RetrainAsked
from fuseline.s3 import S3Store
from fuseline.state import State
from fuseline.storage import Store

Reply = tuple[int, str | bytes, dict[str, str]] | None  # status, body, headers; None: hang up
Answer = Callable[[str, str], Reply]  # of the method and the path with its query


class Server:
    """A real server on a free port that answers what a test says, and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # so that it answers `Expect: 100-continue`, which boto3 waits a second for

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append((self.command, self.path))
                reply, self.close_connection = answer(self.command, self.path), True
                if reply is None:
                    return
                status, text, headers = reply
                body = text.encode() if isinstance(text, str) else text
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt for every request, so that a failing server is not waited for."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], tuple[S3Store, Server]]]:
    """`over(answer)`: a store whose server gives these answers."""
    opened: list[S3Store | Server] = []

    def make(answer: Answer) -> tuple[S3Store, Server]:
        server = Server(answer)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        store = S3Store("bucket", "p")
        opened.extend((store, server))
        return store, server

    yield make
    for thing in opened:
        thing.close()


@pytest.fixture
def lone() -> Iterator[S3Store]:
    """A store over whatever the environment names."""
    with closing(S3Store("bucket", "p")) as store:
        yield store


def error(status: int, code: str = "", message: str = "said the server") -> Reply:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    return status, body, {"Content-Type": "application/xml"}


def writes(store: Store, folder: Path) -> dict[str, Callable[[], object]]:
    (folder / "file").write_bytes(b"1")
    return {
        "create": lambda: store.create("a", b"1"),
        "put": lambda: store.put("a", b"1"),
        "upload": lambda: store.upload("a", folder / "file"),
        "delete": lambda: store.delete("a"),
        "copy": lambda: store.copy("a", "b"),
    }


def reads(store: Store) -> dict[str, Callable[[], object]]:
    return {
        "get": lambda: store.get("a"),
        "exists": lambda: store.exists("a"),
        "list": lambda: list(store.list("a")),
        "local": lambda: store.local("a").__enter__(),
    }


def raised(call: Callable[[], object]) -> FuselineError:
    with pytest.raises(FuselineError) as caught:
        call()
    return caught.value


# ── nothing there ────────────────────────────────────────────────────────────────────────────────


def test_a_missing_bucket_is_no_missing_object(s3, tmp_path):
    with closing(S3Store("no-such-bucket", "p")) as store:
        for name, call in (reads(store) | writes(store, tmp_path)).items():
            found = raised(call)
            assert not isinstance(found, NotFound), name
            assert "make the bucket 'no-such-bucket', or set FUSELINE_STORE" in str(found), name
            if name in ("create", "put", "upload", "delete"):
                assert isinstance(found, NotWritten), name


def test_a_refused_connection_is_certainly_not_written(monkeypatch, tmp_path, lone):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens: every connection is refused
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{taken.getsockname()[1]}")
        for name, call in writes(lone, tmp_path).items():
            found = raised(call)
            assert isinstance(found, NotWritten), name
            assert "check that the server runs, the network, and AWS_ENDPOINT_URL_S3" in str(found)
        for name, call in reads(lone).items():
            assert type(raised(call)) is StoreError, name


def test_without_credentials_nothing_is_sent(monkeypatch, tmp_path, over):
    store, server = over(lambda method, path: (200, "", {}))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, call in writes(store, tmp_path).items():
        found = raised(call)
        assert isinstance(found, NotWritten), name
        assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in str(found)
    assert "Unable to locate credentials" in str(raised(lambda: store.get("a")))
    assert server.asked == []


def test_a_profile_that_does_not_exist_is_named(monkeypatch, lone):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in str(raised(lambda: lone.get("a")))
    assert "set AWS_PROFILE to a profile of ~/.aws/config, or unset it" in str(raised(lambda: lone.get("a")))


def test_an_endpoint_that_is_no_url_is_a_setting_to_correct(monkeypatch, lone):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost:4566")
    with pytest.raises(SettingsError, match=r"localhost:4566.*AWS_ENDPOINT_URL_S3 must look like http://"):
        lone.create("a", b"1")


def test_a_name_that_no_bucket_can_have_is_said(s3):
    with closing(S3Store("no bucket")) as store:
        found = raised(lambda: store.create("a", b"1"))
    assert isinstance(found, NotWritten)
    assert "check the name of the bucket in FUSELINE_STORE" in str(found)


def test_a_certificate_that_fails_leaves_the_write_unknown(monkeypatch, over):
    store, server = over(lambda method, path: (200, "", {}))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url.replace("http://", "https://"))
    found = raised(lambda: store.create("a", b"1"))
    assert isinstance(found, UnknownOutcome)
    assert "check the certificate, and AWS_CA_BUNDLE" in str(found)


# ── how the server is addressed ──────────────────────────────────────────────────────────────────


def test_a_server_that_is_not_aws_is_addressed_by_path(monkeypatch, over):
    store, server = over(lambda method, path: (200, "", {}))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url.replace("127.0.0.1", "localhost"))
    store.put("a", b"1")
    assert server.asked == [("PUT", "/bucket/p/a")]


def test_a_profile_may_ask_for_addresses_by_host(monkeypatch, tmp_path, lone):
    (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://localhost:1")
    assert "http://bucket.localhost:1/p/a" in str(raised(lambda: lone.get("a")))


def test_aws_is_the_server_where_none_is_named(monkeypatch, lone):
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nothing leaves this machine
    found = raised(lambda: lone.create("a", b"1"))
    assert isinstance(found, NotWritten)
    assert "proxy" in str(found)


def test_a_client_of_ones_own_is_used_for_everything(bucket, tmp_path):
    with closing(boto3.session.Session().client("s3", config=Config(retries={"total_max_attempts": 1}))) as client:
        asked: list[str] = []
        client.meta.events.register("before-send.s3", lambda request, **rest: asked.append(request.method))
        store = S3Store(bucket, client=client)
        store.create("a", b"1")
        assert (store.get("a"), store.exists("a")) == (b"1", True)
    assert asked == ["PUT", "GET", "GET"]
    assert store.url == f"s3://{bucket}"


def test_a_closed_store_opens_again(bucket):
    with closing(S3Store(bucket)) as store:
        store.put("a", b"1")
        store.close()
        assert store.get("a") == b"1"


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_reply_leaves_every_write_unknown(over, tmp_path):
    store, server = over(lambda method, path: None)
    for name, call in writes(store, tmp_path).items():
        if name != "copy":  # that asks for the source first
            found = raised(call)
            assert isinstance(found, UnknownOutcome), name
            assert "may or may not have been" in str(found)
    assert [method for method, _ in server.asked] == ["PUT", "PUT", "PUT", "DELETE"]
    for name, call in reads(store).items():
        assert type(raised(call)) is StoreError, name


def test_a_create_is_sent_once_even_where_retries_are_on(over, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    store, server = over(lambda method, path: None)
    assert isinstance(raised(lambda: store.create("a", b"1")), UnknownOutcome)
    assert server.asked == [("PUT", "/bucket/p/a")]


def test_a_put_is_sent_again_where_retries_are_on(over, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    replies = iter([None, (200, "", {})])
    store, server = over(lambda method, path: next(replies))
    store.put("a", b"1")
    assert server.asked == [("PUT", "/bucket/p/a")] * 2


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_in_trouble_leaves_every_write_unknown(over, tmp_path, status):
    store, _ = over(lambda method, path: error(status, "SlowDown"))
    for name, call in writes(store, tmp_path).items():
        found = raised(call)
        assert isinstance(found, UnknownOutcome), name
        assert "the server is in trouble: try again later" in str(found)
    for name, call in reads(store).items():
        assert type(raised(call)) is StoreError, name


def test_a_forbidden_request_is_certainly_not_written(over, tmp_path):
    store, _ = over(lambda method, path: error(403, "AccessDenied"))
    for name, call in (writes(store, tmp_path) | reads(store)).items():
        found = raised(call)
        assert type(found) is (NotWritten if name in writes(store, tmp_path) else StoreError), name
        assert "allow s3:GetObject, PutObject, DeleteObject and ListBucket on the bucket 'bucket'" in str(found), name


def test_a_server_that_does_not_know_conditions_has_not_written(over):
    store, _ = over(lambda method, path: error(501, "NotImplemented"))
    found = raised(lambda: store.create("a", b"1"))
    assert isinstance(found, NotWritten)
    assert "an S3 server that knows If-None-Match" in str(found)


def test_a_request_that_is_wrong_in_itself_says_what_the_server_said(over):
    store, _ = over(lambda method, path: error(400, "InvalidArgument", "that header is odd"))
    assert "that header is odd" in str(raised(lambda: store.create("a", b"1")))
    assert "check the request against the server's documentation" in str(raised(lambda: store.put("a", b"1")))


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted", ""])
def test_a_create_that_meets_others_is_tried_again(over, code):
    replies = iter([error(409, code), error(409, code), (200, "", {})])
    store, server = over(lambda method, path: next(replies))
    store.create("a", b"1")
    assert len(server.asked) == 3


def test_a_create_that_meets_others_five_times_is_not_written(over):
    store, server = over(lambda method, path: error(409, "ConditionalRequestConflict"))
    found = raised(lambda: store.create("a", b"1"))
    assert isinstance(found, NotWritten)
    assert "answered 409 five times" in str(found)
    assert len(server.asked) == 5


def test_a_failed_precondition_is_an_object_that_exists(over):
    store, _ = over(lambda method, path: error(412, "PreconditionFailed"))
    with pytest.raises(AlreadyExists, match="s3://bucket/p/a already exists; nothing was written"):
        store.create("a", b"1")


def test_a_404_to_a_write_is_no_missing_object(over):
    store, _ = over(lambda method, path: error(404, "NoSuchKey"))
    for call in (lambda: store.put("a", b"1"), lambda: store.create("a", b"1"), lambda: store.delete("a")):
        assert isinstance(raised(call), NotWritten)


def test_a_body_that_breaks_off_is_an_error_and_never_a_short_answer(over, tmp_path):
    def answer(method: str, path: str) -> Reply:
        return 200, b"half", {"Content-Length": "4" if method == "HEAD" else "8", "ETag": '"e"'}

    store, _ = over(answer)
    for call in (lambda: store.get("a"), lambda: store.delete_if("a", "0" * 64)):
        assert type(raised(call)) is StoreError


def test_a_download_that_always_breaks_off_ends_with_the_reason(over):
    def answer(method: str, path: str) -> Reply:
        return (200, b"halfhalf", {"ETag": '"e"'}) if method == "HEAD" else (200, b"half", {"Content-Length": "8"})

    store, server = over(answer)
    found = raised(lambda: store.local("a").__enter__())
    assert type(found) is StoreError
    assert "Max Retries" not in str(found)
    assert len(server.asked) > 2


def test_a_404_of_something_that_is_no_s3_server_is_no_missing_object(over, tmp_path):
    store, _ = over(lambda method, path: (404, "<html>no such page", {"Content-Type": "text/html"}))
    for name, call in (reads(store) | {"copy": lambda: store.copy("a", "b")}).items():
        assert type(raised(call)) is StoreError, name


def test_a_page_where_a_listing_should_be_is_an_error(over):
    store, _ = over(lambda method, path: (200, "<html>Welcome", {"Content-Type": "text/html"}))
    assert type(raised(lambda: list(store.list("")))) is StoreError


def test_a_server_that_sends_every_request_elsewhere_is_named_as_the_reason(over):
    store, _ = over(lambda method, path: (301, "", {"Location": "https://127.0.0.1:1/"}))
    found = raised(lambda: store.create("a", b"1"))
    assert isinstance(found, NotWritten)
    assert "check that AWS_ENDPOINT_URL_S3 is the address of an S3 server" in str(found)


def test_a_name_that_is_too_long_for_a_local_file_is_said(bucket):
    with closing(S3Store(bucket)) as store:
        store.put("x" * 300, b"1")
        assert store.get("x" * 300) == b"1"
        with pytest.raises(StoreError, match=r"cannot be downloaded .*TMPDIR"), store.local("x" * 300):
            pass


def test_an_upload_that_is_gone_when_it_is_finished_is_unknown(over, tmp_path):
    def answer(method: str, path: str) -> Reply:
        if method == "POST" and "uploads" in path:
            return 200, "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>", {}
        if method == "POST":
            return error(404, "NoSuchUpload")
        return 200, "", {"ETag": '"e"'}

    store, server = over(answer)
    (tmp_path / "big").write_bytes(bytes(9 << 20))
    assert isinstance(raised(lambda: store.upload("a", tmp_path / "big")), UnknownOutcome)
    assert sum(method == "PUT" for method, _ in server.asked) == 2


def test_the_empty_objects_by_which_consoles_show_folders_are_not_listed(bucket, s3_client):
    for key in ("p/", "p/a/", "p/a/b"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"")
    with closing(S3Store(bucket, "p")) as store:
        assert [item.key for item in store.list("")] == ["a/b"]


# ── conditional deletes ──────────────────────────────────────────────────────────────────────────

ONE = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # SHA-256 of b"1"


@pytest.mark.parametrize(("status", "gone"), [(204, True), (412, False), (404, True)])
def test_a_conditional_delete_tells_whether_another_object_is_there(over, status, gone):
    store, server = over(lambda method, path: (200, b"1", {"ETag": '"e"'}) if method == "GET" else error(status, "X"))
    assert store.delete_if("a", ONE) is gone
    assert [method for method, _ in server.asked] == ["GET", "DELETE"]


def test_a_server_without_conditional_deletes_deletes_what_was_looked_at(over):
    replies = iter([(200, b"1", {"ETag": '"e"'}), error(501, "NotImplemented"), error(204)])
    store, server = over(lambda method, path: next(replies))
    assert store.delete_if("a", ONE) is True
    assert [method for method, _ in server.asked] == ["GET", "DELETE", "DELETE"]


def test_a_conditional_delete_without_a_clear_answer_is_unknown(over):
    store, _ = over(lambda method, path: (200, b"1", {"ETag": '"e"'}) if method == "GET" else error(500, "X"))
    assert isinstance(raised(lambda: store.delete_if("a", ONE)), UnknownOutcome)


# ── a ledger over S3 ─────────────────────────────────────────────────────────────────────────────


def test_a_ledger_of_120_entries_over_s3_is_read_from_its_checkpoint(bucket):
    ticks = count()
    with closing(boto3.session.Session().client("s3", config=Config(retries={"total_max_attempts": 1}))) as client:
        asked: list[str] = []
        client.meta.events.register("before-send.s3", lambda request, **rest: asked.append(request.method))
        store = S3Store(bucket, "team", client=client)
        ledger = Ledger(store, "p", lambda: f"2026-03-01T06:{next(ticks) // 60:02d}:00+00:00", "me")
        state = State()
        for turn in range(120):
            entry = ledger.append(lambda _, turn=turn: RetrainAsked(f"drift {turn}"), state)
            assert entry is not None
            state = state.apply(entry)

        asked.clear()
        assert Ledger(store, "p", str, "you").state() == state
        # the checkpoint, the entries after it, and the one that is not there yet
        assert len(asked) == 1 + (120 - CHECKPOINT_EVERY) + 1
        assert [entry.event.reason for entry in ledger.entries()] == [f"drift {turn}" for turn in range(120)]
        assert len(list(store.list("p/ledger/"))) == 122  # with the checkpoint, and a chapter
