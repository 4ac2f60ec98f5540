"""The schemas of the API's document: those of every model, and those that are made of a contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseline.contract import Column
from fuseline.errors import FuselineError
from fuseline.serving.problem import Problem
from fuseline.serving.served import Served

LEVELS = 20  # of a column that its description names
ANSWERS = {"FP64": "number", "INT64": "number", "BOOL": "boolean"}  # of a column that `postprocess` adds
INPUTS = {"FP64": "number", "INT64": "integer", "BOOL": "boolean", "BYTES": "string"}
TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
NAMED: dict[str, Any] = {"model": TEXT, "version": TEXT}


def ref(name: str) -> dict[str, Any]:
    """Points to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with some members; more may be there."""
    return {"type": "object", "required": [*required], "properties": {**required, **optional}}


def predictions(rows: dict[str, Any] | None) -> dict[str, Any]:
    """The answer of /predict.

    Args:
        rows: the schema of the predictions; empty where they may be anything, None where the model is not known.
    """
    said = record(
        {**NAMED, "mode": {"enum": ["champion", "fallback", "file"]}, "predictions": rows or {}},
        reason={**TEXT, "description": "Why another version than the champion answers."},
    )
    if rows != {}:
        said["properties"] |= {
            "extra": {"type": "array", "items": TEXT, "description": "Columns that the model does not know."},
            "rejected": {"type": "array", "items": ref("RowFault"), "description": "Rows without a prediction."},
        }
    return said


def _tensor(**more: Any) -> dict[str, Any]:
    return record({"name": TEXT, "datatype": TEXT, "shape": {"type": "array", "items": {"type": "integer"}}}, **more)


_PARAMETERS: dict[str, Any] = {"type": "object"}
_MANY_TENSORS: dict[str, Any] = {"type": "array", "items": _tensor()}
_DATATYPES = [
    "BOOL",
    *(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)),
    *("FP16", "FP32", "FP64", "BYTES"),
]

FIXED: dict[str, Any] = {
    "Problem": {
        "description": "What is wrong, as RFC 9457 has it.",
        **record(
            {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT},
            request_id=TEXT,
            rows={"type": "array", "items": ref("RowFault"), "description": "The rows that are to blame."},
            rows_not_shown=WHOLE,
            limit={"type": "number"},
        ),
    },
    "RowFault": record({"row": WHOLE, "column": {"type": ["string", "null"]}, "reason": TEXT}),
    "Error": record({"error": TEXT}),
    "Live": record({"live": {"const": True}}),
    "Ready": record(
        {"ready": {"type": "boolean"}, "name": TEXT},
        version=TEXT,
        mode=TEXT,
        breaker={"enum": ["closed", "open", "half_open"]},
        reason=TEXT,
        trouble=TEXT,
    ),
    "Model": record(
        {
            "name": TEXT,
            "version": TEXT,
            "mode": TEXT,
            "reason": TEXT,
            "task": {"type": ["string", "null"]},
            "threshold": {"type": ["number", "null"]},
            "limits": {"type": "object", "additionalProperties": {"type": "number"}},
            "files": {"type": "boolean"},
            "example": {},
            "id": {"type": ["string", "null"]},
            "columns": {"type": ["array", "null"], "items": record({"name": TEXT, "kind": TEXT})},
        }
    ),
    "Server": record({"name": TEXT, "version": TEXT, "extensions": {"type": "array", "items": TEXT}}),
    "Tensors": record(
        {
            "name": TEXT,
            "versions": {"type": "array", "items": TEXT},
            "platform": TEXT,
            "inputs": _MANY_TENSORS,
            "outputs": _MANY_TENSORS,
        }
    ),
    "InferenceRequest": record(
        {
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": record(
                    {
                        "name": TEXT,
                        "datatype": {"enum": _DATATYPES},
                        "shape": {"type": "array", "items": WHOLE, "minItems": 1, "maxItems": 2},
                    },
                    data={"type": "array"},
                    parameters=_PARAMETERS,
                ),
            }
        },
        id=TEXT,
        outputs={"type": "array", "items": record({"name": TEXT}, parameters=_PARAMETERS)},
        parameters=_PARAMETERS,
    ),
    "InferenceAnswer": record(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "outputs": {"type": "array", "items": _tensor(data={"type": "array"}, parameters=_PARAMETERS)},
        },
        id=TEXT,
        parameters=_PARAMETERS,
    ),
}


# ── schemas of this model ───────────────────────────────────────────────────────────────────────


def of_model(
    served: Served | None, made: Sequence[tuple[str, str]], limits: Mapping[str, int | float]
) -> dict[str, Any]:
    """The schemas that depend on the model.

    Args:
        made: name and datatype of what comes out.
        limits: of one request.
    """
    if served is None or served.contract is None:
        return {"Predictions": predictions({} if served else None)}
    row = {
        "type": "object",
        "description": "One row. A column that is missing, null or blank is filled in as in training; others are "
        "reported. The order does not matter.",
        "properties": _properties(served),
    }
    many = {"type": "array", "items": ref("Record"), "minItems": 1}
    if "rows" in limits:
        many["description"] = f"At most {limits['rows']:,} rows."
    index = {**WHOLE, "description": "Of the row in the request."}
    always = {"index": index, **{name: {"type": "number"} for name, _ in made if name == "score"}}
    free = {name: {"type": [ANSWERS[type], "null"]} if type in ANSWERS else {} for name, type in made}
    return {
        "Record": row,
        "Request": {"oneOf": [ref("Record"), many]},
        "Prediction": record(always, **{name: schema for name, schema in free.items() if name not in always}),
        "Predictions": predictions({"type": "array", "items": ref("Prediction")}),
    }


def _properties(served: Served) -> dict[str, Any]:
    """Name to schema of what a record may hold."""
    assert served.contract is not None
    columns = {column.name: _column(column) for column in served.contract.columns}
    beside = {name: {"type": [INPUTS[type], "null"]} for name, type in served.inputs() if name not in columns}
    return {**columns, **beside}


def _column(column: Column) -> dict[str, Any]:
    """One property: its type is that of training, its values are free."""
    if column.kind == "datetime":
        moments = [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}, {"type": "null"}]
        return {"anyOf": moments, "description": "A moment in ISO 8601; UTC without a zone."}
    schema: dict[str, Any] = {"type": ["string" if column.kind == "text" else column.kind, "null"]}
    if column.kind == "number" and column.low is not None:
        schema["description"] = f"From {column.low:g} to {column.high:g} in training."
    elif column.levels:
        shown, more = ", ".join(column.levels[:LEVELS]), len(column.levels) - LEVELS
        schema["description"] = f"In training: {shown}{f' and {more} more' if more > 0 else ''}. Others are taken, too."
    if examples := [_typed(column, text) for text in column.examples]:
        schema["examples"] = examples
    return schema


def _typed(column: Column, text: str) -> Any:
    """An example of the contract, which is text there, as a request would hold it."""
    if column.kind == "number":
        number = float(text)
        return int(number) if number.is_integer() else number
    return text in ("1", "1.0", "true") if column.kind == "boolean" else text


def outputs(served: Served | None) -> list[tuple[str, str]]:
    """Name and datatype of what comes out; nothing where the model cannot say."""
    try:
        return served.outputs() if served is not None else []
    except (FuselineError, Problem):
        return []
