"""CSV and JSON-lines files as streams of record batches, in bounded memory.

Neither format knows types. Every column of a CSV file is read as text, and the contract decides what it is; JSON keeps
its numbers and booleans, and text stays text. A row is numbered by its place in the file, from 0, blank lines left
out. A row that cannot be parsed is handed to `on_broken`; the rows around it keep their numbers.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuseline.errors import Unreadable

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}
STRANGE = "^~:\x01 "  # what else people separate by: refused with a sentence, not read as one wide column
NULLS = ("", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "Null", "NaN", "nan", "None", "-nan", "-NaN")
HEAD = 65_536  # bytes that are looked at to tell what a file is
LOOKED_AT = 50  # of their rows, to tell the delimiter
LINE_END = re.compile(r"\r\n|\n|\r")  # `splitlines` also cuts at characters that may stand in a name or a value
BLOCK = 4 << 20  # bytes of a CSV file that are parsed at once; no line may be longer
MAX_BROKEN = 1000  # a file with more broken rows is not a file of rows
NO_BOM = len(b"\xef\xbb\xbf")
UTF8_ADVICE = "Fuseline reads UTF-8: convert it, for instance `iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8-{name}`"
MAGIC = {
    b"PAR1": "a Parquet file: rename it to end in .parquet",
    b"\x1f\x8b": "compressed with gzip: unpack it with `gunzip`",
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it with `unzstd`",
    b"\xff\xfe": "UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`",
    b"\xfe\xff": "UTF-16 text: convert it with `iconv -f UTF-16 -t UTF-8`",
}


@dataclass(frozen=True)
class Broken:
    """A row that could not be parsed: its number in the file from 0, why, and the start of its text."""

    row: int
    reason: str
    text: str


OnBroken = Callable[[Broken], None]


def start_of(path: Path, format: str) -> str:
    """The beginning of a text file, decoded. Raises Unreadable for an empty file, binary data or another encoding."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise Unreadable(f"{path.name} is empty: expected {format} with at least one row. Deliver it again")
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise Unreadable(f"{path.name} is no {format}: it is {what}")
    if b"\0" in head:
        raise Unreadable(f"{path.name} is no {format}: it holds zero bytes. Deliver it again as UTF-8 text")
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(head) == HEAD and error.start >= HEAD - 3:  # a character that the cut went through
            return head[: error.start].decode("utf-8-sig")
        raise Unreadable(_not_utf8(path)) from error


def _not_utf8(path: Path) -> str:
    return f"{path.name} is not UTF-8 text. {UTF8_ADVICE.format(name=path.name)}"


# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Layout:
    """How a CSV file is written: its delimiter and the names in its header."""

    delimiter: str
    names: tuple[str, ...]


def csv_layout(path: Path) -> Layout:
    """Delimiter and names of a CSV file, from its first lines. Raises Unreadable where they make no sense."""
    head = start_of(path, "CSV file")
    end = max(head.rfind("\n"), head.rfind("\r"))
    sample = head[:end] if len(head) > HEAD // 2 and end > 0 else head  # the last line may be cut
    found = {d: _rows(sample, d) for d in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda d: _plausible(found[d]))
    if not found[delimiter]:
        raise Unreadable(f"{path.name} has no header: its first lines are empty")
    names = tuple(found[delimiter][0])
    if len(names) == 1:
        _refuse_strange(path, sample)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise Unreadable(f"{path.name} names a column twice: {', '.join(twice)}. Give each column its own name")
    return Layout(delimiter, names)


def _rows(sample: str, delimiter: str) -> list[list[str]]:
    read = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    return list(islice((row for row in read if row), LOOKED_AT))


def _plausible(rows: list[list[str]]) -> tuple[float, int]:
    """Share of rows as wide as the header, and that width; a header of one column says nothing."""
    if not rows or len(rows[0]) < 2:
        return 0.0, 0
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])


def _refuse_strange(path: Path, sample: str) -> None:
    lines = [line for line in LINE_END.split(sample) if line.strip()][:20]
    for mark in STRANGE:
        counts = {line.count(mark) for line in lines}
        if len(lines) > 1 and len(counts) == 1 and counts != {0}:
            raise Unreadable(
                f"{path.name}: every line is separated by {mark!r} (header {lines[0][:80]!r}). Expected "
                f"{', '.join(DELIMITERS.values())}: write it again with one of these"
            )


def csv_batches(
    path: Path, text: Collection[str], columns: Sequence[str] | None, on_broken: OnBroken | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Stream a CSV file: (row number of the first row, batch), every column as text, contiguous rows in each batch.

    Args:
        text: columns to give as dictionaries.
        columns: columns to read, those that are there; None for all.
        on_broken: is given the rows with too few or too many values; without it the first one raises.

    Raises:
        Unreadable: no rows, another encoding, or more than 1,000 broken rows.
    """
    import pyarrow as pa
    import pyarrow.csv as pc

    layout = csv_layout(path)
    broken: deque[int] = deque()
    count, first = 0, None

    def skip(row: pc.InvalidRow) -> str:
        nonlocal count, first
        count += 1
        reason = f"has {row.actual_columns} values where the header has {row.expected_columns}"
        found = Broken(row.number - 2, reason, row.text[:200])
        first = first or found
        if on_broken is None or count > MAX_BROKEN:
            return "error"
        broken.append(found.row)
        on_broken(found)
        return "skip"

    dictionary = pa.dictionary(pa.int32(), pa.string())
    convert = pc.ConvertOptions(
        column_types={name: dictionary if name in text else pa.string() for name in layout.names},
        null_values=NULLS,
        strings_can_be_null=True,
        include_columns=_chosen(layout.names, columns),
    )
    parse = pc.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=skip)
    at = 0
    try:
        reader = pc.open_csv(
            path, pc.ReadOptions(use_threads=False, block_size=BLOCK), parse_options=parse, convert_options=convert
        )
        for batch in reader:
            for start, part in _between(batch, at, broken):
                at = start + part.num_rows
                yield start, part
    except pa.ArrowInvalid as error:
        raise Unreadable(_csv_fault(path, str(error), first, on_broken is not None)) from error
    if at + count == 0:
        raise Unreadable(f"{path.name} has a header and no rows: expected at least one")


def _chosen(names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    """The columns to read; at least one, so that rows can be counted."""
    if columns is None:
        return list(names)
    return [name for name in names if name in set(columns)] or [names[0]]


def _between(batch: pa.RecordBatch, at: int, broken: deque[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch where broken rows were left out of it."""
    done = 0
    while done < batch.num_rows:
        while broken and broken[0] == at:
            broken.popleft()
            at += 1
        left = batch.num_rows - done
        size = min(left, broken[0] - at) if broken else left
        yield at, batch.slice(done, size)
        done, at = done + size, at + size


def _csv_fault(path: Path, error: str, first: Broken | None, handled: bool) -> str:
    if first is not None and not handled:
        return f"{path.name}, line {first.row + 2}: {first.reason} ({first.text[:80]!r}). Mend the line, or quote it"
    if first is not None:
        return (
            f"{path.name} has more than {MAX_BROKEN:,} broken rows; the first, in line {first.row + 2}, "
            f"{first.reason}. Expected as many values in each line as in the header"
        )
    if "UTF8" in error:
        return _not_utf8(path)
    if "Empty CSV" in error:
        return f"{path.name} has a first line that never ends: expected a header. A quote that opens and never closes?"
    if "straddling" in error:
        return f"{path.name} has a line longer than {BLOCK >> 20} MB: a quote that opens and never closes?"
    return f"{path.name} cannot be read as CSV: {error}. Write it again with a header, UTF-8 and one row in each line"


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────────


def json_lines(path: Path, chunk_rows: int) -> Iterator[tuple[int, list[bytes]]]:
    """The lines that are not blank, in chunks: (row number of the first, lines). Raises Unreadable without any."""
    if start_of(path, "JSON-lines file").lstrip().startswith("["):
        raise Unreadable(
            f"{path.name} is one JSON array: expected one object in each line. Convert it: `jq -c '.[]' {path.name}`"
        )
    at, lines = 0, []
    with path.open("rb") as file:
        if file.read(NO_BOM) != b"\xef\xbb\xbf":
            file.seek(0)
        for line in file:
            if stripped := line.strip():
                lines.append(stripped)
                if len(lines) == chunk_rows:
                    yield at, lines
                    at, lines = at + len(lines), []
    if lines:
        yield at, lines


def json_columns(path: Path, chunk_rows: int) -> dict[str, pa.DataType]:
    """Names and types over the whole file: a key that some rows leave out is a column all the same.

    Where the values of a column do not go together (numbers and words), it is text.
    """
    import pyarrow as pa

    found: dict[str, pa.DataType] = {}
    for _, lines in json_lines(path, chunk_rows):
        for _, batch in _runs(lines, 0, pa.schema([]), None):
            for name, kind in zip(batch.schema.names, batch.schema.types, strict=True):
                found[name] = _either(found.get(name, pa.null()), kind)
    return found


def _either(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds both; text where nothing else does, and for what looks like a time."""
    import pyarrow as pa

    try:
        schemas = [pa.schema([("x", one)]), pa.schema([("x", other)])]
        both = pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
    return pa.string() if pa.types.is_timestamp(both) else both


def json_batches(
    path: Path, text: Collection[str], columns: Sequence[str] | None, on_broken: OnBroken | None, chunk_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Stream a JSON-lines file: (row number of the first row, batch), contiguous rows in each batch.

    Every batch has the columns of the whole file; a key that is left out is null. Types may change from batch to
    batch where the values do: a column of numbers and words is text where the words are.

    Args:
        text: columns that are text, whatever they look like.
        columns: columns to read, those that are there; None for all.
        on_broken: is given the lines that are no JSON object; without it the first one raises.

    Raises:
        Unreadable: no rows, another encoding, or more than 1,000 broken rows.
    """
    import pyarrow as pa

    types = json_columns(path, chunk_rows)
    if not types:
        raise Unreadable(f"{path.name} holds no JSON object with a key: expected one object in each line")
    names = _chosen(list(types), columns)
    schema = pa.schema([(n, pa.string()) for n in types if n in text or pa.types.is_string(types[n])])
    count, first = 0, None

    def report(broken: Broken) -> None:
        nonlocal count, first
        count += 1
        first = first or broken
        if on_broken is None or count > MAX_BROKEN:
            many = f"has more than {MAX_BROKEN:,} broken lines; the first, " if on_broken is not None else ""
            raise Unreadable(
                f"{path.name} {many}row {first.row}, {first.reason} ({first.text[:80]!r}). "
                "Expected one object in each line"
            )
        on_broken(broken)

    for at, lines in json_lines(path, chunk_rows):
        for start, batch in _runs(lines, at, schema, report):
            arrays = [
                batch.column(n) if n in batch.schema.names else pa.nulls(batch.num_rows, pa.string()) for n in names
            ]
            yield start, pa.RecordBatch.from_arrays(arrays, names=names)


def _runs(
    lines: list[bytes], at: int, schema: pa.Schema, report: OnBroken | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Lines as batches of contiguous rows: one batch, unless lines between them are broken."""
    whole = _parsed(lines, schema)
    if whole is not None:
        yield at, whole
        return
    objects: list[dict[str, Any]] = []
    start = at
    for row, line in enumerate(lines, at):
        try:
            found = json.loads(line)
            reason = "" if isinstance(found, dict) else "is JSON, but no object"
        except (ValueError, RecursionError) as error:
            reason = f"is no JSON object: {error}"
        if not reason:
            objects.append(found)
            continue
        if objects:
            yield start, _from_objects(objects, lines[start - at : row - at], schema)
        objects, start = [], row + 1
        if report is not None:
            report(Broken(row, reason, line[:200].decode("utf-8", "replace")))
    if objects:
        yield start, _from_objects(objects, lines[start - at :], schema)


def _parsed(lines: list[bytes], schema: pa.Schema) -> pa.RecordBatch | None:
    """The lines by pyarrow's own parser; None where it refuses them, or could not be trusted with them.

    It dereferences a null pointer at a `null` outside of an object (apache/arrow issue 47409) and makes invalid arrays
    of lists that begin with one (51305), so it is given nothing but flat objects that were parsed before.
    """
    import msgspec
    import pyarrow as pa
    import pyarrow.json as pj

    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    try:
        for line in lines:
            decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    data = b"\n".join(lines)
    try:
        table = pj.read_json(
            pa.BufferReader(data),
            read_options=pj.ReadOptions(block_size=len(data) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(lines) or any(pa.types.is_nested(kind) for kind in table.schema.types):
        return None
    return pa.RecordBatch.from_arrays([pa.concat_arrays(c.chunks) for c in table.columns], names=table.column_names)


def _from_objects(objects: list[dict[str, Any]], lines: list[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """Rows that pyarrow's parser refuses, for instance where a column holds numbers and words."""
    import pyarrow as pa

    batch = _parsed(lines, schema)
    if batch is not None:
        return batch
    names = list(dict.fromkeys(name for found in objects for name in found))
    arrays = [_values([found.get(name) for found in objects], name in schema.names) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _values(values: list[Any], as_text: bool) -> pa.Array:
    import pyarrow as pa

    if not as_text:
        try:
            return pa.array(values)
        except (ValueError, pa.ArrowTypeError, OverflowError):
            pass  # values of several kinds: text then, and the contract judges each by itself
    text = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array([None if v is None else v.encode("utf-8", "replace").decode() for v in text], pa.string())
