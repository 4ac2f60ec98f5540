"""Motor claims for the project `claims`: made up, or a real file, split by time into a history and later batches.

    python data/claims.py --out data/generated/claims --rows 7691 --seed 7
    python data/claims.py --out data/generated/claims --from ../shared/data/claims.csv

Claims before the first month that begins after 70 % of them are `history.csv`, with their cost. Later ones become
`batches/<month>.csv` as they are notified, without their cost, and `labels/<month>.csv` with the claim's number and its
cost. Values are written as they came: the project cleans them. The same arguments give the same bytes.

No made-up row is of the real file: columns, levels, shares, what goes together and what changed over the years are
drawn anew from the constants below.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path

import numpy as np

Values = dict[str, np.ndarray]  # values by column, each of shape (rows,)
Shares = dict[str, np.ndarray | float | None]  # the share of each level, None for the one that takes the rest

ID, TIME, TARGET, CAPPED = "Claim Number", "date_of_loss", "Incurred", "Capped Incurred"
HISTORY = 0.70  # share of the claims that history.csv has at least
MAX_ROWS = 5_000_000
FIRST, LAST = date(2003, 4, 15), date(2015, 6, 30)  # of the losses that are made up

TYPES = (
    *("insd_pass_back", "insd_pass_front", "driver", "pass_back", "pass_front", "bike"),
    *("cyclist", "pass_multi", "pedestrian", "other", "nk"),
)
INJURIES = ("whiplash", "traumatic", "fatality", "unclear", "nk")
REGIONS = {"eastang": 0.07, "eastmid": 0.09, "london": 0.03, "north": 0.04, "northw": 0.10, "outerldn": 0.06}
REGIONS |= {"scotland": 0.03, "southe": 0.20, "southw": 0.16, "wales": 0.09, "westmid": 0.12, "yorkshire": 0.13}
COLUMNS = (
    *(ID, TIME, "Notifier", "Loss_code", "Loss_description", "Notification_period", "Inception_to_loss"),
    *("Location_of_incident", "Weather_conditions", "Vehicle_mobile", "Time_hour", "Main_driver"),
    *("PH_considered_TP_at_fault", "Vechile_registration_present", "Incident_details_present"),
    *("Injury_details_present", *(f"TP_type_{t}" for t in TYPES), *(f"TP_injury_{i}" for i in INJURIES)),
    *(f"TP_region_{r}" for r in REGIONS),
    *(TARGET, CAPPED),
)

# ── the law of made-up claims ───────────────────────────────────────────────────────────────────

YEARS = (94, 311, 231, 366, 496, 403, 424, 550, 576, 829, 1012, 1542, 857)  # claims of 2003, 2004, ..., in proportion
HOURS = (36, 2, 1, 2, 1, 5, 12, 42, 75, 47, 37, 42, 45, 48, 48, 61, 58, 68, 56, 33, 20, 12, 11, 7)  # 0 is also unknown
LOCATIONS: Shares = {"Minor Road": 0.549, "Main Road": 0.351, "Car Park": 0.029, "n/k": 0.028, "Other": 0.015}
LOCATIONS |= {"Home Address": 0.013, "Not Applicable": 0.007, "": 0.004, "Motorway": 0.004}
THIRD_PARTIES = (0.028, 0.812, 0.107, 0.034, 0.012, 0.004, 0.002, 0.001)  # claims with 0, 1, 2, ... third parties
FURTHER = {"driver": 0.18, "nk": 0.12, "pass_front": 0.27, "pass_back": 0.20, "other": 0.15, "insd_pass_back": 0.08}

# How claims were recorded changed over the years, at (year, share). Only a mobile's number goes together with the cost.
BY_POLICYHOLDER = ((2003, 0.35), (2004.8, 0.4), (2005.2, 0.05), (2007, 0.45), (2008, 0.78), (2014.2, 0.82), (2014.5, 0))
BY_OTHERS = ((2003, 0.10), (2004.8, 0.10), (2005.2, 0.07), (2007, 0.14), (2008, 0.13), (2014.2, 0.10), (2014.5, 0.0))
MAIN_DRIVER = ((2009.0, 0.01), (2009.6, 0.40), (2012.6, 0.86), (2015.0, 0.85), (2015.4, 0.65))
NOT_MAIN_DRIVER = ((2009.0, 0.0), (2010.0, 0.05), (2013.0, 0.09))
FAULT_UNKNOWN = ((2009.0, 0.96), (2010.0, 0.80), (2010.9, 0.46), (2011.1, 0.12), (2011.3, 0.0))
TYPE_UNKNOWN = ((2003, 0.85), (2011.2, 0.72), (2011.8, 0.06), (2015.4, 0.03))
WEATHER_LEFT_OUT = ((2014.7, 0.01), (2015.0, 0.10), (2015.5, 0.45))
WITH_MOBILE = ((2003, 0.43), (2011.0, 0.50), (2014.0, 0.62))
WITH_REGION = ((2003, 0.68), (2010.0, 0.58), (2015.0, 0.42))

LARGE_SHAPE = 1.15  # of the Pareto distribution of large claims: the mean exists, the variance does not
LARGE_FROM, LARGEST = 20_000.0, 2_000_000.0  # GBP
CAP = 50_000  # GBP, of the capped cost
NOTHING = 0.27  # share of claims without an injury that end without cost
RECOVERED = 0.006  # share of claims that end with a recovery, a negative amount


@dataclass(frozen=True)
class Split:
    """What was written.

    Attributes:
        cut: first day of the first batch.
        history: claims before it.
        batches: claims by month.
    """

    cut: date
    history: int
    batches: Mapping[str, int]


def generate(out: Path, *, rows: int = 7691, seed: int = 7) -> Split:
    """Make claims up, and split them. Raises ValueError for an argument out of its range."""
    if not 200 <= rows <= MAX_ROWS:
        raise ValueError(f"--rows must be from 200 to {MAX_ROWS:,}, not {rows:,}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed must be 0 or more, not {seed}")
    made = make_claims(rows, np.random.default_rng(seed))
    return split(COLUMNS, list(zip(*(made[name].tolist() for name in COLUMNS), strict=True)), out)


def prepare(file: Path, out: Path) -> Split:
    """Split a real file. Raises ValueError where it is not a file of claims; the message says what is missing."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            header, *rows = list(csv.reader(opened)) or [[]]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(f"{file} has no column {', '.join(missing)}; expected the {len(COLUMNS)} columns of claims")
    wide = next((i for i, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if wide is not None:
        raise ValueError(f"{file}, line {wide}: {len(rows[wide - 2])} values; the header has {len(header)}")
    return split(header, rows, out)


def split(header: Sequence[str], rows: Sequence[Sequence[object]], out: Path) -> Split:
    """Write history, batches and labels. Files of an earlier run that are none of this one's are removed.

    Raises:
        ValueError: a claim's number comes twice, a day cannot be read, or there is nothing after the history.
    """
    place = {name: header.index(name) for name in (ID, TIME, TARGET)}
    twice = [number for number, n in Counter(row[place[ID]] for row in rows).items() if n > 1]
    if twice:
        raise ValueError(f"the claim {twice[0]} is there more than once: expected one row for each {ID!r}")
    days = [_day(row[place[TIME]], row[place[ID]]) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: days[i])  # stable: claims of a day keep their order
    cut = _cut([days[i] for i in order])
    months: dict[str, list[Sequence[object]]] = {}
    for i in order:
        if days[i] >= cut:
            months.setdefault(f"{days[i]:%Y-%m}", []).append(rows[i])
    history = [rows[i] for i in order if days[i] < cut]
    known_first = [i for i, name in enumerate(header) if name not in (TARGET, CAPPED)]
    _write(out / "history.csv", header, history)
    for month, claims in months.items():
        _write(out / "batches" / f"{month}.csv", *_columns(header, claims, known_first))
        _write(out / "labels" / f"{month}.csv", *_columns(header, claims, [place[ID], place[TARGET]]))
    for path in (p for folder in ("batches", "labels") for p in (out / folder).glob("*.csv")):
        if path.stem not in months and re.fullmatch(r"\d{4}-\d\d", path.stem):
            path.unlink()
    return Split(cut, len(history), {month: len(claims) for month, claims in months.items()})


def _day(value: object, number: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"claim {number}: {TIME} is {value!r}; expected a day such as 2014-02-01") from error


def _cut(days: Sequence[date]) -> date:
    """The first month that begins after 70 % of the days, which are ascending."""
    last = days[min(int(HISTORY * len(days)), len(days) - 1)] if days else LAST
    cut = date(last.year + last.month // 12, last.month % 12 + 1, 1)
    if not days or days[-1] < cut:
        raise ValueError(f"{len(days):,} claims: none is later than {HISTORY:.0%} of them and in a later month")
    return cut


def _columns(
    header: Sequence[str], rows: Iterable[Sequence[object]], places: Sequence[int]
) -> tuple[list[str], list[list[object]]]:
    return [header[i] for i in places], [[row[i] for i in places] for row in rows]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


# ── making claims up ────────────────────────────────────────────────────────────────────────────


def make_claims(rows: int, rng: np.random.Generator) -> Values:
    """Claims in the order of their losses, by column; numbers are whole, text may be blank."""
    days = _losses(rows, rng)
    when = np.array([d.year + (d.timetuple().tm_yday - 1) / 366 for d in days])
    winter = np.array([d.month in (12, 1, 2) for d in days])
    made: Values = {ID: np.arange(1, rows + 1), TIME: np.array([d.isoformat() for d in days], dtype=object)}
    made |= _circumstances(when, winter, rng)
    injured = rng.random(rows) < np.where(made["Vehicle_mobile"] == "N", 0.32, 0.19)  # who is hurt gives no number
    people = rng.choice(len(THIRD_PARTIES), rows, p=np.array(THIRD_PARTIES) / sum(THIRD_PARTIES))
    people = np.where(injured & (rng.random(rows) < 0.35), people + 1, people).clip(max=7)
    made |= _types(people, when, rng) | _injuries(people, injured, when, rng) | _regions(people, when, rng)
    made["Injury_details_present"] = (rng.random(rows) < np.where(injured, 0.45, 0.16)).astype(int)
    made[TARGET] = _costs(made, rng)
    made[CAPPED] = np.minimum(made[TARGET], CAP)
    return made


def _losses(rows: int, rng: np.random.Generator) -> list[date]:
    days = [FIRST + timedelta(days=i) for i in range((LAST - FIRST).days + 1)]
    in_year = Counter(day.year for day in days)
    weight = np.array([YEARS[day.year - FIRST.year] / in_year[day.year] for day in days])
    return [days[i] for i in np.sort(rng.choice(len(days), rows, p=weight / weight.sum()))]


def _circumstances(when: np.ndarray, winter: np.ndarray, rng: np.random.Generator) -> Values:
    """Columns of text, of days and of hours."""
    n = len(when)
    left_out, snow = _at(when, WEATHER_LEFT_OUT), np.where(winter, 0.16, 0.005)
    weather: Shares = {
        "N/A": left_out,
        "N/K": 0.05,
        "SNOW,ICE,FOG": snow,
        "WET": np.where(winter, 0.30, 0.24),
        "NORMAL": None,
    }
    by_ph, by_others = _at(when, BY_POLICYHOLDER), _at(when, BY_OTHERS)
    shares: Shares = {"PH": by_ph, "CNF": 0.35 * by_others, "TP": 0.40 * by_others, "NamedDriver": 0.25 * by_others}
    unknown = _at(when, FAULT_UNKNOWN)
    fault: Shares = {"n/k": unknown, "Y": 0.03 * (1.0 - unknown), "#": 0.0004, "N": None}
    main: Shares = {"Y": _at(when, MAIN_DRIVER), "N": _at(when, NOT_MAIN_DRIVER), "Other": None}
    late = np.where(rng.random(n) < 0.2, 3.0 + np.exp(rng.normal(1.9, 1.5, n)), rng.choice(3, n, p=[0.56, 0.34, 0.10]))
    early = rng.random(n) < 0.0005  # notified before the loss: a mistyped day
    hours = np.array(HOURS) / sum(HOURS)
    return {
        "Notifier": _draw(rng, n, {**shares, "Other": None}),
        "Loss_code": np.full(n, "LD003", dtype=object),
        "Loss_description": np.full(n, "Head on collision", dtype=object),
        "Notification_period": np.where(early, -rng.integers(1, 19, n), late.clip(max=1_042)).astype(int),
        "Inception_to_loss": rng.integers(0, 366, n),
        "Location_of_incident": _draw(rng, n, LOCATIONS),
        "Weather_conditions": _draw(rng, n, weather),
        "Vehicle_mobile": _draw(rng, n, {"Y": _at(when, WITH_MOBILE), "n/k": 0.055, "": 0.003, "N": None}),
        "Time_hour": rng.choice(24, n, p=hours),
        "Main_driver": _draw(rng, n, main),
        "PH_considered_TP_at_fault": _draw(rng, n, fault),
        "Vechile_registration_present": (rng.random(n) < 0.999).astype(int),
        "Incident_details_present": (rng.random(n) < np.where(when < 2014, 0.77, 0.92)).astype(int),
    }


def _types(people: np.ndarray, when: np.ndarray, rng: np.random.Generator) -> Values:
    """How many third parties of each type there are: the first drives, or nobody knows, and the others go with them."""
    unknown = _at(when, TYPE_UNKNOWN)
    rare: Shares = {"bike": 0.007, "cyclist": 0.0006, "pedestrian": 0.0002, "other": 0.02}
    first = _draw(rng, len(people), {"nk": 0.94 * unknown, **rare, "driver": None})
    further = rng.multinomial(np.maximum(people - 1, 0), list(FURTHER.values()))
    names = list(FURTHER)
    return {
        f"TP_type_{t}": ((first == t) & (people > 0)).astype(int) + (further[:, names.index(t)] if t in FURTHER else 0)
        for t in TYPES
    }


def _injuries(people: np.ndarray, injured: np.ndarray, when: np.ndarray, rng: np.random.Generator) -> Values:
    """How many third parties have each injury; of who is not hurt it is unclear, and often not known too."""
    hurt = np.where(injured, np.maximum(people, 1), 0)
    found = rng.multinomial(hurt, [0.62, 0.17, 0.008, 0.202])
    unclear = found[:, 3] + np.where(injured, 0, people)
    not_known = rng.binomial(np.minimum(people, 3), _at(when, ((2003, 0.36), (2010, 0.48), (2014, 0.62))))
    columns = (found[:, 0], found[:, 1], found[:, 2], unclear, not_known)
    return {f"TP_injury_{name}": values for name, values in zip(INJURIES, columns, strict=True)}


def _regions(people: np.ndarray, when: np.ndarray, rng: np.random.Generator) -> Values:
    """How many third parties come from each region: all from one, or none is noted."""
    share = np.array(list(REGIONS.values()))
    where = rng.choice(len(REGIONS), len(people), p=share / share.sum())
    noted = np.where(rng.random(len(people)) < _at(when, WITH_REGION), people, 0)
    return {f"TP_region_{name}": np.where(where == i, noted, 0) for i, name in enumerate(REGIONS)}


def _costs(made: Values, rng: np.random.Generator) -> np.ndarray:
    """Whole GBP: many cost nothing, most little, few a fortune, and some end with a recovery."""
    n = len(made[ID])
    whiplash, traumatic, fatal = (made[f"TP_injury_{name}"] for name in INJURIES[:3])
    named = whiplash + traumatic + fatal
    quiet = made["Vehicle_mobile"] == "N"
    passengers = made["TP_type_pass_front"] + made["TP_type_pass_back"]
    usual = 6.95 + 2.0 * np.minimum(named, 1) + 0.3 * np.minimum(named, 4) + 0.4 * quiet + 0.25 * passengers
    usual += 0.25 * (made["Weather_conditions"] == "SNOW,ICE,FOG") - 0.15 * (made["Location_of_incident"] == "Car Park")
    costs = np.exp(usual + rng.normal(0.0, np.where(named > 0, 0.8, 1.3)))
    odds = -5.2 + 0.35 * whiplash + 1.7 * np.minimum(traumatic, 2) + 2.2 * np.minimum(fatal, 1) + 0.9 * quiet
    odds += 0.7 * passengers + 0.8 * (made["Weather_conditions"] == "N/K")
    large = rng.random(n) < 1.0 / (1.0 + np.exp(-odds))
    heavy = np.minimum(LARGE_FROM * rng.pareto(LARGE_SHAPE, n) + LARGE_FROM, LARGEST)
    heavier = np.where(traumatic + fatal > 0, 1.8, 1.0)
    costs = np.where(large, np.minimum(heavy * heavier, LARGEST), costs)
    nothing = ~large & (rng.random(n) < np.where(named > 0, 0.5 * NOTHING, NOTHING))
    back = ~large & (rng.random(n) < RECOVERED)
    amounts = np.where(back, -rng.exponential(750.0, n), np.where(nothing, 0.0, costs))
    return np.round(amounts).astype(int)


def _at(when: np.ndarray, known: Sequence[tuple[float, float]]) -> np.ndarray:
    """Shares at times, shape (rows,), between the (year, share) that are known.

    >>> _at(np.array([2000.0, 2010.5]), ((2010, 0.25), (2011, 0.75))).tolist()
    [0.25, 0.5]
    """
    years, shares = zip(*known, strict=True)
    found: np.ndarray = np.interp(when, years, shares)
    return found


def _draw(rng: np.random.Generator, n: int, shares: Shares) -> np.ndarray:
    """Levels, shape (n,), each with its share, which may differ from row to row; None takes the rest."""
    ends = list(accumulate(np.broadcast_to(1.0 if share is None else share, n) for share in shares.values()))
    drawn = rng.random(n)
    place = np.sum([end <= drawn for end in ends], axis=0)
    found: np.ndarray = np.array(list(shares), dtype=object)[np.minimum(place, len(ends) - 1)]
    return found


def main(arguments: list[str] | None = None) -> None:
    """The command; `--help` describes it."""
    parser = argparse.ArgumentParser(
        description="Motor claims, made up or of a real file: a labelled history, monthly batches, late labels.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("data/generated/claims"), help="folder to write into")
    parser.add_argument("--from", type=Path, dest="file", help="split this file of claims (None: make them up)")
    parser.add_argument("--rows", type=int, default=7691, help="claims to make up")
    parser.add_argument("--seed", type=int, default=7, help="another seed gives other claims")
    options = parser.parse_args(arguments)
    try:
        if options.file is not None:
            found = prepare(options.file, options.out)
        else:
            found = generate(options.out, rows=options.rows, seed=options.seed)
    except (ValueError, csv.Error) as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    batches = found.batches
    print(
        f"{options.out / 'history.csv'}: {found.history:,} claims before {found.cut}; "
        f"{sum(batches.values()):,} later ones in {len(batches)} batches from {min(batches)} on"
    )


if __name__ == "__main__":
    main()
