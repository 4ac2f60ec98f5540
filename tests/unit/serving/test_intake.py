from __future__ import annotations

from inspect import Parameter
from typing import Annotated, Any, Union

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from fuseline.serving.bounds import Bounds
from fuseline.serving.intake import decoded, given, given_tensors, kind_of
from fuseline.serving.problem import Problem
from fuseline.serving.served import Asked, File, Tensor

BOUNDS = Bounds(rows=1000, keys=50, depth=8)
FORM = "multipart/form-data"


def refused(kind: str, body: Any, **more: Any) -> Problem:
    """The problem of a body."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(Problem) as told:
        given(Asked(data, **more), kind, BOUNDS)
    return told.value


def taken(kind: str, body: Any, names: tuple[str, ...] = ()) -> Any:
    """What the first hook is given of a body."""
    return given(Asked(msgspec.json.encode(body)), kind, BOUNDS, names)


# ── annotations ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (pd.DataFrame, "frame"),
        (np.ndarray, "array"),
        (npt.NDArray[np.float64], "array"),
        (bytes, "bytes"),
        (pd.DataFrame | None, "frame"),
        (Union.__getitem__((np.ndarray, None)), "array"),
        (pd.DataFrame | np.ndarray, "json"),
        (bytes | str, "bytes"),
        (Annotated[pd.DataFrame, "rows"], "frame"),
        (Parameter.empty, "json"),
        (Any, "json"),
        (dict, "json"),
        (dict[str, bytes], "json"),
        (list[bytes], "json"),
        (type("DataFrame", (), {"__module__": "polars.frame"}), "json"),
    ],
)
def test_an_annotation_says_what_a_hook_takes(annotation, kind):
    assert kind_of(annotation, {}) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pd.DataFrame", "frame"),
        ("pandas.core.frame.DataFrame", "frame"),
        ("DataFrame", "frame"),
        ("pd.DataFrame | None", "frame"),
        ("Optional[pd.DataFrame]", "frame"),
        ("typing.Optional['pd.DataFrame']", "frame"),
        ("np.ndarray", "array"),
        ("npt.NDArray[np.float64]", "array"),
        ("bytes", "bytes"),
        ("dict[str, bytes]", "json"),
        ("list[dict[str, float]] | None", "json"),
        ("Any", "json"),
    ],
)
@pytest.mark.parametrize("names", [{}, {"pd": pd, "np": np, "npt": npt, "DataFrame": pd.DataFrame}])
def test_an_annotation_that_is_text_is_understood_even_if_its_import_is_missing(text, kind, names):
    assert kind_of(text, names) == kind


def test_a_name_that_the_file_gave_to_a_type_is_looked_up():
    assert kind_of("Rows", {"Rows": pd.DataFrame}) == "frame"
    other = type(pd)("polars")
    other.DataFrame = type("DataFrame", (), {"__module__": "polars"})
    assert kind_of("pl.DataFrame", {"pl": other}) == "json"


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@hypothesis_given(VALUES)
def test_json_arrives_as_it_was_sent(value):
    assert decoded(msgspec.json.encode(value), Bounds(depth=100)) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b'{"a": NaN}', "invalid character at line 1, column 7"),
        (b"[1,\n 2,\n x]", "invalid character at line 3, column 2, near"),
        (b'{"a":1', "truncated at line 1, column 7"),
        (b'{"a":1}}', "trailing characters at line 1, column"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b"price=3", "invalid character at line 1, column 1"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(body, said):
    problem = refused("json", body)
    assert problem.kind == "not-json"
    assert said in problem.detail


def test_a_number_that_no_float_holds_is_bad_input():
    assert refused("json", b'{"a": 1e999}').kind == "bad-input"


@pytest.mark.parametrize("depth", [9, 100_000])
def test_json_that_is_nested_too_deep_is_refused(depth):
    assert refused("json", b"[" * depth + b"]" * depth).kind == "nested-too-deep"


def test_json_within_the_depth_is_taken():
    assert given(Asked(b"[" * 8 + b"]" * 8), "json", BOUNDS).value == [[[[[[[[]]]]]]]]


@pytest.mark.parametrize("kind", ["json", "frame", "array"])
@pytest.mark.parametrize("media_type", ["text/csv", "image/png", "application/x-ndjson"])
def test_another_content_type_is_refused(kind, media_type):
    problem = refused(kind, b"[1]", media_type=media_type)
    assert problem.kind == "wrong-media-type"
    assert problem.detail.startswith(f"{media_type} is not taken")


@pytest.mark.parametrize("media_type", ["", "application/json", "application/vnd.api+json", "text/json"])
def test_json_may_have_several_content_types(media_type):
    assert given(Asked(b"[1]", media_type), "json", BOUNDS).value == [1]


@pytest.mark.parametrize(
    ("body", "rows"), [([{"a": 1}, {}], 2), ([[1], [2], [3]], 3), ([1, 2, 3], 1), ([], 1), ({}, 1)]
)
def test_the_rows_of_json_are_counted_where_it_has_rows(body, rows):
    found = taken("json", body)
    assert (found.rows, found.aligned) == (rows, False)


@pytest.mark.parametrize("kind", ["json", "frame", "array"])
def test_too_many_rows_are_refused_with_the_limit(kind):
    problem = refused(kind, [[1]] * 1001 if kind == "array" else [{"a": 1}] * 1001)
    assert (problem.kind, problem.more) == ("too-large", {"limit": 1000})


# ── frames ──────────────────────────────────────────────────────────────────────────────────────


def test_records_become_a_frame_with_the_columns_of_all():
    found = taken("frame", [{"a": 1, "b": "x"}, {"b": None, "c": True}])
    assert (found.rows, found.aligned) == (2, True)
    expected = pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None], "c": [None, True]})
    pd.testing.assert_frame_equal(found.value, expected)


def test_one_object_becomes_a_frame_of_one_row():
    found = taken("frame", {"a": 1, "b": [1, 2]})
    assert found.rows == 1
    assert found.value.to_dict("records") == [{"a": 1, "b": [1, 2]}]


def test_the_order_of_keys_does_not_matter():
    there, back = taken("frame", [{"a": 1, "b": 2}, {"b": 4, "a": 3}]).value, [[1, 2], [3, 4]]
    assert there[["a", "b"]].to_numpy().tolist() == back


def test_records_without_keys_are_rows_all_the_same():
    assert len(taken("frame", [{}, {}]).value) == 2


def test_lists_become_a_frame_where_the_columns_have_names():
    found = taken("frame", [[1, "x"], [2, "y"]], ("a", "b")).value
    pd.testing.assert_frame_equal(found, pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))


@pytest.mark.parametrize("body", [1, "text", True, None])
@pytest.mark.parametrize("kind", ["frame", "array"])
def test_a_scalar_is_no_rows(kind, body):
    assert refused(kind, body).kind == "bad-input"


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_an_empty_list_is_no_rows(kind):
    assert refused(kind, []).kind == "no-rows"


def test_a_row_that_is_no_object_is_named():
    problem = refused("frame", [{"a": 1}, 3, [4]])
    assert [(fault.row, fault.reason) for fault in problem.rows] == [
        (1, "is a number, not an object"),
        (2, "is a list, not an object"),
    ]


def test_too_many_keys_are_refused_in_one_row_and_in_all_together():
    assert refused("frame", [{}, {f"k{i}": i for i in range(51)}]).detail.startswith("row 1 has 51 keys")
    assert refused("frame", [{f"k{i}": i} for i in range(51)]).detail.startswith("the rows have 51 different keys")


# ── arrays ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "expected"),
    [([[1, 2], [3, 4]], [[1, 2], [3, 4]]), ([1, 2.5], [1, 2.5]), ([[1, None]], [[1, np.nan]])],
)
def test_lists_become_an_array(body, expected):
    found = taken("array", body)
    np.testing.assert_array_equal(found.value, np.array(expected))
    assert found.rows == len(body)


def test_records_become_an_array_in_the_order_of_the_models_columns():
    np.testing.assert_array_equal(taken("array", [{"b": 2, "a": 1}], ("a", "b")).value, [[1, 2]])
    with pytest.raises(Problem, match="no row has b: the model takes a, b"):
        taken("array", [{"a": 1}], ("a", "b"))


@pytest.mark.parametrize("body", [[[1, 2], [3]], [["a", None]], [{"a": 1}], [[{"a": 1}]], [1, [2]]])
def test_what_is_no_array_is_bad_input(body):
    assert refused("array", body).kind == "bad-input"


# ── forms and bytes ─────────────────────────────────────────────────────────────────────────────


def test_a_form_is_a_dict_of_texts_and_bytes_and_the_query_fills_what_it_lacks():
    form = {"image": File(b"\x00\x01", "a.png", "image/png"), "width": "20"}
    asked = Asked(b"", FORM, {"width": "10", "height": "30"}, form)
    found = given(asked, "json", BOUNDS)
    assert found.value == {"image": b"\x00\x01", "width": "20", "height": "30"}
    assert type(found.value) is dict


def test_the_query_is_no_part_of_json():
    assert given(Asked(b'{"a": 1}', query={"b": "2"}), "json", BOUNDS).value == {"a": 1}


def test_bytes_are_the_body_of_any_type_or_the_file_of_a_form():
    assert given(Asked(b"\x89PNG", "image/png"), "bytes", BOUNDS).value == b"\x89PNG"
    form = {"size": "3", "image": File(b"\x89PNG", "a.png", "image/png")}
    assert given(Asked(b"", FORM, form=form), "bytes", BOUNDS).value == b"\x89PNG"


@pytest.mark.parametrize("files", [0, 2])
def test_bytes_need_exactly_one_file_of_a_form(files):
    form = {f"f{i}": File(b"x", "x", "") for i in range(files)}
    assert f"has {files} files" in refused("bytes", b"", media_type=FORM, form=form).detail


def test_bytes_need_a_body():
    assert refused("bytes", b"").kind == "bad-input"


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_a_form_makes_no_frame_and_no_array(kind):
    assert refused(kind, b"", media_type=FORM, form={"a": "1"}).kind == "wrong-media-type"


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────

TENSORS = [Tensor("n", np.array([1.0, 2.0])), Tensor("t", ["a", None])]


def test_tensors_are_a_frame_or_a_dict_of_lists():
    found = given_tensors(TENSORS, "frame")
    pd.testing.assert_frame_equal(found.value, pd.DataFrame({"n": [1.0, 2.0], "t": ["a", None]}))
    assert found.rows == 2
    assert given_tensors(TENSORS, "json").value == {"n": [1.0, 2.0], "t": ["a", None]}


def test_tensors_are_an_array_of_columns_or_the_one_that_was_sent():
    columns = [Tensor("a", np.array([1.0, 2.0])), Tensor("b", np.array([3.0, 4.0]))]
    np.testing.assert_array_equal(given_tensors(columns, "array").value, [[1, 3], [2, 4]])
    whole = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(given_tensors([Tensor("x", whole)], "array").value, whole)
    assert given_tensors([Tensor("x", whole)], "frame").value.columns.tolist() == ["x_0", "x_1", "x_2"]


@pytest.mark.parametrize(("tensors", "kind"), [([], "frame"), (TENSORS, "bytes")])
def test_no_tensors_and_tensors_for_bytes_are_refused(tensors, kind):
    with pytest.raises(Problem):
        given_tensors(tensors, kind)
