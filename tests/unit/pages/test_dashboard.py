from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import uvicorn

from fuseline import records as r
from fuseline.bootstrap import Line
from fuseline.cards import Card, Cards, Shelf
from fuseline.dashboard import Dashboard, application
from fuseline.errors import StoreError
from fuseline.ledger import encode
from fuseline.opinion import encode as written
from fuseline.pages import inline_digest
from fuseline.projects import read_project
from fuseline.settings import Settings
from fuseline.storage import MemoryStore

TOML = 'target = "status"\ntask = "binary"\n'
NOW = "2026-03-12T18:00:00+00:00"


class Shop(MemoryStore):
    """A store that can be gone, or slow (for keys with `slow` in them), and counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.gone, self.seconds, self.slow, self.asked = "", 0.0, "", Counter[str]()

    def get(self, key: str) -> bytes:
        self.asked[key] += 1
        time.sleep(self.seconds if self.slow in key else 0.0)
        if self.gone:
            raise StoreError(self.gone)
        return super().get(key)


@dataclass(frozen=True)
class Answer:
    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Site:
    """A dashboard over a folder of projects and a store, asked over HTTP."""

    folder: Path
    port: int
    store: Shop = field(default_factory=Shop)

    def settings(self, now: str = NOW) -> Settings:
        return Settings("memory://", self.folder, now, "mara")

    def line(self, name: str) -> Line:
        return Line(self.settings(), read_project(self.folder, name), self.store, "mara")

    def project(self, name: str, toml: str = TOML) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "project.toml").write_text(toml)

    def write(self, entries: list[r.Entry], project: str = "bookings") -> None:
        for entry in entries:
            self.store.put(f"{project}/ledger/{entry.seq:08d}.json", encode(entry))

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """The path goes out as it is written: no client tidies it."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("GET", path, headers)

    def words(self, path: str) -> str:
        return " ".join(re.sub(r"<[^>]+>", " ", self.get(path).text.split("<body>")[1]).split())


class Switch:
    """An application that is another one for each test, so that one server does for all."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Switch, int]]:
    switch = Switch()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = uvicorn.Server(uvicorn.Config(switch, lifespan="off", log_config=None, access_log=False))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield switch, listening.getsockname()[1]
        running.should_exit = True
        thread.join()


@pytest.fixture
def empty(tmp_path: Path, server: tuple[Switch, int]) -> Site:
    """No project; nothing is kept between two questions, and nobody waits longer than 0.3 s."""
    switch, port = server
    site = Site(tmp_path, port)
    switch.app = application(Dashboard(site.settings(), site.line, fresh=0.0, patience=0.3))
    return site


@pytest.fixture
def site(empty: Site, told: Any) -> Site:
    """One project, whose ledger tells four weeks."""
    empty.project("bookings")
    empty.write(told.entries)
    return empty


# ── what there is ────────────────────────────────────────────────────────────────────────────────


def test_the_only_project_is_where_the_root_leads(site: Site) -> None:
    for path in ("/", "/bookings"):
        answer = site.get(path)
        assert (answer.status_code, urljoin(path, answer.headers["location"])) == (307, "/bookings/")


def test_several_projects_have_a_table(site: Site) -> None:
    site.project("new one")
    said = site.words("/")
    assert "bookings publishing v0003" in said
    assert "new one not started" in said
    assert 'href="new%20one/"' in site.get("/").text
    assert site.get("/new%20one").headers["location"] == "new%20one/"
    assert '<a href="../">all projects</a>' in site.get("/new%20one/").text


def test_without_a_project_the_page_says_where_they_are_looked_for(empty: Site) -> None:
    answer = empty.get("/")
    assert answer.status_code == 404
    assert f"There is no project in {empty.folder}. FUSELINE_PROJECTS names the folder." in answer.text


def test_a_project_that_is_added_or_taken_away_needs_no_restart(site: Site) -> None:
    assert site.get("/claims/").status_code == 404
    site.project("claims")
    assert site.get("/claims/").status_code == 200
    (site.folder / "claims" / "project.toml").unlink()
    assert site.get("/claims/").status_code == 404


def test_the_pages_are_those_of_the_report(site: Site, told: Any, lore: Any) -> None:
    files = told.pages(lore.FACTS, hours=0)
    index = site.get("/bookings/").text
    assert site.get("/bookings/index.html").text == index
    assert 'id="h-versions"' in index
    for path in [path for path in files if path != "index.html"]:
        live, file = site.get(f"/bookings/{path}").text, files[path]
        assert lore.words(live.split("main>")[1]) == lore.words(file.split("main>")[1])


def test_every_link_of_every_page_leads_somewhere(site: Site, told: Any, lore: Any) -> None:
    site.project("other")
    todo, seen = ["/"], set[str]()
    while todo:
        path = todo.pop()
        seen.add(path)
        answer = site.get(path)
        assert answer.status_code == 200, path
        links = [link for link in lore.Page(answer.text).links if not link.startswith(("#", "data:"))]
        found = {urljoin(path, link) for link in links if "/runs/" not in urljoin(path, link)}
        todo += sorted(found - seen - set(todo))
    assert len([path for path in seen if "/batches/" in path]) == len(told.chronicle.batches)


def test_settings_of_the_project_show_when_they_change(site: Site) -> None:
    assert "one is expected every 24 h" in site.words("/bookings/")
    site.project("bookings", TOML + "[schedule]\nevery_hours = 6\n")
    assert "one is expected every 6 h" in site.words("/bookings/")
    site.project("bookings", "target = 7")
    answer = site.get("/bookings/")
    assert answer.status_code == 503
    assert "Expected `str`, got `int`" in answer.text
    site.project("bookings")
    assert site.get("/bookings/").status_code == 200


# ── what is new, and what is lost ────────────────────────────────────────────────────────────────


def test_only_what_is_new_is_read(site: Site, told: Any) -> None:
    site.get("/bookings/")
    assert max(site.store.asked.values()) == 1
    site.store.asked.clear()
    site.get("/bookings/")
    last = len(told.entries)
    assert site.store.asked == {f"bookings/ledger/{seq:08d}.json": 1 for seq in (last, last + 1)}


def test_a_new_entry_is_on_the_page(site: Site, lore: Any) -> None:
    assert "Publishing" in site.words("/bookings/")
    s = lore.story()
    s.stop("2026-03-12", "v0003", lore.HALT, r.Trip(None))
    site.write(s.entries[-2:])
    assert "Held back" in site.words("/bookings/")


@pytest.mark.parametrize("entries", [0, 1, 30])
def test_a_ledger_that_is_another_one_is_read_from_its_beginning(site: Site, lore: Any, entries: int) -> None:
    site.get("/bookings/")
    for item in list(site.store.list("bookings/ledger/")):
        site.store.delete(item.key)
    s = lore.Story()
    for _ in range(entries):
        s.train(f"v{len(s.entries):04d}", 0.8)
        s.entries[-1] = r.Entry(len(s.entries), f"another{len(s.entries)}", s.at, "x", s.entries[-1].event)
    site.write(s.entries)
    answer = site.get("/bookings/")
    assert answer.status_code == 200
    assert "Not started" in answer.text
    assert f"Entry {entries} of the ledger" in answer.text
    assert site.get("/readyz").status_code == 200


def test_a_store_that_is_gone_leaves_the_last_page_with_a_banner(site: Site, told: Any) -> None:
    before = site.words("/bookings/")
    site.store.gone = "the server <s3> does not answer; start it"
    answer = site.get("/bookings/")
    assert answer.status_code == 503
    assert "text/html" in answer.headers["content-type"]
    said = site.words("/bookings/")
    assert "what you see is from 12 Mar 2026, 18:00 UTC. the server &lt;s3&gt; does not answer; start it" in said
    assert "Unknown" in said and "Publishing" not in said
    assert "Traceback" not in said
    batch = site.get(f"/bookings/batches/{told.chronicle.batches[0]}.html")
    assert batch.status_code == 503 and "does not answer; start it" in batch.text
    site.store.gone = ""
    assert site.words("/bookings/") == before


def test_a_store_that_never_answered_is_a_page_that_says_so(site: Site) -> None:
    site.store.gone = "the server <s3> does not answer; start it"
    for path in ("/bookings/", "/bookings/batches/x.html", "/bookings/evidently/x.html"):
        answer = site.get(path)
        assert answer.status_code == 503
        assert "the server &lt;s3&gt; does not answer; start it" in answer.text
        assert "looks again every five seconds" in answer.text and "data-live" in answer.text
    site.store.gone = ""
    assert site.get("/bookings/").status_code == 200


def test_one_project_in_trouble_leaves_the_others_alone(site: Site, told: Any) -> None:
    site.project("claims")
    site.store.put("claims/ledger/00000001.json", b"{")
    assert site.get("/").status_code == 200
    assert "claims ■ cannot be read claims/ledger/00000001.json is not a ledger entry" in site.words("/")
    assert site.get("/bookings/").status_code == 200
    assert site.get("/claims/").status_code == 503


def test_what_comes_before_a_broken_entry_is_shown(site: Site, told: Any) -> None:
    last = len(told.entries)
    site.store.put(f"bookings/ledger/{last:08d}.json", b"{")
    answer = site.get("/bookings/")
    assert answer.status_code == 503
    assert f"Entry {last - 1} of the ledger" in answer.text
    assert f"{last:08d}.json is not a ledger entry" in answer.text
    site.write(told.entries[-1:])
    assert site.get("/bookings/").status_code == 200


def test_nobody_waits_long_for_a_slow_store(site: Site, told: Any) -> None:
    site.get("/bookings/")
    site.store.seconds = 1.0
    began = time.monotonic()
    answer = site.get("/bookings/")
    assert time.monotonic() - began < 0.9
    assert answer.status_code == 503
    assert "The store has not answered for 0.3 s. It is still being asked" in answer.text
    assert site.get("/healthz").status_code == 200
    site.store.seconds = 0.0
    until = time.monotonic() + 5
    while site.get("/bookings/").status_code == 503 and time.monotonic() < until:
        time.sleep(0.05)
    assert site.get("/bookings/").status_code == 200


def test_a_long_ledger_says_how_far_it_is_read(site: Site, told: Any) -> None:
    site.store.seconds = 0.02
    answer = site.get("/bookings/")
    assert answer.status_code == 503
    assert re.search(r"The ledger is being read, \d+ entries so far", answer.text)
    assert site.get("/readyz").status_code == 503
    site.store.seconds = 0.0
    time.sleep(0.3)
    assert site.get("/bookings/").status_code == 200
    assert max(site.store.asked.values()) <= 3


def test_who_asks_at_the_same_time_shares_one_reading(site: Site, told: Any) -> None:
    site.store.seconds = 0.005
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: site.get("/bookings/").status_code, range(8)))
    assert set(codes) <= {200, 503}
    assert site.store.asked["bookings/ledger/00000002.json"] == 1


# ── what others made ─────────────────────────────────────────────────────────────────────────────


def with_opinion(site: Site, lore: Any) -> tuple[str, str]:
    """Give the last batch an opinion; returns the addresses of its page and of Evidently's."""
    s = lore.story()
    batch = s.stop("2026-03-12", "v0003", lore.HALT, None)
    site.write(s.entries[-2:])
    site.store.put(f"bookings/batches/{batch}/a1/evidently.html", b"<html>staged</html>")
    site.store.put(f"bookings/batches/{batch}/a1/evidently.json", written(lore.OPINION))
    return f"/bookings/batches/{batch}.html", f"/bookings/evidently/{batch}.a1.html"


def test_evidentlys_opinion_and_its_page_come_from_the_store(site: Site, lore: Any) -> None:
    page, theirs = with_opinion(site, lore)
    assert urljoin(page, next(x for x in lore.Page(site.get(page).text).links if "evidently" in x)) == theirs
    answer = site.get(theirs)
    assert answer.text == "<html>staged</html>"
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_evidentlys_page_is_taken_from_the_report_where_staged_files_have_expired(site: Site, lore: Any) -> None:
    _, theirs = with_opinion(site, lore)
    (staged,) = [x.key for x in site.store.list("bookings/batches/") if x.key.endswith(".html")]
    site.store.copy(staged, f"bookings/reports{theirs.removeprefix('/bookings')}")
    site.store.put(staged, b"<html>other</html>")
    assert site.get(theirs).text == "<html>other</html>"
    site.store.delete(staged)
    assert site.get(theirs).text == "<html>staged</html>"
    site.store.delete(f"bookings/reports{theirs.removeprefix('/bookings')}")
    assert site.get(theirs).status_code == 404


def test_nobody_waits_long_for_what_evidently_left(site: Site, lore: Any) -> None:
    page, theirs = with_opinion(site, lore)
    site.get("/bookings/")
    site.store.seconds, site.store.slow = 1.0, "evidently"
    assert "Evidently" not in site.get(page).text
    answer = site.get(theirs)
    assert answer.status_code == 503
    assert "The store has not answered for 0.3 s" in answer.text


def test_an_opinion_that_is_gone_has_no_link(site: Site, lore: Any) -> None:
    page, _ = with_opinion(site, lore)
    (staged,) = [x.key for x in site.store.list("bookings/batches/") if x.key.endswith(".html")]
    site.store.delete(staged)
    assert "no longer in the store" in site.get(page).text


CARD = Card("evaluate", "3", "blank", "<html>a card</html>")
LEFT = {
    "1771": Cards(True, True, (CARD, replace(CARD, kind="more"))),
    "12": Cards(True, True, (), "It left none."),
    "31": Cards(False, False, (), "Metaflow knows no such run here."),
    "77": Cards(True, True, (CARD,)),
}


@pytest.fixture
def ran(site: Site, server: tuple[Switch, int]) -> Site:
    """The same, with the cards of some runs."""
    shelf = Shelf(lambda flow, run: LEFT.get(run, Cards(False, False, (), "Metaflow knows no such run here.")))
    server[0].app = application(Dashboard(site.settings(), site.line, fresh=0.0, shelf=shelf))
    return site


def test_a_run_is_linked_to_what_it_wrote_and_left(ran: Site, told: Any, lore: Any) -> None:
    links = {urljoin("/bookings/", link) for link in lore.Page(ran.get("/bookings/").text).links if "runs/" in link}
    assert "/bookings/runs/InferenceFlow/1771" in links
    page = ran.get("/bookings/runs/InferenceFlow/1771")
    assert page.status_code == 200
    wrote = [e for e in told.entries if e.by == "InferenceFlow/1771"]
    assert lore.section(page.text, "wrote").count("<li ") == len(wrote) > 10
    cards = [x for x in lore.Page(page.text).links if x.startswith("1771/")]
    assert [urljoin("/bookings/runs/InferenceFlow/1771", x) for x in cards] == [
        f"/bookings/runs/InferenceFlow/1771/{n}" for n in (1, 1, 2, 2)
    ]


def test_a_card_has_no_rights_but_to_draw_inside_our_page(ran: Site) -> None:
    answer = ran.get("/bookings/runs/InferenceFlow/1771/2")
    assert answer.text == "<html>a card</html>"
    security = answer.headers["content-security-policy"]
    assert security.startswith("sandbox allow-scripts;") and security.endswith("frame-ancestors 'self'")
    for place in ("0", "3", "x", "-1"):
        assert ran.get(f"/bookings/runs/InferenceFlow/1771/{place}").status_code == 404


def test_a_run_without_cards_says_why(ran: Site, lore: Any) -> None:
    assert "It left none." in lore.section(ran.get("/bookings/runs/TrainingFlow/12").text, "cards")
    known = ran.get("/bookings/runs/FeedbackFlow/31")  # to the ledger, not to Metaflow
    assert known.status_code == 200
    assert "Metaflow knows no such run here." in lore.section(known.text, "cards")


def test_a_run_that_wrote_nothing_may_have_left_cards(ran: Site, lore: Any) -> None:
    page = ran.get("/bookings/runs/FeedbackFlow/77")
    assert page.status_code == 200
    assert "Nothing of bookings." in lore.section(page.text, "wrote")


def test_a_run_that_nobody_knows_is_not_found_and_why(ran: Site) -> None:
    answer = ran.get("/bookings/runs/FeedbackFlow/9999")
    assert answer.status_code == 404
    assert "has no entry by FeedbackFlow/9999. Metaflow knows no such run here." in answer.text


# ── addresses that name nothing ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/nope/",
        "/bookings/nope",
        "/bookings/batches/nope.html",
        "/bookings/batches/..%2f..%2fledger%2f00000001.json",
        "/bookings/batches/..%2fledger%2f00000001.json.html",
        "/bookings/evidently/x.html",
        "/bookings/evidently/..%2f..%2fledger%2f00000001.json",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/",
        "/../bookings/ledger",
        "/bookings/../../etc/passwd",
        "/bookings/runs/OtherFlow/12",
        "/bookings/runs/InferenceFlow/..",
        "/bookings/runs/InferenceFlow/-x",
        "/bookings/runs/InferenceFlow/12;x",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/docs",
        "/openapi.json",
    ],
)
def test_what_is_not_in_the_ledger_is_not_found(site: Site, lore: Any, path: str) -> None:
    site.get("/bookings/")
    site.store.asked.clear()
    answer = site.get(path)
    assert answer.status_code == 404
    lore.Page(answer.text)
    assert "Not found" in answer.text and "<script>alert" not in answer.text
    assert all(key.startswith("bookings/ledger/0000") for key in site.store.asked)


# ── what browsers and machines are told ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/bookings/", "/nope/", "/healthz", "/metrics", "/"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(site: Site, method: str, path: str) -> None:
    answer = site.ask(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert not site.store.asked


@pytest.mark.parametrize("path", ["/bookings/", "/nope/", "/"])
def test_pages_load_nothing_and_are_framed_by_nobody(site: Site, path: str) -> None:
    site.project("second")
    headers = site.get(path).headers
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == inline_digest("live.js") and rules["style-src"] == inline_digest("style.css")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"


def test_a_page_that_is_still_the_same_is_not_sent_again(site: Site, lore: Any) -> None:
    first = site.get("/bookings/")
    again = site.get("/bookings/", {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    s = lore.story()
    s.say(r.Reset("by hand"))
    site.write(s.entries[-1:])
    assert site.get("/bookings/", {"If-None-Match": first.headers["etag"]}).status_code == 200


def test_head_says_what_get_would(site: Site) -> None:
    answer = site.ask("HEAD", "/bookings/")
    assert answer.status_code == 200
    assert answer.headers["etag"] == site.get("/bookings/").headers["etag"]


def test_health_asks_no_store(site: Site) -> None:
    site.store.gone = "gone"
    answer = site.get("/healthz")
    assert (answer.status_code, answer.json(), not site.store.asked) == (200, {"alive": True}, True)


def test_ready_means_that_every_ledger_can_be_read(site: Site) -> None:
    assert site.get("/readyz").json() == {"ready": True, "projects": {"bookings": "ok"}}
    site.project("claims")
    site.store.put("claims/ledger/00000001.json", b"{")
    answer = site.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["projects"]["bookings"] == "ok"
    assert "claims/ledger/00000001.json is not a ledger entry" in answer.json()["projects"]["claims"]


def test_without_a_project_it_is_not_ready(empty: Site) -> None:
    assert (empty.get("/readyz").status_code, empty.get("/readyz").json()["ready"]) == (503, False)


def test_metrics_follow_the_ledgers(site: Site) -> None:
    answer = site.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'fuseline_up{project="bookings"} 1.0' in answer.text
    assert 'fuseline_batches_total{project="bookings",verdict="pass"}' in answer.text
    site.store.gone = "gone"
    text = site.get("/metrics").text
    assert 'fuseline_up{project="bookings"} 0.0' in text
    assert "fuseline_batches_total{" not in text


def test_a_fault_of_ours_is_a_page_without_a_traceback(site: Site, server: tuple[Switch, int]) -> None:
    class Broken(Dashboard):
        async def index(self, request: Any) -> Any:
            raise KeyError("secret")

    server[0].app = application(Broken(site.settings(), site.line))
    answer = site.get("/bookings/")
    assert answer.status_code == 500
    assert "KeyError in Fuseline itself" in answer.text
    assert "Traceback" not in answer.text and "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
