"""One run over the inbox, in one process, over a store in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest

from fuseline import records as r
from fuseline.batches import drop, replay
from fuseline.errors import ArtifactError, Refused
from fuseline.folder import FolderStore
from fuseline.storage import Listed, MemoryStore

FALLBACK = '[breaker]\nwhile_open = "fallback"\n'


def clean(rows) -> pd.DataFrame:
    return rows.drop(columns="bought")


def in_cents(rows) -> pd.DataFrame:
    return clean(rows).assign(price=lambda d: d["price"] * 100)


def state(project):
    return project.line.ledger.state()


def trip(project, hours: float | None = 24.0) -> None:
    """Open the breaker by hand, for so many hours or until there is a new champion."""
    clock = replace(project.clock)
    clock.forward(hours or 0.0)
    project.line.ledger.append(lambda _: r.Tripped("by hand", r.Trip(clock.now if hours else None)))


def reset(project) -> None:
    project.line.ledger.append(lambda _: r.Reset("mended"))


def published(project) -> dict[str, pd.DataFrame]:
    """What consumers can read: name of the batch to its rows; each file is of a batch that the ledger publishes."""
    now = state(project)
    visible = {item.key for item in project.store.list("tiny/predictions/")}
    assert visible == project.line.predictions.visible(now).keys()
    frames = [pd.read_parquet(io.BytesIO(project.store.get(key))) for key in sorted(visible)]
    return {now.batches[str(f["batch"].iloc[0])].name: f for f in frames}


def begin(project, attempt: str = "a1"):
    """A run up to the point where it would settle: (its Inference, its scored batches)."""
    inference = project.line.inference(attempt)
    plan = inference.plan()
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    return inference, [inference.assess(j, [s for s in scores if s.batch == j.batch]) for j in plan.jobs]


# ── one run ──────────────────────────────────────────────────────────────────────────────────────


def test_without_a_champion_nothing_is_scored_and_the_files_stay(tiny, rows):
    tiny.deliver("day1", rows(300, 2))
    with pytest.raises(Refused, match=r"has no champion yet.*1 files wait"):
        tiny.infer()
    assert tiny.line.batches.waiting() == ["day1.parquet"]


def test_a_good_batch_is_published_and_leaves_the_inbox(trained, rows):
    trained.deliver("day1", clean(rows(300, 2)))
    (entry,) = trained.infer()
    assert entry.event.assessment.verdict == "pass"
    assert entry.event.rows == 300
    assert trained.line.batches.waiting() == []
    found = published(trained)["day1"]
    assert len(found) == 300
    assert trained.store.exists(trained.line.batches.input_key(entry.event.batch, "day1.parquet"))


def test_over_a_folder_a_batch_is_published_quarantined_and_replayed_alike(trained, rows, tmp_path):
    folder = FolderStore(tmp_path / "store")
    for item in trained.store.list(""):
        folder.put(item.key, trained.store.get(item.key))
    trained.store = folder
    trained.deliver("day1", clean(rows(300, 2)))
    trained.deliver("day2", in_cents(rows(300, 3)))
    assert [type(e.event) for e in trained.infer()] == [r.Published, r.Quarantined]
    assert trained.line.batches.waiting() == []
    assert published(trained).keys() == {"day1"}
    reset(trained)
    repaired = tmp_path / "mended.parquet"
    clean(rows(300, 3)).to_parquet(repaired)
    replay(trained.line.ledger, trained.line.batches, "day2", "prices mended", repaired)
    assert [type(e.event) for e in trained.infer("a2")] == [r.Published]
    assert published(trained).keys() == {"day1", "day2"}


def test_with_nothing_to_do_nothing_is_written(trained):
    before = [(i.key, trained.store.get(i.key)) for i in trained.store.list("")]
    inference = trained.line.inference("a1")
    plan = inference.plan()
    assert (plan.jobs, plan.pieces, plan.held) == ((), (), ())
    assert inference.settle([]) == []
    assert [(i.key, trained.store.get(i.key)) for i in trained.store.list("")] == before


def test_batches_are_settled_in_the_order_of_their_names(trained, rows):
    for seed, name in ((4, "c"), (2, "a"), (3, "b")):
        trained.deliver(name, clean(rows(200, seed)))
    assert [e.event.batch[0] for e in trained.infer()] == ["a", "b", "c"]


def test_what_is_no_batch_stays_in_the_inbox_untouched(trained):
    for file in (".hidden.csv", "_temporary.parquet", "notes.txt", "sub/day1.csv"):
        trained.store.put(f"inbox/tiny/{file}", b"x")
    assert trained.infer() == []
    assert len(list(trained.store.list("inbox/"))) == 4


def test_what_is_visible_is_mended_before_anything_else(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer()
    (item,) = trained.store.list("tiny/predictions/")
    data = trained.store.get(item.key)
    trained.store.delete(item.key)
    trained.store.put("tiny/predictions/stray.parquet", b"x")
    trained.infer("a2")
    assert [(i.key, trained.store.get(i.key)) for i in trained.store.list("tiny/predictions/")] == [(item.key, data)]


# ── what is pinned ───────────────────────────────────────────────────────────────────────────────


def test_with_a_manifest_that_was_changed_since_it_was_registered_nothing_is_scored(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    models = trained.line.models
    held = models.manifest("v0001")
    models.write(replace(held, positive="no"))
    with pytest.raises(ArtifactError, match=r"manifest\.json was changed after it was registered"):
        trained.infer()
    assert trained.line.batches.waiting() == ["day1.parquet"]
    models.write(held)
    assert [type(e.event) for e in trained.infer("a2")] == [r.Published]


def test_a_manifest_that_is_changed_during_a_run_is_seen_by_the_step_that_opens_it_next(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    inference = trained.line.inference("a1")
    plan = inference.plan()
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    models = trained.line.models
    models.write(replace(models.manifest("v0001"), importance={}))
    with pytest.raises(ArtifactError, match=r"was changed after it was registered"):
        inference.assess(plan.jobs[0], scores)


def test_a_champion_that_is_promoted_during_a_run_does_not_change_what_the_run_publishes(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", clean(rows(200, 3)))
    inference = trained.line.inference("a1")
    plan = inference.plan()
    first = inference.score(*plan.pieces[0])
    assert trained.promote_copy() == "v0002"
    second = inference.score(*plan.pieces[1])
    entries = inference.settle([inference.assess(j, [s]) for j, s in zip(plan.jobs, (first, second), strict=True)])
    assert [e.event.version for e in entries] == ["v0001", "v0001"]
    for frame in published(trained).values():
        assert set(frame["version"]) == {"v0001"}
    trained.deliver("day3", clean(rows(200, 4)))
    (entry,) = trained.infer("a2")
    assert entry.event.version == "v0002"


def test_a_batch_that_is_begun_but_not_settled_is_taken_up_by_the_new_champion(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    slow, held = begin(trained)
    trained.promote_copy()
    trained.clock.forward(1)
    (entry,) = trained.infer("a2")
    assert entry.event.version == "v0002"
    assert slow.settle(held) == []
    assert set(published(trained)["day1"]["version"]) == {"v0002"}


def test_a_run_after_one_that_was_killed_keeps_the_time_of_scoring(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    begin(trained)
    begun = trained.clock.now
    trained.clock.forward(5)
    (entry,) = trained.infer("a2")
    assert entry.at != begun
    assert entry.event.scored_at == begun
    assert set(published(trained)["day1"]["scored_at"]) == {pd.Timestamp(begun)}
    assert sum(isinstance(e.event, r.Started) for e in trained.line.ledger.entries()) == 1


def test_a_run_after_one_that_was_killed_publishes_the_same_bytes(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    _, (killed,) = begin(trained)
    trained.clock.forward(5)
    (entry,) = trained.infer("a2")
    assert entry.event.digest == killed.digest


def test_the_copy_of_a_source_that_was_pinned_is_joined_even_if_the_file_changed(with_shops, rows, sold):
    with_shops.train()
    with_shops.deliver("day1", clean(sold(rows(300, 2))))
    inference = with_shops.line.inference("a1")
    plan = inference.plan()
    shops = with_shops.folder.parent.parent / "data" / "shops.parquet"
    pd.DataFrame({"shop": ["a", "b", "c"], "discount": [0.0, 0.0, 0.0]}).to_parquet(shops)
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    (entry,) = inference.settle([inference.assess(plan.jobs[0], scores)])
    assert isinstance(entry.event, r.Published)
    assert set(published(with_shops)["day1"]["score"]) == {0.25, 0.5, 0.75}
    (key,) = plan.jobs[0].sources.values()
    assert state(with_shops).batches[entry.event.batch].sources == {"shops": key}


def test_a_rerun_joins_the_copy_that_the_first_run_pinned(with_shops, rows, sold):
    with_shops.train()
    with_shops.deliver("day1", clean(sold(rows(300, 2))))
    with_shops.line.inference("a1").plan()
    shops = with_shops.folder.parent.parent / "data" / "shops.parquet"
    pd.DataFrame({"shop": ["a", "b", "c"], "discount": [0.0, 0.0, 0.0]}).to_parquet(shops)
    with_shops.infer("a2")
    assert set(published(with_shops)["day1"]["score"]) == {0.25, 0.5, 0.75}


# ── runs at the same time ────────────────────────────────────────────────────────────────────────


def test_two_runs_at_once_publish_each_batch_once(trained, rows):
    for seed, name in ((2, "day1"), (3, "day2")):
        trained.deliver(name, clean(rows(200, seed)))
    one, mine = begin(trained, "a1")
    two, theirs = begin(trained, "a2")
    first = one.settle(mine[:1])
    second = two.settle(theirs)
    third = one.settle(mine[1:])
    assert [len(first), len(second), len(third)] == [1, 1, 0]
    assert [e.event.attempt for e in (*first, *second)] == ["a1", "a2"]
    assert published(trained).keys() == {"day1", "day2"}
    assert trained.line.batches.waiting() == []


def test_two_runs_at_once_quarantine_a_batch_once_and_trip_once(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    one, mine = begin(trained, "a1")
    two, theirs = begin(trained, "a2")
    assert len(one.settle(mine) + two.settle(theirs)) == 1
    assert state(trained).breaker.trips == 1


class Emptied(MemoryStore):
    """A store in which someone takes `gone.parquet` away right after the inbox was listed."""

    def list(self, prefix: str) -> Iterator[Listed]:
        found = list(super().list(prefix))
        if prefix.startswith("inbox/"):
            self.delete("inbox/tiny/gone.parquet")
        return iter(found)


def test_a_file_that_is_gone_from_the_inbox_meanwhile_is_passed_over(trained, rows):
    store = Emptied()
    for item in trained.store.list(""):
        store.put(item.key, trained.store.get(item.key))
    trained.store = store
    for name in ("day1", "gone"):
        trained.deliver(name, clean(rows(200, 2)))
    plan = trained.line.inference("a1").plan()
    assert [job.name for job in plan.jobs] == ["day1"]


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────


def test_a_halt_trips_and_the_later_batches_of_the_run_stay_in_the_inbox(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", in_cents(rows(200, 3)))
    trained.deliver("day3", clean(rows(200, 4)))
    entries = trained.infer()
    assert [type(e.event).__name__ for e in entries] == ["Published", "Quarantined"]
    now = state(trained)
    assert now.breaker.status == "open"
    assert now.breaker.reason.startswith("price looks multiplied by 100")
    assert now.breaker.until == "2026-03-02T06:00:00+00:00"
    assert trained.line.batches.waiting() == ["day3.parquet"]
    assert published(trained).keys() == {"day1"}


def test_while_the_breaker_is_open_batches_are_held_in_the_inbox(trained, rows):
    trip(trained)
    trained.deliver("day1", clean(rows(200, 2)))
    before = state(trained).seq
    plan = trained.line.inference("a1").plan()
    assert (plan.jobs, plan.held) == ((), ("day1.parquet",))
    assert trained.infer("a2") == []
    assert state(trained).seq == before
    assert trained.line.batches.waiting() == ["day1.parquet"]


def test_a_breaker_that_trips_between_plan_and_settle_keeps_the_batch_in_the_inbox(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    inference, scored = begin(trained)
    trip(trained)
    assert inference.settle(scored) == []
    assert published(trained) == {}
    assert trained.line.batches.waiting() == ["day1.parquet"]
    reset(trained)
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
    assert set(published(trained)["day1"]["mode"]) == {"trial"}
    assert state(trained).breaker.status == "closed"
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
    now = state(trained).breaker
    assert (now.status, now.trips, now.until) == ("open", 2, "2026-03-04T06:00:00+00:00")
    trained.clock.forward(47.9)
    trained.deliver("day3", clean(rows(200, 4)))
    assert trained.infer("a3") == []
    trained.clock.forward(0.1)
    (entry,) = trained.infer("a4")
    assert isinstance(entry.event, r.Published)
    assert state(trained).breaker == replace(state(trained).breaker, status="closed", trips=0)


def test_the_cool_down_does_not_double_beyond_its_greatest(trained, rows):
    trained.setting("[breaker]\ncool_down_hours = 24\nmax_cool_down_hours = 30\n")
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    trained.clock.forward(24)
    trained.deliver("day2", in_cents(rows(200, 3)))
    trained.infer("a2")
    assert state(trained).breaker.until == "2026-03-03T12:00:00+00:00"


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
        assert (entry.event.mode, state(trained).breaker.status) == ("trial", status)
    assert published(trained).keys() == {"day1", "day2"}


def test_two_runs_at_once_in_half_open_publish_one_trial(trained, rows):
    trained.setting("[breaker]\ntrials = 2\n")
    trip(trained, 1)
    trained.clock.forward(2)
    trained.deliver("day1", clean(rows(200, 2)))
    trained.deliver("day2", clean(rows(200, 3)))
    one, mine = begin(trained, "a1")
    two, theirs = begin(trained, "a2")
    assert [s.name for s in (*mine, *theirs)] == ["day1", "day1"]
    assert len(one.settle(mine) + two.settle(theirs)) == 1
    assert published(trained).keys() == {"day1"}


def test_a_new_champion_lets_a_trial_through_before_the_cool_down_is_over(trained, rows):
    trip(trained, None)
    trained.clock.forward(1_000)
    trained.deliver("day1", clean(rows(200, 2)))
    assert trained.infer("a1") == [], "a breaker without a cool-down waits for a champion"
    trained.promote_copy()
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, entry.event.version) == ("trial", "v0002")
    assert state(trained).breaker.status == "closed"


def test_a_trial_of_the_champion_before_is_not_published_once_there_is_a_new_one(trained, rows):
    trip(trained, 1)
    trained.clock.forward(2)
    trained.deliver("day1", clean(rows(200, 2)))
    inference, scored = begin(trained)
    trained.promote_copy()
    assert inference.settle(scored) == []
    assert state(trained).breaker.status == "half_open"
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
    found = published(trained)["day1"]
    assert set(found["mode"]) == {"fallback"}
    assert set(found["version"]) == {"v0001"}
    assert state(trained).breaker.status == "open", "a fallback closes nothing"


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
    assert published(trained) == {}
    assert state(trained).breaker.status == "open"


def test_a_fallback_is_not_published_once_the_breaker_is_closed_again(trained, rows):
    trained.promote_copy()
    trained.setting(FALLBACK)
    trip(trained)
    trained.deliver("day1", clean(rows(200, 2)))
    inference, scored = begin(trained)
    reset(trained)
    assert inference.settle(scored) == []
    (entry,) = trained.infer("a2")
    assert (entry.event.mode, entry.event.version) == ("champion", "v0002")


def test_batches_that_cannot_be_judged_trip_at_the_limit_in_a_row(trained, rows):
    for name in ("day1", "day2"):
        trained.store.put(f"inbox/tiny/{name}.parquet", f"not parquet {name}".encode())
    trained.line.inference("a1").plan()
    now = state(trained)
    assert [b.status for b in now.batches.values()] == ["quarantined"] * 2
    assert now.breaker.status == "open"


def test_a_good_batch_between_two_that_cannot_be_judged_keeps_the_breaker_closed(trained, rows):
    for day, data in enumerate((b"x", None, b"y"), start=1):
        if data is None:
            trained.deliver(f"day{day}", clean(rows(200, 2)))
        else:
            trained.store.put(f"inbox/tiny/day{day}.parquet", data)
        trained.infer(f"a{day}")
    assert state(trained).breaker.status == "closed"
    assert published(trained).keys() == {"day2"}


# ── files that come again ────────────────────────────────────────────────────────────────────────


def test_a_published_file_that_is_delivered_again_is_cleaned_away(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer("a1")
    before = state(trained).seq
    trained.deliver("day1", clean(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert state(trained).seq == before
    assert len(published(trained)) == 1


def test_a_quarantined_file_that_is_delivered_again_is_cleaned_away_and_stays_in_quarantine(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    reset(trained)
    trained.deliver("day1", in_cents(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert [b.status for b in state(trained).batches.values()] == ["quarantined"]


def test_another_content_under_a_published_name_is_quarantined_without_a_trip(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    (first,) = trained.infer("a1")
    trained.deliver("day1", clean(rows(200, 3)))
    assert trained.infer("a2") == []
    now = state(trained)
    statuses = {k: b.status for k, b in now.batches.items()}
    other = next(k for k in statuses if k != first.event.batch)
    assert statuses == {first.event.batch: "published", other: "quarantined"}
    assert now.breaker.status == "closed"
    event = trained.line.ledger.entry(now.batches[other].seq).event
    assert f"with other contents ({first.event.batch})" in event.assessment.sentence
    assert "withdraw that one first and replay this" in event.assessment.sentence
    assert trained.line.batches.waiting() == []
    assert trained.store.exists(trained.line.batches.input_key(other, "day1.parquet"))
    trained.line.predictions.withdraw("day1", "wrong rows")
    replay(trained.line.ledger, trained.line.batches, other, "the right rows")
    (entry,) = trained.infer("a3")
    assert entry.event.batch == other
    assert published(trained)["day1"]["id"].iloc[0] == "3-0"


def test_of_two_files_of_one_name_in_one_run_the_first_is_published_and_the_other_quarantined(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.store.put("inbox/tiny/day1.csv", clean(rows(200, 3)).to_csv(index=False).encode())
    assert len(trained.infer("a1")) == 1
    assert trained.line.batches.waiting() == ["day1.parquet"], "the CSV file comes first"
    trained.infer("a2")
    assert sorted(b.status for b in state(trained).batches.values()) == ["published", "quarantined"]
    assert trained.line.batches.waiting() == []


# ── replay and drop ──────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_is_replayed_as_it_was_is_judged_again(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    reset(trained)
    trained.setting("[checks]\ntolerance = 0.9\n")
    replay(trained.line.ledger, trained.line.batches, "day1", "prices in cents are right")
    assert trained.line.batches.waiting() == [], "it is scored from its kept copy"
    trained.clock.forward(3)
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Published)
    assert entry.event.batch == first.event.batch
    assert entry.event.assessment.verdict == "warn"
    assert set(published(trained)["day1"]["scored_at"]) == {pd.Timestamp(trained.clock.now)}


def test_a_batch_that_is_replayed_as_it_was_and_is_no_better_is_quarantined_again(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    trained.infer("a1")
    reset(trained)
    replay(trained.line.ledger, trained.line.batches, "day1", "try again")
    (entry,) = trained.infer("a2")
    assert isinstance(entry.event, r.Quarantined)
    assert state(trained).breaker.status == "open"


def test_a_repaired_file_is_published_under_the_old_name(trained, rows, tmp_path):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    reset(trained)
    clean(rows(200, 2)).to_csv(tmp_path / "mended.csv", index=False)
    arrives = replay(trained.line.ledger, trained.line.batches, "day1", "in euros", tmp_path / "mended.csv")
    (entry,) = trained.infer("a2")
    assert entry.event.batch == arrives
    now = state(trained)
    assert {k: b.status for k, b in now.batches.items()} == {first.event.batch: "replaced", arrives: "published"}
    assert trained.line.batches.waiting() == []
    assert published(trained).keys() == {"day1"}


def test_a_dropped_batch_is_never_scored_again_and_its_copy_stays(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    (first,) = trained.infer("a1")
    reset(trained)
    drop(trained.line.ledger, "day1", "useless")
    trained.deliver("day1", in_cents(rows(200, 2)))
    assert trained.infer("a2") == []
    assert trained.line.batches.waiting() == []
    assert state(trained).batches[first.event.batch].status == "dropped"
    assert trained.store.exists(trained.line.batches.input_key(first.event.batch, "day1.parquet"))


def test_a_withdrawn_batch_is_published_again_by_a_replay(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.infer("a1")
    trained.line.predictions.withdraw("day1", "a mistake")
    assert published(trained) == {}
    assert trained.infer("a2") == []
    replay(trained.line.ledger, trained.line.batches, "day1", "no mistake")
    assert len(trained.infer("a3")) == 1
    assert published(trained).keys() == {"day1"}
