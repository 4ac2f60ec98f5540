from __future__ import annotations

import asyncio
import threading
import time

import pytest

from fuseline.serving.worker import Worker


def test_a_call_returns_or_raises_what_the_model_does():
    async def go():
        worker = Worker()
        assert await worker.run(lambda: 3, 5) == 3
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 / 0, 5)
        assert await worker.run(lambda: 4, 5) == 4
        worker.close()

    asyncio.run(go())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration])
def test_a_model_that_wants_to_end_the_process_only_fails(kind):
    def end():
        raise kind("enough")

    async def go():
        worker = Worker()
        with pytest.raises(RuntimeError, match="enough"):
            await worker.run(end, 5)
        assert await worker.run(lambda: "alive", 5) == "alive"

    asyncio.run(go())


def test_no_two_calls_run_at_a_time():
    running, most = [], []

    def call():
        running.append(1)
        most.append(len(running))
        time.sleep(0.005)
        running.pop()

    async def go():
        worker = Worker()
        await asyncio.gather(*(worker.run(call, 5) for _ in range(20)))

    asyncio.run(go())
    assert max(most) == 1


def test_a_call_that_hangs_is_given_up_and_the_next_one_is_answered():
    stuck, told = threading.Event(), []

    async def go():
        worker = Worker(told.append)
        with pytest.raises(TimeoutError):
            await worker.run(stuck.wait, 0.05)
        assert (worker.lost, told) == (1, [1])
        assert await worker.run(lambda: "next", 5) == "next"
        stuck.set()
        while worker.lost:
            await asyncio.sleep(0.005)

    asyncio.run(go())


def test_a_call_that_waited_too_long_is_never_made():
    stuck, made = threading.Event(), []

    async def go():
        worker = Worker()
        first = asyncio.create_task(worker.run(stuck.wait, 5))
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            await worker.run(lambda: made.append(1), 0.02)
        stuck.set()
        await first
        await worker.run(lambda: None, 5)
        assert (made, worker.lost) == ([], 0)

    asyncio.run(go())


def test_what_waits_for_the_same_is_answered_by_one_call():
    held, calls = threading.Event(), []

    def double(items):
        calls.append(list(items))
        held.wait(5)
        return [ValueError("three") if item == 3 else 2 * item for item in items]

    def other(items):
        calls.append(list(items))
        return items

    async def go():
        worker = Worker()
        waiting = [asyncio.create_task(worker.run_together(double, item, 5)) for item in range(5)]
        waiting.append(asyncio.create_task(worker.run_together(other, 5, 5)))
        waiting.append(asyncio.create_task(worker.run_together(double, 6, 5)))
        while not calls:
            await asyncio.sleep(0.005)
        held.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    answers = asyncio.run(go())
    assert [str(answer) for answer in answers] == ["0", "2", "4", "three", "8", "5", "12"]
    assert [item for call in calls for item in call] == [0, 1, 2, 3, 4, 5, 6] and len(calls) <= 4


def test_requests_that_were_given_up_together_lose_one_thread():
    stuck = threading.Event()

    def hang(items):
        stuck.wait(20)
        return items

    async def go():
        worker = Worker()
        waiting = [asyncio.create_task(worker.run_together(hang, item, 0.2)) for item in range(3)]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, TimeoutError)
        assert worker.lost <= 2  # the first may have begun alone; then the others waited and were never begun
        assert await worker.run(lambda: "next", 5) == "next"
        stuck.set()
        while worker.lost:
            await asyncio.sleep(0.005)

    asyncio.run(go())
