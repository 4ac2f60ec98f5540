"""A batch beside the labelled reference: what no mix of rows can explain, and values as if a fault had happened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fuseline.detect import Change
from fuseline.monitor import Monitor


@pytest.fixture(scope="module")
def batch(people):
    return people.draw(1_000, 4)[0]


def changed(*columns: str) -> Change:
    return Change(columns=columns)


# ── what no weights can make of the reference ────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ("age", lambda d: d["age"] * 100),
        ("age", lambda d: np.where(np.arange(len(d)) % 10 < 3, 0.0, d["age"])),
        ("age", lambda d: np.where(np.arange(len(d)) % 10 < 3, 45.0, d["age"])),  # a default in the midst of the range
        ("rent", lambda d: 900.0 + d["rent"] / 1000.0),  # all in one narrow range
        ("debt", lambda d: np.where(np.arange(len(d)) % 10 < 5, np.nan, d["debt"])),
        ("age", lambda d: np.nan),
        ("job", lambda d: d["job"].replace("manager", "Manager")),
        ("job", lambda d: None),
    ],
)
def test_values_that_the_reference_does_not_have_are_a_violation(people, batch, column, fault):
    seen = people.situation(batch.assign(**{column: fault(batch)}), changed(column))
    assert seen.missing(column) > 0.2
    assert seen.violated == (column,)


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ("age", lambda d: d["age"]),
        ("age", lambda d: np.random.default_rng(0).permutation(d["age"])),
        ("job", lambda d: d["job"]),
        ("debt", lambda d: np.where(np.arange(len(d)) % 10 < 1, np.nan, d["debt"])),  # twice as many nulls
    ],
)
def test_values_that_the_reference_has_are_none(people, batch, column, fault):
    seen = people.situation(batch.assign(**{column: fault(batch)}), changed(column))
    assert seen.missing(column) < 0.02
    assert seen.violated == ()


def test_another_mix_of_rows_violates_nothing(people, batch):
    seen = people.situation(batch[batch["age"] > 50], changed("age", "debt", "job"))
    assert seen.violated == ()


def test_one_or_two_odd_rows_violate_nothing(people, batch):
    few = batch[:50].assign(age=lambda d: np.where(np.arange(50) < 2, 1e6, d["age"]))
    assert people.situation(few, changed("age")).missing("age") == 0.0


def test_only_columns_that_changed_are_looked_at(people, batch):
    assert people.situation(batch.assign(age=np.nan), changed("rent")).violated == ()


def test_a_column_that_was_mostly_null_and_now_is_null_throughout_is_no_violation(people):
    frame, truth = people.draw(600, 5)
    extra = np.where(np.arange(600) % 5 == 0, frame["rent"], np.nan)
    reference = Monitor.fit(frame.assign(extra=extra), truth, people.score).reference
    rows = people.rows(frame.assign(extra=np.nan))
    seen = reference._situation(reference.see(rows), changed("extra"), rows)
    assert seen.missing("extra") == 0.0


def test_a_column_that_was_wholly_null_and_now_has_values_is_a_violation(people):
    frame, truth = people.draw(600, 5)
    reference = Monitor.fit(frame.assign(extra=np.nan), truth, people.score).reference
    rows = people.rows(frame.assign(extra=1.0))
    seen = reference._situation(reference.see(rows), changed("extra"), rows)
    assert seen.missing("extra") > 0.5


# ── the batch without its noise ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("column", ["age", "debt", "job"])
def test_what_may_be_chance_is_taken_for_chance(people, batch, column):
    seen = people.situation(batch, changed(column))
    now = seen.axes[column].counts(seen.batch_cells[column]) / seen.rows
    found = seen.denoised(column)
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0.0).all()
    was = seen.axes[column].shares
    assert np.abs(found - was).sum() < 0.6 * np.abs(now - was).sum()


def test_what_is_no_chance_stays(people, batch):
    odd = batch.assign(job="astronaut", debt=np.where(np.arange(1_000) % 2 == 0, np.nan, batch["debt"]))
    seen = people.situation(odd, changed("job", "debt"))
    assert seen.denoised("job")[-2] == pytest.approx(1.0, abs=0.02)  # never seen
    assert seen.denoised("debt")[-1] == pytest.approx(np.isnan(odd["debt"]).mean(), abs=0.01)  # null


def test_a_column_that_is_constant_before_and_after_keeps_its_shares(people):
    frame, truth = people.draw(400, 5)
    reference = Monitor.fit(frame.assign(extra=1.0), truth, people.score).reference
    rows = people.rows(frame.assign(extra=1.0))
    seen = reference._situation(reference.see(rows), changed("extra"), rows)
    assert seen.denoised("extra").tolist() == seen.axes["extra"].shares.tolist()


# ── values as if a fault had happened ────────────────────────────────────────────────────────────


def test_moved_values_have_the_shares_of_the_batch_and_few_rows_change(people, batch):
    odd = batch.assign(job=batch["job"].replace("manager", "chief"))
    seen = people.situation(odd, changed("job"))
    found = seen.moved("job", seen.draw(1))
    before = seen.pool["job"][seen.part]
    assert (before[found != before] == "manager").mean() > 0.9
    assert (found == "chief").mean() == pytest.approx((odd["job"] == "chief").mean(), abs=0.03)


def test_rescaled_values_keep_their_order(people, batch):
    seen = people.situation(batch.assign(rent=batch["rent"] * 100), changed("rent"))
    before, found = seen.pool["rent"][seen.part], seen.rescaled("rent", seen.draw(1))
    assert np.corrcoef(np.argsort(np.argsort(before)), np.argsort(np.argsort(found)))[0, 1] > 0.999
    assert np.median(found) == pytest.approx(100 * np.median(before), rel=0.05)
    turned = seen.rescaled("rent", seen.draw(1), turned=True)
    assert np.corrcoef(np.argsort(np.argsort(before)), np.argsort(np.argsort(turned)))[0, 1] < -0.999


def test_times_stay_times_when_they_are_rescaled(people):
    frame, truth = people.draw(800, 5)
    frame["at"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(frame["age"], unit="D")
    reference = Monitor.fit(frame, truth, people.score).reference
    rows = people.rows(frame.assign(at=frame["at"] + pd.Timedelta(days=365)))
    seen = reference._situation(reference.see(rows), changed("at"), rows)
    found = seen.rescaled("at", seen.draw(1))
    assert found.dtype == np.dtype("datetime64[ns]")
    assert pd.Series(found).min() > pd.Timestamp("2025-12-01")
    assert seen.violated == ("at",)


def test_known_values_are_ranked_once_in_the_pool_and_in_the_batch(people, batch):
    seen = people.situation(batch, changed("debt"))
    pool, there = seen.ranked("debt")
    for found, values in ((pool, seen.pool["debt"]), (there, batch["debt"])):
        assert found.tolist() == sorted(values[~np.isnan(values)])
    assert seen.ranked("debt")[0] is pool


def test_columns_that_come_from_other_rows_together_are_apart(people, batch):
    at = np.random.default_rng(0).permutation(1_000)
    assert people.situation(batch).apart == ()
    joined = batch.assign(income=batch["income"].to_numpy()[at], rent=batch["rent"].to_numpy()[at])
    assert people.situation(joined).apart == ("income", "rent")
    reference = Monitor.fit(*people.draw(50, 5), people.score).reference  # too few rows to learn what goes together
    rows = people.rows(joined)
    assert reference._situation(reference.see(rows), changed("rent"), rows).apart == ()


def test_nulls_come_and_go_at_random(people, batch):
    for share in (0.0, 0.6):
        debt = np.where(np.arange(1_000) < 1_000 * share, np.nan, batch["debt"].fillna(18.0))
        seen = people.situation(batch.assign(debt=debt), changed("debt"))
        found = seen.rescaled("debt", seen.draw(1))
        assert np.isnan(found).mean() == pytest.approx(share, abs=0.02)


def test_the_same_key_draws_the_same_and_another_key_does_not(people, batch):
    seen = people.situation(batch, changed("age"))
    assert seen.draw(1, 2).random() == seen.draw(1, 2).random()
    assert seen.draw(1, 2).random() != seen.draw(1, 3).random()


# ── as raking wants it ───────────────────────────────────────────────────────────────────────────


def test_what_is_out_of_range_counts_as_the_outermost_cell(people, batch):
    wide = batch.assign(age=np.where(np.arange(1_000) % 2 == 0, -1e9, 1e9))
    seen = people.situation(wide, changed("age"))
    group = seen.group("age")
    inner = seen.axes["age"].size - 4
    assert set(group.batch) == {0, inner}
    assert group.reference.max() <= inner  # no age of the reference is null
    text = seen.group("job")
    assert (text.batch == seen.batch_cells["job"]).all()


def test_every_score_is_a_group(planners):
    seen = planners.situation(planners.draw(300, 4)[0], changed("age"))
    groups = seen.score_groups()
    assert len(groups) == 3
    assert {len(g.batch) for g in groups} == {300}
    assert {len(g.reference) for g in groups} == {3_000}


def test_a_column_without_any_value_is_a_group_too(people):
    frame, truth = people.draw(400, 5)
    reference = Monitor.fit(frame.assign(extra=np.nan), truth, people.score).reference
    rows = people.rows(frame.assign(extra=np.nan))
    group = reference._situation(reference.see(rows), changed("extra"), rows).group("extra")
    assert group.target.sum() == pytest.approx(1.0)
