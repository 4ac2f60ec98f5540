"""The pages of a project: a dashboard and one page for each batch, made from the ledger alone.

They are views: they can be thrown away and made again at any time, and nothing reads them but people.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fuseline import charts, comparison, narrative, opinion
from fuseline import records as r
from fuseline.batches import Batches
from fuseline.breaker import HALTS
from fuseline.decide import STRANGE
from fuseline.errors import NotFound
from fuseline.ledger import Ledger
from fuseline.narrative import mentioned
from fuseline.opinion import Opinion
from fuseline.state import State, fold
from fuseline.storage import Store

if TYPE_CHECKING:
    from fuseline.bootstrap import Line

SHOWN = 60  # outcomes on the timeline, in the charts and in the table
MARGIN = 200  # entries before the last ones that are looked at again, in case two writers overtook each other
WRITTEN = re.compile(rb'<meta name="fuseline" content="(\d+) ([0-9a-f]+)">')
Metrics = Mapping[str, Mapping[str, float]]  # version -> metric -> value on held-out rows
AS_CHANCE = 1.2  # times the chance distance: up to here a world is as near as chance
METRIC_OF = {"binary": "auc", "multiclass": "auc_ovr", "regression": "rmse"}


@dataclass(frozen=True)
class ProjectFacts:
    """What the pages say of a project that its ledger does not know.

    Attributes:
        target: the column that is predicted.
        metric: `auc`, `auc_ovr` or `rmse`.
        tolerance: loss of the metric that halts, as `harm` is counted: AUC, or the share of RMSE.
        every_hours: how often a batch is expected.
    """

    target: str
    metric: str
    tolerance: float
    every_hours: float

    @property
    def bound(self) -> float:
        """The estimated harm that halts."""
        return HALTS * self.tolerance


@dataclass(frozen=True)
class Told:
    """A world as the page tells it: what happened, how far it is believed (0 to 1), how well it fits, what it costs."""

    sentence: str
    belief: float
    fit: str
    cost: str


@dataclass(frozen=True)
class Second:
    """Evidently's opinion on a batch, and where its own page lies as seen from the batch's; empty where it has none."""

    opinion: Opinion
    href: str = ""


def pages(
    project: str,
    config_line: ProjectFacts | None,
    state: State,
    entries: Sequence[r.Entry],
    now: str,
    seconds: Mapping[str, Second] | None = None,
) -> dict[str, bytes]:
    """All pages of a project by their path: `index.html`, and `batches/<batch>.html` of each batch with an outcome.

    Args:
        state: what `entries` add up to.
        entries: the whole ledger, from its first entry on.
        now: the time of making them, ISO 8601.
        seconds: Evidently's opinions by batch.
    """
    made = {"index.html": _index(project, config_line, state, entries, now)}
    trained = _trained(entries)
    for batch, told in _told(entries).items():
        second = (seconds or {}).get(batch)
        made[f"batches/{batch}.html"] = _batch_page(project, config_line, state, batch, told, trained, second)
    return made


def write(store: Store, project: str, ledger: Ledger, now: str, facts: ProjectFacts | None = None) -> list[str]:
    """Make the pages again under `<project>/reports/`; of the batches only those that something happened to.

    The dashboard is written last and says up to which entry the pages are made, so that the next call makes good
    what a call that was cut off left undone.

    Returns:
        The keys of the pages that were written.
    """
    entries = list(ledger.entries())
    state = fold(entries)
    folder, batches = f"{project}/reports/", Batches(store, project)
    after = _made_up_to(store, f"{folder}index.html", facts) - MARGIN
    there = {item.key for kind in ("batches", opinion.LIBRARY) for item in store.list(f"{folder}{kind}/")}
    trained, written = _trained(entries), []
    for batch, told in _told(entries).items():
        key = f"{folder}batches/{batch}.html"
        if told[-1].seq > after or key not in there:
            second = _second(batches, batch, _settled(told).event, folder, there)
            store.put(key, _batch_page(project, facts, state, batch, told, trained, second))
            written.append(key)
    store.put(f"{folder}index.html", _index(project, facts, state, entries, now))
    return [*written, f"{folder}index.html"]


def refresh(line: Line) -> list[str]:
    """Make the pages of a line's project again, with what its settings and its champion's manifest add."""
    config, champion = line.project.config, line.ledger.state().champion
    task = config.task if champion is None else line.models.manifest(champion).task
    facts = None
    if task is not None:
        facts = ProjectFacts(config.target, METRIC_OF[task], config.tolerance(task), config.schedule.every_hours)
    return write(line.store, line.project.name, line.ledger, line.settings.clock(), facts)


def _second(batches: Batches, batch: str, event: r.Event, folder: str, there: Collection[str]) -> Second | None:
    """Evidently's opinion on the attempt that was settled; its page is copied to the pages, so that it moves with them.

    Args:
        there: keys of the pages that exist: what was copied once is not copied again.
    """
    attempt = event.attempt if isinstance(event, r.Published | r.Quarantined) else ""
    said = opinion.read(batches, batch, attempt) if attempt else None
    if said is None or said.error:
        return None if said is None else Second(said)
    name = f"{batch}.{attempt}.html"
    key = f"{folder}{opinion.LIBRARY}/{name}"
    try:
        if key not in there:
            batches.store.copy(batches.staged_key(batch, attempt, opinion.REPORT), key)
    except NotFound:
        return Second(said)
    return Second(said, f"../{opinion.LIBRARY}/{quote(name, safe='')}")


def _told(entries: Sequence[r.Entry]) -> dict[str, list[r.Entry]]:
    """The entries that speak of each batch with an outcome."""
    told: dict[str, list[r.Entry]] = {}
    for entry in entries:
        for batch in mentioned(entry.event):
            told.setdefault(batch, []).append(entry)
    return {b: es for b, es in told.items() if any(isinstance(e.event, r.Published | r.Quarantined) for e in es)}


def _trained(entries: Sequence[r.Entry]) -> Metrics:
    """The metrics of each version on held-out rows."""
    return {e.event.version: e.event.metrics for e in entries if isinstance(e.event, r.Registered)}


def _made_up_to(store: Store, key: str, facts: ProjectFacts | None) -> int:
    """Up to which entry the pages were made with these templates and facts; 0 where none were."""
    try:
        found = WRITTEN.search(store.get(key))
    except NotFound:
        return 0
    return int(found[1]) if found and found[2].decode() == _look(facts) else 0


# ── what the dashboard shows ─────────────────────────────────────────────────────────────────────


def _index(project: str, facts: ProjectFacts | None, state: State, entries: Sequence[r.Entry], now: str) -> bytes:
    line = list(narrative.timeline(state, entries))
    outcomes = [step for step in line if isinstance(step, narrative.Outcome)]
    if len(outcomes) > SHOWN:
        line = line[line.index(outcomes[-SHOWN]) :]
    newest = [o for o in reversed(outcomes) if o.newest]
    quarantined = state.with_status("quarantined")
    last = next((o for o in reversed(outcomes) if o.published), None)
    versions = narrative.versions(state, entries)
    return _render(
        "index.html",
        facts,
        project=project,
        state=state,
        now=now,
        last=last,
        age=narrative.hours_between(last.entry.at, now) if last else None,
        tally={s: len(state.with_status(s)) for s in ("published", "quarantined")},
        waiting=state.with_status("started", "waiting"),
        champion=next((v for v in versions if v.name == state.champion), None),
        timeline=line,
        newest=newest[:SHOWN],
        quarantine=[o for o in newest if o.event.batch in quarantined],
        versions=versions[:12],
        recent=entries[:-16:-1],
        **_charts(facts, outcomes[-SHOWN:], entries),
    )


def _charts(
    facts: ProjectFacts | None, outcomes: Sequence[narrative.Outcome], entries: Sequence[r.Entry]
) -> dict[str, Markup]:
    """The SVG of each chart by its name; empty where there is nothing to draw."""
    if not outcomes:
        return dict.fromkeys(("metric_chart", "harm_chart", "rows_chart"), Markup())
    ends = narrative.day(outcomes[0].entry.at), narrative.day(outcomes[-1].entry.at)
    measured = {m.batch: m for e in entries if isinstance(e.event, r.Labelled) for m in e.event.batches}
    trained = _trained(entries)
    readings = [_reading(facts, o, measured.get(o.event.batch), trained) for o in outcomes]
    drawn = {"metric_chart": "", "harm_chart": "", "rows_chart": ""}
    if any(reading.value is not None for reading in readings):
        drawn["metric_chart"] = charts.metric_chart("Realised metric", readings, ends)
    harms, rows = [], []
    for o in outcomes:
        harm, e = o.event.assessment.harm, o.event
        said = "harm is unknown" if harm is None else f"estimated harm {narrative.number(harm)}"
        harms.append(charts.Bar(f"{o.known.name}: {said}", harm, kind=e.assessment.verdict))
        title = f"{o.known.name}: {narrative.count(e.rows, 'row')} scored, {e.rejected:,} rejected"
        rows.append(charts.Bar(title, e.rows, e.rejected))
    drawn["harm_chart"] = charts.bar_chart("Estimated harm of each batch", harms, ends, facts.bound if facts else None)
    drawn["rows_chart"] = charts.bar_chart("Rows of each batch, rejected ones on top", rows, ends)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _reading(
    facts: ProjectFacts | None, o: narrative.Outcome, measured: r.BatchMeasured | None, trained: Metrics
) -> charts.Reading:
    """What the labels said of a published batch, against its version's metric on held-out rows."""
    version = o.event.version or ""
    name = _metric(trained.get(version, {}))
    reference = trained[version][name] if name else None
    limit = None
    if facts and reference is not None:
        limit = reference * (1 + facts.tolerance) if name == "rmse" else reference - facts.tolerance
    if measured is None or measured.value is None or not (o.newest and o.published):
        return charts.Reading(o.known.name, version, None, None, reference, limit)
    said = f"{narrative.metric(measured.value)} ± {narrative.metric(measured.se)} on {measured.rows:,} labelled rows"
    return charts.Reading(f"{o.known.name}: {said}", version, measured.value, measured.se, reference, limit)


# ── the page of a batch ──────────────────────────────────────────────────────────────────────────


def _batch_page(
    project: str,
    facts: ProjectFacts | None,
    state: State,
    batch: str,
    told: Sequence[r.Entry],
    trained: Metrics,
    second: Second | None = None,
) -> bytes:
    settled = _settled(told)
    event = settled.event
    assert isinstance(event, r.Published | r.Quarantined)
    compared = comparison.compare(event.assessment, second.opinion) if second else []
    labels = [(e, m) for e in told if isinstance(e.event, r.Labelled) for m in e.event.batches if m.batch == batch]
    checks = sorted(event.assessment.checks, key=lambda c: (not c.fired, -comparison.closeness(c)))
    return _render(
        "batch.html",
        facts,
        project=project,
        state=state,
        batch=batch,
        known=state.batches[batch],
        event=event,
        published=isinstance(event, r.Published),
        checks=checks,
        bounds={(c.name, c.at_least): c.bound for c in checks},
        labels=labels[-1] if labels else None,
        trained=trained.get(event.version or "", {}),
        settled=settled,
        worlds=worlds(event.assessment, facts.metric if facts else _metric(trained.get(event.version or "", {}))),
        strange=all(w.distance > STRANGE * w.chance for w in event.assessment.worlds),
        history=told,
        second=second,
        compared=compared,
        differ=comparison.sentence(event.assessment, second.opinion, compared, facts.metric if facts else None)
        if second and not second.opinion.error
        else "",
    )


def worlds(assessment: r.Assessment, metric: str | None) -> list[Told]:
    """What may have happened, the most believed first; worlds that read alike are one."""
    alike: dict[str, list[r.Explanation]] = {}
    for world in assessment.worlds:
        alike.setdefault(world.sentence, []).append(world)
    found = []
    for sentence, some in alike.items():
        belief = sum(w.belief for w in some)
        harm = sum(w.belief * w.harm for w in some) / (belief or 1.0)
        nearest = min(some, key=lambda w: w.distance)
        found.append(Told(sentence, belief, fit_said(nearest.distance, nearest.chance), cost_said(harm, metric)))
    return sorted(found, key=lambda w: -w.belief)


def fit_said(distance: float, chance: float) -> str:
    """How far a world is from the batch, in words.

    >>> fit_said(28.0, 40.0), fit_said(62.7, 40.0), fit_said(980.0, 40.0)
    ('as near as chance', '1.6 times further than chance', '24 times further than chance')
    """
    if chance <= 0.0:
        return "—"
    times = distance / chance
    return (
        "as near as chance" if times <= AS_CHANCE else f"{times:.{0 if times >= 10 else 1}f} times further than chance"
    )


def cost_said(harm: float, metric: str | None) -> str:
    """What a loss means, in words; little is nothing.

    >>> cost_said(0.1834, "auc"), cost_said(-0.01, "auc"), cost_said(0.0002, "auc"), cost_said(0.12, "rmse")
    ('AUC 0.183 lost', 'AUC 0.010 gained', 'nothing lost', 'RMSE 12.0 % higher')
    """
    if abs(harm) < 0.0005:
        return "nothing lost"
    if metric == "rmse":
        return f"RMSE {abs(harm):.1%} {'higher' if harm > 0 else 'lower'}".replace("%", " %")
    return f"{'AUC' if metric else 'metric'} {abs(harm):.3f} {'lost' if harm > 0 else 'gained'}"


def _metric(trained: Mapping[str, float]) -> str | None:
    """The metric of a version, by its figures on held-out rows."""
    return next((m for m in narrative.METRICS if m in trained), None)


def _settled(told: Sequence[r.Entry]) -> r.Entry:
    """The last outcome of a batch."""
    return next(e for e in reversed(told) if isinstance(e.event, r.Published | r.Quarantined))


# ── rendering ────────────────────────────────────────────────────────────────────────────────────


def _render(template: str, facts: ProjectFacts | None, **said: object) -> bytes:
    page = _environment().get_template(template).render(facts=facts, look=_look(facts), **said)
    return page.encode()


@lru_cache
def _look(facts: ProjectFacts | None) -> str:
    """A digest of all that shapes a page besides the ledger."""
    sources = sorted(files("fuseline").joinpath("templates").iterdir(), key=lambda p: p.name)
    text = "".join(p.read_text("utf-8") for p in sources if p.is_file())
    return hashlib.sha256(f"{asdict(facts) if facts else None}{text}".encode()).hexdigest()[:12]


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fuseline"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    for said in ("number", "metric", "moment", "day", "sentence", "count", "duration", "metrics_said", "hours_between"):
        environment.filters[said] = getattr(narrative, said)
    environment.globals["METRICS"] = narrative.METRICS
    environment.globals["share_bar"] = lambda share, title: Markup(charts.share_bar(share, title))
    environment.globals["ratio_bar"] = lambda check: Markup(charts.ratio_bar(check.observed, check.bound, check.fired))
    return environment
