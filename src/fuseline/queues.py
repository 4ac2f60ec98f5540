"""Queues that tell of files in the inbox: SQS, or memory.

A message is delivered at least once. Whoever receives it has it alone for `hidden` seconds; unless it is deleted by
then it comes again, to anybody. A queue's own policy may put what came too often aside (its dead-letter queue).
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlsplit

from fuseline import aws
from fuseline.errors import QueueError, SettingsError

MOST = 10  # messages that SQS gives or takes in one request
POLL = 20.0  # seconds that SQS lets one request wait for a message, at most
HOST = re.compile(r"sqs(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")  # of a queue's address on AWS


@dataclass(frozen=True)
class Message:
    """A message as it was received; `receipt` is of this one delivery."""

    id: str
    body: str
    receipt: str


class Queue(Protocol):
    """Where messages come from. Every method raises QueueError.

    Attributes:
        name: the queue as people call it.
        hidden: seconds for which a received message does not come again.
    """

    name: str
    hidden: float

    def receive(self, wait: float = POLL) -> list[Message]:
        """Up to ten messages; none if none comes within `wait` seconds."""
        ...

    def delete(self, messages: Sequence[Message]) -> None:
        """They are done and do not come again. Up to ten."""
        ...

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        """They come again in so many seconds from now, 0 for at once. Up to ten; one that is gone stays so."""
        ...


@contextmanager
def kept(queue: Queue, messages: Sequence[Message]) -> Iterator[None]:
    """Keep messages from coming again as long as the block lasts: they are hidden anew each third of the time.

    Where the queue fails meanwhile, a message may come again while it is worked on.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(queue.hidden / 3):
            with suppress(QueueError):
                queue.hide(messages, queue.hidden)

    thread = threading.Thread(target=beat, name="fuseline-kept", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class SqsQueue:
    """A queue of AWS SQS, or of a server that speaks its language.

    Requests go where boto3's own variables say (AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL, AWS_DEFAULT_REGION). The host
    in the queue's address is not asked: emulators write names there that mean nothing on other machines. Only for an
    address on AWS itself the region is taken from it.

    Args:
        url: FUSELINE_QUEUE, e.g. `https://sqs.eu-central-1.amazonaws.com/123456789012/fuseline-inbox`.
        hidden: seconds, 1 to 43,200; it stands in for the queue's own visibility timeout.

    Raises:
        SettingsError: the address is none of a queue.
    """

    def __init__(self, url: str, hidden: float = 120.0) -> None:
        parts = urlsplit(url)
        self.name = parts.path.rpartition("/")[2]
        if parts.scheme not in ("http", "https") or not parts.netloc or not self.name:
            raise SettingsError(
                f"FUSELINE_QUEUE is {url!r}, which is no address of a queue; write it as "
                "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME (`terraform output inbox_queue_url` says it)"
            )
        self.url, self.hidden = url, hidden
        host = HOST.fullmatch(parts.netloc)
        self._region = {"region_name": host[1]} if host else {}

    @cached_property
    def _client(self) -> Any:
        return aws.client("sqs", aws.session(), more={"connect_timeout": 5, "read_timeout": 30, **self._region})

    def receive(self, wait: float = POLL) -> list[Message]:
        """Up to ten messages; none if none comes within `wait` seconds (whole ones, 20 at most)."""
        with self._asking("be read"):
            found = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=MOST,
                WaitTimeSeconds=int(wait),
                VisibilityTimeout=int(self.hidden),
            )
        return [Message(m["MessageId"], m["Body"], m["ReceiptHandle"]) for m in found.get("Messages", ())]

    def delete(self, messages: Sequence[Message]) -> None:
        """They are done and do not come again. Raises QueueError, too, if one of them was not deleted."""
        entries = [{"Id": str(n), "ReceiptHandle": m.receipt} for n, m in enumerate(messages)]
        with self._asking("delete messages"):
            failed = self._client.delete_message_batch(QueueUrl=self.url, Entries=entries).get("Failed")
        if failed:
            raise QueueError(
                f"queue {self.name} did not delete {len(failed)} of {len(messages)} messages: "
                f"{failed[0].get('Message') or failed[0]['Code']}; they come again"
            )

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        """They come again in so many whole seconds from now; one that is gone stays so."""
        entries = [
            {"Id": str(n), "ReceiptHandle": m.receipt, "VisibilityTimeout": int(seconds)}
            for n, m in enumerate(messages)
        ]
        with self._asking("hide messages"):
            self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn what boto3 raises into a QueueError that says what to do."""
        try:
            yield
        except aws.errors() as error:
            raise QueueError(f"queue {self.name} cannot {what}: {error}; {_advice(error, self.url)}") from error


def _advice(error: Exception, url: str) -> str:
    if "NonExistentQueue" in str(error):
        return f"check FUSELINE_QUEUE ({url}), the region and AWS_ENDPOINT_URL_SQS, or make the queue (`make infra`)"
    if "AccessDenied" in str(error):
        return "the role needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on it"
    return aws.advice(error, "sqs")


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Kept:
    body: str
    visible_at: float
    receipt: str = ""
    times: int = 0


class MemoryQueue:
    """A queue that ends with the process: for tests, and for trying things out.

    Attributes:
        dead: the bodies of messages that came `tries` times and were not deleted.

    Args:
        hidden: seconds for which a received message does not come again.
        tries: deliveries of one message, at most.
        clock: seconds that only go up.
    """

    def __init__(self, hidden: float = 120.0, tries: int = 5, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.hidden, self.tries, self.clock = "memory", hidden, tries, clock
        self.dead: list[str] = []
        self._messages: dict[str, _Kept] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def send(self, body: str) -> None:
        """Put a message into the queue."""
        with self._lock:
            self._messages[str(next(self._numbers))] = _Kept(body, self.clock())

    def __len__(self) -> int:
        """Messages that are not deleted, hidden ones too."""
        return len(self._messages)

    def receive(self, wait: float = POLL) -> list[Message]:
        """Up to ten messages, the oldest first; none if none comes within `wait` seconds."""
        until = self.clock() + wait
        while not (found := self._take()) and self.clock() < until:
            time.sleep(0.01)
        return found

    def _take(self) -> list[Message]:
        with self._lock:
            now = self.clock()
            due = [(id_, m) for id_, m in self._messages.items() if m.visible_at <= now]
            for id_, message in [item for item in due if item[1].times >= self.tries]:
                self.dead.append(self._messages.pop(id_).body)
                due.remove((id_, message))
            for id_, message in due[:MOST]:
                message.times, message.visible_at = message.times + 1, now + self.hidden
                message.receipt = f"{id_}/{message.times}"
            return [Message(id_, m.body, m.receipt) for id_, m in due[:MOST]]

    def delete(self, messages: Sequence[Message]) -> None:
        """They are done and do not come again; one that was delivered anew since stays."""
        with self._lock:
            for message in messages:
                if self._held(message):
                    del self._messages[message.id]

    def hide(self, messages: Sequence[Message], seconds: float) -> None:
        """They come again in so many seconds from now; one that is gone, or was delivered anew, is left alone."""
        with self._lock:
            for message in messages:
                if self._held(message):
                    self._messages[message.id].visible_at = self.clock() + seconds

    def _held(self, message: Message) -> bool:
        return message.id in self._messages and self._messages[message.id].receipt == message.receipt
