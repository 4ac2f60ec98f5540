"""What a batch looks like: exact counts over the bins of the reference, and a small uniform sample of rows.

A profile is filled chunk by chunk and merged in any order; one shard or eight, the result is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuseline.bins import (
    SCORE_BINS,
    Binning,
    Bins,
    count_numbers,
    count_text,
    cut,
    floats,
    named_scores,
    quantile_edges,
    text_hashes,
)
from fuseline.casts import text_ids
from fuseline.contract import Contract, check
from fuseline.errors import ContractBroken

__all__ = [
    "Binning",
    "Bins",
    "Ids",
    "Profile",
    "Sample",
    "Tally",
    "count_duplicates",
    "learn_bins",
    "merge",
    "named_scores",
]

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

SAMPLE_ROWS = 5_000


def learn_bins(reference: pa.RecordBatch | pa.Table | pd.DataFrame, contract: Contract, scores: np.ndarray) -> Bins:
    """Read the bins off the reference, with its counts in them.

    Numeric columns and scores are cut at quantiles (16 for columns, 20 for scores) of the values that are not heavy; a
    value with more than 1/32 of the rows has a bin of its own.

    Args:
        reference: rows with all features: canonical, or as a frame.
        contract: the features.
        scores: shape (rows,) or (rows, classes), finite.

    Raises:
        ContractBroken: the reference has no rows, rows that break the contract, or not one score for each.
    """
    import numpy as np
    import pyarrow as pa

    if not isinstance(reference, pa.RecordBatch | pa.Table):
        reference = pa.RecordBatch.from_pandas(reference, preserve_index=False)
    features = Contract(contract.columns, None, None, None, contract.rows, contract.ignored)
    checked = check(reference, features)
    rows = checked.accepted
    if checked.rejected.num_rows:
        why = checked.rejected.column("reason")[0].as_py()
        raise ContractBroken(f"{checked.rejected.num_rows} reference rows break their contract, e.g. {why}")
    if rows.num_rows == 0 or len(scores) != rows.num_rows:
        raise ContractBroken(f"expected one score for each reference row: {rows.num_rows} rows, {len(scores)} scores")
    columns = {c.name: cut(c, rows.column(i)) for i, c in enumerate(contract.columns)}
    named = named_scores(np.asarray(scores, dtype=np.float64))
    if taken := sorted(set(named) & set(columns)):
        raise ContractBroken(f"a feature is called {taken[0]!r}, as the model's own score is: rename it, or drop it")
    cuts = {name: Binning("numeric", quantile_edges(values, SCORE_BINS)) for name, values in named.items()}
    empty = Bins(columns, cuts, rows.num_rows)
    counted = Profile.empty(empty, 0)
    counted.add(rows, scores, np.arange(rows.num_rows))
    return Bins(_counted(columns, counted.columns), _counted(empty.scores, counted.scores), rows.num_rows)


def _counted(binnings: Mapping[str, Binning], counts: Mapping[str, Tally]) -> dict[str, Binning]:
    return {
        name: Binning(b.kind, b.edges, b.levels, tuple(int(n) for n in counts[name].counts))
        for name, b in binnings.items()
    }


# ── the profile ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Tally:
    """What is counted of one column or score.

    Attributes:
        counts: int64, shape (Binning.size,): the regular bins, then below and above, or unseen, then null.
        low, high: least and greatest value; infinite without any.
        total: exact sum of the sums of the chunks, so that the order of merging does not matter.
    """

    counts: np.ndarray
    low: float = math.inf
    high: float = -math.inf
    total: Fraction = Fraction(0)

    @property
    def nulls(self) -> int:
        """Rows without a value."""
        return int(self.counts[-1])

    @property
    def mean(self) -> float | None:
        """Mean of the numbers; None without any, and for text."""
        known = int(self.counts.sum()) - self.nulls
        return float(self.total / known) if known and self.low <= self.high else None

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.counts + other.counts, min(self.low, other.low), max(self.high, other.high), self.total + other.total
        )

    def to_json(self) -> dict[str, Any]:
        """Counts and figures; what there is none of is None."""
        known = self.low <= self.high
        return {
            "counts": [int(n) for n in self.counts],
            "low": self.low if known else None,
            "high": self.high if known else None,
            "mean": self.mean,
        }


@dataclass(frozen=True, eq=False)
class Sample:
    """A uniform sample of the accepted rows, in the order of row numbers.

    Attributes:
        rows: int64, shape (n,): row numbers in the file, n <= 5,000.
        features: the contract's columns of these rows; text is plain text.
        scores: float64, shape (n,) or (n, classes).
    """

    rows: np.ndarray
    features: pa.Table
    scores: np.ndarray


class Profile:
    """Counts and a sample of the rows that were scored.

    Make one with `empty`, fill it with `add`, put several together with `merge`. It can be pickled.

    Attributes:
        bins: the bins of the reference.
        seed: chooses the sample; all profiles that are merged must have the same.
        rows: accepted rows.
        columns, scores: what is counted of each feature and score.
    """

    def __init__(
        self, bins: Bins, seed: int, rows: int, columns: dict[str, Tally], scores: dict[str, Tally], kept: list[_Kept]
    ) -> None:
        self.bins, self.seed, self.rows, self.columns, self.scores = bins, seed, rows, columns, scores
        self._kept = kept

    @classmethod
    def empty(cls, bins: Bins, seed: int) -> Profile:
        """A profile of no rows."""
        import numpy as np

        def tallies(binnings: Mapping[str, Binning]) -> dict[str, Tally]:
            return {name: Tally(np.zeros(b.size, dtype=np.int64)) for name, b in binnings.items()}

        return cls(bins, seed, 0, tallies(bins.columns), tallies(bins.scores), [])

    def add(self, rows: pa.RecordBatch, scores: np.ndarray, row_numbers: np.ndarray) -> None:
        """Count accepted rows.

        Args:
            rows: accepted rows, as `contract.check` gives them; more columns than the features do no harm.
            scores: shape (rows,) or (rows, classes), finite.
            row_numbers: shape (rows,), their numbers in the file; no number may come twice.
        """
        import numpy as np

        scores = np.asarray(scores, dtype=np.float64)
        for name, binning in self.bins.columns.items():
            values = rows.column(rows.schema.get_field_index(name))
            numeric = binning.kind == "numeric"
            found = _tally(binning, floats(values)) if numeric else Tally(count_text(binning, values))
            self.columns[name] = self.columns[name].plus(found)
        for name, column in named_scores(scores).items():
            self.scores[name] = self.scores[name].plus(_tally(self.bins.scores[name], column))
        self.rows += rows.num_rows
        self._keep(rows, scores, np.asarray(row_numbers, dtype=np.int64))

    def sample(self) -> Sample:
        """A uniform sample of at most 5,000 rows: those whose hash of seed and row number is least."""
        import numpy as np

        kept = _least(self._kept, SAMPLE_ROWS)
        if kept is None:
            return Sample(np.zeros(0, dtype=np.int64), _no_rows(self.bins), np.zeros(0))
        order = np.argsort(kept.rows)
        return Sample(kept.rows[order], kept.features.take(order), kept.scores[order])

    def to_json(self) -> dict[str, Any]:
        """The counts and figures by column, for metrics.json; not the sample."""
        return {
            "rows": self.rows,
            "columns": {name: t.to_json() for name, t in self.columns.items()},
            "scores": {name: t.to_json() for name, t in self.scores.items()},
        }

    def _keep(self, rows: pa.RecordBatch, scores: np.ndarray, numbers: np.ndarray) -> None:
        import numpy as np
        import pyarrow as pa

        hashes = _mixed(numbers, self.seed)
        chosen = np.flatnonzero(hashes < self._bar()) if self._kept else np.arange(len(hashes))
        if len(chosen) > SAMPLE_ROWS:
            chosen = np.sort(chosen[np.argpartition(hashes[chosen], SAMPLE_ROWS - 1)[:SAMPLE_ROWS]])
        if not len(chosen):
            return
        part = rows.select(list(self.bins.columns)).take(pa.array(chosen))
        features = pa.table({name: _undictionaried(part.column(i)) for i, name in enumerate(part.schema.names)})
        self._kept.append(_Kept(hashes[chosen], numbers[chosen], features, scores[chosen]))
        if sum(len(k.hashes) for k in self._kept) > 2 * SAMPLE_ROWS:
            self._compact()

    def _bar(self) -> int:
        """Hashes at or above it cannot be among the least: the first part is what the last compaction left."""
        first = self._kept[0].hashes
        return int(first.max()) if len(first) >= SAMPLE_ROWS else 2**64 - 1

    def _compact(self) -> None:
        kept = _least(self._kept, SAMPLE_ROWS)
        self._kept = [] if kept is None else [kept]

    def __getstate__(self) -> dict[str, Any]:
        self._compact()
        return self.__dict__


@dataclass(frozen=True, eq=False)
class _Kept:
    hashes: np.ndarray
    rows: np.ndarray
    features: pa.Table
    scores: np.ndarray


def sampled(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Which rows a profile of this seed keeps in its sample, given the numbers of all; their places, ascending."""
    import numpy as np

    if len(numbers) <= SAMPLE_ROWS:
        return np.arange(len(numbers))
    return np.sort(np.argpartition(_mixed(numbers, seed), SAMPLE_ROWS - 1)[:SAMPLE_ROWS])


def merge(profiles: Iterable[Profile]) -> Profile:
    """All profiles together; their order does not matter, and they are not changed.

    Raises:
        ContractBroken: there are none, or they have other bins or seeds.
    """
    profiles = list(profiles)
    if not profiles:
        raise ContractBroken("there is no profile to merge: expected at least one shard")
    first = profiles[0]
    if any(p.seed != first.seed or p.bins != first.bins for p in profiles):
        raise ContractBroken("profiles of other bins or seeds cannot be merged: score all shards with one version")
    whole = Profile.empty(first.bins, first.seed)
    for profile in profiles:
        whole.rows += profile.rows
        whole.columns = {name: t.plus(profile.columns[name]) for name, t in whole.columns.items()}
        whole.scores = {name: t.plus(profile.scores[name]) for name, t in whole.scores.items()}
        whole._kept += profile._kept
    whole._compact()
    return whole


def _least(kept: list[_Kept], most: int) -> _Kept | None:
    """The rows with the least hashes, in the order of hashes; None without any."""
    import numpy as np
    import pyarrow as pa

    if not kept:
        return None
    hashes = np.concatenate([k.hashes for k in kept])
    order = np.argsort(hashes, kind="stable")[:most]
    features = pa.concat_tables([k.features for k in kept]).take(order).combine_chunks()
    rows, scores = (np.concatenate(parts)[order] for parts in ([k.rows for k in kept], [k.scores for k in kept]))
    return _Kept(hashes[order], rows, features, scores)


def _no_rows(bins: Bins) -> pa.Table:
    import pyarrow as pa

    kinds = {name: pa.float64() if b.kind == "numeric" else pa.string() for name, b in bins.columns.items()}
    return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})


def _undictionaried(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _tally(binning: Binning, values: np.ndarray) -> Tally:
    import numpy as np

    counts = count_numbers(binning, values)
    if counts[-1] == len(values):
        return Tally(counts)
    low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))
    return Tally(counts, low, high, _exact_sum(values))


def _exact_sum(values: np.ndarray) -> Fraction:
    import numpy as np

    with np.errstate(over="ignore"):
        total = float(np.nansum(values))
    if math.isfinite(total):
        return Fraction(total)
    return Fraction(float(np.nansum(values * 2.0**-64))) * 2**64  # values near the end of what a float can hold


def _mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A 64-bit hash of seed and row number, one to one for a seed: SplitMix64 (Steele, Lea & Flood 2014).

    >>> import numpy as np
    >>> hex(int(_mixed(np.array([0]), 0)[0]))
    '0xe220a8397b1dcdaf'
    """
    import numpy as np

    golden = 0x9E3779B97F4A7C15
    start = np.uint64((seed * 0xD1B54A32D192ED03 + golden) % 2**64)
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) * np.uint64(golden) + start
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────


class Ids:
    """The ids of the rows that were scored, as 64-bit hashes in a file: 8 bytes a row.

    Args:
        path: is overwritten.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")

    def add(self, ids: pa.Array) -> None:
        """Append ids of one type: whole numbers count by value, all else by its text; nulls do not count."""
        import numpy as np
        import pyarrow as pa

        if pa.types.is_integer(ids.type):
            hashes = _mixed(ids.drop_null().to_numpy(zero_copy_only=False).astype(np.int64), 0)
        else:
            hashes = text_hashes(text_ids(ids).drop_null().to_pylist())
        self._file.write(hashes.astype("<u8").tobytes())

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def __enter__(self) -> Ids:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def count_duplicates(paths: Iterable[Path], at_once: int = 1_000_000) -> int:
    """Rows whose id was there before, over all files together.

    Exact but for the chance that two ids have one hash, which is 3e-6 for ten million ids.

    Args:
        at_once: ids that are held in memory at a time; more are counted in several passes over the files.
    """
    import numpy as np

    files = [p for p in paths if p.stat().st_size]
    total = sum(p.stat().st_size // 8 for p in files)
    bits = max(0, math.ceil(math.log2(max(total, 1) / at_once))) if total > at_once else 0
    distinct = 0
    for part in range(2**bits):
        held = [_slice(f, part, bits) for f in files]
        distinct += len(np.unique(np.concatenate(held))) if held else 0
    return total - distinct


def _slice(path: Path, part: int, bits: int) -> np.ndarray:
    """The hashes of a file whose first bits are `part`, read in pieces of 1 MiB."""
    import numpy as np

    found = []
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            piece = np.frombuffer(data, dtype="<u8")
            found.append(piece if bits == 0 else piece[(piece >> np.uint64(64 - bits)) == part])
    return np.concatenate(found)
