"""The labelled reference, made ready for all stages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fuseline.damage import Rescaled
from fuseline.detect import Change
from fuseline.errors import DataError
from fuseline.monitor import Monitor
from fuseline.performance import measure
from fuseline.reference import Reference, Rows

NAMES = ("score", "frame", "truth", "scores", "task", "classes", "bins", "importance", "budget", "seed")


def like(reference: Reference, **other: object) -> Reference:
    """The same reference but for what is given."""
    return Reference(**({name: getattr(reference, name) for name in NAMES} | other))


def odds(frame: pd.DataFrame) -> np.ndarray:
    return 2.0 * frame["x"].to_numpy() - 5.0


def rare(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Two columns that go together, and labels of which 3 % are positive."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=rows)})
    frame["y"] = frame["x"] + rng.normal(size=rows)
    return frame, np.where(rng.random(rows) < 1.0 / (1.0 + np.exp(-odds(frame))), "yes", "no").astype(object)


@pytest.fixture(scope="module")
def rarely() -> Reference:
    """9,000 rows, of which few are positive."""
    return Monitor.fit(*rare(9_000, 1), odds).reference


def rows_of(frame: pd.DataFrame) -> Rows:
    return Rows({c: frame[c].to_numpy() for c in frame}, odds(frame))


# ── what is seen of a batch ──────────────────────────────────────────────────────────────────────


def test_rows_are_taken_in_the_order_that_is_wanted(people):
    rows = people.rows(people.draw(10, 4)[0])
    with_cells = Rows(rows.values, rows.scores, people.reference.see(rows).cells)
    for one in (rows, with_cells):
        found = one.take(np.array([3, 1]))
        assert found.scores.tolist() == [one.scores[3], one.scores[1]]
        assert all((found.values[c] == one.values[c][[3, 1]]).all() for c in ("age", "job"))
    assert rows.take(np.array([0])).cells is None
    assert (with_cells.take(np.array([3, 1])).cells["age"] == with_cells.cells["age"][[3, 1]]).all()


def test_every_row_is_counted_once_in_each_column_and_score(people, planners):
    for who in (people, planners):
        seen = who.reference.see(who.rows(who.draw(500, 4)[0]))
        assert seen.rows == 500
        assert {int(c.sum()) for c in seen.counts.values()} == {500}
        assert seen.counts.keys() == {*who.reference.columns, *who.reference.score_axes}
        assert {len(c) for c in seen.cells.values()} == {500}


def test_counts_of_all_rows_may_be_given_with_a_sample(people):
    whole, sample = people.rows(people.draw(2_000, 4)[0]), people.rows(people.draw(100, 5)[0])
    counts = people.reference.see(whole).counts
    seen = people.reference.see(sample, counts)
    assert seen.rows == 2_000
    assert {len(c) for c in seen.cells.values()} == {100}


def test_cells_that_are_known_are_not_looked_up_again(people):
    rows = people.rows(people.draw(100, 4)[0])
    cells = people.reference.see(rows).cells
    known = Rows({c: v[:0] for c, v in rows.values.items()}, rows.scores, cells)
    assert people.reference.see(known).counts["age"].sum() == 100


def test_a_profile_counts_as_its_rows_do(people, planners):
    for who in (people, planners):
        frame, _ = who.draw(700, 4)
        frame.loc[:50, "job"] = None
        frame.loc[50:80, "job"] = "astronaut"
        frame.loc[80:90, "age"] = 1e9
        folded = who.reference.fold(who.monitor().profile(frame, who.score(frame)))
        counted = who.reference.see(who.rows(frame)).counts
        assert folded.keys() == counted.keys()
        assert all((folded[k] == counted[k]).all() for k in counted)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda counts: counts.pop("job"), "job is counted in 0 bins; the reference has 6"),
        (lambda counts: counts.update(score=[1, 2, 3]), "score is counted in 3 bins; the reference has 2"),
        (lambda counts: counts.update(age=[counts["age"]]), "age is counted in"),
    ],
)
def test_counts_of_other_bins_are_refused(people, change, said):
    counts = {name: list(binning.counts) for name, binning in people.reference.bins.columns.items()}
    counts |= {name: list(binning.counts) for name, binning in people.reference.bins.scores.items()}
    assert people.reference.by_cell(counts)["age"].sum() == 3_000
    change(counts)
    with pytest.raises(DataError, match=said):
        people.reference.by_cell(counts)


# ── what a change costs ──────────────────────────────────────────────────────────────────────────


def test_few_positive_rows_are_all_replayed_and_weighed_back(rarely):
    asked = []

    def score(frame: pd.DataFrame) -> np.ndarray:
        asked.append(frame)
        return odds(frame)

    batch, _ = rare(2_000, 4)
    rows = rows_of(batch.assign(x=-batch["x"]))
    seen = rarely.see(rows)
    found = like(rarely, score=score).harm(seen, Change(columns=("x",), loosened=("x",)), rows, 0.02)
    fresh, truth = rare(20_000, 5)
    real = (
        measure("binary", truth, odds(fresh), ("no", "yes")).value
        - measure("binary", truth, -odds(fresh), ("no", "yes")).value
    )
    worst = max(found.readings, key=lambda r: r.harm)
    assert worst.harm == pytest.approx(real, abs=0.05)
    (whole,) = asked
    assert len(whole) <= 4 * 4_000  # of 9,000 rows
    assert list(whole.columns) == list(rarely.frame.columns)
    assert (whole.dtypes == rarely.frame.dtypes).all()


def test_a_harmless_change_of_rare_positives_stays_harmless(rarely):
    batch, _ = rare(3_000, 4)
    rows = rows_of(batch.assign(y=batch["y"] * 3.0))
    seen = rarely.see(rows)
    change = rarely.detector.detect(seen)
    assert change.columns == ("y",)
    assert rarely.harm(seen, change, rows, 0.02).total == pytest.approx(0.0, abs=0.005)


def test_the_reference_is_not_changed_by_what_is_simulated(people):
    before = people.reference.frame.copy()
    frame, _ = people.draw(1_000, 4)
    found = people.estimate(frame.assign(age=frame["age"] * 100, job="x"))
    assert found.total > 0.0
    pd.testing.assert_frame_equal(people.reference.frame, before)


def test_what_each_column_costs_alone(people):
    frame, _ = people.draw(2_000, 4)
    found = people.estimate(frame.assign(age=frame["age"] * 12, income=frame["income"] * 100))
    world = next(r.world for r in found.readings if {type(f) for f in r.world.faults} == {Rescaled})
    assert set(world.columns) == {"age", "income"}
    alone = people.reference.alone(world.values)
    assert alone.keys() == {"age", "income"}
    assert alone["age"] == pytest.approx(people.cost(lambda d: d.assign(age=d["age"] * 12)), abs=0.1)
    assert alone["income"] == pytest.approx(people.cost(lambda d: d.assign(income=d["income"] * 100)), abs=0.1)


def test_a_world_counts_for_no_more_in_the_risk_than_some_tolerances(people):
    frame, _ = people.draw(1_000, 4)
    rows = people.rows(frame.assign(age=90.0 - frame["age"]))
    seen = people.reference.see(rows)
    change = people.reference.detector.detect(seen)
    for tolerance in (0.01, 0.05):
        found = people.reference.harm(seen, change, rows, tolerance)
        assert found.total > 0.3
        assert tolerance < found.risk < 5.0 * tolerance


@pytest.mark.parametrize(
    "truth", [np.full(3_000, "no", dtype=object), np.array(["yes"] + ["no"] * 2_999, dtype=object)]
)
def test_a_reference_of_one_class_or_nearly_so_has_no_nan(people, truth):
    reference = like(people.reference, truth=truth)
    rows = people.rows(people.draw(500, 4)[0].assign(age=0.0))
    seen = reference.see(rows)
    if len(set(truth)) == 1:
        with pytest.raises(DataError, match="have no metric"):
            reference.harm(seen, Change(columns=("age",)), rows, 0.02)
    else:
        assert np.isfinite(reference.harm(seen, Change(columns=("age",)), rows, 0.02).total)


def test_rows_without_a_label_are_neither_weighed_nor_replayed(people):
    truth = people.reference.truth.copy()
    truth[::2] = None
    reference = like(people.reference, truth=truth)
    frame, _ = people.draw(1_000, 4)
    rows = people.rows(frame.assign(age=90.0 - frame["age"]))
    found = reference.harm(reference.see(rows), Change(columns=("age",), loosened=("age",)), rows, 0.02)
    assert {len(r.world.weights) for r in found.readings} == {1_500}
    assert found.total > 0.3


def test_the_same_seed_gives_the_same_estimate_and_another_nearly_the_same(people):
    frame, _ = people.draw(1_000, 4)
    batch = frame.assign(age=np.random.default_rng(0).permutation(frame["age"].to_numpy()))
    rows = people.rows(batch)

    def total(seed: int) -> float:
        reference = like(people.reference, seed=seed)
        seen = reference.see(rows)
        return reference.harm(seen, reference.detector.detect(seen), rows, 0.02).total

    assert total(0) == total(0) == people.estimate(batch).total
    assert total(1) != total(0)
    assert total(1) == pytest.approx(total(0), rel=0.2)


@pytest.mark.parametrize("who", ["people", "spenders", "planners"])
def test_any_task_has_an_estimate(who, request):
    who = request.getfixturevalue(who)
    frame, _ = who.draw(1_000, 4)
    found = who.estimate(frame.assign(age=90.0 - frame["age"]))
    assert found.total > 0.1
    assert sum(r.belief for r in found.readings if "age" in r.world.columns) > 0.9
