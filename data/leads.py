"""Made-up leads for the project `leads`: a labelled history, daily batches as they arrive, and late labels.

    python data/leads.py --out data/generated/leads --history 8000 --rows 500 --days 5 --start 2026-03-01 --seed 7

The same arguments give the same bytes. Each day has a random generator of its own, made from the seed and the date, so
that its rows do not depend on the days around it. What makes a lead a customer does not depend on the seed: a model of
one seed is good on the batches of another. projects/leads/README.md describes the columns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

COLUMNS = tuple(f"x{i}" for i in range(100))
WEEKDAY, AMOUNT, COUNTRY, SHARE, MONTH, GENDER = "x5", "x12", "x31", "x63", "x81", "x82"
NUMBERS = tuple(c for c in COLUMNS if c not in (WEEKDAY, AMOUNT, COUNTRY, SHARE, MONTH, GENDER))
TARGET = "y"
HISTORY_DAYS = 90  # the history ends where the first batch begins
MOST_ROWS = 100_000  # of a day: a lead_id is the date followed by five digits

# Effects on the log-odds of y = 1, which is about 30 % of the leads; the columns can tell as much as an AUC of 0.8.
INTERCEPT = -1.35
LAW_SEED = 100  # draws what the numbers are and what they mean: the same in every world
TELLING = 16  # so many of the numbers tell something, the others nothing
STRONGEST, WEAKEST = 0.50, 0.15  # effects of these per standard deviation; every second one is negative
AMOUNT_EFFECT, SHARE_EFFECT = 0.45, -0.35
LEVEL_EFFECTS = {
    WEEKDAY: {"Friday": 0.4, "Sunday": -0.4},
    MONTH: {"January": 0.5, "August": -0.4},
    COUNTRY: {"germany": 0.4, "japan": -0.5},
    GENDER: {"Female": 0.25},
}

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "January February March April May June July August September October November December"
LEVELS = {WEEKDAY: WEEKDAYS.split(), MONTH: MONTHS.split(), COUNTRY: ["america", "asia", "germany", "japan"]}
LEVELS |= {GENDER: ["Female", "Male"]}
SPELLINGS: tuple[Callable[[str], str], ...] = (str, lambda day: day[:3], str.lower)  # of a weekday ...
SPELLING_SHARES = (0.6, 0.3, 0.1)  # ... and how often each is met
MEDIAN_AMOUNT, AMOUNT_SPREAD, MOST_AMOUNT = 900.0, 0.7, 9_000.0  # dollars; the spread is that of the logarithm
NEGATIVE_SHARE = 0.08  # of the amounts; half of them are written -$12.00, half ($12.00)
MEAN_SHARE, SHARE_SPREAD = 28.6, 16.0  # percent
NULLS = {
    COUNTRY: 0.08,
    AMOUNT: 0.02,
    SHARE: 0.02,
}  # the other texts have none; a number has up to 8 %, and some at least
FEWEST_NULLS, MOST_NULLS = 0.01, 0.08

Values = np.ndarray[Any, Any]  # shape (rows,)


@dataclass(frozen=True)
class Law:
    """What the numbers are and what they mean: each of shape (numbers,), in the order of `NUMBERS`.

    Attributes:
        place, unit: mean and standard deviation.
        shape: 0 for a normal distribution, 1 for one with a long tail, 2 for whole numbers.
        nulls: share of nulls.
        effect: on the log-odds per standard deviation, 0 for most.
    """

    place: Values
    unit: Values
    shape: Values
    nulls: Values
    effect: Values

    @classmethod
    def draw(cls) -> Law:
        """The one law of all worlds."""
        rng, n = np.random.default_rng(LAW_SEED), len(NUMBERS)
        effect = np.zeros(n)
        signs = np.where(np.arange(TELLING) % 2, -1.0, 1.0)
        effect[rng.permutation(n)[:TELLING]] = signs * np.linspace(STRONGEST, WEAKEST, TELLING)
        return cls(
            place=np.round(rng.normal(0.0, 20.0, n), 1),
            unit=np.round(2.0 + np.exp(rng.normal(0.5, 1.0, n)), 2),
            shape=rng.integers(0, 3, n),
            nulls=np.round(rng.uniform(FEWEST_NULLS, MOST_NULLS, n), 3),
            effect=effect,
        )


def generate(
    out: Path, *, history: int = 8_000, rows: int = 500, days: int = 5, start: date | str = "2026-03-01", seed: int = 7
) -> None:
    """Write `history.parquet`, and `batches/<day>.csv` and `labels/<day>.csv` for each day.

    Args:
        out: the folder to write into; made if it is absent.
        history: labelled leads, spread over the 90 days before `start`.
        rows: leads per day.
        days: days from `start` on.
        seed: 0 or more; another seed gives other leads of the same kind.

    Raises:
        ValueError: an argument is out of its range; the message says which.
    """
    for name, value, most in (("history", history, 10_000_000), ("rows", rows, MOST_ROWS), ("days", days, 3_660)):
        if not 1 <= value <= most:
            raise ValueError(f"--{name} must be from 1 to {most:,}, not {value:,}")
    if seed < 0:
        raise ValueError(f"--seed must be 0 or more, not {seed}")
    first = date.fromisoformat(start) if isinstance(start, str) else start
    for folder in (out, out / "batches", out / "labels"):
        folder.mkdir(parents=True, exist_ok=True)
    for day in (first + timedelta(days=n) for n in range(days)):
        table = one_day(day, rows, seed)
        pc.write_csv(table.drop_columns([TARGET]), out / "batches" / f"{day}.csv")
        pc.write_csv(table.select(["lead_id", TARGET]), out / "labels" / f"{day}.csv")
    part = out / "history.parquet.part"  # make looks for the history: it appears when all else is there
    pq.write_table(past(first, history, seed), part)
    part.replace(out / "history.parquet")


def past(first: date, rows: int, seed: int = 7) -> pa.Table:
    """The labelled leads of the 90 days before `first`, in the order of time."""
    began = first - timedelta(days=HISTORY_DAYS)
    return _leads(np.random.default_rng([seed, 0]), np.arange(1, rows + 1), _times(began, HISTORY_DAYS, rows))


def one_day(day: date, rows: int, seed: int = 7) -> pa.Table:
    """The labelled leads of a day, in the order of time."""
    ids = int(f"{day:%Y%m%d}") * MOST_ROWS + np.arange(rows)
    return _leads(np.random.default_rng([seed, day.toordinal()]), ids, _times(day, 1, rows))


def _times(first: date, days: int, rows: int) -> Values:
    """Evenly over the days, in milliseconds: datetime64[ms]."""
    return np.datetime64(first, "ms") + (np.arange(rows) * days * 86_400_000 // rows).astype("timedelta64[ms]")


def _leads(rng: np.random.Generator, ids: Values, times: Values) -> pa.Table:
    """Labelled leads: `lead_id`, `captured_at`, x0 to x99 and y."""
    columns: dict[str, pa.Array] = {}
    log_odds = np.full(len(ids), INTERCEPT)
    for part in (_numbers, _money, _levels):
        found, effect = part(rng, len(ids))
        columns |= found
        log_odds += effect
    y = rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-log_odds))
    return pa.table(
        {
            "lead_id": pa.array(ids),
            "captured_at": pa.array(times, pa.timestamp("ms", "UTC")),
            **{name: columns[name] for name in COLUMNS},
            TARGET: pa.array(y.astype(np.int64)),
        }
    )


def _numbers(rng: np.random.Generator, n: int) -> tuple[dict[str, pa.Array], Values]:
    """The anonymous numbers, and what they add to the log-odds."""
    law = Law.draw()
    columns, effect = {}, np.zeros(n)
    for i, name in enumerate(NUMBERS):
        long_tail = law.shape[i] == 1
        standard = (rng.gamma(2.0, 1.0, n) - 2.0) / np.sqrt(2.0) if long_tail else rng.normal(0.0, 1.0, n)
        values = np.round(law.place[i] + law.unit[i] * standard, 0 if law.shape[i] == 2 else 4)
        columns[name] = pa.array(values, mask=rng.random(n) < law.nulls[i])
        effect += law.effect[i] * standard
    return columns, effect


def _money(rng: np.random.Generator, n: int) -> tuple[dict[str, pa.Array], Values]:
    """The amount and the share as people write them, and what they add to the log-odds."""
    dollars = np.minimum(np.exp(rng.normal(np.log(MEDIAN_AMOUNT), AMOUNT_SPREAD, n)), MOST_AMOUNT)
    dollars = np.round(np.where(rng.random(n) < NEGATIVE_SHARE, -dollars / 3, dollars), 2)
    percent = np.round(100 * rng.beta(2.0, 5.0, n), 2)
    brackets = rng.random(n) < 0.5
    written = [in_dollars(value, bracket) for value, bracket in zip(dollars.tolist(), brackets, strict=True)]
    columns = {AMOUNT: _text(rng, AMOUNT, written), SHARE: _text(rng, SHARE, [f"{p:.2f}%" for p in percent.tolist()])}
    effect = AMOUNT_EFFECT * (dollars - MEDIAN_AMOUNT) / MEDIAN_AMOUNT
    return columns, effect + SHARE_EFFECT * (percent - MEAN_SHARE) / SHARE_SPREAD


def in_dollars(value: float, brackets: bool = False) -> str:
    """An amount as people write it.

    >>> in_dollars(1234.56), in_dollars(-12.0), in_dollars(-12.0, brackets=True)
    ('$1,234.56', '-$12.00', '($12.00)')
    """
    text = f"${abs(value):,.2f}"
    if value >= 0:
        return text
    return f"({text})" if brackets else f"-{text}"


def _levels(rng: np.random.Generator, n: int) -> tuple[dict[str, pa.Array], Values]:
    """Weekday, month, country and gender, and what they add to the log-odds."""
    columns, effect = {}, np.zeros(n)
    for name, names in LEVELS.items():
        drawn = [names[i] for i in rng.integers(0, len(names), n)]
        effect += np.array([LEVEL_EFFECTS[name].get(level, 0.0) for level in drawn])
        if name == WEEKDAY:
            how = rng.choice(len(SPELLINGS), n, p=SPELLING_SHARES)
            drawn = [SPELLINGS[h](day) for h, day in zip(how, drawn, strict=True)]
        columns[name] = _text(rng, name, drawn)
    return columns, effect


def _text(rng: np.random.Generator, name: str, values: list[str]) -> pa.Array:
    """A column of text with its share of nulls."""
    nulls = rng.random(len(values)) < NULLS.get(name, 0.0)
    return pa.array(np.array(values, dtype=object), pa.string(), mask=nulls)


def main(arguments: list[str] | None = None) -> None:
    """The command; `--help` describes it."""
    parser = argparse.ArgumentParser(
        description="Make leads: a labelled history, daily batches, late labels.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("data/generated/leads"), help="folder to write into")
    parser.add_argument("--history", type=int, default=8_000, help="labelled leads before the start")
    parser.add_argument("--rows", type=int, default=500, help="leads per day")
    parser.add_argument("--days", type=int, default=5, help="batches, one per day")
    parser.add_argument("--start", default="2026-03-01", help="day of the first batch")
    parser.add_argument("--seed", type=int, default=7, help="another seed gives other leads")
    options = vars(parser.parse_args(arguments))
    try:
        generate(**options)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: cannot write to {options['out']}: {error}\n")
    print(f"{options['out'] / 'history.parquet'} and {options['days']} batches from {options['start']} on")


if __name__ == "__main__":
    main()
