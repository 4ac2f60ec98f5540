from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.contract import Column, Contract
from fuseline.projects import Config, Source
from fuseline.serving.exchange import UNREADABLE, Columns, Exchange, batch
from fuseline.serving.served import Answered, Asked

AT = "2026-03-01T06:00:00+00:00"
CONTRACT = Contract(
    (
        Column("price", "number", True, 0, 9),
        Column("colour", "text", True, 0, 9, ("", "red")),
        Column("stars", "number", True, 0, 9),
    ),
    "id",
    None,
    "y",
    9,
)


def exchange(asked: Any, request: str = "r1", version: str = "v1", media_type: str = "", **more: Any) -> Exchange:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    answered = Answered(b'{"predictions": []}', **more)
    return Exchange.of(Asked(body, media_type or "application/json", request_id=request), answered, version, AT)


def columns(joined: frozenset[str] = frozenset(), **config: Any) -> Columns:
    return Columns(CONTRACT, Config("y", **{"id": "id", **config}), joined)


def rows(*exchanges: Exchange, known: Columns | None = None) -> list[dict[str, Any]]:
    data, _ = batch(exchanges, {"v1": known or columns()})
    return [json.loads(line) for line in data.splitlines()]


# ── lines ────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_holds_what_was_asked_and_answered() -> None:
    asked = Asked(b'{"price": 3}', query={"threshold": "0.7"}, request_id="r1")
    line = msgspec.json.encode(Exchange.of(asked, Answered(b'{"score": 0.5}'), "v0003", AT))
    assert json.loads(line) == {
        "at": AT,
        "request_id": "r1",
        "version": "v0003",
        "asked": {"price": 3},
        "answered": {"score": 0.5},
        "query": {"threshold": "0.7"},
    }
    back = msgspec.json.decode(line, type=Exchange)
    assert (back.asked_type, back.answered_type, back.query) == ("application/json",) * 2 + ({"threshold": "0.7"},)


NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([None, 0, 1, "\r\n", "\n\t"]), st.booleans())
def test_a_body_however_it_is_written_is_one_line_and_the_same_json(value: Any, indent: Any, ascii_only: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    line = msgspec.json.encode(exchange(body))
    assert b"\n" not in line and b"\r" not in line
    assert json.loads(line)["asked"] == value


def test_a_body_of_another_type_is_kept_as_it_is() -> None:
    data = bytes(range(256))
    found = Exchange.of(Asked(data, "image/png"), Answered(data, "text/html"), "v1", AT)
    line = json.loads(msgspec.json.encode(found))
    assert base64.b64decode(line["asked"]) == base64.b64decode(line["answered"]) == data
    assert (line["asked_type"], line["answered_type"]) == ("image/png", "text/html")


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_object_is_a_row_and_a_list_has_several() -> None:
    assert rows(exchange({"id": "a", "price": 3}), exchange([{"id": "b", "price": 4}, {"id": "c"}], "r2")) == [
        {"id": "a", "price": 3, "colour": None, "stars": None},
        {"id": "b", "price": 4, "colour": None, "stars": None},
        {"id": "c", "price": None, "colour": None, "stars": None},
    ]


def test_every_row_has_all_columns_of_the_model_and_no_other() -> None:
    (row,) = rows(exchange({"id": 1, "colour": "red", "foo": 1, "y": "yes"}))
    assert list(row) == ["id", "price", "colour", "stars"]


def test_a_row_without_an_id_is_named_by_its_request_and_place() -> None:
    found = rows(exchange([{"price": 1}, {"id": None}, {"id": " "}, {"id": ""}, {"id": 0}], "r7"))
    assert [row["id"] for row in found] == ["r7:0", "r7:1", "r7:2", "r7:3", 0]


def test_rows_of_requests_of_one_name_are_told_apart() -> None:
    found = rows(exchange({"price": 1}), exchange([{"price": 2}, {"id": "a"}]), exchange({"price": 3}, "r2"))
    assert [row["id"] for row in found] == ["r1:0", "r1~2:0", "a", "r2:0"]


def test_a_project_without_an_id_names_no_row_and_keeps_every_one() -> None:
    found = rows(exchange({"price": 1}), exchange({"price": 1}), known=columns(id=None))
    assert found == [{"price": 1, "colour": None, "stars": None}] * 2


def test_a_row_without_a_time_has_that_of_its_request() -> None:
    found = rows(exchange([{"id": 1, "t": "2026-02-01"}, {"id": 2}, {"id": 3, "t": ""}]), known=columns(time="t"))
    assert [row["t"] for row in found] == ["2026-02-01", AT, AT]


def test_a_column_that_is_id_and_time_at_once_is_an_id() -> None:
    (row,) = rows(exchange({"price": 1}), known=columns(id="t", time="t"))
    assert row["t"] == "r1:0"


def test_blank_text_is_null_but_where_training_saw_it() -> None:
    (row,) = rows(exchange({"id": 1, "price": " ", "colour": "", "stars": "\t"}))
    assert row == {"id": 1, "price": None, "colour": "", "stars": None}
    (row,) = rows(exchange({"id": 1, "colour": "  ", "price": " 3 ", "stars": "\\"}))
    assert row == {"id": 1, "price": " 3 ", "colour": None, "stars": "\\"}


def test_values_stay_as_they_were_written() -> None:
    body = b'{"id":"a","price":0.1000000000000000055511151231257827,"stars":12345678901234567890123,"colour":[1]}'
    data, _ = batch([exchange(body)], {"v1": columns()})
    assert b"0.1000000000000000055511151231257827" in data and b"12345678901234567890123" in data
    assert b'"colour":[1]' in data


def test_what_other_tables_give_is_left_to_them_and_the_keys_of_joins_are_kept() -> None:
    hotels = {"rows": Source("r.csv"), "hotels": Source("h.csv", "hotel")}
    known = columns(frozenset({"stars"}), sources=hotels)
    (row,) = rows(exchange({"id": 1, "hotel": "h1", "stars": 5}), known=known)
    assert row == {"id": 1, "price": None, "colour": None, "hotel": "h1"}


def test_of_an_id_that_comes_again_the_last_row_is_taken_and_that_is_said() -> None:
    asked = [exchange({"id": "17", "price": 1}), exchange([{"id": 18}, {"id": 17, "price": 2}]), exchange({"id": 17.0})]
    data, left_out = batch(asked, {"v1": columns()})
    assert [json.loads(line)["id"] for line in data.splitlines()] == [18, 17.0]
    assert left_out == ["2 of 4 rows, whose id comes again after them"]


@pytest.mark.parametrize("body", [b"3", b"null", b'"text"', b"[]", b"[1, null, [{}]]", b"{} "])
def test_of_a_body_only_objects_are_rows(body: bytes) -> None:
    assert len(rows(exchange(body))) == (body == b"{} ")


def test_an_object_among_other_things_keeps_its_place() -> None:
    assert [row["id"] for row in rows(exchange([1, {"price": 1}, None, {"price": 2}]))] == ["r1:1", "r1:3"]


def test_a_body_of_another_type_has_no_rows() -> None:
    assert rows(exchange({"id": 1}, media_type="multipart/form-data")) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b'{"id": 1}}', b"\xff", b"[" * 5000, b'{"a":' * 5000])
def test_a_body_that_is_not_json_costs_no_other_request_its_rows(body: bytes) -> None:
    data, left_out = batch([exchange(body, "bad"), exchange({"id": "a"})], {"v1": columns()})
    assert len(data.splitlines()) == 1
    assert len(left_out) == 1 and "request bad, which cannot be read" in left_out[0]
    with pytest.raises(UNREADABLE):
        columns().rows(exchange(body), "r1")


@pytest.mark.parametrize("id", [b"1e400", b"[1]", b"{}", b"true", b'"\\u00e9"'])
def test_an_odd_id_is_an_id(id: bytes) -> None:
    data, _ = batch([exchange(b'{"id": ' + id + b"}")] * 2, {"v1": columns()})
    assert len(data.splitlines()) == 1 and b'"id":' + id in data
