from __future__ import annotations

import datetime as dt
import decimal
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.casts import as_numbers, kind_of, text_ids, to_kind
from fuseline.contract import Checked, ColumnCounts, Contract, check, compare_schema, learn
from fuseline.errors import ArtifactError, ContractBroken

TRAINING = pa.table(
    {
        "booking_id": ["a", "b", "c", "d"],
        "price_eur": [10.0, 20.0, 30.0, 40.0],
        "nights": pa.array([1, None, 3, 4], pa.int64()),
        "channel": ["web", "app", None, "web"],
        "paid": [True, False, True, None],
        "booked_at": [dt.datetime(2026, 1, d) for d in (1, 2, 3, 4)],
        "arrives": [dt.datetime(2026, 2, d) for d in (1, 2, 3, 4)],
        "note": ["x", None, "y", "z"],
        "status": ["kept", "cancelled", "kept", "kept"],
    }
)
CONTRACT = learn(TRAINING, id="booking_id", time="booked_at", target="status", drop=["note"])
GOOD: dict[str, Any] = {
    "booking_id": ["e", "f", "g"],
    "price_eur": [11.0, 12.0, 13.0],
    "nights": [1.0, 2.0, None],
    "channel": ["web", None, "app"],
    "paid": [True, None, False],
    "arrives": [dt.datetime(2026, 2, 1), dt.datetime(2026, 2, 2), dt.datetime(2026, 2, 3)],
}


def batch(**changes: Any) -> pa.RecordBatch:
    columns = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    return pa.RecordBatch.from_pydict({k: v if isinstance(v, pa.Array) else pa.array(v) for k, v in columns.items()})


def reasons(checked: Checked) -> dict[int, str]:
    return dict(zip(*(checked.rejected.column(i).to_pylist() for i in (0, 1)), strict=True))


def number(values: Any) -> tuple[list[float | None], list[int]]:
    array, bad = to_kind(values, "number")
    return array.to_pylist(), bad.tolist()


# ── learning ────────────────────────────────────────────────────────────────────────────────────


def test_features_are_what_is_neither_id_time_target_nor_dropped() -> None:
    assert CONTRACT.names == ("price_eur", "nights", "channel", "paid", "arrives")
    assert [c.kind for c in CONTRACT.columns] == ["number", "number", "text", "boolean", "datetime"]
    assert CONTRACT.text == ("channel",)
    assert CONTRACT.ignored == ("note",)
    assert CONTRACT.wanted == (*CONTRACT.names, "booking_id", "booked_at")


def test_a_contract_knows_nulls_ranges_levels_and_examples() -> None:
    price, nights, channel = (CONTRACT.column(n) for n in ("price_eur", "nights", "channel"))
    assert (price.low, price.high, price.nullable) == (10.0, 40.0, False)
    assert (nights.nullable, nights.nulls, nights.rows) == (True, 1, 4)
    assert channel.levels == ("app", "web")
    assert price.examples == ("10", "20", "30")
    assert CONTRACT.column("arrives").low == dt.datetime(2026, 2, 1, tzinfo=dt.UTC).timestamp()


def test_more_than_two_hundred_levels_are_free_text() -> None:
    levels = learn(pa.table({"t": [f"v{i}" for i in range(200)]})).column("t").levels
    assert levels is not None and len(levels) == 200
    assert learn(pa.table({"t": [f"v{i}" for i in range(201)]})).column("t").levels is None


def test_a_contract_survives_json() -> None:
    assert Contract.from_json(json.loads(json.dumps(CONTRACT.to_json()))) == CONTRACT


def test_a_newer_or_broken_contract_is_refused() -> None:
    with pytest.raises(ArtifactError, match="format 2"):
        Contract.from_json({**CONTRACT.to_json(), "format": 2})
    with pytest.raises(ArtifactError, match="not a contract"):
        Contract.from_json({"columns": 3})


def test_record_batches_and_a_table_give_the_same_contract() -> None:
    args = {"id": "booking_id", "time": "booked_at", "target": "status", "drop": ["note"]}
    assert learn(TRAINING.to_batches(max_chunksize=2), **args) == CONTRACT
    assert learn(TRAINING.to_batches()[0], **args) == CONTRACT


def test_the_target_need_not_be_among_the_rows() -> None:
    without = TRAINING.drop_columns(["status"])
    assert learn(without, id="booking_id", time="booked_at", target="status", drop=["note"]) == CONTRACT


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (TRAINING.slice(0, 0), {}, "no training rows"),
        (TRAINING, {"id": "boking_id"}, "did you mean 'booking_id'"),
        (TRAINING.select(["booking_id"]), {"id": "booking_id"}, "no column is left"),
        (pa.table({"x": [[1], [2]]}), {}, "list<.*drop"),
    ],
)
def test_rows_that_no_model_can_learn_from_are_refused(table: pa.Table, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        learn(table, **options)


def test_an_unknown_column_is_named_with_its_neighbour() -> None:
    with pytest.raises(ContractBroken, match="did you mean 'nights'"):
        CONTRACT.column("night")


def test_columns_without_a_value_are_learned() -> None:
    contract = learn(pa.table({"x": pa.nulls(3, pa.float64()), "t": pa.nulls(3)}))
    assert contract.column("x").low is None
    assert contract.column("t").levels == ()


def test_infinite_training_values_do_not_widen_the_range() -> None:
    column = learn(pa.table({"x": [1.0, float("inf"), 3.0, -float("inf")]})).column("x")
    assert (column.low, column.high) == (1.0, 3.0)


# ── good rows ───────────────────────────────────────────────────────────────────────────────────


def test_good_rows_come_out_in_the_columns_and_types_of_the_contract() -> None:
    checked = check(batch(extra=[1, 2, 3], booked_at=[1, 2, 3]), CONTRACT, first_row=100)
    assert checked.accepted.schema.names == [*CONTRACT.names, "booking_id", "booked_at"]
    double, text = pa.float64(), pa.dictionary(pa.int32(), pa.string())
    assert checked.accepted.schema.types[:5] == [double, double, text, double, pa.timestamp("ns")]
    assert checked.accepted.column("paid").to_pylist() == [1.0, None, 0.0]
    assert checked.rows.tolist() == [100, 101, 102]
    assert (checked.rejected.num_rows, checked.extra, checked.missing) == (0, ("extra",), ())


def test_a_time_column_is_not_needed_for_scoring() -> None:
    assert check(batch(), CONTRACT).accepted.schema.names == [*CONTRACT.names, "booking_id"]


def test_a_table_is_checked_like_a_batch() -> None:
    table = pa.Table.from_batches([batch(), batch()])
    assert check(table, CONTRACT).accepted.num_rows == 6


def test_unseen_levels_and_values_out_of_range_are_counted_and_kept() -> None:
    checked = check(batch(channel=["fax", "web", None], price_eur=[9.0, 41.0, 20.0]), CONTRACT)
    assert checked.rejected.num_rows == 0
    assert checked.counts["channel"] == ColumnCounts(nulls=1, unseen=1)
    assert checked.counts["price_eur"] == ColumnCounts(outside=2)
    assert checked.counts["nights"] == ColumnCounts(nulls=1)


def test_any_value_is_outside_where_training_had_none() -> None:
    contract = learn(pa.table({"x": pa.nulls(2, pa.float64())}))
    assert check(pa.table({"x": [1.0, None]}), contract).counts["x"] == ColumnCounts(nulls=1, outside=1)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 3], pa.int8()),
        pa.array([1, 2, 3], pa.uint64()),
        pa.array([1, 2, 3], pa.float32()),
        pa.array(np.array([1, 2, 3], np.float16)),
        pa.array([decimal.Decimal(i) for i in (1, 2, 3)]),
        pa.array(["1", " 2.0 ", "3e0"]),
        pa.array(["1", "2", "3"], pa.large_string()),
        pa.array(["1", "2", "3"], pa.string_view()),
        pa.array([b"1", b"2", b"3"]),
        pa.array([b"1", b"2", b"3"], pa.binary(1)),
        pa.ExtensionArray.from_storage(pa.opaque(pa.int64(), "whole", "elsewhere"), pa.array([1, 2, 3])),
        pa.array(["1", "2", "3"]).dictionary_encode(),
        pa.array([1, 2, 3]).dictionary_encode(),
        pa.chunked_array([[1, 2], [3]]),
        pa.RunEndEncodedArray.from_arrays([1, 2, 3], [1.0, 2.0, 3.0]),
    ],
    ids=lambda v: str(v.type),
)
def test_numbers_are_taken_from_any_type_that_holds_them(values: Any) -> None:
    assert number(values) == ([1.0, 2.0, 3.0], [])


def test_bytes_that_are_no_text_do_not_spoil_their_neighbours() -> None:
    assert number(pa.array([b"1", b"\xff", None])) == ([1.0, None, None], [1])


def test_whole_numbers_beyond_the_precision_of_floats_are_rounded_not_refused() -> None:
    assert number(pa.array([2**53 + 1])) == ([float(2**53)], [])


def test_nan_is_a_null_and_not_a_bad_value() -> None:
    assert number(pa.array([float("nan"), 1.0])) == ([None, 1.0], [])
    assert number(pa.array(["nan", "x"])) == ([None, None], [1])


@pytest.mark.parametrize(
    ("values", "expected", "bad"),
    [
        (["true", "FALSE", " Yes ", "n", "0", "1.0", None, "maybe"], [1, 0, 1, 0, 0, 1, None, None], [7]),
        ([0, 1, 2, None], [0, 1, None, None], [2]),
        ([0.0, 1.0, float("nan"), float("inf")], [0, 1, None, None], [3]),
        ([True, False, None], [1, 0, None], []),
        ([dt.datetime(2026, 1, 1), None], [None, None], [0]),
    ],
)
def test_booleans_are_read_from_words_and_bits(values: list[Any], expected: list[Any], bad: list[int]) -> None:
    array, found = to_kind(pa.array(values), "boolean")
    assert (array.to_pylist(), found.tolist()) == (expected, bad)


@pytest.mark.parametrize(
    "text",
    ["2026-03-01", "2026-03-01 00:00", "2026-03-01T00:00:00", "2026-03-01T02:00:00+02:00", "2026-03-01T00:00:00Z"],
)
def test_iso_dates_are_read_alone_and_beside_others(text: str) -> None:
    moment = int(dt.datetime(2026, 3, 1, tzinfo=dt.UTC).timestamp()) * 10**9
    for values in ([text], [text, "2026-13-77", "no", "2026-03-01", "2026-03-01T00:00:00Z", "2026-03-01 25:00"]):
        array, bad = to_kind(pa.array(values), "datetime")
        assert array.cast(pa.int64())[0].as_py() == moment
        assert bad.tolist() == ([] if len(values) == 1 else [1, 2, 5])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([dt.date(2026, 3, 1)]),
        pa.array([dt.date(2026, 3, 1)], pa.date64()),
        pa.array([dt.datetime(2026, 3, 1)], pa.timestamp("s")),
        pa.array([dt.datetime(2026, 3, 1)], pa.timestamp("us", "Europe/Paris")),
    ],
    ids=lambda v: str(v.type),
)
def test_datetimes_are_taken_from_any_type_that_holds_them(values: pa.Array) -> None:
    array, bad = to_kind(values, "datetime")
    assert as_numbers(array).to_pylist() == [dt.datetime(2026, 3, 1, tzinfo=dt.UTC).timestamp()]
    assert not len(bad)


def test_dates_beyond_nanoseconds_and_plain_numbers_are_no_dates() -> None:
    assert to_kind(pa.array([dt.datetime(9999, 1, 1), dt.datetime(2026, 1, 1)]), "datetime")[1].tolist() == [0]
    assert to_kind(pa.array([7, None]), "datetime")[1].tolist() == [0]


@pytest.mark.parametrize(
    ("values", "expected", "bad"),
    [
        (pa.array([3.0, float("nan"), None]), ["3", None, None], []),
        (pa.array([True]), ["true"], []),
        (pa.array([b"ab", b"\xff", None]), ["ab", "\\xff", None], []),
        (pa.array([b"ab", b"\xff", None]).cast(pa.large_binary()), ["ab", "\\xff", None], []),
        (pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()), ["\\xff"], []),
        (pa.DictionaryArray.from_arrays([0, 1, 0], pa.array(["a", None])), ["a", None, "a"], []),
        (pa.array([1, 2]).dictionary_encode(), ["1", "2"], []),
        (pa.array([dt.datetime(2026, 1, 1)], pa.timestamp("s", "Nowhere/City")), ["2026-01-01 00:00:00"], []),
        (pa.array([[1], None]), [None, None], [0]),
        (pa.nulls(2), [None, None], []),
    ],
    ids=lambda v: str(getattr(v, "type", "")),
)
def test_text_is_taken_from_any_type_that_can_be_written(values: Any, expected: list[Any], bad: list[int]) -> None:
    array, found = to_kind(values, "text")
    assert array.type == pa.dictionary(pa.int32(), pa.string())
    assert (array.to_pylist(), found.tolist()) == (expected, bad)


def test_ids_are_the_same_text_whatever_they_come_as() -> None:
    text = pa.array(["17", "18"])
    for ids in (pa.array([17, 18]), pa.array([17.0, 18.0]), text, text.dictionary_encode()):
        assert text_ids(ids).to_pylist() == ["17", "18"]


def test_a_type_without_a_kind_is_said_to_have_none() -> None:
    assert [kind_of(t) for t in (pa.list_(pa.int8()), pa.time32("s"), pa.duration("s"))] == [None, None, None]


# ── rejected rows ───────────────────────────────────────────────────────────────────────────────


def test_reasons_name_the_column_the_value_and_what_was_expected() -> None:
    checked = check(batch(price_eur=["abc", "12", "13"], paid=["true", "ja", None]), CONTRACT, first_row=10)
    assert reasons(checked) == {10: "price_eur: 'abc' is no number", 11: "paid: 'ja' is no boolean"}
    assert checked.rows.tolist() == [12]
    assert checked.kept.tolist() == [2]
    assert checked.reasons == {"price_eur is no number": 1, "paid is no boolean": 1}


def test_several_reasons_of_one_row_are_joined() -> None:
    checked = check(batch(price_eur=["x", "1", "2"], arrives=["x", "2026-02-01", "2026-02-01"]), CONTRACT)
    assert reasons(checked) == {0: "price_eur: 'x' is no number; arrives: 'x' is no date"}


def test_a_null_that_training_never_saw_is_rejected_and_others_are_not() -> None:
    checked = check(batch(price_eur=[None, 12.0, float("nan")]), CONTRACT)
    sentence = "price_eur is null (training never saw a null there)"
    assert reasons(checked) == {0: sentence, 2: sentence}
    assert checked.reasons == {"price_eur is null": 2}


def test_a_bad_value_is_not_reported_as_a_null_too() -> None:
    assert reasons(check(batch(price_eur=["x", None, "3"]), CONTRACT)) == {
        0: "price_eur: 'x' is no number",
        1: "price_eur is null (training never saw a null there)",
    }


def test_infinite_numbers_are_rejected() -> None:
    assert reasons(check(batch(price_eur=[float("inf"), 1.0, -float("inf")]), CONTRACT)) == {
        0: "price_eur is infinite",
        2: "price_eur is infinite",
    }


@pytest.mark.parametrize("ids", [["e", None, "g"], ["e", "", "g"], pa.array([1.0, float("nan"), 3.0])])
def test_a_row_without_an_id_is_rejected(ids: Any) -> None:
    assert reasons(check(batch(booking_id=ids), CONTRACT)) == {1: "booking_id is missing"}


def test_long_bad_values_are_cut() -> None:
    found = reasons(check(batch(price_eur=["x" * 500, "1", "2"]), CONTRACT))[0]
    assert found == f"price_eur: '{'x' * 40}' is no number"


def test_without_a_column_or_the_id_every_row_is_rejected() -> None:
    checked = check(batch(price_eur=None, booking_id=None), CONTRACT)
    assert checked.missing == ("price_eur", "booking_id")
    assert set(reasons(checked).values()) == {"price_eur is missing; booking_id is missing"}
    assert checked.accepted.num_rows == 0


def test_a_column_that_is_null_in_every_row_is_no_crash() -> None:
    assert check(batch(price_eur=pa.nulls(3)), CONTRACT).accepted.num_rows == 0
    assert check(batch(nights=pa.nulls(3), channel=pa.nulls(3)), CONTRACT).accepted.num_rows == 3


def test_no_rows_are_no_crash() -> None:
    checked = check(batch().slice(0, 0), CONTRACT)
    assert (checked.accepted.num_rows, checked.rejected.num_rows) == (0, 0)


def test_two_columns_of_one_name_count_as_the_first() -> None:
    twice = pa.RecordBatch.from_arrays([pa.array([1.0]), pa.array(["x"])], names=["x", "x"])
    assert check(twice, learn(pa.table({"x": [1.0]}))).accepted.column("x").to_pylist() == [1.0]


def test_bytes_that_are_no_text_inside_a_list_are_shown_by_type() -> None:
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), text)
    contract = learn(pa.table({"x": [1.0]}))
    assert "is no number" in reasons(check(pa.table({"x": lists}), contract))[0]


# ── the columns as a whole ──────────────────────────────────────────────────────────────────────


def schema(**changes: Any) -> list[tuple[str, pa.DataType]]:
    found = batch(**changes).schema
    return list(zip(found.names, found.types, strict=True))


def test_the_columns_of_training_have_no_cause() -> None:
    assert compare_schema(schema(note=["a", "b", "c"], status=["x", "y", "z"]), CONTRACT) == []


def test_a_missing_column_halts_and_its_likely_new_name_is_said() -> None:
    causes = compare_schema(schema(price_eur=None, price_euro=[1, 2, 3]), CONTRACT)
    assert [(c.level, c.column) for c in causes] == [("halt", "price_eur"), ("warn", "price_euro")]
    assert "renamed to 'price_euro'" in causes[0].sentence


def test_a_missing_id_halts() -> None:
    assert compare_schema(schema(booking_id=None), CONTRACT)[0].sentence.startswith("column booking_id is missing")


def test_a_type_that_no_row_can_be_brought_from_halts() -> None:
    (cause,) = compare_schema(schema(price_eur=[[1], [2], [3]]), CONTRACT)
    assert (cause.level, cause.column) == ("halt", "price_eur")
    assert "list<" in cause.sentence


def test_many_extra_columns_are_one_warning() -> None:
    (cause,) = compare_schema(schema(**{f"e{i}": [1, 2, 3] for i in range(7)}), CONTRACT)
    assert (cause.level, cause.column) == ("warn", None)
    assert "e4 and 2 more" in cause.sentence


# ── for all batches ─────────────────────────────────────────────────────────────────────────────

VALUES = {
    "float": (st.none() | st.floats(), pa.float64()),
    "int": (st.none() | st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "bool": (st.none() | st.booleans(), pa.bool_()),
    "text": (
        st.none() | st.text(max_size=5) | st.sampled_from(["1", " 2.5", "true", "2026-02-01"]),
        pa.string(),
    ),
    "bytes": (st.none() | st.binary(max_size=3), pa.binary()),
    "time": (st.none() | st.datetimes(), pa.timestamp("us")),
    "date": (st.none() | st.dates(), pa.date32()),
    "span": (st.none() | st.timedeltas(dt.timedelta(-9), dt.timedelta(9)), pa.duration("us")),
    "clock": (st.none() | st.times(), pa.time64("us")),
    "list": (st.none() | st.lists(st.integers(0, 3), max_size=2), pa.list_(pa.int64())),
    "struct": (st.none() | st.fixed_dictionaries({"a": st.integers(0, 3)}), pa.struct([("a", pa.int64())])),
    "map": (st.none() | st.lists(st.tuples(st.text(max_size=1), st.just(1)), max_size=1), pa.map_("string", "int64")),
    "decimal": (st.none() | st.decimals(-9, 9, places=2), pa.decimal128(9, 2)),
    "null": (st.none(), pa.null()),
    "levels": (st.none() | st.sampled_from(["web", "7", "x"]), pa.dictionary(pa.int8(), pa.string())),
}


@st.composite
def wild_batches(draw: st.DrawFn) -> pa.RecordBatch:
    count = draw(st.integers(0, 8))
    names = draw(st.lists(st.sampled_from([*CONTRACT.wanted, "else"]), unique=True, max_size=8))
    columns = {}
    for name in names:
        values, type = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        found = draw(st.lists(values, min_size=count, max_size=count))
        columns[name] = pa.array(found, type)
    columns["else"] = pa.array([0] * count)
    return pa.RecordBatch.from_pydict(columns)


@settings(max_examples=300, deadline=None)
@given(wild_batches())
def test_every_row_is_accepted_or_rejected_and_never_both(wild: pa.RecordBatch) -> None:
    before = wild.to_pydict() if not any(pa.types.is_binary(t) for t in wild.schema.types) else None
    checked = check(wild, CONTRACT, first_row=5)
    assert sorted([*checked.rows.tolist(), *reasons(checked)]) == list(range(5, 5 + wild.num_rows))
    assert all(reasons(checked).values())
    assert checked.accepted.num_rows == len(checked.rows)
    checked.accepted.validate(full=True)
    for column in CONTRACT.columns:
        values = checked.accepted.column(column.name)
        assert column.nullable or values.null_count == 0
        if column.kind in ("number", "boolean"):
            assert np.isfinite(values.drop_null().to_numpy(zero_copy_only=False)).all()
    if before is not None:
        assert repr(wild.to_pydict()) == repr(before)


@settings(max_examples=100, deadline=None)
@given(wild_batches())
def test_a_row_is_judged_by_itself(wild: pa.RecordBatch) -> None:
    whole = check(wild, CONTRACT)
    found = {}
    for row in range(wild.num_rows):
        found |= reasons(check(wild.slice(row, 1), CONTRACT, first_row=row))
    assert found == reasons(whole)
