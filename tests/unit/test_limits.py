"""The loss that is accepted, and the rows that are expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.limits import against_bounds, against_expected, tolerance


@pytest.mark.parametrize(("task", "usual"), [("binary", 0.02), ("multiclass", 0.02), ("regression", 0.05)])
def test_a_task_has_a_tolerance_unless_another_is_told(task, usual):
    assert tolerance(task) == tolerance(task, None) == usual
    assert tolerance(task, 0.5) == 0.5
    assert tolerance(task, 0.0) == 0.0


def test_where_nothing_is_expected_nothing_is_checked():
    assert against_expected(0, None) == ([], [])


@pytest.mark.parametrize(("rows", "halts"), [(0, True), (499, True), (500, False), (2_000, False), (2_001, True)])
def test_half_and_twice_the_expected_rows_are_the_bounds(rows, halts):
    causes, (check,) = against_expected(rows, 1_000)
    assert check.fired == halts
    assert (check.name, check.bound) == ("rows against expected", 2.0)
    assert [(c.level, c.kind, c.observed, c.bound) for c in causes] == [("halt", "rows", rows, 1_000)] * halts


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_too_few_and_too_many_are_alike(rows, expected):
    assert against_expected(rows, expected)[1] == against_expected(expected, rows)[1]


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE, st.none() | FINITE, st.none() | FINITE)
def test_a_figure_halts_where_it_is_beyond_a_bound_and_nowhere_else(value, least, most):
    causes, checks = against_bounds("revenue", value, least, most, fault="model")
    below, above = least is not None and value < least, most is not None and value > most
    assert [(c.bound, c.level, c.fault) for c in causes] == [
        (bound, "halt", "model") for bound, out in ((least, below), (most, above)) if out
    ]
    assert [c.bound for c in checks] == [b for b in (least, most) if b is not None]
    assert sum(c.fired for c in checks) == len(causes)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_a_figure_that_is_no_number_is_inconclusive_whatever_its_bounds(value):
    (cause,), checks = against_bounds("revenue", value, None, 1.0)
    assert (cause.kind, cause.level, cause.observed, checks) == ("business", "inconclusive", None, [])
