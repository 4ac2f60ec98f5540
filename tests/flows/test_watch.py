"""`fuseline watch` as people run it: a process of its own, S3 that announces files in SQS (moto), and real runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from fuseline.bootstrap import Line, line
from fuseline.records import Published, Started
from fuseline.settings import Settings

AGAIN = 5  # seconds after which a message of a watcher that was killed comes again
PATIENCE = 180  # seconds; a run takes 5 to 8 on a quiet machine
TEST, TOLD = '{"Event": "s3:TestEvent"}', "a message that tells of no new file: nothing to do"
COMMAND = [sys.executable, "-m", "fuseline.cli", "watch", "--again", str(AGAIN)]


@dataclass
class Stage:
    """A project whose bucket announces files in a queue, and the watchers of it.

    Attributes:
        sqs: a client of the server.
        inbox: puts a file into the inbox of the project.
    """

    here: Line
    folder: Path
    sqs: Any
    inbox: Callable[[str], None]
    watchers: list[psutil.Popen] = field(default_factory=list)

    def watch(self) -> Path:
        """Start a watcher, and wait until it has taken a message; returns the file that it logs to."""
        log = self.folder / f"watch-{len(self.watchers)}.log"
        mine = {"METAFLOW_DEFAULT_DATASTORE": "local", "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.folder)}
        with log.open("w") as file:
            self.watchers.append(
                psutil.Popen(
                    COMMAND,
                    cwd=self.folder,
                    env={**self.here.settings.environment(), **mine},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
        until(lambda: self.send(TEST) and TOLD in log.read_text(), log)
        until(lambda: self.left() == 0, log)
        return log

    def send(self, body: str) -> bool:
        """Put a message into the queue."""
        self.sqs.send_message(QueueUrl=self.here.settings.queue, MessageBody=body)
        return True

    def left(self) -> int:
        """Messages in the queue, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.here.settings.queue, AttributeNames=names)
        return sum(int(number) for number in found["Attributes"].values())

    def count(self, kind: type) -> int:
        """Entries of a kind in the ledger."""
        return sum(isinstance(entry.event, kind) for entry in self.here.ledger.entries())


def until(true: Callable[[], bool], *logs: Path) -> None:
    """Wait until it is so; else show what the watchers said."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "\n".join(log.read_text() for log in logs)
        time.sleep(0.2)


def kill(watcher: psutil.Popen) -> None:
    """SIGKILL for a process and all below it, as when a container is killed."""
    for process in [watcher, *watcher.children(recursive=True)]:
        process.kill()
    watcher.wait()


@pytest.fixture
def stage(
    trained: Path, s3: str, s3_client: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    import boto3.session

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(trained / "projects", tmp_path / "projects")
    with closing(boto3.session.Session().client("sqs")) as sqs:
        queue = sqs.create_queue(QueueName=f"inbox-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        settings = Settings(store=f"s3://{bucket}/line", projects=tmp_path / "projects", queue=queue, user="tester")
        here = line("tiny", settings=settings)
        for path in (trained / "store" / "tiny").rglob("*"):
            if path.is_file():
                here.store.upload(str(path.relative_to(trained / "store")), path)
        rule = {"Id": "inbox", "QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        rule |= {"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "line/inbox/"}]}}}
        s3_client.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [rule]}
        )
        found = Stage(here, tmp_path, sqs, lambda f: here.store.upload(f"inbox/tiny/{f}", trained / "day1.parquet"))
        yield found
        for watcher in found.watchers:
            if watcher.is_running():
                kill(watcher)


def test_a_file_that_lands_is_published_at_once_and_once_however_often_it_is_announced(stage):
    log = stage.watch()
    stage.inbox("day 1+2%é.parquet")
    until(lambda: stage.count(Published) == 1 and stage.left() == 0, log)
    record = {"bucket": {"name": stage.here.store.url.split("/")[2]}}
    record |= {"object": {"key": "line/inbox/tiny/day+1%2B2%25%C3%A9.parquet"}}
    body = f'{{"Records": [{{"eventName": "ObjectCreated:Put", "s3": {record}}}]}}'.replace("'", '"')
    stage.send(body)
    until(lambda: "it is published already" in log.read_text() and stage.left() == 0, log)
    stage.watchers[0].send_signal(signal.SIGTERM)
    assert stage.watchers[0].wait(30) == 0

    assert (stage.count(Started), stage.count(Published)) == (1, 1)
    assert stage.here.batches.waiting() == []
    said = [text.split("  ", 1)[1] for text in log.read_text().splitlines() if TOLD not in text]
    (batch,) = stage.here.ledger.state().batches
    assert said == [
        f"watching {stage.here.store.url}/inbox/ through queue {stage.here.settings.queue.rpartition('/')[2]}; "
        "Ctrl-C ends it",
        "tiny  day 1+2%é.parquet  taken up",
        f"tiny  day 1+2%é.parquet  {batch} was published: 400 rows with v0001, verdict pass.",
        "tiny  day 1+2%é.parquet  nothing to do: it is published already",
        "stopped; nothing is half done",
    ]


def test_of_two_watchers_one_takes_a_file_and_the_other_ends_the_work_when_it_is_killed(stage):
    logs = [stage.watch(), stage.watch()]
    stage.inbox("day1.parquet")
    until(lambda: stage.count(Started) == 1, *logs)
    (taker,) = [n for n, log in enumerate(logs) if "taken up" in log.read_text()]
    kill(stage.watchers[taker])
    assert stage.count(Published) == 0 and stage.here.batches.waiting() == ["day1.parquet"]
    until(lambda: stage.count(Published) == 1 and stage.left() == 0, *logs)

    assert stage.count(Started) == 1
    assert stage.here.batches.waiting() == []
    assert "was published: 400 rows" in logs[1 - taker].read_text()
    assert len(list(stage.here.store.list("tiny/predictions/"))) == 1
