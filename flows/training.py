"""TrainingFlow: train a version, measure it on rows it never saw, and let the gate promote or hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaflow import FlowSpec, Parameter, current, step

import fuseline  # noqa: F401  (named here so that Metaflow packages it for remote steps)
from fuseline.bootstrap import line

if TYPE_CHECKING:
    from fuseline.training import Training


class TrainingFlow(FlowSpec):
    """Train a challenger for a project and promote it if it passes the gate."""

    project = Parameter("project", help="name of a folder in projects/", default="bookings")

    def _training(self) -> Training:
        return line(str(self.project), by=f"TrainingFlow/{current.run_id}").training()

    @step
    def start(self) -> None:
        """Pin the rows: history and the batches whose labels have come, quarantined ones left out."""
        self.plan = self._training().plan(str(current.run_id))
        self.next(self.train)

    @step
    def train(self) -> None:
        """Call the project's train.py and store its artifacts."""
        self.fitted = self._training().fit(self.plan)
        self.next(self.evaluate)

    @step
    def evaluate(self) -> None:
        """Measure on held-out rows; learn contract and reference; store the manifest."""
        self.manifest = self._training().evaluate(self.plan, self.fitted)
        self.next(self.gate)

    @step
    def gate(self) -> None:
        """Absolute bounds, challenger against champion on the same rows, and a load in a clean process."""
        self.decision = self._training().judge(self.manifest)
        self.next(self.end)

    @step
    def end(self) -> None:
        """Promote or hold, bring the pages up to date, and leave a card that shows what the gate saw."""
        from fuseline import runcard
        from fuseline.report import refresh

        self._training().conclude(self.manifest, self.decision)
        refresh(line(str(self.project)))
        runcard.keep(self, runcard.trained(str(self.project), self.manifest, self.decision))


if __name__ == "__main__":
    TrainingFlow()
