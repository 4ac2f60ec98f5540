from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import lines, tables
from fuseline.contract import check, learn
from fuseline.errors import DataError, Unreadable
from fuseline.tables import ParquetOut, Shard

RNG = np.random.default_rng(2)
ROWS = 1_000
TABLE = pa.table(
    {
        "id": range(ROWS),
        "price": pa.array(RNG.normal(100, 10, ROWS).round(2), mask=RNG.random(ROWS) < 0.1),
        "channel": pa.array(RNG.choice(["app", "web", "Zürich; 'x'"], ROWS), mask=RNG.random(ROWS) < 0.1),
        "paid": RNG.random(ROWS) < 0.5,
    }
)


def parquet(path: Path, table: pa.Table = TABLE, group: int = 300) -> Path:
    pq.write_table(table, path, row_group_size=group)
    return path


def text_file(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def csv_file(path: Path) -> Path:
    pc.write_csv(TABLE, path)
    return path


def json_file(path: Path) -> Path:
    return text_file(path, "\n".join(json.dumps(row) for row in TABLE.to_pylist()))


def whole(path: Path, **options: Any) -> pa.Table:
    return pa.Table.from_batches([b for _, b in tables.read(path, **options)])


def starts(path: Path, **options: Any) -> list[tuple[int, int]]:
    return [(first, batch.num_rows) for first, batch in tables.read(path, **options)]


WRITERS: dict[str, Callable[[Path], Path]] = {".parquet": parquet, ".csv": csv_file, ".jsonl": json_file}


@pytest.fixture(params=tables.FORMATS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return WRITERS[request.param](tmp_path / f"rows{request.param}")


# ── all formats ─────────────────────────────────────────────────────────────────────────────────


def test_a_file_of_any_format_gives_the_same_rows(file: Path) -> None:
    assert tables.read_table(file).to_pylist() == TABLE.to_pylist()


def test_rows_are_counted(file: Path) -> None:
    assert tables.count_rows(file) == ROWS


def test_columns_are_described(file: Path) -> None:
    assert [name for name, _ in tables.describe(file)] == TABLE.column_names


def test_chunks_are_numbered_and_bounded(file: Path) -> None:
    found = starts(file, chunk_rows=128)
    assert [first for first, _ in found] == np.cumsum([0, *[size for _, size in found]]).tolist()[:-1]
    assert sum(size for _, size in found) == ROWS
    assert max(size for _, size in found) <= 128


def test_only_the_wanted_columns_are_read(file: Path) -> None:
    assert whole(file, columns=["price", "id", "nowhere"]).column_names == ["id", "price"]


def test_rows_are_not_lost_where_no_column_is_wanted(file: Path) -> None:
    assert sum(batch.num_rows for _, batch in tables.read(file, columns=["nowhere"])) == ROWS


def test_text_comes_as_dictionaries_or_text(file: Path) -> None:
    found = whole(file, text=["channel"], chunk_rows=100).column("channel")
    assert found.to_pylist() == TABLE["channel"].to_pylist()
    if file.suffix != ".jsonl":
        assert pa.types.is_dictionary(found.type)


def test_a_checked_file_gives_the_same_frame_in_any_format(file: Path) -> None:
    contract = learn(TABLE, id="id")
    frames = [
        tables.to_frame(check(batch, contract, first).accepted, contract)
        for first, batch in tables.read(file, text=contract.text)
    ]
    pd.testing.assert_frame_equal(
        pd.concat(frames, ignore_index=True), tables.to_frame(check(TABLE, contract).accepted, contract)
    )


def test_the_whole_file_is_one_or_several_shards(file: Path) -> None:
    plan = tables.shards(file, 3)
    assert sum(s.rows for s in plan) == ROWS
    assert [(s.index, s.of) for s in plan] == [(i, len(plan)) for i in range(len(plan))]
    read = [batch for shard in plan for _, batch in tables.read(file, shard)]
    assert pa.Table.from_batches(read).num_rows == ROWS


@pytest.mark.parametrize("suffix", tables.FORMATS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08rest", "gzip|begins with"),
        (b"a,b\0\n", "zero bytes|begins with"),
        (b"\xff\xfea\0", "UTF-16|begins with"),
        (b"id,name\n1,M\xfcller\n", "iconv -f WINDOWS-1252|begins with"),
    ],
)
def test_a_file_of_another_kind_is_unreadable(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    path = text_file(tmp_path / f"x{suffix}", content)
    for use in (tables.count_rows, tables.describe, tables.read_table, lambda p: tables.shards(p, 2)):
        with pytest.raises(Unreadable, match=message) as error:
            use(path)
        assert path.name in str(error.value)


def test_an_unknown_suffix_and_a_missing_file_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"ends in \.parquet, \.csv, \.jsonl"):
        tables.count_rows(text_file(tmp_path / "x.xlsx", "a"))
    with pytest.raises(Unreadable, match="not there"):
        tables.count_rows(tmp_path / "x.csv")


# ── Parquet ─────────────────────────────────────────────────────────────────────────────────────


def test_chunks_never_reach_over_a_row_group(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", group=300)
    assert starts(path, chunk_rows=200) == [
        (0, 200), (200, 100), (300, 200), (500, 100), (600, 200), (800, 100), (900, 100),
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 400), st.integers(100, 1000))
def test_any_number_of_shards_gives_the_same_chunks(
    tmp_path_factory: pytest.TempPathFactory, want: int, chunk: int, group: int
) -> None:
    path = parquet(tmp_path_factory.mktemp("p") / "x.parquet", group=group)
    plan = tables.shards(path, want)
    assert 1 <= len(plan) <= want
    assert all(shard.row_groups and shard.rows for shard in plan)
    cut = [item for shard in plan for item in tables.read(path, shard, chunk_rows=chunk)]
    straight = list(tables.read(path, chunk_rows=chunk))
    assert [first for first, _ in cut] == [first for first, _ in straight]
    assert all(a.equals(b) for (_, a), (_, b) in zip(cut, straight, strict=True))
    assert [shard.first_row for shard in plan] == np.cumsum([0, *[s.rows for s in plan]]).tolist()[:-1]


def test_shards_are_about_as_long(tmp_path: Path) -> None:
    plan = tables.shards(parquet(tmp_path / "x.parquet", group=50), 4)
    assert [shard.rows for shard in plan] == [250] * 4
    assert plan[1] == Shard(1, 4, 250, 250, (5, 6, 7, 8, 9))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], r"cut off after [\d,]+ bytes.*copy it again"),
        (lambda data: b"id,price\n1,2\n", "no Parquet file, it begins with"),
        (lambda data: data[:40] + bytes(len(data) - 240) + data[-200:], "damaged"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x0fPAR1", "damaged"),
    ],
    ids=["truncated", "text", "overwritten", "footer"],
)
def test_a_damaged_parquet_file_is_unreadable(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = parquet(tmp_path / "x.parquet")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Unreadable, match=message):
        whole(path)


def test_a_parquet_file_without_rows_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no rows"):
        tables.shards(parquet(tmp_path / "x.parquet", TABLE.slice(0, 0)), 1)


def test_columns_of_one_name_are_unreadable(tmp_path: Path) -> None:
    twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(Unreadable, match="a column twice: a"):
        tables.describe(parquet(tmp_path / "x.parquet", twice))
    with pytest.raises(Unreadable, match="a column twice: a"):
        tables.describe(text_file(tmp_path / "x.csv", "a,a\n1,2\n"))


def test_odd_columns_of_a_parquet_file_are_read(tmp_path: Path) -> None:
    table = pa.table({"a.b": ["x", "y"], "list": [[1], []], "deep": [{"k": 1}, None], "": [1, 2]})
    path = parquet(tmp_path / "x.parquet", table)
    assert whole(path, text=["a.b", "list", "nowhere"]).to_pylist() == table.to_pylist()
    assert whole(path, columns=["a.b", "deep"]).column_names == ["a.b", "deep"]


# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("delimiter", list(lines.DELIMITERS))
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    text = "\n".join(delimiter.join(row) for row in (["id", "price", "note"], ["1", "2.5", "x y"], ["2", "3.5", "z:1"]))
    table = tables.read_table(text_file(tmp_path / "x.csv", text))
    assert table.to_pylist() == [{"id": 1, "price": 2.5, "note": "x y"}, {"id": 2, "price": 3.5, "note": "z:1"}]


def test_commas_in_quoted_text_do_not_make_a_delimiter(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", 'id;note\n1;"a,b,c"\n2;"d,e,f"\n')
    assert tables.read_table(path)["note"].to_pylist() == ["a,b,c", "d,e,f"]


@pytest.mark.parametrize("mark", ["^", "~", ":"])
def test_a_strange_delimiter_is_unreadable(tmp_path: Path, mark: str) -> None:
    path = text_file(tmp_path / "x.csv", f"id{mark}price\n1{mark}2\n3{mark}4\n")
    with pytest.raises(Unreadable, match=r"separated by .*comma, semicolon, tab"):
        tables.describe(path)


def test_a_single_column_is_a_table(tmp_path: Path) -> None:
    assert tables.read_table(text_file(tmp_path / "x.csv", "start time\n10:00\n11:30\n")).num_rows == 2


def test_every_csv_column_is_text_until_types_are_given(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "x.csv")
    assert {kind for _, kind in tables.describe(path)} == {pa.string()}
    assert {field.type for field in whole(path).schema} == {pa.string()}


def test_usual_words_for_nothing_are_null(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", "a,b\n" + "".join(f"{word},1\n" for word in lines.NULLS))
    assert whole(path)["a"].null_count == len(lines.NULLS)


def test_a_byte_order_mark_and_quoted_newlines_are_read(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", b'\xef\xbb\xbfid,note\r\n1,"two\r\nlines"\r\n')
    assert tables.read_table(path).to_pylist() == [{"id": 1, "note": "two\r\nlines"}]


RAGGED = "id,b\n0,x\n1\n2,y\n\n3,y\n4,5,6\n5,z\n6\n"


def ragged_rows(path: Path) -> tuple[dict[int, str], list[tuple[int, list[Any]]]]:
    bad: dict[int, str] = {}
    good = [
        (first, batch.column(0).to_pylist())
        for first, batch in tables.read(path, bad=lambda b: bad.update(zip(*b.to_pydict().values(), strict=True)))
    ]
    return bad, good


def test_ragged_lines_are_handed_over_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    bad, good = ragged_rows(text_file(tmp_path / "x.csv", RAGGED))
    assert list(bad) == [1, 4, 6]
    assert bad[4] == "has 3 values where the header has 2: '4,5,6'"
    assert good == [(0, ["0"]), (2, ["2", "3"]), (5, ["5"])]
    assert tables.count_rows(tmp_path / "x.csv") == 7


def test_ragged_lines_are_unreadable_where_nobody_takes_them(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"x\.csv, line 3: has 1 values where the header has 2"):
        tables.read_table(text_file(tmp_path / "x.csv", RAGGED))


def test_too_many_ragged_lines_are_unreadable(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", "a,b\n1,2\n" + "3\n" * 1001)
    with pytest.raises(Unreadable, match="more than 1,000 broken rows; the first, in line 3"):
        tables.count_rows(path)


def note(rows: list[int], batch: pa.RecordBatch) -> None:
    rows += batch.column("row").to_pylist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 7))
def test_every_line_is_good_or_bad_and_keeps_its_number(
    tmp_path_factory: pytest.TempPathFactory, good: list[bool], chunk: int
) -> None:
    for suffix, line in ((".csv", "{0},x"), (".jsonl", '{{"a": "{0}", "b": 1}}')):
        rows = [line.format(i) if ok else "broken" for i, ok in enumerate(good)]
        path = text_file(tmp_path_factory.mktemp("l") / f"x{suffix}", "\n".join(["a,b"] * (suffix == ".csv") + rows))
        bad: list[int] = []
        if suffix == ".jsonl" and not any(good):
            continue
        found: list[int] = []
        for first, batch in tables.read(path, chunk_rows=chunk, bad=partial(note, bad)):
            assert batch.column("a").to_pylist() == [str(i) for i in range(first, first + batch.num_rows)]
            assert batch.num_rows <= chunk
            found += range(first, first + batch.num_rows)
        assert sorted(found + bad) == list(range(len(good)))
        assert bad == [i for i, ok in enumerate(good) if not ok]
        assert tables.count_rows(path) == len(good)


def test_another_encoding_far_into_the_file_is_unreadable(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", b"id,name\n" + b"1,Muller\n" * 20_000 + b"2,M\xfcller\n")
    with pytest.raises(Unreadable, match=r"not UTF-8.*iconv"):
        tables.read_table(path)


def test_a_character_cut_at_the_end_of_the_head_is_no_other_encoding(tmp_path: Path) -> None:
    for shift in range(3):
        path = text_file(tmp_path / "x.csv", "id,name\n" + "x" * shift + "é€" * 60_000 + ",1\n")
        assert tables.count_rows(path) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "no rows"),
        ("\n\n \n", "empty"),
        ("a,b\n" + "x" * 9_000_000 + ",1\n", "longer than 4 MB"),
        ('"a,b\n1,2\n', "first line that never ends"),
    ],
)
def test_a_csv_file_that_makes_no_sense_is_unreadable(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        tables.read_table(text_file(tmp_path / "x.csv", text))


def test_values_that_change_their_looks_late_in_a_file_are_no_crash(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.csv", "a,b\n" + "1,2026-01-01\n" * 500_000 + "x,y\n")
    assert whole(path)["a"][-1].as_py() == "x"


# ── JSON lines ──────────────────────────────────────────────────────────────────────────────────


def objects(path: Path, *rows: Any) -> Path:
    return text_file(path, "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))


def test_a_key_that_is_left_out_is_null_in_every_chunk(tmp_path: Path) -> None:
    path = objects(tmp_path / "x.jsonl", {"a": 1}, {"a": 2}, {"b": "x"}, {"a": 4, "b": "y"})
    chunks = [batch.to_pydict() for _, batch in tables.read(path, chunk_rows=2)]
    assert chunks == [{"a": [1, 2], "b": [None, None]}, {"a": [None, 4], "b": ["x", "y"]}]
    assert tables.describe(path) == [("a", pa.int64()), ("b", pa.string())]


def test_numbers_and_words_in_one_column_are_text(tmp_path: Path) -> None:
    path = objects(tmp_path / "x.jsonl", {"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": "abc", "b": 2.5}, {"a": True})
    found = tables.read_table(path)
    assert found.to_pydict() == {"a": ["1", "2", "abc", "true"], "b": [1.0, 2.0, 2.5, None]}
    assert [b["a"].to_pylist() for _, b in tables.read(path, chunk_rows=2)] == [["1", "2"], ["abc", "true"]]


def test_numbers_and_words_in_different_chunks_are_text(tmp_path: Path) -> None:
    rows = [{"a": i} for i in range(tables.CHUNK_ROWS)]
    assert tables.read_table(objects(tmp_path / "x.jsonl", *rows, {"a": "x"}))["a"].to_pylist()[-2:] == ["65535", "x"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, [2]], ["1", "[2]"]),
        ([True, 2], ["true", "2"]),
        ([1, 2.5], [1.0, 2.5]),
        ([None, {"k": 1}], [None, {"k": 1}]),
    ],
)
def test_columns_that_change_between_chunks_lose_nothing(
    tmp_path: Path, values: list[Any], expected: list[Any]
) -> None:
    path = objects(tmp_path / "x.jsonl", *({"a": value, "n": 1} for value in values))
    found = [b["a"].to_pylist()[0] for _, b in tables.read(path, chunk_rows=1)]
    assert found == expected if isinstance(expected[0], str) else found == values
    assert tables.read_table(path)["a"].to_pylist() == expected


def test_text_that_looks_like_a_time_stays_text_in_a_text_column(tmp_path: Path) -> None:
    path = objects(tmp_path / "x.jsonl", {"a": "2026-01-01 00:00:00", "n": 7}, {"a": "2026-01-02 00:00:00", "n": 8})
    found = whole(path, text=["a", "n"])
    assert found.to_pydict() == {"a": ["2026-01-01 00:00:00", "2026-01-02 00:00:00"], "n": ["7", "8"]}
    assert tables.read_table(path)["a"].type == pa.timestamp("ns")


def test_text_in_json_never_becomes_a_number(tmp_path: Path) -> None:
    path = objects(tmp_path / "x.jsonl", {"a": "12", "b": "true"})
    assert tables.read_table(path).to_pydict() == {"a": ["12"], "b": ["true"]}


@pytest.mark.parametrize("line", ["{", "[1]", "7", '{"a": 1} {"a": 2}', "nonsense", "[" * 20_000, "null"])
def test_a_line_that_is_no_object_is_handed_over(tmp_path: Path, line: str) -> None:
    bad, good = ragged_rows(objects(tmp_path / "x.jsonl", {"a": 1}, line, "", {"a": 2}))
    assert list(bad) == [1]
    assert good == [(0, [1]), (2, [2])]


def test_lists_that_begin_with_null_are_read(tmp_path: Path) -> None:
    rows = [{"a": [None, 1]}, {"a": [None, None, 2]}]
    assert whole(objects(tmp_path / "x.jsonl", *rows)).to_pylist() == rows


@pytest.mark.parametrize("line", ["null", "null {}", "[null]"])
def test_a_first_line_that_is_null_is_no_crash(tmp_path: Path, line: str) -> None:
    path = objects(tmp_path / "x.jsonl", line, {"a": 1})
    if line.startswith("["):
        with pytest.raises(Unreadable, match="one JSON array"):
            ragged_rows(path)
    else:
        assert list(ragged_rows(path)[0]) == [0]


def test_odd_json_is_read(tmp_path: Path) -> None:
    odd = ['{"a": NaN, "b": 12345678901234567890123, "c": [1], "d": {"x": 1}}', '{"a": 1, "a": 2, "c": ["x"]}']
    found = whole(objects(tmp_path / "x.jsonl", *odd))
    assert found["a"].to_pylist()[1] == 2
    assert found.column_names == ["a", "b", "c", "d"]
    assert whole(objects(tmp_path / "y.jsonl", '{"a": "\\ud800", "b": 1}', '{"a": 5}'))["a"].to_pylist() == ["?", "5"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['[{"a": 1}]'], "one JSON array.*jq"),
        (["{}", "{}"], "no JSON object with a key"),
        (['{"a": 1}', "x"], "row 1, is no JSON object"),
        (['{"a": 1}', *["x"] * 1001], "more than 1,000 broken lines; the first, row 1"),
    ],
)
def test_a_json_file_that_makes_no_sense_is_unreadable(tmp_path: Path, rows: list[str], message: str) -> None:
    bad = (lambda batch: None) if len(rows) > 1000 else None
    with pytest.raises(Unreadable, match=message):
        whole(objects(tmp_path / "x.jsonl", *rows), bad=bad)


def test_a_byte_order_mark_before_json_is_read(tmp_path: Path) -> None:
    assert whole(text_file(tmp_path / "x.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n')).to_pydict() == {"a": [1]}


# ── types ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "type"),
    [
        (["1", None, " -20 "], pa.int64()),
        (["1", "2.5", "1e3"], pa.float64()),
        (["+1", "2"], pa.float64()),
        (["007", "123"], pa.string()),
        (["0", "0.5"], pa.float64()),
        (["12345678901234567890"], pa.string()),
        (["1", "x"], pa.string()),
        (["true", "FALSE", None], pa.bool_()),
        (["yes", "no"], pa.string()),
        (["2026-01-01", "2026-01-02T03:04:05Z", None], pa.timestamp("ns")),
        (["2026-01-01", "2026-13-01"], pa.string()),
        ([None, None], pa.string()),
        (["", "x"], pa.string()),
    ],
)
def test_types_are_decided_by_all_values(values: list[str | None], type: pa.DataType) -> None:
    found = tables.infer(pa.table({"x": pa.array(values, pa.string()), "n": range(len(values))}))
    assert found.schema.types == [type, pa.int64()]
    assert found["x"].null_count == values.count(None)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 5))
def test_joined_parts_have_the_same_bytes_however_row_groups_were_spread(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], files: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    groups = [TABLE.slice(sum(sizes[:i]) * 50, size * 50) for i, size in enumerate(sizes)]

    def spread(name: str, count: int) -> bytes:
        paths = []
        for i in range(count):
            with ParquetOut(folder / f"{name}-{i}.parquet", TABLE.schema) as out:
                out.write(TABLE.schema.empty_table())
                for group in groups[i * len(groups) // count : (i + 1) * len(groups) // count]:
                    out.write(group)
            paths.append(folder / f"{name}-{i}.parquet")
        assert tables.concatenate(paths, folder / f"{name}.parquet") == 50 * sum(sizes)
        return (folder / f"{name}.parquet").read_bytes()

    assert spread("one", 1) == spread("many", files)
    assert pq.read_table(folder / "one.parquet").to_pylist() == TABLE.slice(0, 50 * sum(sizes)).to_pylist()


def test_one_row_group_is_written_for_each_write_and_none_for_no_rows(tmp_path: Path) -> None:
    with ParquetOut(tmp_path / "x.parquet") as out:
        for size in (5, 0, 7):
            out.write(TABLE.slice(0, size).to_batches()[0] if size else TABLE.slice(0, 0))
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [5, 7]
    assert out.rows == 12


def test_the_first_rows_give_the_columns(tmp_path: Path) -> None:
    with ParquetOut(tmp_path / "x.parquet") as out:
        out.write(pa.table({"a": pa.array(["x", "y"]).dictionary_encode(), "b": pa.nulls(2)}))
        out.write(pa.table({"b": ["late"], "a": ["z"]}))
    assert pq.read_table(tmp_path / "x.parquet").to_pydict() == {"a": ["x", "y", "z"], "b": [None, None, "late"]}


def test_nothing_written_is_no_file(tmp_path: Path) -> None:
    with ParquetOut(tmp_path / "x.parquet"):
        pass
    assert not (tmp_path / "x.parquet").exists()


def test_rows_of_other_columns_are_refused(tmp_path: Path) -> None:
    with ParquetOut(tmp_path / "x.parquet") as out:
        out.write(pa.table({"a": [1]}))
        with pytest.raises(DataError, match="Expected a int64, found b int64"):
            out.write(pa.table({"b": [1]}))
        with pytest.raises(DataError, match="Expected a int64, found a string"):
            out.write(pa.table({"a": ["x"]}))


def test_parts_of_other_columns_are_not_joined(tmp_path: Path) -> None:
    one, two = (parquet(tmp_path / f"{name}.parquet", pa.table({name: [1]})) for name in "ab")
    with pytest.raises(DataError, match=r"b\.parquet has other columns than a\.parquet"):
        tables.concatenate([one, two], tmp_path / "x.parquet")
    with pytest.raises(DataError, match="nothing to join"):
        tables.concatenate([], tmp_path / "x.parquet")


def test_a_table_as_bytes_is_a_parquet_file() -> None:
    data = tables.to_bytes(TABLE)
    assert pq.read_table(pa.BufferReader(data)).equals(TABLE)
    assert tables.to_bytes(TABLE) == data


# ── joining ─────────────────────────────────────────────────────────────────────────────────────

HOTELS = pa.table({"hotel": ["h1", "h2", None], "city": ["Rome", None, "Nowhere"], "stars": [4, 5, 1]})


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("right", [HOTELS, HOTELS.unify_dictionaries(), pa.concat_tables([HOTELS[:1], HOTELS[1:]])])
def test_rows_keep_their_order_and_unknown_keys_give_nulls(kind: pa.DataType, right: pa.Table) -> None:
    rows = pa.table({"n": range(5), "hotel": pa.array(["h2", "h9", None, "h1", "h2"]).cast(kind)})
    found = tables.join_source(rows, right, "hotel")
    assert found.column_names == ["n", "hotel", "city", "stars"]
    assert found["n"].to_pylist() == [0, 1, 2, 3, 4]
    assert found["city"].to_pylist() == [None, None, None, "Rome", None]
    assert found["stars"].to_pylist() == [5, None, None, 4, 5]
    assert pa.types.is_dictionary(found["city"].type)


def test_a_batch_stays_a_batch_and_keys_of_other_types_meet_as_text() -> None:
    batch = pa.RecordBatch.from_pydict({"key": ["1", "2", "x"]})
    found = tables.join_source(batch, pa.table({"key": [2, 1], "v": [20.0, 10.0]}), "key")
    assert isinstance(found, pa.RecordBatch)
    assert found.to_pydict()["v"] == [10.0, 20.0, None]


def test_a_dictionary_on_the_right_is_looked_up() -> None:
    right = pa.table({"hotel": pa.array(["h1", "h2"]).dictionary_encode(), "v": [1, 2]})
    rows = pa.table({"hotel": pa.array(["h2"]).dictionary_encode()})
    assert tables.join_source(rows, right, "hotel")["v"].to_pylist() == [2]


@pytest.mark.parametrize(
    ("rows", "right", "message"),
    [
        (pa.table({"x": [1]}), HOTELS, "rows have no column 'hotel'"),
        (pa.table({"hotel": ["h1"]}), pa.table({"x": [1]}), "table to join has no column 'hotel'"),
        (pa.table({"hotel": ["h1"], "city": ["x"]}), HOTELS, "'hotel' have city"),
        (pa.table({"hotel": ["h1"]}), pa.concat_tables([HOTELS, HOTELS]), "2 keys more than once, e.g. 'h1'"),
    ],
)
def test_joins_that_make_no_sense_are_refused(rows: pa.Table, right: pa.Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tables.join_source(rows, right, "hotel")


# ── frames ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def frame() -> Iterator[pd.DataFrame]:
    table = pa.table(
        {
            "text": ["a", None, "a"],
            "number": pa.array([1, None, 3]),
            "flag": [True, None, False],
            "when": pa.array([0, None, 10**9], pa.timestamp("ns")),
        }
    )
    contract = learn(table)
    yield tables.to_frame(check(table, contract).accepted, contract)


def test_a_frame_has_the_types_of_training(frame: pd.DataFrame) -> None:
    assert [str(t) for t in frame.dtypes] == ["object", "float64", "float64", "datetime64[ns]"]
    assert frame["text"].tolist() == ["a", None, "a"]
    assert frame["text"][1] is None
    assert frame["text"][0] is frame["text"][2]
    assert np.isnan(frame["number"][1]) and np.isnan(frame["flag"][1]) and frame["when"][1] is pd.NaT
    assert frame["flag"].tolist()[::2] == [1.0, 0.0]


def test_a_frame_can_be_written_to(frame: pd.DataFrame) -> None:
    frame.loc[0, "number"] = 7.0
    frame.loc[0, "text"] = "b"
    frame["when"].to_numpy()
    assert frame["number"][0] == 7.0


def test_the_order_is_that_of_the_contract_and_plain_text_will_do() -> None:
    contract = learn(pa.table({"b": ["x"], "a": [1.0]}))
    found = tables.to_frame(pa.table({"a": [1.0], "b": ["x"], "id": [9]}), contract)
    assert list(found.columns) == ["b", "a"]
    assert found["b"].dtype == object


def test_features_and_predictions_stand_side_by_side(frame: pd.DataFrame) -> None:
    found = tables.predictions_frame(frame, {"score": np.array([0.1, 0.2, 0.3]), "number": np.zeros(3)})
    assert list(found.columns) == ["text", "flag", "when", "score", "number"]
    assert found["number"].tolist() == [0, 0, 0]
    assert list(frame.columns) == ["text", "number", "flag", "when"]


# ── for all files ───────────────────────────────────────────────────────────────────────────────

SNIPPETS = ["a", ",", ";", "\n", '"', "1", " ", "\r\n", '{"a": 1}', "{", "é", "[", "null", "\t", "PAR1"]


@pytest.mark.parametrize("name", ["a\x0bb", "a\x0cb", "a\x1cb", "a\x85b", "a\u2028b", "\x01\x0b", '"a\rb"'])
def test_only_the_end_of_a_line_ends_a_header(name, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(f"{name},n\nx,1\n", encoding="utf-8", newline="")
    assert tables.read_table(path).column_names == [name.strip('"'), "n"]


@pytest.mark.parametrize("content", [b"\x0b", b"\n\x0b\n", b" \n"])
def test_a_header_of_nothing_is_unreadable_or_a_name(content, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        tables.count_rows(path)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(tables.FORMATS),
    st.binary(max_size=40) | st.lists(st.sampled_from(SNIPPETS), max_size=12).map(lambda s: "".join(s).encode()),
)
def test_any_bytes_are_read_or_unreadable(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = text_file(tmp_path_factory.getbasetemp() / f"any{suffix}", content)
    bad: list[int] = []
    try:
        rows = tables.count_rows(path)
        seen = sum(batch.num_rows for _, batch in tables.read(path, bad=partial(note, bad)))
        assert seen + len(bad) == rows
        tables.read_table(path)
    except Unreadable as error:
        assert path.name in str(error)
