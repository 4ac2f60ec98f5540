"""How good a model is on labelled rows: its metric with a standard error, and what a loss of it means.

The metric is the AUC for `binary`, the mean of the one-against-the-rest AUCs for `multiclass`, the RMSE for
`regression`. Everywhere `truth` holds raw labels (text, numbers, booleans), shape (rows,); rows without a label are
left out. `scores` is finite, shape (rows,), or (rows, classes) for `multiclass`; `classes` names the classes as text
in the order of the score columns. Of two classes the second is the positive one. Regression has no classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fuseline.errors import DataError
from fuseline.records import Measured, Task

if TYPE_CHECKING:
    import pandas as pd

METRICS: dict[Task, str] = {"binary": "auc", "multiclass": "auc_ovr", "regression": "rmse"}
LEAST = 2  # rows of a class, or rows at all, without which there is no standard error


def measure(task: Task, truth: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> Measured | None:
    """The metric of labelled rows and its standard error; None if it cannot be measured.

    AUC: the share of pairs of a positive and a negative row in which the positive one has the higher score, a tie
    counting one half. Its standard error is that of DeLong, DeLong & Clarke-Pearson (Biometrics 1988), from ranks as
    Sun & Xu (IEEE SPL 2014) do: with V_i the share of negatives that positive row i beats, and W_j the share of
    positives that beat negative row j, se² = var(V)/m + var(W)/n. For several classes each row's parts of the AUCs are
    averaged first, since all of them are measured on the same rows. RMSE: √(mean e²), with se = sd(e²) / (2·RMSE·√n)
    by the delta method.

    Returns:
        None with under two rows of a class (binary), of every class (multiclass), or at all (regression).

    Raises:
        DataError: a label is no class, or no number; or there is not one score for each label.

    >>> found = measure("binary", np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), ("0", "1"))
    >>> found.metric, found.value, round(found.se, 6), found.rows
    ('auc', 0.75, 0.353553, 4)
    """
    target, scores = _labelled(task, truth, scores, classes)
    found = _estimate(task, target, scores, classes)
    if found is None:
        return None
    value, parts = found
    se = _norm(parts)
    return Measured(METRICS[task], value, se, len(target)) if np.isfinite([value, se]).all() else None


def details(task: Task, truth: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """More figures of the same rows, all finite; what cannot be computed is left out.

    Classification: `auc` or `auc_ovr`, and where the scores are probabilities `log_loss` (nats a row), `brier` (mean
    squared distance from the label) and `accuracy` (of the likelier class, 0 to 1); `base_rate` and `mean_score` for
    two classes. Regression: `rmse`, `mae`, `r2`, `mean_actual`, `mean_predicted`, in the unit of the target (but r2).

    Raises:
        DataError: as for `measure`.

    >>> details("regression", np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.0]), ())["mae"]
    0.3333333333333333
    """
    target, scores = _labelled(task, truth, scores, classes)
    if not len(target):
        return {}
    found = _estimate(task, target, scores, classes)
    figures = {} if found is None else {METRICS[task]: found[0]}
    figures |= _regression(target, scores) if task == "regression" else _classification(target, scores)
    return {name: float(value) for name, value in figures.items() if np.isfinite(value)}


def calibration(
    truth: np.ndarray, scores: np.ndarray, classes: Sequence[str] = (), bins: int = 10
) -> list[dict[str, float]]:
    """Reliability: what was predicted against what came true, by deciles of the score.

    Args:
        classes: the two classes, or none for a regression.
        bins: how many quantile bins; rows of equal score are in the same one, so there may be fewer.

    Returns:
        For each bin, the lowest scores first: `score` the mean score, `actual` the share of positives (or the mean of
        the target), `rows`.

    Raises:
        DataError: as for `measure`.

    >>> calibration(np.array([0, 1, 1, 1]), np.array([0.25, 0.5, 0.75, 0.75]), ("0", "1"), bins=2)
    [{'score': 0.375, 'actual': 0.5, 'rows': 2.0}, {'score': 0.75, 'actual': 1.0, 'rows': 2.0}]
    """
    target, scores = _labelled("binary" if classes else "regression", truth, scores, classes)
    if not len(target):
        return []
    edges = np.unique(np.quantile(scores, np.arange(1, bins) / bins, method="inverted_cdf"))
    place = np.searchsorted(edges, scores, side="left")
    rows, total, came = (np.bincount(place, weights) for weights in (None, scores, target))
    return [
        {"score": float(s / n), "actual": float(a / n), "rows": float(n)}
        for n, s, a in zip(rows, total, came, strict=True)
        if n
    ]


def column_importance(
    score: Callable[[pd.DataFrame], np.ndarray],
    frame: pd.DataFrame,
    truth: np.ndarray,
    task: Task,
    classes: Sequence[str],
    seed: int,
    rows: int = 2000,
) -> dict[str, float]:
    """What the model loses of its metric when a column's values are dealt to other rows (Breiman 2001).

    Args:
        score: scores a frame of the columns and types of `frame`, which is not changed.
        rows: how many rows are used at most; of two classes equally many, as far as they go.

    Returns:
        AUC lost, or the share of RMSE gained, by column; 0.0 where the column does not matter.

    Raises:
        DataError: as for `measure`.
    """
    chosen = choose_rows(task, truth, classes, rows, seed)
    part, labels = frame.iloc[chosen].reset_index(drop=True), np.asarray(truth)[chosen]
    before = measure(task, labels, score(part), classes)
    if before is None:
        return dict.fromkeys(map(str, frame.columns), 0.0)
    rng = np.random.default_rng(seed)
    found = {}
    for name in part.columns:
        dealt = part.copy(deep=False)
        dealt[name] = part[name].to_numpy()[rng.permutation(len(part))]
        after = measure(task, labels, score(dealt), classes)
        found[str(name)] = max(loss(task, before, after), 0.0)
    return found


def choose_rows(task: Task, truth: np.ndarray, classes: Sequence[str], most: int, seed: int) -> np.ndarray:
    """At most so many labelled rows at random, in their order: of two classes equally many, as far as they go.

    The AUC does not depend on how common a class is, so rare positives are not thinned out.

    Returns:
        Row numbers, ascending, shape (at most `most`,).
    """
    target = target_of(task, truth, classes)
    known = np.flatnonzero(_known(task, target))
    if len(known) <= most:
        return known
    mixed = np.random.default_rng(seed).permutation(known)
    if task != "binary":
        return np.sort(mixed[:most])
    negative, positive = (mixed[target[mixed] == side] for side in (0, 1))
    few = min(len(positive), max(most // 2, most - len(negative)))
    return np.sort(np.concatenate([positive[:few], negative[: most - few]]))


def loss(task: Task, before: Measured, after: Measured | None) -> float:
    """The harm of going from `before` to `after`: AUC lost, or the share of RMSE gained; negative if it got better.

    An RMSE that cannot be measured (the predictions overflow), or any RMSE where there was none, counts as 1.0.

    >>> round(loss("regression", Measured("rmse", 10.0, 0.1, 500), Measured("rmse", 11.0, 0.1, 500)), 6)
    0.1
    """
    if after is None:
        return 1.0
    if task != "regression":
        return before.value - after.value
    return after.value / before.value - 1.0 if before.value else float(after.value > 0)


def worse_than(
    measured: Measured, reference: Measured, tolerance: float, task: Task, z: float = 3.09
) -> tuple[bool, float]:
    """Whether a realised metric is worse than its reference: by more than the tolerance, and not by chance.

    One-sided: the shortfall d must exceed the tolerance and z·√(se² + se_ref²). A z of 3.09 is one false alarm in a
    thousand.

    Args:
        tolerance: AUC that may be lost, or the share by which RMSE may rise (0.05 is 5 %).

    Returns:
        The verdict, and the bound: the value that the metric was held against.

    >>> was, now = Measured("auc", 0.80, 0.005, 5000), Measured("auc", 0.75, 0.012, 900)
    >>> verdict, bound = worse_than(now, was, 0.02, "binary")
    >>> verdict, round(bound, 5)
    (True, 0.75983)
    """
    noise = z * float(np.hypot(measured.se, reference.se))
    if task == "regression":
        bound = reference.value + max(tolerance * reference.value, noise)
        return measured.value > bound, bound
    bound = reference.value - max(tolerance, noise)
    return measured.value < bound, bound


def paired(
    task: Task, truth: np.ndarray, a: np.ndarray, b: np.ndarray, classes: Sequence[str]
) -> tuple[float, float] | None:
    """How much better scores `a` are than scores `b` of the same rows, and the standard error of that.

    AUC(a) - AUC(b) with the covariance of DeLong, DeLong & Clarke-Pearson (1988); for a regression the share of RMSE
    that `a` saves, 1 - RMSE(a)/RMSE(b), with the paired squared errors by the delta method.

    Returns:
        (difference, standard error), positive where `a` is better; None where it cannot be measured, or where the two
        have different classes.

    Raises:
        DataError: as for `measure`.

    >>> truth, a = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    >>> paired("binary", truth, a, np.array([0.5, 0.2, 0.3, 0.4]), ("0", "1"))
    (0.25, 0.7905694150420948)
    """
    if np.shape(a) != np.shape(b):
        return None
    target, scores_a = _labelled(task, truth, a, classes)
    _, scores_b = _labelled(task, truth, b, classes)
    found_a, found_b = _estimate(task, target, scores_a, classes), _estimate(task, target, scores_b, classes)
    if found_a is None or found_b is None:
        return None
    (value_a, parts_a), (value_b, parts_b) = found_a, found_b
    if task != "regression":
        return value_a - value_b, _norm(parts_a - parts_b)
    if not value_b:
        return -float(value_a > 0), 0.0
    ratio = value_a / value_b
    return 1.0 - ratio, _norm((parts_a - ratio * parts_b) / value_b)


# ── the estimates: a value, and each row's part of its error (the root of their squares' sum is the error) ───────────


def _estimate(
    task: Task, target: np.ndarray, scores: np.ndarray, classes: Sequence[str]
) -> tuple[float, np.ndarray] | None:
    if task == "regression":
        return _rmse(target, scores)
    if task == "binary":
        return _auc(target == 1, scores)
    found = [_auc(target == k, scores[:, k]) for k in range(len(classes))]
    usable = [f for f in found if f is not None]
    if not usable:
        return None
    return float(np.mean([value for value, _ in usable])), np.mean([parts for _, parts in usable], axis=0)


def _auc(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray] | None:
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < LEAST:
        return None
    ranks = _midranks(scores)
    beaten = (ranks[positive] - _midranks(scores[positive])) / n
    beating = 1.0 - (ranks[~positive] - _midranks(scores[~positive])) / m
    value = float(beaten.mean())
    parts = np.empty(m + n)
    parts[positive] = (beaten - value) / np.sqrt(m * (m - 1.0))
    parts[~positive] = (beating - value) / np.sqrt(n * (n - 1.0))
    return value, parts


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return ranks


def _rmse(target: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray] | None:
    n = len(target)
    if n < LEAST:
        return None
    errors = target - scores
    unit = float(np.abs(errors).max())  # squares of large errors would overflow
    if not unit or not np.isfinite(unit):
        return unit, np.zeros(n)
    squares = np.square(errors / unit)
    value = float(np.sqrt(squares.mean()))
    return value * unit, unit * (squares - value**2) / (2.0 * value * np.sqrt(n * (n - 1.0)))


def _norm(parts: np.ndarray) -> float:
    return float(np.linalg.norm(parts))


def _classification(target: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    figures = {} if scores.ndim == 2 else {"base_rate": target.mean(), "mean_score": scores.mean()}
    chances = scores if scores.ndim == 2 else np.column_stack([1.0 - scores, scores])
    if chances.min() < 0.0 or np.abs(chances.sum(axis=1) - 1.0).max() > 1e-3:
        return figures
    hit = chances[np.arange(len(target)), target]
    # of the one score for two classes, or summed over the columns of several
    apart = np.square(1.0 - hit) if scores.ndim == 1 else np.square(chances).sum(axis=1) - 2.0 * hit + 1.0
    likeliest = chances.argmax(axis=1) if scores.ndim == 2 else (scores >= 0.5).astype(np.int64)
    return {
        **figures,
        "log_loss": -np.log(np.clip(hit, 1e-15, 1.0)).mean(),
        "brier": apart.mean(),
        "accuracy": (likeliest == target).mean(),
    }


def _regression(target: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    errors = target - scores
    spread = np.square(target - target.mean()).sum()
    figures = {"mae": np.abs(errors).mean(), "mean_actual": target.mean(), "mean_predicted": scores.mean()}
    return {**figures, "r2": 1.0 - np.square(errors).sum() / spread} if spread else figures


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def _labelled(
    task: Task, truth: np.ndarray, scores: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the classes (or numbers) and scores of the rows that have a label."""
    target, scores = target_of(task, truth, classes), np.asarray(scores, dtype=np.float64)
    expected = (len(target), len(classes)) if task == "multiclass" else (len(target),)
    if scores.shape != expected:
        raise DataError(
            f"scores of shape {scores.shape} cannot be held against {len(target)} labels; expected {expected}"
        )
    known = _known(task, target)
    return target[known], scores[known]


def _known(task: Task, target: np.ndarray) -> np.ndarray:
    return np.isfinite(target) if task == "regression" else target >= 0


def target_of(task: Task, truth: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Labels as places in `classes` (-1 without one), or as numbers (NaN without one)."""
    if task == "regression":
        try:
            return np.asarray(truth, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"a label of a regression must be a number: {error}. Mend the column of labels") from error
    if task == "binary" and len(classes) != 2:
        raise DataError(f"a binary task has two classes; found {len(classes)}: {', '.join(classes)}")
    import pandas as pd

    codes, values = pd.factorize(np.asarray(truth))
    exact = {c: i for i, c in enumerate(classes)}
    loose = {_spelt(c): i for i, c in enumerate(classes)}
    if len(loose) < len(classes):
        loose = {}  # two classes differ in spelling alone, so spelling matters
    places = [exact.get(str(v), loose.get(_spelt(str(v)), -1)) for v in values]
    if -1 in places:
        strange = [str(v) for v, place in zip(values, places, strict=True) if place < 0]
        raise DataError(
            f"labels hold {', '.join(map(repr, strange[:3]))}, which the model does not know; expected "
            f"{', '.join(map(repr, classes))}. Mend the labels, or train a version that knows them"
        )
    return np.array([*places, -1], dtype=np.int64)[codes]  # code -1, no label, takes the last


def _spelt(label: str) -> str:
    """One spelling for labels that a file format may write in several ways: 1, 1.0, true, True.

    >>> _spelt("1"), _spelt("True"), _spelt(" Yes")
    ('1.0', '1.0', 'yes')
    """
    text = label.strip().lower()
    text = {"true": "1", "false": "0"}.get(text, text)
    try:
        return repr(float(text))
    except ValueError:
        return text
