"""Rows as cells: every value has one, the same that it is counted in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.bins import HASH_BINS, Binning, count_numbers, count_text, quantile_edges
from fuseline.cells import COMMON, Axis, axes, axis, numbers
from fuseline.contract import learn
from fuseline.profile import learn_bins

values = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60)
texts = st.lists(st.one_of(st.none(), st.sampled_from("abcdef"), st.text(max_size=3)), min_size=1, max_size=60)


def floats(found: list[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in found], dtype=np.float64)


def objects(found: list[str | None]) -> np.ndarray:
    made = np.empty(len(found), dtype=object)
    made[:] = found
    return made


def of_numbers(reference: np.ndarray, bins: int = 16) -> Axis:
    edges = quantile_edges(reference[~np.isnan(reference)], bins)
    counts = count_numbers(Binning("numeric", edges), reference)
    return axis("x", Binning("numeric", edges, counts=tuple(counts)), reference)


def of_levels(reference: np.ndarray) -> Axis:
    levels = tuple(dict.fromkeys(v for v in reference if v is not None))
    counts = count_text(Binning("levels", levels=levels), pa.array(reference, pa.string()).dictionary_encode())
    return axis("city", Binning("levels", levels=levels, counts=tuple(counts)), reference)


# ── every value has a cell ───────────────────────────────────────────────────────────────────────


@given(values, values)
def test_numbers_lie_in_the_cells_that_a_profile_counts_them_in(before: list, after: list) -> None:
    found = of_numbers(floats(before))
    counted = count_numbers(found.binning, floats(after))
    assert found.fold(counted).tolist() == found.counts(found.place(floats(after))).tolist()


@given(texts, texts)
def test_levels_lie_in_the_cells_that_a_profile_counts_them_in(before: list, after: list) -> None:
    found = of_levels(objects(before))
    counted = count_text(found.binning, pa.array(objects(after), pa.string()).dictionary_encode())
    assert found.fold(counted).tolist() == found.counts(found.place(objects(after))).tolist()


@given(texts)
def test_free_text_lies_in_the_cell_of_its_hash(after: list) -> None:
    found = axis("note", Binning("hashed"), objects(["some", "words", None]))
    counted = count_text(found.binning, pa.array(objects(after), pa.string()).dictionary_encode())
    assert found.size == HASH_BINS + 3
    assert found.fold(counted).tolist() == found.counts(found.place(objects(after))).tolist()


@given(values, values)
def test_below_above_and_null_have_the_last_cells(before: list, after: list) -> None:
    reference = floats(before)
    found, known = of_numbers(reference), reference[~np.isnan(reference)]
    for value, cell in zip(floats(after), found.place(floats(after)), strict=True):
        if np.isnan(value):
            assert cell == found.size - 1
        elif len(known) and known.min() <= value <= known.max():
            assert cell < found.size - 3
        elif len(known):
            assert cell == found.size - (3 if value < known.min() else 2)


@given(values, values)
def test_a_number_lies_between_the_edges_of_its_cell(before: list, after: list) -> None:
    found = of_numbers(floats(before))
    edges = found.binning.edges
    for value, cell in zip(floats(after), found.place(floats(after)), strict=True):
        if cell < found.binning.regular:
            assert edges[cell] < value <= edges[cell + 1]


@given(texts, texts)
def test_unseen_levels_and_null_have_the_last_cells(before: list, after: list) -> None:
    found = of_levels(objects(before))
    for level, cell in zip(after, found.place(objects(after)), strict=True):
        assert (cell == found.size - 1) == (level is None)
        assert (cell == found.size - 2) == (level is not None and level not in before)


@given(values)
def test_the_cells_of_the_reference_are_those_of_its_values(before: list) -> None:
    reference = floats(before)
    copy = reference.copy()
    found = of_numbers(reference)
    np.testing.assert_array_equal(found.place(reference), found.reference)
    np.testing.assert_array_equal(reference, copy)


def test_the_commonest_levels_come_first_and_rare_ones_are_together() -> None:
    names = [f"level {k}" for k in range(COMMON + 10)]
    found = of_levels(objects([name for k, name in enumerate(names) for _ in range(k + 1)]))
    assert found.size == COMMON + 3
    assert found.place(objects([names[-1], names[-2], names[10], names[9], names[0]])).tolist() == [0, 1, 63, 64, 64]
    assert found.place(objects(["no such", None])).tolist() == [65, 66]
    assert not found.ordered


def test_a_binning_without_counts_is_ranked_by_the_reference_rows() -> None:
    found = axis("city", Binning("levels", levels=("a", "b")), objects(["b", "b", "a"]))
    assert found.place(objects(["a", "b"])).tolist() == [1, 0]


def test_a_column_without_values_knows_values_when_they_come() -> None:
    found = of_numbers(np.full(5, np.nan))
    assert found.size == 3
    assert found.place(np.array([7.0, np.nan])).tolist() == [1, 2]
    assert found.middles.tolist() == [0.0, 1.0, 0.5]
    text = of_levels(objects([None, None]))
    assert text.place(objects(["a", None])).tolist() == [1, 2]


# ── numbers and times ────────────────────────────────────────────────────────────────────────────


def test_times_are_seconds_since_1970_and_no_time_is_nan() -> None:
    found = numbers(np.array(["1970-01-01T00:00:01.5", "NaT", "1969-12-31T23:59:59"], dtype="datetime64[ns]"))
    np.testing.assert_array_equal(found, [1.5, np.nan, -1.0])


def test_times_lie_in_cells_as_their_seconds_do() -> None:
    days = pd.date_range("2025-01-01", periods=64).to_numpy(dtype="datetime64[ns]")
    found = of_numbers(numbers(days))
    np.testing.assert_array_equal(found.place(days), found.place(numbers(days)))
    assert found.place(np.array(["NaT", "1990-01-01"], dtype="datetime64[ns]")).tolist() == [18, 16]


# ── shares and middle ranks ──────────────────────────────────────────────────────────────────────


@given(values)
def test_shares_add_up_to_one(before: list) -> None:
    assert of_numbers(floats(before)).shares.sum() == pytest.approx(1.0)


@given(values.filter(any))
def test_the_mean_of_the_middle_ranks_of_known_values_is_one_half_and_they_rise(before: list) -> None:
    found = of_numbers(floats(before))
    assert found.middles[found.reference][[v is not None for v in before]].mean() == pytest.approx(0.5)
    assert (np.diff(found.middles[:-3]) > 0.0).all()
    assert found.middles[-3:].tolist() == [0.0, 1.0, 0.5]


def test_a_reference_without_rows_has_no_shares() -> None:
    found = axis("x", Binning("numeric", edges=(0.0, 1.0)), np.zeros(0))
    assert found.shares.tolist() == [0.0, 0.0, 0.0, 0.0]
    assert found.middles.tolist() == [0.0, 0.0, 1.0, 0.5]


# ── all columns ──────────────────────────────────────────────────────────────────────────────────


def test_every_feature_and_every_score_has_an_axis() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "city": objects(["a", "b"] * 100)})
    contract = learn(pa.Table.from_pandas(frame, preserve_index=False))
    one, three = rng.random(200), rng.random((200, 3))
    columns, score = axes(learn_bins(frame, contract, one), frame, one)
    assert [(a.name, a.ordered) for a in columns.values()] == [("x", True), ("city", False)]
    assert list(score) == ["score"]
    np.testing.assert_array_equal(score["score"].reference, score["score"].place(one))
    _, several = axes(learn_bins(frame, contract, three), frame, three)
    assert list(several) == ["score_0", "score_1", "score_2"]
    np.testing.assert_array_equal(several["score_2"].reference, several["score_2"].place(three[:, 2]))
    assert all(a.reference.shape == (200,) for a in (*columns.values(), *score.values(), *several.values()))
