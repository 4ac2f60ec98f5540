"""Worlds in which columns no longer mean what they meant: where each kind is worth a look, and what it does to rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fuseline.damage import Dealt, Exchanged, Joined, Moved, Noisy, Rescaled, Swapped, Turned
from fuseline.detect import Change
from fuseline.monitor import Monitor


@pytest.fixture(scope="module")
def batch(people):
    return people.draw(1_000, 4)[0]


@pytest.fixture(scope="module")
def numbers_only():
    """A reference of numbers and times that do not go together, beside any batch of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=500), "skewed": rng.exponential(1.0, 500)})
    frame["at"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 1_000, 500), unit="h")
    truth = np.where(rng.random(500) < 0.5, "yes", "no")
    reference = Monitor.fit(frame, truth, lambda d: d["x"].to_numpy()).reference

    def beside(batch: pd.DataFrame, change: Change):
        from fuseline.reference import Rows

        rows = Rows({c: batch[c].to_numpy() for c in batch}, batch["x"].to_numpy())
        return reference._situation(reference.see(rows), change, rows)

    return frame, beside


def proposed(kind, seen, column):
    return list(kind.propose(seen, column))


def changed(*columns, broken=(), loosened=()):
    return Change(columns=columns, broken=broken, loosened=loosened)


def ranks(values):
    return np.argsort(np.argsort(values))


# ── where a kind is worth a look ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Rescaled, Moved, Turned, Noisy, Swapped, Dealt, Joined])
def test_a_column_that_did_not_change_is_not_looked_at(people, batch, kind):
    seen = people.situation(batch, changed("rent"))
    assert [proposed(kind, seen, c) for c in ("age", "job", "debt")] == [[], [], []]


def test_numbers_and_times_may_be_rescaled_and_text_not(people, batch, numbers_only):
    seen = people.situation(batch, changed("age", "job"))
    assert proposed(Rescaled, seen, "age") == [Rescaled("age")]
    assert proposed(Rescaled, seen, "job") == []
    frame, beside = numbers_only
    assert proposed(Rescaled, beside(frame, changed("at")), "at") == [Rescaled("at")]


def test_values_of_any_column_may_be_replaced(people, batch):
    seen = people.situation(batch, changed("age", "job"))
    assert [proposed(Moved, seen, c) for c in ("age", "job")] == [[Moved("age")], [Moved("job")]]


def test_an_order_may_be_turned_where_the_column_goes_together_less(people, batch, numbers_only):
    seen = people.situation(batch, changed(loosened=("age", "job")))
    assert proposed(Turned, seen, "age") == [Turned("age")]
    assert proposed(Turned, seen, "job") == []
    frame, beside = numbers_only
    assert proposed(Turned, beside(frame, changed(loosened=("at",))), "at") == []


@pytest.mark.parametrize(
    ("column", "fault", "mirrored"),
    [
        ("skewed", lambda v: -v, True),  # a sign
        ("skewed", lambda v: 8.0 - v, True),  # the long tail is on the other side
        ("skewed", lambda v: v * 100, False),
        ("skewed", lambda v: v + 3.0, False),
        ("skewed", lambda v: np.where(np.arange(len(v)) < 10, -v, np.nan), False),  # too few to tell
        ("x", lambda v: v + 1.0, False),  # is as it was when it is mirrored: nothing speaks for it
    ],
)
def test_an_order_may_be_turned_where_the_values_look_mirrored(numbers_only, column, fault, mirrored):
    frame, beside = numbers_only
    seen = beside(frame.assign(**{column: fault(frame[column].to_numpy())}), changed(column))
    assert proposed(Turned, seen, column) == [Turned(column)] * mirrored


@pytest.mark.parametrize(
    ("fault", "noisy"),
    [
        (lambda v: v + np.random.default_rng(1).normal(0.0, 1.0, len(v)), True),
        (lambda v: v * 0.5, False),
        (lambda v: v + 5.0, False),
        (lambda v: np.where(np.arange(len(v)) == 0, v, np.nan), False),  # one value has no spread
        (lambda v: np.where(np.arange(len(v)) % 2 == 0, 1e308, -1e308), False),  # no finite one
    ],
)
def test_noise_is_looked_at_where_the_spread_is_wider(numbers_only, fault, noisy):
    frame, beside = numbers_only
    seen = beside(frame.assign(x=fault(frame["x"].to_numpy())), changed("x"))
    assert proposed(Noisy, seen, "x") == [Noisy("x")] * noisy


def test_times_have_no_noise(numbers_only):
    frame, beside = numbers_only
    later = frame.assign(at=pd.Timestamp("2025-01-01") + (frame["at"] - pd.Timestamp("2025-01-01")) * 5)
    assert proposed(Noisy, beside(later, changed("at")), "at") == []


@pytest.mark.parametrize(
    ("levels", "more", "swapped"),
    [
        ({"manager": "student", "student": "manager"}, {}, True),  # the shares, in order, are as before
        ({"student": "worker"}, {}, False),
        ({"student": "worker"}, {"loosened": ("job",)}, True),
        ({"student": "Student"}, {}, True),  # a new name, which no mix of rows has
    ],
)
def test_levels_may_be_swapped_where_they_are_as_common_as_before_or_go_together_less(
    people, batch, levels, more, swapped
):
    seen = people.situation(batch.assign(job=batch["job"].replace(levels)), changed("job", **more))
    assert proposed(Swapped, seen, "job") == [Swapped("job")] * swapped


def test_numbers_have_no_levels_to_swap(people, batch):
    assert proposed(Swapped, people.situation(batch, changed("age", loosened=("age",))), "age") == []


def test_values_of_other_rows_in_all_or_half_of_the_rows(people, batch):
    seen = people.situation(batch, changed(loosened=("age",)))
    assert proposed(Dealt, seen, "age") == [Dealt("age"), Dealt("age", 0.5)]
    assert proposed(Dealt, seen, "rent") == []


def test_a_join_by_the_wrong_key_is_looked_for_where_columns_fell_apart(people, batch):
    at = np.random.default_rng(0).permutation(1_000)
    other = batch.assign(income=batch["income"].to_numpy()[at], rent=batch["rent"].to_numpy()[at])
    seen = people.situation(other)
    assert "income" in seen.change.broken
    few, many = proposed(Joined, seen, "income")
    assert set(few.columns) == {"income", "rent"}
    assert set(many.columns) == {"age", "debt", "job"}
    assert few.prior(seen) > many.prior(seen)
    doubled = other.assign(rent=other["rent"] * 2)  # a wrong join leaves every column spread as it was
    seen = people.situation(doubled, changed("rent", broken=("income",)))
    assert set(few.columns) not in [set(f.columns) for f in proposed(Joined, seen, "income")]


def test_nothing_is_joined_wrongly_where_it_is_not_known_what_goes_together(people, batch):
    alone = people.draw(50, 5)  # too few rows to learn it
    reference = Monitor.fit(*alone, people.score).reference
    rows = people.rows(batch)
    seen = reference._situation(reference.see(rows), changed(broken=("age",)), rows)
    assert seen.together is None
    assert proposed(Joined, seen, "age") == []


def test_columns_of_one_kind_may_be_exchanged_where_each_looks_as_the_other_did(people, batch):
    other = batch.assign(income=batch["rent"], rent=batch["income"])
    seen = people.situation(other, changed("rent", "income"))
    assert proposed(Exchanged, seen, "rent") == [Exchanged(("income", "rent"))]  # in the order of the columns
    assert proposed(Exchanged, seen, "income") == [Exchanged(("income", "rent"))]
    assert proposed(Exchanged, seen, "job") == []
    one_way = people.situation(batch.assign(income=batch["rent"]), changed("income"))
    assert proposed(Exchanged, one_way, "income") == []


# ── what it does to rows ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Rescaled, Moved, Turned, Noisy, Swapped, Dealt])
def test_a_fault_of_one_column_changes_no_other_and_not_the_pool(people, batch, kind):
    column = "job" if kind is Swapped else "age"
    other = batch["job"].replace({"manager": "student", "student": "manager"}) if kind is Swapped else batch["age"] * 2
    seen = people.situation(batch.assign(**{column: other}), changed(column))
    before = seen.pool[column].copy()
    fault = kind(column)
    assert fault.columns == (column,)
    (found,) = fault.values(seen).values()
    assert (len(found), found.dtype) == (len(seen.part), before.dtype)
    assert (seen.pool[column] == before).all()
    again = kind(column).values(seen)[column]
    assert (found == again).all()
    assert not (found == before[seen.part]).all()


def test_rescaling_keeps_the_order_and_turning_reverses_it(people, batch):
    seen = people.situation(batch.assign(age=120.0 - batch["age"]), changed("age"))
    before = ranks(seen.pool["age"])
    assert np.corrcoef(before, ranks(Rescaled("age").values(seen)["age"]))[0, 1] > 0.999
    assert np.corrcoef(before, ranks(Turned("age").values(seen)["age"]))[0, 1] < -0.999


def test_replacing_changes_as_few_rows_as_possible(people, batch):
    zeros = batch.assign(age=np.where(np.arange(1_000) % 10 < 3, 0.0, batch["age"]))
    seen = people.situation(zeros, changed("age"))
    found = Moved("age").values(seen)["age"]
    assert (found == 0.0).mean() == pytest.approx(0.3, abs=0.04)
    assert (found != seen.pool["age"]).mean() == pytest.approx(0.3, abs=0.08)


def test_noise_makes_the_spread_and_the_mean_those_of_the_batch(people, batch):
    noise = np.random.default_rng(1).normal(5.0, 20.0, 1_000)
    seen = people.situation(batch.assign(age=batch["age"] + noise), changed("age"))
    found = Noisy("age").values(seen)["age"]
    assert found.std() == pytest.approx(seen.batch["age"].std(), rel=0.06)
    assert found.mean() == pytest.approx(seen.batch["age"].mean(), abs=1.5)
    assert 0.3 < np.corrcoef(found, seen.pool["age"])[0, 1] < 0.7


def test_swapping_gives_the_kth_common_level_the_name_of_the_batchs_kth(people, batch):
    other = batch.assign(job=batch["job"].replace({"worker": "retired", "retired": "worker"}))
    seen = people.situation(other, changed("job", loosened=("job",)))
    found, before = Swapped("job").values(seen)["job"], seen.pool["job"]
    named = dict(zip(before, found, strict=True))
    assert named == {"worker": "retired", "retired": "worker", "manager": "manager", "student": "student"}


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, -0.1, 0.1), (0.5, 0.4, 0.6)])
def test_values_of_other_rows_go_together_with_nothing(people, batch, share, least, most):
    seen = people.situation(batch, changed(loosened=("age",)))
    found = Dealt("age", share).values(seen)["age"]
    assert least < np.corrcoef(found, seen.pool["age"])[0, 1] < most
    assert found.mean() == pytest.approx(batch["age"].mean(), abs=1.5)


@pytest.mark.parametrize(
    ("column", "other"), [("age", lambda v: v * 2), ("job", lambda v: v.replace("student", "pupil"))]
)
def test_half_of_the_rows_of_a_column_that_also_changed_are_changed_and_not_dealt(people, batch, column, other):
    batch = batch.assign(**{column: other(batch[column])})
    seen = people.situation(batch, changed(column, loosened=(column,)))
    found, before = Dealt(column, 0.5).values(seen)[column], seen.pool[column]
    if column == "age":
        kept = np.abs(found - 2.0 * before) < 5.0
        assert found.mean() == pytest.approx(2.0 * before.mean(), rel=0.03)
    else:
        kept = found == np.where(before == "student", "pupil", before)
        assert (found == "pupil").mean() == pytest.approx((before == "student").mean(), abs=0.04)
    assert 0.45 < kept.mean() < 0.75


def test_joined_columns_come_from_the_same_rows_of_the_batch(people, batch):
    seen = people.situation(batch, changed(broken=("age", "debt")))
    found = Joined(("age", "rent")).values(seen)
    pairs = set(zip(batch["age"], batch["rent"], strict=True))
    assert set(zip(found["age"], found["rent"], strict=True)) <= pairs
    assert abs(np.corrcoef(found["age"], seen.pool["age"])[0, 1]) < 0.1


def test_exchanged_columns_have_each_others_values(people, batch):
    seen = people.situation(batch, changed("income", "rent"))
    found = Exchanged(("income", "rent")).values(seen)
    assert (found["income"] == seen.pool["rent"]).all()
    assert (found["rent"] == seen.pool["income"]).all()


# ── how likely, and in words ─────────────────────────────────────────────────────────────────────


def test_the_simplest_kinds_are_likelier_than_the_rarer_ones(people, batch):
    seen = people.situation(batch, changed("age"))
    simple = min(f.prior(seen) for f in (Rescaled("age"), Moved("age"), Exchanged(("age", "debt"))))
    assert all(0.0 < f.prior(seen) < simple for f in (Turned("age"), Noisy("age"), Swapped("job"), Dealt("age")))
    beyond = people.situation(batch.assign(age=batch["age"] * 100), changed("age"))  # that is rather another unit
    assert Moved("age").prior(beyond) < Rescaled("age").prior(beyond)
    # values of other rows hardly come along with a change of the same column
    assert Dealt("rent").prior(seen) > Dealt("age").prior(seen)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Rescaled("x"), "x is rescaled or shifted"),
        (Moved("x"), "some values of x are replaced"),
        (Turned("x"), "x has its order turned round"),
        (Noisy("x"), "x is much noisier"),
        (Swapped("x"), "levels of x have each other's names"),
        (Dealt("x"), "x looks dealt to other rows"),
        (Dealt("x", 0.5), "x looks dealt to other rows in about half of the rows"),
        (Joined(("x", "y", "z")), "x, y, z look joined to the wrong rows"),
        (Exchanged(("x", "y")), "x and y look exchanged"),
    ],
)
def test_what_happened_is_said(fault, said):
    assert fault.sentence() == said
