"""What is remembered of the published batches that a version scored before: the next ones are judged along with them.

A slow leak shows in several batches only, and small ones are judged together.
"""

from __future__ import annotations

from fuseline.batches import Batches
from fuseline.errors import DataError, NotFound
from fuseline.ledger import Ledger
from fuseline.monitoring import Monitoring
from fuseline.opinion import SAMPLE
from fuseline.predictions import METRICS
from fuseline.stages import HISTORY, SMALL, Past
from fuseline.state import Batch, State


class History:
    """The published batches of one version, each read once, when it is first needed.

    Args:
        monitoring: of the version.
    """

    def __init__(self, monitoring: Monitoring, ledger: Ledger, batches: Batches) -> None:
        self.monitoring, self.ledger, self.batches = monitoring, ledger, batches
        self._state: State | None = None
        self._read: dict[tuple[str, str], Past | None] = {}

    def before(self, batch: str) -> list[Past]:
        """The newest ones but `batch` itself, as the ledger stands now, the oldest first.

        One whose files are gone or cannot be read is left out: what is left is enough to go on.
        """
        self._state = self.ledger.state(self._state)
        version = self.monitoring.model.version
        published = self._state.with_status("published").items()
        same = [(key, known) for key, known in published if known.version == version and key != batch]
        newest = sorted(same, key=lambda item: item[1].scored_at)[-(HISTORY - 1) :]
        found = [self._past(key, known) for key, known in newest]
        return [past for past in found if past is not None]

    def _past(self, batch: str, known: Batch) -> Past | None:
        if (batch, known.attempt) not in self._read:
            self._read[batch, known.attempt] = self._fetched(batch, known)
        return self._read[batch, known.attempt]

    def _fetched(self, batch: str, known: Batch) -> Past | None:
        metrics, sample = (self.batches.staged_key(batch, known.attempt, file) for file in (METRICS, SAMPLE))
        store = self.batches.store
        try:
            rows = store.get(sample) if known.rows < SMALL else None
            return self.monitoring.past(store.get(metrics), rows)
        except (NotFound, DataError):
            return None
