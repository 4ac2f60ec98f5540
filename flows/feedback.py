"""FeedbackFlow: join labels to published predictions, measure, trip and ask for a retrain where they say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaflow import FlowSpec, Parameter, current, step

import fuseline  # noqa: F401  (named here so that Metaflow packages it for remote steps)
from fuseline.bootstrap import line

if TYPE_CHECKING:
    from fuseline.feedback import Feedback


class FeedbackFlow(FlowSpec):
    """Read the labels of a project that have come since the last run."""

    project = Parameter("project", help="name of a folder in projects/", default="bookings")

    def _feedback(self) -> Feedback:
        return line(str(self.project), by=f"FeedbackFlow/{current.run_id}").feedback()

    @step
    def start(self) -> None:
        """Pin the label files that nobody has read."""
        self.files = self._feedback().waiting()
        self.next(self.measure)

    @step
    def measure(self) -> None:
        """Join by id, and measure each batch and the champion."""
        self.measured = self._feedback().measure(self.files)
        self.next(self.end)

    @step
    def end(self) -> None:
        """Record what the labels said, with all its consequences; bring the pages up to date; leave a card."""
        from fuseline import runcard
        from fuseline.report import refresh

        entry = self._feedback().conclude(self.measured)
        refresh(line(str(self.project)))
        runcard.keep(self, runcard.measured(str(self.project), entry))


if __name__ == "__main__":
    FeedbackFlow()
