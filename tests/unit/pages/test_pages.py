from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fuseline import records as r
from fuseline.figures import ProjectFacts
from fuseline.opinion import Column, Opinion
from fuseline.pages import CardLink, Live, Second, Standing, Trouble, inline_digest, overview, problem, run


def test_every_batch_with_an_outcome_has_a_page(lore: Any, told: Any, made: dict[str, str]) -> None:
    settled = {e.event.batch for e in told.entries if isinstance(e.event, r.Published | r.Quarantined)}
    assert set(made) == {"index.html", *(f"batches/{b}.html" for b in settled)}


def test_every_page_is_well_formed_and_needs_no_network(lore: Any, made: dict[str, str]) -> None:
    for path, text in made.items():
        page = lore.Page(text)
        assert len(page.ids) == len(set(page.ids)), path
        assert "script" not in page.seen
        assert not [link for link in page.links if link.startswith(("http", "//"))]
        assert "@import" not in text and "url(" not in text


def test_links_of_the_dashboard_lead_to_pages(lore: Any, made: dict[str, str]) -> None:
    links = [link for link in lore.Page(made["index.html"]).links if link.startswith("batches/")]
    assert len(links) > 40
    assert set(links) <= set(made)


def test_the_dashboard_has_its_parts_in_order(made: dict[str, str]) -> None:
    page = made["index.html"]
    parts = ["<header", 'class="figures"', *(f'id="h-{n}"' for n in ("timeline", "charts", "quarantine"))]
    parts += ['id="h-batches"', 'id="h-versions"', 'id="h-ledger"', "<footer"]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)


def test_a_closed_breaker_says_publishing(lore: Any, made: dict[str, str]) -> None:
    said = lore.words(made["index.html"])
    assert "Publishing" in said
    assert "has been closed since" in said
    assert "one is expected every 24 h" in said


def test_an_open_breaker_says_until_when_and_how_to_close_it(lore: Any) -> None:
    s = lore.story()
    s.stop("2026-03-12", "v0003", lore.HALT, r.Trip("2026-03-14T06:00:00+00:00"))
    said = lore.words(s.pages()["index.html"])
    assert "Held back" in said
    assert lore.HALT.sentence in said
    assert "It cools down until 14 Mar 2026, 06:00 UTC" in said
    assert "fuseline breaker reset bookings --reason" in said
    assert "The cool-down ended 14 Mar 2026, 06:00 UTC" in lore.words(s.pages(hours=72)["index.html"])


def test_a_half_open_breaker_counts_its_trials(lore: Any) -> None:
    s = lore.story()
    s.stop("2026-03-12", "v0003", lore.HALT, r.Trip("2026-03-14T06:00:00+00:00", trials=3))
    s.say(r.HalfOpened("the cool-down is over"), hours=48)
    s.publish("2026-03-15", "v0003", lore.PASS, "trial")
    said = lore.words(s.pages()["index.html"])
    assert "On trial" in said
    assert "1 of 3 trials passed" in said


def test_labels_that_trip_wait_for_a_new_champion(lore: Any) -> None:
    s = lore.story()
    s.labels([e.event.batch for e in s.entries if isinstance(e.event, r.Published)][-3:], "v0003", 0.85, halt=True)
    page = s.pages()["index.html"]
    assert "It waits for a new champion, which has been asked for" in lore.words(page)
    assert "Asked for" in lore.words(page)
    assert 'class="cut trip open"' in lore.section(page, "timeline")
    s.say(r.TrainingStarted("TrainingFlow/15"))
    assert "Running since" in lore.words(s.pages()["index.html"])


def test_a_line_that_was_silent_too_long_is_late(lore: Any, told: Any, made: dict[str, str]) -> None:
    mark = '<b class="warn">late</b>, one is expected every 24 h'
    assert mark not in made["index.html"]
    assert mark in told.pages(hours=40)["index.html"]
    assert mark not in told.pages(None, hours=40)["index.html"]


def test_without_a_version_the_dashboard_says_to_train(lore: Any) -> None:
    made = lore.Story().pages()
    assert list(made) == ["index.html"]
    said = lore.words(made["index.html"])
    assert "Not started" in said
    assert "fuseline train bookings" in said
    assert "The ledger is empty" in said


def test_without_a_batch_the_dashboard_says_where_to_put_one(lore: Any) -> None:
    s = lore.Story()
    s.train("v0001", 0.912)
    assert "waits for the gate" in lore.words(s.pages()["index.html"])
    s.champion("v0001", None)
    said = lore.words(s.pages(None)["index.html"])
    assert "The first batch is scored when its file arrives in inbox/bookings/" in said
    assert "never was open" in said


def test_a_version_without_a_known_metric_is_shown_all_the_same(lore: Any) -> None:
    s = lore.Story()
    s.say(r.Registered("v0001", "d" * 64, {"log_loss": 0.4}))
    s.champion("v0001", None)
    s.publish("2026-02-11", "v0001", lore.PASS)
    assert "log_loss 0.400" in lore.words(lore.section(s.pages()["index.html"], "versions"))


def test_the_timeline_tells_verdicts_by_shape_and_publication_by_filling(lore: Any, made: dict[str, str]) -> None:
    line = lore.section(made["index.html"], "timeline")
    assert {"#pass", "#warn", "#halt-held", "#inconclusive-held"} <= set(lore.Page(f"<div {line}</div>").links)
    assert line.count('<li class="open">') == 2  # the halt, and the trial that failed
    assert line.count('<li class="half_open">') == 2  # the trials that passed
    assert "2026-02-20: halt, not published. price_eur is 100 times larger" in line


def test_the_dashboard_shows_no_more_than_the_last_batches(lore: Any) -> None:
    s = lore.Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    for i in range(75):
        s.publish(f"day-{i:03d}", "v0001", lore.PASS)
    made = s.pages()
    page = made["index.html"]
    assert len(made) == 76
    assert lore.section(page, "timeline").count("<li ") == 60
    assert lore.section(page, "batches").count("<tr>") == 62
    assert "day-014" not in page and "day-015" in page
    assert "40 earlier batches" in page
    assert len(page) < 150_000


def test_quarantine_says_what_to_do(lore: Any, told: Any, made: dict[str, str]) -> None:
    part = lore.words(lore.section(made["index.html"], "quarantine"))
    batch = next(iter(told.state.with_status("quarantined")))
    assert "1 batch that nobody reads" in part
    assert lore.LOST.sentence in part
    assert f'fuseline replay bookings {batch} --reason "…" --with repaired.parquet' in part.replace("&#34;", '"')
    assert f'fuseline replay bookings {batch} --reason "…" --drop' in part.replace("&#34;", '"')


def test_a_batch_that_the_model_failed_waits_for_a_champion(lore: Any) -> None:
    s = lore.story()
    cause = r.Cause("model", "predict raised ValueError", fault="model")
    batch = s.stop("2026-03-12", "v0003", r.Assessment("halt", None, (cause,)), None)
    made = s.pages()
    assert "When there is a new champion, score it again" in lore.words(lore.section(made["index.html"], "quarantine"))
    page = lore.words(made[f"batches/{batch}.html"])
    assert "to be mended the model" in page
    assert "--with" not in page
    assert "It was stopped before any figure was compared" in page


@pytest.mark.parametrize("status", ["withdrawn", "dropped", "replaced"])
def test_what_became_of_a_batch_stands_in_the_table(lore: Any, made: dict[str, str], status: str) -> None:
    assert status in lore.words(lore.section(made["index.html"], "batches"))


def test_versions_name_what_the_gate_found(lore: Any, made: dict[str, str]) -> None:
    part = lore.words(lore.section(made["index.html"], "versions"))
    assert "AUC 0.921 ± 0.004" in part
    assert "0.012 worse than v0001" in part
    assert "What the gate checked of v0002" in part
    assert "fuseline promote bookings v0002 --reason" in part


def test_the_newest_entries_come_first_and_are_fifteen(lore: Any, told: Any, made: dict[str, str]) -> None:
    numbers = [int(n) for n in re.findall(r'id="entry-(\d+)"', made["index.html"])]
    assert numbers == list(range(len(told.entries), len(told.entries) - 15, -1))


def test_text_from_data_is_escaped(lore: Any) -> None:
    evil = "<script>alert('x')</script>"
    s = lore.Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None, evil)
    cause = r.Cause("distance", f"{evil} moved", evil, 0.1, 0.01, 0.1)
    figures = {evil: 1.0}
    assessment = r.Assessment("halt", 0.1, (cause,), (r.Check(evil, 0.1, 0.01, evil),), figures)
    assessment = replace(assessment, worlds=(r.Explanation(f"{evil} is rescaled", (evil,), 0.9, 1.0, 1.0, 0.1),))
    s.stop(evil.replace("/", ""), "v0001", assessment, r.Trip(None))
    s.publish("2026-02-11", "v0001", assessment, "fallback")
    opinion = Opinion((Column(evil, evil, 0.2, 0.1, False),), {f"{evil}2": evil}, 0.0, 5, 5, 0.1, evil)
    seconds = {batch: Second(opinion, "../x.html") for batch in s.state.batches}
    made = s.pages(ProjectFacts(evil, "auc", 0.02, 24.0), seconds=seconds, project=evil)
    for page in made.values():
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        lore.Page(page)


def test_the_pages_depend_on_nothing_but_what_is_given(lore: Any, told: Any) -> None:
    assert told.pages() == told.pages()


# ── what needs a person ──────────────────────────────────────────────────────────────────────────


def test_where_all_is_well_nothing_needs_a_person(made: dict[str, str]) -> None:
    assert "What needs a person" not in made["index.html"]


def test_a_flow_that_fails_stands_on_the_page_until_it_works_again(lore: Any) -> None:
    s = lore.story()
    s.say(r.Failed("InferenceFlow", "the store cannot be reached\nsecond line"), "mara")
    part = lore.section(s.pages()["index.html"], "needs")
    assert "InferenceFlow fails InferenceFlow failed: the store cannot be reached." in lore.words(part)
    assert "fuseline infer bookings" in part
    assert "second line" not in part
    s.say(r.Mended("InferenceFlow"), "mara")
    assert "What needs a person" not in s.pages()["index.html"]


def unsent(lore: Any) -> tuple[Any, int]:
    """A story that ends with a trip, of which nobody has been told; with the number of its entry."""
    s = lore.story()
    s.stop("2026-03-12", "v0003", lore.HALT, r.Trip(None))
    return s, len(s.entries)


def test_an_alert_that_nobody_tried_to_send_is_not_shown(lore: Any) -> None:
    s, of = unsent(lore)
    assert of in s.state.alerts
    assert "What needs a person" not in s.pages()["index.html"]


def test_an_alert_that_did_not_arrive_says_where_why_and_when_it_is_tried_again(lore: Any) -> None:
    s, of = unsent(lore)
    for hours in (0.1, 0.5):
        s.say(r.AlertTaken(of), "mara", hours)
        s.say(
            r.AlertTried(of, ("sns:people",) if hours > 0.1 else (), {"slack:b": "no such <channel>"}, False), "mara", 0
        )
    part = lore.section(s.pages(hours=0)["index.html"], "needs")
    said = lore.words(part)
    assert "1 alert did not arrive" in said
    assert "verdict halt: price_eur is 100 times larger" in said
    assert f"entry {of}, " in said
    assert "slack:b no such &lt;channel&gt; 2 in 2 min" in said
    assert "sns:people" not in said
    assert "2 with the next run" in lore.words(lore.section(s.pages(hours=1)["index.html"], "needs"))
    s.say(r.AlertTaken(of), "mara")
    assert "3 now" in lore.words(lore.section(s.pages(hours=0)["index.html"], "needs"))
    s.say(r.AlertTried(of, ("slack:b",), {}, True), "mara")
    assert "What needs a person" not in s.pages()["index.html"]


def test_that_an_alert_is_being_sent_is_no_news(lore: Any) -> None:
    s, of = unsent(lore)
    for _ in range(20):
        s.say(r.AlertTaken(of), "mara")
    s.say(r.AlertTried(of, (), {"slack:b": "no"}, False), "mara")
    numbers = [int(n) for n in re.findall(r'id="entry-(\d+)"', s.pages()["index.html"])]
    assert len(numbers) == 15
    assert numbers[:3] == [len(s.entries), of, of - 1]


# ── live pages ───────────────────────────────────────────────────────────────────────────────────


def body(page: str) -> str:
    return page.split("<main>")[1].split("</main>")[0]


def test_a_live_page_says_what_the_file_says(lore: Any, told: Any, made: dict[str, str]) -> None:
    live = told.pages(live=Live())
    assert set(live) == set(made)
    for path, page in live.items():
        lore.Page(page)
        assert lore.words(body(page)) == lore.words(body(made[path]))
        assert page.count("<script>") == page.count('http-equiv="refresh"') == 1


def test_only_live_pages_link_runs(lore: Any, told: Any, made: dict[str, str]) -> None:
    assert not [link for page in made.values() for link in lore.Page(page).links if "runs/" in link]
    live = told.pages(live=Live())
    assert "runs/InferenceFlow/1771" in lore.Page(live["index.html"]).links
    assert "runs/TrainingFlow/12" in lore.Page(live["index.html"]).links
    batch = next(path for path in live if path != "index.html")
    assert "../runs/InferenceFlow/1771" in lore.Page(live[batch]).links


@pytest.mark.parametrize("by", ["mara", "InferenceFlow/", "InferenceFlow/../x", "OtherFlow/12", "InferenceFlow/1/2"])
def test_who_is_no_run_is_not_linked(lore: Any, by: str) -> None:
    s = lore.Story()
    s.say(r.Tripped("by hand", r.Trip(None)), by)
    assert not [link for link in lore.Page(s.pages(live=Live())["index.html"]).links if "runs/" in link]


def test_several_projects_have_a_way_back(told: Any) -> None:
    live = told.pages(live=Live(several=True))
    assert '<a href="../">all projects</a>' in live["index.html"]
    assert all('<a href="../../">all projects</a>' in page for path, page in live.items() if path != "index.html")
    assert not any("all projects" in page for page in told.pages(live=Live()).values())


TROUBLE = Trouble("the store is <gone>; start it", "2026-03-12T06:00:00+00:00", "2026-03-12T05:58:00+00:00")


def test_what_is_known_from_before_is_not_called_the_present(lore: Any, told: Any) -> None:
    live = told.pages(live=Live(TROUBLE))
    for page in live.values():
        said = lore.words(page)
        assert "cannot be read since 12 Mar 2026, 06:00 UTC; what you see is from 12 Mar 2026, 05:58 UTC." in said
        assert "the store is &lt;gone&gt;; start it" in said
    said = lore.words(live["index.html"])
    assert "Unknown When it was read last: publishing ." in said
    assert "What happens next" not in said
    assert "<title>bookings: Unknown</title>" in live["index.html"]


def test_a_page_styles_and_runs_nothing_but_what_its_digests_name(lore: Any, told: Any) -> None:
    for page in told.pages(live=Live(TROUBLE, True)).values():
        assert not [name for name in lore.Page(page).attributes if name == "style" or name.startswith("on")]
        for name, tag in (("style.css", "style"), ("live.js", "script")):
            text = page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert inline_digest(name) == f"'sha256-{digest}'"


# ── pages of the server as a whole ───────────────────────────────────────────────────────────────


def test_the_page_of_all_projects_says_where_each_stands(lore: Any, told: Any) -> None:
    s, _ = unsent(lore)
    s.say(r.Failed("TrainingFlow", "no rows"))
    standings = [
        Standing("bookings", told.chronicle, lore.FACTS, None),
        Standing("claims & <co>", s.chronicle, lore.FACTS, None),
        Standing("new", lore.Story().chronicle, None, None),
        Standing("lost", told.chronicle, lore.FACTS, TROUBLE),
        Standing("unread", None, None, TROUBLE),
    ]
    page = overview(standings, (told.now + timedelta(hours=30)).isoformat()).decode()
    lore.Page(page)
    rows = [lore.words(row) for row in page.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")]
    assert "bookings publishing v0003 30 h ago" in rows[0] and "late" not in rows[0]
    assert "1 in quarantine" in rows[0]  # its file could not be read
    assert "claims &amp; &lt;co&gt; held back v0003" in rows[1]
    assert "halt 2026-03-12 0.094 ■ TrainingFlow fails, 2 in quarantine" in rows[1]
    assert rows[2] == "new not started none none nothing"
    assert "lost ■ cannot be read v0003" in rows[3] and "the store is &lt;gone&gt;; start it" in rows[3]
    assert rows[4] == "unread ■ cannot be read the store is &lt;gone&gt;; start it"
    assert 'href="claims%20%26%20%3Cco%3E/"' in page
    assert "<title>3 of 5 held back or unknown</title>" in page


def test_a_run_shows_what_it_wrote_and_its_cards(lore: Any, told: Any) -> None:
    wrote = [e for e in told.entries if e.by == "FeedbackFlow/31"]
    page = run("bookings", "FeedbackFlow/31", wrote, [CardLink("measure, task 2: blank", "31/1")], "", Live()).decode()
    parsed = lore.Page(page)
    assert lore.section(page, "wrote").count("<li ") == len(wrote) == 3
    assert parsed.links.count("31/1") == 2  # the link, and the frame
    assert '<iframe class="frame" sandbox="allow-scripts" src="31/1"' in page
    none = run("bookings", "FeedbackFlow/31", [], [], "It left <none>.", Live(TROUBLE)).decode()
    assert "It left &lt;none&gt;." in lore.section(none, "cards")
    assert "Nothing of bookings." in lore.section(none, "wrote")


def test_a_problem_is_told_in_the_look_of_the_others(lore: Any) -> None:
    page = problem("Not found", "no <batch> here", "look elsewhere").decode()
    lore.Page(page)
    assert "no &lt;batch&gt; here" in page and "What to do. look elsewhere" in lore.words(page)
    assert "What to do" not in problem("Not found", "no").decode()
