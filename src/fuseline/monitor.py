"""The breaker's judgement as a library: fit it on held-out rows, ask it of every batch, tell it labels when they come.

    monitor = Monitor.fit(reference, target="status", score=model_score)
    assessment = monitor.assess(batch)
    monitor.observe(labels, scores)

It needs no flow, no store and no labels of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fuseline import limits, performance, saved
from fuseline.canonical import Canonical, Kind, canonical, identities, kind_of, repeats
from fuseline.contract import learn
from fuseline.decide import Stakes, verdict
from fuseline.detect import Seen
from fuseline.errors import DataError, ModelFault, SettingsError
from fuseline.given import asked, by_text, form_of, in_types, labelled, shaped
from fuseline.profile import Profile, learn_bins, sampled
from fuseline.realised import POOLED, WINDOWS, Realised, realise
from fuseline.records import Assessment, Cause, Check, Level, Measured
from fuseline.reference import Reference, Rows
from fuseline.saved import Saved
from fuseline.stages import HISTORY, SMALL, Past, judge

if TYPE_CHECKING:
    import pandas as pd

COPIES_MOST = 0.02  # share of rows that may be copies where the reference has none
BROKEN_MOST = 0.05  # share of values that are no number, or infinite, beyond which a batch is halted


@dataclass(frozen=True)
class Settings:
    """What `Monitor.fit` was told; see there."""

    task: Literal["classification", "regression"] = "classification"
    tolerance: float | None = None
    mean_batches_between_false_halts: int = 1000
    drift_policy: Literal["warn", "halt"] = "warn"
    expected_rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed, expected in (
            ("tolerance", self.tolerance is None or 0.0 < self.tolerance < float("inf"), "a number over 0"),
            ("mean_batches_between_false_halts", self.mean_batches_between_false_halts >= 10, "10 or more"),
            ("drift_policy", self.drift_policy in ("warn", "halt"), "'warn' or 'halt'"),
            ("expected_rows", self.expected_rows is None or self.expected_rows > 0, "a number over 0"),
        ):
            if not allowed:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; expected {expected}")


class Monitor:
    """Judges batches of one model. Make one with `fit` or `load`."""

    def __init__(
        self,
        settings: Settings,
        reference: Reference,
        kinds: dict[str, Kind],
        dtypes: dict[str, Any],
        given: Callable[[pd.DataFrame], np.ndarray] | None,
    ) -> None:
        self.settings, self.reference, self._kinds, self._dtypes, self._given = (
            settings,
            reference,
            kinds,
            dtypes,
            given,
        )
        measured = performance.measure(reference.task, reference.truth, reference.scores, reference.classes)
        if measured is None:
            raise DataError("the reference cannot be measured: it needs two rows of every class, or two rows at all")
        self.measured: Measured = measured
        tolerance = limits.tolerance(reference.task, settings.tolerance)
        self.stakes = Stakes(measured.metric, measured.value, tolerance, settings.drift_policy, len(kinds))
        self._same: dict[tuple[str, ...], np.ndarray] = {}
        self._past: list[tuple[tuple[bytes, int], Past]] = []
        self._labelled: list[tuple[np.ndarray, np.ndarray]] = []

    # ── fit ──────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def fit(
        cls,
        reference: pd.DataFrame,
        target: str | np.ndarray | Sequence[Any],
        score: Callable[[pd.DataFrame], np.ndarray],
        task: Literal["classification", "regression"] = "classification",
        tolerance: float | None = None,
        mean_batches_between_false_halts: int = 1000,
        drift_policy: Literal["warn", "halt"] = "warn",
        expected_rows: int | None = None,
        seed: int = 0,
    ) -> Monitor:
        """Learn what normal means from labelled rows that training never saw.

        Args:
            reference: rows x features, and perhaps the target; not changed. A few thousand rows are good, more are
                better; under 2,000 little harm is hard to tell from chance.
            target: a column of `reference`, or an array of its length. Rows without a label are left out.
            score: the model: takes a frame of the features, gives an array of shape (rows,), or (rows, classes) in the
                sorted order of the classes. Of two classes the second one's probability is the score.
            tolerance: the loss that you accept: of AUC (one class against the rest, where there are several), by
                default 0.02; or for a regression the share by which RMSE rises, by default 0.05. An estimate of over
                0.575 of it (`breaker.HALTS`) halts a batch, since it has an error: 0.0115 of AUC by default. Labels
                condemn the model where all of it is lost.
            mean_batches_between_false_halts: how rare false halts of clean batches are to be.
            drift_policy: whether change that is everywhere, and whose harm only labels show, warns or halts.
            expected_rows: rows of a usual batch; half or twice as many halt. None: not checked.
            seed: the same seed gives the same verdicts.

        Raises:
            DataError: there is no such target, no feature, no labelled row, or labels of several types or one class.
            ModelFault: the model fails, or does not give one finite score for each row.
            SettingsError: a setting is out of its range.
        """
        import pandas as pd
        import pyarrow as pa

        settings = Settings(task, tolerance, mean_batches_between_false_halts, drift_policy, expected_rows, seed)
        frame, truth = labelled(reference, target)
        kinds: dict[str, Kind] = {str(c): kind_of(frame[c]) for c in frame.columns}
        dtypes = {str(c): frame[c].dtype for c in frame.columns}
        plain = pd.DataFrame(dict(canonical(frame, kinds).values))
        form, classes = form_of(task, truth)
        scores = asked(score, frame, form, len(classes))
        importance = performance.column_importance(
            lambda part: asked(score, in_types(part, dtypes), form, len(classes)), plain, truth, form, classes, seed
        )
        bins = learn_bins(plain, learn(pa.Table.from_pandas(plain, preserve_index=False)), scores)
        kept = Saved(asdict(settings), form, classes, kinds, dtypes, importance, bins, plain, truth, scores)
        return cls._of(kept, score)

    @classmethod
    def _of(cls, kept: Saved, score: Callable[[pd.DataFrame], np.ndarray] | None) -> Monitor:
        def rescore(part: pd.DataFrame) -> np.ndarray:
            if score is None:
                raise ModelFault("the monitor was loaded without its model: Monitor.load(path, score=...)")
            return asked(score, in_types(part, kept.dtypes), kept.task, len(kept.classes))

        settings = Settings(**kept.settings)
        reference = Reference(
            score=rescore,
            frame=kept.frame,
            truth=kept.truth,
            scores=kept.scores,
            task=kept.task,
            classes=kept.classes,
            bins=kept.bins,
            importance=kept.importance,
            budget=1.0 / settings.mean_batches_between_false_halts,
            seed=settings.seed,
        )
        return cls(settings, reference, kept.kinds, kept.dtypes, score)

    # ── assess ───────────────────────────────────────────────────────────────────────────────────

    def assess(self, batch: pd.DataFrame | Profile, scores: np.ndarray | None = None) -> Assessment:
        """Whether a batch may be published, read without its labels.

        Args:
            batch: its features, in any order of columns and rows; or what `profile` made of its parts, merged.
            scores: what the model says of these rows, if that is known; else the model is asked.

        Returns:
            The verdict with its causes. Never raises for what a batch holds.
        """
        if isinstance(batch, Profile):
            return self._profiled(batch)
        batch = by_text(batch)
        found = canonical(batch, self._kinds)
        causes, checks = self._exact(found, len(batch))
        if not len(batch) or found.missing or found.twice:
            return verdict(causes, checks, None)
        try:
            made = self._asked(batch) if scores is None else self._checked(scores, len(batch))
        except (ModelFault, DataError) as error:
            return verdict([*causes, Cause("model", str(error), fault="model", level="inconclusive")], checks, None)
        return self._judged(found, made, causes, checks)

    def forget(self) -> None:
        """Forget earlier batches and their labels."""
        self._past, self._labelled = [], []

    def _judged(self, found: Canonical, scores: np.ndarray, causes: list[Cause], checks: list[Check]) -> Assessment:
        whole = self.reference.see(Rows(found.values, scores))
        same = identities(found.values, whole.cells)
        order, copies = repeats(same)
        checks += self._duplicates(found, whole, copies, causes)
        at = order[sampled(same[order] + copies.astype(np.uint64), self.settings.seed)]
        rows = Rows(found.values, scores, whole.cells).take(at)
        return self._settled(rows, whole.counts, causes, checks)

    def _settled(
        self, rows: Rows, counts: Mapping[str, np.ndarray], causes: list[Cause], checks: list[Check]
    ) -> Assessment:
        digest = self._digest(rows, counts)
        past = [p for d, p in self._past if d != digest]  # asked about again it is no second batch
        judged = judge(self.reference, rows, self.stakes, counts, past)
        found = verdict([*causes, *judged.causes], [*checks, *judged.checks], judged.harm, None, judged.worlds)
        if found.verdict in ("pass", "warn"):  # what was held back is no part of what is normal
            self._past = [(d, p) for d, p in self._past if d != digest]
            small = rows if len(rows.scores) < SMALL else None
            self._past = [*self._past, (digest, Past(judged.counts, judged.changed, small))][-HISTORY:]
        return found

    def _digest(self, rows: Rows, counts: Mapping[str, np.ndarray]) -> tuple[bytes, int]:
        """What tells a batch from others by its features, however its rows come: in any order, whole or in parts.

        Of all rows it is how many lie in each cell of each column; and the sum of their hashes, where all of them are
        looked at. Which rows are a sample depends on their ids, so that of a larger batch the counts must do.
        """
        names = list(self.reference.columns)
        counted = b"".join(counts[name].astype("<i8").tobytes() for name in names)
        if len(rows.scores) < counts[names[0]].sum():
            return counted, 0
        cells = rows.cells or {c: a.place(rows.values[c]) for c, a in self.reference.columns.items()}
        return counted, int(identities(rows.values, cells).sum(dtype=np.uint64))  # modulo 2**64

    def _exact(self, found: Canonical, rows: int) -> tuple[list[Cause], list[Check]]:
        """What needs no statistics: missing columns, values of another type, the number of rows."""
        causes = [
            Cause("contract", f"column {c} is {what}: no row can be scored as in training", c)
            for what, columns in (("missing", found.missing), ("there more than once", found.twice))
            for c in columns
        ]
        checks = []
        if not rows:
            causes.append(Cause("rows", "the batch has no rows", None, 0.0, level="inconclusive"))
        for what, counts in (("no number or date", found.broken), ("infinite", found.infinite)):
            for column, count in counts.items():
                checks.append(Check(what, count / rows, BROKEN_MOST, column))
                level: Level = "halt" if checks[-1].fired else "warn"
                said = f"{column} is {what} in {count:,} of {rows:,} rows; these values count as null"
                causes.append(Cause("contract", said, column, count / rows, BROKEN_MOST, level=level))
        unusual, counted = limits.against_expected(rows, self.settings.expected_rows)
        return [*causes, *unusual], [*checks, *counted]

    def _duplicates(self, found: Canonical, seen: Seen, copies: np.ndarray, causes: list[Cause]) -> list[Check]:
        """Rows that are there more than once, against what as many reference rows show.

        If they are too many, columns that changed are left out: one that is constant now makes rows alike, and that is
        another fault.
        """
        columns = list(self._kinds)
        check = self._copied(columns, copies)
        if check.fired and (changed := self.reference.detector.detect(seen).columns):
            columns = [c for c in columns if c not in changed]
            same = identities({c: found.values[c] for c in columns}, seen.cells) if columns else np.zeros(0, np.uint64)
            check = self._copied(columns, repeats(same)[1])
        if check.fired:
            said = f"{check.observed:.1%} of the rows are copies of others (at most {check.bound:.1%} is usual)"
            causes.append(Cause("duplicates", said, None, check.observed, check.bound))
        return [check]

    def _copied(self, columns: list[str], copies: np.ndarray) -> Check:
        """The share of copies over some columns, and what as many reference rows have at most."""
        if not len(copies):
            return Check("rows that come twice", 0.0, 1.0)
        known = self._identities(columns)
        rows, part = len(copies), known[: len(copies)]
        usual = min(float((repeats(part)[1] > 0).mean()) * rows / len(part), 1.0)
        bound = min(2.0 * usual + 5.0 * (max(usual, 1.0 / rows) / rows) ** 0.5 + COPIES_MOST, 1.0)
        return Check("rows that come twice", float((copies > 0).mean()), bound)

    def _identities(self, columns: list[str]) -> np.ndarray:
        """The hashes of the reference rows over some columns, in an order that is theirs alone."""
        key = tuple(columns)
        if key not in self._same:
            values = {c: self.reference.frame[c].to_numpy() for c in columns}
            found = identities(values, {c: self.reference.columns[c].reference for c in columns})
            self._same[key] = np.random.default_rng(self.settings.seed).permutation(found)
        return self._same[key]

    def _asked(self, batch: pd.DataFrame) -> np.ndarray:
        """The model's scores of a batch as it came."""
        if self._given is None:
            raise ModelFault("the monitor was loaded without its model: pass scores, or Monitor.load(path, score=...)")
        frame = batch[list(self._kinds)]
        return asked(self._given, frame, self.reference.task, len(self.reference.classes))

    def _checked(self, scores: np.ndarray, rows: int) -> np.ndarray:
        return shaped(np.asarray(scores), rows, self.reference.task, len(self.reference.classes))

    # ── profiles ─────────────────────────────────────────────────────────────────────────────────

    def profile(self, part: pd.DataFrame, scores: np.ndarray, ids: np.ndarray | None = None) -> Profile:
        """Count a part of a batch; parts are put together with `fuseline.profile.merge`, in any order.

        Args:
            part: features, shape (rows, features).
            scores: of these rows.
            ids: something that names each row, so that the same rows are looked at however a batch is cut; without it
                rows are told apart by what they hold.

        Raises:
            DataError: a column is missing or there more than once, or there is not one id for each row.
            ModelFault: there is not one finite score for each row.
        """
        import pyarrow as pa

        found = canonical(by_text(part), self._kinds)
        for named, what in ((found.missing, "missing"), (found.twice, "there more than once")):
            if named:
                these = f"columns {', '.join(named)} are" if len(named) > 1 else f"column {named[0]} is"
                raise DataError(f"{these} {what}: no part can be counted without each column of the reference once")
        if ids is not None and len(ids) != len(part):
            raise DataError(f"there are {len(ids):,} ids for {len(part):,} rows of a part: give one for each")
        scores = self._checked(scores, len(part))
        types = {"text": pa.string(), "number": pa.float64(), "datetime": pa.timestamp("ns")}
        columns = {c: pa.array(v, types[self._kinds[c]], from_pandas=True) for c, v in found.values.items()}
        rows = pa.table({c: v.dictionary_encode() if v.type == pa.string() else v for c, v in columns.items()})
        profile = Profile.empty(self.reference.bins, self.settings.seed)
        profile.add(rows.to_batches()[0] if len(part) else _no_batch(rows), scores, self._keys(found, ids))
        return profile

    def _keys(self, found: Canonical, ids: np.ndarray | None) -> np.ndarray:
        """A number for each row by which it is sampled."""
        import pandas as pd

        if ids is not None:
            return pd.util.hash_array(np.asarray(ids, dtype=object).astype(str).astype(object)).view(np.int64)
        cells = {c: a.place(found.values[c]) for c, a in self.reference.columns.items()}
        same = identities(found.values, cells)
        order, copies = repeats(same)
        keys = same.copy()
        keys[order] += copies.astype(np.uint64)
        return keys.view(np.int64)

    def _profiled(self, profile: Profile) -> Assessment:
        if profile.bins != self.reference.bins:
            raise DataError("the profile was made with the bins of another monitor: use the `profile` of this one")
        causes, checks = self._exact(Canonical({}), profile.rows)
        if not profile.rows:
            return verdict(causes, checks, None)
        sample = profile.sample()
        rows = Rows(canonical(sample.features.to_pandas(), self._kinds).values, sample.scores)
        rows = rows.take(np.argsort(sample.rows.view(np.uint64)))  # the order of rows by what they hold
        return self._settled(rows, self.reference.fold(profile), causes, checks)

    # ── labels ───────────────────────────────────────────────────────────────────────────────────

    def observe(self, labels: Any, scores: np.ndarray) -> Realised:
        """Tell the monitor the labels of a batch when they come: they are the authority.

        The metric of the newest 1, 2, 4 and 8 batches is held against the reference's, one-sided
        (`performance.worse_than`), so that a loss that no single batch shows is found too.

        Args:
            labels: of a batch, shape (rows,); rows without one do not count.
            scores: what the model said of these rows.

        Raises:
            DataError: there is not one score for each label, or a label that the reference does not know.
        """
        truth, reference = np.asarray(labels), self.reference
        scores = self._checked(scores, len(truth))
        performance.measure(reference.task, truth, scores, reference.classes)  # labels that are wrong are not kept
        self._labelled = [*self._labelled, (truth, scores)][-POOLED:]
        z = NormalDist().inv_cdf(1.0 - 1.0 / (len(WINDOWS) * self.settings.mean_batches_between_false_halts))
        return realise(self._labelled, self.measured, reference.task, reference.classes, self.stakes.tolerance, z)

    # ── save and load ────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the monitor to a folder, in place of the one that was saved there.

        There are two files: `monitor.json`, and the labelled rows in `reference-<digest>.parquet`. The model itself is
        not written, nor what the monitor remembers of earlier batches: a loaded monitor begins anew. A save that is
        stopped anywhere leaves what was there before.

        Raises:
            DataError: a column's categories are neither text nor numbers.
        """
        of = self.reference
        kept = Saved(
            settings=asdict(self.settings),
            task=of.task,
            classes=of.classes,
            kinds=self._kinds,
            dtypes=self._dtypes,
            importance=of.importance,
            bins=of.bins,
            frame=of.frame,
            truth=of.truth,
            scores=of.scores,
        )
        saved.write(Path(path), kept)

    @classmethod
    def load(cls, path: str | Path, score: Callable[[pd.DataFrame], np.ndarray] | None = None) -> Monitor:
        """Read what `save` wrote.

        Args:
            score: the model, as for `fit`. Without it scores must be given to `assess`, and a batch in which anything
                changed is `inconclusive`, since its harm cannot be read.

        Raises:
            ArtifactError: the folder holds no monitor, one of a newer format, or rows that are not those that were
                saved.
        """
        folder = Path(path)
        kept = saved.read(folder)
        with saved.readable(folder):
            return cls._of(kept, score)


def _no_batch(rows: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in rows.schema], schema=rows.schema)
