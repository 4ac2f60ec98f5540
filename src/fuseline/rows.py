"""Labelled rows: what a version is trained on and measured on.

They are the history of the first source and the scored batches whose labels have come, newest last, cut to the
newest `max_rows`. A row is held out by the hash of its id, so a row that was held out once is held out for every
later version too: a challenger and the champion are compared on rows that neither has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fuseline import sources, tables
from fuseline.artifacts import file_digest
from fuseline.batches import Batches
from fuseline.contract import Contract, check, learn
from fuseline.errors import DataError, SettingsError
from fuseline.models import Window
from fuseline.projects import ROW_ID, Config, Project
from fuseline.records import Task
from fuseline.state import State
from fuseline.storage import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

REFERENCE_ROWS = 50_000
LABEL, SCORE = "fuseline.label", "fuseline.score."
MULTICLASS_MOST = 20  # whole numbers with at most so many values are taken for classes, more for a regression


@dataclass(frozen=True)
class LabelledBatch:
    """A scored batch in a training window: the key of its rows and the keys of the labels that came for it."""

    batch: str
    name: str
    key: str
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Pinned:
    """What a training run reads, pinned: the digest of the history, the copies of the sources, the batches.

    Attributes:
        labels: keys of the joined labels, in the order in which they came.
    """

    digest: str
    sources: Mapping[str, str]
    batches: tuple[LabelledBatch, ...]
    labels: tuple[str, ...]


def pin(project: Project, store: Store, batches: Batches, state: State) -> Pinned:
    """Pin the rows as the ledger stands: published batches with labels; quarantined and withdrawn ones are left out.

    So is a batch whose kept copy is gone: a store may let old ones expire.
    """
    name, source = sources.history(project)
    with sources.local(store, project, name, source) as path:
        digest = file_digest(path)
    labelled = tuple(
        LabelledBatch(key, b.name, batches.input_key(key, b.file), b.sources)
        for key, b in sorted(state.with_status("published").items(), key=lambda kb: kb[1].started)
        if b.labelled and store.exists(batches.input_key(key, b.file))
    )
    labels = tuple(item.key for item in store.list(f"{project.name}/feedback/")) if labelled else ()
    return Pinned(digest, sources.keep(store, project), labelled, labels)


@dataclass(frozen=True)
class Labelled:
    """Labelled rows in canonical columns, the newest last.

    Attributes:
        table: features, id and time as `contract.check` gives them; no target.
        label: the target, raw; as many values as rows, none of them null.
        contract: the features of these rows.
        unlabelled: rows that were left out because their target is null.
    """

    table: pa.Table
    label: pa.Array
    contract: Contract
    holdout: float
    unlabelled: int = 0

    @cached_property
    def hashes(self) -> np.ndarray:
        """Hash of each row's id, uint64, shape (rows,)."""
        import pandas as pd

        ids = self.table.column(self.contract.id).cast("string").to_numpy(zero_copy_only=False)
        return pd.util.hash_array(ids.astype(object), hash_key="fuseline-holdout", categorize=False)

    @cached_property
    def held_out(self) -> np.ndarray:
        """Whether each row is held out, bool, shape (rows,)."""
        return self.hashes < int(self.holdout * 2**64)

    def part(self, *, held_out: bool, most: int | None = None) -> tuple[pa.Table, pa.Array]:
        """The rows that are held out, or those that are not; at most `most`, chosen by the hash of their ids."""
        import numpy as np
        import pyarrow as pa

        chosen = np.flatnonzero(self.held_out == held_out)
        if most is not None and len(chosen) > most:
            chosen = np.sort(chosen[np.argsort(self.hashes[chosen], kind="stable")[:most]])
        index = pa.array(chosen)
        return self.table.take(index), self.label.take(index)

    def window(self, pinned: Pinned, history: str) -> Window:
        """What the manifest says of these rows."""
        time = self.contract.time
        ends = ("", "")
        if time is not None and self.table.num_rows:
            import pyarrow.compute as pc

            extent = pc.min_max(self.table.column(time)).as_py()
            ends = (str(extent["min"]), str(extent["max"]))
        return Window(
            rows=self.table.num_rows,
            holdout=int(self.held_out.sum()),
            first=ends[0],
            last=ends[1],
            sources={history: pinned.digest, **pinned.sources},
            batches=tuple(b.batch for b in pinned.batches),
        )


def assemble(project: Project, store: Store, pinned: Pinned) -> Labelled:
    """Read pinned rows. Raises DataError where the target is missing or the history changed since it was pinned."""
    import pyarrow as pa
    import pyarrow.compute as pc

    config = project.config
    name, source = sources.history(project)
    joined = sources.read(store, project, pinned.sources)
    with sources.local(store, project, name, source) as path:
        if file_digest(path) != pinned.digest:
            raise DataError(f"{path} changed while a version was trained on it: run the training again")
        history = tables.read_table(path)
    if config.target not in history.column_names:
        raise DataError(
            f"the target {config.target!r} is not a column of {source.path}; it has: "
            f"{', '.join(history.column_names)}. Set `target` in {project.folder / 'project.toml'}"
        )
    history = _named(history, config, "history")
    history = _sorted(_joined(history, joined), config.time)
    contract = learn(history, id=config.id_column, time=config.time, target=config.target, drop=config.drop)
    parts = [_canonical(history, contract, config.target)]
    kind = history.schema.field(config.target).type
    labels = _labels(store, pinned)
    for batch in pinned.batches:
        with store.local(batch.key) as path:
            rows = _named(tables.read_table(path), config, batch.name)
        rows = _joined(rows, sources.read(store, project, batch.sources))
        rows = _with_labels(rows, labels.get(batch.batch), config, kind)
        if rows.num_rows:
            parts.append(_canonical(rows, contract, config.target))
    whole = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    whole = whole.slice(max(0, whole.num_rows - config.training.max_rows))
    known = pc.invert(pc.is_null(whole.column(config.target), nan_is_null=True))
    labelled = whole.filter(known)
    if not labelled.num_rows:
        raise DataError(f"no row of {source.path} has a value in the target {config.target!r}")
    label = labelled.column(config.target).combine_chunks()
    return Labelled(
        labelled.drop_columns([config.target]),
        label,
        contract,
        config.training.holdout,
        unlabelled=whole.num_rows - labelled.num_rows,
    )


def task_of(label: pa.Array, wanted: Task | None) -> Task:
    """The kind of task: the one that is wanted, else what the labels look like."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if wanted is not None:
        return wanted
    distinct = len(pc.unique(label))
    if pa.types.is_floating(label.type) and not _whole(label):
        return "regression"
    if distinct <= 2:
        return "binary"
    numeric = pa.types.is_integer(label.type) or pa.types.is_floating(label.type)
    return "regression" if numeric and distinct > MULTICLASS_MOST else "multiclass"


def classes_of(label: pa.Array, task: Task) -> tuple[str, ...]:
    """The classes as text, in the order in which scikit-learn sorts them; empty for regression."""
    import numpy as np

    if task == "regression":
        return ()
    return tuple(str(value) for value in np.unique(label.to_numpy(zero_copy_only=False)))


def positive_of(config: Config, task: Task, classes: tuple[str, ...]) -> str:
    """Of two classes, the one whose probability is the score: the set one, or the last. Raises SettingsError."""
    if task != "binary":
        return ""
    if len(classes) != 2:
        raise DataError(
            f"task is binary, but the target {config.target!r} has {len(classes)} classes: {', '.join(classes)}"
        )
    if config.positive is None:
        return classes[-1]
    if config.positive not in classes:
        raise SettingsError(
            f"positive = {config.positive!r} in project.toml is not a value of {config.target!r}: {', '.join(classes)}"
        )
    return config.positive


def reference_table(features: pa.Table, label: pa.Array, scores: np.ndarray) -> pa.Table:
    """Held-out rows with what is known and what was predicted of them, as they are stored with a version."""
    import pyarrow as pa

    found = features.append_column(LABEL, pa.array(label))
    columns = scores.reshape(len(scores), -1)
    for i in range(columns.shape[1]):
        found = found.append_column(f"{SCORE}{i}", pa.array(columns[:, i]))
    return found


def labels_of(reference: pa.Table) -> np.ndarray:
    """The labels of a reference table, shape (rows,)."""
    found: np.ndarray = reference.column(LABEL).combine_chunks().to_numpy(zero_copy_only=False)
    return found


def scores_of(reference: pa.Table) -> np.ndarray:
    """The scores of a reference table, shape (rows,), or (rows, classes) where there are several."""
    import numpy as np

    names = [n for n in reference.column_names if n.startswith(SCORE)]
    columns = [reference.column(n).to_numpy() for n in names]
    return columns[0] if len(columns) == 1 else np.column_stack(columns)


def _whole(label: pa.Array) -> bool:
    import numpy as np

    values = label.drop_null().to_numpy()
    return bool(np.all(values == np.floor(values)))


def _named(table: pa.Table, config: Config, name: str) -> pa.Table:
    """Give rows an id where the project has no id column: <name>:<row number>."""
    import pyarrow as pa

    if config.id is not None:
        return table
    return table.append_column(ROW_ID, pa.array([f"{name}:{row}" for row in range(table.num_rows)]))


def _joined(table: pa.Table, joined: list[tuple[pa.Table, str]]) -> pa.Table:
    for right, key in joined:
        table = tables.join_source(table, right, key)
    return table


def _sorted(table: pa.Table, time: str | None) -> pa.Table:
    if time is None:
        return table
    if time not in table.column_names:
        raise DataError(f"the time column {time!r} is not in the rows; they have: {', '.join(table.column_names)}")
    import pyarrow.compute as pc

    return table.take(pc.sort_indices(table.column(time)))  # stable: equal times keep their order


def _canonical(table: pa.Table, contract: Contract, target: str) -> pa.Table:
    """Rows that keep the contract, in its types, with the target beside them."""
    import pyarrow as pa

    parts = []
    for batch in table.combine_chunks().to_batches():
        checked = check(batch, contract)
        label = batch.column(target).take(pa.array(checked.kept))
        parts.append(pa.Table.from_batches([checked.accepted]).append_column(target, label))
    return pa.concat_tables(parts).unify_dictionaries()


def _labels(store: Store, pinned: Pinned) -> dict[str, dict[str, Any]]:
    """Batch to id to label; where a label came twice the later one counts."""
    found: dict[str, dict[str, Any]] = {}
    for key in pinned.labels:
        with store.local(key) as path:
            table = tables.read_table(path)
        for batch, row, label in zip(*(table.column(c).to_pylist() for c in ("batch", "id", "label")), strict=True):
            found.setdefault(batch, {})[row] = label
    return found


def _with_labels(rows: pa.Table, labels: dict[str, Any] | None, config: Config, kind: pa.DataType) -> pa.Table:
    """The rows whose label has come, with it; in their order."""
    import pyarrow as pa

    ids = rows.column(config.id_column).cast("string").to_pylist()
    known = labels or {}
    chosen = [i for i, row in enumerate(ids) if row in known]
    label = pa.array([known[ids[i]] for i in chosen]).cast(kind)
    if config.target in rows.column_names:
        rows = rows.drop_columns([config.target])
    return rows.take(pa.array(chosen, pa.int64())).append_column(config.target, label)
