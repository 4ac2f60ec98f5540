"""Reserve for claims as they are notified, and say who handles each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from features import cost, encode, features, serious, unrecorded

TO_SPECIALIST = 0.30  # probability of a large claim from which a specialist handles it

_loaded: dict[str, Any] = {}  # the artifacts of this version, for what follows the scores


def warm_up(artifacts: dict[str, Any]) -> None:
    """Remember the artifacts: `postprocess` and `metrics` are not given them."""
    _loaded.update(artifacts)


def predict(data: pd.DataFrame, artifacts: dict[str, Any]) -> np.ndarray:
    """The reserve in GBP: attritional cost + probability of a large claim x mean excess, shape (rows,)."""
    x = encode(features(data), artifacts)
    attritional = np.minimum(artifacts["model"].predict(x), artifacts["threshold"])
    excess = np.where(serious(data), artifacts["excess"][True], artifacts["excess"][False])
    reserve: np.ndarray = attritional + _chance(x, artifacts) * excess
    return reserve


def _chance(x: np.ndarray, artifacts: dict[str, Any]) -> np.ndarray:
    """Probability that a claim costs more than the threshold, shape (rows,)."""
    chances: np.ndarray = artifacts["large"].predict_proba(x)[:, 1]
    return chances


def postprocess(scores: np.ndarray, data: pd.DataFrame) -> pd.DataFrame:
    """The columns that the claims department reads; amounts in GBP."""
    chance = _chance(encode(features(data), _loaded), _loaded)
    return pd.DataFrame(
        {
            "reserve_gbp": np.round(scores, 2),
            "large_probability": np.round(chance, 4),
            "handler": np.where(chance >= TO_SPECIALIST, "specialist", "standard"),
        }
    )


def metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Means per claim, so that the size of a batch does not matter."""
    mean = float(predictions["reserve_gbp"].mean())
    return {
        "reserve_per_claim_gbp": mean,
        "reserve_against_training": mean / _loaded["mean_cost"],
        "share_large": float((predictions["handler"] == "specialist").mean()),
        # Each third party has an injury on file, be it "unclear". Where it has none, injuries were lost, or joined to
        # other claims: the RMSE of such a batch says nothing of that, since a few large claims make it.
        "share_without_injury": float(unrecorded(predictions).mean()),
    }


def outcomes(predictions: pd.DataFrame) -> dict[str, float]:
    """What claims were reserved at, as a share of what they cost in the end: a recovery counts as no cost."""
    return {"reserve_against_incurred": predictions["reserve_gbp"].sum() / cost(predictions["Incurred"]).sum()}
