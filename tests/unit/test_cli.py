from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fuseline.cli import main
from fuseline.records import RetrainAsked, TrainingStarted
from fuseline.revision import revision
from fuseline.storage import open_store

DAY1, DAY2 = "day1.", "day2."


@dataclass
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs commands over a project and a folder store."""

    tiny: Any
    store: Path
    capsys: Any
    monkeypatch: Any

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FUSELINE_STORE": str(self.store),
            "FUSELINE_PROJECTS": str(self.tiny.folder.parent),
            "FUSELINE_NOW": self.tiny.clock.now,
            "FUSELINE_USER": "tester",
        }

    def __call__(self, *arguments: str) -> Said:
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.setattr(sys, "argv", ["fuseline", *arguments])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        printed = self.capsys.readouterr()
        return Said(int(ended.value.code or 0), printed.out, printed.err)

    @property
    def state(self):
        return self.tiny.line.ledger.state()

    def batch(self, name: str) -> str:
        return next(k for k in self.state.batches if k.startswith(name))


@pytest.fixture
def new_shell(light, tmp_path, capsys, monkeypatch) -> Shell:
    """An empty store."""
    light.store = open_store(str(tmp_path / "store"))
    return Shell(light, tmp_path / "store", capsys, monkeypatch)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where a store is kept once it is made, because that takes seconds."""
    return tmp_path_factory.mktemp("kept") / "store"


@pytest.fixture
def shell(new_shell, kept, rows) -> Shell:
    """Two versions; day1 published, day2 in quarantine with prices in cents, the breaker open."""
    tiny = new_shell.tiny
    if not kept.exists():
        tiny.train("t1")
        tiny.train("t2")
        tiny.deliver("day1", rows(400, 2).drop(columns="bought"))
        tiny.infer("a1")
        cents = rows(400, 3).drop(columns="bought")
        tiny.deliver("day2", cents.assign(price=cents["price"] * 100))
        tiny.infer("a2")
        shutil.copytree(new_shell.store, kept)
    shutil.copytree(kept, new_shell.store, dirs_exist_ok=True)
    return new_shell


# ── usage ───────────────────────────────────────────────────────────────────────────────────────


def test_the_version_is_printed(new_shell):
    assert new_shell("--version") == Said(0, f"fuseline {revision()}\n", "")


def test_help_names_the_exit_codes_and_every_command_has_an_example(new_shell):
    said = new_shell("--help")
    assert said.code == 0
    assert "3 held back" in said.out
    names = "new check doctor train infer feedback alert status history predictions backtest promote rollback replay"
    for command in [*([c] for c in names.split()), ["report"], ["breaker", "trip"], ["breaker", "reset"]]:
        helped = new_shell(*command, "--help")
        assert helped.code == 0
        assert f"Example: fuseline {' '.join(command)} " in helped.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["status"],
        ["status", "tiny", "--bogus"],
        ["history", "tiny", "--last", "0"],
        ["breaker", "trip", "tiny"],
    ],
)
def test_wrong_usage_ends_with_2_and_prints_nothing_to_stdout(arguments, new_shell):
    said = new_shell(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "Usage: fuseline" in said.err


def test_without_a_command_the_help_is_shown(new_shell):
    said = new_shell()
    assert said.code == 2
    assert "Commands" in said.out + said.err


def test_an_unknown_project_ends_with_2_and_says_what_to_do(new_shell):
    said = new_shell("status", "nope")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: there is no project 'nope'")
    assert "fuseline new nope --from FILE --target COLUMN" in said.err


def test_a_broken_ledger_ends_with_1(shell):
    (shell.store / "tiny" / "ledger" / "00000002.json").write_text("{")
    said = shell("status", "tiny")
    assert (said.code, said.out) == (1, "")
    assert "00000002.json is not a ledger entry" in said.err


def test_a_reader_that_stops_reading_is_no_fault(shell):
    command = f"{sys.executable} -m fuseline.cli history tiny --json | head -c 1"
    run = subprocess.run(command, shell=True, env={**os.environ, **shell.environment}, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("[", "")


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def test_the_status_says_champion_breaker_and_quarantine(shell):
    said = shell("status", "tiny")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "tiny  breaker open"
    assert lines[1].startswith("  since       2026-03-01 06:00:00: ")
    assert lines[2] == (
        "  next        A trial batch is let through from 2026-03-02 06:00:00 UTC, or now: "
        "fuseline breaker reset tiny --reason …"
    )
    assert lines[3].startswith("  champion    v000")
    assert lines[4:] == [
        "  published   1 batch",
        "  waiting     none",
        f"  quarantine  {shell.batch(DAY2)}",
        "              fuseline replay tiny BATCH --reason …",
    ]


def test_the_status_as_json(shell):
    found = shell("status", "tiny", "--json").json
    assert found["project"] == "tiny"
    assert found["champion"] == shell.state.champion
    assert found["breaker"]["status"] == "open"
    assert found["quarantine"] == [shell.batch(DAY2)]
    assert found["batches"] == {"published": 1, "quarantined": 1, "withdrawn": 0, "dropped": 0}


def test_history_shows_the_newest_entries_as_sentences(shell):
    said = shell("history", "tiny", "--last", "2")
    assert len(said.out.splitlines()) == 3
    assert f"{shell.batch(DAY2)} was put into quarantine" in said.out
    entries = shell("history", "tiny", "--last", "2", "--json").json
    assert [e["kind"] for e in entries] == ["started", "quarantined"]
    assert entries[-1]["seq"] == shell.state.seq


def test_an_empty_ledger_is_said(new_shell):
    assert new_shell("history", "tiny") == Said(0, "the ledger of tiny is empty\n", "")
    assert new_shell("history", "tiny", "--json").json == []


def test_what_was_live_at_a_time_is_answered(shell):
    said = shell("history", "tiny", "--at", "2026-03-01T06:00")
    assert said.out.endswith(f"champion {shell.state.champion}, breaker open, 1 batch published\n")
    before = shell("history", "tiny", "--at", "2026-02-01")
    assert before.out == "at 2026-02-01 (entry 0): no champion, breaker closed, 0 batches published\n"
    found = shell("history", "tiny", "--at", "2026-03-01T06:00", "--json").json
    assert found["published"] == [shell.batch(DAY1)]
    assert shell("history", "tiny", "--at", "yesterday").code == 2


def test_predictions_are_listed_with_the_place_where_they_are_read(shell):
    said = shell("predictions", "tiny")
    head, row, place = said.out.splitlines()
    assert head.split() == ["batch", "rows", "version", "mode", "scored", "at", "(UTC)"]
    assert row.split()[:2] == [shell.batch(DAY1), "400"]
    assert place == f"file://{shell.store}/tiny/predictions/"
    (found,) = shell("predictions", "tiny", "--json").json
    assert found["batch"] == shell.batch(DAY1)
    assert (shell.store / found["key"]).is_file()


def test_no_predictions_are_said(new_shell):
    assert new_shell("predictions", "tiny").out.startswith("nothing is published for tiny\n")
    assert new_shell("predictions", "tiny", "--json").json == []


def test_a_backtest_shows_each_batch_then_and_now_and_ends_with_a_sentence(shell):
    said = shell("backtest", "tiny")
    assert (said.code, said.err) == (0, "")
    head, day1, day2, _, totals, figures, sentence = said.out.splitlines()
    assert head.split()[:5] == ["batch", "rows", "then", "became", "now"]
    assert day1.split()[:7] == [shell.batch(DAY1), "400", "●", "pass", "published", "●", "pass"]
    assert day2.split()[:7] == [shell.batch(DAY2), "400", "■", "halt", "quarantined", "■", "halt"]
    assert "price" in day2
    assert totals.split() == ["tolerance", "tripped", "confirmed", "contradicted", "unlabelled", "missed", "undecided"]
    assert figures.split() == ["0.02", *["1", "of", "2", "(one", "in", "2)"], "0", "0", "1", "0", "0"]
    trips = "With tolerance 0.02 the breaker would have tripped on 1 of 2 batches"
    assert sentence == f"{trips}; labels confirm 0, contradict 0, are missing for 1."


def test_a_backtest_compares_tolerances_as_json_that_what_the_project_prints_does_not_disturb(shell):
    shell.tiny.recode("def metrics(predictions):\n    print('hello')\n    return {}\n", shell.state.champion)
    said = shell("backtest", "tiny", "--tolerance", "0.02,0.9", "--last", "1", "--json")
    (batch,) = said.json["batches"]
    assert (batch["batch"], batch["then"]) == (shell.batch(DAY2), "halt")
    assert [(now["tolerance"], now["verdict"]) for now in batch["now"]] == [(0.02, "halt"), (0.9, "warn")]
    assert [(s["tolerance"], s["tripped"]) for s in said.json["summary"]] == [(0.02, 1), (0.9, 0)]
    assert said.json["said"] == "With tolerance 0.02 the breaker would have tripped on 1 of 1 batch, with 0.9 on 0."
    table = shell("backtest", "tiny", "--tolerance", "0.02,0.9", "--last", "1").out.splitlines()
    assert table[0].split()[4:8] == ["at", "0.02", "at", "0.9"]
    assert shell("backtest", "tiny", "--tolerance", "much").code == 2


def test_a_backtest_of_no_past_says_so(new_shell):
    assert new_shell("backtest", "tiny") == Said(0, "No batch has an outcome yet.\n", "")
    assert new_shell("backtest", "tiny", "--json").json["batches"] == []


def test_an_interrupted_backtest_leaves_nothing(shell, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    slow = f"import time\ndef preprocess(data, artifacts):\n    open({str(tmp_path / 'at it')!r}, 'w')\n"
    shell.tiny.recode(slow + "    time.sleep(60)\n", shell.tiny.line.ledger.state().champion)
    before = {path: path.stat().st_mtime_ns for path in shell.store.rglob("*")}
    command = [sys.executable, "-m", "fuseline.cli", "backtest", "tiny"]
    environment = {**os.environ, **shell.environment, "TMPDIR": str(scratch)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "at it").exists() and process.poll() is None:
        time.sleep(0.02)
    assert any(scratch.iterdir())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted; nothing is half done: run the same command again to go on\n"
    assert list(scratch.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in shell.store.rglob("*")} == before


# ── decisions ───────────────────────────────────────────────────────────────────────────────────


def test_a_published_batch_is_withdrawn_with_a_reason_only(shell):
    assert shell("predictions", "tiny", "--withdraw", "day1").code == 2
    said = shell("predictions", "tiny", "--withdraw", "day1", "-r", "wrong")
    assert said.out == f"{shell.batch(DAY1)} is withdrawn: wrong\n"
    again = shell("predictions", "tiny", "--withdraw", "day1", "-r", "wrong")
    assert again.code == 1
    assert "only a published batch can be withdrawn" in again.err


def test_a_version_is_promoted_and_rolled_back_by_hand(shell):
    champion = shell.state.champion
    other = next(v for v in shell.state.versions if v != champion)
    said = shell("promote", "tiny", other, "--reason", "newer")
    assert said.out == f"{other} is the champion of tiny (before: {champion})\n"
    assert (
        shell("rollback", "tiny", "-r", "worse").out == f"{champion} is the champion of tiny again (before: {other})\n"
    )
    found = shell("rollback", "tiny", "-r", "no, better", "--version", other, "--json").json
    assert (found["version"], found["how"]) == (other, "rollback")
    assert shell("promote", "tiny", other, "-r", "again").code == 1
    assert shell("promote", "tiny", "v0099", "-r", "no such").code == 2


def test_a_version_that_cannot_be_loaded_is_neither_promoted_nor_rolled_back_to(shell):
    champion = shell.state.champion
    other = next(v for v in shell.state.versions if v != champion)
    shell("promote", "tiny", other, "-r", "newer")
    (shell.store / "tiny" / "versions" / champion / "artifacts" / "model.joblib").write_bytes(b"x")
    before = shell.state.seq
    for command in (["promote", "tiny", champion], ["rollback", "tiny"]):
        said = shell(*command, "-r", "back")
        assert (said.code, shell.state.seq) == (1, before)
        assert "is not what was stored" in said.err


def test_without_an_earlier_champion_there_is_no_way_back(new_shell):
    said = new_shell("rollback", "tiny", "-r", "worse")
    assert said.code == 1
    assert "no earlier champion" in said.err


def test_the_breaker_is_opened_and_closed_by_hand(new_shell):
    assert new_shell("breaker", "trip", "tiny", "-r", "cents").out == "the breaker of tiny is open: cents\n"
    assert "It waits for a new champion, or: fuseline breaker reset tiny" in new_shell("status", "tiny").out
    assert new_shell("breaker", "reset", "tiny", "-r", "euros", "--json").json["status"] == "closed"
    again = new_shell("breaker", "reset", "tiny", "-r", "euros")
    assert (again.code, again.err) == (1, "error: the breaker of tiny is closed already\n")


def test_a_batch_is_replayed_and_waits_while_the_breaker_is_open(shell):
    batch = shell.batch(DAY2)
    said = shell("replay", "tiny", "day2", "-r", "harmless")
    assert said.out == f"{batch} waits to be scored: fuseline infer tiny\n"
    assert f"  waiting     1 batch: {batch}\n" in shell("status", "tiny").out
    held = shell("infer", "tiny")
    assert (held.code, held.out) == (3, "")
    assert held.err.startswith(f"error: the breaker is open and holds back 1 batch: {batch}\nWhy: ")
    found = shell("infer", "tiny", "--json")
    assert found.code == 3
    assert found.json == {"settled": [], "waiting": [batch], "breaker": "open"}


def test_a_repaired_file_takes_the_place_of_a_batch(shell, rows, tmp_path):
    path = tmp_path / "mended.csv"
    rows(400, 3).drop(columns="bought").to_csv(path, index=False)
    assert shell("replay", "tiny", "day2", "-r", "euros", "--with", str(tmp_path / "nothing.csv")).code == 2
    assert shell("replay", "tiny", "day2", "-r", "euros", "--with", str(path), "--drop").code == 2
    found = shell("replay", "tiny", "day2", "-r", "euros", "--with", str(path), "--json").json
    assert found["waiting"].startswith("day2.")
    assert shell("status", "tiny", "--json").json["waiting"] == ["day2.csv"]


def test_a_batch_is_given_up(shell):
    batch = shell.batch(DAY2)
    assert shell("replay", "tiny", batch, "-r", "useless", "--drop").out == f"{batch} is dropped; its files are kept\n"
    assert shell("replay", "tiny", batch, "-r", "after all").code == 1
    assert shell("replay", "tiny", "day9", "-r", "which").code == 2


# ── projects and pages ──────────────────────────────────────────────────────────────────────────


def test_a_project_is_made_and_told(new_shell, tmp_path):
    source = str(tmp_path / "data" / "history.parquet")
    said = new_shell("new", "shop", "--from", source, "--target", "bought")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "next: fuseline check shop, then fuseline train shop"
    found = new_shell("new", "other", "--from", source, "--target", "bought", "--json").json
    assert Path(found["folder"], "train.py").is_file()
    assert new_shell("new", "other", "--from", source, "--target", "bought").code == 2


def test_check_ends_with_1_if_anything_is_wrong(new_shell):
    assert new_shell("check", "tiny").code == 0
    new_shell.tiny.write("predict.py", "def predict(data, artifacts): return data['price'][:-1]\n")
    said = new_shell("check", "tiny")
    assert said.code == 1
    assert said.out.splitlines()[-2] == "wrong  predict"
    found = new_shell("check", "tiny", "--json")
    assert (found.code, found.json[-1]["ok"]) == (1, False)


def test_doctor_looks_at_the_store_and_at_a_project(new_shell):
    assert new_shell("doctor").out.count("ok     ") == 5
    said = new_shell("doctor", "nope")
    assert said.code == 1
    assert said.out.splitlines()[-2] == "wrong  project nope and its project.toml"
    assert all(one["ok"] for one in new_shell("doctor", "tiny", "--json").json)


def test_the_pages_are_made_again(shell):
    said = shell("report", "tiny")
    assert said.out == f"file://{shell.store}/tiny/reports/index.html\n"
    assert (shell.store / "tiny" / "reports" / "index.html").is_file()
    assert shell("report", "tiny", "--json").json["index"] == said.out.strip()


# ── flows ───────────────────────────────────────────────────────────────────────────────────────


def test_nothing_to_do_is_said_and_starts_no_flow(new_shell):
    assert new_shell("infer", "tiny") == Said(0, "nothing waits in inbox/tiny/\n", "")
    assert new_shell("infer", "tiny", "--json").json == {"settled": [], "waiting": [], "breaker": "closed"}
    assert new_shell("feedback", "tiny") == Said(0, "no new labels in labels/tiny/\n", "")
    assert new_shell("feedback", "tiny", "--json").json == {"entries": [], "breaker": "closed"}


def test_a_lost_file_of_published_predictions_comes_back_when_nothing_waits(shell):
    (path,) = (shell.store / "tiny" / "predictions").iterdir()
    path.unlink()
    assert shell("infer", "tiny").code == 0
    assert path.is_file()


def test_training_if_asked_does_nothing_unless_it_is_asked_for(new_shell):
    assert new_shell("train", "tiny", "--if-asked") == Said(0, "no retrain of tiny is asked for\n", "")
    ledger = new_shell.tiny.line.ledger
    ledger.append(lambda state: RetrainAsked("AUC fell"))
    ledger.append(lambda state: TrainingStarted("TrainingFlow/7"))
    new_shell.tiny.clock.forward(5)
    found = new_shell("train", "tiny", "--if-asked", "--json").json
    assert found == {"version": None, "champion": None, "metrics": {}, "held": []}


@pytest.mark.usefixtures("uncovered")
def test_a_training_that_was_taken_up_and_never_ended_is_started_again(new_shell):
    ledger = new_shell.tiny.line.ledger
    ledger.append(lambda state: RetrainAsked("AUC fell"))
    ledger.append(lambda state: TrainingStarted("TrainingFlow/7"))
    new_shell.tiny.clock.forward(7)
    (new_shell.tiny.folder / "train.py").unlink()  # so that the flow ends in its first step
    said = new_shell("train", "tiny", "--if-asked")
    assert (said.code, said.out) == (1, "")
    assert "train.py does not exist; project tiny needs it" in said.err


@pytest.mark.usefixtures("uncovered")
def test_a_version_that_the_gate_holds_ends_with_3(new_shell):
    new_shell.tiny.setting("\n[gate]\nmin = { auc = 0.999 }\n")
    said = new_shell("train", "tiny", "--json")
    assert said.code == 3
    assert (said.json["version"], said.json["champion"]) == ("v0001", None)
    assert said.json["held"]
    assert said.err.startswith("error: the gate held v0001: ")
    assert "fuseline promote tiny v0001 --reason …" in said.err
    assert new_shell("promote", "tiny", "v0001", "-r", "agreed").out == "v0001 is the champion of tiny (before: none)\n"


@pytest.mark.usefixtures("uncovered")
def test_batches_are_published_and_held_back_by_a_run(shell, rows):
    shell("breaker", "reset", "tiny", "-r", "mended")
    frame = rows(400, 4).drop(columns="bought")
    shell.tiny.deliver("day3", frame)
    shell.tiny.deliver("day4", frame.assign(price=frame["price"] * 100))
    said = shell("infer", "tiny")
    assert said.code == 3
    _, good, bad = said.out.splitlines()
    assert good.split()[0] == shell.batch("day3.")
    assert "published" in good
    assert bad.split()[0] == shell.batch("day4.")
    assert "quarantined" in bad
    shell.tiny.deliver_labels("late", rows(400, 4))
    labels = shell("feedback", "tiny")
    assert labels.code == 0
    assert "Labels of 400 rows in 1 batch were read" in labels.out


def test_an_interrupt_during_a_flow_ends_with_130_and_the_next_run_goes_on(shell, rows):
    shell("breaker", "reset", "tiny", "-r", "mended")
    shell.tiny.deliver("day3", rows(400, 4).drop(columns="bought"))
    before = shell.state.seq
    command = [sys.executable, "-m", "fuseline.cli", "infer", "tiny"]
    environment = {**os.environ, **shell.environment}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while shell.state.seq == before and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted; nothing is half done: run the same command again to go on\n"
    assert shell.tiny.line.batches.waiting() == ["day3.parquet"]
    assert len(shell.tiny.infer("a9")) == 1
    assert shell.state.batches[shell.batch("day3.")].status == "published"


# ── alerts ──────────────────────────────────────────────────────────────────────────────────────


def test_where_nobody_is_to_be_told_anything_that_is_said(new_shell):
    assert new_shell("alert", "tiny") == Said(0, "nobody is to be told anything of tiny\n", "")
    assert new_shell("alert", "tiny", "--json").json == []


def test_an_alert_is_sent_to_a_topic_once(new_shell, s3):
    import boto3.session

    new_shell.monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", s3)
    with closing(boto3.session.Session().client("sns")) as sns:
        new_shell.monkeypatch.setenv("FUSELINE_ALERTS", sns.create_topic(Name="alerts-of-tiny")["TopicArn"])
    tripped = new_shell("breaker", "trip", "tiny", "-r", "prices are in cents")
    assert tripped.out == "the breaker of tiny is open: prices are in cents\n"
    assert new_shell("alert", "tiny").out == "nobody is to be told anything of tiny\n"
    history = new_shell("history", "tiny").out
    assert history.count("The alert of entry 1 was sent to sns:alerts-of-tiny:") == 1


def test_an_address_that_makes_no_sense_ends_with_1_and_stops_nothing_else(new_shell):
    new_shell.monkeypatch.setenv("FUSELINE_ALERTS", "nosuch://hunter2/x")
    tripped = new_shell("breaker", "trip", "tiny", "-r", "prices are in cents")
    assert (tripped.code, tripped.err) == (0, "")
    new_shell.tiny.clock.forward(1)
    said = new_shell("alert", "tiny")
    assert said.code == 1
    assert "FUSELINE_ALERTS: address 1 is neither arn:aws:sns:… nor one that apprise understands" in said.out
    assert "address 1 is neither" in said.err
    again = new_shell("alert", "tiny")
    assert again.code == 1
    assert again.out == (
        "1 alert did not arrive yet; the next try is at 2026-03-01 07:02:00 UTC, or now: fuseline alert tiny --now\n"
    )
    now = new_shell("alert", "tiny", "--now")
    assert (now.code, now.out.count("could not be sent")) == (1, 1)
    looked = new_shell("doctor")
    assert (looked.code, looked.out.count("FUSELINE_ALERTS: address 1")) == (1, 1)
    everything = [said.out, said.err, now.out, now.err, looked.out, new_shell("history", "tiny", "--json").out]
    assert "hunter2" not in "".join(everything)


def test_a_missed_schedule_is_said_once(shell):
    shell("breaker", "reset", "tiny", "-r", "mended")
    shell.tiny.clock.forward(40)
    assert shell("alert", "tiny").code == shell("alert", "tiny").code == 0
    assert shell("history", "tiny").out.count("Nothing was published since") == 1
