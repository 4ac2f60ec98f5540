"""The first stage: whether a batch can be told from the reference at all, and in which columns.

Every check has a threshold that clean batches of the same size exceed with a probability that is part of one budget.
What fires is not yet harm: it is what the next stages explain.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fuseline import dependence
from fuseline.cells import Axis
from fuseline.drift import Thresholds, ks, null_bound, triangular
from fuseline.records import Check

DISTANCES, COUNTS, TOGETHER = 0.5, 0.15, 0.35  # of the budget
SCORES = 0.4  # of the budget of the distances; the rest is for the columns
LOOSENED = -2.5  # standard errors
MOST = 24  # columns whose dependence is watched


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of a batch without its labels.

    Attributes:
        rows: how many rows were counted.
        counts: rows by cell of each column and score, all rows of the batch.
        cells: the cells of sampled rows by column, each of shape (sampled rows,).
    """

    rows: int
    counts: Mapping[str, np.ndarray]
    cells: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Change:
    """What differs from the reference by more than chance; see `Detector.detect`.

    Attributes:
        checks: every figure with its threshold.
        columns: those of which a check fired, the most changed first; if anything did, also those whose distance a
            clean batch reaches once in a thousand times.
        scores: whether the scores are spread differently.
        broken: columns that go together with the others less than they did, the most changed first.
        loosened: columns that seem to go together with the others less, by 2.5 standard errors: enough to look whether
            they were dealt to other rows or turned round.
    """

    checks: tuple[Check, ...] = ()
    columns: tuple[str, ...] = ()
    scores: bool = False
    broken: tuple[str, ...] = ()
    loosened: tuple[str, ...] = ()

    @property
    def fired(self) -> bool:
        """Whether anything did."""
        return bool(self.columns or self.scores or self.broken)


class Detector:
    """Holds batches against one reference.

    The budget is shared out among all checks, so that together they fire on clean batches no more often (Bonferroni):
    to the distances of scores and of columns, to counts of nulls and of values that the reference lacks, and to how the
    columns go together. Columns share by importance (`by_importance`), but for the counts, where all are alike.

    Args:
        columns, scores: the axes of the reference.
        importance: of each column, 0 or more; the more important get more of the budget.
        budget: probability that a clean batch fires anything, over 0 and under 0.1.
        seed: of the simulated thresholds.
    """

    def __init__(
        self,
        columns: Mapping[str, Axis],
        scores: Mapping[str, Axis],
        importance: Mapping[str, float],
        budget: float,
        seed: int,
    ) -> None:
        self.columns, self.scores, self.budget = columns, scores, budget
        shares = dict.fromkeys(scores, SCORES / max(len(scores), 1))
        shares |= {k: (1.0 - SCORES) * s for k, s in by_importance(list(columns), importance).items()}
        self.reference = {k: a.counts(a.reference) for k, a in {**columns, **scores}.items()}
        self.thresholds = {
            k: Thresholds(
                compared(a, self.reference[k]),
                budget * DISTANCES * shares[k],
                [seed, zlib.crc32(k.encode())],
                a.ordered,
            )
            for k, a in {**columns, **scores}.items()
        }
        ranked = sorted(columns, key=lambda c: -importance.get(c, 0.0))[:MOST]
        self.dependence = dependence.learn(
            [c for c in columns if c in ranked],
            {c: columns[c].reference for c in ranked},
            {c: columns[c].size for c in ranked},
        )
        watched = self.dependence.columns if self.dependence else ()
        self._watched = np.array(list(by_importance(watched, importance).values()))

    def detect(self, seen: Seen) -> Change:
        """What of a batch differs. A batch without rows differs in nothing.

        Of each column and score the `triangular` discrimination and, where it is ordered, the `ks` distance against
        their `Thresholds`; of each column the shares of nulls, and of unseen values or those out of range, against
        `null_bound`; and the columns' `Dependence.change` against its bounds.

        >>> from fuseline.bins import Binning
        >>> from fuseline.cells import axis
        >>> ab = Binning("levels", levels=("a", "b"), counts=(500, 500, 0, 0))
        >>> city = axis("city", ab, np.array(["a", "b"] * 500, dtype=object))
        >>> detector = Detector({"city": city}, {}, {"city": 1.0}, budget=0.001, seed=0)
        >>> usual, tilted = ({"city": np.array(counts)} for counts in ([50, 50, 0, 0, 0], [90, 10, 0, 0, 0]))
        >>> detector.detect(Seen(100, usual, {})).fired
        False
        >>> change = detector.detect(Seen(100, tilted, {}))
        >>> change.columns, [(c.name, c.observed) for c in change.checks if c.fired]
        (('city',), [('distance', 0.38095238095238104)])
        """
        if not seen.rows:
            return Change()
        checks: list[Check] = []
        changed: dict[str, float] = {}  # the largest figure of each, as a multiple of its bound
        for name, axis in {**self.columns, **self.scores}.items():
            column = name if name in self.columns else None
            found = self._distances(name, axis, seen)
            if column is not None:
                found += self._counts(name, axis, seen)
            checks += [Check(w if column else f"{name} {w}", float(v), float(b), column) for w, v, b in found]
            changed[name] = max(value / bound if bound > 0.0 else float(value > 0.0) for _, value, bound in found)
        together, loosened = self._together(seen)
        fired = {c.column for c in checks if c.fired}
        if fired or any(c.fired for c in together):
            fired |= {k if k in self.columns else None for k in self._loose(checks, seen)}
        columns = sorted((c for c in fired if c is not None), key=lambda c: -changed[c])
        broken = sorted((c for c in together if c.fired), key=lambda c: -(c.observed or 0.0) / (c.bound or 1.0))
        names = tuple(c.column for c in broken if c.column is not None)
        return Change((*checks, *together), tuple(columns), None in fired, names, loosened)

    def _loose(self, checks: Sequence[Check], seen: Seen) -> list[str]:
        """Columns and scores whose distance a clean batch reaches once in a thousand times."""
        found = {
            c.column or c.name.removesuffix(" distance"): c.observed for c in checks if c.name.endswith("distance")
        }
        return [k for k, d in found.items() if (d or 0.0) > self.thresholds[k].at(seen.rows)[2]]

    def _distances(self, name: str, axis: Axis, seen: Seen) -> list[tuple[str, float, float]]:
        before, after = compared(axis, self.reference[name]), compared(axis, seen.counts[name])
        rows = int(after.sum())
        bounds = self.thresholds[name].at(rows)
        p, q = before / max(int(before.sum()), 1), after / max(rows, 1)
        found = [("distance", float(triangular(p, q)), bounds[0])]
        return [*found, ("ks", float(ks(p, q)), bounds[1])] if axis.ordered else found

    def _counts(self, name: str, axis: Axis, seen: Seen) -> list[tuple[str, float, float]]:
        """Nulls, and values that the reference does not have, as shares of the batch with their bounds."""
        before, after = self.reference[name], seen.counts[name]
        n, rows = int(before.sum()), seen.rows
        budget = self.budget * COUNTS / len(self.columns) / 2.0
        if axis.ordered:
            beyond = ("out of range", int(before[-3:-1].sum()), int(after[-3:-1].sum()), 2.0)
        else:
            # a level that was seen once says how often one comes that was never seen (Good, Biometrika 1953)
            once = int((np.asarray(axis.binning.counts[: axis.binning.regular]) == 1).sum())
            beyond = ("unseen", max(int(before[-2]), once), int(after[-2]), 1.0)
        found = []
        for what, known, observed, prior in (("nulls", int(before[-1]), int(after[-1]), 1.0), beyond):
            bound = null_bound(known, n, rows, budget, prior)
            found.append((what, observed / rows, bound / rows))
        return found

    def _together(self, seen: Seen) -> tuple[list[Check], tuple[str, ...]]:
        if self.dependence is None or not len(next(iter(seen.cells.values()), ())):
            return [], ()
        found = self.dependence.change(seen.cells)
        rows = len(next(iter(seen.cells.values())))
        # one side only, so twice the probability: what is dealt to other rows goes together less
        bounds = self.dependence.bounds(rows, 2.0 * self.budget * TOGETHER, self._watched)
        checks = [
            Check("apart from others", -float(z), float(bound), column)
            for column, z, bound in zip(self.dependence.columns, found, bounds, strict=True)
        ]
        return checks, tuple(c for c, z in zip(self.dependence.columns, found, strict=True) if z < LOOSENED)


def compared(axis: Axis, counts: np.ndarray) -> np.ndarray:
    """The counts that distances compare: what lies beyond the range counts as the outermost cell.

    >>> from fuseline.bins import Binning
    >>> from fuseline.cells import axis
    >>> age = axis("age", Binning("numeric", edges=(0.0, 1.0, 2.0)), np.array([1.0, 2.0]))
    >>> compared(age, np.array([5, 6, 1, 2, 3])).tolist()  # two bins, below, above, null
    [6, 8, 3]
    """
    if not axis.ordered:
        return counts
    regular = counts[:-3].copy()
    if not len(regular):  # the reference has no value at all
        return np.array([int(counts[-3] + counts[-2]), int(counts[-1])])
    regular[0] += counts[-3]
    regular[-1] += counts[-2]
    return np.append(regular, counts[-1])


def by_importance(columns: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Each column's share of a budget: its importance and a quarter of the mean, so that none is left without.

    (w + m/4) / (the sum of it over columns), m the mean of the weights w (as in weighted Bonferroni procedures: Holm,
    Scandinavian Journal of Statistics 1979); all alike where no column has a weight.

    >>> {k: round(v, 9) for k, v in by_importance(["age", "city"], {"age": 0.3, "city": 0.1}).items()}
    {'age': 0.7, 'city': 0.3}
    """
    known = {name: max(weights.get(name, 0.0), 0.0) for name in columns}
    floor = sum(known.values()) / max(len(columns), 1) / 4.0
    total = sum(value + floor for value in known.values())
    return {k: (v + floor) / total if total else 1.0 / len(columns) for k, v in known.items()}
