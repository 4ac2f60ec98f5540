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
        tolerance: the loss that is accepted: of AUC, or the share of RMSE; an estimate over `bound` halts.
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
    return _Differing(change, estimate, stakes, describe, alone).causes()


@dataclass(frozen=True, eq=False)
class _Differing:
    """A batch that differs: what is judged. The attributes are the arguments of `causes`."""

    change: Change
    estimate: Estimate
    stakes: Stakes
    describe: Callable[[str], str]
    alone: Callable[[Reading], Mapping[str, float]]

    @property
    def halts(self) -> bool:
        """Whether too much harm is expected."""
        return self.estimate.risk > self.stakes.bound

    def causes(self) -> list[Cause]:
        """What halts, then every other column that changed."""
        columns = self.change.columns
        if natural(self.change, self.estimate, self.stakes) and not (self.halts and gross(self.change)):
            return [self._drift()]
        found: list[Cause] = []
        told: set[str | None] = set()
        if self.halts:
            lead = self._lead()
            found = self._halting(lead)
            told = {c.column for c in found}
            if not lead.world.faults:  # a mix is told once
                told |= set(columns)
            elif len(lead.world.faults) == 1:  # one fault of several columns is told once
                told |= set(lead.world.columns)
        found += [self._harmless(c) for c in columns if c not in told]
        return found or [self._odd()]

    def _lead(self) -> Reading:
        """The world that speaks for all: the most believed one of those that cost too much."""
        return max((r for r in self.estimate.readings if r.harm > self.stakes.bound), key=lambda r: r.belief)

    def _halting(self, lead: Reading) -> list[Cause]:
        change, faults, cost = self.change, lead.world.faults, self.stakes.cost
        bound, total = self.stakes.bound, self.estimate.total
        whole = Cause("distance", "", None, total, bound, total)
        if not faults:
            what = f"{_these(change.columns)} changed" if change.columns else "the scores are spread differently"
            single = change.columns[0] if len(change.columns) == 1 else None
            said = f"{what}, as in {lead.world.sentence()}: {cost(total)}"
            return [replace(whole, kind="mix", sentence=said, column=single)]
        said = "; ".join(
            self.describe(f.columns[0]) if isinstance(f, Rescaled | Moved) else f.sentence() for f in faults
        )
        columns = lead.world.columns
        if len(faults) == 1 or not set(columns) <= set(change.columns):
            return [replace(whole, sentence=f"{said}: {cost(total)}", column=columns[0])]
        found = [
            Cause("distance", f"{self.describe(c)}: {cost(alone)}", c, alone, bound, alone)
            for c, alone in sorted(self.alone(lead).items(), key=lambda item: -item[1])
            if alone > bound
        ]
        return found or [replace(whole, sentence=f"{said}; together: {cost(total)}")]

    def _harmless(self, column: str) -> Cause:
        """A column that changed and does not halt."""
        harm = max(sum(r.belief * r.harm for r in self.estimate.readings if column in r.world.columns), 0.0)
        if self.estimate.selection > 0.5 and not self.halts:
            mix = "it looks like another mix of the same kind of rows"
            why = f"{mix}, and the model copes with that (estimated loss {self.estimate.total:.3f})"
        else:
            why = "little harm is expected of it"
        said = f"{self.describe(column)}; {why}"
        return Cause("distance", said, column, harm, self.stakes.bound, harm, level="warn")

    def _odd(self) -> Cause:
        """No column is spread differently by itself."""
        change, total = self.change, self.estimate.total
        if change.broken:
            name = change.broken[0]
            said = f"{name} no longer goes together with the other columns as it did; little harm is expected of it"
            return Cause("distance", said, name, total, self.stakes.bound, total, level="warn")
        scores = [c for c in change.checks if c.column is None]
        worst = max(scores, key=lambda c: (c.observed or 0.0) / (c.bound or 1.0))
        said = "the scores are spread differently than on the reference, though no single column is"
        return Cause("score", said, None, worst.observed, worst.bound, total, level="warn")

    def _drift(self) -> Cause:
        """Natural drift: its cost cannot be read without labels, so the project's policy decides."""
        columns, stakes, harm = self.change.columns, self.stakes, self.estimate.total
        sentence = (
            f"{len(columns)} of {stakes.columns} columns changed at once ({_these(columns)}), as in natural drift: "
            f"what it costs shows only in labels"
        )
        return Cause("drift", sentence, None, harm, stakes.bound, harm, level=stakes.on_drift)


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


def lasting(change: Change, stakes: Stakes) -> Cause:
    """Change that stays, batch after batch, and whose harm does not show without labels: the policy decides."""
    what = _these(change.columns or change.broken) or "the scores"
    said = f"{what} changed in three batches in a row: what that costs shows only in labels"
    return Cause("drift", said, level=stakes.on_drift)


def _these(columns: Sequence[str]) -> str:
    return ", ".join(columns[:3]) + (" …" if len(columns) > 3 else "")
