"""The pages of a project as files in its store: a dashboard and one page for each batch, made from the ledger alone.

They are views: they can be thrown away and made again at any time, and nothing reads them but people.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import quote

from fuseline import opinion, pages
from fuseline.batches import Batches
from fuseline.chronicle import Chronicle, Settled
from fuseline.errors import NotFound
from fuseline.figures import ProjectFacts, leading
from fuseline.ledger import Ledger
from fuseline.pages import Second
from fuseline.projects import Config
from fuseline.records import Task
from fuseline.storage import Store

if TYPE_CHECKING:
    from fuseline.bootstrap import Line

MARGIN = 200  # entries before the last ones that are looked at again, in case two writers overtook each other
WRITTEN = re.compile(rb'<meta name="fuseline" content="(\d+) ([0-9a-f]+)">')
METRIC_OF: dict[Task, str] = {"binary": "auc", "multiclass": "auc_ovr", "regression": "rmse"}


def facts_of(config: Config, chronicle: Chronicle) -> ProjectFacts | None:
    """What a project's settings say; None while neither they nor its champion tell which metric it is judged by."""
    champion = chronicle.trained.get(chronicle.state.champion or "", {})
    metric = leading(champion) if config.task is None else METRIC_OF[config.task]
    task = next((task for task, name in METRIC_OF.items() if name == metric), None)
    if metric is None or task is None:
        return None
    return ProjectFacts(config.target, metric, config.tolerance(task), config.schedule.every_hours)


def write(store: Store, project: str, ledger: Ledger, now: str, config: Config | None = None) -> list[str]:
    """Make the pages again under `<project>/reports/`; of the batches only those that something happened to.

    The dashboard is written last and says up to which entry the pages are made, so that the next call makes good
    what a call that was cut off left undone.

    Args:
        now: the time of making them, ISO 8601.
        config: the project's settings, where they are known.

    Returns:
        The keys of the pages that were written.
    """
    chronicle = Chronicle(ledger.history())
    facts = None if config is None else facts_of(config, chronicle)
    folder, batches = f"{project}/reports/", Batches(store, project)
    after = _made_up_to(store, f"{folder}index.html", facts) - MARGIN
    there = {item.key for kind in ("batches", opinion.LIBRARY) for item in store.list(f"{folder}{kind}/")}
    written = []
    for batch in chronicle.batches:
        key = f"{folder}batches/{batch}.html"
        if chronicle.told[batch][-1].seq > after or key not in there:
            outcome = chronicle.outcome(batch)
            second = None if outcome is None else _second(batches, outcome.event, folder, there)
            store.put(key, pages.batch(project, facts, chronicle, batch, second))
            written.append(key)
    store.put(f"{folder}index.html", pages.dashboard(project, facts, chronicle, now))
    return [*written, f"{folder}index.html"]


def refresh(line: Line) -> list[str]:
    """Make the pages of a line's project again."""
    return write(line.store, line.project.name, line.ledger, line.settings.clock(), line.project.config)


def opinion_page(event: Settled) -> str:
    """The name of Evidently's own page on an outcome, in the folder of such pages."""
    return f"{event.batch}.{event.attempt}.html"


def opinion_link(event: Settled) -> str:
    """Where that page is, seen from the page of the batch."""
    return f"../{opinion.LIBRARY}/{quote(opinion_page(event), safe='')}"


def _second(batches: Batches, event: Settled, folder: str, there: Collection[str]) -> Second | None:
    """Evidently's opinion on the attempt that was settled; its page is copied to the pages, so that it moves with them.

    Args:
        there: keys of the pages that exist: what was copied once is not copied again.
    """
    said = opinion.read(batches, event.batch, event.attempt) if event.attempt else None
    if said is None or said.error:
        return None if said is None else Second(said)
    key = f"{folder}{opinion.LIBRARY}/{opinion_page(event)}"
    try:
        if key not in there:
            batches.store.copy(batches.staged_key(event.batch, event.attempt, opinion.REPORT), key)
    except NotFound:
        return Second(said)
    return Second(said, opinion_link(event))


def _made_up_to(store: Store, key: str, facts: ProjectFacts | None) -> int:
    """Up to which entry the pages were made with these templates and facts; 0 where none were."""
    try:
        found = WRITTEN.search(store.get(key))
    except NotFound:
        return 0
    return int(found[1]) if found and found[2].decode() == pages.look(facts) else 0
