"""A monitor that is saved, interrupted, damaged, and loaded again."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fuseline import Monitor
from fuseline.errors import ArtifactError, DataError, FuselineError

OLDEST = Path(__file__).parents[1] / "data" / "monitor-1"  # of orders, with columns of every type


def returned(frame: pd.DataFrame) -> np.ndarray:
    """The model of the oldest monitor."""
    price = pd.to_numeric(frame["price"], errors="coerce").fillna(100.0).clip(-1e6, 1e6).to_numpy(dtype=np.float64)
    return (price - 100.0) / 30.0 - (frame["size"] == "l").to_numpy(dtype=np.float64)


def orders() -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of the oldest monitor, and whether each order came back."""
    frame = pd.read_parquet(OLDEST / "reference.parquet")
    return frame.drop(columns=["__label", "__score0"]), frame["__label"].to_numpy()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def reference_of(folder: Path) -> Path:
    (found,) = folder.glob("reference*.parquet")
    return found


# ── what is written ──────────────────────────────────────────────────────────────────────────────


def test_a_loaded_monitor_gives_the_same_verdicts_to_the_byte(tmp_path, people, planners, spenders):
    for who in (people, planners, spenders):
        monitor = who.monitor(expected_rows=800, drift_policy="halt")
        monitor.save(tmp_path / who.task)
        loaded = Monitor.load(tmp_path / who.task, who.score)
        assert loaded.settings == monitor.settings
        assert loaded.measured == monitor.measured
        frame, truth = who.draw(900, 4)
        for odd in (
            frame,
            frame.assign(age=90.0 - frame["age"]),
            frame.assign(income=frame["income"] * 1.3),
            frame[:7],
        ):
            texts = [json.dumps(asdict(m.assess(odd))) for m in (monitor, loaded)]
            assert texts[0] == texts[1]
        assert loaded.observe(truth, who.score(frame)) == monitor.observe(truth, who.score(frame))


def test_what_is_written_is_text_and_a_plain_table_and_nothing_to_unpickle(tmp_path):
    Monitor.fit(*orders(), returned).save(tmp_path)
    assert len(files(tmp_path)) == 2
    json.loads((tmp_path / "monitor.json").read_text())
    types = {str(t) for t in pq.read_schema(reference_of(tmp_path)).types}
    assert types <= {"double", "string", "timestamp[ns]"}


def test_the_reference_is_named_for_its_digest(tmp_path, people):
    people.monitor().save(tmp_path)
    path = reference_of(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"reference-{digest[:12]}.parquet"
    named = json.loads((tmp_path / "monitor.json").read_text())["reference"]
    assert (named["file"], named["digest"]) == (path.name, digest)


def test_what_a_loaded_monitor_remembers_begins_anew(tmp_path, people):
    monitor = people.monitor()
    for seed in range(30, 35):
        frame, _ = people.draw(60, seed)
        monitor.assess(frame.assign(age=frame["age"] + 7.0))
    monitor.save(tmp_path)
    frame, _ = people.draw(60, 35)
    found = Monitor.load(tmp_path, people.score).assess(frame.assign(age=frame["age"] + 7.0))
    assert "judged together" not in found.sentence


def test_without_its_model_a_monitor_needs_scores_and_reads_no_harm(tmp_path, people):
    batch, _ = people.draw(2_000, 4)
    people.monitor().save(tmp_path)
    loaded = Monitor.load(tmp_path)
    found = loaded.assess(batch)
    assert found.verdict == "inconclusive"
    assert "loaded without its model" in found.sentence
    assert loaded.assess(batch, people.score(batch)).verdict == "pass"
    odd = batch.assign(age=90.0 - batch["age"])
    found = loaded.assess(odd, people.score(odd))
    assert (found.verdict, found.harm) == ("inconclusive", None)
    assert "loaded without its model" in found.sentence


def test_a_category_that_cannot_be_written_down_is_refused_before_anything_is_written(tmp_path):
    frame, truth = orders()
    odd = frame.assign(range=pd.cut(frame["price"], 4))
    monitor = Monitor.fit(odd, truth, returned)
    assert monitor.assess(odd).verdict == "pass"
    with pytest.raises(DataError, match="cannot be saved"):
        monitor.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("names", [("__label", "__score0"), ("__score", "__scored"), ("____label", "_____score0")])
def test_features_may_be_named_as_the_file_names_labels_and_scores(tmp_path, people, planners, names):
    for who in (people, planners):
        frame, truth = who.draw(400, 2)
        strange = dict(zip(("rent", "debt"), names, strict=True))
        plain = {new: old for old, new in strange.items()}

        def score(data: pd.DataFrame, who=who, plain=plain) -> np.ndarray:
            return who.score(data.rename(columns=plain))

        monitor = Monitor.fit(frame.rename(columns=strange), truth, score)
        monitor.save(tmp_path / who.task)
        loaded = Monitor.load(tmp_path / who.task, score)
        odd = who.draw(300, 4)[0].assign(rent=0.0).rename(columns=strange)
        expected = monitor.assess(odd)
        assert expected.causes[0].column == names[0]
        assert loaded.assess(odd) == expected
        assert (loaded.reference.scores == monitor.reference.scores).all()


# ── saving again, and a save that is interrupted ─────────────────────────────────────────────────


def test_saving_again_replaces_what_was_there_and_removes_its_reference(tmp_path, people):
    Monitor.fit(*orders(), returned).save(tmp_path)
    before = files(tmp_path)
    people.monitor().save(tmp_path)
    assert Monitor.load(tmp_path, people.score).measured == people.fitted.measured
    assert files(tmp_path) & before == {"monitor.json"}
    assert len(files(tmp_path)) == 2


def test_saving_the_same_again_writes_the_same(tmp_path, people):
    people.monitor().save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    people.monitor().save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_of_other_people_in_the_folder_are_left_alone(tmp_path, people):
    people.monitor().save(tmp_path)
    for name in ("reference.parquet", "reference-2026.parquet", "notes.txt", "reference-0123456789ab.csv"):
        (tmp_path / name).write_text("mine")
    Monitor.fit(*orders(), returned).save(tmp_path)
    assert {p.name for p in tmp_path.iterdir() if p.read_bytes() == b"mine"} == {
        "reference.parquet",
        "reference-2026.parquet",
        "notes.txt",
        "reference-0123456789ab.csv",
    }
    assert len(files(tmp_path)) == 6


def test_what_an_interrupted_save_left_is_removed_by_the_next(tmp_path, people):
    shutil.copytree(OLDEST, tmp_path / "there")
    for name in ("reference-0123456789ab.parquet", "reference-0123456789ab.parquet.new", "monitor.json.new"):
        (tmp_path / "there" / name).write_text("half")
    assert Monitor.load(tmp_path / "there", returned).measured.rows == 150
    people.monitor().save(tmp_path / "there")
    assert len(files(tmp_path / "there")) == 2


STOPPED = """
import os, sys
from pathlib import Path
from fuseline import Monitor

there, other, copies = map(Path, sys.argv[1:])
monitor, left = Monitor.load(other), 0

def stop(event, args):
    global left
    if left and event in ("open", "os.rename", "os.remove") and str(copies) in str(args[0]):
        left -= 1
        if not left:
            raise KeyboardInterrupt  # what a person does; a power cut leaves the same files

sys.addaudithook(stop)
for step in range(1, 100):
    folder = copies / str(step)
    folder.mkdir()
    for path in there.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    left = step
    try:
        monitor.save(folder)
        break
    except KeyboardInterrupt:
        left = 0
print(step)
"""


def test_wherever_a_save_is_stopped_the_folder_holds_the_one_monitor_or_the_other(tmp_path, people):
    people.monitor().save(tmp_path / "other")
    for name in ("there", "other", "copies"):
        (tmp_path / name).mkdir(exist_ok=True)
    Monitor.fit(*people.draw(300, 6), people.score).save(tmp_path / "there")
    command = [sys.executable, "-c", STOPPED, *(str(tmp_path / n) for n in ("there", "other", "copies"))]
    steps = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert steps > 5
    found = [Monitor.load(tmp_path / "copies" / str(step)).measured.rows for step in range(1, steps + 1)]
    assert found == sorted(found)
    assert set(found) == {300, 3_000}


def test_a_reference_of_another_monitor_is_not_read(tmp_path, people):
    for name, monitor in (("a", people.monitor()), ("b", Monitor.fit(*people.draw(300, 6), people.score))):
        monitor.save(tmp_path / name)
    path = reference_of(tmp_path / "a")
    path.write_bytes(reference_of(tmp_path / "b").read_bytes())
    with pytest.raises(ArtifactError, match=rf"{path.name} is not what was saved: its SHA-256 is .* It was not opened"):
        Monitor.load(tmp_path / "a", people.score)
    path.unlink()
    with pytest.raises(ArtifactError, match="holds no monitor that can be read"):
        Monitor.load(tmp_path / "a", people.score)


def test_a_reference_is_verified_before_it_is_read(tmp_path, people):
    people.monitor().save(tmp_path)
    reference_of(tmp_path).write_bytes(b"no Parquet at all")
    with pytest.raises(ArtifactError, match="is not what was saved"):
        Monitor.load(tmp_path, people.score)


# ── formats ──────────────────────────────────────────────────────────────────────────────────────


def test_the_oldest_format_is_read():
    loaded = Monitor.load(OLDEST, returned)
    assert loaded.settings.seed == 3
    assert loaded.measured.rows == 150
    frame, truth = orders()
    assert loaded.assess(frame).verdict == "pass"
    loaded.forget()
    found = loaded.assess(frame.assign(price=frame["price"] * 100))
    assert found.verdict == "halt"
    assert found.sentence.startswith("price looks multiplied by 100")
    assert loaded.observe(truth, returned(frame)).verdict == "pass"


def test_a_monitor_of_the_oldest_format_is_saved_as_one_of_the_newest(tmp_path):
    shutil.copytree(OLDEST, tmp_path / "there")
    Monitor.load(tmp_path / "there", returned).save(tmp_path / "there")
    assert "reference.parquet" not in files(tmp_path / "there")
    assert len(files(tmp_path / "there")) == 2
    frame, _ = orders()
    odd = frame.assign(price=frame["price"] * 100)
    found = Monitor.load(tmp_path / "there", returned).assess(odd)
    assert found == Monitor.load(OLDEST, returned).assess(odd)


def oldest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The oldest monitor with a change in its monitor.json."""
    document = json.loads((OLDEST / "monitor.json").read_text())
    change(document)
    (folder / "monitor.json").write_text(json.dumps(document))
    (folder / "reference.parquet").write_bytes((OLDEST / "reference.parquet").read_bytes())
    return folder


def newest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same monitor as it is saved now, with a change in its monitor.json."""
    Monitor.load(OLDEST, returned).save(folder)
    document = json.loads((folder / "monitor.json").read_text())
    change(document)
    (folder / "monitor.json").write_text(json.dumps(document))
    return folder


def test_a_newer_format_is_refused_by_its_number(tmp_path):
    folder = oldest(tmp_path, lambda d: d.update(format=99))
    with pytest.raises(ArtifactError, match="has format 99; this Fuseline reads up to"):
        Monitor.load(folder)
    folder = oldest(tmp_path, lambda d: d["bins"].update(format=99))
    with pytest.raises(ArtifactError, match="format 99"):
        Monitor.load(folder)


KEYS = sorted(json.loads((OLDEST / "monitor.json").read_text()))


@pytest.mark.parametrize(("made", "key"), [*((oldest, key) for key in KEYS), (newest, "format"), (newest, "reference")])
@pytest.mark.parametrize("value", ["absent", None, "x", {}, 7])
def test_a_monitor_that_is_damaged_is_an_error_that_a_person_can_read(tmp_path, made, key, value):
    folder = made(tmp_path, lambda d: d.pop(key, None) if value == "absent" else d.update({key: value}))
    try:
        found = Monitor.load(folder, returned)
    except FuselineError as error:
        assert str(folder) in str(error) or "bins" in str(error) or key in str(error)
        return
    json.dumps(asdict(found.assess(orders()[0][:50])), allow_nan=False)  # what is damaged is not needed


@pytest.mark.parametrize("key", ["file", "digest", "prefix"])
@pytest.mark.parametrize("value", ["absent", None, "x", 7])
def test_without_all_that_is_said_of_its_reference_a_monitor_is_not_read(tmp_path, key, value):
    def change(document: dict[str, Any]) -> None:
        named = document["reference"]
        named.pop(key)
        if value != "absent":
            named[key] = value

    with pytest.raises(ArtifactError, match=str(tmp_path)):
        Monitor.load(newest(tmp_path, change), returned)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "monitor.json").unlink(),
        lambda folder: (folder / "reference.parquet").unlink(),
        lambda folder: (folder / "monitor.json").write_text("{"),
        lambda folder: (folder / "monitor.json").write_text("[]"),
        lambda folder: (folder / "monitor.json").write_bytes(b"\xff\xfe"),
        lambda folder: (folder / "reference.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "reference.parquet").write_bytes((OLDEST / "reference.parquet").read_bytes()[:-20]),
    ],
)
def test_a_folder_without_a_whole_monitor_is_refused(tmp_path, damage):
    folder = oldest(tmp_path, lambda d: None)
    damage(folder)
    with pytest.raises(ArtifactError, match="holds no monitor that can be read"):
        Monitor.load(folder)
