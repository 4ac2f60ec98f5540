"""Real data from end to end: a project is made of a file, trained on the first half, and scores the rest in order.

The same services run as in the flows, in one process, so that twenty batches take seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from fuseline.bootstrap import Line, line
from fuseline.records import Labelled, Promoted, Published, Quarantined
from fuseline.scaffold import create
from fuseline.settings import Settings
from fuseline.state import State

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BATCH_ROWS, LABELS_LATE = 1_000, 3

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not beside this checkout"),
    pytest.mark.no_cover,  # the modules have tests of their own
]


@dataclass
class Played:
    """What came of a file: the line at its end, and how many batches there were."""

    here: Line
    batches: int

    def count(self, kind: type) -> int:
        return sum(isinstance(e.event, kind) for e in self.here.ledger.entries())

    @property
    def verdicts(self) -> Counter[str]:
        events = [e.event for e in self.here.ledger.entries()]
        return Counter(e.assessment.verdict for e in events if isinstance(e, Published | Quarantined))


def play(root: Path, file: str, target: str, time: str | None) -> Played:
    """Train on the first half, then batch by batch: labels that are due, a retrain if asked, the batch."""
    data = pd.read_parquet(DATA / file)
    half = len(data) // 2
    history = root / "history.parquet"
    data.iloc[:half].to_parquet(history, index=False)
    name = file.removesuffix(".parquet")
    create(root / "projects", name, history, target, None, time)
    settings = Settings(store=str(root / "store"), projects=root / "projects", user="test")
    at = pd.Timestamp("2026-03-01T06:00:00+00:00")

    def now(days: int) -> Line:
        return line(name, settings=replace(settings, now=(at + pd.Timedelta(days=days)).isoformat()))

    train(now(0), "t0")
    id_column = now(0).project.config.id_column
    starts = range(half, len(data) - BATCH_ROWS + 1, BATCH_ROWS)
    for number, start in enumerate(starts, 1):
        here = now(number)
        rows = data.iloc[start : start + BATCH_ROWS]
        deliver(here, rows.drop(columns=target), f"inbox/{name}/{number:03d}.parquet", root)
        if number > LABELS_LATE:
            late = number - LABELS_LATE
            first = half + (late - 1) * BATCH_ROWS
            labels = data.iloc[first : first + BATCH_ROWS].copy()
            if id_column not in labels:
                labels[id_column] = [f"{late:03d}:{row}" for row in range(len(labels))]
            deliver(here, labels[[id_column, target]], f"labels/{name}/{late:03d}.parquet", root)
        feedback = here.feedback()
        feedback.conclude(feedback.measure(feedback.waiting()))
        if here.ledger.state().retrain is not None:
            train(here, f"t{number}")
        infer(here, f"a{number}")
    return Played(now(len(starts)), len(starts))


def deliver(here: Line, rows: pd.DataFrame, key: str, root: Path) -> None:
    rows.to_parquet(root / "delivery.parquet", index=False)
    here.store.upload(key, root / "delivery.parquet")


def train(here: Line, run: str) -> None:
    training = here.training()
    plan = training.plan(run)
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))


def infer(here: Line, attempt: str) -> None:
    """Until nothing moves, as `fuseline infer` does."""
    for again in range(30):
        inference = here.inference(f"{attempt}-{again}")
        plan = inference.plan()
        scores = [inference.score(job, piece) for job, piece in plan.pieces]
        scored = [inference.assess(job, [s for s in scores if s.batch == job.batch]) for job in plan.jobs]
        if not inference.settle(scored):
            return


def rows_read(played: Played) -> int:
    """What a consumer who points pandas at the folder reads; nothing where nothing was published yet."""
    folder = Path(played.here.settings.store) / played.here.project.name / "predictions"
    return len(pd.read_parquet(folder)) if folder.exists() else 0


def settled_and_shown(played: Played) -> None:
    """What must hold of every play: nothing lost, nothing shown that is not published, nothing published while open."""
    state = played.here.ledger.state()
    published, quarantined = state.with_status("published"), state.with_status("quarantined")
    assert len(published) + len(quarantined) + len(played.here.batches.waiting()) == played.batches
    assert rows_read(played) == sum(b.rows for b in published.values())
    so_far = State()
    for entry in played.here.ledger.entries():
        if isinstance(entry.event, Published):
            assert so_far.breaker.status != "open" and entry.event.assessment.verdict in ("pass", "warn")
        so_far = so_far.apply(entry)


def test_bank_stops_where_months_come_that_training_never_saw(tmp_path):
    played = play(tmp_path, "bank.parquet", "target", None)
    settled_and_shown(played)
    assert played.batches == 22
    assert played.count(Quarantined) >= 3
    assert played.verdicts["inconclusive"] == 0
    halted = [e.event for e in played.here.ledger.entries() if isinstance(e.event, Quarantined)]
    assert all(e.assessment.harm > 0.01 for e in halted)
    assert any(c.name == "unseen" and c.column == "month" and c.fired for e in halted for c in e.assessment.checks)
    assert all(e.assessment.worlds for e in halted)


def test_elec2_drifts_on_and_labels_retrain_it_again_and_again(tmp_path):
    played = play(tmp_path, "elec2.parquet", "target", "t")
    settled_and_shown(played)
    assert played.batches == 22
    assert played.count(Published) >= 15
    assert played.verdicts["inconclusive"] == 0
    trips = [e.event for e in played.here.ledger.entries() if isinstance(e.event, Labelled) and e.event.trip]
    assert len(trips) >= 3
    assert all(t.pooled.value < t.bound for t in trips)
    assert played.count(Promoted) >= 1 + len(trips) - 1  # each trip ends with a new champion, but perhaps the last
