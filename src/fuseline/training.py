"""Training a version: which rows, fit, measure, judge, promote or hold. TrainingFlow calls this, a method a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fuseline import artifacts as blobs
from fuseline import gate, performance, sources, tables
from fuseline.batches import Batches
from fuseline.contract import Contract, learn
from fuseline.errors import ArtifactError, DataError, ModelFault, ProjectError, SettingsError
from fuseline.gate import BETTER, Decision
from fuseline.ledger import Ledger
from fuseline.models import (
    BINS,
    CONTRACT,
    GOLDEN,
    REFERENCE,
    Manifest,
    Model,
    Models,
    Stored,
    class_order,
    hold,
    promote,
    registered,
)
from fuseline.profile import learn_bins
from fuseline.projects import Project, code_digest, describe, load_module
from fuseline.records import Task, TrainingStarted
from fuseline.rehearsal import in_clean_process
from fuseline.rows import (
    REFERENCE_ROWS,
    Labelled,
    Pinned,
    assemble,
    classes_of,
    labels_of,
    pin,
    positive_of,
    reference_table,
    scores_of,
    task_of,
)
from fuseline.storage import Store, probe

if TYPE_CHECKING:
    import pandas as pd

GOLDEN_ROWS = 64  # rows that a clean process must score exactly as this one did


@dataclass(frozen=True)
class TrainingPlan:
    """What a training run works on, pinned: the new version's name and the rows."""

    version: str
    run: str
    pinned: Pinned


@dataclass(frozen=True)
class Fitted:
    """What training left in the store, before it is measured."""

    task: Task
    classes: tuple[str, ...]
    artifacts: tuple[str, ...]
    files: Mapping[str, Stored]


class Training:
    """Trains versions of one project."""

    def __init__(self, project: Project, store: Store, ledger: Ledger, models: Models, batches: Batches) -> None:
        self.project, self.store, self.ledger, self.models, self.batches = project, store, ledger, models, batches

    def plan(self, run: str) -> TrainingPlan:
        """Take the request for a retrain, if there is one, reserve a version, and pin the rows."""
        _train_of(self.project)  # fail before anything is written
        state = self.ledger.state()
        if not state.seq:
            probe(self.store)  # no ledger is begun where two runs could overwrite each other's entries
        pinned = pin(self.project, self.store, self.batches, state)
        self.ledger.append(lambda state: TrainingStarted(run))
        return TrainingPlan(self.models.reserve(self.ledger.state(), run), run, pinned)

    def rows(self, plan: TrainingPlan) -> Labelled:
        """The labelled rows of a plan: the same at every call."""
        return assemble(self.project, self.store, plan.pinned)

    def fit(self, plan: TrainingPlan) -> Fitted:
        """Call the project's `train` on the rows that are not held out, and store what it returns.

        Raises:
            ModelFault: train.py raised, or returned neither an estimator nor a dict with `model`.
        """
        rows = self.rows(plan)
        task = task_of(rows.label, self.project.config.task)
        table, label = rows.part(held_out=False)
        made = call_train(self.project, tables.to_frame(table, rows.contract), label.to_pandas())
        files = {f"artifacts/{name}.joblib": _dumped(name, value) for name, value in made.items()}
        files |= {f"code/{name}": data for name, data in self.project.code().items()}
        return Fitted(task, classes_of(rows.label, task), tuple(made), self.models.save(plan.version, files))

    def evaluate(self, plan: TrainingPlan, fitted: Fitted) -> Manifest:
        """Measure the version on held-out rows, learn its contract and reference, and write its manifest."""
        rows = self.rows(plan)
        config, task = self.project.config, fitted.task
        positive = positive_of(config, task, fitted.classes)
        order = class_order(task, fitted.classes, positive)
        contract = _contract(rows, config.target)
        manifest = self._unmeasured(plan, fitted, rows, contract, positive)
        predictor = Model(self.models, manifest).predictor  # from what was stored: what is measured is what will score
        table, label = rows.part(held_out=True, most=REFERENCE_ROWS)
        data, truth = tables.to_frame(table, contract), label.to_numpy(zero_copy_only=False)
        scores = predictor.scores(data)
        measured = performance.measure(task, truth, scores, order)
        if measured is None:
            raise DataError(
                f"the {len(truth)} held-out rows cannot be measured: they hold one class only, or too few rows. "
                "Give more history, or a larger `holdout` under [training] in project.toml"
            )
        reference = reference_table(table, label, scores)
        files = {
            CONTRACT: msgspec.json.encode(contract.to_json()),
            BINS: msgspec.json.encode(learn_bins(table, contract, scores).to_json()),
            REFERENCE: tables.to_bytes(reference),
            GOLDEN: tables.to_bytes(reference.slice(0, GOLDEN_ROWS)),
        }
        details = performance.details(task, truth, scores, order)
        manifest = replace(
            manifest,
            metric=measured.metric,
            metrics={**details, measured.metric: measured.value, "se": measured.se},
            importance=performance.column_importance(predictor.scores, data, truth, task, order, config.training.seed),
            calibration=tuple(performance.calibration(truth, scores, order)) if task != "multiclass" else (),
            files={**manifest.files, **self.models.save(plan.version, files)},
        )
        self.models.write(manifest)
        return manifest

    def _why(self, manifest: Manifest, decision: Decision) -> str:
        """Why it is promoted, in a sentence."""
        champion = self.ledger.state().champion
        found = next((c.observed for c in decision.checks if c.name == BETTER), None)
        if champion is None or found is None:
            return "it passed the gate, and there was no champion to compare it with"
        figure = f"{found:+.1%} RMSE saved" if manifest.task == "regression" else f"AUC {found:+.3f}"
        return f"{figure} against {champion} on the same {manifest.window.holdout:,} held-out rows"

    def _unmeasured(
        self, plan: TrainingPlan, fitted: Fitted, rows: Labelled, contract: Contract, positive: str
    ) -> Manifest:
        """The manifest of a version before it is measured."""
        return Manifest(
            version=plan.version,
            project=self.project.name,
            created_at=self.ledger.clock(),
            task=fitted.task,
            target=self.project.config.target,
            classes=fitted.classes,
            positive=positive,
            features=contract.names,
            metric="",
            metrics={},
            importance={},
            calibration=(),
            artifacts=fitted.artifacts,
            files=fitted.files,
            window=rows.window(plan.pinned, sources.history(self.project)[0]),
            run=plan.run,
            code_digest=code_digest(self.project.code()),
            lock_digest=_lock_digest(self.project),
            libraries=blobs.libraries(),
        )

    def judge(self, manifest: Manifest) -> Decision:
        """What the gate says of a version: bounds, the champion on the same rows, a load in a clean process."""
        return gate.decide(
            manifest.task,
            manifest.metrics,
            bounds=self.project.config.gate,
            paired=self._against_champion(manifest),
            fault=in_clean_process(self.store, self.models, manifest.version),
        )

    def conclude(self, manifest: Manifest, decision: Decision) -> None:
        """Register the version, then promote or hold it, as the gate decided. Does nothing a second time."""
        self.models.register(self.ledger, manifest)
        if self.ledger.state().versions[manifest.version].status != "registered":
            return
        if decision.promote:
            reason = self._why(manifest, decision)
            promote(self.ledger, manifest.version, reason, how="gate", checks=decision.checks)
        else:
            hold(self.ledger, manifest.version, decision.reasons, decision.checks)

    def _against_champion(self, manifest: Manifest) -> tuple[float, float] | None:
        """How much better than the champion on the same held-out rows, and its standard error; None without one."""
        champion = self.ledger.state().champion
        if champion is None or champion == manifest.version:
            return None
        challenger = self.models.open(manifest.version)
        reference = challenger.table(REFERENCE)
        try:
            theirs = self.models.open(champion, registered(self.ledger, champion))
            if (theirs.manifest.task, theirs.manifest.order) != (manifest.task, manifest.order):
                return None  # its scores are of something else
            data = tables.to_frame(reference.select(theirs.contract.names), theirs.contract)
            old = theirs.predictor.scores(data)
        except (ArtifactError, ProjectError, SettingsError, KeyError):
            return None  # a champion that cannot score these rows cannot hold a challenger back
        truth = labels_of(reference)
        return performance.paired(manifest.task, truth, scores_of(reference), old, manifest.order)


def call_train(project: Project, data: pd.DataFrame, target: pd.Series) -> dict[str, Any]:
    """What the project's `train` makes of rows, as a dict of artifacts.

    Raises:
        ModelFault: it raised, or returned neither an estimator nor a dict with `model`.
    """
    train, path = _train_of(project)
    try:
        made = train(data, target)
    except Exception as error:  # a data scientist's file can fail in any way
        raise ModelFault(f"train in train.py of project {project.name} failed: {describe(error, path)}") from error
    made = dict(made) if isinstance(made, Mapping) else {"model": made}
    if made.get("model") is None:
        others = ", ".join(str(name) for name in made if name != "model")
        raise ModelFault(
            f"train in train.py of project {project.name} must return a fitted estimator, or a dict with one under "
            f"'model'; it returned {f'a dict with {others}' if others else 'nothing that predicts'}"
        )
    return made


def _dumped(name: str, value: Any) -> bytes:
    try:
        return blobs.dump(value)
    except Exception as error:  # pickling runs foreign code and can fail in any way
        raise ModelFault(
            f"what train in train.py returned as {name!r} cannot be stored: {type(error).__name__}: {error}. "
            "Return objects of classes and functions that a file defines at its top, no lambdas and no open files"
        ) from error


def _train_of(project: Project) -> tuple[Callable[..., Any], Path]:
    path = project.folder / "train.py"
    module = load_module(path, project.name)
    if not hasattr(module, "train"):
        raise ProjectError(f"{path} defines no function train(data, target)")
    return module.train, path


def _contract(rows: Labelled, target: str) -> Contract:
    """The contract of exactly these rows; booleans, which are numbers by now, stay booleans."""
    learned = learn(rows.table, id=rows.contract.id, time=rows.contract.time, drop=rows.contract.ignored)
    kinds = {c.name: c.kind for c in rows.contract.columns}
    columns = tuple(replace(c, kind=kinds[c.name]) for c in learned.columns)
    return replace(learned, columns=columns, target=target, ignored=rows.contract.ignored)


def _lock_digest(project: Project) -> str:
    lock = project.root / "requirements.lock"
    return blobs.file_digest(lock) if lock.is_file() else ""
