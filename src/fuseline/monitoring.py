"""The monitor: what a scored batch looks like against the version's reference, and whether it may be published.

The order of the checks: what is exact (columns, rejected rows, duplicates, row count), then calibrated change of
columns and scores, then the harm that the change would do, then the business figures. Change without harm warns;
only harm, a broken contract, a figure out of its bounds or code that fails halts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseline import tables
from fuseline.decide import Stakes, verdict
from fuseline.errors import ModelFault
from fuseline.models import REFERENCE, Model
from fuseline.profile import Profile, Sample, count_duplicates, merge
from fuseline.projects import Config
from fuseline.records import Assessment, Cause, Check, Level
from fuseline.reference import Reference, Rows
from fuseline.rows import labels_of, scores_of
from fuseline.scoring import ShardScore
from fuseline.stages import Judgement, Past, judge

FORMAT = 1


class Monitoring:
    """Judges batches that one version scored."""

    def __init__(self, config: Config, model: Model) -> None:
        self.config, self.model = config, model

    def assess(self, shards: Sequence[ShardScore], ids: Sequence[Path] = (), past: Sequence[Past] = ()) -> Assessment:
        """Judge a batch from what scoring its shards left.

        Args:
            ids: the files of hashed ids that the shards wrote.
            past: the batches that this version scored before and that were published, the oldest first.

        Returns:
            A verdict with its causes. What cannot be computed is `inconclusive`, never an exception.
        """
        fault = next((s.fault for s in shards if s.fault is not None), None)
        if fault is not None:
            return verdict((fault,), (), None)
        profile = merge([s.profile for s in shards])
        causes, checks = self._exact(shards, profile, ids)
        if not profile.rows:
            return verdict(causes, checks, None)
        judged = self._judge(profile, past)
        business, found, figures = self._business(profile)
        causes += [*judged.causes, *found]
        return verdict(causes, [*checks, *judged.checks, *figures], judged.harm, business, judged.worlds)

    # ── 1. exact ─────────────────────────────────────────────────────────────────────────────────

    def _exact(
        self, shards: Sequence[ShardScore], profile: Profile, ids: Sequence[Path]
    ) -> tuple[list[Cause], list[Check]]:
        limits = self.config.checks
        causes = list(dict.fromkeys(cause for s in shards for cause in s.schema))
        rejected = sum(s.rejected for s in shards)
        rows = profile.rows + rejected
        checks = [Check("rejected rows", rejected / max(rows, 1), limits.max_rejected)]
        if rejected:
            level: Level = "halt" if checks[0].fired or not profile.rows else "warn"
            why = Counter[str]()
            for s in shards:
                why.update(s.reasons)
            most = ", ".join(f"{reason} ({n:,})" for reason, n in why.most_common(3))
            share = "all" if not profile.rows else f"{rejected:,} of {rows:,}"
            sentence = f"{share} rows were rejected: {most}"
            causes.append(Cause("rejected", sentence, None, rejected / rows, limits.max_rejected, level=level))
        repeated = count_duplicates(ids) / max(profile.rows, 1)
        checks.append(Check("repeated ids", repeated, limits.max_duplicate_ids))
        if repeated:
            level = "halt" if checks[-1].fired else "warn"
            sentence = f"{repeated:.2%} of the rows repeat an id that was there before"
            causes.append(
                Cause("duplicates", sentence, self.config.id_column, repeated, limits.max_duplicate_ids, level=level)
            )
        if limits.expected_rows:
            ratio = max(rows / limits.expected_rows, limits.expected_rows / max(rows, 1))
            checks.append(Check("rows against expected", ratio, 2.0))
            if checks[-1].fired:
                sentence = f"{rows:,} rows where about {limits.expected_rows:,} are usual"
                causes.append(Cause("rows", sentence, None, float(rows), float(limits.expected_rows)))
        return causes, checks

    # ── 2. to 4. the stages ──────────────────────────────────────────────────────────────────────

    @cached_property
    def reference(self) -> Reference:
        """The version's held-out rows, made ready for all stages."""
        manifest, table = self.model.manifest, self.model.table(REFERENCE)
        return Reference(
            score=self.model.predictor.scores,
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

    def _judge(self, profile: Profile, past: Sequence[Past]) -> Judgement:
        return judge(self.reference, self._rows(profile.sample()), self._stakes(), self.reference.fold(profile), past)

    def _rows(self, sample: Sample) -> Rows:
        frame = tables.to_frame(sample.features, self.model.contract)
        return Rows({c: frame[c].to_numpy() for c in frame.columns}, sample.scores)

    def past(self, metrics: bytes, sample: bytes | None = None) -> Past:
        """What is remembered of an earlier batch that this version scored.

        Args:
            metrics: its metrics.json.
            sample: its sample.parquet where it was small, so that it is judged together with the next ones.
        """
        document = msgspec.json.decode(metrics)
        profile = document["profile"]
        counted = {**profile["columns"], **profile["scores"]}
        axes = {**self.reference.columns, **self.reference.score_axes}
        counts = {name: axis.fold(np.asarray(counted[name]["counts"])) for name, axis in axes.items()}
        rows = None if sample is None else self._sampled(sample)
        return Past(counts, changed=bool(document["assessment"].get("worlds")), rows=rows)

    def _sampled(self, sample: bytes) -> Rows:
        table = pq.read_table(pa.BufferReader(sample))
        scores = np.column_stack([table.column(name).to_numpy() for name in self.reference.score_axes])
        frame = tables.to_frame(table, self.model.contract)
        return Rows({c: frame[c].to_numpy() for c in frame.columns}, scores if scores.shape[1] > 1 else scores[:, 0])

    # ── 5. business ──────────────────────────────────────────────────────────────────────────────

    def _business(self, profile: Profile) -> tuple[dict[str, float], list[Cause], list[Check]]:
        """The project's own figures, on a uniform sample of the batch, against its bounds."""
        import math

        sample = profile.sample()
        data = tables.to_frame(sample.features, self.model.contract)
        predictor = self.model.hooks
        try:
            frame = tables.predictions_frame(data, predictor.columns(sample.scores, data))
            frame.attrs["rows"] = profile.rows
            figures = predictor.business(frame)
        except ModelFault as error:
            return {}, [Cause("business", str(error), fault="model", level="inconclusive")], []
        causes, checks = [], []
        for name, bounds in self.config.business.items():
            value = figures.get(name)
            if value is None or not math.isfinite(value):
                said = "was not returned by metrics()" if value is None else f"is {value}"
                causes.append(Cause("business", f"{name} {said}", level="inconclusive"))
                continue
            for limit, at_least, word in ((bounds.min, True, "below"), (bounds.max, False, "above")):
                if limit is None:
                    continue
                checks.append(Check(name, value, limit, at_least=at_least))
                if checks[-1].fired:
                    sentence = f"{name} is {value:,.4g}, {word} its bound of {limit:,.4g}"
                    causes.append(Cause("business", sentence, None, value, limit))
        return {k: v for k, v in figures.items() if math.isfinite(v)}, causes, checks


def metrics_document(
    batch: str, version: str, scored_at: str, assessment: Assessment, shards: Sequence[ShardScore]
) -> bytes:
    """metrics.json of a batch: its assessment and the counts of its profile."""
    document = {
        "format": FORMAT,
        "batch": batch,
        "version": version,
        "scored_at": scored_at,
        "assessment": asdict(assessment),
        "reasons": dict(sum((Counter(s.reasons) for s in shards), Counter())),
        "profile": merge([s.profile for s in shards]).to_json(),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)
