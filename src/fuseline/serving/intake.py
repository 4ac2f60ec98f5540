"""What the first hook of a plain file is given of a request: JSON as it was sent, a frame, an array, or bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from itertools import chain
from operator import itemgetter
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from fuseline.serving.bounds import Bounds
from fuseline.serving.problem import Problem, RowFault
from fuseline.serving.served import Asked, File, Tensor

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Kind = Literal["json", "frame", "array", "bytes"]
KINDS: dict[Kind, str] = {
    "json": "the JSON as it was sent, or the fields and files of a form as a dict",
    "frame": "a pandas DataFrame",
    "array": "a numpy array",
    "bytes": "the body, or the one file of a form, as bytes",
}
TYPES: dict[str, Kind] = {"DataFrame": "frame", "ndarray": "array", "NDArray": "array", "bytes": "bytes"}
LIBRARIES = ("pandas", "numpy", "builtins")  # that these types are of
WRAPPED = re.compile(r"(?:\w+\.)*(?:Optional|Union|Annotated)\[(.*)\]")
PLACE = re.compile(r" \(byte (\d+)\)$")
SHOWN = 40  # characters of a body that an error repeats

Cell = None | bool | int | float | str
One = Cell | list[Cell] | dict[str, Cell]
Two = Cell | list[One] | dict[str, One]
Three = Cell | list[Two] | dict[str, Two]


@dataclass(frozen=True)
class Given:
    """What the first hook is given.

    Attributes:
        value: the argument itself.
        rows: how many it holds, 1 where there are no rows.
        aligned: whether predict must return one value for each of them.
    """

    value: Any
    rows: int = 1
    aligned: bool = False


def kind_of(annotation: Any, names: Mapping[str, Any]) -> Kind:
    """What an annotation asks for; `json` for all that is no frame, no array and no bytes.

    Args:
        annotation: of the first argument of the first hook, text where the file postpones annotations.
        names: the globals of the hook, where the names of a text are looked up.
    """
    if isinstance(annotation, str):
        return _kind_of_text(annotation, names)
    if annotation is Parameter.empty:
        return "json"
    origin = get_origin(annotation)
    if origin is Annotated:
        return kind_of(get_args(annotation)[0], names)
    if origin in (Union, UnionType):
        return _first(kind_of(part, names) for part in get_args(annotation))
    kind = origin or annotation
    name, library = getattr(kind, "__name__", ""), str(getattr(kind, "__module__", "")).partition(".")[0]
    return TYPES.get(name, "json") if library in LIBRARIES else "json"


def _kind_of_text(text: str, names: Mapping[str, Any]) -> Kind:
    """The kind of an annotation that is text; its imports may be there for type checkers only, so names decide."""
    text = text.strip(" '\"")
    outer, _, inner = text.partition(".")
    if (found := names.get(outer)) is not None and not isinstance(found, str):
        known = getattr(found, inner, None) if inner else found
        if known is not None:
            return kind_of(known, names)
    if wrapped := WRAPPED.fullmatch(text):
        return _first(_kind_of_text(part, names) for part in wrapped[1].split(","))
    if "|" in text.partition("[")[0]:
        return _first(_kind_of_text(part, names) for part in text.split("|"))
    return TYPES.get(text.partition("[")[0].rpartition(".")[2], "json")


def _first(kinds: Iterable[Kind]) -> Kind:
    """The kind of a union: that of its parts that is no JSON, for `frame | None` and the like."""
    found: list[Kind] = [kind for kind in kinds if kind != "json"]
    return found[0] if len(set(found)) == 1 else "json"


def given(asked: Asked, kind: Kind, bounds: Bounds, names: Sequence[str] = ()) -> Given:
    """What the first hook is given of a request.

    Args:
        names: the columns of the model, where it has names for them: they order what has no order.

    Raises:
        Problem: the body is no JSON, of another type, too large, or cannot be brought to this kind.
    """
    if kind == "bytes":
        return Given(_raw(asked))
    if asked.form is not None:
        if kind != "json":
            raise Problem("wrong-media-type", f"the model takes {KINDS[kind]}, made of JSON: a form is not taken")
        fields = {name: one.data if isinstance(one, File) else one for name, one in asked.form.items()}
        return Given({**asked.query, **fields})
    _check_type(asked.media_type)
    value = decoded(asked.body, bounds)
    if kind == "frame":
        data = frame(value, bounds, names)
        return Given(data, len(data), aligned=True)
    if kind == "array":
        array = to_array(value, bounds, names)
        return Given(array, len(array), aligned=True)
    rows = len(value) if isinstance(value, list) and value and all(isinstance(v, dict | list) for v in value) else 1
    bounds.check_rows(rows)
    return Given(value, rows)


def given_tensors(tensors: Sequence[Tensor], kind: Kind) -> Given:
    """What the first hook is given of named columns: a frame, an array of them side by side, or a dict of lists."""
    if kind == "bytes":
        raise Problem("bad-input", "the model takes bytes, and not tensors: use POST /predict")
    if not tensors:
        raise Problem("no-rows", "there are no tensors: expected one at least")
    rows = len(tensors[0].values)
    if kind == "json":
        return Given({t.name: t.values.tolist() if hasattr(t.values, "tolist") else t.values for t in tensors}, rows)
    columns = {name: values for t in tensors for name, values in _split(t)}
    if kind == "frame":
        import pandas as pd

        return Given(pd.DataFrame(columns), rows, aligned=True)
    import numpy as np

    if len(tensors) == 1:
        return Given(np.asarray(tensors[0].values), rows, aligned=True)
    return Given(np.column_stack(list(columns.values())), rows, aligned=True)


def _split(tensor: Tensor) -> list[tuple[str, Any]]:
    """The columns of a tensor: one, or as many as its second dimension has, by their places."""
    if getattr(tensor.values, "ndim", 1) == 1:
        return [(tensor.name, tensor.values)]
    return [(f"{tensor.name}_{i}", column) for i, column in enumerate(tensor.values.T)]


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────


def _check_type(media_type: str) -> None:
    if media_type and media_type not in ("application/json", "text/json") and not media_type.endswith("+json"):
        raise Problem(
            "wrong-media-type",
            f"{media_type} is not taken: send JSON as application/json, or a form as multipart/form-data. "
            "A file whose first hook says that it takes bytes, as in predict(data: bytes), is given any body",
        )


def _raw(asked: Asked) -> bytes:
    """The bytes of a request: its body, or the one file of a form."""
    if asked.form is None:
        if not asked.body:
            raise Problem("bad-input", "the body is empty: expected the bytes that the model reads")
        return asked.body
    files = [one for one in asked.form.values() if isinstance(one, File)]
    if len(files) != 1:
        raise Problem("bad-input", f"the form has {len(files)} files: expected exactly one")
    return files[0].data


FLAT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Three)


def decoded(body: bytes, bounds: Bounds) -> Any:
    """The value of a JSON body. Raises Problem, with the line and the column where it is no JSON."""
    try:
        try:
            return FLAT.decode(body)  # what hardly nests needs no look at how deep it is
        except msgspec.ValidationError:
            value = msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        raise Problem("bad-input", f"{error}: a float holds no more than 1.8e308") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("not-json", _malformed(body, error)) from error
    except RecursionError as error:
        raise bounds.too_deep() from error
    bounds.check_depth(value)
    return value


def _malformed(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty: expected JSON"
    if isinstance(error, UnicodeDecodeError):
        return "the text of the body is not UTF-8: JSON is UTF-8"
    found = PLACE.search(str(error))
    at = int(found[1]) if found else len(body)
    line, column = body.count(b"\n", 0, at) + 1, at - (body.rfind(b"\n", 0, at) + 1) + 1
    near = body[max(0, at - SHOWN // 2) : at + SHOWN // 2].decode("utf-8", "replace")
    return f"{PLACE.sub('', str(error))} at line {line}, column {column}, near {near!r}"


# ── frames and arrays ───────────────────────────────────────────────────────────────────────────


def frame(value: Any, bounds: Bounds, names: Sequence[str] = ()) -> pd.DataFrame:
    """A frame of one record or a list of them: the columns of all, null where a record has none.

    Lists of values are taken too where the columns have names. Raises Problem for anything else.
    """
    import pandas as pd

    records = _listed(value, bounds)
    if names and all(isinstance(one, list) and len(one) == len(names) for one in records):
        return pd.DataFrame(dict(zip(names, map(list, zip(*records, strict=True)), strict=True)))
    return pd.DataFrame(columns_of(records, bounds), index=pd.RangeIndex(len(records)))


def columns_of(records: Sequence[Any], bounds: Bounds) -> dict[str, list[Any]]:
    """The columns of records, None where a record has no such key. Raises Problem where one is no object."""
    faults = [
        RowFault(i, None, f"is {said(one)}, not an object") for i, one in enumerate(records) if type(one) is not dict
    ]
    if faults:
        raise Problem("bad-input", "each row must be a JSON object of column names and values", rows=faults)
    sizes = list(map(len, records))
    if max(sizes) > bounds.keys:
        bounds.check_keys(sizes.index(max(sizes)), max(sizes))
    first = records[0]
    if sum(sizes) == len(first) * len(records) and all(record.keys() == first.keys() for record in records):
        return {name: list(map(itemgetter(name), records)) for name in first}
    names = dict.fromkeys(chain.from_iterable(records))
    if len(names) > bounds.keys:
        raise Problem(
            "too-large",
            f"the rows have {len(names):,} different keys: at most {bounds.keys:,} are taken. Send the model's columns",
            limit=bounds.keys,
        )
    return {name: [record.get(name) for record in records] for name in names}


def to_array(value: Any, bounds: Bounds, names: Sequence[str] = ()) -> np.ndarray:
    """An array of numbers: of lists of them as they are, of records in the order of the model's columns."""
    import numpy as np

    records = _listed(value, bounds)
    if any(isinstance(one, dict) for one in records):
        if not names:
            raise Problem(
                "bad-input", "the model takes a numpy array, and objects have no order: send lists of numbers"
            )
        columns = columns_of(records, bounds)
        if missing := [name for name in names if name not in columns]:
            raise Problem("bad-input", f"no row has {', '.join(missing)}: the model takes {', '.join(names)}")
        records = [list(row) for row in zip(*(columns[name] for name in names), strict=True)]
    try:
        array = np.asarray(records)
        return array.astype(np.float64) if array.dtype == object else array  # nulls among numbers become NaN
    except (TypeError, ValueError) as error:
        raise Problem("bad-input", f"this is no array of numbers: {error}") from error


def _listed(value: Any, bounds: Bounds) -> list[Any]:
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise Problem("bad-input", f"the body is {said(value)}: expected an object or a list")
    if not value:
        raise Problem("no-rows", "the list is empty: expected at least one row")
    bounds.check_rows(len(value))
    return value


def said(value: Any) -> str:
    """What a JSON value is, for errors."""
    names = {str: "text", dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
