from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from fuseline import records as r
from fuseline.chronicle import Chronicle
from fuseline.exposition import FAMILIES, render
from fuseline.pages import Standing, Trouble

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]
DOWN = Trouble("the store is gone", "2026-03-12T06:00:00+00:00")


def figures(standings: list[Standing], now: str) -> Figures:
    text = render(standings, now)[0].decode()
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def of(lore: Any, s: Any, hours: float = 5, project: str = "bookings") -> dict[str, float]:
    """The figures of one project: `name` or `name{label}` to value."""
    standing = Standing(project, s.chronicle, lore.FACTS, None)
    found = figures([standing], (s.now + timedelta(hours=hours)).isoformat())
    assert all(("project", project) in labels for _, labels in found)
    said = {}
    for (name, labels), value in found.items():
        others = [v for k, v in labels if k != "project"]
        said[f"{name}{{{others[0]}}}" if others else name] = value
    return said


def test_the_counters_are_what_the_ledger_adds_up_to(lore: Any, told: Any) -> None:
    said = of(lore, told)
    events = [e.event for e in told.entries if isinstance(e.event, r.Published | r.Quarantined)]
    verdicts = Counter(event.assessment.verdict for event in events)
    for verdict in ("pass", "warn", "halt", "inconclusive"):
        assert said[f"fuseline_batches_total{{{verdict}}}"] == verdicts[verdict] > 0
    published = sum(isinstance(event, r.Published) for event in events)
    assert said["fuseline_batches_published_total"] == published
    assert said["fuseline_batches_quarantined_total"] == len(events) - published
    assert said["fuseline_rows_total{scored}"] == sum(event.rows for event in events)
    assert said["fuseline_rows_total{rejected}"] == sum(event.rejected for event in events)
    assert said["fuseline_ledger_entries"] == len(told.entries)


def test_counters_never_fall_while_a_ledger_grows(lore: Any, told: Any) -> None:
    s, before = lore.Story(), dict[str, float]()
    for entry in told.entries:
        s.entries.append(entry)
        said = {name: value for name, value in of(lore, s).items() if "_total" in name}
        assert all(said[name] >= value for name, value in before.items())
        before = said


@pytest.mark.parametrize(("trip", "state"), [(None, "closed"), (r.Trip(None), "open")])
def test_exactly_one_state_of_the_breaker_is_1(lore: Any, trip: r.Trip | None, state: str) -> None:
    s = lore.story()
    s.stop("2026-03-12", "v0003", lore.HALT, trip)
    said = of(lore, s)
    assert {n for n in ("closed", "half_open", "open") if said[f"fuseline_breaker_state{{{n}}}"] == 1} == {state}
    assert sum(said[f"fuseline_breaker_state{{{n}}}"] for n in ("closed", "half_open", "open")) == 1


def test_the_last_publication_has_a_time_and_an_age_in_seconds(lore: Any, told: Any) -> None:
    said = of(lore, told, hours=5)
    at = next(e.at for e in reversed(told.entries) if isinstance(e.event, r.Published))
    assert said["fuseline_last_publication_timestamp_seconds"] == datetime.fromisoformat(at).timestamp()
    age = said["fuseline_last_publication_age_seconds"]
    assert age == pytest.approx(5 * 3600 + 360)  # the labels came six minutes after it
    assert said["fuseline_batch_interval_seconds"] == 24 * 3600


def test_harm_is_that_of_the_newest_batch_and_absent_while_unknown(lore: Any) -> None:
    s = lore.story()
    s.publish("2026-03-12", "v0003", lore.WARN)
    assert of(lore, s)["fuseline_batch_harm"] == 0.003
    s.stop("2026-03-13", "v0003", lore.LOST, None)
    assert "fuseline_batch_harm" not in of(lore, s)


def test_what_needs_a_person_can_be_alerted_on(lore: Any) -> None:
    s = lore.story()
    assert of(lore, s)["fuseline_batches_in_quarantine"] == 1
    assert of(lore, s)["fuseline_alerts_undelivered"] == 0
    s.say(r.Failed("InferenceFlow", "no store"), "mara")
    failed = len(s.entries)
    s.say(r.AlertTaken(failed), "mara")
    s.say(r.AlertTried(failed, (), {"slack:b": "no"}, False), "mara")
    said = of(lore, s)
    assert said["fuseline_alerts_undelivered"] == 1
    assert said["fuseline_flow_failing{InferenceFlow}"] == 1
    assert said["fuseline_flow_failing{TrainingFlow}"] == said["fuseline_flow_failing{FeedbackFlow}"] == 0


def test_the_champion_is_a_label(lore: Any, told: Any) -> None:
    assert of(lore, told)["fuseline_champion_info{v0003}"] == 1
    assert not [name for name in of(lore, lore.Story()) if "champion" in name]


def test_a_project_that_cannot_be_read_is_down_and_says_nothing_else(lore: Any, told: Any) -> None:
    standings = [
        Standing("well", told.chronicle, lore.FACTS, None),
        Standing("stale", told.chronicle, lore.FACTS, DOWN),
        Standing("unread", None, None, DOWN),
        Standing("waiting", None, None, None),
        Standing("new", Chronicle(), None, None),
    ]
    found = figures(standings, told.at)
    up = {dict(labels)["project"]: value for (name, labels), value in found.items() if name == "fuseline_up"}
    assert up == {"well": 1, "stale": 0, "unread": 0, "waiting": 0, "new": 1}
    assert {dict(labels)["project"] for (name, labels) in found if name != "fuseline_up"} == {"well", "new"}


def test_both_formats_of_prometheus_can_be_read(lore: Any, told: Any) -> None:
    standing = Standing('a "b"\\\n', told.chronicle, lore.FACTS, None)
    text, kind = render([standing], told.at, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = list(openmetrics.text_string_to_metric_families(text.decode()))
    assert {f.name for f in families} == set(FAMILIES)
    assert {s.labels["project"] for f in families for s in f.samples} == {'a "b"\\\n'}
    assert render([standing], told.at)[1].startswith("text/plain; version=0.0.4")


def test_names_follow_the_conventions(lore: Any, told: Any) -> None:
    text = render([Standing("bookings", told.chronicle, lore.FACTS, None)], told.at)[0].decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert all(re.fullmatch(r"fuseline_[a-z_]+", name) for name in kinds)  # and nothing of this process
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.M))
    assert set(helps) == set(kinds) and all(said.endswith(".") for said in helps.values())
