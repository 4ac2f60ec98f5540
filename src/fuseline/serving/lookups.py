"""The tables that rows are joined to, as dictionaries: one look for each row of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fuseline.casts import text_ids, to_kind
from fuseline.contract import Contract
from fuseline.joins import join_source

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Lookup:
    """One table to join.

    Attributes:
        key: the column that rows and table have.
        columns: the model's columns that the table has.
        found: the key as text to the values of these columns.
    """

    key: str
    columns: tuple[str, ...]
    found: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, table: pa.Table, key: str, contract: Contract) -> Lookup:
        """The lookup of a table, its values in the contract's kinds. Raises DataError where no batch can be joined."""
        import pyarrow as pa

        join_source(pa.table({key: pa.nulls(0, pa.string())}), table, key)
        wanted = tuple(name for name in contract.names if name in table.column_names and name != key)
        values = [plain_values(to_kind(table.column(n), contract.column(n).kind)[0]) for n in wanted]
        keys = text_ids(table.column(key)).to_pylist()
        return cls(key, wanted, dict(zip(keys, zip(*values, strict=True), strict=True)))

    def fill(self, columns: dict[str, Sequence[Any]], keys: Sequence[Any]) -> None:
        """Give the values of the table to the rows that have none, in place."""
        nothing = (None,) * len(self.columns)
        rows = [nothing if k is None else self.found.get(k if type(k) is str else _text(k), nothing) for k in keys]
        for name, values in zip(self.columns, zip(*rows, strict=True), strict=True):
            given = columns[name]
            columns[name] = [v if g is None else g for g, v in zip(given, values, strict=True)]


def plain_values(array: pa.Array) -> list[Any]:
    """Canonical values as Python's: float, str, numpy's datetime64[ns]; None for null."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_timestamp(array.type):
        return list(array.to_pylist())
    return [None if v is None else np.datetime64(v, "ns") for v in array.cast(pa.int64()).to_pylist()]


def _text(key: Any) -> str:
    """A key that came as a number, as the table has it: 17.0 is `17`."""
    return str(int(key)) if type(key) is float and key.is_integer() else str(key)
