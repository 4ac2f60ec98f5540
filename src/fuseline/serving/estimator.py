"""A fitted object of scikit-learn's kind, without hooks: its columns, an example of a row, and what it says of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fuseline.serving.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

LEARNED = ("categories_", "statistics_", "mean_")  # what a transformer knows of each of its columns


class Estimator:
    """What a fitted object tells of itself.

    Attributes:
        model: the object.
        names: of its columns, in the order of training; empty where it was fitted on an array.
        width: how many columns it takes, 0 where it does not say.
        classes: their names in the order of the probabilities; empty for a regression.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.names = tuple(map(str, getattr(model, "feature_names_in_", ())))
        self.width = len(self.names) or int(getattr(model, "n_features_in_", 0))
        classes: Any = getattr(model, "classes_", None)
        self.classes: tuple[Any, ...] = tuple(classes.tolist()) if getattr(classes, "ndim", 0) == 1 else ()
        self.values: dict[str, Any] = dict.fromkeys(self.names, 0.0) | _learned(model, self.names)

    def check_fitted(self) -> None:
        """Raise scikit-learn's NotFittedError for an object of its own that was never fitted."""
        if type(self.model).__module__.startswith("sklearn."):
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self.model)

    def example(self) -> Any:
        """A row of values that training could have seen; None where the object does not say what it takes."""
        return dict(self.values) if self.names else [[0.0] * self.width] if self.width else None

    def inputs(self) -> list[tuple[str, str]]:
        """Name and datatype of each column; where they have no names, `x0` and so on."""
        if not self.names:
            return [(f"x{i}", "FP64") for i in range(self.width)]
        return [(name, "BYTES" if isinstance(value, str) else "FP64") for name, value in self.values.items()]

    def outputs(self) -> list[tuple[str, str]]:
        """Name and datatype of what `predict` says of a row."""
        if not self._probable:
            return [("prediction", "BYTES" if any(isinstance(c, str) for c in self.classes) else "FP64")]
        several = len(self.classes) > 2
        return [(f"score_{name}", "FP64") for name in self.classes] if several else [("score", "FP64")]

    def arranged(self, data: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """The columns of training in its order, null where they were not sent, and those that it does not know."""
        if not self.names:
            return data, []
        extra = [str(name) for name in data.columns if name not in self.values]
        if len(extra) == len(data.columns):
            raise Problem("bad-input", f"the model knows none of the columns. It takes {', '.join(self.names)}")
        if list(data.columns) != list(self.names):
            data = data.reindex(columns=list(self.names))
        empty = [name for name in self.names if data[name].isna().all()]
        nulls = {name: None if isinstance(self.values[name], str) else math.nan for name in empty}
        return data.assign(**nulls), extra  # text that is wholly null stays text, a number stays a number

    @property
    def _probable(self) -> bool:
        return bool(self.classes) and hasattr(self.model, "predict_proba")

    def predict(self, data: Any) -> list[dict[str, Any]]:
        """What is said of each row.

        Args:
            data: shape (rows, columns).

        Returns:
            For two classes `score`, the probability of the last; for more, a list of those of all; else `prediction`.
        """
        if not self._probable:
            return [{"prediction": value} for value in _listed(self.model.predict(data))]
        found = self.model.predict_proba(data)
        if len(self.classes) == 2:
            found = found[:, 1]
        return [{"score": value} for value in _listed(found)]


def _listed(found: Any) -> list[Any]:
    return found.tolist() if hasattr(found, "tolist") else list(found)


def _learned(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """A value for each column of which a transformer knows one: a category, a median, or a mean."""
    found: dict[str, Any] = {}
    for transformer, columns in _first_transformers(model, names):
        for step in _steps(transformer):
            for attribute in LEARNED:
                values = getattr(step, attribute, None)
                if values is None or len(values) != len(columns):
                    continue
                for name, known in zip(columns, values, strict=True):
                    value = _one(known)
                    if name in names and name not in found and value is not None:
                        found[name] = value
    return found


def _first_transformers(model: Any, names: Sequence[str]) -> Iterator[tuple[Any, list[str]]]:
    """What the columns meet first: the parts of a column transformer, or the whole."""
    steps = _steps(model)
    if hasattr(steps[0], "transformers_"):
        for _, transformer, columns in steps[0].transformers_:
            if not isinstance(columns, slice):
                yield transformer, [columns] if isinstance(columns, str) else [str(c) for c in columns]
    else:
        yield model, list(names)


def _steps(model: Any) -> list[Any]:
    """The steps of a pipeline, as far as they keep its columns apart; else the object itself."""
    return [step for _, step in model.steps] if hasattr(model, "steps") else [model]


def _one(known: Any) -> Any:
    """The first of some categories, or a number with four digits; None for what is no value."""
    if hasattr(known, "__len__") and not isinstance(known, str):
        return next((value for one in known if (value := _one(one)) is not None), None)
    value = known.item() if hasattr(known, "item") else known
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value if isinstance(value, str | int) else None
