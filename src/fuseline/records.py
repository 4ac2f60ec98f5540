"""The facts that travel between modules and into the ledger: frozen, typed, with units in their names.

Times are ISO 8601 strings in UTC (`2026-03-08T06:00:00+00:00`), so that they sort as text and
survive JSON unchanged. Digests are lower-case hexadecimal SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "warn", "halt", "inconclusive"]
Level = Literal["warn", "halt", "inconclusive"]
Fault = Literal["data", "model"]
Mode = Literal["champion", "trial", "fallback"]
Task = Literal["binary", "multiclass", "regression"]

FORMATS = (".parquet", ".csv", ".jsonl")  # endings of the files that can hold rows


@dataclass(frozen=True)
class Cause:
    """One reason for a verdict, in the order of importance.

    Attributes:
        kind: which check speaks: `contract`, `rows`, `rejected`, `duplicates`, `name` or `unreadable` of a file;
            `distance`, `score`, `mix`, `leak`, `drift` or `harm` of what is in it; `labels`, `model`, `business`.
        sentence: what a person reads, with the figures in it.
        column: the column it is about, if it is about one.
        observed: the figure that was measured, in the unit that the sentence names.
        bound: the figure that it was held against.
        harm: estimated loss of the model's metric that this cause accounts for, if it was estimated.
        fault: whether the data or the model is to be mended.
        level: how bad it is taken alone.
    """

    kind: str
    sentence: str
    column: str | None = None
    observed: float | None = None
    bound: float | None = None
    harm: float | None = None
    fault: Fault = "data"
    level: Level = "halt"


@dataclass(frozen=True)
class Check:
    """One figure of a batch against its bound, whether or not it fired: a row of the batch's page."""

    name: str
    observed: float | None
    bound: float | None
    column: str | None = None
    at_least: bool = False

    @property
    def fired(self) -> bool:
        """Whether the figure is beyond its bound: above it, or below it where it is to be `at_least` that."""
        if self.observed is None or self.bound is None:
            return False
        return self.observed < self.bound if self.at_least else self.observed > self.bound


@dataclass(frozen=True)
class Explanation:
    """A simulated world that looks like a batch: one line of what may have happened.

    Attributes:
        columns: those whose values mean something else in it; none where only the mix of rows differs.
        belief: how far it is believed, 0 to 1.
        distance: how unlike the batch it is; by chance alone it would be about `chance`.
        harm: what it costs: AUC lost, or the share of RMSE gained.
    """

    sentence: str
    columns: tuple[str, ...]
    belief: float
    distance: float
    chance: float
    harm: float


@dataclass(frozen=True)
class Assessment:
    """What the monitor says of one batch.

    Attributes:
        verdict: `pass` and `warn` may be published; `halt` and `inconclusive` may not.
        harm: estimated loss of the metric (AUC lost; for regression the share of RMSE gained), 0.0 or
            more; None where it could not be estimated.
        causes: why, the most important first; empty for `pass`.
        checks: every figure that was compared with a bound.
        business: figures from `metrics()` of predict.py.
        worlds: what may have happened, the most believed first, where anything differs from the reference.
    """

    verdict: Verdict
    harm: float | None = 0.0
    causes: tuple[Cause, ...] = ()
    checks: tuple[Check, ...] = ()
    business: dict[str, float] = field(default_factory=dict)
    worlds: tuple[Explanation, ...] = ()

    @property
    def fault(self) -> Fault:
        """Who is to mend it: the model if any halting cause says so, else the data."""
        return "model" if any(c.fault == "model" and c.level == "halt" for c in self.causes) else "data"

    @property
    def sentence(self) -> str:
        """The first cause in words, or an empty string."""
        return self.causes[0].sentence if self.causes else ""


@dataclass(frozen=True)
class Measured:
    """The realised metric of a set of labelled rows.

    Attributes:
        metric: `auc`, `auc_ovr` or `rmse`.
        value: the metric on these rows.
        se: its standard error, for this many rows.
        rows: how many labelled rows it is measured on.
    """

    metric: str
    value: float
    se: float
    rows: int


@dataclass(frozen=True)
class BatchMeasured:
    """What labels said of one published batch."""

    batch: str
    version: str
    rows: int
    value: float | None
    se: float | None


@dataclass(frozen=True)
class Trip:
    """The opening of the breaker that an event brings with it.

    Attributes:
        until: when the cool-down is over; None if only a new champion or a person may close the breaker.
        trials: how many trial batches must pass afterwards.
    """

    until: str | None
    trials: int = 1


# ── events: what an entry of the ledger can say ──────────────────────────────────────────────────


@dataclass(frozen=True)
class Registered:
    """A version was trained and stored."""

    version: str
    manifest_digest: str
    metrics: dict[str, float]
    run: str = ""


@dataclass(frozen=True)
class Promoted:
    """A version became the champion."""

    version: str
    previous: str | None
    how: Literal["gate", "manual", "rollback"]
    reason: str
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Held:
    """A challenger did not pass the gate and waits for a person."""

    version: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Started:
    """Scoring of a batch began; pins what every later step uses.

    Attributes:
        batch: identity of the batch, `<name>.<first 12 digits of its digest>`.
        file: the file's name in the inbox.
        scored_at: the time that every published row carries, whichever attempt is published.
        sources: name of each joined source to the key of the copy that is joined.
    """

    batch: str
    name: str
    file: str
    digest: str
    version: str
    mode: Mode
    scored_at: str
    rows: int
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """A batch became visible to consumers."""

    batch: str
    attempt: str
    version: str
    mode: Mode
    rows: int
    rejected: int
    scored_at: str
    digest: str
    assessment: Assessment
    run: str = ""


@dataclass(frozen=True)
class Quarantined:
    """A batch was not published; `trip` says whether the breaker opened with it, `digest` is that of its file."""

    batch: str
    name: str
    file: str
    attempt: str
    version: str | None
    mode: Mode
    rows: int
    rejected: int
    assessment: Assessment
    trip: Trip | None = None
    run: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Withdrawn:
    """A published batch was taken back."""

    batch: str
    reason: str


@dataclass(frozen=True)
class Replayed:
    """A quarantined or withdrawn batch is to be scored again: as it was, or `repaired`, as another batch."""

    batch: str
    reason: str
    repaired: str | None = None


@dataclass(frozen=True)
class Dropped:
    """A quarantined batch was given up by a person."""

    batch: str
    reason: str


@dataclass(frozen=True)
class Tripped:
    """The breaker was opened by hand."""

    reason: str
    trip: Trip


@dataclass(frozen=True)
class HalfOpened:
    """The cool-down is over: one trial batch at a time."""

    reason: str


@dataclass(frozen=True)
class Reset:
    """The breaker was closed by hand."""

    reason: str


@dataclass(frozen=True)
class Labelled:
    """Labels arrived and were measured; `trip` and `retrain` say what followed.

    Attributes:
        files: label file name to digest.
        partial: the files of which some rows had no published prediction yet; they are read again after more are.
        pooled: the metric on the newest labelled rows of the champion, None if they are too few.
        reference: the metric that the version had on held-out rows.
        bound: the value that `pooled` was held against.
        figures: figures from `outcomes()` of predict.py, of the same rows as `pooled`.
    """

    files: dict[str, str]
    batches: tuple[BatchMeasured, ...]
    unmatched: int
    version: str | None
    pooled: Measured | None
    reference: float | None
    bound: float | None
    verdict: Verdict
    causes: tuple[Cause, ...] = ()
    trip: Trip | None = None
    retrain: bool = False
    partial: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrainAsked:
    """A new version is wanted; ignored while one is wanted already."""

    reason: str


@dataclass(frozen=True)
class TrainingStarted:
    """A training run took the request, if there was one."""

    run: str


@dataclass(frozen=True)
class Failed:
    """A flow's run ended in an error; said once until a run of this flow ends well again."""

    flow: str
    error: str


@dataclass(frozen=True)
class Mended:
    """A run of a flow that had failed ended well again."""

    flow: str


@dataclass(frozen=True)
class Overdue:
    """Nothing was published for longer than the project expects; said once for each such gap.

    Attributes:
        since: when the last batch was published, or the first champion promoted.
        every_hours: how often a batch is expected.
        waiting: files that wait in the inbox.
    """

    since: str
    every_hours: float
    waiting: int


@dataclass(frozen=True)
class AlertTaken:
    """Somebody is about to send the alert that entry `entry` calls for; others leave it alone meanwhile."""

    entry: int


@dataclass(frozen=True)
class AlertTried:
    """An alert was sent, or could not be.

    Attributes:
        entry: the entry that calls for it.
        delivered: the channels that took it, this time.
        failed: channel to why it did not.
        over: whether nothing more is tried: everybody has it, or it has become too old.
    """

    entry: int
    delivered: tuple[str, ...]
    failed: dict[str, str]
    over: bool


Event = (
    Registered
    | Promoted
    | Held
    | Started
    | Published
    | Quarantined
    | Withdrawn
    | Replayed
    | Dropped
    | Tripped
    | HalfOpened
    | Reset
    | Labelled
    | RetrainAsked
    | TrainingStarted
    | Failed
    | Mended
    | Overdue
    | AlertTaken
    | AlertTried
)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        seq: its place, from 1, without gaps.
        id: unique to the attempt to write it, so that a writer whose reply was lost knows its own.
        at: when it was written, by the writer's clock.
        by: who wrote it: a flow's run or a person.
        event: what happened.
    """

    seq: int
    id: str
    at: str
    by: str
    event: Event


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is well, and what to do if not; `fix` of a good one is a warning."""

    ok: bool
    what: str
    fix: str = ""


def jsonable(value: Any) -> Any:
    """The plain dicts, lists and scalars of a record, as JSON will hold them."""
    import msgspec

    return msgspec.to_builtins(value)
