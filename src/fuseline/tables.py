"""Files of rows in, record batches and pandas frames out, in bounded memory.

Parquet, CSV and JSON lines are read alike: as (row number of the first row, record batch), at most 65,536 rows each. A
chunk never reaches over a Parquet row group, so a file gives the same chunks however it is cut into shards.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fuseline.casts import plain, to_kind
from fuseline.errors import DataError, Unreadable
from fuseline.frames import predictions_frame, to_frame
from fuseline.joins import join_source
from fuseline.lines import (
    Broken,
    csv_batches,
    csv_layout,
    json_batches,
    json_columns,
    json_lines,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "CHUNK_ROWS",
    "FORMATS",
    "ParquetOut",
    "Shard",
    "concatenate",
    "count_rows",
    "describe",
    "infer",
    "join_source",
    "predictions_frame",
    "read",
    "read_table",
    "shards",
    "to_bytes",
    "to_frame",
]

FORMATS = (".parquet", ".csv", ".jsonl")
CHUNK_ROWS = 65_536
SHOWN = 80  # characters of a broken line that its reason repeats
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
WHOLE = r"^-?(0|[1-9]\d*)$"
LEADING_ZERO = r"^[+-]?0\d"  # 007 is a name, not a number
WORDS = ("true", "false")


@dataclass(frozen=True)
class Shard:
    """A part of a file that one task reads.

    Attributes:
        index, of: which of how many shards.
        first_row: row number in the file of its first row.
        rows: how many rows it holds.
        row_groups: the Parquet row groups that it is made of; empty for the whole of a CSV or JSON-lines file.
    """

    index: int
    of: int
    first_row: int
    rows: int
    row_groups: tuple[int, ...] = ()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def shards(path: Path, want: int) -> list[Shard]:
    """Cut a file into at most `want` shards of about as many rows; CSV and JSON lines are always one.

    Raises:
        Unreadable: the file cannot be parsed or holds no rows.
    """
    if _format(path) != ".parquet":
        return [Shard(0, 1, 0, count_rows(path))]
    with _opened(path) as file:
        sizes = _group_rows(file)
    total, first = sum(sizes), 0
    parts: dict[int, list[int]] = {}
    for group, size in enumerate(sizes):
        part = min(want - 1, (2 * first + size) * want // (2 * total))  # by where its middle lies
        parts.setdefault(part, []).append(group)
        first += size
    found, first = [], 0
    for index, groups in enumerate(parts.values()):
        rows = sum(sizes[g] for g in groups)
        found.append(Shard(index, len(parts), first, rows, tuple(groups)))
        first += rows
    return found


def count_rows(path: Path) -> int:
    """Rows of a file, broken ones included; Parquet says it at once, the others are scanned. Raises Unreadable."""
    format = _format(path)
    if format == ".parquet":
        with _opened(path) as file:
            return sum(_group_rows(file))
    if format == ".jsonl":
        return sum(len(lines) for _, lines in json_lines(path, CHUNK_ROWS))
    last = 0

    def broken(row: Broken) -> None:
        nonlocal last
        last = max(last, row.row + 1)

    for first, batch in csv_batches(path, (), csv_layout(path).names[:1], broken):
        last = max(last, first + batch.num_rows)
    return last


def describe(path: Path) -> list[tuple[str, pa.DataType]]:
    """Names and Arrow types of the columns; every column of a CSV file is text. JSON lines are scanned for keys.

    Raises:
        Unreadable: the file cannot be parsed.
    """
    import pyarrow as pa

    format = _format(path)
    if format == ".csv":
        return [(name, pa.string()) for name in csv_layout(path).names]
    if format == ".jsonl":
        return list(json_columns(path, CHUNK_ROWS).items())
    with _opened(path) as file:
        schema = file.schema_arrow
    return list(zip(schema.names, schema.types, strict=True))


def read(
    path: Path,
    shard: Shard | None = None,
    chunk_rows: int = CHUNK_ROWS,
    text: Collection[str] = (),
    columns: Sequence[str] | None = None,
    bad: Callable[[pa.RecordBatch], None] | None = None,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Stream a file, or one shard of it.

    Args:
        shard: a part from `shards`; None for the whole file.
        chunk_rows: rows of a batch at most.
        text: columns that are text; they come as dictionaries where the file can give them so.
        columns: columns to read, those that are there; None for all.
        bad: is given the lines that cannot be parsed (CSV, JSON lines) as batches of `row` (int64, row number in the
            file) and `reason` (text); without it the first such line raises.

    Yields:
        (row number in the file of the first row, batch). The rows of a batch follow each other in the file.

    Raises:
        Unreadable: truncated, empty, another format, encoding or delimiter; the text says what to do.
    """
    format = _format(path)
    broken: list[Broken] = []
    note = None if bad is None else broken.append
    if format == ".parquet":
        chunks = _parquet(path, shard, chunk_rows, text, columns)
    elif format == ".csv":
        chunks = _rechunked(csv_batches(path, text, columns, note), chunk_rows)
    else:
        chunks = json_batches(path, text, columns, note, chunk_rows)
    for chunk in chunks:
        _hand_over(broken, bad)
        yield chunk
    _hand_over(broken, bad)


def _hand_over(broken: list[Broken], bad: Callable[[pa.RecordBatch], None] | None) -> None:
    import pyarrow as pa

    if broken and bad is not None:
        reasons = [f"{b.reason}: {b.text[:SHOWN]!r}" for b in broken]
        rows = pa.array([b.row for b in broken], pa.int64())
        broken.clear()
        bad(pa.RecordBatch.from_arrays([rows, pa.array(reasons, pa.string())], names=["row", "reason"]))


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole file in memory, for training and for tables to join; text of a CSV file is given types by `infer`.

    Raises:
        Unreadable: the file cannot be parsed, or one of its rows cannot.
    """
    import pyarrow as pa

    batches = [batch for _, batch in read(path, columns=columns)]
    if _format(path) == ".parquet":
        return pa.Table.from_batches(batches)
    names = batches[0].schema.names
    table = pa.table({name: _stacked([batch.column(name) for batch in batches]) for name in names})
    return infer(table, numbers=_format(path) == ".csv")


def infer(table: pa.Table, *, numbers: bool = True) -> pa.Table:
    """Give types to columns of text, each by all of its values.

    A column is whole numbers (int64), numbers (float64), booleans (true and false) or ISO dates (timestamp[ns], UTC) if
    every value that is not null is one. Numbers with leading zeros, such as 007, stay text: they are names.

    Args:
        table: any columns; those that are no text are left as they are.
        numbers: whether text may become numbers and booleans; JSON has its own, so there it may not.
    """
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if _is_string(column.type):
            table = table.set_column(index, name, _inferred(plain(column), numbers))
    return table


def _inferred(text: pa.Array, numbers: bool) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    levels = pc.utf8_trim_whitespace(pc.unique(text).drop_null())
    if len(levels) == 0:
        return text

    def every(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(levels, pattern)).as_py())

    if numbers and every(NUMBER) and not pc.any(pc.match_substring_regex(levels, LEADING_ZERO)).as_py():
        trimmed = pc.utf8_trim_whitespace(text)
        if not every(WHOLE):
            return pc.cast(trimmed, pa.float64())
        try:
            return pc.cast(trimmed, pa.int64())
        except pa.ArrowInvalid:
            return text  # more digits than a whole number has: a name
    if numbers and pc.all(pc.is_in(pc.utf8_lower(levels), pa.array(WORDS))).as_py():
        return pc.equal(pc.utf8_lower(pc.utf8_trim_whitespace(text)), "true")
    if every(r"^\d{4}-\d{2}-\d{2}"):
        dates, bad = to_kind(text, "datetime")
        return text if len(bad) else dates
    return text


def _stacked(arrays: list[pa.Array]) -> pa.Array:
    """Arrays of one column below each other, in the type that holds them all."""
    import pyarrow as pa

    whole = pa.concat_tables([pa.table({"x": a}) for a in arrays], promote_options="permissive")
    return pa.concat_arrays(whole.column("x").chunks)


def _is_string(type: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(type) or t.is_large_string(type))


def _format(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise Unreadable(f"{path.name}: expected a file that ends in {', '.join(FORMATS)}. Convert it, or rename it")
    if not path.is_file():
        raise Unreadable(f"{path.name} is not there: expected a file of rows. Deliver it again")
    return suffix


@contextmanager
def _opened(path: Path, text: Collection[str] = ()) -> Iterator[pq.ParquetFile]:
    """An open Parquet file; whatever fails while it is read comes out as Unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        leaves = [f.name for f in schema if f.name in text and _is_string(f.type)]  # others cannot be asked for
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=leaves) as file:
            twice = sorted({n for n in file.schema_arrow.names if file.schema_arrow.names.count(n) > 1})
            if twice:
                raise Unreadable(f"{path.name} names a column twice: {', '.join(twice)}. Give each its own name")
            if file.metadata.num_rows == 0:
                raise Unreadable(f"{path.name} has columns and no rows: expected at least one")
            yield file
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(_parquet_fault(path, str(error))) from error


def _parquet_fault(path: Path, error: str) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(60)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if size == 0:
        return f"{path.name} is empty (0 bytes): expected a Parquet file. Deliver it again"
    if head[:4] != b"PAR1":
        return f"{path.name} is no Parquet file, it begins with {head!r}: if it is text, name it .csv or .jsonl"
    if tail != b"PAR1":
        return f"{path.name} is cut off after {size:,} bytes (a Parquet file ends in PAR1): copy it again"
    return f"{path.name} is damaged: {error}. Copy it again, and compare the digests"


def _group_rows(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]


def _parquet(
    path: Path, shard: Shard | None, chunk_rows: int, text: Collection[str], columns: Sequence[str] | None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    with _opened(path, text) as file:
        sizes = _group_rows(file)
        starts = [0, *itertools.accumulate(sizes)]
        chosen = None if columns is None else [n for n in file.schema_arrow.names if n in set(columns)]
        for group in range(len(sizes)) if shard is None else shard.row_groups:
            batches = file.iter_batches(chunk_rows, row_groups=[group], columns=chosen)
            yield from _rechunked(_numbered(batches, starts[group]), chunk_rows)


def _numbered(batches: Iterable[pa.RecordBatch], at: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    for batch in batches:
        yield at, batch
        at += batch.num_rows


def _rechunked(batches: Iterable[tuple[int, pa.RecordBatch]], chunk_rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The same rows in chunks of `chunk_rows`, shorter only before a gap in the row numbers and at the end."""
    held: list[pa.RecordBatch] = []
    first = size = 0
    for at, batch in batches:
        if size and at != first + size:
            yield first, _joined(held)
            held, size = [], 0
        if not size:
            first = at
        done = 0
        while size + batch.num_rows - done >= chunk_rows:
            cut = batch.slice(done, chunk_rows - size)
            yield first, _joined([*held, cut])
            done, first = done + cut.num_rows, first + chunk_rows
            held, size = [], 0
        if done < batch.num_rows:
            held.append(batch.slice(done))
            size += batch.num_rows - done
    if size:
        yield first, _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    import pyarrow as pa

    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries()
    return pa.RecordBatch.from_arrays([pa.concat_arrays(c.chunks) for c in table.columns], schema=table.schema)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


class ParquetOut:
    """Writes a Parquet file, one row group for each `write`; the same rows give the same bytes.

    Args:
        path: a file, which the first `write` overwrites and which is not made without one; or an Arrow stream.
        schema: the columns, to which all rows are cast; None for those of the first rows, with dictionaries as plain
            text, and text where they have nothing but nulls.

    Attributes:
        rows: how many rows were written.
    """

    def __init__(self, path: Path | pa.NativeFile, schema: pa.Schema | None = None) -> None:
        self.path, self.schema, self.rows = path, schema, 0
        self.name = path.name if isinstance(path, Path) else "a Parquet file"
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Append rows as one row group; no rows make none. Raises DataError for columns that do not fit."""
        import pyarrow as pa

        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        if self._writer is None:
            self._open(table.schema)
        assert self.schema is not None and self._writer is not None
        if table.num_rows == 0:
            return
        try:
            table = table.select(self.schema.names).cast(self.schema)
        except (KeyError, ValueError, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"rows do not fit the columns of {self.name}: {error}. Expected {_columns(self.schema)}, "
                f"found {_columns(rows.schema)}"
            ) from error
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows

    def _open(self, found: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.schema is None:
            self.schema = pa.schema([(f.name, _stored_type(f.type)) for f in found])
        self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd", version="2.6")

    def close(self) -> None:
        """Write the footer; without it the file cannot be read."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_bytes(table: pa.Table) -> bytes:
    """A small table as the bytes of a Parquet file; the same rows give the same bytes."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with ParquetOut(sink) as out:
        out.write(table)
    return bytes(sink.getvalue())


def _stored_type(type: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_dictionary(type):
        return type.value_type
    return pa.string() if pa.types.is_null(type) else type


def concatenate(paths: Sequence[Path], target: Path) -> int:
    """Join Parquet files of the same columns, row group by row group, in the order of `paths`.

    The bytes of the target depend on the row groups and their order only, not on how they were spread over files.

    Returns:
        How many rows the target has.

    Raises:
        DataError: there are no files, or they have other columns.
        Unreadable: one of them cannot be read.
    """
    if not paths:
        raise DataError(f"nothing to join into {target.name}: expected at least one part")
    import pyarrow.parquet as pq

    schema = pq.read_schema(paths[0])
    with ParquetOut(target, schema) as out:
        out.write(schema.empty_table())
        for path in paths:
            with pq.ParquetFile(path) as part:
                if not part.schema_arrow.equals(schema):
                    raise DataError(
                        f"{path.name} has other columns than {paths[0].name}: expected {_columns(schema)}, "
                        f"found {_columns(part.schema_arrow)}. All rows of a batch must give the same columns"
                    )
                for group in range(part.metadata.num_row_groups):
                    out.write(part.read_row_group(group))
        return out.rows


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
