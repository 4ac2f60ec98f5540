"""The card of a run: what it did, on one small page that Metaflow keeps with it.

Metaflow's own decorator starts two processes for a card, which take half a second at the end of each run, and makes a
page of 1.1 MB. These runs may come every minute and have a sentence and a table to show: so the page is made here, and
kept where Metaflow's client looks for it (`metaflow.cards.get_cards`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from fuseline.narrative import METRICS, count, metric, sentence
from fuseline.records import Entry, Labelled, Published, Quarantined

if TYPE_CHECKING:
    from fuseline.gate import Decision
    from fuseline.inference import Plan
    from fuseline.models import Manifest

KIND = "blank"  # of Metaflow's kinds of cards: a page without anything of its own
MARKS = {"pass": "●", "warn": "▲", "halt": "■", "inconclusive": "◆"}
STYLE = """
:root { color-scheme: light dark; --soft: #5b5e62; --line: #e3e1dc; }
@media (prefers-color-scheme: dark) { :root { --soft: #a4a7ab; --line: #303338; } }
body { margin: 24px; font: 16px/1.5 ui-sans-serif, system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 20px; margin: 0 0 4px; }
div { overflow-x: auto; }
table { border-collapse: collapse; margin-top: 16px; }
th, td { padding: 6px 20px 6px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
"""


@dataclass(frozen=True)
class Card:
    """What a run has to show.

    Attributes:
        said: a sentence or two.
        heads: of the columns.
        rows: shape (rows, columns); none where there is nothing to list.
    """

    title: str
    said: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    @property
    def html(self) -> str:
        """The page."""
        table = f"<div><table><thead>{_row('th', self.heads)}</thead><tbody>" if self.rows else ""
        table += "".join(_row("td", row) for row in self.rows) + ("</tbody></table></div>" if self.rows else "")
        head = f"<meta charset='utf-8'><title>{escape(self.title)}</title><style>{STYLE}</style>"
        return f"<!doctype html><html lang='en'><head>{head}</head><body>{self._body(table)}</body></html>"

    def _body(self, table: str) -> str:
        return f"<h1>{escape(self.title)}</h1><p>{escape(self.said)}</p>{table}"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def inferred(project: str, plan: Plan, entries: Sequence[Entry]) -> Card:
    """What an inference did: each batch with its verdict, and what became of it.

    Args:
        plan: what it was going to do.
        entries: of the batches that it settled.
    """
    events = [entry.event for entry in entries]
    settled = [event for event in events if isinstance(event, Published | Quarantined)]
    published = sum(isinstance(event, Published) for event in settled)
    said = f"{count(published, 'batch')} published, {len(settled) - published:,} held back."
    if not settled:
        said = "No batch was scored."
    if left := len(plan.held) + len({job.batch for job in plan.jobs} - {event.batch for event in settled}):
        said += f" {count(left, 'file')} left to a later run: held by the breaker, or another run was at work on them."
    heads = ("batch", "verdict", "outcome", "harm", "rows", "rejected", "why") if settled else ()
    return Card(f"{project}: inference", said, heads, tuple(map(_settled, settled)))


def _settled(event: Published | Quarantined) -> tuple[str, ...]:
    a = event.assessment
    outcome = "published" if isinstance(event, Published) else "in quarantine"
    verdict = f"{MARKS[a.verdict]} {a.verdict}"
    return event.batch, verdict, outcome, metric(a.harm), f"{event.rows:,}", f"{event.rejected:,}", a.sentence


def trained(project: str, manifest: Manifest, decision: Decision) -> Card:
    """What a training made, and what the gate said of it: each figure, with its bound where it has one."""
    window = manifest.window
    said = f"Trained on {count(window.rows - window.holdout, 'row')}, measured on {window.holdout:,} held out. "
    said += "The gate let it pass." if decision.promote else f"The gate held it: {'; '.join(decision.reasons)}"
    rows = [(name, metric(value), "", "") for name, value in manifest.metrics.items()]
    for check in decision.checks:
        bound = f"at {'least' if check.at_least else 'most'} {metric(check.bound)}"
        rows.append((check.name, metric(check.observed), bound, "■ fired" if check.fired else ""))
    return Card(f"{project}: {manifest.version}", said, ("figure", "value", "bound", ""), tuple(rows))


def measured(project: str, entry: Entry | None) -> Card:
    """What a reading of labels found: each batch that was measured, and the champion against its bound.

    Args:
        entry: what it wrote, if it wrote anything.
    """
    title = f"{project}: labels"
    if entry is None or not isinstance(entry.event, Labelled):
        return Card(title, "No new labels were read.")
    event = entry.event
    name = METRICS[event.pooled.metric] if event.pooled else "metric"
    rows = [(b.batch, b.version, f"{b.rows:,}", _with_error(b.value, b.se), "") for b in event.batches]
    if event.pooled is not None:
        newest = event.pooled
        value, bound = _with_error(newest.value, newest.se), metric(event.bound)
        rows.append(("the newest labelled rows", event.version or "", f"{newest.rows:,}", value, bound))
    return Card(title, sentence(entry), ("batch", "version", "rows", name, "bound"), tuple(rows))


def _with_error(value: float | None, se: float | None) -> str:
    return metric(value) if value is None or se is None else f"{metric(value)} ± {metric(se)}"


def keep(flow: Any, card: Card) -> None:
    """Keep a card with the task of a flow that is at work.

    It is for people only: whatever fails here, the run goes on, and its card is missing.

    Args:
        flow: the FlowSpec whose step calls this.
    """
    with suppress(Exception):  # Metaflow has no public way to keep a finished page: another release may do otherwise
        _keep(flow, card.html)


def _keep(flow: Any, html: str) -> None:
    from metaflow import current
    from metaflow.datastore import FlowDataStore
    from metaflow.metaflow_config import CARD_SUFFIX
    from metaflow.plugins.cards.card_datastore import CardDatastore

    store = flow._datastore.parent_datastore
    root = f"{store.datastore_root}/{CARD_SUFFIX}"
    cards = FlowDataStore(store.flow_name, None, storage_impl=type(store._storage_impl), ds_root=root)
    CardDatastore(cards, current.pathspec).save_card(uuid.uuid4().hex, KIND, html)
