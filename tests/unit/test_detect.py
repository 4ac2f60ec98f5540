"""The first stage: what fires, what does not, and how often a clean batch does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.bins import Binning, count_numbers, quantile_edges
from fuseline.cells import Axis, axis
from fuseline.detect import MOST, Change, Detector, Seen, by_importance, compared
from fuseline.records import Check

ROWS = 4000
LETTERS = ("a", "b", "c", "d")
APART = "apart from others"


def numeric(name: str, values: np.ndarray) -> Axis:
    binning = Binning("numeric", quantile_edges(values[~np.isnan(values)], 16))
    return axis(name, Binning("numeric", binning.edges, counts=tuple(count_numbers(binning, values))), values)


def text(name: str, values: np.ndarray, levels: tuple[str, ...] = LETTERS) -> Axis:
    counts = [int((values == level).sum()) for level in levels]
    null = sum(v is None for v in values)
    return axis(name, Binning("levels", levels=levels, counts=(*counts, 0, null)), values)


def draw(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Rows whose price goes with their size; `score` is what a model says of them."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    price = np.exp(size + 0.5 * rng.normal(size=rows))
    city = np.array(LETTERS, dtype=object)[rng.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])]
    return {
        "size": size,
        "price": price,
        "city": city,
        "other": rng.normal(size=rows),
        "score": 1 / (1 + np.exp(-size)),
    }


def detector(reference: dict[str, np.ndarray], budget: float = 1e-3, **importance: float) -> Detector:
    made = {k: numeric(k, v) if v.dtype == np.float64 else text(k, v) for k, v in reference.items()}
    scores = {k: a for k, a in made.items() if k.startswith("score")}
    return Detector({k: a for k, a in made.items() if k not in scores}, scores, importance, budget, 0)


def seen(by: Detector, batch: dict[str, np.ndarray]) -> Seen:
    every = {**by.columns, **by.scores}
    counts = {k: every[k].counts(every[k].place(v)) for k, v in batch.items()}
    return Seen(len(next(iter(batch.values()))), counts, {k: by.columns[k].place(batch[k]) for k in by.columns})


def found(by: Detector, batch: dict[str, np.ndarray]) -> Change:
    return by.detect(seen(by, batch))


USUAL = detector(draw(ROWS, 0), size=0.2, city=0.1)


def named(change: Change, name: str, column: str | None) -> Check:
    return next(c for c in change.checks if (c.name, c.column) == (name, column))


# ── what is checked ──────────────────────────────────────────────────────────────────────────────


def test_the_same_rows_are_at_no_distance() -> None:
    change = found(USUAL, draw(ROWS, 0))
    assert not change.fired
    assert all(c.observed == 0.0 for c in change.checks if c.name.endswith(("distance", "ks", "out of range", "nulls")))


def test_every_column_has_its_checks_and_a_score_names_itself() -> None:
    ordered, levels = ["distance", "ks", "nulls", "out of range"], ["distance", "nulls", "unseen"]
    assert [(c.column, c.name) for c in found(USUAL, draw(500, 1)).checks] == [
        *(("size", n) for n in ordered),
        *(("price", n) for n in ordered),
        *(("city", n) for n in levels),
        *(("other", n) for n in ordered),
        (None, "score distance"),
        (None, "score ks"),
        *((k, APART) for k in ("size", "price", "city", "other")),
    ]


def test_a_batch_without_rows_differs_in_nothing() -> None:
    change = USUAL.detect(seen(USUAL, draw(0, 1)))
    assert change.checks == ()
    assert not change.fired


def test_rows_that_cannot_be_looked_at_one_by_one_are_judged_by_their_counts() -> None:
    batch = draw(1000, 1) | {"size": draw(1000, 1)["size"] + 1.0}
    counts = seen(USUAL, batch)
    change = USUAL.detect(Seen(counts.rows, counts.counts, {}))
    assert change.columns == ("size",)
    assert not any(c.name == APART for c in change.checks)
    assert change.loosened == ()


def test_detecting_does_not_change_the_batch() -> None:
    batch = seen(USUAL, draw(500, 1))
    copies = {k: v.copy() for k, v in {**batch.counts, **batch.cells}.items()}
    USUAL.detect(batch)
    assert all((v == copies[k]).all() for k, v in {**batch.counts, **batch.cells}.items())


def test_the_same_seed_gives_the_same_thresholds() -> None:
    again = detector(draw(ROWS, 0), size=0.2, city=0.1)
    assert found(again, draw(500, 1)).checks == found(USUAL, draw(500, 1)).checks


# ── what fires ───────────────────────────────────────────────────────────────────────────────────


def test_a_shifted_column_fires_and_clean_ones_do_not() -> None:
    change = found(USUAL, draw(2000, 1) | {"other": draw(2000, 1)["other"] + 0.5})
    assert change.fired
    assert change.columns == ("other",)
    assert not change.scores
    assert {c.name for c in change.checks if c.fired} == {"distance", "ks"}


def test_the_most_changed_column_comes_first() -> None:
    batch = draw(2000, 1)
    change = found(USUAL, batch | {"other": batch["other"] + 0.4, "price": batch["price"] * 100})
    assert change.columns == ("price", "other")
    change = found(USUAL, batch | {"other": batch["other"] + 40.0, "price": batch["price"] * 1.2})
    assert change.columns == ("other", "price")


def test_scores_that_are_spread_differently_are_no_column() -> None:
    batch = draw(2000, 1)
    change = found(USUAL, batch | {"score": batch["score"] ** 2})
    assert (change.columns, change.scores, change.fired) == ((), True, True)


def test_several_scores_are_checked_each() -> None:
    def classes(rows: int, seed: int) -> dict[str, np.ndarray]:
        found = draw(rows, seed)
        return {"size": found["size"], "score_0": found["score"], "score_1": 1.0 - found["score"]}

    by, batch = detector(classes(ROWS, 0)), classes(1000, 1)
    change = found(by, batch | {"score_1": batch["score_1"] ** 3})
    assert change.scores
    assert {c.name for c in change.checks if c.fired} == {"score_1 distance", "score_1 ks"}


def test_nulls_unseen_levels_and_values_out_of_range_have_their_own_checks() -> None:
    batch = draw(2000, 1)
    few = np.isin(np.arange(2000), np.argsort(batch["other"])[[*range(10), *range(-10, 0)]])
    nulls = found(USUAL, batch | {"other": np.where(few, np.nan, batch["other"])})
    assert named(nulls, "nulls", "other").observed == 0.01
    assert named(nulls, "nulls", "other").fired
    beyond = found(USUAL, batch | {"other": np.where(few, np.where(batch["other"] > 0, 99.0, -99.0), batch["other"])})
    assert named(beyond, "out of range", "other").observed == 0.01
    assert named(beyond, "out of range", "other").fired
    unseen = found(USUAL, batch | {"city": np.where(few, "e", batch["city"]).astype(object)})
    assert named(unseen, "unseen", "city").fired
    one = np.arange(2000) == 7
    assert not found(USUAL, batch | {"other": np.where(one, 99.0, batch["other"])}).fired
    assert not found(USUAL, batch | {"city": np.where(one, "e", batch["city"]).astype(object)}).fired


def test_levels_that_came_once_announce_others_that_never_came() -> None:
    usual = ["a"] * 3800 + ["b"] * 100
    once, twice = ([f"{k}" for k in range(100 // n)] * n for n in (1, 2))
    made = []
    for rare in (once, twice):
        values = np.array([*usual, *rare], dtype=object)
        made.append(Detector({"city": text("city", values, tuple(dict.fromkeys(values)))}, {}, {}, 1e-3, 0))
    batch = np.array(["a"] * 950 + ["b"] * 25 + [f"new {k}" for k in range(25)], dtype=object)
    checks = [named(found(by, {"city": batch}), "unseen", "city") for by in made]
    assert checks[0].observed == checks[1].observed == 0.025
    assert [c.fired for c in checks] == [False, True]


def test_what_changed_a_little_counts_only_where_something_fired() -> None:
    by, batch = detector(draw(ROWS, 0), 1e-9), draw(1000, 1)
    little = batch | {"other": batch["other"] + 0.3, "score": batch["score"] ** 1.15}
    for name, check in (("other", "distance"), ("score", "score distance")):
        observed = named(found(by, little), check, None if name == "score" else name).observed
        strict, _, loose = by.thresholds[name].at(1000)
        assert loose < (observed or 0.0) < strict
    assert not found(by, little).fired
    change = found(by, little | {"price": batch["price"] * 9})
    assert change.columns == ("price", "other")
    assert change.scores


# ── what goes together ───────────────────────────────────────────────────────────────────────────


def test_a_column_dealt_to_other_rows_is_broken_though_it_is_spread_as_before() -> None:
    batch = draw(2000, 1)
    change = found(USUAL, batch | {"price": np.random.default_rng(0).permutation(batch["price"])})
    assert change.columns == ()
    assert set(change.broken) == {"price", "size"}
    assert set(change.loosened) >= {"price", "size"}
    assert change.fired
    figures = {
        c.column: (c.observed or 0.0) / (c.bound or 1.0) for c in change.checks if c.column in change.broken and c.fired
    }
    assert list(change.broken) == sorted(figures, key=lambda c: -figures[c])


def test_a_column_that_goes_together_more_is_neither_broken_nor_loosened() -> None:
    batch = draw(2000, 1)
    change = found(USUAL, batch | {"price": np.exp(1.118 * batch["size"])})
    assert (named(change, APART, "price").observed or 0.0) < 0.0
    assert "price" not in (*change.broken, *change.loosened)


def test_an_important_column_is_watched_more_closely() -> None:
    change = found(detector(draw(ROWS, 0), price=0.5, city=0.1), draw(500, 1))
    bounds = {c.column: c.bound for c in change.checks if c.name == APART}
    assert bounds["price"] < bounds["size"]
    assert bounds["city"] < bounds["other"]


def test_only_the_important_columns_of_many_are_watched_together() -> None:
    rng = np.random.default_rng(0)
    many = {f"x{k:02}": rng.normal(size=300) for k in range(MOST + 6)}
    weights = {k: float(i) for i, k in enumerate(many)}
    by = detector(many, **weights)
    assert by.dependence is not None
    assert by.dependence.columns == tuple(many)[6:]


def test_one_column_goes_together_with_none() -> None:
    by = detector({"x": draw(ROWS, 0)["size"]})
    assert by.dependence is None
    assert not found(by, {"x": draw(500, 1)["size"]}).fired
    assert found(by, {"x": draw(500, 1)["size"] + 1.0}).columns == ("x",)


# ── odd references and batches ───────────────────────────────────────────────────────────────────


def test_a_column_without_values_fires_when_values_come() -> None:
    by = detector({"x": np.full(ROWS, np.nan)})
    assert not found(by, {"x": np.full(500, np.nan)}).fired
    change = found(by, {"x": np.full(500, 7.0)})
    assert {c.name for c in change.checks if c.fired} == {"distance", "ks", "out of range"}


@pytest.mark.parametrize("values", [np.zeros(ROWS), draw(ROWS, 0)["size"], draw(ROWS, 0)["city"]])
def test_edge_cases_are_judged(values: np.ndarray) -> None:
    by = detector({"x": values})
    assert not found(by, {"x": values}).fired
    assert not found(by, {"x": values[:1]}).fired
    void = np.full(500, None if values.dtype == object else np.nan, dtype=values.dtype)
    change = found(by, {"x": void})
    assert {"distance", "nulls"} <= {c.name for c in change.checks if c.fired}
    assert named(change, "distance", "x").observed == 2.0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([*LETTERS, "e", None]), min_size=1, max_size=40),
    st.lists(st.sampled_from([-9.0, 0.0, 0.5, 9.0, np.nan]), min_size=1, max_size=40),
)
def test_any_batch_gets_finite_figures(levels: list, numbers: list) -> None:
    rows = min(len(levels), len(numbers))
    batch = draw(rows, 1) | {"city": np.array(levels[:rows], dtype=object), "other": np.array(numbers[:rows])}
    for check in found(USUAL, batch).checks:
        assert check.observed is not None
        assert check.bound is not None
        assert np.isfinite([check.observed, check.bound]).all()
        assert check.observed >= 0.0 or check.name == APART


@pytest.mark.parametrize("rows", [100, 3000])
def test_clean_batches_keep_the_promise(rows: int) -> None:
    by = detector(draw(ROWS, 0), 0.05)
    assert sum(found(by, draw(rows, 100 + k)).fired for k in range(150)) <= 16  # 7.5 are expected at most


# ── cells that are compared, and shares of the budget ────────────────────────────────────────────


@given(st.lists(st.integers(0, 100), min_size=3, max_size=12))
def test_every_row_is_compared_once(counts: list[int]) -> None:
    whole = np.array(counts)
    ordered = Axis("x", Binning("numeric"), np.zeros(0), len(counts), np.zeros(0))
    levels = Axis("x", Binning("levels"), np.zeros(0), len(counts), np.zeros(0))
    assert compared(ordered, whole).sum() == whole.sum()
    assert compared(ordered, whole)[-1] == counts[-1]
    assert whole.tolist() == counts
    assert compared(levels, whole) is whole


@given(st.dictionaries(st.text(max_size=3), st.floats(-1.0, 5.0), min_size=1, max_size=8))
def test_the_budget_is_shared_out_by_importance_and_none_is_left_without(weights: dict[str, float]) -> None:
    shares = by_importance(list(weights), weights)
    assert sum(shares.values()) == pytest.approx(1.0)
    if max(weights.values()) > 1e-300:
        assert all(s > 0.0 for s in shares.values())
    for a in weights:
        for b in weights:
            assert shares[a] >= shares[b] - 1e-12 or weights[a] < weights[b]


def test_weights_of_nothing_are_shared_evenly() -> None:
    assert by_importance(["a", "b"], {"a": 0.0, "b": -1.0}) == {"a": 0.5, "b": 0.5}
    assert by_importance(["a", "b"], {}) == {"a": 0.5, "b": 0.5}
    assert by_importance([], {}) == {}


def test_the_distances_of_all_columns_and_scores_have_one_budget_together() -> None:
    one = detector(draw(ROWS, 0), size=0.2)
    three = detector(draw(ROWS, 0) | {f"score_{k}": draw(ROWS, k)["score"] for k in range(3)}, size=0.2)
    totals = [sum(t.budget for t in by.thresholds.values()) for by in (one, three)]
    assert 0.0 < totals[0] < 1e-3
    assert totals[1] == pytest.approx(totals[0])


def test_of_many_columns_each_has_the_wider_bounds() -> None:
    few = {"a": draw(ROWS, 0)["size"]}
    many = few | {f"x{k}": few["a"] for k in range(30)}
    bounds = [
        named(found(detector(rows), {k: v[:500] for k, v in rows.items()}), "nulls", "a").bound for rows in (few, many)
    ]
    assert (bounds[0] or 1.0) < (bounds[1] or 0.0)


def test_the_important_column_has_the_lower_threshold() -> None:
    low, high = (detector(draw(ROWS, 0), other=w).thresholds["other"].at(1000)[0] for w in (9.0, 0.0))
    even = detector(draw(ROWS, 0), other=0.0, size=9.0).thresholds["other"].at(1000)[0]
    assert low < high < even
