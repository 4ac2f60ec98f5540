"""What late labels say of the newest batches."""

from __future__ import annotations

import numpy as np
import pytest

from fuseline.errors import DataError
from fuseline.performance import measure
from fuseline.realised import LEAST, WINDOWS, Realised, realise
from fuseline.records import Measured

TWO = ("no", "yes")
REFERENCE = Measured("auc", 0.85, 0.005, 5_000)
Batch = tuple[np.ndarray, np.ndarray]


def labelled(rows: int, seed: int, sharpness: float = 2.0) -> Batch:
    """Labels and scores; the sharper, the better the scores rank."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return np.where(rng.random(rows) < 1.0 / (1.0 + np.exp(-sharpness * x)), "yes", "no").astype(object), x


def said(*batches: Batch, z: float = 3.5, tolerance: float = 0.02) -> Realised:
    return realise(batches, REFERENCE, "binary", TWO, tolerance, z)


def test_the_figures_are_those_of_the_newest_batch():
    newest = labelled(500, 2)
    found = said(labelled(500, 1), newest)
    own = measure("binary", *newest, TWO)
    assert (found.value, found.se, found.rows, found.metric) == (own.value, own.se, 500, "auc")


def test_one_batch_as_good_as_the_reference_passes():
    found = said(labelled(1_000, 1))
    assert (found.verdict, found.batches, found.pooled) == ("pass", 1, found.value)


def test_a_bad_batch_halts_by_itself():
    found = said(*(labelled(1_000, seed) for seed in range(8)), labelled(1_000, 9, sharpness=0.3))
    assert (found.verdict, found.batches) == ("halt", 1)
    assert found.pooled < found.bound < REFERENCE.value


def test_a_small_loss_halts_over_as_few_batches_as_show_it():
    batches = [labelled(400, seed, sharpness=1.55) for seed in range(8)]
    assert said(batches[0]).verdict == "pass"
    found = said(*batches)
    assert found.verdict == "halt"
    assert found.batches in WINDOWS[1:]
    assert found.pooled == pytest.approx(
        measure("binary", *(np.concatenate(part) for part in zip(*batches[-found.batches :], strict=True)), TWO).value
    )


def test_only_the_newest_batches_count():
    bad = [labelled(1_000, seed, sharpness=0.0) for seed in range(5)]
    good = [labelled(4_000, 10 + seed) for seed in range(WINDOWS[-1])]
    assert said(*bad, *good).verdict == "pass"


@pytest.mark.parametrize(("rows", "verdict"), [(LEAST - 1, "inconclusive"), (LEAST, "pass")])
def test_too_few_rows_are_inconclusive(rows, verdict):
    truth, scores = labelled(LEAST, 1)
    found = said((truth[:rows], scores[:rows]))
    assert found.verdict == verdict
    assert (found.bound is None) == (verdict == "inconclusive")


def test_rows_without_a_label_do_not_count():
    truth, scores = labelled(400, 1)
    some = np.where(np.arange(400) % 2 == 0, truth, None)
    found = said((some, scores))
    assert found.rows == 200
    assert found.value == said((truth[::2], scores[::2])).value


def test_a_batch_of_one_class_is_measured_along_with_others():
    truth, scores = labelled(400, 1)
    ones = np.full(100, "yes", dtype=object), np.zeros(100)
    assert said(ones).verdict == "inconclusive"
    found = said((truth, scores), ones)
    assert (found.value, found.se, found.rows) == (None, None, 100)
    assert (found.verdict, found.batches) == ("pass", 2)


def test_the_tolerance_and_the_noise_are_both_to_be_exceeded():
    batch = labelled(2_000, 1, sharpness=1.4)
    assert said(batch).verdict == "halt"
    assert said(batch, tolerance=0.2).verdict == "pass"
    assert said(batch, z=30.0).verdict == "pass"


def test_a_regression_halts_where_its_rmse_is_larger():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=800)
    was = Measured("rmse", 0.1, 0.002, 5_000)
    for wide, verdict in ((0.1, "pass"), (0.2, "halt")):
        batch = truth, truth + wide * rng.normal(size=800)
        assert realise([batch], was, "regression", (), 0.05, 3.5).verdict == verdict


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(DataError, match="'perhaps'"):
        said((np.full(50, "perhaps", dtype=object), np.zeros(50)))


def test_labels_of_other_types_are_measured_together():
    truth, scores = labelled(100, 1)
    was = Measured("auc", 0.85, 0.02, 500)
    batches = [
        ((truth == "yes").astype(int), scores),
        (truth == "yes", scores),
        ((truth == "yes").astype(float), scores),
    ]
    assert realise(batches, was, "binary", ("0", "1"), 0.02, 3.5).verdict == "pass"
