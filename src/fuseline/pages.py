"""The pages that people read of a project, as HTML: made from its chronicle alone, for a file or for a live server.

A live page is the page of the file with what only a server can give: it looks for news by itself, says when the
ledger cannot be read, and links the runs to what they left.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fuseline import charts, comparison, figures, launch, narrative
from fuseline import records as r
from fuseline.alerts import LATE
from fuseline.chronicle import Chronicle, Outcome
from fuseline.decide import STRANGE
from fuseline.figures import ProjectFacts
from fuseline.opinion import Opinion
from fuseline.owed import OLD

SHOWN = 60  # outcomes on the timeline, in the charts and in the table
RECENT = 15  # entries under "What happened last"
RUN = re.compile(rf"({'|'.join(launch.FLOWS.values())})/[A-Za-z0-9][A-Za-z0-9_-]{{0,127}}")  # as runs sign entries


@dataclass(frozen=True)
class Second:
    """Evidently's opinion on a batch, and where its own page lies as seen from the batch's; empty where it has none."""

    opinion: Opinion
    href: str = ""


@dataclass(frozen=True)
class Trouble:
    """Why a ledger cannot be read now.

    Attributes:
        text: what failed and what to do.
        since: when that began, ISO 8601.
        seen: when it was read last, ISO 8601; empty if never.
    """

    text: str
    since: str
    seen: str = ""


@dataclass(frozen=True)
class Live:
    """What a served page knows besides: what is wrong, and whether there is a page of all projects to go back to."""

    trouble: Trouble | None = None
    several: bool = False


@dataclass(frozen=True)
class Standing:
    """A project on the page of all projects; without a chronicle where its ledger was never read."""

    project: str
    chronicle: Chronicle | None
    facts: ProjectFacts | None
    trouble: Trouble | None


@dataclass(frozen=True)
class CardLink:
    """A card of a run: the step and task that left it, and its address as seen from the run's page."""

    name: str
    href: str


# ── a project ────────────────────────────────────────────────────────────────────────────────────


def dashboard(
    project: str, facts: ProjectFacts | None, chronicle: Chronicle, now: str, live: Live | None = None
) -> bytes:
    """The first page of a project.

    Args:
        now: the time of making it, ISO 8601.
        live: where it is served; None for a file.
    """
    state, line = chronicle.state, chronicle.timeline(SHOWN)
    versions, last = chronicle.versions(), chronicle.published
    age = narrative.hours_between(last.entry.at, now) if last else None
    recent = (e for e in reversed(chronicle.entries) if not isinstance(e.event, r.AlertTaken))
    return _render(
        "index.html",
        facts,
        live,
        project=project,
        state=state,
        now=now,
        last=last,
        age=age,
        late=facts is not None and age is not None and age > LATE * facts.every_hours,
        tally={s: len(state.with_status(s)) for s in ("published", "quarantined")},
        waiting=state.with_status("started", "waiting"),
        champion=next((v for v in versions if v.name == state.champion), None),
        timeline=line,
        newest=chronicle.newest(SHOWN),
        quarantine=chronicle.with_status("quarantined"),
        versions=versions[:12],
        recent=[entry for entry, _ in zip(recent, range(RECENT), strict=False)],
        failing={flow: chronicle.entries[seq - 1] for flow, seq in state.failing.items()},
        undelivered=[(chronicle.entries[seq - 1], owed) for seq, owed in state.alerts.items() if owed.failed],
        patience=OLD.total_seconds() / 3600,
        commands={flow: command for command, flow in launch.FLOWS.items()},
        **figures.drawn(facts, chronicle, [step for step in line if isinstance(step, Outcome)]),
    )


def batch(
    project: str,
    facts: ProjectFacts | None,
    chronicle: Chronicle,
    name: str,
    second: Second | None = None,
    live: Live | None = None,
) -> bytes:
    """The page of a batch that has an outcome, by its identity; with Evidently's opinion on it, if there is one."""
    settled, told = chronicle.outcome(name), chronicle.told[name]
    assert settled is not None, f"{name} has no outcome"
    event = settled.event
    compared = comparison.compare(event.assessment, second.opinion) if second else []
    labels = [(e, m) for e in told if isinstance(e.event, r.Labelled) for m in e.event.batches if m.batch == name]
    checks = sorted(event.assessment.checks, key=lambda c: (not c.fired, -comparison.closeness(c)))
    trained = chronicle.trained.get(event.version or "", {})
    return _render(
        "batch.html",
        facts,
        live,
        project=project,
        batch=name,
        known=settled.known,
        event=event,
        published=settled.published,
        checks=checks,
        bounds={(c.name, c.at_least): c.bound for c in checks},
        labels=labels[-1] if labels else None,
        trained=trained,
        settled=settled.entry,
        worlds=figures.worlds(event.assessment, facts.metric if facts else figures.leading(trained)),
        strange=all(w.distance > STRANGE * w.chance for w in event.assessment.worlds),
        history=told,
        second=second,
        compared=compared,
        differ=comparison.sentence(event.assessment, second.opinion, compared, facts.metric if facts else None)
        if second and not second.opinion.error
        else "",
    )


def run(project: str, name: str, wrote: Sequence[r.Entry], cards: Sequence[CardLink], why: str, live: Live) -> bytes:
    """The page of a run: what it wrote to the ledger, and the cards that it left, or why there are none."""
    return _render("run.html", None, live, project=project, run=name, wrote=wrote, cards=cards, why=why)


# ── the server as a whole ────────────────────────────────────────────────────────────────────────


def overview(standings: Sequence[Standing], now: str) -> bytes:
    """The page of all projects."""
    rows = []
    for s in standings:
        last = s.chronicle.published if s.chronicle else None
        age = narrative.hours_between(last.entry.at, now) if last else None
        late = s.facts is not None and age is not None and age > LATE * s.facts.every_hours
        newest = s.chronicle.newest(1) if s.chronicle else []
        rows.append({"at": s, "last": last, "age": age, "late": late, "newest": newest[0] if newest else None})
    return _render("overview.html", None, Live(), rows=rows, now=now)


def problem(title: str, text: str, todo: str = "", home: str = "/") -> bytes:
    """A page in place of one that cannot be shown: what happened, and what to do about it."""
    return _render("problem.html", None, Live(), title=title, text=text, todo=todo, home=home)


# ── rendering ────────────────────────────────────────────────────────────────────────────────────


def _render(template: str, facts: ProjectFacts | None, live: Live | None, **said: object) -> bytes:
    page = _environment().get_template(template).render(facts=facts, look=look(facts), live=live, **said)
    return page.encode()


@lru_cache
def look(facts: ProjectFacts | None) -> str:
    """A digest of all that shapes a page besides the ledger."""
    sources = sorted(files("fuseline").joinpath("templates").iterdir(), key=lambda p: p.name)
    text = "".join(p.read_text("utf-8") for p in sources if p.is_file())
    return hashlib.sha256(f"{asdict(facts) if facts else None}{text}".encode()).hexdigest()[:12]


@cache
def inline(name: str) -> Markup:
    """A file of the templates that every page carries in itself: `style.css` or `live.js`."""
    return Markup("\n" + files("fuseline").joinpath("templates", name).read_text("utf-8"))


@cache
def inline_digest(name: str) -> str:
    """What a Content-Security-Policy calls this file, e.g. `'sha256-…'`: nothing else in a page is run or styles it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline(name).encode()).digest()).decode()}'"


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
    environment.tests["a_run"] = lambda by: RUN.fullmatch(by) is not None
    environment.globals["METRICS"] = narrative.METRICS
    environment.globals["inline"] = inline
    environment.globals["share_bar"] = lambda share, title: Markup(charts.share_bar(share, title))
    environment.globals["ratio_bar"] = lambda check: Markup(charts.ratio_bar(check.observed, check.bound, check.fired))
    return environment
