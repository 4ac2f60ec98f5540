"""The application asked by a real client, over ASGI; tests/e2e has it behind a real server."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fuseline.serving.api import INLINE, Api
from fuseline.serving.bounds import Bounds
from fuseline.serving.journal import Journal
from fuseline.serving.keys import Keys, new
from fuseline.serving.problem import Problem, RowFault
from fuseline.serving.served import Answered, Asked, File, Standing, Tensor, encode


class Echo:
    """A model that answers with what it was asked, unless it is told otherwise."""

    name, version, mode, reason, contract = "echo", "v0001", "champion", "", None

    def __init__(
        self, does: Callable[[Asked], Any] = lambda asked: json.loads(asked.body), quick: bool = False
    ) -> None:
        self.does, self.quick = does, quick

    def warm_up(self) -> None:
        pass

    def example(self) -> Any:
        return {"x": 1}

    def answer(self, asked: Asked) -> Answered:
        return Answered(encode({"version": self.version, "said": self.does(asked)}))

    def inputs(self) -> list[tuple[str, str]]:
        return [("x", "FP64")]

    def outputs(self) -> list[tuple[str, str]]:
        return [("x", "FP64")]

    def infer(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors


class Place:
    """A source that stands as it is told."""

    name, every, page = "echo", 0.0, None

    def __init__(self, served: Any = None, **standing: Any) -> None:
        self.standing = Standing(served, **standing)

    def look(self) -> bool:
        return False


class Asking:
    """A client of an application, and what the application wrote."""

    def __init__(self, source: Any, **options: Any) -> None:
        self.log = io.BytesIO()
        self.api = Api(source, journal=Journal(self.log), **options)

    async def many(self, *calls: Callable[[httpx.AsyncClient], Any]) -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=self.api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return list(await asyncio.gather(*(call(client) for call in calls)))

    def post(self, **options: Any) -> httpx.Response:
        return self.request("POST", "/predict", **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self.many(lambda client: client.request(method, path, **options)))[0]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@pytest.fixture
def asking() -> Asking:
    return Asking(Place(Echo()))


def test_an_answer_names_the_version_and_the_request(asking):
    answer = asking.post(json=[{"x": 1}], headers={"X-Request-ID": "order-17"})
    assert answer.json() == {"version": "v0001", "said": [{"x": 1}]}
    assert (answer.headers["x-request-id"], answer.headers["x-model-version"]) == ("order-17", "v0001")
    line = asking.lines[-1]
    assert (line["event"], line["request_id"], line["status"], line["version"]) == ("request", "order-17", 200, "v0001")


def test_a_request_id_that_could_break_a_log_is_replaced(asking):
    answer = asking.post(json={}, headers={"X-Request-ID": 'a"\tb'})
    assert answer.headers["x-request-id"].isalnum()


@pytest.mark.parametrize("size", [10, INLINE + 10])
@pytest.mark.parametrize("quick", [True, False])
def test_quick_models_answer_small_requests_on_the_loop_and_all_others_in_a_thread(size, quick):
    here = threading.main_thread()
    model = Echo(lambda asked: threading.current_thread() is here, quick)
    said = Asking(Place(model)).post(content=json.dumps("x" * size)).json()["said"]
    assert said == (quick and size < INLINE)


def test_a_problem_is_an_rfc_9457_document_with_rows(asking):
    def refuse(asked: Asked) -> None:
        raise Problem("bad-rows", "one of 3", rows=[RowFault(1, "price", "is no number")])

    answer = Asking(Place(Echo(refuse))).post(json=[], headers={"X-Request-ID": "r1"})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:fuseline:problem:bad-rows",
        "title": "Some rows cannot be scored",
        "status": 422,
        "detail": "one of 3",
        "request_id": "r1",
        "rows": [{"row": 1, "column": "price", "reason": "is no number"}],
    }


def test_a_model_that_raises_is_told_from_a_fault_of_ours():
    from fuseline.errors import ModelFault

    def fail(asked: Asked) -> None:
        raise ModelFault("predict in predict.py failed: KeyError: 'x'")

    answer = Asking(Place(Echo(fail))).post(json={})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:fuseline:problem:model-failed")
    asking = Asking(Place(Echo(lambda asked: 1 / 0)))
    answer = asking.post(json={})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:fuseline:problem:fault")
    assert "division" not in answer.text and "division" in asking.lines[-1]["error"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_with_the_limit(declared):
    asking = Asking(Place(Echo()), bounds=Bounds(body_bytes=1000))

    async def pieces():
        for _ in range(20):
            yield b"x" * 100

    answer = asking.post(content=b"x" * 2000 if declared else pieces())
    assert answer.status_code == 413 and "1,000 bytes" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"


def test_a_body_that_does_not_arrive_is_given_up():
    async def slowly():
        yield b"{"
        await asyncio.sleep(30)

    answer = Asking(Place(Echo()), bounds=Bounds(seconds=0.05)).post(content=slowly())
    assert answer.status_code == 408 and "0.05 s" in answer.json()["detail"]


def test_a_model_that_hangs_is_answered_with_504_and_the_next_request_is_answered():
    stuck, lost = threading.Event(), []

    def hang(asked: Asked) -> None:
        if asked.body == b"1":
            stuck.wait(20)

    asking = Asking(Place(Echo(hang)), bounds=Bounds(seconds=0.1), on_lost=lost.append)
    answer = asking.post(content=b"1")
    assert answer.status_code == 504 and "0.1 s" in answer.json()["detail"] and lost == [1]
    assert asking.post(content=b"2").status_code == 200
    assert "fuseline_model_calls_lost 1.0" in asking.request("GET", "/metrics").text
    stuck.set()


def test_over_the_limit_429_is_said_and_those_in_flight_are_answered():
    go = threading.Event()

    def wait(asked: Asked) -> None:
        go.wait(20)

    asking = Asking(Place(Echo(wait)), bounds=Bounds(requests=3))

    async def flood() -> list[httpx.Response]:
        async def late(client: httpx.AsyncClient) -> httpx.Response:
            while asking.api._held < 3:
                await asyncio.sleep(0.005)
            answer = await client.post("/predict", json={})
            go.set()
            return answer

        return await asking.many(*[lambda client: client.post("/predict", json={})] * 3, late)

    answers = asyncio.run(flood())
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert answers[3].headers["retry-after"] == "1"


@pytest.mark.parametrize(("size", "status"), [(999, 429), (1000, 200)])
def test_a_body_in_pieces_of_no_known_size_counts_as_the_largest_until_it_is_there(size, status):
    asking, asked = Asking(Place(Echo()), bounds=Bounds(body_bytes=1000, held_bytes=size)), []

    async def pieces():
        asked.append(asking.api._held_bytes)
        yield b"{}"

    assert asking.post(content=pieces()).status_code == status
    assert asked in ([], [1000]) and asking.api._held_bytes == 0


def test_before_the_model_is_warm_nothing_but_health_is_answered():
    asking = Asking(Place())
    assert asking.request("GET", "/healthz").status_code == 200
    assert asking.request("GET", "/readyz").status_code == 503
    answer = asking.post(json={})
    assert answer.status_code == 503 and "retry-after" in answer.headers


def test_an_open_breaker_says_why_and_when_and_counts_as_ready():
    why = Problem("breaker-open", "price in cents", headers={"Retry-After": "90"})
    asking = Asking(Place(problem=why, breaker="open"))
    answer = asking.post(json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "90")
    assert asking.request("GET", "/readyz").json() == {
        "ready": True, "name": "echo", "breaker": "open", "reason": "price in cents"
    }  # fmt: skip
    assert 'fuseline_breaker{state="open"} 1.0' in asking.request("GET", "/metrics").text


def test_keys_are_needed_where_there_are_some_but_not_for_health_and_the_empty_page():
    (mine, entry), (other, another) = new("shop"), new("till")
    asking = Asking(Place(Echo()), keys=Keys.parse(f"{entry} {another}"))
    for headers in ({"Authorization": f"Bearer {mine}"}, {"X-API-Key": other}):
        assert asking.post(json={}, headers=headers).status_code == 200
    assert [line["client"] for line in asking.lines] == ["shop", "till"]
    for headers in ({}, {"Authorization": "Bearer fl_wrong"}, {"X-API-Key": entry}):
        answer = asking.post(json={}, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    for path in ("/model", "/openapi.json", "/metrics", "/v2", "/v2/models/echo"):
        assert asking.request("GET", path).status_code == 401, path
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/"):
        assert asking.request("GET", path).status_code == 200, path


def test_two_requests_with_the_same_key_at_once_are_both_answered():
    mine, entry = new("shop")
    asking = Asking(Place(Echo()), keys=Keys.parse(entry))
    headers = {"X-API-Key": mine}
    answers = asyncio.run(asking.many(*[lambda client: client.post("/predict", json=1, headers=headers)] * 2))
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_wrong_method_says_the_right_one(asking):
    answer = asking.request("GET", "/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert asking.request("DELETE", "/healthz").headers["allow"] == "GET, HEAD"
    assert asking.request("HEAD", "/healthz").content == b""


@pytest.mark.parametrize("path", ["/nothing", "/assets/../keys.py", "/assets/%2e%2e/keys.py", "/v2/models", "/v2/x"])
def test_an_unknown_address_is_not_found(asking, path):
    assert asking.request("GET", path).status_code == 404


def test_a_form_reaches_the_model_with_its_file():
    def seen(asked: Asked) -> Any:
        assert asked.form is not None
        image = asked.form["image"]
        assert isinstance(image, File)
        return [asked.form["width"], image.name, image.data.decode(), image.media_type]

    files = {"image": ("cat.png", b"\x89PNG"[1:], "image/png")}
    answer = Asking(Place(Echo(seen))).post(data={"width": "64"}, files=files)
    assert answer.json()["said"] == ["64", "cat.png", "PNG", "image/png"]


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_broken_form_is_refused(asking, kind):
    answer = asking.post(content=b"--x\r\nhalf", headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text


def test_the_inference_protocol_has_its_own_errors_and_one_model(asking):
    assert asking.request("GET", "/v2/models/echo/ready").status_code == 200
    assert asking.request("GET", "/v2/models/echo/versions/v0001").json()["name"] == "echo"
    for path in ("/v2/models/other", "/v2/models/echo/versions/v0009"):
        answer = asking.request("GET", path)
        assert answer.status_code == 404 and list(answer.json()) == ["error"]


def test_metrics_count_by_route_whatever_is_asked_for(asking):
    asking.post(json={})
    for n in range(3):
        asking.request("GET", f"/made/up/{n}")
    text = asking.request("GET", "/metrics").text
    assert 'fuseline_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'fuseline_requests_total{route="other",status="404"} 3.0' in text
    assert 'fuseline_version{mode="champion",version="v0001"} 1.0' in text


def test_health_is_not_in_the_log(asking):
    for path in ("/healthz", "/readyz", "/metrics"):
        asking.request("GET", path)
    assert asking.lines == []


def test_a_promotion_amid_a_request_leaves_it_with_the_version_that_it_began_with():
    class Newer(Echo):
        version = "v0002"

    place = Place()

    def promote(asked: Asked) -> str:
        place.standing = Standing(Newer())
        return "done"

    place.standing = Standing(Echo(promote))
    asking = Asking(place)
    answers = [asking.post(json={}), asking.post(json={})]
    assert [(a.json()["version"], a.headers["x-model-version"]) for a in answers] == [("v0001",) * 2, ("v0002",) * 2]
