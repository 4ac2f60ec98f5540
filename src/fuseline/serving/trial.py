"""One request in the terminal, by the path of the API: `fuseline try TARGET`, and `fuseline serve TARGET --check`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import msgspec

from fuseline import console
from fuseline.errors import SettingsError
from fuseline.narrative import count
from fuseline.serving.problem import Problem
from fuseline.serving.sent import sent
from fuseline.serving.served import Answered, Asked, Source, encode

ITEMS = 5  # of a list that are shown where it has over twice as many
TEXT = 200  # characters of a text that are shown
ROWS = 20  # rows of a problem that are shown
WARMED = "It is loaded and warmed up. Only the file knows what it takes: fuseline try TARGET --input … predicts"
LOWEST = "-1e308"  # a threshold that every score reaches: what is checked is the answer, not its score


@dataclass(frozen=True)
class Trial:
    """How one request went.

    Attributes:
        model, version, mode: which one answered; the last two are empty where none could.
        load: seconds that loading and warming up took.
        stages: seconds of each stage of the request.
        answer: None where there was a problem, or no request.
        problem: why there is no answer.
        notes: what people should know of the model.
        trouble: what is wrong although it answers.
    """

    model: str
    version: str = ""
    mode: str = ""
    load: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    answer: Answered | None = None
    problem: Problem | None = None
    notes: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def exit_code(self) -> int:
        """0, or 1 where there is a problem."""
        return 0 if self.problem is None else 1


def ask(source: Source, given: str | None, form: Sequence[str] = (), *, as_json: bool = False) -> int:
    """What `fuseline try` does.

    Args:
        given: JSON, a file, or `-` for JSON from stdin; None for the model's own example, or for a form alone.
        form: `name=value` or `name=@file`, each a field.
        as_json: print a document for scripts, and nothing else.

    Returns:
        The exit code: 0, or 1 where the model does not answer.

    Raises:
        FuselineError: the input cannot be read, or the model cannot be loaded.
    """
    asked = sent(given, form) if given is not None or form else None
    trial = run(source, asked)
    if trial.answer is None and trial.problem is None:
        raise SettingsError(f"{trial.model} has no example of its own: give a request with --input or --form")
    tell(trial, as_json)
    return trial.exit_code


def check(source: Source, *, as_json: bool = False) -> int:
    """What `fuseline serve --check` does: warm up, and predict the model's example if it has one.

    Returns:
        The exit code: 0, or 1 where the model does not answer.

    Raises:
        FuselineError: the model cannot be loaded.
    """
    trial = run(source, None)
    tell(trial, as_json)
    return trial.exit_code


def run(source: Source, asked: Asked | None) -> Trial:
    """Load the model and let it answer; what its code prints goes to stderr.

    Args:
        asked: the request; None for the example of the model, if it has one.

    Raises:
        FuselineError: the model cannot be loaded.
    """
    with redirect_stdout(sys.stderr):
        started = perf_counter()
        source.look()
        load = perf_counter() - started
        standing = source.standing
        served = standing.served
        if served is None:
            return Trial(source.name, load=load, problem=standing.problem, trouble=standing.trouble)
        notes = tuple(getattr(served, "notes", ()))
        trial = Trial(served.name, served.version, served.mode, load, notes=notes, trouble=standing.trouble)
        if asked is None:
            if (example := served.example()) is None:
                return trial
            everything = {} if getattr(served, "threshold", None) is None else {"threshold": LOWEST}
            asked = Asked(encode(example), query=everything)
        try:
            answer = served.answer(asked)
        except Problem as problem:
            return replace(trial, problem=problem)
        return replace(trial, answer=answer, stages=answer.stages)


# ── what is printed ─────────────────────────────────────────────────────────────────────────────


def tell(trial: Trial, as_json: bool = False) -> None:
    """Print a trial: for people, or as a document for scripts."""
    if as_json:
        console.document(document(trial))
        return
    who = f"{trial.model} {trial.version} ({trial.mode})" if trial.version else trial.model
    console.line(who)
    for note in trial.notes:
        console.line(note, "  ")
    if trial.trouble:
        console.line(trial.trouble, "  note: ")
    stages = {"load and warm up": trial.load, **trial.stages}
    console.line("")
    console.table(["stage", "ms"], [[name.replace("_", " "), f"{took * 1e3:,.2f}"] for name, took in stages.items()])
    console.line("")
    if trial.problem is not None:
        _problem(trial.problem)
    elif trial.answer is None:
        console.line(WARMED)
    else:
        for text in _shown(trial.answer).splitlines():
            console.line(text)


def document(trial: Trial) -> dict[str, Any]:
    """A trial for scripts; times in milliseconds, the answer whole, one of bytes by its type and size."""
    answer: Any = None
    if trial.answer is not None:
        is_json = trial.answer.media_type.endswith("json")
        told = {"media_type": trial.answer.media_type, "bytes": len(trial.answer.body)}
        answer = msgspec.Raw(trial.answer.body) if is_json else told
    return {
        "model": trial.model,
        "version": trial.version or None,
        "mode": trial.mode or None,
        "load_ms": round(trial.load * 1e3, 3),
        "stages_ms": {name: round(took * 1e3, 3) for name, took in trial.stages.items()},
        "answer": answer,
        "problem": trial.problem.document() if trial.problem is not None else None,
        "notes": trial.notes,
        "trouble": trial.trouble or None,
    }


def _problem(problem: Problem) -> None:
    """Say what is wrong, and with which rows."""
    console.complain(f"{problem.title} ({problem.status}): {problem.detail}")
    if problem.rows:
        rows = [[str(one.row), one.column or "—", one.reason] for one in problem.rows[:ROWS]]
        console.table(["row", "column", "reason"], rows)
    if len(problem.rows) > ROWS:
        console.line(f"and {count(len(problem.rows) - ROWS, 'row')} more")


def _shown(answer: Answered) -> str:
    """The answer as people read it: JSON in lines, long lists and texts cut."""
    if not answer.media_type.endswith("json"):
        return f"{answer.media_type}, {len(answer.body):,} bytes"
    short = shortened(msgspec.json.decode(answer.body))
    return msgspec.json.format(msgspec.json.encode(short), indent=2).decode()


def shortened(value: Any) -> Any:
    """The same JSON with the middle of long lists, and the ends of long texts, left out.

    >>> shortened({"predictions": list(range(100))})
    {'predictions': [0, 1, 2, 3, 4, '… 95 more']}
    """
    if isinstance(value, dict):
        return {name: shortened(one) for name, one in value.items()}
    if isinstance(value, list):
        cut = len(value) > 2 * ITEMS
        shown = [shortened(one) for one in (value[:ITEMS] if cut else value)]
        return [*shown, f"… {len(value) - ITEMS:,} more"] if cut else shown
    if isinstance(value, str) and len(value) > TEXT:
        return f"{value[:TEXT]}… {len(value) - TEXT:,} more characters"
    return value
