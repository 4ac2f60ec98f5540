"""Score bookings, and say what to do about each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

FLAG_FROM = 0.5  # probability of cancelling from which the front desk calls the guest


def preprocess(data: pd.DataFrame, artifacts: dict[str, Any]) -> pd.DataFrame:
    """Fill nulls in numbers and scale them, as in training."""
    numbers = data[list(artifacts["imputer"].feature_names_in_)]
    ready = data.copy()
    ready[numbers.columns] = artifacts["scaler"].transform(artifacts["imputer"].transform(numbers))
    return ready


def predict(data: pd.DataFrame, artifacts: dict[str, Any]) -> np.ndarray:
    """Probability of being cancelled, shape (rows,)."""
    model = artifacts["model"]
    probabilities: np.ndarray = model.predict_proba(data)
    return probabilities[:, list(model.classes_).index("cancelled")]


def postprocess(scores: np.ndarray, data: pd.DataFrame) -> pd.DataFrame:
    """The columns that the hotel's staff reads; `expected_revenue_eur` is NaN where the price is not known."""
    return pd.DataFrame(
        {
            "cancel_probability": np.round(scores, 4),
            "action": np.where(scores >= FLAG_FROM, "call_guest", "confirm"),
            "expected_revenue_eur": (1 - scores) * data["price_eur"].to_numpy() * data["nights"].to_numpy(),
        }
    )


def metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Means per booking, so that the size of a batch does not matter."""
    return {
        "expected_revenue_eur_per_booking": float(predictions["expected_revenue_eur"].mean()),
        "share_flagged": float((predictions["action"] == "call_guest").mean()),
    }
