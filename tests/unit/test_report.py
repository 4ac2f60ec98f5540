from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fuseline import records as r
from fuseline.bootstrap import Line
from fuseline.ledger import Ledger, encode
from fuseline.models import Manifest, Window
from fuseline.opinion import Column, Opinion
from fuseline.opinion import encode as written
from fuseline.projects import read_project
from fuseline.report import ProjectFacts, Second, cost_said, fit_said, pages, refresh, write
from fuseline.settings import Settings
from fuseline.state import State, fold
from fuseline.storage import MemoryStore

FACTS = ProjectFacts("status", "auc", 0.02, 24.0)
START = datetime.fromisoformat("2026-02-10T06:00:00+00:00")


class Story:
    """Writes entries as a project would, one batch a day."""

    def __init__(self) -> None:
        self.entries: list[r.Entry] = []
        self.now = START

    @property
    def at(self) -> str:
        return self.now.isoformat()

    def say(self, event: r.Event, by: str = "InferenceFlow/1771", hours: float = 0.1) -> None:
        self.now += timedelta(hours=hours)
        self.entries.append(r.Entry(len(self.entries) + 1, f"{len(self.entries):016x}", self.at, by, event))

    def train(self, version: str, auc: float) -> None:
        metrics = {"auc": auc, "se": 0.0041, "log_loss": 0.402, "brier": 0.131, "prevalence": 0.272}
        self.say(r.Registered(version, "d" * 64, metrics, "TrainingFlow/12"), "TrainingFlow/12")

    def champion(self, version: str, previous: str | None, reason: str = "passed the gate") -> None:
        self.say(r.Promoted(version, previous, "gate", reason), "TrainingFlow/12")

    def start(self, name: str, version: str, mode: r.Mode = "champion", rows: int = 4_812) -> str:
        self.now += timedelta(hours=23.8)
        digest = hashlib.sha256(f"{name}{len(self.entries)}".encode()).hexdigest()
        batch = f"{name}.{digest[:12]}"
        self.say(r.Started(batch, name, f"{name}.parquet", digest, version, mode, self.at, rows))
        return batch

    def publish(
        self, name: str, version: str, assessment: r.Assessment, mode: r.Mode = "champion", rows: int = 4_812
    ) -> str:
        batch = self.start(name, version, mode, rows)
        self.settle(batch, version, assessment, mode, rows)
        return batch

    def settle(self, batch: str, version: str, assessment: r.Assessment, mode: r.Mode, rows: int) -> None:
        rejected = rows % 7
        scored = rows - rejected
        self.say(r.Published(batch, "a1", version, mode, scored, rejected, self.at, "e" * 64, assessment, "run/1771"))

    def stop(
        self, name: str, version: str, assessment: r.Assessment, trip: r.Trip | None, mode: r.Mode = "champion"
    ) -> str:
        batch = self.start(name, version, mode)
        file = f"{name}.parquet"
        event = r.Quarantined(batch, name, file, "a1", version, mode, 4_700, 112, assessment, trip, "run/1772")
        self.say(event)
        return batch

    def labels(self, batches: list[str], version: str, value: float, *, halt: bool = False) -> None:
        measured = [r.BatchMeasured(b, version, 900, value + (i % 3 - 1) * 0.004, 0.011) for i, b in enumerate(batches)]
        sentence = f"labels of 2,700 rows say AUC {value:.3f} ± 0.006; {version} had 0.912 when it was trained"
        cause = r.Cause("labels", sentence, None, value, 0.892, 0.912 - value, "model", "halt")
        event = r.Labelled(
            files={f"labels-{len(self.entries)}.parquet": "f" * 64},
            batches=tuple(measured),
            unmatched=3,
            version=version,
            pooled=r.Measured("auc", value, 0.006, 2_700),
            reference=0.912,
            bound=0.892,
            verdict="halt" if halt else "pass",
            causes=(cause,) if halt else (),
            trip=r.Trip(None) if halt else None,
            retrain=halt,
        )
        self.say(event, "FeedbackFlow/31")

    @property
    def state(self) -> State:
        return fold(self.entries)

    def pages(self, facts: ProjectFacts | None = FACTS, hours: float = 5) -> dict[str, str]:
        now = (self.now + timedelta(hours=hours)).isoformat()
        made = pages("bookings", facts, self.state, self.entries, now)
        return {path: page.decode() for path, page in made.items()}


def checks(price: float = 0.021) -> tuple[r.Check, ...]:
    columns = ["lead_time", "adults", "children", "price_eur", "country", "channel", "deposit", "score"]
    distances = [0.011, 0.018, 0.009, price, 0.024, 0.019, 0.007, 0.016]
    return (
        r.Check("rejected rows", 0.0012, 0.05),
        r.Check("repeated ids", 0.0, 0.001),
        *(r.Check("triangular discrimination", d, 0.041, c) for c, d in zip(columns, distances, strict=True)),
        r.Check("expected_revenue_eur_per_booking", 412.3, 50.0, at_least=True),
        r.Check("expected_revenue_eur_per_booking", 412.3, 1000.0),
    )


BUSINESS = {"expected_revenue_eur_per_booking": 412.3, "share_flagged": 0.183}
PASS = r.Assessment("pass", 0.0, (), checks(), BUSINESS)
WARN = r.Assessment(
    "warn",
    0.003,
    (
        r.Cause(
            "distance",
            "country: 31% of the rows are FR, 12% on the reference; no harm is expected of it",
            "country",
            0.003,
            0.01,
            0.003,
            level="warn",
        ),
    ),
    checks(),
    BUSINESS,
)
HALT = r.Assessment(
    "halt",
    0.094,
    (
        r.Cause(
            "distance",
            "price_eur is 100 times larger than on the reference: AUC would fall from 0.912 to 0.818",
            "price_eur",
            0.094,
            0.01,
            0.094,
        ),
        r.Cause(
            "rejected", "112 of 4,812 rows were rejected: price_eur out of range (112)", None, 0.023, 0.05, level="warn"
        ),
    ),
    checks(0.47),
    BUSINESS,
)
LOST = r.Assessment(
    "inconclusive", None, (r.Cause("unreadable", "2026-02-27.parquet is truncated", level="inconclusive"),)
)


def story() -> Story:
    """Four weeks: a price in cents, a hold, a repair; a market that moves, labels that say so, a new champion."""
    s = Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None, "auc 0.912 is at least 0.70")
    names = [(START + timedelta(days=i)).date().isoformat() for i in range(1, 40)]
    early = [s.publish(n, "v0001", WARN if i == 3 else PASS, rows=4_600 + 37 * i) for i, n in enumerate(names[:9])]
    s.labels(early[:6], "v0001", 0.909)
    halted = s.stop(names[9], "v0001", HALT, r.Trip((s.now + timedelta(hours=48)).isoformat()))
    s.say(r.HalfOpened("the cool-down is over"), hours=24)
    failed = s.stop(names[11], "v0001", HALT, r.Trip((s.now + timedelta(hours=72)).isoformat()), "trial")
    s.say(r.HalfOpened("the cool-down is over"), hours=48)
    s.publish(names[14], "v0001", PASS, "trial")
    s.say(r.Replayed(halted, "prices are in euros again", f"{names[9]}.0123456789ab"), "mara")
    s.publish(names[9], "v0001", PASS)
    s.say(r.Dropped(failed, "the supplier sent it again under another name"), "mara")
    s.stop(names[15], "v0001", LOST, None)
    late = [s.publish(n, "v0001", PASS, rows=4_400 + 91 * i) for i, n in enumerate(names[16:22])]
    s.train("v0002", 0.897)
    s.say(
        r.Held(
            "v0002",
            ("AUC 0.897 on the champion's rows, 0.012 worse than v0001",),
            (
                r.Check("auc", 0.897, 0.70, at_least=True),
                r.Check("difference from the champion", -0.012, 0.0, at_least=True),
            ),
        ),
        "TrainingFlow/13",
    )
    s.labels(late, "v0001", 0.868, halt=True)
    s.say(r.Withdrawn(late[-1], "its labels condemn it"), "mara")
    s.say(r.TrainingStarted("TrainingFlow/14"), "TrainingFlow/14")
    s.train("v0003", 0.921)
    s.champion("v0003", "v0001", "0.031 ± 0.008 better than v0001 on the same rows")
    s.publish(names[23], "v0003", PASS, "trial")
    for i, n in enumerate(names[24:29]):
        s.publish(n, "v0003", WARN if i == 2 else PASS, rows=5_000 + 61 * i)
    s.labels([e.event.batch for e in s.entries[-10:] if isinstance(e.event, r.Published)], "v0003", 0.918)
    return s


class Page(HTMLParser):
    """What a page holds: its balanced tags, its ids and where it points to."""

    VOID = ("meta", "link", "br", "use", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        said = dict(attrs)
        self.ids += [said["id"] or ""] if "id" in said else []
        self.links += [said[k] or "" for k in ("href", "src") if k in said]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def told() -> Story:
    return story()


@pytest.fixture(scope="module")
def made(told: Story) -> dict[str, str]:
    return told.pages()


def section(page: str, name: str) -> str:
    return page.split(f'aria-labelledby="h-{name}"')[1].split("</section>")[0]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_every_batch_with_an_outcome_has_a_page(told: Story, made: dict[str, str]) -> None:
    settled = {e.event.batch for e in told.entries if isinstance(e.event, r.Published | r.Quarantined)}
    assert set(made) == {"index.html", *(f"batches/{b}.html" for b in settled)}


def test_every_page_is_well_formed_and_needs_no_network(made: dict[str, str]) -> None:
    for path, text in made.items():
        page = Page(text)
        assert len(page.ids) == len(set(page.ids)), path
        assert "script" not in page.seen
        assert not [link for link in page.links if link.startswith(("http", "//"))]
        assert "@import" not in text and "url(" not in text


def test_links_of_the_dashboard_lead_to_pages(made: dict[str, str]) -> None:
    links = [link for link in Page(made["index.html"]).links if link.startswith("batches/")]
    assert len(links) > 40
    assert set(links) <= set(made)


def test_the_dashboard_has_its_parts_in_order(made: dict[str, str]) -> None:
    page = made["index.html"]
    parts = ["<header", 'class="figures"', *(f'id="h-{n}"' for n in ("timeline", "charts", "quarantine"))]
    parts += ['id="h-batches"', 'id="h-versions"', 'id="h-ledger"', "<footer"]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)


def test_a_closed_breaker_says_publishing(made: dict[str, str]) -> None:
    said = words(made["index.html"])
    assert "Publishing" in said
    assert "has been closed since" in said
    assert "one is expected every 24 h" in said


def test_an_open_breaker_says_until_when_and_how_to_close_it() -> None:
    s = story()
    s.stop("2026-03-12", "v0003", HALT, r.Trip("2026-03-14T06:00:00+00:00"))
    said = words(s.pages()["index.html"])
    assert "Held back" in said
    assert HALT.sentence in said
    assert "It cools down until 14 Mar 2026, 06:00 UTC" in said
    assert "fuseline breaker reset bookings --reason" in said
    assert "The cool-down ended 14 Mar 2026, 06:00 UTC" in words(s.pages(hours=72)["index.html"])


def test_a_half_open_breaker_counts_its_trials() -> None:
    s = story()
    s.stop("2026-03-12", "v0003", HALT, r.Trip("2026-03-14T06:00:00+00:00", trials=3))
    s.say(r.HalfOpened("the cool-down is over"), hours=48)
    s.publish("2026-03-15", "v0003", PASS, "trial")
    said = words(s.pages()["index.html"])
    assert "On trial" in said
    assert "1 of 3 trials passed" in said


def test_labels_that_trip_wait_for_a_new_champion() -> None:
    s = story()
    s.labels([e.event.batch for e in s.entries if isinstance(e.event, r.Published)][-3:], "v0003", 0.85, halt=True)
    page = s.pages()["index.html"]
    assert "It waits for a new champion, which has been asked for" in words(page)
    assert "Asked for" in words(page)
    assert 'class="cut trip open"' in section(page, "timeline")
    s.say(r.TrainingStarted("TrainingFlow/15"))
    assert "Running since" in words(s.pages()["index.html"])


def test_a_line_that_was_silent_too_long_is_late(told: Story, made: dict[str, str]) -> None:
    mark = '<b class="warn">late</b>, one is expected every 24 h'
    assert mark not in made["index.html"]
    assert mark in told.pages(hours=40)["index.html"]
    assert mark not in told.pages(None, hours=40)["index.html"]


def test_without_a_version_the_dashboard_says_to_train() -> None:
    made = Story().pages()
    assert list(made) == ["index.html"]
    said = words(made["index.html"])
    assert "Not started" in said
    assert "fuseline train bookings" in said
    assert "The ledger is empty" in said


def test_without_a_batch_the_dashboard_says_where_to_put_one() -> None:
    s = Story()
    s.train("v0001", 0.912)
    assert "waits for the gate" in words(s.pages()["index.html"])
    s.champion("v0001", None)
    said = words(s.pages(None)["index.html"])
    assert "The first batch is scored when its file arrives in inbox/bookings/" in said
    assert "never was open" in said


def test_a_version_without_a_known_metric_is_shown_all_the_same() -> None:
    s = Story()
    s.say(r.Registered("v0001", "d" * 64, {"log_loss": 0.4}))
    s.champion("v0001", None)
    s.publish("2026-02-11", "v0001", PASS)
    assert "log_loss 0.400" in words(section(s.pages()["index.html"], "versions"))


def test_the_timeline_tells_verdicts_by_shape_and_publication_by_filling(made: dict[str, str]) -> None:
    line = section(made["index.html"], "timeline")
    assert {"#pass", "#warn", "#halt-held", "#inconclusive-held"} <= set(Page(f"<div {line}</div>").links)
    assert line.count('<li class="open">') == 2  # the halt, and the trial that failed
    assert line.count('<li class="half_open">') == 2  # the trials that passed
    assert "2026-02-20: halt, not published. price_eur is 100 times larger" in line


def test_the_dashboard_shows_no_more_than_the_last_batches() -> None:
    s = Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    for i in range(75):
        s.publish(f"day-{i:03d}", "v0001", PASS)
    made = s.pages()
    page = made["index.html"]
    assert len(made) == 76
    assert section(page, "timeline").count("<li ") == 60
    assert section(page, "batches").count("<tr>") == 62
    assert "day-014" not in page and "day-015" in page
    assert "40 earlier batches" in page
    assert len(page) < 150_000


def test_quarantine_says_what_to_do(told: Story, made: dict[str, str]) -> None:
    part = words(section(made["index.html"], "quarantine"))
    batch = next(iter(told.state.with_status("quarantined")))
    assert "1 batch that nobody reads" in part
    assert LOST.sentence in part
    assert f'fuseline replay bookings {batch} --reason "…" --with repaired.parquet' in part.replace("&#34;", '"')
    assert f'fuseline replay bookings {batch} --reason "…" --drop' in part.replace("&#34;", '"')


def test_a_batch_that_the_model_failed_waits_for_a_champion() -> None:
    s = story()
    cause = r.Cause("model", "predict raised ValueError", fault="model")
    batch = s.stop("2026-03-12", "v0003", r.Assessment("halt", None, (cause,)), None)
    made = s.pages()
    assert "When there is a new champion, score it again" in words(section(made["index.html"], "quarantine"))
    page = words(made[f"batches/{batch}.html"])
    assert "to be mended the model" in page
    assert "--with" not in page
    assert "It was stopped before any figure was compared" in page


def test_the_charts_show_the_metric_its_reference_and_its_limit(made: dict[str, str]) -> None:
    part = section(made["index.html"], "charts")
    assert part.count('class="dot" cx') == 17
    assert part.count('class="reference" x1') == 2  # a step for each of two champions
    assert part.count('class="limit" x1') == 3  # likewise, and the one of harm
    assert "2026-02-11: 0.905 ± 0.011 on 900 labelled rows" in part


def test_without_labels_the_chart_says_how_to_bring_them() -> None:
    s = Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    s.publish("2026-02-11", "v0001", PASS)
    assert "labels/bookings/" in section(s.pages()["index.html"], "charts")


def test_the_limit_of_a_regression_is_above_its_reference() -> None:
    s = Story()
    s.say(r.Registered("v0001", "d" * 64, {"rmse": 100.0, "se": 2.0}))
    s.champion("v0001", None)
    batch = s.publish("2026-02-11", "v0001", PASS)
    s.labels([batch], "v0001", 110.0)
    made = s.pages(ProjectFacts("cost", "rmse", 0.05, 24.0))
    part = section(made["index.html"], "charts")
    levels = {
        k: float(y) for k, y in re.findall(r'class="(reference|limit)" x1="0%" x2="100%" y1="([\d.]+)"', part)[:2]
    }
    assert levels["limit"] < levels["reference"]  # pixels count from the top
    assert "share of RMSE gained" in made["index.html"]
    assert "share of RMSE gained" in made[f"batches/{batch}.html"]


@pytest.mark.parametrize("status", ["withdrawn", "dropped", "replaced"])
def test_what_became_of_a_batch_stands_in_the_table(made: dict[str, str], status: str) -> None:
    assert status in words(section(made["index.html"], "batches"))


def test_versions_name_what_the_gate_found(made: dict[str, str]) -> None:
    part = words(section(made["index.html"], "versions"))
    assert "AUC 0.921 ± 0.004" in part
    assert "0.012 worse than v0001" in part
    assert "What the gate checked of v0002" in part
    assert "fuseline promote bookings v0002 --reason" in part


def test_the_newest_entries_come_first_and_are_fifteen(told: Story, made: dict[str, str]) -> None:
    numbers = [int(n) for n in re.findall(r'id="entry-(\d+)"', made["index.html"])]
    assert numbers == list(range(len(told.entries), len(told.entries) - 15, -1))


def test_the_page_of_a_halted_batch_says_why(told: Story, made: dict[str, str]) -> None:
    batch = next(b for b, k in told.state.batches.items() if k.status == "replaced")
    page = made[f"batches/{batch}.html"]
    said = words(page)
    assert "Halted" in said
    assert "a repaired file took its place" in said
    assert "column price_eur observed 0.094 against 0.01 harm 0.094 to be mended the data" in said
    assert "112 rejected (2.33 %)" in said
    assert "expected_revenue_eur_per_booking 412 50 to 1,000" in said
    assert section(page, "checks").index("beyond") < section(page, "checks").index("within")
    assert "price_eur 0.47 ≤ 0.041" in words(section(page, "checks"))
    assert "is replaced by the repaired" in words(section(page, "history"))


def test_a_figure_below_its_bound_is_marked() -> None:
    s = story()
    low = (r.Check("revenue", 10.0, 50.0, at_least=True), r.Check("share", 0.9, 0.6), r.Check("lost", None, 1.0))
    assessment = r.Assessment(
        "halt", None, (r.Cause("business", "revenue is 10"),), low, {"revenue": 10.0, "share": 0.9}
    )
    page = s.pages()
    batch = s.stop("2026-03-12", "v0003", assessment, None)
    page = s.pages(None)[f"batches/{batch}.html"]
    assert "revenue ■ 10 at least 50" in words(section(page, "business"))
    assert "share ■ 0.9 at most 0.6" in words(section(page, "business"))
    assert "lost — ≤ 1 ◆ not judged" in words(section(page, "checks"))
    assert "could not be estimated" in words(page)


def page_of(assessment: r.Assessment, facts: ProjectFacts | None = FACTS) -> str:
    s = story()
    batch = s.stop("2026-03-12", "v0003", assessment, None)
    page = s.pages(facts)[f"batches/{batch}.html"]
    Page(page)
    return page


WORLDS = (
    r.Explanation("price_eur is rescaled or shifted", ("price_eur",), 0.62, 28.0, 40.0, 0.1834),
    r.Explanation("another mix of the same kind of rows (by price_eur)", (), 0.17, 62.7, 40.0, -0.01),
    r.Explanation("another mix of the same kind of rows (by price_eur)", (), 0.17, 480.0, 40.0, 0.01),
    r.Explanation("some values of price_eur are replaced", ("price_eur",), 0.004, 480.0, 40.0, 0.0001),
)


def test_what_may_have_happened_stands_with_its_belief_its_fit_and_its_cost() -> None:
    page = page_of(replace(HALT, worlds=WORLDS))
    part = section(page, "worlds")
    said = words(part)
    assert "price_eur is rescaled or shifted believed to 62 % 62 % as near as chance AUC 0.183 lost" in said
    assert "some values of price_eur are replaced believed to under 1 %" in said
    assert "12 times further than chance nothing lost" in said
    assert 'class="fill" width="62%"' in part
    assert page.index('id="h-why"') < page.index('id="h-worlds"') < page.index('id="h-checks"')


def test_worlds_that_read_alike_are_one() -> None:
    said = words(section(page_of(replace(HALT, worlds=WORLDS)), "worlds"))
    assert said.count("another mix of the same kind of rows (by price_eur)") == 1
    assert "believed to 34 % 34 % 1.6 times further than chance nothing lost" in said


def test_a_batch_without_worlds_has_no_section_of_them(made: dict[str, str]) -> None:
    assert not any('id="h-worlds"' in page for page in made.values())


def test_a_batch_that_nothing_explains_says_so() -> None:
    far = tuple(replace(w, distance=500.0) for w in WORLDS)
    assert "No explanation that was tried comes near this batch" in page_of(replace(HALT, worlds=far))
    assert "No explanation that was tried" not in page_of(replace(HALT, worlds=WORLDS))


def test_the_cost_of_a_world_is_in_the_metric_of_the_version() -> None:
    halt = replace(HALT, worlds=WORLDS)
    assert "RMSE 18.3 % higher" in words(page_of(halt, ProjectFacts("cost", "rmse", 0.05, 24.0)))
    assert "AUC 0.183 lost" in words(page_of(halt, None))
    assert (cost_said(0.1834, None), cost_said(-0.02, "rmse")) == ("metric 0.183 lost", "RMSE 2.0 % lower")
    assert fit_said(3.0, 0.0) == "—"


def test_another_mix_of_rows_is_not_called_broken_data() -> None:
    cause = r.Cause("mix", "country changed, as in another mix of the same kind of rows", None, 0.05, 0.0115, 0.05)
    s = story()
    batch = s.stop("2026-03-12", "v0003", r.Assessment("halt", 0.05, (cause,)), None)
    made = s.pages()
    page = words(made[f"batches/{batch}.html"])
    assert "Nothing in the data looks broken: the model does worse on such rows" in page
    assert "to be mended nothing in the data" in page
    assert "--with" not in page
    quarantine = words(section(made["index.html"], "quarantine"))
    assert "Nothing in the data looks broken: the model does worse on such rows" in quarantine


def test_a_slow_leak_says_how_many_standard_errors_it_is() -> None:
    said = "the null share of price_eur creeps: 4.75% over the last 4 batches v. 3.31% before"
    leak = r.Cause("leak", said, "price_eur", 5.1, 4.4377, level="warn")
    page = words(page_of(r.Assessment("warn", 0.0, (leak,))))
    assert "slow leak, over several batches" in page
    assert "observed 5.1 against 4.44 standard errors" in page


def test_many_columns_that_warn_are_one_card() -> None:
    warns = tuple(replace(WARN.causes[0], sentence=f"column {i} moved", column=f"c{i}") for i in range(4))
    page = page_of(replace(HALT, causes=(HALT.causes[0], *warns)))
    why = section(page, "why")
    assert why.count("<article") == 2
    assert "4 columns changed, too; taken alone" in words(why) and "column 3 moved" in why
    assert section(page_of(replace(WARN, causes=warns[:2])), "why").count("<article") == 2
    assert "4 columns changed; taken alone" in words(section(page_of(replace(WARN, causes=warns)), "why"))


def test_the_page_of_a_batch_shows_what_its_labels_said(told: Story, made: dict[str, str]) -> None:
    batch = next(e.event.batch for e in told.entries if isinstance(e.event, r.Published))
    said = words(section(made[f"batches/{batch}.html"], "labels"))
    assert "0.905 ± 0.011 on 900 labelled rows" in said
    assert "v0001 had AUC 0.912 ± 0.004" in said


def test_labels_that_are_too_few_are_said_to_be() -> None:
    s = Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    batch = s.publish("2026-02-11", "v0001", PASS)
    few = (r.BatchMeasured(batch, "v0001", 12, None, None),)
    s.say(r.Labelled({"l.csv": "f" * 64}, few, 0, "v0001", None, 0.912, None, "pass"))
    assert "Labels of 12 rows came" in words(section(s.pages()[f"batches/{batch}.html"], "labels"))


OPINION = Opinion(
    (
        Column("price_eur", "Wasserstein distance (normed)", 252.6, 0.1, True),
        Column("country", "K-S p_value", 0.003, 0.05, True),
        Column("adults", "Jensen-Shannon distance", None, 0.1, None),
        Column("lead_time", "Jensen-Shannon distance", 0.01, 0.1, False),
        Column("score", "Wasserstein distance (normed)", 0.4, 0.1, True),
    ),
    {"children": "the batch has no value in it"},
    0.6,
    5_000,
    1_303,
    6.3,
    "evidently 0.7.23",
)


def with_opinion(second: Second, assessment: r.Assessment = HALT) -> str:
    s = story()
    batch = s.stop("2026-03-12", "v0003", assessment, None)
    made = pages("bookings", FACTS, s.state, s.entries, s.at, {batch: second})
    assert sum(b'id="h-opinion"' in page for page in made.values()) == 1
    return made[f"batches/{batch}.html"].decode()


def test_a_batch_without_a_second_opinion_says_nothing_of_one(made: dict[str, str]) -> None:
    assert not any("Evidently" in page for page in made.values())


def test_the_figures_of_both_stand_side_by_side_with_a_sentence() -> None:
    page = with_opinion(Second(OPINION, "../evidently/b.a.html"))
    Page(page)
    part = section(page, "opinion")
    said = words(part)
    assert "compares 5,000 rows with 1,303 rows of the reference" in said
    assert (
        f"Evidently calls 3 of 5 columns drifted, and so the whole data set; Fuseline halts: {HALT.sentence}." in said
    )
    assert "Only Evidently calls country and score drifted." in said
    row = "price_eur triangular discrimination 0.47 , bound 0.041 ■ beyond 0.094 Wasserstein distance (normed) 253"
    assert f"{row} , drifts from 0.1 ▲ drifted" in said
    assert "country differ" in said and "K-S p-value 0.003 , drifts below 0.05 ▲ drifted" in said
    assert "children triangular discrimination 0.009 , bound 0.041 ● within left out: the batch has no value" in said
    assert "Jensen-Shannon distance — , drifts from 0.1 no figure" in said
    assert "2 columns on which both are quiet" in said
    assert '<a href="../evidently/b.a.html">' in part
    assert "nan" not in part.lower()
    assert page.index('id="h-opinion"') < page.index('id="h-checks"')


def test_a_sample_is_called_one() -> None:
    few = Opinion(OPINION.columns, {}, 0.6, 1_000, 500)
    assert "compares a sample of 1,000 rows with 500 rows" in words(section(with_opinion(Second(few)), "opinion"))


def test_a_second_opinion_whose_page_is_gone_has_no_link() -> None:
    part = section(with_opinion(Second(OPINION)), "opinion")
    assert "no longer in the store" in part and "<a " not in part


def test_where_both_are_quiet_the_figures_are_open() -> None:
    quiet = Opinion((Column("adults", "Jensen-Shannon distance", 0.01, 0.1, False),), {}, 0.0, 100, 100)
    part = section(with_opinion(Second(quiet), PASS), "opinion")
    assert "Both are quiet" in part and "<details open>" in part


def test_a_second_opinion_that_failed_says_so_and_no_more() -> None:
    part = section(with_opinion(Second(Opinion(error="it was stopped after 120 s"))), "opinion")
    assert "Evidently was asked: it was stopped after 120 s." in words(part)
    assert "The verdict does not depend on it." in part
    assert "<table" not in part


def told_twice(store: MemoryStore) -> tuple[Story, str, str]:
    """A story whose last batch has an opinion in the store; with the keys of the batch's page and of Evidently's."""
    s = story()
    batch = s.stop("2026-03-12", "v0003", HALT, None)
    store.put(f"bookings/batches/{batch}/a1/evidently.json", written(OPINION))
    store.put(f"bookings/batches/{batch}/a1/evidently.html", b"<html>")
    return s, f"bookings/reports/batches/{batch}.html", f"bookings/reports/evidently/{batch}.a1.html"


def test_write_puts_evidentlys_page_where_the_link_leads() -> None:
    store = MemoryStore()
    s, key, copied = told_twice(store)
    assert copied not in write(store, "bookings", stored(s, store), s.at, FACTS)
    (link,) = [link for link in Page(store.get(key).decode()).links if "evidently" in link]
    assert link == f"../evidently/{copied.rpartition('/')[2]}"
    assert store.get(copied) == b"<html>"


def test_evidentlys_page_is_copied_once_and_copied_again_if_it_is_lost() -> None:
    store = MemoryStore()
    s, _, copied = told_twice(store)
    ledger = stored(s, store)
    write(store, "bookings", ledger, s.at, FACTS)
    store.put(copied, b"as it was")
    write(store, "bookings", ledger, s.at, FACTS)
    assert store.get(copied) == b"as it was"
    store.delete(copied)
    write(store, "bookings", ledger, s.at, FACTS)
    assert store.get(copied) == b"<html>"


def test_write_does_without_what_is_lost_or_broken_of_an_opinion() -> None:
    store = MemoryStore()
    s, key, copied = told_twice(store)
    store.delete(f"bookings/batches/{key.rpartition('/')[2].removesuffix('.html')}/a1/evidently.html")
    write(store, "bookings", stored(s, store), s.at, FACTS)
    assert b"no longer in the store" in store.get(key)
    assert not store.exists(copied)
    store.put(f"bookings/batches/{key.rpartition('/')[2].removesuffix('.html')}/a1/evidently.json", b"{")
    write(store, "bookings", stored(s, store), s.at, FACTS)
    assert b"evidently.json cannot be read" in store.get(key)


def test_text_from_data_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    s = Story()
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
    made = pages(evil, ProjectFacts(evil, "auc", 0.02, 24.0), s.state, s.entries, s.at, seconds)
    for page in made.values():
        assert b"<script" not in page
        assert b"&lt;script&gt;" in page
        Page(page.decode())


def test_the_pages_depend_on_nothing_but_what_is_given(told: Story) -> None:
    assert told.pages() == told.pages()


def stored(s: Story, store: MemoryStore) -> Ledger:
    for entry in s.entries:
        store.put(f"bookings/ledger/{entry.seq:08d}.json", encode(entry))
    return Ledger(store, "bookings", lambda: s.at, "nobody")


def test_write_puts_what_pages_makes(told: Story) -> None:
    store = MemoryStore()
    keys = write(store, "bookings", stored(told, store), told.at, FACTS)
    made = pages("bookings", FACTS, told.state, told.entries, told.at)
    assert {k.removeprefix("bookings/reports/") for k in keys} == set(made)
    assert all(store.get(f"bookings/reports/{path}") == page for path, page in made.items())
    assert keys[-1] == "bookings/reports/index.html"


def long_story() -> Story:
    s = Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    for i in range(130):
        s.publish(f"day-{i:03d}", "v0001", PASS)
    return s


def test_a_second_write_leaves_old_batches_alone() -> None:
    s, store = long_story(), MemoryStore()
    ledger = stored(s, store)
    assert len(write(store, "bookings", ledger, s.at, FACTS)) == 131
    assert len(write(store, "bookings", ledger, s.at, FACTS)) == 101  # 200 entries, two for each batch


def test_a_batch_whose_status_changed_is_written_again() -> None:
    s, store = long_story(), MemoryStore()
    write(store, "bookings", stored(s, store), s.at, FACTS)
    batch = next(iter(s.state.batches))
    s.say(r.Withdrawn(batch, "wrong file"))
    assert f"bookings/reports/batches/{batch}.html" in write(store, "bookings", stored(s, store), s.at, FACTS)
    assert b"withdrawn later" in store.get(f"bookings/reports/batches/{batch}.html")


def test_a_page_that_was_lost_is_made_again() -> None:
    s, store = long_story(), MemoryStore()
    ledger = stored(s, store)
    write(store, "bookings", ledger, s.at, FACTS)
    key = f"bookings/reports/batches/{next(iter(s.state.batches))}.html"
    page = store.get(key)
    store.delete(key)
    assert key in write(store, "bookings", ledger, s.at, FACTS)
    assert store.get(key) == page


def test_other_facts_make_every_page_again() -> None:
    s, store = long_story(), MemoryStore()
    ledger = stored(s, store)
    write(store, "bookings", ledger, s.at, FACTS)
    assert len(write(store, "bookings", ledger, s.at)) == 131


def line(folder: Path, toml: str) -> Line:
    (folder / "bookings").mkdir()
    (folder / "bookings" / "project.toml").write_text(toml)
    settings = Settings("memory://", folder, "2026-03-12T06:00:00+00:00")
    return Line(settings, read_project(folder, "bookings"), MemoryStore(), "mara")


def test_refresh_says_nothing_of_a_task_that_is_not_known_yet(tmp_path: Path) -> None:
    here = line(tmp_path, 'target = "status"')
    assert refresh(here) == ["bookings/reports/index.html"]
    assert b"predicts" not in here.store.get("bookings/reports/index.html")


def test_refresh_takes_the_task_from_the_champion(tmp_path: Path) -> None:
    here = line(tmp_path, 'target = "cost"\n[schedule]\nevery_hours = 12')
    metrics = {"rmse": 100.0, "se": 2.0}
    here.models.write(
        Manifest(
            version="v0001",
            project="bookings",
            created_at="2026-03-08T06:00:00+00:00",
            task="regression",
            target="cost",
            classes=(),
            positive="",
            features=("age",),
            metric="rmse",
            metrics=metrics,
            importance={},
            calibration=(),
            artifacts=(),
            files={},
            window=Window(100, 25),
            run="",
            code_digest="",
            lock_digest="",
            libraries={},
        )
    )
    here.ledger.append(lambda state: r.Registered("v0001", "d" * 64, metrics))
    here.ledger.append(lambda state: r.Promoted("v0001", None, "gate", "first"))
    started = r.Started("b.1", "b", "b.csv", "d" * 64, "v0001", "champion", here.settings.clock(), 10)
    here.ledger.append(lambda state: started)
    here.ledger.append(
        lambda state: r.Published(
            "b.1", "a", "v0001", "champion", 10, 0, here.settings.clock(), "e", r.Assessment("pass")
        )
    )
    assert len(refresh(here)) == 2
    page = here.store.get("bookings/reports/index.html").decode()
    assert "predicts <b>cost</b>" in page
    assert "one is expected every 12 h" in page
    assert "tolerance 0.05" in here.store.get("bookings/reports/batches/b.1.html").decode()
