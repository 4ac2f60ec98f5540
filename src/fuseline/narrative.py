"""The ledger in plain sentences, and numbers and times as people write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import assert_never
from urllib.parse import quote

from fuseline import records as r

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
METRICS = {"auc": "AUC", "auc_ovr": "AUC (one v. rest)", "rmse": "RMSE"}
MODES = {"champion": "", "trial": " as a trial", "fallback": " as the fallback"}


def page(batch: str) -> str:
    """The page of a batch, seen from the dashboard."""
    return f"batches/{quote(batch, safe='')}.html"


def number(value: float | None) -> str:
    """A figure with three significant digits and thousands separators; a whole number in full.

    >>> number(0.912345), number(1234567.8), number(48211), number(0.0000021), number(None)
    ('0.912', '1,230,000', '48,211', '2.1e-06', '—')
    """
    if value is None or not math.isfinite(value):
        return "—"
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.3g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    text = f"{rounded:,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def metric(value: float | None) -> str:
    """A model's metric: three decimals below 10, so that columns of them line up.

    >>> metric(0.91), metric(912.44)
    ('0.910', '912')
    """
    if value is None or not math.isfinite(value) or abs(value) >= 10:
        return number(value)
    return f"{value:.3f}"


def count(how_many: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "batch"), count(1200, "row"), count(3, "batch")
    ('1 batch', '1,200 rows', '3 batches')
    """
    ending = "" if how_many == 1 else "es" if noun.endswith(("ch", "s")) else "s"
    return f"{how_many:,} {noun}{ending}"


def moment(at: str) -> str:
    """A time for people, in UTC.

    >>> moment("2026-03-08T06:00:00+00:00")
    '8 Mar 2026, 06:00 UTC'
    """
    t = datetime.fromisoformat(at).astimezone(UTC)
    return f"{t.day} {MONTHS[t.month - 1]} {t.year}, {t:%H:%M} UTC"


def day(at: str) -> str:
    """The day of a time, in UTC.

    >>> day("2026-03-08T06:00:00+00:00")
    '8 Mar'
    """
    t = datetime.fromisoformat(at).astimezone(UTC)
    return f"{t.day} {MONTHS[t.month - 1]}"


def hours_between(start: str, end: str) -> float:
    """Hours from one time to another; negative if `end` is earlier."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 3600


def duration(hours: float) -> str:
    """A length of time in the unit that people would choose.

    >>> duration(0.2), duration(5.4), duration(60), duration(0.01)
    ('12 min', '5 h', '2 days', '36 s')
    """
    if hours < 1 / 60:
        return f"{round(max(hours, 0) * 3600)} s"
    if hours < 1:
        return f"{int(max(hours, 0) * 60)} min"
    return f"{int(hours)} h" if hours < 48 else f"{int(hours // 24)} days"


def metrics_said(metrics: Iterable[tuple[str, float]]) -> str:
    """The leading metric of a version with its standard error, or an empty string.

    >>> metrics_said({"auc": 0.91234, "se": 0.004}.items())
    'AUC 0.912 ± 0.004'
    """
    known = dict(metrics)
    name = next((m for m in METRICS if m in known), None)
    if name is None:
        return ""
    error = f" ± {metric(known['se'])}" if "se" in known else ""
    return f"{METRICS[name]} {metric(known[name])}{error}"


def mentioned(event: r.Event) -> set[str]:
    """The batches that an event speaks of."""
    match event:
        case r.Replayed(batch=b, repaired=other):
            return {b, other} if other else {b}
        case r.Labelled(batches=measured):
            return {m.batch for m in measured}
        case r.Started() | r.Published() | r.Quarantined() | r.Withdrawn() | r.Dropped():
            return {event.batch}
        case _:
            return set()


def sentence(entry: r.Entry) -> str:
    """What an entry of the ledger says, as one plain sentence."""
    return _ended(_said(entry.event))


def _said(event: r.Event) -> str:
    match event:
        case r.Registered(version=v, metrics=m):
            said = metrics_said(m.items())
            return f"{v} was trained and stored" + (f": {said} on rows that it never saw" if said else "")
        case r.Promoted():
            return _promoted(event)
        case r.Held(version=v, reasons=reasons):
            return f"The gate held {v}: {'; '.join(reasons)}"
        case r.Started(batch=b, version=v, mode=m, rows=n):
            return f"Scoring of {b} began: {count(n, 'row')} with {v}{MODES[m]}"
        case r.Published(batch=b, version=v, mode=m, rows=n, assessment=a):
            return f"{b} was published: {count(n, 'row')} with {v}{MODES[m]}, verdict {a.verdict}{_why(a.causes)}"
        case r.Quarantined(batch=b, assessment=a, trip=trip):
            return f"{b} was put into quarantine, verdict {a.verdict}{_why(a.causes)}{_tripped(trip)}"
        case r.Withdrawn(batch=b, reason=why):
            return f"{b} was withdrawn from the predictions: {why}"
        case r.Replayed(batch=b, reason=why, repaired=None):
            return f"{b} is to be scored again: {why}"
        case r.Replayed(batch=b, reason=why, repaired=other):
            return f"{b} is replaced by the repaired {other}: {why}"
        case r.Dropped(batch=b, reason=why):
            return f"{b} was dropped and will not be published: {why}"
        case r.Labelled():
            return _labelled(event)
        case r.Tripped() | r.HalfOpened() | r.Reset() | r.RetrainAsked() | r.TrainingStarted():
            return _line(event)
        case r.Failed() | r.Mended() | r.Overdue() | r.AlertTaken() | r.AlertTried():
            return _signal(event)
        case _:  # pragma: no cover
            assert_never(event)


def _line(event: r.Tripped | r.HalfOpened | r.Reset | r.RetrainAsked | r.TrainingStarted) -> str:
    match event:
        case r.Tripped(reason=why, trip=trip):
            until = f" until {moment(trip.until)}" if trip.until else ""
            return f"The breaker was opened by hand{until}: {why}"
        case r.HalfOpened(reason=why):
            return f"The breaker is half-open and lets one trial batch through: {why}"
        case r.Reset(reason=why):
            return f"The breaker was closed by hand: {why}"
        case r.RetrainAsked(reason=why):
            return f"A new version is wanted: {why}"
        case r.TrainingStarted(run=run):
            return f"Training began in run {run}"


def _signal(event: r.Failed | r.Mended | r.Overdue | r.AlertTaken | r.AlertTried) -> str:
    match event:
        case r.Failed(flow=flow, error=why):
            said = why.splitlines()[0] if why else "it does not say why"
            return said if said.startswith(flow) else f"{flow} failed: {said}"
        case r.Mended(flow=flow):
            return f"{flow} works again"
        case r.Overdue(since=since, every_hours=hours, waiting=n):
            waits = f"{count(n, 'file')} wait{'s' * (n == 1)} in the inbox" if n else "nothing waits in the inbox"
            return (
                f"Nothing was published since {moment(since)}, and a batch is expected every {duration(hours)}; {waits}"
            )
        case r.AlertTaken(entry=of):
            return f"The alert of entry {of} is being sent"
        case r.AlertTried(entry=of, delivered=delivered, failed=failed, over=over):
            got = [f"was sent to {', '.join(delivered)}"] if delivered else []
            lost = [f"could not be sent to {name} ({why})" for name, why in failed.items()]
            end = ["was given up"] if over and (failed or not delivered) else []
            return f"The alert of entry {of} {' and '.join([*got, *lost, *end])}"


def _promoted(event: r.Promoted) -> str:
    before = f" in place of {event.previous}" if event.previous else ""
    how = {"gate": "", "manual": " by hand", "rollback": " again"}[event.how]
    return f"{event.version} became the champion{how}{before}: {event.reason}"


def _labelled(event: r.Labelled) -> str:
    rows = sum(b.rows for b in event.batches)
    said = f"Labels of {count(rows, 'row')} in {count(len(event.batches), 'batch')} were read"
    if event.unmatched:
        said += f" ({event.unmatched:,} matched no prediction)"
    pooled, known = event.pooled, [f"{name} {number(value)}" for name, value in event.figures.items()]
    if pooled is not None:
        known = [f"{METRICS[pooled.metric]} {metric(pooled.value)} ± {metric(pooled.se)}", *known]
    if any(c.level == "halt" for c in event.causes):
        said += _why(event.causes)
    elif known:
        said += f": {', '.join(known)}, verdict {event.verdict}{_why(event.causes)}"
    elif event.causes:
        said += _why(event.causes)
    else:
        said += ": too few to judge the champion"
    said += _tripped(event.trip)
    return f"{_ended(said)} A new version is wanted" if event.retrain else said


def _why(causes: Sequence[r.Cause]) -> str:
    """The first cause after a colon, and how many more there are."""
    if not causes:
        return ""
    more = f" (and {count(len(causes) - 1, 'cause')} more)" if len(causes) > 1 else ""
    return f": {causes[0].sentence.rstrip('.')}{more}"


def _tripped(trip: r.Trip | None) -> str:
    if trip is None:
        return ""
    return f". The breaker opened until {moment(trip.until) if trip.until else 'there is a new champion'}"


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
