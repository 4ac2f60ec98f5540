"""The ledger of a project as a story: what happened in which order, and what became of each batch and version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from fuseline import records as r
from fuseline.narrative import mentioned, page, sentence
from fuseline.state import Batch, State

Settled = r.Published | r.Quarantined


@dataclass(frozen=True)
class Outcome:
    """One time that a batch was published or quarantined.

    Attributes:
        known: the batch as it stands now.
        shade: how the breaker stood around it: `closed`, `open` or `half_open`.
        newest: whether it is the last outcome of its batch.
    """

    entry: r.Entry
    event: Settled
    known: Batch
    shade: str
    newest: bool = True

    @property
    def published(self) -> bool:
        """Whether this outcome made the batch visible."""
        return isinstance(self.event, r.Published)

    @property
    def href(self) -> str:
        """The batch's page, seen from the dashboard."""
        return page(self.event.batch)

    @property
    def title(self) -> str:
        """The outcome in a few words."""
        a = self.event.assessment
        said = f"{self.known.name}: {a.verdict}, {'published' if self.published else 'not published'}"
        return f"{said}. {a.sentence}" if a.sentence else said


@dataclass(frozen=True)
class Cut:
    """An event between two batches of the timeline: `kind` is `trip`, `reset` or `champion`."""

    kind: str
    shade: str
    title: str


@dataclass(frozen=True)
class VersionRow:
    """A version with the entries that speak of it last."""

    name: str
    status: str
    registered: r.Entry
    promoted: r.Entry | None = None
    held: r.Entry | None = None


class Chronicle:
    """All entries of a ledger, sorted for people as they come: a new one costs the same however many there are.

    Args:
        entries: the ledger from its first entry on.

    Attributes:
        entries: what was added, in order.
        state: what the entries add up to.
        told: batch to the entries that speak of it.
        trained: version to its metrics on held-out rows.
        measured: published batch to what its labels said last.
    """

    def __init__(self, entries: Iterable[r.Entry] = ()) -> None:
        self.entries: list[r.Entry] = []
        self.state = State()
        self.told: dict[str, list[r.Entry]] = {}
        self.trained: dict[str, Mapping[str, float]] = {}
        self.measured: dict[str, r.BatchMeasured] = {}
        self._steps: list[Outcome | Cut] = []
        self._settled: dict[str, Outcome] = {}  # in the order of the outcomes
        self._spoken: dict[str, dict[str, r.Entry]] = {}  # version -> registered, promoted, held -> entry
        for entry in entries:
            self.add(entry)

    def add(self, entry: r.Entry) -> None:
        """Take in the next entry. Raises ValueError if it does not follow the last one."""
        before, self.state = self.state.breaker.status, self.state.apply(entry)
        self.entries.append(entry)
        for batch in mentioned(entry.event):
            self.told.setdefault(batch, []).append(entry)
        after = self.state.breaker.status
        match entry.event:
            case r.Published() | r.Quarantined():
                self._settle(entry, entry.event, after if after == "open" else before)
            case r.Registered(version=v) | r.Promoted(version=v) | r.Held(version=v):
                self._spoken.setdefault(v, {})[type(entry.event).__name__.lower()] = entry
        match entry.event:
            case r.Registered(version=v, metrics=metrics):
                self.trained[v] = metrics
            case r.Promoted():
                self._steps.append(Cut("champion", after, sentence(entry)))
            case r.Labelled() | r.Tripped() | r.Reset() if after != before:
                self._steps.append(Cut("trip" if after == "open" else "reset", after, sentence(entry)))
        if isinstance(entry.event, r.Labelled):
            self.measured.update((measured.batch, measured) for measured in entry.event.batches)

    def _settle(self, entry: r.Entry, event: Settled, shade: str) -> None:
        outcome = Outcome(entry, event, self.state.batches[event.batch], shade)
        self._steps.append(outcome)
        self._settled.pop(event.batch, None)
        self._settled[event.batch] = outcome

    @property
    def batches(self) -> list[str]:
        """The batches with an outcome, the one whose outcome is newest last."""
        return list(self._settled)

    def outcome(self, batch: str) -> Outcome | None:
        """The last outcome of a batch; None if it has none."""
        return self._now(self._settled[batch]) if batch in self._settled else None

    def newest(self, how_many: int) -> list[Outcome]:
        """The last outcome of each batch, the newest first."""
        return [self._now(outcome) for outcome in islice(reversed(self._settled.values()), how_many)]

    def with_status(self, status: str) -> list[Outcome]:
        """The last outcome of each batch that has this status now, the newest first."""
        known = self.state.batches
        return [self._now(o) for b, o in reversed(self._settled.items()) if known[b].status == status]

    @property
    def published(self) -> Outcome | None:
        """The last publication, even if the batch was withdrawn later."""
        return next((self._now(s) for s in reversed(self._steps) if isinstance(s, Outcome) and s.published), None)

    def timeline(self, outcomes: int) -> list[Outcome | Cut]:
        """The last outcomes in their order, with what moved the breaker or changed the champion between them.

        Where there are no more outcomes than that, it begins with the first entry, else with an outcome.
        """
        places = [place for place, step in enumerate(self._steps) if isinstance(step, Outcome)]
        start = places[-outcomes] if len(places) > outcomes else 0
        return [self._now(step) if isinstance(step, Outcome) else step for step in self._steps[start:]]

    def versions(self) -> list[VersionRow]:
        """The versions, the newest first."""
        spoken = reversed(self._spoken.items())
        return [VersionRow(v, self.state.versions[v].status, **entries) for v, entries in spoken]

    def _now(self, outcome: Outcome) -> Outcome:
        """An outcome as it looks now: what became of its batch since."""
        batch = outcome.event.batch
        newest = self._settled[batch].entry is outcome.entry
        return replace(outcome, known=self.state.batches[batch], newest=newest)
