"""The past of a project, scored and judged again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fuseline import records as r
from fuseline.backtest import Ruling, Summary, Tried, said, summarise, tolerances
from fuseline.batches import drop, replay
from fuseline.errors import NotWritten, SettingsError, StoreError
from fuseline.faults import FaultyStore, parse_rules
from fuseline.folder import FolderStore

LENIENT = "[checks]\ntolerance = 0.9\n"


def features(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="bought")


def in_cents(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(price=rows["price"] * 100)


def at_random(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with outcomes that nobody can predict."""
    return rows.assign(bought=np.random.default_rng(0).permutation(rows["bought"]))


def by_price(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with outcomes that follow from the price alone."""
    return rows.assign(bought=np.where(rows["price"] < rows["price"].median(), "yes", "no"))


def snapshot(store) -> dict[str, bytes]:
    return {item.key: store.get(item.key) for item in store.list("")}


def judged(project, *asked: float) -> dict[str, Tried]:
    """Name of each batch to what is said of it."""
    test = project.line.backtest()
    return {past.known.name: test.judge(past, asked) for past in test.past()}


def verdicts(found: dict[str, Tried]) -> dict[str, tuple[str, ...]]:
    return {name: (one.then, *(ruling.verdict for ruling in one.now)) for name, one in found.items()}


@pytest.fixture(scope="module")
def kept() -> dict[str, bytes]:
    """Where the store of the fixture below is kept once it is made."""
    return {}


@pytest.fixture
def past(trained, rows, kept):
    """A week that a lenient tolerance let through.

    Prices come in cents on day2 (labels are bad), day3 (labels are good) and day4 (no labels); day5 is good but for
    its labels; day6 has ids of nothing and is given up; day7 is no file of rows.
    """
    if not kept:
        trained.setting(LENIENT)
        day = {n: rows(400, n + 10) for n in range(1, 7)}
        for n, frame in day.items():
            delivered = frame if n in (1, 5, 6) else in_cents(frame)
            broken = {"id": [None] * 100 + list(frame["id"][100:])} if n == 6 else {}
            trained.deliver(f"day{n}", features(delivered).assign(**broken))
        trained.store.put("inbox/tiny/day7.parquet", b"PAR1 cut off")
        trained.infer()
        drop(trained.line.ledger, "day6", "useless")
        came = {1: by_price(day[1]), 2: at_random(day[2]), 3: by_price(day[3]), 5: at_random(day[5])}
        trained.deliver_labels("week", pd.concat(came.values()))
        trained.feedback()
        trained.line.predictions.withdraw("day5", "labels condemn it")
        trained.setting("")
        kept.update(snapshot(trained.store))
    for key, data in kept.items():
        trained.store.put(key, data)
    return trained


# ── what is found ────────────────────────────────────────────────────────────────────────────────


def test_every_batch_with_an_outcome_is_judged_again_the_oldest_first(past):
    found = judged(past)
    assert list(found) == [f"day{n}" for n in range(1, 8)]
    assert verdicts(found) == {
        "day1": ("pass", "pass"),
        "day2": ("warn", "halt"),
        "day3": ("warn", "halt"),
        "day4": ("warn", "halt"),
        "day5": ("pass", "pass"),
        "day6": ("halt", "halt"),
        "day7": ("inconclusive",),
    }
    ends = {name: one.status for name, one in found.items()}
    assert ends == dict.fromkeys(["day1", "day2", "day3", "day4"], "published") | {
        "day5": "withdrawn",
        "day6": "dropped",
        "day7": "quarantined",
    }
    assert {one.version for one in found.values()} == {"v0001"}
    assert (found["day1"].rows, found["day6"].rows) == (400, 300)


def test_a_batch_that_trips_says_its_cause_and_harm(past):
    (ruling,) = judged(past)["day2"].now
    assert (ruling.tolerance, ruling.trips) == (0.02, True)
    assert "price" in ruling.cause
    assert ruling.harm is not None and ruling.harm > 0.01


def test_what_labels_said_stands_beside_it(past):
    found = judged(past)
    assert {name: one.now[0].condemned for name, one in found.items() if one.now} == {
        "day1": False,
        "day2": True,
        "day3": False,
        "day4": None,
        "day5": True,
        "day6": None,
    }
    realised, reference = found["day2"].realised, found["day2"].reference
    assert realised is not None and realised.rows == 400 and 0.4 < realised.value < 0.6
    manifest = past.line.models.manifest("v0001")
    assert reference == r.Measured("auc", manifest.metrics["auc"], manifest.metrics["se"], 0)
    assert found["day4"].realised is None


def test_the_figures_of_each_tolerance_are_summed_up(past):
    found = list(judged(past, 0.02, 0.9).values())
    strict, lenient = summarise(found)
    assert strict == Summary(0.02, 6, 4, 1.5, confirmed=1, contradicted=1, unlabelled=2, missed=1, undecided=0)
    assert lenient == Summary(0.9, 6, 1, 6.0, confirmed=0, contradicted=0, unlabelled=1, missed=0, undecided=0)


def test_with_the_tolerance_of_then_the_verdicts_are_those_of_then(past):
    found = judged(past, 0.9)
    assert all(one.then == one.now[0].verdict for one in found.values() if one.now)
    assert all(one.now[0].tolerance == 0.9 for one in found.values() if one.now)


def test_the_current_settings_count_not_those_of_then(past):
    past.setting("[checks]\nmax_rejected = 0.5\n")
    found = judged(past)
    assert found["day6"].now[0].verdict == "warn"
    assert found["day6"].then == "halt"


def test_only_the_newest_batches_are_looked_at(past):
    test = past.line.backtest()
    assert [one.known.name for one in test.past(2)] == ["day6", "day7"]
    assert len(test.past(99)) == len(test.past()) == 7


def test_the_cause_is_that_of_the_least_tolerance(past):
    found = judged(past, 0.9, 0.02)["day2"]
    assert found.strictest is found.now[1]
    assert found.why == found.now[1].cause


# ── nothing is written ───────────────────────────────────────────────────────────────────────────


def test_a_backtest_writes_nothing_to_a_store_in_memory(past):
    before = snapshot(past.store)
    judged(past, 0.01, 0.05)
    assert snapshot(past.store) == before


def test_a_backtest_writes_nothing_to_a_folder(past, tmp_path):
    folder = FolderStore(tmp_path / "store")
    for key, data in snapshot(past.store).items():
        folder.put(key, data)
    past.store = folder
    before = {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*")}
    assert judged(past)["day2"].now
    assert {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*")} == before


def test_a_backtest_works_where_nothing_can_be_written(past):
    past.store = FaultyStore(past.store, parse_rules("full * * times=1000"))
    with pytest.raises(NotWritten):
        past.store.put("x", b"")
    assert verdicts(judged(past))["day2"] == ("warn", "halt")


# ── what cannot be scored again ──────────────────────────────────────────────────────────────────


def unscored(project, name: str = "day2") -> str:
    """Why a batch cannot be scored again; the others are judged all the same."""
    found = judged(project)
    assert found[name].now == () and found[name].why == found[name].unscored
    assert all(one.now for other, one in found.items() if other not in (name, "day7"))
    return found[name].unscored


def copy_of(project, name: str) -> str:
    state = project.line.ledger.state()
    batch = next(k for k in state.batches if k.startswith(f"{name}."))
    return project.line.batches.input_key(batch, state.batches[batch].file)


def test_a_file_that_was_never_scored_is_listed(past):
    assert unscored(past, "day7").startswith("no run scored it: input.parquet is cut off")


def test_a_copy_that_is_gone_is_listed(past):
    key = copy_of(past, "day2")
    past.store.delete(key)
    said = unscored(past)
    assert said.startswith("what it was scored from is gone: ") and key in said


def test_a_copy_that_cannot_be_read_is_listed(past):
    past.store.put(copy_of(past, "day2"), b"PAR1 cut off")
    assert "is cut off" in unscored(past)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("manifest.json", "there is no version 'v0001'"),
        ("contract.json", "contract.json is gone"),
        ("artifacts/model.joblib", "model.joblib is gone"),
    ],
)
def test_batches_of_a_version_that_is_gone_are_listed_and_those_of_another_are_judged(past, rows, file, why):
    past.promote_copy()
    past.line.ledger.append(lambda _: r.Reset("go on"))
    past.deliver("day8", features(rows(400, 30)))
    past.infer("a2")
    past.store.delete(f"tiny/versions/v0001/{file}")
    found = judged(past)
    assert {name: why in one.unscored for name, one in found.items() if name != "day7"} == {
        **{f"day{n}": True for n in range(1, 7)},
        "day8": False,
    }
    assert (found["day8"].version, found["day8"].now[0].verdict) == ("v0002", "pass")
    assert found["day2"].realised is not None and found["day2"].reference is not None


def test_a_version_whose_manifest_changed_since_is_not_opened(past):
    models = past.line.models
    models.write(replace(models.manifest("v0001"), importance={}))
    assert all("was changed after it was registered" in one.unscored for n, one in judged(past).items() if n != "day7")


def test_a_version_that_names_rows_by_another_column_is_listed(past):
    past.write("project.toml", (past.folder / "project.toml").read_text().replace('id = "id"', 'id = "colour"'))
    assert all("v0001 names rows by 'id'" in one.unscored for n, one in judged(past).items() if n != "day7")


def test_a_store_that_does_not_answer_is_an_error_and_no_finding(past):
    past.store = FaultyStore(past.store, parse_rules("fail-before local */day3.*"))
    with pytest.raises(StoreError):
        judged(past)


# ── sources, names, replays ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def shops(with_shops, rows, sold):
    """A project with a joined source, and a batch that it published."""
    with_shops.train()
    with_shops.deliver("day1", sold(features(rows(400, 2))))
    with_shops.infer()
    return with_shops


def test_a_batch_is_joined_to_the_sources_of_then(shops):
    (before,) = judged(shops).values()
    pd.DataFrame({"shop": ["a"], "discount": [99.0]}).to_parquet(
        shops.folder.parent.parent / "data" / "shops.parquet", index=False
    )
    (after,) = judged(shops).values()
    assert before.now and after == before
    assert after.then == after.now[0].verdict


def test_a_copy_of_a_source_that_is_gone_is_listed(shops):
    (item,) = shops.store.list("tiny/sources/")
    shops.store.delete(item.key)
    (found,) = judged(shops).values()
    assert item.key in found.unscored


def test_a_source_that_project_toml_no_longer_names_is_listed(shops):
    text = (shops.folder / "project.toml").read_text()
    shops.write("project.toml", text[: text.index("[sources.shops]")])
    (found,) = judged(shops).values()
    assert found.unscored == "it was joined to shops, which project.toml no longer names as a source"


def test_rows_without_an_id_column_are_named_as_then(light, rows):
    light.write("project.toml", 'target = "bought"\ndrop = ["id"]\n[sources.history]\npath = "data/history.parquet"\n')
    light.train()
    light.deliver("day1", features(rows(400, 2)))
    light.infer()
    (found,) = judged(light).values()
    assert found.now[0].verdict == found.then != "inconclusive"


def test_a_batch_that_waits_to_be_scored_again_has_no_outcome(past):
    past.line.ledger.append(lambda _: r.Reset("go on"))
    replay(past.line.ledger, past.line.batches, "day5", "once more")
    assert "day5" not in judged(past)


def test_a_batch_that_was_replaced_by_a_repaired_file_tripped_once(past, rows, tmp_path):
    past.deliver("day8", in_cents(features(rows(400, 30))))
    past.line.ledger.append(lambda _: r.Reset("go on"))
    past.infer("a2")
    past.line.ledger.append(lambda _: r.Reset("go on"))
    features(rows(400, 30)).to_parquet(tmp_path / "day8.parquet", index=False)
    replay(past.line.ledger, past.line.batches, "day8", "euros", tmp_path / "day8.parquet")
    past.infer("a3")
    test = past.line.backtest()
    found = [test.judge(one) for one in test.past(2)]
    assert [(one.status, one.now[0].verdict) for one in found] == [("replaced", "halt"), ("published", "pass")]


def test_labels_of_what_another_version_predicted_do_not_count_and_of_pieces_the_largest_does(past):
    state = past.line.ledger.state()
    batch = next(k for k in state.batches if k.startswith("day4."))
    for version, rows, value in (("v0009", 900, 0.1), ("v0001", 300, 0.6), ("v0001", 20, 0.9), ("v0001", 400, None)):
        reading = r.BatchMeasured(batch, version, rows, value, None if value is None else 0.02)
        past.line.ledger.append(
            lambda _, reading=reading: r.Labelled({}, (reading,), 0, None, None, None, None, "pass")
        )
    assert judged(past)["day4"].realised == r.Measured("auc", 0.6, 0.02, 300)


def test_labels_are_held_against_nothing_where_the_version_has_no_known_metric(past):
    test = past.line.backtest()
    day2 = test.past()[2]
    found = test.judge(replace(day2, version=replace(day2.version, metrics={"log_loss": 0.4})))
    assert (found.realised, found.reference, found.now[0].condemned) == (None, None, None)


# ── the figures ──────────────────────────────────────────────────────────────────────────────────


def ruling(verdict: r.Verdict, *, trips: bool = False, condemned: bool | None = None) -> Ruling:
    return Ruling(0.02, verdict, 0.0, "", trips, condemned)


def tried(*now: Ruling) -> Tried:
    return Tried("day1.0", "published", "v0001", 10, "pass", now)


def test_a_batch_that_cannot_be_judged_neither_trips_nor_is_published():
    (found,) = summarise([tried(ruling("inconclusive", condemned=True)), tried(ruling("pass")), tried()])
    assert found == Summary(0.02, 2, 0, None, 0, 0, 0, 0, undecided=1)


def test_a_batch_that_cannot_be_judged_trips_where_the_policy_says_so(past):
    past.recode("def metrics(predictions):\n    raise ValueError('no')\n")
    assert not judged(past)["day1"].now[0].trips
    past.setting("[breaker]\ninconclusive_limit = 1\n")
    (ruled,) = judged(past)["day1"].now
    assert (ruled.verdict, ruled.trips) == ("inconclusive", True)


def test_it_is_said_in_one_sentence():
    first = Summary(0.02, 20, 2, 10.0, confirmed=1, contradicted=0, unlabelled=1, missed=0, undecided=0)
    clause = "With tolerance 0.02 the breaker would have tripped on 2 of 20 batches"
    labels = "labels confirm 1, contradict 0, are missing for 1"
    assert said([first]) == f"{clause}; {labels}."
    assert said([replace(first, missed=3)], 2) == (
        f"{clause}; {labels}; labels condemn 3 that it would have let through; 2 more could not be scored again."
    )
    assert said([first, replace(first, tolerance=0.05, tripped=0)]) == f"{clause}, with 0.05 on 0."
    quiet = replace(first, tripped=0, batches=1, one_in=None)
    assert said([quiet]) == "With tolerance 0.02 the breaker would have tripped on 0 of 1 batch."
    assert said([], 3) == "No batch of the past could be scored again."
    assert said([]) == "No batch has an outcome yet."


@pytest.mark.parametrize("text", ["", "x", "0", "-0.1", "nan", "inf", "0.1,,0.2", "0.1;0.2"])
def test_what_is_no_tolerance_is_said(text):
    with pytest.raises(SettingsError, match=r"is no tolerance: give numbers above 0 with commas between, e\.g\. 0"):
        tolerances(text)


def test_tolerances_keep_their_order_and_come_once():
    assert tolerances("0.05, 0.01,0.050") == (0.05, 0.01)


# ── the command, seen from outside ───────────────────────────────────────────────────────────────

ASK = """
import sys
from fuseline.cli import main
sys.argv = ["fuseline", "backtest", "tiny", "--tolerance", "0.01,0.02"]
try:
    main()
except SystemExit as ended:
    print("code", ended.code)
print([m for m in ("numpy", "pandas", "pyarrow", "sklearn", "scipy", "boto3") if m in sys.modules])
"""


def test_where_there_is_no_past_nothing_heavy_is_loaded(tiny, tmp_path):
    settings = {"FUSELINE_STORE": str(tmp_path / "store"), "FUSELINE_PROJECTS": str(tiny.folder.parent)}
    run = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, **settings}, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["No batch has an outcome yet.", "code 0", "[]"]
    assert not (tmp_path / "store").exists()
