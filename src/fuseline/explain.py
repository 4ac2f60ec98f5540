"""The second stage: which worlds look like the batch, and how much.

Every kind of world proposes where it is worth a look. Worlds of one broken column are first compared without the model,
which is cheap; the likeliest ones, and those of several broken columns, are scored again, all in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fuseline.cells import Axis
from fuseline.selection import effective, rake
from fuseline.situation import Situation
from fuseline.worlds import FAULTS, SELECTIONS, Fault, Selection

SHARP = 8  # the power of the distance by which a world is believed
RIDGE = 0.01  # added to the variances of the standardised features
SIXTHS = np.arange(1, 6) / 6
SCORED = 4  # fault worlds that are scored
QUICK = 1000  # rows by which worlds are compared before they are scored
FAR = 40.0  # further than the nearest world by so much, and twice as far: not scored
LIKE = 5000  # rows of the pool that are compared with the batch
ROUNDS = 3  # faults that are added one by one
ANOTHER = 0.1  # how likely one more fault is
LEAST_FIT = 0.7  # of each feature: no world fits better than that

Rescore = Callable[[Sequence[Mapping[str, np.ndarray]]], list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class World:
    """One explanation of the batch.

    Attributes:
        distance: how unlike the batch it is (`Likeness.distance`); `chance` is what it would be by chance alone.
        prior: how many times likelier it is than others, before one looks.
        weights: of the pool's rows for a selection, of its rows `part` for faults.
        scores: of the rows `part` with the faults in them; None for a selection.
        values: what the faults put into these rows, by column.
    """

    distance: float
    chance: float
    prior: float
    weights: np.ndarray
    selection: Selection | None = None
    faults: tuple[Fault, ...] = ()
    scores: np.ndarray | None = None
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are broken; none in a selection."""
        return tuple(dict.fromkeys(c for f in self.faults for c in f.columns))

    def sentence(self) -> str:
        """What happened, for people."""
        if self.selection is not None:
            return self.selection.sentence()
        return "; ".join(f.sentence() for f in self.faults)


def explain(seen: Situation, like: Likeness, balance: np.ndarray, rescore: Rescore) -> list[World]:
    """The worlds that were looked at, the likeliest first.

    Args:
        balance: weights of the rows `part` that undo how they were chosen, shape (part,).
        rescore: scores rows `part` with other values in some columns, for each of several such changes.
    """
    worlds = [] if seen.violated else [_selected(s, seen, like) for kind in SELECTIONS for s in kind.propose(seen)]
    worlds += _faults(seen, like, balance, rescore)
    return sorted(worlds, key=lambda w: w.distance)


def _selected(selection: Selection, seen: Situation, like: Likeness) -> World:
    weights = selection.weights(seen)
    prior = selection.prior * effective(weights) / len(weights)  # the fewer rows it stands on, the stranger the mix
    distance = like.distance(like.reference, weights[like.sparse], selection.fitted)
    return World(distance, like.size, prior, weights, selection)


def _faults(seen: Situation, like: Likeness, balance: np.ndarray, rescore: Rescore) -> list[World]:
    drafts = _Search(seen, like, balance).drafts()
    scored = rescore([d.values for d in drafts]) if drafts else []
    found = []
    for draft, scores in zip(drafts, scored, strict=True):
        features = like.standard(like.features(draft.cells, like.score_cells(scores)))
        distance = like.distance(features, draft.weights, len({*seen.change.columns, *draft.values}))
        found.append(World(distance, like.size, draft.prior, draft.weights, None, draft.faults, scores, draft.values))
    return found


@dataclass(frozen=True, eq=False)
class _Draft:
    """Faults that were put into the rows `part`, and not scored yet; `rank` is lower for what is believed more."""

    faults: tuple[Fault, ...]
    prior: float
    values: dict[str, np.ndarray]
    cells: dict[str, np.ndarray]
    weights: np.ndarray
    rank: float


class _Search:
    """Looks for the faults that make the reference look like the batch, without the model.

    It begins with the columns whose support is violated, each with the kind of fault that fits it best, and adds one
    fault after another as long as the batch is met better.
    """

    def __init__(self, seen: Situation, like: Likeness, balance: np.ndarray) -> None:
        self.seen, self.like, self.balance = seen, like, balance
        self.quick = slice(None, None, max(1, len(seen.part) // QUICK))
        self.cells = {c: seen.cells[c][seen.part] for c in like.needed}
        self._options: dict[str, list[Fault]] = {}
        self._made: dict[Fault, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
        self._weights: dict[frozenset[str], np.ndarray] = {}
        self._drafts: dict[tuple[Fault, ...], _Draft] = {}

    def drafts(self) -> list[_Draft]:
        """The sets of faults that are believed most."""
        seen = self.seen
        base: tuple[Fault, ...] = ()
        for column in seen.violated:
            done = {c for f in base for c in f.columns}
            if column not in done:
                faults = [f for f in self._proposed(column) if column in f.columns]
                base = self._best([(*base, f) for f in faults if not done & set(f.columns)] or [base])
        if base:
            self._draft(base)
        suspect = {*seen.change.columns, *seen.change.broken, *seen.change.loosened}
        several = [f for c in seen.matter if c in suspect for f in self._proposed(c)]
        current = base
        for _ in range(ROUNDS):
            broken = {c for f in current for c in f.columns}
            grown = [(*current, f) for f in several if not broken & set(f.columns)]
            if not grown or (current and self._draft(self._best(grown)).rank >= self._draft(current).rank):
                break
            current = self._best(grown)
        rest = [c for c in seen.change.columns if c not in {c for f in base for c in f.columns}]
        if len(rest) > 1:
            self._draft((*base, *(self._first(c) for c in rest)))
        whole = [d for d in self._drafts.values() if d.values.keys() >= set(seen.violated)]  # nothing left unexplained
        ranked = sorted(whole, key=lambda d: d.rank)[:SCORED]
        return [d for d in ranked if d.rank <= max(2.0 * ranked[0].rank, ranked[0].rank + FAR)] if ranked else []

    def _proposed(self, column: str) -> list[Fault]:
        """The faults of a column, and of others with it, that are worth a look; each column is looked at once."""
        if column not in self._options:
            self._options[column] = [f for kind in FAULTS for f in kind.propose(self.seen, column)]
        return self._options[column]

    def _first(self, column: str) -> Fault:
        """The simplest kind of fault of a changed column, or what was found to fit it."""
        options = [f for f in self._proposed(column) if len(f.columns) == 1]
        tried = [f for f in options if (f,) in self._drafts]
        return min(tried, key=lambda f: self._drafts[(f,)].rank) if tried else options[0]

    def _best(self, sets: Sequence[tuple[Fault, ...]]) -> tuple[Fault, ...]:
        return min(sets, key=lambda s: self._draft(s).rank) if len(sets) > 1 else sets[0]

    def _draft(self, faults: tuple[Fault, ...]) -> _Draft:
        if faults not in self._drafts:
            seen = self.seen
            made = [self._make(f) for f in faults]
            values = {k: v for put, _ in made for k, v in put.items()}
            cells = self.cells | {k: v for _, placed in made for k, v in placed.items() if k in self.cells}
            weights, quick = self.weights(set(values)), self.quick
            features = self.like.standard(self.like.features({k: v[quick] for k, v in cells.items()}, None))
            distance = self.like.distance(features, weights[quick], len({*seen.change.columns, *values}))
            extra = sum(not set(f.columns) & set(seen.violated) for f in faults) - (not seen.violated)
            prior = float(np.prod([f.prior(seen) for f in faults])) * ANOTHER ** max(extra, 0)
            rank = distance * max(prior, 1e-9) ** (-1.0 / SHARP)
            self._drafts[faults] = _Draft(faults, prior, values, cells, weights, rank)
        return self._drafts[faults]

    def _make(self, fault: Fault) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What a fault puts into the rows `part`, and the cells of that; drawn once."""
        if fault not in self._made:
            values = fault.values(self.seen)
            self._made[fault] = values, {c: self.seen.axes[c].place(v) for c, v in values.items()}
        return self._made[fault]

    def weights(self, broken: set[str]) -> np.ndarray:
        """The rows `part` weighted until the other changed columns look like the batch."""
        rest = frozenset(c for c in self.seen.change.columns if c not in broken)
        if rest not in self._weights:
            groups = [self.seen.group(c) for c in self.seen.matter if c in rest]
            self._weights[rest] = rake(groups)[self.seen.part] if groups else np.ones(len(self.seen.part))
        found: np.ndarray = self.balance * self._weights[rest]
        return found


class Likeness:
    """Compares rows with the batch by the means of features of a few columns and of the scores.

    The features φ are the columns' standardised codes, their squares and products, and of each score its code and the
    sixth it lies in. The code of a number is its rank in the reference, of a level the mean score it has there.

    Args:
        seen: gives the columns that matter.
        value: a score of each row of the pool, shape (rows,).
    """

    def __init__(self, seen: Situation, value: np.ndarray) -> None:
        self.columns = seen.matter
        self.needed = tuple(dict.fromkeys([*seen.matter, *(seen.together.columns if seen.together else ())]))
        self.scores = dict(list(seen.score_axes.items())[:3])
        self.codes = {c: _codes(seen.axes[c], seen.cells[c], value) for c in self.columns}
        self.score_codes = {k: _codes(a, seen.score_cells[k], value) for k, a in self.scores.items()}
        self.sixths = {k: np.searchsorted(SIXTHS, a.middles) for k, a in self.scores.items()}
        self.together = seen.together
        self.watched = [i for i, c in enumerate(seen.together.columns) if c in seen.matter] if seen.together else []
        self.sparse = slice(None, None, -(-len(value) // LIKE))
        pool, scores = ({k: v[self.sparse] for k, v in c.items()} for c in (seen.cells, seen.score_cells))
        whole = self.features(pool, scores)
        there = self.features(seen.batch_cells, seen.batch_score_cells)
        self.rows = len(there)
        self.centre, self.spread = whole.mean(axis=0), whole.std(axis=0) + 1e-9
        self.reference, there = self.standard(whole), self.standard(there)
        self.batch = there.mean(axis=0)
        self.plain = len(self.columns) * (len(self.columns) + 3) // 2 + len(self.watched)  # features without the scores
        apart = there - self.batch
        covariance = (self.reference.T @ self.reference / len(whole) + apart.T @ apart / len(there)) / 2.0
        covariance += RIDGE * np.eye(whole.shape[1])
        self._inverse = np.linalg.inv(covariance)
        self._plain_inverse = np.linalg.inv(covariance[: self.plain, : self.plain])

    @property
    def size(self) -> float:
        """How many features there are: about the distance that chance makes."""
        return float(len(self.centre))

    def features(self, cells: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray] | None) -> np.ndarray:
        """The features of rows, shape (rows, features), from their cells; without scores if None."""
        codes = [self.codes[name][cells[name]] for name in self.columns]
        found = [*codes, *(np.square(c) for c in codes)]
        found += [a * b for i, a in enumerate(codes) for b in codes[:i]]
        if self.together is not None and self.watched:
            found += list(self.together.products(cells, self.watched).T)
        if scores is not None:
            for name, sixths in self.sixths.items():
                place = scores[name]
                found.append(self.score_codes[name][place])
                found += [(sixths[place] == k).astype(np.float64) for k in range(6)]
        return np.column_stack(found) if found else np.zeros((len(next(iter(cells.values()))), 0))

    def score_cells(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """The cells of scores, shape (rows,) or (rows, classes)."""
        columns = scores if scores.ndim == 2 else scores[:, None]
        return {k: a.place(columns[:, i]) for i, (k, a) in enumerate(self.scores.items())}

    def standard(self, features: np.ndarray) -> np.ndarray:
        """Features as `reference` has them."""
        wide = features.shape[1]
        found: np.ndarray = (features - self.centre[:wide]) / self.spread[:wide]
        return found

    def distance(self, features: np.ndarray, weights: np.ndarray, columns: int) -> float:
        """T = Δ'Σ⁻¹Δ / (1/n + 1/ESS + 1/2000) + 2·columns, at least 0.7 for each feature.

        Args:
            features: standardised, shape (rows, features), with or without the scores'.
            weights: of the rows, shape (rows,).
            columns: how many were fitted.
        """
        wide = features.shape[1]
        apart = self.batch[:wide] - weights @ features / weights.sum()
        inverse = self._plain_inverse if wide == self.plain else self._inverse
        noise = 1.0 / self.rows + 1.0 / effective(weights) + 1.0 / 2000.0
        fit = float(apart @ inverse @ apart) / noise
        return max(fit + 2.0 * columns, LEAST_FIT * float(wide), 1e-9)


def _codes(axis: Axis, cells: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The standardised code of each cell."""
    if axis.ordered:
        found = axis.middles
    else:
        rows = np.bincount(cells, minlength=axis.size)
        found = (np.bincount(cells, value, axis.size) + value.mean()) / (rows + 1.0)
    mine = found[cells]
    standard: np.ndarray = (found - mine.mean()) / (mine.std() + 1e-9)
    return standard
