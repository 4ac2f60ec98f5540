"""The monitor: what a scored batch looks like against the version's reference, and whether it may be published.

The order of the checks: what is exact (columns, rejected rows, duplicates, row count), then calibrated change of
columns and scores, then the harm that the change would do, then the business figures. Change without harm warns;
only harm, a broken contract, a figure out of its bounds or code that fails halts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseline import limits, tables
from fuseline.decide import Stakes, verdict
from fuseline.errors import DataError, ModelFault
from fuseline.frames import outcomes_frame
from fuseline.models import REFERENCE, Model
from fuseline.predictor import Predictor
from fuseline.profile import Profile, Sample, count_duplicates, merge
from fuseline.projects import Config
from fuseline.records import Assessment, Cause, Check, Level
from fuseline.reference import Reference, Rows
from fuseline.rows import labels_of, scores_of
from fuseline.scoring import ShardScore
from fuseline.stages import Past, judge

FORMAT = 1


@dataclass(frozen=True)
class _Counted:
    counts: tuple[Annotated[int, msgspec.Meta(ge=0, le=2**53)], ...]


@dataclass(frozen=True)
class _Profile:
    columns: Mapping[str, _Counted]
    scores: Mapping[str, _Counted]


@dataclass(frozen=True)
class _Judged:
    worlds: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Metrics:
    """What is read of metrics.json."""

    format: Annotated[int, msgspec.Meta(le=FORMAT)]
    assessment: _Judged
    profile: _Profile


class Monitoring:
    """Judges batches that one version scored; the version's reference is read when it is first needed."""

    def __init__(self, config: Config, model: Model) -> None:
        self.config, self.model = config, model

    def assess(
        self,
        shards: Sequence[ShardScore],
        ids: Sequence[Path] = (),
        past: Sequence[Past] = (),
        whole: Profile | None = None,
    ) -> Assessment:
        """Judge a batch from what scoring its shards left.

        Args:
            ids: the files of hashed ids that the shards wrote.
            past: the batches that this version scored before and that were published, the oldest first.
            whole: the profiles of the shards, where they are merged already.

        Returns:
            A verdict with its causes. What cannot be computed is `inconclusive`, never an exception.
        """
        fault = next((s.fault for s in shards if s.fault is not None), None)
        if fault is not None:
            return verdict((fault,), (), None)
        profile = whole or merge([s.profile for s in shards])
        causes, checks = self._exact(shards, profile, ids)
        if not profile.rows:
            return verdict(causes, checks, None)
        sample = profile.sample()
        judged = judge(self.reference, self._rows(sample), self._stakes(), self.reference.fold(profile), past)
        business, found, figures = self._business(sample, profile.rows)
        causes += [*judged.causes, *found]
        return verdict(causes, [*checks, *judged.checks, *figures], judged.harm, business, judged.worlds)

    # ── 1. exact ─────────────────────────────────────────────────────────────────────────────────

    def _exact(
        self, shards: Sequence[ShardScore], profile: Profile, ids: Sequence[Path]
    ) -> tuple[list[Cause], list[Check]]:
        bounds = self.config.checks
        causes = list(dict.fromkeys(cause for s in shards for cause in s.schema))
        rejected = sum(s.rejected for s in shards)
        rows = profile.rows + rejected
        checks = [Check("rejected rows", rejected / max(rows, 1), bounds.max_rejected)]
        if rejected:
            level: Level = "halt" if checks[0].fired or not profile.rows else "warn"
            why = Counter[str]()
            for s in shards:
                why.update(s.reasons)
            most = ", ".join(f"{reason} ({n:,})" for reason, n in why.most_common(3))
            share = "all" if not profile.rows else f"{rejected:,} of {rows:,}"
            sentence = f"{share} rows were rejected: {most}"
            causes.append(Cause("rejected", sentence, None, rejected / rows, bounds.max_rejected, level=level))
        repeated = count_duplicates(ids) / max(profile.rows, 1)
        checks.append(Check("repeated ids", repeated, bounds.max_duplicate_ids))
        if repeated:
            level = "halt" if checks[-1].fired else "warn"
            sentence = f"{repeated:.2%} of the rows repeat an id that was there before"
            causes.append(
                Cause("duplicates", sentence, self.config.id_column, repeated, bounds.max_duplicate_ids, level=level)
            )
        unusual, counted = limits.against_expected(rows, bounds.expected_rows)
        return [*causes, *unusual], [*checks, *counted]

    # ── 2. to 4. the stages ──────────────────────────────────────────────────────────────────────

    @cached_property
    def reference(self) -> Reference:
        """The version's held-out rows, made ready for all stages."""
        manifest, table = self.model.manifest, self.model.table(REFERENCE)
        return Reference(
            score=lambda frame: self.model.predictor.scores(frame),  # opened only for a batch that differs
            frame=tables.to_frame(table, self.model.contract),
            truth=labels_of(table),
            scores=scores_of(table),
            task=manifest.task,
            classes=manifest.order,
            bins=self.model.bins,
            importance=manifest.importance,
            budget=1.0 / self.config.checks.mean_batches_between_false_halts,
            seed=self.config.training.seed,
        )

    def _stakes(self) -> Stakes:
        manifest, checks = self.model.manifest, self.config.checks
        tolerance = self.config.tolerance(manifest.task)
        value = manifest.metrics[manifest.metric]
        return Stakes(manifest.metric, value, tolerance, checks.on_drift, len(manifest.features))

    def _rows(self, sample: Sample) -> Rows:
        frame = tables.to_frame(sample.features, self.model.contract)
        return Rows({c: frame[c].to_numpy() for c in frame.columns}, sample.scores)

    def past(self, metrics: bytes, sample: bytes | None = None) -> Past:
        """What is remembered of an earlier batch that this version scored.

        Args:
            metrics: its metrics.json.
            sample: its sample.parquet where it was small, so that it is judged together with the next ones.

        Raises:
            DataError: they are not what this version's batches have, e.g. cut off.
        """
        try:
            document = msgspec.json.decode(metrics, type=_Metrics)
            counted = {**document.profile.columns, **document.profile.scores}
            counts = self.reference.by_cell({name: c.counts for name, c in counted.items()})
        except (msgspec.MsgspecError, UnicodeDecodeError, DataError) as error:
            raise DataError(f"metrics.json of an earlier batch cannot be read: {error}") from error
        return Past(counts, bool(document.assessment.worlds), None if sample is None else self._sampled(sample))

    def _sampled(self, sample: bytes) -> Rows:
        columns, scores = self.model.contract.names, list(self.reference.score_axes)
        try:
            table = pq.read_table(pa.BufferReader(sample)).select([*columns, *scores])
            frame = tables.to_frame(table, self.model.contract)
            found = np.column_stack([table.column(name).to_numpy() for name in scores])
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"sample.parquet of an earlier batch cannot be read: {error}") from error
        if found.dtype != np.float64 or (frame.dtypes != self.reference.frame.dtypes).any():
            raise DataError("sample.parquet of an earlier batch holds other types than the reference")
        return Rows({c: frame[c].to_numpy() for c in frame.columns}, found if found.shape[1] > 1 else found[:, 0])

    # ── 5. business ──────────────────────────────────────────────────────────────────────────────

    def _business(self, sample: Sample, rows: int) -> tuple[dict[str, float], list[Cause], list[Check]]:
        """The project's own figures, on a uniform sample of the batch, against its bounds."""
        data = tables.to_frame(sample.features, self.model.contract)
        predictor = self.model.hooks
        try:
            frame = tables.predictions_frame(data, predictor.columns(sample.scores, data))
            frame.attrs["rows"] = rows
            figures = predictor.business(frame)
            unknown = self.config.business.keys() - figures.keys()
            later = self._later(predictor) if unknown else frozenset()
        except ModelFault as error:
            return {}, [Cause("business", str(error), fault="model", level="inconclusive")], []
        causes: list[Cause] = []
        checks: list[Check] = []
        for name, bounds in self.config.business.items():
            if name not in figures and name in later:
                continue
            found, counted = limits.against_bounds(name, figures.get(name), bounds.min, bounds.max)
            causes += found
            checks += counted
        return {k: v for k, v in figures.items() if math.isfinite(v)}, causes, checks

    def _later(self, predictor: Predictor) -> frozenset[str]:
        """The figures that only come with outcomes: what `outcomes` returns of the held-out rows, whose are known.

        Raises:
            ModelFault: the hook fails on these rows, so that it cannot be told whose figure is missing.
        """
        if not self.model.tells_outcomes:
            return frozenset()
        frame, scores, config = self.reference.frame, self.reference.scores, self.config
        ids = [str(row) for row in range(len(frame))]
        columns = predictor.columns(scores, frame)
        known = outcomes_frame((config.id_column, ids), columns, (config.target, self.reference.truth))
        return frozenset(predictor.outcomes(known))


def metrics_document(
    batch: str, version: str, scored_at: str, assessment: Assessment, shards: Sequence[ShardScore], whole: Profile
) -> bytes:
    """metrics.json of a batch: its assessment and the counts of its profile; `whole` is that of all shards."""
    document = {
        "format": FORMAT,
        "batch": batch,
        "version": version,
        "scored_at": scored_at,
        "assessment": asdict(assessment),
        "reasons": dict(sum((Counter(s.reasons) for s in shards), Counter())),
        "profile": whole.to_json(),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
