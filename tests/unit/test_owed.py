from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.breaker import Breaker
from fuseline.owed import KEPT, LEASE, LONGEST, OLD, Owed, after, called_for
from fuseline.state import State, fold

START = datetime(2026, 3, 8, 6, tzinfo=UTC)
ASSESSMENT = r.Assessment("halt", 0.1)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat(timespec="seconds")


def entry(seq: int, event: r.Event, minutes: float = 0) -> r.Entry:
    return r.Entry(seq, f"id{seq}", at(minutes), "tester", event)


def told(of: int, *delivered: str, over: bool = False, **failed: str) -> r.AlertTried:
    return r.AlertTried(of, delivered, failed, over)


FAILED = r.Failed("InferenceFlow", "the store is gone")


def quarantined(trip: r.Trip | None = None) -> r.Quarantined:
    return r.Quarantined("b.1", "b", "b.csv", "a1", "v1", "champion", 10, 0, ASSESSMENT, trip)


# ── what calls for an alert ─────────────────────────────────────────────────────────────────────

CLOSED, OPEN = Breaker(), Breaker("open", trips=1)
HALF_OPEN = Breaker("half_open", trips=1)


@pytest.mark.parametrize(
    ("event", "before", "after_", "kind"),
    [
        (quarantined(r.Trip(None)), CLOSED, OPEN, "trip"),
        (quarantined(), CLOSED, CLOSED, "quarantine"),
        (quarantined(), OPEN, OPEN, "quarantine"),
        (quarantined(r.Trip(None)), HALF_OPEN, OPEN, "trip"),
        (r.Tripped("by hand", r.Trip(None)), CLOSED, OPEN, "trip"),
        (r.Tripped("by hand", r.Trip(None)), OPEN, OPEN, None),
        (r.HalfOpened("cooled down"), OPEN, HALF_OPEN, None),
        (r.Reset("mended"), OPEN, CLOSED, "recovery"),
        (r.Reset("mended"), HALF_OPEN, CLOSED, "recovery"),
        (r.Promoted("v2", "v1", "gate", "better"), OPEN, HALF_OPEN, None),
        (r.Held("v2", ("worse",)), CLOSED, CLOSED, "gate"),
        (r.Overdue(at(0), 24.0, 0), CLOSED, CLOSED, "overdue"),
        (FAILED, OPEN, OPEN, "failure"),
        (r.RetrainAsked("drift"), CLOSED, CLOSED, None),
        (r.AlertTaken(1), CLOSED, CLOSED, None),
        (told(1, over=True), CLOSED, CLOSED, None),
    ],
)
def test_an_event_calls_for_one_alert_or_none(event, before, after_, kind):
    assert called_for(event, before, after_) == kind


def test_the_state_owes_what_its_entries_call_for():
    entries = [
        entry(1, r.Registered("v1", "d", {})),
        entry(2, r.Promoted("v1", None, "gate", "first"), 1),
        entry(3, r.Tripped("by hand", r.Trip(None)), 2),
        entry(4, r.Reset("mended"), 3),
        entry(5, FAILED, 4),
    ]
    assert fold(entries).alerts == {3: Owed("trip", at(2)), 4: Owed("recovery", at(3)), 5: Owed("failure", at(4))}


# ── taking and trying ───────────────────────────────────────────────────────────────────────────


def test_a_taken_alert_is_left_alone_until_the_lease_is_over():
    owed = after({1: Owed("trip", at(0))}, entry(2, r.AlertTaken(1), 5), None)[1]
    assert (owed.taken, owed.tries, owed.tried_at) == (True, 1, at(5))
    lease = LEASE.total_seconds() / 60
    assert not owed.due(at(5 + lease - 0.1))
    assert owed.due(at(5 + lease))


def test_an_alert_that_failed_is_tried_again_after_a_minute_then_two_then_four_and_so_on():
    owed: Mapping[int, Owed] = {1: Owed("trip", at(0))}
    waits = []
    for n in range(11):
        now = 1000.0 * n
        owed = after(owed, entry(2 * n + 2, r.AlertTaken(1), now), None)
        owed = after(owed, entry(2 * n + 3, told(1, slack="timeout"), now), None)
        waits.append((datetime.fromisoformat(owed[1].next_try) - datetime.fromisoformat(at(now))).total_seconds() / 60)
        assert not owed[1].due(at(now + waits[-1] - 0.1))
        assert owed[1].due(at(now + waits[-1]))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, *[LONGEST.total_seconds() / 60] * 3]


def test_a_clock_that_goes_back_does_not_keep_an_alert_for_ever():
    owed = Owed("trip", at(0), tries=1, tried_at=at(60 * 24 * 365), taken=True)
    assert owed.due(at(10))


def test_a_clock_that_is_a_little_behind_does_not_take_an_alert_that_another_has():
    owed = Owed("trip", at(0), tries=1, tried_at=at(10), taken=True)
    assert not owed.due(at(9))


def test_what_one_channel_has_is_kept_while_the_other_fails():
    owed: Mapping[int, Owed] = {1: Owed("trip", at(0))}
    owed = after(owed, entry(2, told(1, "sns", slack="timeout")), None)
    owed = after(owed, entry(3, told(1, slack="revoked")), None)
    assert owed[1].delivered == ("sns",)
    assert owed[1].failed == {"slack": "revoked"}


def test_an_alert_is_old_after_its_time():
    owed = Owed("trip", at(0))
    limit = OLD.total_seconds() / 60
    assert not owed.old(at(limit))
    assert owed.old(at(limit + 1))


def test_what_is_said_of_an_alert_that_is_owed_no_more_changes_nothing():
    owed = {5: Owed("trip", at(0))}
    for event in (r.AlertTaken(4), told(4, "sns"), told(4, over=True)):
        assert after(owed, entry(6, event), None) == owed


def test_of_too_many_the_oldest_are_given_up():
    owed: Mapping[int, Owed] = {}
    for seq in range(1, KEPT + 6):
        owed = after(owed, entry(seq, FAILED), "failure")
    assert list(owed) == list(range(6, KEPT + 6))


def test_a_checkpoint_keeps_what_is_owed_and_its_order():
    entries = [entry(1, FAILED), entry(2, r.Overdue(at(0), 24.0, 1)), entry(3, r.AlertTaken(1))]
    state = fold([*entries, entry(4, told(1, "sns", slack="timeout"))])
    back = msgspec.convert(msgspec.json.decode(msgspec.json.encode(state)), State, str_keys=True)
    assert back == state
    assert list(back.alerts) == [1, 2]


# ── any history ─────────────────────────────────────────────────────────────────────────────────

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["raise", "other", "take", "fail", "deliver", "over"]),
        st.integers(0, 60),  # which entry it is about, from the last backwards
        st.integers(-200, 400),  # minutes that pass before it
    ),
    max_size=60,
)


@given(ACTIONS)
def test_no_alert_is_lost_none_comes_twice_and_their_order_stays(actions):
    owed: Mapping[int, Owed] = {}
    now, raised, over = 0.0, [], set()
    for seq, (action, which, minutes) in enumerate(actions, 1):
        now += minutes
        of, kind = seq - which, None
        match action:
            case "raise":
                event, kind = FAILED, "failure"
                raised.append(seq)
            case "other":
                event = r.RetrainAsked("drift")
            case "take":
                event = r.AlertTaken(of)
            case "fail":
                event = told(of, slack="timeout")
            case "deliver":
                event = told(of, "sns")
            case _:
                event = told(of, "sns", over=True)
                over.add(of)
        before = dict(owed)
        owed = after(owed, entry(seq, event, now), kind)
        left = [s for s in raised if s not in over or s == seq]
        assert list(owed) == [s for s in left if s in {*before, seq}][-KEPT:]
        assert set(before) - set(owed) <= over | set(left[:-KEPT])
        if action == "take" and of in owed:
            lease = LEASE.total_seconds() / 60
            assert not owed[of].due(at(now)) and not owed[of].due(at(now + lease - 0.1))
            assert owed[of].due(at(now + lease))
        assert {s: owed[s] for s in owed if s != of} == {s: before.get(s, owed[s]) for s in owed if s != of}


@given(st.integers(1, 10_000), st.booleans(), st.integers(-10_000_000, 10_000_000))
def test_an_alert_that_waits_always_comes_due(tries, taken, minutes):
    owed = Owed("trip", at(0), tries=tries, tried_at=at(minutes), taken=taken)
    longest = LONGEST.total_seconds() / 60
    assert owed.due(at(minutes + longest)) and owed.due(at(minutes - longest))
    assert not owed.due(at(minutes))
