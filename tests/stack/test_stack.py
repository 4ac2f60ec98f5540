"""The compose stack as its user meets it: it publishes, halts, tells people, recovers, loses its store, comes back.

`make test-stack` runs it. It needs a Docker engine and docker-compose (v1 or v2) and about twelve minutes. Where the
image of Ofelia cannot be had, the commands of ofelia.ini are run at their times as it would run them, by `docker exec`.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("FUSELINE_TEST_STACK"), reason="`make test-stack` runs this")

ROOT = Path(__file__).resolve().parents[2]
PAGE = "http://127.0.0.1:8080"
WITHOUT_OFELIA = ("localstack", "init", "worker", "dashboard")
OFELIA = "mcuadros/ofelia:0.3.21"


def run(*command: str, check: bool = True, timeout: float = 900) -> str:
    """What a command printed; its errors come with what it said."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def compose(*words: str, check: bool = True) -> str:
    program = ("docker-compose",) if shutil.which("docker-compose") else ("docker", "compose")
    return run(*program, *words, check=check)


def inside(*words: str, check: bool = True) -> str:
    """A command in the worker's container, as the schedule runs it."""
    return run("docker", "exec", "--user", "fuseline", "fuseline-worker", *words, check=check)


def fetch(path: str) -> str:
    with urllib.request.urlopen(PAGE + path, timeout=10) as reply:
        return str(reply.read().decode())


def matches(cron: str, now: datetime) -> bool:
    """Whether one of our six-field schedules (numbers, `*`, `*/n`, `a-b/n`) starts its job in this second."""
    values = (now.second, now.minute, now.hour, now.day, now.month, (now.weekday() + 1) % 7)
    return all(_matches(field, value) for field, value in zip(cron.split(), values, strict=True))


def _matches(text: str, value: int) -> bool:
    span, _, step = text.partition("/")
    first, _, last = ("0", "-", "59") if span == "*" else span.partition("-")
    low, high = int(first), int(last or first)
    return low <= value <= high and (value - low) % int(step or 1) == 0


class Schedule(threading.Thread):
    """Does what Ofelia does with ofelia.ini: each command at its time, not again while it is at work."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        config = configparser.ConfigParser()
        config.read(ROOT / "ofelia.ini")
        self.jobs = {name: dict(config[name]) for name in config.sections()}
        self.over = threading.Event()
        self.at_work: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        last = datetime.now(UTC).replace(microsecond=0)
        while not self.over.wait(0.2):
            now = datetime.now(UTC).replace(microsecond=0)
            if now == last:
                continue
            last = now
            for name, job in self.jobs.items():
                before = self.at_work.get(name)
                if matches(job["schedule"], now) and (before is None or before.poll() is not None):
                    self.at_work[name] = subprocess.Popen(
                        ["docker", "exec", "--user", job["user"], job["container"], *job["command"].split()],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )

    def stop(self) -> None:
        self.over.set()
        self.join()
        for process in self.at_work.values():
            process.wait(timeout=120)


@dataclass
class Stack:
    """The running stack, and when what was first seen in it."""

    began: float
    timeline: list[tuple[float, str]] = field(default_factory=list)

    def saw(self, what: str) -> None:
        self.timeline.append((time.monotonic() - self.began, what))
        print(f"{self.timeline[-1][0]:6.0f} s  {what}", flush=True)

    def entries(self) -> list[dict[str, Any]]:
        """The ledger, as the command line tells it; empty while there is none."""
        said = inside("fuseline", "history", "bookings", "--last", "10000", "--json", check=False)
        try:
            return list(json.loads(said))
        except ValueError:
            return []

    def wait_for(self, what: str, found: Callable[[dict[str, Any]], bool], seconds: float = 600) -> dict[str, Any]:
        """The first entry of the ledger that is so."""
        return self.wait(what, lambda: next((e for e in self.entries() if found(e)), None), seconds)

    def wait(self, what: str, look: Callable[[], Any], seconds: float = 600) -> Any:
        """What `look` finds, once it finds something."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if seen := look():
                self.saw(what)
                return seen
            time.sleep(2)
        pytest.fail(f"not seen within {seconds:.0f} s: {what}\n{compose('ps')}\n{compose('logs', '--tail=40')}")


def aws(service: str) -> Any:
    """A client of the stack's emulator, from the host."""
    import boto3.session

    session = boto3.session.Session("test", "test", region_name="us-east-1")
    return session.client(service, endpoint_url="http://127.0.0.1:4566")


def alert(kind: str) -> Callable[[], str | None]:
    """Looks for an alert of a kind in the queue; what it looked at is taken out."""

    def look() -> str | None:
        client = aws("sqs")
        url = "http://127.0.0.1:4566/000000000000/fuseline-alerts"
        for message in client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            body = json.loads(message["Body"])
            if body["MessageAttributes"]["kind"]["Value"] == kind:
                return f"{body['Subject']}\n{body['Message']}"
        return None

    return look


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if shutil.which("docker") is None or "Server Version" not in run("docker", "info", check=False):
        pytest.skip("there is no Docker engine")
    if run("docker", "ps", "--all", "--quiet", "--filter", "name=fuseline-worker").strip():
        pytest.skip("a stack is here already, perhaps with data in it: docker-compose down --volumes first")
    ofelia = OFELIA in run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}")
    schedule = Schedule()
    made = Stack(time.monotonic())
    try:
        compose("build")
        made.saw("images built")
        made.began = time.monotonic()
        compose("up", "--detach", *(() if ofelia else WITHOUT_OFELIA))
        made.saw("up: infrastructure, data and a champion are there")
        if not ofelia:
            schedule.start()
        yield made
    finally:
        if not ofelia and schedule.is_alive():
            schedule.stop()
        compose("down", "--volumes", "--timeout", "5", check=False)


def test_the_line_publishes_halts_tells_people_and_recovers_by_itself(stack: Stack) -> None:
    champion = stack.wait_for("a champion", lambda e: e["kind"] == "promoted")
    assert champion["version"] == "v0001"
    stack.wait_for("a published batch", lambda e: e["kind"] == "published")
    halted = stack.wait_for("an incident is halted", lambda e: e["kind"] == "quarantined" and e["trip"] is not None)
    assert halted["name"] == "2026-03-08" and "multiplied by 100" in halted["assessment"]["causes"][0]["sentence"]
    assert 'fuseline_breaker_state{project="bookings",state="open"} 1.0' in fetch("/metrics")
    told = stack.wait("its alert is in the queue", alert("trip"), 120)
    assert (
        "price_eur looks multiplied by 100" in told
        and f"http://localhost:8080/bookings/batches/{halted['batch']}" in told
    )
    stack.wait_for("a trial passes: recovered", lambda e: e["kind"] == "published" and e["mode"] == "trial")
    assert stack.wait("the recovery is in the queue", alert("recovery"), 120)
    assert not [e for e in stack.entries() if e["kind"] == "published" and e["batch"] == halted["batch"]]
    assert halted["batch"] in fetch("/bookings/")
    assert json.loads(fetch("/readyz"))


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    before = run("docker", "ps", "--quiet", "--no-trunc")
    compose("up", "--detach", *WITHOUT_OFELIA)
    assert run("docker", "ps", "--quiet", "--no-trunc") == before
    stack.saw("up again: nothing changed")


def test_a_store_that_is_lost_in_the_middle_of_a_run_is_named_and_comes_back_without_a_hand(stack: Stack) -> None:
    emulator = compose("ps", "--quiet", "localstack").strip()
    waiting = threading.Thread(target=lambda: (time.sleep(4), run("docker", "kill", emulator)))
    inside("make", "-s", "simulate", check=False)
    waiting.start()
    inside("make", "-s", "infer", check=False)
    waiting.join()
    stack.saw("the emulator is killed in the middle of an inference")
    said = inside("make", "-s", "infer", check=False)
    assert (
        "error:" in said
        and "s3://fuseline" in said
        and "check that the server runs" in said
        and "Traceback" not in said
    )
    run("docker", "start", emulator)
    stack.saw("the emulator is back, and empty")
    stack.wait_for("a champion again", lambda e: e["kind"] == "promoted")
    stack.wait_for("a published batch again", lambda e: e["kind"] == "published")


def test_what_it_took_is_told(stack: Stack) -> None:
    print(run("docker", "stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}\t{{.CPUPerc}}"))
    print(run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}\t{{.Size}}"))
    assert len(stack.timeline) >= 8
