"""What the user of a monitor gives: labels, scores and types, brought to one form or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fuseline.canonical import as_given
from fuseline.errors import DataError, ModelFault
from fuseline.records import Task

if TYPE_CHECKING:
    import pandas as pd


def labelled(reference: pd.DataFrame, target: str | np.ndarray | Sequence[Any]) -> tuple[pd.DataFrame, np.ndarray]:
    """The features and the labels of the rows that have one."""
    if isinstance(target, str):
        if target not in reference.columns:
            raise DataError(f"the reference has no column {target!r}; it has: {', '.join(map(str, reference.columns))}")
        truth, frame = reference[target].to_numpy(), reference.drop(columns=target)
    else:
        truth, frame = np.asarray(target), reference
    if len(truth) != len(frame):
        raise DataError(f"there are {len(truth)} labels for {len(frame)} rows of the reference: give one for each")
    if frame.shape[1] == 0:
        raise DataError("the reference has no feature besides the target")
    known = has_label(truth)
    if not known.any():
        raise DataError("no row of the reference has a label")
    frame = by_text(frame).loc[known].reset_index(drop=True)
    if not frame.columns.is_unique:
        twice = ", ".join(frame.columns[frame.columns.duplicated()])
        raise DataError(f"the reference has {twice} more than once: expected other names. Rename or remove one of each")
    return frame, truth[known]


def by_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with text as names of its columns; its data is not copied if it has."""
    names = [str(c) for c in frame.columns]
    return frame if names == list(frame.columns) else frame.set_axis(names, axis=1)


def has_label(truth: np.ndarray) -> np.ndarray:
    """Which rows have a label."""
    import pandas as pd

    return ~np.asarray(pd.isna(truth))


def form_of(task: str, truth: np.ndarray) -> tuple[Task, tuple[str, ...]]:
    """The task as statistics want it, and the classes as text in sorted order."""
    if task == "regression":
        return "regression", ()
    if task != "classification":
        raise DataError(f"task is {task!r}; expected 'classification' or 'regression'")
    try:
        classes = tuple(str(c) for c in np.unique(truth))
    except TypeError as error:
        raise DataError(f"the labels cannot be put in order: {error}. Give all of them the same type") from error
    if len(classes) < 2:
        raise DataError(f"the target has one class only ({', '.join(classes)}): expected two or more")
    return ("binary" if len(classes) == 2 else "multiclass"), classes


def asked(score: Callable[[pd.DataFrame], np.ndarray], frame: pd.DataFrame, task: Task, classes: int) -> np.ndarray:
    """What the model says of rows. Raises ModelFault if it fails, or says something of another shape."""
    try:
        made = np.asarray(score(frame))
    except Exception as error:  # foreign code can fail in any way
        raise ModelFault(f"the model failed on {len(frame):,} rows: {type(error).__name__}: {error}") from error
    return shaped(made, len(frame), task, classes)


def shaped(made: np.ndarray, rows: int, task: Task, classes: int) -> np.ndarray:
    """Scores as statistics want them: of two classes the second one's. Raises ModelFault for any other shape."""
    try:
        made = made.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ModelFault(f"scores must be numbers: {error}") from error
    if task == "binary" and made.shape == (rows, 2):
        made = made[:, 1]
    if task == "regression" and made.shape == (rows, 1):
        made = made[:, 0]
    expected = (rows, classes) if task == "multiclass" else (rows,)
    if made.shape != expected:
        raise ModelFault(f"scores have the shape {made.shape}; expected {expected}")
    if not np.isfinite(made).all():
        raise ModelFault(f"{int((~np.isfinite(made)).sum()):,} scores are not finite")
    return made


def in_types(part: pd.DataFrame, dtypes: dict[str, Any]) -> pd.DataFrame:
    """Canonical rows in the types that the model was given."""
    import pandas as pd

    return pd.DataFrame({c: as_given(part[c].to_numpy(), dtypes[c]) for c in part.columns}, index=part.index)


def type_name(dtype: Any) -> Any:
    """A type as JSON."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        levels = [c.item() if isinstance(c, np.generic) else c for c in dtype.categories]
        if strange := [c for c in levels if not isinstance(c, str | int | float | bool)]:
            raise DataError(
                f"the category {strange[0]} cannot be saved: expected text or numbers. Make its column text first"
            )
        return {"categories": levels, "ordered": dtype.ordered}
    return str(dtype)


def type_named(name: Any) -> Any:
    """The type that `type_name` named."""
    import pandas as pd

    if isinstance(name, dict):
        return pd.CategoricalDtype(name["categories"], ordered=bool(name.get("ordered")))
    return pd.api.types.pandas_dtype(name)
