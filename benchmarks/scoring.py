"""Scoring with contract check, profile and verdict against a plain pandas script that only predicts.

    python benchmarks/scoring.py [--rows 1000000] [--runs 3] [--large 10000000] [--out build/bench-scoring.json]

Both read the same Parquet file of 14 columns (10 numeric, 4 text, 5 % nulls) with the same fitted pipeline and
write Parquet. Each run is a process of its own; runs are interleaved, and medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = [f"n{i}" for i in range(10)]
TEXT = {"country": 30, "channel": 6, "device": 4, "segment": 12}
MODELS = {
    "logistic": "LogisticRegression(max_iter=200)",
    "boosting": "HistGradientBoostingClassifier(max_iter=50, random_state=0)",
}
TOML = """target = "y"
id = "id"
[sources.history]
path = "data/history.parquet"
"""
TRAIN = """
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def train(data, target):
    numbers = list(data.select_dtypes("number"))
    text = [c for c in data if c not in numbers]
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text))
    return make_pipeline(columns, {model}).fit(data, target)
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large", type=int, default=0, help="measure peak memory at so many rows too")
    parser.add_argument("--out", type=Path, default=Path("build/bench-scoring.json"))
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    with tempfile.TemporaryDirectory(prefix="fuseline-bench-") as name:
        found = measure(Path(name), options.rows, options.runs, options.large)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1))
    table(found)
    print(f"\n{options.out}")


def measure(root: Path, rows: int, runs: int, large: int) -> list[dict[str, object]]:
    """All models, ours and the script's, `runs` times each, interleaved."""
    (root / "data").mkdir()
    write(root / "data" / "history.parquet", 40_000, seed=1)
    write(root / "batch.parquet", rows, seed=2)
    found: list[dict[str, object]] = []
    for model, code in MODELS.items():
        folder = root / "projects" / model
        folder.mkdir(parents=True)
        (folder / "project.toml").write_text(TOML)
        (folder / "train.py").write_text(TRAIN.format(model=code))
        run(root, model, "train")
        for _ in range(runs):
            for what in ("script", "fuseline", "profile"):
                print(f"{model} {what} …", end=" ", flush=True)
                found.append({"model": model, "what": what, "rows": rows, **run(root, model, what)})
                print(f"{found[-1]['cpu_s']:.1f} CPU s")
        if large:
            write(root / "batch.parquet", large, seed=3)
            found.append({"model": model, "what": "fuseline", "rows": large, **run(root, model, "fuseline")})
            write(root / "batch.parquet", rows, seed=2)
    return found


def run(root: Path, model: str, what: str) -> dict[str, float]:
    """One run in a process of its own: wall and CPU seconds, peak memory in MB."""
    began = time.monotonic()
    command = [sys.executable, __file__, "--worker", str(root), model, what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall = time.monotonic() - began
    return {"wall_s": wall, **json.loads(done.stdout.splitlines()[-1])}


def worker(root_name: str, model: str, what: str) -> None:
    """What one process does."""
    root = Path(root_name)
    {"train": train, "script": script, "fuseline": fuseline, "profile": profile}[what](root, model)
    used = resource.getrusage(resource.RUSAGE_SELF)
    document = {"cpu_s": used.ru_utime + used.ru_stime, "memory_mb": used.ru_maxrss / 1024}
    if what == "profile":
        document |= PASS
    print(json.dumps(document))


def line(root: Path, model: str):  # type: ignore[no-untyped-def]
    """The bench's line: a project of its own over a folder."""
    from fuseline.bootstrap import line as line_of
    from fuseline.settings import Settings

    settings = replace(Settings(), store=str(root / "store"), projects=root / "projects", shards=1)
    return line_of(model, by="bench", settings=settings)


def train(root: Path, model: str) -> None:
    """Train the version that both use; the script loads its artifact."""
    training = line(root, model).training()
    plan = training.plan("bench")
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))


def script(root: Path, model: str) -> None:
    """What people write: read, predict, write."""
    import joblib
    import pandas as pd

    data = pd.read_parquet(root / "batch.parquet")
    pipeline = joblib.load(root / "store" / model / "versions" / "v0001" / "artifacts" / "model.joblib")
    scores = pipeline.predict_proba(data[[*NUMBERS, *TEXT]])[:, 1]
    pd.DataFrame({"id": data["id"], "score": scores}).to_parquet(root / "script.parquet", index=False)


def fuseline(root: Path, model: str) -> None:
    """The same through the line: received, checked, scored, profiled, judged, published."""
    here = line(root, model)
    inbox = root / "store" / "inbox" / model
    inbox.mkdir(parents=True, exist_ok=True)
    os.link(root / "batch.parquet", inbox / f"b{time.time_ns()}.parquet")
    inference = here.inference(f"a{time.time_ns()}")
    plan = inference.plan()
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    (entry,) = inference.settle([inference.assess(job, scores) for job in plan.jobs])
    assert entry.event.assessment.verdict in ("pass", "warn"), entry.event.assessment


PASS: dict[str, float] = {}


def profile(root: Path, model: str) -> None:
    """The contract check and the profile alone, on rows that are read already."""
    from fuseline import tables
    from fuseline.contract import check
    from fuseline.profile import Profile

    opened = line(root, model).models.open("v0001")
    contract, bins = opened.contract, opened.bins
    chunks = list(tables.read(root / "batch.parquet", text=contract.text))
    scores = np.random.default_rng(0).random(sum(c.num_rows for _, c in chunks))
    found = Profile.empty(bins, 0)
    began = time.process_time()
    for first, chunk in chunks:
        checked = check(chunk, contract, first)
        found.add(checked.accepted, scores[checked.rows], checked.rows)
    PASS["pass_cpu_s"] = time.process_time() - began


def write(path: Path, rows: int, seed: int) -> None:
    """A file of made-up rows, in row groups of 65,536."""
    rng = np.random.default_rng(seed)
    path.unlink(missing_ok=True)
    writer = None
    for first in range(0, rows, 65_536):
        count = min(65_536, rows - first)
        columns: dict[str, pa.Array] = {"id": pa.array(np.arange(first, first + count))}
        total = np.zeros(count)
        for i, name in enumerate(NUMBERS):
            values = rng.normal(i, 1 + i, count)
            total += (values - i) / (1 + i) * (0.3 if i % 2 else -0.2)
            columns[name] = pa.array(values, mask=rng.random(count) < 0.05)
        for name, levels in TEXT.items():
            codes = rng.integers(0, levels, count)
            total += 0.5 * (codes % 3 == 0)
            texts = np.array([f"{name}-{i}" for i in range(levels)], dtype=object)[codes]
            columns[name] = pa.array(texts, mask=rng.random(count) < 0.05)
        if path.name.startswith("history"):
            columns["y"] = pa.array((rng.random(count) < 1 / (1 + np.exp(-total))).astype(np.int64))
        batch = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(batch, row_group_size=65_536)
    assert writer is not None
    writer.close()


def table(found: list[dict[str, object]]) -> None:
    """Medians, and the ratio to the script of the same model."""
    from rich.console import Console
    from rich.table import Table

    shown = Table("model", "rows", "what", "wall s", "CPU s", "CPU / script", "peak MB", "pass CPU s")
    base: dict[object, float] = {}
    keys = list(dict.fromkeys((f["model"], f["rows"], f["what"]) for f in found))
    for model, rows, what in keys:
        mine = [f for f in found if (f["model"], f["rows"], f["what"]) == (model, rows, what)]
        medians = {k: statistics.median(float(f[k]) for f in mine) for k in ("wall_s", "cpu_s", "memory_mb")}  # type: ignore[arg-type]
        passes = [float(f["pass_cpu_s"]) for f in mine if "pass_cpu_s" in f]  # type: ignore[arg-type]
        if what == "script":
            base[model] = medians["cpu_s"]
        same = rows == found[0]["rows"] and what != "profile"
        shown.add_row(
            str(model),
            f"{rows:,}",
            str(what),
            f"{medians['wall_s']:.1f}",
            f"{medians['cpu_s']:.2f}",
            f"{medians['cpu_s'] / base[model]:.2f}" if same else "",
            f"{medians['memory_mb']:.0f}",
            f"{statistics.median(passes):.2f}" if passes else "",
        )
    Console(width=110).print(shown)


if __name__ == "__main__":
    main()
