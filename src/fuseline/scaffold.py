"""`fuseline new`: look at a file of labelled rows and write a project that trains at once."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fuseline import tables
from fuseline.casts import kind_of
from fuseline.contract import MAX_LEVELS, Contract, learn
from fuseline.errors import DataError, SettingsError
from fuseline.narrative import count
from fuseline.records import Task
from fuseline.rows import task_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NAME = re.compile(r"[a-z][a-z0-9_-]*")
NAMES_ROWS = re.compile(r"(^|[_ -])(id|key|number|nr|no|uuid)$", re.IGNORECASE)
CAMEL_ID = re.compile(r"[a-z](Id|ID)$")
CLASSES_MOST = 50  # a text target with more values is a name, not a class
TOO_GOOD = 0.99  # rank correlation with the target from which on a column is taken for the outcome itself

TOML = """# What Fuseline knows of this project. Only the target is needed; the README lists all keys.
target = {target}
task = {task}
{id}{time}{drop}
[sources.{name}]
path = {path}  # labelled rows to train on
"""

TRAIN = '''"""Trains {name}: {target} from {features}."""

from sklearn.ensemble import {model}


def train(data, target):
    """Fit on `data` (the features, a row each) and `target`; return what predicts."""
    return {model}(random_state=0).fit(data, target)
'''

TRAIN_TEXT = '''"""Trains {name}: {target} from {features}."""

from sklearn.compose import make_column_transformer
from sklearn.ensemble import {model}
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

TEXT = {text}


def train(data, target):
    """Fit on `data` (the features, a row each) and `target`; return what predicts."""
    unknown = float("nan")  # a null, or a value that training never saw
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown, encoded_missing_value=unknown)
    columns = make_column_transformer((codes, TEXT), remainder="passthrough")
    model = {model}(categorical_features=range(len(TEXT)), random_state=0)
    return make_pipeline(columns, model).fit(data, target)
'''

PREDICT = '''"""Scores {name}. Every hook is optional; without any, the model's own predictions are the scores.

def warm_up(artifacts): ...                  once, before the first prediction
def preprocess(data, artifacts): ...         raw columns -> what the model takes
def predict(data, artifacts): ...            -> one score per row
def postprocess(scores, data): ...           -> columns that users read
def metrics(predictions): ...                -> {{"expected_revenue_eur": ...}}, figures with bounds in project.toml
def outcomes(predictions): ...               the same, of predictions that came true or not: the target is a column
"""
'''


@dataclass(frozen=True)
class _Look:
    """What was found in the file.

    Attributes:
        dropped: columns that the model does not get, with why.
    """

    task: Task
    label: pa.Array
    id: str | None
    contract: Contract
    dropped: dict[str, str]


def create(
    projects: Path, name: str, source: Path, target: str, id: str | None = None, time: str | None = None
) -> list[str]:
    """Write `projects/<name>`; returns what was found and done, a sentence each.

    Raises:
        SettingsError: the name is taken or no name, there is no such file, a named column is not in it, or one column
            is named for two things.
        DataError: the file cannot be read, or nothing can be learned from it.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no project name: use small letters, digits, - and _, a letter first")
    folder = projects / name
    if folder.exists():
        raise SettingsError(f"{folder} exists already: choose another name, or remove it")
    if not source.is_file():
        raise SettingsError(f"--from: {source} is not a file")
    table = tables.read_table(source)
    _named_columns(table, source, target=target, id=id, time=time)
    look = _look(table, source, target, id, time)
    files = _files(name, _path(source, folder), target, time, look)
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return _told(name, folder, source, table.num_rows, target, time, look)


def _named_columns(table: pa.Table, source: Path, **named: str | None) -> None:
    """The named columns are there, and each is named for one thing."""
    seen: dict[str, str] = {}
    for option, column in named.items():
        if column is None:
            continue
        if column not in table.column_names:
            near = difflib.get_close_matches(column, table.column_names, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise SettingsError(
                f"--{option}: {source.name} has no column {column!r}.{meant} It has: {', '.join(table.column_names)}"
            )
        if column in seen:
            raise SettingsError(f"--{option} and --{seen[column]} name the same column {column!r}: name two")
        seen[column] = option


def _look(table: pa.Table, source: Path, target: str, id: str | None, time: str | None) -> _Look:
    label = table.column(target).combine_chunks().drop_null()
    task = _task(label, source, target)
    unique = id or _unique_id(table, target, time)
    apart = {target, unique, time}
    dropped = {
        name: f"holds {type}"
        for name, type in zip(table.column_names, table.schema.types, strict=True)
        if name not in apart and kind_of(type) is None
    }
    if apart | dropped.keys() >= set(table.column_names):
        raise DataError(f"{source.name} has no column to learn from beside {', '.join(sorted(filter(None, apart)))}")
    contract = learn(table, id=unique, time=time, target=target, drop=dropped)
    for column in contract.columns:
        if column.kind == "datetime":
            dropped[column.name] = "a date"
        elif column.nulls == column.rows:
            dropped[column.name] = "empty"
        elif column.kind == "text" and column.levels is None:
            dropped[column.name] = f"free text: over {MAX_LEVELS} values"
        elif column.kind == "number" and _is_the_outcome(table.column(column.name), table.column(target)):
            dropped[column.name] = f"orders the rows as {target} does: known only afterwards?"
    if dropped.keys() >= set(contract.names):
        left = ", ".join(f"{column} ({why})" for column, why in dropped.items())
        raise DataError(f"{source.name} has no column that a model could learn from: {left}")
    return _Look(task, label, unique, contract, dropped)


def _task(label: pa.Array, source: Path, target: str) -> Task:
    """The task that the labels look like, if one can be learned from them."""
    import pyarrow.compute as pc

    if kind_of(label.type) in (None, "datetime"):
        raise DataError(
            f"--target: the column {target!r} of {source.name} holds {label.type}; expected numbers, text or booleans"
        )
    values = len(pc.unique(label))
    if values < 2:
        found = f"only the value {label[0].as_py()!r}" if len(label) else "only nulls"
        raise DataError(f"--target: the column {target!r} of {source.name} holds {found}: nothing can be learned")
    task = task_of(label, None)
    if task == "multiclass" and values > CLASSES_MOST:
        raise DataError(
            f"--target: the column {target!r} of {source.name} is text with {values:,} different values; expected "
            f"numbers, or at most {CLASSES_MOST} classes"
        )
    return task


def _unique_id(table: pa.Table, target: str, time: str | None) -> str | None:
    """A column that is called an id and names rows: whole numbers or text, no null, every value once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def names_rows(column: str) -> bool:
        values = table.column(column)
        kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
        fit = any(is_kind(values.type) for is_kind in kinds) and values.null_count == 0
        return fit and pc.count_distinct(values).as_py() == len(values)

    free = [c for c in table.column_names if c not in (target, time)]
    called = [c for c in free if NAMES_ROWS.search(c) or CAMEL_ID.search(c)]
    return next(filter(names_rows, called), None)


def _is_the_outcome(values: pa.ChunkedArray, target: pa.ChunkedArray) -> bool:
    """Whether a column puts the rows in the order of the target (Spearman's rank correlation of at least 0.99)."""
    import numpy as np

    try:
        pairs = np.column_stack([column.cast("float64").to_numpy() for column in (values, target)])
    except (ValueError, NotImplementedError):  # a target that is text has no order
        return False
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    a, b = _ranks(pairs[:, 0]), _ranks(pairs[:, 1])
    if not len(pairs) or a.std() == 0 or b.std() == 0:
        return False
    return bool(abs(np.corrcoef(a, b)[0, 1]) >= TOO_GOOD)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0 with the mean rank for ties, shape (rows,); empty for no rows."""
    import numpy as np

    _, place, many = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.cumsum(many) - (many + 1) / 2
    ranks: np.ndarray = mean[place]
    return ranks


def _path(source: Path, folder: Path) -> str:
    """The source as project.toml names it: relative if it is in or beside the folder that holds `projects/`."""
    root = folder.resolve().parent.parent
    relative = os.path.relpath(source.resolve(), root)
    return str(source.resolve()) if relative.startswith("../..") else relative


def _files(name: str, path: str, target: str, time: str | None, look: _Look) -> dict[str, str]:
    text = [c.name for c in look.contract.columns if c.kind == "text" and c.name not in look.dropped]
    features = len(set(look.contract.names) - look.dropped.keys())
    toml = TOML.format(
        target=_quoted(target),
        task=_quoted(look.task),
        id=f"id = {_quoted(look.id)}\n" if look.id else "",
        time=f"time = {_quoted(time)}\n" if time else "",
        drop=f"drop = {_listed(list(look.dropped))}\n" if look.dropped else "",
        name=name,
        path=_quoted(path),
    )
    train = (TRAIN_TEXT if text else TRAIN).format(
        name=name,
        target=_in_a_docstring(target),
        features=count(features, "column"),
        model="HistGradientBoosting" + ("Regressor" if look.task == "regression" else "Classifier"),
        text=_listed(text),
    )
    return {"project.toml": toml, "train.py": train, "predict.py": PREDICT.format(name=name)}


def _told(name: str, folder: Path, source: Path, rows: int, target: str, time: str | None, look: _Look) -> list[str]:
    features = len(set(look.contract.names) - look.dropped.keys())
    dates = [column for column, why in look.dropped.items() if why == "a date"]
    told = [
        f"{source}: {count(rows, 'row')}, {count(features, 'feature')}",
        f"target {target}: {look.task}, {_spread(look.label, look.task)}",
        f"id {look.id}" if look.id else "id: none found, so rows are named <batch>:<row number> in the column row_id",
    ]
    told += [f"left out: {column} ({why})" for column, why in look.dropped.items()]
    if dates and not time:
        told.append(f"if {dates[0]} orders the rows, say so in project.toml: time = {_quoted(dates[0])}")
    told.append(f"wrote project.toml, train.py and predict.py in {folder}")
    return [*told, f"next: fuseline check {name}, then fuseline train {name}"]


def _quoted(text: str) -> str:
    """A string as TOML and Python both write it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(names: Sequence[str]) -> str:
    """A list as TOML and Python both write it, on one line where it fits."""
    line = f"[{', '.join(map(_quoted, names))}]"
    return line if len(line) <= 100 else "[\n" + "".join(f"    {_quoted(n)},\n" for n in names) + "]"


def _in_a_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _spread(label: pa.Array, task: Task) -> str:
    import pyarrow.compute as pc

    if task == "regression":
        low, high = pc.min_max(label).as_py().values()
        return f"{low:,g} to {high:,g}"
    counts = sorted(((c["counts"], str(c["values"])) for c in pc.value_counts(label).to_pylist()), reverse=True)
    return ", ".join(f"{value} {share / len(label):.1%}" for share, value in counts[:5])
