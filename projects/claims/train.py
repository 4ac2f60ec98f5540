"""Learn what a motor claim will cost in the end: what is usual, and what a large claim adds.

cost = min(cost, threshold) + what it is above the threshold
E[cost] = attritional cost  + probability of a large claim x mean excess of large claims
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from features import NUMBERS, TEXTS, cost, encode, features, serious
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

LARGE_FROM = 0.90  # the quantile of costs from which a claim is large
COUNTED_TO = 0.998  # and the one beyond which a cost counts as that quantile: no single claim makes the mean excess
CREDIBLE = 50  # large claims at which a group's own mean excess is believed half
LEAST = 20  # large claims without which there is nothing to learn


def train(data: pd.DataFrame, target: pd.Series) -> dict[str, Any]:
    """Fit on raw columns; amounts are in GBP.

    Returns:
        `imputer`, `scaler`, `levels`: what turns cleaned columns into the models' numbers.
        `model`: the attritional cost, a Tweedie regression; `large`: the chance of a large claim, a logistic one.
        `threshold`: GBP from which a claim is large; `excess`: mean GBP above it, by whether the injuries are serious.
        `mean_cost`: of the claims of training, so that a batch can be held against it.

    Raises:
        ValueError: too few large claims.
    """
    costs = cost(target)
    threshold = float(np.quantile(costs, LARGE_FROM))
    large = costs > threshold
    if large.sum() < LEAST:
        told = f"{large.sum()} of {len(costs):,} claims are large; expected {LEAST} at least: give more history"
        raise ValueError(told)
    cleaned = features(data)
    artifacts = _encoders(cleaned)
    x = encode(cleaned, artifacts)
    return {
        **artifacts,
        "model": _attritional(x, np.minimum(costs, threshold), threshold),
        "large": LogisticRegression(C=0.1, max_iter=2_000).fit(x, large),
        "threshold": threshold,
        "excess": mean_excess(costs, serious(data), threshold),
        "mean_cost": float(costs.mean()),
    }


def _encoders(cleaned: pd.DataFrame) -> dict[str, Any]:
    numbers, texts = cleaned[list(NUMBERS)].to_numpy(), cleaned[list(TEXTS)].to_numpy()
    # Who is not mentioned is not there. A null text is a level of its own, since what nobody noted tells something, and
    # an unseen level is all zeros.
    imputer = SimpleImputer(strategy="constant", fill_value=0.0).fit(numbers)
    levels = OneHotEncoder(handle_unknown="ignore", min_frequency=20, sparse_output=False).fit(texts)
    return {"imputer": imputer, "scaler": StandardScaler().fit(imputer.transform(numbers)), "levels": levels}


def _attritional(x: np.ndarray, costs: np.ndarray, threshold: float) -> TweedieRegressor:
    """A compound Poisson-gamma regression (power 1.5: nothing, or an amount), whose total is that of training."""
    model = TweedieRegressor(power=1.5, alpha=0.1, link="log", solver="newton-cholesky", max_iter=1_000).fit(x, costs)
    for _ in range(20):  # predictions are cut at the threshold, so that one step is not quite enough
        model.intercept_ += np.log(costs.sum() / np.minimum(model.predict(x), threshold).sum())
    return model


def mean_excess(costs: np.ndarray, serious: np.ndarray, threshold: float) -> dict[bool, float]:
    """GBP above the threshold that a large claim costs in the mean, by whether its injuries are serious.

    A group's own mean is believed by n / (n + 50), where n is its number of large claims (Bühlmann, ASTIN Bulletin
    1967); the rest is the mean of all. Without any large claim in a group, the mean of all is all there is.

    >>> costs, hurt = np.array([10.0, 60.0, 80.0]), np.array([False, False, True])
    >>> {group: round(mean, 6) for group, mean in mean_excess(costs, hurt, 50.0).items()}
    {False: 19.764706, True: 20.155294}
    """
    most = float(np.quantile(costs, COUNTED_TO))
    large = costs > threshold
    excess, hurt = np.minimum(costs[large], most) - threshold, serious[large]
    overall = float(excess.mean())
    found = {}
    for group in (False, True):
        own = excess[hurt == group]
        found[group] = float((own.sum() + CREDIBLE * overall) / (len(own) + CREDIBLE))
    return found
