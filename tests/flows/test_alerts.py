"""A flow that fails, works again and fails again, as a schedule would run it; people listen at a web hook."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fuseline.bootstrap import Line, line
from fuseline.records import AlertTried, Failed, Published
from fuseline.settings import Settings

PREDICT = """
from pathlib import Path

if Path({marker!r}).exists():
    raise RuntimeError("the table of rates is gone")
"""


class Hook(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Any]:
    """A server that keeps what it is sent in `got`."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Line:
    """A line whose predict.py raises as long as there is a file `broken`; its champion was trained before."""
    shutil.copytree(trained / "projects", tmp_path / "projects")
    shutil.copytree(trained / "data", tmp_path / "data")
    predict = PREDICT.format(marker=str(tmp_path / "broken"))
    (tmp_path / "projects" / "tiny" / "predict.py").write_text(predict)
    made = line("tiny", settings=Settings(store=str(tmp_path / "store"), projects=tmp_path / "projects", user="tester"))
    training = made.training()
    plan = training.plan("t1")
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))
    return made


def test_a_flow_that_fails_is_told_once_until_it_works_again(here, hook, trained, tmp_path):
    broken = tmp_path / "broken"

    def infer() -> int:
        environment = {
            "FUSELINE_STORE": here.settings.store,
            "FUSELINE_PROJECTS": str(here.settings.projects),
            "FUSELINE_USER": "schedule",
            "FUSELINE_PAGES": "http://localhost:8080/",
            "FUSELINE_ALERTS": f"json://127.0.0.1:{hook.server_port} nosuch://wrong",
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-m", "fuseline.cli", "infer", "tiny"]
        return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False).returncode

    here.store.upload("inbox/tiny/day1.parquet", trained / "day1.parquet")
    broken.touch()
    assert [infer(), infer()] == [1, 1]
    (told,) = hook.got
    assert told["title"] == "tiny: a run failed"
    sentence, _, link = told["message"].splitlines()
    assert sentence.startswith("InferenceFlow failed: ")
    assert "the table of rates is gone" in sentence
    assert link == "http://localhost:8080/tiny/index.html"

    broken.unlink()
    assert infer() == 0
    here.store.upload("inbox/tiny/day2.parquet", trained / "day1.parquet")
    broken.touch()
    assert infer() == 1

    assert [one["title"] for one in hook.got] == ["tiny: a run failed"] * 2
    events = [entry.event for entry in here.ledger.entries()]
    assert [type(e) for e in events if isinstance(e, Failed | Published)] == [Failed, Published, Failed]
    delivered = [name for e in events if isinstance(e, AlertTried) for name in e.delivered]
    assert len(delivered) == 2
    assert {why.split(":")[0] for e in events if isinstance(e, AlertTried) for why in e.failed.values()} == {
        "FUSELINE_ALERTS"
    }
