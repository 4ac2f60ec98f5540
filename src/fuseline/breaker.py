"""The circuit breaker's state machine: pure transitions, no clock.

    closed ──trip──► open ──half_open──► half_open ──enough trials pass──► closed
                      ▲                      │
                      └──────── trip ◄───────┘   (the cool-down doubles)

After M. Nygard, *Release It!* (2007), chapter "Circuit Breaker", with two changes: what flows is a batch, not a
call, and a trip by labels has no cool-down, because a trial without labels cannot disprove it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from fuseline.records import Assessment, Mode, Trip

Status = Literal["closed", "open", "half_open"]

# of the tolerance: an estimate below may well be of a batch that loses less. Between what is harmless (a quarter of the
# tolerance) and what is not, so that errors of either kind are about as rare
HALTS = 0.575


@dataclass(frozen=True)
class Breaker:
    """Where the breaker of one project stands.

    Attributes:
        status: `closed` (normal), `open` (nothing is published), `half_open` (one trial batch at a time).
        since: when it came to this status; empty if it never changed.
        reason: why, in one sentence.
        trips: trips since it was last closed; the exponent of the back-off.
        until: when the cool-down is over; None while open means only a new champion or a person closes it.
        trials: how many trial batches must pass before it closes.
        passed: how many have.
        inconclusive: batches in a row that could not be judged.
    """

    status: Status = "closed"
    since: str = ""
    reason: str = ""
    trips: int = 0
    until: str | None = None
    trials: int = 1
    passed: int = 0
    inconclusive: int = 0

    def trip(self, trip: Trip, at: str, reason: str) -> Breaker:
        """Open it; a breaker that is open already keeps the longer of the two cool-downs.

        >>> b = Breaker().trip(Trip("2026-03-09T00:00:00+00:00"), "2026-03-08T00:00:00+00:00", "price in cents")
        >>> b.status, b.trips, b.reason
        ('open', 1, 'price in cents')
        """
        if self.status == "open":
            until = None if self.until is None or trip.until is None else max(self.until, trip.until)
            return replace(self, until=until, reason=reason)
        return replace(
            self,
            status="open",
            since=at,
            reason=reason,
            trips=self.trips + 1,
            until=trip.until,
            trials=trip.trials,
            passed=0,
            inconclusive=0,
        )

    def half_open(self, at: str, reason: str) -> Breaker:
        """Let one trial batch through; only an open breaker can."""
        if self.status != "open":
            return self
        return replace(self, status="half_open", since=at, reason=reason, passed=0, inconclusive=0)

    def passed_trial(self, at: str) -> Breaker:
        """Count a trial that was published; the last one that is needed closes the breaker.

        >>> Breaker(status="half_open", trips=2, trials=1).passed_trial("2026-03-10T00:00:00+00:00").status
        'closed'
        """
        if self.status != "half_open":
            return replace(self, inconclusive=0)
        if self.passed + 1 >= self.trials:
            return Breaker(since=at, reason=f"{self.passed + 1} trial batch{'es' * (self.passed > 0)} passed")
        return replace(self, passed=self.passed + 1, inconclusive=0)

    def untried(self) -> Breaker:
        """Forget the trials that passed: they were another champion's."""
        return replace(self, passed=0)

    def undecided(self) -> Breaker:
        """Count a batch that could not be judged."""
        return replace(self, inconclusive=self.inconclusive + 1)

    def reset(self, at: str, reason: str) -> Breaker:
        """Close it by hand."""
        return Breaker(since=at, reason=reason)

    def cooled_down(self, now: str) -> bool:
        """Whether an open breaker may try again at `now`."""
        return self.status == "open" and self.until is not None and now >= self.until

    def admits(self, mode: Mode) -> bool:
        """Whether a batch that was scored in `mode` may be published as the breaker stands.

        >>> Breaker().admits("champion"), Breaker(status="open").admits("champion")
        (True, False)
        >>> Breaker(status="open").admits("fallback"), Breaker(status="half_open").admits("trial")
        (True, True)
        """
        return {"champion": "closed", "trial": "half_open", "fallback": "open"}[mode] == self.status


@dataclass(frozen=True)
class Policy:
    """What a project wants of its breaker.

    Attributes:
        while_open: `hold` (batches wait in the inbox) or `fallback` (the last good version scores).
        cool_down_hours: the first cool-down; it doubles with each failed trial.
        max_cool_down_hours: where the doubling ends.
        trials: trial batches that must pass.
        inconclusive_limit: so many batches in a row that cannot be judged open the breaker as well.
    """

    while_open: Literal["hold", "fallback"] = "hold"
    cool_down_hours: float = 24.0
    max_cool_down_hours: float = 168.0
    trials: int = 1
    inconclusive_limit: int = 2

    def trip(self, breaker: Breaker, at: str, *, wait_for_champion: bool = False) -> Trip:
        """The trip that follows from this policy at time `at`, back-off included.

        >>> Policy(cool_down_hours=24).trip(Breaker(trips=1), "2026-03-08T00:00:00+00:00").until
        '2026-03-10T00:00:00+00:00'
        """
        hours = min(self.cool_down_hours * 2.0 ** min(breaker.trips, 32), self.max_cool_down_hours)
        until = None if wait_for_champion else (datetime.fromisoformat(at) + timedelta(hours=hours)).isoformat()
        return Trip(until=until, trials=self.trials)

    def consequence(self, assessment: Assessment, breaker: Breaker, at: str) -> Trip | None:
        """The trip that a batch which may not be published brings with it, if any.

        A halt trips. A batch that could not be judged trips in half-open, or as the last of
        `inconclusive_limit` in a row; before that it is quarantined and the line goes on. While the breaker is open
        nothing follows: what the fallback's batches do must not keep the champion from being tried again.
        """
        if breaker.status == "open":
            return None
        if assessment.verdict == "inconclusive":
            in_a_row = breaker.inconclusive + 1
            if breaker.status == "closed" and in_a_row < self.inconclusive_limit:
                return None
        return self.trip(breaker, at)
