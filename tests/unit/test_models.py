from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from fuseline import tables
from fuseline.artifacts import digest
from fuseline.errors import ArtifactError, FuselineError, LedgerError, Refused, SettingsError
from fuseline.ledger import Ledger
from fuseline.models import (
    BINS,
    CONTRACT,
    GOLDEN,
    MANIFEST,
    REFERENCE,
    Manifest,
    Model,
    Models,
    Stored,
    Window,
    class_order,
    hold,
    promote,
    registered,
    rollback,
)
from fuseline.records import Check, Held, Promoted, Registered
from fuseline.state import State
from fuseline.storage import MemoryStore

if TYPE_CHECKING:
    from conftest import Tiny

pytestmark = pytest.mark.usefixtures("light")

# A manifest as format 1 was first written. It must stay readable as long as there is a store that holds one: where
# this test fails, mend the reader, not the text.
FORMAT_1 = """{
 "version": "v0003",
 "project": "bookings",
 "created_at": "2026-03-01T06:00:00+00:00",
 "task": "binary",
 "target": "status",
 "classes": ["cancelled", "kept"],
 "positive": "cancelled",
 "features": ["price", "age"],
 "metric": "auc",
 "metrics": {"auc": 0.79, "base_rate": 0.35, "se": 0.02},
 "importance": {"price": 0.19, "age": 0.0006},
 "calibration": [{"score": 0.13, "actual": 0.12, "rows": 30.0}, {"score": 0.8, "actual": 1, "rows": 29.0}],
 "artifacts": ["model", "scaler"],
 "files": {
  "artifacts/model.joblib": {"digest": "91631f529a1e5125ace5f748f0b3fd0bf908272b5b0d781b247677dd7ff764ea", "size": 33},
  "code/predict.py": {"digest": "5262693bed69157408400f095484ee6394612ac95148611cd076b44fb3861911", "size": 89}
 },
 "window": {
  "rows": 1200,
  "holdout": 299,
  "first": "2025-01-01 00:00:00",
  "last": "2026-02-28 00:00:00",
  "sources": {"bookings": "b234d4f13e25394dd4ebf5caf33311052070e8959b329564cc348ed2522746fa"},
  "batches": ["2026-02-01.0123456789ab"]
 },
 "run": "1772344800",
 "code_digest": "dbf073f67c58e8b388e4aecfdecff7fa9ef3613d772c2e61876ec8c6c4f0b198",
 "lock_digest": "",
 "libraries": {"python": "3.11.7", "numpy": "2.4.6", "pandas": "2.3.3", "scikit-learn": "1.9.1"},
 "format": 1
}"""


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def models(store: MemoryStore) -> Models:
    return Models(store, "p")


@pytest.fixture
def ledger(store: MemoryStore) -> Ledger:
    ticks = count()
    return Ledger(store, "p", lambda: f"2026-03-08T00:00:{next(ticks):02d}+00:00", "me")


def manifest(version: str = "v0001", **changes: Any) -> Manifest:
    return replace(msgspec.json.decode(FORMAT_1, type=Manifest), version=version, project="p", **changes)


def known(ledger: Ledger, *versions: str) -> None:
    """Make versions known to the ledger."""
    for version in versions:
        ledger.append(lambda state, version=version: Registered(version, "", {}))


def flip(store: Any, key: str) -> None:
    """Change one bit in the middle of an object."""
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))


def frame(model: Model, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[list(model.contract.names)]


# ── names, files, manifests ──────────────────────────────────────────────────────────────────────


def test_versions_are_numbered_from_one(models: Models) -> None:
    assert [models.reserve(State(), "r") for _ in range(3)] == ["v0001", "v0002", "v0003"]


def test_numbering_goes_on_after_the_known_versions(models: Models, ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002")
    assert models.reserve(ledger.state(), "r") == "v0003"


def test_eight_runs_at_once_reserve_eight_names(models: Models) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: models.reserve(State(), f"run {i}"), range(40)))
    assert sorted(found) == [f"v{n:04d}" for n in range(1, 41)]
    claims = [msgspec.json.decode(models.store.get(models.key(v, "claim.json")))["run"] for v in found]
    assert claims == [f"run {i}" for i in range(40)]


def test_stored_files_come_back_verified(models: Models) -> None:
    stored = models.save("v0001", {"a.json": b"{}", "code/b.py": b"x = 1"})
    assert stored == {"a.json": Stored(digest(b"{}"), 2), "code/b.py": Stored(digest(b"x = 1"), 5)}
    held = manifest(files=stored)
    assert models.file(held, "code/b.py") == b"x = 1"


def test_a_file_that_is_gone_is_named(models: Models) -> None:
    held = manifest(files=models.save("v0001", {"a.json": b"{}"}))
    models.store.delete("p/versions/v0001/a.json")
    with pytest.raises(ArtifactError, match=r"p/versions/v0001/a.json is gone: restore it .* or roll back"):
        models.file(held, "a.json")


def test_a_file_that_changed_is_named(models: Models) -> None:
    held = manifest(files=models.save("v0001", {"a.json": b"{}"}))
    models.store.put("p/versions/v0001/a.json", b"[]")
    with pytest.raises(ArtifactError, match=r"p/versions/v0001/a.json is not what was stored"):
        models.file(held, "a.json")


def test_a_manifest_comes_back_as_it_was_written(models: Models) -> None:
    models.write(manifest())
    assert models.manifest("v0001") == manifest()
    assert models.store.get("p/versions/v0001/manifest.json").startswith(b'{\n "version"')


def test_a_manifest_of_format_1_stays_readable(models: Models) -> None:
    models.store.put(models.key("v0003", MANIFEST), FORMAT_1.encode())
    found = models.manifest("v0003")
    assert found.files["code/predict.py"].size == 89
    assert found.window == Window(
        1200,
        299,
        "2025-01-01 00:00:00",
        "2026-02-28 00:00:00",
        {"bookings": "b234d4f13e25394dd4ebf5caf33311052070e8959b329564cc348ed2522746fa"},
        ("2026-02-01.0123456789ab",),
    )
    assert found.order == ("kept", "cancelled")
    assert (found.artifacts, found.metrics["se"], found.calibration[1]["actual"]) == (("model", "scaler"), 0.02, 1.0)


def test_a_key_that_an_older_reader_does_not_know_is_no_error(models: Models) -> None:
    document = {**msgspec.json.decode(FORMAT_1), "colour": "blue"}
    models.store.put(models.key("v0003", MANIFEST), msgspec.json.encode(document))
    assert models.manifest("v0003").version == "v0003"


def test_a_version_that_does_not_exist_is_named(models: Models) -> None:
    with pytest.raises(SettingsError, match=r"there is no version 'v0009' of p \(p/versions/v0009/manifest.json does"):
        models.manifest("v0009")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"{}", b'{"version": "v0001", "format": 1}', b"\xff"])
def test_what_is_no_manifest_is_named(models: Models, data: bytes) -> None:
    models.store.put(models.key("v0001", MANIFEST), data)
    with pytest.raises(ArtifactError, match=r"p/versions/v0001/manifest.json is not a manifest: .* Restore it"):
        models.manifest("v0001")


@pytest.mark.parametrize("changes", [{}, {"task": "ranking"}, {"files": []}])
def test_a_manifest_of_a_newer_format_asks_for_an_upgrade_whatever_it_holds(
    models: Models, changes: dict[str, Any]
) -> None:
    document = {**msgspec.json.decode(FORMAT_1), **changes, "format": 2}
    models.store.put(models.key("v0001", MANIFEST), msgspec.json.encode(document))
    with pytest.raises(ArtifactError, match=r"has format 2; this Fuseline reads up to 1: upgrade it"):
        models.manifest("v0001")


def test_of_two_classes_the_positive_one_is_the_last_in_statistics() -> None:
    assert class_order("binary", ("a", "b"), "a") == ("b", "a")
    assert class_order("binary", ("a", "b"), "b") == ("a", "b")
    assert class_order("multiclass", ("a", "b", "c"), "") == ("a", "b", "c")
    assert class_order("regression", (), "") == ()


# ── a version, opened ────────────────────────────────────────────────────────────────────────────


def test_a_version_scores_like_what_was_trained(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    model = tiny.line.models.open(tiny.train())
    scores = model.predictor.scores(frame(model, rows(50, 9)))
    assert model.version == "v0001" and scores.shape == (50,)
    assert model.contract.names == ("price", "age", "colour")
    assert model.table(REFERENCE).num_rows == model.manifest.window.holdout
    assert model.predictor is model.predictor
    golden = model.table(GOLDEN)
    again = model.predictor.scores(tables.to_frame(golden, model.contract))
    assert np.array_equal(again, golden.column("fuseline.score.0").to_numpy())


def test_a_project_without_predict_py_has_versions_as_well(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    (tiny.folder / "predict.py").unlink()
    model = tiny.line.models.open(tiny.train())
    assert model.predictor.module is None
    assert model.predictor.scores(frame(model, rows(5, 9))).shape == (5,)


@pytest.mark.parametrize(
    "file", ["artifacts/model.joblib", CONTRACT, BINS, REFERENCE, GOLDEN, "code/predict.py", "code/project.toml"]
)
def test_a_file_with_a_flipped_byte_or_none_is_refused_by_name(tiny: Tiny, file: str) -> None:
    models = tiny.line.models
    tiny.train()
    key = models.key("v0001", file)
    parts: dict[str, Callable[[Model], object]] = {
        CONTRACT: lambda model: model.contract,
        BINS: lambda model: model.bins,
        REFERENCE: lambda model: model.table(REFERENCE),
        GOLDEN: lambda model: model.table(GOLDEN),
    }
    use = parts.get(file, lambda model: model.predictor)
    use(models.open("v0001"))
    flip(tiny.store, key)
    with pytest.raises(ArtifactError, match=f"{key} is not what was stored"):
        use(models.open("v0001"))
    tiny.store.delete(key)
    with pytest.raises(ArtifactError, match=f"{key} is gone"):
        use(models.open("v0001"))


def test_a_version_of_other_libraries_is_refused_before_anything_is_loaded(tiny: Tiny) -> None:
    models = tiny.line.models
    tiny.train()
    held = models.manifest("v0001")
    models.write(replace(held, libraries={**held.libraries, "scikit-learn": "0.19.2"}))
    with pytest.raises(ArtifactError, match=r"version v0001 was trained with scikit-learn 0.19.2"):
        models.open("v0001")


def test_a_manifest_that_changed_after_it_was_registered_is_refused(tiny: Tiny) -> None:
    models, ledger = tiny.line.models, tiny.line.ledger
    tiny.train()
    assert models.open("v0001", registered(ledger, "v0001")).version == "v0001"
    held = models.manifest("v0001")
    models.write(replace(held, metrics={**held.metrics, "auc": 0.999}))
    said = r"tiny/versions/v0001/manifest.json was changed after it was registered: .* Restore it from .* or roll back"
    with pytest.raises(ArtifactError, match=said):
        models.open("v0001", registered(ledger, "v0001"))
    models.write(held)
    assert models.open("v0001", registered(ledger, "v0001")).manifest == held


def test_a_changed_manifest_cannot_vouch_for_other_artifacts(tiny: Tiny) -> None:
    models, ledger = tiny.line.models, tiny.line.ledger
    tiny.train()
    other = models.save("v0001", {"artifacts/model.joblib": b"not what was trained"})
    held = models.manifest("v0001")
    models.write(replace(held, files={**held.files, **other}))
    with pytest.raises(ArtifactError, match=r"manifest.json was changed after it was registered"):
        models.open("v0001", registered(ledger, "v0001"))


def test_a_version_is_opened_before_it_is_registered(tiny: Tiny) -> None:
    training = tiny.line.training()
    plan = training.plan("t1")
    training.evaluate(plan, training.fit(plan))
    assert tiny.line.models.open("v0001").version == "v0001"
    with pytest.raises(SettingsError, match=r"there is no version 'v0001'. Known: none"):
        registered(tiny.line.ledger, "v0001")


def test_an_edited_predict_py_does_not_change_how_a_stored_version_scores(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    models = tiny.line.models
    tiny.train()
    before = models.open("v0001").predictor.scores(rows(20, 9))
    tiny.write("predict.py", "def predict(data, artifacts):\n    return [0.5] * len(data)\n")
    assert np.array_equal(models.open("v0001").predictor.scores(rows(20, 9)), before)
    tiny.train("t2")
    assert set(models.open("v0002").predictor.scores(rows(20, 9))) == {0.5}
    assert np.array_equal(models.open("v0001").predictor.scores(rows(20, 9)), before)


def test_an_edited_file_beside_predict_py_does_not_change_how_a_stored_version_scores(
    tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]
) -> None:
    models = tiny.line.models
    tiny.write("level_of_scores.py", "LEVEL = 0.25\n")
    text = "from level_of_scores import LEVEL\ndef predict(data, artifacts):\n    return [LEVEL] * len(data)\n"
    tiny.write("predict.py", text)
    tiny.train()
    tiny.write("level_of_scores.py", "LEVEL = 0.125\n")
    tiny.train("t2")
    found = [set(models.open(v).predictor.scores(rows(3, 9))) for v in ("v0001", "v0002", "v0001")]
    assert found == [{0.25}, {0.125}, {0.25}]


SCALED = """
import numpy as np
{head}
class Scaled:
    def __init__(self, by):
        self.by = by
    def predict_proba(self, data):
        score = 1 / (1 + np.exp(data["price"].to_numpy() / self.by - 2))
        return np.column_stack([1 - score, score])
"""


def test_a_model_of_a_class_of_train_py_scores(tiny: Tiny, rows: Callable[[int, int], pd.DataFrame]) -> None:
    tiny.write("train.py", SCALED.format(head="") + "\ndef train(data, target):\n    return Scaled(50)\n")
    model = tiny.line.models.open(tiny.train())
    tiny.write("train.py", "raise ValueError('an edit that is not finished')\n")
    again = tiny.line.models.open("v0001")
    data = frame(model, rows(20, 9))
    assert np.array_equal(again.predictor.scores(data), 1 / (1 + np.exp(data["price"].to_numpy() / 50 - 2)))


WARM = "def warm_up(artifacts):\n    artifacts['model']\n"
AFTER = "def metrics(predictions):\n    return {'rows': len(predictions)}\n"


def test_what_follows_the_scores_needs_no_artifact(tiny: Tiny) -> None:
    tiny.write("predict.py", AFTER)
    tiny.train()
    tiny.store.delete("tiny/versions/v0001/artifacts/model.joblib")
    hooks = tiny.line.models.open("v0001").hooks
    assert hooks.business(pd.DataFrame({"x": [1, 2]})) == {"rows": 2.0}
    assert (hooks.task, hooks.classes, hooks.positive) == ("binary", ("no", "yes"), "yes")


def test_what_follows_the_scores_is_warmed_up_where_there_is_a_hook_for_it(tiny: Tiny) -> None:
    tiny.write("predict.py", AFTER + WARM)
    model = tiny.line.models.open(tiny.train())
    assert model.hooks is model.predictor
    tiny.store.delete("tiny/versions/v0001/artifacts/model.joblib")
    with pytest.raises(ArtifactError, match=r"model.joblib is gone"):
        _ = tiny.line.models.open("v0001").hooks


def test_without_predict_py_nothing_follows_the_scores(tiny: Tiny) -> None:
    (tiny.folder / "predict.py").unlink()
    hooks = tiny.line.models.open(tiny.train()).hooks
    assert hooks.business(pd.DataFrame({"x": [1]})) == {}


def test_a_version_leaves_no_folder_behind(tiny: Tiny) -> None:
    model = tiny.line.models.open(tiny.train())
    folder = Path(model.predictor.module.__file__ or "").parent  # type: ignore[union-attr]
    assert (folder / "predict.py").is_file()
    del model
    assert not folder.exists()


# ── registered, promoted, held ───────────────────────────────────────────────────────────────────


def test_a_version_is_registered_once_with_the_digest_of_its_manifest(models: Models, ledger: Ledger) -> None:
    models.write(manifest())
    models.register(ledger, manifest())
    models.register(ledger, manifest())
    (entry,) = ledger.entries()
    held = models.store.get("p/versions/v0001/manifest.json")
    assert entry.event == Registered("v0001", digest(held), dict(manifest().metrics), manifest().run)


def test_a_version_becomes_the_champion(ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002")
    checks = (Check("auc", 0.8, 0.7, at_least=True),)
    assert promote(ledger, "v0001", "first", how="gate", checks=checks) == Promoted(
        "v0001", None, "gate", "first", checks
    )
    assert promote(ledger, "v0002", "better").previous == "v0001"
    state = ledger.state()
    assert state.champion == "v0002"
    assert {v: known.status for v, known in state.versions.items()} == {"v0001": "retired", "v0002": "champion"}


def test_a_version_that_is_unknown_is_not_promoted(ledger: Ledger) -> None:
    with pytest.raises(Refused, match=r"there is no version 'v0009'. Known: none"):
        promote(ledger, "v0009", "typo")
    known(ledger, "v0001", "v0002")
    with pytest.raises(Refused, match=r"there is no version 'v0009'. Known: v0001, v0002"):
        promote(ledger, "v0009", "typo")
    assert ledger.state().seq == 2


def test_the_champion_is_not_promoted_again(ledger: Ledger) -> None:
    known(ledger, "v0001")
    promote(ledger, "v0001", "first")
    with pytest.raises(Refused, match="v0001 is the champion already"):
        promote(ledger, "v0001", "again")
    assert ledger.state().seq == 2


def test_a_rollback_returns_to_the_champion_before(ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002")
    promote(ledger, "v0001", "first")
    promote(ledger, "v0002", "second")
    assert rollback(ledger, "worse") == Promoted("v0001", "v0002", "rollback", "worse")
    assert ledger.state().champion == "v0001"


def test_a_rollback_can_return_to_any_champion_there_was(ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002", "v0003")
    for version in ("v0001", "v0002", "v0003"):
        promote(ledger, version, "newer")
    assert rollback(ledger, "worse", "v0001").version == "v0001"


def test_a_rollback_is_refused_where_there_is_nothing_to_return_to(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="there is no earlier champion to return to"):
        rollback(ledger, "worse")
    known(ledger, "v0001")
    promote(ledger, "v0001", "first")
    with pytest.raises(Refused, match="there is no earlier champion to return to"):
        rollback(ledger, "worse")


def test_a_rollback_to_a_version_that_never_was_the_champion_is_refused(ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002")
    promote(ledger, "v0001", "first")
    with pytest.raises(Refused, match="v0002 never was the champion; `fuseline promote` makes it one"):
        rollback(ledger, "worse", "v0002")


def test_a_rollback_to_the_champion_itself_is_refused(ledger: Ledger) -> None:
    known(ledger, "v0001")
    promote(ledger, "v0001", "first")
    with pytest.raises(Refused, match="v0001 is the champion already"):
        rollback(ledger, "worse", "v0001")


def test_a_challenger_is_held_until_it_is_promoted(ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002")
    promote(ledger, "v0001", "first")
    hold(ledger, "v0002", ("AUC 0.6 is under the gate's 0.7",), ())
    assert ledger.entry(4).event == Held("v0002", ("AUC 0.6 is under the gate's 0.7",), ())
    assert (ledger.state().champion, ledger.state().versions["v0002"].status) == ("v0001", "held")
    promote(ledger, "v0002", "I know better")
    assert ledger.state().champion == "v0002"


def test_the_champion_or_an_unknown_version_cannot_be_held(ledger: Ledger) -> None:
    known(ledger, "v0001")
    promote(ledger, "v0001", "first")
    with pytest.raises(Refused, match="v0001 is the champion: promote or roll back to another version"):
        hold(ledger, "v0001", (), ())
    with pytest.raises(Refused, match=r"there is no version 'v0009'. Known: v0001"):
        hold(ledger, "v0009", (), ())
    assert ledger.state().seq == 2


def test_which_version_was_the_champion_at_a_time_can_be_answered(ledger: Ledger) -> None:
    known(ledger, "v0001", "v0002")  # the entries come a second apart, from 00:00:00 on
    promote(ledger, "v0001", "first")
    promote(ledger, "v0002", "second")
    rollback(ledger, "worse")
    state = ledger.state()
    at = {second: state.champion_at(f"2026-03-08T00:00:{second:02d}+00:00") for second in range(7)}
    assert at == {0: None, 1: None, 2: "v0001", 3: "v0002", 4: "v0001", 5: "v0001", 6: "v0001"}
    assert ledger.state_at("2026-03-08T00:00:03+00:00").champion == "v0002"


def test_eight_people_who_promote_at_once_make_one_order(store: MemoryStore, ledger: Ledger) -> None:
    versions = [f"v{n:04d}" for n in range(1, 9)]
    known(ledger, *versions)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda v: promote(ledger, v, "mine"), versions))
    tenures = [t.version for t in ledger.state().tenures]
    assert sorted(tenures) == versions
    assert {(p.previous, p.version) for p in made} == set(zip([None, *tenures], tenures, strict=False))


def test_every_refusal_is_an_error_that_a_person_can_read() -> None:
    assert issubclass(Refused, FuselineError) and issubclass(ArtifactError, FuselineError)
    assert not issubclass(Refused, LedgerError)
