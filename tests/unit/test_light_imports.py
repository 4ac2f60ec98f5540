from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuseline.ledger import Ledger
from fuseline.records import Promoted, Registered
from fuseline.storage import open_store

HEAVY = ("numpy", "pandas", "pyarrow", "sklearn", "scipy", "metaflow", "boto3", "joblib")
ASK = f"""
import sys
from fuseline.cli import main
sys.argv = ["fuseline", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    print("code", ended.code, file=sys.stderr)
print("loaded", [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)
"""

COMMANDS = [
    "--help",
    "--version",
    "status tiny",
    "status tiny --json",
    "history tiny",
    "history tiny --json",
    "history tiny --at 2026-03-02",
    "predictions tiny",
    "predictions tiny --json",
    "breaker trip tiny --reason prices",
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A store with a champion in its ledger, and a project."""
    root: Path = tmp_path_factory.mktemp("light")
    folder = root / "projects" / "tiny"
    folder.mkdir(parents=True)
    (folder / "project.toml").write_text('target = "bought"\n')
    ledger = Ledger(open_store(str(root / "store")), "tiny", lambda: "2026-03-01T06:00:00+00:00", "tester")
    ledger.append(lambda state: Registered("v0001", "d" * 64, {"auc": 0.9, "se": 0.01}))
    ledger.append(lambda state: Promoted("v0001", None, "gate", "passed the gate"))
    settings = {"FUSELINE_STORE": str(root / "store"), "FUSELINE_PROJECTS": str(root / "projects")}
    return {**os.environ, **settings}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_only_reads_the_ledger_loads_nothing_heavy(command, environment):
    run = [sys.executable, "-c", ASK, *command.split()]
    said = subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stderr
    assert said.splitlines()[-2:] == ["code 0", "loaded []"]
