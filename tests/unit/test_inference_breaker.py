"""What runs over the inbox do to the breaker, and the breaker to them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from fuseline import records as r

FALLBACK = '[breaker]\nwhile_open = "fallback"\n'


def clean(rows) -> pd.DataFrame:
    return rows.drop(columns="bought")


def in_cents(rows) -> pd.DataFrame:
    return clean(rows).assign(price=lambda d: d["price"] * 100)


def trip(project, hours: float | None = 24.0) -> None:
    """Open the breaker by hand, for so many hours or until there is a new champion."""
    clock = replace(project.clock)
    clock.forward(hours or 0.0)
    project.line.ledger.append(lambda _: r.Tripped("by hand", r.Trip(clock.now if hours else None)))


def test_a_halt_trips_and_the_later_batches_of_the_run_stay_in_the_inbox(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", in_cents(rows(200, 3)))
    trained.deliver("day3", clean(rows(200, 4)))
    entries = trained.infer()
    assert [type(e.event).__name__ for e in entries] == ["Published", "Quarantined"]
    now = trained.state
    assert now.breaker.status == "open"
    assert now.breaker.reason.startswith("price looks multiplied by 100")
    assert now.breaker.until == "2026-03-02T06:00:00+00:00"
    assert trained.line.batches.waiting() == ["day3.parquet"]
    assert trained.published().keys() == {"day1"}


def test_while_the_breaker_is_open_batches_are_held_in_the_inbox(trained, rows):
    trip(trained)
    trained.deliver("day1", clean(rows(200, 2)))
    before = trained.state.seq
    plan = trained.line.inference("a1").plan()
    assert (plan.jobs, plan.held) == ((), ("day1.parquet",))
    assert trained.infer("a2") == []
    assert trained.state.seq == before
    assert trained.line.batches.waiting() == ["day1.parquet"]


def test_a_breaker_that_trips_between_plan_and_settle_keeps_the_batch_in_the_inbox(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    inference, scored = trained.begin()
    trip(trained)
    assert inference.settle(scored) == []
    assert trained.published() == {}
    assert trained.line.batches.waiting() == ["day1.parquet"]
    trained.reset()
    assert inference.settle(scored) == [], "what was begun before a trip is not published after it"
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Published)
    assert trained.line.batches.waiting() == []


def test_after_the_cool_down_one_trial_goes_through_and_closes_the_breaker(trained, rows):
    trip(trained, 24)
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", clean(rows(200, 3)))
    trained.clock.forward(23.9)
    assert trained.infer("a1") == []
    trained.clock.forward(0.2)
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, entry.event.batch[:4]) == ("trial", "day1")
    assert set(trained.published()["day1"]["mode"]) == {"trial"}
    assert trained.state.breaker.status == "closed"
    assert trained.line.batches.waiting() == ["day2.parquet"]
    (entry,) = trained.infer("a3")
    assert entry.event.mode == "champion"


def test_a_trial_that_fails_doubles_the_cool_down(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    trained.clock.forward(24)
    trained.deliver("day2", in_cents(rows(200, 3)))
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, type(entry.event)) == ("trial", r.Quarantined)
    now = trained.state.breaker
    assert (now.status, now.trips, now.until) == ("open", 2, "2026-03-04T06:00:00+00:00")
    trained.clock.forward(47.9)
    trained.deliver("day3", clean(rows(200, 4)))
    assert trained.infer("a3") == []
    trained.clock.forward(0.1)
    (entry,) = trained.infer("a4")
    assert isinstance(entry.event, r.Published)
    assert trained.state.breaker == replace(trained.state.breaker, status="closed", trips=0)


def test_the_cool_down_does_not_double_beyond_its_greatest(trained, rows):
    trained.setting("[breaker]\ncool_down_hours = 24\nmax_cool_down_hours = 30\n")
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    trained.clock.forward(24)
    trained.deliver("day2", in_cents(rows(200, 3)))
    trained.infer("a2")
    assert trained.state.breaker.until == "2026-03-03T12:00:00+00:00"


def test_two_trials_that_must_pass_go_through_one_after_the_other(trained, rows):
    trained.setting("[breaker]\ntrials = 2\n")
    trained.deliver("day0", in_cents(rows(200, 9)))
    trained.infer("a0")
    trained.clock.forward(24)
    for seed, name in ((2, "day1"), (3, "day2"), (4, "day3")):
        trained.deliver(name, clean(rows(200, seed)))
    for attempt, name, status in (("a1", "day1", "half_open"), ("a2", "day2", "closed")):
        plan = trained.line.inference(attempt).plan()
        assert [j.name for j in plan.jobs] == [name]
        assert plan.held == tuple(f"{day}.parquet" for day in ("day1", "day2", "day3") if day > name)
        (entry,) = trained.infer(attempt)
        assert (entry.event.mode, trained.state.breaker.status) == ("trial", status)
    assert trained.published().keys() == {"day1", "day2"}


def test_two_runs_at_once_in_half_open_publish_one_trial(trained, rows):
    trained.setting("[breaker]\ntrials = 2\n")
    trip(trained, 1)
    trained.clock.forward(2)
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", clean(rows(200, 3)))
    one, mine = trained.begin("a1")
    two, theirs = trained.begin("a2")
    assert [s.name for s in (*mine, *theirs)] == ["day1", "day1"]
    assert len(one.settle(mine) + two.settle(theirs)) == 1
    assert trained.published().keys() == {"day1"}


def test_a_new_champion_lets_a_trial_through_before_the_cool_down_is_over(trained, rows):
    trip(trained, None)
    trained.clock.forward(1_000)
    trained.deliver("day1", clean(rows(200, 2)))
    assert trained.infer("a1") == [], "a breaker without a cool-down waits for a champion"
    trained.promote_copy()
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, entry.event.version) == ("trial", "v0002")
    assert trained.state.breaker.status == "closed"


def test_a_trial_of_the_champion_before_is_not_published_once_there_is_a_new_one(trained, rows):
    trip(trained, 1)
    trained.clock.forward(2)
    trained.deliver("day1", clean(rows(200, 2)))
    inference, scored = trained.begin()
    trained.promote_copy()
    assert inference.settle(scored) == []
    assert trained.state.breaker.status == "half_open"
    assert trained.line.batches.waiting() == ["day1.parquet"]
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, entry.event.version) == ("trial", "v0002")


def test_fallback_scores_with_the_last_good_version_and_every_row_says_so(trained, rows):
    trained.promote_copy()
    trained.setting(FALLBACK)
    trip(trained)
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", clean(rows(200, 3)))
    entries = trained.infer()
    assert [(e.event.mode, e.event.version) for e in entries] == [("fallback", "v0001")] * 2
    found = trained.published()["day1"]
    assert set(found["mode"]) == {"fallback"}
    assert set(found["version"]) == {"v0001"}
    assert trained.state.breaker.status == "open", "a fallback closes nothing"


def test_fallback_without_an_earlier_champion_holds(trained, rows):
    trained.setting(FALLBACK)
    trip(trained)
    trained.deliver("day1", clean(rows(200, 2)))
    plan = trained.line.inference("a1").plan()
    assert (plan.jobs, plan.held) == ((), ("day1.parquet",))


def test_a_fallback_batch_that_would_do_harm_is_quarantined_too(trained, rows):
    trained.promote_copy()
    trained.setting(FALLBACK)
    trip(trained)
    trained.deliver("day1", in_cents(rows(200, 2)))
    (entry,) = trained.infer()
    assert isinstance(entry.event, r.Quarantined)
    assert trained.published() == {}
    assert trained.state.breaker.status == "open"


def test_a_fallback_is_not_published_once_the_breaker_is_closed_again(trained, rows):
    trained.promote_copy()
    trained.setting(FALLBACK)
    trip(trained)
    trained.deliver("day1", clean(rows(200, 2)))
    inference, scored = trained.begin()
    trained.reset()
    assert inference.settle(scored) == []
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, entry.event.version) == ("champion", "v0002")


def test_batches_that_cannot_be_judged_trip_at_the_limit_in_a_row(trained, rows):
    for name in ("day1", "day2"):
        trained.store.put(f"inbox/tiny/{name}.parquet", f"not parquet {name}".encode())
    trained.line.inference("a1").plan()
    now = trained.state
    assert [b.status for b in now.batches.values()] == ["quarantined"] * 2
    assert now.breaker.status == "open"


def test_a_good_batch_between_two_that_cannot_be_judged_keeps_the_breaker_closed(trained, rows):
    for day, data in enumerate((b"x", None, b"y"), start=1):
        if data is None:
            trained.deliver(f"day{day}", clean(rows(200, 2)))
        else:
            trained.store.put(f"inbox/tiny/day{day}.parquet", data)
        trained.infer(f"a{day}")
    assert trained.state.breaker.status == "closed"
    assert trained.published().keys() == {"day2"}
