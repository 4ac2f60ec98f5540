"""The command line. Exit codes: 0 done, 1 error, 2 usage or settings, 3 held back by the breaker or the gate."""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from fuseline import console, launch, runs
from fuseline.bootstrap import Line, line
from fuseline.errors import FuselineError, HeldBack, Refused, SettingsError
from fuseline.narrative import count, metrics_said
from fuseline.records import AlertTried, Held, Labelled, Registered, jsonable
from fuseline.revision import revision
from fuseline.serving import commands
from fuseline.settings import Settings, parse_time
from fuseline.state import BatchStatus, State

INTERRUPTED = 130
app = typer.Typer(
    name="fuseline",
    help="Batch machine-learning pipelines that stop themselves before they do harm.\n\n"
    "FUSELINE_STORE names the store: a folder (default ./store) or s3://bucket/prefix. "
    "FUSELINE_PROJECTS names the folder of projects (default ./projects).",
    epilog="A start: [bold]fuseline new bank --from bank.parquet --target subscribed[/], then check, train, infer.\n\n"
    "Exit codes: 0 done, 1 error, 2 usage or settings, 3 held back by the breaker or the gate, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
breaker_app = typer.Typer(help="Open or close the breaker by hand; both are recorded with the reason.")
app.add_typer(breaker_app, name="breaker", no_args_is_help=True)

ProjectName = Annotated[str, typer.Argument(help="Name of a folder in projects/.", metavar="PROJECT")]
VersionName = Annotated[str, typer.Argument(help="A version, e.g. v0007.", metavar="VERSION")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; goes into the ledger with your name.")]


def main() -> None:
    """Run the command line; errors of Fuseline are printed as text, without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stop is an interrupt: the flow ends its tasks first
    try:
        app(prog_name="fuseline")
    except FuselineError as error:
        console.complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            console.err.print("interrupted; nothing is half done: run the same command again to go on")
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        console.line(f"fuseline {revision()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _example(text: str) -> str:
    return f"Example: [bold]fuseline {text}[/]"


# ── projects ────────────────────────────────────────────────────────────────────────────────────


@app.command(epilog=_example("new bank --from data/bank.parquet --target subscribed --time called_at"))
def new(
    name: Annotated[str, typer.Argument(help="Name of the project to make.", metavar="NAME")],
    source: Annotated[Path, typer.Option("--from", help="Parquet, CSV or JSON-lines file with labelled rows.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    id: Annotated[str | None, typer.Option(help="Column that names a row; labels are joined by it.")] = None,
    time: Annotated[str | None, typer.Option(help="Column that orders rows; not a feature.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a file and write a project that trains at once."""
    from fuseline.scaffold import create

    projects = Settings.read().projects
    told = create(projects, name, source, target, id, time)
    _say(as_json, {"project": name, "folder": str(projects / name), "told": told}, *told)


@app.command(epilog=_example("check bank"))
def check(project: ProjectName, as_json: AsJson = False) -> None:
    """Run train.py and predict.py on a handful of rows.

    Looks at lengths, NaN, whether the same rows get the same scores twice, and whether a row alone gets the score
    that it gets among others. Exit code 1 if anything is wrong.
    """
    from fuseline.checkup import examine

    _findings(as_json, examine(line(project)))


@app.command(epilog=_example("doctor bank"))
def doctor(
    project: Annotated[str | None, typer.Argument(help="Look at this project too.", metavar="[PROJECT]")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the store keeps its promises and a project's ledger, champion and files are whole.

    Reads every byte of the champion and of the published predictions. Exit code 1 if anything is wrong.
    """
    from fuseline.doctor import examine

    _findings(as_json, examine(Settings.read(), project))


# ── flows ───────────────────────────────────────────────────────────────────────────────────────


@app.command(epilog=_example("train bank"))
def train(
    project: ProjectName,
    if_asked: Annotated[bool, typer.Option("--if-asked", help="Only if a retrain is asked for.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a version; the gate promotes it or holds it (exit code 3)."""
    here = line(project)
    with _working("train", here) as progress:
        entries = runs.train(here, progress, if_asked)
    if not entries:
        champion = here.ledger.state().champion
        nothing: dict[str, Any] = {"version": None, "champion": champion, "metrics": {}, "held": []}
        _say(as_json, nothing, f"no retrain of {project} is asked for")
        return
    events = [e.event for e in entries]
    manifest = here.models.manifest(next(e.version for e in events if isinstance(e, Registered)))
    version, window = manifest.version, manifest.window
    reasons = [reason for e in events if isinstance(e, Held) for reason in e.reasons]
    champion = here.ledger.state().champion
    document = {"version": version, "champion": champion, "metrics": dict(manifest.metrics), "held": reasons}
    said = f"{version} was trained on {count(window.rows - window.holdout, 'row')}: "
    said += f"{metrics_said(manifest.metrics.items())} on {count(window.holdout, 'held-out row')}"
    _say(as_json, document, said, *([] if reasons else [f"{version} is the champion of {project}"]))
    if reasons:
        raise HeldBack(
            f"the gate held {version}: {'; '.join(reasons)}. Promote it all the same: "
            f"fuseline promote {project} {version} --reason …"
        )


@app.command(epilog=_example("infer bank"))
def infer(
    project: ProjectName,
    once: Annotated[bool, typer.Option("--once", help="One run only, even if more files wait.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score the files that wait in the inbox; publish or quarantine each (exit code 3 if any is held back).

    Files arrive in inbox/PROJECT/ of the store, as .parquet, .csv or .jsonl.
    """
    here = line(project)
    with _working("infer", here) as progress:
        outcomes = [o for entry in runs.infer(here, progress, once) if (o := console.outcome(entry))]
    state = here.ledger.state()
    waiting = _waiting(here, state)
    if as_json:
        console.document({"settled": outcomes, "waiting": waiting, "breaker": state.breaker.status})
    elif outcomes:
        console.outcomes(outcomes)
    elif not waiting:
        console.line(f"nothing waits in inbox/{project}/")
    if waiting and state.breaker.status == "open":
        raise HeldBack(
            f"the breaker is open and holds back {console.listed(waiting)}\n"
            f"Why: {state.breaker.reason}\n{_next(state, project)}"
        )
    if waiting and not outcomes:
        console.err.print(f"none was settled, another run may be at work on them: {console.listed(waiting)}")
    if any(o["outcome"] == "quarantined" for o in outcomes):
        raise typer.Exit(HeldBack.exit_code)


@app.command(epilog=_example("feedback bank"))
def feedback(project: ProjectName, as_json: AsJson = False) -> None:
    """Read labels that came; trip the breaker and ask for a retrain where they call for it (exit code 3).

    Files arrive in labels/PROJECT/ of the store, with the id column and the target.
    """
    here = line(project)
    with _working("feedback", here) as progress:
        entries = runs.feedback(here, progress)
    state = here.ledger.state()
    if as_json:
        console.document({"entries": list(map(console.entry, entries)), "breaker": state.breaker.status})
    elif entries:
        console.entries(entries)
    else:
        console.line(f"no new labels in labels/{project}/")
    if any(isinstance(e.event, Labelled) and e.event.trip for e in entries):
        raise HeldBack(f"labels opened the breaker: {state.breaker.reason}\n{_next(state, project)}")


@app.command(epilog=_example("alert bank --now"))
def alert(
    project: ProjectName,
    now: Annotated[bool, typer.Option("--now", help="Try what did not arrive again at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send the alerts that are owed, and say if a batch is overdue (exit code 1 if one cannot be sent).

    For a schedule: every run sends what it has to say by itself, and this tries again what did not arrive, after a
    minute, then two, four and so on. FUSELINE_ALERTS names who is told, with spaces between: arn:aws:sns:… or any
    address that apprise knows, e.g. slack://… or json://….
    """
    from fuseline.channels import findings

    here = line(project)
    wrong = [one.fix for one in findings(here.settings.alerts) if not one.ok]
    entries = runs.tell(here, at_once=now)
    missing = [owed for owed in here.ledger.state().alerts.values() if owed.failed]
    tried = [e.event for e in entries if isinstance(e.event, AlertTried)]
    if as_json:
        console.document([console.entry(e) for e in entries])
    elif entries:
        console.entries(entries)
    elif missing:
        said = f"{count(len(missing), 'alert')} did not arrive yet; the next try is at"
        next_try = console.seconds(min(owed.next_try for owed in missing))
        console.line(f"{said} {next_try} UTC, or now: fuseline alert {project} --now")
    else:
        console.line(f"nobody is to be told anything of {project}")
    for why in wrong:
        console.complain(why)
    if wrong or any(one.failed for one in tried):
        raise typer.Exit(1)


@app.command(epilog=_example("watch"))
def watch(
    again: Annotated[
        int,
        typer.Option(help="Seconds until a message comes again whose run failed or was killed.", min=5, max=43_200),
    ] = 120,
) -> None:
    """Infer as soon as a file lands: take S3's messages from the queue that FUSELINE_QUEUE names.

    Goes on until Ctrl-C or SIGTERM, which let the run at hand end; a second one interrupts it. Any number of watchers
    and schedules may be at work at the same time: a batch is published once.
    """
    from fuseline.queues import SqsQueue
    from fuseline.watch import Intake, Watch

    settings = Settings.read()
    Watch(Intake(settings, console.line), SqsQueue(settings.queue, again)).run()


# ── serving ─────────────────────────────────────────────────────────────────────────────────────

app.command("serve", epilog=_example("serve bank --port 8000"))(commands.serve)
app.command("try", epilog=_example("try model.py --input '{\"age\": 41}'"))(commands.try_)
app.command("key", epilog=_example("key shop"))(commands.key)


# ── reading the ledger ──────────────────────────────────────────────────────────────────────────


@app.command(epilog=_example("status bank"))
def status(project: ProjectName, as_json: AsJson = False) -> None:
    """Champion, breaker, what waits, what is in quarantine."""
    here = line(project)
    state = here.ledger.state()
    waiting = _waiting(here, state)
    if not as_json:
        console.status(project, state, waiting, _next(state, project))
        return
    ends: tuple[BatchStatus, ...] = ("published", "quarantined", "withdrawn", "dropped")
    batches = {end: list(state.with_status(end)) for end in ends}
    document = {"project": project, "entry": state.seq, "champion": state.champion, "breaker": state.breaker}
    document |= {"retrain": state.retrain, "waiting": waiting, "quarantine": batches["quarantined"]}
    console.document({**document, "batches": {end: len(found) for end, found in batches.items()}})


@app.command(epilog=_example("history bank --at 2026-03-08T06:00"))
def history(
    project: ProjectName,
    last: Annotated[int, typer.Option(help="So many entries, the newest.", min=1)] = 20,
    at: Annotated[str | None, typer.Option(help="What was live at this time (UTC), e.g. 2026-03-08T06:00.")] = None,
    as_json: AsJson = False,
) -> None:
    """The ledger in sentences, or what was live at a time."""
    here = line(project)
    if at is not None:
        state = here.ledger.state_at(parse_time(at, "--at"))
        published = list(state.with_status("published"))
        facts = {"at": at, "entry": state.seq, "champion": state.champion, "breaker": state.breaker.status}
        champion = f"champion {state.champion}" if state.champion else "no champion"
        said = f"at {at} (entry {state.seq}): {champion}, breaker {state.breaker.status.replace('_', '-')}, "
        _say(as_json, {**facts, "published": published}, f"{said}{count(len(published), 'batch')} published")
        return
    entries = list(here.ledger.entries(max(0, here.ledger.state().seq - last)))
    if as_json:
        console.document([console.entry(e) for e in entries])
    elif entries:
        console.entries(entries)
    else:
        console.line(f"the ledger of {project} is empty")


@app.command(epilog=_example("predictions bank --withdraw 2026-03-08 --reason 'prices were in cents'"))
def predictions(
    project: ProjectName,
    withdraw: Annotated[str | None, typer.Option(help="Take this published batch back.", metavar="BATCH")] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why it is withdrawn.")] = "",
    as_json: AsJson = False,
) -> None:
    """List what is published and where consumers read it, or take a batch back."""
    here = line(project)
    if withdraw is not None:
        if not reason:
            raise SettingsError("--withdraw needs a --reason: it goes into the ledger with your name")
        identity = here.predictions.withdraw(withdraw, reason)
        _say(as_json, {"withdrawn": identity}, f"{identity} is withdrawn: {reason}")
        return
    published = here.ledger.state().with_status("published")
    if as_json:
        console.document(
            [{"batch": k, "key": here.predictions.key(k, b.seq), **jsonable(b)} for k, b in published.items()]
        )
        return
    if published:
        rows = [[k, f"{b.rows:,}", b.version or "", b.mode, console.seconds(b.scored_at)] for k, b in published.items()]
        console.table(["batch", "rows", "version", "mode", "scored at (UTC)"], rows)
    else:
        console.line(f"nothing is published for {project}")
    console.line(f"{here.store.url.rstrip('/')}/{project}/predictions/")


@app.command(epilog=_example("backtest bank --tolerance 0.01,0.02,0.05 --last 30"))
def backtest(
    project: ProjectName,
    tolerance: Annotated[str, typer.Option(help="Losses to compare; else project.toml's.", metavar="LOSS,…")] = "",
    last: Annotated[int | None, typer.Option(help="So many batches, the newest.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """How often the breaker would have tripped on past batches, as it is set now.

    Every batch is scored again by its version, and judged by project.toml as it
    is now; labels confirm or contradict a trip, and condemn what was missed.
    Nothing is written. Each batch is judged alone, as if the breaker had been
    closed: trials, cool-downs and fallbacks are not played again.
    """
    from rich.progress import track

    from fuseline.backtest import said, summarise, tolerances

    asked, test = tolerances(tolerance) if tolerance else (), line(project).backtest()
    past, quiet = test.past(last), not console.err.is_terminal
    batches = track(past, f"backtest of {project}", console=console.err, transient=True, disable=quiet)
    with redirect_stdout(sys.stderr):  # what the project's code prints is no part of the answer
        tried = [test.judge(one, asked) for one in batches]
    summaries = summarise(tried)
    sentence = said(summaries, sum(not t.now for t in tried))
    if not as_json and tried:
        console.backtested(tried, summaries)
    _say(as_json, {"batches": tried, "summary": summaries, "said": sentence}, sentence)


@app.command(epilog=_example("dashboard --port 8080"))
def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65_535)] = 8080,
) -> None:
    """Serve the pages of all projects live until Ctrl-C; with /metrics for Prometheus, and /healthz and /readyz."""
    from fuseline.dashboard import serve

    serve(Settings.read(), host, port, lambda url: console.line(f"the pages are at {url}; Ctrl-C ends it"))


# ── decisions of people ─────────────────────────────────────────────────────────────────────────


@app.command(epilog=_example("promote bank v0007 --reason 'the margin is noise, agreed with Eva'"))
def promote(project: ProjectName, version: VersionName, reason: Reason, as_json: AsJson = False) -> None:
    """Make a version the champion by hand, even one that the gate held."""
    from fuseline.models import promote as make_champion

    here = line(project)
    _must_load(here, version)
    done = make_champion(here.ledger, version, reason)
    _say(as_json, done, f"{version} is the champion of {project} (before: {done.previous or 'none'})")


@app.command(epilog=_example("rollback bank --reason 'v0007 prices lofts wrongly'"))
def rollback(
    project: ProjectName,
    reason: Reason,
    version: Annotated[str | None, typer.Option(help="An earlier champion; by default the one before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Return to an earlier champion."""
    from fuseline.models import rollback as return_to

    here = line(project)
    target = version or here.ledger.state().last_good
    if target is not None:
        _must_load(here, target)
    done = return_to(here.ledger, reason, target)
    _say(as_json, done, f"{done.version} is the champion of {project} again (before: {done.previous})")


@breaker_app.command("trip", epilog=_example("breaker trip bank --reason 'the source sends cents'"))
def trip(project: ProjectName, reason: Reason, as_json: AsJson = False) -> None:
    """Open it: nothing more is published until it is reset, or a new champion passes a trial."""
    from fuseline.records import Trip, Tripped

    here = line(project)
    policy = here.project.config.breaker
    here.ledger.append(lambda state: Tripped(reason, Trip(None, policy.trials)))
    runs.tell(here)
    _say(as_json, here.ledger.state().breaker, f"the breaker of {project} is open: {reason}")


@breaker_app.command("reset", epilog=_example("breaker reset bank --reason 'the source is mended'"))
def reset(project: ProjectName, reason: Reason, as_json: AsJson = False) -> None:
    """Close it: batches are published again."""
    from fuseline.records import Reset

    def close(state: State) -> Reset:
        if state.breaker.status == "closed":
            raise Refused(f"the breaker of {project} is closed already")
        return Reset(reason)

    here = line(project)
    here.ledger.append(close)
    runs.tell(here)
    _say(as_json, here.ledger.state().breaker, f"the breaker of {project} is closed: {reason}")


@app.command(epilog=_example("replay bank 2026-03-08 --with mended.parquet --reason 'prices in euros again'"))
def replay(
    project: ProjectName,
    batch: Annotated[
        str, typer.Argument(help="A quarantined or withdrawn batch: its identity or its name.", metavar="BATCH")
    ],
    reason: Reason,
    repaired: Annotated[Path | None, typer.Option("--with", help="The repaired file that takes its place.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Give it up instead: it is never published.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a quarantined batch be scored again by the next `fuseline infer`, as it was or repaired."""
    from fuseline import batches

    here = line(project)
    if drop and repaired is not None:
        raise SettingsError("--drop gives the batch up, --with replaces it: use one of them")
    if drop:
        identity = batches.drop(here.ledger, batch, reason)
        _say(as_json, {"dropped": identity}, f"{identity} is dropped; its files are kept")
        return
    if repaired is not None and not repaired.is_file():
        raise SettingsError(f"--with: {repaired} is not a file")
    identity = batches.replay(here.ledger, here.batches, batch, reason, repaired)
    _say(as_json, {"waiting": identity}, f"{identity} waits to be scored: fuseline infer {project}")


@app.command(epilog=_example("report bank"))
def report(project: ProjectName, as_json: AsJson = False) -> None:
    """Make the pages again from the ledger, and say where the first one is."""
    from fuseline.report import refresh

    here = line(project)
    keys = refresh(here)
    where = f"{here.store.url.rstrip('/')}/{project}/reports/index.html"
    _say(as_json, {"index": where, "written": keys}, where)


# ── small parts ─────────────────────────────────────────────────────────────────────────────────


def _working(name: str, here: Line) -> AbstractContextManager[runs.Progress]:
    return console.working(f"{launch.FLOWS[name]} for {here.project.name}")


def _say(as_json: bool, document: Any, *texts: str) -> None:
    if as_json:
        console.document(document)
        return
    for text in texts:
        console.line(text)


def _findings(as_json: bool, found: list[Any]) -> None:
    if as_json:
        console.document(found)
    else:
        console.findings(found)
    if not all(one.ok for one in found):
        raise typer.Exit(1)


def _must_load(here: Line, version: str) -> None:
    from fuseline.models import registered

    _ = here.models.open(version, registered(here.ledger, version)).predictor


def _waiting(here: Line, state: State) -> list[str]:
    """What the next run would take up: files of the inbox, and batches that are to be scored again."""
    return [*here.batches.waiting(), *state.with_status("waiting")]


def _next(state: State, project: str) -> str:
    """How an open breaker closes; empty for one that is not open."""
    if state.breaker.status != "open":
        return ""
    by_hand = f"fuseline breaker reset {project} --reason …"
    if state.breaker.until is None:
        return f"It waits for a new champion, or: {by_hand}"
    return f"A trial batch is let through from {console.seconds(state.breaker.until)} UTC, or now: {by_hand}"


if __name__ == "__main__":
    main()
