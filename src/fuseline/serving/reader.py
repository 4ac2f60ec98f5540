"""JSON records to columns of the contract: the quick way for plain values, the exact way for the rest.

A body of records whose values have the contract's own types is decoded straight to them. Any other value goes through
the same casts as a batch does, alone: what else is in its column never changes what becomes of it. Both ways give the
same columns.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from fuseline.contract import NO_KIND, SHOWN, Column, Contract
from fuseline.serving.bounds import Bounds
from fuseline.serving.lookups import Lookup, plain_values
from fuseline.serving.problem import Problem, RowFault

if TYPE_CHECKING:
    import pandas as pd

PLAIN: dict[str, Any] = {"number": float | None, "boolean": bool | None, "text": str | None, "datetime": str | None}
# the types of JSON whose values need no cast, by kind
TYPES: dict[str, set[type]] = {"number": {float}, "boolean": {bool}, "text": {str}, "datetime": set()}


@dataclass(frozen=True)
class Rows:
    """The rows of a request in the contract's columns.

    Attributes:
        count: how many the request has.
        columns: for each column of the contract the values of the rows that are kept: float, int or bool of numbers
            and booleans, str of text, numpy's datetime64[ns] of datetimes; None where there is none.
        kept: index in the request of each row that is kept.
        faults: why the others are not.
        extra: columns that the model does not take.
    """

    count: int
    columns: tuple[Sequence[Any], ...]
    kept: Sequence[int]
    faults: tuple[RowFault, ...] = ()
    extra: tuple[str, ...] = ()

    def some(self, places: Sequence[int]) -> Rows:
        """Of the rows that are kept, those at these places."""
        columns = tuple([column[i] for i in places] for column in self.columns)
        return Rows(self.count, columns, [self.kept[i] for i in places], self.faults, self.extra)


class Reader:
    """Reads requests for one version.

    Args:
        contract: the columns of the version.
        lookups: tables that rows are joined to; a value that the client gives comes before theirs.
        required: columns without which the model cannot score; a row with a null there is rejected.
    """

    def __init__(
        self,
        contract: Contract,
        lookups: Sequence[Lookup] = (),
        bounds: Bounds | None = None,
        required: frozenset[str] = frozenset(),
    ) -> None:
        self.contract, self.lookups, self.bounds, self.required = contract, lookups, bounds or Bounds(), required
        beside = (contract.id, contract.time, contract.target, *contract.ignored, *(one.key for one in lookups))
        self.known = dict.fromkeys((*contract.names, *(name for name in beside if name is not None)))
        kinds = {column.name: PLAIN[column.kind] for column in contract.columns}
        fields = {f"f{i}": name for i, name in enumerate(self.known)}
        record = msgspec.defstruct(
            "Record",
            [(field, kinds.get(name, Any), None) for field, name in fields.items()],
            rename=fields,
            forbid_unknown_fields=True,
            gc=False,  # no cycles: ten thousand of them are not looked at again and again
        )
        self._plain: msgspec.json.Decoder[Any] = msgspec.json.Decoder(record | list[record])  # type: ignore[valid-type]
        self._values = [attrgetter(field) for field in fields]
        self._row: Callable[[Any], tuple[Any, ...]] = attrgetter(*fields, "__class__")  # always a tuple

    def read(self, body: bytes) -> Rows:
        """The rows of a JSON body, one object or a list of them. Raises Problem for anything else."""
        try:
            found = self._plain.decode(body)
        except msgspec.ValidationError:
            return self.rows(self._records(body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _not_json(body, error) from error
        except RecursionError as error:
            raise self.bounds.too_deep() from error
        if not isinstance(found, list):
            values: Iterable[Sequence[Any]] = zip(self._row(found)[:-1], strict=True)
            count = 1
        else:
            values, count = (list(map(value, found)) for value in self._values), len(found)
            self._counted(count)
        return self._finished(count, dict(zip(self.known, values, strict=True)), (), self.contract.names)

    def rows(self, records: Sequence[Any]) -> Rows:
        """The rows of decoded records, whatever is in them. Raises Problem where there are none or too many."""
        self._counted(len(records))
        strange = [
            RowFault(i, None, f"is {_said(r)}, not an object") for i, r in enumerate(records) if type(r) is not dict
        ]
        if strange:
            raise Problem("bad-rows", "each row must be a JSON object of column names and values", rows=strange)
        names: dict[str, None] = {}
        for i, record in enumerate(records):
            if len(record) > self.bounds.keys:
                self.bounds.check_keys(i, len(record))
            names.update(dict.fromkeys(record))
        columns = {name: [record.get(name) for record in records] for name in self.known if name in names}
        return self._finished(len(records), columns, tuple(name for name in names if name not in self.known))

    def columns(self, found: Mapping[str, Sequence[Any]], count: int) -> Rows:
        """The rows of named columns of `count` values each. Raises Problem where there are none or too many."""
        self._counted(count)
        given = {name: _of_tensor(found[name]) for name in self.known if name in found}
        plain = {
            column.name for column in self.contract.columns if given.get(column.name, (None, ""))[1] == column.kind
        }
        columns = {name: values for name, (values, _) in given.items()}
        return self._finished(count, columns, tuple(name for name in found if name not in self.known), plain)

    def frame(self, rows: Rows) -> pd.DataFrame:
        """The rows as the batch flow gives them to the model: its dtypes, its order, an index from 0."""
        import numpy as np
        import pandas as pd

        data = {}
        for column, values in zip(self.contract.columns, rows.columns, strict=True):
            if column.kind == "text":
                array = np.empty(len(values), dtype=object)
                array[:] = values
            elif column.kind == "datetime":
                array = np.array([np.datetime64("NaT") if v is None else v for v in values], dtype="datetime64[ns]")
            else:
                array = np.array(values, dtype=np.float64)  # None becomes NaN
            data[column.name] = array
        return pd.DataFrame(data)  # copies into one block for each type, which the model then reads faster

    def _counted(self, count: int) -> None:
        if not count:
            raise Problem("no-rows", "the list is empty: expected at least one record")
        self.bounds.check_rows(count)

    def _records(self, body: bytes) -> list[Any]:
        """A body that is not plain: decoded whatever it holds."""
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _not_json(body, error) from error
        except RecursionError as error:
            raise self.bounds.too_deep() from error
        if type(found) is dict:
            return [found]
        if type(found) is not list:
            raise Problem("bad-input", f"the body is {_said(found)}: expected one object, or a list of objects")
        return found

    def _finished(
        self, count: int, given: Mapping[str, Sequence[Any]], extra: tuple[str, ...], plain: Collection[str] = ()
    ) -> Rows:
        """Cast, join and judge columns as they were given, but for the `plain`; what was not given is null."""
        faults: list[RowFault] = []
        nothing = (None,) * count
        cast: dict[str, Sequence[Any]] = {}
        for column in self.contract.columns:
            values = given.get(column.name, nothing)
            if column.name not in plain or column.kind == "datetime":
                cast[column.name], bad = self._cast(values, column)
                faults += bad
            else:
                cast[column.name] = _without_blanks(values, column, True) if column.kind == "text" else values
        told = (*cast.values(), *(given.get(lookup.key, nothing) for lookup in self.lookups))
        empty = _all_empty(told, count, {fault.row for fault in faults})
        for lookup in self.lookups:
            lookup.fill(cast, given.get(lookup.key, nothing))
        faults += [RowFault(i, None, self._unknown(extra)) for i in empty]
        for name in self.required:
            reason = f"{name} has no value, and the model cannot score without one"
            faults += [RowFault(i, name, reason) for i, value in enumerate(cast[name]) if value is None]
        rows = Rows(count, tuple(cast.values()), range(count), (), extra)
        if not faults:
            return rows
        refused = {fault.row for fault in faults}
        kept = rows.some([i for i in range(count) if i not in refused])
        return replace(kept, faults=tuple(sorted(faults, key=lambda fault: fault.row)))

    def _cast(self, values: Sequence[Any], column: Column) -> tuple[Sequence[Any], list[RowFault]]:
        """The values of a column in its kind, and the rows whose value is no such thing."""
        if str in set(map(type, values)):
            values = _without_blanks(values, column)
        found = set(map(type, values)) - {type(None)}
        if found <= TYPES[column.kind] and math.inf not in values and -math.inf not in values:
            return values, []
        if list in found or dict in found:
            self.bounds.check_depth([v for v in values if type(v) in (list, dict)])
        out = list(values)
        faults = []
        for kind in found:
            places = [i for i, value in enumerate(values) if type(value) is kind]
            for place, value in zip(places, _exact([values[i] for i in places], kind, column), strict=True):
                out[place] = value
                if value is None:
                    reason = f"{column.name}: '{_shown(values[place])}' is {NO_KIND[column.kind]}"
                    faults.append(RowFault(place, column.name, reason))
                elif value in (math.inf, -math.inf):
                    faults.append(RowFault(place, column.name, f"{column.name} is infinite"))
        return out, faults

    def _unknown(self, extra: tuple[str, ...]) -> str:
        """What is said of a row that has no value in any column of the model."""
        near = difflib.get_close_matches(extra[0], self.known, n=1) if extra else []
        hint = f"; for {extra[0]!r}, did you mean {near[0]!r}?" if near else ""
        names = ", ".join(self.contract.names[:8]) + (", …" if len(self.contract.names) > 8 else "")
        return f"the row has no value in any column of the model ({names}){hint}"


def _all_empty(columns: Iterable[Sequence[Any]], count: int, faulty: set[int]) -> list[int]:
    """The rows that have no value in any column, but for the faulty; mostly the first column says that none is so."""
    left: list[int] = []
    for place, values in enumerate(columns):
        if None not in values:
            return []
        left = [i for i in (left if place else range(count)) if values[i] is None]
        if not left:
            return []
    return [i for i in left if i not in faulty]


def _without_blanks(values: Sequence[Any], column: Column, plain: bool = False) -> Sequence[Any]:
    """Blank text as null, where blank is not a level that training saw; `plain` if all is text or null."""
    texts = set(values) - {None} if plain else {v for v in values if type(v) is str}
    blank = {v for v in texts if not v or v.isspace()} - set(column.levels or ())
    return [None if type(v) is str and v in blank else v for v in values] if blank else values


def _of_tensor(values: Any) -> tuple[list[Any], str]:
    """The values of a tensor as Python's, null for NaN, and the kind of a column that takes them without a cast."""
    if isinstance(values, list):
        return values, "text"
    import numpy as np

    found: list[Any] = values.tolist()
    if values.dtype.kind != "f":
        return found, {"i": "number", "b": "boolean"}.get(values.dtype.kind, "")
    if np.isfinite(values).all():
        return found, "number"
    return [None if v != v else v for v in found], "" if np.isinf(values).any() else "number"


def _exact(values: list[Any], kind: type, column: Column) -> list[Any]:
    """Values of one type in a column's kind, by the casts of a batch; None for what is no such thing."""
    if kind in (list, dict):
        return [None] * len(values)
    if kind is int and column.kind == "number":
        return [_huge(v, column) for v in values]
    if kind is int and any(abs(v) >= 2**63 for v in values):
        return [_huge(v, column) if abs(v) >= 2**63 else _exact([v], int, column)[0] for v in values]
    import pyarrow as pa

    from fuseline.casts import to_kind

    array, _ = to_kind(pa.array(values), column.kind)
    return plain_values(array)


def _huge(value: int, column: Column) -> Any:
    """A whole number that may have more digits than a machine's has."""
    if column.kind == "text":
        return str(value)
    try:
        return float(value) if column.kind == "number" else None
    except OverflowError:
        return math.inf


def _said(value: Any) -> str:
    names = {str: "text", dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return _said(value)
    return (str(value).lower() if isinstance(value, bool) else str(value))[:SHOWN]


def _not_json(body: bytes, error: Exception) -> Problem:
    if not body.strip():
        return Problem("not-json", "the body is empty: expected one JSON object, or a list of objects")
    said = str(error) if isinstance(error, msgspec.DecodeError) else "the text is not UTF-8"
    return Problem("not-json", f"{said}. The body begins with {body[:SHOWN].decode('utf-8', 'replace')!r}")
