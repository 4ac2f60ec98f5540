"""What the entries of a ledger add up to: champion, breaker, batches, requests. A pure fold.

Everything that Fuseline knows about a project is `fold` over its entries, so that any two readers of the
same entries agree, and a view that was lost can be made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

from fuseline import owed
from fuseline import records as r
from fuseline.breaker import Breaker

FOLD = 2  # raised when the meaning of the fold changes: checkpoints of another number are not used

VersionStatus = Literal["registered", "champion", "held", "retired"]
BatchStatus = Literal["started", "published", "quarantined", "withdrawn", "waiting", "replaced", "dropped"]


@dataclass(frozen=True)
class Version:
    """A version as the ledger knows it; `seq` is the entry that registered it."""

    status: VersionStatus
    seq: int


@dataclass(frozen=True)
class Tenure:
    """From entry `seq`, at `at`, `version` was the champion (until the next tenure)."""

    seq: int
    at: str
    version: str


@dataclass(frozen=True)
class Batch:
    """A batch as the ledger knows it.

    Attributes:
        started: entry that pinned the version, mode and time of scoring.
        seq: entry of the last change of status, where the assessment can be read.
        attempt: folder of the staged files of the outcome; empty while started.
        labelled: rows whose outcome is known.
        sources: name of each joined source to the key of the copy that is joined.
    """

    status: BatchStatus
    name: str
    file: str
    digest: str
    version: str | None
    mode: r.Mode
    scored_at: str
    started: int
    seq: int
    rows: int = 0
    attempt: str = ""
    labelled: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether nothing is left to do until a person acts."""
        return self.status not in ("started", "waiting")


@dataclass(frozen=True)
class Retrain:
    """A new version is wanted since entry `seq`; `run` has taken the request at `taken_at`, if any has."""

    seq: int
    reason: str
    run: str = ""
    taken_at: str = ""


@dataclass(frozen=True)
class State:
    """A project at one entry of its ledger.

    Attributes:
        tenures: who was champion since when.
        labels: label file to the digest of what was read of it.
        partial: label file with rows that had no published prediction, to the entry of its last reading.
        tripped: the last entry that opened the breaker: what was started before it is not published after it.
        published_at: when the last batch was published.
        failing: flow to the entry of its first failure since a run of it last ended well.
        overdue: the `since` of the last gap without a publication that was said.
        alerts: entry to the alert that it calls for, as long as not everybody has it.
    """

    seq: int = 0
    at: str = ""
    champion: str | None = None
    tenures: tuple[Tenure, ...] = ()
    versions: Mapping[str, Version] = field(default_factory=dict)
    breaker: Breaker = field(default_factory=Breaker)
    batches: Mapping[str, Batch] = field(default_factory=dict)
    retrain: Retrain | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    partial: Mapping[str, int] = field(default_factory=dict)
    tripped: int = 0
    published_at: str = ""
    failing: Mapping[str, int] = field(default_factory=dict)
    overdue: str = ""
    alerts: Mapping[int, owed.Owed] = field(default_factory=dict)

    def with_status(self, *statuses: BatchStatus) -> dict[str, Batch]:
        """The batches in any of these statuses, in the order of their entries."""
        return {k: b for k, b in sorted(self.batches.items(), key=lambda kb: kb[1].seq) if b.status in statuses}

    def published_as(self, name: str) -> str | None:
        """The identity of the published batch of this name, if there is one."""
        return next((k for k, b in self.batches.items() if b.name == name and b.status == "published"), None)

    def champion_at(self, at: str) -> str | None:
        """Which version was the champion at time `at` (ISO 8601, UTC); None before the first."""
        return next((t.version for t in reversed(self.tenures) if t.at <= at), None)

    @property
    def last_good(self) -> str | None:
        """The champion before this one: what `fallback` scores with and `rollback` returns to."""
        return next((t.version for t in reversed(self.tenures) if t.version != self.champion), None)

    def apply(self, entry: r.Entry) -> State:
        """The state after one more entry; entries must come without gaps."""
        if entry.seq != self.seq + 1:
            raise ValueError(f"entry {entry.seq} does not follow entry {self.seq}")
        tripped = entry.seq if getattr(entry.event, "trip", None) is not None else self.tripped
        after = replace(self._after(entry), seq=entry.seq, at=entry.at, tripped=tripped)
        kind = owed.called_for(entry.event, self.breaker, after.breaker)
        return replace(after, alerts=owed.after(self.alerts, entry, kind))

    def _after(self, entry: r.Entry) -> State:
        match entry.event:
            case r.Registered(version=v):
                return self._version(v, Version("registered", entry.seq))
            case r.Promoted():
                return self._promoted(entry, entry.event)
            case r.Held(version=v):
                return replace(self._version(v, replace(self.versions[v], status="held")), retrain=None)
            case r.Started() | r.Published() | r.Quarantined():
                return self._scored(entry, entry.event)
            case r.Withdrawn(batch=b):
                return self._batch(b, status="withdrawn", seq=entry.seq)
            case r.Replayed(batch=b, repaired=repaired):
                return self._batch(b, status="waiting" if repaired is None else "replaced", seq=entry.seq)
            case r.Dropped(batch=b):
                return self._batch(b, status="dropped", seq=entry.seq)
            case r.Tripped(reason=reason, trip=trip):
                return replace(self, breaker=self.breaker.trip(trip, entry.at, reason))
            case r.HalfOpened(reason=reason):
                return replace(self, breaker=self.breaker.half_open(entry.at, reason))
            case r.Reset(reason=reason):
                return replace(self, breaker=self.breaker.reset(entry.at, reason))
            case r.Labelled():
                return self._labelled(entry, entry.event)
            case r.RetrainAsked(reason=reason):
                return self._ask(entry.seq, reason)
            case r.TrainingStarted(run=run):
                return self if self.retrain is None else self._taken(run, entry.at)
            case r.Failed(flow=flow):
                return replace(self, failing={**self.failing, flow: entry.seq})
            case r.Mended(flow=flow):
                return replace(self, failing={name: seq for name, seq in self.failing.items() if name != flow})
            case r.Overdue(since=since):
                return replace(self, overdue=since)
            case r.AlertTaken() | r.AlertTried():
                return self

    def _version(self, name: str, version: Version) -> State:
        return replace(self, versions={**self.versions, name: version})

    def _batch(self, name: str, **changes: object) -> State:
        return replace(self, batches={**self.batches, name: replace(self.batches[name], **changes)})  # type: ignore[arg-type]

    def _ask(self, seq: int, reason: str) -> State:
        return self if self.retrain is not None else replace(self, retrain=Retrain(seq, reason))

    def _taken(self, run: str, at: str) -> State:
        assert self.retrain is not None
        return replace(self, retrain=replace(self.retrain, run=run, taken_at=at))

    def _promoted(self, entry: r.Entry, event: r.Promoted) -> State:
        versions = dict(self.versions)
        if self.champion is not None:
            versions[self.champion] = replace(versions[self.champion], status="retired")
        versions[event.version] = replace(versions[event.version], status="champion")
        return replace(
            self,
            champion=event.version,
            versions=versions,
            tenures=(*self.tenures, Tenure(entry.seq, entry.at, event.version)),
            breaker=self.breaker.half_open(entry.at, f"new champion {event.version}").untried(),
            retrain=None if event.how == "gate" else self.retrain,
        )

    def _scored(self, entry: r.Entry, event: r.Started | r.Published | r.Quarantined) -> State:
        match event:
            case r.Started():
                batch = Batch(
                    status="started",
                    name=event.name,
                    file=event.file,
                    digest=event.digest,
                    version=event.version,
                    mode=event.mode,
                    scored_at=event.scored_at,
                    started=entry.seq,
                    seq=entry.seq,
                    rows=event.rows,
                    sources=event.sources,
                )
                return replace(self, batches={**self.batches, event.batch: batch})
            case r.Published():
                done = {"attempt": event.attempt, "rows": event.rows}
                state = self._batch(event.batch, status="published", seq=entry.seq, **done)
                return replace(state, breaker=self.breaker.passed_trial(entry.at), published_at=entry.at)
            case r.Quarantined():
                known = self.batches.get(event.batch)
                digest, started = (known.digest, known.started) if known else (event.digest, entry.seq)
                batch = Batch(
                    status="quarantined",
                    name=event.name,
                    file=event.file,
                    digest=digest,
                    version=event.version,
                    mode=event.mode,
                    scored_at=known.scored_at if known else entry.at,
                    started=started,
                    seq=entry.seq,
                    rows=event.rows,
                    attempt=event.attempt,
                    sources=known.sources if known else {},
                )
                state = replace(self, batches={**self.batches, event.batch: batch})
                return replace(state, breaker=self._consequence(entry.at, event))

    def _consequence(self, at: str, event: r.Quarantined) -> Breaker:
        breaker = self.breaker
        if event.assessment.verdict == "inconclusive":
            breaker = breaker.undecided()
        return breaker if event.trip is None else breaker.trip(event.trip, at, event.assessment.sentence)

    def _labelled(self, entry: r.Entry, event: r.Labelled) -> State:
        batches = dict(self.batches)
        for measured in event.batches:
            known = batches[measured.batch]
            batches[measured.batch] = replace(known, labelled=known.labelled + measured.rows)
        left = {f: seq for f, seq in self.partial.items() if f not in event.files}
        partial = {**left, **dict.fromkeys(event.partial, entry.seq)}
        state = replace(self, labels={**self.labels, **event.files}, partial=partial, batches=batches)
        sentence = event.causes[0].sentence if event.causes else "labels"
        if event.trip is not None:
            state = replace(state, breaker=state.breaker.trip(event.trip, entry.at, sentence))
        return state._ask(entry.seq, sentence) if event.retrain else state


def fold(entries: Iterable[r.Entry], state: State | None = None) -> State:
    """The state after all these entries, from the empty project or from `state`."""
    return reduce(State.apply, entries, state or State())
