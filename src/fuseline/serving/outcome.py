"""What the hooks of a plain file return, as it leaves: JSON, bytes of some type, or tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseline.serving.problem import Problem
from fuseline.serving.served import Tensor, encode

SIGNATURES = (  # the first bytes of files that are told apart by them
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"PAR1", "application/vnd.apache.parquet"),
)


def media_type(data: bytes) -> str:
    """What bytes are, by how they begin.

    >>> media_type(bytes.fromhex("89504e470d0a1a0a")), media_type(b"?")
    ('image/png', 'application/octet-stream')
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in SIGNATURES if data.startswith(begin)), "application/octet-stream")


def to_json(value: Any, hook: str) -> bytes:
    """JSON of anything that has one; NaN, infinity, NaT and NA become null.

    Args:
        hook: that returned it, for the error.

    Raises:
        Problem: `model-failed`, naming the type that JSON does not have.
    """
    try:
        return encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Problem("model-failed", f"{hook} returned what cannot become JSON: {error}") from error


# ── the Open Inference Protocol ─────────────────────────────────────────────────────────────────


def tensors_of(value: Any, hook: str, classes: Sequence[Any] = ()) -> list[Tensor]:
    """What the hooks returned as named columns: `predictions`, or one for each column or key.

    Args:
        hook: that returned it, for the error.
        classes: names for the columns of a score that is a list.

    Raises:
        Problem: `model-failed` where it is no column of numbers or of text.
    """
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        columns = {str(name): value.iloc[:, i] for i, name in enumerate(value.columns)}
    elif isinstance(value, Mapping):
        columns = {str(name): one for name, one in value.items()}
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        columns = {str(name): [one.get(name) for one in value] for name in dict.fromkeys(n for v in value for n in v)}
    else:
        columns = {"predictions": value}
    return [tensor for name, one in columns.items() for tensor in _tensors(name, one, hook, classes)]


def _tensors(name: str, values: Any, hook: str, classes: Sequence[Any]) -> list[Tensor]:
    import numpy as np

    try:
        array = np.atleast_1d(np.asarray(values))
    except (TypeError, ValueError):
        array = np.empty(0, dtype=object)
    if array.ndim == 2:
        ends = classes if len(classes) == array.shape[1] else range(array.shape[1])
        return [t for i, end in enumerate(ends) for t in _tensors(f"{name}_{end}", array[:, i], hook, ())]
    if array.ndim == 1 and array.dtype.kind in "fiub":
        return [Tensor(name, array.astype({"f": np.float64, "b": np.bool_}.get(array.dtype.kind, np.int64)))]
    if array.ndim == 1 and len(array) and all(v is None or isinstance(v, str) for v in array.tolist()):
        return [Tensor(name, array.tolist())]
    if array.ndim == 1 and len(array) and array.dtype == object:
        try:
            return [Tensor(name, array.astype(np.float64))]  # numbers and None
        except (TypeError, ValueError):
            pass
    raise Problem(
        "model-failed",
        f"{hook} returned a {type(values).__name__} for {name}, which is no column of numbers or text: "
        "tensors cannot hold it. POST /predict gives it as JSON",
    )
