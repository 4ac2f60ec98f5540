"""One model behind HTTP: `fuseline serve` beside plain FastAPI, LitServe, MLServer and BentoML.

    python benchmarks/serving.py [--seconds 10] [--rounds 3] [--peers .venv-serving] [--out build/bench-serving.json]

A pipeline of imputer, scaler, one-hot encoder and logistic regression on 14 columns is trained as a project; all serve
the file that this made, each with one worker, through the whole path from JSON to JSON. Rounds are interleaved over the
servers, and medians are printed. wrk makes the load; where it is missing, `serving_load.py` does, which takes more of
the machine from the servers. "hooks" is a project whose predict.py has code of its own: it cannot be folded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "serving_peers"))

import pandas as pd
from rows import COLUMNS, draw
from serving_servers import Running, Server, servers

HERE = Path(__file__).resolve().parent
TOML = """target = "y"
id = "id"
[sources.history]
path = "data/history.parquet"
"""
TRAIN = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def train(data, target):
    numbers = list(data.select_dtypes("number"))
    text = [c for c in data if c not in numbers]
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), text))
    return make_pipeline(columns, LogisticRegression(max_iter=300)).fit(data, target)
"""
HOOKS = """
def preprocess(data, artifacts):
    data["n0"] = data["n0"].clip(-10, 10)
    data["country"] = data["country"].str.lower()
    return data

def predict(data, artifacts):
    return artifacts["model"].predict_proba(data)[:, 1]
"""
SINGLE, EQUAL, REPEATS = 1_000, 1_000, 20  # bodies of one record; rows that are compared; requests with many records


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=3, help="with load")
    parser.add_argument("--starts", type=int, default=5, help="of each server; one a round, the last ones without load")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--many", type=int, default=10_000, help="records in one request")
    parser.add_argument("--peers", type=Path, default=Path(".venv-serving"), help="the peers' environment")
    parser.add_argument("--only", default="", help="names of servers, with commas between them")
    parser.add_argument("--out", type=Path, default=Path("build/bench-serving.json"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # one worker is one thread, in all of them
    with tempfile.TemporaryDirectory(prefix="fuseline-bench-") as name:
        found = measure(Path(name), options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    for hooks in (False, True):
        table([one for one in found["servers"] if one["hooks"] is hooks], options)
    print(f"load by {found['load']}; the whole of it: {options.out}")


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All servers, once a round."""
    expected = {False: prepare(root, "bench", ""), True: prepare(root, "hooked", HOOKS)}
    chosen, missing = servers(root, options.peers)
    for name, why in missing.items():
        print(f"{name} is left out: {why}")
    if options.only:
        chosen = [one for one in chosen if one.name in options.only.split(",")]
    found = {one.name: result(one) for one in chosen}
    single = draw(SINGLE, seed=3, unseen=0.02)
    many = records(draw(options.many, seed=4, unseen=0.02))
    for turn in range(max(options.starts, options.rounds)):
        for server in chosen if turn % 2 == 0 else chosen[::-1]:
            mine = found[server.name]
            with Running(server, root / f"{server.name}-{turn}.log") as running:
                first = server.encode(records(single.head(1)))
                if turn < options.starts:
                    mine["start_s"].append(running.first_answer(first))
                else:
                    running.first_answer(first)
                if turn == 0:
                    mine["difference"] = difference(running, equal_rows(), expected[server.hooks])
                if turn < options.rounds:
                    bodies = root / f"{server.name}.bodies"
                    bodies.write_bytes(b"\n".join(server.encode([r]) for r in records(single)) + b"\n")
                    load(running, bodies, 1.0, options.connections)
                    mine["load"].append(load(running, bodies, options.seconds, options.connections))
                    running.hang_up()  # a connection that was idle so long may be closed at the other end
                    body = server.encode(many)
                    mine["many_ms"] += [running.ask(body)[1] * 1e3 for _ in range(-(-REPEATS // options.rounds))]
            print(f"round {turn + 1}: {server.name} {said(mine)}", flush=True)
    return {
        "load": "wrk" if shutil.which("wrk") else "serving_load.py",
        "connections": options.connections,
        "seconds": options.seconds,
        "many": options.many,
        "missing": missing,
        "servers": list(found.values()),
    }


def result(server: Server) -> dict[str, Any]:
    """What is known before the first round."""
    return {
        "name": server.name,
        "hooks": server.hooks,
        "ours": server.ours,
        "libraries": server.libraries(),
        "start_s": [],
        "load": [],
        "many_ms": [],
    }


def prepare(root: Path, name: str, predict: str) -> list[float]:
    """Train a project, and score the rows that are compared by the batch flow: the scores in their order."""
    from fuseline.bootstrap import line as line_of
    from fuseline.settings import Settings

    folder = root / "projects" / name
    folder.mkdir(parents=True)
    (root / "data").mkdir(exist_ok=True)
    draw(20_000, seed=1).reset_index(names="id").to_parquet(root / "data" / "history.parquet", index=False)
    for file, text in (("project.toml", TOML), ("train.py", TRAIN), ("predict.py", predict)):
        (folder / file).write_text(text, encoding="utf-8")
    settings = replace(Settings(), store=str(root / "store"), projects=root / "projects", shards=1, user="bench")
    training = line_of(name, settings=settings).training()
    plan = training.plan("bench")
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))
    aside = root / f"store-{name}"  # its breaker may open: the rows are odd on purpose
    shutil.copytree(root / "store", aside)
    inbox = aside / "inbox" / name
    inbox.mkdir(parents=True)
    equal_rows().drop(columns="y").reset_index(names="id").to_parquet(inbox / "rows.parquet", index=False)
    inference = line_of(name, settings=replace(settings, store=str(aside))).inference("bench")
    plan_ = inference.plan()
    scored = [inference.score(job, piece) for job, piece in plan_.pieces]
    inference.settle([inference.assess(job, scored) for job in plan_.jobs])
    (staged,) = (aside / name / "batches").rglob("predictions.parquet")
    scores = pd.read_parquet(staged).astype({"id": int}).sort_values("id")["score"].tolist()
    assert len(scores) == EQUAL, f"{len(scores)} of {EQUAL} rows were scored"
    return scores


def equal_rows() -> pd.DataFrame:
    """The rows that are compared: nulls, and levels that training never saw."""
    return draw(EQUAL, seed=2, unseen=0.05)


def records(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them, null for what is missing."""
    plain = data[COLUMNS].astype(object).where(data[COLUMNS].notna(), None)
    return plain.to_dict(orient="records")


def difference(running: Running, rows: pd.DataFrame, expected: Sequence[float]) -> float:
    """The greatest difference from the batch flow over the rows, together and (the first hundred) one by one."""
    server, asked = running.server, records(rows)
    together = server.scores(running.ask(server.encode(asked))[0])
    alone = [server.scores(running.ask(server.encode([r]))[0])[0] for r in asked[:100]]
    assert len(together) == len(expected), f"{server.name} answered {len(together)} rows of {len(expected)}"
    return max(abs(a - b) for a, b in zip([*together, *alone], [*expected, *expected], strict=False))


def load(running: Running, bodies: Path, seconds: float, connections: int) -> dict[str, float]:
    """Requests per second, median and 99th percentile of latency and CPU of a request (ms), and how many failed."""
    url = f"http://127.0.0.1:{running.port}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "-s", str(HERE / "serving.lua")]
    command += [url, "--", str(bodies), running.server.path]
    if shutil.which("wrk") is None:
        command = [sys.executable, str(HERE / "serving_load.py"), str(running.port), str(connections), str(seconds)]
        command += [str(bodies), running.server.path]
    before = running.cpu()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    found = json.loads(done.stdout.splitlines()[-1])
    cpu = (running.cpu() - before) / max(found["requests"], 1) * 1e3
    return {**found, "per_s": found["requests"] / found["seconds"], "cpu_ms": cpu}


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def medians(mine: dict[str, Any]) -> dict[str, float]:
    """Of each figure."""
    keys = ("per_s", "p50_ms", "p99_ms", "cpu_ms")
    figures = {key: statistics.median([run[key] for run in mine["load"]] or [0.0]) for key in keys}
    more = {key: statistics.median(mine[key]) if mine[key] else 0.0 for key in ("many_ms", "start_s")}
    return {**figures, **more}


def said(mine: dict[str, Any]) -> str:
    """One line of the figures so far."""
    now = medians(mine)
    return (
        f"{now['per_s']:,.0f}/s, p50 {now['p50_ms']:.2f} ms, p99 {now['p99_ms']:.2f} ms, "
        f"many {now['many_ms']:.1f} ms, start {now['start_s']:.2f} s"
    )


def table(found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Medians, and what they are of the best peer's: more requests are better, and less time."""
    from rich.console import Console
    from rich.table import Table

    if not found:
        return
    what = "with hooks" if found[0]["hooks"] else "a pipeline"
    title = f"{what}: {options.connections} connections, one worker; {options.many:,} records in one request"
    heads = ("requests/s", "p50 ms", "p99 ms", "CPU ms", "many ms", "start s", "difference", "failed")
    shown = Table("server", *heads, title=title)
    for one in found:
        now = medians(one)
        failed = sum(run["failed"] for run in one["load"])
        row = [
            f"{now['per_s']:,.0f}",
            *(f"{now[k]:.2f}" for k in ("p50_ms", "p99_ms", "cpu_ms")),
            f"{now['many_ms']:.1f}",
        ]
        shown.add_row(one["name"], *row, f"{now['start_s']:.2f}", f"{one.get('difference', 0):.1e}", f"{failed:.0f}")
    ours, peers = [o for o in found if o["ours"]], [o for o in found if not o["ours"]]
    if ours and peers:
        mine, theirs = medians(ours[0]), [medians(one) for one in peers]
        ratios = [f"{mine['per_s'] / max(t['per_s'] for t in theirs):.1f}x"]
        keys = ("p50_ms", "p99_ms", "cpu_ms", "many_ms", "start_s")
        ratios += [f"{mine[k] / min(t[k] for t in theirs):.2f}x" for k in keys]
        shown.add_row("[bold]Fuseline / best peer", *ratios, "", "")
    Console(width=118).print(shown)


if __name__ == "__main__":
    main()
