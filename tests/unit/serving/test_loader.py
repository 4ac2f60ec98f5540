from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from fuseline.errors import ProjectError
from fuseline.serving.loader import anew, imported, load_pickle, load_python


@pytest.fixture
def folder(tmp_path):
    """A folder whose modules are forgotten at the end."""
    yield tmp_path
    for name in imported(tmp_path):
        del sys.modules[name]


def loaded(path: Path, code: str):
    path.write_text(code, encoding="utf-8")
    return load_python(path, path.read_bytes())


# ── Python files ────────────────────────────────────────────────────────────────────────────────


def test_a_file_imports_what_lies_beside_it_and_leaves_the_path_alone(folder):
    (folder / "helper.py").write_text("ONE = 1")
    before = list(sys.path)
    assert loaded(folder / "model.py", "from helper import ONE").ONE == 1
    assert sys.path == before


def test_a_file_has_its_own_name_as_a_module_so_that_pickles_of_its_classes_find_it(folder):
    module = loaded(folder / "thing.py", "class Thing: pass")
    assert sys.modules["thing"] is module
    assert type(pickle.loads(pickle.dumps(module.Thing()))) is module.Thing


@pytest.mark.parametrize("name", ["my-model.v2.py", "json.py", "class.py", "2024 model.py"])
def test_a_file_of_any_name_can_be_loaded(folder, name):
    import json

    module = loaded(folder / name, "import sys\nx = 1")
    assert (module.x, module.__file__) == (1, str(folder / name))
    assert sys.modules["json"] is json


def test_an_edit_within_the_same_second_and_of_the_same_size_counts(folder):
    (folder / "helper.py").write_text("x = 1")
    assert loaded(folder / "model.py", "x = 1").x == 1
    assert loaded(folder / "model.py", "x = 2").x == 2


def test_the_coding_of_a_file_is_heeded(folder):
    (folder / "model.py").write_bytes("# -*- coding: latin-1 -*-\nname = 'é'".encode("latin-1"))
    assert load_python(folder / "model.py", (folder / "model.py").read_bytes()).name == "é"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1\ny = 1 / 0", r"model\.py cannot be imported: ZeroDiv.* \(model\.py, line 2\)"),
        ("def predict(:", r"SyntaxError: .*\(model\.py, line 1\)"),
        (
            "import nothing_like_it",
            r"ModuleNotFoundError: .*line 1\)\. Install nothing_like_it, or put",
        ),
        (
            "raise SystemExit(2)",
            r"ends the program while it is imported: .*line 1\)\. Put what only",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_with_its_line(folder, code, said):
    with pytest.raises(ProjectError, match=said):
        loaded(folder / "model.py", code)


# ── pickles ─────────────────────────────────────────────────────────────────────────────────────


def dumped(path: Path, value) -> bytes:
    joblib.dump(value, path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl"])
def test_a_pickle_is_opened(folder, name):
    assert load_pickle(folder / name, dumped(folder / name, {"a": 1})) == ({"a": 1}, "")
    assert load_pickle(folder / name, pickle.dumps([1])) == ([1], "")


def test_a_pickle_finds_the_class_of_a_file_beside_it(folder):
    module = loaded(folder / "parts.py", "class Part:\n    x = 5")
    data = dumped(folder / "model.joblib", module.Part())
    del sys.modules["parts"]
    assert load_pickle(folder / "model.joblib", data)[0].x == 5


def test_a_pickle_of_another_scikit_learn_is_opened_and_that_is_said(folder):
    model = LinearRegression().fit([[1.0]], [1.0])
    state = {**model.__getstate__(), "_sklearn_version": "0.24.2"}
    data = pickle.dumps(Reduced(state))
    found, trouble = load_pickle(folder / "model.pkl", data)
    assert found.predict([[2.0]]).tolist() == [1.0]
    assert trouble.startswith("model.pkl was made with scikit-learn 0.24.2 (here ")
    assert trouble.endswith("): its predictions could silently differ")


class Reduced:
    """Pickles as a LinearRegression of some state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return LinearRegression, (), self.state


class Warns:
    """Warns when it is opened."""

    def __reduce__(self):
        return warnings.warn, ("mind the gap", UserWarning)


def test_any_other_warning_is_passed_on(folder):
    with pytest.warns(UserWarning, match="mind the gap"):
        assert load_pickle(folder / "model.pkl", pickle.dumps(Warns()))[1] == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x04", r"model\.pkl cannot be opened: "),
        (b"cnothing_like_it\nThing\n.", r"ModuleNotFoundError: .*\. Install nothing_like_it, or put the file"),
        (
            b"c__main__\nNothingLikeIt\n.",
            r"AttributeError: .*\. It was pickled by a script that defined the class",
        ),
    ],
)
def test_a_pickle_that_cannot_be_opened_says_why(folder, data, said):
    with pytest.raises(ProjectError, match=said):
        load_pickle(folder / "model.pkl", data)


# ── anew ────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_imported_from_a_folder_is_imported_again(folder):
    (folder / "parts").mkdir()
    (folder / "parts" / "helper.py").write_text("x = 1")
    first = loaded(folder / "model.py", "import parts.helper")
    assert set(imported(folder)) == {"model", "parts", "parts.helper"}
    with anew(folder):
        assert imported(folder) == {}
        second = load_python(folder / "model.py", (folder / "model.py").read_bytes())
    assert second is not first
    assert second.parts.helper is not first.parts.helper


def test_where_loading_fails_all_is_as_it_was(folder):
    (folder / "helper.py").write_text("x = 1")
    loaded(folder / "model.py", "import helper")
    before = imported(folder)
    (folder / "other.py").write_text("x = 1")
    with pytest.raises(ProjectError), anew(folder):
        loaded(folder / "model.py", "import helper, other\n1 / 0")
    assert imported(folder) == before
    assert set(before) == {"helper", "model"}


def test_what_is_installed_inside_of_a_folder_is_none_of_its_files(folder):
    inside = folder / "venv" / "site-packages"
    inside.mkdir(parents=True)
    loaded(inside / "installed_thing.py", "x = 1")
    assert imported(folder) == {}
    assert set(imported(inside)) == {"installed_thing"}
    del sys.modules["installed_thing"]


def test_fuseline_itself_is_never_forgotten():
    import fuseline

    source = Path(fuseline.__file__).parent.parent
    assert not [name for name in imported(source) if name.startswith("fuseline")]
