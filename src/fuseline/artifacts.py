"""Artifacts of a version as bytes: written with joblib, verified by digest before anything is unpickled."""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from fuseline.errors import ArtifactError
from fuseline.revision import revision

# How much of a library's version must agree for its pickles to be trusted: 2 = major.minor, 1 = major.
STRICTNESS = {"scikit-learn": 2, "numpy": 1, "pandas": 1}
RECORDED = ("numpy", "pandas", "pyarrow", "scikit-learn", "joblib", "metaflow")
CHUNK = 1 << 20


def digest(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces of 1 MiB."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            total.update(piece)
    return total.hexdigest()


def dump(value: Any) -> bytes:
    """Serialise one artifact."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


def verify(data: bytes, expected: str, name: str) -> bytes:
    """The same bytes if their digest is the expected one. Raises ArtifactError otherwise."""
    found = digest(data)
    if found != expected:
        raise ArtifactError(
            f"{name} is not what was stored: its SHA-256 is {found[:12]}…, the manifest says {expected[:12]}…. "
            "It was not opened. Restore the object from the store's versions or a backup, or roll back to a version."
        )
    return data


def load(data: bytes, expected: str, name: str) -> Any:
    """Unpickle an artifact whose digest is the expected one. Raises ArtifactError."""
    import joblib

    verify(data, expected, name)
    try:
        return joblib.load(io.BytesIO(data))
    except Exception as error:  # unpickling runs foreign code and can fail in any way
        raise ArtifactError(f"{name} cannot be loaded: {type(error).__name__}: {error}") from error


def libraries() -> dict[str, str]:
    """The versions of Python, of this code, and of the libraries that artifacts depend on, as installed here."""
    found = {"python": platform.python_version(), "fuseline": revision()}
    for name in RECORDED:
        with suppress(metadata.PackageNotFoundError):  # Metaflow, where models are only served
            found[name] = metadata.version(name)
    return found


def check_libraries(trained_with: Mapping[str, str], version: str) -> None:
    """Refuse artifacts of other library versions. Raises ArtifactError naming each difference.

    A pickle of scikit-learn is only good for the same minor version; numpy and pandas for the same major one.
    """
    here = libraries()
    differences = [
        f"{name} {trained_with[name]} (here {here[name]})"
        for name, parts in STRICTNESS.items()
        if name in trained_with and trained_with[name].split(".")[:parts] != here[name].split(".")[:parts]
    ]
    if differences:
        raise ArtifactError(
            f"version {version} was trained with {', '.join(differences)}: its predictions could silently differ. "
            "Install those versions, or train a new version with these."
        )
