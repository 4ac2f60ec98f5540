"""Runs a flow as its own process, says which step it is at, and turns its failure into the error that it raised."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuseline import errors
from fuseline.settings import Settings

# What Metaflow puts before a line: the time, and for a task's own output `[run/step/task (pid n)]`.
PREFIX = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ (?:\[(?P<task>\d+/(?P<step>\w+)/\d+)[^\]]*\] )?")
RAISED = re.compile(r"^fuseline\.errors\.(\w+): (.*)", re.DOTALL)
THROWN = re.compile(
    r"^(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Invalid|Warning)(?:: .*)?$"
)  # any error's line
TRACE = ("Task ", "Traceback", "The above exception", "During handling")
TAIL = 20  # lines of a flow's output that are shown where its error is not understood
PATIENCE = 10.0  # seconds that an interrupted flow has to end its tasks
FLOWS = {"train": "TrainingFlow", "infer": "InferenceFlow", "feedback": "FeedbackFlow"}
FILES = {"train": "training.py", "infer": "inference.py", "feedback": "feedback.py"}


@dataclass(frozen=True)
class Run:
    """A flow's run that ended well: its id, and the name under which it wrote to the ledger."""

    id: str
    by: str


def folder(package: Path | None = None, prefix: Path | None = None) -> Path:
    """The folder of the flows: beside `src` in a checkout, or in `share/fuseline` of the environment.

    Args:
        package: the folder of this package, by default the real one.
        prefix: the environment that it is installed in, by default this one.

    Raises:
        SettingsError: it is in neither place.
    """
    package = package or Path(__file__).resolve().parent
    places = (package.parents[1] / "flows", (prefix or Path(sys.prefix)) / "share" / "fuseline" / "flows")
    for place in places:
        if all((place / file).is_file() for file in FILES.values()):
            return place
    raise errors.SettingsError(
        f"the flows ({', '.join(FILES.values())}) are not installed: looked in {places[0]} and {places[1]}. "
        "Install Fuseline again, or run it from a whole checkout"
    )


def run(flow: str, project: str, settings: Settings, progress: Callable[[str], None] = lambda step: None) -> Run:
    """Run one of `train`, `infer`, `feedback` for a project to its end.

    Args:
        progress: called with the name of each step as it starts.

    Raises:
        FuselineError: the error that the flow raised, of the same class; or one with the end of its output.
    """
    with tempfile.NamedTemporaryFile(prefix="fuseline-run-") as file:
        command = [sys.executable, str(folder() / FILES[flow]), "--no-pylint", "run"]
        command += ["--project", project, "--run-id-file", file.name, "--max-workers", str(os.cpu_count() or 2)]
        said = follow(command, settings.environment(), progress)
        run_id = Path(file.name).read_text(encoding="utf-8").strip()
    if said is not None:
        raise error_in(FLOWS[flow], said)
    return Run(run_id, f"{FLOWS[flow]}/{run_id}")


def follow(
    command: Sequence[str], environment: dict[str, str], progress: Callable[[str], None] = lambda step: None
) -> list[str] | None:
    """Run a command to its end; None if it ended well, else the lines that it printed.

    It has a process group of its own: an interrupt reaches it once, however it came to us, and when it does not end
    by itself within ten seconds (or at a second interrupt) the whole group is killed. Nothing stays behind.
    """
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.rstrip().endswith("Task is starting.") and (task := PREFIX.match(line)) and task["step"]:
                progress(task["step"])
        return None if process.wait() == 0 else lines
    except KeyboardInterrupt:
        _interrupt(process)
        raise
    finally:
        process.stdout.close()


def _interrupt(process: subprocess.Popen[str]) -> None:
    try:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)  # reads on: a flow that cannot print cannot end
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def error_in(flow: str, lines: Sequence[str]) -> errors.FuselineError:
    """The error that a step raised, read off the flow's output; its end where no error of ours is in it.

    >>> error_in("InferenceFlow", ["2026-03-08 06:00:00.123 [7/start/1 (pid 9)] fuseline.errors.Refused: no champion"])
    Refused('no champion')
    """
    said = [_parted(line) for line in lines]
    for start in range(len(said) - 1, -1, -1):
        task, text = said[start]
        if raised := RAISED.match(text):
            kind = getattr(errors, raised[1], errors.FuselineError)
            rest = _rest([t for k, t in said[start + 1 :] if k == task])
            return kind("\n".join([raised[2], *rest]))
    steps = [task.split("/")[1] for task, text in said if text == "Task failed."]
    thrown = [text for task, text in said if task and THROWN.match(text)]
    what = (f" in step {steps[0]}" if steps else "") + (f": {thrown[-1]}" if thrown else "")
    tail = "\n".join(f"  {text}" for text in [text for _, text in said if text.strip()][-TAIL:])
    return errors.FuselineError(f"{flow} failed{what}\nThe end of its output:\n{tail}")


def _parted(line: str) -> tuple[str, str]:
    """The task that a line of output comes from, as `run/step/task`, or an empty string; and what it says."""
    match = PREFIX.match(line)
    return (match["task"] or "", line[match.end() :]) if match else ("", line)


def _rest(texts: Sequence[str]) -> list[str]:
    """The further lines of an error's text: up to an empty one, or to what Metaflow says next."""
    rest: list[str] = []
    for text in texts:
        if not text.strip() or text.startswith(TRACE):
            break
        rest.append(text)
    return rest
