"""Score leads, and say which of them to call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from features import AMOUNT, SHARE, chosen, unread

CALL_FROM = 0.75  # probability from which a lead is called; `[serve] threshold` in project.toml is the same


def preprocess(data: pd.DataFrame, artifacts: dict[str, Any]) -> pd.DataFrame:
    """The 25 columns of the model, made as in training."""
    return chosen(data, artifacts)


def predict(data: pd.DataFrame, artifacts: dict[str, Any]) -> np.ndarray:
    """Probability that a lead becomes a customer, shape (rows,)."""
    model = artifacts["model"]
    probabilities: np.ndarray = model.predict_proba(data)
    return probabilities[:, list(model.classes_).index(1)]


def postprocess(scores: np.ndarray, data: pd.DataFrame) -> pd.DataFrame:
    """`business_outcome` (1 to call, 0 not to), `phat`, and all inputs as they came, in alphabetical order."""
    read = data.reindex(columns=sorted(data.columns))
    read.insert(0, "business_outcome", (scores >= CALL_FROM).astype(np.int64))
    read.insert(1, "phat", scores)
    return read


def metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Means per lead, so that the size of a batch does not matter."""
    return {
        "share_called": float(predictions["business_outcome"].mean()),
        "expected_share": float(predictions["phat"].mean()),
        "unread_amounts": unread(predictions, AMOUNT),  # in free text no check of columns sees another way of writing
        "unread_shares": unread(predictions, SHARE),
    }
