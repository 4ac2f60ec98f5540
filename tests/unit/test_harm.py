"""What a change would cost, read off the reference, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.errors import DataError
from fuseline.harm import Estimate, estimate, explain
from fuseline.performance import measure

TWO = ("no", "yes")
numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=80)
levels = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=80)


def floats(values: list) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def objects(values: list) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


# ── the estimate ─────────────────────────────────────────────────────────────────────────────────


def labelled(rows: int = 3000) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "price": random.lognormal(4.0, 0.6, rows),
            "city": random.choice(["Rome", "Madrid", "Paris"], rows).astype(object),
            "noise": random.normal(size=rows),
        }
    )
    chance = 1.0 / (1.0 + np.exp(-logits(frame)))
    return frame, np.where(random.random(rows) < chance, "yes", "no").astype(object)


def logits(frame: pd.DataFrame) -> np.ndarray:
    city = frame["city"].map({"Rome": 1.0, "Madrid": -1.0}).fillna(0.0).to_numpy()
    price = np.nan_to_num(frame["price"].to_numpy(), nan=55.0)
    return np.clip((price - 55.0) / 20.0, -4.0, 4.0) + city - 0.5


def model(frame: pd.DataFrame) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits(frame)))


def cost(batch: pd.DataFrame, columns: list[str]) -> Estimate:
    frame, truth = labelled()
    return estimate(model, frame, truth, "binary", TWO, batch, columns, seed=0)


def test_no_changed_column_costs_nothing() -> None:
    assert cost(labelled(100)[0], []) == Estimate(0.0, {})


def test_the_same_rows_cost_nothing() -> None:
    frame, _ = labelled()
    found = cost(frame, ["price", "city", "noise"])
    assert found.total == 0.0
    assert found.by_column == {"price": 0.0, "city": 0.0, "noise": 0.0}


def test_the_estimate_is_what_the_fault_really_costs() -> None:
    frame, truth = labelled()
    broken = frame.assign(price=frame["price"] * 100)
    real = measure("binary", truth, model(frame), TWO).value - measure("binary", truth, model(broken), TWO).value
    found = cost(broken.sample(1000, random_state=0), ["price"])
    assert real > 0.1
    assert found.total == pytest.approx(real, abs=0.01)
    assert found.by_column == {"price": found.total}


def test_harm_grows_with_the_share_of_nulls() -> None:
    frame, _ = labelled()
    totals = [cost(frame.assign(price=frame["price"].where(frame.index >= k)), ["price"]).total for k in (0, 900, 3000)]
    assert totals[0] == 0.0 < totals[1] < totals[2]


def test_a_column_that_the_model_does_not_use_costs_nothing_and_all_are_taken_together() -> None:
    frame, _ = labelled()
    broken = frame.assign(price=np.nan, noise=frame["noise"] + 9, city=objects(["Madrd"] * len(frame)))
    copy = broken.copy()
    found = cost(broken, ["price", "noise", "city"])
    assert found.by_column["noise"] == 0.0
    assert found.total > max(found.by_column.values()) > 0.02
    pd.testing.assert_frame_equal(broken, copy)


def test_the_model_sees_the_types_it_was_trained_on() -> None:
    frame, truth = labelled(400)
    frame["at"] = pd.date_range("2025-01-01", periods=400, unit="ns")
    seen = []

    def score(data: pd.DataFrame) -> np.ndarray:
        seen.append(dict(data.dtypes))
        return model(data)

    batch = frame.assign(city=objects([None] * 400), price=np.nan, at=pd.NaT).astype({"at": "datetime64[ns]"})
    estimate(score, frame, truth, "binary", TWO, batch, ["city", "price", "at"], seed=0, rows=100)
    assert all(types == dict(frame.dtypes) for types in seen)


def test_a_regression_loses_a_share_of_its_rmse() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=1000)})
    truth = frame["x"].to_numpy() + random.normal(size=1000)
    nulls = frame.assign(x=np.nan)
    found = estimate(lambda d: d["x"].fillna(0.0).to_numpy(), frame, truth, "regression", (), nulls, ["x"], 0)
    assert found.total == pytest.approx(2**0.5 - 1, abs=0.05)


def test_absurd_predictions_have_a_finite_harm() -> None:
    frame = pd.DataFrame({"x": np.arange(10.0)})
    huge = frame.assign(x=1e300)
    found = estimate(lambda d: d["x"].to_numpy() * 1e8, frame, np.arange(10.0), "regression", (), huge, ["x"], 0)
    assert 1.0 < found.total < np.inf


def test_a_reference_without_a_metric_is_an_error() -> None:
    frame, _ = labelled(50)
    with pytest.raises(DataError, match="no metric"):
        estimate(model, frame, np.full(50, "no", dtype=object), "binary", TWO, frame, ["price"], 0)


# ── another mix of rows, or values that mean something else ─────────────────────────────────────────────────────────


def people(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns that go together, as those of real rows do."""
    random = np.random.default_rng(seed)
    age = random.normal(45.0, 12.0, rows)
    income = np.exp(0.03 * age + random.normal(8.0, 0.3, rows))
    job = np.where(income > 13000, "manager", np.where(age > 50, "retired", "worker")).astype(object)
    frame = pd.DataFrame({"age": age, "income": income, "job": job, "noise": random.normal(size=rows)})
    chance = 1.0 / (1.0 + np.exp(-people_logits(frame)))
    return frame, np.where(random.random(rows) < chance, "yes", "no").astype(object)


def people_logits(frame: pd.DataFrame) -> np.ndarray:
    job = frame["job"].map({"manager": 1.0, "retired": -1.0}).fillna(0.0).to_numpy()
    return np.nan_to_num((frame["age"].to_numpy() - 45.0) / 10.0) + 1.2 * job


def people_model(frame: pd.DataFrame) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-people_logits(frame)))


def judged(batch: pd.DataFrame, columns: list[str], rows: int = 4000, **known: object) -> Estimate:
    frame, truth = people(6000, 0)
    weights = {"age": 0.2, "job": 0.1}
    return estimate(people_model, frame, truth, "binary", TWO, batch, columns, 0, rows, importance=weights, **known)


def test_another_mix_of_rows_is_believed_and_costs_what_the_model_loses_on_it() -> None:
    frame, truth = people(6000, 1)
    kept = np.random.default_rng(0).random(6000) < np.where(frame["age"] > 45.0, 0.8, 0.25)
    found = judged(frame[kept], ["age", "income", "job"], score_changed=True)
    real = measure("binary", truth, people_model(frame), TWO).value
    real -= measure("binary", truth[kept], people_model(frame[kept]), TWO).value
    assert found.selection > 0.9
    assert found.total == pytest.approx(max(real, 0.0), abs=0.03)
    assert max(found.by_column.values()) < 0.01


@pytest.mark.parametrize(
    ("column", "broken", "least"),
    [
        ("age", lambda v: v * 100, 0.05),
        ("age", lambda v: v / 100, 0.01),
        ("age", lambda v: 90.0 - v, 0.2),  # turned round, and spread as before
        ("age", lambda v: v.where(np.arange(len(v)) % 10 > 3), 0.02),
        ("age", lambda v: v * np.nan, 0.05),
        ("job", lambda v: v.map({"manager": "worker", "worker": "retired", "retired": "manager"}), 0.05),
    ],
)
def test_values_that_mean_something_else_are_believed_to_be_a_fault(column: str, broken: object, least: float) -> None:
    frame, truth = people(3000, 1)
    batch = frame.assign(**{column: broken(frame[column])})
    real = measure("binary", truth, people_model(frame), TWO).value
    real -= measure("binary", truth, people_model(batch), TWO).value
    found = judged(batch, [column], score_changed=True)
    assert found.selection < 0.5
    assert real > least
    assert found.total == pytest.approx(real, rel=0.5)
    assert found.by_column == {column: found.total}


def test_a_column_dealt_to_other_rows_is_found_where_only_the_scores_changed() -> None:
    frame, _ = people(3000, 1)
    batch = frame.assign(age=np.random.default_rng(0).permutation(frame["age"]))
    found = judged(batch, [], score_changed=True)
    assert found.selection < 0.1
    assert max(found.by_column, key=found.by_column.__getitem__) == "age"
    assert found.total > 0.05


def test_scores_that_changed_a_little_are_a_selection() -> None:
    frame, _ = people(3000, 1)
    found = judged(frame, [], score_changed=True)
    assert found.selection > 0.9
    assert found.total < 0.01


def test_known_scores_are_not_computed_again() -> None:
    frame, _ = people(6000, 0)
    batch = people(1000, 1)[0].assign(age=np.nan)
    known = {"reference_scores": people_model(frame), "batch_scores": people_model(batch)}
    assert judged(batch, ["age"], **known) == judged(batch, ["age"])


def test_the_same_seed_gives_the_same_estimate() -> None:
    batch = people(1000, 1)[0].assign(age=lambda d: d["age"] + 6.0, noise=1.0)
    first = judged(batch, ["age", "noise"], rows=800)
    assert first == judged(batch, ["age", "noise"], rows=800)
    assert 0.0 <= first.selection <= 1.0


def test_a_batch_without_rows_costs_nothing() -> None:
    assert judged(people(10, 1)[0].iloc[:0], ["age"]) == Estimate(0.0, {"age": 0.0})


def test_several_classes_are_weighed_too() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=2000)
    truth = np.digitize(x + 0.3 * random.normal(size=2000), [-0.5, 0.5]).astype(str).astype(object)
    frame = pd.DataFrame({"x": x, "z": random.normal(size=2000)})

    def score(data: pd.DataFrame) -> np.ndarray:
        near = np.exp(-np.abs(np.nan_to_num(data["x"].to_numpy(), nan=9.0)[:, None] - np.array([-1.0, 0.0, 1.0])))
        return near / near.sum(axis=1, keepdims=True)

    other = estimate(score, frame, truth, "multiclass", ("0", "1", "2"), frame[x > -0.5], ["x"], 0, score_changed=True)
    broken = estimate(score, frame, truth, "multiclass", ("0", "1", "2"), frame * 100, ["x", "z"], 0)
    assert other.selection > 0.5
    assert broken.selection == 0.0
    assert broken.total > other.total


# ── the sentence ─────────────────────────────────────────────────────────────────────────────────


def prices(rows: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(4.0, 0.6, rows)


@pytest.mark.parametrize("rows", [300, 4000])
@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (100.0, "looks multiplied by 100 (median"),
        (0.01, "looks multiplied by 0.01 (median"),
        (1000.0, "looks multiplied by 1,000 (median"),
        (60.0, "looks multiplied by 60 (hours to minutes"),
        (1.609344, "looks multiplied by 1.609 (miles to kilometres)"),
        (0.45359237, "looks multiplied by 0.4536 (pounds to kilograms)"),
        (-1.0, "looks to have its sign turned (median"),
        (1.3, "moved (median"),
        (5.0, "moved (median"),
    ],
)
def test_a_factor_is_recognised(factor: float, said: str, rows: int) -> None:
    assert explain("price", prices(), prices(rows, 2) * factor).startswith(f"price {said}")


def test_zeros_do_not_hide_a_factor() -> None:
    before = np.where(np.arange(4000) % 2 == 0, 0.0, prices())
    assert "multiplied by 100" in explain("price", before, before * 100)


def test_too_few_values_show_no_factor() -> None:
    assert explain("x", np.arange(1.0, 15.0), np.arange(1.0, 15.0) * 100) == "x moved (median 750 v. 7.5)"


def test_a_shift_is_recognised() -> None:
    kelvin = np.random.default_rng(0).normal(20.0, 5.0, 3000)
    assert "looks shifted by 273" in explain("temperature", kelvin, kelvin + 273.15)


def test_a_change_of_spread_alone_is_no_shift_and_no_factor() -> None:
    wide = np.random.default_rng(0).normal(0.0, 1.0, 3000)
    assert explain("x", wide, np.abs(wide) ** 3).startswith("x moved (median")
    even = np.linspace(-1.0, 1.0, 501)
    assert explain("x", even, np.sign(even) * np.sqrt(np.abs(even))).startswith("x moved (mean")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (np.arange(100.0), np.full(100, np.nan), "is null in 100 % of rows (0 % in the reference)"),
        (np.arange(100.0), np.full(100, 7.0), "is 7 in every row (100 values in the reference)"),
        (np.arange(100.0), np.arange(100.0), "differs little from the reference"),
        (np.arange(100.0), np.array([]), "has no rows to compare"),
        (np.full(9, np.nan), np.full(9, np.nan), "differs little from the reference"),
        (np.repeat([0.0, 1.0], [900, 100]), np.repeat([0.0, 1.0], [600, 400]), "moved (mean 0.4 v. 0.1)"),
        (
            objects(["Madrid", "Rome"] * 50),
            objects(["Madrd", "Rome"] * 50),
            "has 50 % of values never seen (e.g. 'Madrd')",
        ),
        (objects(["a", "b"] * 50), objects(["a"] * 80 + ["b"] * 20), "moved ('a' is 80 % of rows v. 50 %)"),
        (objects(["a", "b"] * 50), objects(["a"] * 52 + ["b"] * 48), "differs little from the reference"),
        (
            objects(["a", "b"] * 50),
            objects(["a", None] * 50),
            "is null in 50 % of rows (0 % in the reference) and moved ('a' is 100 % of rows v. 50 %)",
        ),
    ],
)
def test_what_happened_is_said(before: np.ndarray, after: np.ndarray, said: str) -> None:
    copies = before.copy(), after.copy()
    assert explain("x", before, after) == f"x {said}"
    pd.testing.assert_series_equal(pd.Series(before), pd.Series(copies[0]))
    pd.testing.assert_series_equal(pd.Series(after), pd.Series(copies[1]))


def test_times_are_said_as_dates() -> None:
    before = pd.Series(pd.date_range("2025-01-01", periods=365))
    assert explain("day", before, before + pd.Timedelta(days=365)) == "day moved (median 2026-07-02 v. 2025-07-02)"


def test_a_small_share_of_nulls_is_said() -> None:
    after = prices()
    after[:40] = np.nan
    assert explain("price", prices(), after) == "price is null in 1.0 % of rows (0 % in the reference)"


@given(numbers, numbers)
def test_any_numbers_have_a_sentence(before: list, after: list) -> None:
    said = explain("x", floats(before), floats(after))
    assert said.startswith("x ")
    assert "nan" not in said


@given(levels, levels)
def test_any_levels_have_a_sentence(before: list, after: list) -> None:
    assert explain("x", objects(before), objects(after)).startswith("x ")
