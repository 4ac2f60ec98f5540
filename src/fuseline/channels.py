"""Where alerts go: an SNS topic, or anything that apprise reaches (Slack, Teams, mail, a webhook, …).

Addresses hold secrets, so that a channel has a name of its own for the ledger, logs and pages. An address that makes no
sense is a channel too, one that always fails and says why: no run ends with an error because of it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import unquote

from fuseline import aws
from fuseline.errors import NotDelivered, SettingsError
from fuseline.records import Finding

PATIENCE = 20.0  # seconds that a channel may take; well below the lease of an alert
SUBJECT = 99  # characters that SNS takes for the subject of a mail, all of them ASCII
REASON = 300  # characters of what is kept of a reason
BETWEEN = re.compile(r"\s+|,(?=\s|arn:|[a-z][a-z0-9]*://)")  # addresses; commas as apprise allows them
TOPIC = re.compile(r"arn:[^:]+:sns:(?P<region>[^:]+):\d*:(?P<topic>[^:]+)")
SCHEME = re.compile(r"[a-z][a-z0-9]{0,15}(?=://)")


@dataclass(frozen=True)
class Message:
    """An alert as people read it.

    Attributes:
        kind: `trip`, `recovery`, `quarantine`, `gate`, `overdue` or `failure`.
        title: the project and what happened, in a few words.
        text: the cause in one sentence.
        link: the page to look at.
        at: when that was: an alert may arrive hours late.
        batch: the batch that it is about; empty for none.
    """

    project: str
    kind: str
    title: str
    text: str
    link: str
    at: str
    batch: str = ""

    @property
    def body(self) -> str:
        """The cause, the time and the link, a line each."""
        return f"{self.text}\n{self.at}\n{self.link}"


class Channel(Protocol):
    """Somebody to tell."""

    @property
    def name(self) -> str:
        """Says which one it is, without its secrets; no other channel has it."""
        ...

    def check(self) -> None:
        """Whether it can be used at all; nothing is sent. Raises NotDelivered with what is wrong with its address."""
        ...

    def send(self, message: Message) -> None:
        """Deliver it. Raises NotDelivered, whatever goes wrong."""
        ...


def channels(addresses: str) -> list[Channel]:
    """The channels of FUSELINE_ALERTS: addresses with spaces between them, none for an empty text.

    >>> [c.name for c in channels("arn:aws:sns:eu-central-1:123456789012:ml-alerts json://localhost:8099/hook")]
    ['sns:ml-alerts:bf4ada', 'json:31c577']
    """
    known = dict.fromkeys(address for address in BETWEEN.split(addresses) if address)
    return [
        Topic(address, place) if address.startswith("arn:") else Address(_name(address), address, place)
        for place, address in enumerate(known, 1)
    ]


def findings(addresses: str) -> list[Finding]:
    """Whether each address makes sense, and what to do if not; nothing is sent."""
    looked = [(channel.name, _refused(channel)) for channel in channels(addresses)]
    return [Finding(not why, f"alerts go to {name}", why) for name, why in looked]


def _refused(channel: Channel) -> str:
    try:
        channel.check()
    except NotDelivered as error:
        return str(error)
    return ""


def deliver(channel: Channel, message: Message, patience: float = PATIENCE) -> str:
    """Let a channel deliver a message; returns why it did not, or an empty text.

    A channel has no more than `patience` seconds, even one whose server sends a byte now and then for ever. It goes on
    in a thread of its own then, which does not keep the process from ending.
    """
    said: list[str] = []

    def work() -> None:
        try:
            channel.send(message)
            said.append("")
        except NotDelivered as error:
            said.append(str(error) or "it does not say why")

    thread = threading.Thread(target=work, name=f"fuseline-{channel.name}", daemon=True)
    thread.start()
    thread.join(patience)
    return said[0] if said else f"no answer within {patience:g} s"


def _name(address: str) -> str:
    """The scheme, where there is one, and six digits that tell it apart from others of that scheme."""
    scheme = SCHEME.match(address)
    return f"{scheme[0] if scheme else 'address'}:{_digits(address)}"


def _digits(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:6]


class Topic:
    """An SNS topic, by its ARN; the project, kind and batch are attributes, so that subscribers can filter.

    AWS credentials come from boto3's own settings, as for the store.

    Args:
        place: which of the addresses it is, from 1.
    """

    def __init__(self, arn: str, place: int = 1) -> None:
        found = TOPIC.fullmatch(arn)
        self.arn, self.place, self.region = arn, place, found["region"] if found else ""
        self.name = f"sns:{found['topic']}:{_digits(arn)}" if found else f"arn:{_digits(arn)}"

    def check(self) -> None:
        """Whether it is the ARN of a topic. Raises NotDelivered."""
        if not self.region:
            raise NotDelivered(
                f"FUSELINE_ALERTS: address {self.place} is no topic; write arn:aws:sns:REGION:ACCOUNT:NAME"
            )

    @cached_property
    def _client(self) -> Any:
        quick = {"region_name": self.region, "connect_timeout": 5, "read_timeout": 10}
        return aws.client("sns", aws.session(), retries=False, more=quick)

    def send(self, message: Message) -> None:
        """Publish it to the topic. Raises NotDelivered."""
        self.check()
        subject = " ".join(message.title.encode("ascii", "replace").decode().split())[:SUBJECT]
        said = {"project": message.project, "kind": message.kind, "batch": message.batch, "link": message.link}
        attributes = {key: {"DataType": "String", "StringValue": value} for key, value in said.items() if value}
        try:
            self._client.publish(TopicArn=self.arn, Subject=subject, Message=message.body, MessageAttributes=attributes)
        except SettingsError as error:
            raise NotDelivered(str(error)) from error
        except aws.errors() as error:
            raise NotDelivered(f"{error}; {_advice(error)}") from error


def _advice(error: Exception) -> str:
    refused = getattr(error, "response", {}).get("Error", {})  # only what a server answered has one
    return _ADVICE.get(refused.get("Code")) or aws.advice(error, "sns")


_ADVICE = {
    "NotFound": "create the topic, or correct its ARN in FUSELINE_ALERTS",
    "AuthorizationError": "allow sns:Publish on the topic",
    "KMSAccessDenied": "allow kms:GenerateDataKey and kms:Decrypt on the key of the topic",
    "InvalidClientTokenId": "check AWS_ACCESS_KEY_ID, or the profile that AWS_PROFILE names",
}


@dataclass(frozen=True)
class Address:
    """Something that apprise reaches.

    Attributes:
        place: which of the addresses it is, from 1.
    """

    name: str
    address: str = field(repr=False)
    place: int = 1

    def check(self) -> None:
        """Whether apprise knows what it means. Raises NotDelivered."""
        if self._target is None:
            raise NotDelivered(
                f"FUSELINE_ALERTS: address {self.place} is neither arn:aws:sns:… nor one that apprise understands, "
                "e.g. slack://…, msteams://…, mailto://…, json://host/path"
            )

    @cached_property
    def _target(self) -> Any:
        """What apprise makes of the address; None if it knows no such thing."""
        import apprise

        with suppress(Exception):  # an address that cannot be understood must not end the run
            return apprise.Apprise.instantiate(self.address, suppress_exceptions=True)
        return None

    def send(self, message: Message) -> None:
        """Let apprise deliver it; what it says of a failure is the error, without secrets. Raises NotDelivered."""
        import apprise

        self.check()
        done = False
        with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as heard:
            with suppress(Exception):  # a plugin can fail in any way, and the error's text can hold the address
                done = self._target.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=_sort(message.kind),
                    body_format=apprise.NotifyFormat.TEXT,  # so that a mail in HTML keeps its lines
                )
            said = heard.getvalue().strip()
        if not done:
            raise NotDelivered(self._masked(said.splitlines()[0]) if said else "it was not taken, and nothing says why")

    def _masked(self, text: str) -> str:
        """The text without any part of the address: hosts can be secrets as well as paths."""
        parts = re.split(r"[/:@?&=,#+]+", self.address.partition("://")[2])
        for part in sorted({*parts, *map(unquote, parts)}, key=len, reverse=True):
            if len(part) >= 4:
                text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
        return text[:REASON]


def _sort(kind: str) -> Any:
    from apprise import NotifyType

    sorts = {"recovery": NotifyType.SUCCESS, "trip": NotifyType.FAILURE, "failure": NotifyType.FAILURE}
    return sorts.get(kind, NotifyType.WARNING)
