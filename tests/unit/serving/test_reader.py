from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.contract import Column, Contract, check
from fuseline.serving.bounds import Bounds
from fuseline.serving.problem import Problem
from fuseline.serving.reader import Reader


def column(name: str, kind: Any, levels: tuple[str, ...] | None = None) -> Column:
    return Column(name, kind, True, 1, 10, levels)


CONTRACT = Contract(
    (
        column("price €", "number"),
        column("member", "boolean"),
        column("kind", "text", ("a", "b")),
        column("day", "datetime"),
    ),
    id="id",
    time=None,
    target="y",
    rows=10,
    ignored=("note",),
)
READER = Reader(CONTRACT)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.sampled_from(["1.5", " 2 ", "yes", "2026-03-01", "2026-03-01T06:00:00Z", "", "inf", "a"]),
)  # fmt: skip
RECORD = st.dictionaries(st.sampled_from(["price €", "member", "kind", "day", "id", "note", "other"]), ODD, max_size=7)


def read(body: Any, reader: Reader = READER):
    return reader.read(json.dumps(body).encode())


def refusal(body: bytes, reader: Reader = READER) -> Problem:
    with pytest.raises(Problem) as caught:
        reader.read(body)
    return caught.value


def test_plain_values_come_in_the_contracts_order():
    rows = read([{"kind": "a", "price €": 2}, {"day": "2026-03-01", "member": True}])
    assert [list(column) for column in rows.columns[:3]] == [[2.0, None], [None, True], ["a", None]]
    assert list(rows.columns[3]) == [None, np.datetime64("2026-03-01", "ns")]
    assert (rows.count, list(rows.kept), rows.faults, rows.extra) == (2, [0, 1], (), ())


@settings(deadline=None, max_examples=150)
@given(st.lists(RECORD, min_size=1, max_size=6))
def test_a_row_is_read_the_same_alone_and_among_others(records):
    together = read(records)
    for i, record in enumerate(records):
        alone = read([record])
        assert bool(alone.kept) == (i in together.kept)
        if alone.kept:
            place = list(together.kept).index(i)
            assert [c[0] for c in alone.columns] == [c[place] for c in together.columns]
        assert [f.column for f in alone.faults] == [f.column for f in together.faults if f.row == i]


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(["price €", "member", "kind", "day"]), ODD, min_size=1))
def test_a_value_becomes_what_it_becomes_in_a_batch(record):
    rows = read([{"price €": 0.5, "id": "1", **record}])
    values = {"price €": 0.5, "id": "1", **record}
    blank = {n: None if isinstance(v, str) and not v.strip() else v for n, v in values.items()}
    if any(isinstance(v, int) and abs(v) >= 2**63 for v in blank.values()):
        return  # no file of rows has them
    batch = pa.RecordBatch.from_pydict({n: [blank.get(n)] for n in (*CONTRACT.names, "id")})
    checked = check(batch, CONTRACT)
    if all(blank.get(n) is None for n in CONTRACT.names):
        return  # a batch has such rows, a request is refused
    assert bool(rows.kept) == bool(checked.accepted.num_rows), (rows.faults, checked.rejected.to_pylist())
    if rows.kept:
        frame = READER.frame(rows)
        for name in ("price €", "member"):
            wanted = checked.accepted.column(name)[0].as_py()
            found = frame[name][0]
            assert (wanted is None and math.isnan(found)) or wanted == found
        assert checked.accepted.column("kind")[0].as_py() == frame["kind"][0]
    else:
        reasons = checked.rejected.column("reason")[0].as_py().split("; ")
        assert [f.reason.split(":")[0] for f in rows.faults] == [reason.split(":")[0] for reason in reasons]


def test_a_whole_number_beyond_a_machines_is_a_number_and_text():
    rows = read({"price €": 10**30, "kind": 10**30})
    assert [c[0] for c in rows.columns[:3]] == [1e30, None, str(10**30)]
    assert [f.column for f in read({"price €": 10**400, "kind": "a"}).faults] == ["price €"]


def test_blank_text_is_null_unless_training_had_it_as_a_level():
    assert read({"kind": " ", "price €": 1}).columns[2] == [None]
    reader = Reader(Contract((column("kind", "text", ("", "a")),), None, None, None, 10))
    assert list(reader.read(b'{"kind": ""}').columns[0]) == [""]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "not-json"),
        (b"price=3", "not-json"),
        (b"[", "not-json"),
        (b'{"price \xe2\x82\xac": NaN}', "not-json"),
        (b'{"price \xe2\x82\xac": -Infinity}', "not-json"),
        (b'{"kind": 1e999}', "not-json"),
        (b"\xff\xfe{}", "not-json"),
        (b'{"kind": "\xff"}', "not-json"),
        (b"[]", "no-rows"),
        (b"3", "bad-input"),
        (b'"text"', "bad-input"),
        (b"null", "bad-input"),
        (b"[1, null]", "bad-rows"),
        (b"[[]]", "bad-rows"),
        (b"[" * 100_000 + b"]" * 100_000, "nested-too-deep"),
        (b'{"kind": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested-too-deep"),
        (b'{"kind": ' + b"[" * 17 + b"]" * 17 + b"}", "nested-too-deep"),
        (b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested-too-deep"),
    ],
)
def test_what_is_no_list_of_records_is_refused(body, kind):
    problem = refusal(body)
    assert problem.kind == kind and 400 <= problem.status < 500


def test_a_million_keys_are_refused_with_the_limit():
    problem = refusal(json.dumps({f"k{i}": 1 for i in range(1_000_000)}).encode())
    assert problem.kind == "too-large" and "10,000" in problem.detail


def test_too_many_rows_are_refused_with_the_limit():
    problem = refusal(b"[" + b",".join([b'{"kind":"a"}'] * 11) + b"]", Reader(CONTRACT, bounds=Bounds(rows=10)))
    assert problem.kind == "too-large" and problem.more == {"limit": 10}


def test_columns_of_a_tensor_have_null_for_nan_and_no_infinity():
    rows = READER.columns({"price €": np.array([1.0, math.nan, math.inf]), "kind": ["a", "b", "c"], "x": [1, 2, 3]}, 3)
    assert (list(rows.kept), rows.columns[0], rows.extra) == ([0, 1], [1.0, None], ("x",))
    assert [(f.row, f.column) for f in rows.faults] == [(2, "price €")]
