"""The project's own code at scoring time: the hooks of predict.py over the artifacts of one version.

The batch flow and anything that serves requests call this and nothing else, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fuseline.errors import ModelFault
from fuseline.projects import describe
from fuseline.records import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HOOKS = ("warm_up", "preprocess", "predict", "postprocess", "metrics", "outcomes")


def score_columns(task: Task, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that hold the scores in predictions: `score`, or `score_<class>` for each of several classes."""
    return tuple(f"score_{c}" for c in classes) if task == "multiclass" else ("score",)


class Predictor:
    """Scores frames of raw features.

    Args:
        module: the predict.py of the version, or None where the project has none.
        artifacts: what `train` returned, by name; `model` is among them.
        task: `binary`, `multiclass` or `regression`.
        classes: names of the classes in the order of the score columns; empty for regression.
        positive: of two classes, the one whose probability is the score.

    Attributes:
        seconds: what each hook took when it was last called, by its name.
    """

    def __init__(
        self,
        module: ModuleType | None,
        artifacts: Mapping[str, Any],
        task: Task,
        classes: tuple[str, ...],
        positive: str = "",
    ) -> None:
        self.module, self.artifacts, self.task, self.classes = module, dict(artifacts), task, classes
        self.positive = positive or (classes[-1] if classes else "")
        self.seconds: dict[str, float] = {}

    @property
    def plain(self) -> bool:
        """Whether nothing of predict.py stands between rows and the model's scores, or between these and consumers."""
        return not any(self._hook(name) for name in ("preprocess", "predict", "postprocess"))

    def warm_up(self) -> None:
        """Call the `warm_up` hook, if there is one."""
        if (hook := self._hook("warm_up")) is not None:
            self._call("warm_up", hook, self.artifacts)

    def scores(self, data: pd.DataFrame, own: bool = False) -> np.ndarray:
        """Score rows.

        Args:
            data: shape (rows, features), raw columns in the contract's dtypes; not changed.
            own: nobody but `postprocess` reads `data` afterwards: without that hook it may be changed.

        Returns:
            float64, shape (rows,): the probability of the positive class or the prediction; for
            multi-class (rows, classes). All finite.

        Raises:
            ModelFault: the project's code raised, or returned another length, NaN or infinity.
        """
        # A hook may write into its frame; without one nothing does, and the copy is saved.
        frame = data
        if not own or self._hook("postprocess") is not None:
            frame = data.copy(deep=any(self._hook(name) for name in ("preprocess", "predict")))
        if (hook := self._hook("preprocess")) is not None:
            frame = self._call("preprocess", hook, frame, self.artifacts)
        if (hook := self._hook("predict")) is not None:
            raw = self._call("predict", hook, frame, self.artifacts)
        else:
            raw = self._call("predict", self._model_scores, frame)
        return self._checked(raw, len(data))

    def columns(self, scores: np.ndarray, data: pd.DataFrame) -> dict[str, Any]:
        """The columns that consumers read: the scores, and what `postprocess` adds, each of `rows` values."""
        import pandas as pd

        names = score_columns(self.task, self.classes)
        found: dict[str, Any] = dict(zip(names, scores.reshape(len(scores), -1).T, strict=True))
        if (hook := self._hook("postprocess")) is None:
            return found
        added = self._call("postprocess", hook, scores.copy(), data.copy())
        try:
            frame = pd.DataFrame(added)
        except (ValueError, TypeError) as error:
            raise ModelFault(f"postprocess must return a DataFrame or a dict of columns: {error}") from error
        if len(frame) != len(data):
            raise ModelFault(f"postprocess returned {len(frame)} rows for {len(data)}; it must return one for each")
        made = {str(name): frame[name].to_numpy() for name in frame}
        if taken := sorted(found.keys() & made.keys()):
            raise ModelFault(f"postprocess returned {', '.join(taken)}: that name is the score's, use another")
        return {**found, **made}

    def business(self, predictions: pd.DataFrame) -> dict[str, float]:
        """The figures of the `metrics` hook over predictions; empty without one. NaN stays NaN: it is judged later."""
        return self._figures("metrics", predictions)

    def outcomes(self, labelled: pd.DataFrame) -> dict[str, float]:
        """The figures of the `outcomes` hook over predictions whose outcomes are known; else as `business`."""
        return self._figures("outcomes", labelled)

    def _figures(self, name: str, frame: pd.DataFrame) -> dict[str, float]:
        if (hook := self._hook(name)) is None:
            return {}
        found = self._call(name, hook, frame)
        try:
            return {str(figure): float(value) for figure, value in found.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelFault(f"{name} must return a dict of name to number, not {found!r}") from error

    def _hook(self, name: str) -> Callable[..., Any] | None:
        return getattr(self.module, name, None)

    def _call(self, name: str, hook: Callable[..., Any], *arguments: Any) -> Any:
        started = perf_counter()
        try:
            return hook(*arguments)
        except Exception as error:  # a data scientist's file can fail in any way
            origin = Path(getattr(self.module, "__file__", None) or "predict.py")
            raise ModelFault(f"{name} in {origin.name} failed: {describe(error, origin)}") from error
        finally:
            self.seconds[name] = perf_counter() - started

    def _model_scores(self, frame: pd.DataFrame) -> Any:
        model = self.artifacts["model"]
        if self.task == "regression":
            return model.predict(frame)
        if not hasattr(model, "predict_proba"):
            raise TypeError(
                f"{type(model).__name__} has no predict_proba: write predict(data, artifacts) in predict.py"
            )
        return model.predict_proba(frame)

    def _checked(self, raw: Any, rows: int) -> np.ndarray:
        import numpy as np

        try:
            scores = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelFault(f"predict must return numbers, one score per row: {error}") from error
        if self.task == "binary" and scores.ndim == 2 and scores.shape[1] == 2:
            scores = scores[:, self.classes.index(self.positive)]
        if self.task != "multiclass" and scores.ndim == 2 and scores.shape[1] == 1:
            scores = scores[:, 0]
        expected = (rows, len(self.classes)) if self.task == "multiclass" else (rows,)
        if scores.shape != expected:
            raise ModelFault(f"predict returned scores of shape {scores.shape} for {rows} rows; expected {expected}")
        bad = ~np.isfinite(scores)
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            raise ModelFault(
                f"predict returned {int(bad.sum())} scores that are NaN or infinite (the first in row {row}): "
                "impute nulls before the model, and guard divisions and logarithms"
            )
        return np.ascontiguousarray(scores)
