from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fuseline.artifacts import check_libraries, digest, dump, file_digest, libraries, load, verify
from fuseline.errors import ArtifactError


class Leaves:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_the_digest_is_sha_256_in_hexadecimal() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 5])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert file_digest(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()


def test_an_artifact_comes_back_as_it_was() -> None:
    model = LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
    data = dump(model)
    again = load(data, digest(data), "model")
    assert again.coef_.tolist() == model.coef_.tolist()


def test_an_artifact_whose_digest_is_right_is_opened(tmp_path: Path) -> None:
    data = pickle.dumps(Leaves(tmp_path / "opened"))
    load(data, digest(data), "model")
    assert (tmp_path / "opened").exists()  # so that the next test can fail


@settings(max_examples=50)
@given(at=st.integers(min_value=0))
def test_an_artifact_with_a_flipped_byte_is_not_opened(tmp_path_factory: pytest.TempPathFactory, at: int) -> None:
    target = tmp_path_factory.getbasetemp() / "never"
    data = pickle.dumps(Leaves(target))
    with pytest.raises(ArtifactError, match="It was not opened"):
        load(flipped(data, at % len(data)), digest(data), "model")
    assert not target.exists()


def test_bytes_that_were_put_in_place_of_an_artifact_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="It was not opened"):
        load(pickle.dumps(Leaves(tmp_path / "never")), digest(dump(1)), "model")
    assert not (tmp_path / "never").exists()


def test_a_wrong_digest_names_the_file_and_both_digests() -> None:
    with pytest.raises(ArtifactError) as caught:
        verify(b"abd", digest(b"abc"), "p/versions/v0001/artifacts/model.joblib")
    assert "p/versions/v0001/artifacts/model.joblib is not what was stored" in str(caught.value)
    assert digest(b"abd")[:12] in str(caught.value) and "ba7816bf8f01" in str(caught.value)
    assert "roll back" in str(caught.value)


def test_verified_bytes_are_handed_on() -> None:
    assert verify(b"abc", digest(b"abc"), "x") == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle at all",
        dump({"a": np.arange(100)})[:-20],
        b"cno_such_module\nThing\n.",
        b"cfuseline.artifacts\nNoSuchClass\n.",
    ],
)
def test_what_cannot_be_unpickled_is_named_with_the_reason(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^model.joblib cannot be loaded: \w+: "):
        load(data, digest(data), "model.joblib")


def test_an_object_that_raises_while_it_is_unpickled_is_named() -> None:
    data = b"cbuiltins\nint\n(Vx\ntR."
    with pytest.raises(ArtifactError, match="model cannot be loaded: ValueError: invalid literal for int"):
        load(data, digest(data), "model")


def test_the_versions_of_what_artifacts_depend_on_are_recorded() -> None:
    found = libraries()
    assert set(found) == {"python", "fuseline", "numpy", "pandas", "pyarrow", "scikit-learn", "joblib", "metaflow"}
    assert found["numpy"] == np.__version__
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())


def test_the_same_libraries_are_good() -> None:
    check_libraries(libraries(), "v0001")


def other(name: str, part: int) -> str:
    """The version of a library here with one of its parts raised."""
    parts = libraries()[name].split(".")
    return ".".join(str(int(p) + 1) if i == part else p for i, p in enumerate(parts))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("scikit-learn", 2),
        ("numpy", 1),
        ("numpy", 2),
        ("pandas", 1),
        ("pandas", 2),
        ("pyarrow", 0),
        ("joblib", 0),
        ("metaflow", 0),
        ("python", 1),
    ],
)
def test_a_difference_that_pickles_survive_is_good(name: str, part: int) -> None:
    check_libraries({**libraries(), name: other(name, part)}, "v0001")


@pytest.mark.parametrize(("name", "part"), [("scikit-learn", 0), ("scikit-learn", 1), ("numpy", 0), ("pandas", 0)])
def test_a_difference_that_changes_predictions_is_refused_by_name(name: str, part: int) -> None:
    then = other(name, part)
    said = f"version v0007 was trained with {name} {then} (here {libraries()[name]}): its predictions could silently"
    with pytest.raises(ArtifactError, match=re.escape(said)):
        check_libraries({**libraries(), name: then}, "v0007")


def test_every_difference_is_named_at_once() -> None:
    then = {"numpy": other("numpy", 0), "scikit-learn": other("scikit-learn", 1)}
    with pytest.raises(ArtifactError) as caught:
        check_libraries(then, "v0001")
    assert "numpy" in str(caught.value) and "scikit-learn" in str(caught.value)


def test_a_library_that_was_not_recorded_is_not_compared() -> None:
    check_libraries({}, "v0001")
    check_libraries({"lightgbm": "1.0"}, "v0001")
