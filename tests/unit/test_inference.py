"""One run over the inbox, in one process, over a store in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest

from fuseline import records as r
from fuseline.batches import replay
from fuseline.errors import ArtifactError, Refused
from fuseline.folder import FolderStore
from fuseline.storage import Listed, MemoryStore


def clean(rows) -> pd.DataFrame:
    return rows.drop(columns="bought")


def in_cents(rows) -> pd.DataFrame:
    return clean(rows).assign(price=lambda d: d["price"] * 100)


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
    found = trained.published()["day1"]
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
    assert trained.published().keys() == {"day1"}
    trained.reset()
    repaired = tmp_path / "mended.parquet"
    clean(rows(300, 3)).to_parquet(repaired)
    replay(trained.line.ledger, trained.line.batches, "day2", "prices mended", repaired)
    assert [type(e.event) for e in trained.infer("a2")] == [r.Published]
    assert trained.published().keys() == {"day1", "day2"}


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
    for frame in trained.published().values():
        assert set(frame["version"]) == {"v0001"}
    trained.deliver("day3", clean(rows(200, 4)))
    (entry,) = trained.infer("a2")
    assert entry.event.version == "v0002"


def test_a_batch_that_is_begun_but_not_settled_is_taken_up_by_the_new_champion(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    slow, held = trained.begin()
    trained.promote_copy()
    trained.clock.forward(1)
    (entry,) = trained.infer("a2")
    assert entry.event.version == "v0002"
    assert slow.settle(held) == []
    assert set(trained.published()["day1"]["version"]) == {"v0002"}


def test_a_run_after_one_that_was_killed_keeps_the_time_of_scoring(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    trained.begin()
    begun = trained.clock.now
    trained.clock.forward(5)
    (entry,) = trained.infer("a2")
    assert entry.at != begun
    assert entry.event.scored_at == begun
    assert set(trained.published()["day1"]["scored_at"]) == {pd.Timestamp(begun)}
    assert sum(isinstance(e.event, r.Started) for e in trained.line.ledger.entries()) == 1


def test_a_run_after_one_that_was_killed_publishes_the_same_bytes(trained, rows):
    trained.deliver("day1", clean(rows(200, 2)))
    _, (killed,) = trained.begin()
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
    assert set(with_shops.published()["day1"]["score"]) == {0.25, 0.5, 0.75}
    (key,) = plan.jobs[0].sources.values()
    assert with_shops.state.batches[entry.event.batch].sources == {"shops": key}


def test_a_rerun_joins_the_copy_that_the_first_run_pinned(with_shops, rows, sold):
    with_shops.train()
    with_shops.deliver("day1", clean(sold(rows(300, 2))))
    with_shops.line.inference("a1").plan()
    shops = with_shops.folder.parent.parent / "data" / "shops.parquet"
    pd.DataFrame({"shop": ["a", "b", "c"], "discount": [0.0, 0.0, 0.0]}).to_parquet(shops)
    with_shops.infer("a2")
    assert set(with_shops.published()["day1"]["score"]) == {0.25, 0.5, 0.75}


# ── runs at the same time ────────────────────────────────────────────────────────────────────────


def test_two_runs_at_once_publish_each_batch_once(trained, rows):
    for seed, name in ((2, "day1"), (3, "day2")):
        trained.deliver(name, clean(rows(200, seed)))
    one, mine = trained.begin("a1")
    two, theirs = trained.begin("a2")
    first = one.settle(mine[:1])
    second = two.settle(theirs)
    third = one.settle(mine[1:])
    assert [len(first), len(second), len(third)] == [1, 1, 0]
    assert [e.event.attempt for e in (*first, *second)] == ["a1", "a2"]
    assert trained.published().keys() == {"day1", "day2"}
    assert trained.line.batches.waiting() == []


def test_two_runs_at_once_quarantine_a_batch_once_and_trip_once(trained, rows):
    trained.deliver("day1", in_cents(rows(200, 2)))
    one, mine = trained.begin("a1")
    two, theirs = trained.begin("a2")
    assert len(one.settle(mine) + two.settle(theirs)) == 1
    assert trained.state.breaker.trips == 1


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


def test_a_batch_that_does_not_differ_is_judged_without_opening_the_model(trained, rows):
    trained.deliver("day1", clean(rows(300, 2)))
    inference = trained.line.inference("a1")
    plan = inference.plan()
    scores = [inference.score(job, piece) for job, piece in plan.pieces]
    for item in list(trained.store.list("tiny/versions/v0001/artifacts/")):
        trained.store.delete(item.key)
    scored = trained.line.inference("a1").assess(plan.jobs[0], scores)  # as in another process
    assert scored.assessment.verdict == "pass"
