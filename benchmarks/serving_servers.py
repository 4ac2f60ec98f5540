"""The servers of the benchmark: how each is started, asked and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import COLUMNS, NUMBERS

PEERS = Path(__file__).resolve().parent / "serving_peers"
PATIENCE = 60.0  # seconds until a server answers, and for any one answer
LIBRARIES = """
import importlib.metadata as m, json, platform, sys
print(json.dumps({"python": platform.python_version(), **{n: m.version(n) for n in sys.argv[1:]}}))
"""
Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        command: what starts it at a port.
        hooks: whether it serves the project with hooks.
        path: of predictions.
        encode: records to a body.
        scores: an answer to scores.
        uses: Python of it, and the libraries that matter.
    """

    name: str
    command: Callable[[int], list[str]]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    hooks: bool = False
    ours: bool = False
    path: str = "/predict"
    encode: Callable[[Records], bytes] = lambda rows: _json(rows if len(rows) > 1 else rows[0])
    scores: Callable[[bytes], list[float]] = lambda answer: json.loads(answer)["predictions"]
    uses: tuple[str, ...] = ()

    def libraries(self) -> dict[str, str]:
        """Versions of what it runs on."""
        done = subprocess.run(
            [self.uses[0], "-c", LIBRARIES, *self.uses[1:]], capture_output=True, text=True, check=True
        )
        return dict(json.loads(done.stdout))


def servers(root: Path, peers: Path) -> tuple[list[Server], dict[str, str]]:
    """All servers that can run here, and why others cannot.

    Args:
        root: holds `projects` and `store` with the versions that were trained.
        peers: environment of the peers.
    """
    own, other = sys.executable, str(peers.absolute() / "bin" / "python")
    fuseline = str(Path(own).with_name("fuseline"))

    def model(name: str) -> dict[str, str]:
        return {"BENCH_MODEL": str(root / "store" / name / "versions" / "v0001" / "artifacts" / "model.joblib")}

    env, hooked = model("bench"), model("hooked") | {"BENCH_HOOKS": str(root / "projects" / "hooked" / "predict.py")}
    base = ("scikit-learn", "pandas", "numpy", "uvicorn")

    def script(python: str, name: str, *more: str) -> Callable[[int], list[str]]:
        return lambda port: [python, str(PEERS / f"{name}.py"), *more, str(port)]

    def ours(name: str) -> Callable[[int], list[str]]:
        return lambda port: [fuseline, "serve", name, "--port", str(port)]

    def score(answer: bytes) -> list[float]:
        return [one["score"] for one in json.loads(answer)["predictions"]]

    mine = {"folder": root, "ours": True, "scores": score, "uses": (own, "fuseline", *base)}
    plain = {"folder": PEERS, "uses": (own, "fastapi", *base)}
    bento = str(Path(other).with_name("bentoml"))
    found = [
        Server("Fuseline", ours("bench"), **mine),
        Server("FastAPI + pandas", script(own, "peer_fastapi"), environment=env, **plain),
        Server("LitServe", script(other, "peer_litserve"), PEERS, env, uses=(other, "litserve", *base)),
        Server(
            "MLServer",
            script(other, "peer_mlserver", str(root / "mlserver")),
            PEERS,
            env,
            path="/v2/models/peer/infer",
            encode=_tensors,
            scores=lambda answer: json.loads(answer)["outputs"][0]["data"],
            uses=(other, "mlserver", *base),
        ),
        Server(
            "BentoML",
            lambda port: [
                bento,
                "serve",
                "peer_bentoml:Peer",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--working-dir",
                str(PEERS),
            ],
            PEERS,
            env | {"BENTOML_HOME": str(root / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"},
            encode=lambda rows: _json({"records": rows}),
            scores=json.loads,
            uses=(other, "bentoml", *base),
        ),
        Server("Fuseline (hooks)", ours("hooked"), hooks=True, **mine),
        Server("FastAPI + pandas (hooks)", script(own, "peer_fastapi"), environment=hooked, hooks=True, **plain),
    ]
    missing = {}
    for one in found:
        try:
            one.libraries()
        except (subprocess.CalledProcessError, OSError):
            missing[one.name] = f"{one.uses[1]} is not in {Path(one.uses[0]).parent.parent} (`make serving-peers`)"
    return [one for one in found if one.name not in missing], missing


class Running:
    """A server that runs, in a session of its own; leaving the context ends it with all that it started."""

    def __init__(self, server: Server, log: Path) -> None:
        self.server, self.log, self.port = server, log, _free_port()
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def __enter__(self) -> Running:
        environment = {
            **os.environ,
            **self.server.environment,
            "FUSELINE_STORE": "store",
            "FUSELINE_PROJECTS": "projects",
        }
        with self.log.open("wb") as log:
            self.began = time.perf_counter()
            self.process = subprocess.Popen(
                self.server.command(self.port),
                cwd=self.server.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, number)  # the group is the one that we made
            except ProcessLookupError:
                break
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait(5)

    def first_answer(self, body: bytes) -> float:
        """Seconds from the start of the process to its first prediction."""
        while time.perf_counter() < self.began + PATIENCE:
            try:
                self.ask(body)
                return time.perf_counter() - self.began
            except (OSError, http.client.HTTPException, RuntimeError):
                self._connection.close()
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{self.server.name} did not answer within {PATIENCE:.0f} s; it said:\n{said}")

    def cpu(self) -> float:
        """CPU seconds of all its processes so far: unlike requests per second, hardly changed by what else runs."""
        import psutil

        tree = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in (tree, *tree.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def hang_up(self) -> None:
        """Take a new connection for the next request."""
        self._connection.close()

    def ask(self, body: bytes) -> tuple[bytes, float]:
        """The answer, and the seconds that it took. Raises RuntimeError where it is no prediction."""
        began = time.perf_counter()
        self._connection.request("POST", self.server.path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{self.server.name} answered {response.status}: {answer[:500]!r}")
        return answer, time.perf_counter() - began


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _tensors(rows: Records) -> bytes:
    """Records as the columns of the Open Inference Protocol."""
    inputs = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "FP64" if name in NUMBERS else "BYTES",
            "data": [row[name] for row in rows],
        }
        for name in COLUMNS
    ]
    return _json({"inputs": inputs})


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
