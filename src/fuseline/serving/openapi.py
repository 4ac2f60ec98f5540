"""The document of the API in OpenAPI 3.1, made of the contract of the model that answers.

It says what is true and no more: a property of a record has the type that a model was trained on, and any category is
taken, because a model that was trained knows what to do with one that it never saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fuseline.serving import schemas
from fuseline.serving.outcome import SIGNATURES
from fuseline.serving.problem import MEDIA_TYPE, TITLES
from fuseline.serving.schemas import outputs, ref
from fuseline.serving.served import JSON, Served

BINARY = "application/octet-stream"
BYTES = {"type": "string", "format": "binary"}
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
METRICS = ("text/plain", "application/openmetrics-text")


def document(served: Served | None, name: str, limits: Mapping[str, int | float], keyed: bool) -> dict[str, Any]:
    """Describe the API of one model.

    Args:
        served: the model that answers now; None while there is none: then a record may hold anything.
        name: of the model.
        limits: of one request: `body_bytes`, `rows`, `keys`, `depth` and `seconds`.
        keyed: whether a client needs a key.

    Returns:
        Plain values; the same for the same arguments.
    """
    made = outputs(served)
    paths = {
        "/predict": {"post": _predict(served, made, limits)},
        **_described(),
        **_machines(),
        **_inference(served, name),
    }
    for operation in (operation for path in paths.values() for operation in path.values() if "responses" in operation):
        _complete(operation, keyed)
    components: dict[str, Any] = {"schemas": {**schemas.FIXED, **schemas.of_model(served, made, limits)}}
    if keyed:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": served.version if served else "none", "description": _said(served)},
        "servers": [{"url": "./"}],
        "paths": paths,
        "components": components,
        **({"security": [{"bearer": []}, {"header": []}]} if keyed else {}),
    }


def _said(served: Served | None) -> str:
    """What answers."""
    if served is None:
        return "No model answers at the moment. GET /readyz says why."
    if served.mode == "fallback":
        return f"Version {served.version} answers as a fallback: {served.reason}"
    return f"Version {served.version} answers."


# ── operations ──────────────────────────────────────────────────────────────────────────────────


def _predict(
    served: Served | None, made: Sequence[tuple[str, str]], limits: Mapping[str, int | float]
) -> dict[str, Any]:
    """POST /predict."""
    responses = _responses(200, (400, 408, 413, 415, 422, 429, 500, 503, 504), ref("Predictions"))
    if served is not None and served.mode == "file":  # it may answer a picture, or any other bytes
        kinds = sorted({"image/webp", BINARY, *(kind for _, kind in SIGNATURES)})
        responses["200"]["content"] |= {kind: {"schema": BYTES} for kind in kinds}
    operation: dict[str, Any] = {
        "operationId": "predict",
        "summary": "Predict",
        "description": f"Limits of one request: {_listed(limits)}.",
        "tags": ["predictions"],
        "requestBody": {"required": True, "content": _bodies(served)},
        "responses": responses,
    }
    if served is None or served.contract is not None:
        operation["parameters"] = _query(served, made)
    return operation


def _listed(limits: Mapping[str, int | float]) -> str:
    said = {"body_bytes": "bytes", "rows": "rows", "keys": "keys of a row", "depth": "levels deep", "seconds": "s"}
    return ", ".join(f"{limits[name]:,.15g} {what}" for name, what in said.items() if name in limits)


def _bodies(served: Served | None) -> dict[str, Any]:
    """What a body of /predict may be, by its content type."""
    one = served.example() if served is not None else None
    example = {} if one is None else {"example": one}
    if served is not None and served.contract is not None:
        return {JSON: {"schema": ref("Request"), **example}}
    anything = {JSON: {"schema": {}, **example}}
    match getattr(served, "kind", None):
        case "json":
            form = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
            return {**anything, **dict.fromkeys(FORMS, form)}
        case "bytes":
            file = {"type": "object", "required": ["file"], "properties": {"file": {**BYTES}}}
            return {BINARY: {"schema": BYTES}, FORMS[0]: {"schema": file}}
    return anything


def _query(served: Served | None, made: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The parameters of /predict that stand behind the `?`."""
    partial = {
        "name": "partial",
        "in": "query",
        "description": "Answer the rows that can be scored and list the others, instead of refusing all of them.",
        "schema": {"type": "boolean", "default": False},
    }
    if made and "score" not in dict(made):  # of several scores none can be held to a threshold
        return [partial]
    least: dict[str, Any] = {"type": "number"}
    if (default := getattr(served, "threshold", None)) is not None:
        least["default"] = default
    said = "Only the rows whose score reaches it are in the answer, each with its index."
    return [{"name": "threshold", "in": "query", "description": said, "schema": least}, partial]


def _described() -> dict[str, Any]:
    """What tells of the model."""
    return {
        "/model": {"get": _read("model", "What the model takes", "predictions", ref("Model"), (503,))},
        "/openapi.json": {"get": _read("openapi", "This document", "predictions", {"type": "object"})},
    }


def _machines() -> dict[str, Any]:
    """What a platform asks; only the figures need a key."""
    metrics = _read("metrics", "Figures for Prometheus", "platform", {})
    metrics["responses"]["200"]["content"] = {type: {"schema": {"type": "string"}} for type in METRICS}
    return {
        "/healthz": {"get": _open(_live("live", "platform"))},
        "/readyz": {"get": _open(_ready("ready", "platform"))},
        "/metrics": {"get": metrics},
    }


def _inference(served: Served | None, name: str) -> dict[str, Any]:
    """The Open Inference Protocol, with and without a version in the address."""
    paths: dict[str, Any] = {
        "/v2": {"get": _read("v2_server", "What serves", "inference", ref("Server"))},
        "/v2/health/live": {"get": _open(_live("v2_live", "inference"))},
        "/v2/health/ready": {"get": _open(_ready("v2_ready", "inference"))},
    }
    one = _parameter("name", "The model that is served.", name)
    version = _parameter("version", "The version that answers now.", served.version if served else "none")
    for under, mark, parameters in (("", "", [one]), ("/versions/{version}", "_version", [one, version])):
        at, ready = f"/v2/models/{{name}}{under}", _ready(f"v2_model_ready{mark}", "inference")
        ready["responses"]["404"] = _answer(_titles(404), ref("Error"))
        paths[at] = {"parameters": parameters, "get": _v2(f"v2_model{mark}", "What the model takes", ref("Tensors"))}
        paths[f"{at}/ready"] = {"parameters": parameters, "get": ready}
        paths[f"{at}/infer"] = {"parameters": parameters, "post": _infer(served, f"v2_infer{mark}")}
    return paths


def _live(id: str, tag: str) -> dict[str, Any]:
    return _read(id, "Whether the process lives", tag, ref("Live"))


def _ready(id: str, tag: str) -> dict[str, Any]:
    operation = _read(id, "Whether requests are answered", tag, ref("Ready"))
    operation["responses"]["503"] = _answer("No model is ready.", ref("Ready"))
    return operation


def _infer(served: Served | None, id: str) -> dict[str, Any]:
    """POST .../infer: JSON, or JSON and bytes behind it."""
    operation = _v2(id, "Infer", ref("InferenceAnswer"), (400, 404, 408, 413, 422, 429, 500, 503, 504))
    operation["responses"]["200"]["content"][BINARY] = {"schema": BYTES}
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of JSON at the front of the body, where binary data follows.",
        "schema": {"type": "integer", "minimum": 0},
    }
    operation["parameters"] = [length]
    operation["requestBody"] = {
        "required": True,
        "content": {
            JSON: {"schema": ref("InferenceRequest"), **_tensors(served)},
            BINARY: {"schema": BYTES},
        },
    }
    return operation


def _tensors(served: Served | None) -> dict[str, Any]:
    """One row as an inference asks for it, where somebody knows one."""
    row = served.example() if served is not None else None
    if served is None or not isinstance(row, Mapping):
        return {}
    given = [(name, datatype, row[name]) for name, datatype in served.inputs() if name in row]
    tensors = [{"name": n, "datatype": t, "shape": [1], "data": [int(v) if t == "INT64" else v]} for n, t, v in given]
    return {"example": {"inputs": tensors}} if tensors else {}


# ── parts of operations ─────────────────────────────────────────────────────────────────────────


def _read(id: str, summary: str, tag: str, schema: dict[str, Any], faults: Iterable[int] = ()) -> dict[str, Any]:
    """A GET that answers JSON."""
    return {"operationId": id, "summary": summary, "tags": [tag], "responses": _responses(200, faults, schema)}


def _v2(id: str, summary: str, schema: dict[str, Any], faults: Iterable[int] = (404, 500, 503, 504)) -> dict[str, Any]:
    """An operation of the Open Inference Protocol, whose errors are its own."""
    operation = _read(id, summary, "inference", schema)
    for status in faults:
        operation["responses"][str(status)] = _answer(_titles(status), ref("Error"))
    return operation


def _responses(good: int, faults: Iterable[int], schema: dict[str, Any]) -> dict[str, Any]:
    """The answers of an operation by status."""
    found = {str(good): _answer("The answer.", schema)}
    return {**found, **{str(status): _answer(_titles(status), ref("Problem"), MEDIA_TYPE) for status in faults}}


def _answer(said: str, schema: dict[str, Any], media_type: str = JSON) -> dict[str, Any]:
    return {"description": said, "content": {media_type: {"schema": schema}}}


def _titles(status: int) -> str:
    """What a status says, in all its kinds."""
    return ". ".join(title for code, title in TITLES.values() if code == status) + "."


def _parameter(name: str, said: str, value: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": said, "schema": {"enum": [value]}}


def _open(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation that needs no key."""
    return {**operation, "security": []}


def _complete(operation: dict[str, Any], keyed: bool) -> None:
    """Add what a client without a key is told, where it needs one."""
    responses = operation["responses"]
    if keyed and "security" not in operation:
        inference = operation["tags"] == ["inference"]
        schema, media_type = (ref("Error"), JSON) if inference else (ref("Problem"), MEDIA_TYPE)
        responses["401"] = _answer(_titles(401), schema, media_type)
    elif not keyed:
        operation.pop("security", None)
    operation["responses"] = {status: responses[status] for status in sorted(responses)}
