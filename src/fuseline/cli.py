"""The command line. Exit codes: 0 done, 1 error, 2 usage or settings, 3 held back by the breaker or the gate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fuseline import launch
from fuseline.bootstrap import Line, line
from fuseline.errors import FuselineError, HeldBack
from fuseline.records import Entry, Held, Published, Quarantined, jsonable
from fuseline.settings import Settings, parse_time

app = typer.Typer(
    name="fuseline",
    help="Batch machine-learning pipelines that stop themselves before they do harm.\n\n"
    "The store is FUSELINE_STORE: a folder (default ./store) or s3://bucket/prefix.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
breaker_app = typer.Typer(help="Open or close the breaker by hand; both are recorded with the reason.")
app.add_typer(breaker_app, name="breaker", no_args_is_help=True)

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
MARKS = {"pass": "[green]● pass[/]", "warn": "[yellow]▲ warn[/]", "halt": "[red]■ halt[/]"}
MARKS["inconclusive"] = "[magenta]◆ inconclusive[/]"

ProjectName = Annotated[str, typer.Argument(help="Name of a folder in projects/.", metavar="PROJECT")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; goes into the ledger with your name.")]


def main() -> None:
    """Run the command line; errors of Fuseline are printed as text, without a traceback."""
    try:
        app(standalone_mode=False)
    except FuselineError as error:
        err.print("[red]error:[/]", end=" ")
        err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted; nothing is half done: run the same command again to go on")
        sys.exit(130)
    except Exception as error:
        usage = getattr(error, "exit_code", None)  # click's usage errors print themselves
        if usage is None:
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(usage)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the project to make.")],
    source: Annotated[Path, typer.Option("--from", help="Parquet, CSV or JSON-lines file with labelled rows.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    id: Annotated[str | None, typer.Option(help="Column that names a row; labels are joined by it.")] = None,
    time: Annotated[str | None, typer.Option(help="Column that orders rows; not a feature.")] = None,
) -> None:
    """Look at a file and write a project that trains at once."""
    from fuseline.scaffold import create

    for text in create(Settings.read().projects, name, source, target, id, time):
        out.print(text, markup=False)


@app.command()
def check(project: ProjectName, as_json: AsJson = False) -> None:
    """Run train.py and predict.py on a handful of rows: length, NaN, determinism, batch equals one by one."""
    from fuseline.checkup import examine

    findings = examine(line(project))
    if as_json:
        _print_json(findings)
    for found in () if as_json else findings:
        mark = "[green]ok[/]  " if found.ok else "[red]wrong[/]"
        out.print(f"{mark} {found.what}")
        if not found.ok:
            out.print(f"      {found.fix}", markup=False)
    if not all(found.ok for found in findings):
        raise typer.Exit(1)


@app.command()
def train(
    project: ProjectName,
    if_asked: Annotated[bool, typer.Option("--if-asked", help="Only if a retrain is asked for.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a version; the gate promotes it or holds it (exit code 3)."""
    here = line(project)
    before = here.ledger.state()
    if if_asked and not _wanted(here):
        _say(as_json, {"trained": None}, f"no retrain is asked for {project}")
        return
    run = _flow("train", here)
    mine = [e for e in here.ledger.entries(before.seq) if e.by == run.by]
    state = here.ledger.state()
    version = next(e.event.version for e in mine if type(e.event).__name__ == "Registered")  # type: ignore[union-attr]
    manifest = here.models.manifest(version)
    held = next((e.event for e in mine if isinstance(e.event, Held)), None)
    document = {
        "version": version,
        "champion": state.champion,
        "metrics": dict(manifest.metrics),
        "held": list(held.reasons) if held else [],
    }
    _say(as_json, document, f"{version} trained on {manifest.window.rows - manifest.window.holdout:,} rows, "
         f"{manifest.metric.upper()} {manifest.metrics[manifest.metric]:.4f} on {manifest.window.holdout:,} held-out rows")
    if held:
        raise HeldBack(f"the gate held {version}: {'; '.join(held.reasons)}. Promote it all the same: "
                       f"fuseline promote {project} {version} --reason …")
    if not as_json:
        out.print(f"{version} is the champion of {project}")


def _wanted(here: Line) -> bool:
    """Whether a retrain is asked for and nobody is at it."""
    from datetime import datetime, timedelta

    request = here.ledger.state().retrain
    if request is None:
        return False
    if not request.run:
        return True
    patience = timedelta(hours=here.project.config.training.timeout_hours)
    return datetime.fromisoformat(here.settings.clock()) - datetime.fromisoformat(request.taken_at) > patience


@app.command()
def infer(
    project: ProjectName,
    once: Annotated[bool, typer.Option("--once", help="One run only, even if more files wait.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score the files that wait in the inbox; publish or quarantine each (exit code 3 if any is held back)."""
    here = line(project)
    state = before = here.ledger.state()
    while _something_to_do(here):
        run = _flow("infer", here)
        settled = [e for e in here.ledger.entries(state.seq) if e.by == run.by and _outcome(e)]
        state = here.ledger.state(state)
        if once or not settled:
            break
    else:
        here.predictions.reconcile(here.ledger.state())
    outcomes = [e for e in here.ledger.entries(before.seq) if _outcome(e)]
    waiting = here.batches.waiting()
    state = here.ledger.state(state)
    if as_json:
        _print_json({"settled": [_outcome(e) for e in outcomes], "waiting": waiting, "breaker": state.breaker.status})
    else:
        _print_outcomes(outcomes)
    stopped = [e for e in outcomes if isinstance(e.event, Quarantined)]
    if waiting and state.breaker.status == "open":
        raise HeldBack(f"{len(waiting)} file{'s' * (len(waiting) > 1)} wait in the inbox while the breaker is open: "
                       f"{state.breaker.reason}. {_next(state.breaker.until, project)}")
    if stopped:
        raise typer.Exit(3)
    if not outcomes and not as_json:
        out.print(f"nothing waits in inbox/{project}/")


def _something_to_do(here: Line) -> bool:
    """Whether a run could settle anything: something waits, and the breaker lets it through."""
    state = here.ledger.state()
    if not here.batches.waiting() and not state.with_status("started", "waiting"):
        return False
    if state.breaker.status != "open" or state.breaker.cooled_down(here.settings.clock()):
        return True
    return here.project.config.breaker.while_open == "fallback" and state.last_good is not None


@app.command()
def feedback(project: ProjectName, as_json: AsJson = False) -> None:
    """Read labels that came; trip the breaker and ask for a retrain where they call for it (exit code 3)."""
    here = line(project)
    before = here.ledger.state()
    if not here.feedback().waiting():
        _say(as_json, {"read": []}, f"no new labels in labels/{project}/")
        return
    run = _flow("feedback", here)
    entries = [e for e in here.ledger.entries(before.seq) if e.by == run.by]
    if as_json:
        _print_json([jsonable(e.event) for e in entries])
    else:
        _print_entries(entries)
    if here.ledger.state().breaker.status == "open" and before.breaker.status != "open":
        raise HeldBack(f"labels opened the breaker: {here.ledger.state().breaker.reason}")


@app.command()
def status(project: ProjectName, as_json: AsJson = False) -> None:
    """Champion, breaker, what waits, what is in quarantine."""
    here = line(project)
    state = here.ledger.state()
    waiting = here.batches.waiting()
    quarantine = state.with_status("quarantined")
    if as_json:
        batches = {s: len(state.with_status(s)) for s in ("published", "quarantined", "withdrawn", "dropped")}  # type: ignore[arg-type]
        _print_json({
            "project": project, "entry": state.seq, "champion": state.champion, "breaker": jsonable(state.breaker),
            "retrain": jsonable(state.retrain), "waiting": waiting, "batches": batches, "quarantine": list(quarantine),
        })
        return
    colour = {"closed": "green", "open": "red", "half_open": "yellow"}[state.breaker.status]
    out.print(f"[bold]{project}[/]  breaker [{colour}]{state.breaker.status.replace('_', '-')}[/]"
              + (f"  since {state.breaker.since}: {state.breaker.reason}" if state.breaker.since else ""))
    if state.breaker.status == "open":
        out.print(f"  {_next(state.breaker.until, project)}")
    out.print(f"  champion   {state.champion or f'none yet: fuseline train {project}'}")
    out.print(f"  published  {len(state.with_status('published'))} batches")
    out.print(f"  waiting    {len(waiting)} files{': ' + ', '.join(waiting[:5]) if waiting else ''}")
    for batch in quarantine:
        out.print(f"  [red]quarantine[/] {batch}   fuseline replay {project} {batch} --reason …")
    if state.retrain:
        out.print(f"  retrain    asked: {state.retrain.reason}")


@app.command()
def history(
    project: ProjectName,
    last: Annotated[int, typer.Option(help="So many entries, the newest.", min=1)] = 20,
    at: Annotated[str | None, typer.Option(help="What was live at this time (UTC), e.g. 2026-03-08T06:00.")] = None,
    as_json: AsJson = False,
) -> None:
    """The ledger in sentences, or what was live at a time."""
    here = line(project)
    if at is None:
        newest = here.ledger.state().seq
        entries = list(here.ledger.entries(max(0, newest - last)))
        if as_json:
            _print_json([_entry(e) for e in entries])
        else:
            _print_entries(entries)
        return
    state = here.ledger.state_at(parse_time(at, "--at"))
    published = list(state.with_status("published"))
    document = {"at": at, "entry": state.seq, "champion": state.champion, "breaker": state.breaker.status}
    _say(as_json, {**document, "published": published},
         f"at {at} (entry {state.seq}): champion {state.champion}, breaker {state.breaker.status}, "
         f"{len(published)} batches published")


@app.command()
def promote(project: ProjectName, version: str, reason: Reason, as_json: AsJson = False) -> None:
    """Make a version the champion by hand."""
    from fuseline.models import promote as make_champion

    here = line(project)
    here.models.open(version).predictor  # noqa: B018  (a version that cannot be loaded must not be promoted)
    done = make_champion(here.ledger, version, reason)
    _say(as_json, jsonable(done), f"{version} is the champion of {project} (before: {done.previous})")


@app.command()
def rollback(
    project: ProjectName,
    reason: Reason,
    version: Annotated[str | None, typer.Option(help="An earlier champion; by default the one before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Return to an earlier champion."""
    from fuseline.models import rollback as return_to

    here = line(project)
    done = return_to(here.ledger, reason, version)
    _say(as_json, jsonable(done), f"{done.version} is the champion of {project} again (before: {done.previous})")


@breaker_app.command("trip")
def trip(project: ProjectName, reason: Reason, as_json: AsJson = False) -> None:
    """Open it: nothing more is published until it is reset, or a new champion passes a trial."""
    from fuseline.records import Trip, Tripped

    here = line(project)
    policy = here.project.config.breaker
    here.ledger.append(lambda state: Tripped(reason, Trip(None, policy.trials)))
    _say(as_json, jsonable(here.ledger.state().breaker), f"the breaker of {project} is open: {reason}")


@breaker_app.command("reset")
def reset(project: ProjectName, reason: Reason, as_json: AsJson = False) -> None:
    """Close it: batches are published again."""
    from fuseline.errors import Refused
    from fuseline.records import Reset
    from fuseline.state import State

    def close(state: State) -> Reset:
        if state.breaker.status == "closed":
            raise Refused(f"the breaker of {project} is closed already")
        return Reset(reason)

    here = line(project)
    here.ledger.append(close)
    _say(as_json, jsonable(here.ledger.state().breaker), f"the breaker of {project} is closed: {reason}")


@app.command()
def replay(
    project: ProjectName,
    batch: Annotated[str, typer.Argument(help="A quarantined or withdrawn batch: its identity or its name.")],
    reason: Reason,
    repaired: Annotated[Path | None, typer.Option("--with", help="The repaired file that takes its place.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Give it up instead: it is never published.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a quarantined batch be scored again by the next `fuseline infer`, as it was or repaired."""
    from fuseline import batches
    from fuseline.errors import SettingsError

    here = line(project)
    if drop:
        identity = batches.drop(here.ledger, batch, reason)
        _say(as_json, {"dropped": identity}, f"{identity} is dropped; its files are kept")
        return
    if repaired is not None and not repaired.is_file():
        raise SettingsError(f"--with: {repaired} is not a file")
    identity = batches.replay(here.ledger, here.batches, batch, reason, repaired)
    _say(as_json, {"waiting": identity}, f"{identity} waits to be scored: fuseline infer {project}")


@app.command()
def predictions(
    project: ProjectName,
    withdraw: Annotated[str | None, typer.Option(help="Take this published batch back.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why it is withdrawn.")] = "",
    as_json: AsJson = False,
) -> None:
    """List what is published and where consumers read it, or take a batch back."""
    from fuseline.errors import SettingsError

    here = line(project)
    if withdraw is not None:
        if not reason:
            raise SettingsError("--withdraw needs a --reason")
        identity = here.predictions.withdraw(withdraw, reason)
        _say(as_json, {"withdrawn": identity}, f"{identity} is withdrawn: {reason}")
        return
    published = here.ledger.state().with_status("published")
    if as_json:
        _print_json([{"batch": k, **jsonable(b), "key": here.predictions.key(k)} for k, b in published.items()])
        return
    table = Table("batch", "rows", "version", "mode", "scored at", box=None, header_style="dim")
    for key, b in published.items():
        table.add_row(key, f"{b.rows:,}", str(b.version), b.mode, b.scored_at)
    out.print(table)
    out.print(f"{here.store.url.rstrip('/')}/{project}/predictions/", soft_wrap=True)


@app.command()
def report(project: ProjectName, as_json: AsJson = False) -> None:
    """Make the pages again from the ledger."""
    from fuseline.report import refresh

    here = line(project)
    keys = refresh(here)
    where = f"{here.store.url.rstrip('/')}/{project}/reports/index.html"
    _say(as_json, {"index": where, "written": keys}, where)


@app.command()
def doctor(project: Annotated[str | None, typer.Argument(metavar="[PROJECT]")] = None, as_json: AsJson = False) -> None:
    """Say whether the store keeps the promises, and whether a project's ledger, champion and files are whole."""
    from fuseline.doctor import examine

    findings = examine(Settings.read(), project)
    if as_json:
        _print_json(findings)
    for found in () if as_json else findings:
        out.print(f"{'[green]ok[/]   ' if found.ok else '[red]wrong[/]'} {found.what}", soft_wrap=True)
        if not found.ok:
            out.print(f"      {found.fix}", markup=False, soft_wrap=True)
    if not all(found.ok for found in findings):
        raise typer.Exit(1)


# ── printing ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Says which step runs: a spinner on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda step: None
        return
    with err.status(text) as shown:
        yield lambda step: shown.update(f"{text}: {step}")


def _flow(name: str, here: Line) -> launch.Run:
    with _spinner(f"{launch.FLOWS[name]} for {here.project.name}") as progress:
        return launch.run(name, here.project.name, here.settings, progress)


def _say(as_json: bool, document: Any, text: str) -> None:
    if as_json:
        _print_json(document)
    else:
        out.print(text, markup=False, soft_wrap=True)


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(jsonable(document), indent=2) + "\n")


def _outcome(entry: Entry) -> dict[str, Any] | None:
    match entry.event:
        case Published(batch=b, rows=n, assessment=a, version=v, mode=m):
            return {"batch": b, "rows": n, "outcome": "published", "version": v, "mode": m, **_judged(a)}
        case Quarantined(batch=b, rows=n, assessment=a, version=v, mode=m):
            return {"batch": b, "rows": n, "outcome": "quarantined", "version": v, "mode": m, **_judged(a)}
    return None


def _judged(assessment: Any) -> dict[str, Any]:
    return {"verdict": assessment.verdict, "harm": assessment.harm, "cause": assessment.sentence}


def _print_outcomes(entries: list[Entry]) -> None:
    if not entries:
        return
    table = Table("batch", "rows", "verdict", "harm", "outcome", "why", box=None, header_style="dim")
    for o in filter(None, map(_outcome, entries)):
        harm = "–" if o["harm"] is None else f"{o['harm']:.3f}"
        outcome = o["outcome"] + ("" if o["mode"] == "champion" else f" ({o['mode']})")
        table.add_row(o["batch"], f"{o['rows']:,}", MARKS[o["verdict"]], harm, outcome, o["cause"])
    out.print(table)


def _entry(entry: Entry) -> dict[str, Any]:
    from fuseline.ledger import kind_of

    return {"seq": entry.seq, "at": entry.at, "by": entry.by, "kind": kind_of(entry.event), **jsonable(entry.event)}


def _print_entries(entries: list[Entry]) -> None:
    from fuseline.narrative import sentence

    for entry in entries:
        out.print(f"[dim]{entry.seq:>6}  {entry.at}  {entry.by:<14}[/]", end=" ")
        out.print(sentence(entry), markup=False, soft_wrap=True)


def _next(until: str | None, project: str) -> str:
    if until is None:
        return f"It waits for a new champion, or: fuseline breaker reset {project} --reason …"
    return f"A trial batch is let through from {until}, or now: fuseline breaker reset {project} --reason …"


if __name__ == "__main__":
    main()
