"""Score pairs of tiles: the model's own probability is the score, so only the figure for the breaker is here."""

from __future__ import annotations

import pandas as pd


def metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """The share of pairs that are likelier to overlap than not."""
    return {"share_overlapping": float((predictions["score"] >= 0.5).mean())}
