from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuseline.bootstrap import Line, line
from fuseline.errors import SettingsError
from fuseline.queues import POLL, MemoryQueue, Message, QueueError
from fuseline.records import Promoted, Registered, Trip, Tripped
from fuseline.settings import Settings
from fuseline.watch import Intake, Watch

NOW = "2026-03-01T06:00:00+00:00"
TEST = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "models"})


@pytest.fixture
def here(bucket: str, tmp_path: Path) -> Line:
    """The line of a project that has nothing but its settings, on an empty bucket."""
    folder = tmp_path / "projects" / "tiny"
    folder.mkdir(parents=True)
    (folder / "project.toml").write_text('target = "bought"\n')
    settings = Settings(store=f"s3://{bucket}/team-a", projects=folder.parent, now=NOW, user="tester")
    return line("tiny", settings=settings)


class Log(list[str]):
    """The lines that were said, each of which must begin with the time."""

    def __call__(self, text: str) -> None:
        assert text.startswith("2026-03-01 06:00:00  ")
        self.append(text.removeprefix("2026-03-01 06:00:00  "))


@pytest.fixture
def log() -> Log:
    return Log()


def event(here: Line, file: str, folder: str = "inbox/tiny") -> str:
    """A message about a file that landed in the store."""
    bucket, prefix = here.store.url.removeprefix("s3://").split("/")
    named = {"bucket": {"name": bucket}, "object": {"key": f"{prefix}/{folder}/{file}"}}
    return json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": named}]})


def promoted(here: Line) -> Line:
    here.ledger.append(lambda state: Registered("v0001", "d" * 64, {"auc": 0.9, "se": 0.01}))
    here.ledger.append(lambda state: Promoted("v0001", None, "gate", "passed the gate"))
    return here


def tripped(here: Line) -> Line:
    promoted(here).ledger.append(lambda state: Tripped("prices are in cents", Trip(None, 1)))
    return here


# ── what is done about messages ─────────────────────────────────────────────────────────────────


def test_a_store_that_no_bucket_announces_is_refused(tmp_path, log):
    with pytest.raises(SettingsError, match=r"files are announced by buckets only: set it to s3://bucket/prefix"):
        Intake(Settings(store=str(tmp_path)), log)


def test_a_message_that_leads_to_nothing_is_done_and_says_why(here, log):
    messages = [
        TEST,
        event(here, "day1.csv", folder="labels/tiny"),
        event(here, "day1.csv", folder="inbox/other"),
        event(here, "day\n1.csv", folder="inbox/.."),
    ]
    assert Intake(here.settings, log).take(messages) == [True] * 4
    nowhere = f"there is no such project in {here.settings.projects} (tiny): nothing to do"
    assert log == [
        "a message that tells of no new file: nothing to do",
        f"{here.store.url}/labels/tiny/day1.csv  is no file in an inbox of {here.store.url}: nothing to do",
        f"other  day1.csv  {nowhere}",
        f"..  'day\\n1.csv'  {nowhere}",
    ]


def test_a_message_that_cannot_be_read_is_left_to_the_policy_of_the_queue(here, log):
    assert Intake(here.settings, log).take(["hello", TEST]) == [False, True]
    assert log[0] == "left in the queue: a message of S3 was expected, in JSON; found 'hello'"


def test_a_message_is_left_until_the_project_has_a_champion(here, log):
    here.store.put("inbox/tiny/day1.csv", b"")
    assert Intake(here.settings, log).take([event(here, "day1.csv")]) == [False]
    assert log == [
        "tiny  day1.csv  not done, its message comes again: tiny has no champion yet. Train one: fuseline train tiny"
    ]


def test_a_file_that_an_open_breaker_holds_back_waits_in_the_inbox_and_its_message_is_done(here, log):
    here.store.put("inbox/tiny/day1.csv", b"")
    assert Intake(tripped(here).settings, log).take([event(here, "day1.csv")]) == [True]
    assert log == ["tiny  day1.csv  waits in the inbox, the breaker is open: prices are in cents"]
    assert here.batches.waiting() == ["day1.csv"]


def test_a_file_that_is_gone_from_the_inbox_is_done(here, log):
    assert Intake(promoted(here).settings, log).take([event(here, "day1.csv"), event(here, "day1.csv")]) == [True, True]
    assert log == ["tiny  day1.csv  nothing to do: it is gone from the inbox"]


def test_what_takes_several_lines_is_indented_below_the_first(here, log):
    Intake(here.settings, log).tell("it failed\nthe end of its output", "tiny", "day1.csv")
    assert log == ["tiny  day1.csv  it failed\n    the end of its output"]


def test_one_project_that_fails_does_not_hold_up_the_others(here, log):
    (here.settings.projects / "broken").mkdir()
    (here.settings.projects / "broken" / "project.toml").write_text('traget = "bought"\n')
    promoted(here)
    both = json.loads(event(here, "day1.csv"))
    both["Records"] += json.loads(event(here, "day1.csv", folder="inbox/broken"))["Records"]
    messages = [event(here, "day1.csv", folder="inbox/broken"), event(here, "day1.csv"), json.dumps(both)]
    assert Intake(here.settings, log).take(messages) == [False, True, False]
    failed, gone = sorted(log)
    assert failed.startswith("broken  day1.csv  not done, its message comes again: ")
    assert "unknown key 'traget'. Did you mean 'target'?" in failed
    assert gone == "tiny  day1.csv  nothing to do: it is gone from the inbox"


def test_a_store_that_is_down_leaves_the_message(here, log, monkeypatch):
    intake = Intake(here.settings, log)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    assert intake.take([event(here, "day1.csv")]) == [False]
    assert "check that the server runs" in log[0]


def test_catching_up_looks_at_every_project_and_says_nothing_where_nothing_waits(here, log):
    intake = Intake(tripped(here).settings, log)
    intake.catch_up()
    assert log == []
    for n in range(5):
        here.store.put(f"inbox/tiny/day{n}.csv", b"")
    intake.catch_up()
    assert len(log) == 5 and log[4] == "tiny  day4.csv  waits in the inbox, the breaker is open: prices are in cents"


def test_files_that_stay_behind_are_named_in_one_line(here, log):
    for n in range(5):
        here.store.put(f"inbox/tiny/day{n}.csv", b"")
    Intake(here.settings, log).catch_up()
    (said,) = log
    assert said.startswith("tiny  day0.csv, day1.csv, day2.csv and 2 more  not done, it stays in the inbox: ")


# ── the loop ────────────────────────────────────────────────────────────────────────────────────


class Down(MemoryQueue):
    """A queue that fails so many times before it answers."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def receive(self, wait: float = POLL) -> list[Message]:
        if self.times:
            self.times -= 1
            raise QueueError("queue memory cannot be read: nobody answers")
        return super().receive(0)


class Stuck(MemoryQueue):
    """A queue that deletes nothing."""

    def delete(self, messages: Sequence[Message]) -> None:
        raise QueueError("queue stuck did not delete 1 of 1 messages: it is stuck")


class Stopped(Intake):
    """Is sent so many SIGTERM when it has dealt with the first message."""

    signals = 1

    def take(self, bodies: Sequence[str]) -> list[bool]:
        done = [super().take(bodies[:1])[0]]
        for _ in range(self.signals):
            os.kill(os.getpid(), signal.SIGTERM)
        return [*done, *super().take(bodies[1:])]


def test_messages_are_deleted_when_they_are_done_and_come_again_when_not(here, log):
    queue = MemoryQueue(hidden=0.05, tries=3)
    queue.send(TEST)
    queue.send("hello")
    watch = Watch(Intake(here.settings, log), queue)
    watch.turn()  # catches up
    watch.turn()
    assert len(queue) == 1
    watch.turn()
    watch.turn()
    assert queue.receive(0.2) == [] and queue.dead == ["hello"]
    assert [text[:17] for text in log] == ["a message that te", *["left in the queue"] * 3]


def test_a_queue_that_fails_is_said_once_and_asked_ever_more_slowly(here, log):
    queue, waits = Down(8), []
    watch = Watch(Intake(here.settings, log), queue, waits.append)
    here.store.put("inbox/tiny/day1.csv", b"")
    for _ in range(11):
        watch.turn()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    waiting = log[0]
    assert log == [
        waiting,
        "queue memory cannot be read: nobody answers. Trying again until it answers",
        "queue memory answers again",
        waiting,  # messages may be lost: it catches up again
    ]
    queue.times = 2
    for _ in range(2):
        watch.turn()
    assert waits[8:] == [1, 2]


class Slow(Intake):
    """Works for longer than messages are hidden, and looks whether they come meanwhile."""

    queue: MemoryQueue
    came: Sequence[Message] = ()

    def take(self, bodies: Sequence[str]) -> list[bool]:
        time.sleep(self.queue.hidden * 2)
        self.came = self.queue.receive(0)
        return super().take(bodies)


def test_a_message_does_not_come_to_others_while_a_long_run_is_at_work(here, log):
    intake = Slow(here.settings, log)
    intake.queue = MemoryQueue(hidden=0.1)
    intake.queue.send(TEST)
    watch = Watch(intake, intake.queue)
    watch.turn()
    watch.turn()
    assert intake.came == [] and len(intake.queue) == 0


def test_a_message_that_could_not_be_deleted_does_no_harm(here, log):
    queue = Stuck()
    queue.send(TEST)
    watch = Watch(Intake(here.settings, log), queue)
    watch.turn()
    watch.turn()
    assert log[1] == (
        "queue stuck did not delete 1 of 1 messages: it is stuck. Its messages come again, which does no harm"
    )


def test_a_stop_lets_the_run_at_hand_end_and_gives_back_what_was_not_begun(here, log):
    queue = MemoryQueue()
    queue.send(TEST)
    queue.send(event(promoted(here), "day1.csv"))
    before = signal.getsignal(signal.SIGTERM)
    Watch(Stopped(here.settings, log), queue).run()
    assert log == [
        f"watching {here.store.url}/inbox/ through queue memory; Ctrl-C ends it",
        "a message that tells of no new file: nothing to do",
        "stopping when this run is over; a second Ctrl-C interrupts it",
        "stopped; nothing is half done",
    ]
    assert [message.body for message in queue.receive(0)] == [event(here, "day1.csv")]
    assert len(queue) == 1 and signal.getsignal(signal.SIGTERM) is before


def test_a_second_stop_interrupts_the_run_and_gives_all_back(here, log):
    queue = MemoryQueue()
    queue.send(TEST)
    intake = Stopped(here.settings, log)
    intake.signals = 2
    Watch(intake, queue).run()
    assert log[-1] == "stopped; nothing is half done"
    assert len(queue.receive(0)) == 1


def test_it_works_in_a_thread_too_where_no_signal_can_be_caught(here, log):
    queue = MemoryQueue()
    queue.send(TEST)
    watch = Watch(Intake(here.settings, log), queue)
    watch.turn()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(watch.turn).result()
    assert len(queue) == 0


class Idle(MemoryQueue):
    """Ctrl-C comes while it waits."""

    def receive(self, wait: float = POLL) -> list[Message]:
        raise KeyboardInterrupt


def test_a_stop_ends_it_at_once_where_nothing_is_at_hand(here, log):
    Watch(Intake(here.settings, log), Idle()).run()
    assert log[1:] == ["stopped; nothing is half done"]
