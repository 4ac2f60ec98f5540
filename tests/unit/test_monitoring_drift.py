"""What the monitor says of drift, and what earlier batches add to the verdict on one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fuseline.records import Assessment


def published(project, day: int, batch: pd.DataFrame) -> Assessment:
    """What is said of a batch after those of the days before; it is published if it may be."""
    project.deliver(f"day{day}", batch.drop(columns="bought"))
    inference = project.line.inference(f"a{day}")
    plan = inference.plan()
    (job,) = plan.jobs
    done = inference.assess(job, [inference.score(job, piece) for _, piece in plan.pieces])
    inference.settle([done])
    return done.assessment


# ── natural drift ────────────────────────────────────────────────────────────────────────────────

FIVE = """
from sklearn.linear_model import LogisticRegression

def train(data, target):
    return LogisticRegression().fit(data, target)
"""


def five(count: int, seed: int, shift: float = 0.0, common: float = 0.0) -> pd.DataFrame:
    """Rows of five numbers of which two matter.

    All of them move by `shift`, in standard deviations; where there is something `common` to them, they go together.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1.0, (count, 5)) + common * rng.normal(size=(count, 1))
    bought = rng.random(count) < 1 / (1 + np.exp(-2 * x[:, 0] + 2 * x[:, 1]))
    ids = [f"{seed}-{i}" for i in range(count)]
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(5)]).assign(id=ids, bought=np.where(bought, "yes", "no"))


@pytest.fixture
def numbers(tiny):
    """A project of five numbers with a champion."""
    five(2_000, 1).to_parquet(tiny.folder.parent.parent / "data" / "history.parquet", index=False)
    tiny.write("train.py", FIVE)
    tiny.train()
    return tiny


@pytest.mark.parametrize(("setting", "verdict"), [("", "warn"), ('[checks]\non_drift = "halt"\n', "halt")])
def test_when_most_columns_move_at_once_as_nothing_explains_the_policy_of_the_project_decides(
    numbers, setting, verdict
):
    numbers.setting(setting)
    found = published(numbers, 1, five(1_000, 2, shift=0.4, common=1.5))
    assert found.verdict == verdict
    assert [c.kind for c in found.causes] == ["drift"]
    assert "5 of 5 columns changed at once" in found.causes[0].sentence


def test_most_columns_at_once_by_a_fault_that_explains_them_is_no_natural_drift(numbers):
    found = published(numbers, 1, five(1_000, 2, shift=0.4))
    assert found.verdict == "warn"
    assert {c.kind for c in found.causes} == {"distance"}


def test_most_columns_at_once_far_out_of_range_is_no_natural_drift(numbers):
    found = published(
        numbers, 1, five(1_000, 2).assign(**{f"x{i}": lambda d, i=i: d[f"x{i}"] * 1000 + i for i in range(5)})
    )
    assert "drift" not in {c.kind for c in found.causes}


# ── what earlier batches add ─────────────────────────────────────────────────────────────────────


def test_small_batches_are_judged_together_with_those_before(trained, rows):
    found = [published(trained, day, rows(90, 50 + day).assign(age=lambda d: d["age"] + 12)) for day in range(1, 5)]
    said = [" ".join(c.sentence for c in f.causes) for f in found]
    assert "judged together with" not in said[0]
    assert "(90 rows, judged together with the 180 rows before)" in said[-1]


def test_a_slow_leak_over_published_batches_warns(trained, rows):
    for day in range(1, 5):
        assert published(trained, day, rows(1_500, 70 + day)).verdict == "pass"
    found = []
    for day in range(5, 9):
        batch = rows(1_500, 70 + day)
        lost = np.random.default_rng(day).random(1_500) < 0.025
        found.append(published(trained, day, batch.assign(age=batch["age"].mask(lost))))
    assert {f.verdict for f in found} == {"pass", "warn"}
    leaks = [c for f in found for c in f.causes]
    assert {(c.kind, c.column) for c in leaks} == {("leak", "age")}
    assert leaks[0].sentence.startswith("the null share of age creeps: ")
