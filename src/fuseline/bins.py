"""The bins of the reference: where the values of each feature and score are counted.

A numeric column is cut at quantiles, text has a bin for each level. Values out of range, unseen levels and nulls have
bins of their own, so that every row is counted once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from fuseline.casts import as_numbers
from fuseline.contract import Column
from fuseline.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FORMAT = 1
COLUMN_BINS = 16
SCORE_BINS = 20
HEAVY = 32  # a value with more than 1/32 of the rows has a bin of its own
HASH_BINS = 16  # free text is counted by the hash of its value
SCORE = "score"


@dataclass(frozen=True)
class Binning:
    """The bins of one column or score, and how many reference rows lie in each.

    Attributes:
        kind: `numeric` is cut at `edges`; `levels` has a bin for each level; `hashed` 16 bins by hash (free text).
        edges: ascending. Bin k holds edges[k] < x <= edges[k + 1]; below edges[0] and above edges[-1] is out of range.
            Empty where the reference has no value at all.
        levels: the text of each bin.
        counts: reference rows by bin, laid out as `Tally.counts`: the regular bins, then below, above (numeric) or
            unseen (text), then null.
    """

    kind: Literal["numeric", "levels", "hashed"]
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def regular(self) -> int:
        """How many bins there are besides below, above, unseen and null."""
        if self.kind == "numeric":
            return max(len(self.edges) - 1, 0)
        return len(self.levels) if self.kind == "levels" else HASH_BINS

    @property
    def size(self) -> int:
        """How many counts a column has: the regular bins, two (below, above) or one (unseen) more, and null."""
        return self.regular + (3 if self.kind == "numeric" else 2)


@dataclass(frozen=True)
class Bins:
    """The bins of every feature and of the scores, read off the reference.

    Attributes:
        columns: feature to bins, in the order of the contract.
        scores: `score`, or for several classes `score_0`, `score_1` and so on, to bins.
        rows: rows of the reference.
    """

    columns: Mapping[str, Binning]
    scores: Mapping[str, Binning]
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and scalars; `from_json` gives the same bins back."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Bins:
        """Read what `to_json` wrote. Raises ArtifactError for a newer format or anything else."""
        try:
            if data["format"] > FORMAT:
                raise ArtifactError(f"the bins have format {data['format']}, this Fuseline reads up to {FORMAT}")
            parts = [{name: _binning(b) for name, b in data[part].items()} for part in ("columns", "scores")]
            return cls(parts[0], parts[1], int(data["rows"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"these are no bins: {error!r}. Restore bins.json of the version") from error


def _binning(data: Mapping[str, Any]) -> Binning:
    return Binning(data["kind"], tuple(data["edges"]), tuple(data["levels"]), tuple(data["counts"]))


def named_scores(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Scores by name: `score` of shape (rows,), or `score_0`, `score_1` ... for the columns of (rows, classes)."""
    if scores.ndim == 1:
        return {SCORE: scores}
    return {f"{SCORE}_{i}": scores[:, i] for i in range(scores.shape[1])}


def cut(column: Column, values: pa.Array) -> Binning:
    """The bins of a feature, from its canonical values in the reference."""
    if column.kind != "text":
        return Binning("numeric", quantile_edges(floats(values.drop_null()), COLUMN_BINS))
    if column.levels is None:
        return Binning("hashed")
    return Binning("levels", levels=column.levels)


def quantile_edges(values: np.ndarray, bins: int) -> tuple[float, ...]:
    """Edges of quantile bins; no bin is empty, and a heavy value is alone in its bin where its neighbours allow it."""
    import numpy as np

    if len(values) == 0:
        return ()
    distinct, counts = np.unique(values, return_counts=True)
    heavy = counts * HEAVY > len(values)
    with np.errstate(over="ignore"):
        before = np.maximum(np.nextafter(distinct, -np.inf), -sys.float_info.max)
    edges = [before[0], distinct[-1]]
    edges += [*distinct[heavy], *before[heavy]]
    light = np.repeat(distinct[~heavy], counts[~heavy])
    if len(light):
        parts = max(1, math.ceil(bins * len(light) / len(values)))
        edges += list(np.quantile(light, np.arange(1, parts) / parts, method="inverted_cdf"))
    found = np.unique(np.asarray(edges, dtype=np.float64))
    filled = np.diff(np.searchsorted(np.sort(values), found, side="right")) > 0
    return tuple(float(e) for e in found[np.concatenate([filled, [True]])])


def floats(values: pa.Array) -> np.ndarray:
    """A canonical number or datetime column as float64, NaN for null, shape (rows,)."""
    import numpy as np

    return np.asarray(as_numbers(values).to_numpy(zero_copy_only=False), dtype=np.float64)


def number_places(binning: Binning, values: np.ndarray) -> np.ndarray:
    """The bin of each number, NaN for null, as a place in `Binning.counts`, shape (rows,).

    >>> import numpy as np
    >>> binning = Binning("numeric", edges=(0.0, 1.0, 2.0))
    >>> number_places(binning, np.array([0.5, 1.0, 1.5, 7.0, np.nan])).tolist()
    [0, 0, 1, 3, 4]
    """
    import numpy as np

    edges = np.asarray(binning.edges, dtype=np.float64)
    regular = binning.regular
    order = np.concatenate([[regular], np.arange(regular), [regular + 1]]) if len(edges) else np.array([1])
    places: np.ndarray = order[np.searchsorted(edges, values, side="left")]  # 0 is below, len(edges) above or null
    places[np.isnan(values)] = regular + 2
    return places


def count_numbers(binning: Binning, values: np.ndarray) -> np.ndarray:
    """Count numbers, shape (rows,), NaN for null; gives the counts as `Binning.counts` has them.

    >>> import numpy as np
    >>> binning = Binning("numeric", edges=(0.0, 1.0, 2.0))
    >>> count_numbers(binning, np.array([0.5, 1.0, 1.5, 7.0, np.nan])).tolist()
    [2, 1, 0, 1, 1]
    """
    import numpy as np

    return np.bincount(number_places(binning, values), minlength=binning.size)


def count_text(binning: Binning, values: pa.Array) -> np.ndarray:
    """Count canonical text as `Binning.counts` has it: every level of the chunk's dictionary is looked up once."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if binning.kind == "hashed":
        bins = hash_bins(values.dictionary.to_pylist())
    else:
        found = pc.index_in(values.dictionary, pa.array(binning.levels, pa.string()))
        bins = found.fill_null(binning.regular).to_numpy(zero_copy_only=False)
    table = np.append(bins.astype(np.int64), binning.regular + 1)
    codes = values.indices.fill_null(len(values.dictionary)).to_numpy(zero_copy_only=False)
    by_code = np.bincount(codes, minlength=len(table))
    counts = np.zeros(binning.size, dtype=np.int64)
    np.add.at(counts, table, by_code)
    return counts


def hash_bins(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """The bin of each text of a `hashed` column, int64, shape (texts,)."""
    import numpy as np

    found: np.ndarray = (text_hashes(texts) % np.uint64(HASH_BINS)).astype(np.int64)
    return found


def text_hashes(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """A 64-bit hash (SipHash) of each text, the same on every machine."""
    import numpy as np
    import pandas as pd

    return pd.util.hash_array(np.asarray(texts, dtype=object), hash_key="fuseline-profile", categorize=False)
