"""A monitor in a folder: `monitor.json`, and its labelled rows in a Parquet file that is named for its digest.

`monitor.json` names the file of the rows, and is written last. So a save that is stopped anywhere leaves the monitor
that was there before, whole; what it left over is removed by the next one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fuseline import artifacts
from fuseline.bins import Bins
from fuseline.canonical import Kind, canonical
from fuseline.errors import ArtifactError
from fuseline.given import type_name, type_named
from fuseline.records import Task

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2  # 1 had the rows in reference.parquet, and no digest of it
MONITOR, FIRST = "monitor.json", "reference.parquet"
OURS = re.compile(r"reference-[0-9a-f]{12}\.parquet(\.new)?")


@dataclass(frozen=True, eq=False)
class Saved:
    """All that is kept of a monitor; the model is not in it.

    Attributes:
        settings: what `Monitor.fit` was told.
        classes: as text in sorted order; none for a regression.
        kinds: of each feature, in their order.
        dtypes: of each feature as the model was given it.
        importance: of each feature for the model, 0 or more.
        frame: canonical features of the labelled rows, shape (rows, features).
        truth: their labels, shape (rows,).
        scores: what the model says of them, shape (rows,) or (rows, classes).
    """

    settings: Mapping[str, Any]
    task: Task
    classes: Sequence[str]
    kinds: dict[str, Kind]
    dtypes: dict[str, Any]
    importance: Mapping[str, float]
    bins: Bins
    frame: pd.DataFrame
    truth: np.ndarray
    scores: np.ndarray


def write(folder: Path, kept: Saved) -> None:
    """Save to a folder, in place of what was saved there before.

    Raises:
        DataError: a column's categories are neither text nor numbers.
    """
    prefix = _free(kept.kinds)
    document = {
        "format": FORMAT,
        "settings": dict(kept.settings),
        "task": kept.task,
        "classes": list(kept.classes),
        "kinds": kept.kinds,
        "dtypes": {c: type_name(d) for c, d in kept.dtypes.items()},
        "importance": dict(kept.importance),
        "bins": kept.bins.to_json(),
    }
    rows = _to_parquet(kept, prefix)
    digest = artifacts.digest(rows)
    file = f"reference-{digest[:12]}.parquet"
    document["reference"] = {"file": file, "digest": digest, "prefix": prefix}
    text = json.dumps(document, indent=1, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    older = [path for path in _older(folder) if path.name != file]
    _place(folder / file, rows)
    _place(folder / MONITOR, text.encode())
    for path in older:
        with suppress(OSError):  # it is only in the way
            path.unlink()


def read(folder: Path) -> Saved:
    """Read what `write` wrote, and every older format.

    Raises:
        ArtifactError: the folder holds no monitor, one of a newer format, or rows that are not those that were saved.
    """
    import pandas as pd

    with readable(folder):
        document = json.loads((folder / MONITOR).read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            found = f"{folder / MONITOR} has format {document['format']}"
            raise ArtifactError(f"{found}; this Fuseline reads up to {FORMAT}: upgrade it")
        rows, prefix = _rows(folder, document)
        task, classes = document["task"], list(document["classes"])
        scores = [rows[f"{prefix}score{i}"].to_numpy() for i in range(len(classes) if task == "multiclass" else 1)]
        kinds = dict(document["kinds"])
        plain = canonical(rows[list(kinds)], kinds).values
        return Saved(
            settings=dict(document["settings"]),
            task=task,
            classes=classes,
            kinds=kinds,
            dtypes={c: type_named(d) for c, d in document["dtypes"].items()},
            importance=dict(document["importance"]),
            bins=Bins.from_json(document["bins"]),
            frame=pd.DataFrame(dict(plain)),
            truth=rows[f"{prefix}label"].to_numpy(),
            scores=np.column_stack(scores) if task == "multiclass" else scores[0],
        )


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Say what is to be done where a monitor's files are damaged. Raises ArtifactError."""
    import pyarrow as pa

    try:
        yield
    except (OSError, LookupError, AttributeError, TypeError, ValueError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{folder} holds no monitor that can be read: {error!r}. Fit it and save it again"
        ) from error


def _free(features: Mapping[str, Any]) -> str:
    """What the names of the label and the scores begin with in the file of the rows: no feature's does."""
    prefix = "__"
    while any(name.startswith(prefix) for name in features):
        prefix += "_"
    return prefix


def _to_parquet(kept: Saved, prefix: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(kept.frame, preserve_index=False)
    table = table.append_column(f"{prefix}label", pa.array(kept.truth))
    for i, scores in enumerate(kept.scores.reshape(len(kept.scores), -1).T):
        table = table.append_column(f"{prefix}score{i}", pa.array(scores))
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    found: bytes = out.getvalue().to_pybytes()
    return found


def _rows(folder: Path, document: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """The labelled rows, and what the names of label and scores begin with; nothing is read before it is verified."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if document["format"] == 1:
        return pq.read_table(pa.BufferReader((folder / FIRST).read_bytes())).to_pandas(), "__"
    named = document["reference"]
    path, expected = folder / named["file"], named["digest"]
    data = path.read_bytes()
    if (found := artifacts.digest(data)) != expected:
        raise ArtifactError(
            f"{path} is not what was saved: its SHA-256 is {found[:12]}…, {MONITOR} says {expected[:12]}…. It was not "
            "opened. Restore the file, or fit the monitor and save it again"
        )
    return pq.read_table(pa.BufferReader(data)).to_pandas(), named["prefix"]


def _older(folder: Path) -> list[Path]:
    """The files of rows that earlier saves wrote or left over; nothing else that is in the folder."""
    found = [path for path in folder.iterdir() if OURS.fullmatch(path.name)]
    with suppress(OSError, ValueError):
        document = json.loads((folder / MONITOR).read_text(encoding="utf-8"))
        if isinstance(document, dict) and document.get("format") == 1:
            found.append(folder / FIRST)
    return found


def _place(path: Path, data: bytes) -> None:
    """Write a whole file, and give it its name when the disk has it."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
