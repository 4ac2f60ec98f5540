from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

from fuseline import console
from fuseline.records import (
    AlertTaken,
    Assessment,
    Cause,
    Entry,
    Finding,
    Published,
    Quarantined,
    Reset,
    RetrainAsked,
    Trip,
)
from fuseline.state import State

AT = "2026-03-08T06:00:00+00:00"
LONG = "bookings-of-all-the-hotels-of-the-northern-region-2026-03-08.0123456789ab"
WHY = "price_eur is 100 times what it was in every row of the batch: AUC would fall from 0.910 to 0.710"


def terminal(monkeypatch, width: int) -> None:
    """From now on the commands print to a terminal that is so wide."""
    for name, stderr in (("out", False), ("err", True)):
        made = Console(force_terminal=True, width=width, stderr=stderr, highlight=False, emoji=False, color_system=None)
        monkeypatch.setattr(console, name, made)


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 80 columns."""
    terminal(monkeypatch, 80)


@pytest.fixture
def said(capsys):
    """`said()`: the lines that were printed since, without colours."""

    def lines() -> list[str]:
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return lines


def outcomes(batch: str, why: str = WHY) -> list[dict]:
    assessment = Assessment("halt", 0.2, (Cause("distance", why),) if why else ())
    stopped = Quarantined(batch, batch, "f", "a1", "v0001", "trial", 2_412, 3, assessment, Trip(None))
    unknown = Published("other.1", "a1", "v0001", "champion", 7, 0, AT, "d", Assessment("pass", None))
    found = [console.outcome(Entry(i, "i", AT, "me", e)) for i, e in enumerate((stopped, unknown), 1)]
    return [one for one in found if one]


def test_a_table_in_a_pipe_has_a_line_for_each_row_and_no_colours(capsys):
    console.outcomes(outcomes(LONG))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    head, first, second = printed.splitlines()
    assert head.split() == ["batch", "rows", "verdict", "harm", "outcome", "why"]
    assert first == f"{LONG}  2,412  ■ halt   0.200  quarantined (trial)  {WHY}"
    assert second.split() == ["other.1", "7", "●", "pass", "—", "published"]


def test_a_narrow_screen_shows_every_identity_whole_and_breaks_reasons_at_words(screen, said):
    console.outcomes(outcomes("2026-03-08.0123456789ab"))
    lines = said()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith("2026-03-08.0123456789ab  2,412  ■ halt   0.200  quarantined")
    assert " ".join(line.strip() for line in lines[2:4]) == WHY
    assert lines[2].startswith("    price_eur")
    assert len(lines) == 5


def test_an_identity_that_is_too_long_for_a_row_has_a_line_of_its_own(screen, said):
    console.outcomes(outcomes(LONG, why=""))
    lines = said()
    assert lines[0] == "batch"
    assert lines[2] == LONG
    assert lines[3].split() == ["2,412", "■", "halt", "0.200", "quarantined", "(trial)"]
    assert lines[1].index("rows") + 4 == lines[3].index("2,412") + 5


def test_short_reasons_stand_beside_their_rows_on_a_wide_screen(said, monkeypatch):
    terminal(monkeypatch, 200)
    console.outcomes(outcomes("b.1"))
    assert len(said()) == 3


def test_nothing_is_printed_of_nothing(capsys):
    console.outcomes([])
    console.entries([])
    console.findings([])
    assert capsys.readouterr().out == ""


def test_entries_are_sentences_with_their_place_time_and_writer(said):
    console.entries([Entry(12, "i", AT, "eva", Reset("agreed"))])
    assert said() == [
        "entry  at (UTC)             by   what",
        "   12  2026-03-08 06:00:00  eva  The breaker was closed by hand: agreed.",
    ]


def test_that_an_alert_is_being_sent_is_not_told(said):
    console.entries([Entry(12, "i", AT, "eva", AlertTaken(7)), Entry(13, "j", AT, "eva", Reset("agreed"))])
    assert [line.split()[0] for line in said()] == ["entry", "13"]


def test_text_in_brackets_is_no_markup(said):
    console.line("[red]not red[/] :warning:")
    console.table(["a"], [["[bold]b[/]"]])
    assert said() == ["[red]not red[/] :warning:", "a", "[bold]b[/]"]


def test_findings_say_what_to_do_below(said, screen):
    console.findings([Finding(True, "well"), Finding(False, "a " * 60, "mend it " * 20)])
    lines = said()
    assert lines[0] == "ok     well"
    assert lines[1].startswith("wrong  a a")
    assert lines[2].startswith("       a a")
    assert lines[3].startswith("       mend it")
    assert all(len(line) <= 80 for line in lines)


def test_what_is_well_but_lacks_something_is_a_note(said):
    console.findings([Finding(True, "no versions are kept", "turn them on")])
    assert said() == ["note   no versions are kept", "       turn them on"]


def test_an_error_goes_to_the_other_stream(capsys):
    console.complain("no [such] thing")
    assert capsys.readouterr() == ("", "error: no [such] thing\n")


def test_documents_are_json_even_with_a_nan_inside(capsys):
    console.document({"value": float("nan"), "name": "größe", "state": State()})
    printed = json.loads(capsys.readouterr().out)
    assert (printed["value"], printed["name"], printed["state"]["breaker"]["status"]) == (None, "größe", "closed")


def test_an_entry_as_json_is_one_flat_object():
    found = console.entry(Entry(12, "i", AT, "eva", Reset("agreed")))
    assert found == {"seq": 12, "at": AT, "by": "eva", "kind": "reset", "reason": "agreed"}
    assert console.outcome(Entry(12, "i", AT, "eva", Reset("agreed"))) is None


def test_many_waiting_batches_are_counted_and_the_first_named():
    assert console.listed([f"{i}.csv" for i in range(7)]) == "7 batches: 0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 2 more"


def test_the_status_of_a_new_project_says_what_to_do(said):
    console.status("shop", State(), [], "")
    assert said() == [
        "shop  breaker closed",
        "  champion    none: fuseline train shop",
        "  published   0 batches",
        "  waiting     none",
    ]


def test_the_status_tells_a_wanted_retrain_and_whether_it_is_taken_up(said):
    asked = State().apply(Entry(1, "i", AT, "me", RetrainAsked("AUC fell")))
    console.status("shop", asked, [], "")
    assert said()[-1] == "  retrain     asked for: AUC fell"
    console.status("shop", asked._taken("TrainingFlow/7", AT), [], "")
    assert said()[-1] == "  retrain     taken up: AUC fell"


SPIN = """
import time
from fuseline import console
with console.working("TrainingFlow for shop") as progress:
    progress("train")
    time.sleep(0.2)
"""


def test_the_step_is_shown_on_a_terminal_and_never_on_stdout():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    run = subprocess.run(
        [sys.executable, "-c", SPIN], env=environment, stdout=subprocess.PIPE, stderr=theirs, check=True
    )
    assert run.stdout == b""
    assert b"TrainingFlow for shop: train" in os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)


def test_the_step_is_silent_where_nobody_looks(capsys):
    with console.working("TrainingFlow for shop") as progress:
        progress("train")
    assert capsys.readouterr() == ("", "")
