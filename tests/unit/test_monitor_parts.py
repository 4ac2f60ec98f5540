"""The same verdict however the rows of a batch come: in any order, and in parts."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from fuseline import Monitor
from fuseline.errors import DataError
from fuseline.profile import merge
from fuseline.records import Assessment


def finite(found: Assessment) -> Assessment:
    """The assessment, after a look at every figure and word of it."""
    json.dumps(asdict(found), allow_nan=False)
    assert not [c.sentence for c in found.causes if re.search(r"\bnan\b", c.sentence)]
    assert found.verdict in ("pass", "warn", "halt", "inconclusive")
    assert (found.verdict == "pass") == (not found.causes)
    return found


@pytest.fixture
def monitor(people) -> Monitor:
    """A monitor of 3,000 labelled people that remembers nothing."""
    return people.monitor()


@pytest.fixture(scope="module")
def batch(people) -> pd.DataFrame:
    return people.draw(2_000, 4)[0]


@pytest.fixture(scope="module")
def large(people) -> pd.DataFrame:
    """More rows than are looked at one by one; half of the ages are of other rows, some rows are odd."""
    frame, _ = people.draw(12_000, 4)
    half = np.arange(12_000) % 2 == 0
    dealt = np.random.default_rng(0).permutation(frame["age"].to_numpy())
    frame["age"] = np.where(half, dealt, frame["age"])
    frame.loc[::500, "job"] = None
    frame.loc[1::500, "job"] = "astronaut"
    return frame


@pytest.mark.parametrize("rows", [150, 2_000, 12_000])
def test_the_order_of_the_rows_does_not_matter(people, large, rows):
    frame = large[:rows]
    expected = finite(people.monitor().assess(frame))
    for seed in (1, 2):
        assert people.monitor().assess(frame.sample(frac=1.0, random_state=seed)) == expected


def parts_of(monitor: Monitor, people, frame: pd.DataFrame, cuts: list[int], ids: np.ndarray | None = None) -> list:
    edges = [0, *cuts, len(frame)]
    scores = people.score(frame)
    return [monitor.profile(frame[a:b], scores[a:b], None if ids is None else ids[a:b]) for a, b in pairwise(edges)]


@pytest.mark.parametrize("rows", [300, 12_000])
@pytest.mark.parametrize("cuts", [[], [100], [0, 5, 250]])
def test_parts_that_are_merged_have_the_verdict_of_the_whole(people, large, rows, cuts):
    frame, monitor = large[:rows], people.monitor()
    whole = monitor.assess(frame)
    parts = parts_of(monitor, people, frame, cuts)
    for profile in (merge(parts), merge(parts[::-1])):
        found = finite(people.monitor().assess(profile))
        assert (found.verdict, found.harm, found.causes) == (whole.verdict, whole.harm, whole.causes)
        assert found.worlds == whole.worlds


def test_with_ids_the_same_rows_are_looked_at_however_a_batch_is_cut(people, large):
    ids = np.array([f"person-{i}" for i in range(len(large))])
    expected = None
    for seed, cuts in ((1, [7_000]), (2, [10, 20]), (3, [])):
        order = np.random.default_rng(seed).permutation(len(large))
        parts = parts_of(people.fitted, people, large.iloc[order], cuts, ids[order])
        found = people.monitor().assess(merge(parts))
        expected = expected or found
        assert found == expected
    assert expected.verdict == "halt"


def test_a_profile_of_no_rows_is_inconclusive(people, batch):
    monitor = people.monitor(expected_rows=100)
    found = finite(monitor.assess(monitor.profile(batch[:0], np.zeros(0))))
    assert found.verdict == "halt"  # for the rows that are missing
    assert {c.kind for c in found.causes} == {"rows"}
    assert finite(people.monitor().assess(monitor.profile(batch[:0], np.zeros(0)))).verdict == "inconclusive"


@pytest.mark.parametrize("column", ["age", "job", "debt"])
def test_a_profile_of_a_column_that_is_null_throughout_has_a_verdict(monitor, people, batch, column):
    odd = batch.assign(**{column: None})
    profile = monitor.profile(odd, people.score(batch))
    assert finite(monitor.assess(profile)).verdict in ("warn", "halt")


def test_a_profile_of_another_monitor_is_refused(monitor, people, planners, batch):
    for other in (planners, people):
        frame, truth = other.draw(100, 2)
        profile = Monitor.fit(frame, truth, other.score).profile(frame, other.score(frame))
        with pytest.raises(DataError, match="another monitor"):
            monitor.assess(profile)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.drop(columns="age"), "column age is missing"),
        (lambda d: d.drop(columns=["age", "job"]), "columns age, job are missing"),
        (lambda d: pd.concat([d, d[["rent"]]], axis=1), "column rent is there more than once"),
        (lambda d: d[[]], "columns age, income, rent, debt, job are missing"),
        (lambda d: d[:0].drop(columns="debt"), "column debt is missing"),
    ],
)
def test_a_part_without_each_column_once_is_refused(monitor, people, batch, change, said):
    odd = change(batch)
    with pytest.raises(DataError, match=f"{said}: no part can be counted"):
        monitor.profile(odd, people.score(batch)[: len(odd)])


def test_more_columns_in_another_order_are_counted_as_usual(monitor, people, batch):
    expected = monitor.profile(batch, people.score(batch)).to_json()
    found = monitor.profile(batch[batch.columns[::-1]].assign(more=1.0), people.score(batch)).to_json()
    assert found == expected


@pytest.mark.parametrize("count", [0, 1_999, 2_001])
def test_one_id_is_given_for_each_row_of_a_part(monitor, people, batch, count):
    with pytest.raises(DataError, match=f"{count:,} ids for 2,000 rows"):
        monitor.profile(batch, people.score(batch), np.arange(count))


def test_the_same_seed_gives_the_same_verdict_and_another_nearly_the_same(people, batch):
    odd = batch.assign(age=np.random.default_rng(0).permutation(batch["age"].to_numpy()))
    found = [Monitor.fit(*people.draw(1_000, 2), people.score, seed=seed).assess(odd) for seed in (5, 5, 6)]
    assert found[0] == found[1]
    assert found[0].verdict == found[2].verdict == "halt"
    assert found[0].harm == pytest.approx(found[2].harm, rel=0.3)


# ── the same batch is no second batch ────────────────────────────────────────────────────────────


def older(people, rows: int, seed: int) -> pd.DataFrame:
    """People who are all seven years older; 60 of them are too few to tell, a few hundred are not."""
    frame, _ = people.draw(rows, seed)
    return frame.assign(age=frame["age"] + 7.0)


def test_asked_again_about_a_batch_it_is_no_second_one_however_it_comes(people):
    monitor, odd = people.monitor(), older(people, 60, 30)
    ids = np.array([f"person-{i}" for i in range(60)])
    first = monitor.assess(odd)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(60)
        shuffled = odd.iloc[order]
        assert monitor.assess(shuffled) == first
        for cuts in ([], [20, 30]):
            for named in (None, ids[order]):
                found = monitor.assess(merge(parts_of(monitor, people, shuffled, cuts, named)))
                assert (found.verdict, found.sentence) == (first.verdict, first.sentence)
                assert found.harm == pytest.approx(first.harm)


def test_a_batch_of_which_a_sample_is_looked_at_is_the_same_however_it_comes(people, large):
    monitor = people.monitor(drift_policy="halt")
    odd = large[:6_000].assign(age=people.draw(6_000, 4)[0]["age"], income=large["income"][:6_000] * 1.3)
    ids = np.array([f"person-{i}" for i in range(6_000)])
    ways = [(cuts, named) for named in (None, ids, ids[::-1]) for cuts in ([], [2_000])]
    found = [monitor.assess(odd), monitor.assess(odd[::-1])]
    found += [monitor.assess(merge(parts_of(monitor, people, odd, cuts, named))) for cuts, named in ways]
    assert {f.verdict for f in found} == {"warn"}
    assert "drift" not in {c.kind for f in found for c in f.causes}, "three batches in a row would halt"


def test_batches_that_differ_in_rows_that_come_twice_are_several(people):
    monitor, base = people.monitor(), older(people, 60, 30)
    for seed in range(40, 44):
        twice = older(people, 1, seed)
        found = monitor.assess(pd.concat([base, twice, twice]))
    assert "(62 rows, judged together with the 186 rows before)" in found.sentence


def test_a_batch_and_its_rows_twice_over_are_two(people):
    monitor, base = people.monitor(), older(people, 100, 30)
    rare = pd.concat([base, base[:1]])
    assert "judged together" not in monitor.assess(base).sentence
    assert "(101 rows, judged together with the 100 rows before)" in monitor.assess(rare).sentence
