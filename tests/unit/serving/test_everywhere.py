"""Serving needs nothing that only POSIX systems have, and Metaflow is such a thing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuseline.storage import open_store

POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "metaflow"}
POSIX_NAMES = {
    "os": {
        "fork",
        "forkpty",
        "getuid",
        "geteuid",
        "getgid",
        "killpg",
        "setsid",
        "uname",
        "mkfifo",
        "WNOHANG",
        "waitpid",
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGQUIT", "alarm", "pause"},
    "socket": {"AF_UNIX", "SO_REUSEPORT"},
}
FLOWS = {"launch.py"}  # loaded by the command line, and used only where flows run
SERVE = """
import pkgutil, sys
sys.modules["metaflow"] = None  # whoever imports it fails
import fuseline.serving
from fuseline.cli import main

def run(*arguments):
    sys.argv = ["fuseline", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, ended.code

run("serve", "tiny", "--check")
run("try", "tiny", "--input", '{"price": 20, "age": 30, "colour": "red"}')
for module in pkgutil.iter_modules(fuseline.serving.__path__):
    __import__(f"fuseline.serving.{module.name}")
print("LOADED", *sorted(m.__file__ for n, m in sys.modules.items() if (n + ".").startswith("fuseline.") and m.__file__))
"""


@pytest.fixture(scope="module")
def loaded(after_training, tmp_path_factory) -> list[Path]:
    """The files of Fuseline that serving a project loads, in a process where Metaflow cannot be imported."""
    root = tmp_path_factory.mktemp("served")
    store = open_store(str(root / "store"))
    for key, data in after_training.items():
        store.put(key, data)
    folder = root / "projects" / "tiny"
    folder.mkdir(parents=True)
    (folder / "project.toml").write_text('target = "bought"\nid = "id"\n', encoding="utf-8")
    places = {"FUSELINE_STORE": str(root / "store"), "FUSELINE_PROJECTS": str(root / "projects")}
    run = [sys.executable, "-W", "error", "-c", SERVE]
    said = subprocess.run(run, env={**os.environ, **places}, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    return [Path(name) for name in said.stdout.splitlines()[-1].split()[1:]]


def test_a_project_is_served_where_metaflow_cannot_be_imported(loaded):
    assert {"serve.py", "keeper.py", "champion.py", "scored.py"} <= {file.name for file in loaded}


def test_no_module_that_serving_loads_needs_what_only_posix_has(loaded):
    for file in (file for file in loaded if file.name not in FLOWS):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        guarded = {id(inner) for node in ast.walk(tree) if _is_guard(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in guarded:
                continue
            assert not _modules(node) & POSIX_MODULES, f"{file.name}, line {node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = POSIX_NAMES.get(node.value.id, set())
                assert node.attr not in names, f"{file.name}, line {node.lineno}: {node.value.id}.{node.attr}"


def _modules(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {node.module.partition(".")[0]} if isinstance(node, ast.ImportFrom) and node.module else set()


def _is_guard(node: ast.AST) -> bool:
    """Whether it is an `if` about the system that it runs on."""
    return isinstance(node, ast.If) and "sys.platform" in ast.unparse(node.test)
