from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
ARROW, NUMBER = "# → ", re.compile(r"\d+(?:[.,]\d+)*")


def words(text: str) -> str:
    return " ".join(text.split())


def figures(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def test_the_tour_of_the_monitor_prints_what_it_says_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = (DOCS / "monitor.py").read_text("utf-8")
    runpy.run_path(str(DOCS / "monitor.py"))  # its own asserts hold, too
    promised = words("\n".join(line.removeprefix(ARROW) for line in source.splitlines() if line.startswith(ARROW)))
    printed = words(capsys.readouterr().out)
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", promised)
    assert figures(printed) == pytest.approx(figures(promised), rel=0.1, abs=0.02)
    assert list(tmp_path.iterdir()) == []
