"""What the ledgers say, as Prometheus reads it. Every counter is a fold over a ledger: a restart loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from fuseline import launch
from fuseline import records as r
from fuseline.chronicle import Chronicle
from fuseline.pages import Standing

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

STATES = ("closed", "half_open", "open")
FAMILIES = {  # name without the suffix of its kind -> kind, and what it says
    "fuseline_up": ("gauge", "Whether the ledger of the project can be read: 1 or 0; without it nothing else is said."),
    "fuseline_ledger_entries": ("gauge", "Entries in the ledger."),
    "fuseline_breaker_state": ("gauge", "1 for the state that the circuit breaker is in, 0 for the others."),
    "fuseline_champion": ("info", "The version that scores."),
    "fuseline_batches": ("counter", "Outcomes of batches by verdict; a batch that is scored again has another one."),
    "fuseline_batches_published": ("counter", "Outcomes that made a batch visible to consumers."),
    "fuseline_batches_quarantined": ("counter", "Outcomes that held a batch back."),
    "fuseline_batches_in_quarantine": ("gauge", "Batches that wait for a person now."),
    "fuseline_batch_harm": (
        "gauge",
        "Estimated harm of the newest batch: AUC lost, or the share of RMSE gained; absent while it is unknown.",
    ),
    "fuseline_rows": ("counter", "Rows of all outcomes, scored or rejected."),
    "fuseline_last_publication_timestamp_seconds": ("gauge", "When a batch was published last, seconds since 1970."),
    "fuseline_last_publication_age_seconds": ("gauge", "Seconds since a batch was published last."),
    "fuseline_batch_interval_seconds": ("gauge", "Seconds within which a batch is expected, by project.toml."),
    "fuseline_alerts_undelivered": ("gauge", "Alerts that a channel did not take, and that are still tried."),
    "fuseline_flow_failing": ("gauge", "1 for a flow that failed and has not ended well since."),
}


@dataclass(frozen=True)
class Sample:
    """One figure of a project: a family of FAMILIES, its labels besides the project's, and the value."""

    family: str
    value: float
    labels: Mapping[str, str]


def render(standings: Sequence[Standing], now: str, accept: str = "") -> tuple[bytes, str]:
    """The metrics of the projects as they stand at `now` (ISO 8601), and their content type.

    Args:
        accept: what the scraper said it can read (the header of this name): the classic format, or OpenMetrics.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)  # of its own: nothing of this process is told
    registry.register(Ledgers(standings, now))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Ledgers:
    """A collector, as prometheus_client calls it, of what the ledgers say at one time."""

    def __init__(self, standings: Sequence[Standing], now: str) -> None:
        self.standings, self.now = standings, now

    def collect(self) -> Iterator[Metric]:
        """The families, each with the samples of all projects."""
        from prometheus_client.metrics_core import Metric

        families = {name: Metric(name, text, kind) for name, (kind, text) in FAMILIES.items()}
        suffixes = {"counter": "_total", "info": "_info"}
        for standing in self.standings:
            for s in samples(standing, self.now):
                name = s.family + suffixes.get(FAMILIES[s.family][0], "")
                families[s.family].add_sample(name, {"project": standing.project, **s.labels}, s.value)
        yield from families.values()


def samples(standing: Standing, now: str) -> Iterator[Sample]:
    """All figures of one project at `now`; only that it is down where its ledger cannot be read."""
    chronicle = standing.chronicle
    if standing.trouble is not None or chronicle is None:
        yield Sample("fuseline_up", 0, {})
        return
    state = chronicle.state
    yield Sample("fuseline_up", 1, {})
    yield Sample("fuseline_ledger_entries", state.seq, {})
    for name in STATES:
        yield Sample("fuseline_breaker_state", float(state.breaker.status == name), {"state": name})
    if state.champion is not None:
        yield Sample("fuseline_champion", 1, {"version": state.champion})
    if standing.facts is not None:
        yield Sample("fuseline_batch_interval_seconds", standing.facts.every_hours * 3600, {})
    yield Sample("fuseline_alerts_undelivered", sum(bool(owed.failed) for owed in state.alerts.values()), {})
    for flow in launch.FLOWS.values():
        yield Sample("fuseline_flow_failing", float(flow in state.failing), {"flow": flow})
    yield from _batches(chronicle)
    if state.published_at:
        at = datetime.fromisoformat(state.published_at)
        yield Sample("fuseline_last_publication_timestamp_seconds", at.timestamp(), {})
        age = (datetime.fromisoformat(now) - at).total_seconds()
        yield Sample("fuseline_last_publication_age_seconds", age, {})


def _batches(chronicle: Chronicle) -> Iterator[Sample]:
    verdicts, rows, kinds = Counter[str](), Counter[str](), Counter[type]()
    for entry in chronicle.entries:
        if isinstance(event := entry.event, r.Published | r.Quarantined):
            verdicts[event.assessment.verdict] += 1
            rows.update(scored=event.rows, rejected=event.rejected)
            kinds[type(event)] += 1
    for verdict in get_args(r.Verdict):
        yield Sample("fuseline_batches", verdicts[verdict], {"verdict": verdict})
    for outcome in ("scored", "rejected"):
        yield Sample("fuseline_rows", rows[outcome], {"outcome": outcome})
    yield Sample("fuseline_batches_published", kinds[r.Published], {})
    yield Sample("fuseline_batches_quarantined", kinds[r.Quarantined], {})
    yield Sample("fuseline_batches_in_quarantine", len(chronicle.state.with_status("quarantined")), {})
    newest = chronicle.newest(1)
    if newest and (harm := newest[0].event.assessment.harm) is not None:
        yield Sample("fuseline_batch_harm", harm, {})
