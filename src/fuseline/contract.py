"""The columns that a version was trained on, and what happens to rows that do not fit them.

`learn` reads a contract off the training rows. `check` brings a record batch to exactly the contract's columns and
types; a row that cannot be brought there is rejected with its reasons, and no other row is touched. A value is judged
by itself: what else is in the batch never changes what happens to a row.

The types that `accepted` rows come in are those of `fuseline.casts`.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from fuseline.casts import Kind, as_numbers, canonical_type, kind_of, mask, plain, to_kind
from fuseline.errors import ArtifactError, ContractBroken
from fuseline.records import Cause

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = 1
MAX_LEVELS = 200  # a text column with more distinct values is free text
SHOWN = 40  # characters of a bad value that a reason repeats
NO_KIND = {"number": "no number", "text": "no text", "boolean": "no boolean", "datetime": "no date"}


@dataclass(frozen=True)
class Column:
    """One feature as training saw it.

    Attributes:
        nullable: whether training had a null there; if not, a row with a null is rejected.
        nulls, rows: how many of the training rows had a null, and how many there were.
        levels: sorted distinct values of a text column with at most 200; None for free text and for other kinds.
        low, high: least and greatest value in training (datetimes: seconds since 1970); None without any.
        examples: up to three values as text, for people.
    """

    name: str
    kind: Kind
    nullable: bool
    nulls: int
    rows: int
    levels: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contract:
    """The features in the order of training, and the columns that are no features.

    Attributes:
        columns: the features only.
        rows: training rows that it was learned from.
        ignored: columns that were there in training and are no feature (dropped by the project).
    """

    columns: tuple[Column, ...]
    id: str | None
    time: str | None
    target: str | None
    rows: int
    ignored: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of training."""
        return tuple(c.name for c in self.columns)

    @property
    def text(self) -> tuple[str, ...]:
        """The text features: what a reader should give as dictionaries."""
        return tuple(c.name for c in self.columns if c.kind == "text")

    @property
    def wanted(self) -> tuple[str, ...]:
        """What scoring reads of a batch: the features, the id and the time."""
        return (*self.names, *(c for c in (self.id, self.time) if c is not None))

    def column(self, name: str) -> Column:
        """A feature by name. Raises ContractBroken if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise ContractBroken(f"the contract has no column {name!r}{_near(name, self.names)}")

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and scalars; `from_json` gives the same contract back."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """Read what `to_json` wrote. Raises ArtifactError for a newer format or anything else."""
        try:
            if data["format"] > FORMAT:
                raise ArtifactError(f"the contract has format {data['format']}, this Fuseline reads up to {FORMAT}")
            columns = tuple(_column(c) for c in data["columns"])
            rest = {k: data[k] for k in ("id", "time", "target", "rows")}
            return cls(columns=columns, ignored=tuple(data.get("ignored", ())), **rest)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"this is not a contract: {error!r}. Restore contract.json of the version") from error


def _column(data: Mapping[str, Any]) -> Column:
    levels = data["levels"]
    return Column(
        **{
            **data,
            "levels": None if levels is None else tuple(levels),
            "examples": tuple(data.get("examples", ())),
        }
    )


# ── learning ────────────────────────────────────────────────────────────────────────────────────


def learn(
    data: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch],
    *,
    id: str | None = None,
    time: str | None = None,
    target: str | None = None,
    drop: Iterable[str] = (),
) -> Contract:
    """Read the contract off training rows, whose types were decided already.

    Args:
        data: the rows; text is text here, even if it looks like numbers.
        id, time, target: columns that are no features; the target need not be among the rows.
        drop: more columns that are no features.

    Raises:
        ContractBroken: no rows, no features, a named column that is missing, or a type that no model takes.
    """
    table = _table(data)
    if table.num_rows == 0:
        raise ContractBroken("there are no training rows: expected at least one")
    apart = [name for name in (id, time, target) if name is not None]
    for name in (n for n in (id, time) if n is not None):
        if name not in table.column_names:
            raise ContractBroken(
                f"project.toml names the column {name!r}, but the rows have none{_near(name, table.column_names)}. "
                f"They have: {', '.join(table.column_names)}"
            )
    dropped = [name for name in drop if name in table.column_names and name not in apart]
    names = [name for name in table.column_names if name not in {*apart, *dropped}]
    if not names:
        raise ContractBroken(f"no column is left to learn from; all are id, time, target or dropped: {apart + dropped}")
    columns = tuple(_learn_column(name, table.column(name)) for name in names)
    return Contract(columns, id, time, target, table.num_rows, tuple(dropped))


def _learn_column(name: str, values: pa.ChunkedArray) -> Column:
    import pyarrow.compute as pc

    kind = kind_of(values.type)
    if kind is None:
        raise ContractBroken(
            f"column {name!r} holds {values.type}, which no model is trained on here: expected numbers, text, booleans "
            f"or dates. Turn it into one of these, or add it to `drop` in project.toml"
        )
    array, _ = to_kind(values, kind)
    nulls, rows = array.null_count, len(array)
    if kind == "text":
        seen = array.dictionary.take(pc.unique(array.indices).drop_null())
        levels = tuple(sorted(set(seen.to_pylist())))
        few = len(levels) <= MAX_LEVELS
        return Column(name, kind, nulls > 0, nulls, rows, levels if few else None, examples=levels[:3])
    low, high = _extent(as_numbers(array))
    examples = tuple(dict.fromkeys(str(v) for v in array.drop_null()[:20].cast("string").to_pylist()))[:3]
    return Column(name, kind, nulls > 0, nulls, rows, None, low, high, examples)


# ── checking ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ColumnCounts:
    """Of the accepted rows, how many are null, of a level that training never saw, or out of training's range."""

    nulls: int = 0
    unseen: int = 0
    outside: int = 0


@dataclass(frozen=True, eq=False)
class Checked:
    """A record batch after the check: every row is in `accepted` or in `rejected`, never in both.

    Attributes:
        accepted: the contract's columns in canonical types, then id and time as they came, if they came.
        rows: int64, shape (accepted rows,): their row numbers in the file.
        kept: int64, shape (accepted rows,): their indices in the batch.
        rejected: columns `row` (int64, row number in the file) and `reason` (text), in the order of rows.
        reasons: how many rows each kind of reason rejected, e.g. `price_eur is no number`; a row may count in several.
        counts: figures of the accepted rows by column.
        missing: columns of the contract, or the id, that the batch does not have; then every row is rejected.
        extra: columns that training did not have.
    """

    accepted: pa.RecordBatch
    rows: np.ndarray
    kept: np.ndarray
    rejected: pa.RecordBatch
    reasons: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, ColumnCounts] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


class _Fault(NamedTuple):
    """Rows of a batch (indices) that fail for one reason, and the sentence for each."""

    kind: str
    at: np.ndarray
    sentences: pa.Array


def check(batch: pa.RecordBatch | pa.Table, contract: Contract, first_row: int = 0) -> Checked:
    """Bring a batch to the contract, and set aside the rows that do not fit.

    Args:
        batch: any columns of any types, in any order; not changed.
        first_row: row number of its first row in the file.

    Returns:
        Accepted and rejected rows. Never raises for what the values are.
    """
    import numpy as np
    import pyarrow as pa

    batch = _one_batch(batch)
    count = batch.num_rows
    arrays, faults, missing = _brought(batch, contract)
    names = list(contract.names)
    for name in dict.fromkeys((contract.id, contract.time)):  # one column may be both
        if name is not None and name in batch.schema.names:
            names.append(name)
            arrays.append(_first(batch, name))
    keep = np.ones(count, dtype=bool)
    for fault in faults:
        keep[fault.at] = False
    kept = np.flatnonzero(keep)
    accepted = pa.RecordBatch.from_arrays(arrays, names=names)
    if not keep.all():
        accepted = accepted.filter(pa.array(keep))
    tally: Counter[str] = Counter()
    for fault in faults:
        tally[fault.kind] += len(fault.at)
    return Checked(
        accepted=accepted,
        rows=kept + first_row,
        kept=kept,
        rejected=_rejections(faults, first_row),
        reasons=dict(tally),
        counts={c.name: _counts(accepted.column(i), c) for i, c in enumerate(contract.columns)},
        missing=tuple(missing),
        extra=_extra(batch.schema.names, contract),
    )


def _brought(batch: pa.RecordBatch, contract: Contract) -> tuple[list[pa.Array], list[_Fault], list[str]]:
    """The features in canonical types, what is wrong with rows, and the columns that are missing."""
    import pyarrow as pa

    count = batch.num_rows
    arrays, faults, missing = [], [], []
    for column in contract.columns:
        if column.name in batch.schema.names:
            values, found = _bring(_first(batch, column.name), column)
            arrays.append(values)
            faults += found
        else:
            arrays.append(pa.nulls(count, canonical_type(column.kind)))
            missing.append(column.name)
    if contract.id is not None and contract.id in batch.schema.names:
        faults += _id_faults(contract.id, _first(batch, contract.id))
    elif contract.id is not None:
        missing.append(contract.id)
    return arrays, faults + [_everywhere(f"{name} is missing", count) for name in missing], missing


def compare_schema(found: Iterable[tuple[str, pa.DataType]], contract: Contract) -> list[Cause]:
    """What is wrong with the columns as a whole, the worst first.

    Args:
        found: names and types of the batch, after joins.

    Returns:
        A halting cause for each feature (or id) that is missing or of a type that can never be brought to the
        contract; a warning for the columns that training did not have.
    """
    types = dict(found)
    extra = _extra(types, contract)
    causes = []
    needed = [*contract.names, *([contract.id] if contract.id else [])]
    for name in needed:
        if name not in types:
            sentence = f"column {name} is missing{_near(name, extra or types, 'perhaps it was renamed to')}"
            causes.append(Cause("contract", sentence, name, level="halt"))
        elif kind_of(types[name]) is None and name in contract.names:
            kind = contract.column(name).kind
            sentence = f"column {name} holds {types[name]}, training had {kind}: no row can be scored"
            causes.append(Cause("contract", sentence, name, level="halt"))
    if extra:
        sentence = f"training did not have {_these(extra)}; not used"
        causes.append(Cause("contract", sentence, extra[0] if len(extra) == 1 else None, level="warn"))
    return causes


def _bring(array: pa.Array, column: Column) -> tuple[pa.Array, list[_Fault]]:
    """A column in its canonical type, and the rows that it rejects."""
    import numpy as np
    import pyarrow.compute as pc

    array = plain(array)
    values, bad = to_kind(array, column.kind)
    faults = []
    if len(bad):
        kind = f"{column.name} is {NO_KIND[column.kind]}"
        faults.append(_Fault(kind, bad, _quoted(array, bad, column)))
    if values.null_count > len(bad) and not column.nullable:
        at = np.setdiff1d(np.flatnonzero(mask(values.is_null())), bad, assume_unique=True)
        sentence = f"{column.name} is null (training never saw a null there)"
        faults.append(_Fault(f"{column.name} is null", at, _repeat(sentence, len(at))))
    if column.kind == "number":
        infinite = pc.is_inf(values)
        if pc.any(infinite).as_py():
            at = np.flatnonzero(mask(infinite))
            faults.append(_Fault(f"{column.name} is infinite", at, _repeat(f"{column.name} is infinite", len(at))))
    return values, faults


def _id_faults(name: str, array: pa.Array) -> list[_Fault]:
    import numpy as np
    import pyarrow.compute as pc

    values, _ = to_kind(array, "text")
    empty = mask(values.is_null())
    blank = pc.equal(values.dictionary, "")
    if pc.any(blank).as_py():
        empty |= mask(pc.take(blank, values.indices))
    at = np.flatnonzero(empty)
    return [_Fault(f"{name} is missing", at, _repeat(f"{name} is missing", len(at)))] if len(at) else []


def _rejections(faults: list[_Fault], first_row: int) -> pa.RecordBatch:
    """Row number and reason of every rejected row; several reasons are joined by `; `."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not faults:
        return pa.RecordBatch.from_arrays([pa.array([], pa.int64()), pa.array([], pa.string())], ["row", "reason"])
    rows = np.unique(np.concatenate([f.at for f in faults]))
    parts = []
    for fault in faults:
        where = np.zeros(len(rows), dtype=np.int64)
        there = np.zeros(len(rows), dtype=bool)
        at = np.searchsorted(rows, fault.at)
        where[at], there[at] = np.arange(len(fault.at)), True
        parts.append(fault.sentences.take(pa.array(where, mask=~there)))
    reason = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "; ", null_handling="skip")
    return pa.RecordBatch.from_arrays([pa.array(rows + first_row, pa.int64()), reason], ["row", "reason"])


def _counts(values: pa.Array, column: Column) -> ColumnCounts:
    import pyarrow as pa
    import pyarrow.compute as pc

    nulls, present = values.null_count, len(values) - values.null_count
    if column.kind == "text":
        if column.levels is None:
            return ColumnCounts(nulls)
        known = pc.is_in(values.dictionary, pa.array(column.levels, pa.string()))
        if pc.all(known, min_count=0).as_py():
            return ColumnCounts(nulls)
        return ColumnCounts(nulls, unseen=present - int(mask(pc.take(known, values.indices)).sum()))
    if column.low is None or column.high is None:
        return ColumnCounts(nulls, outside=present)
    numbers = as_numbers(values)
    low, high = _extent(numbers)
    if low is None or high is None or (low >= column.low and high <= column.high):
        return ColumnCounts(nulls)
    beyond = pc.or_(pc.less(numbers, column.low), pc.greater(numbers, column.high))
    return ColumnCounts(nulls, outside=int(mask(beyond).sum()))


# ── small parts ─────────────────────────────────────────────────────────────────────────────────


def _extent(numbers: pa.Array) -> tuple[float | None, float | None]:
    """Least and greatest finite value, None without any."""
    import pyarrow.compute as pc

    found = pc.min_max(numbers).as_py()
    low, high = found["min"], found["max"]
    if low in (None, -math.inf, math.inf) or high in (None, -math.inf, math.inf):
        numbers = numbers.filter(pc.is_finite(numbers))
        found = pc.min_max(numbers).as_py()
        low, high = found["min"], found["max"]
    return low, high


def _everywhere(sentence: str, count: int) -> _Fault:
    import numpy as np

    return _Fault(sentence, np.arange(count), _repeat(sentence, count))


def _repeat(sentence: str, count: int) -> pa.Array:
    import pyarrow as pa

    return pa.repeat(pa.scalar(sentence, pa.string()), count)


def _quoted(array: pa.Array, bad: np.ndarray, column: Column) -> pa.Array:
    """A sentence for each bad value that repeats it, cut to 40 characters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = array.take(pa.array(bad))
    try:
        shown = pc.cast(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        shown = pa.array([_shown(v) for v in values], pa.string())
    shown = pc.utf8_slice_codeunits(shown, 0, SHOWN)
    return pc.binary_join_element_wise(f"{column.name}: '", shown, f"' is {NO_KIND[column.kind]}", "")


def _shown(value: Any) -> str:
    try:
        return repr(value.as_py())
    except (ValueError, OverflowError):  # e.g. bytes that are no UTF-8 inside a list
        return f"a {value.type}"


def _first(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column by name; the first of several of that name."""
    return batch.column(batch.schema.get_all_field_indices(name)[0])


def _extra(names: Iterable[str], contract: Contract) -> tuple[str, ...]:
    known = {*contract.wanted, contract.target, *contract.ignored}
    return tuple(dict.fromkeys(n for n in names if n not in known))


def _one_batch(data: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    import pyarrow as pa

    if isinstance(data, pa.RecordBatch):
        return data
    arrays = [plain(column) for column in data.columns]
    return pa.RecordBatch.from_arrays(arrays, names=data.column_names)


def _table(data: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch]) -> pa.Table:
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    return pa.Table.from_batches([data] if isinstance(data, pa.RecordBatch) else list(data))


def _near(name: str, names: Iterable[str], lead: str = "did you mean") -> str:
    """`; did you mean 'x'?` where a name is close, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; {lead} {close[0]!r}?" if close else ""


def _these(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"the column{'s' if len(names) > 1 else ''} {shown}{more}"
