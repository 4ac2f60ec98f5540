"""How often the current settings would have tripped: every batch of the past, scored and judged again.

A batch is scored from its kept copy, by the version that scored it then, with the sources that were pinned then, into
a folder that is thrown away. It is then judged once for each tolerance that is asked about. Nothing is written to the
store. Each batch is judged alone, as if the breaker had been closed: trials and fallbacks are not played again.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fuseline.batches import Batches
from fuseline.breaker import Breaker
from fuseline.errors import ArtifactError, DataError, NotFound, ProjectError, SettingsError
from fuseline.ledger import Ledger
from fuseline.models import Model, Models
from fuseline.projects import Project
from fuseline.records import Assessment, BatchMeasured, Labelled, Measured, Published, Quarantined, Registered, Verdict
from fuseline.state import Batch, BatchStatus, fold
from fuseline.storage import Store

if TYPE_CHECKING:
    from fuseline.scoring import ShardScore

PUBLISHED: tuple[Verdict, ...] = ("pass", "warn")


@dataclass(frozen=True)
class Past:
    """A batch with an outcome, as the ledger tells it.

    Attributes:
        then: what the monitor said of it then.
        measured: what labels said of its predictions, if any came.
    """

    batch: str
    known: Batch
    then: Assessment
    version: Registered
    measured: BatchMeasured | None = None


@dataclass(frozen=True)
class Ruling:
    """What is said of a batch now, under one tolerance.

    Attributes:
        tolerance: AUC that may be lost, or the share by which RMSE may rise.
        cause: the first cause in words; empty for `pass`.
        trips: whether it would have opened a closed breaker.
        condemned: whether labels say that more than the tolerance was lost; None where there are none.
    """

    tolerance: float
    verdict: Verdict
    harm: float | None
    cause: str
    trips: bool
    condemned: bool | None


@dataclass(frozen=True)
class Tried:
    """A batch of the past, then and now.

    Attributes:
        rows: rows that were scored then.
        then: the verdict of then; `status` says what became of it.
        now: a ruling for each tolerance, in the order in which they were asked about; empty where `unscored`.
        realised: the metric by its labels, if any came.
        reference: the metric of its version on held-out rows.
        unscored: why it could not be scored again.
    """

    batch: str
    status: BatchStatus
    version: str
    rows: int
    then: Verdict
    now: tuple[Ruling, ...] = ()
    realised: Measured | None = None
    reference: Measured | None = None
    unscored: str = ""

    @property
    def why(self) -> str:
        """The main cause under the least tolerance, or why it could not be scored again."""
        return self.strictest.cause if self.strictest else self.unscored

    @property
    def strictest(self) -> Ruling | None:
        """What is said under the least tolerance."""
        return min(self.now, key=lambda ruling: ruling.tolerance, default=None)


@dataclass(frozen=True)
class Summary:
    """What one tolerance would have done to the batches that could be scored again.

    Attributes:
        one_in: batches to a trip; None where nothing tripped.
        confirmed, contradicted, unlabelled: of those that tripped, what labels say of the loss: that it was above the
            tolerance, that it was not, nothing.
        missed: published, and labels say that the loss was above the tolerance.
        undecided: neither published nor tripped, because they could not be judged.
    """

    tolerance: float
    batches: int
    tripped: int
    one_in: float | None
    confirmed: int
    contradicted: int
    unlabelled: int
    missed: int
    undecided: int

    @property
    def often(self) -> str:
        """How often it would have tripped, in a few words.

        >>> Summary(0.02, 20, 2, 10.0, 1, 0, 1, 0, 0).often
        '2 of 20 (one in 10)'
        """
        return f"{self.tripped} of {self.batches}" + (f" (one in {self.one_in:.3g})" if self.one_in else "")


class Backtest:
    """The past of one project under its current settings; reads, and writes nothing."""

    def __init__(self, project: Project, store: Store, ledger: Ledger, models: Models, batches: Batches) -> None:
        self.project, self.store, self.ledger, self.models, self.batches = project, store, ledger, models, batches
        self._model: Model | None = None

    def past(self, last: int | None = None) -> list[Past]:
        """The batches with an outcome, the oldest first; only the newest `last` of them if that is given."""
        entries = list(self.ledger.history())
        known = sorted(fold(entries).batches.items(), key=lambda item: item[1].started)
        versions = {e.event.version: e.event for e in entries if isinstance(e.event, Registered)}
        then = {e.event.batch: e.event.assessment for e in entries if isinstance(e.event, Published | Quarantined)}
        readings = [m for e in entries if isinstance(e.event, Labelled) for m in e.event.batches]
        found = [
            Past(batch, b, then[batch], versions[b.version], _fullest(readings, batch, b.version))
            for batch, b in known
            if b.final and b.version is not None
        ]
        return found[-last:] if last else found

    def judge(self, past: Past, tolerances: Sequence[float] = ()) -> Tried:
        """Score a batch again and judge it under each tolerance, by default the project's own.

        A batch that cannot be scored again comes back with the reason in `unscored`.
        """
        realised, reference = _measured(past)
        tried = Tried(
            batch=past.batch,
            status=past.known.status,
            version=past.version.version,
            rows=past.known.rows,
            then=past.then.verdict,
            realised=realised,
            reference=reference,
        )
        try:
            with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
                model = self._opened(past)
                asked = tolerances or (self.project.config.tolerance(model.manifest.task),)
                scores = self._score(past, model, Path(folder))
                ids = [Path(folder) / s.ids for s in scores if s.ids]
                return replace(tried, now=tuple(self._rule(tried, model, t, scores, ids) for t in asked))
        except NotFound as error:
            return replace(tried, unscored=f"what it was scored from is gone: {error}")
        except (DataError, ArtifactError, ProjectError, SettingsError) as error:
            return replace(tried, unscored=str(error))

    def _opened(self, past: Past) -> Model:
        """The version that scored it; the one before it in the past was most likely the same."""
        if self._model is None or self._model.version != past.version.version:
            self._model = self.models.open(past.version.version, past.version.manifest_digest)
        return self._model

    def _score(self, past: Past, model: Model, folder: Path) -> list[ShardScore]:
        import pyarrow as pa

        from fuseline import sources, tables
        from fuseline.scoring import Scorer

        known = past.known
        if not known.attempt:
            raise DataError(f"no run scored it: {past.then.sentence}")
        if model.contract.id != self.project.config.id_column:
            raise DataError(f"{model.version} names rows by {model.contract.id!r}, project.toml by another column")
        if dropped := sorted(known.sources.keys() - sources.joined(self.project).keys()):
            raise DataError(f"it was joined to {', '.join(dropped)}, which project.toml no longer names as a source")
        joined = sources.read(self.store, self.project, known.sources)
        scorer = Scorer(self.project.config, model, joined, known.name)
        with self.store.local(self.batches.input_key(past.batch, known.file)) as path:
            stamp = {"batch": pa.scalar(past.batch)}
            return [scorer.score(path, shard, stamp, folder) for shard in tables.shards(path, 1)]

    def _rule(
        self, tried: Tried, model: Model, tolerance: float, scores: Sequence[ShardScore], ids: Sequence[Path]
    ) -> Ruling:
        from fuseline.monitoring import Monitoring
        from fuseline.performance import worse_than

        config, task = self.project.config, model.manifest.task
        tolerant = replace(config, checks=replace(config.checks, tolerance=tolerance))
        found = Monitoring(tolerant, model).assess(scores, ids)
        condemned = None
        if tried.realised is not None and tried.reference is not None:
            condemned = worse_than(tried.realised, tried.reference, tolerance, task)[0]
        trip = None
        if found.verdict not in PUBLISHED:
            trip = config.breaker.consequence(found, Breaker(), self.ledger.clock())
        return Ruling(tolerance, found.verdict, found.harm, found.sentence, trip is not None, condemned)


def tolerances(text: str) -> tuple[float, ...]:
    """The tolerances that a text asks for, each once. Raises SettingsError for what is none.

    >>> tolerances("0.01, 0.02,0.010")
    (0.01, 0.02)
    """
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(0 < tolerance < math.inf for tolerance in found):
        raise SettingsError(f"{text!r} is no tolerance: give numbers above 0 with commas between, e.g. 0.01,0.02,0.05")
    return found


def summarise(tried: Sequence[Tried]) -> list[Summary]:
    """The figures of each tolerance, over the batches that could be scored again; none where none could."""
    return [_summary(rulings) for rulings in zip(*(t.now for t in tried if t.now), strict=True)]


def _summary(rulings: Sequence[Ruling]) -> Summary:
    tripped = [r for r in rulings if r.trips]
    let_through = [r for r in rulings if r.verdict in PUBLISHED]
    return Summary(
        tolerance=rulings[0].tolerance,
        batches=len(rulings),
        tripped=len(tripped),
        one_in=len(rulings) / len(tripped) if tripped else None,
        confirmed=sum(r.condemned is True for r in tripped),
        contradicted=sum(r.condemned is False for r in tripped),
        unlabelled=sum(r.condemned is None for r in tripped),
        missed=sum(r.condemned is True for r in let_through),
        undecided=len(rulings) - len(tripped) - len(let_through),
    )


def said(summaries: Sequence[Summary], unscored: int = 0) -> str:
    """What came of it, as one plain sentence; `unscored` batches could not be scored again.

    >>> said([Summary(0.01, 20, 4, 5.0, 1, 1, 2, 0, 0), Summary(0.05, 20, 2, 10.0, 1, 0, 1, 1, 0)])
    'With tolerance 0.01 the breaker would have tripped on 4 of 20 batches, with 0.05 on 2.'
    """
    if not summaries:
        return "No batch of the past could be scored again." if unscored else "No batch has an outcome yet."
    return "; ".join(_clauses(*summaries, unscored=unscored)) + "."


def _clauses(first: Summary, *others: Summary, unscored: int) -> Iterator[str]:
    of = f"{first.batches} batch{'es' * (first.batches != 1)}"
    trips = [f"tolerance {first.tolerance:g} the breaker would have tripped on {first.tripped} of {of}"]
    trips += [f"{s.tolerance:g} on {s.tripped}" for s in others]
    yield f"With {', with '.join(trips)}"
    if not others and first.tripped:
        yield f"labels confirm {first.confirmed}, contradict {first.contradicted}, are missing for {first.unlabelled}"
    if not others and first.missed:
        yield f"labels condemn {first.missed} that it would have let through"
    if unscored:
        yield f"{unscored} more could not be scored again"


def _fullest(readings: Sequence[BatchMeasured], batch: str, version: str) -> BatchMeasured | None:
    """What labels said of a version's predictions for a batch: where they came in pieces, the largest piece."""
    own = [m for m in readings if (m.batch, m.version) == (batch, version) and m.value is not None]
    return max(reversed(own), key=lambda m: m.rows, default=None)


def _measured(past: Past) -> tuple[Measured | None, Measured | None]:
    """The metric by labels, and that of the version on held-out rows; None for what there is not."""
    from fuseline.performance import METRICS

    metrics, labels = past.version.metrics, past.measured
    name = next((m for m in METRICS.values() if m in metrics), None)
    if name is None:
        return None, None
    reference = Measured(name, metrics[name], metrics.get("se", 0.0), 0)
    if labels is None or labels.value is None or labels.se is None:
        return None, reference
    return Measured(name, labels.value, labels.se, labels.rows), reference
