"""The commands of serving: serve, try and key."""

from __future__ import annotations

from typing import Annotated

import typer

from fuseline import console
from fuseline.serving.bounds import MIB, Bounds
from fuseline.settings import Settings

Target = Annotated[
    str,
    typer.Argument(
        help="A project, or a file: model.py, model.py:Class, model.joblib. The file need not know of Fuseline.",
        metavar="TARGET",
    ),
]
Hooks = Annotated[
    list[str] | None,
    typer.Option(
        "--hook", help="A function by another name, e.g. predict=custom_predict. Repeatable.", metavar="STAGE=NAME"
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--takes", help="What the first hook of a file takes: frame, json, array or bytes. Default: its annotation."
    ),
]
Digest = Annotated[
    str | None, typer.Option("--digest", help="SHA-256 that the file must have, so that nothing else is unpickled.")
]


def serve(
    target: Target,
    host: Annotated[str, typer.Option(help="Address to listen at; another one than this needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 8000,
    hook: Hooks = None,
    takes: Input = None,
    digest: Digest = None,
    reload: Annotated[bool, typer.Option("--reload", help="Load the file anew when it is edited.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Warm up, make one prediction, and end.")] = False,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Make batches of what is asked, for the breaker and for labels.")
    ] = False,
    max_body: Annotated[int, typer.Option(help="MiB that one request may have.", min=1)] = 64,
    max_rows: Annotated[int, typer.Option(help="Rows that one request may have.", min=1)] = 100_000,
    max_requests: Annotated[int, typer.Option(help="Requests that are held at a time; more are told 429.", min=1)] = 64,
    max_memory: Annotated[
        int | None, typer.Option(help="MiB at which the model's process is replaced. Default: 80 % of what there is.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is given up (504).", min=0.01)] = 30.0,
) -> None:
    """Put a model behind HTTP: POST /predict, a page at /, OpenAPI at /docs, the Open Inference Protocol at /v2.

    A project's champion answers; promotions and rollbacks are followed. While the breaker is open, `while_open` of
    project.toml says whether the last good version answers, or nobody. Without FUSELINE_API_KEYS only this machine is
    let in. Goes on until Ctrl-C or SIGTERM, and answers what is in flight first.
    """
    from fuseline.serving.serve import Wanted
    from fuseline.serving.serve import serve as run

    held = max(512, 2 * max_body) * MIB
    bounds = Bounds(max_body * MIB, max_rows, seconds=timeout, requests=max_requests, held_bytes=held)
    wanted = Wanted(target, tuple(hook or ()), takes, digest, reload, log_requests, bounds=bounds)
    settings = Settings.read()
    if check:
        from fuseline.serving import trial

        raise typer.Exit(trial.check(wanted.source(settings)))
    memory = None if max_memory is None else max_memory * MIB
    raise typer.Exit(run(wanted, settings, host, port, memory, patience=timeout))


def try_(
    target: Target,
    given: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="JSON, or a file: .json, .jsonl, .csv, .parquet; - reads JSON from stdin.",
            metavar="FILE|JSON",
        ),
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option("--form", help="A field of a form: NAME=VALUE, or NAME=@FILE. Repeatable.")
    ] = None,
    hook: Hooks = None,
    takes: Input = None,
    digest: Digest = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")] = False,
) -> None:
    """Ask a model once, here, by the path of the API: its answer, and the time of each stage."""
    from fuseline.serving import trial
    from fuseline.serving.serve import Wanted

    source = Wanted(target, tuple(hook or ()), takes, digest).source(Settings.read())
    raise typer.Exit(trial.ask(source, given, form or [], as_json=as_json))


def key(name: Annotated[str, typer.Argument(help="Name of the client, for logs.", metavar="NAME")]) -> None:
    """Make a key for a client: the key is shown once, its digest goes into FUSELINE_API_KEYS."""
    from fuseline.serving.keys import new

    made, entry = new(name)
    console.line(f"key (give it to {name}; it is shown once)  {made}")
    console.line(f"entry (add it to FUSELINE_API_KEYS)  {entry}")
