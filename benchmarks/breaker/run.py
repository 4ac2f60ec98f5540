"""What the breaker halts and what it lets through, beside the rules that people use: JSON, a table and a picture.

    python benchmarks/breaker/run.py [--sets bank,shop] [--suites clean,faults] [--clean 100] [--out build]

A scenario's true loss is measured on all rows of the pool (`scenarios.true_loss`): over 0.02 it is harmful, up to 0.005
harmless; what lies between counts for nothing. Settings were tuned on some of the sets; the others are reported apart.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import scenarios
from peers import missing, peers
from plot import plot
from sets import SETS, Case
from streams import leaks, stream

from fuseline import Monitor

SIZES, CLEAN_SIZES = (200, 1_000, 5_000), (200, 1_000, 5_000, 20_000)
SUITES = ("clean", "faults", "shifts", "multiple", "leaks", "streams")
TOLERANCE, HARMFUL, GRAVE, HARMLESS = 0.02, 0.02, 0.05, 0.005
SAMPLED = 20  # slow peers are asked about every so many batches
OURS = "Fuseline"
HEAVY = ("losses", "policies", "ausprivauto")  # sets with heavy-tailed losses


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(s.name for s in SETS))
    parser.add_argument("--suites", default=",".join(SUITES))
    parser.add_argument("--clean", type=int, default=100, help="clean batches of each size and set")
    parser.add_argument("--draws", type=int, default=1, help="batches of each scenario and size")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="without the peers: to count rare false halts")
    parser.add_argument("--out", type=Path, default=Path("build"))
    args = parser.parse_args()
    chosen = [s for s in SETS if s.name in args.sets.split(",")]
    for s in chosen:
        if s.missing:
            print(f"{s.name} is left out: {s.missing}")
    for name, why in missing().items():
        print(f"{name} is left out: {why}")
    work = [(s.name, args.suites.split(","), args.clean, args.draws, args.alone) for s in chosen if not s.missing]
    rows: list[dict] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, found, seconds in pool.map(measure, work):
            print(f"{name:12s} {len(found):6,d} batches in {seconds:5.0f} s", flush=True)
            rows += found
    args.out.mkdir(parents=True, exist_ok=True)
    tables = {part: summary([r for r in rows if r["tuned"] is tuned]) for part, tuned in PARTS.items()}
    (args.out / "breaker.json").write_text(json.dumps({"tables": tables, "rows": rows}, indent=1))
    for part, table in tables.items():
        if table["rows"]:
            print(f"\n── {part} ──\n{table_text(table)}")
            plot({"methods": table["methods"]}, args.out / f"breaker-{part.split()[0]}.svg")


PARTS = {"held out": False, "tuned on": True}


def measure(work: tuple[str, list[str], int, int, bool]) -> tuple[str, list[dict], float]:
    """All batches of one set."""
    warnings.simplefilter("ignore")
    name, suites, clean, draws, alone = work
    began = time.perf_counter()
    case = Case(next(s for s in SETS if s.name == name))
    rows = [{"set": name, "tuned": case.set.tuned, **row} for row in _rows(case, suites, clean, draws, alone)]
    return name, rows, time.perf_counter() - began


def _rows(case: Case, suites: list[str], clean: int, draws: int, alone: bool) -> Iterator[dict]:
    asked = _Asked(case, alone)
    rng = np.random.default_rng(17)
    if "clean" in suites:
        yield from _clean(case, asked, clean, rng)
    for suite in ("faults", "shifts", "multiple"):
        if suite in suites:
            for scenario in getattr(scenarios, suite)(case):
                yield from _tried(case, asked, suite, scenario, draws, rng)
    if "faults" in suites:
        for scenario in scenarios.operational():
            yield from _tried(case, asked, "operational", scenario, draws, rng)
    if "leaks" in suites:
        yield from leaks(case, rng)
    if "streams" in suites:
        yield from stream(case, rng)


def _clean(case: Case, asked: _Asked, batches: int, rng: np.random.Generator) -> Iterator[dict]:
    frame, _ = case.pool
    for rows in CLEAN_SIZES:
        for _ in range(batches if rows <= len(frame) else 0):
            at = rng.permutation(len(frame))[:rows]
            said = asked.about(frame.iloc[at].reset_index(drop=True), case.pool_scores[at])
            yield {"suite": "clean", "kind": "clean", "n": rows, "loss": 0.0, **said}


def _tried(
    case: Case, asked: _Asked, suite: str, scenario: scenarios.Scenario, draws: int, rng: np.random.Generator
) -> Iterator[dict]:
    loss = scenarios.true_loss(case, scenario)
    for rows in SIZES:
        for _ in range(draws if scenario.fits(case, rows) else 0):
            batch = scenario.draw(case, rows, rng)
            said = asked.about(batch.frame, case.score(batch.frame), rows)
            yield {"suite": suite, "kind": scenario.kind, "columns": scenario.columns, "n": rows, "loss": loss, **said}


class _Asked:
    """Our monitor and its peers, all fitted on the same reference."""

    def __init__(self, case: Case, alone: bool) -> None:
        frame, target = case.reference
        self.case, self.number = case, 0
        self.monitors: dict[int | None, Monitor] = {}
        self.peers = [] if alone else peers(TOLERANCE)
        scores = case.score(frame)
        for peer in self.peers:
            peer.fit(frame, target, scores, case.set.task)

    def about(self, batch, scores: np.ndarray, expected: int | None = None) -> dict:
        """Which of them halt a batch; milliseconds of each."""
        self.number += 1
        monitor = self._monitor(expected)
        began = time.perf_counter()
        found = monitor.assess(batch, scores)
        ms = (time.perf_counter() - began) * 1e3
        unit = 0.4 if self.case.set.task == "regression" else 1.0
        said = {OURS: [found.verdict == "halt", ms]}
        for peer in self.peers:
            if peer.cost == "cheap" or self.number % SAMPLED == 0:
                said[peer.name] = [peer.halts(batch, scores), peer.ms]
        cause = found.causes[0].sentence if found.causes else ""
        estimate = None if found.harm is None else found.harm * unit
        fired = any(c.kind != "leak" for c in found.causes)
        return {"said": said, "estimate": estimate, "verdict": found.verdict, "fired": fired, "cause": cause}

    def _monitor(self, expected: int | None) -> Monitor:
        """One that knows how many rows are usual; each batch is judged alone."""
        if expected not in self.monitors:
            frame, target = self.case.reference
            task = "regression" if self.case.set.task == "regression" else "classification"
            self.monitors[expected] = Monitor.fit(frame, target, self.case.score, task=task, expected_rows=expected)
        self.monitors[expected].forget()
        return self.monitors[expected]


# ── the table ───────────────────────────────────────────────────────────────────────────────────


def summary(rows: list[dict]) -> dict:
    """Counts by row of the table and by method."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        for group in _groups(row):
            groups[group].append(row)
    names = list(dict.fromkeys(name for row in rows for name in row.get("said", {})))
    lines = {group: {m: _halted(found, m) for m in names} for group, found in groups.items() if "said" in found[0]}
    methods = {
        name: {
            "clean": _halted([r for r in rows if r["suite"] == "clean"], name),
            "harmful": _halted([r for r in rows if r["suite"] in CHANGES and r["loss"] > HARMFUL], name),
            "harmless": _halted([r for r in rows if r["suite"] in CHANGES and r["loss"] <= HARMLESS], name),
            "ms": statistics.median([r["said"][name][1] for r in rows if name in r.get("said", {})] or [0.0]),
        }
        for name in names
    }
    apart = {k: v for k, v in groups.items() if "said" not in v[0]}
    others = {k: [sum(r["caught"] for r in v), len(v)] for k, v in apart.items()}
    return {"rows": lines, "others": others, "methods": methods, "ms": _ms(rows), "correlation": _correlation(rows)}


CHANGES = ("faults", "shifts", "multiple")


def _groups(row: dict) -> Iterator[str]:
    suite, loss = row["suite"], row.get("loss", 0.0)
    if suite == "clean":
        yield f"clean batches halted, n = {row['n']:,}"
        yield "clean batches halted"
    elif suite == "operational":
        yield "operational faults caught"
    elif suite == "faults":
        if loss > HARMFUL:
            yield "faults with loss > 0.05 caught" if loss > GRAVE else "faults with loss 0.02 to 0.05 caught"
        elif loss <= HARMLESS:
            yield "harmless faults halted"
    elif suite in ("shifts", "multiple"):
        what = "shifts" if suite == "shifts" else "several at once"
        if loss > HARMFUL:
            yield f"{what}: harmful caught" + (", heavy tail" if suite == "shifts" and row["set"] in HEAVY else "")
        elif loss <= HARMLESS:
            yield f"{what}: harmless halted"
    else:
        yield row["kind"]


def _halted(rows: list[dict], method: str) -> list[int]:
    asked = [r["said"][method][0] for r in rows if method in r.get("said", {})]
    return [int(sum(asked)), len(asked)]


def _ms(rows: list[dict]) -> dict[str, float]:
    """Milliseconds at 5,000 rows: clean batches, fired batches in the median and at the 99th percentile."""
    at = [r for r in rows if r.get("n") == 5_000 and "said" in r]
    clean = [r["said"][OURS][1] for r in at if not r["fired"]]
    fired = [r["said"][OURS][1] for r in at if r["fired"]]
    found = {"clean": float(np.median(clean))} if clean else {}
    return {**found, "fired": float(np.median(fired)), "fired p99": float(np.quantile(fired, 0.99))} if fired else found


def _correlation(rows: list[dict]) -> dict[str, float]:
    """Of the estimated with the true loss."""
    found = {}
    for suite in CHANGES:
        pairs = [(r["estimate"], r["loss"]) for r in rows if r["suite"] == suite and r["estimate"] is not None]
        if len(pairs) > 2:
            found[suite] = float(np.corrcoef(np.minimum(np.array(pairs), 0.3).T)[0, 1])
    return found


ORDER = (
    "clean batches halted",
    "faults with loss > 0.05 caught",
    "faults with loss 0.02 to 0.05 caught",
    "harmless faults halted",
    "operational faults caught",
    "shifts: harmless halted",
    "shifts: harmful caught",
    "shifts: harmful caught, heavy tail",
    "several at once: harmful caught",
    "several at once: harmless halted",
)


def table_text(table: dict) -> str:
    """The table for the terminal."""
    names = list(table["methods"])
    wide = max(len(group) for group in [*table["rows"], *table["others"], ""]) + 2
    head = " " * wide + "  ".join(f"{n:>{max(len(n), 16)}}" for n in names)
    groups = sorted(table["rows"], key=lambda g: (ORDER.index(g) if g in ORDER else 0, g))
    lines = [head, *(f"{g:{wide}}" + _cells(table["rows"][g], names, "clean" in g) for g in groups)]
    lines.append(
        f"{'ms a batch':{wide}}" + "  ".join(f"{table['methods'][n]['ms']:>{max(len(n), 16)}.0f}" for n in names)
    )
    for group, (caught, asked) in sorted(table["others"].items()):
        lines.append(f"{group:{wide}}{caught}/{asked} = {caught / max(asked, 1):.1%}")
    lines.append("ms at 5,000 rows: " + ", ".join(f"{k} {v:.0f}" for k, v in table["ms"].items()))
    lines.append("estimated v. true loss, r: " + ", ".join(f"{k} {v:.2f}" for k, v in table["correlation"].items()))
    return "\n".join(lines)


def _cells(row: dict, names: list[str], clean: bool) -> str:
    found = []
    for name in names:
        halted, asked = row[name]
        text = "" if not asked else f"{halted}/{asked} = {halted / asked:.1%}"
        if clean and asked and name == OURS:
            text = f"{halted}/{asked:,} ≤{_upper(halted, asked):.2%}"
        found.append(f"{text:>{max(len(name), 16)}}")
    return "  ".join(found)


def _upper(found: int, asked: int) -> float:
    """The upper end of a 95 % confidence interval of a share (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if found == asked else float(beta.ppf(0.95, found + 1, asked - found))


if __name__ == "__main__":
    main()
