"""Predictions that consumers may read: the protocol that publishes a batch once, and takes one back.

A batch is staged whole, then an entry of the ledger publishes it, then its one file is made visible under
`predictions/`. The entry is the decision; what is visible follows it and is mended by `reconcile`. At every
instant the folder holds complete files of published batches and nothing else: a file appears after its entry, and
disappears before the entry that withdraws it. (A reconcile that races a withdrawal can show the file again, for as
long as the withdrawal takes to delete it a second time.)
"""

from __future__ import annotations

from dataclasses import dataclass

from fuseline.batches import Batches, find
from fuseline.breaker import Policy
from fuseline.errors import NotFound, Refused
from fuseline.ledger import Ledger
from fuseline.records import Assessment, Entry, Mode, Published, Quarantined, Withdrawn
from fuseline.state import State
from fuseline.storage import Store

PREDICTIONS, REJECTED, METRICS = "predictions.parquet", "rejected.parquet", "metrics.json"


@dataclass(frozen=True)
class Scored:
    """A batch that one attempt has scored and judged, or could not score, ready for its entry.

    Attributes:
        started: the entry that pinned version, mode and time; another start since then wins. 0 for what no attempt
            scored: an unreadable file, a name that is taken.
        digest: SHA-256 of the staged predictions; empty where there are none.
        trip: whether the breaker may open with it; not where neither the data nor the model is at fault.
    """

    batch: str
    name: str
    file: str
    input_digest: str
    attempt: str
    started: int
    version: str
    mode: Mode
    scored_at: str
    rows: int
    rejected: int
    digest: str
    assessment: Assessment
    trip: bool = True


class Predictions:
    """The published predictions of one project."""

    def __init__(self, store: Store, ledger: Ledger, batches: Batches, policy: Policy) -> None:
        self.store, self.ledger, self.batches, self.policy = store, ledger, batches, policy

    def key(self, batch: str, entry: int) -> str:
        """Where consumers read what `entry` published; a name of its own, so a late copy of an older one is a stray."""
        return f"{self.ledger.project}/predictions/{batch}.{entry}.parquet"

    def visible(self, state: State) -> dict[str, str]:
        """What consumers are to read: key to batch."""
        return {self.key(batch, known.seq): batch for batch, known in state.with_status("published").items()}

    def settle(self, scored: Scored) -> Entry | None:
        """Publish or quarantine a scored batch, as its verdict and the breaker say at exactly that entry.

        Returns:
            The entry; None if it has been settled by another run, or is held back because the breaker opened
            meanwhile (it then stays in the inbox).
        """
        publish = scored.assessment.verdict in ("pass", "warn")
        if publish and not scored.digest:
            raise Refused(f"nothing was predicted for {scored.batch}, so there is nothing to publish")
        entry = self.ledger.append(lambda state: self._publish(state, scored) if publish else self._stop(state, scored))
        state = self.ledger.state()
        if state.batches[scored.batch].status == "published":
            self._show(scored.batch, state)
        if state.batches[scored.batch].final:
            self.batches.finish(scored.file, scored.input_digest)
        return entry

    def _publish(self, state: State, scored: Scored) -> Published | None:
        if not self._ours(state, scored) or not state.breaker.admits(scored.mode):
            return None
        if scored.started < state.tripped:  # it was begun before the breaker opened
            return None
        if scored.mode == "trial" and scored.version != state.champion:
            return None
        if state.published_as(scored.name) not in (None, scored.batch):
            return None  # another batch of this name was first; the next run says so in quarantine
        return Published(
            batch=scored.batch,
            attempt=scored.attempt,
            version=scored.version,
            mode=scored.mode,
            rows=scored.rows,
            rejected=scored.rejected,
            scored_at=scored.scored_at,
            digest=scored.digest,
            assessment=scored.assessment,
            run=self.ledger.by,
        )

    def _stop(self, state: State, scored: Scored) -> Quarantined | None:
        if not self._ours(state, scored):
            return None
        trip = self.policy.consequence(scored.assessment, state.breaker, self.ledger.clock()) if scored.trip else None
        return Quarantined(
            batch=scored.batch,
            name=scored.name,
            file=scored.file,
            attempt=scored.attempt,
            version=scored.version,
            mode=scored.mode,
            rows=scored.rows,
            rejected=scored.rejected,
            assessment=scored.assessment,
            trip=trip,
            run=self.ledger.by,
            digest=scored.input_digest,
        )

    @staticmethod
    def _ours(state: State, scored: Scored) -> bool:
        """Whether the batch is still as this attempt found it: not settled, and started by the same entry if by any."""
        batch = state.batches.get(scored.batch)
        if not scored.started:
            return batch is None or not batch.final
        return batch is not None and batch.status == "started" and batch.started == scored.started

    def withdraw(self, batch: str, reason: str) -> str:
        """Take a published batch back. Returns its identity. Raises Refused if it is not published."""
        before = self.ledger.state()
        identity, known = find(before, before.published_as(batch) or batch)

        def take_back(state: State) -> Withdrawn:
            status = state.batches[identity].status
            if status != "published":
                raise Refused(f"{identity} is {status}; only a published batch can be withdrawn")
            return Withdrawn(identity, reason)

        if known.status == "published":
            self.store.delete(self.key(identity, known.seq))
        self.ledger.append(take_back)
        self.store.delete(self.key(identity, known.seq))  # again: a reconcile in between may have put it back
        return identity

    def reconcile(self, state: State) -> None:
        """Make the folder hold exactly what the ledger says: what a crash left undone is done now."""
        prefix = f"{self.ledger.project}/predictions/"
        visible = {item.key for item in self.store.list(prefix)}
        published = self.visible(state)
        lost: NotFound | None = None
        for key in sorted(published.keys() - visible):
            try:
                self._show(published[key], state)
            except NotFound as error:
                lost = lost or error  # the others are shown before this is said
        if strays := sorted(visible - published.keys()):
            newest = self.visible(self.ledger.state(state))
            for key in strays:
                if key not in newest:
                    self.store.delete(key)
        if lost is not None:
            raise lost

    def _show(self, batch: str, state: State) -> None:
        key = self.key(batch, state.batches[batch].seq)
        if self.store.exists(key):
            return
        staged = self.batches.staged_key(batch, state.batches[batch].attempt, PREDICTIONS)
        try:
            self.store.copy(staged, key)
        except NotFound as error:
            raise NotFound(
                f"{staged} is gone, so the published batch {batch} cannot be shown. Restore it from the store's "
                f"versions, or `fuseline predictions {self.ledger.project} --withdraw {batch} --reason …`."
            ) from error
        if key not in self.visible(self.ledger.state(state)):
            self.store.delete(key)  # withdrawn while we copied
