"""What a monitor makes of several batches: small ones, leaks, and change that stays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


def test_batches_under_200_rows_are_judged_together(people):
    alone, several = [], people.monitor()
    for seed in range(30, 36):
        frame, _ = people.draw(60, seed)
        odd = frame.assign(age=frame["age"] + 7.0)
        alone.append(people.monitor().assess(odd).verdict)
        found = several.assess(odd)
    assert alone.count("pass") >= 5
    assert found.verdict != "pass"
    assert "(60 rows, judged together with the 180 rows before)" in found.sentence


def test_what_was_held_back_is_no_part_of_what_is_normal(people):
    monitor = people.monitor()
    frame, _ = people.draw(190, 4)
    assert monitor.assess(frame.assign(age=90.0 - frame["age"])).verdict == "halt"
    found = monitor.assess(people.draw(60, 31)[0])
    assert (found.verdict, found.causes) == ("pass", ())


def test_what_is_forgotten_is_not_pooled(people):
    monitor = people.monitor()
    for seed in range(30, 36):
        frame, _ = people.draw(60, seed)
        found = monitor.assess(frame.assign(age=frame["age"] + 7.0))
        monitor.forget()
    assert "judged together" not in found.sentence


def leaking(people, seed: int, share: float) -> pd.DataFrame:
    frame, _ = people.draw(1_000, seed)
    return frame.assign(rent=frame["rent"].where(np.random.default_rng(seed).random(1_000) >= share))


def test_a_slow_leak_of_nulls_warns_within_a_few_batches(people):
    monitor = people.monitor()
    for seed in range(200, 210):
        assert monitor.assess(people.draw(1_000, seed)[0]).verdict == "pass"
    verdicts = []
    for seed in range(300, 306):
        found = monitor.assess(leaking(people, seed, 0.01))
        verdicts.append(found.verdict)
        if found.causes:
            break
    assert verdicts[-1] == "warn"
    assert found.causes[0].column == "rent"


def test_a_clean_stream_of_200_batches_neither_halts_nor_leaks(people):
    monitor, warned = people.monitor(), 0
    for seed in range(2_000, 2_200):
        found = monitor.assess(people.draw(400, seed)[0])
        assert found.verdict != "halt"
        warned += found.verdict != "pass"
        assert "leak" not in {c.kind for c in found.causes}
    assert warned <= 2


@pytest.mark.parametrize(("policy", "last"), [("warn", "warn"), ("halt", "halt")])
def test_change_that_stays_is_the_policys_to_decide(people, policy, last):
    monitor = people.monitor(drift_policy=policy)
    verdicts = []
    for seed in range(40, 43):
        frame, _ = people.draw(800, seed)
        found = monitor.assess(frame.assign(income=frame["income"] * 1.3))
        verdicts.append(found.verdict)
    assert verdicts == ["warn", "warn", last]
    assert (found.causes[0].kind == "drift") == (policy == "halt")


@pytest.mark.parametrize(("rows", "halts"), [(499, True), (500, False), (1_000, False), (2_000, False), (2_001, True)])
def test_half_and_twice_the_expected_rows_are_the_bounds(people, rows, halts):
    monitor = people.monitor(expected_rows=1_000)
    frame, _ = people.draw(rows, 4)
    found = monitor.assess(frame)
    assert ("rows" in {c.kind for c in found.causes}) == halts == (found.verdict == "halt")
    profiled = monitor.assess(monitor.profile(frame, people.score(frame)))
    assert profiled.verdict == found.verdict
