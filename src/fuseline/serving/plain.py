"""Any Python file, class or object, served: its hooks between a request and an answer.

The file knows nothing of Fuseline. What it raises is told with its own words: a ValueError, or anything that
pre-processing raises, is what the client sent; anything else is the model's failure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from fuseline.errors import ModelFault
from fuseline.projects import describe
from fuseline.serving.bounds import Bounds
from fuseline.serving.coroutines import Coroutines
from fuseline.serving.estimator import Estimator
from fuseline.serving.hooks import Hook, Hooks
from fuseline.serving.intake import KINDS, Given, Kind, given, given_tensors, kind_of
from fuseline.serving.outcome import media_type, tensors_of, to_json
from fuseline.serving.problem import Problem
from fuseline.serving.served import Answered, Asked, Tensor, encode

if TYPE_CHECKING:
    from fuseline.contract import Contract

LIBRARIES = {"frame": "pandas", "array": "numpy"}  # that make what the first hook is given
SHOWN = 1000  # characters of what a file raised that an answer repeats


class Plain:
    """Implements `Served` for the hooks of one file.

    Args:
        name: what people call it.
        version: the first characters of the file's digest.
        hooks: what was found in the file.
        path: of the file, for the lines in errors.
        kind: what the first hook is given; None to do what its annotation says.
    """

    def __init__(
        self, name: str, version: str, hooks: Hooks, path: Path, kind: Kind | None = None, bounds: Bounds | None = None
    ) -> None:
        self.name, self.version, self.hooks, self.path = name, version, hooks, path
        self.mode: Literal["champion", "fallback", "file"] = "file"
        self.reason, self.quick = "", False
        self.contract: Contract | None = None
        self.bounds = bounds or Bounds()
        self.estimator = Estimator(hooks.subject) if hooks.estimator else None
        self.kind: Kind = kind or self._kind()
        self._coroutines = Coroutines()
        self._warmth: Any = None  # what warm-up returned
        self._example = self.estimator.example() if self.estimator else None

    def _kind(self) -> Kind:
        if self.estimator is not None:
            return "frame" if self.estimator.names else "array"
        first = self.hooks.first
        return kind_of(first.annotation, getattr(inspect.unwrap(first.call), "__globals__", {}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know at the start: which hooks are called, what the first is given, what was decided."""
        hooks = [hook for hook in (self.hooks.warm_up, *self.hooks.data) if hook is not None]
        calls = " → ".join(hook.name if hook.stage == "warm_up" else str(hook) for hook in hooks)
        return (f"{self.path.name}: {calls}; {self.hooks.first.name} is given {KINDS[self.kind]}", *self.hooks.notes)

    def warm_up(self) -> None:
        """Import what the first request needs, and call the warm-up hook; of an estimator, predict an example.

        Raises ModelFault where either fails.
        """
        if self.kind in LIBRARIES:
            import_module(LIBRARIES[self.kind])
        if self.hooks.warm_up is not None:
            self._warmth = self._called(self.hooks.warm_up)
        for hook in self.hooks.data:
            if self._warmth is None and not self.hooks.estimator and (needed := self.hooks.warmed(hook)):
                raise ModelFault(
                    f"{hook} of {self.path.name} needs {needed[0]}, and warm-up returned nothing: return it there"
                )
        if self.estimator is not None:
            self._try_example(self.estimator)

    def _try_example(self, estimator: Estimator) -> None:
        """Predict the example; it is a guess, so a model that does not take it just has none."""
        try:
            estimator.check_fitted()
            if self._example is not None:
                estimator.predict(given(Asked(encode(self._example)), self.kind, self.bounds, estimator.names).value)
        except (ValueError, TypeError) as error:
            if _is_unfitted(error):
                raise ModelFault(f"{self.path.name} was not fitted before it was saved: {error}") from error
            self._example = None
        except Exception as error:  # a pickle of another version can fail in any way
            raise ModelFault(f"{self.path.name} cannot predict: {describe(error, self.path)}") from error

    def example(self) -> Any:
        """A row for an estimator that knows its columns; else None, since only the file knows what it takes."""
        return self._example

    # ── POST /predict ────────────────────────────────────────────────────────────────────────────

    def answer(self, asked: Asked) -> Answered:
        """Give the request to the hooks, and what they return to the client. Raises Problem."""
        started = perf_counter()
        names = self.estimator.names if self.estimator else _names(self.hooks.subject)
        taken = given(asked, self.kind, self.bounds, names)
        stages = {"read": perf_counter() - started}
        found, extra = self._through(taken, stages)
        started = perf_counter()
        if isinstance(found, bytes | bytearray | memoryview):
            body = bytes(found)
            return Answered(body, media_type(body), taken.rows, stages={**stages, "write": perf_counter() - started})
        said: dict[str, Any] = {"model": self.name, "version": self.version, "mode": self.mode}
        if self.estimator is not None and self.estimator.classes:
            said["classes"] = self.estimator.classes
        said["predictions"] = found
        if extra:
            said["extra"] = extra
        body = to_json(said, self.hooks.data[-1].name)
        return Answered(body, rows=taken.rows, stages={**stages, "write": perf_counter() - started})

    def _through(self, taken: Given, stages: dict[str, float]) -> tuple[Any, list[str]]:
        """What the last hook returns, and the columns that an estimator does not know; the seconds go to `stages`."""
        value, extra = taken.value, list[str]()
        if self.estimator is not None and self.kind == "frame":
            value, extra = self.estimator.arranged(value)
        for hook in self.hooks.data:
            started = perf_counter()
            value = self._asked(hook, value, taken)
            stages[hook.stage] = perf_counter() - started
            if hook.stage == "predict":
                self._check_length(hook, value, taken)
        return value, extra

    def _asked(self, hook: Hook, value: Any, taken: Given) -> Any:
        """What a hook returns for a request. Raises Problem where it fails."""
        try:
            if self.estimator is not None:
                return self.estimator.predict(value)
            return self._run(hook.call, value, *self._further(hook, taken.value))
        except Problem:
            raise
        except (Exception, SystemExit) as error:  # a data scientist's file can fail in any way
            said = f"{hook.name} in {self.path.name} failed: {describe(error, self.path)[:SHOWN]}"
            if missing := _missing_key(error, taken.value):
                raise Problem("bad-input", f"{said}. The request has no {missing}") from error
            clients = hook.stage == "preprocess" or isinstance(error, ValueError)
            clients |= self.estimator is not None and isinstance(error, TypeError)  # e.g. a list in a column
            raise Problem("bad-input" if clients and not _is_unfitted(error) else "model-failed", said) from error

    def _further(self, hook: Hook, data: Any) -> list[Any]:
        """The required arguments of a hook after the first."""
        warmed = self.hooks.warmed(hook)
        return [self._warmth if name in warmed else data for name in hook.takes[1:]]

    def _check_length(self, hook: Hook, found: Any, taken: Given) -> None:
        """Refuse another number of values than of rows, where both can be counted. Raises Problem."""
        sized = hasattr(found, "__len__") and getattr(found, "shape", None) != ()
        if not taken.aligned or taken.rows < 2 or not sized or isinstance(found, dict | str | bytes):
            return
        if len(found) != taken.rows:
            raise Problem("model-failed", f"{hook.name} returned {len(found):,} values for {taken.rows:,} rows")

    def _called(self, hook: Hook) -> Any:
        try:
            return self._run(hook.call)
        except (Exception, SystemExit) as error:  # a data scientist's file can fail in any way
            raise ModelFault(f"{hook.name} in {self.path.name} failed: {describe(error, self.path)}") from error

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        found = call(*arguments)
        return self._coroutines.run(found) if inspect.isawaitable(found) else found

    # ── the Open Inference Protocol ──────────────────────────────────────────────────────────────

    def inputs(self) -> list[tuple[str, str]]:
        """The columns of an estimator that has names for them; else nothing, since only the file knows."""
        return self.estimator.inputs() if self.estimator else []

    def outputs(self) -> list[tuple[str, str]]:
        """What an estimator says; of a file one tensor `predictions`, whose datatype only an answer tells."""
        return self.estimator.outputs() if self.estimator else [("predictions", "FP64")]

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        """Give named columns to the hooks: as a frame, as an array, or as a dict of lists. Raises Problem."""
        found, _ = self._through(given_tensors(tensors, self.kind), {})
        return tensors_of(found, self.hooks.data[-1].name, self.estimator.classes if self.estimator else ())


def _names(subject: Any) -> Sequence[str]:
    return tuple(map(str, getattr(subject, "feature_names_in_", ())))


def _missing_key(error: BaseException, data: Any) -> str:
    """The key or the column that a hook looked for and the request does not have; empty for any other error."""
    if not isinstance(error, KeyError) or not error.args or not isinstance(error.args[0], str):
        return ""
    (key,) = error.args[:1]
    if hasattr(data, "columns"):
        return "" if key in data.columns else repr(key)
    records = data if isinstance(data, list) else [data]
    return repr(key) if any(isinstance(one, dict) and key not in one for one in records) else ""


def _is_unfitted(error: BaseException) -> bool:
    return type(error).__name__ == "NotFittedError"  # scikit-learn's; it is a ValueError, and no client's fault
