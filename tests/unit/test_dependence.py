"""Whether columns still go together, and which ones came from other rows."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline.dependence import Dependence, block, learn

Cells = dict[str, np.ndarray]
SIZES = {"age": 16, "income": 16, "job": 6, "noise": 16}


def people(rows: int, seed: int) -> Cells:
    """Columns that go together, and one that does not."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=rows)
    income = age + 0.7 * rng.normal(size=rows)
    cut = np.linspace(-1.8, 1.8, 15)
    return {
        "age": np.searchsorted(cut, age),
        "income": np.searchsorted(cut, income / 1.22),
        "job": np.where(income > 1.0, 0, np.where(age > 0.5, 1, rng.integers(2, 6, rows))),
        "noise": rng.integers(0, 16, rows),
    }


def dealt(cells: Cells, columns: list[str], share: float = 1.0, seed: int = 9) -> Cells:
    """The same cells with some columns, together, from other rows."""
    rng = np.random.default_rng(seed)
    rows = len(cells["age"])
    hit = np.flatnonzero(rng.random(rows) < share)
    at = np.arange(rows)
    at[hit] = rng.permutation(hit)
    return {k: v[at] if k in columns else v for k, v in cells.items()}


def learned(cells: Cells, sizes: dict[str, int] = SIZES) -> Dependence:
    found = learn(list(sizes), cells, sizes)
    assert found is not None
    return found


PEOPLE = learned(people(6000, 0))


# ── what is learned ──────────────────────────────────────────────────────────────────────────────


def test_one_column_or_a_few_rows_teach_nothing() -> None:
    cells = people(99, 0)
    assert learn(list(SIZES), cells, SIZES) is None
    assert learn(["age"], people(200, 0), SIZES) is None
    assert learn([], {}, {}) is None
    assert learn(list(SIZES), people(100, 0), SIZES) is not None


def test_scores_have_mean_nought_and_variance_one_where_they_were_fitted() -> None:
    fitted = {k: v[::2] for k, v in people(6000, 0).items()}
    scores = PEOPLE.scores(fitted)
    assert np.abs(scores.mean(axis=0)).max() < 0.02
    assert scores.std(axis=0) == pytest.approx(np.ones(scores.shape[1]), abs=0.05)
    assert np.abs(scores).max() <= 6.0


def test_a_column_that_goes_with_none_has_one_score_and_is_not_predicted() -> None:
    noise = PEOPLE.columns.index("noise")
    assert (PEOPLE.owner == noise).sum() == 1
    assert abs(PEOPLE.mean[noise]) < 0.1 < 0.4 < PEOPLE.mean[PEOPLE.columns.index("age")]


def test_no_score_predicts_a_score_of_its_own_column() -> None:
    same = PEOPLE.owner[:, None] == PEOPLE.owner[None, :]
    assert (PEOPLE.predict[same] == 0.0).all()


def test_a_cell_that_the_reference_never_had_says_nothing() -> None:
    cells = people(6000, 0)
    job = learned(cells, {**SIZES, "job": 9}).tables[2]
    assert (job[6:] == 0.0).all()
    assert (job[:6] != 0.0).any()


def test_learning_does_not_change_the_cells() -> None:
    cells = people(500, 3)
    copies = {k: v.copy() for k, v in cells.items()}
    learned(cells).change(cells)
    assert all((cells[k] == copies[k]).all() for k in cells)


# ── change ───────────────────────────────────────────────────────────────────────────────────────


def test_a_column_dealt_to_other_rows_goes_together_less_the_more_rows_there_are() -> None:
    batch = people(2000, 5)
    age = [PEOPLE.change(dealt(batch, ["age"], share))[0] for share in (0.0, 0.1, 0.3, 1.0)]
    assert age == sorted(age, reverse=True)
    assert age[-1] < -20.0 < -3.0 < age[0]


def test_columns_that_go_together_more_are_found_too() -> None:
    pair = learned(people(6000, 0), {"age": 16, "income": 16})
    age = people(2000, 5)["age"]
    assert (pair.change({"age": age, "income": age}) > pair.bounds(2000, 1e-4)).all()


@pytest.mark.parametrize("rows", [60, 500, 5000])
def test_clean_batches_are_beyond_the_bounds_as_seldom_as_is_said(rows: int) -> None:
    bounds = PEOPLE.bounds(rows, 0.05)
    beyond = [(np.abs(PEOPLE.change(people(rows, 100 + k))) > bounds).any() for k in range(200)]
    assert sum(beyond) <= 20  # 10 are expected


def test_the_same_rows_as_measured_are_no_change() -> None:
    second = {k: v[1::2] for k, v in people(6000, 0).items()}
    assert np.abs(PEOPLE.change(second)).max() < 1e-9


def test_bounds_are_normal_quantiles_where_nothing_is_skewed_and_wider_where_it_is() -> None:
    z = NormalDist().inv_cdf(1.0 - 0.01 / 8)
    wider = PEOPLE.bounds(500, 0.01) - z
    assert (wider >= 0.0).all()
    assert wider == pytest.approx((z * z - 1.0) * np.abs(PEOPLE.skew) / (6.0 * (1 / 500 + 1 / PEOPLE.rows) ** -0.5))
    assert (PEOPLE.bounds(500, 1e-4) > PEOPLE.bounds(500, 1e-2)).all()
    assert (PEOPLE.bounds(5000, 1e-2) <= PEOPLE.bounds(500, 1e-2)).all()


def with_gaps(rows: int, share: float, seed: int) -> Cells:
    """Rows of which a few miss all that a joined table gives; `kind` and `flag` are the same in all others."""
    rng = np.random.default_rng(seed)
    gap = rng.random(rows) < share
    found = people(rows, seed) | {"kind": np.zeros(rows, dtype=np.int64), "flag": np.zeros(rows, dtype=np.int64)}
    last = {**SIZES, "kind": 4, "flag": 4}
    return {k: np.where(gap & (k not in ("age", "income")), last[k] - 1, v) for k, v in found.items()}


@pytest.mark.parametrize("share", [1e-5, 3e-4, 3e-3])
def test_rare_rows_that_miss_several_columns_do_not_fire(share: float) -> None:
    sizes = {"age": 16, "income": 16, "job": 7, "noise": 17, "kind": 4, "flag": 4}
    fired = 0
    for seed in range(8):
        found = learned(with_gaps(4000, share, seed), sizes)
        for k in range(5):
            batch = with_gaps(2000, share, 1000 + 10 * seed + k)
            fired += bool((np.abs(found.change(batch)) > found.bounds(2000, 1e-3)).any())
    assert fired <= 1  # of 40


def test_one_row_that_differs_in_constant_columns_does_not_fire() -> None:
    same = {k: np.zeros(1000, dtype=np.int64) for k in "ab"}
    found = learned(same, {"a": 4, "b": 4})
    one = same | {"a": np.eye(1000, dtype=np.int64)[0]}
    assert (np.abs(found.change(one)) <= found.bounds(1000, 1e-3)).all()


def test_products_of_some_columns_are_those_that_change_is_read_from() -> None:
    batch = people(700, 4)
    every, two = PEOPLE.products(batch, [0, 1, 2, 3]), PEOPLE.products(batch, [1, 3])
    np.testing.assert_allclose(two, every[:, [1, 3]])
    error = PEOPLE.sd * (1 / 700 + 1 / PEOPLE.rows) ** 0.5
    np.testing.assert_allclose((every.mean(axis=0) - PEOPLE.mean) / error, PEOPLE.change(batch))


# ── which columns came from other rows ───────────────────────────────────────────────────────────


def test_pairs_go_together_as_before_in_a_clean_batch_and_not_at_all_where_one_was_dealt() -> None:
    age, income, job = 0, 1, 2
    clean = PEOPLE.broken(people(2000, 5))
    np.testing.assert_allclose(clean, clean.T)
    assert (np.diag(clean) == 0.0).all()
    assert min(clean[age, income], clean[age, job], clean[income, job]) > 10.0
    one = PEOPLE.broken(dealt(people(2000, 5), ["age"]))
    assert max(one[age, income], one[age, job]) < -10.0
    assert one[income, job] > 10.0


def chain(rows: int, seed: int) -> Cells:
    """Five columns, each with its neighbours."""
    steps = np.random.default_rng(seed).normal(size=(5, rows))
    path = np.cumsum(steps, axis=0)
    return {k: np.searchsorted(np.linspace(-2, 2, 15), v / v.std()) for k, v in zip("abcde", path, strict=True)}


@pytest.mark.parametrize(
    ("columns", "smaller"), [("ab", (0, 1)), ("c", (2,)), ("abc", (3, 4)), ("", ()), ("abcde", ())]
)
def test_columns_that_were_joined_to_other_rows_together_are_found(columns: str, smaller: tuple[int, ...]) -> None:
    found = learned(chain(6000, 0), dict.fromkeys("abcde", 16))
    batch = chain(3000, 1)
    at = np.random.default_rng(2).permutation(3000)
    joined = {k: v[at] if k in columns else v for k, v in batch.items()}
    assert block(found.broken(joined)) == smaller


matrices = st.integers(2, 7).flatmap(
    lambda n: st.lists(st.floats(-50.0, 50.0), min_size=n * n, max_size=n * n).map(
        lambda found: np.array(found).reshape(n, n)
    )
)


@settings(deadline=None)
@given(matrices)
def test_the_block_is_the_smaller_side_and_explains_at_least_as_much_as_none(whole: np.ndarray) -> None:
    evidence = (whole + whole.T) * (1.0 - np.eye(len(whole)))
    copy = evidence.copy()
    found = block(evidence)
    side = np.ones(len(evidence))
    side[list(found)] = -1.0
    assert list(found) == sorted(found)
    assert len(found) <= len(evidence) / 2
    assert side @ evidence @ side >= evidence.sum() - 1e-6
    assert (evidence == copy).all()
    assert block(np.abs(evidence)) == ()
