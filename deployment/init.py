"""Brings the line to where a schedule has work, and keeps it there: infrastructure, first days of data, first champion.

    python deployment/init.py

It looks at the store every few seconds. An emulator that was restarted has lost everything; then all of it is made
again, without a hand. Where all is there, nothing is changed. FUSELINE_INFRA says who makes the infrastructure:
`terraform` (default; applied here, to the emulator that AWS_ENDPOINT_URL names) or `none` (somebody else has made it).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from fuseline.bootstrap import line
from fuseline.errors import FuselineError

PROJECT = os.environ.get("PROJECT", "bookings")
FIRST_DAYS = os.environ.get("FIRST_DAYS", "7")  # the eighth is the first incident
EVERY, AFTER_FAILURE = 5.0, 15.0  # seconds
READY = Path("/tmp/ready")  # what the health check looks at
WORK = Path("/var/lib/terraform")  # a volume: terraform's state and providers outlive the container
MODULE = Path(__file__).resolve().parent / "terraform"


class Failed(Exception):
    """A command ended badly; its output is in the log."""


def say(text: str) -> None:
    """A line of the log."""
    print(f"{datetime.now(UTC):%H:%M:%S} init: {text}", flush=True)


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command to its end, its output in our log. Raises Failed."""
    if code := subprocess.run(command, cwd=cwd, check=False).returncode:
        raise Failed(f"`{' '.join(command)}` ended with exit code {code}")


def missing() -> str:
    """What is not there yet, in words; empty where the line can run."""
    try:
        state = line(PROJECT).ledger.state()
    except FuselineError as error:
        return str(error)
    return "" if state.champion else f"{PROJECT} has no champion"


def answers(endpoint: str) -> bool:
    """Whether somebody listens at an address such as `http://localstack:4566`; an empty one is AWS itself."""
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=3).close()
    except OSError:
        return not endpoint
    return True


def infrastructure() -> None:
    """Bucket, keys, topic, queues and roles. A second time it changes nothing."""
    if os.environ.get("FUSELINE_INFRA", "terraform") != "terraform":
        return
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if not endpoint:
        raise Failed("AWS_ENDPOINT_URL is empty: for AWS itself run `make infra` yourself, and set FUSELINE_INFRA=none")
    module = WORK / "module"
    shutil.copytree(MODULE, module, dirs_exist_ok=True)
    run("terraform", "init", "-input=false", "-no-color", cwd=module)
    bucket = os.environ["FUSELINE_STORE"].removeprefix("s3://").partition("/")[0]
    variables = {
        "endpoint": endpoint,
        "region": os.environ["AWS_DEFAULT_REGION"],
        "bucket": bucket,
        "projects": f'["{PROJECT}"]',
        "force_destroy": "true",
    }
    run(
        *("terraform", "apply", "-input=false", "-auto-approve", "-no-color", "-compact-warnings", "-parallelism=20"),
        *(f"-var={name}={value}" for name, value in variables.items()),
        cwd=module,
    )


def bring_up() -> None:
    """Everything that the schedule needs. Raises Failed."""
    infrastructure()
    run("fuseline", "doctor")
    run("make", "-s", "data")
    run(sys.executable, "data/simulate.py", "--first", FIRST_DAYS)
    if missing():
        run("make", "-s", "train")


def mend(endpoint: str) -> str:
    """Bring up what is missing; returns what still stands in the way, empty for nothing."""
    if not answers(endpoint):
        return f"{endpoint} does not answer: start it again; what it has lost is made anew then"
    if why := missing():
        READY.unlink(missing_ok=True)
        say(f"the line is not ready: {why.splitlines()[0]}")
        try:
            bring_up()
        except Failed as error:
            return f"{error}; the reason is above. It is tried again"
    return ""


def main() -> None:
    """Look, mend, wait, for ever."""
    endpoint, before = os.environ.get("AWS_ENDPOINT_URL", ""), None
    while True:
        trouble = mend(endpoint)
        if trouble:
            READY.unlink(missing_ok=True)
        else:
            READY.touch()
        if trouble != before:
            say(trouble or "ready: the line has a champion, and the schedule has work")
        before = trouble
        time.sleep(AFTER_FAILURE if trouble and answers(endpoint) else EVERY)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
