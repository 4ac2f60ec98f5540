"""One run over the inbox: pin what is used, score, judge, and settle each batch. InferenceFlow calls this.

Everything is pinned once, in `plan`: the version, the mode, the time that rows carry, the copies of the sources.
No later step asks for "latest" again. An attempt writes only under its own name, so two runs on the same inbox, or
a run after one that was killed, cannot disturb each other; the ledger decides whose attempt counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fuseline import sources, tables
from fuseline.artifacts import file_digest
from fuseline.batches import Batches, Received
from fuseline.errors import DataError, Refused
from fuseline.history import History
from fuseline.ledger import Ledger
from fuseline.models import Models, registered
from fuseline.monitoring import Monitoring, metrics_document
from fuseline.opinion import SAMPLE
from fuseline.predictions import METRICS, PREDICTIONS, REJECTED, Predictions, Scored
from fuseline.profile import Profile, merge, named_scores
from fuseline.projects import Project
from fuseline.records import Assessment, Cause, Entry, HalfOpened, Mode, Started
from fuseline.scoring import Piece, Scorer, ShardScore
from fuseline.state import Batch, State
from fuseline.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Job:
    """A batch that is to be scored, with all that the later steps use; `manifest` is the digest of the version's."""

    batch: str
    name: str
    file: str
    key: str
    digest: str
    version: str
    manifest: str
    mode: Mode
    scored_at: str
    started: int
    rows: int
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What a run is going to do.

    Attributes:
        jobs: the batches that it scores, in the order in which they are settled.
        pieces: their shards, each a unit of work for one task.
        held: files that stay in the inbox because the breaker does not let them through.
    """

    jobs: tuple[Job, ...] = ()
    pieces: tuple[tuple[Job, Piece], ...] = ()
    held: tuple[str, ...] = ()


class Inference:
    """Scores what waits for one project.

    Args:
        attempt: name of this run; staged files are kept under it.
        shards: at most so many pieces of one batch.
    """

    def __init__(
        self,
        project: Project,
        store: Store,
        ledger: Ledger,
        models: Models,
        batches: Batches,
        predictions: Predictions,
        attempt: str,
        shards: int = 4,
    ) -> None:
        self.project, self.store, self.ledger, self.models = project, store, ledger, models
        self.batches, self.predictions, self.attempt, self.shards = batches, predictions, attempt, shards
        self._histories: dict[tuple[str, str], History] = {}

    # ── start ────────────────────────────────────────────────────────────────────────────────────

    def plan(self) -> Plan:
        """Pin the champion and the batches. Raises Refused where there is no champion yet."""
        state = self.ledger.state()
        self.predictions.reconcile(state)
        if state.champion is None:
            raise Refused(
                f"{self.project.name} has no champion yet, so nothing can be scored; "
                f"{len(self.batches.waiting())} files wait in the inbox. Train one: fuseline train {self.project.name}"
            )
        state = self._try_again_after_cool_down(state)
        mode, version = self._mode(state)
        waiting = self._waiting(state)
        if version is None:
            return Plan(held=tuple(file for _, file in waiting))
        copies = sources.keep(self.store, self.project) if waiting else {}
        jobs: list[Job] = []
        held: list[str] = []
        for batch, file in waiting:
            if mode == "trial" and jobs:
                held.append(file)
            elif (job := self._take(batch, file, mode, version, copies)) is not None:
                jobs.append(job)
        return Plan(tuple(jobs), tuple((job, piece) for job in jobs for piece in self._pieces(job)), tuple(held))

    def _try_again_after_cool_down(self, state: State) -> State:
        now = self.ledger.clock()

        def half_open(seen: State) -> HalfOpened | None:
            return HalfOpened("the cool-down is over") if seen.breaker.cooled_down(now) else None

        if state.breaker.cooled_down(now):
            self.ledger.append(half_open, state)
            state = self.ledger.state(state)
        return state

    def _mode(self, state: State) -> tuple[Mode, str | None]:
        if state.breaker.status == "closed":
            return "champion", state.champion
        if state.breaker.status == "half_open":
            return "trial", state.champion
        return "fallback", state.last_good if self.project.config.breaker.while_open == "fallback" else None

    def _waiting(self, state: State) -> list[tuple[str | None, str]]:
        """(batch, file): batches that the ledger knows as undone first, then files of the inbox by name."""
        undone = [(key, b.file) for key, b in state.with_status("started", "waiting").items()]
        undone.sort(key=lambda item: item[1])
        known = {file for key, file in undone if state.batches[key].status == "started"}
        return [*undone, *((None, file) for file in self.batches.waiting() if file not in known)]

    def _take(self, batch: str | None, file: str, mode: Mode, version: str, copies: Mapping[str, str]) -> Job | None:
        """Start one batch; None if it turns out to be settled, refused or unreadable (then that is recorded)."""
        received = self._known(batch) if batch else self.batches.receive(file)
        if received is None:
            return None
        state = self.ledger.state()
        known = state.batches.get(received.batch)
        if known is not None and known.final:
            self.batches.finish(received.file, received.digest)
            return None
        other = state.published_as(received.name)
        if other is not None and other != received.batch:
            self._refuse_name(received, version, mode, other)
            return None
        try:
            with self.store.local(received.key) as path:
                rows = tables.count_rows(path)
        except DataError as error:
            self._unreadable(received, version, mode, error)
            return None
        return self._start(received, mode, version, copies, rows)

    def _known(self, batch: str) -> Received:
        known = self.ledger.state().batches[batch]
        key = self.batches.input_key(batch, known.file)
        return Received(batch, known.name, known.file, known.digest, key)

    def _start(self, received: Received, mode: Mode, version: str, copies: Mapping[str, str], rows: int) -> Job | None:
        event = Started(
            batch=received.batch,
            name=received.name,
            file=received.file,
            digest=received.digest,
            version=version,
            mode=mode,
            scored_at=self.ledger.clock(),
            rows=rows,
            sources=dict(copies),
        )

        def start(state: State) -> Started | None:
            known = state.batches.get(received.batch)
            if known is not None and known.final:
                return None
            if not state.breaker.admits(mode) or self._mode(state)[1] != version:
                return None  # it opened, or the champion changed, since this run looked: the next run takes it
            if mode == "trial" and any(
                b.status == "started" and b.mode == "trial" and k != received.batch for k, b in state.batches.items()
            ):
                return None  # one trial at a time
            if known is not None and known.started > state.tripped and _pins(known, version, mode):
                return None  # a run before this one pinned the same: its time and sources stand
            return event

        self.ledger.append(start)
        state = self.ledger.state()
        known = state.batches.get(received.batch)
        if known is None or not _pins(known, version, mode):
            return None
        return Job(
            batch=received.batch,
            name=received.name,
            file=received.file,
            key=received.key,
            digest=received.digest,
            version=version,
            manifest=registered(self.ledger, version, state),
            mode=mode,
            scored_at=known.scored_at,
            started=known.started,
            rows=rows,
            sources=known.sources,
        )

    def _refuse_name(self, received: Received, version: str, mode: Mode, other: str) -> None:
        sentence = (
            f"a batch named {received.name} is published already, with other contents ({other}): withdraw that one "
            "first and replay this, or deliver this under another name"
        )
        self._quarantine_unscored(received, version, mode, Cause("name", sentence), trip=False)

    def _unreadable(self, received: Received, version: str, mode: Mode, error: DataError) -> None:
        cause = Cause("unreadable", str(error), level="inconclusive")
        self._quarantine_unscored(received, version, mode, cause)

    def _quarantine_unscored(
        self, received: Received, version: str, mode: Mode, cause: Cause, *, trip: bool = True
    ) -> None:
        unscored = Scored(
            batch=received.batch,
            name=received.name,
            file=received.file,
            input_digest=received.digest,
            attempt="",
            started=0,
            version=version,
            mode=mode,
            scored_at="",
            rows=0,
            rejected=0,
            digest="",
            assessment=Assessment(cause.level, None, (cause,)),
            trip=trip,
        )
        self.predictions.settle(unscored)

    def _pieces(self, job: Job) -> list[Piece]:
        with self.store.local(job.key) as path:
            return [Piece(job.batch, job.key, shard) for shard in tables.shards(path, self.shards)]

    # ── score ────────────────────────────────────────────────────────────────────────────────────

    def score(self, job: Job, piece: Piece) -> ShardScore:
        """Score one shard of a batch; its files are staged under this attempt."""
        model = self.models.open(job.version, job.manifest)
        joined = sources.read(self.store, self.project, job.sources)
        scorer = Scorer(self.project.config, model, joined, job.name)
        with self.store.local(piece.key) as path, tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
            score = scorer.score(path, piece.shard, _stamp(job), Path(folder))
            for file in score.files:
                self.store.upload(self._staged(job, file), Path(folder) / file)
        return score

    # ── assess ───────────────────────────────────────────────────────────────────────────────────

    def assess(self, job: Job, scores: Sequence[ShardScore]) -> Scored:
        """Merge the shards of a batch, judge it, and stage what would be published."""
        scores = sorted(scores, key=lambda s: s.shard)
        history, whole = self._history(job), merge([s.profile for s in scores])
        with tempfile.TemporaryDirectory(prefix="fuseline-") as folder, ExitStack() as stack:
            local = [stack.enter_context(self.store.local(self._staged(job, s.ids))) for s in scores if s.ids]
            assessment = history.monitoring.assess(scores, local, history.before(job.batch), whole)
            try:
                digest = self._merge(job, [s.part for s in scores if s.part], Path(folder) / PREDICTIONS)
            except DataError as error:  # what postprocess returned has other types in one shard than in another
                cause = Cause("model", str(error), fault="model", level="halt")
                digest, assessment = "", replace(assessment, verdict="halt", causes=(cause, *assessment.causes))
            self._merge(job, [s.rejected_part for s in scores if s.rejected_part], Path(folder) / REJECTED)
        document = metrics_document(job.batch, job.version, job.scored_at, assessment, scores, whole)
        self.store.put(self._staged(job, METRICS), document)
        self._stage_sample(job, whole)
        return Scored(
            batch=job.batch,
            name=job.name,
            file=job.file,
            input_digest=job.digest,
            attempt=self.attempt,
            started=job.started,
            version=job.version,
            mode=job.mode,
            scored_at=job.scored_at,
            rows=sum(s.rows for s in scores),
            rejected=sum(s.rejected for s in scores),
            digest=digest,
            assessment=assessment,
        )

    def _history(self, job: Job) -> History:
        """The version's monitor with what it remembers, made ready once for all batches of a run."""
        version = job.version, job.manifest
        if version not in self._histories:
            monitoring = Monitoring(self.project.config, self.models.open(*version))
            self._histories[version] = History(monitoring, self.ledger, self.batches)
        return self._histories[version]

    def _merge(self, job: Job, parts: Sequence[str], target: Path) -> str:
        """Join staged parts into one staged file; returns its digest, empty where there are no parts."""
        if not parts:
            return ""
        with ExitStack() as stack:
            tables.concatenate([stack.enter_context(self.store.local(self._staged(job, p))) for p in parts], target)
        self.store.upload(self._staged(job, target.name), target)
        return file_digest(target)

    def _stage_sample(self, job: Job, whole: Profile) -> None:
        """Keep a uniform sample of the accepted rows with their scores, for people and for a second opinion."""
        import pyarrow as pa

        sample = whole.sample()
        if not len(sample.rows):
            return
        table = sample.features
        for name, values in named_scores(sample.scores).items():
            table = table.append_column(name, pa.array(values))
        self.store.put(self._staged(job, SAMPLE), tables.to_bytes(table))

    def _staged(self, job: Job, file: str) -> str:
        return self.batches.staged_key(job.batch, self.attempt, file)

    # ── publish ──────────────────────────────────────────────────────────────────────────────────

    def settle(self, scored: Sequence[Scored]) -> list[Entry]:
        """Publish or quarantine each batch, in order; those after a trip stay where they are."""
        entries = (self.predictions.settle(one) for one in scored)
        return [entry for entry in entries if entry is not None]


def _pins(batch: Batch, version: str, mode: Mode) -> bool:
    """Whether a batch is under way with this version in this mode."""
    return (batch.status, batch.version, batch.mode) == ("started", version, mode)


def _stamp(job: Job) -> dict[str, pa.Scalar]:
    """The columns that every published row carries."""
    import pyarrow as pa

    at = pa.scalar(datetime.fromisoformat(job.scored_at), pa.timestamp("us", tz="UTC"))
    return {
        "batch": pa.scalar(job.batch),
        "version": pa.scalar(job.version),
        "mode": pa.scalar(job.mode),
        "scored_at": at,
    }
