"""What may have happened to a batch: the kinds of worlds, registered here.

A *selection* keeps the meaning of every value: the batch is another mix of the same kind of rows, so reference rows are
weighted (`mixes`). A *fault* keeps the rows and breaks values: reference rows get other values in some columns
(`damage`). A kind says where it is worth a look (`propose`), draws what the reference would be in such a world, and has
a sentence for people.

A new kind is one small class in one of the two modules, its name in `SELECTIONS` or `FAULTS`, and a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol, Self

import numpy as np

from fuseline.damage import Dealt, Exchanged, Joined, Moved, Noisy, Rescaled, Swapped, Turned
from fuseline.mixes import LabelShift, Raked, Same
from fuseline.situation import Situation


class Selection(Protocol):
    """Another mix of the same kind of rows."""

    prior: ClassVar[float]

    @classmethod
    def propose(cls, seen: Situation) -> Iterator[Self]:
        """The worlds of this kind that are worth a look."""
        ...

    @property
    def fitted(self) -> int:
        """How many columns are made to fit."""
        ...

    def weights(self, seen: Situation) -> np.ndarray:
        """Weights of the pool's rows, of mean 1."""
        ...

    def sentence(self) -> str:
        """What happened, for people."""
        ...


class Fault(Protocol):
    """Columns whose values no longer mean what they meant."""

    @classmethod
    def propose(cls, seen: Situation, column: str) -> Iterator[Self]:
        """The worlds of this kind in which `column` is broken that are worth a look."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are broken."""
        ...

    def prior(self, seen: Situation) -> float:
        """How many times likelier it is than the simplest kind, before one looks."""
        ...

    def values(self, seen: Situation) -> dict[str, np.ndarray]:
        """New values of these columns in the rows `part` of the pool."""
        ...

    def sentence(self) -> str:
        """What happened, for people."""
        ...


SELECTIONS: tuple[type[Selection], ...] = (Same, Raked, LabelShift)
FAULTS: tuple[type[Fault], ...] = (Rescaled, Moved, Noisy, Turned, Swapped, Dealt, Joined, Exchanged)
