"""`fuseline infer` from the command to the published file: wall seconds, and the share of each step.

    python benchmarks/end_to_end.py [--rows 10000] [--runs 3] [--out build/bench-end-to-end.json]

Real Metaflow runs of the project `bookings` over a folder; `launch` is what the command and Metaflow need before the
first step and after the last.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from fuseline import launch
from fuseline.bootstrap import line
from fuseline.records import Published
from fuseline.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench-end-to-end.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuseline-bench-") as name:
        found = measure(Path(name), options.rows, options.runs)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1))
    table(found, options.rows)
    print(f"\n{options.out}")


def measure(root: Path, rows: int, runs: int) -> list[dict[str, float]]:
    """Seconds by step of each run; `wall` is the whole."""
    made = generator().generate(root / "data" / "generated", rows=rows, days=runs, history_rows=400, incidents=False)
    shutil.copytree(ROOT / "projects" / "bookings", root / "projects" / "bookings")
    settings = replace(Settings(), store=str(root / "store"), projects=root / "projects", user="bench")
    here = line("bookings", settings=settings)
    launch.run("train", "bookings", settings)
    inbox = root / "store" / "inbox" / "bookings"
    inbox.mkdir(parents=True)
    found = []
    for number, day in enumerate(made.days, 1):
        shutil.copyfile(day.batch, inbox / day.batch.name)
        found.append(timed(settings))
        published = [e for e in here.ledger.entries() if isinstance(e.event, Published)]
        assert len(published) == number, f"run {number} did not publish its batch"
    return found


def timed(settings: Settings) -> dict[str, float]:
    """One run."""
    marks = [("launch", time.monotonic())]
    launch.run("infer", "bookings", settings, lambda step: marks.append((step, time.monotonic())))
    end = time.monotonic()
    seconds: Counter[str] = Counter(wall=end - marks[0][1])
    for (step, began), (_, ended) in zip(marks, [*marks[1:], ("", end)], strict=True):
        seconds[step] += ended - began
    return dict(seconds)


def table(found: list[dict[str, float]], rows: int) -> None:
    """Medians and shares."""
    shown = Table("step", "s", "share", title=f"infer, {rows:,} rows, median of {len(found)}", title_justify="left")
    wall = statistics.median(f["wall"] for f in found)
    for step in found[0]:
        seconds = statistics.median(f[step] for f in found)
        shown.add_row(step, f"{seconds:.2f}", f"{seconds / wall:.0%}")
    Console().print(shown)


def generator() -> ModuleType:
    """data/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "data" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
