"""What every model looks like to the API, where it comes from, and what was asked and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

from fuseline.serving.problem import Problem

if TYPE_CHECKING:
    from fuseline.contract import Contract

JSON = "application/json"


@dataclass(frozen=True)
class File:
    """A file of a form: its bytes, its name there and its content type as the client says it."""

    data: bytes
    name: str
    media_type: str


@dataclass(frozen=True)
class Asked:
    """One request for predictions.

    Attributes:
        body: as it came.
        media_type: of the body, lower case, without parameters.
        query: what stands behind the `?`, the last of each name.
        form: fields and files of a form, None for a body of another type.
        request_id: names the request in answers and logs.
    """

    body: bytes
    media_type: str = JSON
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str | File] | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Answered:
    """One answer.

    Attributes:
        body: as it is sent.
        rows: rows that were scored, 1 where there are no rows.
        rejected: rows that were not.
        stages: seconds that each stage took, in their order: e.g. read, preprocess, predict, postprocess, write.
    """

    body: bytes
    media_type: str = JSON
    rows: int = 1
    rejected: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tensor:
    """One column in or out of the Open Inference Protocol.

    Attributes:
        values: shape (rows,): a numpy array of float64, int64 or bool, or a list of str and None.
    """

    name: str
    values: Any


class Served(Protocol):
    """One model, loaded; it never changes. The API swaps one for another in one assignment."""

    @property
    def name(self) -> str:
        """What people call it: the project, or the stem of the file."""
        ...

    @property
    def version(self) -> str:
        """Which one: `v0007`, or the first 12 characters of the file's digest."""
        ...

    @property
    def mode(self) -> Literal["champion", "fallback", "file"]:
        """`fallback` where an open breaker lets the last good version answer."""
        ...

    @property
    def reason(self) -> str:
        """Why it is a fallback, else empty."""
        ...

    @property
    def contract(self) -> Contract | None:
        """The columns that it takes, None where only the model knows."""
        ...

    @property
    def quick(self) -> bool:
        """Whether `answer` takes small requests in well under a millisecond, so that no thread is needed."""
        ...

    def warm_up(self) -> None:
        """Do all that the first prediction would wait for, and make one. Raises FuselineError where it fails."""
        ...

    def example(self) -> Any:
        """What a request may hold, for `--check`, the page and the document; None where nobody knows."""
        ...

    def answer(self, asked: Asked) -> Answered:
        """Answer `POST /predict`. Raises Problem."""
        ...

    def inputs(self) -> list[tuple[str, str]]:
        """Name and datatype (`FP64`, `INT64`, `BOOL`, `BYTES`) of each input of the Open Inference Protocol."""
        ...

    def outputs(self) -> list[tuple[str, str]]:
        """The same of each output."""
        ...

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        """Answer an inference of the Open Inference Protocol: named columns in, named columns out. Raises Problem."""
        ...


@runtime_checkable
class Gathering(Protocol):
    """A model of rows, which says the same of a row whatever rows are beside it: small requests may go together."""

    def answer_all(self, asked: Sequence[Asked]) -> list[Answered | Problem]:
        """Answer several requests by one call of the model, each as `answer` would."""
        ...


@dataclass(frozen=True)
class Standing:
    """What a source can offer at this moment.

    Attributes:
        served: the model that answers; None where none can.
        problem: why none answers, with status 503.
        breaker: of the project, None for a file.
        trouble: what is wrong although requests are answered, e.g. that the store does not answer.
    """

    served: Served | None = None
    problem: Problem | None = None
    breaker: Literal["closed", "open", "half_open"] | None = None
    trouble: str = ""


class Source(Protocol):
    """Where models come from.

    Attributes:
        name: of the model, known before any is loaded.
        every: seconds between two looks, 0 for a source that never changes.
        page: a page of its own that is served at `/`, None for the one that is made of the contract.
        standing: what it offers; replaced whole, so that any thread may read it.
    """

    name: str
    every: float
    page: Path | None
    standing: Standing

    def look(self) -> bool:
        """See whether there is something else to serve, load and warm it up, and only then replace `standing`.

        Blocks; it is called in a thread of its own, never twice at a time.

        Returns:
            Whether another model answers from now on.
        """
        ...


def encode(value: Any) -> bytes:
    """JSON of anything that has one; NaN, infinity, NaT and NA become null. Raises TypeError for what has none."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """What msgspec does not know, as what it knows. Raises TypeError for what has no JSON."""
    kind = type(value).__name__
    if kind in ("NaTType", "NAType"):
        return None
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a pandas frame
        names = [str(name) for name in value.columns]
        if len(set(names)) < len(names):
            raise TypeError("a DataFrame that names a column twice has no JSON")
        columns = [_listed(value.iloc[:, i]) for i in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if hasattr(value, "tolist"):
        plain = _listed(value)
        if type(plain) is type(value):  # numpy's longdouble
            return float(plain)
        return plain
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump()
    raise TypeError(f"{kind} has no JSON")


def _listed(value: Any) -> Any:
    """The values of an array or a column; times as numpy has them become datetimes, which say their unit."""
    if getattr(getattr(value, "dtype", None), "kind", "") == "M" and hasattr(value, "astype") and value.ndim:
        value = value.astype("datetime64[us]") if type(value).__module__ == "numpy" else value
    return value.tolist()
