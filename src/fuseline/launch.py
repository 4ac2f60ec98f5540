"""Runs a flow as its own process, says which step it is at, and turns its failure into the error that it raised."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuseline import errors
from fuseline.settings import Settings

PREFIX = re.compile(r"^\S+ \S+ (\[[^\]]*\] )?")
STEP = re.compile(r"\[\d+/(\w+)/\d+ \(pid \d+\)\] Task is starting")
RAISED = re.compile(r"^(?:fuseline\.errors\.)(\w+): (.*)", re.DOTALL)
FLOWS = {"train": "TrainingFlow", "infer": "InferenceFlow", "feedback": "FeedbackFlow"}
FILES = {"train": "training.py", "infer": "inference.py", "feedback": "feedback.py"}


@dataclass(frozen=True)
class Run:
    """A flow's run that ended well: its id, and the name under which it wrote to the ledger."""

    id: str
    by: str


def folder() -> Path:
    """The folder of the flows: inside the installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parent
    return next(f for f in (package / "flows", package.parents[1] / "flows") if f.is_dir())


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
        lines = _follow(command, {**os.environ, **settings.metaflow()}, progress)
        run_id = Path(file.name).read_text(encoding="utf-8").strip()
    if lines is not None:
        raise _error(FLOWS[flow], lines)
    return Run(run_id, f"{FLOWS[flow]}/{run_id}")


def _follow(command: list[str], environment: dict[str, str], progress: Callable[[str], None]) -> list[str] | None:
    """Run a command; None if it ended well, else its output."""
    lines: list[str] = []
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if started := STEP.search(line):
                progress(started[1])
        return None if process.wait() == 0 else lines
    except KeyboardInterrupt:
        process.wait()  # the terminal interrupts the flow as well: let it end its tasks
        raise
    finally:
        process.stdout.close()


def _error(flow: str, lines: list[str]) -> errors.FuselineError:
    """The error that a step raised, read off the flow's output."""
    said = [PREFIX.sub("", line) for line in lines]
    for start in range(len(said) - 1, -1, -1):
        if raised := RAISED.match(said[start]):
            kind = getattr(errors, raised[1], errors.FuselineError)
            rest = []
            for line in said[start + 1 :]:
                if not line.strip() or line.startswith(("Task ", "Workflow ", "Traceback")):
                    break
                rest.append(line)
            return kind("\n".join([raised[2], *rest]))  # type: ignore[no-any-return]
    tail = "\n".join(line for line in said if line.strip())[-2000:]
    return errors.FuselineError(f"{flow} failed. The end of its output:\n{tail}")
