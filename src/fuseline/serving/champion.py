"""A source that follows the ledger of a project: whoever is to answer by it is loaded first, and then swapped in."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from fuseline.bootstrap import Line
from fuseline.errors import FuselineError, StoreError
from fuseline.models import Model, registered
from fuseline.serving.beside import Beside
from fuseline.serving.bounds import Bounds
from fuseline.serving.problem import Problem
from fuseline.serving.served import Served, Standing
from fuseline.serving.trail import Trail
from fuseline.state import State

if TYPE_CHECKING:
    import pyarrow as pa

EVERY = 2.0  # seconds between two looks
PATIENCE = 30.0  # seconds until a version that could not be loaded is tried again
NOBODY_KNOWS = 60  # seconds after which a client may ask again where no time is set

Build = Callable[[Model, Sequence[tuple["pa.Table", str]], "Wanted"], Served]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Who is to answer by the ledger, as what, and why that is not the champion."""

    version: str
    mode: Literal["champion", "fallback"] = "champion"
    reason: str = ""


def wanted(state: State, while_open: Literal["hold", "fallback"]) -> Wanted | None:
    """Who is to answer; None where nobody may.

    While the breaker is not closed that is, by policy, nobody, or the version that was good when it opened: the
    champion of before the one that it opened upon. That one goes on answering while a new champion is on trial.
    """
    if state.breaker.status == "closed":
        return Wanted(state.champion) if state.champion is not None else None
    before = [tenure.version for tenure in state.tenures if tenure.seq < state.tripped]
    good = next((version for version in reversed(before) if version != before[-1]), None)
    if while_open == "hold" or good is None:
        return None
    return Wanted(good, "fallback", state.breaker.reason)


def problem(state: State, project: str, now: str) -> Problem:
    """Why nobody answers, and what to do about it.

    Args:
        now: ISO 8601 in UTC.
    """
    breaker = state.breaker
    if state.champion is None:
        return Problem("not-ready", f"no version of {project} is the champion: fuseline train {project}")
    until, waits = breaker.until, "a trial batch passes"
    if breaker.status == "open":
        waits = "a new champion passes a trial batch" if until is None else f"{waits}, from {until} on"
    by_hand = f"`fuseline breaker reset {project} --reason …` closes it"
    left = 0
    if breaker.status == "open" and until is not None:
        left = math.ceil((datetime.fromisoformat(until) - datetime.fromisoformat(now)).total_seconds())
    return Problem(
        "breaker-open",
        f"the breaker of {project} is {breaker.status.replace('_', '-')} since {breaker.since}: {breaker.reason}. "
        f"Nothing is predicted until {waits}, or {by_hand}",
        headers={"Retry-After": str(left if left > 0 else NOBODY_KNOWS)},
        version=state.champion,
        since=breaker.since,
    )


class Champion:
    """Implements `Source` for a project.

    Args:
        every: seconds between two looks.
        bounds: of the requests that the versions take.
        build: makes of a version what answers; by default `Scored`.
        patience: seconds until a version that could not be loaded is tried again.
    """

    def __init__(
        self,
        line: Line,
        every: float = EVERY,
        bounds: Bounds | None = None,
        build: Build | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.line, self.every, self._bounds, self._patience = line, every, bounds, patience
        self.name = line.project.name
        own = line.project.folder / "page.html"
        self.page = own if own.is_file() else None
        self.standing = Standing(problem=Problem("not-ready", f"{self.name} is being loaded"))
        self._build = build or self._scored
        self._trail, self._beside = Trail(line.ledger), Beside(line.store, line.project)
        self._models: dict[tuple[str, str], Model] = {}  # by version and digest of its manifest
        self._digests: dict[tuple[int, str], str] = {}  # by ledger and version
        self._loaded: dict[Wanted, tuple[object, Served]] = {}  # with what else it was made of
        self._failed: tuple[object, FuselineError, float] | None = None  # what, why, and when it is tried again
        self._since = ""  # when the trouble began

    def look(self) -> bool:
        """Read on in the ledger, load and warm up whoever is to answer, and only then replace `standing`."""
        before = self.standing
        troubles: list[FuselineError] = []
        try:
            self._trail.look()
        except FuselineError as error:
            troubles.append(error)
        state = self._trail.state
        if state is None:
            unread = Problem("not-ready", f"the ledger of {self.name} cannot be read: {troubles[0]}")
            self._stand(None, unread, None, troubles)
            return False
        served: Served | None = None
        why: Problem | None = None
        if (one := wanted(state, self.line.project.config.breaker.while_open)) is None:
            why = problem(state, self.name, self.line.settings.clock())
        else:
            if before.served is not None and one not in self._loaded and not _may_go_on(before.served, one):
                self._stand(None, self._not_loaded(one, state, troubles), state, troubles)  # until it is loaded
            served = self._ready(one, state, troubles)
            if served is None and _may_go_on(before.served, one):
                served = before.served
            if served is None:
                why = self._not_loaded(one, state, troubles)
        self._stand(served, why, state, troubles)
        return served is not None and served is not before.served

    def _stand(
        self, served: Served | None, why: Problem | None, state: State | None, troubles: Sequence[FuselineError] = ()
    ) -> None:
        """Replace `standing`, in one assignment."""
        said = ". ".join(str(error).rstrip(".") for error in troubles)
        self._since = (self._since or self.line.settings.clock()) if said else ""
        goes_on = "" if served is None else f". {served.version} goes on answering"
        trouble = f"since {self._since}: {said}{goes_on}" if said else ""
        if trouble and trouble != self.standing.trouble:
            log.warning("%s: %s", self.name, trouble)
        self.standing = Standing(served, why, None if state is None else state.breaker.status, trouble)

    def _not_loaded(self, one: Wanted, state: State, troubles: Sequence[FuselineError]) -> Problem:
        """Why nobody answers although somebody is to: what a breaker holds back is not let through for that."""
        if one.mode == "fallback":
            return problem(state, self.name, self.line.settings.clock())
        said = ". ".join(str(error).rstrip(".") for error in troubles)
        return Problem("not-ready", f"{one.version} of {self.name} cannot be loaded: {said}")

    # ── loading ──────────────────────────────────────────────────────────────────────────────────

    def _ready(self, one: Wanted, state: State, troubles: list[FuselineError]) -> Served | None:
        """What answers for `one`: loaded before, or now; None where that fails, and why is added to `troubles`."""
        try:
            self._beside.look()
        except FuselineError as error:
            troubles.append(error)
            if not self._beside.read:
                return None
        made_of = (self._trail.ledgers, tuple(sorted(self._beside.kept.items())))
        known = self._loaded.get(one)
        if known is not None and known[0] == made_of:
            return known[1]
        try:
            return self._load(one, made_of, state)
        except FuselineError as error:
            troubles.append(error)
            return None

    def _load(self, one: Wanted, made_of: object, state: State) -> Served:
        """Open, build and warm up. Raises FuselineError, for a while without trying again."""
        what = (one, made_of)
        if self._failed is not None and self._failed[0] == what and time.monotonic() < self._failed[2]:
            raise self._failed[1].with_traceback(None)
        try:
            model = self._opened(one.version, state)
            served = self._build(model, self._beside.tables, one)
            served.warm_up()
        except StoreError:
            raise  # it may answer at the next look
        except FuselineError as error:
            self._failed = what, error, time.monotonic() + self._patience
            raise
        except (Exception, SystemExit) as error:  # a project's own code can fail in any way
            log.exception("%s: %s cannot be loaded", self.name, one.version)
            failure = FuselineError(f"{one.version} failed as it was loaded: {type(error).__name__}: {error}")
            self._failed = what, failure, time.monotonic() + self._patience
            raise failure from error
        self._failed = None
        self._keep(one, (made_of, served), state)
        return served

    def _opened(self, version: str, state: State) -> Model:
        """The version as it was registered, opened once."""
        place = (self._trail.ledgers, version)
        if place not in self._digests:
            self._digests[place] = registered(self.line.ledger, version, state)
        key = (version, self._digests[place])
        if key not in self._models:
            self._models[key] = self.line.models.open(*key)
        return self._models[key]

    def _keep(self, one: Wanted, loaded: tuple[object, Served], state: State) -> None:
        """Keep what answers, and the champion where it was loaded, so that a breaker that closes needs no loading."""
        champion = None if state.champion is None else Wanted(state.champion)
        self._loaded = {w: kept for w, kept in self._loaded.items() if w == champion} | {one: loaded}
        versions = {w.version for w in self._loaded}
        self._models = {key: model for key, model in self._models.items() if key[0] in versions}

    def _scored(self, model: Model, tables: Sequence[tuple[pa.Table, str]], one: Wanted) -> Served:
        from fuseline.serving.scored import Scored

        return Scored(model, self.line.project.config, tables, one.mode, one.reason, self._bounds)


def _may_go_on(served: Served | None, one: Wanted) -> bool:
    """Whether what answered before may go on while `one` cannot be loaded: not what a breaker holds back."""
    return served is not None and (one.mode == "champion" or (served.mode, served.version) == (one.mode, one.version))
