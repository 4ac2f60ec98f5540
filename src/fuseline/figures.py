"""The charts of the dashboard and the explanations on a batch's page: figures brought into the form that is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fuseline import charts, narrative
from fuseline import records as r
from fuseline.breaker import HALTS
from fuseline.chronicle import Chronicle, Outcome

AS_CHANCE = 1.2  # times the chance distance: up to here a world is as near as chance


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


# ── charts ───────────────────────────────────────────────────────────────────────────────────────


def drawn(facts: ProjectFacts | None, chronicle: Chronicle, outcomes: Sequence[Outcome]) -> dict[str, Markup]:
    """The SVG of each chart over these outcomes by its name; empty where there is nothing to draw."""
    if not outcomes:
        return dict.fromkeys(("metric_chart", "harm_chart", "rows_chart"), Markup())
    ends = _ends(outcomes[0].entry.at, outcomes[-1].entry.at)
    readings = [_reading(facts, chronicle, outcome) for outcome in outcomes]
    known = any(reading.value is not None for reading in readings)
    limit = facts.bound if facts else None
    made = {
        "metric_chart": charts.metric_chart("Realised metric", readings, ends) if known else "",
        "harm_chart": charts.bar_chart("Estimated harm of each batch", list(map(_harm, outcomes)), ends, limit),
        "rows_chart": charts.bar_chart("Rows of each batch, rejected ones on top", list(map(_rows, outcomes)), ends),
    }
    return {name: Markup(svg) for name, svg in made.items()}


def _ends(first: str, last: str) -> tuple[str, str]:
    """What stands below the ends of a chart: days, or times where all is of one day."""
    days = narrative.day(first), narrative.day(last)
    if first[:10] != last[:10]:
        return days
    return narrative.moment(first), narrative.moment(last).partition(", ")[2]


def _harm(o: Outcome) -> charts.Bar:
    harm = o.event.assessment.harm
    said = "harm is unknown" if harm is None else f"estimated harm {narrative.number(harm)}"
    return charts.Bar(f"{o.known.name}: {said}", harm, kind=o.event.assessment.verdict)


def _rows(o: Outcome) -> charts.Bar:
    said = f"{narrative.count(o.event.rows, 'row')} scored, {o.event.rejected:,} rejected"
    return charts.Bar(f"{o.known.name}: {said}", o.event.rows, o.event.rejected)


def _reading(facts: ProjectFacts | None, chronicle: Chronicle, o: Outcome) -> charts.Reading:
    """What the labels said of a published batch, against its version's metric on held-out rows."""
    version, measured = o.event.version or "", chronicle.measured.get(o.event.batch)
    trained = chronicle.trained.get(version, {})
    name = leading(trained)
    reference = trained[name] if name else None
    limit = None
    if facts and reference is not None:
        limit = reference * (1 + facts.tolerance) if name == "rmse" else reference - facts.tolerance
    if measured is None or measured.value is None or not (o.newest and o.published):
        return charts.Reading(o.known.name, version, None, None, reference, limit)
    said = f"{narrative.metric(measured.value)} ± {narrative.metric(measured.se)} on {measured.rows:,} labelled rows"
    return charts.Reading(f"{o.known.name}: {said}", version, measured.value, measured.se, reference, limit)


def leading(trained: Mapping[str, float]) -> str | None:
    """The name of the metric that a version is judged by, of its figures on held-out rows."""
    return next((m for m in narrative.METRICS if m in trained), None)


# ── explanations ─────────────────────────────────────────────────────────────────────────────────


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
    if times <= AS_CHANCE:
        return "as near as chance"
    return f"{times:.{0 if times >= 10 else 1}f} times further than chance"


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
