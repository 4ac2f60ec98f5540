"""Made-up hotel bookings for the project `bookings`: a history, daily batches, late labels, and two incidents.

    python data/generate.py --out data/generated --rows 400 --days 20 --history-days 90 --start 2026-03-01 --seed 7

The same arguments give the same bytes. Each chunk of a day has a random generator of its own, made from the seed,
the date and the chunk's number: a day's rows do not depend on the days around it, and a day of any size is
written chunk by chunk in bounded memory. data/README.md describes the columns and the incidents.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_ROWS = 65_536  # rows that are made at once, and rows of a row group
HISTORY_ROWS = 10_000  # most rows per day of history, unless --history-rows says otherwise: a batch may be far larger
MAX_ROWS = 100_000_000  # most rows per day: a booking_id is the date followed by eight digits
HOTELS = 40  # hotels of the second source

# The daily life of the data. None of it changes what the columns say about cancelling, so none of it may hurt a model.
MOBILE_SHARE = 0.25  # share of bookings that come by mobile on the first day ...
MOBILE_SHARE_PER_DAY = 0.002  # ... and what it gains each day, taken from web: the harmless drift
SEASON_LEAD = 0.10  # summer bookings are made 10 % earlier than the mean, winter bookings 10 % later
SEASON_PRICE = 0.06  # and cost 6 % more or less
SEASON_LEISURE = 0.03  # and the share of leisure guests is 3 points higher or lower

# The incidents; day 1 is the first batch.
CENTS_DAY = 8  # price_eur of this day arrives in cents ...
CENTS_EVERY = 20  # ... and again after so many days: 8, 28, 48, and so on
CENTS = 100.0  # so many cents to the euro: costs a model of the history 0.3 of AUC (0.05 is harm)
MARKET_CHANGE_DAY = 10  # on this day the market begins to change
MARKET_CHANGE_DAYS = 4  # and so long it takes: a quarter of the way each day, all of it from day 13 on

# Shares of nulls by column.
NULLS = {"children": 0.02, "board": 0.05, "guest_country": 0.05, "price_eur": 0.04, "discount_share": 0.08}
NULLS |= {"special_requests": 0.03}
HOTEL_NULLS = {"chain": 0.25, "distance_km": 0.075, "rating": 0.10}

TYPICAL_LEAD = 45.0  # days from booking to arrival: mean, and spread of an exponential distribution
TYPICAL_PRICE, PRICE_SPREAD = 130.0, 55.0  # EUR per night: where the effect of the price begins, and its unit


@dataclass(frozen=True)
class Market:
    """What makes people cancel: the coefficients of the log-odds of `cancelled`, and nothing else.

    Attributes:
        intercept: keeps the share of cancellations near 30 %.
        lead: per 45 days of lead time, counted up to 180 days.
        price: per 55 EUR per night above the typical price, counted up to 400 EUR.
        non_refundable: for a deposit that is lost when one cancels, against no deposit.
        refundable: for a deposit that is paid back.
        previous: per earlier cancellation of the same guest.
        requests: per special request.
    """

    intercept: float
    lead: float
    price: float
    non_refundable: float
    refundable: float
    previous: float
    requests: float


# Today a lost deposit holds people, and who books early cancels often.
OLD_MARKET = Market(0.20, lead=0.80, price=1.0, non_refundable=-2.3, refundable=-0.5, previous=0.8, requests=-0.45)
# Then free cancellation comes for every rate: prepaid rooms are the ones that are given back, and how early one booked
# says nothing any more. The columns look as before; what they mean has turned. A model of the old market falls from
# an AUC of about 0.82 to 0.70 on day 12 and 0.61 on day 13, far beyond 0.05; one of the new market reaches 0.78.
NEW_MARKET = Market(-0.66, lead=0.0, price=1.2, non_refundable=0.9, refundable=0.4, previous=1.2, requests=-0.8)

# Effects that are the same in both markets, on the log-odds of `cancelled`. Mobile is like web: that drift is harmless.
LEVEL_EFFECTS = {
    "customer_type": {"business": -0.35, "group": 0.35},
    "channel": {"web": 0.15, "mobile": 0.15, "agency": 0.30, "phone": -0.30, "corporate": -0.60},
}
REPEAT_EFFECT = -0.7
DOMESTIC_EFFECT = -0.25
NIGHT_EFFECT = 0.06  # per night beyond three
RATING_EFFECT = -0.25  # per point of the hotel's rating above 8

# Levels and their shares.
ROOMS = {"standard": 0.58, "superior": 0.27, "family": 0.10, "suite": 0.05}
ROOM_PRICE = {"superior": 1.2, "family": 1.3, "suite": 1.7}  # the price of each against a standard room
BOARDS = {"none": 0.30, "breakfast": 0.50, "half": 0.15, "full": 0.05}
DEPOSITS = {"none": 0.52, "refundable": 0.18, "non_refundable": 0.30}
COUNTRIES = {"DE": 0.24, "FR": 0.15, "GB": 0.13, "IT": 0.11, "ES": 0.10, "NL": 0.08, "AT": 0.09, "US": 0.06, "PL": 0.04}
WEEKDAYS = {"Mon": 0.13, "Tue": 0.12, "Wed": 0.12, "Thu": 0.15, "Fri": 0.22, "Sat": 0.16, "Sun": 0.10}
CITIES = ("Berlin", "Munich", "Vienna", "Paris", "Lyon", "Rome", "Milan", "Madrid", "Amsterdam", "London")
CITY_COUNTRIES = ("DE", "DE", "AT", "FR", "FR", "IT", "IT", "ES", "NL", "GB")
CHAINS = ("Auberge", "Boreal", "Cityline", "Dorado", "Estrella")

TARGET = "status"
Values = dict[str, np.ndarray[Any, Any]]  # values by column, each of shape (rows,)
Progress = Callable[[int, int], None]  # called with the rows that are done and the rows in all


@dataclass(frozen=True)
class Day:
    """One day after the start.

    Attributes:
        day: when the bookings were made.
        number: 1 for the first day.
        batch: the bookings as they arrive, without the target.
        labels: `booking_id` and `status` of the same rows.
        labels_due: the day on which the labels are known, and are to be delivered.
        incident: what is wrong with the file of the batch, if anything is.
        repaired: the correct file, where there was an incident.
    """

    day: date
    number: int
    batch: Path
    labels: Path
    labels_due: date
    incident: str | None = None
    repaired: Path | None = None


@dataclass(frozen=True)
class Manifest:
    """The files that `generate` wrote."""

    history: Path
    hotels: Path
    days: tuple[Day, ...]

    def due(self, on: date) -> tuple[Day, ...]:
        """The days whose labels are to be delivered on this day."""
        return tuple(day for day in self.days if day.labels_due == on)


def generate(
    out: Path,
    *,
    rows: int = 400,
    days: int = 20,
    history_days: int = 90,
    history_rows: int | None = None,
    start: date | str = "2026-03-01",
    seed: int = 7,
    label_delay: int = 3,
    incidents: bool = True,
    progress: Progress | None = None,
) -> Manifest:
    """Write the history, the hotels, and one batch, one file of labels and perhaps a repaired file per day.

    Files of an earlier run in the same folder are replaced; those of days that are not asked for now are removed.

    Args:
        out: the folder to write into; made if it is absent.
        rows: bookings per day.
        days: batches, one per day from `start` on.
        history_days: days of labelled history that end before `start`.
        history_rows: bookings per day of history; by default `rows`, but 10,000 at most.
        start: the day of the first batch.
        seed: 0 or more; another seed gives other hotels and other bookings.
        label_delay: days until the outcome of a booking is known.
        incidents: False gives a clean world: no fault in any file, no change of the market.
        progress: called after each chunk.

    Raises:
        ValueError: an argument is out of its range; the message says which.
    """
    per_day = min(rows, HISTORY_ROWS) if history_rows is None else history_rows
    _check(rows=(rows, 1, MAX_ROWS), history_rows=(per_day, 1, MAX_ROWS), seed=(seed, 0, 2**63 - 1))
    _check(days=(days, 1, 3_660), history_days=(history_days, 1, 3_660), label_delay=(label_delay, 0, 366))
    first = _checked_start(start)
    done, total = 0, per_day * history_days + rows * days

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    out.mkdir(parents=True, exist_ok=True)
    hotels = make_hotels(seed)
    with _writer(out / "hotels.parquet") as write:
        write(hotels)
    world = World(seed, first, incidents, hotels)
    with _writer(out / "history.parquet") as write:
        for offset in range(-history_days, 0):
            for table in world.bookings(first + timedelta(days=offset), per_day):
                write(table)
                count(table.num_rows)
    plan = tuple(_day(out, first, number, label_delay, incidents) for number in range(1, days + 1))
    for day in plan:
        _write_day(day, world, rows, count)
    manifest = Manifest(out / "history.parquet", out / "hotels.parquet", plan)
    _remove_older(out, manifest)
    _write_manifest(out, manifest)
    return manifest


def one_day(
    out: Path,
    number: int,
    *,
    rows: int = 400,
    start: date | str = "2026-03-01",
    seed: int = 7,
    label_delay: int = 3,
    incidents: bool = True,
) -> Day:
    """Write the files of one day: the same bytes that `generate` writes for it, and no other day is made.

    Args:
        out: the folder to write into; made if it is absent.
        number: 1 for the day of the first batch.
        rows, start, seed, label_delay, incidents: as in `generate`.

    Raises:
        ValueError: an argument is out of its range; the message says which.
    """
    _check(number=(number, 1, 1_000_000), rows=(rows, 1, MAX_ROWS), seed=(seed, 0, 2**63 - 1))
    _check(label_delay=(label_delay, 0, 366))
    first = _checked_start(start)
    day = _day(out, first, number, label_delay, incidents)
    _write_day(day, World(seed, first, incidents, make_hotels(seed)), rows, lambda more: None)
    return day


@dataclass(frozen=True)
class World:
    """The law that bookings follow: everything that a row depends on, besides its date and its place in the day."""

    seed: int
    start: date
    incidents: bool
    hotels: pa.Table

    def market(self, day: date) -> Market:
        """The market of a day: the old one, the new one, or a mixture on the way."""
        share = market_share(day, self.start) if self.incidents else 0.0
        pairs = zip(dataclasses.astuple(OLD_MARKET), dataclasses.astuple(NEW_MARKET), strict=True)
        return Market(*(old + share * (new - old) for old, new in pairs))

    def bookings(self, day: date, rows: int) -> Iterator[pa.Table]:
        """The true bookings of a day with their outcome, in the order of time, in chunks of at most 65,536 rows."""
        for chunk, begin in enumerate(range(0, rows, CHUNK_ROWS)):
            seeds = np.random.SeedSequence([self.seed, day.toordinal(), chunk])
            yield self._chunk(np.random.default_rng(seeds), day, begin, min(begin + CHUNK_ROWS, rows), rows)

    def _chunk(self, rng: np.random.Generator, day: date, begin: int, end: int, rows: int) -> pa.Table:
        n = end - begin
        place = rng.integers(0, HOTELS, n)
        hotel = {name: self.hotels[name].to_numpy()[place] for name in ("hotel_id", "country", "stars")}
        hotel["rating"] = self.hotels["rating"].fill_null(8.0).to_numpy()[place]
        columns = draw_bookings(rng, n, hotel, day, (day - self.start).days)
        chance = 1 / (1 + np.exp(-log_odds(columns, hotel, self.market(day))))
        columns[TARGET] = np.where(rng.random(n) < chance, "cancelled", "kept").astype(object)
        seconds = np.sort((begin + rng.random(n) * n) / rows * 86_400).astype("timedelta64[s]")  # this part of the day
        keys = {
            "booking_id": int(f"{day:%Y%m%d}") * MAX_ROWS + np.arange(begin, end),
            "booked_at": (np.datetime64(day, "s") + seconds).astype("datetime64[us]"),
            "hotel_id": hotel["hotel_id"],
        }
        nulls = {name: rng.random(n) < share for name, share in NULLS.items()}
        return _table(keys | columns, nulls)


def draw_bookings(rng: np.random.Generator, n: int, hotel: Values, day: date, days_since_start: int) -> Values:
    """What guests book, before anything gets lost: columns of shape (n,).

    `hotel` holds country and stars of the hotel of each booking; the day decides the season, and the days since
    the start (negative in the history) the share of mobile.
    """
    season = -float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 15) / 365.25))  # -1 in January, +1 in July
    leisure = 0.58 + SEASON_LEISURE * season
    mobile = min(max(MOBILE_SHARE + MOBILE_SHARE_PER_DAY * days_since_start, 0.02), 0.60)
    customer = _draw(rng, n, {"leisure": leisure, "business": 0.90 - leisure, "group": 0.10})
    web_and_others = {"web": 0.65 - mobile, "mobile": mobile, "agency": 0.20, "phone": 0.08, "corporate": 0.07}
    room = _draw(rng, n, ROOMS)
    discount = np.round(rng.beta(1.2, 9.0, n), 3)
    room_factor = np.select([room == name for name in ROOM_PRICE], list(ROOM_PRICE.values()), 1.0)
    usual_price = (28 + 27 * hotel["stars"]) * room_factor * (1 + SEASON_PRICE * season)
    business = customer == "business"
    lead = rng.exponential(TYPICAL_LEAD * (1 + SEASON_LEAD * season), n)
    return {
        "lead_days": np.minimum(lead, 365.0).astype(np.int64),
        "arrival_weekday": _draw(rng, n, WEEKDAYS),
        "nights": 1 + np.minimum(rng.poisson(np.where(business, 0.9, 2.3)), 20),
        "adults": 1 + (rng.random(n) < np.where(business, 0.2, 0.8)) + (rng.random(n) < 0.08),
        "children": np.where(customer == "leisure", rng.poisson(0.35, n), 0),
        "room_type": room,
        "board": _draw(rng, n, BOARDS),
        "channel": _draw(rng, n, web_and_others),
        "customer_type": customer,
        "guest_country": np.where(rng.random(n) < 0.30, hotel["country"], _draw(rng, n, COUNTRIES)),
        "deposit": _draw(rng, n, DEPOSITS),
        "price_eur": np.round(usual_price * np.exp(rng.normal(0.0, 0.27, n)) * (1 - discount), 2),
        "discount_share": discount,
        "special_requests": rng.poisson(0.6, n),
        "previous_cancellations": rng.poisson(0.15, n),
        "repeat_guest": rng.random(n) < np.where(business, 0.25, 0.08),
    }


def log_odds(booking: Values, hotel: Values, market: Market) -> np.ndarray[Any, Any]:
    """The log-odds of `cancelled`, shape (rows,): all that the columns can tell about it."""
    total: np.ndarray[Any, Any] = (
        market.intercept
        + market.lead * (np.minimum(booking["lead_days"], 180) - TYPICAL_LEAD) / TYPICAL_LEAD
        + market.price * (np.minimum(booking["price_eur"], 400.0) - TYPICAL_PRICE) / PRICE_SPREAD
        + market.non_refundable * (booking["deposit"] == "non_refundable")
        + market.refundable * (booking["deposit"] == "refundable")
        + market.previous * booking["previous_cancellations"]
        + market.requests * booking["special_requests"]
        + REPEAT_EFFECT * booking["repeat_guest"]
        + DOMESTIC_EFFECT * (booking["guest_country"] == hotel["country"])
        + NIGHT_EFFECT * (booking["nights"] - 3)
        + RATING_EFFECT * (hotel["rating"] - 8.0)
    )
    for column, effects in LEVEL_EFFECTS.items():
        for level, effect in effects.items():
            total += effect * (booking[column] == level)
    return total


def market_share(day: date, start: date) -> float:
    """How far the market has changed on a day: 0.0 before day 10, then a quarter more each day up to 1.0.

    >>> [market_share(date(2026, 3, d), date(2026, 3, 1)) for d in (9, 10, 12, 14, 20)]
    [0.0, 0.2, 0.6, 1.0, 1.0]
    """
    number = (day - start).days + 1
    return min(max((number - MARKET_CHANGE_DAY + 1) / MARKET_CHANGE_DAYS, 0.0), 1.0)


def make_hotels(seed: int) -> pa.Table:
    """The second source: 40 hotels, joined to bookings by `hotel_id`."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    city = rng.permutation(np.arange(HOTELS) % len(CITIES))
    stars = rng.choice([2, 3, 4, 5], HOTELS, p=[0.15, 0.40, 0.35, 0.10])
    # So many of each, at random places: a share of 40 draws would come out as none now and then.
    nulls = {
        name: np.isin(np.arange(HOTELS), rng.permutation(HOTELS)[: round(share * HOTELS)])
        for name, share in HOTEL_NULLS.items()
    }
    columns = {
        "hotel_id": _names(f"H{i:02d}" for i in range(1, HOTELS + 1)),
        "city": _names(CITIES)[city],
        "country": _names(CITY_COUNTRIES)[city],
        "stars": stars,
        "rooms": rng.integers(20, 320, HOTELS),
        "chain": rng.choice(_names(CHAINS), HOTELS),
        "distance_km": np.round(rng.gamma(2.0, 1.3, HOTELS), 1),
        "rating": np.round(np.clip(6.4 + 0.4 * stars + rng.normal(0, 0.5, HOTELS), 5, 10), 1),
    }
    return _table(columns, nulls)


def in_cents(batch: pa.Table) -> pa.Table:
    """The incident of day 8, and of each twentieth day after it: the same bookings with `price_eur` in cents."""
    place = batch.schema.get_field_index("price_eur")
    euros = batch["price_eur"].combine_chunks()
    cents = np.round(euros.to_numpy(zero_copy_only=False) * CENTS)
    return batch.set_column(place, "price_eur", pa.array(cents, mask=np.isnan(cents)))


def _table(columns: Values, nulls: Values) -> pa.Table:
    def column(name: str, values: np.ndarray[Any, Any]) -> pa.Array:
        kind = pa.string() if values.dtype == object else None  # a column of nulls only must stay text
        return pa.array(values, kind, mask=nulls.get(name))

    return pa.table({name: column(name, values) for name, values in columns.items()})


def _draw(rng: np.random.Generator, n: int, shares: dict[str, float]) -> np.ndarray[Any, Any]:
    """Levels, shape (n,), drawn with these shares."""
    ends = np.cumsum(list(shares.values()))
    places = np.searchsorted(ends / ends[-1], rng.random(n), side="right")
    return _names(shares)[np.minimum(places, len(ends) - 1)]


def _names(levels: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.array(list(levels), dtype=object)


def _day(out: Path, first: date, number: int, label_delay: int, incidents: bool) -> Day:
    day = first + timedelta(days=number - 1)
    file = f"{day.isoformat()}.parquet"
    faulty = incidents and number % CENTS_EVERY == CENTS_DAY
    due, incident = day + timedelta(days=label_delay), "price_eur arrives in cents" if faulty else None
    repaired = out / "repaired" / file if faulty else None
    return Day(day, number, out / "batches" / file, out / "labels" / file, due, incident, repaired)


def _write_day(day: Day, world: World, rows: int, count: Callable[[int], None]) -> None:
    with ExitStack() as stack:
        write_batch, write_labels = stack.enter_context(_writer(day.batch)), stack.enter_context(_writer(day.labels))
        write_repaired = stack.enter_context(_writer(day.repaired)) if day.repaired else None
        for table in world.bookings(day.day, rows):
            batch = table.drop_columns([TARGET])
            write_batch(in_cents(batch) if write_repaired else batch)
            write_labels(table.select(["booking_id", TARGET]))
            if write_repaired:
                write_repaired(batch)
            count(table.num_rows)


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Gives a function that appends tables to a Parquet file; the file appears when all of it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    files: list[pq.ParquetWriter] = []  # opened by the first table, which brings the schema
    waiting: list[pa.Table] = []  # days of history are small: they are gathered into full row groups

    def append(table: pa.Table) -> None:
        if not files:
            files.append(stack.enter_context(pq.ParquetWriter(part, table.schema, compression="zstd")))
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= CHUNK_ROWS:
            whole = pa.concat_tables(waiting)
            files[0].write_table(whole.slice(0, CHUNK_ROWS))
            waiting[:] = [whole.slice(CHUNK_ROWS)] if whole.num_rows > CHUNK_ROWS else []

    try:
        with ExitStack() as stack:
            yield append
            if waiting:
                files[0].write_table(pa.concat_tables(waiting))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_manifest(out: Path, manifest: Manifest) -> None:
    def plain(value: Any) -> str:
        return value.relative_to(out).as_posix() if isinstance(value, Path) else value.isoformat()

    (out / "manifest.json").write_text(json.dumps(dataclasses.asdict(manifest), indent=2, default=plain) + "\n")


def _remove_older(out: Path, manifest: Manifest) -> None:
    """A day that an earlier run left would be taken for one of this run."""
    written = {path for day in manifest.days for path in (day.batch, day.labels, day.repaired)}
    for folder in ("batches", "labels", "repaired"):
        for path in (out / folder).glob("*.parquet"):
            if path not in written and re.fullmatch(r"\d{4}-\d\d-\d\d", path.stem):
                path.unlink()


def _checked_start(start: date | str) -> date:
    try:
        first = date.fromisoformat(start) if isinstance(start, str) else start
    except ValueError as error:
        raise ValueError(f"--start must be a day such as 2026-03-01, not {start!r}") from error
    if 1990 <= first.year <= 2100:
        return first
    raise ValueError(f"--start must be from 1990 to 2100, not {first.isoformat()}")


def _check(**ranges: tuple[int, int, int]) -> None:
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise ValueError(f"--{name.replace('_', '-')} must be from {low:,} to {high:,}, not {value:,}")


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A progress bar on a terminal, else a line every few seconds; nothing for what is done within a second."""
    began = last = time.monotonic()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("bookings", visible=False, total=None)
            yield lambda n, of: bar.update(task, completed=n, total=of, visible=time.monotonic() - began > 1)
        return

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - began > 1 and now - last > 3:
            last = now
            print(f"{done:,} of {total:,} bookings", file=sys.stderr, flush=True)

    yield line


def main(arguments: list[str] | None = None) -> None:
    """The command; `--help` describes it."""
    parser = argparse.ArgumentParser(
        description="Make hotel bookings: a labelled history, daily batches, late labels, two incidents.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("data/generated"), help="folder to write into")
    parser.add_argument("--rows", type=int, default=400, help="bookings per day")
    parser.add_argument("--days", type=int, default=20, help="batches, one per day")
    parser.add_argument("--history-days", type=int, default=90, help="days of labelled history before the start")
    parser.add_argument("--history-rows", type=int, help="bookings per day of history (None: --rows, at most 10,000)")
    parser.add_argument("--start", default="2026-03-01", help="day of the first batch")
    parser.add_argument("--seed", type=int, default=7, help="another seed gives other data")
    parser.add_argument("--label-delay", type=int, default=3, help="days until the outcome of a booking is known")
    parser.add_argument("--no-incidents", action="store_true", help="no fault in any file, no change of the market")
    options = vars(parser.parse_args(arguments))
    incidents = not options.pop("no_incidents")
    try:
        with show_progress() as progress:
            manifest = generate(**options, incidents=incidents, progress=progress)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: cannot write to {options['out']}: {error}\n")
    print(f"{manifest.history}, {manifest.hotels} and {len(manifest.days)} batches from {manifest.days[0].day} on")


if __name__ == "__main__":
    main()
