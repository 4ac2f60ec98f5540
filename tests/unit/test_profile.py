from __future__ import annotations

import datetime as dt
import itertools
import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import bins as binning
from fuseline.bins import Binning, Bins, count_numbers, quantile_edges
from fuseline.contract import check, learn
from fuseline.errors import ArtifactError, ContractBroken
from fuseline.profile import SAMPLE_ROWS, Ids, Profile, count_duplicates, learn_bins, merge

RNG = np.random.default_rng(5)
N = 2_000
REFERENCE = pa.table(
    {
        "price": pa.array(RNG.lognormal(4, 1, N), mask=RNG.random(N) < 0.05),
        "nights": pa.array(RNG.integers(1, 6, N), mask=RNG.random(N) < 0.05),
        "channel": pa.array(RNG.choice(["app", "fax", "web"], N), mask=RNG.random(N) < 0.05),
        "name": pa.array([f"guest {i}" for i in range(N)], mask=RNG.random(N) < 0.05),
        "paid": pa.array(RNG.random(N) < 0.3, mask=RNG.random(N) < 0.05),
        "arrives": pa.array([dt.datetime(2026, 1, 1) + dt.timedelta(hours=i) for i in range(N)], pa.timestamp("us")),
        "constant": [7.0] * N,
        "nothing": pa.nulls(N, pa.float64()),
    }
)
CONTRACT = learn(REFERENCE)
SCORES = RNG.random(N)
BINS = learn_bins(REFERENCE, CONTRACT, SCORES)


def rows_of(table: pa.Table) -> pa.RecordBatch:
    checked = check(table, CONTRACT)
    assert checked.rejected.num_rows == 0
    return checked.accepted


def changed(**columns: Any) -> pa.RecordBatch:
    count = len(next(iter(columns.values())))
    table = REFERENCE.slice(0, count)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return rows_of(table)


def profile(chunks: Iterable[tuple[int, int]], seed: int = 3, scores: np.ndarray = SCORES) -> Profile:
    made = Profile.empty(BINS, seed)
    for start, stop in chunks:
        made.add(rows_of(REFERENCE.slice(start, stop - start)), scores[start:stop], np.arange(start, stop))
    return made


def content(one: Profile) -> tuple[Any, ...]:
    """All that a profile says, in a form that can be compared exactly."""
    sample = one.sample()
    exact = {k: t.total for k, t in {**one.columns, **one.scores}.items()}
    return json.dumps(one.to_json()), exact, sample.rows.tolist(), sample.features, sample.scores.tolist()


# ── bins ────────────────────────────────────────────────────────────────────────────────────────


def test_a_continuous_column_is_cut_into_sixteen_even_bins() -> None:
    price = BINS.columns["price"]
    shares = np.array(price.counts[: price.regular]) / sum(price.counts[: price.regular])
    assert price.regular == 16
    assert abs(shares - 1 / 16).max() < 0.002
    assert price.counts[-3:] == (0, 0, REFERENCE["price"].null_count)


def test_scores_are_cut_into_twenty_bins() -> None:
    assert BINS.scores["score"].regular == 20
    assert BINS.scores["score"].counts == (100,) * 20 + (0, 0, 0)


def test_a_heavy_value_is_alone_in_its_bin() -> None:
    values = np.concatenate([np.zeros(500), RNG.uniform(1, 2, 500)])
    edges = quantile_edges(values, 16)
    counts = count_numbers(Binning("numeric", edges), values)
    assert counts[0] == 500
    assert len(counts) - 3 == 1 + 8


def test_each_whole_number_has_its_own_bin() -> None:
    nights = REFERENCE["nights"].drop_null().to_numpy()
    assert BINS.columns["nights"].counts[:-3] == tuple(np.bincount(nights)[1:])


@settings(deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=80)
)
def test_no_bin_is_empty_and_no_reference_value_is_out_of_range(values: list[float]) -> None:
    edges = quantile_edges(np.array(values), 16)
    counts = count_numbers(Binning("numeric", edges), np.array(values))
    assert counts[:-3].all()
    assert counts.sum() == len(values)
    assert np.isfinite(edges).all()
    if min(values) > -1.7e308:
        assert counts[-3:].tolist() == [0, 0, 0]


def test_constant_and_empty_columns_have_bins() -> None:
    assert BINS.columns["constant"].counts == (N, 0, 0, 0)
    assert BINS.columns["nothing"].counts == (0, 0, N)


def test_free_text_is_counted_by_hash() -> None:
    name = BINS.columns["name"]
    assert (name.kind, name.regular) == ("hashed", 16)
    assert min(name.counts[:16]) > 60


def test_hashes_of_text_never_change() -> None:
    assert binning.text_hashes(["guest 1", ""]).tolist() == [16917521498298690197, 149217072253989325]


def test_bins_survive_json() -> None:
    assert Bins.from_json(json.loads(json.dumps(BINS.to_json()))) == BINS


def test_what_bins_no_longer_hold_is_passed_over() -> None:
    assert Bins.from_json({**BINS.to_json(), "reference": {"price": {"regular": [1, 2]}}}) == BINS


def test_newer_or_broken_bins_are_refused() -> None:
    with pytest.raises(ArtifactError, match="format 2"):
        Bins.from_json({**BINS.to_json(), "format": 2})
    with pytest.raises(ArtifactError, match="no bins"):
        Bins.from_json({"format": 1, "columns": []})


def test_a_frame_a_table_and_a_batch_give_the_same_bins() -> None:
    frame = REFERENCE.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert learn_bins(frame, CONTRACT, SCORES) == BINS
    assert learn_bins(rows_of(REFERENCE), CONTRACT, SCORES) == BINS


def test_the_reference_counts_itself() -> None:
    counted = profile([(0, N)])
    for name, binned in {**BINS.columns, **BINS.scores}.items():
        assert sum(binned.counts) == N
        assert tuple({**counted.columns, **counted.scores}[name].counts) == binned.counts


@pytest.mark.parametrize(
    ("table", "scores", "message"),
    [
        (REFERENCE.slice(0, 0), SCORES[:0], "0 rows"),
        (REFERENCE, SCORES[:5], "2000 rows, 5 scores"),
        (REFERENCE.set_column(6, "constant", pa.nulls(N, pa.float64())), SCORES, "2000 reference rows break"),
    ],
)
def test_a_reference_that_cannot_be_counted_is_refused(table: pa.Table, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        learn_bins(table, CONTRACT, scores)


def test_a_feature_called_score_is_refused() -> None:
    table = pa.table({"score": [1.0, 2.0]})
    with pytest.raises(ContractBroken, match="rename it"):
        learn_bins(table, learn(table), np.zeros(2))


# ── counting ────────────────────────────────────────────────────────────────────────────────────


def test_values_out_of_range_unseen_levels_and_nulls_are_counted_apart() -> None:
    rows = changed(price=[-1.0, 1e9, None, 50.0], channel=["fax", "sms", None, "web"], nights=[0, 3, 9, 3])
    one = Profile.empty(BINS, 0)
    one.add(rows, np.array([-1.0, 0.5, 0.5, 2.0]), np.arange(4))
    found = {name: tally.counts.tolist() for name, tally in {**one.columns, **one.scores}.items()}
    assert found["price"][-3:] == [1, 1, 1]  # below, above, null
    assert found["nights"] == [0, 0, 2, 0, 0, 1, 1, 0]
    assert found["channel"] == [0, 1, 1, 1, 1]  # three levels, unseen, null
    assert (found["score"][-3:], sum(found["score"])) == ([1, 1, 0], 4)


def test_any_value_of_a_column_that_was_empty_is_above() -> None:
    one = Profile.empty(BINS, 0)
    one.add(changed(nothing=[1.0, None]), np.zeros(2), np.arange(2))
    assert one.columns["nothing"].counts.tolist() == [0, 1, 1]


def test_figures_are_exact() -> None:
    one = profile([(0, 700), (700, N)])
    price = REFERENCE["price"].drop_null().to_numpy()
    figures = one.to_json()["columns"]["price"]
    assert (figures["low"], figures["high"]) == (price.min(), price.max())
    assert figures["mean"] == pytest.approx(price.mean(), rel=1e-12)
    assert one.columns["price"].nulls == REFERENCE["price"].null_count
    assert one.to_json()["columns"]["channel"]["mean"] is None
    assert one.to_json()["columns"]["nothing"]["low"] is None
    assert one.to_json()["scores"]["score"]["mean"] == pytest.approx(SCORES.mean())


def test_sums_beyond_the_largest_float_are_no_crash() -> None:
    one = Profile.empty(BINS, 0)
    one.add(changed(price=[1.5e308, 1.5e308, 1.5e308]), np.zeros(3), np.arange(3))
    assert one.columns["price"].mean == 1.5e308


def test_scores_of_several_classes_are_counted_by_class() -> None:
    scores = np.column_stack([SCORES, 1 - SCORES])
    bins = learn_bins(REFERENCE, CONTRACT, scores)
    assert list(bins.scores) == ["score_0", "score_1"]
    one = Profile.empty(bins, 0)
    one.add(rows_of(REFERENCE), scores, np.arange(N))
    assert one.scores["score_1"].counts.sum() == N
    assert one.sample().scores.shape == (N, 2)


def test_adding_changes_nothing_that_is_given() -> None:
    rows, scores, numbers = rows_of(REFERENCE), SCORES.copy(), np.arange(N)
    before = rows.to_pydict()
    Profile.empty(BINS, 0).add(rows, scores, numbers)
    assert rows.to_pydict() == before
    assert (scores == SCORES).all() and (numbers == np.arange(N)).all()


# ── merging ─────────────────────────────────────────────────────────────────────────────────────

CUTS = [0, 300, 301, 900, 1400, N]
CHUNKS = list(itertools.pairwise(CUTS))


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(5)), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_any_sharding_merged_in_any_order_gives_the_same(order: list[int], shard: list[int]) -> None:
    parts = [profile([CHUNKS[i] for i in order if shard[i] == s]) for s in range(4)]
    assert content(merge(parts)) == content(profile(CHUNKS))


def test_merging_is_associative_and_commutative_and_leaves_its_parts_alone() -> None:
    a, b, c = profile(CHUNKS[:1]), profile(CHUNKS[1:3]), profile(CHUNKS[3:])
    before = [content(p) for p in (a, b, c)]
    whole = content(merge([a, b, c]))
    assert (
        content(merge([merge([a, b]), c])) == content(merge([a, merge([b, c])])) == content(merge([c, b, a])) == whole
    )
    assert [content(p) for p in (a, b, c)] == before


def test_the_order_of_rows_does_not_matter_for_counts() -> None:
    shuffled = RNG.permutation(N)
    one = Profile.empty(BINS, 0)
    one.add(rows_of(REFERENCE.take(shuffled)), SCORES[shuffled], np.arange(N))
    for name, tally in profile([(0, N)]).columns.items():
        assert (tally.counts == one.columns[name].counts).all()


def test_an_empty_profile_adds_nothing() -> None:
    one, nothing = profile(CHUNKS), Profile.empty(BINS, 3)
    assert content(merge([nothing, one, nothing])) == content(one)
    assert nothing.sample().features.num_rows == 0
    assert nothing.sample().features.column_names == list(CONTRACT.names)


def test_profiles_of_other_bins_or_seeds_are_not_merged() -> None:
    with pytest.raises(ContractBroken, match="cannot be merged"):
        merge([profile(CHUNKS, seed=1), profile(CHUNKS, seed=2)])
    with pytest.raises(ContractBroken, match="no profile"):
        merge([])


def test_a_profile_survives_pickling() -> None:
    one = profile(CHUNKS)
    assert content(pickle.loads(pickle.dumps(one))) == content(one)


# ── the sample ──────────────────────────────────────────────────────────────────────────────────


def big(chunk: int, total: int, seed: int = 1) -> Profile:
    one = Profile.empty(BINS, seed)
    for start in range(0, total, chunk):
        size = min(chunk, total - start)
        picked = np.arange(start, start + size) % N
        one.add(rows_of(REFERENCE.take(picked)), SCORES[picked], np.arange(start, start + size))
    return one


def test_the_sample_is_bounded_uniform_and_the_same_for_any_chunking() -> None:
    total = 30_000
    sample = big(7_000, total).sample()
    assert len(sample.rows) == SAMPLE_ROWS == sample.features.num_rows
    assert (np.diff(sample.rows) > 0).all()
    by_tenth = np.bincount(sample.rows * 10 // total, minlength=10)
    assert abs(by_tenth - 500).max() < 5 * np.sqrt(500)
    assert sample.rows.tolist() == big(1_111, total).sample().rows.tolist()
    assert sample.rows.tolist() != big(7_000, total, seed=2).sample().rows.tolist()


def test_sampled_features_and_scores_belong_to_their_rows() -> None:
    sample = big(7_000, 12_000).sample()
    assert sample.scores.tolist() == SCORES[sample.rows % N].tolist()
    assert sample.features["price"].to_pylist() == REFERENCE["price"].take(sample.rows % N).to_pylist()
    assert sample.features["channel"].type == pa.string()


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────


def written(path: Path, *parts: pa.Array) -> Path:
    with Ids(path) as ids:
        for part in parts:
            ids.add(part)
    return path


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.string()])
def test_duplicates_are_counted_over_all_files(tmp_path: Path, kind: pa.DataType) -> None:
    one = written(tmp_path / "1", pa.array([1, 2, 2, None]).cast(kind), pa.array([3]).cast(kind))
    two = written(tmp_path / "2", pa.array([3, 4, None]).cast(kind))
    empty = written(tmp_path / "3")
    assert one.stat().st_size == 8 * 4
    assert count_duplicates([one, two, empty]) == 2
    assert count_duplicates([empty]) == count_duplicates([]) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=20, max_size=200), st.integers(1, 19))
def test_duplicates_counted_in_several_passes_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    paths = [written(folder / str(i), pa.array(ids[i::3], pa.int64())) for i in range(3)]
    assert count_duplicates(paths, at_once=at_once) == len(ids) - len(set(ids))
