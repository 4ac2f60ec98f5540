"""The metric, its standard error, and the tests that hold one metric against another."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline import performance
from fuseline.errors import DataError
from fuseline.records import Measured

TWO = ("no", "yes")


def labels(positive: np.ndarray) -> np.ndarray:
    return np.where(positive, "yes", "no").astype(object)


def example(rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < 0.3
    return labels(positive), 1.0 / (1.0 + np.exp(-rng.normal(positive * 1.0, 1.0)))


def pairs_won(positive: np.ndarray, scores: np.ndarray) -> float:
    won = [(a > b) + 0.5 * (a == b) for a, b in product(scores[positive], scores[~positive])]
    return float(np.mean(won))


rows_of_two = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=60).filter(
    lambda rows: 2 <= sum(p for p, _ in rows) <= len(rows) - 2
)


@given(rows_of_two)
def test_the_auc_is_the_share_of_pairs_that_are_won(rows: list[tuple[bool, int]]) -> None:
    positive, scores = np.array([p for p, _ in rows]), np.array([s / 6 for _, s in rows])
    found = performance.measure("binary", labels(positive), scores, TWO)
    assert found is not None
    assert found.value == pytest.approx(pairs_won(positive, scores), abs=1e-12)


@given(rows_of_two)
def test_the_error_is_delongs(rows: list[tuple[bool, int]]) -> None:
    positive, scores = np.array([p for p, _ in rows]), np.array([float(s) for _, s in rows])
    a, b = scores[positive][:, None], scores[~positive][None, :]
    won = (a > b) + 0.5 * (a == b)
    expected = won.mean(axis=1).var(ddof=1) / won.shape[0] + won.mean(axis=0).var(ddof=1) / won.shape[1]
    found = performance.measure("binary", labels(positive), scores, TWO)
    assert found is not None
    assert found.se**2 == pytest.approx(expected, abs=1e-12)


@given(rows_of_two, st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(rows: list[tuple[bool, int]], seed: int) -> None:
    positive, scores = np.array([p for p, _ in rows]), np.array([s / 6 for _, s in rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    for compute in (performance.measure, performance.details):
        before = compute("binary", labels(positive), scores, TWO)
        after = compute("binary", labels(positive)[order], scores[order], TWO)
        both = [x if isinstance(x, dict) else {"value": x.value, "se": x.se} for x in (before, after)]
        assert both[0] == pytest.approx(both[1], abs=1e-12)
    there, back = (performance.calibration(labels(positive)[o], scores[o], TWO) for o in (order, slice(None)))
    assert [b["actual"] for b in there] == pytest.approx([b["actual"] for b in back])


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_error_is_close_to_the_bootstraps(task: str) -> None:
    rng = np.random.default_rng(1)
    truth, scores, classes = of_task(task, 500, rng)
    found = performance.measure(task, truth, scores, classes)
    again = []
    for _ in range(400):
        rows = rng.integers(0, len(truth), len(truth))
        again.append(performance.measure(task, truth[rows], scores[rows], classes).value)
    assert found.se == pytest.approx(np.std(again), rel=0.12)


def of_task(task: str, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    if task == "regression":
        truth = rng.gamma(2.0, 100.0, rows)
        return truth, truth + rng.standard_t(8, rows) * 20, ()
    classes = ("a", "b", "c")[: 2 if task == "binary" else 3]
    place = rng.integers(0, len(classes), rows)
    raw = rng.normal(0.0, 1.0, (rows, len(classes))) + np.eye(len(classes))[place]
    chances = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    return np.array(classes, dtype=object)[place], chances[:, 1] if task == "binary" else chances, classes


def test_two_classes_in_two_columns_give_the_auc_of_one_column() -> None:
    truth, scores = example()
    one = performance.measure("binary", truth, scores, TWO)
    both = performance.measure("multiclass", truth, np.column_stack([1 - scores, scores]), TWO)
    assert (both.value, both.se) == pytest.approx((one.value, one.se))
    assert (one.metric, both.metric) == ("auc", "auc_ovr")


@pytest.mark.parametrize(
    ("task", "truth", "scores", "classes"),
    [
        ("binary", ["yes"] * 5, [0.1] * 5, TWO),
        ("binary", ["yes", "no", "no"], [0.1] * 3, TWO),
        ("binary", [], [], TWO),
        ("binary", [None, None], [0.1, 0.2], TWO),
        ("multiclass", ["a"] * 4, [[1.0, 0.0, 0.0]] * 4, ("a", "b", "c")),
        ("regression", [1.0], [1.0], ()),
        ("regression", [1e308, 1e308], [-1e308, 1.0], ()),
    ],
)
def test_what_cannot_be_measured_is_none(task: str, truth: list, scores: list, classes: tuple) -> None:
    with np.errstate(over="ignore"):
        assert performance.measure(task, np.array(truth, dtype=object), np.array(scores), classes) is None


def test_rows_without_a_label_are_left_out() -> None:
    truth, scores = example()
    padded = np.concatenate([truth, np.array([None, np.nan], dtype=object)])
    assert performance.measure("binary", padded, np.append(scores, [0.5, 0.5]), TWO) == performance.measure(
        "binary", truth, scores, TWO
    )
    numbers = performance.measure("regression", np.array([1.0, np.nan, 3.0]), np.array([1.0, 9.0, 2.0]), ())
    assert numbers.rows == 2


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1], ("0", "1")),
        ([0.0, 1.0], ("0", "1")),
        ([False, True], ("0", "1")),
        ([False, True], ("False", "True")),
        (["false", "true"], ("False", "True")),
        (["0", "1"], ("0.0", "1.0")),
    ],
)
def test_labels_may_be_spelt_as_another_format_spells_them(values: list, classes: tuple[str, ...]) -> None:
    truth, scores = example()
    spelt = np.array([values[int(t == "yes")] for t in truth])
    expected = performance.measure("binary", truth, scores, TWO)
    assert performance.measure("binary", spelt, scores, classes) == expected


def test_classes_that_differ_in_spelling_alone_are_kept_apart() -> None:
    truth = np.array(["Yes", "yes", "Yes", "yes"], dtype=object)
    found = performance.measure("binary", truth, np.array([0.1, 0.9, 0.2, 0.8]), ("Yes", "yes"))
    assert found.value == 1.0
    with pytest.raises(DataError, match="YES"):
        performance.measure("binary", np.array(["YES", "yes"]), np.array([0.1, 0.9]), ("Yes", "yes"))


def test_a_label_that_is_no_class_is_named() -> None:
    truth, scores = example()
    truth[3] = "refunded"
    with pytest.raises(DataError, match=r"'refunded'.*expected 'no', 'yes'"):
        performance.measure("binary", truth, scores, TWO)


def test_text_is_no_label_of_a_regression() -> None:
    with pytest.raises(DataError, match="must be a number"):
        performance.measure("regression", np.array(["dear", "cheap"], dtype=object), np.zeros(2), ())


def test_scores_must_match_the_labels() -> None:
    with pytest.raises(DataError, match=r"\(3,\)"):
        performance.measure("binary", np.array(["yes", "no"]), np.zeros(3), TWO)
    with pytest.raises(DataError, match="two classes"):
        performance.measure("binary", np.array(["yes", "no"]), np.zeros(2), ("yes",))


# ── details, calibration ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_details_agree_with_scikit_learn(task: str) -> None:
    from sklearn import metrics

    truth, scores, classes = of_task(task, 400, np.random.default_rng(3))
    found = performance.details(task, truth, scores, classes)
    if task == "regression":
        expected = {
            "rmse": metrics.root_mean_squared_error(truth, scores),
            "mae": metrics.mean_absolute_error(truth, scores),
            "r2": metrics.r2_score(truth, scores),
        }
    elif task == "binary":
        expected = {
            "auc": metrics.roc_auc_score(truth == "b", scores),
            "log_loss": metrics.log_loss(truth == "b", scores),
            "brier": metrics.brier_score_loss(truth == "b", scores),
            "accuracy": metrics.accuracy_score(truth == "b", scores >= 0.5),
            "base_rate": (truth == "b").mean(),
        }
    else:
        one_hot = truth[:, None] == np.array(classes)
        expected = {
            "auc_ovr": metrics.roc_auc_score(list(truth), scores, multi_class="ovr"),
            "log_loss": metrics.log_loss(list(truth), scores),
            "accuracy": metrics.accuracy_score(list(truth), np.array(classes)[scores.argmax(axis=1)].tolist()),
            "brier": np.square(scores - one_hot).sum(axis=1).mean(),
        }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert all(type(v) is float and np.isfinite(v) for v in found.values())


def test_scores_that_are_no_probabilities_have_no_log_loss() -> None:
    truth, scores = example()
    found = performance.details("binary", truth, scores * 10 - 5, TWO)
    assert set(found) == {"auc", "base_rate", "mean_score"}


def test_details_of_hardly_any_rows_are_what_can_be_said() -> None:
    assert performance.details("binary", np.array([], dtype=object), np.array([]), TWO) == {}
    assert "auc" not in performance.details("binary", np.array(["yes"]), np.array([0.5]), TWO)
    assert "r2" not in performance.details("regression", np.array([2.0, 2.0]), np.array([1.0, 2.0]), ())


def test_calibration_counts_every_row_once_and_rises_with_the_score() -> None:
    truth, scores = example(2000)
    found = performance.calibration(truth, scores, TWO)
    assert sum(b["rows"] for b in found) == 2000
    assert len(found) == 10
    assert [b["score"] for b in found] == sorted(b["score"] for b in found)
    assert found[0]["actual"] < found[-1]["actual"]
    total = sum(b["actual"] * b["rows"] for b in found)
    assert total == pytest.approx((truth == "yes").sum())


def test_calibration_of_a_regression_has_mean_values() -> None:
    truth = np.arange(100.0)
    found = performance.calibration(truth, truth + 1.0)
    assert [b["score"] - b["actual"] for b in found] == pytest.approx([1.0] * 10)
    assert performance.calibration(np.array([]), np.array([])) == []


def test_equal_scores_are_one_bin() -> None:
    truth, _ = example(50)
    assert [b["rows"] for b in performance.calibration(truth, np.full(50, 0.3), TWO)] == [50.0]


# ── importance, choice of rows ───────────────────────────────────────────────────────────────────


def test_importance_finds_the_column_that_matters_and_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"signal": rng.normal(size=3000), "noise": rng.normal(size=3000)})
    truth = labels(frame["signal"].to_numpy() + rng.normal(size=3000) > 1.0)
    copy = frame.copy()
    found = performance.column_importance(lambda d: d["signal"].to_numpy(), frame, truth, "binary", TWO, seed=0)
    assert found["signal"] > 0.2
    assert found["noise"] == 0.0
    pd.testing.assert_frame_equal(frame, copy)
    again = performance.column_importance(lambda d: d["signal"].to_numpy(), frame, truth, "binary", TWO, seed=0)
    assert found == again


def test_importance_of_a_regression_is_the_share_of_rmse() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=500)})
    truth = frame["x"].to_numpy() * 10 + rng.normal(size=500)
    found = performance.column_importance(lambda d: d["x"].to_numpy() * 10, frame, truth, "regression", (), seed=0)
    assert 8 < found["x"] < 20  # from 1 to 10·√2


def test_importance_without_a_metric_is_nothing() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    found = performance.column_importance(lambda d: d["x"].to_numpy(), frame, np.array(["no", "no"]), "binary", TWO, 0)
    assert found == {"x": 0.0}


@pytest.mark.parametrize(("positives", "kept"), [(10, 10), (500, 50), (990, 90)])
def test_rare_labels_are_not_thinned_out(positives: int, kept: int) -> None:
    truth = labels(np.arange(1000) < positives)
    chosen = performance.choose_rows("binary", truth, TWO, 100, seed=0)
    assert len(chosen) == len(set(chosen)) == 100
    assert (truth[chosen] == "yes").sum() == kept
    assert list(chosen) == sorted(chosen)


def test_few_rows_are_all_taken_and_others_evenly() -> None:
    numbers = np.array([1.0, np.nan, 2.0])
    assert performance.choose_rows("regression", numbers, (), 10, 0).tolist() == [0, 2]
    assert len(performance.choose_rows("regression", np.arange(100.0), (), 10, 0)) == 10


# ── one metric against another ───────────────────────────────────────────────────────────────────


def test_worse_needs_more_than_the_tolerance_and_more_than_chance() -> None:
    reference = Measured("auc", 0.80, 0.003, 9000)
    for value, se, verdict in ((0.77, 0.003, True), (0.785, 0.001, False), (0.77, 0.02, False), (0.9, 0.001, False)):
        assert performance.worse_than(Measured("auc", value, se, 900), reference, 0.02, "binary")[0] is verdict


def test_a_regression_is_worse_where_the_error_is_larger() -> None:
    reference = Measured("rmse", 100.0, 0.1, 9000)
    assert performance.worse_than(Measured("rmse", 106.0, 0.5, 900), reference, 0.05, "regression") == (True, 105.0)
    assert not performance.worse_than(Measured("rmse", 104.0, 0.5, 900), reference, 0.05, "regression")[0]
    assert not performance.worse_than(Measured("rmse", 106.0, 3.0, 900), reference, 0.05, "regression")[0]


def test_clean_labels_are_seldom_called_worse() -> None:
    truth, scores = example(40_000)
    reference = performance.measure("binary", truth[:20_000], scores[:20_000], TWO)
    verdicts = []
    for seed in range(300):
        rows = np.random.default_rng(seed).integers(20_000, 40_000, 500)
        measured = performance.measure("binary", truth[rows], scores[rows], TWO)
        verdicts.append(performance.worse_than(measured, reference, 0.0, "binary")[0])
    assert sum(verdicts) <= 4  # 0.3 are expected


@given(st.floats(0.5, 1.0), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_the_loss_grows_with_the_fault(value: float, small: float, more: float) -> None:
    before = Measured("auc", value, 0.01, 100)
    losses = [performance.loss("binary", before, Measured("auc", value - d, 0.01, 100)) for d in (0.0, small)]
    assert losses[0] == 0.0 <= losses[1]
    assert performance.loss("binary", before, Measured("auc", value - small - more, 0.01, 100)) >= losses[1]


def test_the_loss_of_a_regression_is_finite_whatever_comes() -> None:
    perfect, poor = Measured("rmse", 0.0, 0.0, 10), Measured("rmse", 5.0, 0.1, 10)
    assert performance.loss("regression", perfect, poor) == 1.0
    assert performance.loss("regression", perfect, perfect) == 0.0
    assert performance.loss("regression", poor, None) == 1.0
    assert performance.loss("regression", poor, poor) == 0.0


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_paired_difference_is_sharper_than_two_errors(task: str) -> None:
    rng = np.random.default_rng(5)
    truth, good, classes = of_task(task, 500, rng)
    poor = good + rng.normal(0.0, 0.1 if classes else 10.0, good.shape)
    difference, se = performance.paired(task, truth, good, poor, classes)
    a, b = (performance.measure(task, truth, s, classes) for s in (good, poor))
    unit = 1.0 if classes else b.value
    assert difference == pytest.approx((a.value - b.value if classes else b.value - a.value) / unit)
    assert 0.0 < se < np.hypot(a.se, b.se) / unit
    again = []
    for _ in range(300):
        rows = rng.integers(0, 500, 500)
        again.append(performance.paired(task, truth[rows], good[rows], poor[rows], classes)[0])
    assert se == pytest.approx(np.std(again), rel=0.15)
    swapped = performance.paired(task, truth, poor, good, classes)
    assert swapped[0] < 0
    assert performance.paired(task, truth, good, good, classes) == (0.0, 0.0)


def test_what_cannot_be_paired_is_none() -> None:
    truth, scores = example(20)
    assert performance.paired("binary", np.full(20, "no", dtype=object), scores, scores, TWO) is None
    assert performance.paired("multiclass", truth, np.ones((20, 2)), np.ones((20, 3)), TWO) is None


def test_nothing_is_better_than_a_perfect_regression() -> None:
    truth = np.arange(5.0)
    assert performance.paired("regression", truth, truth + 1, truth, ()) == (-1.0, 0.0)
    assert performance.paired("regression", truth, truth, truth, ()) == (0.0, 0.0)


def test_inputs_are_not_changed() -> None:
    truth, scores = example(50)
    copies = truth.copy(), scores.copy()
    performance.measure("binary", truth, scores, TWO)
    performance.details("binary", truth, scores, TWO)
    performance.calibration(truth, scores, TWO)
    performance.paired("binary", truth, scores, scores[::-1], TWO)
    assert (truth == copies[0]).all()
    assert (scores == copies[1]).all()
