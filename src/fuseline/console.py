"""What commands print: for people on a terminal, plain lines in a pipe, JSON for scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fuseline.breaker import Breaker
from fuseline.ledger import kind_of
from fuseline.narrative import count, sentence
from fuseline.records import Assessment, Entry, Finding, Published, Quarantined, jsonable

out, err = Console(highlight=False, emoji=False), Console(stderr=True, highlight=False, emoji=False)

VERDICTS = {
    "pass": ("● pass", "green"),
    "warn": ("▲ warn", "yellow"),
    "halt": ("■ halt", "red"),
    "inconclusive": ("◆ inconclusive", "magenta"),
}
COLOURS = {"closed": "green", "open": "red", "half_open": "yellow"}

NUMBER = re.compile(r"[\d,.]+|—")

Cell = str | tuple[str, str]  # its text, or text and style


def document(value: Any) -> None:
    """Print records, dicts and lists as JSON, and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")  # NaN becomes null


def line(text: str, style: str = "") -> None:
    """Print one line, as it is: never cut, never broken."""
    out.print(Text(text, style=style), soft_wrap=True)


def complain(text: str) -> None:
    """Print an error for people."""
    err.print(Text.assemble(("error: ", "red"), text), soft_wrap=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], notes: Sequence[str] | None = None) -> None:
    """Print aligned columns; numbers to the right. Nothing is ever cut.

    Args:
        heads: one per column; where there are notes, one more for them.
        rows: shape (rows, columns).
        notes: a sentence for each row: the last column where it fits or where nobody looks at a screen; else below
            its row, broken at words.
    """
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in texts)]) for i, head in enumerate(heads[: len(texts[0])])]
    right = [all(NUMBER.fullmatch(row[i]) for row in texts) for i in range(len(widths))]
    room = out.width - sum(widths) - 2 * len(widths)
    beside = notes is not None and (not out.is_terminal or max(map(len, notes)) <= room)
    shown = heads if beside else heads[: len(widths)]
    _print_row([(head, "dim") for head in shown], widths, right)
    for i, row in enumerate(rows):
        _print_row([*row, notes[i]] if beside and notes else row, widths, right)
        if notes and notes[i] and not beside:
            out.print(Padding(Text(notes[i]), (0, 0, 0, 4)))


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _print_row(row: Sequence[Cell], widths: Sequence[int], right: Sequence[bool]) -> None:
    said = Text()
    for i, cell in enumerate(row):
        text = _text(cell)
        if i < len(widths):
            text = text.rjust(widths[i]) if right[i] else text.ljust(widths[i])
        said.append(text if i == 0 else f"  {text}", None if isinstance(cell, str) else cell[1])
    said.rstrip()
    out.print(said, soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Says which step runs: a spinner on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda step: None
        return
    with err.status(text) as shown:
        yield lambda step: shown.update(f"{text}: {step}")


def findings(found: Iterable[Finding]) -> None:
    """Print what was looked at; below what is wrong, what to do."""
    for one in found:
        mark = ("ok     ", "green") if one.ok else ("wrong  ", "red")
        out.print(Text.assemble(mark, one.what), soft_wrap=True)
        if one.fix and out.is_terminal:
            out.print(Padding(Text(one.fix), (0, 0, 0, 7)))
        elif one.fix:
            out.print(Text(f"       {one.fix}"), soft_wrap=True)


# ── entries of the ledger ───────────────────────────────────────────────────────────────────────


def outcome(entry: Entry) -> dict[str, Any] | None:
    """What became of a batch, if the entry says it: for `--json`, and for the table."""
    match entry.event:
        case Published(batch=b, rows=n, assessment=a, version=v, mode=m):
            return {"batch": b, "rows": n, "outcome": "published", "version": v, "mode": m, **_judged(a)}
        case Quarantined(batch=b, rows=n, assessment=a, version=v, mode=m):
            return {"batch": b, "rows": n, "outcome": "quarantined", "version": v, "mode": m, **_judged(a)}
    return None


def _judged(assessment: Assessment) -> dict[str, Any]:
    return {"verdict": assessment.verdict, "harm": assessment.harm, "cause": assessment.sentence}


def outcomes(found: Sequence[dict[str, Any]]) -> None:
    """Print a row for each batch that was settled, with the reason."""
    if not found:
        return
    rows: list[list[Cell]] = []
    for o in found:
        harm = "—" if o["harm"] is None else f"{o['harm']:.3f}"
        said = o["outcome"] + ("" if o["mode"] == "champion" else f" ({o['mode']})")
        rows.append([o["batch"], f"{o['rows']:,}", VERDICTS[o["verdict"]], harm, said])
    table(["batch", "rows", "verdict", "harm", "outcome", "why"], rows, [o["cause"] for o in found])


def entry(one: Entry) -> dict[str, Any]:
    """An entry as one flat JSON object."""
    return {"seq": one.seq, "at": one.at, "by": one.by, "kind": kind_of(one.event), **jsonable(one.event)}


def entries(found: Sequence[Entry]) -> None:
    """Print entries as sentences."""
    if not found:
        return
    rows: list[list[Cell]] = [[str(e.seq), (seconds(e.at), "dim"), (e.by, "dim")] for e in found]
    table(["entry", "at (UTC)", "by", "what"], rows, [sentence(e) for e in found])


def seconds(at: str) -> str:
    """A time of the ledger as columns show it.

    >>> seconds("2026-03-08T06:00:00+00:00")
    '2026-03-08 06:00:00'
    """
    return at[:19].replace("T", " ")


def listed(names: Sequence[str]) -> str:
    """How many wait, and the first of them.

    >>> listed([]), listed(["a.csv"])
    ('none', '1 file: a.csv')
    """
    if not names:
        return "none"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{count(len(names), 'file')}: {', '.join(names[:5])}{more}"


def breaker(project: str, found: Breaker) -> None:
    """Print where the breaker stands, since when and why."""
    text = Text.assemble((project, "bold"), "  breaker ", (found.status.replace("_", "-"), COLOURS[found.status]))
    if found.since:
        text.append(f" since {seconds(found.since)}: {found.reason}")
    out.print(text, soft_wrap=True)
