"""A request as it is given on the command line: JSON, a file of rows, or the fields and files of a form."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fuseline.errors import DataError, SettingsError
from fuseline.serving.served import Asked, File, encode

FIELD = "file"  # the field of a form that holds a file which is neither JSON nor a table
FORM = "multipart/form-data"
TABLES = (".csv", ".parquet")
LINES = (".jsonl", ".ndjson")


def sent(given: str | None, form: Sequence[str] = ()) -> Asked:
    """The request that is meant.

    Args:
        given: JSON; `-` for JSON from stdin; or a file: .json as it is, .jsonl, .csv and .parquet as records, any
            other one as the field `file` of a form. None for a form alone.
        form: `name=value` or `name=@file`, each a field.

    Raises:
        SettingsError: there is no such file, or a form is given together with JSON.
        DataError: a file of rows cannot be read.
    """
    body = None if given is None else _body(given)
    if body is not None:
        if form:
            raise SettingsError("--form and --input with JSON are two requests: give one of them")
        return Asked(body)
    fields: dict[str, str | File] = {} if given is None else {FIELD: _file(Path(given))}
    for text in form:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise SettingsError(f"--form {text}: expected NAME=VALUE, or NAME=@FILE")
        fields[name] = _file(Path(value[1:])) if value.startswith("@") else value
    return Asked(b"", FORM, form=fields)


def _body(given: str) -> bytes | None:
    """The JSON of an input; None for a file that is neither JSON nor a table."""
    if given == "-":
        return sys.stdin.buffer.read()
    if given.lstrip()[:1] in ("{", "["):
        return given.encode()
    path = Path(given)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise SettingsError(f"--input {given}: there is no such file, and it is no JSON, which begins with {{ or [")
    if suffix == ".json":
        return path.read_bytes()
    if suffix in LINES:
        return _lines(path)
    return _table(path) if suffix in TABLES else None


def _lines(path: Path) -> bytes:
    """A list of the records that stand in a line each."""
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{path.name}, line {number} is no JSON: {error}") from error
        records.append(line)
    return b"[" + b",".join(records) + b"]"


def _table(path: Path) -> bytes:
    """The rows of a table as a list of records, null where a cell is empty."""
    import pyarrow as pa

    from fuseline.tables import read_table

    table = read_table(path)
    for index, column in enumerate(table.schema):
        if pa.types.is_decimal(column.type):  # JSON would have it as text
            table = table.set_column(index, column.name, table.column(index).cast(pa.float64()))
    return encode(table.to_pylist())


def _file(path: Path) -> File:
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such file")
    return File(path.read_bytes(), path.name, mimetypes.guess_type(path.name)[0] or "application/octet-stream")
