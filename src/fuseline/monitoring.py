"""The monitor: what a scored batch looks like against the version's reference, and whether it may be published.

The order of the checks: what is exact (columns, rejected rows, duplicates, row count), then calibrated change of
columns and scores, then the harm that the change would do, then the business figures. Change without harm warns;
only harm, a broken contract, a figure out of its bounds or code that fails halts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fuseline import drift, harm, tables
from fuseline.errors import DataError, ModelFault
from fuseline.models import REFERENCE, Model
from fuseline.profile import Profile, count_duplicates, merge
from fuseline.projects import Config
from fuseline.records import Assessment, Cause, Check, Level, Verdict
from fuseline.rows import labels_of, scores_of
from fuseline.scoring import ShardScore

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
MANY = 4  # columns: fewer that change at once are looked at one by one
GROSS = 0.25  # share of rows that are null, never seen or out of range beyond their bound: no population does that
SUPPORT = ("nulls", "unseen", "out of range")


class Monitor:
    """Judges batches that one version scored."""

    def __init__(self, config: Config, model: Model) -> None:
        self.config, self.model = config, model

    def assess(self, shards: Sequence[ShardScore], ids: Sequence[Path] = ()) -> Assessment:
        """Judge a batch from what scoring its shards left.

        Args:
            ids: the files of hashed ids that the shards wrote.

        Returns:
            A verdict with its causes. What cannot be computed is `inconclusive`, never an exception.
        """
        fault = next((s.fault for s in shards if s.fault is not None), None)
        if fault is not None:
            return _verdict((fault,), (), None)
        profile = merge([s.profile for s in shards])
        causes, checks = self._exact(shards, profile, ids)
        if not profile.rows:
            return _verdict(causes, checks, None)
        changed = self._changes(profile)
        checks += changed
        estimated, found = self._harm(profile, [c for c in changed if c.fired])
        causes += found
        business, found, figures = self._business(profile)
        return _verdict([*causes, *found], [*checks, *figures], estimated, business)

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

    # ── 2. change, 3. harm ───────────────────────────────────────────────────────────────────────

    def _changes(self, profile: Profile) -> list[Check]:
        """Distance of each column and of the score from the reference, against its null at this batch's size."""
        return drift.column_checks(
            self.model.bins.reference(),
            profile.histograms(),
            self.model.manifest.importance,
            budget=1.0 / self.config.checks.mean_batches_between_false_halts,
            seed=self.config.training.seed,
        )

    def _harm(self, profile: Profile, fired: Sequence[Check]) -> tuple[float | None, list[Cause]]:
        """What the changes would cost: read off the reference, made to look like the batch."""
        if not fired:
            return 0.0, []
        manifest, reference = self.model.manifest, self.model.table(REFERENCE)
        columns = list(dict.fromkeys(c.column for c in fired if c.column in manifest.features))
        frame, drawn = tables.to_frame(reference, self.model.contract), profile.sample()
        sample = tables.to_frame(drawn.features, self.model.contract)
        try:
            estimate = harm.estimate(
                self.model.predictor.scores,
                frame,
                labels_of(reference),
                manifest.task,
                manifest.order,
                sample,
                columns,
                self.config.training.seed,
                importance=manifest.importance,
                score_changed=any(c.column is None for c in fired),
                reference_scores=scores_of(reference),
                batch_scores=drawn.scores,
            )
        except (ModelFault, DataError) as error:
            sentence = f"the harm of the change in {', '.join(columns) or 'the scores'} cannot be estimated: {error}"
            return None, [Cause("harm", sentence, level="inconclusive")]
        tolerance = self.config.tolerance(manifest.task)
        if not columns:
            worst = max(fired, key=lambda c: (c.observed or 0.0) / (c.bound or 1.0))
            return estimate.total, [self._scores(estimate, worst, tolerance)]
        if self._natural(columns, fired):
            return estimate.total, [self._drift(columns, estimate, tolerance)]
        causes = [self._change(c, frame[c], sample[c], estimate, tolerance) for c in columns]
        causes.sort(key=lambda cause: -(cause.harm or 0.0))
        if estimate.total > tolerance / 2 and all(cause.level == "warn" for cause in causes):
            causes.insert(0, self._together(estimate, tolerance, columns))
        return estimate.total, causes

    def _natural(self, columns: Sequence[str], fired: Sequence[Check]) -> bool:
        """Whether it looks as a population does that drifts: most columns a little, none of them out of its mind."""
        gross = any(c.name in SUPPORT and (c.observed or 0.0) - (c.bound or 0.0) > GROSS for c in fired)
        return len(columns) >= MANY and 2 * len(columns) > len(self.model.manifest.features) and not gross

    def _drift(self, columns: Sequence[str], estimate: harm.Estimate, tolerance: float) -> Cause:
        """Natural drift: its cost cannot be read without labels, so the project's policy decides."""
        policy, of = self.config.checks.on_drift, len(self.model.manifest.features)
        sentence = (
            f"{len(columns)} of {of} columns changed at once ({', '.join(columns[:3])} …), as in natural drift: "
            f"what it costs shows only in labels (estimated loss {estimate.total:.3f})"
        )
        return Cause("drift", sentence, None, estimate.total, tolerance / 2, estimate.total, level=policy)

    def _change(
        self, column: str, before: pd.Series, after: pd.Series, estimate: harm.Estimate, tolerance: float
    ) -> Cause:
        """One column; it halts only where all changes together do."""
        said, cost = harm.explain(column, before, after), estimate.by_column.get(column, 0.0)
        halts = min(cost, estimate.total) > tolerance / 2
        if halts:
            sentence = f"{said}: {self._cost(cost)}"
        elif estimate.selection > 0.5:
            mix = f"it looks like another mix of the same kind of rows (estimated loss {estimate.total:.3f})"
            copes = mix.replace(" (", ", and the model copes with that (") if estimate.total <= tolerance / 2 else mix
            sentence = f"{said}; {copes}"
        else:
            sentence = f"{said}; little harm is expected of it"
        return Cause("distance", sentence, column, cost, tolerance / 2, cost, level="halt" if halts else "warn")

    def _scores(self, estimate: harm.Estimate, worst: Check, tolerance: float) -> Cause:
        """No column is spread differently, but the scores are."""
        said = "the scores are spread differently than on the reference, though no single column is"
        halts = estimate.total > tolerance / 2
        if halts and estimate.by_column and estimate.selection <= 0.5:
            column = max(estimate.by_column, key=lambda c: estimate.by_column[c])
            said += f"; {column} looks dealt to other rows: {self._cost(estimate.total)}"
        elif halts:
            said += f": {self._cost(estimate.total)}"
        return Cause(
            "score", said, None, worst.observed, worst.bound, estimate.total, level="halt" if halts else "warn"
        )

    def _together(self, estimate: harm.Estimate, tolerance: float, columns: Sequence[str]) -> Cause:
        """No column alone would halt, but all of them together do."""
        mix = ", which look like another mix of the same kind of rows" if estimate.selection > 0.5 else ""
        sentence = f"the changes in {', '.join(columns)} together{mix}: {self._cost(estimate.total)}"
        return Cause("distance", sentence, None, estimate.total, tolerance / 2, estimate.total)

    def _cost(self, cost: float) -> str:
        metric = self.model.manifest.metric
        if metric == "rmse":
            return f"RMSE would rise by {cost:.1%}"
        was = self.model.manifest.metrics[metric]
        return f"AUC would fall from {was:.3f} to {max(was - cost, 0.0):.3f}"

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


def _verdict(
    causes: Sequence[Cause], checks: Sequence[Check], estimated: float | None, business: dict[str, float] | None = None
) -> Assessment:
    """The worst level of the causes decides; halting causes come first."""
    order = {"halt": 0, "inconclusive": 1, "warn": 2}
    ranked = tuple(sorted(causes, key=lambda c: order[c.level]))
    worst: Verdict = ranked[0].level if ranked else "pass"
    return Assessment(worst, estimated, ranked, tuple(checks), business or {})


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
