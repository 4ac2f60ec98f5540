"""Real servers: `fuseline serve` as people start it, of a project that trains in a moment and of a plain file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fuseline.bootstrap import line
from fuseline.serving import keys
from fuseline.settings import Settings

PATIENCE = 60.0  # seconds until a server must have loaded its model, on a machine that is busy
TOML = """
target = "bought"
id = "id"

[sources.history]
path = "data/history.parquet"
"""
TRAIN = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def train(data, target):
    columns = make_column_transformer(
        (SimpleImputer(), ["price", "age"]), (OneHotEncoder(handle_unknown="ignore"), ["colour"])
    )
    return make_pipeline(columns, LogisticRegression(max_iter=300)).fit(data, target)
"""
FILE = '''
def predict(data):
    """How many values there are, whatever they are."""
    return {"values": len(data) if isinstance(data, list | dict | str) else 1}
'''


@contextmanager
def serving(target: str, folder: Path, *options: str, **variables: str) -> Iterator[str]:
    """The address of a server that runs in a folder; it is told to stop at the end, and must end by itself."""
    command = [sys.executable, "-m", "fuseline.cli", "serve", target, "--port", "0", *options]
    heard = folder / "server.log"
    with heard.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            yield _address(process, heard)
        finally:
            process.terminate()
            code = process.wait(PATIENCE)
    assert code == 0, heard.read_text("utf-8")


def _address(process: subprocess.Popen[bytes], heard: Path) -> str:
    """Where the server can be asked, once it says so."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        for said in heard.read_text("utf-8").splitlines():
            if said.startswith('{"at"') and said.endswith("}") and (event := json.loads(said))["event"] == "serving":
                return str(event["address"]).rstrip("/")
        time.sleep(0.05)
    pytest.fail(f"it does not serve: {heard.read_text('utf-8')}")


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., str]]:
    """`start(target, folder, *options, **variables)`: the address of a server that runs until the session ends."""
    with ExitStack() as servers:
        yield lambda *of, **variables: servers.enter_context(serving(*of, **variables))


@pytest.fixture(scope="session")
def until_end() -> Callable[..., AbstractContextManager[str]]:
    """`with until_end(target, folder, *options, **variables) as address`: a server that ends with the block."""
    return serving


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project `tiny`, of which one version was trained: the id, two numbers, a colour."""
    root = tmp_path_factory.mktemp("served")
    (root / "projects" / "tiny").mkdir(parents=True)
    (root / "data").mkdir()
    rng = np.random.default_rng(1)
    price, colour = rng.gamma(4.0, 25.0, 600), rng.choice(["red", "green", "blue"], 600)
    age = np.where(rng.random(600) < 0.05, np.nan, rng.normal(40.0, 10.0, 600))
    bought = rng.random(600) < 1.0 / (1.0 + np.exp(price / 50.0 - 1.5 - 1.5 * (colour == "red")))
    rows = pd.DataFrame({"id": range(600), "price": price, "age": age, "colour": colour, "bought": bought.astype(int)})
    rows.to_parquet(root / "data" / "history.parquet", index=False)
    for name, text in (("project.toml", TOML), ("train.py", TRAIN)):
        (root / "projects" / "tiny" / name).write_text(text, "utf-8")
    here = line("tiny", settings=Settings(store=str(root / "store"), projects=root / "projects", user="test"))
    training = here.training()
    plan = training.plan("t1")
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))
    return root


@pytest.fixture(scope="session")
def served_project(trained: Path, start: Callable[..., str]) -> tuple[str, str]:
    """The address of the project's server, and a key for it."""
    key, entry = keys.new("test")
    variables = {"FUSELINE_STORE": str(trained / "store"), "FUSELINE_PROJECTS": str(trained / "projects")}
    return start("tiny", trained, **variables, FUSELINE_API_KEYS=entry), key


@pytest.fixture(scope="session")
def served_file(tmp_path_factory: pytest.TempPathFactory, start: Callable[..., str]) -> str:
    """The address of the server of a file that knows nothing of Fuseline; it asks for no key."""
    folder = tmp_path_factory.mktemp("file")
    (folder / "count.py").write_text(FILE, "utf-8")
    return start("count.py", folder, FUSELINE_API_KEYS="")
