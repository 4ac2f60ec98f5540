"""What holds for every statistic that compares a batch with the reference: one table, and the invariants over it.

Each figure of the table is 0 where nothing differs, and the larger the more does. A new statistic is one more line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from fuseline.bins import Binning, count_numbers, quantile_edges
from fuseline.cells import Axis, axis
from fuseline.dependence import Dependence, block, learn
from fuseline.detect import Change, Detector, Seen
from fuseline.drift import Thresholds, critical, ks, null_bound, threshold, triangular
from fuseline.explain import Likeness
from fuseline.leak import creeps
from fuseline.phrases import describe
from fuseline.selection import Group, effective, rake, weighted_metric
from fuseline.situation import Situation

COLUMNS = ("x", "y", "city")
LEVELS = ("a", "b", "c", "d")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of x, y and city, which go together; `truth` is what a model is to find from x. Not changed by a fault."""

    x: np.ndarray
    y: np.ndarray
    city: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def score(self) -> np.ndarray:
        """What a model says of x, from 0 to 1."""
        return 1.0 / (1.0 + np.exp(-2.0 * np.nan_to_num(self.x)))

    def take(self, order: np.ndarray) -> Rows:
        return Rows(self.x[order], self.y[order], self.city[order], self.truth[order])

    def but(self, x: np.ndarray) -> Rows:
        return Rows(x, self.y, self.city, self.truth)


def draw(rows: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    city = np.array(LEVELS, dtype=object)[np.clip(np.round(x + 0.5 * rng.normal(size=rows)) + 1, 0, 3).astype(int)]
    null = rng.random(rows) < 0.02
    return Rows(np.where(null, np.nan, x), x + 0.5 * rng.normal(size=rows), city, x + 0.3 * rng.normal(size=rows))


# ── faults of x, from nothing (0) to the whole (1) ───────────────────────────────────────────────


def nulls(rows: Rows, size: float) -> Rows:
    return rows.but(np.where(np.arange(len(rows)) < size * len(rows), np.nan, rows.x))


def shifted(rows: Rows, size: float) -> Rows:
    return rows.but(rows.x + 2.0 * size)


def dealt(rows: Rows, size: float) -> Rows:
    hit = int(size * len(rows))
    return rows.but(np.concatenate([np.roll(rows.x[:hit], hit // 3), rows.x[hit:]]))


FAULTS = {"nulls": nulls, "shifted": shifted, "dealt": dealt}
SIZES = (0.0, 0.15, 0.4, 1.0)


# ── what is made of a reference, once ────────────────────────────────────────────────────────────


def _axis(name: str, values: np.ndarray) -> Axis:
    if values.dtype == object:
        counts = (*(int((values == level).sum()) for level in LEVELS), 0, 0)
        return axis(name, Binning("levels", levels=LEVELS, counts=counts), values)
    edges = quantile_edges(values[~np.isnan(values)], 16)
    return axis(name, Binning("numeric", edges, counts=tuple(count_numbers(Binning("numeric", edges), values))), values)


@cache
def axes(reference: Rows) -> dict[str, Axis]:
    return {k: _axis(k, getattr(reference, k)) for k in (*COLUMNS, "score")}


@cache
def detector(reference: Rows) -> Detector:
    columns = {k: a for k, a in axes(reference).items() if k != "score"}
    return Detector(columns, {"score": axes(reference)["score"]}, {"x": 0.2, "y": 0.1}, 1e-3, 0)


@cache
def dependence(reference: Rows) -> Dependence:
    known = {k: axes(reference)[k] for k in COLUMNS}
    found = learn(COLUMNS, {k: a.reference for k, a in known.items()}, {k: a.size for k, a in known.items()})
    assert found is not None
    return found


@cache
def thresholds(reference: Rows) -> Thresholds:
    return Thresholds(counts(reference, reference), 1e-3, [0], True)


def cells(reference: Rows, batch: Rows) -> dict[str, np.ndarray]:
    return {k: a.place(getattr(batch, k)) for k, a in axes(reference).items()}


def counts(reference: Rows, rows: Rows, column: str = "x") -> np.ndarray:
    return axes(reference)[column].counts(axes(reference)[column].place(getattr(rows, column)))


def both(reference: Rows, batch: Rows) -> tuple[np.ndarray, np.ndarray]:
    return counts(reference, reference) / len(reference), counts(reference, batch) / len(batch)


# ── the figures ──────────────────────────────────────────────────────────────────────────────────


def by_threshold(r: Rows, b: Rows) -> float:
    return float(triangular(*both(r, b)) / threshold(counts(r, r), len(b), 1e-3, 0)[0])


def by_thresholds(r: Rows, b: Rows) -> float:
    bounds = thresholds(r).at(len(b))
    return float(max(triangular(*both(r, b)) / bounds[0], ks(*both(r, b)) / bounds[1]))


def by_critical(r: Rows, b: Rows) -> float:
    """What the differences of the quantiles seldom exceed."""
    low, high = (np.nanquantile(v, np.linspace(0.01, 0.99, 99)) for v in (r.x, b.x))
    return critical(np.abs(high - low), 0.01)


def by_null_bound(r: Rows, b: Rows) -> float:
    was, now = (int(np.isnan(v).sum()) for v in (r.x, b.x))
    return max(now / null_bound(was, len(r), len(b), 1e-4) - 1.0, 0.0)


def detected(r: Rows, b: Rows) -> Change:
    every = {k: counts(r, b, k) for k in axes(r)}
    return detector(r).detect(Seen(len(b), every, {k: v for k, v in cells(r, b).items() if k != "score"}))


def by_detector(r: Rows, b: Rows) -> float:
    return max((c.observed or 0.0) for c in detected(r, b).checks if c.column == "x" and c.name == "distance")


def by_detector_of_rows(r: Rows, b: Rows) -> float:
    found = detected(r, b)
    return max((c.observed or 0.0) / (c.bound or 1.0) for c in found.checks if c.fired) if found.broken else 0.0


def by_change(r: Rows, b: Rows) -> float:
    z = dependence(r).change(cells(r, b))
    return float(max(-z.min() - 3.0, 0.0))  # three standard errors are no change


def by_broken(r: Rows, b: Rows) -> float:
    return float(max(-dependence(r).broken(cells(r, b)).min(), 0.0))


def by_block(r: Rows, b: Rows) -> float:
    return float(len(block(dependence(r).broken(cells(r, b)))))


def by_leak(r: Rows, b: Rows) -> float:
    return max(abs(c.z) for c in creeps({"x": axes(r)["x"]}, [{"x": counts(r, b)}] * 4))


def group(r: Rows, b: Rows) -> Group:
    found = axes(r)["x"]
    return Group(found.place(r.x), found.place(b.x), found.size)


def by_target(r: Rows, b: Rows) -> float:
    return float(np.abs(group(r, b).target - both(r, b)[0]).sum())


def by_raking(r: Rows, b: Rows) -> float:
    return 1.0 - effective(rake([group(r, b)])) / len(r)


def by_effective(r: Rows, b: Rows) -> float:
    p, q = both(r, b)
    return 1.0 - effective(((p + q) / np.maximum(p, 1e-9))[group(r, b).reference]) / len(r)


def by_auc(r: Rows, b: Rows) -> float:
    found = [weighted_metric("binary", (v.truth > 0.0).astype(int), v.score, np.ones(len(v))) for v in (r, b)]
    return max(_of(found[0]) - _of(found[1]), 0.0)


def by_auc_of_classes(r: Rows, b: Rows) -> float:
    found = []
    for v in (r, b):
        scores = np.column_stack([1.0 - v.score, 2.0 * v.score * (1.0 - v.score), v.score])
        found.append(weighted_metric("multiclass", np.digitize(v.truth, [-0.5, 0.5]), scores, np.ones(len(v))))
    return max(_of(found[0]) - _of(found[1]), 0.0)


def by_rmse(r: Rows, b: Rows) -> float:
    found = [weighted_metric("regression", v.truth, np.nan_to_num(v.x), np.ones(len(v))) for v in (r, b)]
    return max(_of(found[1]) - _of(found[0]), 0.0)


def _of(found: tuple[float, np.ndarray] | None) -> float:
    assert found is not None
    return found[0]


def by_likeness(r: Rows, b: Rows) -> float:
    there, known = cells(r, b), axes(r)
    score, columns = {"score": known["score"]}, {k: known[k] for k in COLUMNS}
    like = Likeness(
        Situation(
            axes=columns,
            score_axes=score,
            pool={k: getattr(r, k) for k in COLUMNS},
            cells={k: a.reference for k, a in columns.items()},
            score_cells={"score": score["score"].reference},
            part=np.arange(len(r)),
            batch={k: getattr(b, k) for k in COLUMNS},
            batch_cells={k: there[k] for k in COLUMNS},
            batch_score_cells={"score": there["score"]},
            change=Change(),
            matter=COLUMNS,
            together=dependence(r),
            seed=0,
            task="binary",
            target=(r.truth > 0.0).astype(int),
            scores=r.score,
            batch_scores=b.score,
        ),
        r.score,
    )
    ones = np.ones(len(like.reference))
    return max(like.distance(like.reference, ones, 0) - like.size, 0.0)  # chance alone is as far as this


def by_phrase(r: Rows, b: Rows) -> float:
    return float("differs little" not in describe("x", r.x, b.x))


@dataclass(frozen=True)
class Figure:
    """A statistic as one number, and the faults that it sees.

    Attributes:
        halves: whether it reads the reference in two halves, so that the order of the reference's rows matters a bit.
    """

    of: Callable[[Rows, Rows], float]
    sees: tuple[str, ...]
    halves: bool = False


ALONE = ("nulls", "shifted")
FIGURES = {
    "triangular": Figure(lambda r, b: float(triangular(*both(r, b))), ALONE),
    "ks": Figure(lambda r, b: float(ks(*both(r, b))), ALONE),
    "critical": Figure(by_critical, ("shifted",)),
    "threshold": Figure(by_threshold, ALONE),
    "Thresholds.at": Figure(by_thresholds, ALONE),
    "null_bound": Figure(by_null_bound, ("nulls",)),
    "Detector.detect: distance": Figure(by_detector, ALONE),
    "Detector.detect: rows": Figure(by_detector_of_rows, ("dealt",), halves=True),
    "Dependence.change": Figure(by_change, ("dealt",), halves=True),
    "Dependence.broken": Figure(by_broken, ("dealt",), halves=True),
    "block": Figure(by_block, ("dealt",), halves=True),
    "creeps": Figure(by_leak, ALONE),
    "Group.target": Figure(by_target, ALONE),
    "rake": Figure(by_raking, ALONE),
    "effective": Figure(by_effective, ALONE),
    "weighted_metric: binary": Figure(by_auc, ("nulls", "dealt")),
    "weighted_metric: multiclass": Figure(by_auc_of_classes, ("nulls", "dealt")),
    "weighted_metric: regression": Figure(by_rmse, ("nulls", "dealt", "shifted")),
    "Likeness.distance": Figure(by_likeness, ("nulls", "shifted", "dealt"), halves=True),
    "describe": Figure(by_phrase, ALONE),
}
REFERENCE, BATCH = draw(3000, 0), draw(1500, 1)
every = pytest.mark.parametrize("name", FIGURES)


# ── the invariants ───────────────────────────────────────────────────────────────────────────────


@every
def test_identical_data_gives_nothing(name: str) -> None:
    assert FIGURES[name].of(REFERENCE, REFERENCE) == pytest.approx(0.0, abs=1e-9)


@every
def test_the_order_of_rows_is_irrelevant(name: str) -> None:
    figure, rng = FIGURES[name], np.random.default_rng(5)
    broken = FAULTS[figure.sees[0]](BATCH, 0.8)
    expected = figure.of(REFERENCE, broken)
    assert expected > 0.0
    assert figure.of(REFERENCE, broken.take(rng.permutation(len(broken)))) == pytest.approx(expected, rel=1e-9)
    shuffled = REFERENCE.take(rng.permutation(len(REFERENCE)))
    assert figure.of(shuffled, broken) == pytest.approx(expected, rel=0.3 if figure.halves else 1e-9)


@every
def test_what_is_compared_is_not_changed(name: str) -> None:
    reference, batch = draw(300, 2), nulls(draw(200, 3), 0.5)
    kept = [v.copy() for rows in (reference, batch) for v in vars(rows).values()]
    FIGURES[name].of(reference, batch)
    for array, copy in zip([v for rows in (reference, batch) for v in vars(rows).values()], kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@every
def test_the_same_question_has_the_same_answer(name: str) -> None:
    broken = shifted(dealt(nulls(BATCH, 0.2), 0.5), 0.3)
    again = Rows(**{k: v.copy() for k, v in vars(REFERENCE).items()})
    assert FIGURES[name].of(again, broken) == FIGURES[name].of(REFERENCE, broken)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("name", "fault"), [(k, fault) for k, f in FIGURES.items() for fault in f.sees])
def test_the_larger_the_fault_the_larger_the_figure(name: str, fault: str, seed: int) -> None:
    batch = draw(1500, seed)
    found = [FIGURES[name].of(REFERENCE, FAULTS[fault](batch, size)) for size in SIZES]
    assert found == sorted(found)
    assert found[-1] > found[0]


@pytest.mark.parametrize("name", [k for k, f in FIGURES.items() if "dealt" not in f.sees])
def test_who_looks_at_one_column_alone_does_not_see_rows_that_were_dealt(name: str) -> None:
    assert FIGURES[name].of(REFERENCE, dealt(BATCH, 1.0)) == pytest.approx(FIGURES[name].of(REFERENCE, BATCH))


@pytest.mark.parametrize("rows", [1, 2, 60])
@pytest.mark.parametrize(
    "name", [k for k in FIGURES if k not in ("weighted_metric: binary", "weighted_metric: multiclass")]
)
def test_every_batch_however_small_and_odd_has_a_finite_figure(name: str, rows: int) -> None:
    figure, few = FIGURES[name], BATCH.take(np.flatnonzero(~np.isnan(BATCH.x))[:rows])
    for batch in (few, *(FAULTS[fault](few, size) for fault in figure.sees for size in (1.0, 50.0))):
        assert np.isfinite(figure.of(REFERENCE, batch))


def test_every_fault_is_seen() -> None:
    assert {fault for figure in FIGURES.values() for fault in figure.sees} == set(FAULTS)
