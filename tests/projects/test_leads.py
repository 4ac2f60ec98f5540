"""projects/leads for real: its generator, its code, and its line over a store in memory, beside the API."""

from __future__ import annotations

import doctest
import io
import json
import math
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fuseline.bootstrap import Line
from fuseline.models import Model
from fuseline.projects import load_module, read_project
from fuseline.serving.problem import Problem
from fuseline.serving.scored import Scored
from fuseline.serving.served import Asked

ROOT = Path(__file__).resolve().parents[2]
FOLDER, START, DAY = ROOT / "projects" / "leads", date(2026, 3, 1), "2026-03-01"
INPUTS = sorted(f"x{i}" for i in range(100))

g: Any = load_module(ROOT / "data" / "leads.py", "leads_data")
p: Any = load_module(FOLDER / "predict.py", "leads")
train: Any = load_module(FOLDER / "train.py", "leads").train
f: Any = load_module(FOLDER / "features.py", "leads")


def frame(table: pa.Table) -> pd.DataFrame:
    """Features as a project gets them: float64 with NaN, text with None."""
    data: pd.DataFrame = table.drop_columns(["lead_id", "captured_at", "y"]).to_pandas()
    for name in data.select_dtypes(object):
        data[name] = data[name].where(data[name].notna(), None)
    return data


def score(data: pd.DataFrame, artifacts: Mapping[str, Any]) -> np.ndarray:
    scores: np.ndarray = p.predict(p.preprocess(data, artifacts), artifacts)
    return scores


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    history = g.past(START, 6_000)
    made: dict[str, Any] = train(frame(history), history["y"].to_pandas())
    return made


@pytest.fixture(scope="module")
def day() -> pa.Table:
    return g.one_day(date(2026, 3, 5), 4_000)


def test_the_examples_in_the_texts_are_true() -> None:
    found = [doctest.testmod(module) for module in (f, g)]
    assert all(result.attempted and not result.failed for result in found)


# ── the generator ───────────────────────────────────────────────────────────────────────────────


def everything(folder: Path) -> dict[str, bytes]:
    return {x.relative_to(folder).as_posix(): x.read_bytes() for x in sorted(folder.rglob("*")) if x.is_file()}


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        g.generate(tmp_path / name, history=60, rows=20, days=2, seed=seed)
    a, b, c = (everything(tmp_path / name) for name in "abc")
    assert a == b
    assert set(a) == {"history.parquet", *(f"{x}/2026-03-0{d}.csv" for x in ("batches", "labels") for d in (1, 2))}
    assert not [name for name in a if name in c and a[name] == c[name] and "labels" not in name]


def test_a_batch_does_not_depend_on_the_days_around_it(tmp_path: Path) -> None:
    g.generate(tmp_path / "a", history=10, rows=20, days=2)
    g.generate(tmp_path / "b", history=10, rows=20, days=1, start="2026-03-02")
    assert (tmp_path / "a/batches/2026-03-02.csv").read_bytes() == (tmp_path / "b/batches/2026-03-02.csv").read_bytes()


def test_the_command_writes_a_batch_without_the_target_and_its_labels(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "data" / "leads.py"), "--out", str(tmp_path), "--history", "9", "--rows", "5"]
    said = subprocess.run([*command, "--days", "1"], capture_output=True, text=True, check=True).stdout
    assert "history.parquet and 1 batches from 2026-03-01 on" in said
    batch, labels = (pd.read_csv(tmp_path / x / f"{DAY}.csv") for x in ("batches", "labels"))
    assert list(batch) == ["lead_id", "captured_at", *(f"x{i}" for i in range(100))]
    assert list(labels) == ["lead_id", "y"]
    assert labels["lead_id"].tolist() == batch["lead_id"].tolist()


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--rows must be from 1 to 100,000, not 0"):
        g.generate(tmp_path, rows=0)
    with pytest.raises(ValueError, match="--seed must be 0 or more, not -1"):
        g.generate(tmp_path, seed=-1)


def test_the_columns_are_what_the_readme_says(day: pa.Table) -> None:
    data = frame(day)
    text = {name for name in data if data[name].dtype == object}
    assert text == {"x5", "x12", "x31", "x63", "x81", "x82"}
    assert data.select_dtypes("number").isna().any().all()
    assert data[["x12", "x31", "x63"]].isna().any().all()
    assert {"Wed", "Wednesday", "wednesday"} <= set(data["x5"].unique())
    assert data["x12"].str.match(r"\$\d,\d{3}\.\d\d$").any()
    assert data["x12"].str.match(r"-\$\d+\.\d\d$").any()
    assert data["x12"].str.match(r"\(\$\d+\.\d\d\)$").any()
    assert data["x63"].dropna().str.fullmatch(r"\d+\.\d\d%").all()
    assert set(day["y"].to_pylist()) == {0, 1}
    assert 0.25 < np.mean(day["y"].to_numpy()) < 0.36


def test_ids_are_unique_over_history_and_days() -> None:
    parts = [g.past(START, 500), g.one_day(START, 300), g.one_day(date(2026, 3, 2), 300)]
    ids = np.concatenate([part["lead_id"].to_numpy() for part in parts])
    assert len(set(ids)) == 1_100
    times = np.concatenate([part["captured_at"].to_numpy() for part in parts])
    assert (np.diff(times) >= np.timedelta64(0)).all()


# ── money, shares and levels ────────────────────────────────────────────────────────────────────


@given(st.integers(-(10**12), 10**12), st.booleans())
def test_an_amount_that_was_written_is_read_again(cents: int, brackets: bool) -> None:
    assert f.amount(g.in_dollars(cents / 100, brackets)) == cents / 100


@given(st.integers(0, 10**6))
def test_a_share_that_was_written_is_read_again(hundredths: int) -> None:
    assert f.share(f"{hundredths / 100:.2f}%") == pytest.approx(hundredths / 10**4, rel=1e-15)


@given(st.one_of(st.text(), st.none(), st.floats(), st.integers()), st.sampled_from(["amount", "share"]))
def test_any_value_is_a_number_or_nan(value: object, parser: str) -> None:
    assert isinstance(getattr(f, parser)(value), float)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$5", 5.0),
        ("$-5", -5.0),
        ("-$5", -5.0),
        ("+$5.5", 5.5),
        ("($5)", -5.0),
        (" $1,234,567.89 ", 1_234_567.89),
        ("1234.5", 1234.5),
        ("$.50", 0.5),
        ("$1,23", None),
        ("$1,2345", None),
        ("$1.234,56", None),
        ("($5", None),
        ("5)", None),
        ("-($5)", None),
        ("-$-5", None),
        ("$", None),
        ("", None),
        ("n/a", None),
        ("nan", None),
        ("€5", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
    ],
)
def test_amounts_as_people_write_them(text: str, value: float | None) -> None:
    found = f.amount(text)
    assert found == value or (value is None and math.isnan(found))


@pytest.mark.parametrize("text", ["0.36", "36", "%", "36,5%", "n/a %", "1e2%", "5%%"])
def test_a_share_needs_its_sign_and_plain_digits(text: str) -> None:
    assert math.isnan(f.share(text))


def test_however_a_level_is_spelt_it_gives_the_same_dummies(fitted: dict[str, Any], day: pa.Table) -> None:
    row = frame(day).head(1)
    usual = f.encode(row.assign(x5="Wed", x81="August", x82="Female", x31="japan"), fitted)
    other = f.encode(row.assign(x5=" WEDNESDAY ", x81="aug.", x82="female", x31="Japan"), fitted)
    pd.testing.assert_frame_equal(usual, other)
    assert usual[["x5_wed", "x81_aug", "x82_female", "x31_japan"]].eq(1.0).all(axis=None)


# ── train.py and predict.py ─────────────────────────────────────────────────────────────────────


def test_each_part_is_an_artifact_of_its_own(fitted: dict[str, Any]) -> None:
    assert list(fitted) == ["imputer", "scaler", "levels", "columns", "model"]
    assert fitted["imputer"].strategy == "mean"
    assert len(set(fitted["columns"])) == 25
    assert list(fitted["model"].feature_names_in_) == list(fitted["columns"])
    assert {name: len(found) for name, found in fitted["levels"].items()} == {"x5": 7, "x81": 12, "x31": 4, "x82": 2}


def test_the_model_is_good_on_the_days_after_and_some_leads_reach_the_bound(
    fitted: dict[str, Any], day: pa.Table
) -> None:
    scores = score(frame(day), fitted)
    assert 0.78 < roc_auc_score(day["y"].to_numpy(), scores) < 0.85
    assert 0.03 < (scores >= 0.75).mean() < 0.12


def test_another_seed_is_of_the_same_kind(fitted: dict[str, Any]) -> None:
    other = g.one_day(date(2026, 4, 1), 3_000, seed=8)
    assert 0.77 < roc_auc_score(other["y"].to_numpy(), score(frame(other), fitted)) < 0.86


def test_training_twice_gives_the_same_columns_and_scores(day: pa.Table) -> None:
    history = g.past(START, 800)
    first, second = (train(frame(history), history["y"].to_pandas()) for _ in range(2))
    assert first["columns"] == second["columns"]
    assert np.array_equal(score(frame(day), first), score(frame(day), second))


def test_one_row_with_blanks_has_every_dummy_of_training(fitted: dict[str, Any], day: pa.Table) -> None:
    blank = frame(day).head(1).assign(x5=None, x31=" ", x81="", x82=None, x12=None, x63="n/a", x0=np.nan)
    alone, many = f.encode(blank, fitted), f.encode(frame(day), fitted)
    assert list(alone) == list(many)
    dummies = [f"{name}_{level}" for name, found in fitted["levels"].items() for level in found]
    assert len(dummies) == 25
    assert set(dummies) <= set(alone)
    assert alone[dummies].eq(0.0).all(axis=None)
    assert alone[["x0", "x12", "x63"]].to_numpy() == pytest.approx(0.0, abs=1e-12)  # the mean, scaled


def test_a_level_that_training_never_saw_is_no_level(fitted: dict[str, Any], day: pa.Table) -> None:
    row = frame(day).head(1)
    pd.testing.assert_frame_equal(f.encode(row.assign(x31="france"), fitted), f.encode(row.assign(x31=None), fitted))


def test_the_order_of_columns_and_the_rows_beside_do_not_matter(fitted: dict[str, Any], day: pa.Table) -> None:
    data = frame(day).head(40)
    together = score(data, fitted)
    alone = np.concatenate([score(data.iloc[[i]].reset_index(drop=True), fitted) for i in range(len(data))])
    assert np.allclose(together, alone, rtol=0, atol=1e-14)
    assert np.array_equal(score(data[INPUTS[::-1]], fitted), together)


def test_nothing_that_it_is_given_is_changed(day: pa.Table) -> None:
    history = g.past(START, 400)
    data, target = frame(history), history["y"].to_pandas()
    copy, outcomes = data.copy(deep=True), target.copy()
    p.postprocess(score(data, train(data, target)), data)
    pd.testing.assert_frame_equal(data, copy)
    pd.testing.assert_series_equal(target, outcomes)


def test_columns_that_are_null_in_all_of_training_are_survived() -> None:
    history = g.past(START, 600)
    data = frame(history).assign(x0=np.array([None] * 600, dtype=object), x12=None, x31=None, x3=np.nan)
    made = train(data, history["y"].to_pandas())
    assert np.isfinite(score(data, made)).all()
    assert np.isfinite(score(data.head(1).assign(x0="three", x12="$4", x31="japan", x3=5.0), made)).all()


def test_values_at_the_ends_of_what_a_number_holds_are_scored(fitted: dict[str, Any], day: pa.Table) -> None:
    data = frame(day).head(3).reset_index(drop=True)
    numbers = data.select_dtypes("number").columns
    data.loc[0, numbers], data.loc[1, numbers] = 1.7e308, -1.7e308
    data["x12"], data["x63"] = "$" + "9" * 400, "-" + "9" * 400 + "%"
    assert np.isfinite(score(data, fitted)).all()


def test_people_read_the_outcome_the_probability_and_all_inputs_in_alphabetical_order(day: pa.Table) -> None:
    data = frame(day).head(3)
    read = p.postprocess(np.array([0.75, 0.7499, 1.0]), data)
    assert list(read) == ["business_outcome", "phat", *INPUTS]
    assert list(read) == sorted(read)
    assert read["business_outcome"].tolist() == [1, 0, 1]
    assert read["phat"].tolist() == [0.75, 0.7499, 1.0]
    pd.testing.assert_frame_equal(read[list(data)], data.reset_index(drop=True))
    figures = p.metrics(read)
    assert figures["share_called"] == pytest.approx(2 / 3)
    assert figures["expected_share"] == pytest.approx(2.4999 / 3)
    assert all(type(figure) is float for figure in figures.values())


def test_the_bound_of_predict_is_that_of_project_toml() -> None:
    config = read_project(ROOT / "projects", "leads").config
    assert config.serve.threshold == p.CALL_FROM == 0.75


def outside(data: pd.DataFrame, artifacts: Mapping[str, Any]) -> set[str]:
    """The business figures of a batch that are out of their bounds."""
    bounds = read_project(ROOT / "projects", "leads").config.business
    figures = p.metrics(p.postprocess(score(data, artifacts), data))
    assert set(figures) == set(bounds)
    return {name for name, b in bounds.items() if not (b.min or 0.0) <= figures[name] <= (b.max or math.inf)}


def test_the_figures_of_usual_batches_are_within_their_bounds(fitted: dict[str, Any], day: pa.Table) -> None:
    data = frame(day)
    assert not any(outside(data.iloc[i : i + 250], fitted) for i in range(0, 4_000, 250))


def test_texts_written_in_another_way_are_out_of_bounds_and_nulls_are_not(
    fitted: dict[str, Any], day: pa.Table
) -> None:
    data = frame(day).head(500)
    european = data["x12"].str.translate(str.maketrans(",.", ".,"))
    assert outside(data.assign(x12=european.where(european.notna(), None)), fitted) == {"unread_amounts"}
    assert outside(data.assign(x63=data["x63"].str.rstrip("%")), fitted) == {"unread_shares"}
    assert outside(data.assign(x12=None), fitted) == set()


# ── the line, and the API beside it ─────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Trained:
    """The project's line with a champion, a published batch of 60 leads, and the champion as the API has it."""

    line: Line
    batch: list[dict[str, Any]]

    @cached_property
    def model(self) -> Model:
        return self.line.models.open("v0001")

    @cached_property
    def served(self) -> Scored:
        served = Scored(self.model, self.line.project.config, [])
        served.warm_up()
        return served

    @cached_property
    def published(self) -> dict[str, dict[str, Any]]:
        """What the flow says of each lead, by its id."""
        (key,) = self.line.predictions.visible(self.line.ledger.state())
        rows = pq.read_table(io.BytesIO(self.line.store.get(key))).to_pylist()
        return {row["lead_id"]: row for row in rows}

    def asked(self, records: Any, **query: str) -> list[dict[str, Any]]:
        """The predictions of the API for records."""
        found: list[dict[str, Any]] = self.answer(records, **query)["predictions"]
        return found

    def answer(self, records: Any, **query: str) -> dict[str, Any]:
        body = json.dumps(records).encode()
        found: dict[str, Any] = json.loads(self.served.answer(Asked(body, query=query)).body)
        return found


@pytest.fixture(scope="module")
def trained(played: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("leads")
    data = root / "data" / "generated" / "leads"
    g.generate(data, history=2_400, rows=60, days=1)
    line = played("leads", root, data / "batches" / f"{DAY}.csv")
    return Trained(line, g.one_day(START, 60).drop_columns(["captured_at", "y"]).to_pylist())


def same(said: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """An answer of the API is what the flow published of the lead."""
    assert list(said) == ["index", "score", "business_outcome", "phat", *INPUTS]
    assert said["score"] == pytest.approx(row["score"], abs=1e-12)
    assert said["phat"] == pytest.approx(row["phat"], abs=1e-12)
    assert {name: said[name] for name in ["business_outcome", *INPUTS]} == {
        name: row[name] for name in ["business_outcome", *INPUTS]
    }


def test_training_promotes_and_inference_publishes_every_row_of_the_batch(trained: Trained) -> None:
    state = trained.line.ledger.state()
    assert state.champion == "v0001"
    assert [(b.name, b.status) for b in state.batches.values()] == [(DAY, "published")]
    assert list(trained.published) == [str(row["lead_id"]) for row in trained.batch]
    assert {row["business_outcome"] for row in trained.published.values()} == {0, 1}


def test_each_row_of_a_batch_is_scored_alike_by_the_flow_and_by_the_api_alone_and_in_a_list(trained: Trained) -> None:
    together = trained.asked(trained.batch, threshold="0")
    assert [said["index"] for said in together] == list(range(60))
    for record, said in zip(trained.batch, together, strict=True):
        row = trained.published[str(record["lead_id"])]
        same(said, row)
        (alone,) = trained.asked(record, threshold="0")
        same(alone, row)


def test_the_order_of_keys_and_left_out_nulls_do_not_matter(trained: Trained) -> None:
    deal = random.Random(3)
    shuffled = []
    for record in trained.batch:
        items = [(name, value) for name, value in record.items() if value is not None]
        deal.shuffle(items)
        shuffled.append(dict(items))
    assert trained.asked(shuffled, threshold="0") == trained.asked(trained.batch, threshold="0")


def test_by_default_only_leads_over_the_bound_are_in_the_answer_each_with_its_index(trained: Trained) -> None:
    found = trained.asked(trained.batch)
    reached = [i for i, row in enumerate(trained.published.values()) if row["phat"] >= 0.75]
    assert [said["index"] for said in found] == reached != []
    assert all(said["business_outcome"] == 1 and said["phat"] >= 0.75 for said in found)
    assert trained.asked(trained.batch[next(i for i in range(60) if i not in reached)]) == []


def test_blanks_in_one_row_are_imputed_as_in_a_batch(trained: Trained) -> None:
    empty = dict.fromkeys(INPUTS, " ")
    (said,) = trained.asked({**empty, "x0": 1.5}, threshold="0")
    nulls = pd.DataFrame({name: [None if name in f.SPELLINGS or name in f.PARSERS else np.nan] for name in INPUTS})
    scores = trained.model.predictor.scores(nulls.assign(x0=1.5))
    assert said["score"] == pytest.approx(scores[0], abs=1e-12)
    assert {said[name] for name in INPUTS if name != "x0"} == {None}


@pytest.mark.parametrize("value", ["n/a", "$1,23", "twelve", "%", "$-5", 5, -0.5, 10**30, True, "9" * 400])
@pytest.mark.parametrize("name", ["x12", "x63", "x5", "x31"])
def test_anything_in_a_column_of_text_is_scored(trained: Trained, name: str, value: Any) -> None:
    (said,) = trained.asked({**trained.batch[0], name: value}, threshold="0")
    assert 0.0 <= said["score"] <= 1.0
    assert said[name] == (value if isinstance(value, str) else str(value).lower())


@pytest.mark.parametrize(("name", "value"), [("x12", ["$5"]), ("x5", {"day": "Wed"}), ("x0", "n/a"), ("x0", "$5")])
def test_what_no_column_can_hold_is_refused_with_the_row_and_the_column(
    trained: Trained, name: str, value: Any
) -> None:
    bad = {**trained.batch[1], name: value}
    with pytest.raises(Problem) as caught:
        trained.asked([trained.batch[0], bad])
    assert caught.value.kind == "bad-rows"
    assert [(fault.row, fault.column) for fault in caught.value.rows] == [(1, name)]
    answer = trained.answer([trained.batch[0], bad], partial="true", threshold="0")
    assert [said["index"] for said in answer["predictions"]] == [0]


def test_labels_of_the_day_are_read_by_the_id_of_a_lead(trained: Trained) -> None:
    labels = g.one_day(START, 60).select(["lead_id", "y"]).to_pandas()
    trained.line.store.put(f"labels/leads/{DAY}.csv", labels.to_csv(index=False).encode())
    feedback = trained.line.feedback()
    feedback.conclude(feedback.measure(feedback.waiting()))
    assert [b.labelled for b in trained.line.ledger.state().batches.values()] == [60]
