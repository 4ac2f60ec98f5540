"""The breaker's judgement as a library: fit, assess, observe, save, load."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fuseline
from fuseline import Monitor
from fuseline.canonical import canonical, kind_of
from fuseline.errors import ArtifactError, ContractBroken, DataError, FuselineError, ModelFault, SettingsError
from fuseline.profile import merge
from fuseline.records import Assessment

OLDEST = Path(__file__).parents[1] / "data" / "monitor-1"


def finite(found: Assessment) -> Assessment:
    """The assessment, after a look at every figure and word of it."""
    json.dumps(asdict(found), allow_nan=False)
    assert not [c.sentence for c in found.causes if re.search(r"\bnan\b", c.sentence)]
    assert found.verdict in ("pass", "warn", "halt", "inconclusive")
    assert (found.verdict == "pass") == (not found.causes)
    return found


def kinds(found: Assessment) -> set[tuple[str, str, str | None]]:
    return {(c.level, c.kind, c.column) for c in found.causes}


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


# ── the same verdict however the rows come ───────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def large(people) -> pd.DataFrame:
    """More rows than are looked at one by one; half of the ages are of other rows, some rows are odd."""
    frame, _ = people.draw(12_000, 4)
    half = np.arange(12_000) % 2 == 0
    dealt = np.random.default_rng(0).permutation(frame["age"].to_numpy())
    frame["age"] = np.where(half, dealt, frame["age"])
    frame.loc[::500, "job"] = None
    frame.loc[1::500, "job"] = "astronaut"
    return frame


@pytest.mark.parametrize("rows", [150, 2_000, 12_000])
def test_the_order_of_the_rows_does_not_matter(people, large, rows):
    frame = large[:rows]
    expected = finite(people.monitor().assess(frame))
    for seed in (1, 2):
        assert people.monitor().assess(frame.sample(frac=1.0, random_state=seed)) == expected


def parts_of(monitor: Monitor, people, frame: pd.DataFrame, cuts: list[int], ids: np.ndarray | None = None) -> list:
    edges = [0, *cuts, len(frame)]
    scores = people.score(frame)
    return [monitor.profile(frame[a:b], scores[a:b], None if ids is None else ids[a:b]) for a, b in pairwise(edges)]


@pytest.mark.parametrize("rows", [300, 12_000])
@pytest.mark.parametrize("cuts", [[], [100], [0, 5, 250]])
def test_parts_that_are_merged_have_the_verdict_of_the_whole(people, large, rows, cuts):
    frame, monitor = large[:rows], people.monitor()
    whole = monitor.assess(frame)
    parts = parts_of(monitor, people, frame, cuts)
    for profile in (merge(parts), merge(parts[::-1])):
        found = finite(people.monitor().assess(profile))
        assert (found.verdict, found.harm, found.causes) == (whole.verdict, whole.harm, whole.causes)
        assert found.worlds == whole.worlds


def test_with_ids_the_same_rows_are_looked_at_however_a_batch_is_cut(people, large):
    ids = np.array([f"person-{i}" for i in range(len(large))])
    expected = None
    for seed, cuts in ((1, [7_000]), (2, [10, 20]), (3, [])):
        order = np.random.default_rng(seed).permutation(len(large))
        parts = parts_of(people.fitted, people, large.iloc[order], cuts, ids[order])
        found = people.monitor().assess(merge(parts))
        expected = expected or found
        assert found == expected
    assert expected.verdict == "halt"


def test_a_profile_of_no_rows_is_inconclusive(people, batch):
    monitor = people.monitor(expected_rows=100)
    found = finite(monitor.assess(monitor.profile(batch[:0], np.zeros(0))))
    assert found.verdict == "halt"  # for the rows that are missing
    assert {c.kind for c in found.causes} == {"rows"}
    assert finite(people.monitor().assess(monitor.profile(batch[:0], np.zeros(0)))).verdict == "inconclusive"


@pytest.mark.parametrize("column", ["age", "job", "debt"])
def test_a_profile_of_a_column_that_is_null_throughout_has_a_verdict(monitor, people, batch, column):
    odd = batch.assign(**{column: None})
    profile = monitor.profile(odd, scored(people, odd))
    assert finite(monitor.assess(profile)).verdict in ("warn", "halt")


def test_a_profile_of_another_monitor_is_refused(monitor):
    other = Monitor.fit(*orders(100, 1), returned)
    frame, _ = orders(50, 2)
    with pytest.raises(DataError, match="another monitor"):
        monitor.assess(other.profile(frame, returned(frame)))


def test_the_same_seed_gives_the_same_verdict_and_another_nearly_the_same(people, batch):
    odd = batch.assign(age=np.random.default_rng(0).permutation(batch["age"].to_numpy()))
    found = [Monitor.fit(*people.draw(1_000, 2), people.score, seed=seed).assess(odd) for seed in (5, 5, 6)]
    assert found[0] == found[1]
    assert found[0].verdict == found[2].verdict == "halt"
    assert found[0].harm == pytest.approx(found[2].harm, rel=0.3)


# ── columns of every type ────────────────────────────────────────────────────────────────────────

TYPES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "category": lambda d: pd.cut(d["price"], [0, 50, 100, 1e9], labels=["low", "middle", "high"]),
    "unordered": lambda d: pd.Categorical(np.where(d["price"] > 100, "high", "low")),
    "numbered": lambda d: pd.Categorical((d["price"] // 50).astype(int)),
    "int64": lambda d: d["price"].astype("int64"),
    "int8": lambda d: (d["price"] > 100).astype("int8"),
    "Int64": lambda d: pd.array(d["price"].round().where(d.index % 9 != 0), dtype="Int64"),
    "float32": lambda d: d["price"].astype("float32"),
    "bool": lambda d: d["price"] > 100,
    "boolean": lambda d: pd.array((d["price"] > 100).where(d.index % 9 != 0), dtype="boolean"),
    "truth values and nulls": lambda d: (d["price"] > 100).astype(object).where(d.index % 9 != 0, None),
    "datetime64[ns]": lambda d: pd.Timestamp("2025-01-01") + pd.to_timedelta(d["price"], unit="h"),
    "datetime64[s]": lambda d: (pd.Timestamp("2025-01-01") + pd.to_timedelta(d["price"], unit="h")).astype(
        "datetime64[s]"
    ),
    "with a zone": lambda d: pd.Timestamp("2025-01-01", tz="Europe/Rome") + pd.to_timedelta(d["price"], unit="h"),
    "timedelta64[ns]": lambda d: pd.to_timedelta(d["price"], unit="h"),
    "string": lambda d: pd.array(np.where(d["price"] > 100, "high", "low"), dtype="string"),
    "objects": lambda d: np.where(d["price"] > 100, "high", "low").astype(object),
    "free text": lambda d: [f"order {p}" for p in d["price"]],
    "null": lambda d: np.full(len(d), np.nan),
    "null text": lambda d: np.full(len(d), None),
    "constant": lambda d: 1,
}


@pytest.mark.parametrize("name", TYPES)
def test_a_column_of_any_type_is_watched_and_given_to_the_model_as_it_was(tmp_path, name):
    seen = set()

    def score(data: pd.DataFrame) -> np.ndarray:
        extra = data["extra"]
        seen.add(type(extra.dtype).__name__ if isinstance(extra.dtype, pd.CategoricalDtype) else extra.dtype.kind)
        if name == "with a zone":
            _ = extra - pd.Timestamp("2025-01-01", tz="Europe/Rome")
        if name == "timedelta64[ns]":
            _ = extra.dt.total_seconds()
        return returned(data)

    first, truth = orders(600, 1)
    second, _ = orders(400, 2)
    first, second = (d.assign(extra=TYPES[name](d)) for d in (first, second))
    monitor = Monitor.fit(first, truth, score)
    assert finite(monitor.assess(second)).verdict in ("pass", "warn")
    odd = second.assign(price=90.0)
    found = finite(monitor.assess(odd))
    assert found.verdict == "halt"
    assert found.causes[0].column == "price"
    assert len(seen - {"f", "O", "i", "b"}) <= 1
    monitor.save(tmp_path)
    assert Monitor.load(tmp_path, score).assess(odd) == found
    assert monitor.assess(monitor.profile(odd, score(odd))).harm == pytest.approx(found.harm)


def test_a_category_that_cannot_be_written_down_is_refused_when_it_is_saved(tmp_path):
    frame, truth = orders(100, 1)
    monitor = Monitor.fit(frame.assign(range=pd.cut(frame["price"], 4)), truth, returned)
    assert finite(monitor.assess(frame.assign(range=pd.cut(frame["price"], 4)))).verdict == "pass"
    with pytest.raises(DataError, match="cannot be saved"):
        monitor.save(tmp_path)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "s", "m", "n1", "null", "1e400", "2025-01-01", "\ud800", "٣", 10**400, b"x", pd.NA, pd.NaT]),
    st.sampled_from(
        [pd.Timestamp("2025-02-01"), pd.Timestamp("2025-02-01", tz="UTC"), pd.Timedelta(1, "h"), (1,), [1]]
    ),
)
kept_as_it_is = st.just(None)
columns_of = st.one_of(kept_as_it_is, st.lists(values, min_size=1, max_size=6))


@pytest.fixture(scope="module")
def of_orders() -> Monitor:
    return Monitor.fit(*orders(300, 1), returned)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(dict.fromkeys(["price", "express", "size", "at", "note"], columns_of)), st.integers(0, 300)
)
def test_no_frame_of_the_right_columns_raises(of_orders, odd, rows):
    frame, _ = orders(300, 2)
    scores = returned(frame)[:rows]
    frame = frame[:rows]
    for name, column in odd.items():
        if column is not None:
            several = np.empty(rows, dtype=object)
            several[:] = (column * rows)[:rows]
            frame = frame.assign(**{name: pd.Series(several, index=frame.index, dtype=object)})
    of_orders.forget()
    found = finite(of_orders.assess(frame, scores))
    of_orders.forget()
    profiled = finite(of_orders.assess(of_orders.profile(frame, scores)))
    if "contract" not in {c.kind for c in found.causes} and "duplicates" not in {c.kind for c in found.causes}:
        assert profiled.verdict == found.verdict


# ── small batches, leaks and drift ───────────────────────────────────────────────────────────────


def test_batches_under_200_rows_are_judged_together(people):
    alone, several = [], people.monitor()
    for seed in range(30, 36):
        frame, _ = people.draw(60, seed)
        odd = frame.assign(age=frame["age"] + 7.0)
        alone.append(people.monitor().assess(odd).verdict)
        found = finite(several.assess(odd))
    assert alone.count("pass") >= 5
    assert found.verdict != "pass"
    assert "(60 rows, judged together with the 180 rows before)" in found.sentence


def test_asked_again_about_a_batch_it_is_no_second_one(people):
    monitor, (frame, _) = people.monitor(), people.draw(60, 30)
    odd = frame.assign(age=frame["age"] + 7.0)
    first = monitor.assess(odd)
    assert [monitor.assess(odd) for _ in range(8)] == [first] * 8


def test_what_was_held_back_is_no_part_of_what_is_normal(people):
    monitor = people.monitor()
    frame, _ = people.draw(190, 4)
    assert monitor.assess(frame.assign(age=90.0 - frame["age"])).verdict == "halt"
    found = monitor.assess(people.draw(60, 31)[0])
    assert (found.verdict, found.causes) == ("pass", ())


def test_what_is_forgotten_is_not_pooled(people):
    monitor = people.monitor()
    for seed in range(30, 36):
        frame, _ = people.draw(60, seed)
        found = monitor.assess(frame.assign(age=frame["age"] + 7.0))
        monitor.forget()
    assert "judged together" not in found.sentence


def leaking(people, seed: int, share: float) -> pd.DataFrame:
    frame, _ = people.draw(1_000, seed)
    return frame.assign(rent=frame["rent"].where(np.random.default_rng(seed).random(1_000) >= share))


def test_a_slow_leak_of_nulls_warns_within_a_few_batches(people):
    monitor = people.monitor()
    for seed in range(200, 210):
        assert monitor.assess(people.draw(1_000, seed)[0]).verdict == "pass"
    verdicts = []
    for seed in range(300, 306):
        found = finite(monitor.assess(leaking(people, seed, 0.01)))
        verdicts.append(found.verdict)
        if found.causes:
            break
    assert verdicts[-1] == "warn"
    assert found.causes[0].column == "rent"


def test_a_clean_stream_of_200_batches_neither_halts_nor_leaks(people):
    monitor, warned = people.monitor(), 0
    for seed in range(2_000, 2_200):
        found = monitor.assess(people.draw(400, seed)[0])
        assert found.verdict != "halt"
        warned += found.verdict != "pass"
        assert "leak" not in {c.kind for c in found.causes}
    assert warned <= 2


@pytest.mark.parametrize(("policy", "last"), [("warn", "warn"), ("halt", "halt")])
def test_change_that_stays_is_the_policys_to_decide(people, policy, last):
    monitor = people.monitor(drift_policy=policy)
    verdicts = []
    for seed in range(40, 43):
        frame, _ = people.draw(800, seed)
        found = finite(monitor.assess(frame.assign(income=frame["income"] * 1.3)))
        verdicts.append(found.verdict)
    assert verdicts == ["warn", "warn", last]
    assert (found.causes[0].kind == "drift") == (policy == "halt")


@pytest.mark.parametrize(("rows", "halts"), [(499, True), (500, False), (1_000, False), (2_000, False), (2_001, True)])
def test_half_and_twice_the_expected_rows_are_the_bounds(people, rows, halts):
    monitor = people.monitor(expected_rows=1_000)
    frame, _ = people.draw(rows, 4)
    found = finite(monitor.assess(frame))
    assert ("rows" in {c.kind for c in found.causes}) == halts == (found.verdict == "halt")
    profiled = monitor.assess(monitor.profile(frame, people.score(frame)))
    assert profiled.verdict == found.verdict


def test_other_rows_may_be_expected_than_was_said(people):
    monitor = people.monitor(expected_rows=1_000)
    frame, _ = people.draw(300, 4)
    assert monitor.assess(frame).verdict == "halt"
    assert monitor.expecting(300).assess(frame).verdict == "pass"
    assert monitor.expecting(None).assess(frame).verdict == "pass"
    assert monitor.assess(frame).verdict == "halt"


def test_a_copy_that_expects_other_rows_remembers_by_itself(people):
    monitor = people.monitor()
    other = monitor.expecting(60)
    for seed in range(30, 35):
        frame, _ = people.draw(60, seed)
        other.assess(frame.assign(age=frame["age"] + 7.0))
    frame, _ = people.draw(60, 35)
    assert "judged together" not in monitor.assess(frame.assign(age=frame["age"] + 7.0)).sentence


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def test_labels_that_agree_pass(monitor, people):
    frame, truth = people.draw(1_000, 5)
    found = monitor.observe(truth, people.score(frame))
    assert (found.verdict, found.metric, found.rows, found.batches) == ("pass", "auc", 1_000, 1)
    assert found.value == pytest.approx(monitor.measured.value, abs=0.04)
    assert found.pooled == found.value
    assert found.bound < monitor.measured.value - 0.02
    assert 0.0 < found.se < 0.05


@pytest.mark.parametrize(
    ("who", "flip"),
    [
        ("people", lambda t: np.where(t == "yes", "no", "yes")),
        ("planners", lambda t: np.roll(t, 1)),
        ("spenders", lambda t: -t),
    ],
)
def test_flipped_labels_halt(who, flip, request):
    who = request.getfixturevalue(who)
    monitor, (frame, truth) = who.monitor(), who.draw(600, 5)
    found = monitor.observe(flip(truth), who.score(frame))
    assert found.verdict == "halt"
    assert (found.value > found.bound) if who.task == "regression" else (found.value < found.bound)


@pytest.mark.parametrize(
    "known",
    [lambda t: t[:20], lambda t: np.where(np.arange(len(t)) < 20, t, None), lambda t: t[:0], lambda t: t[t == "no"]],
)
def test_few_labels_are_inconclusive(monitor, people, known):
    frame, truth = people.draw(500, 5)
    labels = known(truth)
    scores = people.score(frame)[: len(labels)]
    found = monitor.observe(labels, scores)
    assert (found.verdict, found.pooled, found.bound) == ("inconclusive", None, None)
    assert found.rows == sum(v is not None for v in labels)


def test_few_labels_of_several_batches_are_measured_together(monitor, people):
    frame, truth = people.draw(160, 5)
    scores = people.score(frame)
    verdicts = [monitor.observe(truth[i : i + 20], scores[i : i + 20]).verdict for i in range(0, 160, 20)]
    assert verdicts[0] == "inconclusive"
    assert verdicts[-1] == "pass"


def test_a_loss_that_no_single_batch_shows_is_found_over_several(monitor, people):
    frame, truth = people.draw(4_000, 5)
    scores = people.score(frame)
    rng = np.random.default_rng(0)
    other = np.where(rng.random(4_000) < 0.13, rng.permutation(truth), truth)  # some labels are of other rows
    verdicts = [monitor.observe(other[i : i + 500], scores[i : i + 500]) for i in range(0, 4_000, 500)]
    assert verdicts[0].verdict == "pass"
    halted = next(v for v in verdicts if v.verdict == "halt")
    assert halted.batches > 1
    assert halted.pooled < halted.bound


def test_one_bad_batch_is_not_hidden_by_good_ones_before(monitor, people):
    frame, truth = people.draw(4_500, 5)
    scores = people.score(frame)
    for i in range(0, 4_000, 500):
        assert monitor.observe(truth[i : i + 500], scores[i : i + 500]).verdict == "pass"
    found = monitor.observe(np.roll(truth[4_000:], 1), scores[4_000:])
    assert (found.verdict, found.batches) == ("halt", 1)


def test_labels_may_be_a_series_and_scores_two_columns(people):
    monitor, (frame, truth) = people.monitor(), people.draw(400, 5)
    expected = monitor.observe(truth, people.score(frame))
    again = people.monitor().observe(pd.Series(truth).astype("category"), people.model.predict_proba(frame))
    assert again == expected


def test_wrong_labels_are_refused_and_not_kept(people):
    monitor, (frame, truth) = people.monitor(), people.draw(400, 5)
    scores = people.score(frame)
    with pytest.raises(DataError, match="'perhaps'"):
        monitor.observe(np.full(400, "perhaps"), scores)
    with pytest.raises(FuselineError, match="shape"):
        monitor.observe(truth, scores[:5])
    assert monitor.observe(truth, scores) == people.monitor().observe(truth, scores)


def test_forgotten_labels_are_not_measured_again(people):
    monitor, (frame, truth) = people.monitor(), people.draw(40, 5)
    scores = people.score(frame)
    monitor.observe(truth[:20], scores[:20])
    monitor.forget()
    assert monitor.observe(truth[20:], scores[20:]).verdict == "inconclusive"


# ── save and load ────────────────────────────────────────────────────────────────────────────────


def test_a_loaded_monitor_gives_the_same_verdicts_to_the_byte(tmp_path, people, planners, spenders):
    for who in (people, planners, spenders):
        monitor = who.monitor(expected_rows=800, drift_policy="halt")
        monitor.save(tmp_path / who.task)
        loaded = Monitor.load(tmp_path / who.task, who.score)
        assert loaded.settings == monitor.settings
        assert loaded.measured == monitor.measured
        frame, truth = who.draw(900, 4)
        for odd in (
            frame,
            frame.assign(age=90.0 - frame["age"]),
            frame.assign(income=frame["income"] * 1.3),
            frame[:7],
        ):
            texts = [json.dumps(asdict(m.assess(odd))) for m in (monitor, loaded)]
            assert texts[0] == texts[1]
        assert loaded.observe(truth, who.score(frame)) == monitor.observe(truth, who.score(frame))


def test_what_is_written_is_text_and_a_plain_table_and_nothing_to_unpickle(tmp_path):
    monitor = Monitor.fit(*orders(100, 1), returned)
    monitor.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"monitor.json", "reference.parquet"}
    json.loads((tmp_path / "monitor.json").read_text())
    types = {str(t) for t in pq.read_schema(tmp_path / "reference.parquet").types}
    assert types <= {"double", "string", "timestamp[ns]"}


def test_saving_again_replaces_what_was_there(tmp_path, people):
    Monitor.fit(*orders(100, 1), returned).save(tmp_path)
    people.monitor().save(tmp_path)
    assert Monitor.load(tmp_path, people.score).measured == people.fitted.measured
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_loaded_monitor_remembers_begins_anew(tmp_path, people):
    monitor = people.monitor()
    for seed in range(30, 35):
        frame, _ = people.draw(60, seed)
        monitor.assess(frame.assign(age=frame["age"] + 7.0))
    monitor.save(tmp_path)
    frame, _ = people.draw(60, 35)
    found = Monitor.load(tmp_path, people.score).assess(frame.assign(age=frame["age"] + 7.0))
    assert "judged together" not in found.sentence


def test_without_its_model_a_monitor_needs_scores_and_reads_no_harm(tmp_path, people, batch):
    people.monitor().save(tmp_path)
    loaded = Monitor.load(tmp_path)
    found = finite(loaded.assess(batch))
    assert found.verdict == "inconclusive"
    assert "loaded without its model" in found.sentence
    assert finite(loaded.assess(batch, people.score(batch))).verdict == "pass"
    odd = batch.assign(age=90.0 - batch["age"])
    found = finite(loaded.assess(odd, people.score(odd)))
    assert (found.verdict, found.harm) == ("inconclusive", None)
    assert "loaded without its model" in found.sentence


def test_the_oldest_format_is_read(people):
    loaded = Monitor.load(OLDEST, returned)
    assert loaded.settings.seed == 3
    assert loaded.measured.rows == 150
    frame, truth = orders(400, 2)
    assert finite(loaded.assess(frame)).verdict == "pass"
    found = finite(loaded.assess(frame.assign(price=frame["price"] * 100)))
    assert found.verdict == "halt"
    assert found.sentence.startswith("price looks multiplied by 100")
    assert loaded.observe(truth, returned(frame)).verdict == "pass"


def oldest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The oldest monitor with a change in its monitor.json."""
    document = json.loads((OLDEST / "monitor.json").read_text())
    change(document)
    (folder / "monitor.json").write_text(json.dumps(document))
    (folder / "reference.parquet").write_bytes((OLDEST / "reference.parquet").read_bytes())
    return folder


def test_a_newer_format_is_refused_by_its_number(tmp_path):
    folder = oldest(tmp_path, lambda d: d.update(format=99))
    with pytest.raises(ArtifactError, match="has format 99; this Fuseline reads up to"):
        Monitor.load(folder)
    folder = oldest(tmp_path, lambda d: d["bins"].update(format=99))
    with pytest.raises(ArtifactError, match="format 99"):
        Monitor.load(folder)


KEYS = sorted(json.loads((OLDEST / "monitor.json").read_text()))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["absent", None, "x", {}])
def test_a_monitor_that_is_damaged_is_an_error_that_a_person_can_read(tmp_path, key, value):
    folder = oldest(tmp_path, lambda d: d.pop(key) if value == "absent" else d.update({key: value}))
    try:
        found = Monitor.load(folder, returned)
    except FuselineError as error:
        assert str(folder) in str(error) or "bins" in str(error) or key in str(error)
        return
    finite(found.assess(orders(50, 2)[0]))  # what is damaged is not needed, e.g. an empty importance


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "monitor.json").unlink(),
        lambda folder: (folder / "reference.parquet").unlink(),
        lambda folder: (folder / "monitor.json").write_text("{"),
        lambda folder: (folder / "monitor.json").write_text("[]"),
        lambda folder: (folder / "monitor.json").write_bytes(b"\xff\xfe"),
        lambda folder: (folder / "reference.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "reference.parquet").write_bytes((OLDEST / "reference.parquet").read_bytes()[:-20]),
    ],
)
def test_a_folder_without_a_whole_monitor_is_refused(tmp_path, damage):
    folder = oldest(tmp_path, lambda d: None)
    damage(folder)
    with pytest.raises(ArtifactError, match="holds no monitor that can be read"):
        Monitor.load(folder)
