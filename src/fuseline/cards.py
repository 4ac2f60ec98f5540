"""The cards that a run of a flow left, as Metaflow's client finds them.

Metaflow keeps what it knows in the process, takes its settings from the environment when it is imported, and is not
made for threads: so it is asked in a process of its own. `python -m fuseline.cards FLOW RUN` prints what it knows of a
run, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import msgspec

from fuseline.threads import in_thread

PATIENCE = 60.0  # seconds that Metaflow may take: a second from a folder, some more from S3
WAIT = 10.0  # seconds that a reader waits for it; what was begun goes on
UNKNOWN = (
    "Metaflow knows no such run here. It keeps its records on the machine, or the volume, that the run was on: "
    "METAFLOW_DATASTORE_SYSROOT_LOCAL must name the same folder here as there."
)
KEPT = 4  # runs whose cards are kept; one that Metaflow itself made is about 1 MB


@dataclass(frozen=True)
class Card:
    """One card: the step and the task that left it, what kind it is, and its page."""

    step: str
    task: str
    kind: str
    html: str


@dataclass(frozen=True)
class Cards:
    """What Metaflow knows of a run.

    Attributes:
        known: whether it knows the run at all.
        finished: whether nothing more is to come.
        why: why there is no card; empty where there are some.
    """

    known: bool
    finished: bool = False
    cards: tuple[Card, ...] = ()
    why: str = ""


def read(flow: str, run: str, environment: Mapping[str, str], patience: float = PATIENCE) -> Cards:
    """Ask Metaflow for the cards of a run; what cannot be had is said in `why`.

    Args:
        flow, run: as in `TrainingFlow`, `1763740000000000`; not checked here.
        environment: of the process that asks; see `Settings.environment`.
        patience: seconds.
    """
    command = [sys.executable, "-m", __name__, flow, run]
    try:
        done = subprocess.run(
            command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return Cards(known=False, why=f"Metaflow did not say within {patience:g} s what it knows of the run.")
    except OSError as error:
        return Cards(known=False, why=f"Metaflow could not be asked: {error}")
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return Cards(known=False, why=f"Metaflow could not be asked: {lines[-1] if lines else 'it does not say why'}")
    return msgspec.json.decode(done.stdout, type=Cards)


def collect(flow: str, run: str) -> Cards:
    """What Metaflow knows of a run, with the settings of this process."""
    from metaflow import Run, namespace
    from metaflow.exception import MetaflowNotFound

    namespace(None)
    try:
        found = Run(f"{flow}/{run}")
    except MetaflowNotFound:
        return Cards(known=False, why=UNKNOWN)
    cards = tuple(card for step in reversed(list(found)) for task in step for card in _of(step, task))
    return Cards(True, bool(found.finished), cards, "" if cards else "It left none.")


def _of(step: Any, task: Any) -> list[Card]:
    from metaflow.cards import get_cards
    from metaflow.plugins.cards.exception import CardNotPresentException

    try:
        return [Card(step.id, task.id, card.type, card.get()) for card in get_cards(task)]
    except CardNotPresentException:
        return []


class Shelf:
    """The cards of the runs that were asked for last, for a server: Metaflow is asked for one run at a time.

    Args:
        fetch: asks for a run, by its flow and number; takes seconds.
        again: seconds after which a run that goes on, or is not known, is asked for again.
    """

    def __init__(self, fetch: Callable[[str, str], Cards], again: float = 30.0) -> None:
        self._fetch, self._again, self._turn = fetch, again, asyncio.Semaphore(1)
        self._kept: dict[tuple[str, str], tuple[float, asyncio.Task[Cards]]] = {}

    async def cards(self, flow: str, run: str) -> Cards:
        """The cards of a run, or why they cannot be shown now."""
        key = (flow, run)
        at, asking = self._kept.pop(key, (0.0, None))
        if asking is None or (_is_over(asking) and time.monotonic() - at >= self._again):
            at, asking = time.monotonic(), asyncio.create_task(self._ask(flow, run))
        self._kept[key] = (at, asking)
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        done, _ = await asyncio.wait([asking], timeout=WAIT)
        return asking.result() if done else Cards(known=True, why="Metaflow is still being asked for them: look again.")

    async def _ask(self, flow: str, run: str) -> Cards:
        async with self._turn:
            return await in_thread(lambda: self._fetch(flow, run))


def _is_over(asking: asyncio.Task[Cards]) -> bool:
    """Whether another answer may come next time."""
    return asking.done() and (asking.exception() is not None or not asking.result().finished)


def main() -> None:
    """Print what Metaflow knows of the run that the arguments name."""
    with redirect_stdout(sys.stderr):
        found = collect(*sys.argv[1:3])
    json.dump(msgspec.to_builtins(found), sys.stdout)


if __name__ == "__main__":
    main()
