"""Who is told what, and how often: over a ledger in memory, with channels that are small and real."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from fuseline import records as r
from fuseline.alerts import LATE, Alerts
from fuseline.batches import Batches
from fuseline.channels import Channel, Message
from fuseline.errors import NotDelivered, StoreError
from fuseline.faults import FaultyStore, parse_rules
from fuseline.ledger import Ledger
from fuseline.owed import KEPT, LEASE, LONGEST, OLD
from fuseline.storage import MemoryStore, Store, open_store

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ASSESSMENT = r.Assessment("pass")


@dataclass
class Recorder:
    """A channel that takes everything, perhaps slowly."""

    name: str = "slack:1"
    seconds: float = 0.0
    got: list[Message] = field(default_factory=list)

    def check(self) -> None:
        pass

    def send(self, message: Message) -> None:
        time.sleep(self.seconds)
        self.got.append(message)

    @property
    def kinds(self) -> list[str]:
        return [message.kind for message in self.got]


@dataclass
class Failing(Recorder):
    """A channel that fails so many times first; 0 for a channel that works."""

    times: int = 10**9
    asked: int = 0

    def send(self, message: Message) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise NotDelivered(f"timeout {self.asked}")
        super().send(message)


@dataclass
class Desk:
    """A ledger with a clock that is set by hand, and whoever is to be told of it."""

    store: Store = field(default_factory=MemoryStore)
    now: datetime = datetime(2026, 3, 8, 6, tzinfo=UTC)

    def clock(self) -> str:
        return self.now.isoformat(timespec="seconds")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, "tiny", self.clock, "tester")

    def alerts(self, *channels: Channel, by: str = "tester", store: Store | None = None) -> Alerts:
        ledger = Ledger(store or self.store, "tiny", self.clock, by)
        return Alerts("tiny", ledger, Batches(self.store, "tiny"), channels, "http://localhost:8080/tiny")

    def write(self, event: r.Event, by: str = "tester") -> int:
        entry = Ledger(self.store, "tiny", self.clock, by).append(lambda state: event)
        assert entry is not None
        return entry.seq

    def train(self) -> None:
        self.write(r.Registered("v0001", "d" * 64, {"auc": 0.9}))
        self.write(r.Promoted("v0001", None, "gate", "passed the gate"))

    def publish(self, name: str) -> None:
        batch, at = f"{name}.0123456789ab", self.clock()
        self.write(r.Started(batch, name, f"{name}.csv", "d" * 64, "v0001", "champion", at, 10))
        self.write(r.Published(batch, "a1", "v0001", "champion", 10, 0, at, "d" * 64, ASSESSMENT), by="InferenceFlow/1")

    def fail(self, flow: str = "InferenceFlow") -> r.Entry | None:
        return self.alerts().failed(flow, "the store is gone")

    def tried(self) -> list[r.AlertTried]:
        return [e.event for e in self.ledger.entries() if isinstance(e.event, r.AlertTried)]

    @property
    def owed(self) -> list[int]:
        return list(self.ledger.state().alerts)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ── what is said, and to whom ───────────────────────────────────────────────────────────────────


def test_an_alert_says_project_batch_cause_and_page(desk):
    cause = r.Cause("distance", "price looks multiplied by 100.", "price")
    batch = "day/2 é.0123456789ab"
    assessment, trip = r.Assessment("halt", 0.2, (cause,)), r.Trip(None)
    desk.write(r.Quarantined(batch, "day2", "day2.csv", "a1", "v0001", "champion", 10, 0, assessment, trip))
    slack = Recorder()
    (entry,) = desk.alerts(slack).send()
    (message,) = slack.got
    assert (message.project, message.kind, message.batch) == ("tiny", "trip", batch)
    assert message.title == "tiny: the breaker opened"
    assert message.text == (
        f"{batch} was put into quarantine, verdict halt: price looks multiplied by 100. "
        "The breaker opened until there is a new champion."
    )
    assert message.link == "http://localhost:8080/tiny/batches/day%2F2%20%C3%A9.0123456789ab.html"
    assert message.body == f"{message.text}\n8 Mar 2026, 06:00 UTC\n{message.link}"
    assert entry.event == r.AlertTried(1, ("slack:1",), {}, True)
    assert desk.owed == []


def test_an_alert_without_a_batch_links_to_the_first_page(desk):
    desk.fail()
    slack = Recorder()
    desk.alerts(slack).send()
    assert slack.got[0].link == "http://localhost:8080/tiny/index.html"
    assert slack.got[0].text == "InferenceFlow failed: the store is gone."


def test_every_alert_is_sent_once_and_in_order(desk):
    desk.train()
    desk.fail()
    desk.write(r.Tripped("by hand", r.Trip(None)))
    desk.write(r.Reset("mended"))
    slack = Recorder()
    desk.alerts(slack).send()
    assert slack.kinds == ["failure", "trip", "recovery"]
    assert desk.alerts(slack).send() == []
    assert len(slack.got) == 3


def test_without_channels_nothing_is_sent_and_it_stays_owed(desk):
    desk.fail()
    assert desk.alerts().send() == []
    assert desk.owed == [1]


def test_nothing_owed_writes_nothing(desk):
    desk.train()
    assert desk.alerts(Recorder()).send() == []
    assert desk.ledger.state().seq == 2


# ── failures of channels ────────────────────────────────────────────────────────────────────────


def test_an_alert_that_fails_is_tried_again_later_and_only_then(desk):
    desk.fail()
    slack = Failing(times=2)
    alerts = desk.alerts(slack)
    assert alerts.send()[0].event == r.AlertTried(1, (), {"slack:1": "timeout 1"}, False)
    assert alerts.send() == []
    desk.now += MINUTE
    alerts.send()
    desk.now += MINUTE
    assert alerts.send() == []
    desk.now += MINUTE
    alerts.send()
    assert (slack.asked, slack.kinds, desk.owed) == (3, ["failure"], [])


def test_a_person_who_asks_does_not_wait_after_a_failure(desk):
    desk.fail()
    slack = Failing(times=1)
    alerts = desk.alerts(slack)
    alerts.send()
    alerts.send(at_once=True)
    assert (slack.kinds, desk.owed) == (["failure"], [])


def test_even_a_person_who_asks_waits_while_another_is_sending(desk):
    seq = desk.fail().seq
    desk.write(r.AlertTaken(seq))
    assert desk.alerts(Recorder()).send(at_once=True) == []


def test_a_channel_that_has_it_is_not_told_twice_when_the_other_is_tried_again(desk):
    desk.fail()
    mail, slack = Recorder("mailto:1"), Failing(times=1)
    desk.alerts(mail, slack).send()
    desk.now += MINUTE
    desk.alerts(mail, slack).send()
    assert (mail.kinds, slack.kinds) == (["failure"], ["failure"])
    assert desk.tried() == [
        r.AlertTried(1, ("mailto:1",), {"slack:1": "timeout 1"}, False),
        r.AlertTried(1, ("slack:1",), {}, True),
    ]


def test_a_channel_that_fails_is_asked_once_in_a_call_and_the_others_get_everything(desk):
    for flow in ("InferenceFlow", "TrainingFlow", "FeedbackFlow"):
        desk.fail(flow)
    mail, slack = Recorder("mailto:1"), Failing()
    desk.alerts(slack, mail).send()
    assert (len(mail.got), slack.asked) == (3, 1)
    assert [one.failed for one in desk.tried()] == [{"slack:1": "timeout 1"}] * 3
    desk.now += MINUTE
    desk.alerts(slack, mail).send()
    assert (len(mail.got), slack.asked) == (3, 2)
    assert len(desk.tried()) == 4  # the other two were not even taken


def test_once_a_channel_works_again_it_gets_all_that_it_missed_once(desk):
    flows = ["InferenceFlow", "TrainingFlow", "FeedbackFlow"]
    for flow in flows:
        desk.fail(flow)
    slack = Failing(times=4)
    alerts = desk.alerts(slack)
    for _ in range(12):
        alerts.send()
        desk.now += MINUTE
    assert sorted(message.text.split()[0] for message in slack.got) == sorted(flows)
    assert desk.owed == []


def test_an_alert_that_never_arrives_is_given_up_and_the_ledger_does_not_fill_up_with_it(desk):
    desk.fail()
    slack = Failing()
    alerts = desk.alerts(slack)
    end = desk.now + OLD + LONGEST + MINUTE
    while desk.now < end:
        alerts.send()
        desk.now += 10 * MINUTE
    last = desk.tried()[-1]
    assert last.over and last.failed
    assert desk.owed == []
    assert 8 < slack.asked < 40
    assert alerts.send() == []


def test_a_line_that_is_at_work_once_a_day_tries_more_than_once(desk):
    desk.fail()
    slack = Failing(times=1)
    for _ in range(2):
        desk.alerts(slack).send()
        desk.now += 24 * HOUR + MINUTE
    assert slack.kinds == ["failure"]


def test_the_alert_of_a_run_that_was_killed_before_it_told_is_sent_a_day_later(desk):
    desk.fail()
    desk.now += 24 * HOUR + MINUTE
    slack = Recorder()
    desk.alerts(slack).send()
    assert slack.kinds == ["failure"]


def test_where_channels_are_set_for_the_first_time_old_news_is_not_sent(desk):
    desk.fail("TrainingFlow")
    desk.now += OLD + MINUTE
    desk.fail("InferenceFlow")
    slack = Recorder()
    desk.alerts(slack).send()
    assert [message.text for message in slack.got] == ["InferenceFlow failed: the store is gone."]
    assert desk.tried()[0] == r.AlertTried(1, (), {}, True)
    assert desk.owed == []


def test_more_alerts_than_are_kept_while_one_is_being_sent_are_no_error(desk):
    desk.fail()

    @dataclass
    class Busy(Recorder):
        def send(self, message: Message) -> None:
            super().send(message)
            for n in range(KEPT):
                desk.write(r.Overdue(f"2026-03-{n + 1:02d}T06:00:00+00:00", 24.0, 0))

    (entry,) = desk.alerts(Busy()).send()
    assert entry.event == r.AlertTried(1, ("slack:1",), {}, True)
    assert len(desk.owed) == KEPT


def test_a_channel_that_is_gone_from_the_setting_is_waited_for_no_more(desk):
    desk.fail()
    mail, slack = Recorder("mailto:1"), Failing()
    desk.alerts(mail, slack).send()
    desk.now += MINUTE
    desk.alerts(mail).send()
    assert (desk.owed, len(mail.got)) == ([], 1)


# ── many senders, and senders that die ──────────────────────────────────────────────────────────


def test_of_two_senders_at_once_one_sends_each_alert(desk):
    for n in range(12):
        desk.write(r.Overdue(f"2026-03-{n + 1:02d}T06:00:00+00:00", 24.0, 0))
    slack = Recorder(seconds=0.003)
    barrier, errors = threading.Barrier(4), list[BaseException]()

    def work(by: str) -> None:
        try:
            barrier.wait()
            desk.alerts(slack, by=by).send()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(f"sender {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(m.text for m in slack.got) == sorted({m.text for m in slack.got})
    assert len(slack.got) == 12
    assert sum(isinstance(e.event, r.AlertTaken) for e in desk.ledger.entries()) == 12
    assert desk.owed == []


def test_what_a_sender_took_and_never_sent_is_sent_by_the_next_one_after_the_lease(desk):
    seq = desk.fail().seq
    desk.write(r.AlertTaken(seq))  # and then it died
    slack = Recorder()
    desk.now += LEASE - MINUTE
    assert desk.alerts(slack).send() == []
    desk.now += MINUTE
    desk.alerts(slack).send()
    assert slack.kinds == ["failure"]


def test_a_store_that_goes_away_while_an_alert_is_sent_leaves_it_owed(desk):
    desk.fail()
    slack = Recorder()
    gone = FaultyStore(desk.store, parse_rules("fail-before create */ledger/* content=alerttried times=99"))
    with pytest.raises(StoreError):
        desk.alerts(slack, store=gone).send()
    assert desk.owed == [1]
    desk.now += LEASE
    desk.alerts(slack).send()
    assert desk.owed == []
    assert len(slack.got) == 2  # at least once: the first sender could not say that it had sent it


def test_a_reply_of_the_store_that_is_lost_makes_no_second_alert(desk):
    desk.fail()
    slack = Recorder()
    lost = FaultyStore(desk.store, parse_rules("lose-reply create */ledger/* times=2"))
    desk.alerts(slack, store=lost).send()
    assert (slack.kinds, desk.owed) == (["failure"], [])


def test_a_clock_that_was_wrong_for_a_while_keeps_no_alert_for_ever(desk):
    desk.now += 10_000 * HOUR
    seq = desk.fail().seq
    desk.write(r.AlertTaken(seq))
    desk.now -= 10_000 * HOUR
    slack = Recorder()
    desk.alerts(slack).send()
    assert slack.kinds == ["failure"]


POINTS = {  # where the sender is killed, and how often the alert arrives all in all
    "kill-before create */ledger/* content=alerttaken": 1,
    "kill-after create */ledger/* content=alerttaken": 1,
    "kill-before create */ledger/* content=alerttried": 2,
    "kill-after create */ledger/* content=alerttried": 1,
}


SENDER = """
import sys
from pathlib import Path
from fuseline.alerts import Alerts
from fuseline.batches import Batches
from fuseline.faults import FaultyStore, parse_rules
from fuseline.ledger import Ledger
from fuseline.storage import open_store


class File:
    name = "file:1"

    def send(self, message):
        with Path(sys.argv[2]).open("a") as file:
            file.write(message.kind + "\\n")


store = FaultyStore(open_store(sys.argv[1]), parse_rules(sys.argv[3]))
Alerts("tiny", Ledger(store, "tiny", lambda: sys.argv[4], "sender"), Batches(store, "tiny"), [File()], "").send()
"""


@pytest.mark.parametrize("point", POINTS)
def test_a_sender_killed_at_any_point_loses_nothing(point, tmp_path):
    desk, arrived = Desk(open_store(str(tmp_path / "store"))), tmp_path / "arrived"
    desk.fail()
    command = [sys.executable, "-c", SENDER, str(tmp_path / "store"), str(arrived), point, desk.clock()]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    before = arrived.read_text().count("failure") if arrived.exists() else 0
    slack = Recorder()
    desk.now += LEASE
    desk.alerts(slack).send()
    assert desk.owed == []
    assert before + len(slack.got) == POINTS[point]


# ── overdue ─────────────────────────────────────────────────────────────────────────────────────


def overdue(desk: Desk) -> Sequence[r.Overdue]:
    return [e.event for e in desk.ledger.entries() if isinstance(e.event, r.Overdue)]


def test_a_gap_is_said_once_and_again_after_a_publication_and_a_new_gap(desk):
    desk.train()
    desk.publish("day1")
    alerts, first = desk.alerts(), desk.clock()
    desk.now += LATE * 24 * HOUR
    assert alerts.watch(24.0) is None
    desk.now += MINUTE
    assert alerts.watch(24.0) is not None
    desk.now += 100 * HOUR
    assert alerts.watch(24.0) is None
    desk.publish("day2")
    second = desk.clock()
    assert alerts.watch(24.0) is None
    desk.now += LATE * 24 * HOUR + MINUTE
    alerts.watch(24.0)
    assert overdue(desk) == [r.Overdue(first, 24.0, 0), r.Overdue(second, 24.0, 0)]


def test_a_batch_is_waited_for_from_the_first_champion_on(desk):
    desk.now += 100 * HOUR
    assert desk.alerts().watch(1.0) is None
    desk.train()
    since = desk.clock()
    assert desk.alerts().watch(1.0) is None
    desk.now += 2 * HOUR
    desk.store.put("inbox/tiny/day1.csv", b"id\n1\n")
    desk.alerts().watch(1.0)
    assert overdue(desk) == [r.Overdue(since, 1.0, 1)]


def test_two_who_watch_at_once_say_it_once(desk):
    desk.train()
    desk.now += 100 * HOUR
    barrier = threading.Barrier(4)

    def watch() -> None:
        barrier.wait()
        desk.alerts().watch(24.0)

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overdue(desk)) == 1


def test_a_clock_that_went_back_makes_nothing_overdue(desk):
    desk.train()
    desk.publish("day1")
    desk.now -= 1_000 * HOUR
    assert desk.alerts().watch(24.0) is None


# ── failed runs ─────────────────────────────────────────────────────────────────────────────────


def test_a_flow_that_fails_again_and_again_is_said_once_until_it_works(desk):
    desk.train()
    assert desk.fail() is not None
    assert desk.fail() is None
    assert desk.fail("TrainingFlow") is not None
    desk.publish("day1")
    assert desk.fail() is None  # it failed after it had published: each run may do that
    assert desk.alerts().mended("FeedbackFlow") is None
    assert desk.alerts().mended("InferenceFlow") is not None
    assert desk.ledger.state().failing.keys() == {"TrainingFlow"}
    assert desk.fail() is not None
    slack = Recorder()
    desk.alerts(slack).send()
    assert slack.kinds == ["failure"] * 3


# ── the five kinds, end to end ──────────────────────────────────────────────────────────────────


def test_a_trip_and_a_recovery_are_told_with_batch_cause_and_page(trained, rows):
    slack = Recorder()

    def tell() -> Message:
        here = trained.line
        Alerts("tiny", here.ledger, here.batches, [slack], here.pages).send()
        return slack.got[-1]

    cents = rows(400, 3).drop(columns="bought")
    trained.deliver("day2", cents.assign(price=cents["price"] * 100))
    trained.infer("a1")
    trip = tell()
    assert trip.kind == "trip"
    assert trip.batch.startswith("day2.")
    assert "price looks multiplied by 100" in trip.text
    assert trip.link == f"{trained.line.pages}/batches/{trip.batch}.html"

    trained.clock.forward(25)
    trained.deliver("day3", rows(400, 4).drop(columns="bought"))
    trained.infer("a2")
    recovery = tell()
    assert (recovery.kind, recovery.title) == ("recovery", "tiny: the breaker closed, batches are published again")
    assert recovery.batch.startswith("day3.")
    assert slack.kinds == ["trip", "recovery"]


def test_a_version_that_the_gate_holds_is_told(light):
    light.setting("\n[gate]\nmin = { auc = 0.999 }\n")
    light.train()
    slack = Recorder()
    Alerts("tiny", light.line.ledger, light.line.batches, [slack], light.line.pages).send()
    (held,) = slack.got
    assert (held.kind, held.batch) == ("gate", "")
    assert held.text.startswith("The gate held v0001: ")


def test_a_missed_schedule_is_told_by_the_line_itself(trained):
    from fuseline import runs

    trained.clock.forward(40)
    assert runs.tell(trained.line) == []
    assert runs.tell(trained.line) == []
    slack = Recorder()
    Alerts("tiny", trained.line.ledger, trained.line.batches, [slack], trained.line.pages).send()
    assert [(m.kind, m.text) for m in slack.got] == [
        (
            "overdue",
            "Nothing was published since 1 Mar 2026, 06:00 UTC, and a batch is expected every 24 h; "
            "nothing waits in the inbox.",
        )
    ]
