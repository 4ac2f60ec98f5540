"""How good the reserves are: trained on the newest claims of the history, measured on the claims of later months.

    python projects/claims/evaluate.py [data/generated/claims]

It reads what data/claims.py wrote. Amounts are in GBP, and a recovery counts as no cost. A model has to be better than
one amount for every claim: the mean cost of training (whose total and RMSE are the best of all such amounts), or its
median (whose MAE is).
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import predict
from features import cost
from train import train

ID, TARGET = "Claim Number", "Incurred"
DRAWS, SEED = 2_000, 0  # of the bootstrap: claims are drawn with replacement


@dataclass(frozen=True)
class Later:
    """Claims of later months.

    Attributes:
        costs, reserves: GBP, shape (rows,).
        mean, median: GBP, of the costs of training.
        months: of each claim, shape (rows,).
        threshold: GBP from which a claim is large.
        chances: of a large claim, shape (rows,).
    """

    costs: np.ndarray
    reserves: np.ndarray
    mean: float
    median: float
    months: np.ndarray
    threshold: float
    chances: np.ndarray


def score(folder: Path) -> Later:
    """Train on the newest claims of a history, and reserve for the later ones. Raises OSError where it has none."""
    window = tomllib.loads((Path(__file__).parent / "project.toml").read_text(encoding="utf-8"))["training"]["max_rows"]
    history = pd.read_csv(folder / "history.csv").tail(window)
    artifacts = train(history.drop(columns=TARGET), history[TARGET])
    predict.warm_up(artifacts)
    parts = []
    for path in sorted((folder / "batches").glob("*.csv")):
        claims = pd.read_csv(path)
        read = predict.postprocess(predict.predict(claims, artifacts), claims)
        labels = pd.read_csv(folder / "labels" / path.name)
        parts.append(claims[[ID]].assign(month=path.stem, **read).merge(labels, on=ID, validate="one_to_one"))
    if not parts:
        raise FileNotFoundError(f"{folder} has no batches: make them with data/claims.py")
    later = pd.concat(parts, ignore_index=True)
    return Later(
        costs=cost(later[TARGET]),
        reserves=later["reserve_gbp"].to_numpy(),
        mean=artifacts["mean_cost"],
        median=float(np.median(cost(history[TARGET]))),
        months=later["month"].to_numpy(),
        threshold=artifacts["threshold"],
        chances=later["large_probability"].to_numpy(),
    )


def gini(costs: np.ndarray, reserves: np.ndarray) -> float:
    """How well reserves rank claims by cost: 1 as well as the costs themselves, 0 not at all.

    The area between the Lorenz curve of the costs, in the order of the reserves, and the diagonal, as a share of that
    area in the order of the costs (Frees, Meyers & Cummings, JASA 2011). Claims of equal reserve share their costs.

    >>> gini(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])), gini(np.array([1.0, 2.0]), np.array([5.0, 5.0]))
    (1.0, 0.0)
    """

    def area(by: np.ndarray) -> float:
        _, place, counts = np.unique(by, return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - (counts - 1) / 2.0  # the rank of a tie is the mean of its ranks
        return float((costs * (2.0 * middle[place] - len(costs) - 1.0)).sum())

    whole = area(costs)
    return area(reserves) / whole if whole else 0.0


def deciles(later: Later) -> pd.DataFrame:
    """Mean reserve against mean cost, by tenths of the claims in the order of their reserves."""
    order = np.argsort(later.reserves, kind="stable")
    rows = [
        {"claims": len(part), "reserve": later.reserves[part].mean(), "cost": later.costs[part].mean()}
        for part in np.array_split(order, 10)
    ]
    found = pd.DataFrame(rows, index=range(1, 11))
    return found.assign(ratio=found["reserve"] / found["cost"])


def interval(later: Later, figure: Callable[[np.ndarray, np.ndarray], float]) -> tuple[float, float]:
    """Where 90 % of a figure of (costs, reserves) lie, if the claims are drawn again and again."""
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(later.costs), (DRAWS, len(later.costs)))
    low, high = np.quantile([figure(later.costs[d], later.reserves[d]) for d in drawn], [0.05, 0.95])
    return float(low), float(high)


def report(later: Later) -> str:
    """The figures as text, in Markdown."""
    costs, reserves = later.costs, later.reserves
    mean, median = (np.full(len(costs), amount) for amount in (later.mean, later.median))
    low, high = interval(later, lambda c, r: float(r.sum() / c.sum()))
    least, most = interval(later, lambda c, r: _saved(c, r, later.mean))
    large = costs > later.threshold

    def row(name: str, figure: Callable[[np.ndarray, np.ndarray], float], form: str) -> str:
        return f"| {name} | " + " | ".join(format(figure(costs, r), form) for r in (reserves, mean, median)) + " |"

    return "\n".join(
        [
            f"{len(costs):,} claims of {later.months.min()} to {later.months.max()}, "
            f"£{costs.sum():,.0f} incurred, £{costs.mean():,.0f} each",
            "",
            "| | the model | the flat mean | the flat median |",
            "|---|---|---|---|",
            row("reserve held against incurred", lambda c, r: float(r.sum() / c.sum()), ".3f"),
            row("Gini", gini, ".3f"),
            row("RMSE, £", _rmse, ",.0f"),
            row("MAE, £", lambda c, r: float(np.abs(c - r).mean()), ",.0f"),
            "",
            f"Reserve held against incurred: {low:.2f} to {high:.2f} in 90 % of the draws",
            f"RMSE saved against the flat mean: {_saved(costs, reserves, later.mean):.1%} ({least:.1%} to {most:.1%})",
            f"Large claims, over £{later.threshold:,.0f}: {later.chances.sum():.0f} expected, {large.sum()} came",
            "",
            "| tenth | claims | mean reserve, £ | mean cost, £ | ratio |",
            "|---|---|---|---|---|",
            *(
                f"| {tenth} | {row.claims:.0f} | {row.reserve:,.0f} | {row.cost:,.0f} | {row.ratio:.2f} |"
                for tenth, row in deciles(later).iterrows()
            ),
        ]
    )


def _rmse(costs: np.ndarray, reserves: np.ndarray) -> float:
    return float(np.sqrt(np.square(costs - reserves).mean()))


def _saved(costs: np.ndarray, reserves: np.ndarray, mean: float) -> float:
    return 1.0 - _rmse(costs, reserves) / _rmse(costs, np.full(len(costs), mean))


def main(arguments: list[str] | None = None) -> None:
    """The command; `--help` describes it."""
    parser = argparse.ArgumentParser(description="Measure the reserves of later claims against what they cost.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/generated/claims"))
    options = parser.parse_args(arguments)
    try:
        print(report(score(options.folder)))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
