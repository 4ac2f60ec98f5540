from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fuseline import errors, launch
from fuseline.errors import FuselineError, HeldBack, Refused, SettingsError
from fuseline.settings import Settings

START = "2026-03-08 06:00:00.123 "
TASK = START + "[177/train/2 (pid 99)] "
OTHER = START + "[177/score/3 (pid 100)] "

FAILED = [
    "Metaflow 2.19.39 executing TrainingFlow for user:fuseline",
    "    The graph looks good!",
    START + "Workflow starting (run-id 177):",
    TASK + "Task is starting.",
    TASK + "<flow TrainingFlow step train> failed:",
    TASK + "Traceback (most recent call last):",
    TASK + 'File "/flows/training.py", line 26, in train',
    TASK + "self.fitted = self._training().fit(self.plan)",
]
ENDED = [TASK, TASK + "Task failed.", START + "Workflow failed.", "    Step failure:"]


def test_the_error_that_a_step_raised_comes_back_with_its_class_and_its_text():
    error = launch.error_in("TrainingFlow", [*FAILED, TASK + "fuseline.errors.Refused: no champion yet", *ENDED])
    assert (type(error), str(error)) == (Refused, "no champion yet")


def test_an_error_of_several_lines_comes_back_whole():
    lines = [*FAILED, TASK + "fuseline.errors.SettingsError: no source: add", TASK + "[sources.history]", *ENDED]
    assert str(launch.error_in("TrainingFlow", lines)) == "no source: add\n[sources.history]"


def test_what_another_task_prints_meanwhile_is_no_part_of_the_error():
    lines = [*FAILED, TASK + "fuseline.errors.DataError: first", OTHER + "Task finished successfully.", TASK + "second"]
    assert str(launch.error_in("TrainingFlow", [*lines, *ENDED])) == "first\nsecond"


def test_of_an_error_with_a_cause_the_one_that_was_raised_last_is_told():
    chain = [
        TASK + "fuseline.errors.NotFound: there is no key",
        TASK + "The above exception was the direct cause of the following exception:",
        TASK + "fuseline.errors.SettingsError: there is no version v9",
    ]
    assert str(launch.error_in("TrainingFlow", [*FAILED, *chain, *ENDED])) == "there is no version v9"


def test_the_text_of_an_error_ends_where_metaflow_goes_on():
    lines = [*FAILED, TASK + "fuseline.errors.Refused: no", TASK + "Task failed.", TASK + "more"]
    assert str(launch.error_in("TrainingFlow", lines)) == "no"


def test_an_error_that_is_held_back_keeps_its_exit_code():
    assert (
        launch.error_in("TrainingFlow", [TASK + "fuseline.errors.HeldBack: the gate"]).exit_code == HeldBack.exit_code
    )


def test_an_error_of_an_unknown_class_is_told_all_the_same():
    error = launch.error_in("TrainingFlow", [TASK + "fuseline.errors.OfTomorrow: unheard of"])
    assert (type(error), str(error)) == (FuselineError, "unheard of")


def test_an_unknown_failure_names_the_step_and_shows_the_end_of_the_output():
    noise = [TASK + f"line {i}" for i in range(100)]
    text = str(launch.error_in("TrainingFlow", [*FAILED, *noise, TASK + "pyarrow.lib.ArrowInvalid: no", *ENDED]))
    first, _, *tail = text.splitlines()
    assert first == "TrainingFlow failed in step train: pyarrow.lib.ArrowInvalid: no"
    assert len(tail) == launch.TAIL
    assert "  line 99" in tail
    assert "  line 10" not in tail
    assert all(START not in line for line in tail)


def test_a_task_that_was_killed_says_nothing_but_its_step():
    text = str(launch.error_in("InferenceFlow", [OTHER + "Task is starting.", OTHER + "Task failed."]))
    assert text.splitlines()[0] == "InferenceFlow failed in step score"


def test_a_flow_that_never_started_shows_what_it_said():
    text = str(launch.error_in("InferenceFlow", ["Error: no such option: --project"]))
    assert text == "InferenceFlow failed\nThe end of its output:\n  Error: no such option: --project"


def test_the_flows_are_found_in_a_checkout_and_in_an_environment(tmp_path):
    assert launch.folder().name == "flows"
    installed = tmp_path / "share" / "fuseline" / "flows"
    installed.mkdir(parents=True)
    for file in launch.FILES.values():
        (installed / file).touch()
    assert launch.folder(tmp_path / "site-packages" / "fuseline", prefix=tmp_path) == installed


def test_missing_flows_are_said_with_the_places_where_they_were_looked_for(tmp_path):
    package = tmp_path / "a" / "fuseline"
    with pytest.raises(SettingsError, match="not installed") as error:
        launch.folder(package, prefix=tmp_path / "b")
    assert str(tmp_path / "flows") in str(error.value)
    assert str(tmp_path / "b" / "share" / "fuseline" / "flows") in str(error.value)


def script(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", text]


def test_a_command_that_ends_well_tells_its_steps_and_nothing_else():
    steps: list[str] = []
    text = f"print({TASK + 'Task is starting.'!r}); print('Task is starting.'); print({OTHER + 'Task is starting.'!r})"
    assert launch.follow(script(text), dict(os.environ), steps.append) is None
    assert steps == ["train", "score"]


def test_a_command_that_fails_gives_its_lines_and_bytes_that_are_no_text_do_no_harm():
    text = r"import os; os.write(1, b'a\xff\n'); os.write(2, b'b\n'); raise SystemExit(1)"
    assert launch.follow(script(text), dict(os.environ)) == ["a�", "b"]


def interrupt_when(there: Path, times: int = 1) -> threading.Thread:
    """Interrupt this process as Ctrl-C does, once the command has begun; and again a moment later."""

    def press() -> None:
        while not there.exists():
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_an_interrupt_reaches_the_command_which_may_end_its_work(tmp_path):
    text = f"""
import pathlib, time
try:
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    time.sleep(30)
except KeyboardInterrupt:
    pathlib.Path({str(tmp_path / "ended")!r}).touch()
"""
    pressed = interrupt_when(tmp_path / "begun")
    with pytest.raises(KeyboardInterrupt):
        launch.follow(script(text), dict(os.environ))
    pressed.join()
    assert (tmp_path / "ended").exists()


def test_a_second_interrupt_kills_a_command_that_does_not_end(tmp_path):
    text = f"""
import os, pathlib, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
time.sleep(30)
"""
    pressed = interrupt_when(tmp_path / "pid", times=2)
    with pytest.raises(KeyboardInterrupt):
        launch.follow(script(text), dict(os.environ))
    pressed.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_flow_that_refuses_raises_its_own_error(tiny, tmp_path):
    settings = Settings(store=str(tmp_path / "store"), projects=tiny.folder.parent, user="tester")
    steps: list[str] = []
    with pytest.raises(errors.Refused, match="tiny has no champion yet"):
        launch.run("infer", "tiny", settings, steps.append)
    assert steps == ["start"]
