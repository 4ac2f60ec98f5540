from __future__ import annotations

from pathlib import Path

import pytest

from fuseline.errors import SettingsError
from fuseline.serving.script import FileSource
from fuseline.serving.target import open_target, split
from fuseline.settings import Settings

FORMS = "A TARGET is the name of a project, model.py, model.py:Class, model.py:object or model.joblib"


@pytest.fixture
def settings(tmp_path):
    """Projects `bookings` and `leads`, and a store that nobody has used."""
    for name in ("bookings", "leads"):
        folder = tmp_path / "projects" / name
        folder.mkdir(parents=True)
        (folder / "project.toml").write_text('target = "y"\n')
        (folder / "predict.py").write_text("def predict(data, artifacts): pass\n")
    return Settings(store=str(tmp_path / "store"), projects=tmp_path / "projects")


@pytest.fixture
def model(tmp_path):
    """A file to serve."""
    path = tmp_path / "model.py"
    path.write_text("def predict(data): return data\n")
    return path


@pytest.mark.parametrize(
    ("text", "place", "attribute"),
    [
        ("model.py", "model.py", ""),
        ("model.py:Model", "model.py", "Model"),
        ("model.py:model.inner", "model.py", "model.inner"),
        (r"C:\x\model.py", r"C:\x\model.py", ""),
        (r"C:\x\model.py:Model", r"C:\x\model.py", "Model"),
        ("C:/x/model.py", "C:/x/model.py", ""),
        ("C:model.py", "C:model.py", ""),
        ("model.py:", "model.py:", ""),
        ("model.py:1", "model.py:1", ""),
        ("bookings", "bookings", ""),
    ],
)
def test_a_target_is_split_at_the_colon_that_is_no_drives(text, place, attribute):
    assert split(text) == (place, attribute)


def test_a_file_is_a_source_that_is_not_loaded_yet(model, settings):
    model.write_text("1 / 0")
    source = open_target(f"{model}:Model", settings, ["predict=go"], "frame", True)
    assert isinstance(source, FileSource)
    assert (source.name, source.path, source.attribute) == ("model", model, "Model")
    assert (source.hooks, source.kind, source.reload, source.standing.served) == (("predict=go",), "frame", True, None)


def test_a_relative_path_means_the_folder_of_now(model, settings, monkeypatch):
    monkeypatch.chdir(model.parent)
    source = open_target("model.py", settings)
    assert isinstance(source, FileSource)
    assert source.path == model.resolve()
    assert Path.cwd() == model.parent


def test_a_folder_is_served_by_its_file_and_has_its_own_name(model, settings):
    folder = model.parent / "pricing"
    folder.mkdir()
    model.rename(folder / "predict.py")
    source = open_target(str(folder), settings)
    assert isinstance(source, FileSource)
    assert (source.name, source.path.name) == ("pricing", "predict.py")


@pytest.mark.parametrize("way", ["name", "path"])
def test_a_project_is_meant_by_its_name_or_its_folder(settings, way):
    text = "bookings" if way == "name" else str(settings.projects / "bookings")
    source = open_target(text, settings)
    assert (type(source).__name__, source.name) == ("Champion", "bookings")


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--hook", {"hooks": ["predict=x"]}),
        ("--takes", {"input": "frame"}),
        ("--reload", {"reload": True}),
        ("--digest", {"digest": "0" * 64}),
    ],
)
def test_options_of_files_do_not_go_with_a_project(settings, option, given):
    with pytest.raises(SettingsError, match=f"{option}: for a file only, and bookings is a project"):
        open_target("bookings", settings, **given)


def test_no_part_of_a_project_is_served(settings):
    with pytest.raises(SettingsError, match="bookings is a project, and is served whole: leave out :Model"):
        open_target(f"{settings.projects / 'bookings'}:Model", settings)


def test_a_name_that_means_a_project_and_a_folder_is_an_error(model, settings, monkeypatch):
    monkeypatch.chdir(model.parent)
    Path("leads").mkdir()
    assert open_target("leads", settings).name == "leads"
    model.rename(Path("leads") / "model.py")
    with pytest.raises(SettingsError, match=r"leads is a project .* and a folder with model\.py"):
        open_target("leads", settings)
    assert isinstance(open_target("./leads", settings), FileSource)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bokings", "bokings is neither a project nor a file. Did you mean 'bookings'? Projects in "),
        ("model", "model is neither a project nor a file. Did you mean 'model.py'?"),
        ("nothing", "projects: bookings, leads. "),
        ("modle.py", "modle.py: there is no such file. Did you mean 'model.py'? "),
        ("modle.py:Model", "modle.py:Model: there is no such file. Did you mean 'model.py'? "),
        ("nowhere/model.py", "there is no such file."),
        ("notes.txt", "notes.txt ends in .txt: expected .py, .joblib, .pkl, .pickle. "),
        ("empty", "empty is a folder without project.toml, predict.py or model.py. It has no Python file. "),
    ],
)
def test_what_cannot_be_served_is_an_error_that_says_what_can(model, settings, monkeypatch, text, said):
    monkeypatch.chdir(model.parent)
    Path("notes.txt").write_text("")
    Path("empty").mkdir()
    with pytest.raises(SettingsError) as told:
        open_target(text, settings)
    assert said in str(told.value)
    assert str(told.value).endswith(FORMS)


def test_a_wrong_kind_is_an_error_that_lists_the_kinds(model, settings):
    with pytest.raises(SettingsError, match=r"--takes fram: expected json, frame, .*\. Did you mean 'frame'"):
        open_target(str(model), settings, input="fram")


def test_a_digest_may_be_written_in_several_ways(model, settings):
    for text in ("a" * 64, "A" * 64, "sha256:" + "a" * 64):
        source = open_target(str(model), settings, digest=text)
        assert isinstance(source, FileSource)
        assert source.digest == "a" * 64
    with pytest.raises(SettingsError, match="expected a SHA-256"):
        open_target(str(model), settings, digest="abc")
