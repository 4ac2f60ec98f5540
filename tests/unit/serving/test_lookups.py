from __future__ import annotations

import pyarrow as pa
import pytest

from fuseline.contract import Column, Contract
from fuseline.errors import DataError
from fuseline.serving.lookups import Lookup

CONTRACT = Contract((Column("stars", "number", True, 0, 3),), None, None, None, 3, ("hotel",))
HOTELS = pa.table({"hotel": ["7", "None", None], "stars": [3, 4, 5]})


def filled(keys: list[object], given: list[float | None]) -> list[float | None]:
    columns = {"stars": given}
    Lookup.of(HOTELS, "hotel", CONTRACT).fill(columns, keys)
    return list(columns["stars"])


def test_a_key_is_found_as_text_or_as_a_number_and_an_unknown_one_gives_null():
    assert filled(["7", 7, 7.0, "8", True], [None] * 5) == [3.0, 3.0, 3.0, None, None]


def test_no_key_finds_nothing():
    assert filled([None], [None]) == [None]


def test_a_value_that_is_given_comes_before_the_tables():
    assert filled(["7"], [1.0]) == [1.0]


@pytest.mark.parametrize("table", [HOTELS.drop_columns(["hotel"]), pa.concat_tables([HOTELS, HOTELS])])
def test_a_table_that_no_batch_could_be_joined_to_is_refused(table):
    with pytest.raises(DataError):
        Lookup.of(table, "hotel", CONTRACT)
