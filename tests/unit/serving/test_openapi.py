"""The document of the API: valid, the same each time, and true of what is asked and answered."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from fuseline.contract import Column, Contract
from fuseline.errors import ModelFault
from fuseline.serving import openapi, v2
from fuseline.serving.bounds import Bounds
from fuseline.serving.description import describe
from fuseline.serving.problem import TITLES, Problem, RowFault
from fuseline.serving.served import Answered, Asked, Tensor

LIMITS = asdict(Bounds())
COLUMNS = (
    Column("price", "number", False, 0, 9, None, 1.0, 300.5, ("12.5", "3.0")),
    Column("colour", "text", True, 1, 9, tuple(f"c{i:02}" for i in range(30)), examples=("c00", "c01")),
    Column("note", "text", True, 1, 9, None, examples=("free text",)),
    Column("member", "boolean", False, 0, 9, None, 0.0, 1.0, ("1.0", "0.0")),
    Column("arrival", "datetime", False, 0, 9, None, 0.0, 1e9, ("2026-03-01 00:00:00",)),
    Column("empty", "number", True, 9, 9),
)


class Bookings:
    """A model of a project that says what it takes and gives."""

    name, version, quick, threshold = "bookings", "v0003", True, None
    contract: Contract | None = Contract(COLUMNS, "id", "arrival", "bought", 9, ("dropped",))

    def __init__(self, *outputs: tuple[str, str]) -> None:
        self.mode: Literal["champion", "fallback", "file"] = "champion"
        self.reason = ""
        self._outputs = list(outputs) or [("score", "FP64"), ("segment", "BYTES"), ("gain", "FP64"), ("due", "BOOL")]

    def warm_up(self) -> None:
        pass

    def example(self) -> Any:
        return {"price": 12.5, "colour": "c00"}

    def answer(self, asked: Asked) -> Answered:
        return Answered(asked.body)

    def inputs(self) -> list[tuple[str, str]]:
        return [("price", "FP64"), ("colour", "BYTES"), ("shop", "BYTES")]

    def outputs(self) -> list[tuple[str, str]]:
        return self._outputs

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        return [Tensor("score", tensors[0].values), Tensor("segment", tensors[1].values)]


class Anything(Bookings):
    """A model of a plain file, of which nothing is known."""

    name, version, contract = "model", "0123456789ab", None

    def __init__(self) -> None:
        super().__init__()
        self.mode = "file"
        self.kind = "json"

    def example(self) -> Any:
        return None

    def inputs(self) -> list[tuple[str, str]]:
        return []

    def outputs(self) -> list[tuple[str, str]]:
        raise ModelFault("it fails")


MODELS = {"project": Bookings(), "file": Anything(), "none": None}


def document(served: Bookings | None, keyed: bool = False) -> dict[str, Any]:
    """The document, as a client reads it."""
    said = openapi.document(served, served.name if served else "bookings", LIMITS, keyed)
    return json.loads(json.dumps(said))


def operations(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Address and operation."""
    for path, methods in said["paths"].items():
        for operation in methods.values():
            if "responses" in operation:
                yield path, operation


def holds(said: dict[str, Any], name: str, value: Any) -> bool:
    """Whether a value is what a schema of the document says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": said["components"]}
    return jsonschema_rs.is_valid(schema, value, validate_formats=True)


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("served", MODELS.values(), ids=MODELS)
def test_it_is_valid_and_the_same_each_time(served, keyed):
    said = document(served, keyed)
    validate(said)
    assert said == document(served, keyed)


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for _, operation in operations(document(Bookings()))]
    assert len(set(names)) == len(names) == 15


def test_it_says_who_answers():
    said = document(Bookings())
    assert said["info"] == {"title": "bookings", "version": "v0003", "description": "Version v0003 answers."}
    served = Bookings()
    served.mode, served.reason = "fallback", "drift"
    assert document(served)["info"]["description"] == "Version v0003 answers as a fallback: drift"
    assert "No model answers" in document(None)["info"]["description"]


def test_limits_are_said():
    said = document(Bookings())
    text = said["paths"]["/predict"]["post"]["description"]
    assert text == "Limits of one request: 67,108,864 bytes, 100,000 rows, 10,000 keys of a row, 16 levels deep, 30 s."
    assert said["components"]["schemas"]["Request"]["oneOf"][1]["description"] == "At most 100,000 rows."


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"price": None, "colour": None, "member": None, "arrival": None},
        {"price": 1e300, "colour": "a colour that nobody saw", "member": True, "arrival": "2026-03-01"},
        {"price": 7, "arrival": "2026-03-01T10:00:00Z"},
        {"shop": "a", "never_heard_of": {"at": ["all"]}},
    ],
)
def test_a_record_may_be_anything_that_is_taken(record):
    said = document(Bookings())
    assert holds(said, "Request", record)
    assert holds(said, "Request", [record, record])


@pytest.mark.parametrize("body", [[], "text", 7, None, [7], {"price": "12.5 EUR"}, {"colour": 7}, {"arrival": "soon"}])
def test_a_record_is_what_the_contract_says(body):
    assert not holds(document(Bookings()), "Request", body)


def test_columns_are_described_and_their_values_free():
    found = document(Bookings())["components"]["schemas"]["Record"]["properties"]
    assert found["price"]["type"] == ["number", "null"]
    assert found["price"]["description"] == "From 1 to 300.5 in training."
    assert found["price"]["examples"] == [12.5, 3]
    assert found["colour"]["description"].endswith("c19 and 10 more. Others are taken, too.")
    assert found["member"]["examples"] == [True, False]
    assert found["empty"] == {"type": ["number", "null"]}
    assert found["shop"] == {"type": ["string", "null"]}
    assert "enum" not in json.dumps(found)


def test_the_example_is_one_that_is_taken():
    said = document(Bookings())
    example = said["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert example == Bookings().example()
    assert holds(said, "Request", example)


def test_answers_hold():
    said = document(Bookings())
    row = {"index": 0, "score": 0.3, "segment": "b", "gain": None, "due": True}
    answer = {"model": "bookings", "version": "v0003", "mode": "champion", "predictions": [row]}
    assert holds(said, "Predictions", answer)
    more = {"extra": ["foo"], "rejected": [{"row": 1, "column": None, "reason": "empty"}], "reason": "drift"}
    assert holds(said, "Predictions", answer | more)
    assert not holds(said, "Predictions", answer | {"predictions": [{"index": 0}]})
    assert not holds(said, "Predictions", answer | {"predictions": [row | {"score": None}]})
    assert not holds(said, "Predictions", answer | {"mode": "another"})


def test_a_file_answers_anything():
    said = document(Anything())
    operation = said["paths"]["/predict"]["post"]
    assert "parameters" not in operation
    assert {"application/json", "image/png"} < operation["responses"]["200"]["content"].keys()
    answer = {"model": "model", "version": "0123456789ab", "mode": "file"}
    assert holds(said, "Predictions", answer | {"predictions": {"any": "thing"}})
    assert not holds(said, "Predictions", answer)


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("json", {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}),
        ("frame", {"application/json"}),
        ("bytes", {"application/octet-stream", "multipart/form-data"}),
    ],
)
def test_a_file_takes_what_its_first_hook_says(kind, types):
    served = Anything()
    served.kind = kind
    assert document(served)["paths"]["/predict"]["post"]["requestBody"]["content"].keys() == types


def test_an_inference_has_an_example_that_is_taken():
    said = document(Bookings())
    content = said["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert [tensor["name"] for tensor in content["example"]["inputs"]] == ["price", "colour"]
    assert holds(said, "InferenceRequest", content["example"])
    assert holds(said, "InferenceAnswer", json.loads(v2.infer(Bookings(), json.dumps(content["example"]).encode())[0]))


def test_a_threshold_needs_one_score():
    def names(served: Bookings | None) -> list[str]:
        return [parameter["name"] for parameter in document(served)["paths"]["/predict"]["post"]["parameters"]]

    assert names(Bookings()) == ["threshold", "partial"]
    assert names(Bookings(("score_a", "FP64"), ("score_b", "FP64"))) == ["partial"]
    assert names(None) == ["threshold", "partial"]


def test_the_threshold_of_the_project_is_the_default():
    served = Bookings()
    served.threshold = 0.7
    assert document(served)["paths"]["/predict"]["post"]["parameters"][0]["schema"]["default"] == 0.7


def test_every_problem_is_told():
    found = {
        int(status) for _, operation in operations(document(Bookings(), True)) for status in operation["responses"]
    }
    assert found == {200, *(status for status, _ in TITLES.values() if status != 405)}


def test_problems_and_faults_hold():
    said = document(Bookings())
    for kind in TITLES:
        problem = Problem(kind, "why", rows=[RowFault(0, None, "x"), RowFault(1, "price", "y")] * 600, limit=7)
        assert holds(said, "Problem", problem.document("abc"))


def test_a_key_is_asked_for_where_one_is_needed():
    said = document(Bookings(), keyed=True)
    needed = {path for path, operation in operations(said) if "401" in operation["responses"]}
    free = {path for path, operation in operations(said) if operation.get("security") == []}
    assert free == {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
    assert needed == said["paths"].keys() - free
    assert said["security"] == [{"bearer": []}, {"header": []}]
    assert "application/json" in said["paths"]["/v2"]["get"]["responses"]["401"]["content"]
    assert "application/problem+json" in said["paths"]["/model"]["get"]["responses"]["401"]["content"]


def test_without_keys_nothing_is_said_of_them():
    text = json.dumps(document(Bookings()))
    assert '"401"' not in text
    assert '"security"' not in text
    assert "securitySchemes" not in text


@pytest.mark.parametrize("served", [Bookings(), Anything()], ids=["project", "file"])
def test_the_description_of_the_model_holds(served):
    assert holds(document(served), "Model", json.loads(json.dumps(describe(served, None, LIMITS))))


def test_inferences_hold():
    said, served = document(Bookings()), Bookings()
    request = {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1], "data": [1.5]}], "id": "seven"}
    assert holds(said, "InferenceRequest", request)
    assert holds(said, "InferenceAnswer", json.loads(v2.infer(served, json.dumps(request).encode())[0]))
    assert holds(said, "Tensors", v2.model(served))
    assert holds(said, "Server", v2.server())


def test_it_is_made_without_heavy_libraries():
    code = (
        "import sys, fuseline.serving.openapi; print([m for m in ('pandas', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
