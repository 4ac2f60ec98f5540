"""The values of one tensor of the Open Inference Protocol, as JSON or as bytes: both ways give the same columns.

| datatype | a column of it | null |
|---|---|---|
| FP16, FP32, FP64 | float64 | NaN |
| INT8 ... INT64, UINT8 ... UINT64 | int64; float64 with nulls, or from 2^63 on | NaN |
| BOOL | bool; float64 with nulls | NaN |
| BYTES | list of str, from UTF-8 | None; as bytes: empty |
"""

from __future__ import annotations

import math
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from fuseline.serving.problem import Problem

if TYPE_CHECKING:
    import numpy as np

TYPES = {  # datatype -> dtype of numpy, as it travels
    "BOOL": "|u1",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
NAMES = {"b1": "BOOL", **{dtype[1:]: name for name, dtype in TYPES.items() if name != "BOOL"}}
KINDS: dict[str, type] = {"B": bool, "I": int, "U": int, "F": float}  # by the first letter
LISTS: dict[type, Any] = {
    bool: list[bool | None],
    int: list[int | None],
    float: list[float | None],
    str: list[str | None],
}
LENGTH = struct.Struct("<I")  # stands before each element of BYTES


class Sent(msgspec.Struct):
    """A tensor of a request; `data` is decoded when its datatype is known."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = msgspec.Raw()

    @property
    def kind(self) -> type:
        """The type of Python that its values have in JSON. Raises Problem for an unknown datatype."""
        if self.datatype == "BYTES":
            return str
        if self.datatype not in TYPES:
            raise self.wrong(f"has the datatype {self.datatype!r}: expected one of {', '.join([*TYPES, 'BYTES'])}")
        return KINDS[self.datatype[0]]

    def wrong(self, what: str) -> Problem:
        """The problem of this tensor."""
        return Problem("bad-request", f"the tensor {self.name!r} {what}")


def from_json(tensor: Sent) -> Any:
    """The values of a tensor, flat, from its `data`. Raises Problem where they are not what it says."""
    import numpy as np

    kind = tensor.kind
    try:
        values = _flat(tensor, LISTS[kind])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise tensor.wrong(f"is {tensor.datatype}, and its data is not: {error}") from error
    if len(values) != math.prod(tensor.shape):
        raise tensor.wrong(f"has {len(values)} values, and its shape is {tensor.shape}")
    if kind is str:
        return values
    if kind is bool:
        return np.array(values, np.float64 if None in values else np.bool_)
    if kind is float:
        return _rounded(tensor, np.array(values, np.float64))
    return _whole(tensor, values)


def from_bytes(tensor: Sent, data: memoryview) -> Any:
    """The values of a tensor, flat, from bytes; their size is held to its shape before anything is made.

    Raises:
        Problem: another size than the shape tells of, or an unknown datatype.
    """
    import numpy as np

    kind, count = tensor.kind, math.prod(tensor.shape)
    if kind is str:
        return _texts(tensor, bytes(data), count)
    dtype = np.dtype(TYPES[tensor.datatype])
    if len(data) != count * dtype.itemsize:
        needed = f"{count * dtype.itemsize} bytes of {tensor.datatype}"
        raise tensor.wrong(f"has {len(data)} bytes, and its shape {tensor.shape} needs {needed}")
    values = np.frombuffer(data, dtype)
    if kind is bool:
        return values != 0
    fits = kind is int and (tensor.datatype != "UINT64" or values.max(initial=0) <= np.iinfo(np.int64).max)
    return values.astype(np.int64 if fits else np.float64)


def typed(values: Any) -> tuple[str, Any]:
    """The datatype of an output, and its values: an array of a type that has a name, or a list of text and None."""
    import numpy as np

    if not isinstance(values, list):
        values = np.asarray(values)
        if (datatype := NAMES.get(values.dtype.str[1:])) is not None:
            return datatype, values
        values = values.ravel().tolist()
    return "BYTES", [v if v is None or isinstance(v, str) else str(v) for v in values]


def to_bytes(values: Any) -> bytes:
    """What `typed` gave: little-endian, row by row; text with its length before it."""
    if not isinstance(values, list):
        little: bytes = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        return little
    elements = [(text or "").encode() for text in values]
    return b"".join(chain.from_iterable((LENGTH.pack(len(element)), element) for element in elements))


def _flat(tensor: Sent, wanted: Any) -> list[Any]:
    """The data as one list, whether or not it is nested as the shape says."""
    if not bytes(tensor.data):
        raise tensor.wrong("has no data")
    try:
        flat: list[Any] = msgspec.json.decode(tensor.data, type=wanted)
        return flat
    except msgspec.ValidationError:
        if len(tensor.shape) == 1:
            raise
    values = msgspec.json.decode(tensor.data)
    for width in tensor.shape[1:]:
        if type(values) is not list or any(type(row) is not list or len(row) != width for row in values):
            raise tensor.wrong(f"has data that is neither flat nor nested as its shape {tensor.shape} says")
        values = list(chain.from_iterable(values))
    converted: list[Any] = msgspec.convert(values, wanted)
    return converted


def _whole(tensor: Sent, values: list[Any]) -> np.ndarray:
    """Whole numbers and None as an array, if the datatype holds them."""
    import numpy as np

    nulls = None in values
    there = [v for v in values if v is not None] if nulls else values
    least, most = (min(there), max(there)) if there else (0, 0)
    limits = np.iinfo(TYPES[tensor.datatype])
    if least < limits.min or most > limits.max:
        bad = least if least < limits.min else most
        raise tensor.wrong(f"is {tensor.datatype}, which does not hold {bad}")
    return np.array(values, np.float64 if nulls or most > np.iinfo(np.int64).max else np.int64)


def _rounded(tensor: Sent, values: np.ndarray) -> np.ndarray:
    """The values as a smaller float holds them, so that JSON and bytes give the same."""
    import numpy as np

    if tensor.datatype == "FP64":
        return values
    with np.errstate(over="ignore"):
        small: np.ndarray = values.astype(TYPES[tensor.datatype]).astype(np.float64)
    if (beyond := np.isinf(small)).any():
        raise tensor.wrong(f"is {tensor.datatype}, which does not hold {values[beyond][0]}")
    return small


def _texts(tensor: Sent, data: bytes, count: int) -> list[str]:
    """Elements of BYTES: four bytes of length, then text; what is no UTF-8 is escaped, as in a batch."""
    at, end, unpack = 0, len(data), LENGTH.unpack_from
    found: list[Any] = []
    source: Any = data.decode("ascii") if data.isascii() else data  # cutting text is quicker than decoding pieces
    while at <= end - LENGTH.size:
        start = at + LENGTH.size
        at = start + unpack(data, at)[0]
        found.append(source[start:at])
    if at != end:
        raise tensor.wrong(f"has {end} bytes of BYTES, and they do not end where an element ends")
    if len(found) != count:
        raise tensor.wrong(f"has {len(found)} values, and its shape is {tensor.shape}")
    return found if isinstance(source, str) else [element.decode("utf-8", "backslashreplace") for element in found]
