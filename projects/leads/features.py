"""Raw columns to what the model takes: the one path that both train.py and predict.py go.

A row is made ready by itself and by what training left in the artifacts, never by the rows beside it. So a row alone in
a request gets the numbers that it gets in a batch of a million, and the dummies of every level that training saw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

Artifacts = Mapping[str, Any]

AMOUNT, SHARE = "x12", "x63"  # "$1,234.56", and "36.29%"
WEEKDAY, COUNTRY, MONTH, GENDER = "x5", "x31", "x81", "x82"

# Groups: bracket, sign, sign after the dollar, digits, bracket.
_AMOUNT = re.compile(r"(\(?)([+-]?)\$?([+-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(\)?)", re.ASCII)
_SHARE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)) ?%", re.ASCII)
_FARTHEST = 1e12  # what is farther from zero is cut to it: nothing here is as large, and arithmetic would overflow


def amount(text: object) -> float:
    """Dollars: `$1,234.56`, `-$12.00` or `$-12.00`, `($12.00)` for a negative one; the sign may be left out.

    Returns:
        NaN for what is no amount, e.g. `n/a`, `$1,23` or None: it is imputed, as in training.

    >>> amount("$1,234.56"), amount("-$12.00"), amount("($12.00)"), amount("12,34 $")
    (1234.56, -12.0, -12.0, nan)
    """
    found = _AMOUNT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return math.nan
    opened, before, after, digits, closed = found.groups()
    value = float(digits.replace(",", ""))
    marks = opened + before + after + closed
    if not marks:
        return value
    return {"()": -value, "-": -value, "+": value}.get(marks, math.nan)  # half a bracket, two signs: no amount


def share(text: object) -> float:
    """A share from 0 to 1 of a text such as `36.29%`; NaN without the sign, which would leave the unit open.

    >>> share("50%"), share("0.5"), share(None)
    (0.5, nan, nan)
    """
    found = _SHARE.fullmatch(text.strip()) if isinstance(text, str) else None
    return math.nan if found is None else float(found[1]) / 100


def _name(text: str) -> str:
    """A level however it is spelt: upper or lower case, with spaces around it.

    >>> _name(" Female ")
    'female'
    """
    return text.strip().lower()


def _short(text: str) -> str:
    """A weekday or month by its first three letters.

    >>> _short("Wed"), _short("wednesday")
    ('wed', 'wed')
    """
    return _name(text)[:3]


PARSERS: Mapping[str, Callable[[object], float]] = {AMOUNT: amount, SHARE: share}
SPELLINGS: Mapping[str, Callable[[str], str]] = {WEEKDAY: _short, MONTH: _short, COUNTRY: _name, GENDER: _name}


def numbers(data: pd.DataFrame) -> pd.DataFrame:
    """All columns but the levels as float64 with NaN, shape (rows, numbers), in the order of `data`."""
    names = [name for name in data.columns if name not in SPELLINGS]
    parsed = {name: _floats(name, data[name]) for name in data[names].select_dtypes(object).columns}
    values = data[names].assign(**parsed).to_numpy(dtype=np.float64)
    return pd.DataFrame(np.clip(values, -_FARTHEST, _FARTHEST), columns=names)


def _floats(name: str, column: pd.Series) -> np.ndarray:
    """float64, shape (rows,): text is parsed, all else is a number already."""
    if column.dtype != object:
        return column.to_numpy(dtype=np.float64)
    parse = PARSERS.get(name)
    if parse is None:  # it was null throughout in training, and so it is text
        return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    return np.fromiter(map(parse, column), np.float64, len(column))


def unread(data: pd.DataFrame, name: str) -> float:
    """Share of the amounts (or shares) that are written in a way that nobody here reads, e.g. `1.234,56 EUR`."""
    column = data[name]
    return float((column.notna().to_numpy() & np.isnan(_floats(name, column))).mean())


def levels(data: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The levels of each column that has them, sorted; a null or a blank is no level."""
    return {name: tuple(sorted(set(_spelt(name, data[name])[1]) - {""})) for name in SPELLINGS if name in data.columns}


def _spelt(name: str, column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Codes, shape (rows,), of the distinct texts, and the level that each of these means; -1 is null."""
    codes, texts = pd.factorize(column)
    return codes, [SPELLINGS[name](str(text)) for text in texts]


def encode(data: pd.DataFrame, artifacts: Artifacts) -> pd.DataFrame:
    """Everything that the model may choose from.

    Args:
        data: raw columns, shape (rows, columns), in any order; not changed.
        artifacts: `imputer`, `scaler` and `levels` of training.

    Returns:
        float64 without NaN, shape (rows, numbers + dummies): imputed and scaled numbers, then a column for each level
        of training, e.g. `x5_wed`. A row with a null or with a level that training never saw has 0 in all of them.
    """
    imputer, scaler = artifacts["imputer"], artifacts["scaler"]
    known = list(imputer.feature_names_in_)
    scaled = scaler.transform(imputer.transform(numbers(data[known])))
    dummies = [_dummies(name, data[name], found) for name, found in artifacts["levels"].items()]
    names = [f"{name}_{level}" for name, found in artifacts["levels"].items() for level in found]
    return pd.DataFrame(np.column_stack([scaled, *dummies]), columns=known + names)


def _dummies(name: str, column: pd.Series, found: tuple[str, ...]) -> np.ndarray:
    """1.0 where a row has the level, shape (rows, levels)."""
    codes, meant = _spelt(name, column)
    rows = [[level == other for other in found] for level in [*meant, None]]
    table: np.ndarray = np.array(rows, dtype=np.float64)[codes]  # -1, which is null, is the last row: no level at all
    return table


def chosen(data: pd.DataFrame, artifacts: Artifacts) -> pd.DataFrame:
    """The columns that the model was fitted on, shape (rows, 25)."""
    return encode(data, artifacts)[list(artifacts["columns"])]
