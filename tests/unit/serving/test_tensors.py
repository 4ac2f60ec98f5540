"""Values of one tensor: JSON and bytes give the same, and a tensor that lies about itself is told so."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.serving.problem import Problem
from fuseline.serving.tensors import TYPES, Sent, from_bytes, from_json, to_bytes, typed

WHOLE = [name for name in TYPES if name[0] in "IU"]
WIDTHS = {"FP16": 16, "FP32": 32, "FP64": 64}


def sent(datatype: str, data: object, shape: list[int] | None = None) -> Sent:
    """A tensor as it came, by default of as many rows as there are values."""
    count = len(data) if isinstance(data, list | bytes) else 0
    return Sent("x", shape if shape is not None else [count], datatype, data=msgspec.Raw(msgspec.json.encode(data)))


def packed(datatype: str, values: list) -> bytes:
    """The same values as a client of the extension packs them."""
    if datatype == "BYTES":
        return b"".join(len(v.encode()).to_bytes(4, "little") + v.encode() for v in values)
    return np.array(values, TYPES[datatype]).tobytes()


def said(act, *arguments) -> str:
    """The text of the problem that is raised."""
    with pytest.raises(Problem) as caught:
        act(*arguments)
    assert caught.value.kind == "bad-request"
    return caught.value.detail


@st.composite
def columns(draw: st.DrawFn) -> tuple[str, list]:
    """A datatype and values that it holds."""
    datatype = draw(st.sampled_from([*TYPES, "BYTES"]))
    if datatype == "BYTES":
        one = st.text(st.characters(exclude_categories=["Cs"]))
    elif datatype == "BOOL":
        one = st.booleans()
    elif datatype in WIDTHS:
        one = st.floats(width=WIDTHS[datatype], allow_nan=False, allow_infinity=False)
    else:
        limits = np.iinfo(TYPES[datatype])
        one = st.integers(int(limits.min), int(limits.max))
    return datatype, draw(st.lists(one, min_size=1, max_size=20))


@given(columns())
def test_json_and_bytes_give_the_same(column):
    datatype, values = column
    written = from_json(sent(datatype, values))
    read = from_bytes(sent(datatype, values), memoryview(packed(datatype, values)))
    assert type(written) is type(read)
    assert getattr(written, "dtype", None) == getattr(read, "dtype", None)
    np.testing.assert_array_equal(written, read)
    assert list(written) == values or datatype == "UINT64"


@given(columns())
def test_what_is_answered_can_be_asked_again(column):
    datatype, values = column
    there = values if datatype == "BYTES" else np.array(values, "?" if datatype == "BOOL" else TYPES[datatype])
    name, plain = typed(there)
    assert name == datatype
    again = from_bytes(sent(datatype, values), memoryview(to_bytes(plain)))
    np.testing.assert_array_equal(again, values)


@given(columns())
def test_nested_rows_are_the_flat_ones(column):
    datatype, values = column
    flat = from_json(sent(datatype, values, [len(values), 1]))
    np.testing.assert_array_equal(from_json(sent(datatype, [[v] for v in values], [len(values), 1])), flat)


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT8", "UINT64", "BOOL"])
def test_null_is_nan(datatype):
    values = from_json(sent(datatype, [1 if datatype != "BOOL" else True, None]))
    assert values.dtype == np.float64
    assert values[0] == 1.0
    assert math.isnan(values[1])


def test_null_text_is_none_and_empty_as_bytes():
    assert from_json(sent("BYTES", ["a", None, ""])) == ["a", None, ""]
    assert to_bytes(["a", None]) == b"\x01\x00\x00\x00a\x00\x00\x00\x00"


def test_nan_in_bytes_stays_nan():
    assert math.isnan(from_bytes(sent("FP32", [0]), memoryview(np.array([np.nan], "<f4").tobytes()))[0])


def test_values_may_be_written_to():
    from_bytes(sent("FP64", [1.0]), memoryview(packed("FP64", [1.0])))[0] = 2.0


def test_text_that_is_no_utf8_is_escaped():
    assert from_bytes(sent("BYTES", ["?"]), memoryview(b"\x04\x00\x00\x00M\xfcll")) == ["M\\xfcll"]


@pytest.mark.parametrize("datatype", WHOLE)
def test_a_whole_number_beyond_its_type_is_named(datatype):
    limits = np.iinfo(TYPES[datatype])
    for bad in (int(limits.min) - 1, int(limits.max) + 1):
        assert str(bad) in said(from_json, sent(datatype, [0, bad]))


def test_a_number_beyond_a_small_float_is_named():
    assert "1e+39" in said(from_json, sent("FP32", [1.0, 1e39]))
    assert "70000" in said(from_json, sent("FP16", [7e4]))


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT64", [1.5]),
        ("INT64", ["1"]),
        ("INT64", [True]),
        ("FP64", ["1"]),
        ("FP64", [True]),
        ("BOOL", [1]),
        ("BYTES", [1]),
        ("BYTES", [["a"]]),
        ("FP64", 1.0),
        ("FP64", None),
        ("FP64", {"0": 1.0}),
    ],
)
def test_values_of_another_type_are_refused(datatype, data):
    assert f"is {datatype}, and its data is not" in said(from_json, sent(datatype, data, [1]))


def test_a_tensor_without_data_is_refused():
    assert said(from_json, Sent("x", [1], "FP64")) == "the tensor 'x' has no data"


def test_an_unknown_datatype_is_named_with_the_known_ones():
    text = said(from_json, sent("BF16", [1.0]))
    assert "'BF16'" in text
    assert "FP64, BYTES" in text


def test_ragged_rows_are_refused():
    assert "neither flat nor nested" in said(from_json, sent("FP64", [[1.0], [2.0, 3.0, 4.0]], [2, 2]))


@pytest.mark.parametrize("shape", [[3], [2, 1000], [10**18], [10**12, 10**12]])
def test_a_shape_that_lies_is_found_before_anything_is_made(shape):
    assert "2 values" in said(from_json, sent("FP64", [1.0, 2.0], shape))
    assert "16 bytes" in said(from_bytes, sent("FP64", b"", shape), memoryview(bytes(16)))
    assert "2 values" in said(from_bytes, sent("BYTES", b"", shape), memoryview(bytes(8)))


@pytest.mark.parametrize("data", [b"\x05\x00\x00\x00ab", b"\x01\x00", b"\xff\xff\xff\xffabc", b"\x00\x00\x00\x00\x01"])
def test_an_element_that_ends_beyond_the_bytes_is_refused(data):
    assert "where an element ends" in said(from_bytes, sent("BYTES", b"", [1]), memoryview(data))


@given(
    st.binary(max_size=40), st.lists(st.integers(0, 2**70), min_size=1, max_size=2), st.sampled_from([*TYPES, "BYTES"])
)
def test_no_bytes_do_anything_but_decode_or_be_refused(data, shape, datatype):
    try:
        values = from_bytes(sent(datatype, b"", shape), memoryview(data))
    except Problem:
        return
    assert len(values) == math.prod(shape) <= len(data)


def test_an_answer_of_another_type_is_told_as_text():
    assert typed(np.array([1 + 2j])) == ("BYTES", ["(1+2j)"])
    assert typed([1, None]) == ("BYTES", ["1", None])
    assert typed(np.array(["a", "b"])) == ("BYTES", ["a", "b"])


def test_an_answer_is_little_endian_whatever_it_was():
    name, values = typed(np.array([1.0, 2.0], ">f8"))
    assert (name, to_bytes(values)) == ("FP64", np.array([1.0, 2.0], "<f8").tobytes())
