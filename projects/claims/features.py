"""What is known of a claim at first notification, cleaned: the one path that train.py and predict.py both go.

A row is made ready by itself and by what training left in the artifacts, never by the rows beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

UNKNOWN = frozenset({"", "#", "?", "-", "n/k", "nk", "n/a", "na", "not known", "unknown", "none", "null", "nan"})

TEXTS = ("Location_of_incident", "Vehicle_mobile", "Main_driver")
INJURIES = ("whiplash", "traumatic", "fatality", "unclear", "nk")
TYPES = ("insd_pass_back", "pass_back", "pass_front", "bike", "cyclist", "pedestrian", "other", "driver", "nk")
MOST = 4.0  # people of one kind: more of them are too rare for a cost of their own, and an error should not explode
NUMBERS = (
    *(f"injury_{name}" for name in INJURIES),
    *(f"type_{name}" for name in TYPES[:-2]),
    *("type_driver_or_nk", "third_parties", "named_injuries"),
)


def known(values: pd.Series) -> np.ndarray:
    """Text without spaces around it, None for every way of writing that nothing is known; object, shape (rows,).

    >>> known(pd.Series([" Y ", "n/k", "N/K", "#", " ", None, "Not Applicable"], dtype=object)).tolist()
    ['Y', None, None, None, None, None, 'Not Applicable']
    """
    codes, texts = pd.factorize(values)
    cleaned = [text.strip() if isinstance(text, str) else "" for text in texts]
    levels = np.array([text if text.lower() not in UNKNOWN else None for text in cleaned] + [None], dtype=object)
    found: np.ndarray = levels[codes]  # -1, which is null, is the last
    return found


def counts(data: pd.DataFrame) -> np.ndarray:
    """Numbers of people as float64, NaN for what is no number or infinite; less than nothing is nothing.

    >>> counts(pd.DataFrame({"a": [3, -18, None], "b": ["2", "n/k", "inf"]})).tolist()
    [[3.0, 2.0], [0.0, nan], [nan, nan]]
    """
    parsed = {str(name): pd.to_numeric(data[name], errors="coerce") for name in data.select_dtypes(object)}
    values = data.assign(**parsed).to_numpy(dtype=np.float64) if parsed else data.to_numpy(dtype=np.float64)
    found: np.ndarray = np.maximum(np.where(np.isfinite(values), values, np.nan), 0.0)
    return found


def cost(incurred: pd.Series) -> np.ndarray:
    """What a claim cost in GBP, float64, shape (rows,): a recovery, which is negative, costs nothing.

    >>> cost(pd.Series([1200, 0, -10539])).tolist()
    [1200.0, 0.0, 0.0]
    """
    costs: np.ndarray = np.maximum(incurred.to_numpy(dtype=np.float64), 0.0)
    return costs


def features(data: pd.DataFrame) -> pd.DataFrame:
    """What the model is told: numbers as float64 with NaN, text with None, shape (rows, features).

    Drivers and third parties of unknown type are counted together: since 2011 the same people are filed as drivers.
    """
    injuries, types = (np.minimum(people, MOST) for people in (_injuries(data), _types(data)))
    together = np.minimum(np.nansum(types[:, -2:], axis=1), MOST)
    people = np.minimum(np.nansum(types, axis=1), 2 * MOST)
    named = np.log1p(np.nansum(injuries[:, :3], axis=1))
    values = np.column_stack([injuries, types[:, :-2], together, people, named])
    made = pd.DataFrame(values, columns=list(NUMBERS), index=data.index)
    return made.assign(**{name: known(data[name]) for name in TEXTS})


def _injuries(data: pd.DataFrame) -> np.ndarray:
    return counts(data[[f"TP_injury_{name}" for name in INJURIES]])


def _types(data: pd.DataFrame) -> np.ndarray:
    return counts(data[[f"TP_type_{name}" for name in TYPES]])


def serious(data: pd.DataFrame) -> np.ndarray:
    """Whether somebody was killed or has a traumatic injury, bool, shape (rows,); False where that is not known."""
    hurt: np.ndarray = np.any(_injuries(data)[:, 1:3] > 0.0, axis=1)
    return hurt


def unrecorded(data: pd.DataFrame) -> np.ndarray:
    """Whether there are third parties and not one injury on file, which no sound claim shows; bool, shape (rows,)."""
    found: np.ndarray = np.any(_types(data) > 0.0, axis=1) & ~np.any(_injuries(data) > 0.0, axis=1)
    return found


def encode(cleaned: pd.DataFrame, artifacts: Mapping[str, Any]) -> np.ndarray:
    """Imputed and scaled numbers beside the dummies of the levels, float64, shape (rows, columns), without NaN.

    Args:
        cleaned: as `features` gives it.
        artifacts: `imputer`, `scaler` and `levels` of training.
    """
    numbers, texts = cleaned[list(NUMBERS)].to_numpy(), cleaned[list(TEXTS)].to_numpy()
    scaled = artifacts["scaler"].transform(artifacts["imputer"].transform(numbers))
    return np.column_stack([scaled, artifacts["levels"].transform(texts)])
