from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import fuseline
from fuseline.revision import revision

SAY = "from fuseline.revision import revision; print(revision())"


def said_by(copy: Path) -> str:
    """The revision of a copy of the package, as a process of its own says it."""
    command = [sys.executable, "-S", "-c", SAY]  # without site: neither the real package nor coverage is in it
    done = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_same_files_are_the_same_revision_wherever_they_are_and_one_changed_byte_is_another(tmp_path):
    copy = tmp_path / "fuseline"
    shutil.copytree(Path(fuseline.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert said_by(copy) == revision()
    (copy / "bins.py").write_bytes((copy / "bins.py").read_bytes() + b"#")
    assert said_by(copy) != revision()


def test_a_revision_begins_with_the_version():
    version, _, digest = revision().partition("+")
    assert version == fuseline.__version__ and len(digest) == 12
