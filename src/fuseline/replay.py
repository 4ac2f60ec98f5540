"""The batch's values put into reference rows, as if something had happened to a column and to nothing else.

Every row is drawn by itself from what happened to the whole reference, so any part of the rows may be taken: also one
in which rare classes are more common.
"""

from __future__ import annotations

import numpy as np


def move(
    values: np.ndarray,
    cells: np.ndarray,
    shares: tuple[np.ndarray, np.ndarray],
    batch: np.ndarray,
    there: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows leave the cells that have too many for those with too few, and get any value that the batch has there.

    With shares p before and q after, a row of cell a moves with the probability max(0, 1 - q/p), to cell b in
    proportion to max(0, q - p): the least mass moves, Σ|q - p|/2 (the maximal coupling: Lindvall 1992).

    Args:
        values: shape (rows,); not changed.
        cells: their cells.
        shares: of each cell before and after, shape (cells,).
        batch, there: the batch's values and their cells.

    Returns:
        A new array of the shape and type of `values`.

    >>> values, cells = np.array([1.0, 2.0, 2.0]), np.array([0, 1, 1])
    >>> shares = np.array([0.25, 0.75, 0.0]), np.array([0.25, 0.0, 0.75])
    >>> move(values, cells, shares, np.array([9.0]), np.array([2]), np.random.default_rng(0)).tolist()
    [1.0, 9.0, 9.0]
    """
    before, after = shares
    many = np.bincount(there, minlength=len(before))
    gain = np.where(many > 0, np.maximum(after - before, 0.0), 0.0)
    found = values.copy()
    if gain.sum() <= 0.0:
        return found
    leave = np.where(before > 0.0, np.clip(1.0 - after / np.maximum(before, 1e-12), 0.0, 1.0), 0.0)
    moved = np.flatnonzero(rng.random(len(values)) < leave[cells])
    to = rng.choice(len(before), len(moved), p=gain / gain.sum())
    order, first = np.argsort(there, kind="stable"), np.cumsum(many) - many
    found[moved] = batch[order[first[to] + (rng.random(len(moved)) * many[to]).astype(np.int64)]]
    return found


def rescale(
    values: np.ndarray,
    reference: np.ndarray,
    batch: np.ndarray,
    nulls: tuple[float, float],
    rng: np.random.Generator,
    *,
    turned: bool = False,
) -> np.ndarray:
    """Numbers or times keep their ranks: each value gets the batch's value of the rank that it had in the reference.

    Quantile mapping, x to Q(F(x)) with F of the reference and Q of the batch (Panofsky & Brier 1958); equal values are
    spread over the ranks that they share. Where nulls grow from p to q, a value becomes null with the probability
    (q - p)/(1 - p); where they shrink, a null is filled with (p - q)/p.

    Args:
        values: float64 or datetime64, shape (rows,); not changed.
        reference, batch: all known values of the column, of the same type, ascending.
        nulls: the share of rows that are null, before and after; rows become null, or are filled, at random.
        turned: whether the least value gets the greatest.

    Returns:
        A new array of the shape and type of `values`.

    >>> prices, dearer = np.array([1.0, 2.0, 3.0]), np.array([100.0, 200.0, 300.0])
    >>> rescale(np.array([3.0, 1.0]), prices, dearer, (0.0, 0.0), np.random.default_rng(0)).tolist()
    [300.0, 100.0]
    """
    null = np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
    before, after = nulls
    found = np.full_like(values, np.nan if values.dtype.kind == "f" else "NaT")
    luck = rng.random(len(values))
    if not len(batch):
        return found
    kept = ~null & (luck >= (after - before) / max(1.0 - before, 1e-9))
    low, high = (np.searchsorted(reference, values[kept], side) for side in ("left", "right"))
    ranks = (low + rng.random(len(low)) * np.maximum(high - low, 1)) / max(len(reference), 1)
    ranks = np.clip(1.0 - ranks if turned else ranks, 0.0, 1.0 - 1e-12)
    found[kept] = batch[(ranks * len(batch)).astype(np.int64)]
    filled = null & (luck < (before - after) / max(before, 1e-9))
    found[filled] = batch[rng.integers(0, len(batch), int(filled.sum()))]
    return found


def deal(batch: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
    """The values of random rows of the batch, drawn with replacement.

    >>> deal(np.array([7.0]), 3, np.random.default_rng(0)).tolist()
    [7.0, 7.0, 7.0]
    """
    found: np.ndarray = batch[rng.integers(0, len(batch), rows)]
    return found


def rename(values: np.ndarray, names: dict[object, object]) -> np.ndarray:
    """Levels of text by other names; those that have no new name keep theirs, and null stays null.

    >>> rename(np.array(["a", "b", "c", None], dtype=object), {"a": "b", "b": "a"}).tolist()
    ['b', 'a', 'c', None]
    """
    import pandas as pd

    codes, levels = pd.factorize(values)
    renamed = np.array([*(names.get(level, level) for level in levels), None], dtype=object)
    found: np.ndarray = renamed[codes]
    return found
