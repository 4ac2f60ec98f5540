"""Telling people: one alert for each entry of the ledger that calls for one, on every channel.

The ledger says what is owed (`fuseline.owed`), who is about to send it, and who has it. An alert that does not arrive
is tried again by the next run, and the pages show it; nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from fuseline import narrative
from fuseline import records as r
from fuseline.batches import Batches
from fuseline.channels import Channel, Message
from fuseline.errors import NotDelivered
from fuseline.ledger import Ledger
from fuseline.owed import Kind, Owed
from fuseline.state import State

LATE = 1.5  # times the expected interval: a batch that comes a little later than the one before is no news

TITLES: dict[Kind, str] = {
    "trip": "the breaker opened, nothing more is published",
    "recovery": "the breaker closed, batches are published again",
    "quarantine": "a batch was held back",
    "gate": "the gate held a new version",
    "overdue": "no batch was published in time",
    "failure": "a run failed",
}


class Alerts:
    """What people are to be told of one project.

    Args:
        channels: everybody who is told; without any, nothing is sent and nothing written.
        pages: address of the project's pages, without a slash at its end.
    """

    def __init__(self, project: str, ledger: Ledger, batches: Batches, channels: Sequence[Channel], pages: str) -> None:
        self.project, self.ledger, self.batches, self.channels, self.pages = project, ledger, batches, channels, pages

    def watch(self, every_hours: float) -> r.Entry | None:
        """Say in the ledger, once for each gap, that nothing was published for longer than is expected."""
        now = self.ledger.clock()

        def say(state: State) -> r.Overdue | None:
            since = _waited_since(state)
            if not since or since == state.overdue or _ago(since, now) <= timedelta(hours=LATE * every_hours):
                return None
            return r.Overdue(since, every_hours, len(self.batches.waiting()))

        return self.ledger.append(say)

    def failed(self, flow: str, error: str) -> r.Entry | None:
        """Say in the ledger that a run of a flow failed, once until it does its work again."""
        return self.ledger.append(lambda state: None if flow in state.failing else r.Failed(flow, error))

    def send(self) -> list[r.Entry]:
        """Send what is owed; returns what became of each alert that was taken."""
        if not self.channels:
            return []
        tried = (self._send(seq) for seq in self.ledger.state().alerts)
        return [entry for entry in tried if entry is not None]

    def _send(self, seq: int) -> r.Entry | None:
        """Take one alert and send it to those who do not have it; None if it is not due, or somebody else is at it."""
        now = self.ledger.clock()

        def take(state: State) -> r.AlertTaken | None:
            owed = state.alerts.get(seq)
            return r.AlertTaken(seq) if owed is not None and owed.due(now) else None

        if self.ledger.append(take) is None:
            return None
        owed = self.ledger.state().alerts[seq]
        delivered, failed = self._deliver(self.message(self.ledger.entry(seq), owed.kind), owed, now)
        return self.ledger.append(lambda state: r.AlertTried(seq, delivered, failed, not failed or owed.old(now)))

    def _deliver(self, message: Message, owed: Owed, now: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """The channels that took it, and why others did not. One that is too old is not sent any more."""
        delivered, failed = [], {}
        for channel in self.channels:
            if channel.name in owed.delivered or (owed.old(now) and not owed.failed):
                continue
            try:
                channel.send(message)
                delivered.append(channel.name)
            except NotDelivered as error:
                failed[channel.name] = str(error)
        return tuple(delivered), failed

    def message(self, entry: r.Entry, kind: Kind) -> Message:
        """What people read of an entry: its sentence, and the page of its batch if it has one."""
        batch = str(getattr(entry.event, "batch", ""))
        page = narrative.page(batch) if batch else "index.html"
        title = f"{self.project}: {TITLES[kind]}"
        return Message(self.project, kind, title, narrative.sentence(entry), f"{self.pages}/{page}", batch)


def _waited_since(state: State) -> str:
    """Since when a batch is waited for: the last publication, or the first champion; empty where none is.

    While the breaker is open, people know that nothing is published: only the time after its cool-down counts.
    """
    since, breaker = state.published_at or (state.tenures[0].at if state.tenures else ""), state.breaker
    if breaker.status == "open":
        return max(since, breaker.until) if breaker.until else ""
    return since and max(since, breaker.since)


def _ago(then: str, now: str) -> timedelta:
    return datetime.fromisoformat(now) - datetime.fromisoformat(then)
