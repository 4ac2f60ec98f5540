"""The four stages in a row, and what earlier batches add to the judgement of one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fuseline.decide import Stakes
from fuseline.errors import ModelFault
from fuseline.reference import Reference, Rows
from fuseline.stages import HISTORY, SMALL, Judgement, Past, judge

STAKES = Stakes("auc", 0.81, 0.02, columns=5)
STRICT = Stakes("auc", 0.81, 0.02, "halt", 5)


@pytest.fixture
def judged(people) -> Callable[..., Judgement]:
    """`judged(frame, past, stakes)`: what the stages say of a batch of these rows."""
    return lambda frame, past=(), stakes=STAKES: judge(people.reference, people.rows(frame), stakes, past=past)


def levels(found: Judgement) -> set[str]:
    return {c.level for c in found.causes}


def another_model(reference: Reference, score: Callable[[pd.DataFrame], np.ndarray], **other: object) -> Reference:
    """The same reference with another model, and perhaps other labels."""
    names = ("frame", "truth", "scores", "task", "classes", "bins", "importance", "budget", "seed")
    return Reference(score=score, **({n: getattr(reference, n) for n in names} | other))


# ── one batch ────────────────────────────────────────────────────────────────────────────────────


def test_a_clean_batch_has_no_cause_and_no_harm(judged, people):
    found = judged(people.draw(2_000, 4)[0])
    assert (found.harm, found.causes, found.worlds, found.changed) == (0.0, [], (), False)
    assert {c.column for c in found.checks} == {*people.reference.columns, None}
    assert not any(c.fired for c in found.checks)
    assert found.counts.keys() == {*people.reference.columns, "score"}


def test_a_batch_without_rows_has_nothing_to_say(people):
    found = judge(people.reference, people.rows(people.draw(10, 4)[0]).take(np.arange(0)), STAKES)
    assert (found.harm, found.causes, found.checks, found.counts) == (0.0, [], [], {})


def test_a_harmful_change_halts_with_its_cause_and_its_worlds(judged, people):
    frame, _ = people.draw(2_000, 4)
    found = judged(frame.assign(age=90.0 - frame["age"]))
    assert levels(found) == {"halt"}
    assert found.harm > 0.1
    assert found.changed
    assert found.worlds[0].columns == ("age",)
    assert any(c.fired for c in found.checks)


def test_a_harmless_change_warns(judged, people):
    frame, _ = people.draw(2_000, 4)
    found = judged(frame.assign(income=frame["income"] * 1.3))
    assert levels(found) == {"warn"}
    assert found.changed
    assert found.harm < STAKES.bound


def test_counts_of_all_rows_speak_where_the_rows_are_a_sample(people):
    frame, _ = people.draw(4_000, 4)
    frame = frame.assign(age=np.where(np.arange(4_000) < 1_000, frame["age"], np.nan))
    whole, sample = people.rows(frame), people.rows(frame[:1_000])
    alone = judge(people.reference, sample, STAKES)
    counted = judge(people.reference, sample, STAKES, people.reference.see(whole).counts)
    assert (alone.changed, counted.changed) == (False, True)
    nulls = next(c for c in counted.checks if c.name == "nulls" and c.column == "age")
    assert nulls.observed == 0.75


@pytest.mark.parametrize("error", [ModelFault("no ages"), None])
def test_where_the_harm_cannot_be_read_it_is_inconclusive(people, error):
    def score(frame: pd.DataFrame) -> np.ndarray:
        if error:
            raise error
        return people.score(frame)

    truth = people.reference.truth if error else np.full(3_000, "no", dtype=object)
    reference = another_model(people.reference, score, truth=truth)
    frame, _ = people.draw(1_000, 4)
    found = judge(reference, people.rows(frame.assign(age=90.0 - frame["age"])), STAKES)
    assert [(c.level, c.kind) for c in found.causes] == [("inconclusive", "harm")]
    assert (found.harm, found.changed) == (None, True)
    assert "cannot be estimated: " in found.causes[0].sentence
    assert any(c.fired for c in found.checks)


def test_a_model_that_fails_when_it_is_asked_about_single_columns_is_inconclusive_too(people):
    asked = []

    def score(frame: pd.DataFrame) -> np.ndarray:
        asked.append(len(frame))
        if len(asked) > 1:
            raise ModelFault("too often")
        return people.score(frame)

    frame, _ = people.draw(1_000, 4)
    broken = frame.assign(age=frame["age"] * 100, job=frame["job"].replace("manager", "boss"))
    found = judge(another_model(people.reference, score), people.rows(broken), STAKES)
    assert levels(found) == {"inconclusive"}
    assert len(asked) == 2


# ── small batches ────────────────────────────────────────────────────────────────────────────────


def small(people, seed: int, rows: int = 50, **columns: Callable[[pd.DataFrame], object]) -> pd.DataFrame:
    return people.draw(rows, seed)[0].assign(**columns)


def past_of(people, frame: pd.DataFrame, changed: bool = False) -> Past:
    rows = people.rows(frame)
    return Past(people.reference.see(rows).counts, changed, rows if len(frame) < SMALL else None)


def test_what_a_small_batch_does_not_show_several_do(judged, people):
    def older(d: pd.DataFrame) -> object:
        return d["age"] + 7.0

    batches = [small(people, seed, 60, age=older) for seed in range(30, 34)]
    assert not judged(batches[-1]).changed
    found = judged(batches[-1], [past_of(people, b) for b in batches[:-1]])
    assert found.changed
    assert all(c.sentence.endswith("(60 rows, judged together with the 180 rows before)") for c in found.causes)
    assert found.counts["age"].sum() == 60  # its own are remembered


def test_small_batches_that_pass_say_over_how_many_they_were_judged(judged, people):
    past = [past_of(people, small(people, seed, 60)) for seed in range(30, 36)]
    found = judged(small(people, 36, 60), past)
    assert not found.changed
    (check,) = (c for c in found.checks if c.name.startswith("batches judged together"))
    assert (check.name, check.observed, check.fired) == ("batches judged together (240 rows)", 4, False)
    assert not any(c.name.startswith("batches judged") for c in judged(small(people, 36, 200), past).checks)
    assert not any(c.name.startswith("batches judged") for c in judged(small(people, 36, 60)).checks)


def test_no_more_are_judged_together_than_are_remembered(judged, people):
    past = [past_of(people, small(people, seed, 1)) for seed in range(HISTORY)]
    (check,) = (c for c in judged(small(people, 99, 1), past).checks if c.name.startswith("batches judged"))
    assert (check.observed, check.bound, check.fired) == (HISTORY + 1, HISTORY + 1, False)


def test_no_more_small_batches_are_taken_than_make_up_enough_rows(judged, people):
    odd = past_of(people, small(people, 1, 150, age=lambda d: d["age"] * 100))
    clean = [past_of(people, small(people, seed, 90)) for seed in (2, 3)]
    assert not judged(small(people, 4, 90), [odd, *clean]).changed
    assert judged(small(people, 4, 90), [odd, clean[0]]).changed


def test_a_batch_that_was_large_ends_the_small_ones_before(judged, people):
    odd = past_of(people, small(people, 1, 150, age=lambda d: d["age"] * 100))
    large = past_of(people, small(people, 2, 500))
    assert not judged(small(people, 4, 50), [odd, large]).changed


def test_a_large_batch_is_judged_by_itself(judged, people):
    odd = past_of(people, small(people, 1, 150, age=lambda d: d["age"] * 100))
    assert not judged(small(people, 4, SMALL), [odd]).changed


# ── what lasts, and what creeps ──────────────────────────────────────────────────────────────────


def drifted(people, seed: int) -> pd.DataFrame:
    return small(people, seed, 800, income=lambda d: d["income"] * 1.3)


@pytest.mark.parametrize(
    ("before", "lasts"),
    [((), False), ((True,), False), ((True, True), True), ((True, False, True), False), ((False, True, True), True)],
)
def test_change_in_three_batches_in_a_row_is_the_policys_to_decide(judged, people, before, lasts):
    past = [past_of(people, drifted(people, 40 + i), changed) for i, changed in enumerate(before)]
    found = judged(drifted(people, 39), past, STRICT)
    assert ("halt" in levels(found)) == lasts
    assert ("drift" in {c.kind for c in found.causes}) == lasts
    assert levels(judged(drifted(people, 39), past, STAKES)) == {"warn"}


def test_a_clean_batch_after_drift_passes(judged, people):
    past = [past_of(people, drifted(people, 40 + i), True) for i in range(2)]
    assert judged(people.draw(800, 4)[0], past, STRICT).causes == []


def test_harm_halts_in_its_own_words_however_long_it_lasts(judged, people):
    past = [past_of(people, drifted(people, 40 + i), True) for i in range(2)]
    frame, _ = people.draw(800, 4)
    assert "drift" not in {c.kind for c in judged(frame.assign(age=90.0 - frame["age"]), past, STRICT).causes}


def leaking(people, seed: int, share: float) -> pd.DataFrame:
    lost = np.random.default_rng(seed).random(1_000) < share
    return small(people, seed, 1_000, debt=lambda d: np.where(lost, np.nan, d["debt"]))


def test_a_leak_that_no_batch_shows_is_found_within_a_few(judged, people):
    past, kinds = [past_of(people, people.draw(1_000, 70 + i)[0]) for i in range(10)], []
    for seed in range(50, 55):
        frame = leaking(people, seed, 0.04)
        found = judged(frame, past)
        assert levels(found) <= {"warn"}
        kinds += [c.kind for c in found.causes]
        past.append(past_of(people, frame))
        if "leak" in kinds:
            break
    assert kinds == ["leak"]
    assert len(past) >= 12  # one batch alone shows nothing


def test_batches_that_had_changed_are_no_part_of_what_creeps(judged, people):
    wild = [past_of(people, leaking(people, 60 + i, 0.5), True) for i in range(3)]
    found = judged(people.draw(1_000, 4)[0], wild)
    assert found.causes == []


def test_only_so_many_batches_are_looked_back_upon(judged, people):
    leaky = [past_of(people, leaking(people, 50 + i, 0.04)) for i in range(4)]
    clean = [past_of(people, people.draw(1_000, 70 + i)[0]) for i in range(HISTORY)]
    assert judged(people.draw(1_000, 4)[0], [*leaky, *clean]).causes == []


def test_small_rows_without_a_past_stay_as_they_are(people):
    frame, _ = people.draw(5, 4)
    rows = people.rows(frame)
    assert isinstance(rows, Rows)
    found = judge(people.reference, rows, STAKES)
    assert found.counts["age"].sum() == 5
