"""The batch's values put into reference rows, as if something had happened to a column and to nothing else."""

from __future__ import annotations

import numpy as np

from fuseline.selection import Cut


def kinds_of(values: np.ndarray, changed: bool) -> tuple[str, ...]:
    """What can happen to a column; the first is taken where nothing speaks for another."""
    if values.dtype == object:
        return ("moved", "swapped", "dealt") if changed else ("dealt",)
    turned = ("turned",) if values.dtype.kind == "f" else ()
    return ("moved", "part", *turned, "dealt") if changed else ("dealt", *turned)


def happen(kind: str, reference: np.ndarray, batch: np.ndarray, bins: Cut, rng: np.random.Generator) -> np.ndarray:
    """The reference's rows with the batch's values: `moved` as `replay` does, and the rest of what can happen.

    `part` moves as few rows as possible to other bins; `turned` turns the order of the values round; `dealt` gives the
    rows values at random; `swapped` gives each level the name of the batch's level that is as common.
    """
    if kind == "moved":
        return replay(reference, batch, rng)
    if kind == "dealt":
        return batch[rng.integers(0, len(batch), len(reference))]
    if kind == "part":
        return _move_between_bins(reference, batch, bins, rng)
    if kind == "turned":
        return _replay_ranks(-reference, batch, rng)
    return _swap_levels(reference, batch)


def replay(reference: np.ndarray, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reference rows with the values spread as in the batch, moving as little as possible.

    Numbers and times keep their ranks: the k-th least gets the batch's value of the same rank, and the batch's share of
    rows is null. Of text, rows keep their level as far as the batch has enough of it; the rest get a level that the
    batch has more of.

    Args:
        reference: shape (rows,): float64, datetime64 or object (text) with None. Not changed.
        batch: the same type, shape (any,); without rows nothing moves. Not changed.

    Returns:
        A new array of the shape and type of `reference`.

    >>> prices, dearer = np.array([3.0, 1.0, 2.0]), np.array([100.0, 300.0, 200.0])
    >>> replay(prices, dearer, np.random.default_rng(0)).tolist()
    [300.0, 100.0, 200.0]
    """
    if not len(reference) or not len(batch):
        return reference.copy()
    return _replay_levels(reference, batch, rng) if reference.dtype == object else _replay_ranks(reference, batch, rng)


def _replay_ranks(reference: np.ndarray, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    null, known = _null(reference), np.sort(batch[~_null(batch)])
    nulls = round(len(reference) * (1.0 - len(known) / len(batch)))
    empty = np.concatenate([rng.permutation(np.flatnonzero(null)), rng.permutation(np.flatnonzero(~null))])[:nulls]
    kept = ~null
    kept[empty] = False
    filled = null.copy()
    filled[empty] = False
    found = np.full_like(reference, np.nan if reference.dtype.kind == "f" else "NaT")
    places = np.flatnonzero(kept)
    order = places[np.lexsort((rng.random(len(places)), reference[places]))]  # ties in any order
    if len(known):
        found[order] = known[((np.arange(len(order)) + 0.5) * len(known) / max(len(order), 1)).astype(np.int64)]
        found[filled] = rng.choice(known, int(filled.sum()))
    return found


def _null(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
    return found


def _replay_levels(reference: np.ndarray, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    import pandas as pd

    codes, levels = pd.factorize(np.concatenate([reference, batch]), use_na_sentinel=False)
    values = np.asarray(levels, dtype=object)
    values[pd.isna(values)] = None
    found: np.ndarray = values[_replay_codes(codes[: len(reference)], codes[len(reference) :], len(levels), rng)]
    return found


def _replay_codes(reference: np.ndarray, batch: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Codes from 0 to `size` spread as in the batch, with the least moves."""
    here, there = (np.bincount(part, minlength=size) for part in (reference, batch))
    wanted = _whole(there * (len(reference) / len(batch)), len(reference))
    codes = reference.copy()
    mixed = rng.permutation(len(codes))
    turn = np.empty(len(codes), dtype=np.int64)  # which of its level's rows a row is, in a random order
    by_level = mixed[np.argsort(codes[mixed], kind="stable")]
    turn[by_level] = np.arange(len(codes)) - np.repeat(np.cumsum(here) - here, here)
    moved = np.flatnonzero(turn >= wanted[codes])
    codes[moved] = rng.permutation(np.repeat(np.arange(size), np.maximum(wanted - here, 0)))
    return codes


def _move_between_bins(reference: np.ndarray, batch: np.ndarray, bins: Cut, rng: np.random.Generator) -> np.ndarray:
    """The rows whose bin has too many get any value that the batch has in a bin with too few."""
    places = _replay_codes(bins.reference, bins.batch, bins.size, rng)
    moved = np.flatnonzero(places != bins.reference)
    order, many = np.argsort(bins.batch, kind="stable"), np.bincount(bins.batch, minlength=bins.size)
    first = (np.cumsum(many) - many)[places[moved]]
    found = reference.copy()
    found[moved] = batch[order[first + (rng.random(len(moved)) * many[places[moved]]).astype(np.int64)]]
    return found


def _swap_levels(reference: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """The k-th most common level gets the name of the batch's k-th most common one; levels beyond keep theirs."""
    import pandas as pd

    was, now = (pd.Series(v).value_counts().index for v in (reference, batch))
    names = {**dict(zip(was, was, strict=True)), **dict(zip(was, now, strict=False))}
    found: np.ndarray = pd.Series(reference).map(names).to_numpy(dtype=object)
    found[pd.isna(found)] = None
    return found


def _whole(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers near the shares that add up to the total: the largest remainders are rounded up."""
    down = np.floor(shares + 1e-9).astype(np.int64)
    up = np.argsort(-(shares - down), kind="stable")[: total - int(down.sum())]
    down[up] += 1
    return down
