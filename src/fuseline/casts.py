"""Any Arrow array to the canonical type of its kind, and which values are no such thing.

| kind | canonical Arrow type | null |
|---|---|---|
| number | float64 | where missing or NaN |
| boolean | float64, 0.0 or 1.0 | where missing or NaN |
| text | dictionary<int32, string> | where missing |
| datetime | timestamp[ns], UTC | where missing |

A value is judged by itself: what else is in the array never changes what becomes of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Kind = Literal["number", "text", "boolean", "datetime"]
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
ZONED = r"^\d{4}-\d{2}-\d{2}[ T][\d:]{2,8}(\.\d{1,9})?(Z|[+-]\d{2}(:?\d{2})?)$"
NAIVE = r"^\d{4}-\d{2}-\d{2}([ T][\d:]{2,8}(\.\d{1,9})?)?$"


def kind_of(type: pa.DataType) -> Kind | None:
    """What kind of feature an Arrow type makes; None for a type that no model takes."""
    import pyarrow.types as t

    if t.is_dictionary(type):
        return kind_of(type.value_type)
    if t.is_boolean(type):
        return "boolean"
    if t.is_integer(type) or t.is_floating(type) or t.is_decimal(type):
        return "number"
    if _is_text(type) or _is_bytes(type) or t.is_null(type):
        return "text"
    if t.is_timestamp(type) or t.is_date(type):
        return "datetime"
    return None


def canonical_type(kind: Kind) -> pa.DataType:
    """The Arrow type that values of a kind are brought to."""
    import pyarrow as pa

    if kind == "text":
        return pa.dictionary(pa.int32(), pa.string())
    return pa.timestamp("ns") if kind == "datetime" else pa.float64()


def to_kind(array: pa.Array | pa.ChunkedArray, kind: Kind) -> tuple[pa.Array, np.ndarray]:
    """Bring an array of any type to a kind.

    Args:
        array: shape (rows,); not changed.
        kind: what it is to be.

    Returns:
        The values in the canonical type, shape (rows,), and the indices of the values that are no such thing, which are
        null there. Never raises for what the values are.
    """
    array = plain(array)
    if kind == "text":
        return _to_text(array)
    if kind == "number":
        return _to_number(array)
    return _to_boolean(array) if kind == "boolean" else _to_datetime(array)


def text_ids(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Ids as text, so that `17` of a CSV file and 17 of a Parquet file are the same; null stays null.

    >>> import pyarrow as pa
    >>> text_ids(pa.array([17.0, None])).to_pylist()
    ['17', None]
    """
    import pyarrow as pa

    text, _ = to_kind(values, "text")
    return text.cast(pa.string())


def as_numbers(values: pa.Array) -> pa.Array:
    """A canonical number, boolean or datetime column as float64 with nulls; datetimes in seconds since 1970."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_timestamp(values.type):
        return values
    return pc.divide(pc.cast(values.cast(pa.int64()), pa.float64(), safe=False), 1e9)


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of a plain type: text as string (or dictionary of string), nothing encoded in a special way.

    Bytes that are no UTF-8 become text like `M\\xfcnchen`: no number, and a level that training never saw.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks()
        array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_dictionary(array.type):
        levels = plain(array.dictionary)
        if levels.null_count == 0 and pa.types.is_string(levels.type):
            return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), levels)
        return plain(levels.take(array.indices))
    if not (_is_text(array.type) or _is_bytes(array.type)):
        return array
    if _is_bytes(array.type):
        array = array.cast(pa.binary())
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
        return text
    except pa.ArrowInvalid:
        values = array.cast(pa.binary()).to_pylist()
        return pa.array([None if v is None else v.decode("utf-8", "backslashreplace") for v in values], pa.string())


def _to_number(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if _is_text(array.type):
        values = _parsed(array, pa.float64(), _numbers)
    elif kind_of(array.type) in ("number", "boolean") or pa.types.is_null(array.type):
        values = pc.cast(array, pa.float64(), safe=False)
    else:
        values = pa.nulls(len(array), pa.float64())
    bad = _lost(array, values)
    nan = pc.is_nan(values)
    if pc.any(nan).as_py():
        values = pc.if_else(nan, pa.scalar(None, pa.float64()), values)
    return values, bad


def _to_boolean(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if _is_text(array.type):
        values = _parsed(array, None, _booleans)
        return values, _lost(array, values)
    numbers, bad = _to_number(array)
    is_bit = pc.or_(pc.equal(numbers, 0.0), pc.equal(numbers, 1.0))
    if pc.all(is_bit, min_count=0).as_py():
        return numbers, bad
    values = pc.if_else(is_bit, numbers, pa.scalar(None, pa.float64()))
    return values, np.union1d(bad, _lost(numbers, values))


def _to_datetime(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    target = pa.timestamp("ns")
    if _is_text(array.type):
        values = _parsed(array, target, _dates)
    elif kind_of(array.type) == "datetime":
        if pa.types.is_date(array.type):
            array = pc.cast(array, pa.timestamp("s" if pa.types.is_date32(array.type) else "ms"))
        per_unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[array.type.unit]
        most = (2**63 - 1) // per_unit  # beyond it (the year 2262) nanoseconds overflow
        whole = array.cast(pa.int64())
        fits = pc.and_(pc.greater_equal(whole, -most), pc.less_equal(whole, most))
        values = pc.cast(pc.if_else(fits, array, pa.scalar(None, array.type)), target)
    else:
        values = pa.nulls(len(array), target)
    return values, _lost(array, values)


def _to_text(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = canonical_type("text")
    if pa.types.is_null(array.type) or kind_of(array.type) is None:
        text = pa.nulls(len(array), kind)
    elif pa.types.is_dictionary(array.type):
        text = array
    else:
        if pa.types.is_floating(array.type):
            array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        if pa.types.is_timestamp(array.type):
            array = array.cast(pa.timestamp(array.type.unit))  # UTC, whatever zone it is shown in
        text = pc.cast(array, pa.string()).dictionary_encode()
    return text, _lost(array, text)


def _parsed(array: pa.Array, target: pa.DataType | None, parse: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Text to another type: all at once if every value can be cast, else each distinct value by itself.

    `parse` accepts everything that the cast accepts and gives it the same value, so that a bad value changes nothing
    for its neighbours.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if target is not None:
        try:
            return pc.cast(array, target)
        except pa.ArrowInvalid:
            pass  # some value is no such thing, or has spaces around it
    levels, _ = _to_text(array)
    return parse(levels.dictionary).take(levels.indices)


def _numbers(levels: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.array([_number(text) for text in levels.to_pylist()], pa.float64())


def _number(text: str) -> float | None:
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _booleans(levels: pa.Array) -> pa.Array:
    import pyarrow as pa

    words = [text.strip().lower() for text in levels.to_pylist()]
    return pa.array([1.0 if w in TRUE else 0.0 if w in FALSE else None for w in words], pa.float64())


def _dates(levels: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    levels = pc.utf8_trim_whitespace(levels)
    days = pc.utf8_slice_codeunits(levels, 0, 10)
    real = pa.array([d for d in pc.unique(days).to_pylist() if _is_day(d)], pa.string())
    nothing = pa.scalar(None, pa.string())
    levels = pc.if_else(pc.is_in(days, real), levels, nothing)
    local = pc.if_else(pc.match_substring_regex(levels, NAIVE), levels, nothing)
    zoned = pc.if_else(pc.match_substring_regex(levels, ZONED), levels, nothing)
    utc = _castable(zoned, pa.timestamp("ns", "UTC")).cast(pa.timestamp("ns"))
    return pc.coalesce(_castable(local, pa.timestamp("ns")), utc)


def _is_day(text: str) -> bool:
    """Whether it is a day of the calendar that nanoseconds can hold, more or less: the cast has the last word."""
    try:
        return 1677 <= dt.date.fromisoformat(text).year <= 2262
    except ValueError:
        return False


def _castable(array: pa.Array, target: pa.DataType) -> pa.Array:
    """A cast that gives null for what cannot be cast, found by halving: impossible times are rare."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(array, target)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return pa.nulls(1, target)
    half = len(array) // 2
    return pa.concat_arrays([_castable(array[:half], target), _castable(array[half:], target)])


def _is_text(type: pa.DataType) -> bool:
    import pyarrow.types as t

    if t.is_dictionary(type):
        return _is_text(type.value_type)
    return bool(t.is_string(type) or t.is_large_string(type) or t.is_string_view(type))


def _is_bytes(type: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_binary(type) or t.is_large_binary(type) or t.is_binary_view(type) or t.is_fixed_size_binary(type))


def _lost(before: pa.Array, after: pa.Array) -> np.ndarray:
    """Indices of the values that were there before a cast and are null after it."""
    import numpy as np

    if after.null_count == before.null_count and after.null_count == 0:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(mask(after.is_null()) & ~mask(before.is_null()))


def mask(booleans: pa.Array) -> np.ndarray:
    """Booleans as a numpy array, shape (rows,), null as False; a copy that may be changed."""
    import numpy as np
    import pyarrow.compute as pc

    return np.array(pc.fill_null(booleans, False).to_numpy(zero_copy_only=False), dtype=bool)
