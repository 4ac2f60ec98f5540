"""The whole story on realistic input: train, score twenty daily batches, meet two incidents, recover.

    python data/demo.py [--store store/demo]

Every run is a real Metaflow run and every file is really there. Only the calendar is set: each run is told the day
it is, so that a cool-down of a day and a half does not take one.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import ModuleType

from rich.box import SIMPLE_HEAVY
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fuseline import launch
from fuseline.batches import replay, something_to_do
from fuseline.bootstrap import Line, line
from fuseline.records import Entry, HalfOpened, Held, Labelled, Promoted, Published, Quarantined
from fuseline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PROJECT, ROWS, SEED = "bookings", 1_000, 7
FEEDBACK_DAYS = (4, 7, 10, 13, 16, 19, 20)  # labels are read every third day, and at the end
MARKS = {"pass": "[green]● pass[/]", "warn": "[yellow]▲ warn[/]", "halt": "[red]■ halt[/]"}


def generator() -> ModuleType:
    """data/generate.py as a module."""
    path = ROOT / "data" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Row:
    """One line of the table at the end."""

    day: str
    name: str
    rows: int
    verdict: str
    harm: float | None
    outcome: str


class Story:
    """Tells what happens day by day while it happens."""

    def __init__(self, settings: Settings, console: Console, progress: Progress) -> None:
        self.settings, self.console, self.progress = settings, console, progress
        self.seen = 0
        self.table: list[Row] = []

    def at(self, day: date, clock: str) -> Line:
        """The line as it stands on a day, e.g. at 06:00."""
        self.settings = replace(self.settings, now=f"{day}T{clock}:00+00:00")
        return line(PROJECT, by="operator", settings=self.settings)

    def say(self, text: str) -> None:
        """A sentence of the story."""
        self.console.print(text)

    def run(self, flow: str, here: Line) -> list[Entry]:
        """Run a flow to its end; returns what it wrote to the ledger."""
        launch.run(flow, PROJECT, self.settings)
        return self.news(here)

    def news(self, here: Line) -> list[Entry]:
        """The entries since the last call."""
        entries = list(here.ledger.entries(self.seen))
        self.seen = entries[-1].seq if entries else self.seen
        return entries

    # ── the scenes ───────────────────────────────────────────────────────────────────────────────

    def train(self, here: Line) -> None:
        """Train a version and say what the gate made of it."""
        for entry in self.run("train", here):
            if isinstance(entry.event, Promoted):
                manifest = here.models.manifest(entry.event.version)
                rows = manifest.window.rows - manifest.window.holdout
                self.say(
                    f"  [bold green]{manifest.version}[/] trained on {rows:,} rows; on {manifest.window.holdout:,} "
                    f"held-out rows AUC {manifest.metrics['auc']:.3f} ± {manifest.metrics['se']:.3f}. "
                    f"Promoted: {entry.event.reason}"
                )
            elif isinstance(entry.event, Held):
                self.say(f"  [bold red]{entry.event.version} held[/]: {'; '.join(entry.event.reasons)}")

    def infer(self, here: Line, day: str) -> None:
        """Score what waits until nothing moves, and say what became of each batch."""
        while something_to_do(here.batches, here.ledger.state(), here.project.config.breaker, self.settings.clock()):
            settled = [e for e in self.run("infer", here) if self._settled(e, day)]
            if not settled:
                break
        state = here.ledger.state()
        waiting = here.batches.waiting()
        if waiting and state.breaker.status == "open":
            self.say(f"  {', '.join(waiting)} [red]held back[/]: the breaker is open until {state.breaker.until}")
            self.table.append(Row(day, waiting[-1].split(".")[0], 0, "", None, "held back"))

    def _settled(self, entry: Entry, day: str) -> bool:
        event = entry.event
        if isinstance(event, HalfOpened):
            self.say(f"  [yellow]half-open[/]: {event.reason}; one trial batch is let through")
        if not isinstance(event, Published | Quarantined):
            return False
        assessment = event.assessment
        done = "[green]published[/]" if isinstance(event, Published) else "[red]quarantined[/]"
        mode = "" if event.mode == "champion" else f" ({event.mode})"
        harm = "" if assessment.harm is None else f" harm {assessment.harm:.3f}"
        name = event.batch.rsplit(".", 1)[0]
        why = f"\n      {assessment.sentence}" if assessment.causes else ""
        self.say(
            f"  {name}  {event.rows:,} rows  {MARKS.get(assessment.verdict, assessment.verdict)} {harm}  {done}{mode}  "
            f"[dim]{event.version}[/]{why}"
        )
        if isinstance(event, Quarantined) and event.trip is not None:
            self.say(f"  [bold red]the breaker opens[/]: nothing is published until {event.trip.until}")
        outcome = ("published" if isinstance(event, Published) else "quarantined") + mode
        self.table.append(
            Row(day, name, event.rows, assessment.verdict, assessment.harm, f"{outcome} by {event.version}")
        )
        return True

    def feedback(self, here: Line) -> None:
        """Read the labels that came, and train where they ask for it."""
        for entry in self.run("feedback", here):
            if not isinstance(entry.event, Labelled):
                continue
            measured, reference = entry.event.pooled, entry.event.reference
            if measured is None or reference is None:
                self.say(
                    f"  labels of {sum(b.rows for b in entry.event.batches):,} rows: too few of the champion's to judge"
                )
                continue
            self.say(
                f"  labels: AUC [bold]{measured.value:.3f}[/] ± {measured.se:.3f} on the newest {measured.rows:,} rows "
                f"({reference:.3f} when it was trained)"
            )
            if entry.event.verdict == "halt":
                self.say("  [bold red]the labels open the breaker[/] and ask for a new model")
                self.train(here)


def tell(store: Path, console: Console) -> Path:
    """Play the story in a fresh store; returns the page."""
    began = time.monotonic()
    shutil.rmtree(store, ignore_errors=True)
    settings = replace(Settings.read(), store=str(store), projects=ROOT / "projects", user="demo")
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        story = Story(settings, console, progress)
        bar = progress.add_task("making data", total=21)
        made = generator().generate(ROOT / "data" / "generated", rows=ROWS, days=20, seed=SEED)
        first = made.days[0].day
        sources = f"{made.history.name}, joined with {made.hotels.name}"
        story.say(f"[bold]Day 0[/]  the first model learns from the past ({sources})")
        progress.update(bar, description="training", advance=1)
        story.train(story.at(first.fromordinal(first.toordinal() - 1), "18:00"))
        for day in made.days:
            progress.update(bar, description=f"day {day.number}")
            _one_day(story, made, day)
            progress.advance(bar)
    _end(story, console, began)
    return store / PROJECT / "reports" / "index.html"


def _one_day(story: Story, made: object, day: object) -> None:
    """Morning of one day: labels that are due, then the batch of the day."""
    here = story.at(day.day, "06:00")  # type: ignore[attr-defined]
    number = day.number  # type: ignore[attr-defined]
    store = Path(story.settings.store)
    story.say(f"[bold]Day {number}[/]  [dim]{day.day}[/]" + _headline(number))  # type: ignore[attr-defined]
    for due in made.due(day.day):  # type: ignore[attr-defined]
        _deliver(due.labels, store / "labels" / PROJECT)
    if number in FEEDBACK_DAYS:
        story.feedback(here)
    _deliver(day.batch, store / "inbox" / PROJECT)  # type: ignore[attr-defined]
    story.infer(here, str(number))
    if number == 10:
        repaired = made.days[7].repaired  # type: ignore[attr-defined]
        batch = replay(here.ledger, here.batches, repaired.stem, "price_eur divided by 100 at the source", repaired)
        story.say(f"  the quarantined batch was repaired at its source; it is replayed as {batch}")
        story.infer(story.at(day.day, "09:00"), str(number))  # type: ignore[attr-defined]


def _headline(number: int) -> str:
    if number == 8:
        return "  price_eur arrives in cents"
    return "  the market begins to change: what used to say «cancelled» no longer does" if number == 10 else ""


def _deliver(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / f".{path.name}")
    (folder / f".{path.name}").rename(folder / path.name)  # whole or not at all


def _end(story: Story, console: Console, began: float) -> None:
    here = line(PROJECT, settings=story.settings)
    state = here.ledger.state()
    table = Table(
        "day",
        "batch",
        "rows",
        "verdict",
        "harm",
        "outcome",
        title="Twenty days",
        title_justify="left",
        box=SIMPLE_HEAVY,
    )
    for row in story.table:
        harm = "" if row.harm is None else f"{row.harm:.3f}"
        table.add_row(row.day, row.name, f"{row.rows:,}", MARKS.get(row.verdict, row.verdict), harm, row.outcome)
    console.print(table)
    console.print(
        f"breaker {state.breaker.status}, champion {state.champion}, "
        f"{len(state.with_status('published'))} batches published, "
        f"{len(state.with_status('quarantined'))} in quarantine, {state.seq} ledger entries, "
        f"{time.monotonic() - began:.0f} s"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=ROOT / "store" / "demo", help="a folder; it is emptied first")
    console = Console(highlight=False, soft_wrap=True)
    page = tell(parser.parse_args().store.resolve(), console)
    console.print(f"page: {page}", soft_wrap=True)


if __name__ == "__main__":
    main()
