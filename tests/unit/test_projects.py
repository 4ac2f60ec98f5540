from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.bootstrap import line
from fuseline.breaker import Breaker
from fuseline.errors import ProjectError, SettingsError
from fuseline.projects import (
    Bounds,
    Config,
    Source,
    code_digest,
    load_module,
    module_name,
    parse_config,
    read_project,
)
from fuseline.settings import Settings

FULL = """
target = "status"
task = "binary"
positive = "cancelled"
id = "booking_id"
time = "booked_at"
drop = ["hotel_id"]

[sources.bookings]
path = "data/history.parquet"

[sources.hotels]
path = "store:shared/hotels.parquet"
join = "hotel_id"

[training]
max_rows = 5000
holdout = 0.3
seed = 7
timeout_hours = 2

[gate]
min = { auc = 0.7 }
max = { log_loss = 1 }
margin = 0.01

[breaker]
while_open = "fallback"
cool_down_hours = 12
max_cool_down_hours = 48
trials = 2
inconclusive_limit = 3

[checks]
tolerance = 0.03
max_rejected = 0.1
max_duplicate_ids = 0.0
expected_rows = 400
mean_batches_between_false_halts = 100

[labels]
min_rows = 300
on_halt = "withdraw"

[business]
revenue = { min = 0, max = 1e6 }

[schedule]
every_hours = 1
"""


def parse(text: str) -> Config:
    return parse_config({"target": "y", **tomllib.loads(text)})


def make(folder: Path, **files: str) -> Path:
    """A project folder with these files; `train` is train.py."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / ("project.toml" if name == "toml" else f"{name}.py")).write_text(text, encoding="utf-8")
    return folder


# ── project.toml ─────────────────────────────────────────────────────────────────────────────────


def test_only_the_target_is_needed() -> None:
    config = parse_config({"target": "y"})
    assert config == Config(target="y")
    assert (config.training.max_rows, config.training.holdout) == (200_000, 0.25)
    assert (config.breaker.while_open, config.labels.on_halt) == ("hold", "keep")


def test_every_key_is_read() -> None:
    config = parse_config(tomllib.loads(FULL))
    assert config.task == "binary" and config.positive == "cancelled" and config.drop == ("hotel_id",)
    assert config.sources == {
        "bookings": Source("data/history.parquet"),
        "hotels": Source("store:shared/hotels.parquet", "hotel_id"),
    }
    assert config.training.timeout_hours == 2.0 and config.training.seed == 7
    assert config.gate.min == {"auc": 0.7} and config.gate.max == {"log_loss": 1.0} and config.gate.margin == 0.01
    assert config.breaker.while_open == "fallback" and config.breaker.inconclusive_limit == 3
    assert config.checks.expected_rows == 400 and config.checks.max_duplicate_ids == 0.0
    assert config.labels.on_halt == "withdraw"
    assert config.business == {"revenue": Bounds(0.0, 1e6)}
    assert config.schedule.every_hours == 1.0


def test_the_order_of_sources_is_that_of_the_file() -> None:
    text = '[sources.z]\npath = "z.csv"\n[sources.a]\npath = "a.csv"\njoin = "k"\n'
    assert list(parse(text).sources) == ["z", "a"]


# ── a day that lasts a minute ────────────────────────────────────────────────────────────────────


def test_where_a_day_lasts_a_minute_cool_downs_and_the_schedule_shrink() -> None:
    config = parse_config(tomllib.loads(FULL))
    faster = config.in_time(60 / 86_400)
    assert faster.breaker.cool_down_hours * 3600 == pytest.approx(30)
    assert faster.breaker.max_cool_down_hours * 3600 == pytest.approx(120)
    assert faster.schedule.every_hours * 3600 == pytest.approx(2.5)
    hours = {"breaker": config.breaker, "schedule": config.schedule}
    assert replace(faster, **hours) == config  # nothing else changes: what a machine needs to train stays


def test_where_a_day_lasts_a_day_nothing_changes() -> None:
    config = parse_config(tomllib.loads(FULL))
    assert config.in_time(1.0) == config


def test_a_cool_down_of_a_day_and_a_half_is_over_after_so_many_seconds() -> None:
    policy = parse("[breaker]\ncool_down_hours = 36").in_time(60 / 86_400).breaker
    assert policy.trip(Breaker(), "2026-03-08T06:00:00+00:00").until == "2026-03-08T06:01:30+00:00"
    assert policy.trip(Breaker(trips=9), "2026-03-08T06:00:00+00:00").until == "2026-03-08T06:07:00+00:00"


def test_the_line_of_a_project_keeps_the_time_of_the_settings(tmp_path: Path) -> None:
    make(tmp_path / "projects" / "shop", toml='target = "y"\n[schedule]\nevery_hours = 12\n')
    settings = Settings(store="memory://", projects=tmp_path / "projects")
    assert line("shop", settings=settings).project.config.schedule.every_hours == 12.0
    faster = line("shop", settings=replace(settings, day_seconds=7_200)).project.config
    assert (faster.schedule.every_hours, faster.breaker.cool_down_hours) == (1.0, 2.0)
    assert faster.training.timeout_hours == Config("y").training.timeout_hours


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("tarining = {}", "tarining", "training"),
        ("brekaer = {}", "brekaer", "breaker"),
        ("[training]\nholduot = 0.2", "training.holduot", "holdout"),
        ("[gate]\nmargn = 0.2", "gate.margn", "margin"),
        ("[breaker]\ncooldown_hours = 2", "breaker.cooldown_hours", "cool_down_hours"),
        ("[checks]\nmax_rejcted = 0", "checks.max_rejcted", "max_rejected"),
        ("[labels]\nminrows = 20", "labels.minrows", "min_rows"),
        ("[schedule]\nevery_hour = 2", "schedule.every_hour", "every_hours"),
        ('[sources.a]\npth = "x"', "sources.a.pth", "path"),
        ("[business.revenue]\nmni = 2", "business.revenue.mni", "min"),
    ],
)
def test_an_unknown_key_is_named_and_the_near_one_suggested(text: str, key: str, near: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"unknown key '{key}'. Did you mean '{near}'?")):
        parse(text)


def test_a_key_that_is_near_to_nothing_is_named_without_a_guess() -> None:
    with pytest.raises(SettingsError, match=r"unknown key 'xyzzy'\.$"):
        parse("xyzzy = 1")


def test_without_a_target_the_error_says_what_it_is() -> None:
    with pytest.raises(SettingsError, match="here: the key 'target' is missing: the column that is to be predicted"):
        parse_config({"id": "x"}, "here")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("target = 3", "$.target"),
        ("positive = 1", "$.positive"),
        ("id = 1", "$.id"),
        ("time = true", "$.time"),
        ('drop = "x"', "$.drop"),
        ("drop = ['a', 1]", "$.drop[1]"),
        ("training = 3", "$.training"),
        ("training.max_rows = true", "$.training.max_rows"),
        ("training.max_rows = 10.5", "$.training.max_rows"),
        ("training.holdout = 'x'", "$.training.holdout"),
        ("training.seed = 'x'", "$.training.seed"),
        ("gate.min = 3", "$.gate.min"),
        ("gate.min.auc = 'x'", "$.gate.min"),
        ("checks.tolerance = 'x'", "$.checks.tolerance"),
        ("checks.expected_rows = 1.5", "$.checks.expected_rows"),
        ("labels.min_rows = 'x'", "$.labels.min_rows"),
        ("schedule.every_hours = '24'", "$.schedule.every_hours"),
        ("sources = [1]", "$.sources"),
        ("sources.hotels = 3", "sources.hotels"),
        ("sources.hotels = {}", "sources.hotels"),
        ("sources = {a = {path = 'x'}, hotels = {path = 3}}", "sources.hotels"),
        ("business.revenue = 3", "business.revenue"),
        ("business.revenue.min = 'x'", "business.revenue"),
    ],
)
def test_a_value_of_another_type_is_named_by_its_key(text: str, key: str) -> None:
    with pytest.raises(SettingsError, match=f"^project.toml: .*{re.escape(key)}") as caught:
        parse(text)
    assert "xpected" in str(caught.value) or "missing" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('task = "bianry"', "`$.task`; accepted are 'binary', 'multiclass', 'regression'"),
        ('breaker.while_open = "wait"', "`$.breaker.while_open`; accepted are 'hold', 'fallback'"),
        ('labels.on_halt = "drop"', "`$.labels.on_halt`; accepted are 'keep', 'withdraw'"),
    ],
)
def test_a_word_that_is_not_among_the_accepted_ones_lists_them(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        parse(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.holdout", "0.01"),
        ("training.holdout", "1.0"),
        ("training.holdout", "nan"),
        ("training.max_rows", "49"),
        ("training.seed", "-1"),
        ("training.timeout_hours", "0"),
        ("gate.margin", "-0.1"),
        ("gate.margin", "nan"),
        ("breaker.cool_down_hours", "-1"),
        ("breaker.max_cool_down_hours", "-1"),
        ("breaker.trials", "0"),
        ("breaker.inconclusive_limit", "0"),
        ("checks.tolerance", "-0.01"),
        ("checks.tolerance", "nan"),
        ("checks.max_rejected", "1.1"),
        ("checks.max_duplicate_ids", "-0.1"),
        ("checks.expected_rows", "0"),
        ("checks.mean_batches_between_false_halts", "0"),
        ("labels.min_rows", "9"),
        ("schedule.every_hours", "0"),
    ],
)
def test_a_value_out_of_its_range_is_named_with_the_range(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^project.toml: {re.escape(key)} = .* is outside of .* to "):
        parse(f"{key} = {value}")


def test_the_ends_of_a_range_are_inside() -> None:
    assert parse("training.holdout = 0.9\nchecks.max_rejected = 1\nlabels.min_rows = 10").training.holdout == 0.9


def test_every_source_but_the_first_needs_a_column_to_join_by() -> None:
    first = '[sources.rows]\npath = "r.csv"\n'
    with pytest.raises(SettingsError, match=r"\[sources.hotels\] needs `join`"):
        parse(f'{first}[sources.hotels]\npath = "h.csv"')
    assert parse(f'{first}[sources.hotels]\npath = "h.csv"\njoin = "k"').sources["hotels"].join == "k"


def test_the_tolerance_follows_the_task_unless_it_is_set() -> None:
    config = parse("")
    assert (config.tolerance("binary"), config.tolerance("multiclass"), config.tolerance("regression")) == (
        0.02,
        0.02,
        0.05,
    )
    assert parse("checks.tolerance = 0.0").tolerance("regression") == 0.0


def test_rows_without_an_id_column_are_named_in_row_id() -> None:
    assert parse("").id_column == "row_id"
    assert parse('id = "booking"').id_column == "booking"


# ── the folder ───────────────────────────────────────────────────────────────────────────────────


def test_a_project_is_read_from_its_folder(tmp_path: Path) -> None:
    make(tmp_path / "projects" / "hotels", toml='target = "y"', train="x = 1", helper="y = 2")
    project = read_project(tmp_path / "projects", "hotels")
    assert (project.name, project.root, project.config.target) == ("hotels", tmp_path.resolve(), "y")
    assert project.code() == {"helper.py": b"y = 2", "train.py": b"x = 1", "project.toml": b'target = "y"'}


def test_an_unknown_project_suggests_the_near_one_and_lists_all(tmp_path: Path) -> None:
    make(tmp_path / "hotels", toml='target = "y"')
    make(tmp_path / "claims", toml='target = "y"')
    with pytest.raises(SettingsError) as caught:
        read_project(tmp_path, "hotel")
    assert "no project 'hotel'" in str(caught.value)
    assert "Did you mean 'hotels'?" in str(caught.value)
    assert "claims, hotels" in str(caught.value)
    assert "`fuseline new hotel --from FILE --target COLUMN` makes one" in str(caught.value)


def test_an_unknown_project_in_an_empty_folder_says_that_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"Projects in {re.escape(str(tmp_path))}: none"):
        read_project(tmp_path, "hotel")


@pytest.mark.parametrize("data", [b"target = ", b'target = "M\xfcller"', b'target = "a"\ntarget = "b"'])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, data: bytes) -> None:
    make(tmp_path / "hotels")
    toml = tmp_path / "hotels" / "project.toml"
    toml.write_bytes(data)
    with pytest.raises(SettingsError, match=f"{re.escape(str(toml))} is not valid TOML"):
        read_project(tmp_path, "hotels")


def test_a_wrong_key_names_the_file_that_it_is_in(tmp_path: Path) -> None:
    make(tmp_path / "hotels", toml='targett = "y"')
    with pytest.raises(SettingsError, match=r"hotels.project.toml: unknown key 'targett'. Did you mean 'target'"):
        read_project(tmp_path, "hotels")


# ── train.py and predict.py ──────────────────────────────────────────────────────────────────────


def test_a_file_is_run_as_a_module_of_its_own(tmp_path: Path) -> None:
    make(tmp_path / "p", train="def train(data, target):\n    return data + target\n")
    module = load_module(tmp_path / "p" / "train.py", "p")
    assert module.__name__ == module_name("p", "train") == "fuseline_project_p_train"
    assert module.train(1, 2) == 3
    assert str(tmp_path / "p") not in sys.path


def test_a_missing_file_says_which_project_needs_it(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"train.py does not exist; project p needs it"):
        load_module(tmp_path / "train.py", "p")


def test_a_syntax_error_names_the_line_once(tmp_path: Path) -> None:
    make(tmp_path / "p", train="x = 1\ny = 2\ndef train(:\n    pass\n")
    with pytest.raises(ProjectError, match=r"train.py of project p cannot be imported: SyntaxError.*line 3") as caught:
        load_module(tmp_path / "p" / "train.py", "p")
    assert str(caught.value).count("line 3") == 1
    assert module_name("p", "train") not in sys.modules


def test_an_error_while_importing_names_the_line_of_the_file(tmp_path: Path) -> None:
    make(tmp_path / "p", train="import json\n\n\njson.loads('{')\n")
    with pytest.raises(ProjectError, match=r"cannot be imported: JSONDecodeError: .* \(train.py, line 4\)"):
        load_module(tmp_path / "p" / "train.py", "p")
    assert str(tmp_path / "p") not in sys.path


def test_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    make(tmp_path / "p", predict="import no_such_library_at_all\n")
    with pytest.raises(ProjectError, match=r"No module named 'no_such_library_at_all' \(predict.py, line 1\)"):
        load_module(tmp_path / "p" / "predict.py", "p")


def test_a_file_can_import_the_files_beside_it(tmp_path: Path) -> None:
    make(tmp_path / "p", train="from beside_p import NUMBER\n", beside_p="NUMBER = 7\n")
    assert load_module(tmp_path / "p" / "train.py", "p").NUMBER == 7


def test_two_folders_each_get_their_own_file_of_the_same_name(tmp_path: Path) -> None:
    make(tmp_path / "p", train="from beside_us import NUMBER\n", beside_us="NUMBER = 7\n")
    make(tmp_path / "q", train="from beside_us import NUMBER\n", beside_us="NUMBER = 8\n")
    assert load_module(tmp_path / "p" / "train.py", "p").NUMBER == 7
    assert load_module(tmp_path / "q" / "train.py", "q").NUMBER == 8
    assert load_module(tmp_path / "p" / "train.py", "p").NUMBER == 7


def test_a_file_beside_does_not_take_the_place_of_a_library(tmp_path: Path) -> None:
    make(tmp_path / "p", train="import json\nNAME = json.__file__\n", json="", pathlib="")
    module = load_module(tmp_path / "p" / "train.py", "p")
    assert str(tmp_path) not in module.NAME
    assert sys.modules["pathlib"].Path is Path


def test_pickles_of_classes_defined_in_train_find_them_again(tmp_path: Path) -> None:
    make(tmp_path / "p", train="class Scale:\n    by = 3\n")
    data = pickle.dumps(load_module(tmp_path / "p" / "train.py", "p").Scale())
    del sys.modules[module_name("p", "train")]
    again = load_module(tmp_path / "p" / "train.py", "p")
    assert pickle.loads(data).by == 3
    assert type(pickle.loads(data)) is again.Scale


def test_pickles_of_classes_defined_in_train_are_found_by_another_process(tmp_path: Path) -> None:
    folder = make(tmp_path / "p", train="class Scale:\n    by = 3\n")
    (tmp_path / "scale.pickle").write_bytes(pickle.dumps(load_module(folder / "train.py", "p").Scale()))
    code = (
        "import pickle, sys; from pathlib import Path; from fuseline.projects import load_module\n"
        "load_module(Path(sys.argv[1]), 'p'); print(pickle.loads(Path(sys.argv[2]).read_bytes()).by)"
    )
    arguments = [str(folder / "train.py"), str(tmp_path / "scale.pickle")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_a_relative_path_loads_as_well(tmp_path: Path) -> None:
    make(tmp_path / "p", train="from beside_rel import NUMBER\n", beside_rel="NUMBER = 7\n")
    relative = Path(os.path.relpath(tmp_path / "p"))
    assert load_module(relative / "train.py", "p").NUMBER == 7


# ── the digest of the code ───────────────────────────────────────────────────────────────────────


def test_the_digest_of_code_is_this_number() -> None:
    expected = "744c18756eaa43ea1320bd5bbb098b9da288bccedc5094b3210acfa04227e70e"
    assert code_digest({"train.py": b"x = 1", "predict.py": b""}) == expected


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.binary(max_size=4), min_size=2, max_size=4))
def test_the_digest_of_code_does_not_depend_on_the_order(code: dict[str, bytes]) -> None:
    assert code_digest(code) == code_digest(dict(reversed(code.items())))


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_the_digest_of_code_tells_files_apart(one: bytes, other: bytes) -> None:
    same = code_digest({"a": one, "b": other}) == code_digest({"a": other, "b": one})
    assert same == (one == other)
    assert code_digest({"a": one}) != code_digest({"b": one})
    assert code_digest({"a": one + other}) != code_digest({"a": one, "b": other})
