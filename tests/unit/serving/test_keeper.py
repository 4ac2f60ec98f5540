from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
import pytest

from fuseline.serving import memory

MAIN = "from kept_app import main\nmain()\n"
MB = 2**20


@dataclass
class Kept:
    """A keeper in a process of its own, with what it and its children say."""

    process: subprocess.Popen[str]
    folder: Path
    port: int = 0
    printed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    said: threading.Condition = field(default_factory=threading.Condition)

    def listen(self, stream: Any, into: list[str]) -> None:
        for line in stream:
            with self.said:
                into.append(line.rstrip("\n"))
                self.said.notify_all()

    def until(self, true: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Wait for something that it says."""
        with self.said:
            assert self.said.wait_for(true, seconds), (self.printed, self.errors)
            return true()

    def prints(self, word: str, times: int = 1) -> None:
        self.until(lambda: self.printed.count(word) >= times)

    def events(self, *names: str) -> list[dict[str, Any]]:
        told = [json.loads(line) for line in self.errors if line.startswith("{")]
        return [event for event in told if event["event"] in names]

    def event(self, name: str, times: int = 1) -> dict[str, Any]:
        """Wait for it to be logged for the nth time."""
        return self.until(lambda: self.events(name)[times - 1 : times])[0]

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, path: str = "/pid") -> str:
        connection = self.connect()
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def asking(self, path: str) -> Asking:
        return Asking(self, path)

    def tell(self, name: str) -> None:
        (self.folder / name).touch()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


class Asking:
    """A request in a thread: its answer, or the error."""

    def __init__(self, kept: Kept, path: str) -> None:
        self.answer: str | Exception | None = None
        self._kept, self._path = kept, path
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.answer = self._kept.ask(self._path)
        except (OSError, HTTPException) as error:
            self.answer = error

    def wait(self, seconds: float = 20.0) -> str | Exception | None:
        self._thread.join(seconds)
        return self.answer


def gone(pid: int, seconds: float = 15.0) -> bool:
    """Whether a process ends in time."""
    try:
        process = psutil.Process(pid)
        process.wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


Begin = Callable[..., Kept]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """`begin(memory=…, patience=…, silence=…)` starts a keeper; it and its children are ended after the test."""
    with ExitStack() as stack:

        def begin(program: str = MAIN, wait: bool = True, **options: Any) -> Kept:
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
            command = [sys.executable, "-c", program, json.dumps({"folder": str(tmp_path), **options})]
            if program.endswith(".py"):
                command[1:3] = [program]
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            kept = Kept(process, tmp_path)
            threads = [
                threading.Thread(target=kept.listen, args=(process.stdout, kept.printed)),
                threading.Thread(target=kept.listen, args=(process.stderr, kept.errors)),
            ]
            for thread in threads:
                thread.start()

            def end() -> None:
                children = psutil.Process(process.pid).children() if process.poll() is None else []
                for _ in range(100):
                    if process.poll() is None:
                        process.send_signal(signal.SIGINT)
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(0.1)
                process.kill()
                process.wait()
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
                for thread in threads:
                    thread.join()  # no process holds its end of the pipe any more
                assert process.stdout and process.stderr
                process.stdout.close()
                process.stderr.close()

            stack.callback(end)
            kept.port = int(kept.until(lambda: kept.printed)[0])
            if wait:
                kept.prints("ready")
            return kept

        yield begin


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_in_flight_finish(begin: Begin, how: int) -> None:
    kept = begin()
    asking = kept.asking("/wait/go")
    kept.prints("waiting")
    os.killpg(kept.process.pid, how)  # as a terminal does: the child gets it, too
    kept.event("stopping")
    with pytest.raises(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", kept.port)).close()
    assert kept.process.poll() is None
    kept.tell("go")
    assert str(asking.wait()).isdigit()
    assert kept.process.wait(5) == 0
    kept.prints("over")
    assert [event["event"] for event in kept.events("stopping", "died", "killed")] == ["stopping"]
    assert len(kept.errors) == 1


def test_a_connection_that_is_idle_does_not_hold_up_the_end(begin: Begin) -> None:
    kept = begin()
    idle, silent = kept.connect(), kept.connect()
    idle.request("GET", "/pid")
    idle.getresponse().read()
    silent.connect()
    began = time.monotonic()
    assert kept.end() == 0
    assert time.monotonic() - began < 5
    idle.close()
    silent.close()


def test_a_request_on_a_connection_that_was_idle_is_answered_while_it_stops(begin: Begin) -> None:
    kept = begin()
    idle = kept.connect()
    idle.request("GET", "/pid")
    idle.getresponse().read()
    kept.process.send_signal(signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", kept.port)).close()
    idle.request("GET", "/pid")
    answer = idle.getresponse()
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    assert answer.read().isdigit()
    assert kept.process.wait(5) == 0


def test_what_takes_longer_than_patience_is_cut_off(begin: Begin) -> None:
    kept = begin(patience=0.2)
    asking = kept.asking("/wait/never")
    kept.prints("waiting")
    assert kept.end() == 0
    assert not str(asking.wait()).isdigit()


def test_a_second_interrupt_ends_at_once(begin: Begin) -> None:
    kept = begin()
    pid = int(kept.ask())
    asking = kept.asking("/wait/never")
    kept.prints("waiting")
    kept.process.send_signal(signal.SIGINT)
    kept.event("stopping")
    began = time.monotonic()
    assert kept.end(signal.SIGINT) == 130
    assert time.monotonic() - began < 3
    assert isinstance(asking.wait(), Exception)
    assert gone(pid)


def test_a_second_sigterm_changes_nothing(begin: Begin) -> None:
    kept = begin()
    asking = kept.asking("/wait/go")
    kept.prints("waiting")
    kept.process.send_signal(signal.SIGTERM)
    kept.event("stopping")
    kept.process.send_signal(signal.SIGTERM)
    kept.tell("go")
    assert str(asking.wait()).isdigit()
    assert kept.process.wait(5) == 0


def test_it_can_be_stopped_before_it_is_ready(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "unready").touch()
    kept = begin(wait=False)
    pid = int(kept.ask())
    assert kept.end() == 0
    assert gone(pid)
    assert "ready" not in kept.printed


def test_a_keeper_that_is_killed_leaves_nothing_behind(begin: Begin) -> None:
    kept = begin()
    pid, asking = int(kept.ask()), kept.asking("/wait/go")
    kept.prints("waiting")
    kept.process.kill()
    assert kept.event("orphaned")["pid"] == pid
    kept.tell("go")
    assert asking.wait() == str(pid)
    assert gone(pid)
    socket.create_server(("127.0.0.1", kept.port)).close()


def test_a_child_without_a_keeper_does_not_wait_for_ever(begin: Begin) -> None:
    kept = begin(patience=0.2)
    pid, asking = int(kept.ask()), kept.asking("/sleep/60")
    kept.prints("sleeping")
    kept.process.kill()
    assert gone(pid)
    assert isinstance(asking.wait(), Exception)


# ── the first one ────────────────────────────────────────────────────────────────────────────────


def test_the_first_child_answers_before_it_is_ready(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "unready").touch()
    kept = begin(wait=False)
    assert kept.ask().isdigit()
    assert "ready" not in kept.printed
    (tmp_path / "unready").unlink()
    kept.prints("ready")
    assert kept.errors == []


@pytest.mark.parametrize(
    ("how", "message"), [("refuse", "the model <m> is not there: train it"), ("unfit", "the model <m> is unfit")]
)
def test_an_error_of_the_first_child_is_that_of_the_keeper(
    begin: Begin, tmp_path: Path, how: str, message: str
) -> None:
    (tmp_path / how).touch()
    kept = begin(wait=False)
    assert kept.process.wait(20) == 2
    kept.until(lambda: kept.errors)
    assert kept.errors == [message]


def test_a_first_child_that_dies_is_an_error(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "crash").touch()
    kept = begin(wait=False)
    assert kept.process.wait(20) == 1
    kept.until(lambda: kept.errors)
    assert kept.errors == [
        "The process that serves failed before it was ready: it ended with code 7. What it wrote above may say why."
    ]


def test_the_program_is_not_run_again_in_a_child(begin: Begin, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"import colorsys\n{MAIN}", encoding="utf-8")
    kept = begin(str(program))
    modules = kept.ask("/modules").split()
    assert "fuseline.serving.child" in modules and "uvicorn" in modules
    assert "colorsys" not in modules


# ── those that come after it ─────────────────────────────────────────────────────────────────────


def test_a_child_that_dies_is_started_again(begin: Begin) -> None:
    kept = begin()
    first = kept.ask()
    assert isinstance(kept.asking("/die").wait(), Exception)
    assert kept.ask() != first
    assert kept.event("died") == {
        "at": kept.event("died")["at"],
        "level": "error",
        "event": "died",
        "reason": "it was ended by signal 11, SIGSEGV",
        "pid": int(first),
    }
    assert kept.event("restarted")["pid"] == int(kept.ask())
    assert kept.printed.count("ready") == 1
    assert kept.end() == 0


def test_connections_wait_while_nobody_is_ready(begin: Begin) -> None:
    kept = begin()
    kept.tell("unready")
    assert isinstance(kept.asking("/die").wait(), Exception)
    kept.event("died")
    asking = kept.asking("/pid")
    kept.prints("starting", 2)
    assert asking.answer is None
    (kept.folder / "unready").unlink()
    assert asking.wait() == str(kept.event("restarted")["pid"])


def test_a_child_that_dies_again_and_again_is_started_less_and_less_often(begin: Begin) -> None:
    kept = begin()
    kept.tell("crash")
    kept.asking("/die").wait()
    assert kept.event("failed")["reason"] == "it ended with code 7; the next one is started in 1 s"
    assert kept.event("failed", 2)["reason"] == "it ended with code 7; the next one is started in 2 s"
    assert kept.end() == 0


def test_a_successor_that_fails_leaves_the_old_one_in_place(begin: Begin) -> None:
    kept = begin()
    kept.tell("refuse")
    old = kept.ask("/replace")
    assert kept.event("failed")["reason"] == ("the model <m> is not there: train it; the next one is started in 1 s")
    assert kept.ask() == old
    (kept.folder / "refuse").unlink()
    replaced = kept.event("replaced")
    assert gone(int(old))
    assert kept.ask() == str(replaced["pid"])


def test_a_successor_answers_nothing_before_it_is_ready(begin: Begin) -> None:
    kept = begin()
    kept.tell("unready")
    old = kept.ask("/replace")
    kept.prints("starting", 2)
    assert {kept.ask() for _ in range(200)} == {old}
    (kept.folder / "unready").unlink()
    replaced = kept.event("replaced")
    assert (replaced["level"], replaced["reason"]) == ("warning", "it was asked to")
    assert gone(int(old))
    assert kept.ask() == str(replaced["pid"])


def test_one_that_is_replaced_finishes_what_it_has_begun(begin: Begin) -> None:
    kept = begin()
    asking = kept.asking("/wait/go")
    kept.prints("waiting")
    old = kept.ask("/replace")
    kept.event("replaced")
    kept.tell("go")
    assert asking.wait() == old
    assert gone(int(old))
    assert kept.events("killed", "died") == []


def test_one_that_never_finishes_is_killed(begin: Begin) -> None:
    kept = begin(patience=0.2)
    kept.tell("unready")
    old, asking = kept.ask("/replace"), kept.asking("/sleep/60")
    kept.prints("sleeping")
    (kept.folder / "unready").unlink()
    killed = kept.event("killed")
    assert (killed["reason"], killed["pid"]) == ("it did not end in time", int(old))
    assert isinstance(asking.wait(), Exception)
    assert kept.ask() == str(kept.event("replaced")["pid"])


def test_no_request_is_lost_while_one_replaces_another(begin: Begin) -> None:
    kept = begin()
    over, lost = threading.Event(), list[str]()
    answers: list[str] = []

    def fresh() -> None:
        while not over.is_set():
            try:
                answers.append(kept.ask("/sleep"))
            except (OSError, HTTPException) as error:
                lost.append(f"fresh: {error!r}")
                return

    def again() -> None:
        connection = kept.connect()  # connects again where the answer says that it is the last
        while not over.is_set():
            try:
                connection.request("GET", "/pid")
                answers.append(connection.getresponse().read().decode())
            except (OSError, HTTPException) as error:
                lost.append(f"again: {error!r}")
                break
        connection.close()

    threads = [threading.Thread(target=work) for work in (fresh, fresh, fresh, again, again)]
    for thread in threads:
        thread.start()
    try:
        for round in (1, 2, 3):
            old = kept.ask("/replace")
            kept.event("replaced", round)
            assert gone(int(old))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert lost == []
    assert len(set(answers)) == 4 and len(answers) > 100


# ── hanging and leaking ──────────────────────────────────────────────────────────────────────────


def test_a_child_in_which_nothing_can_run_any_more_is_replaced(begin: Begin) -> None:
    kept = begin(silence=2)
    old = kept.ask()
    asking = kept.asking("/hang")
    killed = kept.event("killed")
    assert (killed["reason"], killed["pid"]) == ("there was no sign of life for 2 s", int(old))
    assert isinstance(asking.wait(), Exception)
    assert kept.ask() == str(kept.event("restarted")["pid"])
    assert kept.events("died") == []


def test_a_child_that_leaks_gets_a_successor(begin: Begin) -> None:
    kept = begin(memory=150 * MB)
    old = kept.ask("/leak/120")
    replaced = kept.event("replaced")
    assert replaced["reason"].endswith(" MB, over 150 MB")
    assert gone(int(old))
    assert kept.ask() == str(replaced["pid"])
    assert kept.events("killed", "died", "memory") == []


def test_a_child_that_leaks_fast_is_killed(begin: Begin) -> None:
    kept = begin(memory=150 * MB)
    old = int(kept.ask())
    kept.asking("/leak/400")  # whether it is answered is a race
    killed = kept.event("killed")
    assert killed["reason"].endswith(" MB, over 225 MB") and killed["pid"] == old
    assert gone(old)
    assert int(kept.ask()) != old  # started again, or it was being replaced already


def test_a_child_without_room_for_a_successor_ends_before_it(begin: Begin) -> None:
    kept = begin(memory=150 * MB, total=180 * MB)
    asking = kept.asking("/wait/go")
    kept.prints("waiting")
    old = kept.ask("/leak/120")
    kept.prints("leaving")
    waiting = kept.asking("/pid")
    while waiting.wait(0.5):  # it stops to accept within a moment
        waiting = kept.asking("/pid")
    assert kept.printed.count("starting") == 1
    kept.tell("go")
    assert asking.wait() == old
    assert waiting.wait() == str(kept.event("replaced")["pid"]) != old


def test_a_model_that_is_larger_than_its_limit_is_not_replaced_for_ever(begin: Begin) -> None:
    kept = begin(memory=1 * MB)
    said = kept.event("memory")["reason"]
    assert said.startswith("it may have 1 MB, and has ") and said.endswith("1.25 times that is its limit")
    seen = {kept.ask() for _ in range(3) if not kept.process.poll() and not time.sleep(1.0)}
    assert len(seen) == 1


def test_memory_is_that_of_this_machine_or_less() -> None:
    assert 0 < memory.total() <= psutil.virtual_memory().total
    assert 5 * MB < memory.resident(os.getpid()) < memory.total()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert memory.resident(ended.pid) == 0


def test_a_keeper_imports_nothing_that_a_model_needs() -> None:
    heavy = ("asyncio", "uvicorn", "starlette", "psutil", "numpy", "pandas", "pyarrow", "sklearn", "prometheus_client")
    program = f"import sys, fuseline.serving.keeper; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
