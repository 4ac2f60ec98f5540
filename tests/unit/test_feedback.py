"""Labels that come days later: joined, measured, and acted on."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fuseline import records as r
from fuseline.errors import DataError, FuselineError


@pytest.fixture(scope="module")
def kept() -> dict[str, bytes]:
    """What is in the store once `days` are published; filled by the first test that needs it."""
    return {}


@pytest.fixture
def days(trained, rows, kept):
    """Two published batches of 400 rows each: `days["day1"]` and `days["day2"]` are their labelled rows."""
    labelled = {name: rows(400, seed) for seed, name in ((2, "day1"), (3, "day2"))}
    if not kept:
        for name, batch in labelled.items():
            publish(trained, name, batch)
        kept |= {item.key: trained.store.get(item.key) for item in trained.store.list("")}
    for key, data in kept.items():
        trained.store.put(key, data)
    return labelled


def publish(project, name: str, labelled: pd.DataFrame) -> pd.DataFrame:
    project.deliver(name, labelled.drop(columns="bought"))
    (entry,) = project.infer(f"run-{name}")
    assert isinstance(entry.event, r.Published)
    return labelled


def turned(labelled: pd.DataFrame) -> pd.DataFrame:
    """The rows with the opposite outcome: nothing could be worse for the model."""
    return labelled.assign(bought=labelled["bought"].map({"yes": "no", "no": "yes"}))


def state(project):
    return project.line.ledger.state()


def predictions(project, name: str) -> pd.DataFrame:
    now = state(project)
    batch = now.published_as(name)
    key = project.line.batches.staged_key(batch, now.batches[batch].attempt, "predictions.parquet")
    return pd.read_parquet(io.BytesIO(project.store.get(key)))


def auc(project, *named: tuple[str, pd.DataFrame]) -> float:
    """The AUC of labels, by another way than ours."""
    both = pd.concat([predictions(project, name).merge(labels, on="id") for name, labels in named])
    return roc_auc_score(both["bought"] == "yes", both["score"])


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def test_without_labels_nothing_is_written(trained, days):
    before = state(trained).seq
    assert trained.feedback() is None
    trained.store.put("labels/tiny/notes.txt", b"x")
    trained.store.put("labels/tiny/sub/day1.csv", b"x")
    assert trained.feedback() is None
    assert state(trained).seq == before


def test_labels_are_measured_for_each_batch_and_pooled_over_the_champions_newest(trained, days):
    trained.deliver_labels("outcomes", pd.concat(days.values()))
    entry = trained.feedback()
    event = entry.event
    assert event.verdict == "pass"
    assert (event.trip, event.retrain, event.causes, event.unmatched) == (None, False, (), 0)
    assert [(b.batch[:4], b.version, b.rows) for b in event.batches] == [("day1", "v0001", 400), ("day2", "v0001", 400)]
    for measured in event.batches:
        name = measured.batch[:4]
        assert measured.value == pytest.approx(auc(trained, (name, days[name])))
        assert 0.01 < measured.se < 0.04
    assert (event.version, event.pooled.metric, event.pooled.rows) == ("v0001", "auc", 400)
    assert event.pooled.value == pytest.approx(auc(trained, ("day2", days["day2"]))), "the newest 200 rows at least"
    assert event.bound < event.reference
    assert {b.labelled for b in state(trained).batches.values()} == {400}


def test_as_many_of_the_newest_batches_are_pooled_as_the_rows_need(trained, days):
    trained.write("project.toml", (trained.folder / "project.toml").read_text().replace("200", "600"))
    trained.deliver_labels("outcomes", pd.concat(days.values()))
    pooled = trained.feedback().event.pooled
    assert pooled.rows == 800
    assert pooled.value == pytest.approx(auc(trained, *days.items()))


def test_labels_of_rows_that_were_never_published_are_unmatched(trained, days, rows):
    trained.deliver("day3", rows(100, 4).drop(columns="bought").assign(price=9e9))
    trained.infer()
    trained.deliver_labels("outcomes", pd.concat([days["day1"], rows(100, 4), rows(7, 5)]))
    event = trained.feedback().event
    assert event.unmatched == 107
    assert [b.rows for b in event.batches] == [400]


def test_labels_of_a_batch_whose_files_have_expired_are_unmatched(trained, days):
    old = state(trained).published_as("day1")
    for item in list(trained.store.list(f"tiny/batches/{old}/")):
        trained.store.delete(item.key)
    trained.deliver_labels("outcomes", pd.concat([days["day1"], days["day2"]]))
    event = trained.feedback().event
    assert event.unmatched == 400
    assert [b.batch.partition(".")[0] for b in event.batches] == ["day2"]


def test_a_version_without_its_manifest_is_an_error_and_not_a_batch_that_expired(trained, days):
    trained.promote_copy()  # so that only the batches need v0001
    trained.store.delete("tiny/versions/v0001/manifest.json")
    trained.deliver_labels("outcomes", days["day1"])
    with pytest.raises(FuselineError, match="v0001"):
        trained.feedback()


def test_labels_that_are_null_are_left_out(trained, days):
    labels = days["day1"].assign(bought=lambda d: d["bought"].where(d.index >= 100))
    trained.deliver_labels("outcomes", labels)
    event = trained.feedback().event
    assert [b.rows for b in event.batches] == [300]
    assert event.unmatched == 0


def test_of_a_label_that_comes_twice_in_a_file_the_last_counts(trained, days):
    trained.deliver_labels("outcomes", pd.concat([turned(days["day1"]), days["day1"]]))
    (measured,) = trained.feedback().event.batches
    assert measured.rows == 400
    assert measured.value == pytest.approx(auc(trained, ("day1", days["day1"])))


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_labels_come_in_every_format(trained, days, ending):
    labels = days["day1"][["id", "bought"]]
    data = labels.to_parquet() if ending == "parquet" else labels.to_json(orient="records", lines=True).encode()
    trained.store.put(f"labels/tiny/outcomes.{ending}", data)
    (measured,) = trained.feedback().event.batches
    assert measured.value == pytest.approx(auc(trained, ("day1", days["day1"])))


def test_a_file_is_read_once_however_often_it_is_looked_at(trained, days):
    trained.deliver_labels("outcomes", days["day1"])
    assert trained.feedback() is not None
    trained.deliver_labels("outcomes", days["day1"])
    assert trained.feedback() is None
    assert state(trained).batches[state(trained).published_as("day1")].labelled == 400


def test_two_readings_at_once_are_recorded_once(trained, days):
    trained.deliver_labels("outcomes", days["day1"])
    one, two = trained.line.feedback(), trained.line.feedback()
    mine, theirs = one.measure(one.waiting()), two.measure(two.waiting())
    assert one.conclude(mine) is not None
    assert two.conclude(theirs) is None


def test_a_file_that_was_measured_but_not_recorded_is_read_again(trained, days):
    trained.deliver_labels("outcomes", days["day1"])
    feedback = trained.line.feedback()
    feedback.measure(feedback.waiting())  # and then it was killed
    assert [b.rows for b in trained.feedback().event.batches] == [400]


@pytest.mark.parametrize("extra", range(4))
def test_of_a_file_that_changed_the_newer_labels_count(trained, days, extra):
    before = turned(days["day1"]).iloc[: 396 + extra]  # a few lengths, so that digests sort either way
    trained.deliver_labels("outcomes", before)
    trained.feedback()
    trained.deliver_labels("outcomes", days["day1"])
    event = trained.feedback().event
    assert event.pooled.rows == 400
    assert event.pooled.value == pytest.approx(auc(trained, ("day1", days["day1"])))


def test_labels_may_come_in_parts(trained, days):
    trained.deliver_labels("a", days["day1"].iloc[:150])
    assert trained.feedback().event.pooled is None
    trained.deliver_labels("b", days["day1"].iloc[150:])
    event = trained.feedback().event
    assert [b.rows for b in event.batches] == [250]
    assert event.pooled.rows == 400


def test_a_batch_with_one_class_of_labels_is_recorded_without_a_metric(trained, days):
    chosen = days["day1"][days["day1"]["bought"] == "yes"].iloc[:50]
    trained.deliver_labels("outcomes", chosen)
    (measured,) = trained.feedback().event.batches
    assert (measured.rows, measured.value, measured.se) == (50, None, None)


# ── files that cannot be used ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("column", "other"), [("id", "bought"), ("bought", "id")])
def test_a_file_without_a_column_that_is_needed_is_an_error_that_says_what_a_label_file_holds(
    trained, days, column, other
):
    trained.store.put("labels/tiny/outcomes.csv", days["day1"][[other, "price"]].to_csv(index=False).encode())
    said = rf"labels/tiny/outcomes.csv has no column '{column}'; found: {other}, price.*the id 'id' and the target"
    with pytest.raises(DataError, match=said):
        trained.feedback()
    assert trained.store.exists("labels/tiny/outcomes.csv")
    assert state(trained).labels == {}


def test_a_label_that_the_model_does_not_know_is_an_error_and_a_mended_file_is_read(trained, days):
    labels = days["day1"].copy()
    labels.loc[5, "bought"] = "perhaps"
    trained.deliver_labels("outcomes", labels)
    with pytest.raises(DataError, match="perhaps"):
        trained.feedback()
    trained.deliver_labels("outcomes", days["day1"].drop(index=5))
    event = trained.feedback().event
    assert event.pooled.rows == 399
    assert event.pooled.value == pytest.approx(auc(trained, ("day1", days["day1"].drop(index=5))))


def test_an_empty_file_is_an_error_and_stays(trained, days):
    trained.store.put("labels/tiny/outcomes.csv", b"")
    with pytest.raises(DataError, match=r"outcomes\.csv is empty"):
        trained.feedback()
    assert trained.store.exists("labels/tiny/outcomes.csv")


# ── what follows ─────────────────────────────────────────────────────────────────────────────────


def test_too_few_labels_judge_nothing(trained, days):
    trained.deliver_labels("outcomes", turned(days["day1"]).iloc[:199])
    event = trained.feedback().event
    assert (event.pooled, event.verdict, event.trip) == (None, "pass", None)
    assert state(trained).breaker.status == "closed"


def test_bad_labels_open_the_breaker_until_there_is_a_new_champion_and_ask_for_a_retrain(trained, days):
    trained.deliver_labels("outcomes", turned(days["day2"]))
    event = trained.feedback().event
    assert (event.verdict, event.retrain) == ("halt", True)
    assert event.trip == r.Trip(until=None, trials=1)
    (cause,) = event.causes
    assert (cause.kind, cause.fault, cause.level) == ("labels", "model", "halt")
    assert cause.sentence.startswith(f"labels of 400 rows say AUC {event.pooled.value:.3f} ± ")
    assert cause.sentence.endswith(f"v0001 had {event.reference:.3f} when it was trained")
    assert cause.harm == pytest.approx(event.reference - event.pooled.value)
    now = state(trained)
    assert (now.breaker.status, now.breaker.until, now.breaker.reason) == ("open", None, cause.sentence)
    assert now.retrain.reason == cause.sentence
    assert now.retrain.run == ""
    trained.clock.forward(10_000)
    trained.deliver("day3", days["day1"].drop(columns="bought").assign(id=lambda d: "x" + d["id"]))
    assert trained.infer("later") == [], "a trial without labels cannot disprove it"


def test_bad_labels_that_come_again_ask_for_no_second_retrain(trained, days):
    trained.deliver_labels("a", turned(days["day1"]))
    first = trained.feedback()
    trained.clock.forward(1)
    trained.deliver_labels("b", turned(days["day2"]))
    assert trained.feedback().event.verdict == "halt"
    now = state(trained)
    assert now.retrain.seq == first.seq
    assert now.breaker.trips == 1


def test_a_retrain_that_runs_keeps_the_request_until_it_ends_and_a_promotion_ends_it(trained, days, rows):
    trained.deliver_labels("a", turned(days["day1"]))
    asked = trained.feedback()
    training = trained.line.training()
    plan = training.plan("t2")
    taken = state(trained).retrain
    assert (taken.seq, taken.run, taken.taken_at) == (asked.seq, "t2", trained.clock.now)
    trained.deliver_labels("b", turned(days["day2"]))
    trained.feedback()
    assert state(trained).retrain == taken, "while one is wanted no other is asked for"
    manifest = training.evaluate(plan, training.fit(plan))
    training.conclude(manifest, training.judge(manifest))
    assert state(trained).retrain is None


def test_the_labels_of_a_version_that_was_champion_before_do_not_judge_the_new_one(trained, days, rows):
    trained.promote_copy()
    trained.deliver_labels("outcomes", turned(days["day1"]))
    event = trained.feedback().event
    assert (event.version, event.pooled, event.verdict) == ("v0002", None, "pass")
    assert [(b.version, b.rows) for b in event.batches] == [("v0001", 400)]
    assert state(trained).breaker.status == "closed"
    day3 = publish(trained, "day3", rows(300, 4))
    trained.deliver_labels("more", day3)
    pooled = trained.feedback().event.pooled
    assert pooled.rows == 300
    assert pooled.value == pytest.approx(auc(trained, ("day3", day3)))


def test_a_champion_that_is_promoted_while_labels_are_measured_is_not_blamed(trained, days):
    trained.deliver_labels("outcomes", turned(days["day1"]))
    feedback = trained.line.feedback()
    readings = feedback.measure(feedback.waiting())
    trained.promote_copy()
    event = feedback.conclude(readings).event
    assert (event.verdict, event.trip, event.retrain) == ("pass", None, False)
    assert state(trained).breaker.status == "closed"


def test_the_batches_that_labels_condemn_are_withdrawn_where_the_project_says_so(trained, days):
    trained.write("project.toml", (trained.folder / "project.toml").read_text() + '\non_halt = "withdraw"\n')
    trained.deliver_labels("outcomes", pd.concat([days["day1"], turned(days["day2"])]))
    event = trained.feedback().event
    assert event.verdict == "halt"
    now = state(trained)
    assert {b.name: b.status for b in now.batches.values()} == {"day1": "published", "day2": "withdrawn"}
    assert {i.key for i in trained.store.list("tiny/predictions/")} == trained.line.predictions.visible(now).keys()
    assert len(list(trained.store.list("tiny/predictions/"))) == 1


def test_the_batches_that_labels_condemn_are_kept_by_default(trained, days):
    trained.deliver_labels("outcomes", turned(days["day2"]))
    trained.feedback()
    assert {b.status for b in state(trained).batches.values()} == {"published"}


def test_labels_that_arrive_while_the_breaker_is_open_are_measured_and_close_nothing(trained, days):
    trained.line.ledger.append(lambda _: r.Tripped("by hand", r.Trip("2026-03-09T00:00:00+00:00")))
    trained.deliver_labels("good", days["day1"])
    assert trained.feedback().event.verdict == "pass"
    assert state(trained).breaker.until == "2026-03-09T00:00:00+00:00"
    trained.deliver_labels("bad", turned(days["day2"]))
    assert trained.feedback().event.verdict == "halt"
    now = state(trained).breaker
    assert (now.status, now.until, now.trips) == ("open", None, 1)


def test_a_training_after_labels_uses_their_rows(trained, days):
    trained.deliver_labels("outcomes", pd.concat(list(days.values())).iloc[:700])
    trained.feedback()
    training = trained.line.training()
    plan = training.plan("t2")
    rows = training.rows(plan)
    manifest = training.evaluate(plan, training.fit(plan))
    assert rows.table.num_rows == manifest.window.rows == 1_900
    assert [b[:4] for b in manifest.window.batches] == ["day1", "day2"]
    found = dict(zip(rows.table.column("id").to_pylist()[1_200:], rows.label.to_pylist()[1_200:], strict=True))
    expected = pd.concat(list(days.values())).iloc[:700]
    assert found == dict(zip(expected["id"], expected["bought"], strict=True))


def test_a_training_after_corrected_labels_uses_the_corrected_ones(trained, days):
    for extra in range(4):
        trained.deliver_labels("outcomes", turned(days["day1"]).iloc[: 396 + extra])
        trained.feedback()
    trained.deliver_labels("outcomes", days["day1"])
    trained.feedback()
    training = trained.line.training()
    rows = training.rows(training.plan("t2"))
    assert rows.label.to_pylist()[1_200:] == list(days["day1"]["bought"])


def test_a_training_leaves_out_withdrawn_batches(trained, days):
    trained.deliver_labels("outcomes", pd.concat(days.values()))
    trained.feedback()
    trained.line.predictions.withdraw("day1", "wrong")
    training = trained.line.training()
    plan = training.plan("t2")
    assert [b.name for b in plan.pinned.batches] == ["day2"]
    assert training.rows(plan).table.num_rows == 1_600


# ── other projects ───────────────────────────────────────────────────────────────────────────────

COST_TOML = """
target = "cost"

[sources.history]
path = "data/history.parquet"

[labels]
min_rows = 200
"""

COST_TRAIN = """
from sklearn.linear_model import LinearRegression


def train(data, target):
    return LinearRegression().fit(data, target)
"""


def costs(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.gamma(4.0, 25.0, count)
    return pd.DataFrame({"size": size, "cost": 3.0 * size + rng.normal(0, 10, count)})


def test_a_regression_without_an_id_column_is_judged_by_its_rmse(tiny):
    costs(1_000, 1).to_parquet(tiny.folder.parent.parent / "data" / "history.parquet")
    tiny.write("project.toml", COST_TOML)
    tiny.write("train.py", COST_TRAIN)
    tiny.write("predict.py", "")
    tiny.train()
    day1 = costs(400, 2)
    tiny.deliver("day1", day1[["size"]])
    tiny.infer()
    outcomes = pd.DataFrame({"row_id": [f"day1:{i}" for i in range(400)], "cost": day1["cost"]})
    tiny.store.put("labels/tiny/good.csv", outcomes.to_csv(index=False).encode())
    event = tiny.feedback().event
    assert (event.verdict, event.pooled.metric, event.unmatched) == ("pass", "rmse", 0)
    scores = predictions(tiny, "day1")["score"].to_numpy()
    assert event.pooled.value == pytest.approx(np.sqrt(np.mean((scores - day1["cost"]) ** 2)))
    assert event.bound > event.reference
    tiny.store.put("labels/tiny/late.csv", outcomes.assign(cost=outcomes["cost"] * 1.5).to_csv(index=False).encode())
    event = tiny.feedback().event
    assert event.verdict == "halt"
    assert "labels of 400 rows say RMSE" in event.causes[0].sentence


def test_labels_that_come_before_their_batch_is_published_count_when_it_is(trained, rows):
    day = rows(400, 41)
    trained.deliver_labels("day1", day)
    early = trained.feedback()
    assert early is not None and early.event.unmatched == 400 and early.event.partial == ("day1.csv",)
    assert trained.line.feedback().waiting() == []  # nothing was published since

    trained.deliver("day1", day.drop(columns="bought"))
    trained.infer()
    late = trained.feedback()

    assert late is not None and [b.rows for b in late.event.batches] == [400]
    assert late.event.unmatched == 0 and late.event.partial == ()
    assert trained.line.feedback().waiting() == []


def test_labels_that_match_nothing_do_not_stop_the_next_training(trained, rows):
    day = rows(400, 42)
    trained.deliver("day1", day.drop(columns="bought"))
    trained.infer()
    trained.deliver_labels("day1", day)
    trained.deliver_labels("strange", rows(50, 43))
    trained.feedback()
    assert trained.train("t2") == "v0002"
