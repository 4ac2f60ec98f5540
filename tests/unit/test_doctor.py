from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuseline.batches import replay
from fuseline.doctor import examine
from fuseline.errors import SettingsError
from fuseline.predictions import PREDICTIONS
from fuseline.records import Finding, Promoted, Registered, Reset, Trip, Tripped
from fuseline.settings import Settings
from fuseline.storage import open_store


@dataclass
class Patient:
    """A project over a folder, and what the doctor says of it."""

    tiny: object
    store: Path
    faults: str = ""

    @property
    def line(self):
        return self.tiny.line

    def look(self, project: str | None = "tiny", store: str | None = None) -> list[Finding]:
        settings = Settings(
            store=store or str(self.store), projects=self.tiny.folder.parent, user="tester", faults=self.faults
        )
        return examine(settings, project)

    def wrong(self) -> Finding:
        """The one finding that is wrong."""
        found = [f for f in self.look() if not f.ok]
        assert len(found) == 1, found
        return found[0]

    def visible(self) -> Path:
        """The one file that consumers read."""
        (path,) = (self.store / "tiny" / "predictions").iterdir()
        return path


@pytest.fixture
def patient(tiny, tmp_path) -> Patient:
    tiny.store = open_store(str(tmp_path / "store"))
    return Patient(tiny, tmp_path / "store")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where a store is kept once it is made, because that takes seconds."""
    return tmp_path_factory.mktemp("kept") / "store"


@pytest.fixture
def published(patient, kept, rows) -> Patient:
    """With a champion and one published batch."""
    if not kept.exists():
        patient.tiny.train()
        patient.tiny.deliver("day1", rows(400, 2).drop(columns="bought"))
        patient.tiny.infer()
        shutil.copytree(patient.store, kept)
    shutil.copytree(kept, patient.store, dirs_exist_ok=True)
    return patient


def test_a_store_alone_is_looked_at_without_a_project(patient):
    libraries, store, *abilities = patient.look(project=None)
    assert libraries.ok
    assert "scikit-learn" in libraries.what
    assert store.what == f"store file://{patient.store} keeps create-only puts"
    assert store.ok
    assert [finding.what.partition(" ")[0] for finding in abilities] == ["store:"] * 3
    assert all(finding.ok for finding in abilities)
    assert [path for path in patient.store.rglob("*") if path.is_file()] == []


def test_a_bucket_is_told_for_what_it_can_do_and_left_as_it_was(patient, bucket, s3_client):
    found = patient.look(project=None, store=f"s3://{bucket}/line")
    assert all(finding.ok for finding in found)
    (versions,) = [
        finding for finding in found if finding.what.endswith("keeps no versions of what is overwritten and deleted")
    ]
    assert "put-bucket-versioning" in versions.fix
    assert "Contents" not in s3_client.list_objects_v2(Bucket=bucket)


def test_a_bucket_that_is_not_there_is_wrong_and_nothing_more_is_tried(patient, s3):
    _, store = patient.look(store="s3://no-such-bucket")
    assert not store.ok
    assert "make the bucket 'no-such-bucket'" in store.fix


def test_a_request_that_fails_among_the_abilities_is_wrong(patient):
    patient.faults = "fail-before list * times=9"
    found = patient.look(project=None)
    assert [(f.ok, f.what) for f in found[2:]] == [(False, "store: what else it can do")]
    assert found[2].fix


def test_a_store_that_cannot_be_written_is_wrong_and_nothing_more_is_looked_at(patient, tmp_path):
    (tmp_path / "file").write_text("no folder")
    *_, store = patient.look(store=str(tmp_path / "file"))
    assert not store.ok
    assert store.fix


def test_a_setting_that_names_no_store_is_an_error(patient):
    with pytest.raises(SettingsError, match="names no store"):
        patient.look(store="ftp://somewhere")


def test_an_unknown_project_is_wrong(patient):
    (*_, project) = patient.look(project="nope")
    assert not project.ok
    assert "there is no project 'nope'" in project.fix


def test_a_new_project_is_well_and_told_to_train(patient):
    found = patient.look()
    assert all(f.ok for f in found)
    assert "champion: none yet (fuseline train tiny)" in [f.what for f in found]


def test_a_project_with_a_published_batch_is_well(published):
    assert [f.what for f in published.look()][6:] == [
        "ledger of tiny",
        "champion v0001: files, digests, libraries",
        "predictions: 1 batch published, 1 visible",
        "predictions: 1 file read, byte for byte what was published",
    ]
    assert all(f.ok for f in published.look())


def test_a_broken_entry_of_the_ledger_is_named_and_ends_the_look(published):
    (published.store / "tiny" / "ledger" / "00000002.json").write_text("{")
    finding = published.wrong()
    assert finding.what == "ledger of tiny"
    assert "00000002.json" in finding.fix
    assert published.look()[-1].what == finding.what


def test_a_broken_entry_is_found_even_before_a_checkpoint(patient):
    ledger = patient.line.ledger
    for _ in range(50):
        ledger.append(lambda state: Tripped("by hand", Trip(None)))
        ledger.append(lambda state: Reset("by hand"))
    (patient.store / "tiny" / "ledger" / "00000003.json").write_text("{")
    assert ledger.state().seq == 100
    assert "00000003.json" in patient.wrong().fix


def test_a_flipped_byte_of_the_champion_is_found(published):
    path = published.store / "tiny" / "versions" / "v0001" / "reference.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    finding = published.wrong()
    assert finding.what == "champion v0001: files, digests, libraries"
    assert "reference.parquet is not what was stored" in finding.fix


def test_the_champion_before_is_looked_at_because_a_rollback_needs_it(published):
    ledger = published.line.ledger
    ledger.append(lambda state: Registered("v0002", "d" * 64, {}))
    ledger.append(lambda state: Promoted("v0002", "v0001", "manual", "test"))
    found = {f.what: f for f in published.look()}
    assert not found["champion v0002: files, digests, libraries"].ok
    assert found["v0001, the champion before: files, digests, libraries"].ok


def test_a_flipped_byte_of_published_predictions_is_found(published):
    path = published.visible()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # the staged file may be the same file by another name
    path.write_bytes(data)
    finding = published.wrong()
    assert finding.what == "predictions: 1 file read, byte for byte what was published"
    (batch,) = published.line.ledger.state().batches
    assert f"changed since: {batch}" in finding.fix


def test_what_is_advised_for_changed_predictions_mends_them(published):
    published.visible().write_bytes(b"nonsense")
    batch = published.line.ledger.state().published_as("day1")
    published.line.predictions.withdraw(batch, "changed")
    replay(published.line.ledger, published.line.batches, batch, "changed")
    published.tiny.infer("a2")
    assert all(f.ok for f in published.look())


def test_a_missing_file_is_found_and_infer_puts_it_right(published):
    name = published.visible().name
    published.visible().unlink()
    finding = published.wrong()
    assert finding.fix == f"missing: tiny/predictions/{name}. `fuseline infer tiny` puts this right"
    published.line.predictions.reconcile(published.line.ledger.state())
    assert all(f.ok for f in published.look())


def test_stray_files_are_found_the_first_of_many_by_name(published):
    for i in range(7):
        (published.store / "tiny" / "predictions" / f"stray{i}.parquet").write_bytes(b"x")
    finding = published.wrong()
    assert finding.what == "predictions: 1 batch published, 8 visible"
    assert "not of the ledger: tiny/predictions/stray0.parquet, " in finding.fix
    assert "stray5" not in finding.fix
    assert "and 2 more" in finding.fix


def test_staged_files_are_no_predictions(published):
    staged = list((published.store / "tiny" / "batches").rglob(PREDICTIONS))
    assert len(staged) == 1
    assert all(f.ok for f in published.look())
