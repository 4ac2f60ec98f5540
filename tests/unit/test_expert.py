from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fuseline
from fuseline.expert import MOST_LEVELS, comparable, figures, main, thinned
from fuseline.opinion import Opinion, decode

LEVELS = [f"level {i}" for i in range(MOST_LEVELS + 1)]
MANY = len(LEVELS)


def column(values: object, other: object) -> tuple[list[str], list[str], dict[str, str]]:
    return comparable(pa.table({"x": other}), pa.table({"x": values}))


def test_numbers_and_texts_can_be_compared():
    sample = pa.table({"n": [1.0, None], "i": [1, 2], "b": [True, None], "t": ["a", None]})
    assert comparable(sample, sample) == (["n", "i", "b"], ["t"], {})


@pytest.mark.parametrize(
    ("values", "other", "why"),
    [
        (pa.array([None, None], pa.float64()), [1.0], "the batch has no value in it"),
        ([1.0], pa.array([None, math.inf, math.nan], pa.float64()), "the reference has no value in it"),
        (pa.array([None], pa.string()), ["a"], "the batch has no value in it"),
        (["a"], pa.array([None], pa.string()), "the reference has no value in it"),
        ([1e17, 1e17], [1.0], "the numbers of the batch are too large to be put into bins"),
        ([1.0], [-1e308, 1e308], "the numbers of the reference are too large to be put into bins"),
        (LEVELS, ["a"], f"the batch has {MANY:,} different texts in it, too many to draw"),
        (["a"], LEVELS, f"the reference has {MANY:,} different texts in it, too many to draw"),
        ([datetime(2026, 3, 1)], [datetime(2026, 3, 1)], "Evidently compares no times"),
    ],
)
def test_what_evidently_fails_on_is_left_out_and_said(values, other, why):
    assert column(values, other) == ([], [], {"x": why})


def test_a_column_that_the_reference_lacks_is_left_out():
    left_out = {"new": "the reference does not have it"}
    assert comparable(pa.table({"x": [1.0]}), pa.table({"x": [1.0], "new": [1.0]})) == (["x"], [], left_out)


def test_a_reference_is_thinned_the_same_way_every_time_and_its_score_renamed():
    table = pa.table({"x": range(100), "fuseline.score.0": np.linspace(0, 1, 100)})
    thin = thinned(table, 10)
    assert thin.column_names == ["x", "score"]
    assert thin.num_rows == 10 == len(set(thin["x"].to_pylist()))
    assert thin["x"].to_pylist() == sorted(thin["x"].to_pylist())
    assert thin.equals(thinned(table, 10))
    assert thinned(table).num_rows == 100


def test_the_scores_of_several_classes_are_numbered():
    table = pa.table({"fuseline.score.0": [0.2], "fuseline.score.1": [0.8]})
    assert thinned(table).column_names == ["score_0", "score_1"]


# ── what it says ─────────────────────────────────────────────────────────────────────────────────


def metric(name: str, value: object, method: str = "K-S p_value") -> dict[str, object]:
    return {"config": {"column": name, "method": method, "threshold": np.float64(0.05)}, "value": value}


def test_its_figures_are_plain_numbers_and_never_nan():
    said = {
        "metrics": [
            {"config": {"drift_share": 0.5}, "value": {"count": np.float64(1.0), "share": np.float64(0.25)}},
            metric("price", np.float64(0.001)),
            metric("colour", np.float64("nan"), "chi-square p_value"),
            metric("rooms", float("inf"), "Wasserstein distance (normed)"),
            metric("\u2039b>", np.float32(0.5)),
        ],
        "tests": [
            {"metric_config": {"params": {"drift_share": 0.5}}, "status": "SUCCESS"},
            *(
                {"metric_config": {"params": {"column": name}}, "status": f"TestStatus.{status}"}
                for name, status in (
                    ("price", "FAIL"),
                    ("colour", "SUCCESS"),
                    ("rooms", "FAIL"),
                    ("\u2039b>", "SUCCESS"),
                )
            ),
        ],
    }
    names = {"price": "price", "colour": "colour", "rooms": "rooms", "\u2039b>": "<b>"}
    columns, share = figures(said, names)
    assert share == 0.25
    assert [(c.name, c.score, c.drifted) for c in columns] == [
        ("price", 0.001, True),
        ("colour", None, None),
        ("rooms", None, None),
        ("<b>", 0.5, False),
    ]
    assert all(type(c.threshold) is float for c in columns)
    json.dumps([c.score for c in columns], allow_nan=False)


# ── the process ──────────────────────────────────────────────────────────────────────────────────

STANDIN = """
__version__ = "0.0"
import os
assert os.environ["DO_NOT_TRACK"] and os.environ["ITERATIVE_DO_NOT_TRACK"], "it would phone home"


class DataDefinition:
    def __init__(self, numerical_columns, categorical_columns):
        self.names = [*numerical_columns, *categorical_columns]


class Dataset:
    def __init__(self, frame, definition):
        self.frame, self.names = frame, definition.names

    @classmethod
    def from_pandas(cls, frame, definition):
        return cls(frame, definition)


class Report:
    def __init__(self, metrics, include_tests):
        assert include_tests and metrics == ["preset"]

    def run(self, current, reference):
        if "fails" in current.names:
            raise ValueError("it fails")
        self.current, self.reference = current, reference
        return self

    def get_html_str(self, as_iframe):
        return f"<html>{self.current.frame.to_dict('list')}</html>"

    def dict(self):
        metrics = [{"config": {}, "value": {"count": 0, "share": 0.0}}]
        metrics += [
            {"config": {"column": n, "method": "made up", "threshold": 0.1}, "value": 0.0} for n in self.current.names
        ]
        tests = [{"metric_config": {"params": {"column": n}}, "status": "SUCCESS"} for n in self.current.names]
        return {"metrics": metrics, "tests": tests}
"""


@pytest.fixture
def standin(tmp_path: Path) -> list[str]:
    """The expert's process with a small Evidently of our own making in front of any real one."""
    library = tmp_path / "library" / "evidently"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(STANDIN)
    (library / "presets.py").write_text("def DataDriftPreset(drift_share):\n    return 'preset'\n")
    ours = Path(fuseline.__file__).parents[1]
    start = f"import sys, runpy; sys.path[:0] = [{str(library.parent)!r}, {str(ours)!r}]; "
    return [sys.executable, "-c", f"{start}runpy.run_module('fuseline.expert', run_name='__main__')"]


def lay_out(folder: Path, name: str, sample: pa.Table) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    pq.write_table(sample, place / "sample.parquet")
    scores = pa.array(np.linspace(0, 1, sample.num_rows))
    reference = sample.drop_columns(["score"]).append_column("fuseline.score.0", scores)
    pq.write_table(reference, place / "reference.parquet")
    return place


def table(**columns: object) -> pa.Table:
    return pa.table({"price": [1.0, 2.0, None], **columns, "score": [0.1, 0.2, 0.3]})


def opinion_in(place: Path) -> Opinion:
    return decode((place / "evidently.json").read_bytes())


def test_each_subfolder_is_left_with_a_page_and_figures_and_one_that_fails_does_not_stop_the_others(standin, tmp_path):
    folder = tmp_path / "work"
    first = lay_out(folder, "0000", table(colour=["a", "</script>", None], age=pa.nulls(3, pa.float64())))
    second = lay_out(folder, "0001", table(fails=["a", "b", "c"]))
    third = lay_out(folder, "0002", table())
    (folder / "errors.txt").touch()
    subprocess.run([*standin, str(folder)], check=True)
    opinion = opinion_in(first)
    assert [c.name for c in opinion.columns] == ["price", "score", "colour"]
    assert opinion.left_out == {"age": "the reference has no value in it"}
    assert (opinion.rows, opinion.reference_rows, opinion.library) == (3, 3, "evidently 0.0")
    assert opinion.seconds >= 0 and not opinion.error
    assert "</script>" not in (first / "evidently.html").read_text()
    assert opinion_in(second).error == "ValueError: it fails"
    assert not (second / "evidently.html").exists()
    assert not opinion_in(third).error


def test_what_has_an_opinion_already_is_left_alone(tmp_path):
    place = lay_out(tmp_path, "0000", table())
    (place / "evidently.json").write_bytes(b"kept")
    main(tmp_path)
    assert (place / "evidently.json").read_bytes() == b"kept"


def test_evidently_is_not_even_imported_where_no_column_can_be_compared(tmp_path):
    nothing = pa.table({"price": pa.nulls(3, pa.float64()), "score": pa.nulls(3, pa.float64())})
    place = lay_out(tmp_path, "0000", nothing)
    main(tmp_path)
    assert opinion_in(place).error == "it was given no column, as none can be compared"
    assert set(opinion_in(place).left_out) == {"price", "score"}
    assert "evidently" not in sys.modules
