from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from fuseline import records as r
from fuseline.bootstrap import Line
from fuseline.breaker import Policy
from fuseline.errors import ArtifactError, FuselineError, ModelFault, Refused, StoreError
from fuseline.models import Manifest, Stored, Window, promote, rollback
from fuseline.projects import Config, Project, Source
from fuseline.serving.champion import Champion, Wanted
from fuseline.serving.served import Asked
from fuseline.settings import Settings
from fuseline.storage import MemoryStore, Store

NOW = "2026-03-01T06:00:00+00:00"
LATER = "2026-03-02T06:00:00+00:00"


@dataclass
class Told:
    """A model that only says who it is."""

    version: str
    mode: str
    reason: str
    tables: list[int]
    warm: bool = False

    def warm_up(self) -> None:
        self.warm = True


@dataclass
class Builder:
    """Makes such models; those of some versions fail."""

    faults: dict[str, BaseException] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)

    def __call__(self, model: Any, tables: Any, one: Wanted) -> Any:
        self.built.append(f"{one.version} {one.mode}")
        if fault := self.faults.get(model.version):
            raise fault
        return Told(model.version, one.mode, one.reason, [table.num_rows for table, _ in tables])


class Switched:
    """A store that can be switched off."""

    def __init__(self, inner: Store) -> None:
        self.inner, self.url, self.down = inner, inner.url, False

    def __getattr__(self, name: str) -> Any:
        if self.down:
            raise StoreError("nobody listens at store:9000")
        return getattr(self.inner, name)


def manifest(version: str, run: str = "r") -> Manifest:
    text = dict.fromkeys(("target", "positive", "metric", "code_digest", "lock_digest"), "x")
    tuples: dict[str, Any] = {"classes": (), "features": (), "calibration": (), "artifacts": ()}
    maps: dict[str, Any] = {"metrics": {}, "importance": {}, "libraries": {}}
    files: dict[str, Stored] = {}
    return Manifest(version, "p", NOW, "binary", files=files, window=Window(1, 1), run=run, **text, **tuples, **maps)


def line(store: Store, while_open: str = "hold", now: str = NOW, **config: Any) -> Line:
    policy = Policy(while_open=while_open)  # type: ignore[arg-type]
    project = Project("p", Path("projects/p"), Config("y", breaker=policy, **config))
    return Line(replace(Settings(), now=now), project, store, "me")


def register(here: Line, *versions: str, run: str = "r") -> None:
    for version in versions:
        here.models.write(manifest(version, run))
        here.models.register(here.ledger, here.models.manifest(version))


def trip(here: Line, until: str | None = LATER, reason: str = "price in cents") -> None:
    here.ledger.append(lambda state: r.Tripped(reason, r.Trip(until)))


def half_open(here: Line) -> None:
    here.ledger.append(lambda state: r.HalfOpened("the cool-down is over"))


def reset(here: Line) -> None:
    here.ledger.append(lambda state: r.Reset("mended"))


def said(champion: Champion) -> tuple[str | None, str | None, str | None]:
    """Version and mode that answer, or the kind of problem; and the breaker."""
    now = champion.standing
    if now.served is None:
        assert now.problem is not None
        return None, now.problem.kind, now.breaker
    assert now.problem is None
    return now.served.version, now.served.mode, now.breaker


@pytest.fixture
def store() -> MemoryStore:
    """With the versions v1, v2, v3; v1 is the champion."""
    made = MemoryStore()
    register(line(made), "v1", "v2", "v3")
    promote(line(made).ledger, "v1", "")
    return made


def champion(store: Store, while_open: str = "hold", now: str = NOW, **more: Any) -> Champion:
    return Champion(line(store, while_open, now), build=more.pop("build", Builder()), **more)


# ── who answers ──────────────────────────────────────────────────────────────────────────────────


def test_before_the_first_look_it_is_not_ready(store):
    made = champion(store)
    assert (made.name, made.every, made.page) == ("p", 2.0, None)
    assert said(made) == (None, "not-ready", None)


def test_without_a_champion_it_is_not_ready_and_says_what_to_do():
    made = champion(MemoryStore())
    assert made.look() is False
    assert said(made) == (None, "not-ready", "closed")
    assert made.standing.problem.detail == "no version of p is the champion: fuseline train p"
    assert made.standing.trouble == ""


def test_the_champion_answers_warmed_up(store):
    made = champion(store)
    assert made.look() is True
    assert said(made) == ("v1", "champion", "closed")
    assert made.standing.served.warm and made.standing.trouble == ""
    before = made.standing.served
    assert made.look() is False
    assert made.standing.served is before


def test_a_promotion_and_a_rollback_change_who_answers(store):
    made = champion(store)
    made.look()
    promote(line(store).ledger, "v2", "better")
    assert (made.look(), said(made)) == (True, ("v2", "champion", "closed"))
    rollback(line(store).ledger, "worse")
    assert (made.look(), said(made)) == (True, ("v1", "champion", "closed"))


def test_while_the_breaker_is_open_a_project_that_holds_says_why_and_until_when(store):
    made = champion(store)
    made.look()
    trip(line(store))
    assert (made.look(), said(made)) == (False, (None, "breaker-open", "open"))
    problem = made.standing.problem
    assert problem.headers == {"Retry-After": "86400"}
    assert problem.more == {"version": "v1", "since": NOW}
    assert problem.detail == (
        f"the breaker of p is open since {NOW}: price in cents. Nothing is predicted until a trial batch passes, from "
        f"{LATER} on, or `fuseline breaker reset p --reason …` closes it"
    )
    assert (problem.status, problem.document()["version"]) == (503, "v1")


@pytest.mark.parametrize(
    ("until", "now", "after"),
    [
        (LATER, "2026-03-02T05:59:59+00:00", "1"),
        (LATER, "2026-03-02T05:58:30+00:00", "90"),
        ("2026-03-02T06:00:00.500000+00:00", LATER, "1"),
        (LATER, LATER, "60"),  # over, and nobody knows when a run tries
        (None, NOW, "60"),
    ],
)
def test_a_client_may_ask_again_when_the_cool_down_is_over(store, until, now, after):
    trip(line(store), until)
    made = champion(store, now=now)
    made.look()
    assert made.standing.problem.headers == {"Retry-After": after}


def test_without_a_cool_down_and_in_half_open_it_says_what_is_waited_for(store):
    trip(line(store), None)
    made = champion(store)
    made.look()
    assert "until a new champion passes a trial batch, or `fuseline breaker reset p" in made.standing.problem.detail
    half_open(line(store))
    made.look()
    assert said(made) == (None, "breaker-open", "half_open")
    assert "is half-open since" in made.standing.problem.detail
    assert "predicted until a trial batch passes, or `fuseline" in made.standing.problem.detail
    assert made.standing.problem.headers == {"Retry-After": "60"}


def test_a_breaker_that_closes_needs_no_loading(store):
    build = Builder()
    for while_open in ("hold", "fallback"):
        made = champion(store, while_open, build=build)
        promote(line(store).ledger, "v2", "")
        made.look()
        before = made.standing.served
        trip(line(store))
        made.look()
        reset(line(store))
        build.built.clear()
        assert (made.look(), build.built) == (True, [])
        assert made.standing.served is before
        rollback(line(store).ledger, "")


def test_a_project_that_falls_back_lets_the_version_of_before_answer_and_says_why(store):
    made = champion(store, "fallback")
    promote(line(store).ledger, "v2", "")
    made.look()
    trip(line(store))
    assert (made.look(), said(made)) == (True, ("v1", "fallback", "open"))
    assert made.standing.served.reason == "price in cents"
    half_open(line(store))
    made.look()
    assert said(made) == ("v1", "fallback", "half_open")
    reset(line(store))
    made.look()
    assert said(made) == ("v2", "champion", "closed")


def test_without_a_version_of_before_a_project_that_falls_back_holds(store):
    made = champion(store, "fallback")
    trip(line(store))
    made.look()
    assert said(made) == (None, "breaker-open", "open")


def test_a_version_that_the_breaker_opened_upon_does_not_answer_while_its_successor_is_on_trial(store):
    made = champion(store, "fallback")
    promote(line(store).ledger, "v2", "")
    trip(line(store))
    promote(line(store).ledger, "v3", "trained again")
    assert line(store).ledger.state().last_good == "v2"
    made.look()
    assert said(made) == ("v1", "fallback", "half_open")


def test_a_rollback_from_a_version_that_the_breaker_opened_upon_does_not_bring_it_back(store):
    made = champion(store, "fallback")
    promote(line(store).ledger, "v2", "")
    trip(line(store))
    rollback(line(store).ledger, "v2 is worse")
    made.look()
    assert said(made) == ("v1", "fallback", "half_open")


# ── any sequence of events ───────────────────────────────────────────────────────────────────────


class Policed:
    """What the policy says, told without the state of the ledger."""

    def __init__(self) -> None:
        self.status, self.before, self.good = "closed", ["v1"], None
        self.until: str | None = None

    def champion(self, version: str) -> None:
        self.before.append(version)
        self.status = "half_open" if self.status == "open" else self.status

    def trip(self) -> None:
        if self.status != "open":
            self.good = next((v for v in reversed(self.before) if v != self.before[-1]), None)
        self.status = "open"

    def answers(self, while_open: str) -> tuple[str | None, str]:
        if self.status == "closed":
            return self.before[-1], "champion"
        if while_open == "fallback" and self.good is not None:
            return self.good, "fallback"
        return None, "breaker-open"


STEPS = ("promote v1", "promote v2", "promote v3", "rollback", "trip", "trip for good", "half-open", "reset", "look")


@cache
def first() -> dict[str, bytes]:
    made = MemoryStore()
    register(line(made), "v1", "v2", "v3")
    promote(line(made).ledger, "v1", "")
    return {item.key: made.get(item.key) for item in made.list("")}


@how(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=14), st.sampled_from(["hold", "fallback"]))
def test_whatever_happens_in_the_ledger_the_standing_is_what_the_policy_says(steps: list[str], while_open: str) -> None:
    store, policed = MemoryStore(), Policed()
    for key, data in first().items():
        store.put(key, data)
    here, made = line(store), champion(store, while_open)
    for step in [*steps, "look"]:
        try:
            match step.split():
                case ["promote", version]:
                    promote(here.ledger, version, "")
                    policed.champion(version)
                case ["rollback"]:
                    policed.champion(rollback(here.ledger, "").version)
                case ["trip", *good]:
                    trip(here, None if good else LATER)
                    policed.trip()
                case ["half-open"]:
                    half_open(here)
                    policed.status = "half_open" if policed.status == "open" else policed.status
                case ["reset"]:
                    reset(here)
                    policed.status = "closed"
                case ["look"]:
                    made.look()
                    assert said(made) == (*policed.answers(while_open), policed.status)
                    assert (made.standing.served is None) != (made.standing.problem is None)
                    assert made.standing.trouble == ""
                    assert made.standing.served is None or made.standing.served.warm
                    if made.standing.problem is not None:
                        assert int(made.standing.problem.headers["Retry-After"]) >= 1
        except Refused:
            pass


def test_readers_never_see_nobody_answer_while_versions_change(store) -> None:
    class Slow(Builder):
        def __call__(self, model: Any, tables: Any, one: Wanted) -> Any:
            time.sleep(0.002)
            return super().__call__(model, tables, one)

    made, seen, over = champion(store, build=Slow()), set(), threading.Event()
    made.look()

    def read() -> None:
        while not over.is_set():
            for _ in range(50):
                served = made.standing.served
                seen.add(None if served is None else (served.version, served.warm))
            time.sleep(0.0001)  # let the others have the interpreter

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(24):
        promote(line(store).ledger, f"v{1 + (i + 1) % 3}", "")
        made.look()
    over.set()
    for reader in readers:
        reader.join()
    assert seen == {("v1", True), ("v2", True), ("v3", True)}


# ── versions that cannot be loaded ───────────────────────────────────────────────────────────────


def test_a_champion_that_cannot_be_loaded_leaves_the_one_before_answering(store):
    build = Builder({"v2": ModelFault("warm_up in predict.py failed: KeyError: 'model'")})
    made = champion(store, build=build)
    made.look()
    promote(line(store).ledger, "v2", "")
    assert (made.look(), said(made)) == (False, ("v1", "champion", "closed"))
    assert made.standing.trouble == (
        f"since {NOW}: warm_up in predict.py failed: KeyError: 'model'. v1 goes on answering"
    )
    promote(line(store).ledger, "v3", "")
    assert (made.look(), said(made), made.standing.trouble) == (True, ("v3", "champion", "closed"), "")


def test_a_version_that_cannot_be_loaded_is_tried_again_after_a_while(store):
    build = Builder({"v1": ModelFault("no")})
    for patience, tries in ((60.0, 1), (0.0, 5)):
        build.built.clear()
        made = champion(store, build=build, patience=patience)
        for _ in range(5):
            made.look()
            assert said(made) == (None, "not-ready", "closed")
            assert made.standing.problem.detail == "v1 of p cannot be loaded: no"
        assert len(build.built) == tries
    build.faults.clear()
    assert (made.look(), made.standing.trouble) == (True, "")


@pytest.mark.parametrize("fault", [ValueError("of its own"), SystemExit("of its own")])
def test_whatever_a_model_raises_as_it_is_loaded_is_told_and_ends_nothing(store, fault, caplog):
    made = champion(store, build=Builder({"v1": fault}))
    made.look()
    said_of_it = f"v1 of p cannot be loaded: v1 failed as it was loaded: {type(fault).__name__}: of its own"
    assert made.standing.problem.detail == said_of_it
    assert "Traceback" in caplog.text


def test_a_version_that_is_not_the_one_that_was_registered_is_not_opened(store):
    made = champion(store)
    made.look()
    promote(line(store).ledger, "v2", "")
    store.put("p/versions/v2/manifest.json", store.get("p/versions/v2/manifest.json") + b" ")
    made.look()
    assert said(made) == ("v1", "champion", "closed")
    assert "manifest.json was changed after it was registered" in made.standing.trouble


def test_a_fallback_that_cannot_be_loaded_does_not_let_through_what_the_breaker_holds_back(store):
    build = Builder({"v1": ArtifactError("model.joblib is gone")})
    promote(line(store).ledger, "v2", "")
    made = champion(store, "fallback", build=build, patience=0.0)
    made.look()
    trip(line(store))
    made.look()
    assert said(made) == (None, "breaker-open", "open")
    assert made.standing.trouble == f"since {NOW}: model.joblib is gone"
    build.faults.clear()
    made.look()
    assert (said(made), made.standing.trouble) == (("v1", "fallback", "open"), "")


def test_while_a_fallback_is_loaded_nobody_answers(store):
    seen = []

    class Watching(Builder):
        def __call__(self, model: Any, tables: Any, one: Wanted) -> Any:
            seen.append(said(made))
            return super().__call__(model, tables, one)

    promote(line(store).ledger, "v2", "")
    made = champion(store, "fallback", build=Watching())
    made.look()
    trip(line(store))
    made.look()
    assert seen[1:] == [(None, "breaker-open", "open")]
    reset(line(store))
    made.look()
    trip(line(store), reason="again")
    assert (made.look(), said(made)) == (True, ("v1", "fallback", "open"))


def test_a_fallback_goes_on_where_it_cannot_be_made_anew_for_another_reason(store):
    build = Builder()
    promote(line(store).ledger, "v2", "")
    made = champion(store, "fallback", build=build)
    trip(line(store))
    made.look()
    build.faults["v1"] = ModelFault("no")
    trip(line(store), reason="worse than that")
    made.look()
    assert (said(made), made.standing.served.reason) == (("v1", "fallback", "open"), "price in cents")


# ── a store that does not answer ─────────────────────────────────────────────────────────────────


def test_while_the_store_does_not_answer_the_model_does_and_the_trouble_is_said(store):
    switched = Switched(store)
    made = champion(switched)
    made.look()
    before = made.standing.served
    switched.down = True
    for _ in range(2):
        assert made.look() is False
        assert made.standing.served is before
        assert made.standing.trouble == f"since {NOW}: nobody listens at store:9000. v1 goes on answering"
    switched.down = False
    made.look()
    assert (made.standing.served, made.standing.trouble) == (before, "")


def test_the_trouble_says_since_when(store):
    switched = Switched(store)
    made = champion(switched)
    made.look()
    switched.down = True
    made.look()
    made.line = line(switched, now=LATER)
    made.look()
    assert made.standing.trouble.startswith(f"since {NOW}: ")
    switched.down = False
    made.look()
    switched.down = True
    made.look()
    assert made.standing.trouble.startswith(f"since {LATER}: ")


def test_a_store_that_never_answered_is_not_ready(store):
    switched = Switched(store)
    switched.down = True
    made = champion(switched)
    made.look()
    assert said(made) == (None, "not-ready", None)
    assert made.standing.problem.detail == "the ledger of p cannot be read: nobody listens at store:9000"
    switched.down = False
    assert (made.look(), said(made)) == (True, ("v1", "champion", "closed"))


def test_a_store_that_fails_while_a_version_is_opened_is_asked_again_at_the_next_look(store):
    class Once(Switched):
        def get(self, key: str) -> bytes:
            if self.down and "manifest" in key:
                raise StoreError("the connection was lost")
            return self.inner.get(key)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    once = Once(store)
    made = champion(once)
    made.look()
    promote(line(store).ledger, "v2", "")
    once.down = True
    made.look()
    assert made.standing.trouble == f"since {NOW}: the connection was lost. v1 goes on answering"
    once.down = False
    assert (made.look(), said(made)) == (True, ("v2", "champion", "closed"))


def test_a_held_project_stays_held_while_the_store_does_not_answer(store):
    switched = Switched(store)
    made = champion(switched)
    trip(line(store))
    made.look()
    switched.down = True
    made.look()
    assert said(made) == (None, "breaker-open", "open")
    assert made.standing.trouble == f"since {NOW}: nobody listens at store:9000"


def test_a_ledger_that_is_gone_leaves_the_model_answering_until_another_has_a_champion(store):
    made = champion(store)
    made.look()
    before = made.standing.served
    for item in list(store.list("")):
        store.delete(item.key)
    here = line(store)
    register(here, "v1", run="another")
    register(here, "v2", "v3", "v4", "v5")
    made.look()
    assert made.standing.served is before
    assert "ledger of p, which had 4 entries, is gone" in made.standing.trouble
    promote(here.ledger, "v1", "")
    assert made.look() is True  # another v1
    assert made.standing.served is not before and made.standing.trouble == ""
    assert said(made) == ("v1", "champion", "closed")


# ── tables beside ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def beside(store, tmp_path) -> SimpleNamespace:
    """A project whose rows are joined to hotels."""
    hotels = tmp_path / "hotels.csv"
    hotels.write_bytes(b"hotel,stars\nh1,3\n")
    project = Project(
        "p", tmp_path / "projects" / "p", Config("y", sources={"a": Source("a"), "h": Source("hotels.csv", "hotel")})
    )
    build = Builder()
    made = Champion(Line(replace(Settings(), now=NOW), project, store, "me"), build=build, patience=0.0)
    return SimpleNamespace(hotels=hotels, made=made, build=build)


def test_a_table_that_changes_is_given_to_the_model_anew(beside):
    beside.made.look()
    assert beside.made.standing.served.tables == [1]
    beside.hotels.write_bytes(b"hotel,stars\nh1,3\nh2,5\n")
    assert beside.made.look() is False
    assert beside.made.look() is True
    assert (beside.made.standing.served.tables, beside.made.standing.served.warm) == ([2], True)
    assert beside.made.look() is False


def test_a_table_that_is_gone_leaves_the_model_as_it_is(beside):
    beside.made.look()
    before = beside.made.standing.served
    beside.hotels.unlink()
    beside.made.look()
    beside.made.look()
    assert beside.made.standing.served is before
    assert "[sources.h] of project p" in beside.made.standing.trouble


def test_without_its_tables_a_model_is_not_ready(beside):
    beside.hotels.unlink()
    beside.made.look()
    assert said(beside.made) == (None, "not-ready", "closed")
    assert beside.made.standing.problem.detail.startswith("v1 of p cannot be loaded: [sources.h] of project p")


def test_a_table_that_the_model_cannot_take_leaves_the_one_before(beside):
    beside.made.look()
    before = beside.made.standing.served
    beside.build.faults["v1"] = FuselineError("h1 twice")
    beside.hotels.write_bytes(b"hotel,stars\nh1,3\nh1,5\n")
    beside.made.look()
    beside.made.look()
    assert (beside.made.standing.served, "h1 twice" in beside.made.standing.trouble) == (before, True)


# ── the real thing ───────────────────────────────────────────────────────────────────────────────


def scores(made: Champion, frame: pd.DataFrame) -> list[float]:
    body = frame.to_json(orient="records").encode()
    answer = msgspec.json.decode(made.standing.served.answer(Asked(body)).body)
    assert (answer["version"], answer["mode"]) == (made.standing.served.version, made.standing.served.mode)
    return [one["score"] for one in answer["predictions"]]


def test_a_trained_version_answers_as_it_scores_batches_and_its_successor_after_it(trained, rows) -> None:
    made = Champion(trained.line)
    assert made.look() is True
    frame = rows(20, 7).drop(columns=["bought", "id"])
    expected = trained.line.models.open("v0001").predictor.scores(frame)
    assert scores(made, frame) == pytest.approx(expected, abs=1e-12)
    assert trained.promote_copy() == "v0002"
    assert (made.look(), made.standing.served.version) == (True, "v0002")
    assert scores(made, frame) == pytest.approx(expected, abs=1e-12)


def test_while_open_the_answer_says_that_it_is_a_fallback(trained, rows) -> None:
    trained.setting('[breaker]\nwhile_open = "fallback"\n')
    trained.promote_copy()
    trained.line.ledger.append(lambda state: r.Tripped("price in cents", r.Trip(None)))
    made = Champion(trained.line)
    made.look()
    answer = msgspec.json.decode(made.standing.served.answer(Asked(b'{"price": 3}')).body)
    assert (answer["version"], answer["mode"], answer["reason"]) == ("v0001", "fallback", "price in cents")


def test_a_page_of_its_own_is_found(trained) -> None:
    assert Champion(trained.line).page is None
    trained.write("page.html", "<p>")
    assert Champion(trained.line).page == trained.folder / "page.html"


def test_answers_come_without_a_gap_while_versions_are_promoted(trained) -> None:
    made, seen, faults, over = Champion(trained.line), set(), [], threading.Event()
    made.look()

    def ask() -> None:
        while not over.is_set():
            try:
                seen.add(msgspec.json.decode(made.standing.served.answer(Asked(b'{"price": 3}')).body)["version"])
            except Exception as error:  # whatever it is: no request may fail
                faults.append(error)
                raise

    asking = threading.Thread(target=ask)
    asking.start()
    trained.promote_copy()
    for step in range(6):
        made.look()
        promote(trained.line.ledger, f"v000{1 + step % 2}", "")
    over.set()
    asking.join()
    assert (seen, faults) == ({"v0001", "v0002"}, [])
