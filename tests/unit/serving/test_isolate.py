from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.errors import ModelFault
from fuseline.serving.isolate import TRIES, isolate
from fuseline.serving.problem import Problem
from fuseline.serving.reader import Rows


def well() -> None:
    """A model that still works."""


def request(count: int) -> Rows:
    return Rows(count, (list(range(count)),), list(range(count)))


@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=6))
def test_every_row_is_answered_or_among_the_faults(count, poison):
    poison = {row for row in poison if row < count}

    def score(rows: Rows):
        if poison & set(rows.columns[0]):
            raise ModelFault("poison")
        return {"score": [2 * value for value in rows.columns[0]]}

    if len(poison) == count:
        with pytest.raises(Problem, match="cannot score what was sent"):
            isolate(score, request(count), well)
        return
    columns, rows = isolate(score, request(count), well)
    assert {fault.row for fault in rows.faults} == poison
    assert columns["score"] == [2 * i for i in rows.kept] and set(rows.kept) == set(range(count)) - poison


def test_the_search_ends_when_nearly_every_row_fails():
    calls = []

    def score(rows: Rows):
        calls.append(1)
        if any(value % 2 for value in rows.columns[0]):
            raise ModelFault("odd")
        return {"score": rows.columns[0]}

    columns, rows = isolate(score, request(10_000), well)
    assert columns["score"] == rows.kept and not any(i % 2 for i in rows.kept)
    assert {fault.row for fault in rows.faults} == set(range(10_000)) - set(rows.kept)
    assert sum("not scored" in fault.reason for fault in rows.faults) > 9_000
    assert len(calls) <= TRIES + 3


def test_a_model_that_fails_on_what_it_could_score_is_to_blame_itself():
    def score(rows: Rows):
        raise ModelFault("out of memory")

    def unwell() -> None:
        raise ModelFault("out of memory")

    with pytest.raises(Problem) as caught:
        isolate(score, request(3), unwell)
    assert caught.value.kind == "model-failed"


def test_rows_that_only_fail_together_are_the_models_fault():
    def score(rows: Rows):
        if len(rows.kept) > 1:
            raise ModelFault("needs a single row")
        if rows.columns[0][0] == 0:
            raise ModelFault("zero")
        return {"score": rows.columns[0]}

    with pytest.raises(Problem, match="by themselves"):
        isolate(score, request(4), well)
