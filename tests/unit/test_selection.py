"""Reference rows weighted until they look like a batch, and a metric of weighted rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.performance import measure
from fuseline.selection import Group, effective, rake, weighted_metric

SIZE = 5
cells = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=60)
weights_of_some = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-3)


def group(reference: object, batch: object, size: int = SIZE) -> Group:
    return Group(np.asarray(reference), np.asarray(batch), size)


def shares(places: np.ndarray, weights: np.ndarray | None = None, size: int = SIZE) -> np.ndarray:
    found = np.bincount(places, weights, size)
    return found / found.sum()


def drawn(rows: int, seed: int, p: list[float]) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(p), rows, p=p)


EVEN = [0.2] * 5


# ── the target ───────────────────────────────────────────────────────────────────────────────────


@given(cells, cells)
def test_the_target_lies_between_the_shares_before_and_after(before: list, after: list) -> None:
    found = group(before, after)
    p, q = shares(found.reference), shares(found.batch)
    assert found.target.sum() == pytest.approx(1.0)
    assert (found.target >= np.minimum(p, q) - 1e-12).all()
    assert (found.target <= np.maximum(p, q) + 1e-12).all()


@given(cells)
def test_the_target_of_the_same_rows_is_what_they_are(before: list) -> None:
    np.testing.assert_array_equal(group(before, before[::-1]).target, shares(np.array(before)))


def test_a_clean_batch_is_hardly_followed_and_a_changed_one_is() -> None:
    reference, tilted = drawn(4000, 0, EVEN), [0.4, 0.3, 0.1, 0.1, 0.1]
    p = shares(reference)
    follow = []
    for batches in ([drawn(1000, k, EVEN) for k in range(1, 9)], [drawn(1000, k, tilted) for k in range(1, 9)]):
        moved = [np.abs(group(reference, b).target - p).sum() / np.abs(shares(b) - p).sum() for b in batches]
        follow.append(float(np.mean(moved)))
    assert follow[0] < 0.5
    assert follow[1] > 0.95


def test_a_larger_batch_is_followed_further() -> None:
    reference = np.repeat(np.arange(5), 200)
    far = [np.abs(group(reference, np.repeat([0, 0, 1, 2, 3, 4], n)).target - 0.2).sum() for n in (2, 10, 50, 1000)]
    assert far == sorted(far)
    assert far[0] == 0.0 < far[-1]


# ── raking ───────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=1, max_size=60), cells, cells)
def test_weights_are_finite_not_negative_and_one_in_the_mean(rows: list, first: list, second: list) -> None:
    columns = np.array(rows)
    weights = rake([group(columns[:, 0], first), group(columns[:, 1], second)])
    assert weights.shape == (len(rows),)
    assert np.isfinite(weights).all()
    assert (weights >= 0.0).all()
    assert weights.mean() == pytest.approx(1.0)


@settings(deadline=None)
@given(cells, cells)
def test_rows_of_one_cell_have_one_weight(before: list, after: list) -> None:
    weights = rake([group(before, after)])
    for cell in set(before):
        assert np.ptp(weights[np.array(before) == cell]) <= 1e-9 * weights.max()


def test_raked_rows_have_the_shares_of_the_batch_in_every_column() -> None:
    first, second = drawn(4000, 0, EVEN), drawn(4000, 1, [0.6, 0.1, 0.1, 0.1, 0.1])
    groups = [group(first, drawn(2000, 2, [0.4, 0.3, 0.1, 0.1, 0.1])), group(second, drawn(2000, 3, EVEN))]
    weights = rake(groups)
    for column in groups:
        np.testing.assert_allclose(shares(column.reference, weights), column.target, atol=2e-3)
    assert 1000.0 < effective(weights) < 4000.0


def test_columns_that_go_together_are_raked_together() -> None:
    x = drawn(4000, 0, EVEN)
    batch = drawn(2000, 2, [0.4, 0.3, 0.1, 0.1, 0.1])
    once, twice = rake([group(x, batch)]), rake([group(x, batch), group(x, batch)])
    np.testing.assert_allclose(twice, once, rtol=1e-6)


def test_the_same_rows_keep_their_weights() -> None:
    x = drawn(500, 0, EVEN)
    np.testing.assert_allclose(rake([group(x, x), group(x[::-1], x)]), 1.0)


def test_cells_that_only_the_batch_has_are_left_out() -> None:
    weights = rake([group([0, 0, 1, 1], [0, 1, 2, 2] * 500)])
    np.testing.assert_allclose(weights, 1.0)


def test_fewer_rounds_fit_less() -> None:
    first = drawn(4000, 0, EVEN)
    second = np.where(np.random.default_rng(1).random(4000) < 0.7, first, drawn(4000, 1, EVEN))
    groups = [
        group(first, drawn(2000, 2, [0.5, 0.2, 0.1, 0.1, 0.1])),
        group(second, drawn(2000, 3, [0.1] * 3 + [0.2, 0.5])),
    ]
    off = [np.abs(shares(first, rake(groups, n)) - groups[0].target).max() for n in (1, 3, 25)]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.01 < off[0]


def test_raking_changes_none_of_what_it_is_given() -> None:
    found = group(drawn(100, 0, EVEN), drawn(50, 1, [0.6, 0.1, 0.1, 0.1, 0.1]))
    copies = found.reference.copy(), found.batch.copy()
    rake([found])
    assert (found.reference == copies[0]).all()
    assert (found.batch == copies[1]).all()


# ── how many rows weights are worth ──────────────────────────────────────────────────────────────


@given(weights_of_some, st.floats(0.1, 100.0))
def test_weights_are_worth_one_to_all_rows_whatever_their_unit(some: list[float], unit: float) -> None:
    weights = np.array(some)
    assert 1.0 - 1e-9 <= effective(weights) <= len(weights) + 1e-6
    assert effective(weights * unit) == pytest.approx(effective(weights))


def test_equal_weights_are_worth_all_rows_and_one_alone_is_worth_one() -> None:
    assert effective(np.full(7, 3.0)) == pytest.approx(7.0)
    assert effective(np.eye(7)[2]) == 1.0


# ── the weighted metric ──────────────────────────────────────────────────────────────────────────

TASKS = ("binary", "multiclass", "regression")


def labelled(task: str, rows: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3 if task == "multiclass" else 2, rows)
    if task == "multiclass":
        return target, rng.random((rows, 3)) + 0.3 * np.eye(3)[target]
    return target, np.round(rng.random(rows) + 0.3 * target, 2)  # some scores are tied


@pytest.mark.parametrize("task", TASKS)
def test_equal_weights_give_the_metric_and_its_error(task: str) -> None:
    target, scores = labelled(task)
    classes = {"binary": ("0", "1"), "multiclass": ("0", "1", "2"), "regression": ()}[task]
    expected = measure(task, target, scores, classes)
    found = weighted_metric(task, target, scores, np.ones(500))
    assert expected is not None
    assert found is not None
    assert found[0] == pytest.approx(expected.value)
    assert np.linalg.norm(found[1]) == pytest.approx(expected.se, rel=0.01)


@pytest.mark.parametrize("task", TASKS)
def test_a_weight_of_two_is_a_row_that_comes_twice(task: str) -> None:
    target, scores = labelled(task)
    times = np.random.default_rng(1).integers(0, 4, 500)
    once = weighted_metric(task, target, scores, times.astype(float))
    again = weighted_metric(task, np.repeat(target, times), np.repeat(scores, times, axis=0), np.ones(times.sum()))
    assert once is not None
    assert again is not None
    assert once[0] == pytest.approx(again[0])


@pytest.mark.parametrize("task", TASKS)
def test_the_unit_of_the_weights_and_the_order_of_rows_are_irrelevant(task: str) -> None:
    target, scores = labelled(task)
    weights = np.random.default_rng(1).random(500)
    order = np.random.default_rng(2).permutation(500)
    found = weighted_metric(task, target, scores, weights)
    again = weighted_metric(task, target[order], scores[order], 1e-4 * weights[order])
    assert found is not None
    assert again is not None
    assert again[0] == pytest.approx(found[0])
    np.testing.assert_allclose(again[1], found[1][order], atol=1e-12)
    assert found[1].sum() == pytest.approx(0.0, abs=1e-9)  # the parts of the error cancel


@pytest.mark.parametrize("task", TASKS)
def test_the_error_is_what_the_metric_of_other_rows_scatters_by(task: str) -> None:
    found = []
    for seed in range(120):
        target, scores = labelled(task, 300, seed)
        found.append(weighted_metric(task, target, scores, np.where(target == 1, 2.0, 0.5)))
    assert None not in found
    values, errors = np.array([[f[0], np.linalg.norm(f[1])] for f in found if f is not None]).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.25)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.floats(0.01, 9.0)), min_size=1, max_size=30))
def test_the_weighted_auc_is_the_share_of_pairs_that_are_in_order(rows: list[tuple[int, int, float]]) -> None:
    target, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        (wp * wn, float(sp > sn) + 0.5 * (sp == sn))
        for tp, sp, wp in rows
        for tn, sn, wn in rows
        if tp == 1 and tn == 0
    ]
    found = weighted_metric("binary", target, scores.astype(float), weights)
    if not pairs:
        assert found is None
        return
    assert found is not None
    assert found[0] == pytest.approx(sum(w * s for w, s in pairs) / sum(w for w, _ in pairs))


def test_a_class_that_is_not_there_does_not_count() -> None:
    target, scores = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]])
    three = weighted_metric("multiclass", target, scores, np.ones(4))
    two = weighted_metric("multiclass", target, scores[:, :2], np.ones(4))
    assert three is not None
    assert two is not None
    assert three[0] == two[0] == 1.0


def test_what_cannot_be_measured_is_none() -> None:
    ones, none = np.ones(4), np.zeros(0)
    assert weighted_metric("binary", np.array([1, 1, 1, 1]), ones, ones) is None
    assert weighted_metric("binary", np.array([0, 0, 1, 1]), ones, np.array([1.0, 1.0, 0.0, 0.0])) is None
    assert weighted_metric("multiclass", np.array([0, 0, 0, 0]), np.ones((4, 2)), ones) is None
    assert weighted_metric("regression", ones, np.array([0.0, 0.0, 0.0, np.inf]), ones) is None
    assert weighted_metric("regression", ones, np.array([0.0, 0.0, 0.0, np.nan]), ones) is None
    assert weighted_metric("regression", ones, ones, np.zeros(4)) is None
    assert weighted_metric("regression", none, none, none) is None
    assert weighted_metric("binary", none, none, none) is None


def test_a_perfect_prediction_has_no_error() -> None:
    found = weighted_metric("regression", np.ones(3), np.ones(3), np.ones(3))
    assert found is not None
    assert found[0] == 0.0
    assert found[1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_large_and_small_errors_do_not_overflow(unit: float) -> None:
    found = weighted_metric("regression", np.zeros(3), np.array([1.0, 2.0, 2.0]) * unit, np.ones(3))
    assert found is not None
    assert found[0] / unit == pytest.approx(3.0**0.5)
    assert np.isfinite(found[1]).all()
