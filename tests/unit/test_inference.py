"""One run over the inbox, in one process, over a store in memory."""

from __future__ import annotations

import pytest

from fuseline.errors import Refused


def test_without_a_champion_nothing_is_scored_and_the_files_stay(tiny, rows):
    tiny.deliver("day1", rows(300, 2))
    with pytest.raises(Refused, match="has no champion yet.*1 files wait"):
        tiny.infer()
    assert tiny.line.batches.waiting() == ["day1.parquet"]


def test_a_good_batch_is_published_and_leaves_the_inbox(tiny, rows):
    tiny.train()
    tiny.deliver("day1", rows(300, 2).drop(columns="bought"))
    (entry,) = tiny.infer()
    assert entry.event.assessment.verdict == "pass"
    assert entry.event.rows == 300
    assert tiny.line.batches.waiting() == []
    assert [item.key for item in tiny.store.list("tiny/predictions/")] == [
        f"tiny/predictions/{entry.event.batch}.parquet"
    ]
