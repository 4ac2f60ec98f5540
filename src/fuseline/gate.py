"""The promotion gate: whether a challenger may become the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fuseline.records import Check, Task

CONFIDENCE = 1.645  # one-sided, 95 %: a challenger that is worse by less than noise is not worse


class Limits(Protocol):
    """The project's own bounds, as `projects.Gate` holds them."""

    @property
    def min(self) -> Mapping[str, float]:
        """Lower bounds by metric."""
        ...

    @property
    def max(self) -> Mapping[str, float]:
        """Upper bounds by metric."""
        ...

    @property
    def margin(self) -> float:
        """AUC, or share of RMSE, by which a challenger may be worse than the champion."""
        ...


BETTER = "better than the champion"  # name of the check that compares the two


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    Attributes:
        promote: whether the challenger may become the champion.
        checks: every figure with its bound, whether or not it fired.
        reasons: why it is held, a sentence each; empty if it is promoted.
    """

    promote: bool
    checks: tuple[Check, ...] = ()
    reasons: tuple[str, ...] = ()


def decide(
    task: Task,
    metrics: Mapping[str, float],
    bounds: Limits,
    paired: tuple[float, float] | None = None,
    fault: str = "",
) -> Decision:
    """Judge a challenger: absolute bounds, the champion on the same held-out rows, a load in a clean process.

    It is held for being worse than the champion if it is worse by more than the margin, and by more than noise: by
    more than 1.645 standard errors of the paired difference.

    Args:
        metrics: figures of the challenger on rows that it never saw, by name.
        bounds: least and greatest values by name, and the margin.
        paired: how much better than the champion it is, and the standard error, as `performance.paired` gives them;
            None without a champion that can be compared.
        fault: what is wrong with the stored version (it does not load, or its golden rows score differently); empty if
            nothing is.

    >>> from types import SimpleNamespace
    >>> decide("binary", {"auc": 0.71}, SimpleNamespace(min={"auc": 0.75}, max={}, margin=0.0)).reasons
    ("AUC 0.71 is under the gate's 0.75",)
    """
    checks, reasons = [], []
    for limits, at_least, word in ((bounds.min, True, "under"), (bounds.max, False, "over")):
        for name, limit in limits.items():
            value = metrics.get(name)
            checks.append(Check(name, value, limit, at_least=at_least))
            if value is None:
                reasons.append(
                    f"the gate bounds {name!r}, which is not measured; known are {', '.join(sorted(metrics))}"
                )
            elif not (value >= limit if at_least else value <= limit):  # so that NaN does not pass
                reasons.append(f"{_shown(name)} {_figure(value, limit)} is {word} the gate's {limit:,.6g}")
    if paired is not None:
        difference, se = paired
        checks.append(Check(BETTER, difference, -max(bounds.margin, CONFIDENCE * se), at_least=True))
        if checks[-1].fired or difference != difference:
            reasons.append(_worse(task, difference, se, bounds.margin))
    if fault:
        reasons.append(f"it does not work in a clean process: {fault}")
    return Decision(not reasons, tuple(checks), tuple(reasons))


def _worse(task: Task, difference: float, se: float, margin: float) -> str:
    allowed = f"; the gate allows {margin:g}" if margin else ""
    if task == "regression":
        return f"its RMSE is {-difference:.1%} ± {se:.1%} above the champion's on the same rows{allowed}"
    return f"its AUC is {-difference:.3f} ± {se:.3f} below the champion's on the same rows{allowed}"


def _shown(name: str) -> str:
    return name.upper() if name in ("auc", "rmse", "mae") else name


def _figure(value: float, limit: float) -> str:
    """A figure with as many digits as tell it from its limit, three at least."""
    figures = (f"{value:,.{digits}g}" for digits in range(3, 18))
    return next(said for said in figures if float(said.replace(",", "")) != limit)
