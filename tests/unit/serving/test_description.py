"""What a client is told of a model."""

from __future__ import annotations

import json
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from fuseline.contract import Column, Contract, learn
from fuseline.serving.description import LEVELS, describe
from fuseline.serving.served import encode

LIMITS = {"rows": 100, "body_bytes": 1_000, "seconds": 30.0}
ROWS = {
    "id": ["a", "b", "c"],
    "nights": [1.0, 3.0, None],
    "price": [12.5, 99.25, 40.0],
    "channel": ["web", "agent", "web"],
    "member": [True, False, True],
    "arrival": [datetime(2026, 3, day) for day in (1, 2, 9)],
    "booked": [datetime(2026, 1, day, 10, 33, 5, 700) for day in (1, 2, 9)],
}


def model(contract: Contract | None, example: Any = None, **more: Any) -> Any:
    facts = {"name": "bookings", "version": "v0003", "mode": "champion", "reason": "", "contract": contract}
    return SimpleNamespace(**{**facts, "example": lambda: example, **more})


def told(contract: Contract | None, example: Any = None, **more: Any) -> dict[str, Any]:
    return describe(model(contract, example, **more), 0.7, LIMITS)


@pytest.fixture(scope="module")
def columns() -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in told(learn(pa.table(ROWS), id="id"))["columns"]}


def test_it_says_who_answers_and_within_which_limits():
    said = told(learn(pa.table(ROWS), id="id"), {"nights": 3}, task="binary")
    assert (said["name"], said["version"]) == ("bookings", "v0003")
    assert (said["mode"], said["reason"], said["task"], said["id"]) == ("champion", "", "binary", "id")
    assert (said["threshold"], said["limits"], said["example"]) == (0.7, LIMITS, {"nights": 3})


def test_it_is_json():
    said = told(learn(pa.table(ROWS), id="id"))
    assert json.loads(encode(said)) == said


def test_columns_come_in_the_order_of_training_and_the_id_is_none(columns):
    assert list(columns) == ["nights", "price", "channel", "member", "arrival", "booked"]


def test_numbers_have_their_range_and_whole_numbers_are_whole(columns):
    nights, price = columns["nights"], columns["price"]
    assert (nights["low"], nights["high"], nights["nullable"], nights["levels"]) == (1.0, 3.0, True, None)
    assert (nights["default"], str(nights["default"])) == (1, "1")
    assert (price["default"], price["examples"], price["nullable"]) == (12.5, [12.5, 99.25, 40], False)


def test_text_has_its_levels(columns):
    assert columns["channel"]["levels"] == ["agent", "web"]
    assert (columns["channel"]["levels_left_out"], columns["channel"]["default"]) == (0, "agent")


def test_booleans_are_booleans(columns):
    assert columns["member"]["examples"] == [True, False]


def test_days_are_days_and_moments_are_to_the_second(columns):
    arrival, booked = columns["arrival"], columns["booked"]
    assert (arrival["low"], arrival["high"], arrival["default"]) == ("2026-03-01", "2026-03-09", "2026-03-01")
    assert (booked["low"], booked["high"]) == ("2026-01-01T10:33:05", "2026-01-09T10:33:05")
    assert booked["default"] == "2026-01-01T10:33:05"


def test_dates_before_1970_are_dates():
    born = learn(pa.table({"born": [datetime(1931, 5, 17), datetime(1999, 1, 1)]}))
    assert told(born)["columns"][0]["low"] == "1931-05-17"


def test_the_values_of_the_example_are_the_defaults():
    columns = told(learn(pa.table(ROWS), id="id"), [{"nights": 2, "channel": None}])["columns"]
    assert [column["default"] for column in columns][:3] == [2, 12.5, None]


def test_a_date_of_the_example_is_brought_to_the_same_form():
    arrival, booked = told(
        learn(pa.table({name: ROWS[name] for name in ("arrival", "booked")})),
        {"arrival": "2026-03-02 00:00:00.000000000", "booked": "2026-01-02 08:00:00"},
    )["columns"]
    assert (arrival["default"], booked["default"]) == ("2026-03-02", "2026-01-02T08:00:00")


def test_several_scores_are_named():
    assert told(None, score_names=("score_a", "score_b"))["scores"] == ["score_a", "score_b"]
    assert told(None)["scores"] == []


def test_a_column_of_which_training_saw_no_value_has_no_default():
    (column,) = told(Contract((Column("x", "number", True, 9, 9),), None, None, None, 9))["columns"]
    assert (column["low"], column["high"], column["examples"], column["default"]) == (None, None, [], None)


def test_many_levels_are_cut_and_counted():
    levels = tuple(f"c{i:03}" for i in range(LEVELS + 7))
    (column,) = told(Contract((Column("x", "text", True, 0, 9, levels),), None, None, None, 9))["columns"]
    assert (len(column["levels"]), column["levels_left_out"]) == (LEVELS, 7)


def test_a_plain_file_has_no_columns():
    said = told(None, {"text": "hello"}, mode="file", kind="json")
    assert (said["columns"], said["id"], said["task"], said["files"]) == (None, None, None, False)
    assert said["example"] == {"text": "hello"}


def test_a_plain_file_that_reads_bytes_takes_files():
    assert told(None, kind="bytes")["files"]
