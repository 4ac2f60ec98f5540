from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from fuseline.artifacts import digest, load
from fuseline.errors import DataError, ModelFault, ProjectError, SettingsError
from fuseline.gate import Decision
from fuseline.models import GOLDEN, MANIFEST, REFERENCE, Manifest
from fuseline.records import Entry, Held, Promoted, Registered, RetrainAsked, TrainingStarted
from fuseline.rows import labels_of, scores_of

if TYPE_CHECKING:
    from conftest import Tiny

pytestmark = pytest.mark.usefixtures("light")

NOISE = """
import numpy as np

class Noise:
    def predict_proba(self, data):
        score = np.random.default_rng(0).random(len(data))
        return np.column_stack([1 - score, score])

def train(data, target):
    return Noise()
"""

FOREST = """
from sklearn.{kind} import {name} as Model
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

def train(data, target):
    return make_pipeline(SimpleImputer(), Model()).fit(data, target)
"""

SIMPLE = 'target = "y"\n[sources.history]\npath = "data/simple.parquet"\n'


def simple(tiny: Tiny, kind: str, name: str, rows: pd.DataFrame, text: str = "") -> None:
    """Make the project one of these rows, whose target is y, with a model of scikit-learn."""
    tiny.write("project.toml", SIMPLE + text)
    tiny.write("train.py", FOREST.format(kind=kind, name=name))
    (tiny.folder / "predict.py").unlink()
    rows.to_parquet(tiny.folder.parent.parent / "data" / "simple.parquet", index=False)


def manifest(tiny: Tiny, version: str = "v0001") -> Manifest:
    return tiny.line.models.manifest(version)


def fit(tiny: Tiny) -> Any:
    training = tiny.line.training()
    return training.fit(training.plan("t1"))


def entries(tiny: Tiny) -> list[Entry]:
    return list(tiny.line.ledger.entries())


def status(tiny: Tiny) -> dict[str, str]:
    return {v: known.status for v, known in tiny.line.ledger.state().versions.items()}


# ── plan ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_reserves_a_version_and_takes_the_request(tiny: Tiny) -> None:
    tiny.line.ledger.append(lambda state: RetrainAsked("drift"))
    plan = tiny.line.training().plan("t1")
    assert (plan.version, plan.run) == ("v0001", "t1")
    assert [e.event for e in entries(tiny)][1:] == [TrainingStarted("t1")]
    retrain = tiny.line.ledger.state().retrain
    assert retrain is not None and retrain.run == "t1"
    assert tiny.line.training().plan("t2").version == "v0002"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (None, ProjectError, "train.py does not exist; project tiny needs it"),
        ("x = 1\n", ProjectError, r"train.py defines no function train\(data, target\)"),
        ("def train(\n", ProjectError, "train.py of project tiny cannot be imported: SyntaxError"),
    ],
)
def test_a_train_py_that_cannot_train_fails_before_anything_is_written(
    tiny: Tiny, text: str | None, error: type[Exception], said: str
) -> None:
    if text is None:
        (tiny.folder / "train.py").unlink()
    else:
        tiny.write("train.py", text)
    with pytest.raises(error, match=said):
        tiny.line.training().plan("t1")
    assert list(tiny.store.list("")) == []


def test_a_history_that_is_not_there_fails_before_anything_is_written(tiny: Tiny) -> None:
    (tiny.folder.parent.parent / "data" / "history.parquet").unlink()
    with pytest.raises(SettingsError, match=r"\[sources.history\] of project tiny: .* does not exist"):
        tiny.line.training().plan("t1")
    assert list(tiny.store.list("")) == []


# ── fit ──────────────────────────────────────────────────────────────────────────────────────────


def test_training_gets_the_features_of_the_rows_that_are_not_held_out(tiny: Tiny) -> None:
    text = """
def train(data, target):
    return {"model": 1, "rows": len(data), "kinds": data.dtypes.astype(str).to_dict(), "labels": sorted(set(target)),
            "same": data.index.equals(target.index)}
"""
    tiny.write("train.py", text)
    training = tiny.line.training()
    plan = training.plan("t1")
    fitted = training.fit(plan)
    assert fitted.artifacts == ("model", "rows", "kinds", "labels", "same")
    assert (fitted.task, fitted.classes) == ("binary", ("no", "yes"))
    model = {name: tiny.store.get(f"tiny/versions/v0001/artifacts/{name}.joblib") for name in fitted.artifacts}
    found = {name: load(data, digest(data), name) for name, data in model.items()}
    assert found["rows"] == int((~training.rows(plan).held_out).sum())
    assert found["kinds"] == {"price": "float64", "age": "float64", "colour": "object"}
    assert found["labels"] == ["no", "yes"] and found["same"]


def test_a_dict_of_artifacts_and_the_code_are_stored(tiny: Tiny) -> None:
    tiny.write("helper.py", "x = 1\n")
    tiny.write("train.py", "def train(data, target):\n    return {'model': 1, 'levels': ['a']}\n")
    fitted = fit(tiny)
    assert set(fitted.files) == {
        "artifacts/model.joblib",
        "artifacts/levels.joblib",
        "code/train.py",
        "code/predict.py",
        "code/helper.py",
        "code/project.toml",
    }
    assert fitted.files["code/helper.py"].digest == hashlib.sha256(b"x = 1\n").hexdigest()


def test_training_that_raises_names_the_line(tiny: Tiny) -> None:
    tiny.write("train.py", "def train(data, target):\n    x = 1\n    return data['no such column']\n")
    said = r"train in train.py of project tiny failed: KeyError: 'no such column' \(train.py, line 3\)"
    with pytest.raises(ModelFault, match=said):
        fit(tiny)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("None", "nothing that predicts"),
        ("{}", "nothing that predicts"),
        ("{'model': None}", "nothing that predicts"),
        ("{'scaler': 1, 'classifier': 2}", "a dict with scaler, classifier"),
        ("{'classifier': 2}", "a dict with classifier"),
    ],
)
def test_training_that_returns_no_model_says_what_it_returned(tiny: Tiny, value: str, found: str) -> None:
    tiny.write("train.py", f"def train(data, target):\n    return {value}\n")
    with pytest.raises(ModelFault, match=f"a fitted estimator, or a dict with one under 'model'; it returned {found}$"):
        fit(tiny)


def test_an_artifact_that_cannot_be_stored_is_named(tiny: Tiny) -> None:
    tiny.write("train.py", "def train(data, target):\n    return {'model': 1, 'link': lambda x: x}\n")
    with pytest.raises(ModelFault, match=r"what train in train.py returned as 'link' cannot be stored: "):
        fit(tiny)


# ── evaluate ─────────────────────────────────────────────────────────────────────────────────────


def test_a_version_is_measured_on_rows_that_training_never_saw(tiny: Tiny) -> None:
    tiny.train()
    held = manifest(tiny)
    model = tiny.line.models.open("v0001")
    reference = model.table(REFERENCE)
    truth, scores = labels_of(reference) == "yes", scores_of(reference)
    beaten = [(np.sum(s > scores[~truth]) + np.sum(s == scores[~truth]) / 2) / np.sum(~truth) for s in scores[truth]]
    assert held.metric == "auc" and held.metrics["auc"] == pytest.approx(np.mean(beaten), abs=1e-12)
    assert 0.7 < held.metrics["auc"] < 0.9 and 0 < held.metrics["se"] < 0.05
    assert reference.num_rows == held.window.holdout
    assert model.table(GOLDEN).num_rows == 64
    assert set(held.importance) == {"price", "age", "colour"}
    assert held.importance["price"] > 0.1 > abs(held.importance["age"])
    assert sum(band["rows"] for band in held.calibration) == held.window.holdout


def test_the_manifest_says_what_the_version_is_made_of(tiny: Tiny) -> None:
    (tiny.folder.parent.parent / "requirements.lock").write_bytes(b"numpy==2\n")
    tiny.train("run 7")
    held = manifest(tiny)
    assert (held.version, held.project, held.task, held.target, held.run) == (
        "v0001",
        "tiny",
        "binary",
        "bought",
        "run 7",
    )
    assert (held.classes, held.positive, held.features) == (("no", "yes"), "yes", ("price", "age", "colour"))
    assert held.created_at == tiny.clock()
    assert held.window.rows == 1200 and 250 < held.window.holdout < 350
    assert held.lock_digest == digest(b"numpy==2\n")
    assert len(held.code_digest) == 64
    for name, stored in held.files.items():
        data = tiny.store.get(f"tiny/versions/v0001/{name}")
        assert (digest(data), len(data)) == (stored.digest, stored.size)
    assert set(held.files) >= {"contract.json", "bins.json", REFERENCE, GOLDEN, "artifacts/model.joblib"}


def test_without_a_lock_file_there_is_no_digest_of_it(tiny: Tiny) -> None:
    tiny.train()
    assert manifest(tiny).lock_digest == ""


def test_the_positive_class_that_is_set_is_the_one_that_is_scored(tiny: Tiny) -> None:
    tiny.write("project.toml", tiny.folder.joinpath("project.toml").read_text().replace("[s", 'positive = "no"\n[s', 1))
    tiny.train()
    held = manifest(tiny)
    assert (held.classes, held.positive, held.order) == (("no", "yes"), "no", ("yes", "no"))
    assert held.metrics["auc"] > 0.7
    reference = tiny.line.models.open("v0001").table(REFERENCE)
    sold = labels_of(reference) == "no"
    assert scores_of(reference)[sold].mean() > scores_of(reference)[~sold].mean()


def test_held_out_rows_of_one_class_cannot_be_measured(tiny: Tiny) -> None:
    rare = pd.DataFrame({"x": np.arange(80.0), "y": [1.0] + [0.0] * 79})
    simple(tiny, "linear_model", "LogisticRegression", rare, "[training]\nholdout = 0.05\n")
    tiny.write("train.py", NOISE)
    with pytest.raises(DataError, match=r"the \d+ held-out rows cannot be measured: they hold one class only"):
        tiny.train()
    assert not tiny.store.exists(f"tiny/versions/v0001/{MANIFEST}")
    assert status(tiny) == {}


def test_a_model_that_cannot_score_what_was_held_out_makes_no_version(tiny: Tiny) -> None:
    tiny.write("train.py", "def train(data, target):\n    return 'no model'\n")
    with pytest.raises(ModelFault, match="str has no predict_proba"):
        tiny.train()
    assert not tiny.store.exists(f"tiny/versions/v0001/{MANIFEST}")


def test_a_regression_is_trained_end_to_end(tiny: Tiny) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": 3 * x[:, 0] + rng.normal(size=400)})
    simple(tiny, "linear_model", "LinearRegression", frame)
    tiny.train()
    held = manifest(tiny)
    assert (held.task, held.classes, held.positive, held.metric) == ("regression", (), "", "rmse")
    assert 0.8 < held.metrics["rmse"] < 1.2 and held.metrics["r2"] > 0.85
    assert tiny.line.ledger.state().champion == "v0001"


def test_a_project_of_several_classes_is_trained_end_to_end(tiny: Tiny) -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 600)
    frame = pd.DataFrame({"a": kind + rng.normal(size=600), "y": np.array(list("pqr"))[kind]})
    simple(tiny, "linear_model", "LogisticRegression", frame)
    tiny.train()
    held = manifest(tiny)
    assert (held.task, held.classes, held.metric, held.calibration) == ("multiclass", ("p", "q", "r"), "auc_ovr", ())
    assert held.metrics["auc_ovr"] > 0.7
    assert scores_of(tiny.line.models.open("v0001").table(REFERENCE)).shape == (held.window.holdout, 3)
    assert tiny.line.ledger.state().champion == "v0001"


def test_boolean_datetime_and_text_columns_reach_training_in_their_promised_types(tiny: Tiny) -> None:
    rng = np.random.default_rng(0)
    rows = 300
    day = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    member = pd.array(rng.random(rows) < 0.5, dtype="boolean")
    member[5] = pd.NA
    town = rng.choice(["Köln", "Ulm", None], rows)
    y = np.where((day.dayofyear.to_numpy() > 45) ^ (rng.random(rows) < 0.2), "late", "early")
    simple(tiny, "x", "y", pd.DataFrame({"day": day, "member": member, "town": town, "y": y}))
    text = """
import numpy as np

class Days:
    def predict_proba(self, data):
        assert [str(t) for t in data.dtypes] == ["datetime64[ns]", "float64", "object"], data.dtypes
        assert set(data["member"].dropna()) <= {0.0, 1.0} and set(data["town"]) <= {"Köln", "Ulm", None}
        score = data["day"].dt.dayofyear.to_numpy() / 90
        return np.column_stack([score * 0 + 1 - score, score])

def train(data, target):
    model = Days()
    model.predict_proba(data)
    return model
"""
    tiny.write("train.py", text)
    tiny.train()
    kinds = {c.name: c.kind for c in tiny.line.models.open("v0001").contract.columns}
    assert kinds == {"day": "datetime", "member": "boolean", "town": "text"}
    assert manifest(tiny).metrics["auc"] > 0.7
    assert tiny.line.ledger.state().champion == "v0001"


# ── judge and conclude ───────────────────────────────────────────────────────────────────────────


def test_the_first_version_is_promoted(tiny: Tiny) -> None:
    tiny.train()
    assert [type(e.event) for e in entries(tiny)] == [TrainingStarted, Registered, Promoted]
    promoted = entries(tiny)[-1].event
    assert isinstance(promoted, Promoted)
    assert (promoted.version, promoted.previous, promoted.how) == ("v0001", None, "gate")
    assert "no champion to compare it with" in promoted.reason


def test_a_first_version_under_its_bounds_is_held(tiny: Tiny) -> None:
    tiny.setting("[gate]\nmin = { auc = 0.99 }\n")
    tiny.train()
    held = entries(tiny)[-1].event
    assert isinstance(held, Held)
    assert "is under the gate's 0.99" in held.reasons[0] and held.checks[0].fired
    assert tiny.line.ledger.state().champion is None


def test_a_worse_challenger_is_held_with_the_reason(tiny: Tiny) -> None:
    tiny.train()
    tiny.write("train.py", NOISE)
    tiny.train("t2")
    assert status(tiny) == {"v0001": "champion", "v0002": "held"}
    held = entries(tiny)[-1].event
    assert isinstance(held, Held) and "below the champion's on the same rows" in held.reasons[0]


def test_a_better_challenger_is_promoted(tiny: Tiny) -> None:
    good = (tiny.folder / "train.py").read_text()
    tiny.write("train.py", NOISE)
    tiny.train()
    tiny.write("train.py", good)
    tiny.train("t2")
    assert status(tiny) == {"v0001": "retired", "v0002": "champion"}
    promoted = entries(tiny)[-1].event
    assert isinstance(promoted, Promoted)
    assert [c.name for c in promoted.checks] == ["better than the champion"]
    assert promoted.checks[0].observed is not None and promoted.checks[0].observed > 0.1
    held_out = manifest(tiny, "v0002").window.holdout
    figure = f"AUC {promoted.checks[0].observed:+.3f}"
    assert promoted.reason == f"{figure} against v0001 on the same {held_out:,} held-out rows"


def test_a_regression_that_is_better_says_how_much_rmse_it_saves(tiny: Tiny) -> None:
    x = np.random.default_rng(0).normal(size=400)
    simple(tiny, "dummy", "DummyRegressor", pd.DataFrame({"a": x, "y": 3 * x + 0.5}))
    tiny.train()
    tiny.write("train.py", FOREST.format(kind="linear_model", name="LinearRegression"))
    tiny.train("t2")
    promoted = entries(tiny)[-1].event
    assert isinstance(promoted, Promoted) and promoted.version == "v0002"
    assert promoted.reason.startswith("+100.0% RMSE saved against v0001 on the same ")


def test_a_challenger_like_the_champion_is_promoted(tiny: Tiny) -> None:
    tiny.train()
    tiny.train("t2")
    assert status(tiny) == {"v0001": "retired", "v0002": "champion"}


@pytest.mark.parametrize("file", ["artifacts/model.joblib", "contract.json", "code/predict.py", MANIFEST])
@pytest.mark.parametrize("gone", [False, True])
def test_a_champion_that_cannot_be_loaded_does_not_hold_a_challenger_back(tiny: Tiny, file: str, gone: bool) -> None:
    tiny.train()
    key = tiny.line.models.key("v0001", file)
    if gone:
        tiny.store.delete(key)
    else:
        tiny.store.put(key, b"garbage")
    tiny.write("train.py", NOISE)
    tiny.train("t2")
    assert status(tiny) == {"v0001": "retired", "v0002": "champion"}


def test_a_champion_that_takes_other_columns_does_not_hold_a_challenger_back(tiny: Tiny) -> None:
    tiny.train()
    tiny.write("project.toml", 'drop = ["age"]\n' + (tiny.folder / "project.toml").read_text())
    tiny.write("train.py", NOISE)
    tiny.train("t2")
    assert tiny.line.ledger.state().champion == "v0002"


def test_a_champion_whose_code_fails_on_these_rows_does_not_hold_a_challenger_back(tiny: Tiny) -> None:
    fails = "def warm_up(artifacts):\n    if GONE.exists():\n        raise OSError('a service of then is gone')\n"
    tiny.write("predict.py", f"from pathlib import Path\nGONE = Path({str(tiny.folder / 'gone')!r})\n{fails}")
    tiny.train()
    tiny.write("gone", "")
    tiny.write("predict.py", "")
    tiny.write("train.py", NOISE)
    tiny.train("t2")
    assert tiny.line.ledger.state().champion == "v0002"


def test_a_champion_that_scores_the_other_class_is_not_compared(tiny: Tiny) -> None:
    tiny.train()
    tiny.write("project.toml", tiny.folder.joinpath("project.toml").read_text().replace("[s", 'positive = "no"\n[s', 1))
    training = tiny.line.training()
    plan = training.plan("t2")
    decision = training.judge(training.evaluate(plan, training.fit(plan)))
    assert decision.promote
    assert "better than the champion" not in [c.name for c in decision.checks]


def test_a_version_that_does_not_load_again_is_held(tiny: Tiny) -> None:
    training = tiny.line.training()
    plan = training.plan("t1")
    held = training.evaluate(plan, training.fit(plan))
    tiny.store.put("tiny/versions/v0001/bins.json", b"{}")
    tiny.store.put("tiny/versions/v0001/contract.json", b"{}")
    decision = training.judge(held)
    assert not decision.promote
    assert "it does not work in a clean process: tiny/versions/v0001/contract.json is not what" in decision.reasons[0]
    training.conclude(held, decision)
    assert status(tiny) == {"v0001": "held"}


def test_a_second_conclude_does_nothing(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    training = tiny.line.training()
    plan = training.plan("t1")
    made = training.evaluate(plan, training.fit(plan))
    for decision in (Decision(True), Decision(True), Decision(False, (), ("late",))):
        training.conclude(made, decision)
    assert [type(e.event) for e in entries(tiny)] == [TrainingStarted, Registered, Promoted]


def test_a_second_conclude_of_a_held_version_does_nothing(tiny: Tiny) -> None:
    training = tiny.line.training()
    plan = training.plan("t1")
    made = training.evaluate(plan, training.fit(plan))
    for decision in (Decision(False, (), ("weak",)), Decision(True)):
        training.conclude(made, decision)
    assert [type(e.event) for e in entries(tiny)] == [TrainingStarted, Registered, Held]


def test_a_conclude_goes_on_where_a_crash_ended_the_first(tiny: Tiny) -> None:
    training = tiny.line.training()
    plan = training.plan("t1")
    made = training.evaluate(plan, training.fit(plan))
    tiny.line.models.register(tiny.line.ledger, made)
    training.conclude(made, Decision(True))
    assert status(tiny) == {"v0001": "champion"}


def test_a_version_that_was_trained_to_answer_a_request_ends_it(tiny: Tiny) -> None:
    tiny.line.ledger.append(lambda state: RetrainAsked("drift"))
    tiny.train()
    assert tiny.line.ledger.state().retrain is None
