from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fuseline import records as r
from fuseline.bootstrap import Line
from fuseline.errors import SettingsError
from fuseline.faults import FaultyStore, parse_rules
from fuseline.folder import FolderStore
from fuseline.serving.champion import Champion
from fuseline.serving.served import Answered, Asked
from fuseline.serving.traffic import Traffic
from fuseline.storage import MemoryStore, Store

AT = "2026-03-01T06:00:00+00:00"
ANSWER = Answered(b'{"model": "tiny", "predictions": []}', rows=1)

# A server that logs three requests, delivers them, and is killed at it by a fault of its store.
KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
from fuseline.bootstrap import line
from fuseline.serving.served import Answered, Asked
from fuseline.serving.traffic import Traffic
from fuseline.settings import Settings
projects, store, spool, faults, now = sys.argv[1:]
here = line("tiny", "me", replace(Settings(), projects=Path(projects), store=store, faults=faults, now=now))
traffic = Traffic(here, Path(spool))
for i in range(3):
    traffic.add(Asked(b'{"price": %d}' % i, request_id=f"r{i}"), Answered(b"{}"), "v0001")
print("ready", flush=True)
traffic.spool.roll()
traffic.tick()
traffic.tick()
"""


def asked(record: Any, request: str = "r1", **more: Any) -> Asked:
    return Asked(json.dumps(record).encode(), request_id=request, **more)


def over(line: Line, store: Store) -> Line:
    return Line(line.settings, line.project, store, "me")


@pytest.fixture
def logging(tmp_path: Path) -> Iterator[Callable[..., Traffic]]:
    """Makes logs of requests, over one spool."""
    made: list[Traffic] = []

    def make(line: Line, spool: Path | None = None, **told: Any) -> Traffic:
        made.append(Traffic(line, spool or tmp_path / "spool", **told))
        return made[-1]

    yield make
    for traffic in made:
        traffic.spool.close()


def keys(store: Store) -> list[str]:
    """What was delivered."""
    return [i.key for prefix in ("inbox/", "tiny/requests/") for i in store.list(prefix)]


def delivered(store: Store) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of the log and the rows of the batches, over all files."""
    lines = [[], []]
    for key in keys(store):
        lines[key.startswith("inbox/")] += [json.loads(line) for line in store.get(key).splitlines()]
    return lines[0], lines[1]


def waiting(traffic: Traffic) -> int:
    return len(traffic.spool.ready())


# ── when ─────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_delivered_before_it_is_time(trained, logging) -> None:
    traffic = logging(trained.line, rows=3)
    traffic.add(asked({"price": 1}), replace(ANSWER, rows=1, rejected=1), "v0001")
    traffic.tick()
    assert keys(trained.store) == []
    traffic.add(asked({"price": 2}, "r2"), ANSWER, "v0001")
    traffic.tick()
    log, batch = delivered(trained.store)
    assert ([line["request_id"] for line in log], len(batch)) == (["r1", "r2"], 2)
    assert (waiting(traffic), traffic.trouble) == (0, "")


def test_after_a_while_what_there_is_becomes_a_batch(trained, logging) -> None:
    traffic = logging(trained.line, seconds=0.05)
    traffic.tick()
    assert keys(trained.store) == []
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    time.sleep(0.06)
    traffic.tick()
    traffic.tick()
    assert len(delivered(trained.store)[1]) == 1


def test_at_the_end_everything_is_delivered_and_the_folder_is_gone(trained, logging) -> None:
    traffic = logging(trained.line)
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.close()
    assert [key.rsplit("/", 1)[0] for key in keys(trained.store)] == ["inbox/tiny", "tiny/requests"]
    assert not traffic.spool.own.exists()
    assert keys(trained.store)[0].startswith("inbox/tiny/live-2026-03-01T060000-")
    assert len({key.rsplit("/")[-1] for key in keys(trained.store)}) == 1


def test_without_requests_there_is_no_batch(trained, logging) -> None:
    traffic = logging(trained.line, seconds=0.0)
    traffic.tick()
    traffic.close()
    assert keys(trained.store) == []


def test_a_spool_that_cannot_be_made_is_refused_at_the_start(trained, tmp_path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(SettingsError, match="requests cannot be kept in"):
        Traffic(trained.line, tmp_path / "spool")


# ── what ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_log_has_everything_and_the_batch_the_rows(trained, logging) -> None:
    traffic = logging(trained.line)
    traffic.add(asked({"id": "a", "price": 1, "foo": 2}, query={"threshold": "0.7"}), ANSWER, "v0001")
    traffic.add(Asked(b"\x89PNG", "image/png", request_id="r2"), Answered(b"{}"), "v0001")
    traffic.close()
    log, batch = delivered(trained.store)
    assert batch == [{"id": "a", "price": 1, "age": None, "colour": None}]
    assert log == [
        {
            "at": AT,
            "request_id": "r1",
            "version": "v0001",
            "asked": {"id": "a", "price": 1, "foo": 2},
            "answered": {"model": "tiny", "predictions": []},
            "query": {"threshold": "0.7"},
        },
        {
            "at": AT,
            "request_id": "r2",
            "version": "v0001",
            "asked": "iVBORw==",
            "answered": {},
            "asked_type": "image/png",
        },
    ]


def test_requests_without_rows_are_in_the_log_only(trained, logging) -> None:
    traffic = logging(trained.line)
    traffic.add(Asked(b"\x89PNG", "image/png"), ANSWER, "v0001")
    traffic.close()
    assert [key.split("/")[0] for key in keys(trained.store)] == ["tiny"]


def test_rows_of_several_versions_are_one_batch(trained, logging) -> None:
    trained.promote_copy()
    traffic = logging(trained.line)
    for version in ("v0001", "v0002"):
        traffic.add(asked({"id": version}), ANSWER, version)
    traffic.close()
    assert [row["id"] for row in delivered(trained.store)[1]] == ["v0001", "v0002"]


def test_columns_of_other_tables_are_left_to_the_join(with_shops, rows, sold, logging) -> None:
    with_shops.train()
    traffic = logging(with_shops.line)
    for place, (_, row) in enumerate(sold(rows(40, 5)).drop(columns="bought").iterrows()):
        record = {name: None if value != value else value for name, value in row.items()}
        traffic.add(asked({**record, "discount": 0.9}, f"r{place}"), ANSWER, "v0001")
    traffic.close()
    assert list(delivered(with_shops.store)[1][0]) == ["id", "price", "age", "colour", "shop"]
    with_shops.infer()
    (frame,) = with_shops.published().values()
    assert set(frame["score"]) == {0.25, 0.5, 0.75}


def test_what_a_client_sends_twice_is_said(trained, logging, caplog) -> None:
    traffic = logging(trained.line)
    for price in (1, 2):
        traffic.add(asked({"id": "a", "price": price}), ANSWER, "v0001")
    traffic.close()
    log, batch = delivered(trained.store)
    assert (len(log), [row["price"] for row in batch]) == (2, [2])
    assert "the log of requests has more than the batch: 1 of 2 rows, whose id comes again after them" in caplog.text


def test_half_a_character_in_a_query_costs_its_own_request_only(trained, logging) -> None:
    traffic = logging(trained.line)
    traffic.add(asked({"id": "a"}, query={"x": "\ud800"}), ANSWER, "v0001")
    assert traffic.lost == 1 and "requests are not logged, 1 so far" in traffic.trouble
    traffic.add(asked({"id": "b"}), ANSWER, "v0001")
    assert traffic.trouble == ""
    traffic.close()
    assert [row["id"] for row in delivered(trained.store)[1]] == ["b"]


# ── faults of the store ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["tiny/requests/*", "inbox/tiny/*"])
@pytest.mark.parametrize(
    "fault", ["fail-before", "full", "drop", "lose-reply", "fail-before get", "fail-before exists"]
)
def test_whatever_fails_once_comes_to_the_same_in_the_end(trained, logging, fault, place, tmp_path) -> None:
    action, _, on = fault.partition(" ")
    rule = f"{action} {on or 'create'} {place if not on else '*'}; lose-reply create {place} nth=2"
    whole, faulty = MemoryStore(), FaultyStore(trained.store, parse_rules(rule))
    for item in trained.store.list(""):
        whole.put(item.key, trained.store.get(item.key))
    one, other = logging(over(trained.line, whole)), logging(over(trained.line, faulty), tmp_path / "other")
    for i in range(3):
        one.add(asked([{"price": i}, {"id": f"x{i}"}], f"r{i}"), ANSWER, "v0001")
    one.spool.roll()
    (path,) = one.spool.ready()
    (other.spool.own / path.name).write_bytes(path.read_bytes())
    one.tick()
    for _ in range(4):
        other._again = 0.0
        other.tick()
    assert (waiting(other), other.trouble) == (0, "")
    assert keys(whole) == keys(trained.store)
    assert [whole.get(key) for key in keys(whole)] == [trained.store.get(key) for key in keys(whole)]


def test_the_log_is_there_before_the_batch(trained, logging) -> None:
    rule = "fail-before create inbox/* times=9"
    traffic = logging(over(trained.line, FaultyStore(trained.store, parse_rules(rule))))
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.close()
    assert [key.split("/")[0] for key in keys(trained.store)] == ["tiny"]
    assert waiting(traffic) == 1
    rule = "fail-before create tiny/requests/* times=9"
    other = logging(over(trained.line, FaultyStore(MemoryStore(), parse_rules(rule))))
    other.add(asked({"price": 1}), ANSWER, "v0001")
    other.close()
    assert keys(other.line.store) == []


def test_while_the_store_does_not_answer_requests_wait_and_that_is_said(trained, logging) -> None:
    store = FaultyStore(trained.store, parse_rules("fail-before create * times=2"))
    traffic = logging(over(trained.line, store))
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.spool.roll()
    traffic.add(asked({"price": 2}), ANSWER, "v0001")
    traffic.tick()
    assert traffic.trouble.startswith(
        f"requests wait in {traffic.spool.own} and are not in the store yet: create 'tiny/"
    )
    traffic.tick()  # too soon: the store is left alone for a while
    assert waiting(traffic) == 1
    traffic._again = 0.0
    traffic.tick()
    traffic._again = 0.0
    traffic.tick()
    assert (waiting(traffic), traffic.trouble, len(delivered(trained.store)[1])) == (0, "", 1)
    traffic.close()
    assert len(delivered(trained.store)[1]) == 2


def test_a_spool_that_is_full_takes_no_more_and_says_so_until_it_is_delivered(trained, logging, caplog) -> None:
    store = FaultyStore(trained.store, parse_rules("fail-before create * times=1"))
    traffic = logging(over(trained.line, store), most=1000, rows=1)
    for i in range(12):
        traffic.add(asked({"price": i}), ANSWER, "v0001")
    logged = waiting(traffic)
    assert 0 < logged < 12 and traffic.lost == 12 - logged
    traffic.tick()
    assert f"requests are not logged, {traffic.lost} so far: " in traffic.trouble
    assert "Mend the store" in traffic.trouble and "are not in the store yet" in traffic.trouble
    assert caplog.text.count("requests are not logged from now on") == 1
    traffic._again = 0.0
    traffic.tick()
    traffic.add(asked({"price": 99}), ANSWER, "v0001")
    assert (traffic.trouble, traffic.lost) == ("", 12 - logged)
    assert f"requests are logged again; {12 - logged} were not" in caplog.text
    traffic.close()
    assert [row["price"] for row in delivered(trained.store)[1]] == [*range(logged), 99]


def test_a_file_that_cannot_be_delivered_does_not_hold_up_the_others(trained, logging) -> None:
    traffic = logging(trained.line, rows=1)
    traffic.add(asked({"price": 1}), ANSWER, "v0009")
    traffic.add(asked({"price": 2}), ANSWER, "v0001")
    traffic.tick()
    log, batch = delivered(trained.store)
    assert (len(log), len(batch), waiting(traffic)) == (2, 1, 1)
    assert "there is no version 'v0009' of tiny" in traffic.trouble


def test_a_spool_that_somebody_removes_is_made_again(trained, logging) -> None:
    traffic = logging(trained.line)
    shutil.rmtree(traffic.spool.folder)
    traffic._adopted = -1000.0
    traffic.tick()
    assert "No such file or directory" in traffic.trouble
    traffic.spool._beaten = traffic._again = traffic._adopted = -1000.0
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.tick()
    assert traffic.trouble == ""
    traffic.close()
    assert len(delivered(trained.store)[1]) == 1


def test_a_file_that_the_disk_does_not_give_back_is_said(trained, logging) -> None:
    traffic = logging(trained.line)
    (traffic.spool.own / "live-0.jsonl").mkdir()
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.close()
    assert len(delivered(trained.store)[1]) == 1
    assert "Is a directory" in traffic.trouble


# ── what was left ────────────────────────────────────────────────────────────────────────────────


def test_a_torn_line_is_put_aside_and_the_others_are_delivered(trained, logging, caplog) -> None:
    traffic = logging(trained.line)
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.spool.roll()
    (path,) = traffic.spool.ready()
    whole = path.read_bytes()
    path.write_bytes(b"\xff\n" + whole + b"{}\n\n" + whole[:-20])
    traffic.tick()
    assert (len(delivered(trained.store)[0]), waiting(traffic), traffic.trouble) == (1, 0, "")
    aside = traffic.spool.folder / "aside" / path.stem
    assert aside.with_suffix(".lines").read_bytes() == b"\xff\n{}\n" + whole[:-20] + b"\n"
    reasons = aside.with_suffix(".txt").read_text().splitlines()
    assert [reason.split(",")[0] for reason in reasons] == [f"line {n} of {path.name}" for n in (1, 3, 5)]
    assert "lines that are no requests are kept in" in caplog.text


def test_a_line_without_its_end_is_a_line_if_nothing_else_is_missing(trained, logging) -> None:
    traffic = logging(trained.line)
    traffic.add(asked({"price": 1}), ANSWER, "v0001")
    traffic.spool.roll()
    (path,) = traffic.spool.ready()
    path.write_bytes(path.read_bytes()[:-1])
    traffic.tick()
    assert [len(lines) for lines in delivered(trained.store)] == [1, 1]


@pytest.fixture
def stored(trained, tmp_path) -> Callable[[str], FolderStore]:
    """`stored(name)`: a folder with all that the training stored."""

    def make(name: str) -> FolderStore:
        store = FolderStore(tmp_path / name)
        for item in trained.store.list(""):
            store.put(item.key, trained.store.get(item.key))
        return store

    return make


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["tiny/requests/*", "inbox/tiny/*"])
def test_after_a_kill_at_any_place_the_next_server_ends_what_was_begun(
    trained, stored, logging, when, what, tmp_path
) -> None:
    store = stored("store")
    arguments = [trained.folder.parent, store.root, tmp_path / "spool", f"kill-{when} create {what}", AT]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], stdout=subprocess.PIPE, check=False)
    assert (killed.returncode, killed.stdout.strip()) == (-9, b"ready")
    before = {key: store.get(key) for key in keys(store)}
    traffic = logging(over(trained.line, store))
    traffic.tick()
    log, batch = delivered(store)
    assert [line["request_id"] for line in log] == ["r0", "r1", "r2"]
    assert [(row["id"], row["price"]) for row in batch] == [("r0:0", 0), ("r1:0", 1), ("r2:0", 2)]
    assert before.items() <= {key: store.get(key) for key in keys(store)}.items() and len(keys(store)) == 2
    assert (waiting(traffic), traffic.trouble) == (0, "")


def test_what_another_server_leaves_is_delivered_at_the_end_at_the_latest(trained, logging) -> None:
    one, other = logging(trained.line), logging(trained.line)
    other.add(asked({"price": 1}), ANSWER, "v0001")
    owner = other.spool.own / "owner.json"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "place": "another container"}))
    os.utime(owner, (1, 1))
    one.close()
    assert len(delivered(trained.store)[1]) == 1


def test_a_batch_that_was_scored_before_its_file_was_removed_is_not_scored_twice(trained, rows, logging) -> None:
    traffic = logging(trained.line)
    traffic.add(asked(json.loads(rows(300, 11).to_json(orient="records"))), ANSWER, "v0001")
    traffic.spool.roll()
    (path,) = traffic.spool.ready()
    kept = path.read_bytes()
    traffic.tick()
    trained.infer()
    path.write_bytes(kept)  # as after a kill between the put and the removal
    traffic.tick()
    assert len(trained.line.batches.waiting()) == 1
    trained.infer("a2")
    assert (trained.line.batches.waiting(), len(trained.state.batches)) == ([], 1)


# ── end to end ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_served_is_scored_and_judged_as_a_batch_and_labels_find_it(trained, rows, logging) -> None:
    champion = Champion(trained.line)
    champion.look()
    traffic, answers = logging(trained.line, rows=300), {}
    frame = rows(600, 11)
    records = json.loads(frame.drop(columns="bought").to_json(orient="records"))
    for place in range(0, 600, 5):
        request = asked(records[place : place + 5], f"r{place}")
        answered = champion.standing.served.answer(request)
        traffic.add(request, answered, champion.standing.served.version)
        answers |= {records[place + p["index"]]["id"]: p["score"] for p in json.loads(answered.body)["predictions"]}
    traffic.tick()
    assert len(trained.line.batches.waiting()) == 2
    entries = trained.infer()
    assert [entry.event.assessment.verdict for entry in entries] == ["pass", "pass"]
    published = pd.concat(trained.published().values()).set_index("id")["score"]
    assert published.to_dict() == pytest.approx(answers, abs=1e-12)
    trained.deliver_labels("later", frame)
    measured = trained.feedback().event
    assert isinstance(measured, r.Labelled)
    assert (measured.unmatched, sum(b.rows for b in measured.batches)) == (0, 600)


def test_live_traffic_that_would_hurt_opens_the_breaker(trained, rows, logging) -> None:
    champion = Champion(trained.line)
    champion.look()
    traffic = logging(trained.line)
    cents = rows(600, 11).drop(columns="bought").assign(price=lambda d: d["price"] * 100)
    for place, record in enumerate(json.loads(cents.to_json(orient="records"))):
        traffic.add(asked(record, f"r{place}"), ANSWER, "v0001")
    traffic.close()
    trained.infer()
    assert trained.state.breaker.status == "open"
    champion.look()
    assert champion.standing.problem.kind == "breaker-open"
