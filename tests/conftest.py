"""A real S3 server, for every test that wants one: moto's, or the one that FUSELINE_TEST_S3 names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

LONG = ("e2e/test_terraform", "flows/test_line", "e2e/test_real_input", "unit/test_promises", "flows/test_watch")
GIVEN = os.environ.get("FUSELINE_TEST_S3")  # e.g. http://127.0.0.1:4566, which `make test-localstack` sets


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "s3: talks to an S3 server (every test that uses the fixture `s3` has it)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "s3" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.s3)
    items[:] = _long_ones_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def _long_ones_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in an order in which each worker begins with some of those that take long: none is alone at the end.

    With `--dist worksteal` a worker begins with as many tests as the others, one after the other.
    """
    files = [f"{item.path.parent.name}/{item.path.stem}" for item in items]
    quick = [item for item, file in zip(items, files, strict=True) if file not in LONG]
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for place, long in enumerate(LONG):
        parts[place % workers] += [item for item, file in zip(items, files, strict=True) if file == long]
    found: list[pytest.Item] = []
    for place, part in enumerate(parts):
        size = len(items) * (place + 1) // workers - len(items) * place // workers - len(part)
        found += part + quick[:size]
        quick = quick[size:]
    return found + quick


@contextmanager
def _moto() -> Iterator[str]:
    """The endpoint of moto's server, in a thread of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of the server; boto3's own variables point to it until the session ends."""
    with nullcontext(GIVEN) if GIVEN else _moto() as endpoint, pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS"):
            environment.delenv(name, raising=False)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "NO_PROXY": "127.0.0.1",
        }.items():
            environment.setenv(name, value)
        yield endpoint


@pytest.fixture
def uncovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows are a process a task: they run as they do for users, without coverage, which other tests measure."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def emulator(s3: str) -> str:
    """Which server that is, for tests of what they do differently: `moto` or `localstack`; skips on any other."""
    if not GIVEN:
        return "moto"
    try:
        urlopen(f"{s3}/_localstack/info", timeout=10).close()
    except URLError as error:
        pytest.skip(f"{s3} is neither moto's server nor LocalStack: {error}")
    return "localstack"


@pytest.fixture(scope="session")
def s3_client(s3: str) -> Iterator[Any]:
    """A client of the server, for what a Store cannot do."""
    import boto3.session

    with closing(boto3.session.Session().client("s3")) as client:
        yield client


@pytest.fixture
def bucket(s3_client: Any) -> str:
    """The name of a new, empty bucket."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return name
