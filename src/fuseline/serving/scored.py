"""A version of a project, served: records in, scores and what `postprocess` adds out.

The path is that of a batch: the same contract and casts, the same predict.py over the same artifacts. Where no hook
stands between the rows and a pipeline of known steps, the pipeline is folded into weights, and that is checked against
the model itself before the first request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fuseline.errors import ModelFault
from fuseline.models import GOLDEN, Model
from fuseline.predictor import score_columns
from fuseline.projects import Config
from fuseline.serving.bounds import Bounds
from fuseline.serving.description import value_of
from fuseline.serving.folded import Folded, fold
from fuseline.serving.isolate import isolate
from fuseline.serving.lookups import Lookup, plain_values
from fuseline.serving.problem import Problem, RowFault
from fuseline.serving.reader import Reader, Rows
from fuseline.serving.served import JSON, Answered, Asked, Tensor, encode

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

EQUAL = 1e-12  # how far a folded model may be from the model itself, as a share of a prediction over 1
UNSEEN = "\N{REPLACEMENT CHARACTER} no such level"
DATATYPES = {"number": "FP64", "boolean": "BOOL", "text": "BYTES", "datetime": "BYTES"}


class _One(msgspec.Struct, gc=False):
    index: int
    score: float


@dataclass(frozen=True)
class _Request:
    """A request that was read, in `seconds`."""

    rows: Rows
    threshold: float | None
    partial: bool
    seconds: float


class Scored:
    """Implements `Served` for one version.

    Args:
        model: the version, verified as it is opened.
        config: project.toml, for the threshold.
        joined: (table, key column) of each source that rows are joined to.
        mode: `champion`, or `fallback` where an open breaker lets it answer; then with the `reason`.
    """

    def __init__(
        self,
        model: Model,
        config: Config,
        joined: Sequence[tuple[pa.Table, str]] = (),
        mode: Literal["champion", "fallback"] = "champion",
        reason: str = "",
        bounds: Bounds | None = None,
    ) -> None:
        self.model, self.contract, self.mode, self.reason = model, model.contract, mode, reason
        self.name, self.version = model.manifest.project, model.version
        self.task, self.threshold = model.manifest.task, config.serve.threshold
        lookups = [Lookup.of(table, key, self.contract) for table, key in joined]
        self.reader = Reader(self.contract, lookups, bounds)
        self.score_names = score_columns(model.manifest.task, model.manifest.classes)
        self.folded: Folded | None = None
        self._outputs: list[tuple[str, str]] = []
        head: dict[str, Any] = {"model": self.name, "version": self.version, "mode": mode}
        self._head = head | ({"reason": reason} if reason else {})

    @property
    def quick(self) -> bool:
        """Whether the model is folded, so that a row takes microseconds."""
        return self.folded is not None

    def warm_up(self) -> None:
        """Load the model, score its golden rows, find the columns that it needs, fold it if that is exactly the same.

        Raises FuselineError where its files are not those that were registered, or the model fails.
        """
        manifest, predictor = self.model.manifest, self.model.predictor
        rows = self._probes()
        columns = self._columns(rows.some([0]))  # a model that scores nothing is not served
        self._outputs = [(name, _datatype(values)) for name, values in columns.items()]
        try:
            scores = predictor.scores(self.reader.frame(rows))
        except ModelFault:
            self.reader.required = self._required(rows)
            return
        if not predictor.plain:
            return
        folded = fold(predictor.artifacts["model"], self.contract, manifest.task, manifest.classes, predictor.positive)
        if folded is not None and _same(folded.score_many(rows.columns), scores):
            self.folded = folded

    def _probes(self) -> Rows:
        """Golden rows, then one row without nulls with a null in each column in turn, and with a level never seen."""
        golden = self.model.table(GOLDEN).slice(0, 50)
        columns = [plain_values(golden.column(name).combine_chunks()) for name in self.contract.names]
        first = [next((v for v in values if v is not None), None) for values in columns]
        for place, column in enumerate(self.contract.columns):
            for value in (None, UNSEEN) if column.kind == "text" else (None,):
                for i, values in enumerate(columns):
                    values.append(value if i == place else first[i])
        count = len(columns[0])
        return Rows(count, tuple(columns), range(count))

    def _required(self, rows: Rows) -> frozenset[str]:
        """The columns in which the model cannot take a null."""
        found = []
        for column, values in zip(self.contract.columns, rows.columns, strict=True):
            place = next((i for i in range(len(values) - 1, 0, -1) if values[i] is None), 0)
            try:
                self.model.predictor.scores(self.reader.frame(rows.some([place])))
            except ModelFault:
                found.append(column.name)
        return frozenset(found)

    def example(self) -> dict[str, Any]:
        """A record of values that training saw, each by itself: no row of a person."""
        return {c.name: value_of(c, c.examples[0]) if c.examples else None for c in self.contract.columns}

    # ── POST /predict ────────────────────────────────────────────────────────────────────────────

    def answer(self, asked: Asked) -> Answered:
        """Score records. Raises Problem."""
        request = self._read(asked)
        rows = request.rows
        if self.folded is not None and not rows.faults:
            started = perf_counter()
            scores = self.folded.score_many(rows.columns) if rows.count > 1 else self._single(self.folded, rows)
            if _finite(scores):
                scored = perf_counter()
                body = self._quick_body(scores, rows, request.threshold)
                stages = {"read": request.seconds, "predict": scored - started, "write": perf_counter() - scored}
                return Answered(body, rows=rows.count, stages=stages)
        if rows.faults and not (request.partial and rows.kept):
            raise _bad_rows(rows.faults, rows.count)
        columns, rows = isolate(self._columns, rows, self._healthy)
        if rows.faults and not request.partial:
            raise _bad_rows(rows.faults, rows.count)
        return self._written(columns, rows, request)

    def answer_all(self, asked: Sequence[Asked]) -> list[Answered | Problem]:
        """Answer requests that waited together by one call of the model, each as if it had come alone."""
        if len(asked) == 1:
            return [self._tried(asked[0])]
        requests: list[_Request | Problem] = []
        for one in asked:
            try:
                requests.append(self._read(one))
            except Problem as problem:
                requests.append(problem)
        whole = [r for r in requests if isinstance(r, _Request) and not r.rows.faults]
        try:
            columns = self._columns(_joined([request.rows for request in whole])) if whole else {}
        except ModelFault:
            return [self._tried(one) for one in asked]  # one of them is to blame, and the others are not
        answers: list[Answered | Problem] = []
        first = 0
        for one, request in zip(asked, requests, strict=True):
            if isinstance(request, Problem):
                answers.append(request)
            elif request.rows.faults:
                answers.append(self._tried(one))
            else:
                last = first + request.rows.count
                mine = {name: values[first:last] for name, values in columns.items()}
                answers.append(self._written(mine, request.rows, request))
                first = last
        return answers

    def _tried(self, asked: Asked) -> Answered | Problem:
        try:
            return self.answer(asked)
        except Problem as problem:
            return problem

    def _read(self, asked: Asked) -> _Request:
        if asked.media_type not in (JSON, ""):
            detail = f"{asked.media_type} is not taken: send one JSON object or a list of them as {JSON}"
            raise Problem("wrong-media-type", detail)
        threshold, partial = self._wanted(asked.query)
        started = perf_counter()
        rows = self.reader.read(asked.body)
        return _Request(rows, threshold, partial, perf_counter() - started)

    def _single(self, folded: Folded, rows: Rows) -> Sequence[float]:
        return (folded.score_one([values[0] for values in rows.columns]),)

    def _quick_body(self, scores: Any, rows: Rows, threshold: float | None) -> bytes:
        found = zip(rows.kept, scores if rows.count == 1 else scores.tolist(), strict=True)
        predictions = [_One(i, s) for i, s in found if threshold is None or s >= threshold]
        return self._body(msgspec.json.encode(predictions), rows)

    def _written(self, columns: Mapping[str, Any], rows: Rows, request: _Request) -> Answered:
        """The answer of columns to the rows that are kept."""
        started = perf_counter()
        found = {"index": rows.kept, **columns}
        if request.threshold is not None:
            reached = columns[self.score_names[0]] >= request.threshold
            found = {name: _array(values)[reached] for name, values in found.items()}
        values = zip(*map(_plain, found.values()), strict=True)
        records = [dict(zip(found, row, strict=True)) for row in values]
        body = self._body(_encoded(records), rows)
        stages = {"read": request.seconds, **self.model.predictor.seconds, "write": perf_counter() - started}
        return Answered(body, rows=len(rows.kept), rejected=rows.count - len(rows.kept), stages=stages)

    def _body(self, predictions: bytes, rows: Rows) -> bytes:
        said: dict[str, Any] = {**self._head, "predictions": msgspec.Raw(predictions)}
        if rows.extra:
            said["extra"] = rows.extra
        if rows.faults:
            said["rejected"] = rows.faults
        return msgspec.json.encode(said)

    def _columns(self, rows: Rows) -> dict[str, Any]:
        """Scores and the columns of `postprocess`, each of as many values as rows. Raises ModelFault."""
        if self.folded is not None and _finite(scores := self.folded.score_many(rows.columns)):
            return {self.score_names[0]: scores}
        frame = self.reader.frame(rows)
        scores = self.model.predictor.scores(frame, own=True)
        return self.model.predictor.columns(scores, frame)

    def _healthy(self) -> None:
        """Score what it scored when it was warmed up. Raises ModelFault where it cannot any more."""
        self._columns(self._probes().some([0]))

    def _wanted(self, query: Mapping[str, str]) -> tuple[float | None, bool]:
        """Threshold and partial, of the query or by default. Raises Problem."""
        threshold, partial = self.threshold, query.get("partial", "false").lower()
        if partial not in ("true", "false", "1", "0"):
            raise Problem("bad-request", f"partial={partial!r}: expected true or false")
        if "threshold" in query:
            threshold = _number(query["threshold"])
        if threshold is not None and len(self.score_names) > 1:
            several = ", ".join(self.score_names)
            raise Problem("bad-request", f"a threshold needs one score, and this model has several: {several}")
        return threshold, partial in ("true", "1")

    # ── the Open Inference Protocol ──────────────────────────────────────────────────────────────

    def inputs(self) -> list[tuple[str, str]]:
        """The columns of the contract, and the keys by which others are joined."""
        keys = dict.fromkeys(lookup.key for lookup in self.reader.lookups if lookup.key not in self.contract.names)
        return [*((c.name, DATATYPES[c.kind]) for c in self.contract.columns), *((key, "BYTES") for key in keys)]

    def outputs(self) -> list[tuple[str, str]]:
        """The scores and what `postprocess` adds, as the first golden row has them."""
        return self._outputs

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        """Score named columns. Raises Problem."""
        count = len(tensors[0].values) if tensors else 0
        rows = self.reader.columns({tensor.name: tensor.values for tensor in tensors}, count)
        if not rows.faults:
            columns, rows = isolate(self._columns, rows, self._healthy)
        if rows.faults:
            raise _bad_rows(rows.faults, rows.count, hint="")
        return [Tensor(name, _tensor(values)) for name, values in columns.items()]


def _joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several requests below each other; none of them has faults."""
    count = sum(part.count for part in parts)
    columns = tuple(list(chain.from_iterable(values)) for values in zip(*(part.columns for part in parts), strict=True))
    return Rows(count, columns, range(count))


def _bad_rows(faults: Sequence[RowFault], count: int, hint: str = "; ?partial=true answers the others") -> Problem:
    bad = len({fault.row for fault in faults})
    said = "the row" if count == 1 else f"{bad:,} of {count:,} rows"
    detail = f"{said} cannot be scored: {faults[0].reason}{hint if bad < count else ''}"
    return Problem("bad-rows", detail, rows=faults)


def _same(folded: np.ndarray, scores: np.ndarray) -> bool:
    """Whether a folded model says what the model says."""
    import numpy as np

    return bool(np.all(np.abs(folded - scores) <= EQUAL * np.maximum(1.0, np.abs(scores))))


def _finite(scores: Any) -> bool:
    if isinstance(scores, tuple):
        return bool(scores[0] - scores[0] == 0.0)
    import numpy as np

    return bool(np.isfinite(scores).all())


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if found - found != 0.0:
        raise Problem("bad-request", f"threshold={text!r}: expected a number, e.g. 0.7")
    return found


def _plain(values: Any) -> list[Any]:
    """The values of a column as JSON has them, one for each row; null for what is NaN or NaT."""
    array = _array(values)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    return list(array.tolist())


def _array(values: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(values)


def _encoded(records: list[dict[str, Any]]) -> bytes:
    try:
        return encode(records)
    except (TypeError, ValueError) as error:
        raise Problem("model-failed", f"postprocess returned values that JSON does not have: {error}") from error


def _datatype(values: Any) -> str:
    import numpy as np

    return {"f": "FP64", "i": "INT64", "u": "INT64", "b": "BOOL"}.get(np.asarray(values).dtype.kind, "BYTES")


def _tensor(values: Any) -> Any:
    """A column as `Tensor` holds it."""
    import numpy as np

    kind = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}.get(_datatype(values))
    if kind is not None:
        return np.asarray(values).astype(kind)
    return [None if v is None or v != v else str(v) for v in _plain(values)]
