"""The breaker's judgement as a library: fit it on held-out rows, ask it of every batch, tell it labels when they come.

    monitor = Monitor.fit(reference, target="status", score=model_score)
    assessment = monitor.assess(batch)
    monitor.observe(labels, scores)

It needs no flow, no store and no labels of the batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fuseline import performance
from fuseline.bins import Bins
from fuseline.canonical import Canonical, Kind, canonical, identities, kind_of, repeats
from fuseline.contract import learn
from fuseline.decide import Stakes, verdict
from fuseline.detect import Seen
from fuseline.errors import ArtifactError, DataError, ModelFault, SettingsError
from fuseline.given import asked, by_text, form_of, in_types, labelled, shaped, type_name, type_named
from fuseline.profile import Profile, learn_bins, sampled
from fuseline.realised import POOLED, WINDOWS, Realised, realise
from fuseline.records import Assessment, Cause, Check, Level, Measured, Task
from fuseline.reference import Reference, Rows
from fuseline.stages import HISTORY, SMALL, Past, judge

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
COPIES_MOST = 0.02  # share of rows that may be copies where the reference has none
BROKEN_MOST = 0.05  # share of values that are no number, or infinite, beyond which a batch is halted
MONITOR, REFERENCE = "monitor.json", "reference.parquet"


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

    def tolerated(self, task: Task) -> float:
        """The loss that halts: of AUC, or the share of RMSE."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.05 if task == "regression" else 0.02


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
        tolerance = settings.tolerated(reference.task)
        self.stakes = Stakes(measured.metric, measured.value, tolerance, settings.drift_policy, len(kinds))
        self._same: dict[tuple[str, ...], np.ndarray] = {}
        self._past: list[tuple[int, Past]] = []
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
            tolerance: harm that halts: AUC lost (one class against the rest, where there are several), by default
                0.02; or for a regression the share by which RMSE rises, by default 0.05.
            mean_batches_between_false_halts: how rare false halts of clean batches are to be.
            drift_policy: whether change that is everywhere, and whose harm only labels show, warns or halts.
            expected_rows: rows of a usual batch; half or twice as many halt. None: not checked.
            seed: the same seed gives the same verdicts.

        Raises:
            DataError: there is no such target, no feature, no labelled row, or labels of several types or one class.
            ModelFault: the model fails, or does not give one finite score for each row.
            SettingsError: a setting is out of its range.
        """
        import pyarrow as pa

        settings = Settings(task, tolerance, mean_batches_between_false_halts, drift_policy, expected_rows, seed)
        frame, truth = labelled(reference, target)
        kinds: dict[str, Kind] = {str(c): kind_of(frame[c]) for c in frame.columns}
        dtypes = {str(c): frame[c].dtype for c in frame.columns}
        plain = _frame(canonical(frame, kinds))
        form, classes = form_of(task, truth)
        scores = asked(score, frame, form, len(classes))
        importance = performance.column_importance(
            lambda part: asked(score, in_types(part, dtypes), form, len(classes)), plain, truth, form, classes, seed
        )
        bins = learn_bins(plain, learn(pa.Table.from_pandas(plain, preserve_index=False)), scores)
        return cls._made(settings, plain, truth, scores, form, classes, bins, importance, kinds, dtypes, score)

    @classmethod
    def _made(
        cls,
        settings: Settings,
        plain: pd.DataFrame,
        truth: np.ndarray,
        scores: np.ndarray,
        form: Task,
        classes: Sequence[str],
        bins: Bins,
        importance: dict[str, float],
        kinds: dict[str, Kind],
        dtypes: dict[str, Any],
        score: Callable[[pd.DataFrame], np.ndarray] | None,
    ) -> Monitor:
        def rescore(part: pd.DataFrame) -> np.ndarray:
            if score is None:
                raise ModelFault("the monitor was loaded without its model: Monitor.load(path, score=...)")
            return asked(score, in_types(part, dtypes), form, len(classes))

        budget = 1.0 / settings.mean_batches_between_false_halts
        reference = Reference(rescore, plain, truth, scores, form, classes, bins, importance, budget, settings.seed)
        return cls(settings, reference, kinds, dtypes, score)

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

    def expecting(self, rows: int | None) -> Monitor:
        """The same monitor with another `expected_rows`; what one remembers the other does not."""
        other = copy(self)
        other.settings = replace(self.settings, expected_rows=rows)
        other._past, other._labelled = list(self._past), list(self._labelled)
        return other

    def _judged(self, found: Canonical, scores: np.ndarray, causes: list[Cause], checks: list[Check]) -> Assessment:
        whole = self.reference.see(Rows(found.values, scores))
        same = identities(found.values, whole.cells)
        order, copies = repeats(same)
        checks += self._duplicates(found, whole, copies, causes)
        at = order[sampled(same[order] + copies.astype(np.uint64), self.settings.seed)]
        rows = Rows(found.values, scores, whole.cells).take(at)
        return self._settled(rows, whole.counts, int(np.bitwise_xor.reduce(same) % 2**63), causes, checks)

    def _settled(self, rows: Rows, counts: Any, digest: int, causes: list[Cause], checks: list[Check]) -> Assessment:
        past = [p for d, p in self._past if d != digest]  # asked about again it is no second batch
        judged = judge(self.reference, rows, self.stakes, counts, past)
        found = verdict([*causes, *judged.causes], [*checks, *judged.checks], judged.harm, None, judged.worlds)
        if found.verdict in ("pass", "warn"):  # what was held back is no part of what is normal
            self._past = [(d, p) for d, p in self._past if d != digest]
            small = rows if len(rows.scores) < SMALL else None
            self._past = [*self._past, (digest, Past(judged.counts, judged.changed, small))][-HISTORY:]
        return found

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
        expected = self.settings.expected_rows
        if expected:
            ratio = max(rows / expected, expected / max(rows, 1))
            checks.append(Check("rows against expected", ratio, 2.0))
            if checks[-1].fired:
                said = f"{rows:,} rows where about {expected:,} are usual"
                causes.append(Cause("rows", said, None, float(rows), float(expected)))
        return causes, checks

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
        """
        import pyarrow as pa

        found = canonical(by_text(part), self._kinds)
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
        counts = self.reference.fold(profile)
        digest = int(np.bitwise_xor.reduce(sample.rows.view(np.uint64)) % 2**63)
        return self._settled(rows, counts, digest, causes, checks)

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
        """Write the monitor to a folder: `monitor.json` and `reference.parquet`; the model itself is not in it.

        What it remembers of earlier batches is not written: a loaded monitor begins anew.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder, reference = Path(path), self.reference
        folder.mkdir(parents=True, exist_ok=True)
        scores = reference.scores.reshape(len(reference.scores), -1)
        table = pa.Table.from_pandas(reference.frame, preserve_index=False)
        table = table.append_column("__label", pa.array(reference.truth))
        for i in range(scores.shape[1]):
            table = table.append_column(f"__score{i}", pa.array(scores[:, i]))
        pq.write_table(table, folder / f"{REFERENCE}.new")
        document = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "task": reference.task,
            "classes": list(reference.classes),
            "kinds": self._kinds,
            "dtypes": {c: type_name(d) for c, d in self._dtypes.items()},
            "importance": dict(reference.importance),
            "bins": reference.bins.to_json(),
        }
        (folder / f"{MONITOR}.new").write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
        for name in (REFERENCE, MONITOR):
            (folder / f"{name}.new").replace(folder / name)

    @classmethod
    def load(cls, path: str | Path, score: Callable[[pd.DataFrame], np.ndarray] | None = None) -> Monitor:
        """Read what `save` wrote.

        Args:
            score: the model, as for `fit`. Without it scores must be given to `assess`, and a batch in which anything
                changed is `inconclusive`, since its harm cannot be read.

        Raises:
            ArtifactError: the folder holds no monitor, or one of a newer format.
        """
        import pyarrow.parquet as pq

        folder = Path(path)
        try:
            document = json.loads((folder / MONITOR).read_text(encoding="utf-8"))
            if document["format"] > FORMAT:
                found = f"{folder / MONITOR} has format {document['format']}"
                raise ArtifactError(f"{found}; this Fuseline reads up to {FORMAT}: upgrade it")
            frame = pq.read_table(folder / REFERENCE).to_pandas()
            kinds, types, importance = (dict(document[key]) for key in ("kinds", "dtypes", "importance"))
            named = [c for c in frame.columns if c.startswith("__score")]
            scores = frame[named[0]].to_numpy() if len(named) == 1 else frame[named].to_numpy()
            plain = _frame(canonical(frame, kinds))
            dtypes = {c: type_named(d) for c, d in types.items()}
            bins, settings = Bins.from_json(document["bins"]), Settings(**document["settings"])
            return cls._made(
                settings,
                plain,
                frame["__label"].to_numpy(),
                scores,
                document["task"],
                document["classes"],
                bins,
                importance,
                kinds,
                dtypes,
                score,
            )
        except (OSError, LookupError, AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{folder} holds no monitor that can be read: {error!r}. Fit it and save it again"
            ) from error


def _frame(found: Canonical) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(dict(found.values))


def _no_batch(rows: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in rows.schema], schema=rows.schema)
