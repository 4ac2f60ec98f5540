from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import joblib
import msgspec
import pytest

from fuseline.errors import FuselineError, ProjectError, SettingsError
from fuseline.serving.loader import imported
from fuseline.serving.script import FileSource
from fuseline.serving.served import Asked

PREDICT = "def predict(data):\n    return {}\n"


@pytest.fixture
def folder(tmp_path):
    """A folder that the process may work in until the end of the test."""
    before = Path.cwd(), list(sys.path), sys.dont_write_bytecode
    yield tmp_path.resolve()
    for name in imported(tmp_path.resolve()):
        del sys.modules[name]
    os.chdir(before[0])
    sys.path[:] = before[1]
    sys.dont_write_bytecode = before[2]


@pytest.fixture
def write(folder):
    """`write(name, code)`: a file of the folder, newer than any before."""
    times = iter(range(1, 1000))

    def written(name: str, code: str) -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
        at = time.time_ns() + next(times) * 1_000_000
        os.utime(path, ns=(at, at))
        return path

    return written


def answered(source: FileSource, body=None):
    served = source.standing.served
    assert served is not None
    return json.loads(served.answer(Asked(msgspec.json.encode(body))).body)["predictions"]


def test_a_file_is_loaded_with_the_first_look_and_never_again(write):
    source = FileSource(write("model.py", PREDICT.format(1)))
    assert (source.name, source.every, source.page) == ("model", 0.0, None)
    assert source.standing.problem.kind == "not-ready"
    assert source.look()
    write("model.py", PREDICT.format(2))
    assert not source.look()
    assert (answered(source), source.standing.problem, source.standing.trouble) == (1, None, "")


def test_its_version_is_the_beginning_of_its_digest(write):
    path = write("model.py", PREDICT.format(1))
    source = FileSource(path)
    source.look()
    assert source.standing.served.version == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_a_page_beside_the_file_is_its_page(write):
    page = write("page.html", "<!doctype html>")
    assert FileSource(write("model.py", "")).page == page


LATE = """
from pathlib import Path
x = int(Path("data.txt").read_text())
def predict(data):
    import late
    return x + int(Path("data.txt").read_text()) + late.ONE
"""


def test_paths_and_imports_work_from_the_files_own_folder_at_any_time(write):
    write("data.txt", "7")
    write("late.py", "ONE = 1")
    source = FileSource(write("model.py", LATE))
    source.look()
    assert answered(source) == 15


# ── reload ──────────────────────────────────────────────────────────────────────────────────────


def test_an_edited_file_answers_anew(write):
    source = FileSource(write("model.py", PREDICT.format(1)), reload=True)
    assert source.every == 0.5
    assert source.look()
    assert not source.look()
    write("model.py", PREDICT.format(2))
    assert answered(source) == 1
    assert source.look()
    assert answered(source) == 2
    assert not source.look()


def test_an_edited_file_beside_it_counts_without_leftovers(write, folder):
    write("helper.py", "x = 1\nold = True")
    code = "import helper\ndef predict(data):\n    return [helper.x, hasattr(helper, 'old')]"
    source = FileSource(write("model.py", code), reload=True)
    source.look()
    write("helper.py", "x = 2")
    assert source.look()
    assert answered(source) == [2, False]
    assert not (folder / "__pycache__").exists()


def test_a_file_of_a_package_that_it_imports_counts(write):
    write("parts/helper.py", "x = 1")
    source = FileSource(write("model.py", "from parts.helper import x\n" + PREDICT.format("x")), reload=True)
    source.look()
    write("parts/helper.py", "x = 2")
    assert source.look()
    assert answered(source) == 2


def test_what_a_hook_imports_later_is_no_change_until_it_is_edited(write):
    write("parts/late.py", "x = 1")
    code = "def predict(data):\n    from parts.late import x\n    return x"
    source = FileSource(write("model.py", code), reload=True)
    source.look()
    assert answered(source) == 1
    assert not source.look()
    write("parts/late.py", "x = 2")
    assert source.look()
    assert answered(source) == 2


FAILS = "def load():\n    1 / 0\n" + PREDICT.format(2)


@pytest.mark.parametrize("broken", ["def predict(:", "1 / 0", "def other(x): pass", FAILS])
def test_a_file_that_cannot_be_served_leaves_the_one_before_at_work(write, broken):
    source = FileSource(write("model.py", PREDICT.format(1)), reload=True)
    source.look()
    write("model.py", broken)
    assert not source.look()
    assert answered(source) == 1
    assert source.standing.trouble.startswith(
        "an edit of model.py, or beside it, cannot be served; the one before answers. "
    )
    assert not source.look()
    write("model.py", PREDICT.format(3))
    assert source.look()
    assert (answered(source), source.standing.trouble) == (3, "")


def test_a_file_beside_it_that_comes_later_mends_it(write):
    source = FileSource(write("model.py", PREDICT.format(1)), reload=True)
    source.look()
    write("model.py", "import soon\n" + PREDICT.format("soon.x"))
    assert not source.look()
    assert "No module named 'soon'" in source.standing.trouble
    write("soon.py", "x = 4")
    assert source.look()
    assert answered(source) == 4


def test_a_file_that_is_gone_for_a_while_is_trouble_for_a_while(write):
    path = write("model.py", PREDICT.format(1))
    source = FileSource(path, reload=True)
    source.look()
    path.unlink()
    assert not source.look()
    assert "cannot be read" in source.standing.trouble
    assert not source.look()
    write("model.py", PREDICT.format(2))
    assert source.look()
    assert answered(source) == 2


def test_a_pickle_that_is_made_again_is_loaded_again(folder):
    from sklearn.linear_model import LinearRegression

    path = folder / "model.joblib"
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), path)
    source = FileSource(path, reload=True)
    source.look()
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 5.0]), path)
    assert source.look()
    assert answered(source, [[2.0]]) == [{"prediction": pytest.approx(10)}]


# ── what cannot be loaded ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", ["1 / 0", "", FAILS])
@pytest.mark.parametrize("reload", [False, True])
def test_a_first_load_that_fails_raises(write, code, reload):
    source = FileSource(write("model.py", code), reload=reload)
    with pytest.raises(FuselineError, match=r"model\.py"):
        source.look()
    assert source.standing.served is None


def test_a_file_of_another_digest_is_not_opened(write):
    path = write("model.py", "raise RuntimeError('it was opened')")
    with pytest.raises(ProjectError, match=r"model\.py is not the file that --digest names: .* It was not opened"):
        FileSource(path, digest="0" * 64).look()
    right = hashlib.sha256(write("model.py", PREDICT.format(1)).read_bytes()).hexdigest()
    assert FileSource(path, digest=right).look()


# ── a part of a file ────────────────────────────────────────────────────────────────────────────

PARTS = """
class Model:
    def predict(self, data): return "class"
class Inner:
    model = Model()
thing = Model()
def score(data): return "function"
def preprocess(data): return data
def predict(data): return "module"
"""


@pytest.mark.parametrize(
    ("attribute", "said"),
    [("", "module"), ("Model", "class"), ("thing", "class"), ("Inner.model", "class"), ("score", "function")],
)
def test_a_class_an_object_or_a_function_of_a_file_can_be_served(write, attribute, said):
    source = FileSource(write("model.py", PARTS), attribute)
    source.look()
    assert answered(source) == said


def test_a_function_is_the_predict_of_its_module(write):
    source = FileSource(write("model.py", PARTS), "score")
    source.look()
    assert source.standing.served.hooks.preprocess.name == "preprocess"
    with pytest.raises(SettingsError, match="names predict twice"):
        FileSource(write("model.py", PARTS), "score", ["predict=predict"]).look()


def test_a_missing_part_is_an_error_that_lists_the_parts_and_suggests_the_nearest(write):
    with pytest.raises(ProjectError, match=r"has no 'Modle'\. Did you mean 'Model'\? It has Model, .*thing"):
        FileSource(write("model.py", PARTS), "Modle").look()


def test_a_model_in_a_pickled_dict_can_be_served(folder):
    from sklearn.linear_model import LinearRegression

    path = folder / "model.joblib"
    joblib.dump({"model": LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), "columns": ["x"]}, path)
    source = FileSource(path, "model")
    source.look()
    assert answered(source, [[3.0]]) == [{"prediction": pytest.approx(3)}]
    with pytest.raises(ProjectError, match=r"has no 'modle'\. Did you mean 'model'\? It has model, columns"):
        FileSource(path, "modle").look()
