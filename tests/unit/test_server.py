from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest

from fuseline import server
from fuseline.errors import FuselineError, SettingsError
from fuseline.serving.listener import HEAD, answer


class App:
    """Answers with the length of what was sent; its lifespan can fail."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed" if self.fails else "lifespan.startup.complete"})
            if not self.fails:
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            return
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def answering(patience: float = 5.0) -> Iterator[tuple[socket.socket, threading.Event, threading.Thread]]:
    """The application on a socket, in a thread; what is given is another handle of the socket."""
    opened, accepting, stopping = server.listening("127.0.0.1", 0), threading.Event(), threading.Event()
    accepting.set()
    with opened, opened.dup() as other:
        thread = threading.Thread(target=answer, args=(App(), opened, accepting, stopping, patience))
        thread.start()
        yield other, stopping, thread
        stopping.set()
        thread.join()


def connect(opened: socket.socket) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", opened.getsockname()[1], timeout=10)


@pytest.mark.parametrize("names", [("no_such_module",), ("socket", "no_such_module")])
def test_what_is_missing_is_named(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=r"no_such_module is not installed: pip install 'fuseline\[serve\]'"):
        server.need(names)


def test_to_look_for_what_is_needed_imports_none_of_it() -> None:
    program = "import sys; from fuseline.server import NEEDED, need; need(); print({*sys.modules} & {*NEEDED})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_address_is_one_that_a_browser_takes() -> None:
    with server.listening("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        assert server.address("127.0.0.1", opened) == f"http://127.0.0.1:{port}/"
        assert server.address("0.0.0.0", opened) == f"http://localhost:{port}/"
        assert server.address("::1", opened) == f"http://[::1]:{port}/"


def test_a_connection_waits_for_nothing_before_it_sends() -> None:
    with server.listening("127.0.0.1", 0) as opened, socket.create_connection(opened.getsockname()) as client:
        connection, _ = opened.accept()
        with connection, client:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_request_is_answered() -> None:
    with answering() as (opened, _, _), closing(connect(opened)) as connection:
        for body in (b"", b"x" * 300_000):
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            assert answer.read() == str(len(body)).encode()
            assert answer.getheader("server") is None
            assert answer.getheader("connection") is None


def test_stopping_leaves_the_socket_to_the_others() -> None:
    with answering() as (opened, stopping, thread):
        stopping.set()
        thread.join(5)
        assert not thread.is_alive()
        with socket.create_connection(opened.getsockname()) as client:
            connection, address = opened.accept()
            connection.close()
            assert address == client.getsockname()


def test_nothing_is_accepted_before_it_is_to_be() -> None:
    accepting, stopping, begun = threading.Event(), threading.Event(), threading.Event()
    with server.listening("127.0.0.1", 0) as opened, closing(connect(opened)) as connection:
        thread = threading.Thread(target=answer, args=(App(), opened, accepting, stopping, 5.0, begun.set))
        thread.start()
        assert begun.wait(5)
        connection.connect()
        connection.sock.settimeout(0.2)
        connection.request("GET", "/")
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
        connection.sock.settimeout(5)
        accepting.set()
        assert connection.sock.recv(12) == b"HTTP/1.1 200"
        stopping.set()
        thread.join()


def test_it_can_be_stopped_before_it_accepts() -> None:
    stopping = threading.Event()
    with server.listening("127.0.0.1", 0) as opened:
        answer(App(), opened, threading.Event(), stopping, begun=stopping.set)


def test_a_lifespan_that_fails_is_an_error() -> None:
    accepting = threading.Event()
    accepting.set()
    with (
        server.listening("127.0.0.1", 0) as opened,
        pytest.raises(FuselineError, match="The server could not start; the log says why"),
    ):
        answer(App(fails=True), opened, accepting, threading.Event())


def test_a_request_that_comes_late_is_answered_and_the_last(caplog: pytest.LogCaptureFixture) -> None:
    with answering() as (opened, stopping, thread), closing(connect(opened)) as used, closing(connect(opened)) as fresh:
        used.request("GET", "/")
        used.getresponse().read()
        fresh.connect()
        used.request("GET", "/")  # so the other one is accepted, too
        used.getresponse().read()
        stopping.set()
        last = None
        while last is None:  # it is noticed within a moment
            used.request("GET", "/")
            found = used.getresponse()
            last = found.getheader("connection")
            assert found.read() == b"0"
        fresh.request("GET", "/")
        found = fresh.getresponse()
        assert (last, found.getheader("connection"), found.read()) == ("close", "close", b"0")
        thread.join(5)
        assert not thread.is_alive()
    assert caplog.records == []


def test_what_is_never_asked_is_cut_off_after_a_second() -> None:
    with answering() as (opened, stopping, thread), socket.create_connection(opened.getsockname()) as half:
        half.sendall(b"POST / HTTP/1.1\r\nHost: here\r\n")
        time.sleep(0.05)
        stopping.set()
        began = time.monotonic()
        half.settimeout(10)
        assert half.recv(1) == b""
        thread.join()
        assert 0.9 < time.monotonic() - began < 5


def test_what_takes_longer_than_patience_is_cut_off() -> None:
    with answering(patience=0.1) as (opened, stopping, thread), socket.create_connection(opened.getsockname()) as half:
        half.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n")
        time.sleep(0.05)
        stopping.set()
        began = time.monotonic()
        thread.join()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nx: "])
def test_a_head_without_an_end_is_refused(begin: bytes) -> None:
    with answering() as (opened, _, _), socket.create_connection(opened.getsockname()) as client:
        client.settimeout(10)
        client.sendall(begin + (b"a: b\r\n" if begin.endswith(b"\n") else b"a") * HEAD)
        said = client.recv(1000)
        assert said.startswith(b"HTTP/1.1 400 ")
        assert said.endswith(b"The line and the headers of a request may have 64 KB.")


def test_large_headers_and_bodies_are_not_mistaken_for_an_endless_head() -> None:
    with answering() as (opened, _, _), closing(connect(opened)) as connection:
        for _ in range(4):
            connection.request("POST", "/", b"x" * 1_000_000, {"x-large": "y" * 40_000})
            assert connection.getresponse().read() == b"1000000"
