from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.breaker import Breaker
from fuseline.state import Batch, Retrain, State, Tenure, Version, fold

GOOD, BAD, UNKNOWN = (r.Assessment(v) for v in ("pass", "halt", "inconclusive"))
CAUSE = r.Cause("labels", "AUC is 0.61, below 0.70", fault="model")


def at(seq: int) -> str:
    return f"2026-03-08T{seq // 60:02d}:{seq % 60:02d}:00+00:00"


def entries(*events: r.Event, after: int = 0) -> list[r.Entry]:
    return [r.Entry(n, f"id{n}", at(n), "me", event) for n, event in enumerate(events, after + 1)]


def folded(*events: r.Event) -> State:
    return fold(entries(*events))


def registered(version: str) -> r.Registered:
    return r.Registered(version, "d", {"auc": 0.9})


def promoted(version: str, previous: str | None, how: Literal["gate", "manual", "rollback"] = "gate") -> r.Promoted:
    return r.Promoted(version, previous, how, "better")


def started(batch: str, mode: r.Mode = "champion", version: str = "v1") -> r.Started:
    return r.Started(batch, batch[0], f"{batch[0]}.csv", f"digest of {batch}", version, mode, at(0), 10, {"h": "key"})


def published(batch: str, mode: r.Mode = "champion", attempt: str = "run1") -> r.Published:
    return r.Published(batch, attempt, "v1", mode, 9, 1, at(0), "out", GOOD)


def quarantined(batch: str, trip: r.Trip | None = None, assessment: r.Assessment = BAD) -> r.Quarantined:
    return r.Quarantined(batch, batch[0], f"{batch[0]}.csv", "run1", "v1", "champion", 8, 2, assessment, trip)


def labelled(*measured: tuple[str, int], trip: r.Trip | None = None, retrain: bool = False, **more: Any) -> r.Labelled:
    batches = tuple(r.BatchMeasured(batch, "v1", rows, 0.8, 0.01) for batch, rows in measured)
    files = more.pop("files", {"l.csv": "digest"})
    return r.Labelled(files, batches, 0, "v1", None, None, None, "pass", trip=trip, retrain=retrain, **more)


CHAMPION = (registered("v1"), promoted("v1", None))


# ── one event at a time ──────────────────────────────────────────────────────────────────────────


def test_no_entries_are_an_empty_project() -> None:
    assert fold([]) == State()
    assert State().champion is None and State().last_good is None and State().champion_at(at(5)) is None


def test_the_state_carries_the_place_and_time_of_its_last_entry() -> None:
    state = folded(*CHAMPION)
    assert (state.seq, state.at) == (2, at(2))


@pytest.mark.parametrize("seq", [0, 1, 2, 4, 5])
def test_entries_must_come_without_gaps(seq: int) -> None:
    with pytest.raises(ValueError, match=f"entry {seq} does not follow entry 2"):
        folded(*CHAMPION).apply(r.Entry(seq, "id", at(seq), "me", r.Reset("x")))


def test_a_registered_version_is_not_the_champion() -> None:
    state = folded(registered("v1"))
    assert state.versions == {"v1": Version("registered", 1)} and state.champion is None


def test_a_promotion_makes_one_champion_and_retires_the_one_before() -> None:
    state = folded(*CHAMPION, registered("v2"), promoted("v2", "v1"))
    assert state.champion == "v2"
    assert {name: v.status for name, v in state.versions.items()} == {"v1": "retired", "v2": "champion"}
    assert state.tenures == (Tenure(2, at(2), "v1"), Tenure(4, at(4), "v2"))


def test_promoting_the_champion_again_keeps_it_champion() -> None:
    state = folded(*CHAMPION, promoted("v1", "v1", "manual"))
    assert state.champion == "v1" and state.versions["v1"].status == "champion" and state.last_good is None


def test_a_held_challenger_waits_and_the_request_for_a_new_version_is_done() -> None:
    state = folded(*CHAMPION, r.RetrainAsked("drift"), registered("v2"), r.Held("v2", ("AUC",)))
    assert state.versions["v2"] == Version("held", 4)
    assert state.champion == "v1" and state.retrain is None


def test_a_started_batch_pins_what_later_steps_use() -> None:
    assert folded(*CHAMPION, started("a1")).batches["a1"] == Batch(
        status="started",
        name="a",
        file="a.csv",
        digest="digest of a1",
        version="v1",
        mode="champion",
        scored_at=at(0),
        started=3,
        seq=3,
        rows=10,
        sources={"h": "key"},
    )


def test_a_published_batch_keeps_what_its_start_pinned() -> None:
    batch = folded(*CHAMPION, started("a1"), published("a1")).batches["a1"]
    assert (batch.status, batch.attempt, batch.rows, batch.started, batch.seq) == ("published", "run1", 9, 3, 4)
    assert (batch.digest, batch.sources, batch.scored_at) == ("digest of a1", {"h": "key"}, at(0))


def test_a_quarantined_batch_keeps_its_digest_and_sources() -> None:
    state = folded(*CHAMPION, started("a1"), quarantined("a1"))
    batch = state.batches["a1"]
    assert (batch.status, batch.attempt, batch.rows, batch.started, batch.seq) == ("quarantined", "run1", 8, 3, 4)
    assert (batch.digest, batch.sources, batch.scored_at) == ("digest of a1", {"h": "key"}, at(0))
    assert state.breaker.status == "closed", "it brought no trip"


def test_a_batch_that_could_not_be_read_is_quarantined_without_a_start() -> None:
    batch = folded(*CHAMPION, quarantined("a1", assessment=UNKNOWN)).batches["a1"]
    assert (batch.status, batch.started, batch.seq, batch.scored_at) == ("quarantined", 3, 3, at(3))


def test_a_quarantine_that_trips_opens_the_breaker_and_says_why() -> None:
    assessment = r.Assessment("halt", causes=(r.Cause("harm", "price is in cents"),))
    breaker = folded(*CHAMPION, started("a1"), quarantined("a1", r.Trip(at(99), 2), assessment)).breaker
    assert breaker == Breaker("open", at(4), "price is in cents", trips=1, until=at(99), trials=2)


def test_batches_that_cannot_be_judged_are_counted_until_one_is_published() -> None:
    twice = [started("a1"), quarantined("a1", None, UNKNOWN), started("b1"), quarantined("b1", None, UNKNOWN)]
    assert folded(*CHAMPION, *twice).breaker.inconclusive == 2
    assert folded(*CHAMPION, *twice, started("c1"), published("c1")).breaker.inconclusive == 0
    assert folded(*CHAMPION, *twice, started("c1"), quarantined("c1")).breaker.inconclusive == 2


@pytest.mark.parametrize(
    ("event", "status", "final"),
    [
        (r.Withdrawn("a1", "wrong"), "withdrawn", True),
        (r.Dropped("a1", "useless"), "dropped", True),
        (r.Replayed("a1", "again"), "waiting", False),
        (r.Replayed("a1", "mended", "a2"), "replaced", True),
    ],
)
def test_what_a_person_does_with_a_batch(event: r.Event, status: str, final: bool) -> None:
    batch = folded(*CHAMPION, started("a1"), quarantined("a1"), event).batches["a1"]
    assert (batch.status, batch.seq, batch.final, batch.digest) == (status, 5, final, "digest of a1")


def test_a_replayed_batch_starts_again_from_a_new_entry() -> None:
    state = folded(*CHAMPION, started("a1"), quarantined("a1"), r.Replayed("a1", "x"), started("a1"), published("a1"))
    assert (state.batches["a1"].started, state.batches["a1"].status) == (6, "published")


def test_the_breaker_is_opened_half_opened_and_reset_by_entries() -> None:
    trip = r.Tripped("by hand", r.Trip(None, 2))
    assert folded(trip).breaker == Breaker("open", at(1), "by hand", trips=1, trials=2)
    assert folded(trip, r.HalfOpened("try")).breaker.status == "half_open"
    assert folded(r.HalfOpened("try")).breaker == Breaker()
    assert folded(trip, r.Reset("mended")).breaker == Breaker(since=at(2), reason="mended")


def test_a_new_champion_half_opens_an_open_breaker_even_one_without_a_cool_down() -> None:
    state = folded(*CHAMPION, r.Tripped("labels", r.Trip(None)), registered("v2"), promoted("v2", "v1"))
    assert (state.breaker.status, state.breaker.reason) == ("half_open", "new champion v2")


def test_trials_close_the_breaker_and_other_batches_do_not() -> None:
    half = (*CHAMPION, r.Tripped("x", r.Trip(None, 2)), r.HalfOpened("x"))
    one = (started("a1", "trial"), published("a1", "trial"))
    two = (started("b1", "trial"), published("b1", "trial"))
    assert folded(*half, *one).breaker.status == "half_open"
    assert folded(*half, *one, *two).breaker.status == "closed"
    fallback = (started("a1", "fallback"), published("a1", "fallback"))
    assert folded(*CHAMPION, r.Tripped("x", r.Trip(None, 1)), *fallback).breaker.status == "open"


def test_trials_of_the_champion_before_do_not_count_for_a_new_one() -> None:
    half = (*CHAMPION, r.Tripped("x", r.Trip(None, 2)), r.HalfOpened("x"), started("a1", "trial"))
    state = folded(*half, published("a1", "trial"), registered("v2"), promoted("v2", "v1"))
    assert (state.breaker.status, state.breaker.passed) == ("half_open", 0), "the trial that passed was v1's"


def test_labels_are_counted_for_their_batches_and_their_files_remembered() -> None:
    begin = (*CHAMPION, started("a1"), published("a1"))
    state = folded(*begin, labelled(("a1", 4)), labelled(("a1", 3), files={"m.csv": "other"}))
    assert state.batches["a1"].labelled == 7
    assert state.labels == {"l.csv": "digest", "m.csv": "other"}
    assert state.breaker.status == "closed" and state.retrain is None


@pytest.mark.parametrize(("causes", "sentence"), [((CAUSE,), CAUSE.sentence), ((), "labels")])
def test_labels_can_trip_and_ask_for_a_new_version(causes: tuple[r.Cause, ...], sentence: str) -> None:
    state = folded(*CHAMPION, labelled(trip=r.Trip(None), retrain=True, causes=causes))
    assert (state.breaker.status, state.breaker.reason, state.breaker.until) == ("open", sentence, None)
    assert state.retrain == Retrain(3, sentence)


# ── a new version is wanted: at most once ────────────────────────────────────────────────────────


def test_a_second_request_for_a_new_version_is_ignored() -> None:
    state = folded(*CHAMPION, r.RetrainAsked("first"), r.RetrainAsked("second"), labelled(retrain=True))
    assert state.retrain == Retrain(3, "first")


def test_a_run_takes_the_request_and_a_later_request_does_not_replace_it() -> None:
    state = folded(*CHAMPION, r.RetrainAsked("first"), r.TrainingStarted("run7"), r.RetrainAsked("second"))
    assert state.retrain == Retrain(3, "first", "run7", at(4))


def test_training_without_a_request_makes_none() -> None:
    assert folded(*CHAMPION, r.TrainingStarted("run7")).retrain is None


@pytest.mark.parametrize(("how", "done"), [("gate", True), ("manual", False), ("rollback", False)])
def test_only_a_trained_version_answers_the_request(how: Literal["gate", "manual", "rollback"], done: bool) -> None:
    state = folded(*CHAMPION, registered("v2"), r.RetrainAsked("x"), promoted("v2", "v1", how))
    assert (state.retrain is None) == done


# ── questions ────────────────────────────────────────────────────────────────────────────────────


def test_the_last_good_version_is_the_champion_before_this_one() -> None:
    two = (*CHAMPION, registered("v2"), promoted("v2", "v1"))
    assert folded(*CHAMPION).last_good is None
    assert folded(*two).last_good == "v1"
    assert folded(*two, promoted("v2", "v2", "manual")).last_good == "v1"
    assert folded(*two, promoted("v1", "v2", "rollback")).last_good == "v2"


def test_batches_by_status_come_in_the_order_of_their_entries() -> None:
    state = folded(*CHAMPION, started("b1"), started("a1"), started("c1"), published("a1"), published("b1"))
    assert list(state.with_status("published")) == ["a1", "b1"]
    assert list(state.with_status("started", "published")) == ["c1", "a1", "b1"]
    assert state.with_status() == {}


def test_a_published_name_is_found_and_a_withdrawn_one_is_not() -> None:
    state = folded(*CHAMPION, started("a1"), published("a1"))
    assert state.published_as("a") == "a1" and state.published_as("b") is None
    assert fold(entries(r.Withdrawn("a1", "x"), after=4), state).published_as("a") is None


# ── whatever happens ─────────────────────────────────────────────────────────────────────────────

VERSIONS, BATCHES = ("v1", "v2", "v3"), ("a1", "a2", "b1")
ACTIONS: dict[str, Callable[[int], r.Event]] = {
    "register": lambda n: registered(VERSIONS[n]),
    "promote": lambda n: promoted(VERSIONS[n], None, ("gate", "manual", "rollback")[n]),
    "hold": lambda n: r.Held(VERSIONS[n], ("x",)),
    "start": lambda n: started(BATCHES[n], ("champion", "trial", "fallback")[n]),
    "publish": lambda n: published(BATCHES[n]),
    "quarantine": lambda n: quarantined(BATCHES[n], r.Trip(at(n), n) if n else None, UNKNOWN if n == 2 else BAD),
    "withdraw": lambda n: r.Withdrawn(BATCHES[n], "x"),
    "replay": lambda n: r.Replayed(BATCHES[n], "x", (None, "a2", None)[n]),
    "drop": lambda n: r.Dropped(BATCHES[n], "x"),
    "trip": lambda n: r.Tripped("x", r.Trip(at(n), n + 1)),
    "half open": lambda n: r.HalfOpened("x"),
    "reset": lambda n: r.Reset("x"),
    "label": lambda n: labelled((BATCHES[n], n), trip=r.Trip(None) if n == 1 else None, retrain=n == 2),
    "ask": lambda n: r.RetrainAsked(f"reason {n}"),
    "train": lambda n: r.TrainingStarted(f"run{n}"),
    "fail": lambda n: r.Failed(("TrainingFlow", "InferenceFlow", "FeedbackFlow")[n], "the store is gone"),
    "mend": lambda n: r.Mended(("TrainingFlow", "InferenceFlow", "FeedbackFlow")[n]),
    "miss": lambda n: r.Overdue(at(n), 24.0, n),
    "take an alert": lambda n: r.AlertTaken(n + 7),
    "try an alert": lambda n: r.AlertTried(n + 7, ("sns:x",), {"slack:y": "timeout"} if n else {}, n != 1),
}
KNOWN = (*(registered(v) for v in VERSIONS), *(started(b) for b in BATCHES))
HISTORIES = st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 2)), max_size=40).map(
    lambda steps: entries(*KNOWN, *(ACTIONS[name](n) for name, n in steps))
)


def test_the_histories_below_hold_every_kind_of_event() -> None:
    assert {type(make(0)) for make in ACTIONS.values()} == set(r.Event.__args__)


@given(HISTORIES, st.integers(0, 46))
def test_a_fold_of_the_rest_over_any_prefix_is_the_fold_of_all(history: list[r.Entry], cut: int) -> None:
    assert fold(history[cut:], fold(history[:cut])) == fold(history)


@given(HISTORIES)
def test_a_fold_changes_none_of_the_states_before_it(history: list[r.Entry]) -> None:
    states = [State()]
    for entry in history:
        states.append(states[-1].apply(entry))
    assert states == [fold(history[:n]) for n in range(len(history) + 1)]


def naive_champion(history: Iterable[r.Entry], moment: str) -> str | None:
    champion = None
    for entry in history:
        if isinstance(entry.event, r.Promoted) and entry.at <= moment:
            champion = entry.event.version
    return champion


@given(HISTORIES)
@settings(max_examples=50)
def test_who_was_champion_at_any_time_is_what_reading_the_entries_says(history: list[r.Entry]) -> None:
    state = fold(history)
    for seq in range(len(history) + 2):
        moments = (at(seq), at(seq).replace(":00+", ":00.500000+"), at(seq).replace(":00+", ":59+"))
        for moment in moments:
            assert state.champion_at(moment) == naive_champion(history, moment)
    assert state.champion == naive_champion(history, at(99))


@given(HISTORIES)
def test_there_is_at_most_one_champion_and_one_request_and_it_is_the_first(history: list[r.Entry]) -> None:
    state = State()
    for entry in history:
        before, state = state, state.apply(entry)
        champions = [name for name, v in state.versions.items() if v.status == "champion"]
        assert state.champion is None or len(champions) <= 1
        assert state.last_good is None or state.last_good != state.champion
        if before.retrain and state.retrain:
            assert (state.retrain.seq, state.retrain.reason) == (before.retrain.seq, before.retrain.reason)
