"""Learn which bookings will be cancelled."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(data: pd.DataFrame, target: pd.Series) -> dict[str, Any]:
    """Fit on raw columns: numbers with NaN, text with None. predict.py puts the parts together again."""
    numbers = data.select_dtypes("number")
    imputer = SimpleImputer(strategy="median", keep_empty_features=True).set_output(transform="pandas")
    scaler = StandardScaler().set_output(transform="pandas")
    ready = data.copy()
    ready[numbers.columns] = scaler.fit_transform(imputer.fit_transform(numbers))

    # A null is a category of its own, an unseen category is all zeros: no row is ever refused.
    categories = OneHotEncoder(handle_unknown="ignore", min_frequency=10)
    encoder = make_column_transformer((categories, make_column_selector(dtype_include=object)), remainder="passthrough")
    model = make_pipeline(encoder, LogisticRegression(C=0.5, max_iter=500))
    return {"imputer": imputer, "scaler": scaler, "model": model.fit(ready, target)}
