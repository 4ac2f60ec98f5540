"""The next day of the made-up bookings, delivered to the store that FUSELINE_STORE names: a world that goes on.

    python data/simulate.py [--days 1] [--labels-after 3]      # the next day, and the labels that are due on it
    python data/simulate.py --first 3                          # days 1 to 3 at once, unless they are there

Which day is next is read from the store alone: it is the first one that neither the inbox nor the ledger knows. A store
that was emptied begins again with day 1. A day has the same bytes whenever it is made, so that two who deliver it at
the same time, or one who was killed and tries again, do no harm.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path, PurePosixPath

from generate import one_day

from fuseline.bootstrap import Line, line
from fuseline.errors import FuselineError

# The world of data/generate.py with its own arguments: history.parquet and hotels.parquet are of the same one.
PROJECT, ROWS, SEED, START = "bookings", 1_000, 7, date(2026, 3, 1)


@dataclass(frozen=True)
class Known:
    """The names of the files that the store has, or once had: a day is called by its date, e.g. `2026-03-01`."""

    batches: frozenset[str]
    labels: frozenset[str]

    @property
    def newest(self) -> int:
        """The number of the last day before the first one that is missing; 0 where day 1 is."""
        return next(n for n in itertools.count() if name_of(n + 1) not in self.batches)


def name_of(number: int) -> str:
    """What a day is called; 1 is the first one.

    >>> name_of(8)
    '2026-03-08'
    """
    return (START + timedelta(days=number - 1)).isoformat()


def look(here: Line) -> Known:
    """What is in the store. Raises StoreError or LedgerError."""
    # The inbox comes first: a file leaves it only after the ledger has said what became of it, so none is missed.
    arrived = {PurePosixPath(file).stem for file in here.batches.waiting()}
    labels = {PurePosixPath(item.key).stem for item in here.store.list(labels_key(""))}
    state = here.ledger.state()
    taken = {batch.name for batch in state.batches.values()}
    read = {PurePosixPath(file).stem for file in state.labels}
    return Known(frozenset(arrived | taken), frozenset(labels | read))


def labels_key(file: str) -> str:
    """Where a file of labels arrives."""
    return f"labels/{PROJECT}/{file}"


def deliver(here: Line, known: Known, last: int, labels_after: int) -> Iterator[str]:
    """Deliver the days that are missing up to `last`, each with the labels that are due on it.

    Args:
        last: the number of the last day to deliver.
        labels_after: days until the outcome of a booking is known.

    Yields:
        A sentence for each day that was delivered.

    Raises:
        StoreError: the store did not take a file; what was delivered before stays.
    """
    missing = [n for n in range(1, last - labels_after + 1) if name_of(n) not in known.labels]
    for number in range(known.newest + 1, last + 1):
        said = f"day {number}: {ROWS:,} bookings of {name_of(number)}{_deliver_batch(here, number)}"
        # Those that an earlier run owed, because it was killed after the batch, come with the rest.
        due = [n for n in missing if n <= number - labels_after]
        missing = missing[len(due) :]
        for one in due:
            _deliver_labels(here, one)
        yield said + (f"; labels of {', '.join(map(name_of, due))}" if due else "")


def _deliver_batch(here: Line, number: int) -> str:
    """Deliver the bookings of a day; returns what is wrong with them, as part of a sentence."""
    with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
        day = one_day(Path(folder), number, rows=ROWS, start=START, seed=SEED)
        here.store.upload(here.batches.inbox_key(day.batch.name), day.batch)
        return f" ({day.incident})" if day.incident else ""


def _deliver_labels(here: Line, number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fuseline-") as folder:
        day = one_day(Path(folder), number, rows=ROWS, start=START, seed=SEED)
        here.store.upload(labels_key(day.labels.name), day.labels)


def _whole(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 3_660:
        raise argparse.ArgumentTypeError(f"must be from 1 to 3,660, not {number:,}")
    return number


def _delay(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 366:
        raise argparse.ArgumentTypeError(f"must be from 0 to 366, not {number:,}")
    return number


def main(arguments: list[str] | None = None) -> None:
    """The command; `--help` describes it."""
    parser = argparse.ArgumentParser(
        description="Deliver the next day of the made-up bookings to the store that FUSELINE_STORE names."
    )
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--days", type=_whole, default=1, metavar="N", help="so many days at once (1)")
    many.add_argument("--first", type=_whole, metavar="N", help="days 1 to N, unless the store has them")
    parser.add_argument(
        "--labels-after", type=_delay, default=3, metavar="D", help="days until the outcome of a booking is known (3)"
    )
    options = parser.parse_args(arguments)
    try:
        here = line(PROJECT)
        known = look(here)
        if options.first is not None and known.newest >= options.first:
            print(f"days 1 to {options.first} are there: nothing is delivered")
            return
        for said in deliver(here, known, options.first or known.newest + options.days, options.labels_after):
            print(said, flush=True)
    except FuselineError as error:
        parser.exit(1, f"error: {error}\n")
    except OSError as error:
        parser.exit(1, f"error: a day's files cannot be made in {tempfile.gettempdir()}: {error}\n")


if __name__ == "__main__":
    main()
