from __future__ import annotations

import datetime
import decimal
import json
import subprocess
import sys

import pandas as pd
import pytest

from fuseline.errors import DataError, SettingsError
from fuseline.serving.sent import sent
from fuseline.serving.served import File

FRAME = pd.DataFrame(
    {
        "n": [1.5, None],
        "t": ["a", None],
        "d": pd.to_datetime(["2026-03-08", None], utc=True),
        "m": [decimal.Decimal("1.20"), None],
        "day": [datetime.date(2026, 3, 8), None],
    }
)


@pytest.mark.parametrize("text", ['{"a": 1}', ' [{"a": 1}]', '[{"a"'])
def test_json_is_sent_as_it_is(text):
    found = sent(text)
    assert (found.body, found.media_type, found.form) == (text.encode(), "application/json", None)


def test_a_json_file_is_sent_as_it_is_even_if_it_is_broken(tmp_path):
    path = tmp_path / "rows.JSON"
    path.write_bytes(b'{"a": \xff')
    assert sent(str(path)).body == b'{"a": \xff'


def test_json_lines_become_a_list(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\n{"a": 2}')
    assert json.loads(sent(str(path)).body) == [{"a": 1}, {"a": 2}]
    path.write_bytes(b'{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2 is no JSON"):
        sent(str(path))


def test_a_csv_file_becomes_records_with_null_for_empty_cells(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("n,t,z\n1.5,a,007\n,,08\n")
    assert json.loads(sent(str(path)).body) == [{"n": 1.5, "t": "a", "z": "007"}, {"n": None, "t": None, "z": "08"}]


def test_a_parquet_file_becomes_records(tmp_path):
    path = tmp_path / "rows.parquet"
    FRAME.to_parquet(path)
    first, second = json.loads(sent(str(path)).body)
    assert first == {"n": 1.5, "t": "a", "d": "2026-03-08T00:00:00Z", "m": 1.2, "day": "2026-03-08"} | {"d": first["d"]}
    assert first["d"].startswith("2026-03-08T00:00:00")
    assert set(second.values()) == {None}


def test_any_other_file_is_the_field_file_of_a_form(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG")
    found = sent(str(path))
    assert (found.body, found.media_type) == (b"", "multipart/form-data")
    assert found.form == {"file": File(b"\x89PNG", "picture.png", "image/png")}


def test_a_form_has_fields_and_files(tmp_path):
    path = tmp_path / "notes"
    path.write_bytes(b"x")
    form = sent(None, ["width=20", "formula=a=b", f"image=@{path}", "empty="]).form
    assert form == {
        "width": "20",
        "formula": "a=b",
        "image": File(b"x", "notes", "application/octet-stream"),
        "empty": "",
    }


def test_a_file_and_fields_make_one_form(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG")
    assert list(sent(str(path), ["width=20"]).form) == ["file", "width"]


@pytest.mark.parametrize(
    ("given", "form", "said"),
    [
        ("nowhere.json", [], "no such file, and it is no JSON"),
        ("price=3", [], "no such file, and it is no JSON"),
        ('{"a": 1}', ["b=2"], "are two requests"),
        (None, ["width"], "expected NAME=VALUE, or NAME=@FILE"),
        (None, ["=3"], "expected NAME=VALUE, or NAME=@FILE"),
        (None, ["image=@nowhere.png"], "there is no such file"),
    ],
)
def test_what_cannot_be_sent_is_wrong_usage(given, form, said):
    with pytest.raises(SettingsError, match=said):
        sent(given, form)


def test_json_comes_from_stdin():
    code = "from fuseline.serving.sent import sent; print(sent('-').body)"
    run = subprocess.run([sys.executable, "-c", code], input=b"[1]", capture_output=True, check=True)
    assert run.stdout.decode().strip() == "b'[1]'"
