"""What creeps: found over several batches, and not where nothing does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.bins import Binning
from fuseline.cells import Axis
from fuseline.leak import WINDOWS, Counts, Creep, check, creeps

EVEN = np.r_[np.full(10, 0.0999), 3e-4, 3e-4, 4e-4]  # ten bins, below, above, null


def ordered(reference: Sequence[int]) -> Axis:
    """An axis whose reference has so many rows in each cell."""
    size = len(reference)
    binning = Binning("numeric", edges=tuple(float(k) for k in range(size - 2)))
    return Axis("x", binning, np.arange(size), size, np.repeat(np.arange(size), reference))


def levels(reference: Sequence[int]) -> Axis:
    size = len(reference)
    binning = Binning("levels", levels=tuple(f"{k}" for k in range(size - 3)))
    return Axis("city", binning, np.arange(size), size, np.repeat(np.arange(size), reference))


def drawn(rows: int, seed: int, nulls: float = 4e-4, tilt: float = 0.0) -> np.ndarray:
    shares = EVEN * np.r_[np.linspace(1.0 - tilt, 1.0 + tilt, 10), 1.0, 1.0, nulls / EVEN[-1]]
    return np.random.default_rng([seed, rows]).multinomial(rows, shares / shares.sum())


X = {"x": ordered(drawn(20_000, 0))}


def batches(count: int, rows: int = 1000, seed: int = 1, **fault: float) -> list[Counts]:
    return [{"x": drawn(rows, 100 * seed + k, **fault)} for k in range(count)]


def of(found: list[Creep], figure: str) -> Creep:
    return next(c for c in found if c.figure == figure)


# ── figures ──────────────────────────────────────────────────────────────────────────────────────


def test_numbers_have_nulls_range_and_rank_and_text_has_nulls_and_unseen() -> None:
    axes = {**X, "city": levels([50, 50, 0, 0, 1])}
    found = creeps(axes, [{"x": drawn(100, 1), "city": np.array([5, 5, 0, 0, 0])}])
    assert [(c.column, c.figure) for c in found] == [
        ("x", "nulls"),
        ("x", "out of range"),
        ("x", "rank"),
        ("city", "nulls"),
        ("city", "unseen"),
    ]


def test_the_figure_is_what_it_says() -> None:
    axes = {"x": ordered([400, 600, 0, 0, 1000])}
    nulls = of(creeps(axes, [{"x": np.array([40, 60, 0, 0, 300])}]), "nulls")
    assert (nulls.batches, nulls.now, nulls.before) == (1, 0.75, 0.5)
    share = (1300 + 0.1) / 2400.5  # half a row is added, spread over the five cells
    variance = (1300 + 0.5) / 2400.5 - share**2
    assert nulls.z == pytest.approx(0.25 / (variance * (1 / 400 + 1 / 2000)) ** 0.5)


def test_the_rank_grows_where_values_do() -> None:
    up, down = (of(creeps(X, batches(4, tilt=t)), "rank") for t in (0.3, -0.3))
    assert up.z > 3.0
    assert up.now > up.before
    assert down.z < -3.0
    assert down.now < down.before


def test_unseen_levels_are_counted() -> None:
    found = creeps({"city": levels([500, 500, 0, 0, 0])}, [{"city": np.array([480, 480, 0, 40, 0])}] * 4)
    assert of(found, "unseen").z > 5.0
    assert of(found, "unseen").now == 0.04
    assert of(found, "nulls").z == 0.0


@given(st.lists(st.integers(0, 300), min_size=5, max_size=5), st.integers(1, 8))
def test_batches_like_the_reference_do_not_creep(reference: list[int], count: int) -> None:
    found = creeps({"x": ordered(reference)}, [{"x": np.array(reference)}] * count)
    assert all(c.z == pytest.approx(0.0, abs=1e-6) for c in found)


@given(st.lists(st.lists(st.integers(0, 500), min_size=5, max_size=5), min_size=1, max_size=6))
def test_any_counts_give_finite_figures_and_are_not_changed(rows: list[list[int]]) -> None:
    stack = [np.array(r) for r in rows]
    copies = [r.copy() for r in stack]
    for creep in creeps({"x": ordered([100, 100, 0, 0, 1])}, [{"x": r} for r in stack]):
        assert np.isfinite([creep.z, creep.now, creep.before]).all()
        assert creep.batches in WINDOWS
        assert creep.batches <= len(rows)
    assert all((a == b).all() for a, b in zip(stack, copies, strict=True))


def test_the_longest_window_is_sixteen_batches() -> None:
    found = of(creeps(X, [*batches(20), *batches(30, seed=2, nulls=0.004)]), "nulls")
    assert found.batches == 16


@pytest.mark.parametrize("window", WINDOWS)
def test_the_window_that_is_furthest_off_is_told(window: int) -> None:
    axes = {"x": ordered([10_000, 9_980, 0, 0, 20])}
    usual, leaking = {"x": np.array([5000, 4990, 0, 0, 10])}, {"x": np.array([5000, 4900, 0, 0, 100])}
    found = of(creeps(axes, [*[usual] * 16, *[leaking] * window]), "nulls")
    assert (found.batches, found.now, found.before) == (window, 0.01, 0.001)


def test_too_few_rows_for_a_normal_law_and_empty_batches_are_no_creep() -> None:
    axes = {"x": ordered([500, 500, 0, 0, 0])}
    assert of(creeps(axes, [{"x": np.array([5, 4, 0, 0, 1])}] * 2), "nulls").z == 0.0
    assert of(creeps(axes, [{"x": np.zeros(5, dtype=int)}] * 3), "nulls") == Creep("x", "nulls", 0.0, 1, 0.0, 0.0)
    void = {"x": ordered([0] * 5)}
    assert all(c.z == 0.0 for c in creeps(void, [{"x": np.array([5, 4, 0, 0, 1])}]))


def test_what_is_odd_about_the_reference_does_not_add_up() -> None:
    odd = {"x": ordered(drawn(1000, 0, nulls=0.02))}
    checks, causes = check(odd, batches(30, nulls=0.012), 1e-3)
    assert not causes
    assert checks[0].observed is not None


# ── the check ────────────────────────────────────────────────────────────────────────────────────


def test_one_batch_or_no_column_is_not_checked() -> None:
    assert check(X, batches(1, nulls=0.5), 1e-3) == ([], [])
    assert check({}, [{}, {}], 1e-3) == ([], [])


def test_a_slow_leak_is_found_within_a_few_batches_and_warns() -> None:
    series = [*batches(8), *batches(6, seed=2, nulls=0.008)]
    found = [check(X, series[:n], 1e-3) for n in range(2, 15)]
    assert not any(causes for _, causes in found[:7])
    checks, causes = found[-1]
    assert checks[0].fired
    assert (causes[0].kind, causes[0].column, causes[0].level) == ("leak", "x", "warn")
    assert causes[0].observed == checks[0].observed
    assert causes[0].bound == checks[0].bound
    assert "the null share of x creeps: " in causes[0].sentence
    assert "over the last 4 batches" in causes[0].sentence or "over the last 8 batches" in causes[0].sentence


def test_what_one_batch_shows_is_left_to_that_batch() -> None:
    checks, causes = check(X, [*batches(6), *batches(1, seed=2, nulls=0.3)], 1e-3)
    assert checks[0].fired
    assert causes == []


def test_a_smaller_budget_has_a_higher_bound_and_so_have_more_columns() -> None:
    few, rare = (check(X, batches(3), budget)[0][0].bound for budget in (1e-2, 1e-5))
    many = {f"x{k}": X["x"] for k in range(50)}
    more = check(many, [dict.fromkeys(many, b["x"]) for b in batches(3)], 1e-2)[0][0].bound
    assert few is not None
    assert rare is not None
    assert more is not None
    assert few < rare
    assert few < more


@pytest.mark.parametrize("rows", [500, 10_000])
def test_series_without_a_leak_warn_as_seldom_as_the_budget_says(rows: int) -> None:
    warned = looks = 0
    for seed in range(40):
        axes = {"x": ordered(drawn(5000, 1000 + seed))}
        series = batches(16, rows, 50 + seed)
        for n in (4, 8, 12, 16):
            warned += bool(check(axes, series[:n], 0.02)[1])
            looks += 1
    assert warned <= 8  # of 160 looks: 3.2 are expected at most


def test_sentences_say_what_creeps_and_where() -> None:
    assert (
        Creep("age", "nulls", 5.0, 4, 0.012, 0.001).sentence
        == "the null share of age creeps: 1.20% over the last 4 batches v. 0.10% before"
    )
    assert "the share of values never seen of city creeps: " in Creep("city", "unseen", 5.0, 2, 0.1, 0.0).sentence
    up, down = (Creep("age", "rank", z, 16, 0.52, 0.5).sentence for z in (5.0, -5.0))
    assert up == "age creeps upwards: mean rank 0.520 over the last 16 batches v. 0.500 before"
    assert "downwards" in down
