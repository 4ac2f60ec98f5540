"""The Open Inference Protocol, version 2: what clients of KServe, Triton and MLServer ask, answered.

A tensor of shape [n] or [n, 1] is one column, by its name. A single tensor of shape [n, k] holds all columns, in the
order of the model's inputs. A model that lists no inputs is given tensors of any shape as they are. Values travel as
JSON or, with the extension `binary_tensor_data`, as bytes behind the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from fuseline.revision import VERSION
from fuseline.serving.bounds import Bounds
from fuseline.serving.problem import Problem
from fuseline.serving.served import JSON, Served, Tensor, encode
from fuseline.serving.tensors import Sent, from_bytes, from_json, to_bytes, typed

BINARY = "application/octet-stream"
JSON_LENGTH = "Inference-Header-Content-Length"  # the header that says where the JSON ends and the bytes begin
ELSEWHERE = ("shared_memory_region", "classification")  # parameters that would need another answer


class _Output(msgspec.Struct):
    """An output that a request wants."""

    name: str
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[Sent]
    outputs: list[_Output] | None = None
    id: str | None = None
    parameters: dict[str, Any] | None = None


READ = msgspec.json.Decoder(_Request)


def server() -> dict[str, Any]:
    """The answer to `GET /v2`."""
    return {"name": "fuseline", "version": VERSION, "extensions": ["binary_tensor_data"]}


def model(served: Served) -> dict[str, Any]:
    """The answer to `GET /v2/models/{name}`: what goes in and what comes out."""
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "fuseline_file" if served.mode == "file" else "fuseline_project",
        "inputs": [{"name": name, "datatype": type, "shape": [-1]} for name, type in served.inputs()],
        "outputs": [{"name": name, "datatype": type, "shape": [-1]} for name, type in served.outputs()],
    }


def infer(
    served: Served, body: bytes, json_length: int | None = None, bounds: Bounds | None = None
) -> tuple[bytes, dict[str, str], int]:
    """Answer `POST /v2/models/{name}/infer`.

    Args:
        served: the model; it is given all of its inputs in its order, nulls where they were not sent. What it does
            not list follows only where it has a contract, which may know it, or lists nothing.
        body: as it came.
        json_length: the header `Inference-Header-Content-Length`: bytes of JSON at the front of the body, the rest is
            binary; None without that header.
        bounds: the limits of the API, the usual ones by default.

    Returns:
        The body of the answer, its headers, and how many rows it is about.

    Raises:
        Problem: the request cannot be understood, or the model does not take it.
    """
    bounds = bounds or Bounds()
    request, binary = _request(body, json_length, bounds)
    wanted = dict(served.inputs())
    rows = _rows(request.inputs, free=not wanted)
    bounds.check_rows(rows)
    columns = _columns(request.inputs, binary)
    if wanted:
        tensors, extra = _arranged(served, wanted, _split(request.inputs, columns, wanted), rows)
    else:
        tensors, extra = [Tensor(t.name, _shaped(columns[t.name], t.shape)) for t in request.inputs], []
    return *_answer(served, request, served.infer(tensors), extra), rows


# ── the request ─────────────────────────────────────────────────────────────────────────────────


def _request(body: bytes, json_length: int | None, bounds: Bounds) -> tuple[_Request, memoryview]:
    """The JSON, and the bytes behind it."""
    length = len(body) if json_length is None else json_length
    if not 0 <= length <= len(body):
        raise Problem("bad-request", f"{JSON_LENGTH} is {length}, but the body has {len(body)} bytes")
    try:
        request = _decoded(body[:length])
    except msgspec.ValidationError as error:
        raise Problem("bad-request", f"this is no inference request: {error}") from error
    except (msgspec.DecodeError, ValueError) as error:
        hint = f". Bytes behind the JSON need the header {JSON_LENGTH}" if json_length is None else ""
        raise Problem("not-json", f"{error}{hint}") from error
    except RecursionError as error:
        raise bounds.too_deep() from error
    asked: list[Sent | _Output] = [*request.inputs, *(request.outputs or ())]
    for tensor, name in ((t, name) for t in asked for name in ELSEWHERE if (t.parameters or {}).get(name)):
        raise Problem("bad-request", f"{tensor.name!r} has the parameter {name!r}, which is not taken: leave it out")
    return request, memoryview(body)[length:]


def _decoded(text: bytes) -> _Request:
    """The request; NaN, which some clients write although JSON has none, is null."""
    try:
        return READ.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if b"NaN" not in text and b"Infinity" not in text:
            raise

    def constant(name: str) -> None:
        if name != "NaN":
            raise ValueError(f"{name} is no number of JSON: send null, or binary data")

    return READ.decode(msgspec.json.encode(json.loads(text, parse_constant=constant)))


def _rows(inputs: Sequence[Sent], free: bool) -> int:
    """How many rows the shapes tell of; nothing is read or made before they make sense."""
    if not inputs:
        raise Problem("no-rows", "the request has no inputs")
    rows, several = inputs[0].shape[:1], len(inputs) > 1
    for tensor in inputs:
        shape = tensor.shape
        if not shape or min(shape) < 0 or (len(shape) > 2 and not free):
            raise tensor.wrong(f"has the shape {shape}: expected [rows] or [rows, columns]")
        if several and shape[1:] not in ([], [1]) and not free:
            raise tensor.wrong(f"has the shape {shape}: of several tensors each is one column, [rows] or [rows, 1]")
        if shape[:1] != rows:
            raise tensor.wrong(f"has {shape[0]} rows, and {inputs[0].name!r} has {rows[0]}")
        if 0 in shape:
            raise Problem("no-rows", f"the shape {shape} of {tensor.name!r} holds nothing")
    return rows[0]


def _columns(inputs: Sequence[Sent], binary: memoryview) -> dict[str, Any]:
    """The values of each tensor, flat."""
    found: dict[str, Any] = {}
    for tensor in inputs:
        size = (tensor.parameters or {}).get("binary_data_size")
        if tensor.name in found:
            raise tensor.wrong("is there twice")
        if size is None:
            found[tensor.name] = from_json(tensor)
        elif type(size) is int and 0 <= size <= len(binary):
            found[tensor.name] = from_bytes(tensor, binary[:size])
            binary = binary[size:]
        else:
            raise tensor.wrong(f"has a binary_data_size of {size!r}, and {len(binary)} bytes are left behind the JSON")
    if len(binary):
        raise Problem("bad-request", f"{len(binary)} bytes behind the JSON belong to no tensor")
    return found


def _split(inputs: Sequence[Sent], columns: dict[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    """The columns; those of a single tensor [n, k] in the order of the model's inputs."""
    tensor, width = inputs[0], inputs[0].shape[-1]
    if len(inputs) > 1 or len(tensor.shape) == 1 or (width == 1 and tensor.name in wanted):
        return columns
    if len(wanted) != width:
        raise tensor.wrong(f"has {width} columns, and the model takes {len(wanted)}: {', '.join(wanted)}")
    values = columns[tensor.name]
    found = {name: values[i::width] for i, name in enumerate(wanted)}
    return found if isinstance(values, list) else {name: column.copy() for name, column in found.items()}


def _shaped(values: Any, shape: list[int]) -> Any:
    """The values of a tensor in its shape."""
    import numpy as np

    if len(shape) == 1:
        return values
    return np.array(values, object if isinstance(values, list) else None).reshape(shape)


def _arranged(
    served: Served, wanted: Mapping[str, str], sent: Mapping[str, Any], rows: int
) -> tuple[list[Tensor], list[str]]:
    """Every input of the model in its order, then what its contract may know, and the names that nobody knows."""
    import numpy as np

    found = []
    for name, datatype in wanted.items():
        values = sent.get(name)
        if values is None:
            values = [None] * rows if datatype == "BYTES" else np.full(rows, np.nan)
        found.append(Tensor(name, values))
    others, contract = [name for name in sent if name not in wanted], served.contract
    if contract is None:
        return found, others
    beside = {*contract.wanted, contract.target, *contract.ignored}
    extra = [name for name in others if name not in beside]
    return [*found, *(Tensor(name, sent[name]) for name in others)], extra


# ── the answer ──────────────────────────────────────────────────────────────────────────────────


def _answer(
    served: Served, request: _Request, columns: Sequence[Tensor], extra: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """The outputs that are wanted, as JSON or bytes, each as it is wanted."""
    made = {column.name: column.values for column in columns}
    everything = (request.parameters or {}).get("binary_data_output", False)
    wanted = {o.name: (o.parameters or {}).get("binary_data", everything) for o in request.outputs or ()}
    if unknown := [name for name in wanted if name not in made]:
        raise Problem("bad-request", f"there is no output {unknown[0]!r}. The outputs are: {', '.join(made)}")
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for name, as_bytes in (wanted or dict.fromkeys(made, everything)).items():
        datatype, values = typed(made[name])
        output = {"name": name, "datatype": datatype, "shape": [*getattr(values, "shape", [len(values)])]}
        if as_bytes:
            behind.append(to_bytes(values))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = values if isinstance(values, list) else values.ravel()
        outputs.append(output)
    said = {"model_name": served.name, "model_version": served.version, "id": request.id}
    said = {name: value for name, value in said.items() if value is not None}
    text = encode({**said, **_notes(served, extra), "outputs": outputs})
    if not behind:
        return text, {"Content-Type": JSON}
    return b"".join(chain([text], behind)), {"Content-Type": BINARY, JSON_LENGTH: str(len(text))}


def _notes(served: Served, extra: Sequence[str]) -> Mapping[str, Any]:
    """What a client should know beside the outputs: inputs that were ignored, and why a fallback answers."""
    notes = {}
    if extra:
        notes["extra"] = ", ".join(extra)
    if served.mode == "fallback":
        notes.update(mode=served.mode, reason=served.reason)
    return {"parameters": notes} if notes else {}
