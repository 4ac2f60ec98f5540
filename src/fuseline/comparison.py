"""Our figures of a batch beside Evidently's, and one plain sentence on where the two differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fuseline.narrative import METRICS, metric, number
from fuseline.opinion import Column, Opinion
from fuseline.records import Assessment, Check

NAMED = 3  # columns that a sentence names before it counts the others
LEAST = 0.001  # loss of the metric below which a cost is not worth a figure


@dataclass(frozen=True)
class Row:
    """One column of a batch, as both see it.

    Attributes:
        check: our figure that is furthest beyond its bound, or nearest to it; None where we have none.
        harm: what its change is estimated to cost; None where that was not estimated for it alone.
        theirs: what Evidently says; None where it was not given the column.
        left_out: why it was not given the column.
    """

    column: str
    check: Check | None
    harm: float | None
    theirs: Column | None
    left_out: str = ""

    @property
    def ours(self) -> bool:
        """Whether our figure is beyond its bound."""
        return self.check is not None and self.check.fired

    @property
    def differs(self) -> bool:
        """Whether one of the two sees a change that the other does not see."""
        return self.theirs is not None and self.theirs.drifted is not None and self.theirs.drifted != self.ours

    @property
    def quiet(self) -> bool:
        """Whether neither sees a change, and both looked."""
        return not self.ours and self.theirs is not None and not self.theirs.drifted


def closeness(check: Check) -> float:
    """How close a figure is to its bound: above 1 it is beyond it."""
    if not check.observed or not check.bound:
        return 0.0
    return check.bound / check.observed if check.at_least else check.observed / check.bound


def compare(assessment: Assessment, opinion: Opinion) -> list[Row]:
    """A row for each column that Evidently was asked about and each that we find changed; what changed comes first."""
    theirs = {c.name: c for c in opinion.columns}
    checks: dict[str, list[Check]] = {name: [] for name in (*theirs, *opinion.left_out)}
    scores = set(checks) - {c.column for c in assessment.checks}  # the checks of a score have its name in front
    for check in assessment.checks:
        column = check.column or check.name.split(" ")[0]
        if column in scores or (check.column and (column in checks or check.fired)):
            checks.setdefault(column, []).append(check)
    harm = {c.column: c.harm for c in reversed(assessment.causes) if c.column and c.harm is not None}
    rows = [
        Row(
            name,
            max(found, key=lambda c: (c.fired, closeness(c)), default=None),
            harm.get(name),
            theirs.get(name),
            opinion.left_out.get(name, ""),
        )
        for name, found in checks.items()
    ]
    return sorted(rows, key=lambda r: (not r.ours, r.quiet, -(r.harm or 0.0)))


def sentence(assessment: Assessment, opinion: Opinion, rows: Sequence[Row], metric_name: str | None) -> str:
    """What both say, and on which columns they differ.

    Args:
        metric_name: `auc`, `auc_ovr` or `rmse`, in which the harm is told; None where it is not known.
    """
    drifted, of = len(opinion.drifted), len(opinion.columns)
    which = f"{drifted if drifted else 'none'} of {of} columns"
    theirs = f"Evidently calls {which} drifted"
    if drifted:
        theirs += ", and so the whole data set" if opinion.data_set_drifted else ", and not the data set as a whole"
    if assessment.verdict == "pass":
        if not drifted:
            return f"Both are quiet: {theirs}, and every figure of Fuseline's is within its bound."
        return f"{theirs}; Fuseline sees nothing beyond what chance does in so many rows.{_columns(rows)}"
    says = {"warn": "warns and publishes", "halt": "halts", "inconclusive": "cannot judge and holds it back"}
    ours = f"Fuseline {says[assessment.verdict]}: {assessment.sentence.rstrip('.')}"
    return f"{theirs}; {ours}.{_cost(assessment, drifted, metric_name)}{_columns(rows)}"


def _cost(assessment: Assessment, drifted: int, metric_name: str | None) -> str:
    """What all that changed is estimated to cost, where that is why a batch with drift is published."""
    harm = assessment.harm
    if assessment.verdict != "warn" or harm is None or not drifted or assessment.causes[0].kind == "drift":
        return ""  # what a drift costs is said by its own sentence: only labels tell
    rmse, unit = metric_name == "rmse", METRICS.get(metric_name or "", "of the metric")
    if harm < LEAST:
        least = f"to raise the RMSE by {number(100 * LEAST)} %" if rmse else f"to cost {number(LEAST)} {unit}"
        return f" None of it is estimated {least}."
    cost = f"to raise the RMSE by {number(100 * harm)} %" if rmse else f"to cost {metric(harm)} {unit}"
    return f" All of it together is estimated {cost}."


def _columns(rows: Iterable[Row]) -> str:
    """The columns on which the two differ."""
    differing = [r for r in rows if r.differs]
    theirs, ours = ([r.column for r in differing if r.ours == mine] for mine in (False, True))
    said = [f"only Evidently calls {_listed(theirs)} drifted"] if theirs else []
    said += [f"only Fuseline sees a change in {_listed(ours)}"] if ours else []
    return f" O{'; '.join(said)[1:]}." if said else ""


def _listed(names: Sequence[str]) -> str:
    """Names as people list them.

    >>> _listed(["a"]), _listed(["a", "b"]), _listed(["a", "b", "c", "d", "e"])
    ('a', 'a and b', 'a, b, c and 2 more')
    """
    if len(names) > NAMED + 1:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
