"""What Prometheus reads of a server. The names of its series do not depend on what clients send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuseline.serving.served import Standing

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STATES = ("closed", "half_open", "open")


class Gauges:
    """Counters of one process; they begin at 0 when it starts."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = to = CollectorRegistry()
        of, said = "fuseline_request_seconds", "From the first byte of a request to its answer."
        self._requests = Counter("fuseline_requests", "Requests answered.", ["route", "status"], registry=to)
        self._seconds = Histogram(of, said, ["route"], buckets=SECONDS, registry=to)
        self._rows = Counter("fuseline_rows", "Rows that were scored.", registry=to)
        self._rejected = Counter("fuseline_rows_rejected", "Rows that could not be scored.", registry=to)
        self._held = Gauge("fuseline_requests_held", "Requests that wait or are being answered.", registry=to)
        self._lost = Gauge("fuseline_model_calls_lost", "Calls of the model that never came back.", registry=to)
        self._version = Gauge("fuseline_version", "1 for the version that answers.", ["version", "mode"], registry=to)
        self._breaker = Gauge("fuseline_breaker", "1 for the state of the breaker.", ["state"], registry=to)
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, route: str, status: int, seconds: float, rows: int, rejected: int) -> None:
        """Count one answer."""
        known = self._known.get((route, status))
        if known is None:
            known = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._known[route, status] = known
        known[0].inc()
        known[1].observe(seconds)
        if rows:
            self._rows.inc(rows)
        if rejected:
            self._rejected.inc(rejected)

    def render(self, standing: Standing, held: int, lost: int, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type."""
        from prometheus_client.exposition import choose_encoder

        self._held.set(held)
        self._lost.set(lost)
        self._version.clear()
        if standing.served is not None:
            self._version.labels(standing.served.version, standing.served.mode).set(1)
        for state in STATES if standing.breaker else ():
            self._breaker.labels(state).set(state == standing.breaker)
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
