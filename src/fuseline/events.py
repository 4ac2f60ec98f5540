"""What the messages of S3 say: which objects were created, and which of them are batches of a project."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from fuseline.errors import DataError
from fuseline.records import FORMATS

SHOWN = 200  # characters of a message that an error shows


@dataclass(frozen=True)
class Landed:
    """An object that was created: its bucket, and its whole key as S3 knows it."""

    bucket: str
    key: str

    @property
    def url(self) -> str:
        """The object as people write it."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Arrival:
    """A file in the inbox of a project, whether there is such a project or not."""

    project: str
    file: str


def landed(body: str) -> tuple[Landed, ...]:
    """The objects that a message tells of; none for S3's test of the queue, and for events of another kind.

    Read are S3's own notifications, those of S3 servers that speak its language, either of them in an envelope of SNS,
    and EventBridge's. In a notification a key is URL-encoded, in an event of EventBridge it is not.

    Raises:
        DataError: the message is none of these.

    >>> landed('{"Records": [{"eventName": "ObjectCreated:Put",'
    ...        ' "s3": {"bucket": {"name": "models"}, "object": {"key": "inbox/bank/8+March.csv"}}}]}')
    (Landed(bucket='models', key='inbox/bank/8 March.csv'),)
    >>> landed('{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "models"}')
    ()
    """
    said = _parsed(body)
    if "TopicArn" in said:
        return landed(_text(said, "Message"))
    if said.get("Event") == "s3:TestEvent":
        return ()
    if said.get("source") == "aws.s3":
        if said.get("detail-type") != "Object Created":
            return ()
        return (Landed(_text(said, "detail", "bucket", "name"), _text(said, "detail", "object", "key")),)
    records = said.get("Records")
    if not isinstance(records, list):
        raise DataError(f"a message of S3 was expected, with `Records` or of EventBridge; found {_shown(body)}")
    created = [r for r in records if _text(r, "eventName").removeprefix("s3:").startswith("ObjectCreated:")]
    return tuple(Landed(_text(r, "s3", "bucket", "name"), _decoded(_text(r, "s3", "object", "key"))) for r in created)


def arrival(one: Landed, store: str) -> Arrival | None:
    """The batch that an object is, in a store like `s3://bucket/prefix`; None if it is none.

    >>> arrival(Landed("models", "team-a/inbox/bank/2026-03-08.csv"), "s3://models/team-a")
    Arrival(project='bank', file='2026-03-08.csv')
    >>> arrival(Landed("models", "team-a/labels/bank/2026-03-08.csv"), "s3://models/team-a")
    """
    inbox = f"{store.rstrip('/')}/inbox/"
    if not one.url.startswith(inbox):
        return None
    project, _, file = one.url.removeprefix(inbox).partition("/")
    return Arrival(project, file) if project and is_batch(file) else None


def is_batch(file: str) -> bool:
    """Whether a file of this name in an inbox is taken for a batch: no folder, no hidden file, a format that is read.

    >>> is_batch("2026-03-08.parquet"), is_batch("_SUCCESS"), is_batch(".part.csv"), is_batch("old/2026-03-08.csv")
    (True, False, False, False)
    """
    if "/" in file or file.startswith((".", "_")) or not file.lower().endswith(FORMATS):
        return False
    return file.encode("utf-8", "ignore").decode() == file  # JSON cannot name the others


def _parsed(body: str) -> Mapping[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a message of S3 was expected, in JSON; found {_shown(body)}") from error
    if not isinstance(said, dict):
        raise DataError(f"a message of S3 was expected, a JSON object; found {_shown(body)}")
    return said


def _text(said: Any, *keys: str) -> str:
    found = said
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise DataError(
            f"a message of S3 was expected, with a text in `{'.'.join(keys)}`; found {_shown(json.dumps(said))}"
        )
    return found


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise DataError(f"a message of S3 was expected, with a key in UTF-8; found {_shown(key)}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
