"""One model behind HTTP, as an ASGI application without a framework: what stands between bytes and the model is little.

POST /predict                    one JSON object or a list; ?threshold=0.7, ?partial=true
GET /model  /openapi.json        what it takes and gives
GET /  /docs  /assets/<file>     pages for people; they hold nothing of the model
GET /healthz  /readyz  /metrics  for machines
GET /v2…, POST /v2/models/<name>/infer     the Open Inference Protocol
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from fuseline.errors import FuselineError
from fuseline.serving import forms
from fuseline.serving.bounds import Bounds
from fuseline.serving.gauges import Gauges
from fuseline.serving.journal import Journal
from fuseline.serving.keys import Keys, presented
from fuseline.serving.message import Gone, Receive, Reply, Request, Send
from fuseline.serving.problem import Problem
from fuseline.serving.served import JSON, Answered, Asked, Gathering, Served, Source, encode
from fuseline.serving.worker import Worker

if TYPE_CHECKING:
    from fuseline.serving.traffic import Traffic

INLINE = 32_768  # bytes of a request that a folded model answers on the loop: some hundred rows, under a millisecond
QUIET = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")  # not in the journal
OPEN = ("/", "/docs", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # need no key, and tell nothing
Handler = Callable[[Request], Awaitable[Reply]]


class Api:
    """Answers requests with what a source offers at that moment.

    Args:
        keys: who may ask; none, and everybody may.
        traffic: where requests and answers are kept, if they are.
        on_lost: called with how many calls of the model never came back.
    """

    def __init__(
        self,
        source: Source,
        bounds: Bounds | None = None,
        keys: Keys | None = None,
        traffic: Traffic | None = None,
        journal: Journal | None = None,
        on_lost: Callable[[int], None] = lambda lost: None,
    ) -> None:
        self.source, self.bounds, self.keys, self.traffic = source, bounds or Bounds(), keys, traffic
        self.journal, self.gauges, self.worker = journal or Journal(), Gauges(), Worker(on_lost)
        self._held = self._held_bytes = 0
        self._routes: dict[str, tuple[str, Handler]] = {
            "/predict": ("POST", self.predict),
            "/": ("GET", self.page),
            "/docs": ("GET", self.docs),
            "/model": ("GET", self.model),
            "/openapi.json": ("GET", self.openapi),
            "/healthz": ("GET", self.health),
            "/readyz": ("GET", self.ready),
            "/metrics": ("GET", self.metrics),
            "/v2": ("GET", self.v2_server),
            "/v2/health/live": ("GET", self.health),
            "/v2/health/ready": ("GET", self.ready),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """What an ASGI server calls for each connection of a client."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(Request(scope, receive, self.source.standing), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.worker.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, request: Request, send: Send) -> None:
        """Route, answer, count and note one request; whatever fails is an answer, too."""
        started = perf_counter()
        method, handler, route = self._route(request.path)
        client = None
        try:
            if self.keys is not None and request.path not in OPEN and route != "/assets":
                client = self._known(request)
            if request.method != method and not (method == "GET" and request.method == "HEAD"):
                detail = f"{request.method} {request.path} is not there: {request.path} takes {method}"
                raise Problem("wrong-method", detail, headers={"Allow": "GET, HEAD" if method == "GET" else method})
            reply = await handler(request)
        except Problem as problem:
            reply = self._refused(request, problem)
        except Gone:
            return
        except Exception as error:  # ours: the client is told no more than that, the journal has it all
            fault = Problem("fault", f"{type(error).__name__} in Fuseline itself; the log has request {request.id}")
            reply = self._refused(request, fault)
            await self._send(request, reply, send)
            self._note(request, route, reply, started, client, error=repr(error))
            raise
        await self._send(request, reply, send)
        self._note(request, route, reply, started, client)

    def _route(self, path: str) -> tuple[str, Handler, str]:
        """Method, handler and name of an address; the names are few, whatever is asked for."""
        found = self._routes.get(path)
        if found is not None:
            return *found, path
        if path.startswith("/assets/"):
            return "GET", self.asset, "/assets"
        parts = path.split("/")
        if parts[1:3] != ["v2", "models"] or len(parts) < 4:
            return "GET", self.nothing, "other"
        if len(parts) > 5 and parts[4] == "versions":
            del parts[4:6]
        match parts[4:]:
            case []:
                return "GET", self.v2_model, "/v2/models"
            case ["ready"]:
                return "GET", self.v2_ready, "/v2/models/ready"
            case ["infer"]:
                return "POST", self.v2_infer, "/v2/models/infer"
        return "GET", self.nothing, "other"

    def _known(self, request: Request) -> str:
        assert self.keys is not None
        name = self.keys.check(presented(request.headers.items()))
        if name is None:
            detail = "send a key as `Authorization: Bearer …` or `X-API-Key: …`; `fuseline key NAME` makes one"
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
        return name

    def _refused(self, request: Request, problem: Problem) -> Reply:
        if not request.path.startswith("/v2"):
            return Reply.of(problem, request.id)
        said = msgspec.json.encode({"error": f"{problem.title}: {problem.detail}"})
        return Reply(said, problem.status, headers=problem.headers, rejected=len(problem.rows))

    async def _send(self, request: Request, reply: Reply, send: Send) -> None:
        served = request.standing.served
        version = served.version.encode() if served else b""
        await request.send(reply, send, ((b"x-model-version", version),) if version else ())

    def _note(
        self,
        request: Request,
        route: str,
        reply: Reply,
        started: float,
        client: str | None,
        **more: Any,
    ) -> None:
        seconds = perf_counter() - started
        self.gauges.answered(route, reply.status, seconds, reply.rows, reply.rejected)
        if route in QUIET:
            return
        facts: dict[str, Any] = {"request_id": request.id, "method": request.method, "path": request.path[:200]}
        facts |= {"status": reply.status, "ms": round(seconds * 1000, 3), "rows": reply.rows}
        if reply.rejected:
            facts["rejected"] = reply.rejected
        if client is not None:
            facts["client"] = client
        if request.standing.served is not None:
            facts["version"] = request.standing.served.version
        note = {500: self.journal.error, 503: self.journal.warning, 504: self.journal.warning}
        note.get(reply.status, self.journal.info)("request", **facts, **more)

    # ── predictions ──────────────────────────────────────────────────────────────────────────────

    async def predict(self, request: Request) -> Reply:
        """POST /predict."""
        served = self._served(request)
        return await self._holding(request, lambda body: self._predict(served, request, body))

    async def _predict(self, served: Served, request: Request, body: bytes) -> Reply:
        media_type, form = request.media_type, None
        if media_type == forms.ENCODED and body[:1] in (b"{", b"["):
            media_type = JSON  # what curl sends where nobody says what it is
        if media_type in (forms.MULTIPART, forms.ENCODED):
            form = forms.parse(body, request.content_type)
        asked = Asked(body, media_type, request.query(), form, request.id)
        if served.quick and len(body) <= INLINE:
            answered = self._kept(served, asked, served.answer(asked))
        elif len(body) <= INLINE and isinstance(served, Gathering):
            answered = self._kept(served, asked, await self._gathered(served, asked))
        else:
            answered = await self._worked(lambda: self._kept(served, asked, served.answer(asked)))
        return Reply(answered.body, 200, answered.media_type, rows=answered.rows, rejected=answered.rejected)

    def _kept(self, served: Served, asked: Asked, answered: Answered) -> Answered:
        if self.traffic is not None:
            self.traffic.add(asked, answered, served.version)
        return answered

    async def _holding(self, request: Request, answer: Callable[[bytes], Awaitable[Reply]]) -> Reply:
        """Read a body and answer it, unless too many are held already."""
        length = request.length(self.bounds)
        if (encoding := request.headers.get(b"content-encoding", b"identity")) != b"identity":
            raise Problem("wrong-media-type", f"the body is encoded as {encoding!r}: send it as it is")
        if self._held >= self.bounds.requests:
            raise self._busy(f"{self._held} requests are being answered, the limit")
        if self._held_bytes + length > self.bounds.held_bytes:
            raise self._busy(f"the requests that are being answered have {self._held_bytes:,} bytes")
        self._held += 1
        self._held_bytes += length
        try:
            body = await request.body(self.bounds)
            self._held_bytes += len(body) - length
            length = len(body)
            return await answer(body)
        finally:
            self._held -= 1
            self._held_bytes -= length

    def _busy(self, why: str) -> Problem:
        return Problem("busy", f"{why}: ask again in a second", headers={"Retry-After": "1"})

    async def _gathered(self, served: Gathering, asked: Asked) -> Answered:
        """The answer of a call for all requests that wait for the same model. Raises Problem."""
        answered: Answered = await self._within(self.worker.run_together(served.answer_all, asked, self.bounds.seconds))
        return answered

    async def _worked(self, call: Callable[[], Any]) -> Any:
        """What a call of the model returns, in its thread. Raises Problem."""
        return await self._within(self.worker.run(call, self.bounds.seconds))

    async def _within(self, waiting: Awaitable[Any]) -> Any:
        try:
            return await waiting
        except TimeoutError as error:
            detail = f"no answer within {self.bounds.seconds:g} s, the limit. Send fewer rows, or ask again"
            raise Problem("too-slow", detail, limit=self.bounds.seconds) from error
        except FuselineError as error:
            raise Problem("model-failed", str(error)) from error

    def _served(self, request: Request) -> Served:
        """The model that answers. Raises Problem where none does."""
        standing = request.standing
        if standing.served is not None:
            return standing.served
        why = standing.problem or Problem("not-ready", "the model is being loaded", headers={"Retry-After": "1"})
        raise why.with_traceback(None)  # it is raised by one request after the other

    # ── for people ───────────────────────────────────────────────────────────────────────────────

    async def page(self, request: Request) -> Reply:
        """The page of the model: its own, or the one that is made of its contract."""
        from fuseline.serving import page

        own = self.source.page
        if own is not None:
            return _html(own.read_bytes(), page.own_policy())
        return _html(page.shell(self.source.name), page.policy())

    async def docs(self, request: Request) -> Reply:
        """The document of the API, for people to read and to try."""
        from fuseline.serving import page

        return _html(page.docs(), page.docs_policy())

    async def asset(self, request: Request) -> Reply:
        """A file of the pages."""
        from fuseline.serving import page

        found = page.asset(request.path.removeprefix("/assets/"))
        if found is None:
            return await self.nothing(request)
        return Reply(found[0], media_type=found[1], headers={"Cache-Control": "max-age=3600"})

    async def model(self, request: Request) -> Reply:
        """What the model takes."""
        from fuseline.serving.description import describe

        served = self._served(request)
        threshold = getattr(served, "threshold", None)
        said = describe(served, threshold, asdict(self.bounds))
        return Reply(encode({**said, "trouble": request.standing.trouble}))

    async def openapi(self, request: Request) -> Reply:
        """The document of the API, for machines."""
        from fuseline.serving.openapi import document

        said = document(self.source.standing.served, self.source.name, asdict(self.bounds), self.keys is not None)
        return Reply(encode(said))

    async def nothing(self, request: Request) -> Reply:
        """There is no such address."""
        raise Problem("not-found", f"there is nothing at {request.path[:200]}. GET /docs says what there is")

    # ── for machines ─────────────────────────────────────────────────────────────────────────────

    async def health(self, request: Request) -> Reply:
        """That the process lives."""
        return Reply(b'{"live":true}')

    async def ready(self, request: Request) -> Reply:
        """Whether requests are answered: a model is warm, or an open breaker says why none answers."""
        standing = self.source.standing
        held_back = standing.problem is not None and standing.problem.kind == "breaker-open"
        said: dict[str, Any] = {"ready": standing.served is not None or held_back, "name": self.source.name}
        if standing.served is not None:
            said |= {"version": standing.served.version, "mode": standing.served.mode}
        if standing.breaker is not None:
            said["breaker"] = standing.breaker
        if standing.problem is not None:
            said["reason"] = standing.problem.detail
        trouble = [standing.trouble, self.traffic.trouble if self.traffic is not None else ""]
        if any(trouble):
            said["trouble"] = " ".join(filter(None, trouble))
        return Reply(msgspec.json.encode(said), 200 if said["ready"] else 503)

    async def metrics(self, request: Request) -> Reply:
        """All of it for Prometheus."""
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        body, content_type = self.gauges.render(self.source.standing, self._held, self.worker.lost, accept)
        return Reply(body, media_type=content_type)

    # ── the Open Inference Protocol ──────────────────────────────────────────────────────────────

    async def v2_server(self, request: Request) -> Reply:
        """What serves."""
        from fuseline.serving import v2

        return Reply(encode(v2.server()))

    async def v2_model(self, request: Request) -> Reply:
        """What the model takes, in tensors."""
        from fuseline.serving import v2

        served = self._named(request)
        return Reply(encode(await self._worked(lambda: v2.model(served))))

    async def v2_infer(self, request: Request) -> Reply:
        """An inference."""
        served = self._named(request)
        return await self._holding(request, lambda body: self._infer(served, request, body))

    async def _infer(self, served: Served, request: Request, body: bytes) -> Reply:
        from fuseline.serving import v2

        said = request.headers.get(v2.JSON_LENGTH.lower().encode())
        if said is not None and not (said.isdigit() and len(said) < 19):
            raise Problem("bad-request", f"{v2.JSON_LENGTH} is {said[:40]!r}: expected a number of bytes")
        length = None if said is None else int(said)
        answer, headers, rows = await self._worked(lambda: v2.infer(served, body, length, self.bounds))
        return Reply(answer, 200, headers.pop("Content-Type", JSON), headers, rows=rows)

    async def v2_ready(self, request: Request) -> Reply:
        """Whether the model that the address names is ready."""
        if request.standing.served is not None:
            self._named(request)
        return await self.ready(request)

    def _named(self, request: Request) -> Served:
        """The model, if it is the one, in the version, that the address names. Raises Problem."""
        served, parts = self._served(request), request.path.split("/")
        if parts[3] != served.name:
            raise Problem("not-found", f"there is no model {parts[3]!r}; the one that is served is {served.name!r}")
        if len(parts) > 5 and parts[4] == "versions" and parts[5] != served.version:
            raise Problem("not-found", f"version {parts[5]!r} is not served; {served.version} is")
        return served


def _html(body: bytes, policy: str) -> Reply:
    return Reply(body, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy})
