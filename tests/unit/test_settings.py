from __future__ import annotations

import getpass
import os
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseline.errors import SettingsError
from fuseline.settings import Settings, parse_time

METAFLOW = (
    "METAFLOW_USER",
    "METAFLOW_DEFAULT_METADATA",
    "METAFLOW_DEFAULT_DATASTORE",
    "METAFLOW_DATASTORE_SYSROOT_S3",
    "METAFLOW_DATASTORE_SYSROOT_LOCAL",
    "METAFLOW_S3_ENDPOINT_URL",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without the variables that Metaflow reads."""
    for name in METAFLOW:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


# ── read ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.read({}) == Settings(user=getpass.getuser())
    assert (Settings().store, Settings().projects, Settings().now, Settings().shards) == (
        "store",
        Path("projects"),
        None,
        4,
    )


def test_every_variable_is_read() -> None:
    found = Settings.read(
        {
            "FUSELINE_STORE": "s3://bucket/line",
            "FUSELINE_PROJECTS": "/srv/projects",
            "FUSELINE_NOW": "2026-03-08T06:00:00+00:00",
            "FUSELINE_USER": "ada",
            "FUSELINE_FAULTS": "lost:create:ledger:1",
            "FUSELINE_SHARDS": "8",
        }
    )
    assert found == Settings(
        "s3://bucket/line", Path("/srv/projects"), "2026-03-08T06:00:00+00:00", "ada", "lost:create:ledger:1", 8
    )


def test_api_keys_are_read_and_never_shown() -> None:
    found = Settings.read({"FUSELINE_API_KEYS": "shop:0123 audit:4567"})
    assert found.api_keys == "shop:0123 audit:4567"
    assert "0123" not in repr(found) and Settings().api_keys == ""


def test_a_variable_that_is_set_to_nothing_is_as_good_as_not_set() -> None:
    names = ("STORE", "PROJECTS", "NOW", "USER", "FAULTS", "SHARDS", "API_KEYS")
    assert Settings.read({f"FUSELINE_{name}": "" for name in names}) == Settings.read({})


def test_without_an_argument_the_environment_of_the_process_is_read(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("FUSELINE_STORE", "elsewhere")
    assert Settings.read().store == "elsewhere"


@pytest.mark.parametrize("text", ["0", "-1", "four", "1.5", "²", " 4", "+4"])
def test_a_number_of_shards_that_is_none_is_named(text: str) -> None:
    said = f"FUSELINE_SHARDS must be a whole number of 1 or more, not {text!r}"
    with pytest.raises(SettingsError, match=re.escape(said)):
        Settings.read({"FUSELINE_SHARDS": text})


@pytest.mark.parametrize("text", ["0", "86401", "1d", "60.5", "-60"])
def test_a_length_of_a_day_that_is_none_is_named(text: str) -> None:
    said = f"FUSELINE_DAY_SECONDS must be a whole number from 1 to 86400, not {text!r}"
    with pytest.raises(SettingsError, match=re.escape(said)):
        Settings.read({"FUSELINE_DAY_SECONDS": text})


@pytest.mark.parametrize("seconds", [1, 60, 86_400])
def test_a_day_may_last_from_a_second_to_a_day(seconds: int) -> None:
    assert Settings.read({"FUSELINE_DAY_SECONDS": str(seconds)}).day_seconds == seconds


def test_a_day_lasts_a_day_unless_it_is_said_otherwise() -> None:
    assert Settings().day_seconds == Settings.read({"FUSELINE_DAY_SECONDS": ""}).day_seconds == 24 * 60 * 60


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "25:00", "2026-03-08T06:00:00+99:00"])
def test_a_time_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"FUSELINE_NOW: {text!r} is no time; write it as 2026-03-08T")):
        Settings.read({"FUSELINE_NOW": text})


# ── times ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-03-08", "2026-03-08T00:00:00+00:00"),
        ("2026-03-08 06:00", "2026-03-08T06:00:00+00:00"),
        ("2026-03-08T06:00:00Z", "2026-03-08T06:00:00+00:00"),
        ("2026-03-08T06:00:00+02:00", "2026-03-08T04:00:00+00:00"),
        ("2026-03-08T23:30:00-01:00", "2026-03-09T00:30:00+00:00"),
        ("2026-03-08T06:00:00.987", "2026-03-08T06:00:00+00:00"),
    ],
)
def test_every_spelling_of_a_time_becomes_the_same_in_utc(text: str, said: str) -> None:
    assert parse_time(text, "--at") == said


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2999, 1, 1)), st.integers(-720, 720))
def test_times_sort_as_text_whatever_their_zone(moment: datetime, minutes: int) -> None:
    moment = moment.replace(tzinfo=UTC, microsecond=0)
    later = moment + timedelta(seconds=1)
    elsewhere = later.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_time(moment.isoformat(), "x") < parse_time(elsewhere.isoformat(), "x")
    assert parse_time(parse_time(elsewhere.isoformat(), "x"), "x") == later.isoformat()


def test_the_clock_is_the_time_that_was_set() -> None:
    assert Settings(now="2026-03-08T06:00:00+00:00").clock() == "2026-03-08T06:00:00+00:00"


def test_without_a_set_time_the_clock_is_the_time_now_in_utc() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = datetime.fromisoformat(Settings().clock())
    assert before <= found <= datetime.now(UTC)
    assert found.utcoffset() == timedelta(0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", Settings().clock())


# ── the environment of a process of its own ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "settings",
    [
        Settings(user="ada"),
        Settings(user="ada", day_seconds=60),
        Settings(user="ada", api_keys="shop:0123 audit:4567"),
        Settings("s3://bucket/line", Path("/srv/p"), "2026-03-08T06:00:00+00:00", "ada", "lost:create::1", 2),
    ],
)
def test_a_process_that_gets_the_environment_reads_the_same_settings(settings: Settings) -> None:
    assert Settings.read(settings.environment()) == settings


def test_the_environment_keeps_what_else_is_set(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_PROFILE", "line")
    assert Settings().environment()["AWS_PROFILE"] == "line"
    assert "FUSELINE_STORE" in Settings().environment() and Settings().environment()["PATH"] == os.environ["PATH"]


def test_with_a_folder_metaflow_keeps_its_records_in_it(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for store in (str(tmp_path), f"file://{tmp_path}"):
        found = Settings(store=store, user="ada").environment()
        assert found["METAFLOW_DATASTORE_SYSROOT_LOCAL"] == str(tmp_path.resolve())
        assert (found["METAFLOW_USER"], found["METAFLOW_DEFAULT_METADATA"]) == ("ada", "local")
        assert "METAFLOW_DEFAULT_DATASTORE" not in found


def test_with_a_bucket_metaflow_keeps_its_records_in_it(bare: pytest.MonkeyPatch) -> None:
    found = Settings(store="s3://bucket/line/", user="ada").environment()
    assert found["METAFLOW_DEFAULT_DATASTORE"] == "s3"
    assert found["METAFLOW_DATASTORE_SYSROOT_S3"] == "s3://bucket/line/metaflow"
    assert "METAFLOW_S3_ENDPOINT_URL" not in found


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_metaflow_talks_to_the_same_endpoint(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv("AWS_ENDPOINT_URL", "http://general:4566")
    bare.setenv(name, "http://here:4566")
    assert Settings(store="s3://b").environment()["METAFLOW_S3_ENDPOINT_URL"] == "http://here:4566"


@pytest.mark.parametrize("user", ["root", "unknown"])
def test_metaflow_gets_a_user_that_it_takes(bare: pytest.MonkeyPatch, user: str) -> None:
    assert Settings(user=user).environment()["METAFLOW_USER"] == "fuseline"


def test_what_the_user_has_set_for_metaflow_comes_first(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("METAFLOW_USER", "team")
    bare.setenv("METAFLOW_DATASTORE_SYSROOT_S3", "s3://other/place")
    found = Settings(store="s3://bucket", user="ada").environment()
    assert (found["METAFLOW_USER"], found["METAFLOW_DATASTORE_SYSROOT_S3"]) == ("team", "s3://other/place")
