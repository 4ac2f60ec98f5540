"""AWS Lambda: infer as soon as a file lands in the inbox. The same as `fuseline watch`, with no machine that waits."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fuseline.errors import FuselineError
from fuseline.settings import Settings
from fuseline.watch import Intake


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Deal with an event of S3, of EventBridge, or of an SQS queue that holds such events.

    Returns:
        For an event of a queue, the messages that are to come again; else nothing.

    Raises:
        FuselineError: an event that came by itself was not dealt with: Lambda tries twice more.
    """
    messages = [record for record in event.get("Records") or () if record.get("eventSource") == "aws:sqs"]
    with _metaflow():
        intake = Intake(Settings.read(), print)
        if messages:
            done = intake.take([message["body"] for message in messages])
            again = [m["messageId"] for m, ended in zip(messages, done, strict=True) if not ended]
            return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in again]}
        if intake.take([json.dumps(event)]) != [True]:
            raise FuselineError("the event was not dealt with; the lines above say why. The file stays in the inbox")
    return {}


@contextmanager
def _metaflow() -> Iterator[None]:
    """Let Metaflow keep what it knows of a run in a folder that goes with it: only /tmp takes files.

    Its S3 datastore is no choice here: it copies by processes that share memory, and Lambda has no /dev/shm.
    """
    with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
        os.environ["METAFLOW_DEFAULT_DATASTORE"] = os.environ["METAFLOW_DEFAULT_METADATA"] = "local"
        os.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = folder
        yield
