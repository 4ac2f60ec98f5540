"""Rows joined to another table by a key: many to one, the order of the rows kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fuseline.casts import plain, text_ids
from fuseline.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def join_source(rows: pa.RecordBatch | pa.Table, right: pa.Table, key: str) -> pa.RecordBatch | pa.Table:
    """Add the columns of another table by a key: a left join that keeps the rows and their order.

    Args:
        rows: a record batch or a table; not changed.
        right: at most one row for each key; its text comes out as dictionaries.
        key: the column that both have. Keys of different types are compared as text; a null or unknown key
            gives nulls.

    Returns:
        What `rows` is, a batch or a table, with the columns of `right` after its own.

    Raises:
        DataError: no such key on a side, a key twice on the right, or another column on both sides.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    _joinable(rows.schema.names, right, key)
    wanted, known = plain(rows.column(rows.schema.get_field_index(key))), plain(right.column(key))
    if wanted.type != known.type:
        wanted, known = text_ids(wanted), text_ids(known)
    twice = pc.value_counts(known.drop_null())
    twice = twice.filter(pc.greater(twice.field("counts"), 1)).field("values")
    if len(twice):
        raise DataError(
            f"the table to join by {key!r} has {len(twice):,} keys more than once, e.g. {twice[0].as_py()!r}: "
            "expected one row for each key. Remove the duplicates"
        )
    found = _positions(wanted, known)
    names = [name for name in right.column_names if name != key]
    added = []
    for name in names:
        column = plain(right.column(name))
        added.append((column.dictionary_encode() if pa.types.is_string(column.type) else column).take(found))
    arrays, all_names = [*rows.columns, *added], [*rows.schema.names, *names]
    if isinstance(rows, pa.Table):
        return pa.table(arrays, names=all_names)
    return pa.RecordBatch.from_arrays(arrays, names=all_names)


def _joinable(left: Sequence[str], right: pa.Table, key: str) -> None:
    if key not in left:
        raise DataError(f"the rows have no column {key!r} to join by; they have: {', '.join(left)}. Mend `join`")
    if key not in right.column_names:
        raise DataError(
            f"the table to join has no column {key!r}; it has: {', '.join(right.column_names)}. Mend `join`"
        )
    clash = [name for name in right.column_names if name in left and name != key]
    if clash:
        raise DataError(
            f"both the rows and the table joined by {key!r} have {', '.join(clash)}: expected other names. Rename or "
            "remove one of each"
        )


def _positions(wanted: pa.Array, known: pa.Array) -> pa.Array:
    """Where each wanted key is among the known, null where it is not; the levels of a dictionary are looked up once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(known.type):
        known = known.dictionary_decode()
    if pa.types.is_dictionary(wanted.type):
        return pc.index_in(wanted.dictionary, known, skip_nulls=True).take(wanted.indices)
    return pc.index_in(wanted, known, skip_nulls=True)
