"""InferenceFlow: score every batch that waits, judge each, then publish it or hold it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metaflow import FlowSpec, Parameter, catch, current, step

import fuseline  # noqa: F401  (named here so that Metaflow packages it for remote steps)
from fuseline.bootstrap import line

if TYPE_CHECKING:
    from fuseline.inference import Inference


class InferenceFlow(FlowSpec):
    """Score the inbox of a project with its champion."""

    project = Parameter("project", help="name of a folder in projects/", default="bookings")

    def _inference(self) -> Inference:
        return line(str(self.project), by=f"InferenceFlow/{current.run_id}").inference(str(current.run_id))

    @step
    def start(self) -> None:
        """Pin the champion, the time and the batches; nothing later asks for the latest again."""
        self.plan = self._inference().plan()
        self.work: list[Any] = list(self.plan.pieces) or [None]  # Metaflow cannot fan out over nothing
        self.next(self.score, foreach="work")

    @step
    def score(self) -> None:
        """Score one shard of one batch."""
        self.result = None
        if self.input is not None:
            job, piece = self.input
            self.result = self._inference().score(job, piece)
        self.next(self.assess)

    @step
    def assess(self, inputs: Any) -> None:
        """Merge the shards of each batch and judge it."""
        self.plan = inputs[0].plan
        results = [i.result for i in inputs if i.result is not None]
        inference = self._inference()
        self.scored = [inference.assess(job, [r for r in results if r.batch == job.batch]) for job in self.plan.jobs]
        self.next(self.publish)

    @step
    def publish(self) -> None:
        """Publish or quarantine each batch in order, as the breaker stands at that entry of the ledger."""
        self.entries = self._inference().settle(self.scored)
        self.next(self.explain)

    @catch(var="unexplained")  # every batch is settled by now: whatever fails here, the run goes on
    @step
    def explain(self) -> None:
        """Ask Evidently, where it is installed, what it says of a sample of each batch: for people to read."""
        from fuseline import opinion

        if opinion.installed():
            here = line(str(self.project))
            opinion.explain(self.entries, here.batches, here.models)
        self.next(self.end)

    @step
    def end(self) -> None:
        """Bring the pages up to date, and leave a card that shows what the run did."""
        from fuseline import runcard
        from fuseline.report import refresh

        refresh(line(str(self.project)))
        runcard.keep(self, runcard.inferred(str(self.project), self.plan, self.entries))


if __name__ == "__main__":
    InferenceFlow()
