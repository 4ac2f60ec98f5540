"""`fuseline serve`: a keeper that holds the address, and a process of its own in which the model works and answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from fuseline import console, server
from fuseline.errors import FuselineError, SettingsError
from fuseline.serving.bounds import Bounds
from fuseline.serving.journal import Journal
from fuseline.serving.keys import Keys
from fuseline.settings import Settings

if TYPE_CHECKING:
    from fuseline.serving.keeper import Child
    from fuseline.serving.served import Source
    from fuseline.serving.traffic import Traffic

HERE = ("127.0.0.1", "localhost", "::1")
NEEDED = ("uvicorn", "prometheus_client", "psutil", "python_multipart")  # out of the extra `serve`
SPOOL = Path(".fuseline") / "requests"


@dataclass(frozen=True)
class Wanted:
    """What is to be served, and how: all that the process of the model has to know.

    Attributes:
        hooks: `stage=name` each, for functions whose names are not the usual ones.
        input: what the first hook takes: `frame`, `json`, `array` or `bytes`; by default its annotation says it.
        digest: SHA-256 that the file must have, so that nothing else is unpickled.
        log_requests: whether what is asked and answered becomes batches of the project.
        spool: where they are until then.
    """

    target: str
    hooks: tuple[str, ...] = ()
    input: str | None = None
    digest: str | None = None
    reload: bool = False
    log_requests: bool = False
    spool: Path = SPOOL
    bounds: Bounds = field(default_factory=Bounds)

    def source(self, settings: Settings) -> Source:
        """Where its models come from; none is loaded yet. Raises SettingsError."""
        from fuseline.serving.target import open_target

        return open_target(self.target, settings, self.hooks, self.input, self.reload, self.digest, self.bounds)

    def traffic(self, source: Source) -> Traffic | None:
        """Where requests and answers are kept. Raises SettingsError where the target is no project."""
        if not self.log_requests:
            return None
        from fuseline.serving.champion import Champion
        from fuseline.serving.traffic import Traffic

        if not isinstance(source, Champion):
            raise SettingsError(f"--log-requests makes batches of a project, and {self.target} is a file")
        return Traffic(source.line, self.spool / source.name)


def serve(wanted: Wanted, settings: Settings, host: str, port: int, memory: int | None, patience: float) -> int:
    """Serve until SIGINT or SIGTERM; what is in flight then is answered first.

    Args:
        host: another one than this machine's own lets others in, and needs keys.
        memory: bytes of resident memory at which the process of the model is replaced; None for the keeper's choice.
        patience: seconds for what is in flight.

    Returns:
        The exit code.

    Raises:
        SettingsError: of the address, the keys, or what a server needs.
    """
    from fuseline.serving import keeper

    server.need(NEEDED)
    if host not in HERE and not len(Keys.parse(settings.api_keys)):
        raise SettingsError(
            f"{host} can be reached by others, and there are no keys: set FUSELINE_API_KEYS (`fuseline key NAME` makes "
            "one), or listen at 127.0.0.1"
        )
    with server.listening(host, port) as opened:
        address = server.address(host, opened)
        said = f"{wanted.target} is served at {address} (OpenAPI: {address}docs); Ctrl-C ends it"
        if wanted.log_requests:
            said += f"\nrequests become batches; until then they are in {wanted.spool.absolute()}"
        arguments = (wanted, settings, address)
        ready = partial(console.line, said)
        return keeper.keep(answer, arguments, opened, memory, patience, ready=ready)


def answer(child: Child, wanted: Wanted, settings: Settings, address: str) -> None:
    """Load the model and answer, in the process of its own, until told to stop. Raises what the first load raises."""
    from fuseline.serving.api import Api

    source, keys = wanted.source(settings), Keys.parse(settings.api_keys)
    traffic = wanted.traffic(source)
    follower = _Follower(child, source, traffic, Journal(), address)
    api = Api(source, wanted.bounds, keys if len(keys) else None, traffic, follower.journal, follower.lost)
    try:
        child.serve(api, follower.start)
    finally:
        if traffic is not None:
            traffic.close()
    if follower.error is not None:
        raise follower.error


class _Follower(threading.Thread):
    """Loads the first model, then follows the source until the process ends."""

    def __init__(self, child: Child, source: Source, traffic: Traffic | None, journal: Journal, address: str) -> None:
        super().__init__(name="follower", daemon=True)
        self.child, self.source, self.traffic, self.journal, self.address = child, source, traffic, journal, address
        self.error: FuselineError | None = None

    def run(self) -> None:
        name = self.source.name
        failure: FuselineError | None = FuselineError(f"following {name} failed; what is written above says why")
        try:
            self.source.look()
            self._tell()
            self.child.ready()
            self._follow()
            failure = None
        except FuselineError as error:
            failure = error
        finally:  # any other error is a fault of ours: its traceback is in the log, and the keeper starts anew
            if not self.child.stopping.is_set():
                self.error = failure
                self.child.stopping.set()

    def _follow(self) -> None:
        said, next_look = "", 0.0
        while not self.child.stopping.wait(min(self.source.every or 1.0, 1.0)):
            if self.source.every and monotonic() >= next_look:
                if self.source.look():
                    self._tell()
                next_look = monotonic() + self.source.every
            if self.traffic is not None:
                self.traffic.tick()
            unlogged = self.traffic.trouble if self.traffic is not None else ""
            trouble = " ".join(filter(None, [self.source.standing.trouble, unlogged]))
            if trouble != said:
                said = trouble
                self.journal.warning("trouble", name=self.source.name, trouble=said or "over")

    def lost(self, calls: int) -> None:
        """The model does not come back."""
        self.child.replace(f"{calls} calls of the model never came back")

    def _tell(self) -> None:
        standing, facts = self.source.standing, {"name": self.source.name, "address": self.address}
        if standing.served is not None:
            facts |= {"version": standing.served.version, "mode": standing.served.mode}
            self.journal.info("serving", **facts, notes=getattr(standing.served, "notes", ()))
        elif standing.problem is not None:
            self.journal.warning("not serving", **facts, reason=standing.problem.detail)
