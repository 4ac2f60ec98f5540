"""What is done to batches: faults in columns, other mixes of rows, both at once; and what each truly costs.

A scenario takes rows as they are and gives the rows as they would arrive, with their true labels; it is deterministic
for a generator. Its true loss is measured on all rows of the pool, never on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from sets import Case

from fuseline.performance import column_importance, loss, measure

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
Weigh = Callable[[pd.DataFrame, np.ndarray, np.ndarray], np.ndarray]  # features, target, scores -> weights of rows


@dataclass(frozen=True)
class Scenario:
    """One thing that happens to batches.

    Attributes:
        family: the group in the table: fault, operational, shift, multiple or concept.
        change: what happens to the values; None for nothing.
        weigh: how likely each row is drawn; None for equally.
        share: of a batch's rows that arrive.
        copies: share of a batch's rows that come twice.
    """

    family: str
    kind: str
    columns: tuple[str, ...] = ()
    change: Change | None = None
    weigh: Weigh | None = None
    share: float = 1.0
    copies: float = 0.0

    def fits(self, case: Case, rows: int) -> bool:
        """Whether the pool has enough rows of the wanted mix for a batch: three times as many as effectively count."""
        if self.weigh is None:
            return True
        frame, target = case.pool
        weights = self.weigh(frame, target, case.pool_scores)
        return float(weights.sum() ** 2 / np.square(weights).sum()) > 3.0 * rows

    @property
    def name(self) -> str:
        """Kind and columns."""
        return f"{self.kind}({', '.join(self.columns)})"

    def draw(self, case: Case, rows: int, rng: np.random.Generator) -> Batch:
        """A batch of so many rows as it would arrive."""
        frame, target = case.pool
        chances = None
        if self.weigh is not None:
            weights = self.weigh(frame, target, case.pool_scores)
            chances = weights / weights.sum()
        # equally likely rows come once; weighted ones as Efraimidis & Spirakis (2006) draw them
        keys = (
            rng.random(len(frame))
            if chances is None
            else rng.exponential(size=len(frame)) / np.maximum(chances, 1e-300)
        )
        at = np.argpartition(keys, rows - 1)[:rows] if rows < len(frame) else np.arange(len(frame))
        part, labels = frame.iloc[at].reset_index(drop=True), target[at]
        if self.change is not None:
            part = self.change(part, rng)
        if self.share < 1.0 or self.copies:
            kept = np.arange(int(rows * self.share))
            again = kept[: int(len(kept) * self.copies)]
            kept = np.concatenate([kept[: len(kept) - len(again)], again])
            part, labels = part.iloc[kept].reset_index(drop=True), labels[kept]
        return Batch(part, labels)


@dataclass(frozen=True)
class Batch:
    """Rows as they arrive, and their true labels, which come later."""

    frame: pd.DataFrame
    target: np.ndarray


def classes(case: Case) -> tuple[str, ...]:
    """The classes as text; none for a regression."""
    return () if case.set.task == "regression" else tuple(map(str, np.unique(case.reference[1])))


def true_loss(case: Case, scenario: Scenario, seed: int = 5) -> float:
    """What the scenario costs on the whole pool: AUC lost, or RMSE gained, scaled so that 5 % of it is 0.02."""
    frame, target = case.pool
    rng, task = np.random.default_rng(seed), case.set.task
    before = measure(task, target, case.pool_scores, classes(case))
    assert before is not None
    if scenario.weigh is not None:
        weights = scenario.weigh(frame, target, case.pool_scores)
        at = rng.choice(len(frame), 3 * len(frame), p=weights / weights.sum())
        frame, target = frame.iloc[at].reset_index(drop=True), target[at]
    if scenario.change is not None:
        frame = scenario.change(frame, rng)
    scores = case.score(frame)
    found = loss(task, before, measure(task, target, scores, classes(case)))
    return found * 0.4 if task == "regression" else found


# ── faults ──────────────────────────────────────────────────────────────────────────────────────


def _put(column: str, make: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    def change(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        return frame.assign(**{column: make(frame[column].to_numpy().copy(), rng)})

    return change


def _some(share: float, value: object) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def make(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        values[rng.random(len(values)) < share] = value
        return values

    return make


def _dealt(columns: tuple[str, ...], share: float = 1.0) -> Change:
    """A join by the wrong key: these columns come from other rows, together."""

    def change(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        order = np.arange(len(frame))
        hit = np.flatnonzero(rng.random(len(frame)) < share)
        order[hit] = hit[rng.permutation(len(hit))]
        return frame.assign(**{c: frame[c].to_numpy()[order] for c in columns})

    return change


def _swap(a: str, b: str) -> Change:
    return lambda frame, rng: frame.assign(**{a: frame[b].to_numpy(), b: frame[a].to_numpy()})


def _mapped(
    levels: Sequence[object], names: Sequence[object]
) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    table = dict(zip(levels, names, strict=True))
    return lambda values, rng: np.array([table.get(v, v) for v in values], dtype=object)


def number_faults(column: str, values: np.ndarray) -> Iterator[Scenario]:
    """What happens to a column of numbers."""
    known = values[~np.isnan(values)]
    low, high, middle = float(known.min()), float(known.max()), float(np.median(known))
    what = {
        "all null": lambda v, rng: np.full(len(v), np.nan),
        "30 % null": _some(0.3, np.nan),
        "x100": lambda v, rng: v * 100.0,
        "/100": lambda v, rng: v / 100.0,
        "x1.3": lambda v, rng: v * 1.3,
        "offset": lambda v, rng: v + np.nanstd(values),
        "sign": lambda v, rng: -v,
        "reversed": lambda v, rng: low + high - v,
        "stale": lambda v, rng: np.full(len(v), middle),
        "default 30 %": _some(0.3, 0.0),
        "default": lambda v, rng: np.zeros(len(v)),
        "noise": lambda v, rng: v + rng.normal(size=len(v)) * np.nanstd(values),
        "rounded": lambda v, rng: np.round(v / (np.nanstd(values) * 2)) * np.nanstd(values) * 2,
        "clipped": lambda v, rng: np.minimum(v, middle),
    }
    for kind, make in what.items():
        yield Scenario("fault", kind, (column,), _put(column, make))


def text_faults(column: str, values: np.ndarray) -> Iterator[Scenario]:
    """What happens to a column of text."""
    counts = pd.Series(values).value_counts()
    levels, most = list(counts.index), counts.index[0]
    what = {
        "all null": lambda v, rng: np.full(len(v), None, dtype=object),
        "30 % null": _some(0.3, None),
        "renamed": _mapped([most], [f"{most}_new"]),
        "encoding": lambda v, rng: np.array([None if x is None else f"Ã©{x}" for x in v], dtype=object),
        "encoding 30 %": lambda v, rng: np.array(
            [x if x is None or u > 0.3 else f"Ã©{x}" for x, u in zip(v, rng.random(len(v)), strict=True)], dtype=object
        ),
        "stale": lambda v, rng: np.full(len(v), most, dtype=object),
        "default 30 %": _some(0.3, most),
        "relabelled": _mapped(levels, [*levels[1:], levels[0]]),
        "merged": _mapped(levels, [most if i % 2 else x for i, x in enumerate(levels)]),
    }
    for kind, make in what.items():
        yield Scenario("fault", kind, (column,), _put(column, make))


def columns_by_importance(case: Case) -> list[str]:
    """The most important columns first."""
    frame, target = case.reference
    found = column_importance(case.score, frame, target, case.set.task, classes(case), 0)
    return sorted(found, key=lambda c: -found[c])


def chosen_columns(case: Case, important: int, others: int) -> list[str]:
    """So many of the most important columns, and of the rest."""
    ranked = columns_by_importance(case)
    return [*ranked[:important], *ranked[important:][-others:]]


def faults(case: Case, important: int = 4, others: int = 2) -> Iterator[Scenario]:
    """One column, or one join, goes wrong."""
    frame, _ = case.reference
    columns = chosen_columns(case, important, others)
    for column in columns:
        values = frame[column].to_numpy()
        yield from text_faults(column, values) if values.dtype == object else number_faults(column, values)
        yield Scenario("fault", "wrong join", (column,), _dealt((column,)))
        yield Scenario("fault", "half a wrong join", (column,), _dealt((column,), 0.5))
    for names in (tuple(columns[:3]), tuple(columns[1:4]), tuple(columns[-2:])):
        yield Scenario("fault", "wrong join", names, _dealt(names))
    numbers = [c for c in columns if frame[c].dtype != object]
    for a, b in pairwise(numbers):
        yield Scenario("fault", "swapped", (a, b), _swap(a, b))


def operational() -> Iterator[Scenario]:
    """The rows are right but not the file: these halt whatever the model loses."""
    yield Scenario("operational", "rows twice", copies=0.3)
    yield Scenario("operational", "cut off", share=0.4)


# ── other mixes of rows ─────────────────────────────────────────────────────────────────────────


def _tilt(column: str, strength: float) -> Weigh:
    """Rows are drawn by exp(strength · standardised rank), or of text by the rank of a level's size."""

    def weigh(frame: pd.DataFrame, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
        values = frame[column]
        if values.dtype == object:
            order = {v: i for i, v in enumerate(values.value_counts().index)}
            ranks = values.map(order).fillna(0.0).to_numpy(dtype=np.float64)
            ranks = ranks / max(ranks.max(), 1.0)
        else:
            ranks = values.rank(pct=True).fillna(0.5).to_numpy()
        return np.exp(strength * (ranks - 0.5) * 2.0)

    return weigh


def _middle(column: str, strength: float) -> Weigh:
    """Rows near the median are more common (or, under zero, rarer)."""

    def weigh(frame: pd.DataFrame, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
        ranks = frame[column].rank(pct=True).fillna(0.5).to_numpy()
        return np.exp(-strength * np.abs(ranks - 0.5) * 4.0)

    return weigh


def _scores_tilt(strength: float, middle: bool) -> Weigh:
    def weigh(frame: pd.DataFrame, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
        value = scores if scores.ndim == 1 else scores.max(axis=1)
        ranks = pd.Series(value).rank(pct=True).to_numpy()
        return np.exp(-strength * np.abs(ranks - 0.5) * 4.0 if middle else strength * (ranks - 0.5) * 2.0)

    return weigh


def _prior(strength: float) -> Weigh:
    def weigh(frame: pd.DataFrame, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
        kinds, place = np.unique(target, return_inverse=True)
        at = place / max(len(kinds) - 1, 1) if len(kinds) < 20 else pd.Series(target).rank(pct=True).to_numpy()
        return np.exp(strength * at)

    return weigh


def _both(a: Weigh, b: Weigh) -> Weigh:
    return lambda frame, target, scores: a(frame, target, scores) * b(frame, target, scores)


def shifts(case: Case, important: int = 4, others: int = 2) -> Iterator[Scenario]:
    """The same kind of rows in another mix; the law of the labels stays."""
    frame, _ = case.reference
    columns = chosen_columns(case, important, others)
    for column in columns:
        for strength in (-2.0, -1.0, -0.4, 0.4, 1.0, 2.0):
            yield Scenario("shift", f"tilt {strength:+}", (column,), weigh=_tilt(column, strength))
        if frame[column].dtype != object:
            for strength in (-1.5, 1.5):
                yield Scenario("shift", f"middle {strength:+}", (column,), weigh=_middle(column, strength))
    for a, b in pairwise(columns):
        for strength in (0.7, -1.2):
            yield Scenario("shift", f"tilt {strength:+}", (a, b), weigh=_both(_tilt(a, strength), _tilt(b, -strength)))
    for strength in (-1.5, -0.7, 0.7, 1.5):
        yield Scenario("shift", f"scores {strength:+}", weigh=_scores_tilt(strength, middle=False))
        yield Scenario("shift", f"middle scores {strength:+}", weigh=_scores_tilt(strength, middle=True))
    for strength in (-1.2, -0.5, 0.5, 1.2):
        yield Scenario("shift", f"prior {strength:+}", weigh=_prior(strength))


def multiple(case: Case, seed: int = 9, pairs: int = 14) -> Iterator[Scenario]:
    """Several columns at once, or a shift and a fault in one batch."""
    rng = np.random.default_rng(seed)
    singles = [s for s in faults(case) if s.change is not None]
    mixes = list(shifts(case))
    for i in range(pairs):
        picked = [singles[k] for k in rng.choice(len(singles), 3 if i % 3 == 0 else 2, replace=False)]
        if len({c for s in picked for c in s.columns}) < sum(len(s.columns) for s in picked):
            continue
        names = tuple(f"{s.kind} {'+'.join(s.columns)}" for s in picked)
        yield Scenario("multiple", "faults", names, _after(picked))
    for _ in range(pairs):
        fault, shift = singles[rng.integers(len(singles))], mixes[rng.integers(len(mixes))]
        yield Scenario("multiple", "shift and fault", (shift.name, fault.name), fault.change, shift.weigh)


def _after(parts: Sequence[Scenario]) -> Change:
    def change(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        for part in parts:
            assert part.change is not None
            frame = part.change(frame, rng)
        return frame

    return change
