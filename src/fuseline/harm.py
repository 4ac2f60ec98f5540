"""What a change of columns would cost the model, read off labelled reference rows that are made to look like the batch.

There are two ways to do so, and they hurt differently. The batch may be another mix of the same kind of rows: then
reference rows are weighted. Or values no longer mean what they meant: then reference rows get the batch's values, and
are scored again. Labels of the reference are known, so the loss of the metric can be read in either world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from fuseline.errors import DataError
from fuseline.performance import choose_rows, loss, measure, target_of
from fuseline.records import Measured, Task
from fuseline.replay import happen, kinds_of, replay
from fuseline.selection import MISSING, Cut, Likeness, cut, rake, weighted_metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Estimate", "World", "estimate", "explain", "replay"]

FACTORS = {
    **{10.0**k: f"{10.0**k:,.10g}" for k in range(-9, 10) if k},
    60.0: "60 (hours to minutes, or minutes to seconds)",
    1 / 60: "1/60 (seconds to minutes, or minutes to hours)",
    24.0: "24 (days to hours)",
    1 / 24: "1/24 (hours to days)",
    3600.0: "3,600 (hours to seconds)",
    1 / 3600: "1/3,600 (seconds to hours)",
    0.3048: "0.3048 (feet to metres)",
    1 / 0.3048: "3.281 (metres to feet)",
    1.609344: "1.609 (miles to kilometres)",
    1 / 1.609344: "0.6214 (kilometres to miles)",
    0.45359237: "0.4536 (pounds to kilograms)",
    1 / 0.45359237: "2.205 (kilograms to pounds)",
}
LARGE = 10.0  # nothing but a factor moves a column tenfold, so that noise may be allowed
OFF_FACTOR = (0.05, 0.2)  # how far a ratio may be from a small or a large factor, as a share of it
APART = (1.3, 2.0)  # how many times the ratios of the quantiles may differ, for a small or a large factor
QUANTILES = np.linspace(0.1, 0.9, 9)


POOL = 20_000  # labelled rows that are weighted
MATTER = 6  # columns that worlds are compared by
PRIOR = 10.0  # how many times likelier another mix of rows is than a fault
SHARP = 6  # the power of the distance by which a world is believed
RARE = 15.0  # how much nearer the batch must look with a kind of fault that is not the simplest
SCORED = 4  # fault worlds that are scored
UNLIKELY = 0.01  # belief under which a world is left out of the columns' harm


@dataclass(frozen=True)
class Estimate:
    """What the changes are estimated to cost: AUC lost, or the share of RMSE gained; 0.0 or more.

    Attributes:
        total: with all columns changed together.
        by_column: with one column changed alone.
        selection: how far it is believed that the batch is another mix of the same kind of rows, 0 to 1.
    """

    total: float = 0.0
    by_column: dict[str, float] = field(default_factory=dict)
    selection: float = 0.0


@dataclass(frozen=True)
class World:
    """What may have happened: reference rows that are weighted, or have columns of other values.

    Attributes:
        distance: how unlike the batch it is (`selection.Likeness.distance`).
        harm: what it costs.
        prior: how many times likelier it is than others, before one looks.
        columns: those with other values; none of a selection.
    """

    distance: float
    harm: float
    prior: float = 1.0
    columns: tuple[str, ...] = ()


def estimate(
    score: Callable[[pd.DataFrame], np.ndarray],
    frame: pd.DataFrame,
    truth: np.ndarray,
    task: Task,
    classes: Sequence[str],
    batch_sample: pd.DataFrame,
    columns: Sequence[str],
    seed: int,
    rows: int = 4000,
    *,
    importance: Mapping[str, float] | None = None,
    score_changed: bool = False,
    reference_scores: np.ndarray | None = None,
    batch_scores: np.ndarray | None = None,
) -> Estimate:
    """The loss of the metric that the worlds which look like the batch have, each believed as far as it does.

    In a world of selection the reference rows are weighted to the batch's shares (`selection.rake`); in a world of
    fault columns of them have values of the batch (`replay` and what else can happen to a column). With a world's harm
    h, its distance T from the batch and its prior π, the estimate is Σ π T⁻⁶ h / Σ π T⁻⁶, and 0.0 if that is negative.

    Args:
        score: scores a frame of the columns and types of `frame`.
        frame: the features of the labelled reference rows; not changed.
        truth: their labels, shape (rows,).
        batch_sample: rows of the batch, with the columns and types of `frame`; not changed.
        columns: those that changed.
        rows: how many reference rows are scored again at most.
        importance: by column; the more important ones are looked at for what goes together.
        score_changed: whether the scores are spread differently.
        reference_scores, batch_scores: the scores of `frame` and `batch_sample`, if they are known.

    Raises:
        DataError: the reference rows have no metric.
    """
    if not columns and not score_changed:
        return Estimate()
    known = choose_rows("regression" if task == "regression" else "multiclass", truth, classes, POOL, seed)
    pool, labels = frame.iloc[known].reset_index(drop=True), np.asarray(truth)[known]
    scores = score(pool) if reference_scores is None else np.asarray(reference_scores, dtype=np.float64)[known]
    there = score(batch_sample) if batch_scores is None else np.asarray(batch_scores, dtype=np.float64)
    if not len(batch_sample):
        return Estimate(0.0, dict.fromkeys(columns, 0.0))
    part = choose_rows(task, labels, classes, rows, seed)
    before = measure(task, labels[part], scores[part], classes)
    if before is None:
        raise DataError("the reference rows have no metric: of one class only, or too few. Train the version again")
    weigh = importance or {}
    most = sorted(frame.columns, key=lambda c: (c not in columns, -weigh.get(c, 0.0)))
    case = _Case(
        score, pool, labels, task, classes, scores, batch_sample, there, columns, part, before, most[:MATTER], seed
    )
    violated = tuple(c for c in columns if case.cuts[c].missing > MISSING)
    worlds = [] if violated else case.selections(score_changed)
    worlds += case.faults(violated)
    return _believed(worlds, columns, case.alone)


def _believed(worlds: Sequence[World], columns: Sequence[str], alone: Callable[[str], float]) -> Estimate:
    least = min(w.distance for w in worlds)  # 1e-300 and the like have no sixth power
    belief = np.array([w.prior * (max(w.distance, 1e-9) / max(least, 1e-9)) ** -SHARP for w in worlds])
    belief /= belief.sum()
    total = max(float(belief @ np.array([w.harm for w in worlds])), 0.0)
    selected = float(sum(b for b, w in zip(belief, worlds, strict=True) if not w.columns))
    touched: dict[str, float] = {}
    for b, w in zip(belief, worlds, strict=True):
        touched |= {c: touched.get(c, 0.0) + float(b) for c in w.columns}
    by_column = dict.fromkeys(columns, 0.0)
    by_column |= {c: b * alone(c) for c, b in touched.items() if b > UNLIKELY}
    if len(columns) == 1:
        by_column = {columns[0]: total}
    return Estimate(total, by_column, selected)


class _Case:
    """One batch against the reference: makes worlds and reads their harm.

    `pool` are labelled rows as they come, `part` the numbers of those of them that are scored again: of two classes
    equally many, so that `balance` weighs them back.
    """

    def __init__(
        self,
        score: Callable[[pd.DataFrame], np.ndarray],
        pool: pd.DataFrame,
        labels: np.ndarray,
        task: Task,
        classes: Sequence[str],
        scores: np.ndarray,
        batch: pd.DataFrame,
        batch_scores: np.ndarray,
        changed: Sequence[str],
        part: np.ndarray,
        before: Measured,
        matter: Sequence[str],
        seed: int,
    ) -> None:
        self.score, self.pool, self.task, self.batch, self.changed, self.part = score, pool, task, batch, changed, part
        self.labels, self.classes, self.scores, self.matter, self.seed = labels, classes, scores, matter, seed
        self.target = target_of(task, labels, classes)
        self.cuts = {c: cut(pool[c].to_numpy(), batch[c].to_numpy()) for c in dict.fromkeys([*changed, *matter])}
        sides = [s if s.ndim == 2 else s[:, None] for s in (scores, batch_scores)]
        self.score_cuts = [cut(a, b) for a, b in list(zip(*(s.T for s in sides), strict=True))[:3]]
        self.like = Likeness({c: self.cuts[c] for c in matter}, self.score_cuts, sides[0][:, -1])
        self.frame = pool.iloc[part].reset_index(drop=True)
        self.balance = np.ones(len(part))
        if task == "binary":
            share = [np.bincount(t, minlength=2) / len(t) for t in (self.target, self.target[part])]
            self.balance = (share[0] / np.maximum(share[1], 1e-9))[self.target[part]]
        self.before = before
        self.made: dict[tuple[str, str], np.ndarray] = {}
        self.kinds: dict[str, str] = {}
        self._alone: dict[str, float] = {}

    # ── the same rows in another mix ─────────────────────────────────────────────────────────────

    def selections(self, score_changed: bool) -> list[World]:
        """The reference as it is, raked to all that changed, and to the most changed column."""
        cuts = [self.cuts[c] for c in self.changed] + (self.score_cuts if score_changed else [])
        sets: list[list[Cut]] = [[], cuts]
        if len(cuts) > 1:
            sets.append([max(cuts, key=lambda c: c.signal)])
        return [self._selection(s) for s in sets]

    def _selection(self, cuts: Sequence[Cut]) -> World:
        weights = rake(cuts) if cuts else np.ones(len(self.pool))
        distance = self.like.distance(self.like.reference, weights, len(cuts))
        return World(distance, self._weighted_loss(weights) if cuts else 0.0, PRIOR)

    def _weighted_loss(self, weights: np.ndarray) -> float:
        """The loss, nearer to 0.0 by its standard error: few rows with large weights must not look like harm."""
        before, after = (
            weighted_metric(self.task, self.target, self.scores, w) for w in (np.ones(len(weights)), weights)
        )
        if before is None or after is None:
            return 0.0
        unit = before[0] if self.task == "regression" else 1.0
        error = float(np.linalg.norm(after[1] - before[1])) / (unit or 1.0)
        found = _lost(self.task, before[0], after[0])
        return float(np.sign(found)) * max(abs(found) - error, 0.0)

    # ── values that mean something else ──────────────────────────────────────────────────────────

    def faults(self, violated: tuple[str, ...]) -> list[World]:
        """Columns with other values, one after another and all at once, the other changed ones raked."""
        looked = [c for c in self.matter if c in self.changed or not self.changed]
        sets: list[tuple[str, ...]] = [violated] if violated else [(c,) for c in looked]
        sets.append(tuple(self.changed))
        found = []
        for names in dict.fromkeys(s for s in sets if s):
            rest = [self.cuts[c] for c in self.changed if c not in names]
            weights = self.balance * (rake(rest)[self.part] if rest else 1.0)
            for name in names:
                self._choose(name, weights)
            distance = self._plain_distance(names, weights, len(self.changed))
            found.append((distance, names, weights))
        found.sort(key=lambda f: f[0])
        return [self._fault(names, weights) for _, names, weights in found[:SCORED]]

    def _choose(self, name: str, weights: np.ndarray) -> None:
        """Which kind of fault of a column looks most like the batch."""
        if name in self.kinds:
            return
        kinds = list(kinds_of(self.pool[name].to_numpy(), name in self.changed))
        self.kinds[name] = kinds[0]
        if name in self.matter and len(kinds) > 1:
            distances = {}
            for kind in kinds:
                self.kinds[name] = kind
                distances[kind] = self._plain_distance((name,), weights, 0) + (RARE if kind != kinds[0] else 0.0)
            self.kinds[name] = min(kinds, key=distances.__getitem__)

    def _values(self, name: str) -> np.ndarray:
        """The column's values in the part rows, after the fault."""
        key = name, self.kinds[name]
        if key not in self.made:
            rng = np.random.default_rng([self.seed, list(self.pool.columns).index(name)])
            reference, batch = self.pool[name].to_numpy(), self.batch[name].to_numpy()
            self.made[key] = happen(self.kinds[name], reference, batch, self.cuts[name], rng)[self.part]
        return self.made[key]

    def _places(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {
            c: self.cuts[c].places(self._values(c)) if c in names else self.cuts[c].reference[self.part]
            for c in self.matter
        }

    def _plain_distance(self, names: Sequence[str], weights: np.ndarray, fitted: int) -> float:
        features = self.like.features(self._places(names), None)
        return self.like.distance(self.like.standard(features), weights, fitted)

    def _fault(self, names: tuple[str, ...], weights: np.ndarray) -> World:
        scores = self.score(self.frame.assign(**{c: self._values(c) for c in names}))
        columns = scores if scores.ndim == 2 else scores[:, None]
        places = [c.places(columns[:, i]) for i, c in enumerate(self.score_cuts)]
        features = self.like.standard(self.like.features(self._places(names), places))
        distance = self.like.distance(features, weights, len(self.changed) or 1)
        harm = self._loss(scores, weights / self.balance)
        if len(names) == 1:
            self._alone[names[0]] = self._loss(scores, np.ones(len(scores)))
        return World(distance, harm, 1.0, names)

    def _loss(self, scores: np.ndarray, weights: np.ndarray) -> float:
        if np.ptp(weights) == 0.0:
            return loss(self.task, self.before, measure(self.task, self.labels[self.part], scores, self.classes))
        after = weighted_metric(self.task, self.target[self.part], scores, weights)
        return _lost(self.task, self.before.value, None if after is None else after[0])

    def alone(self, name: str) -> float:
        """What one column costs, if its values mean something else."""
        if name not in self._alone:
            scores = self.score(self.frame.assign(**{name: self._values(name)}))
            self._alone[name] = self._loss(scores, np.ones(len(scores)))
        return max(self._alone[name], 0.0)


def _lost(task: Task, before: float, after: float | None) -> float:
    """As `performance.loss`, of figures."""
    if after is None:
        return 1.0
    if task != "regression":
        return before - after
    return after / before - 1.0 if before else float(after > 0.0)


# ── what happened, in words ──────────────────────────────────────────────────────────────────────


def explain(column: str, reference: np.ndarray | pd.Series, batch: np.ndarray | pd.Series) -> str:
    """A sentence for people of what seems to have happened to a column.

    Args:
        reference, batch: values of the column: float64, datetime64 or object with None. Not changed.

    >>> prices = np.linspace(50.0, 150.0, 1001)
    >>> explain("price_eur", prices, prices * 100)
    'price_eur looks multiplied by 100 (median 10,000 v. 100)'
    """
    import pandas as pd

    before, after = pd.Series(np.asarray(reference)), pd.Series(np.asarray(batch))
    if not len(before) or not len(after):
        return f"{column} has no rows to compare"
    was, now = float(before.isna().mean()), float(after.isna().mean())
    said = []
    if abs(now - was) > 0.002 + 3.0 * (was * (1.0 - was) * (1.0 / len(before) + 1.0 / len(after))) ** 0.5:
        said.append(f"is null in {_percent(now)} of rows ({_percent(was)} in the reference)")
    before, after = before.dropna(), after.dropna()
    if len(before) and len(after):
        what = _levels(before, after) if before.dtype == object else _numbers(before, after)
        said += [what] if what else []
    return f"{column} {' and '.join(said) or 'differs little from the reference'}"


def _levels(before: pd.Series, after: pd.Series) -> str:
    was, now = before.value_counts(normalize=True), after.value_counts(normalize=True)
    unseen = now[~now.index.isin(was.index)]
    if len(unseen) and unseen.sum() > 0.005:
        examples = ", ".join(repr(str(v)) for v in sorted(unseen.index, key=lambda v: (-unseen[v], str(v)))[:3])
        return f"has {_percent(float(unseen.sum()))} of values never seen (e.g. {examples})"
    change = now.sub(was, fill_value=0.0)
    most = max(change.index, key=lambda v: (round(abs(change[v]), 9), change[v], str(v)))
    pooled = (float(was.get(most, 0.0)) * len(before) + float(now.get(most, 0.0)) * len(after)) / (
        len(before) + len(after)
    )
    if abs(change[most]) <= 3.0 * (pooled * (1.0 - pooled) * (1.0 / len(before) + 1.0 / len(after))) ** 0.5:
        return ""  # no more than chance does
    return f"moved ({str(most)!r} is {_percent(now.get(most, 0.0))} of rows v. {_percent(was.get(most, 0.0))})"


def _numbers(before: pd.Series, after: pd.Series) -> str:
    middle, was = after.median(), before.median()
    figures = f"median {_figure(middle)} v. {_figure(was)}"
    if after.nunique() == 1 and before.nunique() > 1:
        return f"is {_figure(after.iloc[0])} in every row ({before.nunique():,} values in the reference)"
    low, high = np.sort(before.to_numpy()), np.sort(after.to_numpy())
    if not _moved(low, high):
        return ""
    if low.dtype.kind != "f":
        return f"moved ({figures})"
    if (factor := _factor(low, high)) is not None:
        what = "to have its sign turned" if factor == -1.0 else f"multiplied by {FACTORS[factor]}"
        return f"looks {what} ({figures})"
    if (shift := _shift(low, high)) is not None:
        return f"looks shifted by {_figure(shift)} ({figures})"
    if middle == was:
        figures = f"mean {_figure(high.mean())} v. {_figure(low.mean())}"
    return f"moved ({figures})"


def _moved(low: np.ndarray, high: np.ndarray) -> bool:
    """The two-sample Kolmogorov-Smirnov test of sorted values at 1 % (Smirnov 1948): by more than chance does."""
    every = np.concatenate([low, high])
    apart = np.searchsorted(low, every, "right") / len(low) - np.searchsorted(high, every, "right") / len(high)
    return bool(np.abs(apart).max() > 1.63 * (1.0 / len(low) + 1.0 / len(high)) ** 0.5)


def _factor(before: np.ndarray, after: np.ndarray) -> float | None:
    """The well-known factor that turns the one into the other: the same at every quantile of what is not zero."""
    before, after = before[before != 0.0], after[after != 0.0]
    if min(len(before), len(after)) < 20:
        return None
    low, high = np.quantile(before, QUANTILES), np.quantile(after, QUANTILES)
    if _alike(high, low, APART[1]):
        ratio = float(np.median(high / low))
        nearest = min(FACTORS, key=lambda f: abs(np.log(ratio / f)))
        large = max(nearest, 1.0 / nearest) >= LARGE
        if abs(ratio / nearest - 1.0) <= OFF_FACTOR[large] and _alike(high, low, APART[large]):
            return nearest
        return None
    turned = -low[::-1]
    return -1.0 if _alike(high, turned, APART[0]) and abs(np.median(high / turned) - 1.0) <= 2 * OFF_FACTOR[0] else None


def _alike(high: np.ndarray, low: np.ndarray, most: float) -> bool:
    """Whether all ratios are positive and no two are further apart than `most` times."""
    with np.errstate(all="ignore"):
        ratios = high / low
    return bool(np.isfinite(ratios).all() and ratios.min() > 0.0 and ratios.max() <= most * ratios.min())


def _shift(before: np.ndarray, after: np.ndarray) -> float | None:
    """What was added to every value: the same at every quantile, and more than half of the middle half's width."""
    low, high = np.quantile(before, QUANTILES), np.quantile(after, QUANTILES)
    steps, width = high - low, float(np.subtract(*np.quantile(before, [0.75, 0.25])))
    middle = float(np.median(steps))
    like = np.abs(steps - middle).max() <= max(0.1 * width, 0.05 * abs(middle)) and abs(middle) > 0.5 * width
    return middle if like and width > 0.0 and isfinite(middle) else None


def _percent(share: Any) -> str:
    """A share as text; what is not nothing is not shown as nothing.

    >>> _percent(0.5), _percent(0.123), _percent(0.0004)
    ('50 %', '12 %', 'under 0.1 %')
    """
    percent = 100.0 * float(share)
    if 0.0 < percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if 0.0 < percent < 10.0 or 99.0 <= percent < 100.0 else f"{percent:.0f} %"


def _figure(value: Any) -> str:
    """A number or a time as text.

    >>> _figure(9912.4), _figure(99.14), _figure(np.datetime64("2026-03-01T12:30"))
    ('9,912', '99.1', '2026-03-01')
    """
    import pandas as pd

    if isinstance(value, pd.Timestamp | np.datetime64):
        return str(pd.Timestamp(value).date())
    return f"{value:,.0f}" if 1000.0 <= abs(value) < 1e15 else f"{value:.3g}"
