"""projects/claims for real: its data, its cleaning, its model on later claims, its line, and the API beside it."""

from __future__ import annotations

import csv
import doctest
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline import tables
from fuseline.bootstrap import Line
from fuseline.contract import learn
from fuseline.gate import decide
from fuseline.projects import load_module, read_project
from fuseline.records import Entry, Labelled, Published, Quarantined
from fuseline.serving.scored import Scored
from fuseline.serving.served import Asked
from fuseline.settings import Settings
from fuseline.storage import MemoryStore

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "projects" / "claims"
REAL = ROOT.parent / "shared" / "data" / "claims.csv"
ID, TARGET, CAPPED = "Claim Number", "Incurred", "Capped Incurred"

g: Any = load_module(ROOT / "data" / "claims.py", "claims_data")
p: Any = load_module(FOLDER / "predict.py", "claims")
t: Any = load_module(FOLDER / "train.py", "claims")
f: Any = load_module(FOLDER / "features.py", "claims")  # `features` is the name of another project's file, too
e: Any = load_module(FOLDER / "evaluate.py", "claims")
config = read_project(ROOT / "projects", "claims").config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that data/claims.py writes without arguments."""
    folder = tmp_path_factory.mktemp("claims") / "made"
    g.generate(folder)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it writes of the real file."""
    if not REAL.is_file():
        pytest.skip("../shared/data/claims.csv is not beside this checkout")
    folder = tmp_path_factory.mktemp("claims") / "real"
    g.prepare(REAL, folder)
    return folder


def frame(path: Path) -> pd.DataFrame:
    """A file's features as a project gets them: float64 with NaN, text with None."""
    table = tables.read_table(path)
    known = learn(table, id=ID, time="date_of_loss", drop=[*config.drop, TARGET])
    data: pd.DataFrame = tables.to_frame(table.select(known.names), known)
    return data


def history(folder: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Features and costs of the newest claims before the first batch."""
    path = folder / "history.csv"
    newest = slice(-config.training.max_rows, None)
    return frame(path).iloc[newest].reset_index(drop=True), pd.read_csv(path)[TARGET].iloc[newest]


@pytest.fixture(scope="module")
def past(made: Path) -> tuple[pd.DataFrame, pd.Series]:
    return history(made)


@pytest.fixture(scope="module")
def fitted(past: tuple[pd.DataFrame, pd.Series]) -> dict[str, Any]:
    artifacts: dict[str, Any] = t.train(*past)
    p.warm_up(artifacts)
    return artifacts


def reserve(data: pd.DataFrame, artifacts: Mapping[str, Any]) -> np.ndarray:
    found: np.ndarray = p.predict(data, artifacts)
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(folder: Path) -> dict[str, bytes]:
    return {x.relative_to(folder).as_posix(): x.read_bytes() for x in sorted(folder.rglob("*")) if x.is_file()}


def test_the_examples_in_the_texts_are_true() -> None:
    found = [doctest.testmod(module) for module in (f, t, e, g)]
    assert all(result.attempted and not result.failed for result in found)


# ── the data ────────────────────────────────────────────────────────────────────────────────────


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        g.generate(tmp_path / name, rows=300, seed=seed)
    a, b, c = (everything(tmp_path / name) for name in "abc")
    assert a == b
    assert not [name for name in a if a[name] == c.get(name)]


def test_made_up_claims_look_like_claims(made: Path) -> None:
    claims = rows_of(made / "history.csv")
    assert list(claims[0]) == list(g.COLUMNS)
    assert len(g.COLUMNS) == 46
    costs = np.array([int(row[TARGET]) for row in claims])
    assert [int(row[CAPPED]) for row in claims] == np.minimum(costs, 50_000).tolist()
    assert costs.min() < 0
    assert 0.2 < (costs == 0).mean() < 0.3
    assert costs.mean() > 4 * np.median(costs)
    assert costs.max() > 300_000
    for name, marks in {
        "Location_of_incident": {"", "n/k"},
        "Weather_conditions": {"N/A", "N/K"},
        "Vehicle_mobile": {"", "n/k"},
        "PH_considered_TP_at_fault": {"#", "n/k"},
    }.items():
        assert marks <= {row[name] for row in claims}
    assert min(int(row["Notification_period"]) for row in claims) < 0


def test_made_up_claims_have_the_levels_and_shares_of_the_real_ones(made: Path, real: Path) -> None:
    ours, theirs = (pd.read_csv(folder / "history.csv", dtype=str, keep_default_na=False) for folder in (made, real))
    assert list(ours) == list(theirs)
    for name in ours:
        if theirs[name].nunique() <= 10 and not name.startswith("TP_"):
            shares, wanted = (x[name].value_counts(normalize=True) for x in (ours, theirs))
            assert set(shares.index) - {"", "#"} == set(wanted.index) - {"", "#"}, name
            assert shares.sub(wanted, fill_value=0.0).abs().max() < 0.06, name
        if name.startswith("TP_"):
            ours_some, theirs_some = ((x[name] != "0").mean() for x in (ours, theirs))
            assert abs(ours_some - theirs_some) < 0.08, name
    without = [name for name in ours if name != ID]
    assert not set(map(tuple, ours[without].to_numpy())) & set(map(tuple, theirs[without].to_numpy()))


@pytest.mark.parametrize("folder", ["made", "real"])
def test_the_history_comes_first_and_batches_know_no_cost(folder: str, request: pytest.FixtureRequest) -> None:
    where: Path = request.getfixturevalue(folder)
    past = rows_of(where / "history.csv")
    batches = sorted((where / "batches").glob("*.csv"))
    later = [row for path in batches for row in rows_of(path)]
    assert 0.70 <= len(past) / (len(past) + len(later)) < 0.73
    assert max(row["date_of_loss"] for row in past) < min(row["date_of_loss"] for row in later)
    for path in batches:
        rows, labels = rows_of(path), rows_of(where / "labels" / path.name)
        assert list(rows[0]) == [name for name in g.COLUMNS if name not in (TARGET, CAPPED)]
        assert list(labels[0]) == [ID, TARGET]
        assert [row[ID] for row in rows] == [row[ID] for row in labels]
        assert {row["date_of_loss"][:7] for row in rows} == {path.stem}


def test_no_value_of_a_real_file_is_lost_or_changed(real: Path) -> None:
    kept = {row[ID]: row for row in rows_of(real / "history.csv")}
    for path in (real / "batches").glob("*.csv"):
        kept |= {row[ID]: row for row in rows_of(path)}
        for row in rows_of(real / "labels" / path.name):
            kept[row[ID]] |= row
    for row in rows_of(REAL):
        assert {**row, **kept.pop(row[ID])} == row
    assert not kept


def test_files_of_an_earlier_run_are_removed_and_others_are_not(tmp_path: Path) -> None:
    g.generate(tmp_path, rows=300)
    (tmp_path / "batches" / "2021-01.csv").write_text("old")
    (tmp_path / "batches" / "mine.csv").write_text("kept")
    g.generate(tmp_path, rows=300)
    assert not (tmp_path / "batches" / "2021-01.csv").exists()
    assert (tmp_path / "batches" / "mine.csv").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("Incurred", "Cost"), "has no column Incurred, Capped Incurred"),
        (lambda text: text.replace("\n2,", "\n1,", 1), "the claim 1 is there more than once"),
        (lambda text: text.replace("\n2,20", "\n2,20/", 1), "claim 2: date_of_loss is '20/"),
        (lambda text: text.replace("LD003", "LD003,", 1), "line 2: 47 values; the header has 46"),
        (lambda text: "\n".join(text.split("\n")[:3]), "none is later"),
        (lambda text: "", "has no column Claim Number"),
    ],
)
def test_a_file_that_is_not_one_of_claims_is_refused(tmp_path: Path, made: Path, change: Any, said: str) -> None:
    (tmp_path / "x.csv").write_text(change((made / "history.csv").read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        g.prepare(tmp_path / "x.csv", tmp_path)


def test_the_command_says_what_it_wrote_or_what_is_wrong(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "data" / "claims.py"), "--out", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert "claims before 20" in run("--rows", "200").stdout
    wrong = run("--rows", "5")
    assert wrong.returncode == 2
    assert "--rows must be from 200 to 5,000,000, not 5" in wrong.stderr
    absent = run("--from", str(tmp_path / "absent.csv"))
    assert absent.returncode == 1
    assert "absent.csv" in absent.stderr
    assert "Traceback" not in absent.stderr


# ── cleaning ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mark", ["#", "n/k", "N/K", "N/A", "n/a", "", "   ", " n/k ", "Unknown", "?", None, np.nan])
def test_whatever_stands_for_unknown_gives_the_same_reserve(mark: Any, fitted: dict[str, Any]) -> None:
    row = {name: 0.0 for name in frame_columns() if name.startswith("TP_")} | {"TP_type_driver": 1.0}
    data = pd.DataFrame([row | dict.fromkeys(f.TEXTS, mark)])
    null = pd.DataFrame([row | dict.fromkeys(f.TEXTS)])
    assert f.features(data)[list(f.TEXTS)].isna().all(axis=None)
    assert reserve(data, fitted).tolist() == reserve(null, fitted).tolist()


def test_spaces_are_cut_and_what_is_known_stays() -> None:
    assert f.known(pd.Series([" Main Road ", "Not Applicable"])).tolist() == ["Main Road", "Not Applicable"]


def test_a_count_below_zero_is_none_and_one_beyond_all_measure_is_cut() -> None:
    data = pd.DataFrame([dict.fromkeys(frame_columns(), 0.0)] * 3)
    data["TP_injury_whiplash"] = [-7.0, 1e300, np.inf]
    cleaned = f.features(data.astype(dict.fromkeys(f.TEXTS, object)))
    assert cleaned["injury_whiplash"].tolist()[:2] == [0.0, f.MOST]
    assert np.isnan(cleaned["injury_whiplash"][2])


@given(st.lists(st.one_of(st.none(), st.text(), st.floats(), st.integers()), min_size=1))
def test_any_value_is_cleaned(values: list[Any]) -> None:
    column = pd.Series(values, dtype=object)
    text, counts = f.known(column), f.counts(pd.DataFrame({"people": column}))
    assert all(value is None or (value and value == value.strip()) for value in text)
    assert (np.isnan(counts) | ((counts >= 0) & np.isfinite(counts))).all()


def test_people_who_are_not_mentioned_are_not_there(fitted: dict[str, Any]) -> None:
    said = {"TP_type_driver": 1.0, "TP_injury_whiplash": 1.0}
    whole = pd.DataFrame([dict.fromkeys(COUNTS, 0.0) | dict.fromkeys(f.TEXTS) | said])
    part = pd.DataFrame([dict.fromkeys(COUNTS, np.nan) | dict.fromkeys(f.TEXTS) | said])
    assert reserve(part, fitted).tolist() == reserve(whole, fitted).tolist()


def test_a_recovery_costs_nothing_in_training(past: tuple[pd.DataFrame, pd.Series]) -> None:
    data, costs = past
    assert (costs < 0).any()
    some = data.head(50)
    raw, zeroed = (t.train(data, y) for y in (costs, costs.clip(lower=0)))
    assert np.array_equal(reserve(some, raw), reserve(some, zeroed))


def frame_columns() -> list[str]:
    """The columns that a claim is scored by."""
    apart = {ID, "date_of_loss", TARGET, *config.drop}
    return [name for name in g.COLUMNS if name not in apart]


def test_the_capped_cost_is_no_feature() -> None:
    assert CAPPED in config.drop
    assert len(frame_columns()) == 17
    assert not {TARGET, CAPPED} & set(frame_columns())
    row = pd.DataFrame([dict.fromkeys(frame_columns(), 0.0)])
    assert len(f.features(row)) == len(f.serious(row)) == len(f.unrecorded(row)) == 1  # nothing else is looked for


# ── the model ───────────────────────────────────────────────────────────────────────────────────


def test_each_part_is_an_artifact_of_its_own(fitted: dict[str, Any]) -> None:
    assert list(fitted) == ["imputer", "scaler", "levels", "model", "large", "threshold", "excess", "mean_cost"]


def test_a_reserve_is_the_usual_cost_and_the_chance_of_a_large_one_times_its_excess(
    fitted: dict[str, Any], past: tuple[pd.DataFrame, pd.Series]
) -> None:
    data = past[0].head(200)
    x = f.encode(f.features(data), fitted)
    usual = np.minimum(fitted["model"].predict(x), fitted["threshold"])
    chance = fitted["large"].predict_proba(x)[:, 1]
    hurt = (data["TP_injury_traumatic"] + data["TP_injury_fatality"] > 0).to_numpy()
    excess = np.where(hurt, fitted["excess"][True], fitted["excess"][False])
    assert np.allclose(reserve(data, fitted), usual + chance * excess, rtol=1e-14)
    assert fitted["excess"][True] > fitted["excess"][False] > 0


def test_over_the_claims_of_training_each_part_adds_up_to_what_came(
    fitted: dict[str, Any], past: tuple[pd.DataFrame, pd.Series]
) -> None:
    data, incurred = past
    costs, threshold = np.maximum(incurred.to_numpy(), 0.0), fitted["threshold"]
    x = f.encode(f.features(data), fitted)
    assert (costs > threshold).mean() == pytest.approx(0.10, abs=0.005)
    assert np.minimum(fitted["model"].predict(x), threshold).sum() == pytest.approx(np.minimum(costs, threshold).sum())
    assert fitted["large"].predict_proba(x)[:, 1].sum() == pytest.approx((costs > threshold).sum(), rel=1e-3)
    assert fitted["mean_cost"] == pytest.approx(costs.mean())


def test_no_single_claim_makes_the_mean_excess(past: tuple[pd.DataFrame, pd.Series]) -> None:
    data, incurred = past
    costs = np.maximum(incurred.to_numpy(dtype=float), 0.0)
    worse = costs.copy()
    worse[costs.argmax()] *= 1_000
    threshold = float(np.quantile(costs, 0.9))
    usual, after = (t.mean_excess(c, f.serious(data), threshold) for c in (costs, worse))
    assert all(after[group] < 1.25 * usual[group] for group in (False, True))


def test_few_large_claims_of_a_group_are_hardly_believed() -> None:
    costs = np.array([0.0] * 900 + [200.0] * 95 + [1_000.0] * 5)
    found = t.mean_excess(costs, costs == 1_000.0, 100.0)
    overall, own = (95 * 100.0 + 5 * 900.0) / 100, 900.0
    assert found[True] == pytest.approx((5 * own + 50 * overall) / 55)
    assert overall < found[True] < overall + 0.1 * (own - overall)
    assert 100.0 < found[False] < overall


def test_a_history_without_large_claims_says_so(past: tuple[pd.DataFrame, pd.Series]) -> None:
    data, incurred = past
    with pytest.raises(ValueError, match="0 of 2,000 claims are large; expected 20 at least"):
        t.train(data, incurred * 0)


def test_reserves_are_positive_and_bounded_whatever_the_row(fitted: dict[str, Any]) -> None:
    counts = [name for name in frame_columns() if name not in f.TEXTS]
    rows = [dict.fromkeys(counts, value) | dict.fromkeys(f.TEXTS, text) for value, text in ODD]
    found = reserve(pd.DataFrame(rows).astype(dict.fromkeys(f.TEXTS, object)), fitted)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert (found < fitted["threshold"] + fitted["excess"][True]).all()


ODD = [(np.nan, None), (0.0, "Mars"), (-5.0, ""), (1e308, "Y"), (np.inf, "N"), (-np.inf, "x" * 10_000), (1e-308, "#")]


def test_the_rows_beside_and_their_order_do_not_matter(
    fitted: dict[str, Any], past: tuple[pd.DataFrame, pd.Series]
) -> None:
    data = past[0].head(60)
    together = reserve(data, fitted)
    alone = np.concatenate([reserve(data.iloc[[i]].reset_index(drop=True), fitted) for i in range(len(data))])
    assert np.allclose(together, alone, rtol=1e-13, atol=0)
    assert np.allclose(reserve(data.iloc[::-1, ::-1], fitted)[::-1], together, rtol=1e-13, atol=0)


def test_nothing_that_it_is_given_is_changed(fitted: dict[str, Any], past: tuple[pd.DataFrame, pd.Series]) -> None:
    data, costs = past
    copies = data.copy(deep=True), costs.copy()
    t.train(data, costs)
    p.postprocess(reserve(data, fitted), data)
    pd.testing.assert_frame_equal(data, copies[0])
    pd.testing.assert_series_equal(costs, copies[1])


def test_people_read_a_reserve_and_who_handles_it(fitted: dict[str, Any], past: tuple[pd.DataFrame, pd.Series]) -> None:
    data = past[0].head(500)
    scores = reserve(data, fitted)
    read = p.postprocess(scores, data)
    assert list(read) == ["reserve_gbp", "large_probability", "handler"]
    assert np.allclose(read["reserve_gbp"], scores, atol=0.005)
    assert read["large_probability"].between(0, 1).all()
    assert set(read["handler"]) == {"specialist", "standard"}
    assert read.loc[read["handler"] == "specialist", "reserve_gbp"].min() > read["reserve_gbp"].median()


# ── on later claims ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("folder", "ranks"), [("made", 0.55), ("real", 0.70)])
def test_later_claims_cost_in_all_what_was_reserved_and_are_ranked(
    folder: str, ranks: float, request: pytest.FixtureRequest
) -> None:
    later = e.score(request.getfixturevalue(folder))
    flat = np.full(len(later.costs), later.mean)
    assert 0.75 < later.reserves.sum() / later.costs.sum() < 1.25
    assert e.gini(later.costs, later.reserves) > ranks
    assert np.square(later.costs - later.reserves).sum() < np.square(later.costs - flat).sum()
    assert np.abs(later.costs - later.reserves).sum() < 0.75 * np.abs(later.costs - flat).sum()
    assert later.chances.sum() == pytest.approx((later.costs > later.threshold).sum(), rel=0.3)
    tenths = e.deciles(later)
    assert tenths["claims"].sum() == len(later.costs)
    assert tenths["reserve"].is_monotonic_increasing
    assert tenths["cost"].iloc[-1] > 8 * tenths["cost"].iloc[:5].mean()


def test_the_report_holds_the_model_against_one_amount_for_all(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    e.main([str(made)])
    said = capsys.readouterr().out
    assert "| | the model | the flat mean | the flat median |" in said
    assert sum(line.startswith("| ") and line[2].isdigit() for line in said.splitlines()) == 10
    with pytest.raises(SystemExit, match="1"):
        e.main([str(made / "absent")])
    assert "absent" in capsys.readouterr().err


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_the_gini_is_at_most_that_of_the_costs_and_the_order_of_rows_does_not_matter(
    costs: list[float], deal: Any
) -> None:
    truth, by = np.array(costs), np.array([deal.random() for _ in costs])
    found = e.gini(truth, by)
    assert -1.0 - 1e-9 <= found <= 1.0 + 1e-9
    assert e.gini(truth[::-1], by[::-1]) == pytest.approx(found, abs=1e-9)


# ── the line, and the API beside it ─────────────────────────────────────────────────────────────


@dataclass
class Running:
    """The project's line over a store in memory, with a champion that was trained on made-up claims."""

    line: Line
    data: Path

    def again(self) -> Running:
        """The same line as it was after training, over a store of its own."""
        store, was = MemoryStore(), self.line
        for item in was.store.list(""):
            store.put(item.key, was.store.get(item.key))
        return Running(Line(was.settings, was.project, store, "tester"), self.data)

    def batch(self, *months: str) -> pd.DataFrame:
        parts = [pd.read_csv(self.data / "batches" / f"{m}.csv", dtype=str, keep_default_na=False) for m in months]
        return pd.concat(parts, ignore_index=True)

    def infer(self, rows: pd.DataFrame, name: str = "2014-10") -> Entry:
        """Deliver a batch and run the line; returns what became of it."""
        self.line.store.put(f"inbox/claims/{name}.csv", rows.to_csv(index=False).encode())
        inference = self.line.inference(f"run-{name}")
        plan = inference.plan()
        scores = [inference.score(job, piece) for job, piece in plan.pieces]
        (job,) = plan.jobs
        inference.settle([inference.assess(job, scores)])
        return next(entry for entry in self.line.ledger.entries() if isinstance(entry.event, Published | Quarantined))

    def feedback(self, labels: pd.DataFrame) -> Labelled:
        """Deliver costs and read them."""
        self.line.store.put("labels/claims/costs.csv", labels.to_csv(index=False).encode())
        feedback = self.line.feedback()
        entry = feedback.conclude(feedback.measure(feedback.waiting()))
        assert entry is not None and isinstance(entry.event, Labelled)
        return entry.event

    def published(self) -> list[dict[str, Any]]:
        (key,) = self.line.predictions.visible(self.line.ledger.state())
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(self.line.store.get(key))).to_pylist()
        return rows


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory, made: Path) -> Running:
    root = tmp_path_factory.mktemp("line")
    shutil.copytree(FOLDER, root / "projects" / "claims", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(made, root / "data" / "generated" / "claims")
    settings = replace(Settings(), projects=root / "projects", now="2014-11-02T06:00:00+00:00", user="tester")
    line = Line(settings, read_project(root / "projects", "claims"), MemoryStore(), "tester")
    training = line.training()
    plan = training.plan("t1")
    manifest = training.evaluate(plan, training.fit(plan))
    judged = decide(manifest.task, manifest.metrics, bounds=line.project.config.gate, paired=None, fault="")
    training.conclude(manifest, judged)
    return Running(line, root / "data" / "generated" / "claims")


@pytest.fixture
def running(champion: Running) -> Running:
    return champion.again()


def test_training_promotes_a_version_that_is_better_than_a_flat_mean(running: Running) -> None:
    assert running.line.ledger.state().champion == "v0001"
    manifest = running.line.models.manifest("v0001")
    assert manifest.task == "regression"
    assert list(manifest.features) == frame_columns()
    assert manifest.window.rows == config.training.max_rows
    assert manifest.metrics["r2"] > 0


def test_a_later_batch_is_published_with_what_people_read(running: Running) -> None:
    rows = running.batch("2014-10")
    entry = running.infer(rows)
    assert isinstance(entry.event, Published)
    assert entry.event.assessment.verdict == "pass"
    assert set(entry.event.assessment.business) == set(config.business) - {"reserve_against_incurred"}
    read = running.published()
    assert [row[ID] for row in read] == rows[ID].tolist()
    assert {"score", "reserve_gbp", "large_probability", "handler"} <= set(read[0])
    assert all(row["score"] > 0 for row in read)


def test_a_claim_gets_the_same_reserve_from_the_batch_and_from_the_api(running: Running) -> None:
    rows = running.batch("2014-10").head(80)
    running.infer(rows)
    served = Scored(running.line.models.open("v0001"), running.line.project.config, [])
    served.warm_up()
    records = [
        {name: value if name in f.TEXTS else float(value) for name, value in row.items() if name in frame_columns()}
        for row in rows.to_dict(orient="records")
    ]

    def ask(body: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(served.answer(Asked(json.dumps(body).encode())).body)["predictions"]
        return found

    together = ask(records)
    for i, (record, row) in enumerate(zip(records, running.published(), strict=True)):
        (alone,) = ask(record)
        for said in (alone, together[i]):
            assert said["score"] == pytest.approx(row["score"], rel=1e-12, abs=0)
            assert said["reserve_gbp"] == row["reserve_gbp"]
            assert said["handler"] == row["handler"]


def test_the_api_takes_a_claim_of_which_little_is_known(running: Running) -> None:
    served = Scored(running.line.models.open("v0001"), running.line.project.config, [])
    served.warm_up()
    one = {"TP_type_driver": 1}
    body = json.dumps([one | {"Vehicle_mobile": "#"}, one | {"Vehicle_mobile": ""}, one]).encode()
    found = [row["score"] for row in json.loads(served.answer(Asked(body)).body)["predictions"]]
    assert found[0] == found[1] == found[2] > 0


INJURIES = [f"TP_injury_{name}" for name in f.INJURIES]
COUNTS = [name for name in frame_columns() if name not in f.TEXTS]


def lost(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**dict.fromkeys(INJURIES, "0"))


def on_other_claims(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: rows[name].to_numpy()[::-1] for name in INJURIES})


def times_100(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: (rows[name].astype(int) * 100).astype(str) for name in INJURIES})


def exchanged(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(TP_injury_whiplash=rows["TP_injury_unclear"], TP_injury_unclear=rows["TP_injury_whiplash"])


def renamed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.rename(columns={"TP_injury_whiplash": "Whiplash"})


def in_words(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(TP_injury_nk="n/k")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (lost, "share_without_injury is 0.9"),
        (on_other_claims, "share_without_injury"),
        (times_100, "looks multiplied by 100"),
        (exchanged, "look exchanged"),
        (renamed, "column TP_injury_whiplash is missing"),
        (in_words, "TP_injury_nk is no number"),
    ],
    ids=["lost", "on other claims", "times 100", "exchanged", "renamed", "in words"],
)
def test_a_fault_that_would_change_reserves_is_held_back(running: Running, fault: Any, cause: str) -> None:
    entry = running.infer(fault(running.batch("2014-09", "2014-10")))
    assert isinstance(entry.event, Quarantined)
    assert any(cause in c.sentence for c in entry.event.assessment.causes if c.level == "halt")
    assert running.line.ledger.state().breaker.status == "open"


def test_a_fault_in_a_column_that_the_model_does_not_use_is_harmless(running: Running) -> None:
    rows = running.batch("2014-10")
    scores = {}
    for name, batch in (
        ("as it came", rows),
        ("days in hours", rows.assign(Inception_to_loss=(rows["Inception_to_loss"].astype(int) * 24).astype(str))),
        ("without a column", rows.drop(columns="Notifier")),
    ):
        line = running.again()
        assert isinstance(line.infer(batch).event, Published)
        scores[name] = [row["score"] for row in line.published()]
    assert scores["as it came"] == scores["days in hours"] == scores["without a column"]


def test_a_month_of_which_a_text_is_recorded_otherwise_is_told_and_published(running: Running) -> None:
    entry = running.infer(running.batch("2014-09", "2014-10").assign(Main_driver="J Smith"))
    assert isinstance(entry.event, Published)
    assert entry.event.assessment.verdict == "warn"
    assert any(c.column == "Main_driver" for c in entry.event.assessment.causes)


def test_costs_in_pounds_pass_and_costs_in_pence_condemn_the_model(running: Running) -> None:
    months = [path.stem for path in sorted((running.data / "labels").glob("*.csv"))][-9:]
    labels = pd.concat([pd.read_csv(running.data / "labels" / f"{month}.csv") for month in months])
    assert len(labels) > config.labels.min_rows
    running.infer(running.batch(*months), "many")
    in_pence = running.again().feedback(labels.assign(Incurred=labels[TARGET] * 100))
    assert in_pence.verdict == "halt"
    assert in_pence.trip is not None
    assert [c.kind for c in in_pence.causes] == ["labels", "business"]
    assert "reserve_against_incurred is 0.0" in in_pence.causes[1].sentence
    in_pounds = running.feedback(labels)
    assert in_pounds.pooled is not None
    assert (in_pounds.verdict, in_pounds.trip, in_pounds.causes) == ("pass", None, ())
    read = pd.DataFrame(running.published()).astype({ID: int}).merge(labels, on=ID)
    expected = read["reserve_gbp"].sum() / read[TARGET].clip(lower=0).sum()
    assert in_pounds.figures == {"reserve_against_incurred": pytest.approx(expected)}
    assert in_pence.figures["reserve_against_incurred"] == pytest.approx(expected / 100)


def test_reserves_that_cover_too_little_condemn_the_model_where_rmse_does_not(running: Running) -> None:
    months = [path.stem for path in sorted((running.data / "labels").glob("*.csv"))][-9:]
    labels = pd.concat([pd.read_csv(running.data / "labels" / f"{month}.csv") for month in months])
    running.infer(running.batch(*months), "many")
    event = running.feedback(labels.assign(Incurred=labels[TARGET].clip(0, 2_000)))  # costs of the first days
    assert event.pooled is not None and event.bound is not None
    assert event.pooled.value < event.bound
    assert [(c.kind, c.level) for c in event.causes] == [("business", "halt")]
    assert event.trip is not None


@pytest.mark.parametrize("seed", range(1, 8))
def test_sound_claims_of_other_seeds_are_reserved_within_the_bounds(seed: int, tmp_path: Path) -> None:
    g.generate(tmp_path, seed=seed)
    later = e.score(tmp_path)
    costs, reserves, bounds = later.costs, later.reserves, config.business["reserve_against_incurred"]
    assert bounds.min is not None and bounds.max is not None
    size = config.labels.min_rows
    found = [reserves[i : i + size].sum() / costs[i : i + size].sum() for i in range(0, len(costs) - size, 50)]
    assert len(found) > 20
    assert bounds.min < min(found) and max(found) < bounds.max
