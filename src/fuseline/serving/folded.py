"""A pipeline of known column-wise steps that ends in a linear model, as one sum over columns.

`fold` reads the fitted steps. What is left needs neither pandas nor scikit-learn: a number is scaled and weighed as the
steps do it, a text is looked up, and all is added up.

Nothing is guessed: where one thing about the model is not known exactly, there is no `Folded`. A row that the pipeline
would refuse (a null without an imputer, an unseen level where the encoder raises) scores NaN: ask the pipeline itself
what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from fuseline.serving.features import (
    NAN,
    SAME,
    Block,
    Feature,
    Ramp,
    Scale,
    Table,
    Unknown,
    check_names,
    name_of,
    steps_of,
    through,
)

if TYPE_CHECKING:
    import numpy as np

    from fuseline.contract import Column, Contract
    from fuseline.records import Task

CLASSIFIERS = ("LogisticRegression", "LogisticRegressionCV")
REGRESSORS = (
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
    *("SGDRegressor", "HuberRegressor"),
)
MOST = 2_000_000  # additions that folding one column may take


@dataclass(frozen=True)
class _Sum:
    """All that one column adds to the score.

    Attributes:
        source: place of the column in the contract.
        is_text: whether it is a text column, which has only a table.
        missing: what it adds where the value is missing.
        terms: scales and weight of each feature that is its number.
        table: what it adds by its value, and `otherwise` for values that are not there.
    """

    source: int
    is_text: bool
    missing: float
    terms: tuple[tuple[tuple[Scale, ...], float], ...]
    table: dict[Any, float]
    otherwise: float

    def plain(self) -> tuple[int, float, float, float, float, float, float] | None:
        """Source, missing, minus, over, times, plus and weight, where that is all there is to it."""
        if self.is_text or self.table or self.otherwise or len(self.terms) != 1:
            return None
        scales, weight = self.terms[0]
        scale = scales[0] if scales else Scale()
        if len(scales) > 1 or scale.clips:
            return None
        return self.source, self.missing, scale.minus, scale.over, scale.times, scale.plus, weight

    def one(self, x: Any) -> float:
        """What a number adds."""
        if x is None or x != x:
            return self.missing
        total = self.table.get(x, self.otherwise)
        for scales, weight in self.terms:
            y = float(x)
            for scale in scales:
                y = scale.one(y)
            total += y * weight
        return total

    def many(self, x: np.ndarray) -> np.ndarray:
        """What numbers add, shape (rows,)."""
        import numpy as np

        total = np.full(len(x), self.otherwise)
        if self.table:
            total = np.fromiter(map(self.table.get, x.tolist(), repeat(self.otherwise)), np.float64, len(x))
        for scales, weight in self.terms:
            y = x
            for scale in scales:
                y = scale.many(y)
            total += y * weight
        return np.where(np.isnan(x), self.missing, total)


class Folded:
    """A model as a sum over columns. `fold` makes it.

    Args:
        base: the intercept.
        sums: what the columns add.
        place: 1 if the score is the probability of a positive sum, 0 of a negative one; None of a regression.
    """

    def __init__(self, base: float, sums: Sequence[_Sum], place: int | None) -> None:
        self._base, self._place = base, place
        self._plain = [plain for one in sums if (plain := one.plain()) is not None]
        self._texts = [(one.source, one.table, one.otherwise) for one in sums if one.is_text]
        self._others = [one for one in sums if not one.is_text and one.plain() is None]

    def score_one(self, values: Sequence[Any]) -> float:
        """Score one row.

        Args:
            values: in the order of the contract's columns: float, int or bool of a number or a boolean, str of a text,
                None where there is none. Infinite numbers are the contract's to refuse.

        Returns:
            The probability of the positive class, or the prediction; NaN where the pipeline itself would raise.
        """
        total = self._base
        try:
            for source, missing, minus, over, times, plus, weight in self._plain:
                x = values[source]
                total += missing if x is None or x != x else ((x - minus) / over * times + plus) * weight
            for source, table, otherwise in self._texts:
                total += table.get(values[source], otherwise)
            for one in self._others:
                total += one.one(values[one.source])
        except OverflowError:  # a whole number that no float holds
            return NAN
        if total - total != 0.0:
            return NAN
        if self._place is None:
            return total
        if total >= 0.0:
            probability = 1.0 / (1.0 + math.exp(-total))
        else:
            odds = math.exp(total)
            probability = odds / (1.0 + odds)
        return probability if self._place else 1.0 - probability

    def score_many(self, columns: Sequence[Sequence[Any]]) -> np.ndarray:
        """Score rows.

        Args:
            columns: for each column of the contract its values, shape (rows,), as `score_one` takes them.

        Returns:
            float64, shape (rows,): what `score_one` gives for each row, but for the rounding of the exponential.
        """
        import numpy as np

        count = len(columns[0])
        total = np.full(count, self._base)
        with np.errstate(all="ignore"):
            for source, missing, minus, over, times, plus, weight in self._plain:
                x = ((_numbers(columns[source]) - minus) / over * times + plus) * weight
                if missing == missing:
                    x[np.isnan(x)] = missing
                total += x
            for source, table, otherwise in self._texts:
                total += np.fromiter(map(table.get, columns[source], repeat(otherwise)), np.float64, count)
            for one in self._others:
                total += one.many(_numbers(columns[one.source]))
            total[~np.isfinite(total)] = NAN
            if self._place is None:
                return total
            odds = np.exp(-np.abs(total))
            probability: np.ndarray = np.where(total >= 0.0, 1.0, odds) / (1.0 + odds)
        return probability if self._place else 1.0 - probability


def _numbers(column: Sequence[Any]) -> np.ndarray:
    """Numbers as float64, shape (rows,): NaN for None, infinity for what no float holds. An array of its own."""
    import numpy as np

    try:
        return np.array(column, dtype=np.float64)
    except OverflowError:
        huge = 2**1024
        return np.array([math.inf if isinstance(x, int) and abs(x) >= huge else x for x in column], dtype=np.float64)


def fold(model: Any, contract: Contract, task: Task, classes: Sequence[str], positive: str = "") -> Folded | None:
    """Fold a fitted model into a sum over columns.

    Args:
        model: an estimator, or a pipeline that ends in one.
        contract: the columns of the frame that the model is given, in their order.
        task: `binary` or `regression`; of several classes nothing is folded.
        classes: names of the classes in the order of the score columns; of no matter for a regression.
        positive: the class whose probability is the score; the last one by default.

    Returns:
        What scores like the model to 1e-12; None where anything about the model is not known exactly.

    >>> import pandas as pd
    >>> from fuseline.contract import Column, Contract
    >>> from sklearn.linear_model import LinearRegression
    >>> model = LinearRegression().fit(pd.DataFrame({"km": [1.0, 2.0, 3.0]}), [5.0, 7.0, 9.0])
    >>> contract = Contract((Column("km", "number", True, 0, 3),), None, None, "eur", 3)
    >>> round(fold(model, contract, "regression", ()).score_one([10]), 9)
    23.0
    """
    try:
        block = Block(tuple(_raw(i, column) for i, column in enumerate(contract.columns)), contract.names)
        *steps, last = steps_of(model)
        for step in steps:
            block = through(step, block)
        place = _place(last, task, list(classes), positive)
        check_names(last, block)
        weights, base = _floats(last.coef_), _floats(last.intercept_)
        if len(base) != 1:
            return None
        parts: dict[int, list[tuple[Feature, float]]] = {}
        for feature, weight in zip(block.features, weights, strict=True):
            if feature is None:
                return None
            parts.setdefault(feature.source, []).append((feature, weight))
        sums = [_sum(i, contract.columns[i], part) for i, part in sorted(parts.items())]
    except (Unknown, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        return None
    return Folded(base[0], sums, place)


def _raw(source: int, column: Column) -> Feature:
    """A column as the frame has it."""
    if column.kind in ("number", "boolean"):
        return Ramp(source)
    return Table(source, {}, SAME) if column.kind == "text" else None


def _place(last: Any, task: Task, classes: list[str], positive: str) -> int | None:
    """Which of two probabilities the score is, None for a prediction. Raises Unknown for any other model."""
    package, _, name = name_of(last).partition(".")
    if package != "linear_model":
        raise Unknown
    if task == "regression" and name in REGRESSORS:
        return None
    if task != "binary" or name not in CLASSIFIERS or len(classes) != 2 or len(last.classes_) != 2:
        raise Unknown
    if getattr(last, "multi_class", "auto") not in ("auto", "ovr", "warn", "deprecated"):
        raise Unknown  # older ones give another probability for "multinomial"
    return classes.index(positive or classes[-1])


def _floats(values: Any) -> list[float]:
    """Numbers of an array of any shape, or one number."""
    return [float(x) for x in values.ravel().tolist()] if hasattr(values, "ravel") else [float(values)]


def _sum(source: int, column: Column, part: Sequence[tuple[Feature, float]]) -> _Sum:
    """What one column adds, all its features together. Raises Unknown where text is left."""
    ramps = [(f, w) for f, w in part if isinstance(f, Ramp)]
    tables = [(f, w) for f, w in part if isinstance(f, Table)]
    if any(table.is_text for table, _ in tables):
        raise Unknown
    table, otherwise = _together(tables)
    missing = table.get(None, otherwise) + sum(ramp.missing * weight for ramp, weight in ramps)
    terms = tuple((ramp.scales, weight) for ramp, weight in ramps)
    return _Sum(source, column.kind == "text", missing, terms, table, otherwise)


def _together(tables: Sequence[tuple[Table, float]]) -> tuple[dict[Any, float], float]:
    """Weighted tables of one column as one. Nearly all of them are 0 for a value that they do not name."""
    full = [(table, weight) for table, weight in tables if table.otherwise != 0.0]
    keys = dict.fromkeys(key for table, _ in tables for key in table.special)
    if len(keys) * len(full) > MOST:
        raise Unknown
    found = {key: sum((t.special.get(key, t.otherwise) * w for t, w in full), 0.0) for key in keys}
    for table, weight in tables:
        if table.otherwise == 0.0:
            for key, value in table.special.items():
                found[key] += value * weight
    return found, sum((table.otherwise * weight for table, weight in full), 0.0)
