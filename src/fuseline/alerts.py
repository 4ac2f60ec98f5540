"""Telling people: one alert for each entry of the ledger that calls for one, on every channel.

The ledger says what is owed (`fuseline.owed`), who is about to send it, and who has it. An alert that does not arrive
is tried again by a later run, and the pages show it; nothing else waits for it. A sender that dies between sending and
saying so makes the next one send it again: an alert arrives at least once, and nearly always once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from fuseline import narrative
from fuseline import records as r
from fuseline.batches import Batches
from fuseline.channels import Channel, Message, deliver
from fuseline.ledger import Ledger
from fuseline.owed import Kind, Owed
from fuseline.state import State

LATE = 1.5  # times the expected interval: a batch that comes a little later than the one before is no news

TITLES: dict[Kind, str] = {
    "trip": "the breaker opened",
    "recovery": "the breaker closed, batches are published again",
    "quarantine": "a batch was held back",
    "gate": "the gate held a new version",
    "overdue": "no batch was published in time",
    "failure": "a run failed",
}


class Alerts:
    """What people are to be told of one project.

    Args:
        channels: everybody who is told; without any, what is owed stays so until it is too old.
        pages: address of the project's pages, without a slash at its end.
    """

    def __init__(self, project: str, ledger: Ledger, batches: Batches, channels: Sequence[Channel], pages: str) -> None:
        self.project, self.ledger, self.batches, self.channels, self.pages = project, ledger, batches, channels, pages

    def watch(self, every_hours: float, since: State | None = None) -> r.Entry | None:
        """Say in the ledger, once for each gap, that nothing was published for longer than is expected.

        Args:
            since: an earlier state, so that only what came after it is read.
        """
        now = self.ledger.clock()

        def say(state: State) -> r.Overdue | None:
            last = _waited_since(state)
            if not last or last == state.overdue or _ago(last, now) <= timedelta(hours=LATE * every_hours):
                return None
            return r.Overdue(last, every_hours, len(self.batches.waiting()))

        return self.ledger.append(say, since)

    def failed(self, flow: str, error: str) -> r.Entry | None:
        """Say in the ledger that a run of a flow failed, once until a run of it ends well again."""
        return self.ledger.append(lambda state: None if flow in state.failing else r.Failed(flow, error))

    def mended(self, flow: str, since: State | None = None) -> r.Entry | None:
        """Say in the ledger that a run of a flow ended well, if the one before failed.

        Args:
            since: an earlier state, so that only what came after it is read.
        """
        return self.ledger.append(lambda state: r.Mended(flow) if flow in state.failing else None, since)

    def send(self, since: State | None = None, at_once: bool = False) -> list[r.Entry]:
        """Send what is owed, the oldest first; returns what became of each alert that was taken.

        A channel that fails is left alone for the rest of this call, so that one that hangs costs its time once.

        Args:
            since: an earlier state, so that only what came after it is read.
            at_once: try what failed, too, even if that was a moment ago.
        """
        if not self.channels:
            return []
        state, down, tried = self.ledger.state(since), dict[str, str](), list[r.Entry]()
        for seq in tuple(state.alerts):
            state = self.ledger.state(state)
            if (entry := self._send(seq, state, at_once, down)) is not None:
                tried.append(entry)
        return tried

    def _send(self, seq: int, since: State, at_once: bool, down: dict[str, str]) -> r.Entry | None:
        """Take one alert and send it to those who do not have it; None if it is not due, or somebody else is at it."""
        now, found = self.ledger.clock(), list[Owed]()

        def take(state: State) -> r.AlertTaken | None:
            owed = state.alerts.get(seq)
            if owed is None or not owed.due(now, at_once) or self._hopeless(owed, down):
                return None
            found[:] = [owed]
            return r.AlertTaken(seq)

        if self.ledger.append(take, since) is None:
            return None
        (owed,) = found
        delivered: tuple[str, ...] = ()
        failed: dict[str, str] = {}
        if owed.tries or not owed.old(now):  # what nobody tried for so long is no news: channels were set only now
            delivered, failed = self._deliver(seq, owed, down)
        over = not failed or owed.old(now)
        return self.ledger.append(lambda state: r.AlertTried(seq, delivered, failed, over), since)

    def _hopeless(self, owed: Owed, down: dict[str, str]) -> bool:
        missing = self._missing(owed)
        return bool(missing) and all(channel.name in down for channel in missing)

    def _missing(self, owed: Owed) -> list[Channel]:
        return [channel for channel in self.channels if channel.name not in owed.delivered]

    def _deliver(self, seq: int, owed: Owed, down: dict[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """The channels that took it, and why others did not; these are `down` from then on."""
        message, delivered, failed = self.message(self.ledger.entry(seq), owed.kind), [], {}
        for channel in self._missing(owed):
            if why := down.get(channel.name) or deliver(channel, message):
                failed[channel.name] = down[channel.name] = why
            else:
                delivered.append(channel.name)
        return tuple(delivered), failed

    def message(self, entry: r.Entry, kind: Kind) -> Message:
        """What people read of an entry: its sentence and time, and the page of its batch if it has one."""
        batch = str(getattr(entry.event, "batch", ""))
        page = narrative.page(batch) if batch else "index.html"
        title, said = f"{self.project}: {TITLES[kind]}", narrative.sentence(entry)
        return Message(self.project, kind, title, said, f"{self.pages}/{page}", narrative.moment(entry.at), batch)


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
