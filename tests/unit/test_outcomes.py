"""Business figures that are only known with outcomes: told, held to their bounds, and acted on."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.ledger import decode, encode
from fuseline.narrative import sentence

PROMISED = """
def postprocess(scores, data):
    return {"price_eur": data["price"], "promised_eur": scores * data["price"]}


def metrics(predictions):
    return {"mean_score": float(predictions["score"].mean())}


"""
OUTCOMES = """
def outcomes(predictions):
    sold = predictions["price_eur"][predictions["bought"] == "yes"].sum()
    return {"promised_against_sold": predictions["promised_eur"].sum() / sold}
"""
RATIO = "promised_against_sold"


@pytest.fixture(scope="module")
def kept() -> dict[str, bytes]:
    """What is in the store once `days` are published; filled by the first test that needs it."""
    return {}


@pytest.fixture
def days(trained, rows, kept):
    """Two published batches of 400 rows each, of a version with `outcomes`: name to labelled rows."""
    labelled = {name: rows(400, seed) for seed, name in ((2, "day1"), (3, "day2"))}
    if not kept:
        trained.recode(PROMISED + OUTCOMES)
        for name, batch in labelled.items():
            trained.deliver(name, batch.drop(columns="bought"))
            (entry,) = trained.infer(f"run-{name}")
            assert isinstance(entry.event, r.Published)
        kept |= {item.key: trained.store.get(item.key) for item in trained.store.list("")}
    for key, data in kept.items():
        trained.store.put(key, data)
    return labelled


def bounded(project, bounds: str, name: str = RATIO) -> None:
    project.setting(f"\n[business]\n{name} = {bounds}\n")


def read(project, labels: pd.DataFrame) -> r.Labelled:
    project.deliver_labels("outcomes", labels)
    event = project.feedback().event
    assert isinstance(event, r.Labelled)
    return event


def ratio(project, name: str, labels: pd.DataFrame) -> float:
    """The figure, by another way than the line's."""
    batch = project.state.published_as(name)
    key = project.line.batches.staged_key(batch, project.state.batches[batch].attempt, "predictions.parquet")
    both = pd.read_parquet(io.BytesIO(project.store.get(key))).merge(labels[["id", "bought"]], on="id")
    return (both["score"] * both["price_eur"]).sum() / both.loc[both["bought"] == "yes", "price_eur"].sum()


# ── what is told ─────────────────────────────────────────────────────────────────────────────────


def test_a_figure_is_of_the_rows_that_the_metric_is_measured_on(trained, days):
    event = read(trained, pd.concat(days.values()))
    assert event.pooled.rows == 400, "of the newest batch"
    assert event.figures == {RATIO: pytest.approx(ratio(trained, "day2", days["day2"]))}
    assert 0.8 < event.figures[RATIO] < 1.2
    assert (event.verdict, event.causes, event.trip, event.retrain) == ("pass", (), None, False)


def test_the_entry_tells_the_figure_beside_the_metric(trained, days):
    event = read(trained, days["day2"])
    said = sentence(list(trained.line.ledger.entries())[-1])
    assert said.endswith(f" ± {event.pooled.se:.3f}, {RATIO} {event.figures[RATIO]:.3g}, verdict pass.")


def test_the_hook_is_given_what_was_published_and_what_came(trained, days):
    trained.recode(PROMISED + "def outcomes(predictions):\n    raise ValueError(sorted(predictions.columns))\n")
    (cause,) = read(trained, days["day1"]).causes
    assert "ValueError: ['bought', 'id', 'price_eur', 'promised_eur', 'score']" in cause.sentence


def test_each_row_has_its_own_outcome_and_there_are_as_many_as_were_measured(trained, days):
    labels = pd.concat(days.values())
    yes = set(labels.loc[labels["bought"] == "yes", "id"])
    code = (
        f"YES = {yes!r}\n"
        "def outcomes(p):\n"
        "    right = (p['bought'] == 'yes') == p['id'].isin(YES)\n"
        "    return {'rows': len(p), 'ids': p['id'].nunique(), 'right': right.sum()}\n"
    )
    trained.recode(PROMISED + code)
    trained.write("project.toml", (trained.folder / "project.toml").read_text().replace("200", "600"))
    some = labels.sample(700, random_state=1)
    event = read(trained, some)
    assert event.pooled.rows == 700
    assert event.figures == {"rows": 700, "ids": 700, "right": 700}


def test_too_few_labels_ask_nothing(trained, days):
    bounded(trained, "{ min = 99 }")
    event = read(trained, days["day1"].iloc[:199])
    assert (event.figures, event.causes, event.verdict) == ({}, (), "pass")


def test_a_figure_is_told_where_the_metric_cannot_be(trained, days):
    event = read(trained, pd.concat(days.values()).query("bought == 'yes'"))
    assert event.pooled is None, "of one class"
    assert RATIO in event.figures
    said = sentence(list(trained.line.ledger.entries())[-1])
    assert f"were read: {RATIO} 0." in said


# ── what follows ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bounds", "word"), [("{ min = 1.5 }", "below"), ("{ max = 0.5, min = 0.1 }", "above")])
def test_a_figure_out_of_its_bounds_opens_the_breaker_until_there_is_a_new_champion(trained, days, bounds, word):
    bounded(trained, bounds)
    event = read(trained, days["day2"])
    assert (event.verdict, event.retrain, event.trip) == ("halt", True, r.Trip(until=None, trials=1))
    (cause,) = event.causes
    assert (cause.kind, cause.fault, cause.level) == ("business", "model", "halt")
    assert (cause.observed, cause.bound) == (event.figures[RATIO], 1.5 if word == "below" else 0.5)
    assert cause.sentence.startswith(f"{RATIO} is ")
    assert f", {word} its bound of " in cause.sentence
    now = trained.state
    assert (now.breaker.status, now.breaker.until, now.breaker.reason) == ("open", None, cause.sentence)
    assert now.retrain.reason == cause.sentence
    assert cause.sentence in sentence(list(trained.line.ledger.entries())[-1])
    assert event.pooled.value > event.bound, "the metric alone would have passed"


def test_a_figure_condemns_no_single_batch(trained, days):
    trained.setting(f'on_halt = "withdraw"\n\n[business]\n{RATIO} = {{ min = 99 }}\n')
    assert read(trained, pd.concat(days.values())).verdict == "halt"
    assert {b.status for b in trained.state.batches.values()} == {"published"}


def test_labels_that_condemn_the_model_come_before_its_figures(trained, days):
    bounded(trained, "{ min = 99 }")
    turned = days["day2"].assign(bought=lambda d: d["bought"].map({"yes": "no", "no": "yes"}))
    event = read(trained, turned)
    assert [c.kind for c in event.causes] == ["labels", "business"]
    assert trained.state.breaker.reason == event.causes[0].sentence


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_figures_inside_their_bounds_never_halt_and_others_always_do(trained, days, one, other):
    least, most = sorted((one, other))
    bounded(trained, f"{{ min = {least!r}, max = {most!r} }}")
    trained.deliver_labels("outcomes", days["day2"])
    feedback = trained.line.feedback()
    readings = feedback.measure(feedback.waiting())
    inside = least <= readings.figures[RATIO] <= most
    assert [c.level for c in readings.causes] == ([] if inside else ["halt"])


# ── what cannot be told ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {'promised_against_sold': float('nan')}", f"{RATIO} is nan"),
        ("return {'promised_against_sold': float('-inf')}", f"{RATIO} is -inf"),
        ("raise KeyError('sold')", "outcomes in predict.py failed: KeyError"),
        ("return 7", "outcomes must return a dict of name to number, not 7"),
        ("return None", "outcomes must return a dict of name to number, not None"),
    ],
)
def test_a_figure_that_cannot_be_told_is_said_and_trips_nothing(trained, days, body, said):
    trained.recode(PROMISED + f"def outcomes(predictions):\n    {body}\n")
    bounded(trained, "{ min = 0.5, max = 2.0 }")
    event = read(trained, days["day1"])
    assert (event.verdict, event.trip, event.retrain, event.figures) == ("inconclusive", None, False, {})
    (cause,) = event.causes
    assert (cause.kind, cause.fault, cause.level) == ("business", "model", "inconclusive")
    assert said in cause.sentence
    assert [b.rows for b in event.batches] == [400], "the labels are read all the same"
    assert event.pooled.rows == 400
    assert trained.state.breaker.status == "closed"
    told = sentence(list(trained.line.ledger.entries())[-1])
    assert "AUC 0." in told
    assert f"verdict inconclusive: {cause.sentence}" in told


def test_a_figure_without_bounds_that_is_not_finite_is_left_out(trained, days):
    trained.recode(PROMISED + "def outcomes(predictions):\n    return {'a': float('inf'), 'b': 2}\n")
    event = read(trained, days["day1"])
    assert (event.verdict, event.causes, event.figures) == ("pass", (), {"b": 2.0})


def test_bad_labels_trip_although_the_hook_fails(trained, days):
    trained.recode(PROMISED + "def outcomes(predictions):\n    return {}['x']\n")
    turned = days["day2"].assign(bought=lambda d: d["bought"].map({"yes": "no", "no": "yes"}))
    event = read(trained, turned)
    assert [(c.kind, c.level) for c in event.causes] == [("labels", "halt"), ("business", "inconclusive")]
    assert event.trip is not None


def test_rows_whose_predictions_have_expired_are_not_guessed(trained, days):
    bounded(trained, "{ min = 99 }")
    read(trained, days["day1"].iloc[:150])
    old = trained.state.published_as("day1")
    for item in list(trained.store.list(f"tiny/batches/{old}/")):
        trained.store.delete(item.key)
    trained.deliver_labels("more", days["day2"].iloc[:150])
    event = trained.feedback().event
    assert event.pooled.rows == 300
    assert (event.verdict, event.trip, event.figures) == ("inconclusive", None, {})
    assert "predictions.parquet" in event.causes[0].sentence


@pytest.mark.parametrize("file", ["manifest.json", "code/predict.py"])
def test_a_version_that_was_changed_after_it_was_registered_is_not_run(trained, days, file):
    key = f"tiny/versions/v0001/{file}"
    trained.store.put(key, trained.store.get(key) + b"\n")
    event = read(trained, days["day1"])
    assert (event.verdict, event.trip, event.figures) == ("inconclusive", None, {})
    assert file in event.causes[0].sentence


@pytest.mark.parametrize("code", [PROMISED, PROMISED + OUTCOMES])
def test_no_artifact_is_opened_for_it(trained, days, code):
    trained.recode(code)
    trained.store.delete("tiny/versions/v0001/artifacts/model.joblib")
    event = read(trained, days["day1"])
    assert (event.verdict, event.causes) == ("pass", ())
    assert set(event.figures) == ({RATIO} if "def outcomes" in code else set())


def test_without_the_hook_nothing_of_the_predictions_is_read_again(trained, days):
    trained.recode(PROMISED)
    read(trained, days["day1"].iloc[:150])
    for item in list(trained.store.list(f"tiny/batches/{trained.state.published_as('day1')}/")):
        trained.store.delete(item.key)
    trained.deliver_labels("more", days["day2"].iloc[:150])
    event = trained.feedback().event
    assert (event.pooled.rows, event.causes) == (300, ())


# ── whose figure a bound is ──────────────────────────────────────────────────────────────────────


def batch(project, rows: pd.DataFrame) -> r.Assessment:
    project.deliver("day9", rows.drop(columns="bought"))
    (entry,) = project.infer("run-day9")
    return entry.event.assessment


def test_a_batch_is_not_held_back_for_a_figure_that_only_outcomes_can_tell(trained, days, rows):
    bounded(trained, "{ min = 99 }")
    found = batch(trained, rows(300, 9))
    assert (found.verdict, found.causes) == ("pass", ())
    assert set(found.business) == {"mean_score"}


def test_labels_do_not_miss_a_figure_that_only_metrics_can_tell(trained, days):
    trained.setting(f"\n[business]\nmean_score = {{ min = 99 }}\n{RATIO} = {{ min = 0.5 }}\n")
    assert read(trained, days["day1"]).causes == ()


def test_a_bound_on_a_figure_of_neither_hook_still_holds_batches_back(trained, days, rows):
    trained.setting(f"\n[business]\n{RATIO} = {{ min = 0.5 }}\npromised_against_sale = {{ min = 0.5 }}\n")
    found = batch(trained, rows(300, 9))
    assert found.verdict == "inconclusive"
    assert [c.sentence for c in found.causes] == ["promised_against_sale was not returned by metrics()"]


def test_where_it_cannot_be_known_whose_figure_is_missing_the_batch_waits(trained, days, rows):
    trained.recode(PROMISED + "def outcomes(predictions):\n    return {}['x']\n")
    bounded(trained, "{ min = 0.5 }")
    found = batch(trained, rows(300, 9))
    assert found.verdict == "inconclusive"
    assert found.sentence.startswith("outcomes in predict.py failed: KeyError: 'x'")


def test_a_hook_that_fails_holds_no_batch_back_where_no_figure_is_missing(trained, days, rows):
    trained.recode(PROMISED + "def outcomes(predictions):\n    return {}['x']\n")
    bounded(trained, "{ min = 0.01 }", "mean_score")
    assert batch(trained, rows(300, 9)).verdict == "pass"


def test_a_figure_of_both_hooks_is_held_to_its_bounds_twice(trained, days, rows):
    trained.recode(PROMISED + "def outcomes(predictions):\n    return {'mean_score': 0.99}\n")
    bounded(trained, "{ max = 0.9 }", "mean_score")
    assert batch(trained, rows(300, 9)).verdict == "pass"
    assert read(trained, days["day1"]).verdict == "halt"


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────


def test_an_entry_that_was_written_before_there_were_figures_is_read():
    event = r.Labelled({"l": "d"}, (), 0, "v1", None, None, None, "pass")
    entry = r.Entry(1, "i", "2026-03-08T06:00:00+00:00", "me", event)
    document = json.loads(encode(entry))
    del document["data"]["figures"]
    found = decode(json.dumps(document).encode(), "k")
    assert found == entry
    assert found.event.figures == {}
