"""The Open Inference Protocol over a model that adds its columns up."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.contract import Contract
from fuseline.revision import VERSION
from fuseline.serving import v2
from fuseline.serving.bounds import Bounds
from fuseline.serving.problem import Problem, RowFault
from fuseline.serving.served import Answered, Asked, Tensor

LENGTH = v2.JSON_LENGTH


class Adder:
    """A model of three columns: it answers their sum, the text in capitals, and how many rows there were."""

    name, version, reason, quick = "adder", "v0003", "", True
    contract: Contract | None = None

    def __init__(self) -> None:
        self.mode: Literal["champion", "fallback", "file"] = "champion"
        self.given: list[Tensor] = []

    def warm_up(self) -> None:
        pass

    def example(self) -> Any:
        return {"a": 1.0, "b": 2, "word": "x"}

    def answer(self, asked: Asked) -> Answered:
        return Answered(asked.body)

    def inputs(self) -> list[tuple[str, str]]:
        return [("a", "FP64"), ("b", "INT64"), ("word", "BYTES")]

    def outputs(self) -> list[tuple[str, str]]:
        return [("sum", "FP64"), ("loud", "BYTES"), ("row", "INT64")]

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        self.given = tensors
        a, b, word = (tensor.values for tensor in tensors[:3])
        if bad := [i for i, value in enumerate(a) if value == np.inf]:
            raise Problem("bad-rows", "a is infinite", rows=[RowFault(i, "a", "a is infinite") for i in bad])
        loud = [None if text is None else text.upper() for text in word]
        return [Tensor("sum", a + b), Tensor("loud", loud), Tensor("row", np.arange(len(a)))]


class Wide(Adder):
    """A model of two numbers, which takes one tensor of both."""

    def inputs(self) -> list[tuple[str, str]]:
        return [("a", "FP64"), ("b", "FP64")]

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        self.given = tensors
        return [Tensor("difference", tensors[0].values - tensors[1].values)]


class Echo(Adder):
    """A model that answers what it is given."""

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        self.given = tensors
        return tensors


class Free(Echo):
    """The same, with inputs as they are given, none by default."""

    def __init__(self, *inputs: tuple[str, str]) -> None:
        super().__init__()
        self._inputs = list(inputs)

    def inputs(self) -> list[tuple[str, str]]:
        return self._inputs


def column(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    """A tensor of JSON."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


A, B = column("a", "FP64", [1.5, 2.5]), column("b", "INT64", [10, 20])
WORD = column("word", "BYTES", ["x", "y"])


def ask(served: Adder, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request of JSON, and the JSON of its answer."""
    body, headers, _ = v2.infer(served, json.dumps({"inputs": inputs, **more}).encode())
    assert headers == {"Content-Type": "application/json"}
    return json.loads(body)


def outputs(said: dict[str, Any]) -> dict[str, list[Any]]:
    """Name to data of the outputs."""
    return {output["name"]: output["data"] for output in said["outputs"]}


def binary(inputs: list[tuple[str, str, list[int], bytes]], **more: Any) -> tuple[bytes, int]:
    """A request whose tensors stand behind the JSON, and how long its JSON is."""
    listed = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        for name, datatype, shape, data in inputs
    ]
    text = json.dumps({"inputs": listed, **more}).encode()
    return text + b"".join(data for *_, data in inputs), len(text)


def problem(served: Adder, body: bytes | dict[str, Any], length: int | None = None, **limits: int) -> Problem:
    """The problem of a request."""
    with pytest.raises(Problem) as caught:
        v2.infer(served, body if isinstance(body, bytes) else json.dumps(body).encode(), length, Bounds(**limits))
    return caught.value


def test_the_server_says_who_it_is():
    assert v2.server() == {"name": "fuseline", "version": VERSION, "extensions": ["binary_tensor_data"]}


def test_a_model_says_what_goes_in_and_what_comes_out():
    said = v2.model(Adder())
    assert said["name"] == "adder"
    assert said["versions"] == ["v0003"]
    assert said["inputs"][1] == {"name": "b", "datatype": "INT64", "shape": [-1]}
    assert [o["name"] for o in said["outputs"]] == ["sum", "loud", "row"]


def test_columns_go_in_and_columns_come_out():
    said = ask(Adder(), A, B, WORD)
    assert {k: said[k] for k in ("model_name", "model_version")} == {"model_name": "adder", "model_version": "v0003"}
    assert "id" not in said
    assert "parameters" not in said
    assert said["outputs"] == [
        column("sum", "FP64", [11.5, 22.5]),
        column("loud", "BYTES", ["X", "Y"]),
        column("row", "INT64", [0, 1]),
    ]


def test_the_order_of_inputs_does_not_matter():
    assert ask(Adder(), WORD, B, A) == ask(Adder(), A, B, WORD)


def test_the_id_is_echoed_and_parameters_are_tolerated():
    inputs = [A | {"parameters": {"content_type": "np"}}, B, WORD]
    said = ask(Adder(), *inputs, id="seven", parameters={"priority": 1, "timeout": 5}, unheard_of={"of": []})
    assert said["id"] == "seven"


def test_a_column_may_be_one_wide_and_nested():
    nested = column("a", "FP64", [[1.5], [2.5]], [2, 1])
    assert ask(Adder(), nested, B, WORD) == ask(Adder(), A, B, WORD)


def test_one_tensor_holds_all_columns_in_the_order_of_the_inputs():
    flat = column("whatever", "FP64", [1.0, 2.0, 3.0, 5.0, 8.0, 13.0], [3, 2])
    nested = column("whatever", "FP64", [[1.0, 2.0], [3.0, 5.0], [8.0, 13.0]], [3, 2])
    assert outputs(ask(Wide(), flat)) == outputs(ask(Wide(), nested)) == {"difference": [-1.0, -2.0, -5.0]}


def test_one_tensor_of_text_holds_all_columns_too():
    served = Free(("first", "BYTES"), ("second", "BYTES"))
    assert outputs(ask(served, column("names", "BYTES", [["a", "b"], ["c", None]], [2, 2]))) == {
        "first": ["a", "c"],
        "second": ["b", None],
    }


def test_one_tensor_of_another_width_is_told_the_inputs():
    text = problem(Wide(), {"inputs": [column("x", "FP64", [1, 2, 3], [1, 3])]}).detail
    assert text == "the tensor 'x' has 3 columns, and the model takes 2: a, b"


def test_missing_inputs_are_null():
    assert outputs(ask(Adder(), B)) == {"sum": [None, None], "loud": [None, None], "row": [0, 1]}


def test_null_and_nan_are_missing():
    nulls = outputs(ask(Adder(), column("a", "FP64", [None, 2.5]), B, column("word", "BYTES", [None, "y"])))
    assert nulls == {"sum": [None, 22.5], "loud": [None, "Y"], "row": [0, 1]}
    nans = outputs(ask(Adder(), column("a", "FP64", [float("nan"), 2.5]), B, column("word", "BYTES", [None, "y"])))
    assert nans == nulls


def test_infinity_is_for_the_model_to_judge_and_no_number_of_json():
    found = problem(Adder(), {"inputs": [column("a", "FP64", [float("inf")])]})
    assert (found.status, found.kind) == (400, "not-json")
    assert "Infinity is no number of JSON" in found.detail
    body, length = binary([("a", "FP64", [2], np.array([0.0, np.inf]).tobytes())])
    assert [(fault.row, fault.column) for fault in problem(Adder(), body, length).rows] == [(1, "a")]


FOO, BAR = column("foo", "FP64", [1.0, 2.0]), column("bar", "BOOL", [True, False])


def test_inputs_that_nobody_knows_are_reported():
    served = Adder()
    assert ask(served, FOO, A, B, WORD, BAR)["parameters"] == {"extra": "foo, bar"}
    assert [tensor.name for tensor in served.given] == ["a", "b", "word"]


def test_what_a_contract_may_know_is_given_to_the_model_last():
    served = Adder()
    served.contract = Contract((), "foo", "a", "bought", 9, ("dropped",))
    assert ask(served, FOO, A, B, WORD, BAR)["parameters"] == {"extra": "bar"}
    assert [tensor.name for tensor in served.given] == ["a", "b", "word", "foo", "bar"]


def test_a_model_that_lists_no_inputs_is_given_the_tensors_as_they_are():
    served = Free()
    image = column("image", "UINT8", list(range(24)), [2, 3, 4])
    words = column("words", "BYTES", [["a", "b"], ["c", "d"]], [2, 2])
    said = ask(served, image, words)
    assert "parameters" not in said
    assert served.given[0].values.shape == (2, 3, 4)
    assert served.given[1].values.tolist() == [["a", "b"], ["c", "d"]]
    assert said["outputs"][0]["shape"] == [2, 3, 4]
    assert said["outputs"][0]["data"] == list(range(24))


def test_one_column_of_another_name_is_that_of_a_model_that_takes_one():
    served = Free(("x0", "FP64"))
    assert outputs(ask(served, column("predict", "FP64", [1.0, 2.0], [2, 1]))) == {"x0": [1.0, 2.0]}
    assert outputs(ask(served, column("x0", "FP64", [1.0, 2.0], [2, 1]))) == {"x0": [1.0, 2.0]}


def test_a_fallback_says_so():
    served = Adder()
    served.mode, served.reason = "fallback", "the breaker is open since yesterday"
    assert ask(served, A, B, WORD)["parameters"] == {"mode": "fallback", "reason": served.reason}


def test_only_the_outputs_that_are_wanted_come():
    assert list(outputs(ask(Adder(), A, B, WORD, outputs=[{"name": "row"}, {"name": "sum"}]))) == ["row", "sum"]
    assert list(outputs(ask(Adder(), A, B, WORD, outputs=[]))) == ["sum", "loud", "row"]


def test_an_unknown_output_is_told_the_known_ones():
    found = problem(Adder(), {"inputs": [A, B, WORD], "outputs": [{"name": "score"}]})
    assert found.status == 400
    assert found.detail == "there is no output 'score'. The outputs are: sum, loud, row"


# ── binary data ─────────────────────────────────────────────────────────────────────────────────


def packed(*texts: str) -> bytes:
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)


def unpacked(body: bytes, headers: dict[str, str]) -> dict[str, bytes]:
    """Name to bytes of the outputs behind the JSON."""
    at = int(headers[LENGTH])
    said, found = json.loads(body[:at]), {}
    for output in said["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        found[output["name"]] = body[at : at + size]
        at += size
    assert at == len(body)
    return found


BYTES_IN = [
    ("a", "FP64", [2], np.array([1.5, 2.5]).tobytes()),
    ("b", "INT8", [2, 1], b"\x0a\x14"),
    ("word", "BYTES", [2], packed("x", "y")),
]


def test_bytes_in_and_json_out():
    body, length = binary(BYTES_IN)
    said, headers, _ = v2.infer(Adder(), body, length)
    assert headers == {"Content-Type": "application/json"}
    assert json.loads(said) == ask(Adder(), A, B, WORD)


def test_bytes_out_where_the_request_says_so():
    body, length = binary(BYTES_IN, parameters={"binary_data_output": True})
    said, headers, _ = v2.infer(Adder(), body, length)
    assert headers["Content-Type"] == "application/octet-stream"
    found = unpacked(said, headers)
    assert np.frombuffer(found["sum"], "<f8").tolist() == [11.5, 22.5]
    assert np.frombuffer(found["row"], "<i8").tolist() == [0, 1]
    assert found["loud"] == packed("X", "Y")


def test_an_output_says_for_itself_whether_it_is_bytes():
    wanted = [{"name": "sum", "parameters": {"binary_data": False}}, {"name": "row"}]
    body, length = binary(BYTES_IN, parameters={"binary_data_output": True}, outputs=wanted)
    said, headers, _ = v2.infer(Adder(), body, length)
    assert unpacked(said, headers) == {"sum": b"", "row": np.array([0, 1], "<i8").tobytes()}
    assert json.loads(said[: int(headers[LENGTH])])["outputs"][0]["data"] == [11.5, 22.5]


def test_json_and_bytes_may_be_mixed():
    listed = [A, {"name": "b", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": 2}}, WORD]
    text = json.dumps({"inputs": listed}).encode()
    said, _, _ = v2.infer(Adder(), text + b"\x0a\x14", len(text))
    assert outputs(json.loads(said)) == outputs(ask(Adder(), A, B, WORD))


@pytest.mark.parametrize("size", [-1, 17, 10**18, "16", True, 1.5])
def test_a_size_that_lies_is_refused(size):
    tensor = {"name": "a", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [tensor]}).encode()
    found = problem(Adder(), text + bytes(16), len(text))
    assert found.kind == "bad-request"
    assert "16 bytes are left" in found.detail


def test_bytes_that_belong_to_nobody_are_refused():
    body, length = binary(BYTES_IN)
    assert "1 bytes behind the JSON belong to no tensor" in problem(Adder(), body + b"\x00", length).detail


@pytest.mark.parametrize("length", [-1, 10**9])
def test_a_json_length_that_lies_is_refused(length):
    assert LENGTH in problem(Adder(), b"{}", length).detail


def test_bytes_without_the_header_are_explained():
    body, _ = binary(BYTES_IN)
    found = problem(Adder(), body)
    assert (found.status, found.kind) == (400, "not-json")
    assert LENGTH in found.detail


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"{", b'{"inputs": [{"name": "\xff"}]}', b"\x00\x01", b"NaN", b"[Infinity"]
)
def test_what_is_not_json_is_400(body):
    assert problem(Adder(), body).status == 400


@pytest.mark.parametrize(
    "request_",
    [
        [],
        "text",
        {},
        {"inputs": None},
        {"inputs": {}},
        {"inputs": [None]},
        {"inputs": [{"name": "a"}]},
        {"inputs": [A | {"shape": 2}]},
        {"inputs": [A | {"shape": ["2"]}]},
        {"inputs": [A | {"shape": [2.5]}]},
        {"inputs": [A | {"name": 7}]},
        {"inputs": [A | {"parameters": []}]},
        {"inputs": [A], "outputs": [{}]},
        {"inputs": [A], "parameters": 1},
        {"inputs": [A], "id": 7},
    ],
)
def test_what_is_no_inference_request_is_told_where(request_):
    found = problem(Adder(), request_)
    assert found.kind == "bad-request"
    assert found.detail.startswith("this is no inference request: ")


@pytest.mark.parametrize("shape", [[], [-2], [2, -1], [1, 1, 2], [-(10**30)]])
def test_a_shape_that_is_none_is_refused(shape):
    assert "expected [rows] or [rows, columns]" in problem(Adder(), {"inputs": [A | {"shape": shape}]}).detail


@pytest.mark.parametrize("shape", [[0], [0, 3], [10**12, 0]])
def test_a_shape_that_holds_nothing_has_no_rows(shape):
    assert (
        problem(Adder(), {"inputs": [{"name": "a", "datatype": "FP64", "shape": shape, "data": []}]}).kind == "no-rows"
    )


def test_a_request_without_inputs_has_no_rows():
    assert problem(Adder(), {"inputs": []}).kind == "no-rows"


def test_columns_of_different_lengths_are_refused():
    text = problem(Adder(), {"inputs": [A, column("b", "INT64", [1, 2, 3])]}).detail
    assert text == "the tensor 'b' has 3 rows, and 'a' has 2"


def test_two_wide_tensors_are_refused():
    wide = column("b", "FP64", [1.0, 2.0, 3.0, 4.0], [2, 2])
    assert "of several tensors each is one column" in problem(Adder(), {"inputs": [A, wide]}).detail


def test_a_name_that_is_there_twice_is_refused():
    assert problem(Adder(), {"inputs": [A, B, A]}).detail == "the tensor 'a' is there twice"


def test_more_rows_than_allowed_are_refused_before_they_are_read():
    tall = {"name": "a", "datatype": "FP64", "shape": [10**15], "data": [1.0]}
    found = problem(Adder(), {"inputs": [tall]}, rows=1_000)
    assert (found.status, found.more) == (413, {"limit": 1_000})


@pytest.mark.parametrize("name", ["shared_memory_region", "classification"])
def test_what_would_need_another_answer_is_refused(name):
    assert name in problem(Adder(), {"inputs": [A], "outputs": [{"name": "sum", "parameters": {name: 3}}]}).detail
    assert name in problem(Adder(), {"inputs": [A | {"parameters": {name: "region"}}]}).detail


@pytest.mark.parametrize("where", ['{"inputs": %s}', '{"inputs": [], "deep": %s}'])
def test_deep_nesting_is_refused(where):
    deep = (where % ("[" * 100_000 + "]" * 100_000)).encode()
    assert problem(Adder(), deep).kind in ("nested-too-deep", "bad-request")
    assert problem(Adder(), deep.replace(b"[]", b"[NaN]")).status == 400


def test_data_that_is_nested_deep_is_refused():
    deep = '{"inputs": [{"name": "a", "datatype": "FP64", "shape": [1, 2], "data": %s}]}' % ("[" * 900 + "]" * 900)
    assert problem(Wide(), deep.encode()).status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DATATYPES = st.sampled_from(["BOOL", "INT8", "UINT64", "FP16", "FP32", "FP64", "BYTES"])
ODD_TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "word", "foo"]) | JSON_VALUES,
        "datatype": DATATYPES | JSON_VALUES,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON_VALUES,
    },
    optional={
        "data": st.lists(JSON_VALUES, max_size=3) | JSON_VALUES,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 20)}) | JSON_VALUES,
    },
)


@pytest.mark.parametrize("served", [Echo(), Free()], ids=["named", "free"])
@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(ODD_TENSORS, max_size=3) | JSON_VALUES},
        optional={"outputs": JSON_VALUES, "parameters": JSON_VALUES, "id": JSON_VALUES},
    ),
    st.binary(max_size=20),
)
def test_whatever_is_asked_is_answered_or_refused(served, request_, behind):
    text = json.dumps(request_).encode()
    try:
        body, headers, _ = v2.infer(served, text + behind, len(text))
    except Problem as found:
        assert 400 <= found.status < 500
    else:
        msgspec.json.decode(body[: int(headers.get(LENGTH, len(body)))])
