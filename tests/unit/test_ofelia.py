"""ofelia.ini, read by Ofelia's rules: most mistakes in it are silent, so that none may land.

The parser below follows what Ofelia 0.3.21 does to a file (gcfg for the format, robfig/cron for schedules), and is
stricter where Ofelia does something else than what is written.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

KEYS = {  # the kinds of jobs and what each takes, besides what every job takes
    "job-exec": {"container", "user", "tty", "environment"},
    "job-run": {"container", "image", "user", "tty", "environment", "network", "volume", "pull", "delete", "hostname"},
    "job-local": {"dir", "environment"},
    "job-service-run": {"image", "user", "tty", "network", "delete"},
}
EVERY_JOB = {"schedule", "command", "no-overlap"}
HEADER = re.compile(r'\[([a-z-]+) "([^"\\]+)"\]')
QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')

FIELDS = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of the week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}  # of time.ParseDuration
PART = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({'|'.join(UNITS)})")


@dataclass(frozen=True)
class Job:
    kind: str
    name: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Stack:
    """What ofelia.ini refers to."""

    containers: frozenset[str]
    targets: frozenset[str]
    user: str


# ── the rules ────────────────────────────────────────────────────────────────────────────────────


def parse(text: str) -> list[Job]:
    """The jobs of a file. Raises ValueError for what Ofelia refuses, or reads as something else than it says."""
    jobs: list[Job] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            jobs.append(_section(line, number))
        elif not jobs:
            raise ValueError(f"line {number}: {line!r} stands before the first section")
        else:
            key, value = _setting(line, number)
            if key in jobs[-1].settings:
                raise ValueError(f"line {number}: {key!r} stands twice in {jobs[-1].name!r}: the later one counts")
            jobs[-1].settings[key] = value
    names = [job.name for job in jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"more than one job is called {sorted(twice)}: those of one kind become one")
    if not jobs:
        raise ValueError("there is no job; Ofelia calls that valid")
    return jobs


def _section(line: str, number: int) -> Job:
    header = HEADER.fullmatch(line)
    if header is None or header[1] not in KEYS:
        raise ValueError(f'line {number}: {line} must be [kind "name"] with a kind of {", ".join(KEYS)}')
    return Job(header[1], header[2], {})


def _setting(line: str, number: int) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in line.partition("="))
    if not re.fullmatch(r"[a-z][a-z-]*", key) or not equals or not value:
        raise ValueError(f"line {number}: {line!r} must be `key = value`")
    if quoted := QUOTED.fullmatch(value):
        return key, re.sub(r"\\(.)", r"\1", quoted[1])
    if cut := re.search("[;#]", value):
        kept = value[: cut.start()].strip()
        raise ValueError(f"line {number}: {cut[0]!r} begins a comment, even in quotes: Ofelia reads only {kept!r}")
    if '"' in value or "\\" in value:
        raise ValueError(f"line {number}: quote the whole value or none of it; a backslash is an escape: {value!r}")
    return key, value


def seconds(schedule: str) -> frozenset[int]:
    """The seconds of a minute in which a schedule can start its job.

    Raises ValueError for a schedule that Ofelia drops, or that never comes, or that does not mean what it says.
    """
    if schedule.startswith("@every "):
        return _every(schedule.removeprefix("@every "))
    if schedule.startswith("@"):
        if schedule not in DESCRIPTORS:
            raise ValueError(f"{schedule!r} is none of {', '.join(DESCRIPTORS)} and @every: the job is left out")
        return frozenset({0})
    fields = schedule.split()
    if len(fields) != len(FIELDS):
        raise ValueError(f"{schedule!r} has {len(fields)} fields, not 6: the first one is the second")
    values = [_field(text, *field) for text, field in zip(fields, FIELDS, strict=True)]
    days, months = values[3], values[4]
    longest = max(calendar.monthrange(2024, month)[1] for month in months)  # a leap year
    if min(days) > longest and fields[5] in "*?":
        raise ValueError(f"{schedule!r} never comes: no month of it has a day {min(days)}")
    return values[0]


def _every(text: str) -> frozenset[int]:
    parts = PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"@every {text}: no duration such as 90s, 5m or 24h, so that the job is left out")
    length = sum(float(number) * UNITS[unit] for number, unit in parts)
    if length < 1 or length % 1:
        raise ValueError(f"@every {text}: an interval is rounded to whole seconds, 1 at least")
    return frozenset(range(60))  # it counts from the start of Ofelia: any second is possible


def _field(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            begin = _number(first, name, low, high, words)
            end = _number(last, name, low, high, words) if dash else high if slash else begin
        stride = _number(step, f"step of the {name}", 1, high, ()) if slash else 1
        if begin > end:
            raise ValueError(f"{part!r}: the {name} ends before it begins")
        found.update(range(begin, end + 1, stride))
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return low + words.index(text.lower())
    if not re.fullmatch(r"\d+", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is no {name}: it must be from {low} to {high}")
    return int(text)


def problems(job: Job, stack: Stack) -> Iterator[str]:
    """What is wrong with one job of the stack, in sentences."""
    settings = job.settings
    if unknown := set(settings) - EVERY_JOB - KEYS[job.kind]:
        yield f"a {job.kind} takes no {sorted(unknown)}: Ofelia does not start"
    if missing := [key for key in ("schedule", "command") if key not in settings]:
        yield f"there is no {missing}: the job is left out, or does nothing"
    if "schedule" in settings:
        try:
            seconds(settings["schedule"])
        except ValueError as error:
            yield str(error)
    if settings.get("no-overlap") != "true":
        yield "no-overlap is not true: runs would pile up behind a slow one"
    if job.kind == "job-exec":
        if settings.get("container") not in stack.containers:
            yield f"{settings.get('container')!r} is none of the containers {sorted(stack.containers)}"
        if settings.get("user") != stack.user:
            yield f"user is {settings.get('user', 'root')!r}, but the image's is {stack.user!r}"
    if "command" in settings:
        yield from _wrong_command(settings["command"], stack)


def _wrong_command(command: str, stack: Stack) -> Iterator[str]:
    if not re.fullmatch(r"[\w ./=-]+", command, re.ASCII):
        yield f"{command!r} is given to no shell: a make target can hold what needs one"
    words = command.split()
    if words[0] != "make":
        yield f"{command!r} is no make target"
        return
    wanted = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if not wanted or not set(wanted) <= stack.targets:
        yield f"{command!r}: the Makefile has no target {sorted(set(wanted) - stack.targets)}"


def targets(makefile: str) -> frozenset[str]:
    """The targets of a Makefile that are called by a plain name."""
    return frozenset(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


def containers(compose: str) -> frozenset[str]:
    """The names that the containers of a compose file are given."""
    services = yaml.safe_load(compose)["services"].values()
    return frozenset(service["container_name"] for service in services if "container_name" in service)


def image_user(dockerfile: str) -> str:
    """The user that the containers of an image have."""
    return re.findall(r"^USER\s+([^\s:]+)", dockerfile, re.MULTILINE)[-1]


# ── the file of the stack ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    return {job.name: job for job in parse((ROOT / "ofelia.ini").read_text(encoding="utf-8"))}


def test_the_file_has_no_mistake_that_ofelia_would_take_without_a_word(jobs: dict[str, Job]) -> None:
    stack = Stack(
        containers((ROOT / "docker-compose.yaml").read_text(encoding="utf-8")),
        targets((ROOT / "Makefile").read_text(encoding="utf-8")),
        image_user((ROOT / "Dockerfile").read_text(encoding="utf-8")),
    )
    assert {name: list(problems(job, stack)) for name, job in jobs.items()} == {name: [] for name in jobs}


def test_every_job_runs_the_target_of_its_name_in_the_worker(jobs: dict[str, Job]) -> None:
    assert set(jobs) == {"simulate", "infer", "feedback", "retrain", "alert", "train", "report"}
    for name, job in jobs.items():
        assert (job.kind, job.settings["container"]) == ("job-exec", "fuseline-worker")
        assert job.settings["command"] == f"make -s {name}"


def test_no_two_jobs_start_in_the_same_second(jobs: dict[str, Job]) -> None:
    taken: dict[int, str] = {}
    for name, job in jobs.items():
        for second in seconds(job.settings["schedule"]):
            assert second not in taken, f"{name} starts together with {taken[second]}"
            taken[second] = name


def test_a_day_is_there_before_it_is_scored(jobs: dict[str, Job]) -> None:
    simulate, infer = (jobs[name].settings["schedule"].split() for name in ("simulate", "infer"))
    assert int(infer[0]) - int(simulate[0]) == 20
    assert infer[1:] == simulate[1:] == ["*"] * 5


# ── the parser: each trap is caught ──────────────────────────────────────────────────────────────

GOOD = """
# a comment; with everything: ' " [x]
[job-exec "infer"]
schedule = 20 * * * * *
container = worker
user = fuseline
command = make -s infer
no-overlap = true
"""
STACK = Stack(frozenset({"worker"}), frozenset({"infer", "train"}), "fuseline")


def found(text: str) -> list[str]:
    return [problem for job in parse(text) for problem in problems(job, STACK)]


def test_a_good_file_is_read_as_it_says() -> None:
    assert found(GOOD) == []
    (job,) = parse(GOOD)
    assert (job.kind, job.name, job.settings["command"]) == ("job-exec", "infer", "make -s infer")
    assert found(GOOD.replace("make -s infer", '"make -s infer"')) == []


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("command = sh -c 'a; exit 3'", "sh -c 'a"),
        ("command = make infer # every minute", "make infer"),
        ("command = make infer;", "make infer"),
        ("schedule = 0 0 3 * * * ; each night", "0 0 3 * * *"),
        ('command = sh -c "a; b"', 'sh -c "a'),
    ],
)
def test_a_value_that_a_comment_cuts_is_caught(line: str, kept: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Ofelia reads only {kept!r}")):
        parse(f'[job-exec "a"]\n{line}\n')


def test_a_value_that_is_quoted_as_a_whole_is_not_cut() -> None:
    (job,) = parse('[job-exec "a"]\ncommand = "sh -c \'a; exit 3\' # \\"b\\""\n')
    assert job.settings["command"] == "sh -c 'a; exit 3' # \"b\""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no job"),
        ("# nothing\n", "there is no job"),
        ("schedule = @daily\n", "before the first section"),
        ("[job-exec]\n", "must be"),
        ("[job-exec infer]\n", "must be"),
        ('[job-exec.infer "a"]\n', "must be"),
        ('[job-exce "infer"]\n', "must be"),
        ('[job "infer"]\n', "must be"),
        ('[job-exec "a"] # often\n', "must be"),
        ('[job-exec "a"]\nschedule: @daily\n', "key = value"),
        ('[job-exec "a"]\nno-overlap\n', "key = value"),
        ('[job-exec "a"]\ncommand =\n', "key = value"),
        ('[job-exec "a"]\nuser = a\nuser = b\n', "stands twice"),
        ('[job-exec "a"]\n[job-exec "a"]\n', "more than one job is called"),
        ('[job-exec "a"]\n[job-local "a"]\n', "more than one job is called"),
        ('[job-exec "a"]\ncommand = make "infer"\n', "quote the whole value"),
        ('[job-exec "a"]\ncommand = make infer \\\n', "quote the whole value"),
    ],
)
def test_a_file_that_ofelia_reads_otherwise_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("20 * * * * *", "20 * * * *", "has 5 fields, not 6"),
        ("20 * * * * *", "@every 1d", "no duration"),
        ("no-overlap = true\n", "", "no-overlap is not true"),
        ("no-overlap = true", "no-overlap = false", "no-overlap is not true"),
        ("no-overlap", "no-overlaps", r"takes no \['no-overlaps'\]"),
        ("container = worker", "image = worker", r"takes no \['image'\]"),
        ("container = worker", "container = fuseline_worker_1", "none of the containers"),
        ("container = worker\n", "", "None is none of the containers"),
        ("user = fuseline\n", "", "user is 'root'"),
        ("schedule = 20 * * * * *\n", "", r"there is no \['schedule'\]"),
        ("command = make -s infer\n", "", r"there is no \['command'\]"),
        ("make -s infer", "make -s infre", r"no target \['infre'\]"),
        ("make -s infer", "make -s", "no target"),
        ("make -s infer", "fuseline infer bookings", "is no make target"),
        ("make -s infer", '"make infer; make train"', "given to no shell"),
        ("make -s infer", "make infer | tee log", "given to no shell"),
        ("make -s infer", "make infer && make train", "given to no shell"),
        ("make -s infer", "make infer PROJECT=$PROJECT", "given to no shell"),
    ],
)
def test_a_mistake_in_a_job_is_named(before: str, after: str, said: str) -> None:
    assert before in GOOD
    assert re.search(said, "\n".join(found(GOOD.replace(before, after))))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 * * * * *", {0}),
        ("5,35 * * * * *", {5, 35}),
        ("*/20 * * * * *", {0, 20, 40}),
        ("50/5 * * * * *", {50, 55}),
        ("10-12 1-59/2 * * * *", {10, 11, 12}),
        ("12 40 2 * * MON-fri", {12}),
        ("0 0 0 29 feb ?", {0}),
        ("0 0 0 31 feb sun", {0}),
        ("@daily", {0}),
        ("@every 24h", set(range(60))),
        ("@every 1h30m", set(range(60))),
    ],
)
def test_a_schedule_starts_in_these_seconds(schedule: str, expected: set[int]) -> None:
    assert seconds(schedule) == expected


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("", "has 0 fields"),
        ("*/5 * * * *", "has 5 fields"),
        ("0 0 3 * * * 2026", "has 7 fields"),
        ("60 * * * * *", "'60' is no second"),
        ("0 60 * * * *", "'60' is no minute"),
        ("0 0 24 * * *", "'24' is no hour"),
        ("0 0 0 0 * *", "'0' is no day of the month"),
        ("0 0 0 1 13 *", "'13' is no month"),
        ("0 0 0 * * 7", "'7' is no day of the week"),
        ("0 0 0 * * monday", "'monday' is no day of the week"),
        ("0 */90 * * * *", "'90' is no step of the minute"),
        ("*/0 * * * * *", "'0' is no step of the second"),
        ("0 30-10 * * * *", "ends before it begins"),
        ("0 -5 * * * *", "'' is no minute"),
        ("0 1, * * * *", "'' is no minute"),
        ("0 ² * * * *", "'²' is no minute"),
        ("0 0 0 31 feb *", "never comes"),
        ("0 0 0 31 4,6 ?", "never comes"),
        ("@every 1d", "no duration"),
        ("@every 5", "no duration"),
        ("@every 5 m", "no duration"),
        ("@every -5m", "no duration"),
        ("@every", "is none of"),
        ("@every 500ms", "whole seconds"),
        ("@every 1.5s", "whole seconds"),
        ("@reboot", "is none of"),
        ("@Daily", "is none of"),
    ],
)
def test_a_schedule_that_is_dropped_or_means_something_else_is_refused(schedule: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        seconds(schedule)


def test_targets_and_names_are_found_where_they_are_given() -> None:
    makefile = "A := b\nbin: ## x\nlock-all: a\n\techo no:\nfile.txt: x\n.PHONY: help\nx:= 1\n"
    assert targets(makefile) == {"bin", "lock-all"}
    assert containers("services: {a: {container_name: one}, b: {image: two}}") == {"one"}
    assert image_user("FROM a AS b\nUSER root\nFROM c\nUSER fuseline:fuseline\n") == "fuseline"
