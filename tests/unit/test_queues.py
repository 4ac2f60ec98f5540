from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from fuseline.errors import QueueError, SettingsError
from fuseline.queues import MemoryQueue, Message, Queue, SqsQueue, kept

Send = Callable[[str], None]


@pytest.fixture
def sqs(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the server's SQS; boto3's own variable points to it."""
    import boto3.session

    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", s3)
    with closing(boto3.session.Session().client("sqs")) as client:
        yield client


@pytest.fixture
def address(sqs: Any) -> str:
    """The address of a new queue."""
    return str(sqs.create_queue(QueueName=f"inbox-{uuid.uuid4().hex[:8]}")["QueueUrl"])


@pytest.fixture(params=["memory", "sqs"])
def pair(request: pytest.FixtureRequest) -> tuple[Queue, Send]:
    """A queue whose messages come again soon, and what puts a message into it."""
    if request.param == "memory":
        memory = MemoryQueue(hidden=0.2)
        return memory, memory.send
    sqs, address = request.getfixturevalue("sqs"), request.getfixturevalue("address")
    return SqsQueue(address, hidden=1), lambda body: sqs.send_message(QueueUrl=address, MessageBody=body)


def bodies(messages: Sequence[Message]) -> list[str]:
    return [message.body for message in messages]


# ── what every queue does ───────────────────────────────────────────────────────────────────────


def test_a_message_is_hidden_for_its_time_and_then_comes_again(pair):
    queue, send = pair
    send("day1")
    assert bodies(queue.receive(0)) == ["day1"]
    assert queue.receive(0) == []
    assert bodies(queue.receive(3)) == ["day1"]


def test_a_deleted_message_never_comes_again(pair):
    queue, send = pair
    send("day1")
    queue.delete(queue.receive(0))
    time.sleep(queue.hidden * 1.1)
    assert queue.receive(0) == []


def test_a_message_that_is_given_back_comes_at_once(pair):
    queue, send = pair
    send("day1")
    queue.hide(queue.receive(0), 0)
    assert bodies(queue.receive(0)) == ["day1"]


def test_a_message_that_is_kept_does_not_come_while_it_is_worked_on(pair):
    queue, send = pair
    send("day1")
    with kept(queue, queue.receive(0)):
        time.sleep(queue.hidden * 1.5)
        assert queue.receive(0) == []
    assert bodies(queue.receive(3)) == ["day1"]


def test_hiding_a_message_that_is_gone_does_nothing(pair):
    queue, send = pair
    send("day1")
    messages = queue.receive(0)
    queue.delete(messages)
    queue.hide(messages, 0)
    assert queue.receive(0) == []


def test_ten_messages_come_at_a_time(pair):
    queue, send = pair
    for n in range(12):
        send(f"day{n}")
    first, second = queue.receive(0), queue.receive(0)
    assert (len(first), len(second)) == (10, 2)
    assert {*bodies(first), *bodies(second)} == {f"day{n}" for n in range(12)}


# ── memory ──────────────────────────────────────────────────────────────────────────────────────


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_old_receipt_neither_deletes_nor_hides_what_was_delivered_anew():
    clock = Clock()
    queue = MemoryQueue(hidden=10, clock=clock)
    queue.send("day1")
    old = queue.receive(0)
    clock.now = 10.0
    new = queue.receive(0)
    queue.delete(old)
    queue.hide(old, 0)
    assert len(queue) == 1 and queue.receive(0) == []
    queue.delete(new)
    assert len(queue) == 0


def test_a_message_that_came_too_often_is_put_aside():
    queue = MemoryQueue(tries=2)
    queue.send("poison")
    queue.send("day1")
    for _ in range(2):
        messages = queue.receive(0)
        queue.hide(messages, 0)
    assert queue.receive(0) == [] and queue.dead == ["poison", "day1"]


# ── a queue that fails ──────────────────────────────────────────────────────────────────────────


class Failing(MemoryQueue):
    """Cannot hide anything."""

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        raise QueueError("it is down")


def test_work_goes_on_where_its_messages_cannot_be_kept():
    queue = Failing(hidden=0.03)
    queue.send("day1")
    with kept(queue, queue.receive(0)):
        time.sleep(0.1)
        assert bodies(queue.receive(0)) == ["day1"]
    assert not any(thread.name == "fuseline-kept" for thread in threading.enumerate())


# ── SQS ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host", ["http://sqs.us-east-1.localhost.localstack.cloud:4566", "https://sqs.us-east-1.amazonaws.com"]
)
def test_the_host_in_the_address_is_not_asked_where_an_endpoint_is_set(host, sqs, address):
    sqs.send_message(QueueUrl=address, MessageBody="day1")
    queue = SqsQueue(f"{host}/{address.split('/', 3)[3]}")
    assert bodies(queue.receive(0)) == ["day1"]


def test_the_region_comes_from_an_address_on_aws(address):
    """The server keeps a queue in each region apart: in another one it is not found."""
    with pytest.raises(QueueError, match="does not exist"):
        SqsQueue(f"https://sqs.eu-central-1.amazonaws.com/{address.split('/', 3)[3]}").receive(0)


@pytest.mark.parametrize("url", ["", "fuseline-inbox", "arn:aws:sqs:eu-central-1:1:inbox", "http://localhost:4566/"])
def test_an_address_of_no_queue_is_refused_with_an_example(url):
    with pytest.raises(SettingsError, match=r"FUSELINE_QUEUE is '.*', which is no address.*https://sqs\.REGION"):
        SqsQueue(url)


def test_a_missing_queue_says_what_to_check(sqs):
    with pytest.raises(QueueError, match=r"queue none cannot be read: .*does not exist.*check FUSELINE_QUEUE"):
        SqsQueue("http://localhost:4566/123456789012/none").receive(0)


def test_a_server_that_is_down_says_what_to_check(sqs, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    with pytest.raises(QueueError, match=r"check that the server runs, the network, and AWS_ENDPOINT_URL_SQS"):
        SqsQueue("http://localhost:4566/123456789012/inbox").receive(0)


def test_a_message_that_was_not_deleted_is_said(address):
    with pytest.raises(QueueError, match=r"did not delete 1 of 1 messages: .*receipt handle.*they come again"):
        SqsQueue(address).delete([Message("1", "day1", "no receipt")])


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_role_that_may_not_read_the_queue_is_told_what_it_needs(sqs, monkeypatch):
    denied = b'{"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "Access to the resource is denied."}'
    with answering(403, denied) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", endpoint)
        with pytest.raises(QueueError, match=r"the role needs sqs:ReceiveMessage, sqs:DeleteMessage"):
            SqsQueue("http://localhost:4566/123456789012/inbox").receive(0)
