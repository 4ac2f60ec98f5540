from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseline.errors import DataError, SettingsError
from fuseline.projects import Project, read_project
from fuseline.scaffold import create
from fuseline.training import call_train

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that holds `projects/` and `data/`."""
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def new(root, rows):
    """`new(frame, name, **options)`: make a project of a frame; returns what was told and the project."""

    def make(frame: pd.DataFrame | pa.Table | None = None, name: str = "shop", **options: str):
        path = root / "data" / "history.parquet"
        if isinstance(frame, pa.Table):
            pq.write_table(frame, path)
        else:
            (rows(300, 1) if frame is None else frame).to_parquet(path, index=False)
        told = create(root / "projects", name, path, **{"target": "bought", **options})
        return told, read_project(root / "projects", name)

    return make


def trained(project: Project, frame: pd.DataFrame):
    """What the written train.py makes of rows, given as Fuseline gives them."""
    config = project.config
    apart = {config.target, config.id, config.time, *config.drop}
    data = frame[[c for c in frame.columns if c not in apart]]
    return call_train(project, data, frame[config.target])["model"], data


def test_the_project_says_what_was_found_and_what_to_do_next(new, root):
    told, project = new()
    assert told == [
        f"{root}/data/history.parquet: 300 rows, 3 features",
        told[1],
        "id id",
        f"wrote project.toml, train.py and predict.py in {root}/projects/shop",
        "next: fuseline check shop, then fuseline train shop",
    ]
    assert told[1].startswith("target bought: binary, ")
    assert (project.config.target, project.config.task, project.config.id) == ("bought", "binary", "id")
    assert project.config.sources["shop"].path == "data/history.parquet"


def test_the_written_model_copes_with_unseen_categories_and_new_nulls(new, rows):
    frame = rows(300, 1)
    _, project = new(frame)
    model, data = trained(project, frame)
    odd = data.head(3).copy()
    odd["colour"] = ["mauve", None, "red"]
    odd["price"] = [np.nan, 1e9, 20.0]
    scores = model.predict_proba(odd)
    assert scores.shape == (3, 2)
    assert np.isfinite(scores).all()


def test_without_text_the_written_file_is_one_line_of_work(new, rows):
    frame = rows(300, 1).drop(columns="colour")
    _, project = new(frame)
    model, data = trained(project, frame)
    assert len(model.predict(data)) == 300
    assert "Pipeline" not in type(model).__name__


def test_a_number_with_many_values_is_a_regression(new, rows):
    frame = rows(300, 1)
    told, project = new(frame, target="price")
    assert project.config.task == "regression"
    assert told[1].startswith("target price: regression, ")
    model, data = trained(project, frame)
    assert np.isfinite(model.predict(data)).all()


def test_names_with_quotes_backslashes_and_other_alphabets_survive(new, rows):
    odd = 'größe "in\\cm"\x7f'
    frame = rows(300, 1).rename(columns={"colour": odd, "bought": 'a "b" \\ c'})
    _, project = new(frame, target='a "b" \\ c')
    assert project.config.target == 'a "b" \\ c'
    model, data = trained(project, frame)
    assert odd in data
    assert len(model.predict(data)) == 300


def test_many_text_columns_are_listed_one_to_a_line(new, rows):
    frame = rows(300, 1)
    for i in range(12):
        frame[f"a_text_column_{i}"] = frame["colour"]
    _, project = new(frame)
    assert '\n    "a_text_column_7",\n' in (project.folder / "train.py").read_text()


def test_what_no_model_takes_is_left_out_and_said(new, rows):
    frame = rows(300, 1)
    frame["note"] = [f"note {i}" for i in range(300)]
    frame["day"] = [date(2026, 1, 1 + i % 28) for i in range(300)]
    frame["tags"] = [["a", "b"]] * 300
    frame["nothing"] = pd.Series([None] * 300, dtype=object)
    frame["paid"] = (frame["bought"] == "yes").astype(float)
    told, project = new(frame)
    assert set(project.config.drop) == {"note", "day", "tags", "nothing"}
    assert "left out: note (free text: over 200 values)" in told
    assert "left out: nothing (empty)" in told
    assert any(line.startswith("left out: tags (holds list") for line in told)
    assert 'if day orders the rows, say so in project.toml: time = "day"' in told
    model, data = trained(project, frame)
    assert len(model.predict(data)) == 300


def test_a_date_that_is_named_as_the_time_is_not_asked_for_again(new, rows):
    frame = rows(300, 1)
    frame["day"], frame["end"] = date(2026, 1, 1), date(2026, 1, 2)
    told, project = new(frame, time="day")
    assert (project.config.time, project.config.drop) == ("day", ("end",))
    assert not any("orders the rows" in line for line in told)


def test_a_column_that_is_the_outcome_in_disguise_is_left_out(new, rows):
    frame = rows(300, 1)
    frame["price_capped"] = frame["price"].clip(upper=frame["price"].quantile(0.995))
    frame["constant"] = 1.0
    frame["hollow"] = np.where(np.arange(300) < 299, np.nan, 1.0)
    told, project = new(frame, target="price")
    assert project.config.drop == ("price_capped",)
    assert "left out: price_capped (orders the rows as price does: known only afterwards?)" in told


@pytest.mark.parametrize("name", ["booking_id", "Claim Number", "customerId", "order no"])
def test_a_unique_column_that_is_called_an_id_is_the_id(name, new, rows):
    _, project = new(rows(300, 1).rename(columns={"id": name}))
    assert project.config.id == name


def test_an_id_that_repeats_or_has_nulls_or_is_the_time_is_no_id(new, rows):
    frame = rows(300, 1).rename(columns={"id": "first_id"})
    frame.loc[0, "first_id"] = None
    frame["second_id"] = np.arange(300) // 2
    frame["third_id"] = np.arange(300, dtype=float) / 7
    frame["fourth_id"] = np.arange(300)
    told, project = new(frame, time="fourth_id")
    assert (project.config.id, project.config.time) == (None, "fourth_id")
    assert "id: none found, so rows are named <batch>:<row number> in the column row_id" in told


def test_a_source_far_away_is_named_by_its_whole_path(tmp_path, rows):
    source = tmp_path / "history.csv"
    rows(100, 1).to_csv(source, index=False)
    near, far = tmp_path / "work" / "projects", tmp_path / "a" / "b" / "projects"
    for projects in (near, far):
        create(projects, "shop", source, "bought")
    assert read_project(near, "shop").config.sources["shop"].path == "../history.csv"
    assert read_project(far, "shop").config.sources["shop"].path == str(source)


@pytest.mark.parametrize("name", ["Shop", "1shop", "../shop", "my shop", ""])
def test_a_name_that_is_no_folder_and_no_module_is_refused(name, new):
    with pytest.raises(SettingsError, match="is no project name"):
        new(name=name)


def test_a_name_that_is_taken_is_refused_and_nothing_is_overwritten(new):
    _, project = new()
    (project.folder / "train.py").write_text("mine")
    with pytest.raises(SettingsError, match="exists already"):
        new()
    assert (project.folder / "train.py").read_text() == "mine"


def test_a_file_that_is_not_there_is_said(root):
    with pytest.raises(SettingsError, match=r"--from: .* is not a file"):
        create(root / "projects", "shop", root / "nothing.parquet", "bought")


@pytest.mark.parametrize("option", ["target", "id", "time"])
def test_a_column_that_is_not_there_is_said_with_the_option_and_the_near_one(option, new, root):
    with pytest.raises(SettingsError) as error:
        new(**{option: "pryce"})
    assert str(error.value) == (
        f"--{option}: history.parquet has no column 'pryce'. Did you mean 'price'? "
        "It has: id, price, age, colour, bought"
    )
    assert not (root / "projects").exists()


def test_a_column_that_is_like_none_is_said_without_a_guess(new):
    with pytest.raises(SettingsError, match=r"has no column 't'\. It has: id, price"):
        new(time="t")


def test_one_column_cannot_be_two_things(new):
    with pytest.raises(SettingsError, match="--time and --id name the same column 'id'"):
        new(id="id", time="id")


def test_a_target_with_one_value_or_none_cannot_be_learned(new, rows):
    with pytest.raises(DataError, match="holds only the value 'yes': nothing can be learned"):
        new(rows(100, 1).assign(bought="yes"))
    with pytest.raises(DataError, match="holds only nulls: nothing can be learned"):
        new(rows(100, 1).assign(bought=pd.Series([None] * 100, dtype=object)))


def test_a_target_that_is_a_date_or_a_list_cannot_be_predicted(new, rows):
    frame = rows(100, 1)
    frame["day"], frame["tags"] = date(2026, 1, 1), [["a"]] * 100
    for target in ("day", "tags"):
        with pytest.raises(DataError, match="expected numbers, text or booleans"):
            new(frame, target=target)


def test_a_target_of_categories_or_booleans_is_classified(new, rows):
    frame = rows(300, 1)
    frame["bought"] = pd.Categorical(frame["bought"])
    assert new(frame)[1].config.task == "binary"
    frame["flag"] = frame["price"] > 100
    told, project = new(frame, name="other", target="flag")
    assert project.config.task == "binary"
    assert "flag: binary" in told[1]


def test_a_target_that_is_a_name_is_no_class(new):
    with pytest.raises(DataError, match="is text with 300 different values; expected numbers, or at most 50 classes"):
        new(target="id")


def test_rows_without_a_feature_are_refused(new, rows, root):
    frame = rows(100, 1)[["id", "bought"]]
    with pytest.raises(DataError, match="no column to learn from beside bought, id"):
        new(frame)
    frame = rows(300, 1)[["id", "bought"]].assign(note=[f"note {i}" for i in range(300)])
    with pytest.raises(
        DataError, match=r"no column that a model could learn from: note \(free text: over 200 values\)"
    ):
        new(frame)
    assert not (root / "projects").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data, which is not here")
@pytest.mark.parametrize(
    ("file", "target", "time", "task"),
    [
        ("elec2.parquet", "target", "t", "binary"),
        ("bank.parquet", "target", None, "binary"),
        ("ausprivauto.parquet", "target", None, "regression"),
        ("claims.csv", "Incurred", None, "regression"),
    ],
)
def test_real_files_make_projects_that_can_be_read(file, target, time, task, tmp_path):
    create(tmp_path / "projects", "real", SHARED / file, target, time=time)
    config = read_project(tmp_path / "projects", "real").config
    assert (config.task, config.target, config.time) == (task, target, time)
    assert ("Capped Incurred" in config.drop) == (file == "claims.csv")
    tomllib.loads((tmp_path / "projects" / "real" / "project.toml").read_text())
