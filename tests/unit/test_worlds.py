"""Every kind of world: what is done to a batch is found again, and what it costs is what it really costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fuseline import mixes
from fuseline.damage import Dealt, Exchanged, Joined, Moved, Noisy, Rescaled, Swapped, Turned
from fuseline.detect import Change
from fuseline.harm import Estimate, Reading
from fuseline.mixes import LabelShift, Raked, Same
from fuseline.monitor import Monitor
from fuseline.reference import Rows
from fuseline.worlds import FAULTS, SELECTIONS

Fault = Callable[[pd.DataFrame], pd.DataFrame]
LEVELS = {"manager": "worker", "worker": "retired", "retired": "student", "student": "manager"}


def from_other_rows(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The columns of a row together come from another row."""
    at = np.random.default_rng(7).permutation(len(frame))
    return frame.assign(**{c: frame[c].to_numpy()[at] for c in columns})


def some(frame: pd.DataFrame, share: float) -> np.ndarray:
    return np.random.default_rng(8).random(len(frame)) < share


FAULTY: dict[str, tuple[type, Fault]] = {
    "rent in another currency": (Rescaled, lambda d: d.assign(rent=d["rent"] * 1.6)),
    "debt with an offset": (Rescaled, lambda d: d.assign(debt=d["debt"] + 30)),
    "a default for some ages": (Moved, lambda d: d.assign(age=np.where(some(d, 0.3), 0.0, d["age"]))),
    "a level with another name": (Moved, lambda d: d.assign(job=d["job"].replace("manager", "Manager"))),
    "noise on ages": (
        Noisy,
        lambda d: d.assign(age=d["age"] + np.random.default_rng(9).normal(0.0, 24.0, len(d))),
    ),
    "ages turned round": (Turned, lambda d: d.assign(age=90.0 - d["age"])),
    "rents turned round": (Turned, lambda d: d.assign(rent=2200.0 - d["rent"])),
    "two levels swapped": (
        Swapped,
        lambda d: d.assign(job=d["job"].replace({"manager": "retired", "retired": "manager"})),
    ),
    "all levels moved on by one": (Swapped, lambda d: d.assign(job=d["job"].map(LEVELS))),
    "ages of other rows": (Dealt, lambda d: from_other_rows(d, "age")),
    "rents of other rows": (Dealt, lambda d: from_other_rows(d, "rent")),
    "half of the ages of other rows": (
        Dealt,
        lambda d: d.assign(age=np.where(some(d, 0.5), from_other_rows(d, "age")["age"], d["age"])),
    ),
    "income and rent of other rows": (Joined, lambda d: from_other_rows(d, "income", "rent")),
    "income and rent exchanged": (Exchanged, lambda d: d.assign(income=d["rent"], rent=d["income"])),
    "age and debt exchanged": (Exchanged, lambda d: d.assign(age=d["debt"], debt=d["age"])),
}


def first(found: Estimate) -> Reading:
    """The most believed world."""
    assert sum(r.belief for r in found.readings) == pytest.approx(1.0)
    return found.readings[0]


def near(true: float) -> object:
    return pytest.approx(true, rel=0.3, abs=0.012)


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found_with_what_it_costs(people, name):
    kind, fault = FAULTY[name]
    found = first(people.estimate(fault(people.draw(2_000, 4)[0])))
    assert [type(f) for f in found.world.faults] == [kind]
    assert found.harm == near(people.cost(fault))


@pytest.mark.parametrize(
    "name", ["rent in another currency", "two levels swapped", "ages of other rows", "income and rent exchanged"]
)
def test_a_fault_is_found_with_what_it_costs_a_regression(spenders, name):
    kind, fault = FAULTY[name]
    found = first(spenders.estimate(fault(spenders.draw(2_000, 4)[0])))
    assert [type(f) for f in found.world.faults] == [kind]
    assert found.harm == near(spenders.cost(fault))


@pytest.mark.parametrize(
    "name", ["debt with an offset", "ages turned round", "all levels moved on by one", "rents of other rows"]
)
def test_a_fault_is_found_with_what_it_costs_several_classes(planners, name):
    kind, fault = FAULTY[name]
    found = first(planners.estimate(fault(planners.draw(2_000, 4)[0])))
    assert [type(f) for f in found.world.faults] == [kind]
    assert found.harm == near(planners.cost(fault))


@pytest.mark.parametrize(
    "name", ["rent in another currency", "a default for some ages", "ages turned round", "ages of other rows"]
)
def test_a_batch_of_300_rows_is_enough_for_a_large_fault(people, name):
    kind, fault = FAULTY[name]
    found = first(people.estimate(fault(people.draw(300, 4)[0])))
    assert [type(f) for f in found.world.faults] == [kind]
    assert found.harm == near(people.cost(fault))


@pytest.mark.parametrize(
    "fault",
    [
        lambda d: d.assign(debt=np.where(some(d, 0.3), np.nan, d["debt"])),
        lambda d: d.assign(debt=np.where(some(d, 0.6), np.nan, d["debt"])),
        lambda d: d.assign(age=d["age"] * 12),  # in months: all of it out of range
        lambda d: d.assign(age=d["age"].clip(upper=45.0)),
    ],
)
def test_where_two_kinds_do_the_same_to_rows_either_may_be_believed(people, fault):
    found = first(people.estimate(fault(people.draw(2_000, 4)[0])))
    assert {type(f) for f in found.world.faults} <= {Rescaled, Moved}
    assert found.harm == near(people.cost(fault))


# ── the same kind of rows in another mix ─────────────────────────────────────────────────────────


def test_nothing_happened_to_a_clean_batch(people):
    found = people.estimate(people.draw(2_000, 4)[0], Change())
    assert first(found).world.selection == Same()
    assert (found.total, found.selection) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("column", "chance"),
    [
        ("age", lambda d: np.where(d["age"] > 48, 0.9, 0.2)),
        ("age", lambda d: np.where(d["age"] < 40, 0.9, 0.1)),
        ("job", lambda d: np.where(d["job"] == "manager", 0.9, 0.3)),
    ],
)
def test_another_mix_of_rows_is_found_with_what_it_costs(people, column, chance):
    def kept(frame: pd.DataFrame, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random(len(frame)) < chance(frame)

    frame, _ = people.draw(6_000, 4)
    found = people.estimate(frame[kept(frame, 0)])
    assert isinstance(first(found).world.selection, Raked)
    assert found.selection > 0.95
    frame, truth = people.draw(20_000, 3)
    fewer = kept(frame, 1)
    cost = people.measure(frame, truth) - people.measure(frame[fewer], truth[fewer])
    assert found.total == pytest.approx(max(cost, 0.0), abs=0.012)


def clusters(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Two classes in which x and z go together the opposite way; only w is spread differently."""
    rng = np.random.default_rng(seed)
    side = np.where(rng.random(rows) < 0.5, 1.0, -1.0)
    x = rng.normal(size=rows)
    frame = pd.DataFrame({"x": x, "z": side * x + 0.3 * rng.normal(size=rows), "w": 0.7 * side + rng.normal(size=rows)})
    return frame, np.where(side > 0, "yes", "no").astype(object)


def by_w(frame: pd.DataFrame) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-1.4 * frame["w"].to_numpy()))


@pytest.mark.parametrize("yes", [0.2, 0.8])
def test_labels_in_other_shares_are_found_where_the_columns_alone_do_not_explain_the_batch(yes):
    reference = Monitor.fit(*clusters(3_000, 1), by_w).reference
    frame, truth = clusters(8_000, 2)
    batch = frame[np.random.default_rng(0).random(8_000) < np.where(truth == "yes", yes, 1.0 - yes)]
    rows = Rows({c: batch[c].to_numpy() for c in batch}, by_w(batch))
    seen = reference.see(rows)
    found = reference.harm(seen, reference.detector.detect(seen), rows, 0.02)
    assert first(found).world.selection == LabelShift()
    assert found.total == pytest.approx(0.0, abs=0.005)  # an AUC does not depend on the shares of the labels


# ── kinds are classes ────────────────────────────────────────────────────────────────────────────


def test_every_kind_is_tried_here():
    assert {kind for kind, _ in FAULTY.values()} == set(FAULTS)
    assert set(SELECTIONS) == {Same, Raked, LabelShift}
    assert {kind.__module__ for kind in SELECTIONS} == {mixes.__name__}
