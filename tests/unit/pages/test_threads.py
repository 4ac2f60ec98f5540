from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from fuseline.errors import StoreError
from fuseline.threads import in_thread


def test_the_work_is_done_in_another_thread_and_its_answer_comes_back() -> None:
    async def ask() -> str:
        return await in_thread(lambda: threading.current_thread().name)

    assert asyncio.run(ask()) == "fuseline"


def test_an_error_of_ours_comes_back_as_it_is() -> None:
    def fail() -> None:
        raise StoreError("gone")

    async def ask() -> None:
        with pytest.raises(StoreError, match="gone"):
            await in_thread(fail)

    asyncio.run(ask())


def test_any_other_error_is_in_the_log_with_its_traceback() -> None:
    program = """
import asyncio, time
from fuseline.threads import in_thread
async def ask():
    try:
        await in_thread(lambda: {}["missing"])
    except RuntimeError as error:
        print(error)
asyncio.run(ask())
time.sleep(0.5)  # a server lives on
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "work in a thread failed; the log says why\n"
    assert "KeyError: 'missing'" in done.stderr


def test_work_that_hangs_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, time
from fuseline.threads import in_thread
async def ask():
    await asyncio.wait([in_thread(lambda: time.sleep(60))], timeout=0.05)
asyncio.run(ask())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
