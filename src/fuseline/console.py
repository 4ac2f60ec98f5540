"""What commands print: for people on a terminal, plain lines in a pipe, JSON for scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.text import Text

from fuseline.ledger import kind_of
from fuseline.narrative import count, metric, sentence
from fuseline.records import AlertTaken, Assessment, Entry, Finding, Published, Quarantined, jsonable
from fuseline.state import State

if TYPE_CHECKING:
    from fuseline.backtest import Summary, Tried

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


def line(text: str, lead: str | Text = "") -> None:
    """Print a line, or a text after a `lead`; nothing of it is cut, and on a terminal it is broken at words."""
    _print(out, text, lead)


def complain(text: str) -> None:
    """Print an error for people."""
    _print(err, f"error: {text}", "", red=len("error:"))


def _print(where: Console, text: str, lead: str | Text = "", red: int = 0) -> None:
    said, before = Text(text), Text(lead) if isinstance(lead, str) else lead
    said.stylize("red", 0, red)
    if not where.is_terminal:
        where.print(before + said, soft_wrap=True)
        return
    for part in said.wrap(where, max(where.width - len(before), 20), overflow="fold"):
        part.rstrip()
        where.print(before + part, soft_wrap=True)
        before = Text(" " * len(before))


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], notes: Sequence[str] | None = None) -> None:
    """Print aligned columns, numbers to the right. Nothing is ever cut: where the screen is too narrow for a row, its
    first cell gets a line of its own.

    Args:
        heads: one per column; where there are notes, one more for them.
        rows: shape (rows, columns), one row at least.
        notes: a sentence for each row: the last column where it fits or where nobody looks at a screen; else below
            its row, broken at words.
    """
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *texts, strict=False)]
    right = [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*texts, strict=True)]
    total = sum(widths) + 2 * (len(widths) - 1)
    narrow = out.is_terminal and total > out.width
    beside = notes is not None and (not out.is_terminal or total + 2 + max(map(len, notes)) <= out.width)
    dim: list[list[Cell]] = [[(head, "dim") for head in heads]]
    for row, note in zip([*dim, *rows], [dim[0][-1], *(notes or [""] * len(rows))], strict=True):
        cells = [_padded(*cell) for cell in zip(row, widths, right, strict=False)]
        if beside:
            cells.append(_padded(note, 0, False))
        if narrow:
            first = cells[0]
            first.rstrip()
            out.print(first, soft_wrap=True)
            cells[0] = Text("  ")
        joined = Text("  ").join(cells)
        joined.rstrip()
        out.print(joined, soft_wrap=True)
        if isinstance(note, str) and note and not beside:
            line(note, "    ")


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _padded(cell: Cell, width: int, right: bool) -> Text:
    text = _text(cell)
    return Text(text.rjust(width) if right else text.ljust(width), style="" if isinstance(cell, str) else cell[1])


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Says which step runs: a spinner on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda step: None
        return
    with err.status(text) as shown:
        yield lambda step: shown.update(f"{text}: {step}")


def findings(found: Iterable[Finding]) -> None:
    """Print what was looked at; below what is wrong, or well but lacks something, what to do."""
    for one in found:
        lead = ("note   ", "yellow") if one.ok and one.fix else ("ok     ", "green") if one.ok else ("wrong  ", "red")
        line(one.what, Text(*lead))
        if one.fix:
            line(one.fix, " " * 7)


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


def backtested(tried: Sequence[Tried], summaries: Sequence[Summary]) -> None:
    """Print a row for each batch that was judged again, then one for each tolerance."""
    heads = [f"at {s.tolerance:g}" for s in summaries] if len(summaries) > 1 else ["now"]
    rows: list[list[Cell]] = []
    for t in tried:
        now: list[Cell] = [VERDICTS[ruling.verdict] for ruling in t.now] or ["—"] * len(heads)
        harm = metric(t.strictest.harm if t.strictest else None)
        labels = f"{metric(t.realised.value)} ± {metric(t.realised.se)}" if t.realised else "—"
        held_out = metric(t.reference.value) if t.realised and t.reference else "—"
        rows.append([t.batch, f"{t.rows:,}", VERDICTS[t.then], t.status, *now, harm, labels, held_out])
    heads = ["batch", "rows", "then", "became", *heads, "harm", "by labels", "held out", "why"]
    table(heads, rows, [t.why for t in tried])
    line("")
    if summaries:
        counts = ["confirmed", "contradicted", "unlabelled", "missed", "undecided"]
        rows = [[f"{s.tolerance:g}", s.often, *(str(getattr(s, name)) for name in counts)] for s in summaries]
        table(["tolerance", "tripped", *counts], rows)


def entry(one: Entry) -> dict[str, Any]:
    """An entry as one flat JSON object."""
    return {"seq": one.seq, "at": one.at, "by": one.by, "kind": kind_of(one.event), **jsonable(one.event)}


def entries(found: Sequence[Entry]) -> None:
    """Print entries as sentences, but for those that only keep others from sending an alert meanwhile."""
    told = [e for e in found if not isinstance(e.event, AlertTaken)]
    if not told:
        return
    rows: list[list[Cell]] = [[str(e.seq), (seconds(e.at), "dim"), (e.by, "dim")] for e in told]
    table(["entry", "at (UTC)", "by", "what"], rows, [sentence(e) for e in told])


def seconds(at: str) -> str:
    """A time of the ledger as columns show it.

    >>> seconds("2026-03-08T06:00:00+00:00")
    '2026-03-08 06:00:00'
    """
    return at[:19].replace("T", " ")


def listed(names: Sequence[str]) -> str:
    """How many batches, and the first of them.

    >>> listed([]), listed(["a.csv"])
    ('none', '1 batch: a.csv')
    """
    if not names:
        return "none"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{count(len(names), 'batch')}: {', '.join(names[:5])}{more}"


def status(project: str, state: State, waiting: Sequence[str], closes: str) -> None:
    """Print how a project stands.

    Args:
        waiting: what the next run would take up.
        closes: how its breaker closes, if it is open.
    """
    breaker, retrain, tenures = state.breaker, state.retrain, state.tenures
    quarantine = list(state.with_status("quarantined"))
    colour = COLOURS[breaker.status]
    out.print(
        Text.assemble((project, "bold"), "  breaker ", (breaker.status.replace("_", "-"), colour)), soft_wrap=True
    )
    facts = [
        ("since", f"{seconds(breaker.since)}: {breaker.reason}" if breaker.since else ""),
        ("next", closes),
        (
            "champion",
            f"{state.champion}, since {seconds(tenures[-1].at)}" if tenures else f"none: fuseline train {project}",
        ),
        ("published", count(len(state.with_status("published")), "batch")),
        ("waiting", listed(waiting)),
        *(("quarantine", batch) for batch in quarantine),
        ("", f"fuseline replay {project} BATCH --reason …" if quarantine else ""),
        ("retrain", f"{'taken up' if retrain.run else 'asked for'}: {retrain.reason}" if retrain else ""),
    ]
    for name, said in facts:
        if said:
            line(said, f"  {name:<10}  ")
