from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuseline.errors import SettingsError
from fuseline.serving.loader import imported
from fuseline.serving.problem import Problem, RowFault
from fuseline.serving.script import FileSource
from fuseline.serving.served import Answered, Asked, Standing
from fuseline.serving.trial import ask, check, run, shortened

MODEL = """
print("imported")
def warm_up():
    print("warmed")
def predict(data):
    print("asked")
    if data == "bytes": return b"\\x89PNG\\r\\n\\x1a\\n"
    return [1 / n for n in data]
"""


@pytest.fixture
def source(tmp_path):
    """`source(code)`: a file of that code."""
    before, folder = (Path.cwd(), list(sys.path)), tmp_path.resolve()

    def made(code: str = MODEL) -> FileSource:
        (folder / "model.py").write_text(code, encoding="utf-8")
        return FileSource(folder / "model.py")

    yield made
    for name in imported(folder):
        del sys.modules[name]
    os.chdir(before[0])
    sys.path[:] = before[1]


class Empty:
    """A source with nothing to serve."""

    name, every, page = "bookings", 0.0, None
    standing = Standing(problem=Problem("breaker-open", "the breaker is open", rows=[RowFault(3, "price", "is text")]))

    def look(self) -> bool:
        return False


class Exemplary:
    """A source whose model has an example."""

    name, every, page = "fixed", 0.0, None

    def __init__(self, example: list[float]) -> None:
        self.standing = Standing(Known(example))

    def look(self) -> bool:
        return False


class Known:
    """A model that adds numbers up, up to 5."""

    name, version, mode, reason, contract, quick = "fixed", "v0001", "champion", "", None, True

    def __init__(self, example: list[float]) -> None:
        self._example = example

    def example(self) -> list[float]:
        return self._example

    def answer(self, asked: Asked) -> Answered:
        total = sum(json.loads(asked.body))
        if total > 5:
            raise Problem("bad-input", f"{total} is over 5")
        return Answered(json.dumps({"predictions": total}).encode(), stages={"read": 0.001})


# ── run ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_says_what_was_answered_and_how_long_each_stage_took(source, capsys):
    trial = run(source(), Asked(b"[1, 2]"))
    assert (trial.model, trial.mode, trial.exit_code, trial.problem) == ("model", "file", 0, None)
    assert json.loads(trial.answer.body)["predictions"] == [1.0, 0.5]
    assert list(trial.stages) == ["read", "predict", "write"]
    assert trial.load > 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.split() == ["imported", "warmed", "asked"]


def test_a_problem_is_a_trial_too(source):
    trial = run(source(), Asked(b"[0]"))
    assert (trial.problem.kind, trial.answer, trial.exit_code) == ("model-failed", None, 1)


def test_a_source_that_has_nothing_to_serve_says_why():
    assert run(Empty(), Asked(b"{}")).problem.kind == "breaker-open"


def test_without_a_request_the_example_is_asked():
    assert json.loads(run(Exemplary([1, 2]), None).answer.body) == {"predictions": 3}


# ── what is printed ─────────────────────────────────────────────────────────────────────────────


def test_people_see_the_stages_and_the_answer(source, capsys):
    assert ask(source(), "[1, 2]") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model ") and lines[0].endswith(" (file)")
    assert lines[1] == "  model.py: warm_up → predict(data); predict is given " + (
        "the JSON as it was sent, or the fields and files of a form as a dict"
    )
    assert [line.split()[0] for line in lines[3:8]] == ["stage", "load", "read", "predict", "write"]
    assert json.loads("".join(lines[9:]))["predictions"] == [1.0, 0.5]


def test_people_see_what_is_wrong(source, capsys):
    assert ask(source(), "[0]") == 1
    err = capsys.readouterr().err
    assert "error: The model failed (500): predict in model.py failed: ZeroDivisionError" in err


def test_people_see_the_rows_that_are_to_blame(capsys):
    assert ask(Empty(), "{}") == 1
    said = capsys.readouterr()
    assert "error: The breaker is open (503): the breaker is open" in said.err
    assert said.out.splitlines()[-2:] == ["row  column  reason", "  3  price   is text"]


def test_bytes_are_told_by_their_type_and_size(source, capsys, tmp_path):
    (tmp_path / "asked.json").write_text('"bytes"')
    assert ask(source(), str(tmp_path / "asked.json")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "image/png, 8 bytes"
    assert ask(source(), str(tmp_path / "asked.json"), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == {"media_type": "image/png", "bytes": 8}


def test_scripts_get_a_document_and_nothing_else(source, capsys):
    assert ask(source(), "[1, 2]", as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"]["predictions"] == [1.0, 0.5]
    assert list(found["stages_ms"]) == ["read", "predict", "write"]
    assert (found["model"], found["mode"], found["problem"], found["trouble"]) == ("model", "file", None, None)
    assert ask(source(), "[0]", as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["answer"], found["problem"]["status"]) == (None, 500)


def test_a_file_that_says_nothing_of_its_input_needs_one(source):
    with pytest.raises(SettingsError, match="model has no example of its own: give a request with --input or --form"):
        ask(source(), None)


# ── check ───────────────────────────────────────────────────────────────────────────────────────


def test_a_check_of_a_file_warms_it_up_and_says_that_this_is_all(source, capsys):
    assert check(source()) == 0
    said = capsys.readouterr()
    assert said.err.split() == ["imported", "warmed"]
    assert "It is loaded and warmed up. Only the file knows what it takes" in said.out


def test_a_check_predicts_the_example(capsys):
    assert check(Exemplary([1, 2])) == 0
    assert '"predictions": 3' in capsys.readouterr().out


def test_a_check_fails_where_the_example_does(capsys):
    assert check(Exemplary([9])) == 1
    assert "error: The model does not take this (422): 9 is over 5" in capsys.readouterr().err


# ── long answers ────────────────────────────────────────────────────────────────────────────────


def test_only_long_lists_and_texts_are_cut():
    assert shortened([*range(10)]) == [*range(10)]
    assert shortened({"a": [[*range(11)]]}) == {"a": [[0, 1, 2, 3, 4, "… 6 more"]]}
    assert shortened("x" * 200) == "x" * 200
    assert shortened("x" * 1300) == "x" * 200 + "… 1,100 more characters"


def test_a_file_that_needs_nothing_heavy_loads_nothing_heavy():
    code = (
        "import sys, fuseline.serving.trial, fuseline.serving.target; print([m for m in sys.argv if m in sys.modules])"
    )
    heavy = ["numpy", "pandas", "pyarrow", "sklearn", "scipy", "metaflow", "boto3", "joblib"]
    found = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
