"""Learn which leads become customers: 100 raw columns, of which a logistic regression gets the 25 best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from features import chosen, encode, levels, numbers
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

BEST = 25  # columns that the model is fitted on


def train(data: pd.DataFrame, target: pd.Series) -> dict[str, Any]:
    """Fit on raw columns. Every artifact is saved by itself; predict.py takes the same path through features.py."""
    raw = numbers(data)
    imputer = SimpleImputer(strategy="mean", keep_empty_features=True).fit(raw)
    filled = pd.DataFrame(imputer.transform(raw), columns=raw.columns)
    artifacts = {"imputer": imputer, "scaler": StandardScaler().fit(filled.to_numpy()), "levels": levels(data)}
    artifacts["columns"] = _best(encode(data, artifacts), target)
    model = LogisticRegression(max_iter=500)
    return {**artifacts, "model": model.fit(chosen(data, artifacts), target)}


def _best(ready: pd.DataFrame, target: pd.Series) -> tuple[str, ...]:
    """The columns that move a model of all columns most: its coefficient times the spread, the greatest first."""
    everything = LogisticRegression(C=0.05, max_iter=500).fit(ready, target)
    weight = np.abs(everything.coef_[0]) * ready.std(ddof=0).to_numpy()
    ranked = sorted(zip(-weight, ready.columns, strict=True))  # by name where two weigh the same
    return tuple(name for _, name in ranked[:BEST])
