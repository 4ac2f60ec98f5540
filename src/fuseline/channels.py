"""Where alerts go: an SNS topic, or anything that apprise reaches (Slack, Teams, mail, a webhook, …).

Addresses hold secrets, so that a channel has a name of its own for the ledger, logs and pages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from fuseline import aws
from fuseline.errors import NotDelivered, SettingsError

SUBJECT = 99  # characters that SNS takes for the subject of a mail, all of them ASCII


@dataclass(frozen=True)
class Message:
    """An alert as people read it.

    Attributes:
        kind: `trip`, `recovery`, `quarantine`, `gate`, `overdue` or `failure`.
        title: the project and what happened, in a few words.
        text: the cause in one sentence.
        link: the page to look at.
        batch: the batch that it is about; empty for none.
    """

    project: str
    kind: str
    title: str
    text: str
    link: str
    batch: str = ""

    @property
    def body(self) -> str:
        """The cause and the link, a line each."""
        return f"{self.text}\n{self.link}"


class Channel(Protocol):
    """Somebody to tell."""

    @property
    def name(self) -> str:
        """Says which one it is, without its secrets."""
        ...

    def send(self, message: Message) -> None:
        """Deliver it within seconds. Raises NotDelivered."""
        ...


def channels(addresses: str) -> list[Channel]:
    """The channels of FUSELINE_ALERTS: addresses with spaces between them, none for an empty text.

    Raises:
        SettingsError: apprise does not know such an address; its secrets are not in the text.

    >>> [c.name for c in channels("arn:aws:sns:eu-central-1:123456789012:ml-alerts json://localhost:8099/hook")]
    ['sns:ml-alerts', 'json:31c577']
    """
    return [_channel(address, place) for place, address in enumerate(addresses.split(), 1)]


def _channel(address: str, place: int) -> Channel:
    if address.startswith("arn:"):
        return Topic(address)
    scheme = address.partition("://")[0] if "://" in address else "without ://"
    channel = Address(f"{scheme}:{hashlib.sha256(address.encode()).hexdigest()[:6]}", address)
    if channel.target is None:
        raise SettingsError(
            f"FUSELINE_ALERTS: address {place} ({scheme}) is neither arn:aws:sns:… nor one that apprise knows, e.g. "
            "slack://…, msteams://…, mailto://…, json://host/path"
        )
    return channel


class Topic:
    """An SNS topic, by its ARN; the project, kind and batch are attributes, so that subscribers can filter.

    AWS credentials come from boto3's own settings, as for the store.
    """

    def __init__(self, arn: str) -> None:
        parts = arn.split(":")
        if len(parts) != 6 or parts[2] != "sns" or not parts[3] or not parts[5]:
            raise SettingsError(f"FUSELINE_ALERTS: {arn!r} is no topic; write arn:aws:sns:REGION:ACCOUNT:NAME")
        self.arn, self.region, self.name = arn, parts[3], f"sns:{parts[5]}"

    @cached_property
    def _client(self) -> Any:
        quick = {"region_name": self.region, "connect_timeout": 5, "read_timeout": 10}
        return aws.client("sns", aws.session(), retries=False, more=quick)

    def send(self, message: Message) -> None:
        """Publish it to the topic. Raises NotDelivered."""
        subject = " ".join(message.title.encode("ascii", "replace").decode().split())[:SUBJECT]
        said = {"project": message.project, "kind": message.kind, "batch": message.batch, "link": message.link}
        attributes = {key: {"DataType": "String", "StringValue": value} for key, value in said.items() if value}
        try:
            self._client.publish(TopicArn=self.arn, Subject=subject, Message=message.body, MessageAttributes=attributes)
        except aws.errors() as error:
            raise NotDelivered(f"{error}; {aws.advice(error, 'sns')}") from error


@dataclass(frozen=True)
class Address:
    """Something that apprise reaches."""

    name: str
    address: str

    @cached_property
    def target(self) -> Any:
        """What apprise makes of the address; None if it knows no such thing."""
        import apprise

        return apprise.Apprise.instantiate(self.address, suppress_exceptions=True)

    def send(self, message: Message) -> None:
        """Let apprise deliver it; what it says of a failure is the error, without secrets. Raises NotDelivered."""
        import apprise

        with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as heard:
            done = self.target.notify(body=message.body, title=message.title, notify_type=_sort(message.kind))
            said = [line.strip() for line in heard.getvalue().splitlines() if line.strip()] if heard else []
        if not done:
            raise NotDelivered(said[0] if said else "it was not taken, and nothing says why")


def _sort(kind: str) -> Any:
    from apprise import NotifyType

    sorts = {"recovery": NotifyType.SUCCESS, "trip": NotifyType.FAILURE, "failure": NotifyType.FAILURE}
    return sorts.get(kind, NotifyType.WARNING)
