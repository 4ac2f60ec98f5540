"""Any frame as canonical values: float64 with NaN, datetime64[ns] with NaT, text as str with None.

A value that cannot be brought to its column's kind becomes null and is counted, so that nothing raises for what a batch
holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "text", "datetime"]
NUMBERS = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")  # what columns of objects may hold


@dataclass(frozen=True, eq=False)
class Canonical:
    """The columns of a frame.

    Attributes:
        values: by column, each of shape (rows,).
        broken: values that were no number (or date) where one was expected, by column.
        infinite: infinite values, by column; they became null.
        missing: columns that the frame does not have; all their values are null.
        twice: columns that it has more than once; all their values are null, too.
    """

    values: Mapping[str, np.ndarray]
    broken: Mapping[str, int] = field(default_factory=dict)
    infinite: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()


def kind_of(column: pd.Series) -> Kind:
    """What a column of the reference holds."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "datetime"
    numeric = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    if column.dtype == object:
        numeric = pd.api.types.infer_dtype(column, skipna=True) in NUMBERS
    return "number" if numeric or pd.api.types.is_timedelta64_dtype(column.dtype) else "text"


def canonical(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> Canonical:
    """Bring a frame to these columns and kinds; not changed."""
    values: dict[str, np.ndarray] = {}
    broken: dict[str, int] = {}
    infinite: dict[str, int] = {}
    missing = tuple(c for c in kinds if c not in frame.columns)
    repeated = set(frame.columns[frame.columns.duplicated()])
    twice = tuple(c for c in kinds if c in repeated)
    for name, kind in kinds.items():
        if name in missing or name in twice:
            values[name] = _nothing(kind, len(frame))
            continue
        column = frame[name]
        if kind == "text":
            values[name] = _texts(column)
            continue
        found, lost = _numbers(column) if kind == "number" else _times(column)
        if kind == "number" and (wild := np.isinf(found)).any():
            infinite[name] = int(wild.sum())
            found = np.where(wild, np.nan, found)
        values[name] = found
        if lost:
            broken[name] = lost
    return Canonical(values, broken, infinite, missing, twice)


def _nothing(kind: Kind, rows: int) -> np.ndarray:
    if kind == "text":
        return np.full(rows, None, dtype=object)
    return np.full(
        rows, np.nan if kind == "number" else "NaT", dtype="float64" if kind == "number" else "datetime64[ns]"
    )


def _numbers(column: pd.Series) -> tuple[np.ndarray, int]:
    import pandas as pd

    if column.dtype == np.float64:
        return column.to_numpy(), 0
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return column.dt.total_seconds().to_numpy(dtype=np.float64), 0
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or column.dtype.kind == "c":
        return np.full(len(column), np.nan), int(column.notna().sum())
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), 0
    values = column.astype(object)
    try:
        found = np.asarray(pd.to_numeric(values, errors="coerce"))
    except OverflowError:  # a whole number beyond what a float holds
        found = values.to_numpy()
    if found.dtype.kind not in "biuf":  # or a complex one
        found = np.array([_number(v) for v in values], dtype=np.float64)
    found = found.astype(np.float64)
    return found, int((np.isnan(found) & column.notna().to_numpy()).sum())


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _times(column: pd.Series) -> tuple[np.ndarray, int]:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        return _nothing("datetime", len(column)), int(column.notna().sum())
    try:
        found = pd.to_datetime(column, errors="coerce", utc=True, format="mixed").dt.tz_localize(None)
    except OverflowError:  # a whole number beyond any date
        known = column.map(lambda v: not isinstance(v, int))
        times, lost = _times(column.where(known))
        return times, lost + int((~known).sum())
    within = found.between(pd.Timestamp.min, pd.Timestamp.max)  # seconds reach further, and would turn round
    values = found.where(within).to_numpy(dtype="datetime64[ns]")
    return values, int((np.isnat(values) & column.notna().to_numpy()).sum())


def _texts(column: pd.Series) -> np.ndarray:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        levels = np.array([*(str(c) for c in column.cat.categories), None], dtype=object)
        return _encodable(levels)[column.cat.codes.to_numpy()]
    values = column.to_numpy(dtype=object)
    if pd.api.types.infer_dtype(values, skipna=False) == "string":
        return _encodable(values)
    null = pd.isna(values)
    if pd.api.types.infer_dtype(values, skipna=True) != "string":
        values = np.array([str(v) for v in values], dtype=object)
    found = values.copy()
    found[null] = None
    return _encodable(found)


def _encodable(values: np.ndarray) -> np.ndarray:
    """Text with a question mark for what UTF-8 cannot write: half of a surrogate pair."""
    try:
        "".join([v for v in values if v is not None]).encode()
    except UnicodeEncodeError:
        plain = [v if v is None else v.encode(errors="replace").decode() for v in values]
        return np.array([*plain, None], dtype=object)[:-1]
    return values


def as_given(values: np.ndarray, dtype: object) -> object:
    """Canonical values as a column of the type that a model was given, as far as they fit it."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        names = {str(c): c for c in dtype.categories}
        return pd.Categorical([names.get(v) if v is not None else None for v in values], dtype=dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(values).tz_localize("UTC").tz_convert(dtype.tz)
    if isinstance(dtype, np.dtype) and dtype.kind == "m":
        return pd.to_timedelta(values, unit="s", errors="coerce")
    if values.dtype.kind != "f" or not isinstance(dtype, np.dtype | pd.api.extensions.ExtensionDtype):
        return values
    whole = not np.isnan(values).any() and bool(np.all(values == np.floor(values)))
    if pd.api.types.is_bool_dtype(dtype) and whole and set(np.unique(values)) <= {0.0, 1.0}:
        return values.astype(bool)
    if pd.api.types.is_integer_dtype(dtype) and whole and np.abs(values).max(initial=0.0) < 2**53:
        return values.astype(np.int64)
    return values


def identities(values: Mapping[str, np.ndarray], cells: Mapping[str, np.ndarray]) -> np.ndarray:
    """A 64-bit hash of each row, the same for equal rows: exact numbers, and the cells of text; shape (rows,).

    Each column's 64 bits are mixed in by a step of SplitMix64 (Steele, Lea & Flood 2014).

    >>> found = identities({"x": np.array([0.5, -0.0, 0.0])}, {})
    >>> bool(found[0] == found[1]), bool(found[1] == found[2])
    (False, True)
    """
    rows = len(next(iter(values.values())))
    found = np.full(rows, 0x9E3779B97F4A7C15, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name, column in values.items():
            if column.dtype == object:
                bits = cells[name].astype(np.uint64)
            else:
                if column.dtype.kind == "f":  # -0.0 is 0.0, and null is null
                    column = np.where(np.isnan(column), np.nan, column + 0.0)
                bits = column.view(np.uint64)
            found = (found ^ bits) * np.uint64(0xBF58476D1CE4E5B9)
            found ^= found >> np.uint64(29)
    return found


def repeats(identities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of rows by identity that does not depend on how they came, and which copy of its row each is (0 first).

    Returns:
        Row numbers in the order, and the copy of each row in that order; both of shape (rows,).

    >>> order, copies = repeats(np.array([7, 3, 7], dtype=np.uint64))
    >>> order.tolist(), copies.tolist()
    ([1, 0, 2], [0, 0, 1])
    """
    order = np.argsort(identities, kind="stable")
    ranked = identities[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]])) if len(ranked) else np.zeros(0, int)
    lengths = np.diff(np.append(starts, len(ranked)))
    return order, np.arange(len(ranked)) - np.repeat(starts, lengths)
