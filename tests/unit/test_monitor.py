"""The breaker's judgement as a library: what it is fitted on, and that there is a verdict whatever a batch holds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import fuseline
from fuseline import Monitor
from fuseline.canonical import canonical, kind_of
from fuseline.errors import ContractBroken, DataError, ModelFault, SettingsError
from fuseline.records import Assessment


def finite(found: Assessment) -> Assessment:
    """The assessment, after a look at every figure and word of it."""
    json.dumps(asdict(found), allow_nan=False)
    assert not [c.sentence for c in found.causes if re.search(r"\bnan\b", c.sentence)]
    assert found.verdict in ("pass", "warn", "halt", "inconclusive")
    assert (found.verdict == "pass") == (not found.causes)
    return found


@pytest.fixture
def monitor(people) -> Monitor:
    """A monitor of 3,000 labelled people that remembers nothing."""
    return people.monitor()


@pytest.fixture(scope="module")
def batch(people) -> pd.DataFrame:
    return people.draw(2_000, 4)[0]


# ── orders: columns of every type ────────────────────────────────────────────────────────────────


def orders(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers, truth values, categories, times and text, and whether an order came back."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"price": rng.gamma(4.0, 25.0, rows).round(2), "express": rng.random(rows) < 0.3})
    frame["size"] = pd.Categorical(rng.choice(["s", "m", "l"], rows, p=[0.5, 0.3, 0.2]), categories=["s", "m", "l"])
    frame["at"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D")
    notes = np.char.add("n", (np.arange(rows) % 7).astype(str)).astype(object)
    frame["note"] = np.where(rng.random(rows) < 0.2, None, notes)
    odds = (100.0 - frame["price"]) / 30.0 + (frame["size"] == "l")
    return frame, np.where(rng.random(rows) < 1.0 / (1.0 + np.exp(-odds)), "kept", "returned").astype(object)


def returned(frame: pd.DataFrame) -> np.ndarray:
    """The model of the orders: it wants the columns, and nothing of their types."""
    price = pd.to_numeric(frame["price"], errors="coerce").fillna(100.0).clip(-1e6, 1e6).to_numpy(dtype=np.float64)
    return (price - 100.0) / 30.0 - (frame["size"] == "l").to_numpy(dtype=np.float64)


# ── fit ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_monitor_is_the_public_name():
    assert fuseline.Monitor is Monitor
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = fuseline.Nothing


@pytest.mark.parametrize(
    "given",
    [
        lambda frame, truth: (frame.assign(kept=truth), "kept"),
        lambda frame, truth: (frame, truth),
        lambda frame, truth: (frame, list(truth)),
        lambda frame, truth: (frame, pd.Series(truth, index=range(7, 7 + len(truth)))),
        lambda frame, truth: (frame, pd.Series(truth).astype("category")),
        lambda frame, truth: (frame.assign(kept=truth).sample(frac=1.0, random_state=0).sort_index(), "kept"),
    ],
)
def test_the_target_is_a_column_or_a_list_of_labels(given):
    first, second = orders(300, 1), orders(200, 2)[0]
    expected = Monitor.fit(*first, returned)
    found = Monitor.fit(*given(*first), returned)
    assert found.measured == expected.measured
    odd = second.assign(price=second["price"] * 100)
    assert found.assess(odd) == expected.assess(odd)


def test_rows_without_a_label_are_left_out():
    frame, truth = orders(400, 1)
    some = np.where(np.arange(400) % 2 == 0, truth, None)
    found = Monitor.fit(frame, some, returned)
    assert found.measured.rows == 200
    assert found.measured == Monitor.fit(frame[::2], truth[::2], returned).measured


@pytest.mark.parametrize("labels", [lambda t: t == "returned", lambda t: (t == "returned").astype(int)])
def test_labels_may_be_truth_values_or_numbers(labels):
    frame, truth = orders(300, 1)
    assert Monitor.fit(frame, labels(truth), returned).measured == Monitor.fit(frame, truth, returned).measured


def test_two_columns_of_scores_are_as_good_as_the_second(people):
    def both(frame: pd.DataFrame) -> np.ndarray:
        return people.model.predict_proba(frame)

    found = Monitor.fit(*people.draw(3_000, 2), both)
    assert found.measured == people.fitted.measured
    frame, _ = people.draw(500, 4)
    odd = frame.assign(age=90.0 - frame["age"])
    expected = people.monitor().assess(odd)
    assert found.assess(odd).verdict == expected.verdict == "halt"
    assert found.assess(odd, both(odd)).harm == pytest.approx(expected.harm)


@pytest.mark.parametrize(("who", "metric"), [("people", "auc"), ("planners", "auc_ovr"), ("spenders", "rmse")])
def test_every_task_passes_what_is_clean_and_halts_what_does_harm(who, metric, request):
    who = request.getfixturevalue(who)
    monitor, (frame, _) = who.monitor(), who.draw(1_500, 4)
    assert monitor.measured.metric == metric
    assert finite(monitor.assess(frame)).verdict == "pass"
    found = finite(monitor.assess(frame.assign(age=90.0 - frame["age"])))
    assert found.verdict == "halt"
    assert found.causes[0].column == "age"
    assert ("RMSE would rise by" if metric == "rmse" else "AUC would fall from") in found.sentence


def test_a_regression_may_give_its_scores_as_a_column(spenders):
    frame, truth = spenders.draw(500, 2)
    found = Monitor.fit(frame, truth, lambda d: spenders.score(d)[:, None], "regression")
    assert found.reference.scores.shape == (500,)


def test_what_was_given_is_not_changed(people):
    frame, truth = people.draw(300, 2)
    before, labels = frame.copy(), truth.copy()
    monitor = Monitor.fit(frame, truth, people.score)
    monitor.assess(frame.assign(age=0.0))
    monitor.assess(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert (truth == labels).all()


@pytest.mark.parametrize(
    ("frame", "target", "said"),
    [
        (lambda d: d, "paid", "no column 'paid'"),
        (lambda d: d[[]].assign(kept="yes"), "kept", "no feature"),
        (lambda d: d, ["yes"], "1 labels for 100 rows"),
        (lambda d: d, [None] * 100, "no row of the reference has a label"),
        (lambda d: d, ["yes"] * 100, "one class only"),
        (lambda d: d, ["yes"] + ["no"] * 99, "two rows of every class"),
        (lambda d: d, np.array(["yes", 1] * 50, dtype=object), "same type"),
        (lambda d: pd.concat([d, d[["price"]]], axis=1), ["yes", "no"] * 50, "price more than once"),
    ],
)
def test_a_reference_that_nothing_can_be_learned_from_is_refused(frame, target, said):
    with pytest.raises(DataError, match=said):
        Monitor.fit(frame(orders(100, 1)[0]), target, returned)


def test_a_feature_called_score_is_refused():
    frame, truth = orders(100, 1)
    with pytest.raises(ContractBroken, match="'score'"):
        Monitor.fit(frame.assign(score=1.0), truth, returned)


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda d: 1 / 0, "ZeroDivisionError"),
        (lambda d: np.full(len(d), np.nan), "100 scores are not finite"),
        (lambda d: np.full(len(d), "high"), "must be numbers"),
        (lambda d: np.zeros((len(d), 3)), "shape"),
        (lambda d: 1.0, "shape"),
    ],
)
def test_a_model_that_does_not_score_the_reference_is_refused(score, said):
    frame, truth = orders(100, 1)
    with pytest.raises(ModelFault, match=said):
        Monitor.fit(frame, truth, score)


@pytest.mark.parametrize(
    "told",
    [
        {"tolerance": 0.0},
        {"tolerance": math.nan},
        {"mean_batches_between_false_halts": 1},
        {"drift_policy": "shrug"},
        {"expected_rows": 0},
    ],
)
def test_settings_out_of_range_are_refused(told):
    with pytest.raises(SettingsError, match=next(iter(told))):
        Monitor.fit(*orders(100, 1), returned, **told)


def test_an_unknown_task_is_refused():
    with pytest.raises(DataError, match="'ranking'"):
        Monitor.fit(*orders(100, 1), returned, "ranking")


def test_the_tolerance_decides_what_is_harm(people, batch):
    odd = batch.assign(job=batch["job"].replace({"manager": "retired", "retired": "manager"}))
    found = [people.monitor(tolerance=t).assess(odd) for t in (0.02, 0.5)]
    assert [f.verdict for f in found] == ["halt", "warn"]
    assert found[0].harm == pytest.approx(found[1].harm)


# ── whatever a batch holds, there is a verdict ───────────────────────────────────────────────────


def test_a_clean_batch_passes_with_every_figure_under_its_bound(monitor, batch):
    found = finite(monitor.assess(batch))
    assert (found.verdict, found.harm, found.worlds) == ("pass", 0.0, ())
    assert {c.column for c in found.checks} == {*batch.columns, None}
    assert not any(c.fired for c in found.checks)


ODD: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a column is wholly null": (lambda d: d.assign(age=np.nan), "halt"),
    "text is wholly null": (lambda d: d.assign(job=None), "halt"),
    "a column is constant": (lambda d: d.assign(age=45.0), "halt"),
    "a column that does not matter is constant": (lambda d: d.assign(income=2_700.0), "warn"),
    "a level is new": (lambda d: d.assign(job=d["job"].replace("manager", "chief")), "halt"),
    "one value is new": (lambda d: d.assign(job=d["job"].where(d.index != 0, "chief")), "pass"),
    "numbers are text": (lambda d: d.assign(age="old"), "halt"),
    "numbers are written as text": (lambda d: d.assign(age=d["age"].astype(str)), "pass"),
    "text is numbers": (lambda d: d.assign(job=1.5), "halt"),
    "numbers are dates": (lambda d: d.assign(age=pd.Timestamp("2025-01-01")), "halt"),
    "numbers are infinite": (lambda d: d.assign(age=np.inf), "halt"),
    "a few numbers are infinite": (lambda d: d.assign(rent=d["rent"].where(d.index % 100 != 0, np.inf)), "warn"),
    "numbers are huge": (lambda d: d.assign(age=np.where(d.index % 2 == 0, 1.7e308, -1.7e308)), "inconclusive"),
    "a column is missing": (lambda d: d.drop(columns="age"), "halt"),
    "a column is there twice": (lambda d: pd.concat([d, d[["age"]]], axis=1), "halt"),
    "there is no column at all": (lambda d: d[[]], "halt"),
    "everything is null": (lambda d: d.map(lambda v: None), "halt"),
    "one row": (lambda d: d[:1], "pass"),
    "one odd row": (lambda d: d[:1].assign(age=1e9, job="chief"), "pass"),
    "no row": (lambda d: d[:0], "inconclusive"),
    "rows come twice": (lambda d: pd.concat([d, d[:500]]), "halt"),
    "one row over and over": (lambda d: pd.concat([d[:1]] * 500), "halt"),
}


def scored(people, odd: pd.DataFrame) -> np.ndarray:
    """Scores of what can be understood of a batch."""
    frame = people.reference.frame
    understood = pd.DataFrame(canonical(odd, {c: kind_of(frame[c]) for c in frame}).values)
    understood["age"] = understood["age"].clip(-1e6, 1e6)
    return people.score(understood) if len(odd) else np.zeros(0)


@pytest.mark.parametrize("what", ODD)
def test_whatever_happened_there_is_a_verdict(monitor, people, batch, what):
    change, verdict = ODD[what]
    odd = change(batch)
    found = finite(monitor.assess(odd, scored(people, odd)))
    assert found.verdict == verdict
    finite(monitor.assess(odd))  # the model itself may fail on it


def test_causes_name_the_column_and_what_is_wrong(monitor, people, batch):
    def said(what: str) -> str:
        odd = ODD[what][0](batch)
        return monitor.assess(odd, scored(people, odd)).sentence

    assert said("a column is wholly null").startswith("age is null in 100 % of rows")
    assert said("a column is constant").startswith("age is 45 in every row")
    assert "of values never seen (e.g. 'chief')" in said("a level is new")
    assert said("numbers are text") == "age is no number or date in 2,000 of 2,000 rows; these values count as null"
    assert said("a few numbers are infinite").startswith("rent is infinite in 20 of 2,000 rows")
    assert said("a column is missing") == "column age is missing: no row can be scored as in training"
    assert said("a column is there twice") == "column age is there more than once: no row can be scored as in training"
    assert said("no row") == "the batch has no rows"
    assert said("rows come twice").startswith("20.0% of the rows are copies of others")


def test_a_constant_column_is_not_called_copies(monitor, people):
    frame, _ = people.draw(2_000, 4)
    found = monitor.assess(frame.assign(age=1.0, income=1.0, rent=1.0, debt=1.0))
    assert "duplicates" not in {c.kind for c in found.causes}


def test_more_columns_another_order_and_any_index_change_nothing(people, batch):
    odd = batch.assign(age=batch["age"] * 12)
    expected = people.monitor().assess(odd)
    for other in (
        odd[odd.columns[::-1]],
        odd.assign(more=1.0, label="yes"),
        odd.set_index(pd.Index(["x"] * len(odd))),
        odd.set_index("age", drop=False),
    ):
        assert people.monitor().assess(other) == expected


def test_names_of_columns_may_be_numbers(people):
    frame, truth = people.draw(500, 2)
    numbers = frame[["age", "rent"]].set_axis([0, 1], axis=1)
    monitor = Monitor.fit(numbers, truth, lambda d: d["0"].to_numpy())
    found = monitor.assess(people.draw(400, 4)[0][["age", "rent"]].set_axis([0, 1], axis=1))
    assert finite(found).verdict == "pass"
    profile = monitor.profile(numbers, numbers[0].to_numpy())
    assert finite(monitor.assess(profile)).verdict == "pass"


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros(3), "scores have the shape (3,); expected (2000,)"),
        (np.full(2_000, np.inf), "2,000 scores are not finite"),
        (np.full(2_000, "high"), "scores must be numbers"),
    ],
)
def test_scores_that_are_none_make_it_inconclusive(monitor, batch, scores, said):
    found = finite(monitor.assess(batch, scores))
    assert (found.verdict, found.causes[0].fault) == ("inconclusive", "model")
    assert said in found.sentence


def test_a_model_that_fails_on_a_batch_makes_it_inconclusive(people, batch):
    frame, truth = people.draw(500, 2)

    def score(data: pd.DataFrame) -> np.ndarray:
        if len(data) == 2_000:
            raise KeyError("rates")
        return people.score(data)

    found = finite(Monitor.fit(frame, truth, score).assess(batch))
    assert found.verdict == "inconclusive"
    assert found.sentence == "the model failed on 2,000 rows: KeyError: 'rates'"
