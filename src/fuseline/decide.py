"""The fourth stage: the verdict, with causes that a person can act on, the most important first.

Only harm halts, or what is exactly wrong. Change without harm warns. Where nearly all columns change at once and no
world looks like the batch, as in natural drift over months, the cost cannot be read without labels: the project's
policy decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fuseline.breaker import HALTS
from fuseline.damage import Moved, Rescaled
from fuseline.detect import Change
from fuseline.harm import Estimate, Reading
from fuseline.records import Assessment, Cause, Check, Explanation, Level, Verdict

MANY = 4  # columns: fewer that change at once are looked at one by one
GROSS = 0.25  # share of rows that are null, never seen or out of range beyond their bound: no population does that
SUPPORT = ("nulls", "unseen", "out of range")
STRANGE = 8.0  # times the chance distance: a batch that even the likeliest world is further from is not understood
TOLD = 5  # worlds that are told
BELIEVED = 0.01  # belief under which a world is not told


@dataclass(frozen=True)
class Stakes:
    """What the model has to lose.

    Attributes:
        metric: `auc`, `auc_ovr` or `rmse`.
        value: what it is on the reference.
        tolerance: the loss that halts: of AUC, or the share of RMSE.
        on_drift: whether change whose harm cannot be read warns or halts.
        columns: how many features there are.
    """

    metric: str
    value: float
    tolerance: float
    on_drift: Literal["warn", "halt"] = "warn"
    columns: int = 0

    @property
    def bound(self) -> float:
        """The estimated loss that halts."""
        return HALTS * self.tolerance

    def cost(self, harm: float) -> str:
        """What a loss means, for people.

        >>> Stakes("auc", 0.81, 0.02).cost(0.18)
        'AUC would fall from 0.810 to 0.630'
        """
        if self.metric == "rmse":
            return f"RMSE would rise by {harm:.1%}"
        return f"AUC would fall from {self.value:.3f} to {max(self.value - harm, 0.0):.3f}"


def verdict(
    causes: Sequence[Cause],
    checks: Sequence[Check],
    harm: float | None,
    business: Mapping[str, float] | None = None,
    worlds: Sequence[Explanation] = (),
) -> Assessment:
    """The worst level of the causes decides; halting causes come first."""
    order: dict[Level, int] = {"halt": 0, "inconclusive": 1, "warn": 2}
    ranked = tuple(sorted(causes, key=lambda c: order[c.level]))
    worst: Verdict = ranked[0].level if ranked else "pass"
    return Assessment(worst, harm, ranked, tuple(checks), dict(business or {}), tuple(worlds))


def explanations(estimate: Estimate) -> tuple[Explanation, ...]:
    """The worlds that are believed, for the batch's page: the most believed first."""
    told = [r for r in estimate.readings[:TOLD] if r.belief >= BELIEVED]
    return tuple(
        Explanation(r.world.sentence(), r.world.columns, r.belief, r.world.distance, r.world.chance, r.harm)
        for r in told
    )


def causes(
    change: Change,
    estimate: Estimate,
    stakes: Stakes,
    describe: Callable[[str], str],
    alone: Callable[[Reading], Mapping[str, float]],
) -> list[Cause]:
    """Why a batch that differs halts or warns.

    Args:
        describe: what happened to a column, in words.
        alone: what each column of a world costs by itself.
    """
    halts = estimate.risk > stakes.bound
    if natural(change, estimate, stakes) and not (halts and gross(change)):
        return [_drift(change, estimate, stakes)]
    lead = _lead(estimate, stakes.bound if halts else None)
    found = _halting(lead, change, estimate, stakes, describe, alone) if halts else []
    told = {c.column for c in found}
    if halts and lead is not None and not lead.world.faults:  # a mix is told once
        told |= set(change.columns)
    if lead is not None and len(lead.world.faults) == 1 and halts:  # one fault of several columns is told once
        told |= set(lead.world.columns)
    found += [
        _harmless(column, estimate, stakes, describe(column), halts) for column in change.columns if column not in told
    ]
    if not found:
        found.append(_odd(change, estimate, stakes))
    return found


def natural(change: Change, estimate: Estimate, stakes: Stakes) -> bool:
    """Whether it looks as a population does that drifts: most columns changed, and no world is near.

    A simulated mix of rows, or a fault, would have been.
    """
    many = len(change.columns) >= MANY and 2 * len(change.columns) > stakes.columns
    nearest = min((r.world.distance / r.world.chance for r in estimate.readings), default=0.0)
    return many and nearest > STRANGE


def gross(change: Change) -> bool:
    """Whether a column changed beyond all measure, as no population does."""
    return any(c.name in SUPPORT and (c.observed or 0.0) - (c.bound or 0.0) > GROSS for c in change.checks)


def _lead(estimate: Estimate, bound: float | None) -> Reading | None:
    """The world that speaks for all: the most believed one, of those that cost more than the bound if there is one."""
    told = [r for r in estimate.readings if bound is None or r.harm > bound]
    return max(told, key=lambda r: r.belief, default=None)


def _halting(
    lead: Reading | None,
    change: Change,
    estimate: Estimate,
    stakes: Stakes,
    describe: Callable[[str], str],
    alone: Callable[[Reading], Mapping[str, float]],
) -> list[Cause]:
    assert lead is not None
    bound, total = stakes.bound, estimate.total
    whole = Cause("distance", "", None, total, bound, total)
    if not lead.world.faults:
        what = f"{_these(change.columns)} changed" if change.columns else "the scores are spread differently"
        single = change.columns[0] if len(change.columns) == 1 else None
        said = f"{what}, as in {lead.world.sentence()}: {stakes.cost(total)}"
        return [replace(whole, kind="mix", sentence=said, column=single)]
    said = "; ".join(
        describe(f.columns[0]) if isinstance(f, Rescaled | Moved) else f.sentence() for f in lead.world.faults
    )
    columns = lead.world.columns
    if len(lead.world.faults) == 1 or not set(columns) <= set(change.columns):
        return [replace(whole, sentence=f"{said}: {stakes.cost(total)}", column=columns[0])]
    costs = alone(lead)
    found = [
        Cause("distance", f"{describe(c)}: {stakes.cost(cost)}", c, cost, bound, cost)
        for c, cost in sorted(costs.items(), key=lambda item: -item[1])
        if cost > bound
    ]
    return found or [replace(whole, sentence=f"{said}; together: {stakes.cost(total)}")]


def _harmless(column: str, estimate: Estimate, stakes: Stakes, said: str, halts: bool) -> Cause:
    """A column that changed and does not halt."""
    cost = sum(r.belief * r.harm for r in estimate.readings if column in r.world.columns)
    if estimate.selection > 0.5 and not halts:
        mix = "it looks like another mix of the same kind of rows"
        why = f"{mix}, and the model copes with that (estimated loss {estimate.total:.3f})"
    else:
        why = "little harm is expected of it"
    return Cause("distance", f"{said}; {why}", column, max(cost, 0.0), stakes.bound, max(cost, 0.0), level="warn")


def _odd(change: Change, estimate: Estimate, stakes: Stakes) -> Cause:
    """No column is spread differently by itself."""
    if change.broken:
        name = change.broken[0]
        said = f"{name} no longer goes together with the other columns as it did; little harm is expected of it"
        return Cause("distance", said, name, estimate.total, stakes.bound, estimate.total, level="warn")
    worst = max((c for c in change.checks if c.column is None), key=lambda c: (c.observed or 0.0) / (c.bound or 1.0))
    said = "the scores are spread differently than on the reference, though no single column is"
    return Cause("score", said, None, worst.observed, worst.bound, estimate.total, level="warn")


def lasting(change: Change, stakes: Stakes) -> Cause:
    """Change that stays, batch after batch, and whose harm does not show without labels: the policy decides."""
    what = _these(change.columns or change.broken) or "the scores"
    said = f"{what} changed in three batches in a row: what that costs shows only in labels"
    return Cause("drift", said, level=stakes.on_drift)


def _drift(change: Change, estimate: Estimate, stakes: Stakes) -> Cause:
    """Natural drift: its cost cannot be read without labels, so the project's policy decides."""
    sentence = (
        f"{len(change.columns)} of {stakes.columns} columns changed at once ({_these(change.columns)}), as in natural "
        f"drift: what it costs shows only in labels"
    )
    harm = estimate.total
    return Cause("drift", sentence, None, harm, stakes.bound, harm, level=stakes.on_drift)


def _these(columns: Sequence[str]) -> str:
    return ", ".join(columns[:3]) + (" …" if len(columns) > 3 else "")
