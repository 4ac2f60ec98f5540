"""What Metaflow sends to other machines with a step: the flow, and the whole package with its templates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuseline.launch import FILES, folder
from fuseline.settings import Settings


@pytest.mark.parametrize("file", FILES.values())
def test_a_remote_step_gets_the_package_with_its_templates(file: str, tmp_path: Path) -> None:
    flow = folder() / file
    command = [sys.executable, str(flow), "--no-pylint", "package", "list"]
    environment = Settings(store=str(tmp_path)).environment()
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    sent = {Path(line).parts[-2:] for line in (done.stdout + done.stderr).splitlines()}
    for wanted in (
        ("fuseline", "ledger.py"),
        ("fuseline", "s3.py"),
        ("templates", "style.css"),
        (flow.parent.name, file),
    ):
        assert wanted in sent
