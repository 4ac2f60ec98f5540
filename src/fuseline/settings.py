"""Settings from the environment: the only place that reads it."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fuseline.errors import SettingsError

DAY = 86_400  # seconds


@dataclass(frozen=True)
class Settings:
    """Where things are and who is asking.

    Attributes:
        store: `FUSELINE_STORE`: a folder (default `store`) or `s3://bucket/prefix`.
        projects: `FUSELINE_PROJECTS`: the folder of projects (default `projects`).
        now: `FUSELINE_NOW`: take this for the time, for demos and backfills (ISO 8601); None for the clock.
        user: `FUSELINE_USER`: who is written into the ledger; by default the user of the system.
        faults: `FUSELINE_FAULTS`: faults to inject into the store, for tests (see `fuseline.faults`).
        shards: `FUSELINE_SHARDS`: at most so many shards of one batch are scored at the same time.
        alerts: `FUSELINE_ALERTS`: who is told, addresses with spaces between them: `arn:aws:sns:…` or any that apprise
            knows. They hold secrets.
        queue: `FUSELINE_QUEUE`: address of the SQS queue that tells of files that land in the inbox, for `watch`.
        pages: `FUSELINE_PAGES`: where people reach the dashboard, e.g. `http://localhost:8080`, for links in alerts.
        day_seconds: `FUSELINE_DAY_SECONDS`: a day of project.toml lasts so many seconds, for rehearsals: cool-downs and
            the schedule are shortened by as much. The clock is not.
        api_keys: `FUSELINE_API_KEYS`: who may ask a model over HTTP, as `name:digest` with spaces between them (see
            `fuseline.serving.keys`).
    """

    store: str = "store"
    projects: Path = Path("projects")
    now: str | None = None
    user: str = "unknown"
    faults: str = ""
    shards: int = 4
    alerts: str = field(default="", repr=False)
    queue: str = ""
    pages: str = ""
    day_seconds: int = DAY
    api_keys: str = field(default="", repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings. Raises SettingsError naming the variable that is wrong."""
        env = os.environ if environment is None else environment
        return cls(
            store=env.get("FUSELINE_STORE") or cls.store,
            projects=Path(env.get("FUSELINE_PROJECTS") or cls.projects),
            now=_time(env.get("FUSELINE_NOW")),
            user=env.get("FUSELINE_USER") or _system_user(),
            faults=env.get("FUSELINE_FAULTS", cls.faults),
            shards=_whole("FUSELINE_SHARDS", env.get("FUSELINE_SHARDS") or str(cls.shards)),
            alerts=env.get("FUSELINE_ALERTS", cls.alerts),
            queue=env.get("FUSELINE_QUEUE", cls.queue),
            pages=env.get("FUSELINE_PAGES", cls.pages).rstrip("/"),
            day_seconds=_whole("FUSELINE_DAY_SECONDS", env.get("FUSELINE_DAY_SECONDS") or str(cls.day_seconds), DAY),
            api_keys=env.get("FUSELINE_API_KEYS", cls.api_keys),
        )

    def environment(self) -> dict[str, str]:
        """The variables by which a process of its own, a flow's run, gets these settings."""
        mine = {
            "FUSELINE_STORE": self.store,
            "FUSELINE_PROJECTS": str(self.projects),
            "FUSELINE_NOW": self.now or "",
            "FUSELINE_USER": self.user,
            "FUSELINE_FAULTS": self.faults,
            "FUSELINE_SHARDS": str(self.shards),
            "FUSELINE_ALERTS": self.alerts,
            "FUSELINE_QUEUE": self.queue,
            "FUSELINE_PAGES": self.pages,
            "FUSELINE_DAY_SECONDS": str(self.day_seconds),
            "FUSELINE_API_KEYS": self.api_keys,
        }
        return {**os.environ, **mine, **self._metaflow()}

    def _metaflow(self) -> dict[str, str]:
        """What Metaflow needs to keep its own records beside the store; the user's own variables come first."""
        user = "fuseline" if self.user in ("root", "unknown") else self.user  # Metaflow refuses to run as root
        wanted = {"METAFLOW_USER": user, "METAFLOW_DEFAULT_METADATA": "local"}
        for name in ("METAFLOW_TEMPDIR", "METAFLOW_ARTIFACT_LOCALROOT"):
            wanted[name] = tempfile.gettempdir()  # by default both are the folder that we were started in
        if self.store.startswith("s3://"):
            wanted["METAFLOW_DEFAULT_DATASTORE"] = "s3"
            wanted["METAFLOW_DATASTORE_SYSROOT_S3"] = f"{self.store.rstrip('/')}/metaflow"
            if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
                wanted["METAFLOW_S3_ENDPOINT_URL"] = endpoint
        else:
            wanted["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = str(Path(self.store.removeprefix("file://")).resolve())
        return {name: os.environ.get(name, value) for name, value in wanted.items()}

    def clock(self) -> str:
        """The time now, ISO 8601 in UTC with seconds, or the time that was set."""
        return self.now or datetime.now(UTC).isoformat(timespec="seconds")


def _time(text: str | None) -> str | None:
    if not text:
        return None
    return parse_time(text, "FUSELINE_NOW")


def parse_time(text: str, where: str) -> str:
    """A time in UTC as the ledger writes it; one without a zone is taken for UTC.

    >>> parse_time("2026-03-08 06:00", "--at")
    '2026-03-08T06:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{where}: {text!r} is no time; write it as 2026-03-08T06:00:00") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds")


def _whole(name: str, text: str, most: int | None = None) -> int:
    if not text.isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
        bounds = "of 1 or more" if most is None else f"from 1 to {most}"
        raise SettingsError(f"{name} must be a whole number {bounds}, not {text!r}")
    return int(text)


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
