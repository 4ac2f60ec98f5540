"""TrainingFlow: train a version, measure it on rows it never saw, and let the gate promote or hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaflow import FlowSpec, Parameter, card, current, step

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

    @card(type="blank")
    @step
    def evaluate(self) -> None:
        """Measure on held-out rows; learn contract and reference; store the manifest."""
        from metaflow.cards import Markdown, Table

        self.manifest = self._training().evaluate(self.plan, self.fitted)
        current.card.append(Markdown(f"# {self.project} {self.manifest.version}"))
        current.card.append(Table([[k, f"{v:.4g}"] for k, v in self.manifest.metrics.items()], headers=["metric", ""]))
        self.next(self.gate)

    @step
    def gate(self) -> None:
        """Absolute bounds, challenger against champion on the same rows, and a load in a clean process."""
        self.decision = self._training().judge(self.manifest)
        self.next(self.end)

    @step
    def end(self) -> None:
        """Promote or hold, and bring the pages up to date."""
        from fuseline.report import refresh

        self._training().conclude(self.manifest, self.decision)
        refresh(line(str(self.project)))


if __name__ == "__main__":
    TrainingFlow()
