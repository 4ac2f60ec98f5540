"""The pages served live from the ledgers, by FastAPI: read-only, without anything from elsewhere.

GET /                                    all projects, or the only one
GET /<project>/                          its dashboard
GET /<project>/batches/<batch>.html      a batch that has an outcome
GET /<project>/evidently/<file>          Evidently's own page on a batch
GET /<project>/runs/<flow>/<run>         what a run wrote, and its cards; .../<number> is one of them
GET /healthz  /readyz  /metrics          for machines
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fuseline import answers, bootstrap, cards, exposition, pages, server
from fuseline.bootstrap import Line
from fuseline.cards import Shelf
from fuseline.chronicle import Chronicle
from fuseline.errors import FuselineError, NotFound
from fuseline.follower import FRESH, PATIENCE, Follower
from fuseline.pages import CardLink, Live, Standing
from fuseline.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response


class Dashboard:
    """What is served: the projects of a folder, each followed by its ledger.

    Args:
        opened: opens the line of a project, by its name; by default as the settings say.
        fresh, patience: in seconds, see `Follower`.
        shelf: has the cards of runs; by default those that Metaflow knows of with these settings.
    """

    def __init__(
        self,
        settings: Settings,
        opened: Callable[[str], Line] | None = None,
        fresh: float = FRESH,
        patience: float = PATIENCE,
        shelf: Shelf | None = None,
    ) -> None:
        self.settings, self._times = settings, (fresh, patience)
        self._opened = opened or partial(bootstrap.line, settings=settings)
        self._followers: dict[str, Follower] = {}
        self._shelf = shelf or Shelf(lambda flow, run: cards.read(flow, run, settings.environment()))

    def followers(self) -> dict[str, Follower]:
        """One for each project that is in the folder now, by name."""
        names = sorted(toml.parent.name for toml in self.settings.projects.glob("*/project.toml"))
        self._followers = {name: self._followers.get(name) or self._new(name) for name in names}
        return self._followers

    def _new(self, name: str) -> Follower:
        return Follower(name, partial(self._opened, name), self.settings.clock, *self._times)

    async def look(self) -> list[Standing]:
        """Every project as it stands now."""
        followers = self.followers().values()
        await asyncio.gather(*(follower.look() for follower in followers))
        return [Standing(f.project, f.chronicle, f.facts, f.trouble) for f in followers]

    async def _follow(self, request: Request) -> tuple[Follower, Live]:
        """The project that the address names, with all that is new. Raises NotFound."""
        name, followers = request.path_params["project"], self.followers()
        follower = followers.get(name)
        if follower is None:
            known = ", ".join(followers) or "none"
            raise NotFound(f"There is no project {name!r} in {self.settings.projects}. Projects: {known}.")
        await follower.look()
        return follower, Live(follower.trouble, len(followers) > 1)

    # ── for people ───────────────────────────────────────────────────────────────────────────────

    async def overview(self, request: Request) -> Response:
        """All projects; where there is only one, its dashboard."""
        followers = self.followers()
        if len(followers) == 1:
            return answers.elsewhere(*followers)
        if not followers:
            raise NotFound(f"There is no project in {self.settings.projects}. FUSELINE_PROJECTS names the folder.")
        standings = await self.look()
        shut = all(standing.trouble for standing in standings)
        return answers.page(request, pages.overview(standings, self.settings.clock()), 503 if shut else 200)

    async def project(self, request: Request) -> Response:
        """The address of a project without the slash at its end."""
        return answers.elsewhere((await self._follow(request))[0].project)

    async def index(self, request: Request) -> Response:
        """The dashboard of a project."""
        follower, live = await self._follow(request)

        async def make(chronicle: Chronicle) -> bytes:
            return pages.dashboard(follower.project, follower.facts, chronicle, self.settings.clock(), live)

        return answers.page(request, await follower.page("index.html", make), _status(live))

    async def batch(self, request: Request) -> Response:
        """The page of a batch."""
        follower, live = await self._follow(request)
        name = str(request.path_params["batch"])

        async def make(chronicle: Chronicle) -> bytes:
            outcome = chronicle.outcome(name)
            if outcome is None:
                raise NotFound(f"The ledger of {follower.project} has no outcome of a batch {name!r}.")
            second = await follower.second(outcome.event)
            return pages.batch(follower.project, follower.facts, chronicle, name, second, live)

        return answers.page(request, await follower.page(f"batches/{name}", make), _status(live))

    async def evidently(self, request: Request) -> Response:
        """Evidently's own page on a batch."""
        follower, _ = await self._follow(request)
        return answers.foreign(request, await follower.evidently(request.path_params["file"]))

    async def run(self, request: Request) -> Response:
        """What a run wrote to the ledger, and the cards that it left."""
        follower, live = await self._follow(request)
        name = _run_name(request)
        found = await self._shelf.cards(*name.split("/"))
        wrote = [e for e in (follower.chronicle.entries if follower.chronicle else []) if e.by == name]
        if not wrote and not found.known:
            raise NotFound(f"The ledger of {follower.project} has no entry by {name}. {found.why}")
        number = name.partition("/")[2]
        links = [
            CardLink(f"{card.step}, task {card.task}: {card.kind}", f"{number}/{place}")
            for place, card in enumerate(found.cards, 1)
        ]
        return answers.page(request, pages.run(follower.project, name, wrote, links, found.why, live), _status(live))

    async def card(self, request: Request) -> Response:
        """One card of a run, as it left it."""
        name = _run_name(request)
        found, place = await self._shelf.cards(*name.split("/")), request.path_params["place"]
        if not 1 <= place <= len(found.cards):
            raise NotFound(f"{name} has no card {place}. {found.why}")
        return answers.foreign(request, found.cards[place - 1].html.encode(), framed=True)

    # ── for machines ─────────────────────────────────────────────────────────────────────────────

    async def health(self, request: Request) -> Response:
        """That the process lives; no store is asked."""
        return answers.json(200, {"alive": True})

    async def ready(self, request: Request) -> Response:
        """Whether every project's ledger can be read."""
        standings = await self.look()
        said = {s.project: s.trouble.text if s.trouble else "ok" for s in standings}
        well = bool(standings) and not any(s.trouble for s in standings)
        reason = {} if standings else {"reason": f"there is no project in {self.settings.projects}"}
        return answers.json(200 if well else 503, {"ready": well, "projects": said, **reason})

    async def metrics(self, request: Request) -> Response:
        """All of it for Prometheus."""
        from fastapi import Response

        standings = await self.look()
        accept = request.headers.get("accept", "")
        body, content_type = exposition.render(standings, self.settings.clock(), accept)
        return Response(body, media_type=None, headers={"Content-Type": content_type})


def _run_name(request: Request) -> str:
    name = f"{request.path_params['flow']}/{request.path_params['run']}"
    if pages.RUN.fullmatch(name) is None:
        raise NotFound(f"{name!r} is not the run of a flow. A run is called like InferenceFlow/1763740000000000.")
    return name


def _status(live: Live) -> int:
    return 503 if live.trouble else 200


def application(dashboard: Dashboard) -> FastAPI:
    """The dashboard as an ASGI application. Raises SettingsError where FastAPI is not installed."""
    server.need()
    from fastapi import FastAPI
    from starlette.middleware.base import BaseHTTPMiddleware

    handlers: dict[Any, Any] = {FuselineError: answers.failed, Exception: answers.failed, 404: answers.nothing}
    app = FastAPI(openapi_url=None, redirect_slashes=False, exception_handlers=handlers)
    app.add_middleware(BaseHTTPMiddleware, dispatch=answers.guard)
    routes = {
        "/": dashboard.overview,
        "/healthz": dashboard.health,
        "/readyz": dashboard.ready,
        "/metrics": dashboard.metrics,
        "/{project}": dashboard.project,
        "/{project}/": dashboard.index,
        "/{project}/index.html": dashboard.index,
        "/{project}/batches/{batch}.html": dashboard.batch,
        "/{project}/evidently/{file}": dashboard.evidently,
        "/{project}/runs/{flow}/{run}": dashboard.run,
        "/{project}/runs/{flow}/{run}/{place:int}": dashboard.card,
    }
    for path, endpoint in routes.items():
        app.add_route(path, endpoint, methods=list(answers.METHODS))
    return app


def serve(
    settings: Settings, host: str = "127.0.0.1", port: int = 8080, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve the dashboard of all projects until the process is interrupted.

    Args:
        host: the address to listen at; another one than this, e.g. `0.0.0.0`, lets other machines in.
        port: 0 takes a free one.
        ready: called with the address of the pages once they can be asked for.

    Raises:
        SettingsError: FastAPI or uvicorn is not installed, or the address cannot be had.
    """
    server.run(application(Dashboard(settings)), host, port, ready)
