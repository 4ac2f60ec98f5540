from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fuseline.cards import UNKNOWN, Card, Cards, Shelf, read
from fuseline.settings import Settings

FLOW = """
from metaflow import FlowSpec, step

from fuseline.runcard import Card, keep


class TrainingFlow(FlowSpec):
    @step
    def start(self):
        keep(self, Card("bank: training", "v0001 was trained."))
        keep(self, Card("bank: training", "It is the champion."))
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    TrainingFlow()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Metaflow's records of one run with two cards, as the settings of a folder's store name them."""
    folder: Path = tmp_path_factory.mktemp("cards")
    (folder / "flow.py").write_text(FLOW)
    (folder / "elsewhere").mkdir()
    settings = replace(Settings(), store=str(folder / "store"), user="tester")
    said = {**settings.environment(), "RUN": str(folder / "run")}
    command = [sys.executable, str(folder / "flow.py"), "--no-pylint", "run", "--run-id-file", said["RUN"]]
    subprocess.run(command, env=said, cwd=folder / "elsewhere", check=True, capture_output=True)
    return said


def test_the_cards_of_a_run_are_found_wherever_it_was_started(environment: dict[str, str]) -> None:
    run = Path(environment["RUN"]).read_text()
    found = read("TrainingFlow", run, environment)
    assert (found.known, found.finished, found.why) == (True, True, "")
    assert [(card.step, card.task, card.kind) for card in found.cards] == [("start", "1", "blank")] * 2
    assert all(card.html.lower().startswith("<!doctype html>") for card in found.cards)


def test_a_run_that_is_not_known_says_where_it_would_be(environment: dict[str, str]) -> None:
    found = read("TrainingFlow", "12", environment)
    assert found == Cards(known=False, why=UNKNOWN)
    assert read("InferenceFlow", "12", environment).why == UNKNOWN


def test_what_goes_wrong_is_said_in_one_line(environment: dict[str, str]) -> None:
    found = read("TrainingFlow", "12", {**environment, "METAFLOW_DEFAULT_METADATA": "nonsense"})
    assert not found.known
    assert found.why.startswith("Metaflow could not be asked: ") and "\n" not in found.why


def test_nobody_waits_for_ever(environment: dict[str, str]) -> None:
    assert read("TrainingFlow", "12", environment, patience=0.01).why.startswith("Metaflow did not say within 0.01 s")


CARDS = Cards(True, True, (Card("start", "1", "blank", "<html>"),))


class Asked:
    """What a shelf is filled from, with a note of each question."""

    def __init__(self, found: Cards) -> None:
        self.found, self.runs = found, list[str]()

    def __call__(self, flow: str, run: str) -> Cards:
        self.runs.append(run)
        time.sleep(0.02)
        return self.found


def test_a_finished_run_is_asked_for_once() -> None:
    asked = Asked(CARDS)
    shelf = Shelf(asked)

    async def ask() -> None:
        assert await asyncio.gather(*(shelf.cards("TrainingFlow", "1") for _ in range(5))) == [CARDS] * 5
        assert await shelf.cards("TrainingFlow", "1") == CARDS

    asyncio.run(ask())
    assert asked.runs == ["1"]


@pytest.mark.parametrize("again", [0.0, 60.0])
def test_a_run_that_goes_on_is_asked_for_again_after_a_while(again: float) -> None:
    asked = Asked(replace(CARDS, finished=False))
    shelf = Shelf(asked, again)

    async def ask() -> None:
        for _ in range(3):
            await shelf.cards("TrainingFlow", "1")

    asyncio.run(ask())
    assert len(asked.runs) == (1 if again else 3)


def test_only_some_runs_are_kept() -> None:
    asked = Asked(CARDS)
    shelf = Shelf(asked)

    async def ask() -> None:
        for run in ("1", "2", "3", "4", "1", "5", "1", "2"):
            await shelf.cards("TrainingFlow", run)

    asyncio.run(ask())
    assert asked.runs == ["1", "2", "3", "4", "5", "2"]
