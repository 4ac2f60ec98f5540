"""`fuseline serve` for real: the ledger followed under load, and models that misbehave."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from fuseline.bootstrap import Line, line
from fuseline.models import promote, rollback
from fuseline.records import Reset, Trip, Tripped
from fuseline.settings import Settings

RECORD = {"price": 20.0, "age": 31, "colour": "red"}
WAIT = 60.0  # seconds until something must have happened, on a machine that is busy


def until(happens: Callable[[], Any]) -> Any:
    """What `happens` returns, once that is true."""
    end = time.monotonic() + WAIT
    while not (found := happens()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


class Client:
    """Asks one server, each time by a connection of its own: one that is kept may be closed as it is used."""

    def __init__(self, address: str) -> None:
        fresh = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=address, timeout=WAIT, trust_env=False, limits=fresh)

    def ask(self, body: Any = RECORD, **options: Any) -> httpx.Response:
        return self.http.post("/predict", json=body, **options)

    def version(self) -> str:
        return str(self.ask().json().get("version", ""))


@pytest.fixture(scope="module")
def root(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of our own to promote and trip, with two versions that score alike."""
    made = tmp_path_factory.mktemp("followed") / "root"
    shutil.copytree(trained, made, ignore=shutil.ignore_patterns("*.log"))
    first, second = (made / "store" / "tiny" / "versions" / name for name in ("v0001", "v0002"))
    shutil.copytree(first, second)
    manifest = second / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"v0001"', b'"v0002"'))
    here = at(made)
    here.models.register(here.ledger, here.models.manifest("v0002"))
    return made


def at(root: Path) -> Line:
    return line("tiny", settings=Settings(store=str(root / "store"), projects=root / "projects", user="test"))


@pytest.fixture(scope="module")
def client(root: Path, start: Callable[..., str]) -> Iterator[Client]:
    variables = {"FUSELINE_STORE": str(root / "store"), "FUSELINE_PROJECTS": str(root / "projects")}
    one = Client(start("tiny", root, "--log-requests", **variables, FUSELINE_API_KEYS=""))
    with one.http:
        yield one


def test_promotions_and_rollbacks_drop_no_request(client, root):
    address, over, answers = str(client.http.base_url), threading.Event(), list[httpx.Response]()

    def hammer() -> None:
        with httpx.Client(base_url=address, timeout=WAIT, trust_env=False) as mine:
            while not over.is_set():
                answers.append(mine.post("/predict", json=[RECORD] * 3))

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(hammer)
        try:
            promote(at(root).ledger, "v0002", "better")
            until(lambda: client.version() == "v0002")
            rollback(at(root).ledger, "worse after all")
            until(lambda: client.version() == "v0001")
        finally:
            over.set()
    assert len(answers) > 20 and {answer.status_code for answer in answers} == {200}
    assert {answer.json()["version"] for answer in answers} == {"v0001", "v0002"}
    assert {answer.text.replace("v0002", "v0001") for answer in answers} == {answers[0].text.replace("v0002", "v0001")}


def test_an_open_breaker_answers_nobody_and_says_why_and_when(client, root):
    trip = Trip("2999-01-01T00:00:00+00:00")
    at(root).ledger.append(lambda state: Tripped("prices are in cents", trip))
    refused = until(lambda: (answer := client.ask()).status_code == 503 and answer)
    assert refused.json()["type"] == "urn:fuseline:problem:breaker-open" and int(refused.headers["retry-after"]) > 1000
    assert "prices are in cents" in refused.json()["detail"]
    assert client.http.get("/readyz").json()["breaker"] == "open"
    at(root).ledger.append(lambda state: Reset("mended"))
    until(lambda: client.ask().status_code == 200)


BAD = """
import os, time

kept = []

def setup():
    return None

def predict(data):
    match data["do"]:
        case "raise":
            return 1 / 0
        case "hang":
            time.sleep(3600)
        case "leak":
            kept.append(b"x" * (190 << 20))
        case "die":
            os._exit(7)
        case "exit":
            raise SystemExit(3)
        case "huge":
            return float("inf")
        case "strange":
            return object()
    return os.getpid()
"""


@pytest.fixture(scope="module")
def bad(start: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "model.py").write_text(BAD, encoding="utf-8")
    one = Client(start("model.py", folder, "--timeout", "1", "--max-memory", "200", FUSELINE_API_KEYS=""))
    with one.http:
        yield one


def pid(client: Client) -> int:
    """Which process answers; 0 while none does."""
    try:
        answer = client.ask({"do": "nothing"})
    except httpx.TransportError:
        return 0
    return int(answer.json()["predictions"]) if answer.status_code == 200 else 0


@pytest.mark.parametrize(("what", "status"), [("raise", 500), ("exit", 500), ("strange", 500), ("huge", 200)])
def test_a_model_that_fails_is_told_from_a_server_that_does(bad, what, status):
    answer = bad.ask({"do": what})
    assert answer.status_code == status
    if status == 500:
        assert answer.json()["type"] == "urn:fuseline:problem:model-failed"
    else:
        assert answer.json()["predictions"] is None  # JSON has no infinity
    assert bad.ask({"do": "nothing"}).status_code == 200


def test_a_model_that_hangs_is_given_up_and_its_process_replaced(bad):
    before = until(lambda: pid(bad))
    answer = bad.ask({"do": "hang"})
    assert (answer.status_code, answer.json()["limit"]) == (504, 1.0)
    assert until(lambda: (now := pid(bad)) not in (0, before) and now)


def test_a_model_that_leaks_is_replaced(bad):
    before = until(lambda: pid(bad))
    bad.ask({"do": "leak"})
    assert until(lambda: (now := pid(bad)) not in (0, before) and now)


def test_a_model_that_ends_its_process_is_started_again(bad):
    before = until(lambda: pid(bad))
    with pytest.raises(httpx.TransportError):
        bad.ask({"do": "die"})
    assert until(lambda: (now := pid(bad)) not in (0, before) and now)


def test_a_body_of_100_mb_is_refused_before_it_is_read(bad):
    connection = HTTPConnection(bad.http.base_url.host, bad.http.base_url.port or 80, timeout=WAIT)
    with closing(connection):
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", "100000000")
        connection.endheaders(b"[")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert json.loads(answer.read())["limit"] == 64 << 20


def test_what_was_asked_is_a_batch_when_the_server_has_ended(trained, tmp_path, until_end):
    root = tmp_path / "root"
    shutil.copytree(trained, root, ignore=shutil.ignore_patterns("*.log"))
    history = pd.read_parquet(root / "data" / "history.parquet").tail(300).drop(columns="bought")
    rows = json.loads(history.to_json(orient="records"))
    variables = {"FUSELINE_STORE": str(root / "store"), "FUSELINE_PROJECTS": str(root / "projects")}
    with until_end("tiny", root, "--log-requests", **variables, FUSELINE_API_KEYS="") as address:
        client = Client(address)
        with client.http:
            answers = [client.ask(rows[i : i + 50]).json() for i in range(0, 300, 50)]
    here = at(root)
    inference = here.inference("a1")
    plan = inference.plan()
    found = [inference.score(job, piece) for job, piece in plan.pieces]
    inference.settle([inference.assess(job, [s for s in found if s.batch == job.batch]) for job in plan.jobs])
    (file,) = here.store.list("tiny/predictions/")
    with here.store.local(file.key) as path:
        published = pd.read_parquet(path).astype({"id": int}).sort_values("id")
    scores = [one["score"] for answer in answers for one in answer["predictions"]]
    assert list(published["score"]) == pytest.approx(scores, abs=1e-12)
    (kept,) = here.store.list("tiny/requests/")
    lines = [json.loads(text) for text in here.store.get(kept.key).splitlines()]
    assert [row for line in lines for row in line["asked"]] == rows
    assert [line["answered"] for line in lines] == answers
