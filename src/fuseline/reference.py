"""The labelled reference of a model, made ready for all four stages: counts, cells, thresholds, rows to replay.

What is costly is made when it is first needed: a batch that looks like the reference never touches the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fuseline.bins import Bins, named_scores
from fuseline.cells import axes
from fuseline.detect import Change, Detector, Seen
from fuseline.errors import DataError
from fuseline.explain import Likeness, explain
from fuseline.harm import Estimate, Outcome, estimate
from fuseline.performance import choose_rows, target_of
from fuseline.profile import Profile
from fuseline.records import Task
from fuseline.situation import Situation

if TYPE_CHECKING:
    import pandas as pd

POOL = 20_000  # labelled rows that are weighted
PART = 4_000  # labelled rows that are scored again
MATTER = 6  # columns that worlds are compared by
COUNTS_MOST = 2.5  # tolerances that a world counts for at most in the decision

Score = Callable[["pd.DataFrame"], np.ndarray]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a batch that can be looked at one by one: all of them, or a uniform sample.

    Attributes:
        values: canonical values by column, each of shape (rows,).
        scores: shape (rows,) or (rows, classes).
        cells: their cells by column, where they are known already.
    """

    values: Mapping[str, np.ndarray]
    scores: np.ndarray
    cells: Mapping[str, np.ndarray] | None = None

    def take(self, at: np.ndarray) -> Rows:
        """Some of the rows, in this order."""
        values = {c: v[at] for c, v in self.values.items()}
        return Rows(values, self.scores[at], None if self.cells is None else {c: v[at] for c, v in self.cells.items()})


class Reference:
    """Held-out labelled rows of a model.

    Args:
        score: scores a frame of the columns and types of `frame`.
        frame: canonical features (float64, datetime64, or object with None), shape (rows, columns); not changed.
        truth: labels, shape (rows,).
        scores: of these rows, shape (rows,) or (rows, classes).
        classes: as text in the order of the score columns, of two the positive one last; none for a regression.
        importance: of each column for the model, 0 or more.
        budget: probability that a clean batch fires any check.
    """

    def __init__(
        self,
        score: Score,
        frame: pd.DataFrame,
        truth: np.ndarray,
        scores: np.ndarray,
        task: Task,
        classes: Sequence[str],
        bins: Bins,
        importance: Mapping[str, float],
        budget: float,
        seed: int,
    ) -> None:
        self.score, self.frame, self.truth, self.scores = score, frame, truth, np.asarray(scores, dtype=np.float64)
        self.task, self.classes, self.bins, self.importance = task, tuple(classes), bins, importance
        self.budget, self.seed = budget, seed
        self.columns, self.score_axes = axes(bins, frame, self.scores)

    @cached_property
    def detector(self) -> Detector:
        """The first stage."""
        return Detector(self.columns, self.score_axes, self.importance, self.budget, self.seed)

    def see(self, rows: Rows, counts: Mapping[str, np.ndarray] | None = None) -> Seen:
        """A batch as the first stage wants it.

        Args:
            counts: rows by cell of all rows, where `rows` are only a sample.
        """
        cells = rows.cells or {c: a.place(rows.values[c]) for c, a in self.columns.items()}
        if counts is None:
            counts = {c: self.columns[c].counts(place) for c, place in cells.items()}
            counts |= {k: self.score_axes[k].counts(p) for k, p in self._score_cells(rows.scores).items()}
        return Seen(int(next(iter(counts.values())).sum()), counts, cells)

    def fold(self, profile: Profile) -> dict[str, np.ndarray]:
        """Rows by cell, from a profile that was counted into the same bins."""
        return self.by_cell({name: tally.counts for name, tally in {**profile.columns, **profile.scores}.items()})

    def by_cell(self, counts: Mapping[str, Sequence[int] | np.ndarray]) -> dict[str, np.ndarray]:
        """Rows by cell, from rows by bin of each column and score, as profiles count them.

        Raises:
            DataError: a column or a score was not counted, or into other bins.
        """
        found = {}
        for name, axis in {**self.columns, **self.score_axes}.items():
            counted = np.asarray(counts.get(name, ()))
            if counted.shape != axis.table.shape:
                raise DataError(f"{name} is counted in {counted.size} bins; the reference has {axis.table.size}")
            found[name] = axis.fold(counted)
        return found

    def _score_cells(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        named = named_scores(np.asarray(scores, dtype=np.float64))
        return {k: self.score_axes[k].place(v) for k, v in named.items()}

    # ── the labelled rows ────────────────────────────────────────────────────────────────────────

    @cached_property
    def _pool(self) -> _Pool:
        """At most 20,000 labelled rows as they come, and 4,000 of them: of two classes equally many."""
        target = target_of(self.task, self.truth, self.classes)
        whole: Task = "regression" if self.task == "regression" else "multiclass"
        known = choose_rows(whole, self.truth, self.classes, POOL, self.seed)
        part = choose_rows(self.task, np.asarray(self.truth)[known], self.classes, PART, self.seed)
        target = target[known]
        balance = np.ones(len(part))
        if self.task == "binary":
            share = [np.bincount(t, minlength=2) / len(t) for t in (target, target[part])]
            balance = (share[0] / np.maximum(share[1], 1e-9))[target[part]]
        return _Pool(known, part, target, balance, self.frame.iloc[known[part]].reset_index(drop=True))

    @cached_property
    def _outcome(self) -> Outcome:
        pool = self._pool
        cells = [a.reference[pool.known] for a in self.columns.values()]
        return Outcome(self.task, pool.target, self.scores[pool.known], pool.part, np.column_stack(cells))

    def harm(self, seen: Seen, change: Change, rows: Rows, tolerance: float) -> Estimate:
        """Stages two and three: which worlds look like the batch, and what they cost.

        Raises:
            DataError: the reference rows have no metric, so that nothing can be lost of it.
        """
        pool = self._pool
        situation = self._situation(seen, change, rows)
        outcome = self._outcome
        if not outcome.measurable:
            raise DataError("the reference rows have no metric: of one class only, or too few. Train the version again")
        value = self.scores if self.scores.ndim == 1 else self.scores[:, -1]
        worlds = explain(situation, Likeness(situation, value[pool.known]), pool.balance, self._rescore)
        losses = [outcome.loss(w, pool.balance) for w in worlds]
        return estimate(worlds, losses, COUNTS_MOST * tolerance)

    def alone(self, values: Mapping[str, np.ndarray]) -> dict[str, float]:
        """What each of these columns costs by itself, if its values in the replayed rows are these."""
        pool, outcome = self._pool, self._outcome
        scored = self._rescore([{c: v} for c, v in values.items()])
        return {c: outcome.replayed(s, pool.balance, pool.balance) for c, s in zip(values, scored, strict=True)}

    def _situation(self, seen: Seen, change: Change, rows: Rows) -> Situation:
        pool = self._pool
        looked = {*change.columns, *change.broken[:2], *change.loosened[:2]}
        matter = sorted(self.columns, key=lambda c: (c not in looked, -self.importance.get(c, 0.0)))[:MATTER]
        return Situation(
            axes=self.columns,
            score_axes=self.score_axes,
            pool={c: self.frame[c].to_numpy()[pool.known] for c in self.columns},
            cells={c: a.reference[pool.known] for c, a in self.columns.items()},
            score_cells={k: a.reference[pool.known] for k, a in self.score_axes.items()},
            part=pool.part,
            batch=rows.values,
            batch_cells=seen.cells,
            batch_score_cells=self._score_cells(rows.scores),
            change=change,
            matter=matter,
            together=self.detector.dependence,
            seed=self.seed,
            task=self.task,
            target=pool.target,
            scores=self.scores[pool.known],
            batch_scores=rows.scores,
        )

    def _rescore(self, changes: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
        """The scores of the replayed rows with other values in some columns, all in one call of the model."""
        import pandas as pd

        frame = self._pool.frame
        frames = [frame.assign(**dict(change)) for change in changes]
        scores = np.asarray(self.score(pd.concat(frames, ignore_index=True)), dtype=np.float64)
        return np.split(scores, len(frames))


@dataclass(frozen=True, eq=False)
class _Pool:
    known: np.ndarray
    part: np.ndarray
    target: np.ndarray
    balance: np.ndarray
    frame: pd.DataFrame
