"""What happens over time: slow leaks, and models whose labels change their meaning while labels come late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from scenarios import Scenario, _tilt, classes, columns_by_importance
from sets import Case

from fuseline import Monitor
from fuseline.performance import loss, measure

ROWS, BATCHES, LATE, ONSET = 1_000, 24, 3, 8
SOON = 10  # batches within which a leak should be seen
LEAK_ROWS = 5_000


def monitor_of(case: Case) -> Monitor:
    """A new monitor that remembers nothing."""
    frame, target = case.reference
    task = "regression" if case.set.task == "regression" else "classification"
    return Monitor.fit(frame, target, case.score, task=task)


def _draw(case: Case, rows: int, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    frame, target = case.pool
    at = rng.permutation(len(frame))[:rows]
    return frame.iloc[at].reset_index(drop=True), target[at]


# ── slow leaks ──────────────────────────────────────────────────────────────────────────────────


def leaks(case: Case, rng: np.random.Generator) -> Iterator[dict]:
    """A percent of nulls, or a small tilt, in every batch; and clean streams, which should stay silent."""
    monitor = monitor_of(case)
    columns = columns_by_importance(case)[:3]
    for column in columns:
        yield _leak(
            case, monitor, f"leak of 1 % nulls warned within {SOON} batches", partial(_nulls, case, column), rng
        )
        tilted = Scenario("shift", "tilt", (column,), weigh=_tilt(column, 0.12))
        yield _leak(case, monitor, f"tilt of 0.12 warned within {SOON} batches", partial(_weighted, case, tilted), rng)
    for _ in range(3):
        found = _warned(monitor, case, partial(_draw, case, LEAK_ROWS), 20, rng)
        yield {"suite": "leaks", "kind": "clean streams of 20 batches with a warning", "caught": found is not None}


def _leak(case: Case, monitor: Monitor, kind: str, draw: Callable, rng: np.random.Generator) -> dict:
    after = _warned(monitor, case, draw, SOON, rng)
    return {"suite": "leaks", "kind": kind, "caught": after is not None, "after": after}


def _warned(monitor: Monitor, case: Case, draw: Callable, batches: int, rng: np.random.Generator) -> int | None:
    monitor.forget()
    for number in range(batches):
        frame, _ = draw(rng)
        if monitor.assess(frame, case.score(frame)).verdict != "pass":
            return number + 1
    return None


def _nulls(case: Case, column: str, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    frame, target = _draw(case, LEAK_ROWS, rng)
    values = frame[column].to_numpy().copy()
    values[rng.random(len(values)) < 0.01] = None if values.dtype == object else np.nan
    return frame.assign(**{column: values}), target


def _weighted(case: Case, scenario: Scenario, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    batch = scenario.draw(case, LEAK_ROWS, rng)
    return batch.frame, batch.target


# ── labels that change their meaning ────────────────────────────────────────────────────────────


def stream(case: Case, rng: np.random.Generator) -> Iterator[dict]:
    """From the ninth batch on some labels follow another law; labels come three batches late.

    A harmful batch is caught if the labels that condemn the model hold its own. Features are clean: nothing else can
    see it.
    """
    for strength in (0.1, 0.2, 0.35):
        monitor, change = monitor_of(case), partial(_concept, case, strength)
        lost = _concept_loss(case, strength)
        if lost <= 0.02:
            continue
        waiting, caught = [], set()
        for number in range(BATCHES + LATE):
            if number < BATCHES:
                frame, target = _draw(case, ROWS, rng)
                if number >= ONSET:
                    target = change(frame, target, rng)
                waiting.append((target, case.score(frame)))
            if number >= LATE and number - LATE < len(waiting):
                arrived = number - LATE
                said = monitor.observe(*waiting[arrived])
                if said.verdict == "halt":
                    caught |= set(range(arrived - said.batches + 1, arrived + 1))
        for number in range(BATCHES):
            harmful = number >= ONSET
            kind = "streams: harmful batches caught by labels" if harmful else "streams: sound batches condemned"
            yield {"suite": "streams", "kind": kind, "caught": number in caught, "loss": lost, "strength": strength}


def _concept(
    case: Case, strength: float, frame: pd.DataFrame, target: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Labels of a share of the rows are those of other rows: what is learned holds for the rest only."""
    hit = np.flatnonzero(rng.random(len(target)) < strength)
    found = target.copy()
    found[hit] = target[hit][rng.permutation(len(hit))]
    return found


def _concept_loss(case: Case, strength: float) -> float:
    frame, target = case.pool
    before = measure(case.set.task, target, case.pool_scores, classes(case))
    changed = _concept(case, strength, frame, target, np.random.default_rng(3))
    after = measure(case.set.task, changed, case.pool_scores, classes(case))
    assert before is not None
    found = loss(case.set.task, before, after)
    return found * 0.4 if case.set.task == "regression" else found
