"""A project whose ledger tells a story, and helpers to read the pages that are made of it: the fixture `lore`."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from html.parser import HTMLParser
from types import ModuleType

import pytest

from fuseline import pages
from fuseline import records as r
from fuseline.chronicle import Chronicle
from fuseline.figures import ProjectFacts
from fuseline.ledger import Ledger, encode
from fuseline.opinion import Column, Opinion
from fuseline.pages import Live, Second
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

    @property
    def chronicle(self) -> Chronicle:
        return Chronicle(self.entries)

    def pages(
        self,
        facts: ProjectFacts | None = FACTS,
        hours: float = 5,
        seconds: Mapping[str, Second] | None = None,
        live: Live | None = None,
        project: str = "bookings",
    ) -> dict[str, str]:
        """All pages by their path, made `hours` after the last entry."""
        now, told = (self.now + timedelta(hours=hours)).isoformat(), self.chronicle
        made = {"index.html": pages.dashboard(project, facts, told, now, live)}
        for batch in told.batches:
            second = (seconds or {}).get(batch)
            made[f"batches/{batch}.html"] = pages.batch(project, facts, told, batch, second, live)
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


WORLDS = (
    r.Explanation("price_eur is rescaled or shifted", ("price_eur",), 0.62, 28.0, 40.0, 0.1834),
    r.Explanation("another mix of the same kind of rows (by price_eur)", (), 0.17, 62.7, 40.0, -0.01),
    r.Explanation("another mix of the same kind of rows (by price_eur)", (), 0.17, 480.0, 40.0, 0.01),
    r.Explanation("some values of price_eur are replaced", ("price_eur",), 0.004, 480.0, 40.0, 0.0001),
)


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


def long_story() -> Story:
    s = Story()
    s.train("v0001", 0.912)
    s.champion("v0001", None)
    for i in range(130):
        s.publish(f"day-{i:03d}", "v0001", PASS)
    return s


def stored(s: Story, store: MemoryStore) -> Ledger:
    for entry in s.entries:
        store.put(f"bookings/ledger/{entry.seq:08d}.json", encode(entry))
    return Ledger(store, "bookings", lambda: s.at, "nobody")


def page_of(assessment: r.Assessment, facts: ProjectFacts | None = FACTS) -> str:
    s = story()
    batch = s.stop("2026-03-12", "v0003", assessment, None)
    page = s.pages(facts)[f"batches/{batch}.html"]
    Page(page)
    return page


def with_opinion(second: Second, assessment: r.Assessment = HALT) -> str:
    s = story()
    batch = s.stop("2026-03-12", "v0003", assessment, None)
    made = s.pages(seconds={batch: second})
    assert sum('id="h-opinion"' in page for page in made.values()) == 1
    return made[f"batches/{batch}.html"]


class Page(HTMLParser):
    """What a page holds: its balanced tags, its ids and where it points to."""

    VOID = ("meta", "link", "br", "use", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        said = dict(attrs)
        self.attributes |= set(said)
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


def section(page: str, name: str) -> str:
    return page.split(f'aria-labelledby="h-{name}"')[1].split("</section>")[0]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture(scope="module")
def told() -> Story:
    return story()


@pytest.fixture(scope="module")
def made(told: Story) -> dict[str, str]:
    return told.pages()


@pytest.fixture(scope="session")
def lore() -> ModuleType:
    """This module: tests cannot import it."""
    return sys.modules[__name__]
