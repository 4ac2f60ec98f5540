"""The process that asks Evidently: `python -m fuseline.expert FOLDER`. It works on one folder and knows no store.

Each subfolder holds the sample of a batch and the reference of its version; it is left with Evidently's page and
figures, or with the reason why there are none. Columns that Evidently fails on are not given to it.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuseline import bins, rows
from fuseline.errors import FuselineError
from fuseline.models import REFERENCE
from fuseline.opinion import FIGURES, LIBRARY, REPORT, SAMPLE, SHARE, Column, Opinion, encode

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS = 5_000  # of the reference; a batch's sample has no more
MOST_LEVELS = 1_000  # different texts: with 10,000 a report takes 13 s and 17 MB
QUIET = {"DO_NOT_TRACK": "1", "ITERATIVE_DO_NOT_TRACK": "1"}  # Evidently's telemetry stays off where these are set


def main(folder: Path) -> None:
    """Compare the sample with the reference in each subfolder; leave evidently.html and evidently.json there."""
    os.environ.update(QUIET)
    for place in sorted(p for p in folder.iterdir() if (p / SAMPLE).exists() and not (p / FIGURES).exists()):
        try:
            opinion = _compared(place)
        except FuselineError as error:
            opinion = Opinion(error=str(error))
        (place / FIGURES).write_bytes(encode(opinion))


def _compared(place: Path) -> Opinion:
    import pyarrow.parquet as pq

    before, after = thinned(pq.read_table(place / REFERENCE)), pq.read_table(place / SAMPLE)
    numbers, texts, left_out = comparable(before, after)
    if not numbers and not texts:
        return Opinion(left_out=left_out, error="it was given no column, as none can be compared")
    shown = {_harmless(name): name for name in (*numbers, *texts)}
    definition = {
        "numerical_columns": [k for k, v in shown.items() if v in numbers],
        "categorical_columns": [k for k, v in shown.items() if v in texts],
    }
    current, reference = (_frame(table, shown, numbers) for table in (after, before))
    importlib.import_module(LIBRARY)  # its seconds are not the comparison's
    started = time.perf_counter()
    page, said, library = _evidently(current, reference, definition)
    (place / REPORT).write_text(page, encoding="utf-8")
    columns, share = figures(said, shown)
    seconds = round(time.perf_counter() - started, 2)
    return Opinion(columns, left_out, share, after.num_rows, before.num_rows, seconds, library)


def _evidently(
    current: pd.DataFrame, reference: pd.DataFrame, definition: Mapping[str, list[str]]
) -> tuple[str, dict[str, Any], str]:
    """Its page, its figures and its name with the version: all that is known here of its interface."""
    try:
        library = importlib.import_module(LIBRARY)
        presets = importlib.import_module(f"{LIBRARY}.presets")
        columns = library.DataDefinition(**definition)
        before, after = (library.Dataset.from_pandas(frame, columns) for frame in (reference, current))
        report = library.Report([presets.DataDriftPreset(drift_share=SHARE)], include_tests=True)
        made = report.run(after, before)
        return made.get_html_str(as_iframe=False), made.dict(), f"{LIBRARY} {library.__version__}"
    except Exception as error:  # a library that is for people only may fail in any way
        raise FuselineError(f"{type(error).__name__}: {error}") from error


def figures(said: Mapping[str, Any], shown: Mapping[str, str]) -> tuple[tuple[Column, ...], float | None]:
    """Its figures as plain numbers: each column, and the share of columns that drifted.

    Args:
        said: its report as a dict; values may be numpy scalars, NaN or infinite.
        shown: the names that it was given, to the columns' own.
    """
    tests = {t["metric_config"]["params"].get("column"): str(t["status"]) for t in said["tests"]}
    columns: list[Column] = []
    share = None
    for metric in said["metrics"]:
        config, value = metric["config"], metric["value"]
        if isinstance(value, Mapping):
            share = _finite(value["share"])
            continue
        score, name = _finite(value), config["column"]
        drifted = None if score is None else tests[name].endswith("FAIL")
        columns.append(Column(shown[name], str(config["method"]), score, _finite(config["threshold"]), drifted))
    return tuple(columns), share


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


# ── what it is given ─────────────────────────────────────────────────────────────────────────────


def thinned(reference: pa.Table, most: int = ROWS) -> pa.Table:
    """At most so many rows of a reference, the same ones every time, with its scores named as a sample's are."""
    import numpy as np

    scores = [c for c in reference.column_names if c.startswith(rows.SCORE)]
    names = {c: f"{bins.SCORE}_{c.removeprefix(rows.SCORE)}" if len(scores) > 1 else bins.SCORE for c in scores}
    reference = reference.rename_columns([names.get(c, c) for c in reference.column_names])
    if reference.num_rows <= most:
        return reference
    return reference.take(np.sort(np.random.default_rng(0).choice(reference.num_rows, most, replace=False)))


def comparable(before: pa.Table, after: pa.Table) -> tuple[list[str], list[str], dict[str, str]]:
    """The columns of a sample that Evidently can compare, in their order.

    Returns:
        Those of numbers, those of text, and those that it would fail on, each with the reason.
    """
    import pyarrow as pa

    numbers: list[str] = []
    texts: list[str] = []
    left_out: dict[str, str] = {}
    for name in after.column_names:
        kind = after.schema.field(name).type
        if name not in before.column_names:
            left_out[name] = "the reference does not have it"
        elif pa.types.is_temporal(kind):
            left_out[name] = "Evidently compares no times"
        elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            why = _unfit_numbers(before.column(name), "reference") or _unfit_numbers(after.column(name), "batch")
            left_out[name] = why
            numbers.append(name)
        else:
            left_out[name] = _unfit_text(before.column(name), after.column(name))
            texts.append(name)
    left_out = {name: why for name, why in left_out.items() if why}
    return [n for n in numbers if n not in left_out], [n for n in texts if n not in left_out], left_out


def _unfit_numbers(column: pa.ChunkedArray, of: str) -> str:
    """Why it fails on a column of numbers, or an empty string."""
    import numpy as np

    values = _numbers(column)
    values = values[np.isfinite(values)]
    if not len(values):
        return f"the {of} has no value in it"
    try:
        with np.errstate(all="ignore"):
            np.histogram(values, bins=10)  # as it does; a constant beyond 1e15 raises
            fit = bool(np.isfinite(values.std()))
    except ValueError:
        fit = False
    return "" if fit else f"the numbers of the {of} are too large to be put into bins"


def _unfit_text(before: pa.ChunkedArray, after: pa.ChunkedArray) -> str:
    """Why it fails on a column of text, or an empty string."""
    import pyarrow.compute as pc

    for column, of in ((before, "reference"), (after, "batch")):
        if column.null_count == len(column):
            return f"the {of} has no value in it"
        if (levels := pc.count_distinct(column).as_py()) > MOST_LEVELS:
            return f"the {of} has {levels:,} different texts in it, too many to draw"
    return ""


def _numbers(column: pa.ChunkedArray) -> Any:
    import pyarrow as pa

    return column.cast(pa.float64(), safe=False).to_numpy()


def _frame(table: pa.Table, shown: Mapping[str, str], numbers: Sequence[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    data: dict[str, Any] = {}
    for name, own in shown.items():
        column = table.column(own)
        if own in numbers:
            data[name] = _numbers(column)
        else:
            data[name] = [None if x is None else _harmless(x) for x in column.cast(pa.string()).to_pylist()]
    return pd.DataFrame(data)


def _harmless(text: str) -> str:
    """A text without `<`: Evidently writes text from the data into a script of its page as it is.

    >>> "<" in _harmless("</script>")
    False
    """
    return text.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
