from __future__ import annotations

from fuseline import records as r
from fuseline.gate import Decision
from fuseline.inference import Job, Plan
from fuseline.narrative import metric
from fuseline.runcard import Card, inferred, keep, measured
from fuseline.runcard import trained as of_training

CAUSE = r.Cause("distance", "price <looks> multiplied by 100.", "price")
PUBLISHED = r.Published(
    "day1.0123456789ab", "a1", "v0001", "champion", 1200, 3, "2026-03-08T06:00:00+00:00", "d", r.Assessment("pass")
)
QUARANTINED = r.Quarantined(
    "day2.0123456789ab", "day2", "day2.csv", "a1", "v0001", "champion", 400, 0, r.Assessment("halt", 0.213, (CAUSE,))
)
UNREADABLE = r.Quarantined(
    "day3.0123456789ab", "day3", "day3.csv", "", "v0001", "champion", 0, 0, r.Assessment("inconclusive", None)
)


def entry(event: r.Event) -> r.Entry:
    return r.Entry(1, "id", "2026-03-08T06:00:00+00:00", "InferenceFlow/1", event)


def job(batch: str) -> Job:
    return Job(batch, "n", "f", "k", "d", "v0001", "m", "champion", "2026-03-08T06:00:00+00:00", 1, 10, {})


def labelled(pooled: r.Measured | None, bound: float | None = None) -> r.Labelled:
    batches = (
        r.BatchMeasured("day1.0123456789ab", "v0001", 400, 0.8123, 0.02),
        r.BatchMeasured("day2.0123456789ab", "v0001", 9, None, None),
    )
    return r.Labelled({"l.csv": "d"}, batches, 0, "v0001", pooled, 0.83, bound, "pass")


def test_each_batch_is_shown_with_its_verdict_and_what_became_of_it():
    plan = Plan((job(PUBLISHED.batch), job(QUARANTINED.batch)))
    card = inferred("shop", plan, [entry(PUBLISHED), entry(QUARANTINED), entry(UNREADABLE)])
    assert (card.title, card.said) == ("shop: inference", "1 batch published, 2 held back.")
    assert [dict(zip(card.heads, row, strict=True)) for row in card.rows] == [
        {
            "batch": "day1.0123456789ab",
            "verdict": "● pass",
            "outcome": "published",
            "harm": "0.000",
            "rows": "1,200",
            "rejected": "3",
            "why": "",
        },
        {
            "batch": "day2.0123456789ab",
            "verdict": "■ halt",
            "outcome": "in quarantine",
            "harm": "0.213",
            "rows": "400",
            "rejected": "0",
            "why": "price <looks> multiplied by 100.",
        },
        {
            "batch": "day3.0123456789ab",
            "verdict": "◆ inconclusive",
            "outcome": "in quarantine",
            "harm": "—",
            "rows": "0",
            "rejected": "0",
            "why": "",
        },
    ]


def test_where_nothing_was_scored_there_is_a_sentence_and_no_table():
    card = inferred("shop", Plan(), [])
    assert card == Card("shop: inference", "No batch was scored.")
    assert "<table" not in card.html


def test_files_that_the_breaker_held_before_or_after_they_were_scored_are_counted():
    plan = Plan((job(PUBLISHED.batch), job("day9.0123456789ab")), held=("a.csv",))
    left = "2 files left to a later run: held by the breaker, or another run was at work on them."
    assert inferred("shop", plan, [entry(PUBLISHED)]).said == f"1 batch published, 0 held back. {left}"
    assert inferred("shop", Plan(held=("a.csv", "b.csv")), []).said == f"No batch was scored. {left}"


def test_a_version_is_shown_with_what_the_gate_held_against_it(trained):
    manifest = trained.line.models.manifest("v0001")
    checks = (r.Check("auc", 0.7, 0.9, at_least=True), r.Check("log loss", 0.4, 0.5))
    held = of_training("shop", manifest, Decision(False, checks, ("AUC 0.700 is below 0.900",)))
    assert held.title == "shop: v0001"
    assert held.said.endswith("held out. The gate held it: AUC 0.700 is below 0.900")
    assert held.rows[: len(manifest.metrics)] == tuple((k, metric(v), "", "") for k, v in manifest.metrics.items())
    assert held.rows[-2:] == (("auc", "0.700", "at least 0.900", "■ fired"), ("log loss", "0.400", "at most 0.500", ""))
    assert of_training("shop", manifest, Decision(True)).said.endswith("held out. The gate let it pass.")


def test_labels_are_shown_by_batch_and_against_the_bound():
    card = measured("shop", entry(labelled(r.Measured("auc", 0.7911, 0.011, 1409), 0.77)))
    assert card.title == "shop: labels"
    assert card.said == "Labels of 409 rows in 2 batches were read: AUC 0.791 ± 0.011, verdict pass."
    assert card.heads == ("batch", "version", "rows", "AUC", "bound")
    assert card.rows == (
        ("day1.0123456789ab", "v0001", "400", "0.812 ± 0.020", ""),
        ("day2.0123456789ab", "v0001", "9", "—", ""),
        ("the newest labelled rows", "v0001", "1,409", "0.791 ± 0.011", "0.770"),
    )


def test_labels_that_are_too_few_have_no_pooled_metric():
    assert len(measured("shop", entry(labelled(None))).rows) == 2


def test_where_no_labels_came_there_is_a_sentence():
    assert measured("shop", None) == Card("shop: labels", "No new labels were read.")


def test_what_a_page_shows_is_never_taken_for_markup():
    page = inferred("<b>", Plan(), [entry(QUARANTINED)]).html
    assert "price &lt;looks&gt; multiplied" in page
    assert "<b>" not in page
    assert page.startswith("<!doctype html>")


def test_a_card_that_cannot_be_kept_does_not_end_the_run():
    keep(object(), Card("shop: labels", "No new labels were read."))
