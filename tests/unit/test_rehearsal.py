from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from fuseline import tables
from fuseline.artifacts import digest, dump
from fuseline.models import GOLDEN, Stored
from fuseline.rehearsal import in_clean_process, main, rehearse
from fuseline.storage import open_store

if TYPE_CHECKING:
    from conftest import Tiny

pytestmark = pytest.mark.usefixtures("light")

CLEAN = "import os, sys, time\nCLEAN = sys.argv[0].endswith('rehearsal.py')\n"  # the first lines of a predict.py


@pytest.fixture
def kept(tiny: Tiny, tmp_path: Path) -> Tiny:
    """The project over a store in a folder."""
    tiny.store = open_store(str(tmp_path / "store"))
    return tiny


def fitted(tiny: Tiny) -> None:
    """Everything of a training but the gate, which would rehearse the version already."""
    training = tiny.line.training()
    plan = training.plan("t1")
    training.evaluate(plan, training.fit(plan))


def swap(tiny: Tiny, file: str, data: bytes) -> None:
    """Put other bytes in place of a file of v0001, and their digest into the manifest."""
    models = tiny.line.models
    manifest = models.manifest("v0001")
    tiny.store.put(models.key("v0001", file), data)
    files = {**manifest.files, file: Stored(digest(data), len(data))}
    models.write(replace(manifest, files=files))


# ── in this process ──────────────────────────────────────────────────────────────────────────────


def test_a_sound_version_scores_its_golden_rows_the_same(tiny: Tiny) -> None:
    assert rehearse(tiny.line.models, tiny.train()) == ""


def test_a_broken_artifact_is_said(tiny: Tiny) -> None:
    tiny.train()
    tiny.store.put("tiny/versions/v0001/artifacts/model.joblib", b"garbage")
    said = rehearse(tiny.line.models, "v0001")
    assert said.startswith("tiny/versions/v0001/artifacts/model.joblib is not what was stored")


def test_a_version_that_is_not_there_is_said(tiny: Tiny) -> None:
    assert "there is no version 'v0001'" in rehearse(tiny.line.models, "v0001")


def test_golden_rows_that_score_differently_are_said(tiny: Tiny) -> None:
    tiny.train()
    golden = tiny.line.models.open("v0001").table(GOLDEN)
    scores = golden.column("fuseline.score.0").to_pylist()
    scores[3] += 0.25
    at = golden.column_names.index("fuseline.score.0")
    swap(tiny, GOLDEN, tables.to_bytes(golden.set_column(at, "fuseline.score.0", pa.array(scores))))
    said = rehearse(tiny.line.models, "v0001")
    assert said == f"its {golden.num_rows} golden rows score differently when it is loaded again, by up to 0.25"


def test_a_model_that_fails_is_said(tiny: Tiny) -> None:
    tiny.train()
    swap(tiny, "artifacts/model.joblib", dump("no model"))
    assert "str has no predict_proba" in rehearse(tiny.line.models, "v0001")


def test_a_store_in_memory_is_rehearsed_here(tiny: Tiny) -> None:
    tiny.train()
    assert in_clean_process(tiny.store, tiny.line.models, "v0001") == ""
    tiny.store.delete("tiny/versions/v0001/contract.json")
    assert "contract.json is gone" in in_clean_process(tiny.store, tiny.line.models, "v0001")


def test_what_is_wrong_is_printed_and_sets_the_exit_code(kept: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(kept)
    assert main(kept.store.url, "tiny", "v0001") == 0
    assert capsys.readouterr().out == ""
    assert main(kept.store.url, "tiny", "v0002") == 1
    assert "there is no version 'v0002'" in capsys.readouterr().out


# ── in a clean process ───────────────────────────────────────────────────────────────────────────


def test_a_sound_version_works_in_a_clean_process(kept: Tiny) -> None:
    fitted(kept)
    assert in_clean_process(kept.store, kept.line.models, "v0001") == ""


def test_a_broken_artifact_is_said_by_the_clean_process(kept: Tiny) -> None:
    fitted(kept)
    kept.store.put("tiny/versions/v0001/artifacts/model.joblib", b"garbage")
    assert "model.joblib is not what was stored" in in_clean_process(kept.store, kept.line.models, "v0001")


def test_a_class_of_a_file_beside_train_py_is_found_in_a_clean_process(kept: Tiny) -> None:
    kept.write("rule_of_tiny.py", (kept.folder / "train.py").read_text())
    kept.write("train.py", "from rule_of_tiny import train\n")
    fitted(kept)
    assert in_clean_process(kept.store, kept.line.models, "v0001") == ""


def test_scores_that_depend_on_what_training_left_in_memory_are_said(kept: Tiny) -> None:
    kept.write("predict.py", CLEAN + "def predict(data, artifacts):\n    return [0.25 * CLEAN] * len(data)\n")
    fitted(kept)
    said = in_clean_process(kept.store, kept.line.models, "v0001")
    assert said == "its 64 golden rows score differently when it is loaded again, by up to 0.25"


def test_a_process_that_dies_without_a_word_has_failed(kept: Tiny) -> None:
    kept.write("predict.py", CLEAN + "if CLEAN:\n    os._exit(3)\n")
    fitted(kept)
    said = in_clean_process(kept.store, kept.line.models, "v0001")
    assert said == "the clean process that loaded v0001 ended with exit code 3 and said nothing"


def test_a_process_that_hangs_has_failed(kept: Tiny) -> None:
    kept.write("predict.py", CLEAN + "if CLEAN:\n    time.sleep(60)\n")
    fitted(kept)
    said = in_clean_process(kept.store, kept.line.models, "v0001", timeout=0.2)
    assert said == "it did not load and score v0001 within 0.2 s in a clean process"


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fuseline.rehearsal", str(tmp_path / "store"), "tiny", "v0001"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("there is no version 'v0001' of tiny")
