"""The real Evidently: in a process of its own, in a flow, and on the columns that it is known to fail on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fuseline import expert, launch
from fuseline.bootstrap import Line, line
from fuseline.opinion import Opinion, decode, installed, read
from fuseline.records import Published, Quarantined
from fuseline.settings import Settings

pytestmark = pytest.mark.skipif(not installed(), reason="Evidently is not installed: make reports")

TOGETHER = pytest.mark.xdist_group("cases")  # in one worker, as they share what one process says
PACKAGE = Path(expert.__file__).parents[1]
TOML = 'target = "bought"\nid = "id"\n[sources.history]\npath = "data/history.parquet"\n'
TRAIN = """
from sklearn.linear_model import LogisticRegression

def train(data, target):
    return LogisticRegression().fit(data[["price", "age"]], target)
"""
PREDICT = """
def predict(data, artifacts):
    return artifacts["model"].predict_proba(data[["price", "age"]].fillna(40))[:, 1]
"""


def draw(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    price, age = rng.gamma(4.0, 25.0, rows), rng.normal(40, 10, rows)
    bought = rng.random(rows) < 1 / (1 + np.exp(price / 30 - 3 + (age - 40) / 7))
    return pd.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(rows)],
            "price": price,
            "age": age,
            "visits": np.where(rng.random(rows) < 0.05, np.nan, rng.poisson(2.0, rows)),
            "colour": rng.choice(["red", "green", "<script>blue</script>"], rows),
            "always": "same",
            "bought": np.where(bought, "yes", "no"),
        }
    )


def features(rows: int, seed: int) -> pd.DataFrame:
    return draw(rows, seed).drop(columns=["id", "bought"])


ODD = {
    "empty": np.nan,
    "infinite": np.inf,
    "huge": 1e17,
    "text": None,
    "when": pd.Timestamp("2026-03-01"),
    "free": [f"row {i}" for i in range(2_000)],
}
ENDS = {"large": lambda d: d["age"] * 1e304, "small": lambda d: d["age"] * 1e-310}
CASES = {  # name -> (a batch's sample, the reference)
    "usual": lambda: (features(5_000, 2), features(20_000, 1)),
    "small": lambda: (features(300, 2), features(400, 1)),
    "one row": lambda: (features(1, 2).assign(visits=1.0), features(900, 1)),
    "odd": lambda: (
        features(2_000, 2).assign(**ODD, price=lambda d: d["price"] * 100).astype({"text": "string"}),
        features(2_000, 1).assign(**{**ODD, "empty": 1.0, "text": "a"}),
    ),
    "ends": lambda: (features(500, 2).assign(**ENDS), features(500, 1).assign(**ENDS)),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Opinion, str]]:
    """What one process of the expert says of each case, and its page."""
    folder = tmp_path_factory.mktemp("cases")
    for name, case in CASES.items():
        place = folder / name
        place.mkdir()
        for file, rows in zip(("sample.parquet", "reference.parquet"), case(), strict=True):
            rows.to_parquet(place / file, index=False)
    command = [sys.executable, "-m", "fuseline.expert", str(folder)]
    subprocess.run(command, check=True, cwd=PACKAGE, timeout=120, stderr=subprocess.DEVNULL)
    pages = {name: folder / name / "evidently.html" for name in CASES}
    opinions = {name: decode((folder / name / "evidently.json").read_bytes()) for name in CASES}
    return {name: (opinions[name], pages[name].read_text() if pages[name].exists() else "") for name in CASES}


@TOGETHER
@pytest.mark.parametrize("case", CASES)
def test_a_report_is_made_whatever_the_batch(case, said):
    opinion, page = said[case]
    assert opinion.error == ""
    assert opinion.rows <= 5_000 and opinion.reference_rows <= 5_000
    assert len(page) > 1_000_000


@TOGETHER
@pytest.mark.parametrize("case", ["usual", "small", "one row"])
def test_each_column_has_a_figure_whatever_the_size(case, said):
    opinion, _ = said[case]
    assert sorted(c.name for c in opinion.columns) == ["age", "always", "colour", "price", "visits"]
    assert all(c.drifted is not None and c.method and c.threshold for c in opinion.columns)
    assert opinion.share == pytest.approx(len(opinion.drifted) / 5)


@TOGETHER
def test_columns_that_it_fails_on_are_left_out_and_the_others_are_compared(said):
    opinion, _ = said["odd"]
    assert set(opinion.left_out) == set(ODD)
    assert opinion.drifted == ("price",)


@TOGETHER
def test_text_of_a_batch_is_no_script_of_the_page(said):
    _, page = said["usual"]
    assert "script>blue" in page
    assert "<script>blue" not in page and "blue</script>" not in page


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A project with two batches that a flow scored: one as ever, one with a column empty and prices in cents."""
    root = tmp_path_factory.mktemp("evidently")
    folder = root / "projects" / "shop"
    folder.mkdir(parents=True)
    (root / "data").mkdir()
    draw(2_000, 1).to_parquet(root / "data" / "history.parquet", index=False)
    for name, text in (("project.toml", TOML), ("train.py", TRAIN), ("predict.py", PREDICT)):
        (folder / name).write_text(text)
    settings = replace(Settings(), store=str(root / "store"), projects=root / "projects", user="tester")
    settings = replace(settings, now="2026-03-01T06:00:00+00:00")
    launch.run("train", "shop", settings)
    inbox = root / "store" / "inbox" / "shop"
    inbox.mkdir(parents=True)
    good, bad = (draw(600, seed).drop(columns="bought") for seed in (2, 3))
    good.to_parquet(inbox / "day1.parquet", index=False)
    bad = bad.assign(price=lambda d: d["price"] * 100, visits=np.nan)
    bad.to_parquet(inbox / "day2.parquet", index=False)
    launch.run("infer", "shop", settings)
    return line("shop", settings=settings)


def test_a_flow_leaves_an_opinion_on_each_batch_and_shows_it_on_the_page(here):
    events = {
        e.event.batch.split(".")[0]: e.event
        for e in here.ledger.entries()
        if isinstance(e.event, Published | Quarantined)
    }
    assert [type(e) for e in events.values()] == [Published, Quarantined]
    for event in events.values():
        opinion = read(here.batches, event.batch, event.attempt)
        assert opinion is not None and opinion.error == "" and opinion.rows == 600
        page = here.store.get(f"shop/reports/batches/{event.batch}.html").decode()
        assert "A second opinion: Evidently" in page and "nan" not in page.lower()
        assert here.store.exists(f"shop/reports/evidently/{event.batch}.{event.attempt}.html")
        assert f"../evidently/{event.batch}.{event.attempt}.html" in page
    page = here.store.get(f"shop/reports/batches/{events['day2'].batch}.html").decode()
    assert "left out: the batch has no value in it" in page
    assert "Fuseline halts: " in page


def test_nothing_phones_home(tmp_path):
    """Every socket that it would open is refused, and nothing is written into the home of the user."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(
        "import sys\n"
        "def refuse(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'subprocess.Popen'):\n"
        "        sys.stderr.write(f'{event} {args}\\n'); sys.stderr.flush()\n"
        "        import os; os._exit(7)\n"
        "sys.addaudithook(refuse)\n"
    )
    home, place = tmp_path / "home", tmp_path / "work" / "0000"
    home.mkdir()
    place.mkdir(parents=True)
    features(300, 2).to_parquet(place / "sample.parquet", index=False)
    features(300, 1).to_parquet(place / "reference.parquet", index=False)
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join([str(guard), str(PACKAGE)])}
    for variable in ("DO_NOT_TRACK", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environment.pop(variable, None)
    command = [sys.executable, "-m", "fuseline.expert", str(place.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert decode((place / "evidently.json").read_bytes()).error == ""
    assert not [p for p in home.rglob("*") if "evidently" in p.name or "telemetry" in p.name]
