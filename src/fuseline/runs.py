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
from fuseline.errors import FuselineError, LedgerError, StoreError
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
    except (FuselineError, OSError) as error:  # OSError: no process, or no temporary file, can be had
        with suppress(StoreError, LedgerError):  # a store that is gone is what most often fails: say that, not this
            here.alerts().failed(launch.FLOWS[flow], str(error))
        _try_to_tell(here, before)
        raise
    if launch.FLOWS[flow] in before.failing:
        with suppress(StoreError, LedgerError):  # the next run that ends well says it
            here.alerts().mended(launch.FLOWS[flow], before)
    _try_to_tell(here, before)
    return [entry for entry in here.ledger.entries(before.seq) if entry.by == done.by]


def tell(here: Line, since: State | None = None, at_once: bool = False) -> list[Entry]:
    """Look whether a batch is overdue, and send the alerts that are owed; returns what became of them.

    Args:
        since: an earlier state, so that only what came after it is read.
        at_once: try what could not be delivered, too, even if that was a moment ago.
    """
    alerts, state = here.alerts(), here.ledger.state(since)
    alerts.watch(here.project.config.schedule.every_hours, state)
    return alerts.send(state, at_once)


def _try_to_tell(here: Line, since: State) -> None:
    """As `tell`, after work that is done or has failed: that is the outcome, whatever becomes of the alerts."""
    with suppress(StoreError, LedgerError):  # what is owed stays owed: a later run sends it
        tell(here, since)


def infer(here: Line, progress: Progress = silent, once: bool = False) -> list[Entry]:
    """Score what waits in the inbox until nothing moves; returns the outcomes of batches since it began.

    Where nothing waits, that may be what people are to be told.

    Args:
        once: one run only, even if more files wait.
    """
    state = before = here.ledger.state()
    idle = True
    while something_to_do(here.batches, state, here.project.config.breaker, here.settings.clock()):
        idle = False
        settled = [entry for entry in run("infer", here, progress) if isinstance(entry.event, Published | Quarantined)]
        state = here.ledger.state(state)
        if once or not settled:
            break
    else:
        here.predictions.reconcile(here.ledger.state(state))
    if idle:
        _try_to_tell(here, state)
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
