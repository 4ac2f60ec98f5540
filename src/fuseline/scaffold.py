"""`fuseline new`: look at a file of labelled rows and write a project that trains at once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fuseline import tables
from fuseline.contract import MAX_LEVELS, Contract, learn
from fuseline.errors import DataError, SettingsError
from fuseline.rows import task_of

if TYPE_CHECKING:
    import pyarrow as pa

NAME = re.compile(r"[a-z][a-z0-9_-]*")

TOML = """# What Fuseline knows of this project. Only the target is needed; the README lists all keys.
target = {target}
task = {task}
{id}{time}{drop}
[sources.{name}]
path = {path}   # labelled rows to train on
"""

TRAIN = '''"""Trains {name}: {target} from {count} columns."""

from sklearn.compose import ColumnTransformer
from sklearn.{module} import {model}
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

NUMBERS = {numbers}
TEXT = {text}


def train(data, target):
    """Fit on `data` (features, one row each) and `target`; return what predicts."""
    levels = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("text", levels, TEXT)])
    model = make_pipeline(columns, {model}(random_state=0))
    return model.fit(data, target)
'''

PREDICT = '''"""Scores {name}. Every hook is optional; without any, the model's own predictions are the scores.

def warm_up(artifacts): ...                  once, before the first prediction
def preprocess(data, artifacts): ...         raw columns -> what the model takes
def predict(data, artifacts): ...            -> one score per row
def postprocess(scores, data): ...           -> columns that users read
def metrics(predictions): ...                -> {{"expected_revenue_eur": ...}}, figures with bounds in project.toml
"""
'''


def create(
    projects: Path, name: str, source: Path, target: str, id: str | None = None, time: str | None = None
) -> list[str]:
    """Write `projects/<name>`; returns what was found and done, a sentence each.

    Raises:
        SettingsError: the name is taken or no name, or there is no such file.
        DataError: a named column is not in the file, or it cannot be read.
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
    unique = id or _unique_id(table, target, time)
    contract = learn(table, id=unique, time=time, target=target)
    label = table.column(target).combine_chunks().drop_null()
    task = task_of(label, None)
    free = [c.name for c in contract.columns if c.kind == "text" and c.levels is None]
    dates = [c.name for c in contract.columns if c.kind == "datetime"]
    files = _files(name, folder, source, target, task, unique, time, contract, [*free, *dates])
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    return [
        f"{source}: {table.num_rows:,} rows, {len(contract.columns)} features",
        f"target {target}: {task}, {_spread(label, task)}",
        f"id {unique}" if unique else "no id column found: rows are named <batch>:<row number> in the column row_id",
        *([f"left out of the model: {', '.join([*free, *dates])} (free text and dates)"] if free or dates else []),
        f"wrote {folder}/project.toml, train.py, predict.py",
        f"next: fuseline check {name}, then fuseline train {name}",
    ]


def _named_columns(table: pa.Table, source: Path, **named: str | None) -> None:
    import difflib

    for option, column in named.items():
        if column is not None and column not in table.column_names:
            near = difflib.get_close_matches(column, table.column_names, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"--{option}: {source.name} has no column {column!r}.{meant} It has: {', '.join(table.column_names)}"
            )


def _unique_id(table: pa.Table, target: str, time: str | None) -> str | None:
    """A column that names rows: whole numbers or text, no null, every value once; one that is called so first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def names_rows(column: str) -> bool:
        values = table.column(column)
        fit = pa.types.is_integer(values.type) or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        return fit and values.null_count == 0 and pc.count_distinct(values).as_py() == len(values)

    called = [c for c in table.column_names if re.search(r"(^|_| )(id|key|number|nr|no)$", c.lower()) and c != target]
    return next((c for c in [*called, *([time] if time else [])] if names_rows(c)), None)


def _files(
    name: str,
    folder: Path,
    source: Path,
    target: str,
    task: str,
    id: str | None,
    time: str | None,
    contract: Contract,
    drop: Sequence[str],
) -> dict[str, str]:
    used = [c for c in contract.columns if c.name not in drop]
    numbers = [c.name for c in used if c.kind in ("number", "boolean")]
    text = [c.name for c in used if c.kind == "text"]
    if not used:
        raise DataError(f"no column is left to learn from: text has at most {MAX_LEVELS} distinct values in each column")
    root = folder.resolve().parent.parent
    path = os.path.relpath(source.resolve(), root)
    regression = task == "regression"
    model = "HistGradientBoostingRegressor" if regression else "HistGradientBoostingClassifier"
    toml = TOML.format(
        target=_quoted(target),
        task=_quoted(task),
        id=f"id = {_quoted(id)}\n" if id else "",
        time=f"time = {_quoted(time)}\n" if time else "",
        drop=f"drop = [{', '.join(map(_quoted, drop))}]\n" if drop else "",
        name=name,
        path=_quoted(path),
    )
    train = TRAIN.format(
        name=name,
        target=target,
        count=len(used),
        module="ensemble",
        model=model,
        numbers=_listed(numbers),
        text=_listed(text),
    )
    return {"project.toml": toml, "train.py": train, "predict.py": PREDICT.format(name=name)}


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "[]"
    return "[\n" + "".join(f"    {_quoted(n)},\n" for n in names) + "]"


def _spread(label: pa.Array, task: str) -> str:
    import pyarrow.compute as pc

    if task == "regression":
        low, high = pc.min_max(label).as_py().values()
        return f"{low:g} to {high:g}"
    counts = sorted(((c["counts"], str(c["values"])) for c in pc.value_counts(label).to_pylist()), reverse=True)
    return ", ".join(f"{value} {count / len(label):.1%}" for count, value in counts[:5])
