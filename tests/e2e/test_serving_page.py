"""The page of a served model in a real browser: what people see is what the API answers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

import pyarrow as pa
import pytest
import uvicorn

from fuseline.contract import Contract, learn
from fuseline.server import listening
from fuseline.serving.api import Api
from fuseline.serving.bounds import Bounds
from fuseline.serving.journal import Journal
from fuseline.serving.keys import Keys
from fuseline.serving.problem import Problem
from fuseline.serving.reader import Reader
from fuseline.serving.served import Answered, Asked, File, Standing, Tensor, encode

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = "<img src=x onerror=\"document.title='owned'\">"
KEY = "a key that is long enough"
DAYS = [datetime(2026, 1, 1) + timedelta(days=i) for i in range(6)]
TABLE = pa.table(
    {
        "stay_id": list("abcdef"),
        "nights": [1.0, 2.0, 3.0, 5.0, 8.0, None],
        "price": [80.5, 120.0, 95.0, 300.0, 61.25, 77.0],
        "channel": ["agent", "direct", "web", EVIL, "web", None],
        "member": [True, False, True, True, False, False],
        "arrival": DAYS,
        "booked": [day + timedelta(hours=10, minutes=33) for day in DAYS],
    }
)
WIDE = pa.table({f"x{i}": [float(i), i + 1.5] for i in range(120)})


class Stays:
    """A model that a pencil can check: a logistic curve of nights and price."""

    quick = True

    def __init__(
        self,
        table: pa.Table = TABLE,
        version: str = "v0003",
        mode: Literal["champion", "fallback", "file"] = "champion",
        reason: str = "",
        threshold: float | None = None,
    ) -> None:
        self.name, self.version, self.mode, self.reason, self.threshold = "stays", version, mode, reason, threshold
        self.contract: Contract | None = learn(table, id="stay_id" if "stay_id" in table.column_names else None)
        self.reader = Reader(self.contract)
        self.bodies: list[Any] = []
        self.troubles: list[Problem] = []  # raised for the next requests, one each

    def warm_up(self) -> None:
        pass

    def example(self) -> Any:
        return {"stay_id": "a", "nights": 2, "price": 120.5} if "nights" in self.contract.names else {}

    def answer(self, asked: Asked) -> Answered:
        if self.troubles:
            raise self.troubles.pop(0)
        self.bodies.append(json.loads(asked.body))
        rows = self.reader.read(asked.body)
        if rows.faults and not (asked.query.get("partial") == "true" and rows.kept):
            raise Problem("bad-rows", "some rows cannot be scored", rows=rows.faults)
        least = float(asked.query.get("threshold", self.threshold or -math.inf))
        nights, price = rows.columns[0], rows.columns[1]
        scores = [1 / (1 + math.exp(2 - (n or 0) / 2 - (p or 0) / 200)) for n, p in zip(nights, price, strict=True)]
        predictions = [
            {"index": i, "score": score, "action": "call" if score > 0.5 else "confirm", "note": None}
            for i, score in zip(rows.kept, scores, strict=True)
            if score >= least
        ]
        said = {"model": self.name, "version": self.version, "mode": self.mode, "predictions": predictions}
        said |= {"reason": self.reason} if self.reason else {}
        said |= {"extra": rows.extra} if rows.extra else {}
        said |= {"rejected": rows.faults} if rows.faults else {}
        return Answered(encode(said))

    def inputs(self) -> list[tuple[str, str]]:
        return []

    def outputs(self) -> list[tuple[str, str]]:
        return [("score", "FP64"), ("action", "BYTES")]

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors


class Echo(Stays):
    """A plain file: says how often each letter comes, or gives a file back."""

    kind = "json"

    def __init__(self) -> None:
        super().__init__(mode="file", version="0123456789ab")
        self.contract = None

    def example(self) -> Any:
        return {"text": "hello"} if self.kind == "json" else None

    def answer(self, asked: Asked) -> Answered:
        if asked.form is not None:
            (file,) = (one for one in asked.form.values() if isinstance(one, File))
            return Answered(file.data, "text/plain")
        text = json.loads(asked.body)["text"]
        return Answered(encode({"version": self.version, "predictions": {"said": text, "letters": len(text)}}))


class Bytes(Echo):
    kind = "bytes"


class Place:
    """A source that stands as it is told."""

    name, every, page = "stays", 0.0, None

    def __init__(self, standing: Standing) -> None:
        self.standing = standing

    def look(self) -> bool:
        return False


@contextmanager
def answering(application: Any) -> Iterator[str]:
    """The address of an application behind a real server."""
    with listening("127.0.0.1", 0) as opened:
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([opened],))
        thread.start()
        yield f"http://127.0.0.1:{opened.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


class Shown:
    """A server and a page of it in a browser, and what the page should not do."""

    def __init__(self, address: str, page: Any, place: Any = None) -> None:
        self.address, self.page, self.place = address, page, place
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"{error}"))
        page.on("console", lambda said: self.wrong.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda request: self._elsewhere(request.url))
        page.set_default_timeout(10_000)

    def _elsewhere(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(f"asked {url}")

    def ask(self, body: Any, query: str = "", key: str = "") -> Any:
        """What the API says to the same."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        with urlopen(Request(f"{self.address}predict{query}", json.dumps(body).encode(), headers)) as reply:
            return json.load(reply)

    def drop(self, name: str, content: str | bytes) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        self.page.set_input_files("#rows", {"name": name, "mimeType": "text/plain", "buffer": data})

    def table(self, selector: str) -> list[list[str]]:
        """The texts of a table's cells, by row."""
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        found: list[list[str]] = self.page.eval_on_selector_all(f"{selector} tr", script)
        return found

    def download(self, button: str) -> list[dict[str, str]]:
        with self.page.expect_download() as waited:
            self.page.click(button)
        path = waited.value.path()
        return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig")), delimiter=";"))


@pytest.fixture
def show(browser) -> Iterator[Callable[..., Shown]]:
    """Serves a model and opens its page; at the end nothing may have gone wrong on it."""
    opened: list[tuple[Any, Any, Shown]] = []

    def open_page(served: Any = None, wait: str = "#predict", look: Any = None, **options: Any) -> Shown:
        place = Place(served if isinstance(served, Standing) else Standing(served or Stays()))
        context = answering(Api(place, journal=Journal(io.BytesIO()), **options))
        address = context.__enter__()
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **(look or {})})
        shown = Shown(address, page, place)
        opened.append((context, page, shown))
        page.goto(address)
        page.wait_for_selector(wait)
        return shown

    yield open_page
    for context, page, _ in opened:
        page.close()
        context.__exit__(None, None, None)
    assert [shown.wrong for _, _, shown in opened] == [[] for _ in opened]


# ── one row ─────────────────────────────────────────────────────────────────────────────────────


def test_the_form_sends_its_values_and_shows_what_the_api_answers(show):
    shown = show()
    page = shown.page
    page.get_by_label("nights").fill("5")
    page.get_by_label("price").fill("")
    page.get_by_label("channel", exact=True).select_option("direct")
    page.get_by_label("member", exact=True).select_option("true")
    page.get_by_label("arrival").fill("2026-02-03")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer .score")
    (sent,) = shown.place.standing.served.bodies
    wanted = {"nights": 5, "price": None, "channel": "direct", "member": True, "arrival": "2026-02-03"}
    assert sent == {**wanted, "booked": "2026-01-01T10:33", "stay_id": "a"}
    said = shown.ask(sent)["predictions"][0]
    assert page.get_attribute("#answer .score", "title") == str(said["score"])
    assert page.text_content("#answer .score") == f"{said['score']:.5g}"
    assert shown.table("#answer") == [["action", said["action"]], ["note", "—"]]
    assert "v0003" in page.text_content("#answer")


def test_it_begins_with_an_example_that_can_be_cleared_and_put_back(show):
    shown = show()
    page = shown.page
    values = "inputs => inputs.map(input => input.value)"
    texts = "#fields input:visible"
    begun = page.eval_on_selector_all(texts, values)
    assert begun == ["2", "120.5", "2026-01-01", "2026-01-01T10:33", "a"]
    page.click("#clear")
    assert page.eval_on_selector_all(texts, values) == [""] * 5
    page.click("#predict")
    page.get_by_text("the row has no value in any column").wait_for()
    assert set(shown.place.standing.served.bodies[0].values()) == {None}
    page.click("#examples")
    assert page.eval_on_selector_all(texts, values) == begun


def test_a_fault_stands_at_its_field_and_goes_when_the_field_is_changed(show):
    page = show().page
    nights = page.get_by_label("nights")
    nights.fill("many")
    page.click("#predict")
    page.wait_for_selector(".field .fault:visible")
    assert "'many' is no number" in page.text_content(".faulty .fault")
    assert nights.get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.value") == "many"
    assert page.text_content("#answer") == "The row cannot be scoredLook at the marked fields."
    nights.fill("2")
    assert page.locator(".field .fault:visible").count() == 0


def test_a_value_that_training_never_saw_is_marked_and_sent_all_the_same(show):
    shown = show()
    page = shown.page
    page.get_by_label("nights").fill("99")
    assert page.locator(".hint.warn").all_text_contents() == ["Unusual (seen: 1 to 8)"]
    page.get_by_label("channel", exact=True).select_option(label="another value …")
    page.get_by_label("another value of channel").fill("pigeon")
    assert "Not seen in training" in page.locator(".hint.warn").all_text_contents()
    page.click("#predict")
    page.wait_for_selector("#answer .score")
    assert [shown.place.standing.served.bodies[0][name] for name in ("nights", "channel")] == [99, "pigeon"]


def test_what_comes_from_outside_is_never_markup(show):
    shown = show(Stays(mode="fallback", reason=EVIL))
    page = shown.page
    page.get_by_label("channel", exact=True).select_option(EVIL)
    page.click("#predict")
    page.wait_for_selector("#answer .score")
    shown.drop(f"{EVIL}.csv", f'stay_id,nights,"{EVIL.replace(chr(34), chr(34) * 2)}"\n{EVIL[:9]},x,1\nb,2,2\n')
    page.wait_for_selector(".result >> nth=1")
    assert page.locator("img").count() == 0
    assert page.title() == "stays · Fuseline"
    assert EVIL in page.text_content("#notice")


def test_a_row_below_the_threshold_can_be_seen_all_the_same(show):
    shown = show(Stays(threshold=0.99))
    page = shown.page
    page.click("#predict")
    page.get_by_text("The score does not reach 0.99").wait_for()
    page.click("text=Show it all the same")
    page.wait_for_selector("#answer .score")
    page.fill("#threshold", "0.01")
    page.click("#predict")
    page.wait_for_selector("#answer .score")
    page.fill("#threshold", "much")
    page.click("#predict")
    assert page.text_content("#limit-hint") == "This is no number."
    assert len(shown.place.standing.served.bodies) == 3


def test_the_snippets_ask_for_what_the_page_asks_for(show):
    shown = show()
    page = shown.page
    page.get_by_label("price").fill("1")
    page.get_by_label("channel", exact=True).select_option(label="another value …")
    page.get_by_label("another value of channel").fill('it\'s "new"')
    page.fill("#threshold", "0.1")
    sent: list[Any] = []

    class Requests:
        @staticmethod
        def post(address: str, **options: Any) -> Any:
            sent.append((address, options))
            return Requests

        raise_for_status = json = staticmethod(lambda: None)

    python = page.text_content("#python")
    assert python.startswith("import requests\n")
    exec(python.replace("import requests\n", ""), {"requests": Requests})
    ((address, options),) = sent
    assert address == f"{shown.address}predict"
    assert (options["params"], options["json"]["channel"]) == ({"threshold": 0.1}, 'it\'s "new"')
    curl = page.text_content("#curl")
    body = curl.split("-d '")[1].removesuffix("'").replace("'\\''", "'")
    assert json.loads(body) == options["json"]
    assert f"{shown.address}predict?threshold=0.1" in curl
    assert "Authorization" not in curl + python


def test_a_hundred_fields_can_be_searched_and_a_hidden_fault_comes_into_sight(show):
    shown = show(Stays(WIDE))
    page = shown.page
    page.get_by_label("x7", exact=True).fill("wrong")
    page.fill("#filter", "x11")
    assert page.text_content("#found") == "11 of 120 fields"
    assert page.locator(".field:visible label").all_text_contents() == ["x11", *(f"x11{i}" for i in range(10))]
    page.click("#predict")
    page.wait_for_selector(".faulty:visible")
    assert page.evaluate("document.activeElement.value") == "wrong"


# ── many rows ───────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_answered_row_by_row_and_bad_rows_are_listed(show):
    shown = show(look={"accept_downloads": True})
    page = shown.page
    text = (
        '\ufeffstay_id;nights;price;channel;seen;note\r\n"s;1";1;100;web;x;"two\nlines"\r\n\r\n'
        's2;two;90;NA;x;\r\ns3;3\r\n"s4 ""four""";;"55.5";direct;x;\r\n'
    )
    shown.drop("stays.csv", text)
    page.wait_for_selector(".result >> nth=1")
    records = [
        {"stay_id": "s;1", "nights": "1", "price": "100", "channel": "web", "seen": "x", "note": "two\nlines"},
        {"stay_id": "s2", "nights": "two", "price": "90", "channel": None, "seen": "x", "note": None},
        {"stay_id": 's4 "four"', "nights": None, "price": "55.5", "channel": "direct", "seen": "x", "note": None},
    ]
    assert shown.place.standing.served.bodies == [records]
    said = shown.ask(records, "?partial=true")
    scores = [one["score"] for one in said["predictions"]]
    assert shown.table(".result >> nth=0 >> table") == [
        ["index", "stay_id", "score", "action", "note"],
        ["0", "s;1", f"{scores[0]:.6g}", "confirm", "—"],
        ["3", 's4 "four"', f"{scores[1]:.6g}", "confirm", "—"],
    ]
    assert shown.table(".result >> nth=1 >> table") == [
        ["index", "line", "column", "value", "reason"],
        ["1", "5", "nights", "two", said["rejected"][0]["reason"]],
        ["2", "6", "—", "—", "has 2 values where the header has 6"],
    ]
    summary = page.text_content(".sum")
    assert summary.startswith("2 rows scored · 2 rejected · v0003")
    assert "3 of the model's 6 columns. Not in the file, and so blank: member, arrival" in page.text_content("#sent")
    assert "Not used: seen, note" in page.text_content("#outcome")
    lines = shown.download(".result >> nth=0 >> button")
    assert [float(line["score"]) for line in lines] == scores
    assert [line["stay_id"] for line in lines] == ["s;1", 's4 "four"']
    assert lines[0]["note"] == ""  # of the model: its columns come before those of the file
    page.click(".result >> nth=0 >> text=with the columns of the file")
    assert list(shown.download(".result >> nth=0 >> button")[0]) == ["index", "score", "action", "note"]
    assert [line["line"] for line in shown.download(".result >> nth=1 >> button")] == ["5", "6"]


def test_a_large_file_goes_in_pieces_that_the_server_takes(show):
    shown = show(bounds=Bounds(rows=100), look={"accept_downloads": True})
    page, model = shown.page, shown.place.standing.served
    model.troubles = [
        Problem("busy", "ask again in a second", headers={"Retry-After": "0.01"}),
        Problem("too-slow", "no answer within 30 s", limit=30),
        Problem("too-large", "the body has 9 bytes", limit=8),
    ]
    page.fill("#threshold", "0.5")
    shown.drop("rows.json", json.dumps([{"nights": i % 10, "price": 100 if i % 50 else "bad"} for i in range(1000)]))
    page.wait_for_selector(".sum")
    pieces = [len(body) for body in model.bodies]
    assert (sum(pieces), max(pieces)) == (1000, 25)
    wanted = [i for i in range(1000) if i % 50 and i % 10 >= 3]
    assert page.text_content(".sum").startswith(
        f"980 rows scored · {980 - len(wanted)} below the threshold of 0.5 · 20 rej"
    )
    rows = shown.table(".result >> nth=0 >> table")
    assert [int(row[0]) for row in rows[1:]] == wanted[:200]
    assert "The first 200 of" in page.text_content(".result >> nth=0")
    page.click(".result >> nth=0 >> button")


def test_a_file_of_which_no_row_is_good_is_all_rejected(show):
    shown = show()
    shown.drop("rows.jsonl", '{"nights": "x"}\n\n[1]\n{"nights": \n')
    shown.page.wait_for_selector(".result")
    rows = shown.table(".result table")
    assert [row[:4] for row in rows[1:]] == [["0", "1", "nights", "x"], ["1", "3", "—", "—"], ["2", "4", "—", "—"]]
    assert shown.page.text_content(".sum").startswith("0 rows scored · 3 rejected")


def test_a_server_that_fails_midway_leaves_what_it_answered(show):
    shown = show(bounds=Bounds(rows=10))
    page, model = shown.page, shown.place.standing.served
    answer = model.answer

    def failing(asked: Asked) -> Answered:
        if len(model.bodies) == 2:
            raise Problem("model-failed", "predict failed: the disk is full")
        return answer(asked)

    model.answer = failing
    shown.drop("rows.csv", "nights\n" + "1\n" * 50)
    page.get_by_text("Stopped after row 20 of 50. Predict failed: the disk is full.").wait_for()
    assert page.text_content(".sum").startswith("20 rows scored")


UNREADABLE = [
    ("", "It is empty."),
    ("nights,price\n", "It has no rows"),
    ("nights,nights\n1,2\n", "It names a column twice: nights."),
    ('nights,price\n"1,2\n', "a quote opens and never closes"),
    ("a,b\n1,2\n", "No column of the file is one of the model's. The file has a, b"),
    ('[{"nights": NaN}]', "It is not JSON"),
    ("[1, 2]", "It holds no JSON object: its first row is 1"),
    (b"PAR1\x00\x00", "It is a Parquet file"),
    (b"PK\x03\x04 ...", "a zip archive or an Excel workbook"),
    (b"a\x00\xff,b\n", "It is no text"),
]


def test_a_file_that_holds_no_rows_says_so(show):
    shown = show()
    for content, said in UNREADABLE:
        shown.drop("file", content)
        shown.page.get_by_text(said).wait_for()
    assert shown.place.standing.served.bodies == []


def test_files_of_other_encodings_are_read(show):
    shown = show()
    for count, encoding in enumerate(["utf-8-sig", "utf-16", "cp1252"], 1):
        shown.drop(f"{encoding}.csv", "nights,channel\n1,Zürich\n".encode(encoding))
        shown.page.wait_for_function(
            "name => document.querySelector('#sent').textContent.startsWith(name)", arg=encoding
        )
        shown.page.wait_for_selector(".result")
        assert shown.place.standing.served.bodies == [[{"nights": "1", "channel": "Zürich"}]] * count


# ── who answers ─────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_asked_for_and_kept_in_the_tab_only(show):
    keys = Keys((("shop", hashlib.sha256(KEY.encode()).hexdigest()),))
    shown = show(keys=keys, wait="#unlock")
    page = shown.page
    assert "price" not in page.content().split("<script>")[0]
    page.fill("#key", "wrong")
    page.click("#unlock button")
    page.get_by_text("The server does not take this key.").wait_for()
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#predict")
    page.click("#predict")
    page.wait_for_selector("#answer .score")
    assert "Authorization: Bearer YOUR_KEY" in page.text_content("#curl")
    assert KEY not in page.content()
    page.reload()
    page.wait_for_selector("#predict")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.click("#forget")
    page.wait_for_selector("#unlock")
    assert page.evaluate("sessionStorage.length") == 0
    assert not page.is_visible("#fields")


def test_a_breaker_that_opens_and_closes_is_seen_without_a_reload(show):
    why = "the breaker of stays is open: price was rescaled by about 100"
    shown = show(Standing(problem=Problem("breaker-open", why, headers={"Retry-After": "1"})), wait="#notice")
    page = shown.page
    assert "The breaker is open" in page.text_content("#notice h2")
    assert "price was rescaled by about 100. Try again after" in page.inner_text("#notice").replace("\n\n", " ")
    shown.place.standing = Standing(Stays(version="v0002", mode="fallback", reason=why))
    page.wait_for_selector("#predict")
    assert "The last good version, v0002, answers. The breaker of stays is open" in page.text_content("#notice")
    page.get_by_label("nights").fill("7")
    shown.place.standing = Standing(Stays(version="v0004"))
    page.click("#predict")
    page.wait_for_selector("#notice", state="hidden")
    assert page.inner_text("#facts").split("\n")[1] == "v0004"
    assert page.get_by_label("nights").input_value() == "7"
    shown.place.standing = Standing(problem=Problem("breaker-open", why, headers={"Retry-After": "60"}))
    page.click("#predict")
    page.wait_for_selector("#notice")
    assert "Try again in 60 s." in page.text_content("#answer")


def test_a_plain_file_is_asked_with_json(show):
    shown = show(Echo())
    page = shown.page
    assert json.loads(page.input_value("#text")) == {"text": "hello"}
    assert not page.is_visible("#many")
    page.fill("#text", '{"text": ')
    page.click("#predict")
    page.get_by_text("This is not JSON").wait_for()
    page.fill("#text", '{"text": "good day"}')
    page.click("#predict")
    page.wait_for_selector("#answer table")
    assert shown.table("#answer") == [["said", "good day"], ["letters", "8"]]


def test_a_plain_file_that_reads_bytes_is_given_a_file(show):
    page = show(Bytes()).page
    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"what it says"})
    page.click("#predict")
    page.wait_for_selector("#answer pre")
    assert page.text_content("#answer pre") == "what it says"
    assert "-F 'file=@a.txt'" in page.text_content("#curl")


def test_what_the_command_serves_is_used_in_the_browser(browser, served_project, served_file):
    address, key = served_project
    shown = Shown(f"{address}/", browser.new_page())
    page = shown.page
    page.goto(shown.address)
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.get_by_label("price").fill("31.5")
    page.get_by_label("age", exact=True).fill("")
    page.get_by_label("colour", exact=True).select_option("red")
    page.click("#predict")
    page.wait_for_selector("#answer .score")
    said = shown.ask({"price": 31.5, "colour": "red"}, key=key)["predictions"]
    assert page.get_attribute("#answer .score", "title") == str(said[0]["score"])
    shown.drop("rows.csv", "id,price,age,colour\n7,31.5,,red\n8,cheap,30,blue\n")
    page.wait_for_selector(".result >> nth=1")
    assert shown.table(".result >> nth=0 >> table")[1] == ["0", "7", f"{said[0]['score']:.6g}"]
    assert shown.table(".result >> nth=1 >> table")[1][:4] == ["1", "3", "price", "cheap"]
    page.goto(served_file)
    page.fill("#text", "[1, 2, 3]")
    page.click("#predict")
    page.wait_for_selector("#answer table")
    assert shown.table("#answer") == [["values", "3"]]
    page.close()


# ── the pages as pages ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_moving_sideways(show, scheme):
    shown = show(look={"viewport": {"width": 390, "height": 844}, "color_scheme": scheme})
    page = shown.page
    page.click("#predict")
    page.wait_for_selector("#answer .score")
    shown.drop("rows.csv", "nights,price\n1,2\n" * 3)
    page.wait_for_selector(".result")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(247, 246, 243)", "dark": "rgb(19, 20, 22)"}[scheme]


def test_it_works_behind_the_path_of_a_proxy(browser):
    api = Api(Place(Standing(Stays())), journal=Journal(io.BytesIO()))

    async def below(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix("/models/stays") or "/"
        await api({**scope, "path": path if path != scope["path"] else "/elsewhere"}, receive, send)

    with answering(below) as address:
        page = browser.new_page()
        for place in ("models/stays", "models/stays/"):
            page.goto(address + place)
            page.click("#predict")
            page.wait_for_selector("#answer .score")
            assert f"{address}models/stays/predict" in page.text_content("#curl")
        page.click("#docs")
        page.wait_for_selector(".opblock")
        page.close()


def test_the_document_of_the_api_can_be_read_and_tried_without_the_internet(show):
    keys = Keys((("shop", hashlib.sha256(KEY.encode()).hexdigest()),))
    shown = show(keys=keys, wait="#unlock")
    page = shown.page
    page.goto(f"{shown.address}docs")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    page.click(".opblock-post >> nth=0")
    page.click(".try-out__btn")
    page.click(".execute")
    page.wait_for_selector(".live-responses-table")
    assert '"score"' in page.text_content(".live-responses-table")
