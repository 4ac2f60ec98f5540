from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fuseline.serving.coroutines import Coroutines


async def loop_and(value):
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), value


def test_all_coroutines_run_in_one_loop_from_whatever_thread():
    runs = Coroutines()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: runs.run(loop_and(i)), range(8)))
    assert len({loop for loop, _ in found}) == 1
    assert [value for _, value in found] == list(range(8))


def test_what_a_coroutine_raises_is_raised():
    async def fails():
        raise KeyError("price")

    with pytest.raises(KeyError, match="price"):
        Coroutines().run(fails())


def test_its_thread_ends_with_it():
    runs = Coroutines()
    loop, _ = runs.run(loop_and(1))
    before = threading.active_count()
    del runs
    gc.collect()
    assert loop.is_closed()
    assert threading.active_count() == before - 1
