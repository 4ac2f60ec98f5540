"""`fuseline check`: run a project's train.py and predict.py on a handful of rows and say what must be mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fuseline import frames, tables
from fuseline.artifacts import dump
from fuseline.bootstrap import Line
from fuseline.errors import FuselineError, ModelFault
from fuseline.narrative import count
from fuseline.predictor import Predictor
from fuseline.projects import load_module
from fuseline.records import Finding, Task
from fuseline.rows import Labelled, assemble, classes_of, pin, positive_of, task_of
from fuseline.training import call_train

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

ROWS, OF_EACH, HANDFUL = 2_000, 20, 32  # rows to train on, of each class at least so many, rows to score
TOLERANCE = 1e-9  # how far a row alone may be from the same row in a batch: sums are rounded in another order
STAGES = (
    "project.toml",
    "rows",
    "train.py",
    "predict",
    "predict again",
    "predict one by one",
    "postprocess",
    "metrics",
)


def examine(here: Line) -> list[Finding]:
    """The findings, one for each stage, up to the first error that makes the rest pointless."""
    return list(_until_an_error(_look(here)))


def _until_an_error(findings: Iterator[Finding]) -> Iterator[Finding]:
    done = 0
    try:
        for finding in findings:
            yield finding
            done += 1
    except FuselineError as error:
        yield Finding(False, STAGES[done], str(error))


def _look(here: Line) -> Iterator[Finding]:
    project = here.project
    yield Finding(True, f"project.toml: target {project.config.target}")
    rows = assemble(project, here.store, pin(project, here.store, here.batches, here.ledger.state()))
    features = count(len(rows.contract.columns), "feature")
    yield Finding(True, f"rows: {rows.table.num_rows:,} labelled, {features}")
    predictor, data, label = _trained(here, rows)
    yield Finding(True, f"train.py: returned {', '.join(predictor.artifacts)}")
    predictor.warm_up()
    few = _spread(len(data), HANDFUL)
    handful = data.iloc[few].reset_index(drop=True)
    scores = predictor.scores(handful)
    yield Finding(True, f"predict: finite scores for {count(len(handful), 'row')}")
    yield _same(
        scores,
        predictor.scores(handful),
        "predict again: the same scores",
        "something is drawn at random: fix the random state in predict.py or in the model",
    )
    yield _same(
        scores,
        _one_by_one(predictor, handful),
        "predict one by one: the same scores",
        "a row's score must not depend on the rows beside it: no mean, rank or dummy columns computed in predict.py",
    )
    columns = predictor.columns(scores, handful)
    said = ", ".join(columns)
    yield Finding(True, f"postprocess: {'column' if len(columns) == 1 else 'columns'} {said}")
    figures = predictor.business(tables.predictions_frame(handful, columns))
    ids, outcomes = [str(row) for row in few], label.to_pandas().iloc[few].to_numpy()
    config = project.config
    later = predictor.outcomes(frames.outcomes_frame((config.id_column, ids), columns, (config.target, outcomes)))
    unknown = sorted(config.business.keys() - figures.keys() - later.keys())
    yield Finding(
        not unknown,
        f"metrics: {', '.join(figures) or 'none'}" + (f"; with outcomes: {', '.join(later)}" if later else ""),
        f"project.toml bounds {', '.join(unknown)} under [business], which neither metrics() nor outcomes() returns"
        if unknown
        else "",
    )


def _trained(here: Line, rows: Labelled) -> tuple[Predictor, pd.DataFrame, pa.Array]:
    config = here.project.config
    task = task_of(rows.label, config.task)
    data, label = _sample(rows, task)
    frame = tables.to_frame(data, rows.contract)
    made = call_train(here.project, frame, label.to_pandas())
    for name, artifact in made.items():
        _picklable(name, artifact)
    classes = classes_of(label, task)
    path = here.project.folder / "predict.py"
    module = load_module(path, here.project.name) if path.is_file() else None
    return Predictor(module, made, task, classes, positive_of(config, task, classes)), frame, label


def _sample(rows: Labelled, task: Task) -> tuple[pa.Table, pa.Array]:
    """Rows from the whole of the time that training sees, and some of every class, however rare it is."""
    import numpy as np
    import pyarrow as pa

    data, label = rows.part(held_out=False)
    chosen = _spread(len(label), ROWS)
    if task != "regression":
        _, codes = np.unique(label.to_numpy(zero_copy_only=False), return_inverse=True)
        of_each = [np.flatnonzero(codes == code)[:OF_EACH] for code in range(codes.max(initial=-1) + 1)]
        chosen = np.unique(np.concatenate([chosen, *of_each]))
    return data.take(pa.array(chosen)), label.take(pa.array(chosen))


def _spread(rows: int, most: int) -> np.ndarray:
    """At most so many row numbers, evenly from the first to the last: int64, shape (min(rows, most),)."""
    import numpy as np

    return np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)


def _picklable(name: str, artifact: object) -> None:
    try:
        dump(artifact)
    except Exception as error:  # pickling runs foreign code and can fail in any way
        raise ModelFault(
            f"the artifact {name!r} that train.py returned cannot be stored: {type(error).__name__}: {error}. "
            "Return objects that can be pickled: no lambdas, open files or connections"
        ) from error


def _one_by_one(predictor: Predictor, data: pd.DataFrame) -> np.ndarray:
    import numpy as np

    return np.concatenate([predictor.scores(data.iloc[[i]].reset_index(drop=True)) for i in range(len(data))])


def _same(a: np.ndarray, b: np.ndarray, what: str, fix: str) -> Finding:
    import numpy as np

    apart = float(np.max(np.abs(a - b), initial=0.0))
    if apart <= TOLERANCE * max(1.0, float(np.max(np.abs(a), initial=0.0))):
        return Finding(True, what)
    return Finding(False, what, f"they differ by up to {apart:.3g}: {fix}")
