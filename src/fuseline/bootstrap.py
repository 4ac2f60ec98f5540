"""Wiring: from settings to services. The only place that chooses adapters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from fuseline.ledger import Ledger
from fuseline.projects import Project, read_project
from fuseline.settings import DAY, Settings
from fuseline.storage import Store, open_store

if TYPE_CHECKING:
    from fuseline.alerts import Alerts
    from fuseline.backtest import Backtest
    from fuseline.batches import Batches
    from fuseline.feedback import Feedback
    from fuseline.inference import Inference
    from fuseline.models import Models
    from fuseline.predictions import Predictions
    from fuseline.training import Training


def store_of(settings: Settings) -> Store:
    """The store that the settings name, with faults injected where the settings ask for them."""
    store = open_store(settings.store)
    if not settings.faults:
        return store
    from fuseline.faults import FaultyStore, parse_rules

    return FaultyStore(store, parse_rules(settings.faults))


@dataclass(frozen=True)
class Line:
    """The services of one project over one store: what flows and commands work with.

    Attributes:
        by: who acts, for the ledger; a flow's run or a person.
    """

    settings: Settings
    project: Project
    store: Store
    by: str

    @cached_property
    def ledger(self) -> Ledger:
        """The project's ledger."""
        return Ledger(self.store, self.project.name, self.settings.clock, self.by)

    @cached_property
    def models(self) -> Models:
        """The project's versions."""
        from fuseline.models import Models

        return Models(self.store, self.project.name)

    @cached_property
    def batches(self) -> Batches:
        """The project's inbox and quarantine."""
        from fuseline.batches import Batches

        return Batches(self.store, self.project.name)

    @cached_property
    def predictions(self) -> Predictions:
        """The project's published predictions."""
        from fuseline.predictions import Predictions

        return Predictions(self.store, self.ledger, self.batches, self.project.config.breaker)

    def inference(self, attempt: str) -> Inference:
        """A run over the inbox that stages its files under `attempt`."""
        from fuseline.inference import Inference

        return Inference(
            self.project,
            self.store,
            self.ledger,
            self.models,
            self.batches,
            self.predictions,
            attempt,
            self.settings.shards,
        )

    def training(self) -> Training:
        """A training of the project."""
        from fuseline.training import Training

        return Training(self.project, self.store, self.ledger, self.models, self.batches)

    def feedback(self) -> Feedback:
        """The reading of the project's labels."""
        from fuseline.feedback import Feedback

        return Feedback(self.project, self.store, self.ledger, self.models, self.batches, self.predictions)

    @property
    def pages(self) -> str:
        """Where people read the pages of the project: at the address that is set, or in the store."""
        if self.settings.pages:
            return f"{self.settings.pages}/{self.project.name}"
        return f"{self.store.url.rstrip('/')}/{self.project.name}/reports"

    def alerts(self) -> Alerts:
        """What people are to be told of the project."""
        from fuseline.alerts import Alerts
        from fuseline.channels import channels

        return Alerts(self.project.name, self.ledger, self.batches, channels(self.settings.alerts), self.pages)

    def backtest(self) -> Backtest:
        """The project's past under its current settings."""
        from fuseline.backtest import Backtest

        return Backtest(self.project, self.store, self.ledger, self.models, self.batches)


def line(project: str, by: str | None = None, settings: Settings | None = None) -> Line:
    """The line of a project as the environment sets it. Raises SettingsError for an unknown project."""
    settings = settings or Settings.read()
    found = read_project(settings.projects, project)
    found = replace(found, config=found.config.in_time(settings.day_seconds / DAY))
    return Line(settings, found, store_of(settings), by or settings.user)
