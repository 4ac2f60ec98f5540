"""One piece of work on a line, as a person, a schedule or an event asks for it: train, infer, feedback.

What goes wrong in a flow is recorded in the ledger, and people are told of all that calls for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from fuseline import launch
from fuseline.batches import something_to_do
from fuseline.bootstrap import Line
from fuseline.errors import FuselineError, HeldBack, LedgerError, SettingsError, StoreError
from fuseline.records import Entry, Published, Quarantined
from fuseline.state import State

Progress = Callable[[str], None]


def silent(step: str) -> None:
    """Progress that nobody wants to see."""


def run(flow: str, here: Line, progress: Progress = silent) -> list[Entry]:
    """Run one of `train`, `infer`, `feedback` to its end; returns what it wrote to the ledger.

    Raises:
        FuselineError: what the flow raised. It is in the ledger by then, and an alert is on its way.
    """
    before = here.ledger.state()
    try:
        done = launch.run(flow, here.project.name, here.settings, progress)
    except (HeldBack, SettingsError):
        raise
    except FuselineError as error:
        with suppress(StoreError, LedgerError):  # a store that is gone is what most often fails: say that, not this
            here.alerts().failed(launch.FLOWS[flow], str(error))
            tell(here)
        raise
    tell(here)
    return [entry for entry in here.ledger.entries(before.seq) if entry.by == done.by]


def tell(here: Line) -> list[Entry]:
    """Look whether a batch is overdue, and send the alerts that are owed; returns what became of them."""
    alerts = here.alerts()
    alerts.watch(here.project.config.schedule.every_hours)
    return alerts.send()


def infer(here: Line, progress: Progress = silent, once: bool = False) -> list[Entry]:
    """Score what waits in the inbox until nothing moves; returns the outcomes of batches since it began.

    Args:
        once: one run only, even if more files wait.
    """
    state = before = here.ledger.state()
    while something_to_do(here.batches, state, here.project.config.breaker, here.settings.clock()):
        settled = [entry for entry in run("infer", here, progress) if isinstance(entry.event, Published | Quarantined)]
        state = here.ledger.state(state)
        if once or not settled:
            break
    else:
        here.predictions.reconcile(here.ledger.state(state))
    return [e for e in here.ledger.entries(before.seq) if isinstance(e.event, Published | Quarantined)]


def train(here: Line, progress: Progress = silent, if_asked: bool = False) -> list[Entry]:
    """Train a version, or nothing where `if_asked` and no retrain is asked for; returns what it wrote."""
    if if_asked and not wanted(here, here.ledger.state()):
        return []
    return run("train", here, progress)


def feedback(here: Line, progress: Progress = silent) -> list[Entry]:
    """Read the labels that came, if any did; returns what was written."""
    return run("feedback", here, progress) if here.feedback().waiting() else []


def wanted(here: Line, state: State) -> bool:
    """Whether a retrain is asked for and nobody is at it."""
    request = state.retrain
    if request is None or not request.run:
        return request is not None
    patience = timedelta(hours=here.project.config.training.timeout_hours)
    return datetime.fromisoformat(here.settings.clock()) - datetime.fromisoformat(request.taken_at) > patience
