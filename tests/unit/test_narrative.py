from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.narrative import count, duration, mentioned, metric, metrics_said, moment, number, sentence

WARNED = r.Assessment("warn", 0.0, (r.Cause("distance", "country moved.", level="warn"), r.Cause("rows", "few rows")))
MEASURED = (r.BatchMeasured("b.1", "v1", 900, 0.9, 0.01), r.BatchMeasured("b.2", "v1", 300, None, None))
SAID = [
    (
        r.Registered("v1", "d", {"auc": 0.91234, "se": 0.004, "brier": 0.1}),
        "v1 was trained and stored: AUC 0.912 ± 0.004 on rows that it never saw.",
    ),
    (r.Registered("v1", "d", {}), "v1 was trained and stored."),
    (r.Promoted("v1", None, "gate", "auc 0.91"), "v1 became the champion: auc 0.91."),
    (r.Promoted("v2", "v1", "manual", "why not?"), "v2 became the champion by hand in place of v1: why not?"),
    (r.Promoted("v1", "v2", "rollback", "v2 is wrong"), "v1 became the champion again in place of v2: v2 is wrong."),
    (r.Held("v3", ("too small", "too slow")), "The gate held v3: too small; too slow."),
    (
        r.Started("b.1", "b", "b.csv", "d", "v1", "trial", "2026-03-08T06:00:00+00:00", 4812),
        "Scoring of b.1 began: 4,812 rows with v1 as a trial.",
    ),
    (
        r.Published("b.1", "a", "v1", "champion", 1, 0, "2026-03-08T06:00:00+00:00", "d", r.Assessment("pass")),
        "b.1 was published: 1 row with v1, verdict pass.",
    ),
    (
        r.Published("b.1", "a", "v1", "fallback", 10, 0, "2026-03-08T06:00:00+00:00", "d", WARNED),
        "b.1 was published: 10 rows with v1 as the fallback, verdict warn: country moved (and 1 cause more).",
    ),
    (
        r.Quarantined("b.1", "b", "b.csv", "a", "v1", "champion", 1, 0, WARNED, r.Trip("2026-03-08T06:00:00+00:00")),
        "b.1 was put into quarantine, verdict warn: country moved (and 1 cause more). "
        "The breaker opened until 8 Mar 2026, 06:00 UTC.",
    ),
    (
        r.Quarantined("b.1", "b", "b.csv", "a", "v1", "champion", 1, 0, r.Assessment("halt"), None),
        "b.1 was put into quarantine, verdict halt.",
    ),
    (r.Withdrawn("b.1", "wrong file"), "b.1 was withdrawn from the predictions: wrong file."),
    (r.Replayed("b.1", "it is right"), "b.1 is to be scored again: it is right."),
    (r.Replayed("b.1", "mended", "b.2"), "b.1 is replaced by the repaired b.2: mended."),
    (r.Dropped("b.1", "of no use"), "b.1 was dropped and will not be published: of no use."),
    (r.Tripped("a fire", r.Trip(None)), "The breaker was opened by hand: a fire."),
    (
        r.Tripped("a fire", r.Trip("2026-03-08T06:00:00+00:00")),
        "The breaker was opened by hand until 8 Mar 2026, 06:00 UTC: a fire.",
    ),
    (
        r.HalfOpened("the cool-down is over"),
        "The breaker is half-open and lets one trial batch through: the cool-down is over.",
    ),
    (r.Reset("all is well"), "The breaker was closed by hand: all is well."),
    (
        r.Labelled({}, MEASURED, 3, "v1", r.Measured("auc", 0.9, 0.01, 1200), 0.91, 0.89, "pass"),
        "Labels of 1,200 rows in 2 batches were read (3 matched no prediction): AUC 0.900 ± 0.010, verdict pass.",
    ),
    (
        r.Labelled({}, MEASURED[:1], 0, "v1", None, 0.91, None, "pass"),
        "Labels of 900 rows in 1 batch were read: too few to judge the champion.",
    ),
    (
        r.Labelled(
            *({}, MEASURED[:1], 0, "v1", r.Measured("rmse", 28_691.2, 4_000.0, 900), 1.0, 2.0, "inconclusive"),
            causes=(r.Cause("business", "b is nan", level="inconclusive"),),
            figures={"reserve_against_incurred": 1.0461},
        ),
        "Labels of 900 rows in 1 batch were read: RMSE 28,700 ± 4,000, reserve_against_incurred 1.05, "
        "verdict inconclusive: b is nan.",
    ),
    (
        r.Labelled({}, (), 0, "v1", None, 0.9, 0.8, "halt", (r.Cause("labels", "AUC fell"),), r.Trip(None), True),
        "Labels of 0 rows in 0 batches were read: AUC fell. The breaker opened until there is a new champion. "
        "A new version is wanted.",
    ),
    (r.RetrainAsked("drift"), "A new version is wanted: drift."),
    (r.TrainingStarted("TrainingFlow/3"), "Training began in run TrainingFlow/3."),
    (r.Failed("InferenceFlow", "the store is gone\nstart it"), "InferenceFlow failed: the store is gone."),
    (r.Mended("InferenceFlow"), "InferenceFlow works again."),
    (
        r.Overdue("2026-03-08T06:00:00+00:00", 24.0, 0),
        "Nothing was published since 8 Mar 2026, 06:00 UTC, and a batch is expected every 24 h; "
        "nothing waits in the inbox.",
    ),
    (
        r.Overdue("2026-03-08T06:00:00+00:00", 0.5, 1),
        "Nothing was published since 8 Mar 2026, 06:00 UTC, and a batch is expected every 30 min; "
        "1 file waits in the inbox.",
    ),
    (r.AlertTaken(7), "The alert of entry 7 is being sent."),
    (r.AlertTried(7, ("sns:a", "mailto:b"), {}, True), "The alert of entry 7 was sent to sns:a, mailto:b."),
    (
        r.AlertTried(7, ("sns:a",), {"slack:b": "timeout"}, False),
        "The alert of entry 7 was sent to sns:a and could not be sent to slack:b (timeout).",
    ),
    (r.AlertTried(7, (), {}, True), "The alert of entry 7 was given up."),
]


@pytest.mark.parametrize(("event", "said"), SAID, ids=[type(e).__name__ for e, _ in SAID])
def test_an_entry_is_one_plain_sentence(event: r.Event, said: str) -> None:
    assert sentence(r.Entry(1, "id", "2026-03-08T06:00:00+00:00", "mara", event)) == said


def test_every_kind_of_event_has_a_sentence() -> None:
    assert {type(event) for event, _ in SAID} == set(get_args(r.Event))


def test_events_mention_their_batches() -> None:
    events = {type(event).__name__: mentioned(event) for event, _ in SAID}
    assert events["Replayed"] == {"b.1", "b.2"}
    assert mentioned(r.Replayed("b.1", "again")) == {"b.1"}
    assert mentioned(SAID[19][0]) == {"b.1", "b.2"}
    assert events["Withdrawn"] == events["Started"] == {"b.1"}
    assert events["Promoted"] == set()


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (-0.01234, "-0.0123"), (999.6, "1,000"), (12.0, "12"), (float("nan"), "—"), (0.5, "0.5"), (7, "7")],
)
def test_numbers_have_three_significant_digits(value: float, said: str) -> None:
    assert number(value) == said


@given(st.floats(min_value=1e-4, max_value=1e12))
def test_a_number_is_within_half_a_percent_of_what_is_said(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(("value", "said"), [(None, "—"), (float("inf"), "—"), (0.9, "0.900"), (12.345, "12.3")])
def test_a_metric_has_three_decimals(value: float | None, said: str) -> None:
    assert metric(value) == said


def test_metrics_without_a_known_name_say_nothing() -> None:
    assert metrics_said({"log_loss": 0.4}.items()) == ""
    assert metrics_said({"rmse": 912.4}.items()) == "RMSE 912"


def test_times_are_told_in_utc() -> None:
    assert moment("2026-12-31T23:30:00-02:00") == "1 Jan 2027, 01:30 UTC"


@pytest.mark.parametrize(
    ("hours", "said"), [(-3, "0 s"), (0.005, "18 s"), (0.5, "30 min"), (47.9, "47 h"), (48, "2 days")]
)
def test_durations_choose_their_unit(hours: float, said: str) -> None:
    assert duration(hours) == said


def test_nouns_are_counted() -> None:
    assert [count(n, noun) for n, noun in ((0, "row"), (1, "row"), (2, "batch"))] == ["0 rows", "1 row", "2 batches"]
