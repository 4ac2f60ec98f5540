"""Run the tests that talk to an S3 server against LocalStack: `make test-localstack`.

LocalStack is started on a free port of this machine, from its package where there is a Python that it runs on (in an
environment of its own, `.venv-localstack`, made once), else as a container. It is ended again whatever happens.

LOCALSTACK_PYTHON names a Python that is not on the PATH, AWS_EMULATOR_IMAGE another image. What follows on the command
line goes to pytest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-localstack.lock"
VENV = ROOT / ".venv-localstack"
IMAGE = "localstack/localstack:4.14.0"  # the last one that needs no account
READY_WITHIN = 90  # seconds

# On Python 3.12 LocalStack lacks one name that 3.13 has; 3.11 cannot read its code.
START = """
import warnings
from typing_extensions import deprecated
warnings.deprecated = getattr(warnings, "deprecated", deprecated)
from localstack.runtime.main import main
main()
"""


def main(options: list[str]) -> int:
    """The exit code of pytest."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that LocalStack is ended then, too
    os.environ.pop("AWS_PROFILE", None)  # it may name credentials that are not there
    tests = [sys.executable, "-m", "pytest", "-m", "s3", "-n", "2", "--dist", "worksteal", *(options or ["tests"])]
    with tempfile.TemporaryDirectory(prefix="fuseline-localstack-") as folder, _localstack(Path(folder)) as endpoint:
        settings = {"FUSELINE_TEST_S3": endpoint, "OMP_NUM_THREADS": "1"}
        return subprocess.run(tests, cwd=ROOT, env=os.environ | settings, check=False).returncode


@contextmanager
def _localstack(folder: Path) -> Iterator[str]:
    """The endpoint of a LocalStack that answers; `folder` is for what it writes."""
    python = _python()
    if python is None and not _docker():
        sys.exit(
            "LocalStack needs Python 3.12 or 3.13, or a running docker engine, and neither was found. Name a Python: "
            "make test-localstack LOCALSTACK_PYTHON=/path/to/python3.13. `make test` needs neither"
        )
    with _package(_environment(python), folder) if python else _container(folder) as (process, endpoint):
        print(f"LocalStack is started at {endpoint}, {'from its package' if python else 'as a container'}", flush=True)
        try:
            _wait(process, endpoint)
        except BaseException:
            sys.stderr.write(_log(folder).read_text(errors="replace")[-3000:])
            raise
        yield endpoint


def _docker() -> bool:
    """Whether there is an engine that runs."""
    return bool(shutil.which("docker")) and _well("docker", "info")


def _well(*command: str) -> bool:
    """Whether a command ends well, whatever it says."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _log(folder: Path) -> Path:
    return folder / "log"


def _python() -> str | None:
    """A Python that LocalStack runs on and that can make an environment."""
    named = os.environ.get("LOCALSTACK_PYTHON")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    there = ["python3.13", "python3.12", *map(str, sorted(pyenv.glob("3.1[23].*/bin/python"), reverse=True))]
    fit = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 12), (3, 13)))"
    for name in [named] if named else there:
        found = shutil.which(name)
        if found and _well(found, "-c", fit):  # a shim of pyenv is found, and may fail
            return found
    if named:
        sys.exit(f"LOCALSTACK_PYTHON is {named!r}, but that is no Python 3.12 or 3.13 with venv and ensurepip")
    return None


def _environment(python: str) -> Path:
    """The Python of an environment that holds exactly what the lock says."""
    mark, wanted = VENV / ".ready", f"{python} {hashlib.sha256(LOCK.read_bytes()).hexdigest()}"
    if not mark.exists() or mark.read_text() != wanted:
        print(f"{VENV.name} is made from {LOCK.name}, once: half a minute", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", VENV], check=True)
        pip = [VENV / "bin" / "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
        subprocess.run([*pip, "-r", LOCK], check=True)
        mark.write_text(wanted)
    return VENV / "bin" / "python"


@contextmanager
def _package(python: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """LocalStack in a process of its own."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "GATEWAY_LISTEN": address,
        "FILESYSTEM_ROOT": str(folder),
        "LOCALSTACK_VOLUME_DIR": str(folder / "volume"),
        "TMPDIR": str(folder),
        "DNS_ADDRESS": "0",  # no name server
        "DISABLE_EVENTS": "1",  # no reports of its use
        "SKIP_SSL_CERT_DOWNLOAD": "1",
    }
    # A session of its own, so that Ctrl-C ends the tests first.
    with _log(folder).open("wb") as log:
        process = subprocess.Popen(
            [python, "-c", START], env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process, f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _container(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """LocalStack in a container."""
    name = f"fuseline-localstack-{os.getpid()}"
    image = os.environ.get("AWS_EMULATOR_IMAGE", IMAGE)
    command = [
        "docker",
        "run",
        "--rm",
        "--name",
        name,
        "--publish",
        "127.0.0.1::4566",
        "--env",
        "LOCALSTACK_AUTH_TOKEN",
    ]
    with _log(folder).open("wb") as log:
        process = subprocess.Popen([*command, image], stdout=log, stderr=log, start_new_session=True)
    try:
        yield process, f"http://{_published(process, name)}"
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        process.wait()


def _published(process: subprocess.Popen[bytes], name: str) -> str:
    """The address of the container's port, once it has one: a pull of the image takes minutes."""
    while process.poll() is None:
        said = subprocess.run(["docker", "port", name, "4566/tcp"], capture_output=True, text=True, check=False)
        if said.returncode == 0 and said.stdout:
            return said.stdout.splitlines()[0]
        time.sleep(0.5)
    return "127.0.0.1:0"


def _wait(process: subprocess.Popen[bytes], endpoint: str) -> None:
    """Until S3 answers a real request: the health page says that it is available before, and where it is broken."""
    import boto3.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    session = boto3.session.Session("test", "test", region_name="us-east-1")
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, proxies={})
    until, reason = time.monotonic() + READY_WITHIN, "it has ended"
    with closing(session.client("s3", endpoint_url=endpoint, config=config)) as client:
        while process.poll() is None and time.monotonic() < until:
            try:
                client.list_buckets()
            except (BotoCoreError, ClientError) as error:
                reason = str(error)
                time.sleep(0.2)
            else:
                return
    sys.exit(f"LocalStack does not serve S3 at {endpoint}: {reason}. The end of its log is above")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
