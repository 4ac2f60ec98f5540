"""Which worlds are looked at, how they are compared with the batch, and which are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from fuseline.damage import Dealt, Joined, Moved, Rescaled, Swapped
from fuseline.detect import Change
from fuseline.explain import Likeness, World, explain
from fuseline.mixes import Raked, Same
from fuseline.monitor import Monitor
from fuseline.situation import Situation


@pytest.fixture(scope="module")
def batch(people):
    return people.draw(1_000, 4)[0]


class Model:
    """Scores the replayed rows with other values in some columns, and counts how often it is asked."""

    def __init__(self, people) -> None:
        self.people, self.asked = people, []

    def __call__(self, changes: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
        self.asked.append(len(changes))
        frame = self.people.reference.frame
        return [self.people.score(frame.assign(**change)) for change in changes]


def likeness(seen: Situation) -> Likeness:
    value = seen.scores if seen.scores.ndim == 1 else seen.scores[:, -1]
    return Likeness(seen, value)


def explained(people, frame: pd.DataFrame, change: Change | None = None) -> tuple[list[World], Model]:
    seen, model = people.situation(frame, change), Model(people)
    return explain(seen, likeness(seen), np.ones(len(seen.part)), model), model


def kinds(world: World) -> set[type]:
    return {type(f) for f in world.faults}


# ── the worlds ───────────────────────────────────────────────────────────────────────────────────


def test_the_nearest_world_comes_first_and_the_model_is_asked_once(people, batch):
    worlds, model = explained(people, batch.assign(rent=batch["rent"] * 1.6))
    assert [w.distance for w in worlds] == sorted(w.distance for w in worlds)
    assert kinds(worlds[0]) == {Rescaled}
    assert len(model.asked) == 1
    assert model.asked[0] == sum(w.scores is not None for w in worlds)


def test_a_world_is_either_a_mix_of_rows_or_faults(people, batch):
    for world in explained(people, batch.assign(rent=batch["rent"] * 1.6))[0]:
        assert (world.selection is None) == bool(world.faults)
        assert (world.scores is None) == (world.selection is not None)
        assert set(world.values) == set(world.columns)
        assert world.chance > 0.0
        assert world.prior > 0.0
        assert len(world.weights) == 3_000
        assert world.sentence()


def test_no_mix_of_rows_explains_values_that_the_reference_does_not_have(people, batch):
    worlds, _ = explained(people, batch.assign(age=batch["age"] * 100))
    assert worlds
    assert all(w.selection is None for w in worlds)
    assert all("age" in w.columns for w in worlds)


def test_where_nothing_speaks_for_a_fault_the_model_is_not_asked(people, batch):
    worlds, model = explained(people, batch, Change(scores=True))
    assert model.asked == []
    assert all(w.selection is not None for w in worlds)
    assert Same() in {w.selection for w in worlds}


def test_a_mix_that_stands_on_fewer_rows_is_believed_less(people):
    frame, _ = people.draw(6_000, 4)
    mild, sharp = (frame[frame["age"] > limit] for limit in (30, 55))
    priors = []
    for part in (mild, sharp):
        worlds, _ = explained(people, part, Change(columns=("age",)))
        priors += [w.prior for w in worlds if isinstance(w.selection, Raked)]
    assert priors[0] > 2.0 * priors[1]


@pytest.mark.parametrize(
    ("fault", "columns", "expected"),
    [
        (
            lambda d: d.assign(age=d["age"] * 100, job=d["job"].replace({"manager": "retired", "retired": "manager"})),
            {"age", "job"},
            {Rescaled, Swapped},
        ),
        (
            lambda d: d.assign(rent=d["rent"] * 100, debt=np.where(np.arange(len(d)) % 2 == 0, np.nan, d["debt"])),
            {"rent", "debt"},
            None,
        ),
        (
            lambda d: d.assign(rent=d["rent"] * 100, age=np.random.default_rng(0).permutation(d["age"].to_numpy())),
            {"rent", "age"},
            None,
        ),
        (  # both out of range, so that the other columns seem to have come apart from them together
            lambda d: d.assign(age=d["age"] * 12, income=d["income"] * 100),
            {"age", "income"},
            None,
        ),
        (
            lambda d: d.assign(age=0.0, rent=0.0, debt=0.0, job="x"),
            {"age", "rent", "debt", "job"},
            None,
        ),
    ],
)
def test_several_faults_at_once_are_found(people, batch, fault, columns, expected):
    worlds, _ = explained(people, fault(batch))
    assert set(worlds[0].columns) == columns
    if expected:
        assert kinds(worlds[0]) == expected


def test_a_fault_along_with_another_mix_of_rows_is_told_from_it(people):
    frame, _ = people.draw(6_000, 4)
    older = frame[np.random.default_rng(0).random(6_000) < np.where(frame["age"] > 48, 0.8, 0.25)]
    worlds, _ = explained(people, older.assign(job=older["job"].replace("manager", "Manager")))
    assert worlds[0].columns == ("job",)
    weights = worlds[0].weights
    age = people.reference.frame["age"]
    assert np.average(age, weights=weights) == pytest.approx(older["age"].mean(), abs=1.0)


def test_one_more_fault_is_less_likely(people, batch):
    worlds, _ = explained(people, batch.assign(rent=batch["rent"] * 1.6, debt=batch["debt"] + 15.0))
    assert set(worlds[0].columns) == {"rent", "debt"}
    alone, _ = explained(people, batch.assign(rent=batch["rent"] * 1.6))
    assert kinds(worlds[0]) == kinds(alone[0]) == {Rescaled}
    assert alone[0].prior > worlds[0].prior > 0.0


def test_columns_that_only_go_together_less_are_looked_at_too(people, batch):
    worlds, _ = explained(people, batch.assign(age=np.random.default_rng(0).permutation(batch["age"].to_numpy())))
    assert worlds[0].columns == ("age",)
    assert kinds(worlds[0]) == {Dealt}


def test_a_column_is_named_once_and_faults_are_said_one_after_the_other():
    world = World(1.0, 1.0, 1.0, np.ones(3), faults=(Joined(("a", "b")), Moved("c")))
    assert world.columns == ("a", "b", "c")
    assert world.sentence() == "a, b look joined to the wrong rows; some values of c are replaced"
    mix = World(1.0, 1.0, 1.0, np.ones(3), selection=Same())
    assert (mix.columns, mix.sentence()) == ((), "nothing but chance")


def test_the_same_batch_has_the_same_worlds(people, batch):
    odd = batch.assign(rent=batch["rent"] * 1.6)
    first, second = (explained(people, odd)[0] for _ in range(2))
    assert [w.distance for w in first] == [w.distance for w in second]
    assert [w.faults for w in first] == [w.faults for w in second]


# ── likeness ─────────────────────────────────────────────────────────────────────────────────────


def test_the_reference_is_as_far_from_a_clean_batch_as_chance_makes_it(people):
    for seed in range(4, 9):
        like = likeness(people.situation(people.draw(1_000, seed)[0], Change()))
        found = like.distance(like.reference, np.ones(len(like.reference)), 0)
        assert found < 2.5 * like.size


def test_a_changed_batch_is_further_and_more_so_the_more_it_changed(people, batch):
    found = []
    for factor in (1.0, 1.1, 1.3, 2.0):
        like = likeness(people.situation(batch.assign(rent=batch["rent"] * factor), Change(columns=("rent",))))
        found.append(like.distance(like.reference, np.ones(len(like.reference)), 0))
    assert found == sorted(found)
    assert found[-1] > 10 * found[0]


def test_no_world_fits_better_than_chance_allows_and_fitted_columns_cost(people, batch):
    seen = people.situation(batch, Change())
    like = likeness(seen)
    there = like.standard(like.features(seen.batch_cells, seen.batch_score_cells))
    best = like.distance(there, np.ones(len(there)), 0)  # the batch itself
    assert 0.0 < best < like.size
    assert like.distance(there, np.ones(len(there)), 100) >= 200.0


def test_fewer_effective_rows_make_the_same_difference_smaller(people, batch):
    like = likeness(people.situation(batch.assign(rent=batch["rent"] * 1.5), Change(columns=("rent",))))
    rows = np.repeat(like.reference.mean(axis=0)[None, :], 2_000, axis=0)
    even = like.distance(rows, np.ones(2_000), 0)
    uneven = like.distance(rows, np.where(np.arange(2_000) < 20, 1.0, 1e-9), 0)
    assert even > 3.0 * uneven


def test_features_are_of_every_column_and_pair_and_of_the_scores(people, planners, batch):
    for who, scores in ((people, 1), (planners, 3)):
        seen = who.situation(batch, Change(columns=("age",)))
        like = likeness(seen)
        plain = like.features(seen.batch_cells, None)
        whole = like.features(seen.batch_cells, seen.batch_score_cells)
        assert plain.shape == (1_000, like.plain)
        assert whole.shape == (1_000, like.plain + 7 * scores)
        assert (whole[:, : like.plain] == plain).all()
        assert like.size == whole.shape[1]
        assert np.isfinite(whole).all()
        assert like.reference.mean(axis=0) == pytest.approx(0.0, abs=1e-9)


def test_scores_are_placed_in_the_cells_of_the_reference(people, planners, batch):
    for who in (people, planners):
        seen = who.situation(batch, Change())
        like = likeness(seen)
        found = like.score_cells(who.score(batch))
        assert found.keys() == seen.batch_score_cells.keys()
        assert all((found[k] == seen.batch_score_cells[k]).all() for k in found)


def test_text_is_coded_by_the_scores_that_its_levels_have(people, batch):
    like = likeness(people.situation(batch, Change()))
    reference = people.reference
    codes = pd.Series(like.codes["job"][reference.columns["job"].reference])
    scores = pd.Series(reference.scores).groupby(reference.frame["job"]).mean()
    by_level = codes.groupby(reference.frame["job"]).first()
    assert by_level.rank().equals(scores.rank())


def test_columns_of_which_it_is_not_known_what_goes_together_are_compared_without_it(people):
    frame, truth = people.draw(80, 5)
    reference = Monitor.fit(frame, truth, people.score).reference
    rows = people.rows(people.draw(60, 6)[0])
    seen = reference._situation(reference.see(rows), Change(columns=("age",)), rows)
    like = Likeness(seen, reference.scores)
    assert like.watched == []
    assert like.features(seen.batch_cells, None).shape == (60, 5 * 8 // 2)
    assert np.isfinite(like.distance(like.reference, np.ones(80), 1))


def test_only_the_columns_that_matter_are_compared(people, batch):
    wide = batch.assign(**{f"extra{i}": np.random.default_rng(i).normal(size=1_000) for i in range(6)})
    frame, truth = people.draw(1_000, 5)
    frame = frame.assign(**{f"extra{i}": np.random.default_rng(i + 9).normal(size=1_000) for i in range(6)})
    reference = Monitor.fit(frame, truth, people.score).reference
    rows = people.rows(wide)
    seen = reference._situation(reference.see(rows), Change(columns=("extra3",)), rows)
    like = Likeness(seen, reference.scores)
    assert like.columns[0] == "extra3"
    assert "age" in like.columns
    assert len(like.columns) < 11
