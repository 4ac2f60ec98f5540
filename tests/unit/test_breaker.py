from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.breaker import Breaker, Policy, Status
from fuseline.records import Assessment, Mode, Trip, Verdict

DAY = [f"2026-03-{day:02d}T00:00:00+00:00" for day in range(1, 32)]  # DAY[0] is the first of March


def opened(until: str | None = DAY[1], trials: int = 1) -> Breaker:
    return Breaker().trip(Trip(until, trials), DAY[0], "price in cents")


def test_a_new_breaker_is_closed_and_has_never_tripped() -> None:
    assert Breaker() == Breaker("closed", "", "", 0, None, 1, 0, 0)


def test_a_trip_opens_it_and_says_why_since_when_and_until_when() -> None:
    assert opened(trials=3) == Breaker("open", DAY[0], "price in cents", trips=1, until=DAY[1], trials=3)


def test_a_trip_forgets_the_count_of_batches_that_could_not_be_judged() -> None:
    assert Breaker(inconclusive=2).trip(Trip(DAY[1]), DAY[0], "x").inconclusive == 0


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (DAY[3], DAY[5], DAY[5]),
        (DAY[5], DAY[3], DAY[5]),
        (None, DAY[5], None),
        (DAY[5], None, None),
        (None, None, None),
    ],
)
def test_a_trip_while_open_keeps_the_longer_cool_down(first: str | None, second: str | None, kept: str | None) -> None:
    again = opened(first).trip(Trip(second), DAY[2], "worse")
    assert (again.status, again.until, again.reason) == ("open", kept, "worse")
    assert (again.trips, again.since) == (1, DAY[0]), "it is the same opening: no back-off, and open since then"


def test_half_open_comes_only_after_open() -> None:
    half = opened().half_open(DAY[1], "the cool-down is over")
    assert (half.status, half.since, half.reason, half.passed) == ("half_open", DAY[1], "the cool-down is over", 0)
    assert Breaker().half_open(DAY[1], "x") == Breaker()
    assert half.half_open(DAY[2], "x") == half


def test_one_trial_closes_it_and_ends_the_back_off() -> None:
    closed = opened().half_open(DAY[1], "x").passed_trial(DAY[2])
    assert closed == Breaker(since=DAY[2], reason="1 trial batch passed")


def test_every_one_of_k_trials_must_pass() -> None:
    half = opened(trials=3).half_open(DAY[1], "x")
    one = half.passed_trial(DAY[2])
    two = one.passed_trial(DAY[3])
    assert [(b.status, b.passed) for b in (one, two)] == [("half_open", 1), ("half_open", 2)]
    assert two.passed_trial(DAY[4]) == Breaker(since=DAY[4], reason="3 trial batches passed")


def test_a_failed_trial_starts_the_count_of_trials_again() -> None:
    one = opened(trials=2).half_open(DAY[1], "x").passed_trial(DAY[2])
    again = one.trip(Trip(DAY[4], 2), DAY[3], "failed").half_open(DAY[4], "x")
    assert (again.passed, again.trips) == (0, 2)
    assert again.passed_trial(DAY[5]).status == "half_open"


@pytest.mark.parametrize("breaker", [Breaker(inconclusive=1), opened().undecided()])
def test_a_published_batch_ends_the_row_of_undecided_ones_and_changes_nothing_else(breaker: Breaker) -> None:
    after = breaker.passed_trial(DAY[5])
    assert after.inconclusive == 0
    assert (after.status, after.since, after.until, after.trips) == (
        breaker.status,
        breaker.since,
        breaker.until,
        breaker.trips,
    )


def test_undecided_batches_are_counted() -> None:
    assert Breaker().undecided().undecided().inconclusive == 2


def test_a_reset_closes_it_from_anywhere() -> None:
    for breaker in (Breaker(), opened(None), opened().half_open(DAY[1], "x")):
        assert breaker.reset(DAY[6], "mended") == Breaker(since=DAY[6], reason="mended")


def test_it_has_cooled_down_at_its_time_and_not_before() -> None:
    breaker = opened(DAY[5])
    assert [breaker.cooled_down(DAY[i]) for i in (4, 5, 6)] == [False, True, True]
    assert not breaker.cooled_down("2026-03-05T23:59:59.999999+00:00")
    assert breaker.cooled_down("2026-03-06T00:00:00.000001+00:00")


def test_only_an_open_breaker_with_a_time_cools_down() -> None:
    assert not opened(None).cooled_down(DAY[30])
    assert not Breaker().cooled_down(DAY[30])
    assert not opened(DAY[1]).half_open(DAY[2], "x").cooled_down(DAY[30])


@pytest.mark.parametrize(
    ("status", "admitted"), [("closed", {"champion"}), ("half_open", {"trial"}), ("open", {"fallback"})]
)
def test_each_status_admits_one_mode(status: Status, admitted: set[Mode]) -> None:
    assert {mode for mode in get_args(Mode) if Breaker(status=status).admits(mode)} == admitted


# ── policy ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("trips", "hours"), [(0, 24), (1, 48), (2, 96), (3, 168), (4, 168), (5000, 168)])
def test_the_cool_down_doubles_up_to_the_cap(trips: int, hours: int) -> None:
    until = Policy().trip(Breaker(trips=trips), DAY[0]).until
    assert until == DAY[hours // 24]


def test_the_cap_holds_for_the_first_cool_down_too() -> None:
    assert Policy(cool_down_hours=100.0, max_cool_down_hours=24.0).trip(Breaker(), DAY[0]).until == DAY[1]


def test_each_failed_trial_doubles_and_a_passed_one_begins_anew() -> None:
    policy, breaker, waits = Policy(cool_down_hours=1.0, max_cool_down_hours=5.0), Breaker(), []
    for _ in range(4):
        breaker = breaker.trip(policy.trip(breaker, DAY[0]), DAY[0], "x")
        assert breaker.until is not None
        waits.append(int(breaker.until[11:13]))
        breaker = breaker.half_open(DAY[1], "x")
    assert waits == [1, 2, 4, 5]
    assert policy.trip(breaker.passed_trial(DAY[2]), DAY[2]).until == "2026-03-03T01:00:00+00:00"


def test_a_trip_that_waits_for_a_champion_has_no_cool_down_but_trials() -> None:
    assert Policy(trials=3).trip(Breaker(), DAY[0], wait_for_champion=True) == Trip(until=None, trials=3)


def test_a_halt_trips_a_breaker_that_lets_batches_through() -> None:
    for breaker in (Breaker(), opened().half_open(DAY[1], "x")):
        assert Policy().consequence(Assessment("halt"), breaker, DAY[2]) is not None


@pytest.mark.parametrize("verdict", ["halt", "inconclusive"])
def test_what_the_fallback_scores_does_not_keep_the_champion_from_being_tried_again(verdict: Verdict) -> None:
    assert Policy().consequence(Assessment(verdict), opened(), DAY[2]) is None


def test_undecided_batches_trip_as_the_last_of_the_limit() -> None:
    policy, breaker, tripped = Policy(inconclusive_limit=3), Breaker(), []
    for _ in range(3):
        tripped.append(policy.consequence(Assessment("inconclusive"), breaker, DAY[0]) is not None)
        breaker = breaker.undecided()
    assert tripped == [False, False, True]


@pytest.mark.parametrize("limit", [0, 1])
def test_a_limit_of_one_or_none_trips_at_once(limit: int) -> None:
    assert Policy(inconclusive_limit=limit).consequence(Assessment("inconclusive"), Breaker(), DAY[0]) is not None


def test_a_trial_that_cannot_be_judged_has_failed() -> None:
    half = opened().half_open(DAY[1], "x")
    trip = Policy(inconclusive_limit=99).consequence(Assessment("inconclusive"), half, DAY[2])
    assert trip is not None and trip.until == DAY[4], "the second trip cools down for twice 24 hours"


# ── whatever happens ─────────────────────────────────────────────────────────────────────────────

TRIPS = st.builds(Trip, st.none() | st.sampled_from(DAY), st.integers(1, 3))
STEPS = st.lists(st.one_of(TRIPS, st.sampled_from(["half_open", "passed", "undecided", "reset"])), max_size=30)


def step(breaker: Breaker, action: Trip | str, at: str) -> Breaker:
    if isinstance(action, Trip):
        return breaker.trip(action, at, "a trip")
    if action == "half_open":
        return breaker.half_open(at, "again")
    if action == "passed":
        return breaker.passed_trial(at)
    return breaker.undecided() if action == "undecided" else breaker.reset(at, "by hand")


@given(STEPS)
def test_after_any_steps_the_breaker_is_one_that_can_be_reasoned_about(steps: list[Trip | str]) -> None:
    breaker = Breaker()
    for number, action in enumerate(steps):
        before, breaker = breaker, step(breaker, action, DAY[number])
        assert breaker.passed < breaker.trials
        assert sum(breaker.admits(mode) for mode in get_args(Mode)) == 1
        assert breaker.admits("champion") == (breaker.status == "closed")
        assert (breaker.trips == 0) == (breaker.status == "closed"), "the back-off counts from the last closing"
        assert breaker.until is None or breaker.status != "closed"
        assert breaker.inconclusive >= 0
        if isinstance(action, Trip):
            assert breaker.status == "open"
            assert breaker.trips == before.trips + (before.status != "open")
        if breaker.status == "half_open" and before.status != "half_open":
            assert before.status == "open"
        if breaker.status == "closed" and before.status != "closed":
            assert action == "reset" or (action == "passed" and before.passed + 1 == before.trials)


@given(STEPS)
def test_an_open_breaker_leaves_that_status_only_by_half_opening_or_a_reset(steps: list[Trip | str]) -> None:
    breaker = Breaker()
    for number, action in enumerate(steps):
        before, breaker = breaker, step(breaker, action, DAY[number])
        if before.status == "open" and breaker.status != "open":
            assert action in ("half_open", "reset")


@given(st.integers(0, 100), st.floats(0.01, 500.0), st.floats(0.01, 500.0))
def test_the_cool_down_is_never_negative_and_never_above_the_cap(trips: int, first: float, cap: float) -> None:
    policy = Policy(cool_down_hours=first, max_cool_down_hours=cap)
    now, later = (policy.trip(Breaker(trips=n), DAY[0]).until for n in (trips, trips + 1))
    capped = policy.trip(Breaker(trips=5000), DAY[0]).until
    assert now is not None and later is not None and capped is not None
    assert DAY[0] < now <= later <= capped
