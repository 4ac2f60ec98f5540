"""The scoring pass: record batches in, checked, scored and measured in one stream, Parquet out.

Memory does not grow with rows: what is kept of a chunk are counts, a bounded sample, and files on disk. The same
chunks come whatever the sharding, so the parts of one shard or of eight join to the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuseline import tables
from fuseline.casts import text_ids
from fuseline.contract import Checked, check, compare_schema
from fuseline.errors import DataError, ModelFault, Unreadable
from fuseline.models import Model
from fuseline.profile import Ids, Profile
from fuseline.projects import ROW_ID, Config
from fuseline.records import Cause

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Piece:
    """One shard of a batch's file."""

    batch: str
    key: str
    shard: tables.Shard


@dataclass(frozen=True)
class ShardScore:
    """What scoring one shard left: names of staged files (empty where there is nothing), counts and the profile.

    Attributes:
        shard: its place in the batch.
        rows: rows that were scored.
        rejected: rows that were set aside, with their reasons in `rejected_part`.
        reasons: how many rows each kind of reason rejected.
        schema: what is wrong with the columns as a whole.
        fault: why the project's code could not score it; its rows are then neither scored nor rejected.
    """

    batch: str
    shard: int
    rows: int
    rejected: int
    part: str
    rejected_part: str
    ids: str
    profile: Profile
    reasons: Mapping[str, int]
    schema: tuple[Cause, ...]
    fault: Cause | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files to stage, the part last: where it is, the shard is whole."""
        return tuple(f for f in (self.rejected_part, self.ids, self.part) if f)


class Scorer:
    """Scores shards of one batch with one version.

    Args:
        joined: (table, key column) of each source that rows are joined to.
        name: name of the batch, which names rows where the project has no id column.
    """

    def __init__(self, config: Config, model: Model, joined: Sequence[tuple[pa.Table, str]], name: str) -> None:
        self.config, self.model, self.joined, self.name = config, model, joined, name

    def score(self, path: Path, shard: tables.Shard, stamp: Mapping[str, pa.Scalar], folder: Path) -> ShardScore:
        """Score a shard of the file `path` into files in `folder`.

        Args:
            stamp: columns that every row carries, e.g. batch, version, time of scoring.
        """
        with _Output(self, shard, stamp, folder) as output:
            try:
                self._stream(path, shard, output)
            except ModelFault as error:
                output.fault = Cause("model", str(error), fault="model", level="halt")
            except Unreadable as error:
                output.fault = Cause("unreadable", str(error), level="inconclusive")
            except DataError as error:  # e.g. no column to join by
                output.fault = Cause("contract", str(error), level="halt")
        return output.result(stamp["batch"].as_py())

    def _stream(self, path: Path, shard: tables.Shard, output: _Output) -> None:
        contract = self.model.contract
        for first, chunk in tables.read(path, shard, text=contract.text, bad=output.bad_lines):
            rows = self._prepared(chunk, first)
            if not output.schema:
                output.schema = compare_schema(zip(rows.schema.names, rows.schema.types, strict=True), contract)
            checked = check(rows, contract, first)
            output.reject(checked)
            if checked.accepted.num_rows:
                output.add(checked)

    def _prepared(self, chunk: pa.RecordBatch, first: int) -> pa.RecordBatch:
        import pyarrow as pa

        if self.config.id is None:
            names = pa.array([f"{self.name}:{row}" for row in range(first, first + chunk.num_rows)])
            chunk = chunk.append_column(ROW_ID, names)
        for right, key in self.joined:
            chunk = tables.join_source(chunk, right, key)
        return chunk


class _Output:
    """The files and figures of one shard while it is scored."""

    def __init__(self, scorer: Scorer, shard: tables.Shard, stamp: Mapping[str, pa.Scalar], folder: Path) -> None:
        self.model, self.config, self.stamp, self.shard = scorer.model, scorer.config, stamp, shard
        self.part = tables.ParquetOut(folder / f"part-{shard.index:05d}.parquet")
        self.rejected = tables.ParquetOut(folder / f"rejected-{shard.index:05d}.parquet")
        self.profile = Profile.empty(self.model.bins, scorer.config.training.seed)
        self.ids = Ids(folder / f"ids-{shard.index:05d}.bin")  # opens its file: nothing after it may fail
        self.reasons: Counter[str] = Counter()
        self.schema: list[Cause] = []
        self.fault: Cause | None = None
        self.rows = self.rejected_rows = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self.part, self.rejected, self.ids):
            file.close()

    def reject(self, checked: Checked) -> None:
        """Set rows aside."""
        self.reasons.update(checked.reasons)
        if checked.rejected.num_rows:
            self.rejected_rows += checked.rejected.num_rows
            self.rejected.write(checked.rejected)

    def bad_lines(self, lines: pa.RecordBatch) -> None:
        """Set aside lines of a text file that are no rows at all."""
        self.reasons["not a row"] += lines.num_rows
        self.rejected_rows += lines.num_rows
        self.rejected.write(lines)

    def add(self, checked: Checked) -> None:
        """Score the accepted rows of a chunk and write them."""
        predictor = self.model.predictor
        data = tables.to_frame(checked.accepted, self.model.contract)
        scores = predictor.scores(data)
        columns = predictor.columns(scores, data)
        ids = text_ids(checked.accepted.column(self.config.id_column))
        try:
            self.part.write(self._published(ids, columns))
        except DataError as error:
            raise ModelFault(f"postprocess gave other columns than for the rows before: {error}") from error
        self.ids.add(checked.accepted.column(self.config.id_column))
        self.profile.add(checked.accepted, scores, checked.rows)
        self.rows += checked.accepted.num_rows

    def _published(self, ids: pa.Array, columns: Mapping[str, np.ndarray]) -> pa.RecordBatch:
        """What consumers read of a chunk; the same columns and types in every batch, so the folder reads as one."""
        import pyarrow as pa

        found: dict[str, Any] = {self.config.id_column: ids}
        found |= {name: _array(name, values) for name, values in columns.items() if name not in found}
        found |= {name: pa.repeat(value, len(ids)) for name, value in self.stamp.items()}
        return pa.RecordBatch.from_pydict(found)

    def result(self, batch: str) -> ShardScore:
        """What is left when all files are closed."""
        whole = self.fault is None
        return ShardScore(
            batch=batch,
            shard=self.shard.index,
            rows=self.rows if whole else 0,
            rejected=self.rejected_rows,
            part=self.part.path.name if whole and self.rows else "",
            rejected_part=self.rejected.path.name if self.rejected_rows else "",
            ids=self.ids.path.name if whole and self.rows else "",
            profile=self.profile,
            reasons=dict(self.reasons),
            schema=tuple(self.schema),
            fault=self.fault,
        )


def _array(name: str, values: np.ndarray) -> pa.Array:
    """A column as Arrow holds it. Raises ModelFault for values of several types, or of none that Parquet has."""
    import pyarrow as pa

    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ModelFault(
            f"postprocess returned a column {name!r} that cannot be stored: {error}. Give all its rows one type: "
            "numbers, text, booleans or times"
        ) from error
