"""`fuseline check`: run a project's train.py and predict.py on a handful of rows and say what must be mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fuseline import tables
from fuseline.artifacts import dump
from fuseline.bootstrap import Line
from fuseline.errors import FuselineError, ModelFault
from fuseline.predictor import Predictor
from fuseline.projects import load_module
from fuseline.records import Finding
from fuseline.rows import Labelled, assemble, classes_of, pin, positive_of, task_of
from fuseline.training import call_train

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROWS, HANDFUL = 2_000, 32
TOLERANCE = 1e-9  # how far a row alone may be from the same row in a batch: sums are rounded in another order


def examine(here: Line) -> list[Finding]:
    """The findings, up to the first that makes the rest pointless."""
    found: list[Finding] = []
    try:
        for finding in _look(here):
            found.append(finding)
    except FuselineError as error:
        found.append(Finding(False, "rows, train.py or predict.py", str(error)))
    return found


def _look(here: Line) -> Iterator[Finding]:
    project = here.project
    yield Finding(True, f"project.toml: target {project.config.target}")
    rows = assemble(project, here.store, pin(project, here.store, here.batches, here.ledger.state()))
    yield Finding(True, f"rows: {rows.table.num_rows:,} labelled, {len(rows.contract.columns)} features")
    predictor, data = _trained(here, rows)
    yield Finding(True, f"train.py: returned {', '.join(predictor.artifacts)}")
    predictor.warm_up()
    handful = data.head(HANDFUL).reset_index(drop=True)
    scores = predictor.scores(handful)
    yield Finding(True, f"predict: {len(scores)} finite scores for {len(handful)} rows")
    yield _same(scores, predictor.scores(handful), "deterministic", "fix the random state in predict.py or the model")
    yield _same(
        scores,
        _one_by_one(predictor, handful),
        "batch equals one by one",
        "a row's score must not depend on the rows beside it: no mean, rank or dummy columns computed in predict.py",
    )
    columns = predictor.columns(scores, handful)
    yield Finding(True, f"postprocess: columns {', '.join(columns)}")
    figures = predictor.business(tables.predictions_frame(handful, columns))
    unknown = sorted(set(project.config.business) - set(figures))
    names = ", ".join(figures) or "none"
    yield Finding(
        not unknown,
        f"metrics: {names}",
        f"project.toml bounds {', '.join(unknown)}, which metrics() does not return" if unknown else "",
    )


def _trained(here: Line, rows: Labelled) -> tuple[Predictor, pd.DataFrame]:
    config = here.project.config
    data, label = rows.part(held_out=False, most=ROWS)
    frame = tables.to_frame(data, rows.contract)
    made = call_train(here.project, frame, label.to_pandas())
    for name, artifact in made.items():
        _picklable(name, artifact)
    task = task_of(rows.label, config.task)
    classes = classes_of(rows.label, task)
    path = here.project.folder / "predict.py"
    module = load_module(path, here.project.name) if path.is_file() else None
    return Predictor(module, made, task, classes, positive_of(config, task, classes)), frame


def _picklable(name: str, artifact: object) -> None:
    try:
        dump(artifact)
    except Exception as error:  # pickling runs foreign code and can fail in any way
        raise ModelFault(f"the artifact {name!r} of train.py cannot be stored: {error}. Return picklable objects") from error


def _one_by_one(predictor: Predictor, data: pd.DataFrame) -> np.ndarray:
    import numpy as np

    return np.concatenate([predictor.scores(data.iloc[[i]].reset_index(drop=True)) for i in range(len(data))])


def _same(a: np.ndarray, b: np.ndarray, what: str, fix: str) -> Finding:
    import numpy as np

    apart = float(np.max(np.abs(a - b), initial=0.0))
    if apart <= TOLERANCE * max(1.0, float(np.max(np.abs(a), initial=0.0))):
        return Finding(True, what)
    return Finding(False, f"not {what}: scores differ by up to {apart:.3g}", fix)
