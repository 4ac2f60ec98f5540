from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import boto3.session
import pytest

from fuseline import server
from fuseline.errors import SettingsError
from fuseline.ledger import encode
from fuseline.records import Entry

SERVE = """
import signal
from fuseline.dashboard import serve
from fuseline.settings import Settings
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
serve(Settings.read(), port=0, ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


@contextmanager
def serving(environment: dict[str, str], log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A dashboard in a process of its own, and the address that it said."""
    with log.open("w") as errors:
        command = [sys.executable, "-c", SERVE]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def ask(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "projects" / "bookings").mkdir(parents=True)
    (tmp_path / "projects" / "bookings" / "project.toml").write_text('target = "status"\ntask = "binary"\n')
    mine = {"FUSELINE_PROJECTS": str(tmp_path / "projects"), "FUSELINE_STORE": str(tmp_path / "store")}
    return {**os.environ, **mine, "FUSELINE_NOW": "2026-03-12T18:00:00+00:00"}


def s3(port: int) -> dict[str, str]:
    """The settings of a store in an S3 server of this machine."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    return {"FUSELINE_STORE": "s3://bucket/here", "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}", **keys}


@contextmanager
def emulator(port: int, entries: list[Entry]) -> Iterator[None]:
    """An S3 server in a process of its own with a bucket that holds a ledger; it is killed at the end."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: reachable(port))
        session = boto3.session.Session("test", "test", region_name="us-east-1")
        with closing(session.client("s3", endpoint_url=f"http://127.0.0.1:{port}")) as client:
            client.create_bucket(Bucket="bucket")
            for entry in entries:
                client.put_object(Bucket="bucket", Key=f"here/bookings/ledger/{entry.seq:08d}.json", Body=encode(entry))
        yield
    finally:
        process.kill()
        process.wait()


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_server_of_s3_goes_away_and_comes_back_empty(environment: dict[str, str], tmp_path: Path, told: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as stack:
        with emulator(port, told.entries):
            process, url = stack.enter_context(serving({**environment, **s3(port)}, tmp_path / "log"))
            until(lambda: ask(url)[0] == 200)
            assert "Publishing" in ask(f"{url}bookings/")[1]
        until(lambda: "check that the server runs" in ask(f"{url}readyz")[1])
        code, page = ask(f"{url}bookings/")
        assert code == 503
        assert "Unknown" in page and "what you see is from 12 Mar 2026, 18:00 UTC" in page
        assert ask(f"{url}healthz")[0] == 200
        with emulator(port, []):
            until(lambda: ask(f"{url}readyz")[0] == 200)
            assert "Not started" in ask(f"{url}bookings/")[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert f"bookings: its ledger of {len(told.entries)} entries is gone, another one begins" in said
    assert said.endswith("bookings: the ledger is readable\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_even_while_a_store_hangs(environment: dict[str, str], tmp_path: Path, how: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections, and says nothing
        store = s3(hanging.getsockname()[1])
        with serving({**environment, **store}, tmp_path / "log") as (process, url):
            host, port = url.removeprefix("http://").rstrip("/").split(":")
            with socket.create_connection((host, int(port))) as asking:
                asking.sendall(b"GET /bookings/ HTTP/1.1\r\nHost: here\r\n\r\n")
                with hanging.accept()[0]:  # the store is asked, and does not answer
                    process.send_signal(how)
                    began = time.monotonic()
                    assert process.wait(10) == 0
                    assert time.monotonic() - began < 5
            assert process.stdout is not None and process.stdout.read() == "ended\n"
    assert (tmp_path / "log").read_text() == ""


def test_only_this_machine_is_listened_to(environment: dict[str, str], tmp_path: Path) -> None:
    with serving(environment, tmp_path / "log") as (_, url):
        assert url.startswith("http://127.0.0.1:")
        port = int(url.rstrip("/").rpartition(":")[2])
        with pytest.raises(URLError):
            urlopen(f"http://127.0.0.2:{port}/healthz", timeout=5)
        assert json.loads(ask(f"{url}healthz")[1]) == {"alive": True}
    assert (tmp_path / "log").read_text() == ""


def test_an_address_that_cannot_be_had_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} cannot be listened at: Address already in use\. Choose"):
            server.run(None, "127.0.0.1", port, print)
    with pytest.raises(SettingsError, match="no such host, port 1 cannot be listened at"):
        server.run(None, "no such host", 1, print)
    with pytest.raises(SettingsError, match="port 70000 cannot be listened at"):
        server.run(None, "127.0.0.1", 70_000, print)


@pytest.mark.parametrize("missing", server.NEEDED)
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None  # so an import fails as if it were not installed
from fuseline.dashboard import serve
from fuseline.errors import SettingsError
from fuseline.settings import Settings
try:
    serve(Settings.read())
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{missing} is not installed: pip install 'fuseline[serve]'\n"


def test_nothing_that_a_dashboard_needs_is_loaded_before_it_is_served() -> None:
    heavy = (
        "fastapi",
        "starlette",
        "uvicorn",
        "prometheus_client",
        "pandas",
        "sklearn",
        "boto3",
        "metaflow",
        "apprise",
    )
    program = f"import sys, fuseline.dashboard; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
