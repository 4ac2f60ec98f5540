"""Which entries of the ledger people must be told of, and which of them they have been told: a part of the fold.

An alert belongs to the entry that calls for it, so that it cannot be raised twice. Whoever sends it takes it first, by
an entry of its own: of two senders one goes on. A sender that dies in between loses it after `LEASE` to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from fuseline import records as r
from fuseline.breaker import Breaker

Kind = Literal["trip", "recovery", "quarantine", "gate", "overdue", "failure"]

LEASE = timedelta(minutes=3)  # so long a sender may take; channels give up after seconds
LONGEST = timedelta(hours=3)  # between two tries; they begin a minute apart, and the time doubles
OLD = timedelta(hours=72)  # what not everybody has by then is given up; even a daily line has tried it more than once
KEPT = 20  # alerts that are owed at most: where no channel is set, nobody ever takes them


@dataclass(frozen=True)
class Owed:
    """An alert that not everybody has.

    Attributes:
        at: when the entry that calls for it was written.
        delivered: the channels that took it.
        failed: channel to why it did not, at the last try.
        tries: how often somebody took it.
        tried_at: when that was the last time.
        taken: whether somebody is at it.
    """

    kind: Kind
    at: str
    delivered: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    tries: int = 0
    tried_at: str = ""
    taken: bool = False

    def due(self, now: str, at_once: bool = False) -> bool:
        """Whether it may be taken at `now`: nobody is at it, and the last failure was long enough ago.

        A try that is as far in the future counts as well: the clock that it was written by was wrong, or this one is.

        Args:
            at_once: whether a person asks, who does not wait after a failure.

        >>> Owed("trip", "2026-03-08T06:00:00+00:00").due("2026-03-08T06:00:00+00:00")
        True
        """
        if at_once and not self.taken:
            return True
        return not self.tries or abs(_between(self.tried_at, now)) >= self._wait

    @property
    def next_try(self) -> str:
        """When it may be taken again: one minute after the first failure, then two, four, up to three hours.

        >>> Owed("trip", "2026-03-08T06:00:00+00:00", tries=2, tried_at="2026-03-08T06:05:00+00:00").next_try
        '2026-03-08T06:07:00+00:00'
        """
        return (datetime.fromisoformat(self.tried_at) + self._wait).isoformat(timespec="seconds")

    @property
    def _wait(self) -> timedelta:
        return LEASE if self.taken else min(timedelta(minutes=2.0 ** min(self.tries - 1, 10)), LONGEST)

    def old(self, now: str) -> bool:
        """Whether it is too old at `now` to be tried again, or to be news."""
        return _between(self.at, now) > OLD


def called_for(event: r.Event, before: Breaker, after: Breaker) -> Kind | None:
    """The alert that an event calls for, by what it did to the breaker; None for most."""
    if after.status == "open" and before.status != "open":
        return "trip"
    if after.status == "closed" and before.status != "closed":
        return "recovery"
    match event:
        case r.Quarantined():
            return "quarantine"
        case r.Held():
            return "gate"
        case r.Overdue():
            return "overdue"
        case r.Failed():
            return "failure"
        case _:
            return None


def after(owed: Mapping[int, Owed], entry: r.Entry, kind: Kind | None) -> Mapping[int, Owed]:
    """What is owed after an entry, which calls for an alert of this kind: entry number to alert, the oldest first."""
    match entry.event:
        case r.AlertTaken(entry=of) if of in owed:
            took = replace(owed[of], tries=owed[of].tries + 1, tried_at=entry.at, taken=True)
            return {**owed, of: took}
        case r.AlertTried(entry=of, over=True):
            return {seq: one for seq, one in owed.items() if seq != of}
        case r.AlertTried(entry=of, delivered=delivered, failed=failed) if of in owed:
            told = replace(owed[of], delivered=(*owed[of].delivered, *delivered), failed=failed, taken=False)
            return {**owed, of: told}
    if kind is None:
        return owed
    return dict(list({**owed, entry.seq: Owed(kind, entry.at)}.items())[-KEPT:])


def _between(earlier: str, later: str) -> timedelta:
    return datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
