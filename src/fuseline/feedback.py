"""Labels that come days later: joined to predictions by id, measured, and acted on. FeedbackFlow calls this.

Labels are the authority. Where they say that the champion lost more than the tolerance, or that a business figure
which is only known with them is out of its bounds, the breaker opens until there is a new champion, and a retrain is
asked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fuseline import limits, performance, tables
from fuseline.artifacts import check_libraries, file_digest
from fuseline.batches import Batches
from fuseline.errors import ArtifactError, DataError, NotFound, ProjectError
from fuseline.frames import outcomes_frame
from fuseline.ledger import Ledger
from fuseline.models import Model, Models, registered
from fuseline.predictions import PREDICTIONS, Predictions
from fuseline.predictor import score_columns
from fuseline.projects import Project
from fuseline.records import FORMATS, BatchMeasured, Cause, Entry, Labelled, Measured
from fuseline.state import Batch, State
from fuseline.storage import Store

if TYPE_CHECKING:
    import pandas as pd

STAMP = frozenset({"batch", "version", "mode", "scored_at"})  # what every published row carries beside its own


@dataclass(frozen=True)
class LabelFile:
    """A file of labels to read: its name, the digest of its bytes, and the key of the join that is kept of it.

    Attributes:
        after: 0 for a file that nobody has read; for one that was read before some of its batches were published,
            the entry of that reading: only what was published since is joined.
    """

    file: str
    digest: str
    key: str
    after: int = 0


@dataclass(frozen=True)
class Readings:
    """What the labels of one run say.

    Attributes:
        reference: the champion's metric on held-out rows.
        bound: what `pooled` was held against.
        figures: figures from `outcomes()` of predict.py, of the rows of `pooled`.
        condemned: batches whose own labels are beyond the bound.
        partial: files of which some rows are not predicted, or not published, yet.
        after: file to the entry of its last reading, 0 for none.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    partial: tuple[str, ...] = ()
    after: Mapping[str, int] = field(default_factory=dict)
    batches: tuple[BatchMeasured, ...] = ()
    unmatched: int = 0
    version: str | None = None
    pooled: Measured | None = None
    reference: float | None = None
    bound: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    condemned: tuple[str, ...] = ()


class Feedback:
    """Reads the labels of one project."""

    def __init__(
        self,
        project: Project,
        store: Store,
        ledger: Ledger,
        models: Models,
        batches: Batches,
        predictions: Predictions,
    ) -> None:
        self.project, self.store, self.ledger = project, store, ledger
        self.models, self.batches, self.predictions = models, batches, predictions

    def waiting(self) -> list[LabelFile]:
        """The label files to read, in the order of names.

        Those whose bytes the ledger does not know, and those that came before a batch of theirs was published.
        """
        state = self.ledger.state()
        newest = max((b.seq for b in state.with_status("published").values()), default=0)
        prefix = f"labels/{self.project.name}/"
        found = []
        for item in self.store.list(prefix):
            file = item.key.removeprefix(prefix)
            if "/" in file or not file.lower().endswith(FORMATS):
                continue
            with self.store.local(item.key) as path:
                digest = file_digest(path)
            after = state.partial.get(file, newest) if state.labels.get(file) == digest else 0
            if after < newest or not after:
                # What is kept sorts by when it came, so that of two labels for one row the later one counts.
                name = f"{state.seq:08d}-{PurePosixPath(file).stem}.{digest[:12]}.parquet"
                kept = f"{self.project.name}/feedback/{name}"
                found.append(LabelFile(file, digest, kept, after))
        return found

    def measure(self, files: Sequence[LabelFile]) -> Readings | None:
        """Join each file to what was predicted, keep the join, and measure; None if there is nothing to read.

        Raises:
            DataError: a file lacks the id or the target column, or cannot be parsed.
        """
        if not files:
            return None
        state = self.ledger.state()
        joined, partial, unmatched = [], [], 0
        for file in files:
            rows, missed = self._join(state, file)
            joined.append(rows)
            unmatched += missed
            partial += [file.file] if missed else []
        import pandas as pd

        fresh = pd.concat(joined, ignore_index=True)
        batches = tuple(self._measured(str(b), g) for b, g in fresh.groupby("batch", sort=True))
        for file, rows in zip(files, joined, strict=True):  # kept only now that the labels proved to be usable
            self._keep(file, rows)
        rows = _nothing() if state.champion is None else self._newest(state)
        pooled, reference, bound, causes = self._champion(state, rows)
        figures, out = self._outcomes(state, rows)
        return Readings(
            files={f.file: f.digest for f in files},
            partial=tuple(partial),
            after={f.file: f.after for f in files},
            batches=batches,
            unmatched=unmatched,
            version=state.champion,
            pooled=pooled,
            reference=reference,
            bound=bound,
            figures=figures,
            causes=tuple(sorted((*causes, *out), key=lambda c: c.level != "halt")),  # the breaker's reason comes first
            condemned=tuple(b.batch for b in batches if causes and self._condemned(b)),
        )

    def conclude(self, readings: Readings | None) -> Entry | None:
        """Record what the labels said; trip, ask for a retrain and withdraw where they call for it."""
        if readings is None:
            return None
        config = self.project.config
        halt = any(c.level == "halt" for c in readings.causes)
        if halt and config.labels.on_halt == "withdraw":
            published = self.ledger.state().with_status("published")
            for batch in readings.condemned:
                if batch in published:
                    self.predictions.withdraw(batch, readings.causes[0].sentence)

        def record(state: State) -> Labelled | None:
            if all(_recorded(state, f, d, readings.after[f]) for f, d in readings.files.items()):
                return None  # another run did it
            still = halt and state.champion == readings.version
            return Labelled(
                files=dict(readings.files),
                partial=readings.partial,
                batches=readings.batches,
                unmatched=readings.unmatched,
                version=readings.version,
                pooled=readings.pooled,
                reference=readings.reference,
                bound=readings.bound,
                verdict="halt" if still else next((c.level for c in readings.causes if c.level != "halt"), "pass"),
                figures=dict(readings.figures),
                causes=readings.causes,
                trip=config.breaker.trip(state.breaker, self.ledger.clock(), wait_for_champion=True) if still else None,
                retrain=still,
            )

        return self.ledger.append(record)

    def _join(self, state: State, file: LabelFile) -> tuple[pd.DataFrame, int]:
        """The labels of one file beside their predictions, and how many of them have none."""
        config = self.project.config
        key = f"labels/{self.project.name}/{file.file}"
        with self.store.local(key) as path:
            table = tables.read_table(path)
        missing = [c for c in (config.id_column, config.target) if c not in table.column_names]
        if missing:
            raise DataError(
                f"{key} has no column {' and no column '.join(map(repr, missing))}; found: "
                f"{', '.join(table.column_names)}. A label file holds the id {config.id_column!r} and the "
                f"target {config.target!r}"
            )
        import pandas as pd

        labels = pd.DataFrame(
            {
                "id": table.column(config.id_column).cast("string").to_pandas(),
                "label": table.column(config.target).to_pandas(),
            }
        )
        labels = labels.dropna().drop_duplicates("id", keep="last")
        found = []
        left = labels
        scored = {k: b for k, b in state.with_status("published", "withdrawn").items() if b.seq > file.after}
        for batch in reversed(scored):
            if left.empty:
                break
            rows = self._predicted(batch, scored[batch])
            if rows is None:
                continue  # its labels come too late
            matched = rows.merge(left, on="id", how="inner")
            if len(matched):
                found.append(matched.assign(batch=batch, version=scored[batch].version))
                left = left[~left["id"].isin(matched["id"])]
        joined = pd.concat(found, ignore_index=True) if found else _nothing()
        return joined, len(left)

    def _keep(self, file: LabelFile, joined: pd.DataFrame) -> None:
        """Keep a join in the store, for training and for later readings, if anything was joined."""
        if joined.empty:
            return
        buffer = io.BytesIO()
        joined.to_parquet(buffer, index=False)
        self.store.put(file.key, buffer.getvalue())

    def _predicted(self, batch: str, known: Batch) -> pd.DataFrame | None:
        """Ids and scores of what was predicted for a batch; None if its files are gone: a store may let them expire."""
        import pyarrow.parquet as pq

        manifest = self.models.manifest(known.version or "")
        scores = score_columns(manifest.task, manifest.classes)
        try:
            with self.store.local(self.batches.staged_key(batch, known.attempt, PREDICTIONS)) as path:
                table = pq.read_table(path, columns=[self.project.config.id_column, *scores])
        except NotFound:
            return None
        frame: pd.DataFrame = table.to_pandas()
        return frame.rename(columns={self.project.config.id_column: "id"}).astype({"id": str})

    def _measured(self, batch: str, rows: pd.DataFrame) -> BatchMeasured:
        version = str(rows["version"].iloc[0])
        measured = self._metric(version, rows)
        if measured is None:
            return BatchMeasured(batch, version, len(rows), None, None)
        return BatchMeasured(batch, version, len(rows), measured.value, measured.se)

    def _metric(self, version: str, rows: pd.DataFrame) -> Measured | None:
        manifest = self.models.manifest(version)
        scores = rows[list(score_columns(manifest.task, manifest.classes))].to_numpy(dtype=float)
        scores = scores if manifest.task == "multiclass" else scores[:, 0]
        return performance.measure(manifest.task, rows["label"].to_numpy(), scores, manifest.order)

    def _champion(
        self, state: State, rows: pd.DataFrame
    ) -> tuple[Measured | None, float | None, float | None, tuple[Cause, ...]]:
        """The champion on its newest labelled rows, at least `min_rows` of them, against its reference."""
        if state.champion is None:
            return None, None, None, ()
        manifest = self.models.manifest(state.champion)
        reference = Measured(manifest.metric, manifest.metrics[manifest.metric], manifest.metrics["se"], 0)
        if len(rows) < self.project.config.labels.min_rows:
            return None, reference.value, None, ()
        pooled = self._metric(state.champion, rows)
        if pooled is None:
            return None, reference.value, None, ()
        tolerance = self.project.config.tolerance(manifest.task)
        worse, bound = performance.worse_than(pooled, reference, tolerance, manifest.task)
        if not worse:
            return pooled, reference.value, bound, ()
        sentence = (
            f"labels of {pooled.rows:,} rows say {pooled.metric.upper()} {pooled.value:.3f} ± {pooled.se:.3f}; "
            f"{state.champion} had {reference.value:.3f} when it was trained"
        )
        harm = performance.loss(manifest.task, reference, pooled)
        cause = Cause("labels", sentence, None, pooled.value, bound, max(harm, 0.0), fault="model", level="halt")
        return pooled, reference.value, bound, (cause,)

    def _outcomes(self, state: State, rows: pd.DataFrame) -> tuple[dict[str, float], list[Cause]]:
        """The figures of `outcomes` on the rows of `_champion`, against their bounds; nothing without that hook.

        What cannot be told is a cause that opens nothing: the labels themselves are read all the same.
        """
        version, config = state.champion, self.project.config
        if version is None or len(rows) < config.labels.min_rows:
            return {}, []
        try:
            manifest = self.models.manifest(version, registered(self.ledger, version, state))
            model = Model(self.models, manifest)
            if not model.tells_outcomes:
                return {}, []
            check_libraries(manifest.libraries, version)
            figures = model.hooks.outcomes(self._published(state, rows))
        except (ArtifactError, NotFound, ProjectError) as error:
            said = f"the figures of outcomes() are not known: {error}"
            return {}, [Cause("business", said, fault="model", level="inconclusive")]
        causes: list[Cause] = []
        for name, bounds in config.business.items():
            if name not in figures:  # the bound is on a figure of metrics(): batches are held to it
                continue
            causes += limits.against_bounds(name, figures[name], bounds.min, bounds.max, fault="model")[0]
        return {k: v for k, v in figures.items() if math.isfinite(v)}, causes

    def _published(self, state: State, rows: pd.DataFrame) -> pd.DataFrame:
        """Labelled rows as they were published, with their outcomes. Raises NotFound where files have expired."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        parts, config = [], self.project.config
        for batch, labelled in rows.groupby("batch", sort=False):
            key = self.batches.staged_key(str(batch), state.batches[str(batch)].attempt, PREDICTIONS)
            with self.store.local(key) as path:
                table = pq.read_table(path)
            wanted = pc.is_in(table.column(config.id_column), pa.array(labelled["id"], pa.string()))
            found = table.filter(wanted).to_pandas().drop_duplicates(config.id_column, keep="last")  # as `_newest`
            ids = found.pop(config.id_column)
            columns = {name: found[name] for name in found if name not in STAMP}
            known = ids.map(labelled.set_index("id")["label"])
            parts.append(outcomes_frame((config.id_column, ids), columns, (config.target, known)))
        return pd.concat(parts, ignore_index=True)

    def _newest(self, state: State) -> pd.DataFrame:
        """The champion's labelled rows of its newest batches, as many batches as `min_rows` rows need."""
        import pandas as pd

        order = {b: known.started for b, known in state.batches.items() if known.version == state.champion}
        parts = []
        for item in self.store.list(f"{self.project.name}/feedback/"):
            with self.store.local(item.key) as path:
                rows = pd.read_parquet(path)
            parts.append(rows[rows["batch"].isin(order.keys())])
        if not parts:
            return _nothing()
        rows = pd.concat(parts, ignore_index=True).drop_duplicates("id", keep="last")
        chosen: list[pd.DataFrame] = []
        for batch in sorted(set(rows["batch"]), key=order.__getitem__, reverse=True):
            chosen.append(rows[rows["batch"] == batch])
            if sum(map(len, chosen)) >= self.project.config.labels.min_rows:
                break
        return pd.concat(chosen, ignore_index=True) if chosen else _nothing()

    def _condemned(self, batch: BatchMeasured) -> bool:
        manifest = self.models.manifest(batch.version)
        if batch.value is None or batch.se is None:
            return False
        reference = Measured(manifest.metric, manifest.metrics[manifest.metric], manifest.metrics["se"], 0)
        measured = Measured(manifest.metric, batch.value, batch.se, batch.rows)
        return performance.worse_than(measured, reference, self.project.config.tolerance(manifest.task), manifest.task)[
            0
        ]


def _recorded(state: State, file: str, digest: str, after: int) -> bool:
    """Whether a reading of these bytes is in the ledger that is newer than entry `after`."""
    if state.labels.get(file) != digest:
        return False
    return not after or state.partial.get(file) != after


def _nothing() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"id": [], "score": [], "label": [], "batch": [], "version": []})
