"""A project folder: project.toml, train.py and predict.py, everything that is special to one model.

The files know nothing of Fuseline. What they may define is described in the README; what they must not do is
said here in errors that name the file, what was found and what to do.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from fuseline import limits
from fuseline.breaker import Policy
from fuseline.errors import ProjectError, SettingsError
from fuseline.records import Task

_FOLDERS: set[Path] = set()  # that project files were loaded from: what was imported from them may be replaced
ROW_ID = "row_id"  # names rows where the project has no id column: <batch name>:<row number>


@dataclass(frozen=True)
class Source:
    """One table that rows are made of; the first is the one that batches arrive for.

    Attributes:
        path: labelled history (first source) or the table to join: relative to the folder that holds
            `projects/`, absolute, or `store:<key>`.
        join: the column by which this table is left-joined to the first source.
    """

    path: str
    join: str | None = None


@dataclass(frozen=True)
class Training:
    """How versions are trained: the newest `max_rows` labelled rows, a share `holdout` of them never seen."""

    max_rows: int = 200_000
    holdout: float = 0.25
    seed: int = 0
    timeout_hours: float = 6.0


@dataclass(frozen=True)
class Gate:
    """What a challenger must reach: bounds on its metrics, and how much worse than the champion it may be.

    Attributes:
        min: lower bounds by metric, e.g. `min = { auc = 0.7 }`.
        max: upper bounds by metric, e.g. `max = { rmse = 900 }`.
        margin: AUC (or share of RMSE) by which a challenger may be worse than the champion on the same rows.
    """

    min: Mapping[str, float] = field(default_factory=dict)
    max: Mapping[str, float] = field(default_factory=dict)
    margin: float = 0.0


@dataclass(frozen=True)
class Checks:
    """Bounds of the exact checks of a batch.

    Attributes:
        tolerance: loss of the metric that is accepted, by default 0.02 of AUC, or 0.05 = 5 % of RMSE; a batch is
            halted where over 0.575 of it is estimated to be lost (`breaker.HALTS`), since an estimate has an error.
        max_rejected: share of rejected rows beyond which the batch is halted.
        max_duplicate_ids: share of rows whose id was there before, beyond which the batch is halted.
        expected_rows: rows of a usual batch; half or twice as many are halted. None: not checked.
        mean_batches_between_false_halts: how rare false halts are to be on clean batches.
        on_drift: whether a batch in which most columns changed at once, as in natural drift, is published with a
            warning, or halted: what such drift costs cannot be read without labels.
    """

    tolerance: float | None = None
    max_rejected: float = 0.05
    max_duplicate_ids: float = 0.001
    expected_rows: int | None = None
    mean_batches_between_false_halts: int = 1000
    on_drift: Literal["warn", "halt"] = "warn"


@dataclass(frozen=True)
class Labels:
    """What late labels may do: rows that are needed to judge, and whether batches they condemn are taken back."""

    min_rows: int = 500
    on_halt: Literal["keep", "withdraw"] = "keep"


@dataclass(frozen=True)
class Bounds:
    """Bounds of a business figure, of `metrics` or of `outcomes`; outside of them the batch is halted, or the model."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Schedule:
    """How often a batch is expected."""

    every_hours: float = 24.0


@dataclass(frozen=True)
class Serve:
    """How a model answers over HTTP: by default only rows whose score reaches `threshold` are in an answer."""

    threshold: float | None = None


@dataclass(frozen=True)
class Config:
    """project.toml: all of it is optional but the target."""

    target: str
    task: Task | None = None
    positive: str | None = None
    id: str | None = None
    time: str | None = None
    drop: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    gate: Gate = field(default_factory=Gate)
    breaker: Policy = field(default_factory=Policy)
    checks: Checks = field(default_factory=Checks)
    labels: Labels = field(default_factory=Labels)
    business: Mapping[str, Bounds] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Schedule)
    serve: Serve = field(default_factory=Serve)

    @property
    def id_column(self) -> str:
        """The column that names a row in predictions and labels."""
        return self.id or ROW_ID

    def in_time(self, factor: float) -> Config:
        """The same project in a world that runs faster: cool-downs and the schedule last `factor` times as long.

        What machines need, `training.timeout_hours`, stays.

        >>> Config("y", schedule=Schedule(every_hours=24.0)).in_time(60 / 86_400).schedule.every_hours * 3600
        60.0
        """
        cool_down, longest = self.breaker.cool_down_hours * factor, self.breaker.max_cool_down_hours * factor
        return replace(
            self,
            breaker=replace(self.breaker, cool_down_hours=cool_down, max_cool_down_hours=longest),
            schedule=replace(self.schedule, every_hours=self.schedule.every_hours * factor),
        )

    def tolerance(self, task: Task) -> float:
        """The loss that is accepted: of AUC, or the share of RMSE for a regression."""
        return limits.tolerance(task, self.checks.tolerance)


@dataclass(frozen=True)
class Project:
    """A project folder that was read: its name, where it is, and its settings."""

    name: str
    folder: Path
    config: Config

    @property
    def root(self) -> Path:
        """The folder that relative source paths start from: the one that holds `projects/`."""
        return self.folder.resolve().parent.parent

    def code(self) -> dict[str, bytes]:
        """The Python files of the folder and project.toml, by name: what a version keeps a copy of."""
        files = [*sorted(self.folder.glob("*.py")), self.folder / "project.toml"]
        return {path.name: path.read_bytes() for path in files}


def read_project(projects: Path, name: str) -> Project:
    """Read `projects/<name>`. Raises SettingsError for an unknown project or a wrong project.toml."""
    folder = projects / name
    toml = folder / "project.toml"
    if not toml.is_file():
        known = sorted(p.parent.name for p in projects.glob("*/project.toml"))
        raise SettingsError(
            f"there is no project {name!r} ({toml} does not exist).{_near(name, known)} "
            f"Projects in {projects}: {', '.join(known) or 'none'}. "
            f"`fuseline new {name} --from FILE --target COLUMN` makes one."
        )
    try:
        document = tomllib.loads(toml.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{toml} is not valid TOML: {error}") from error
    return Project(name, folder, parse_config(document, str(toml)))


def parse_config(document: Mapping[str, Any], where: str = "project.toml") -> Config:
    """Make a Config of a parsed project.toml; a wrong key or value is named, and the near key suggested.

    >>> parse_config({"target": "y", "brekaer": {}})
    Traceback (most recent call last):
    fuseline.errors.SettingsError: project.toml: unknown key 'brekaer'. Did you mean 'breaker'?
    """
    _no_unknown_keys(document, Config, where, "")
    if "target" not in document:
        raise SettingsError(f"{where}: the key 'target' is missing: the column that is to be predicted")
    try:
        config = msgspec.convert(dict(document), Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_wrong_value(document, error)}") from error
    _check_ranges(config, where)
    return config


def _wrong_value(document: Mapping[str, Any], error: msgspec.ValidationError) -> str:
    """What is wrong with a value, with the whole name of its key and, where they are few, the values it can have."""
    said, kinds = str(error), {"sources": Source, "business": Bounds}
    if "Invalid enum value" in said:
        kind: Any = Config
        for key in said.split("`")[1].removeprefix("$.").split("."):
            kind = get_type_hints(kind)[key]
        found = [v for t in (kind, *get_args(kind)) if get_origin(t) is Literal for v in get_args(t)]
        return f"{said}; accepted are {', '.join(map(repr, found))}"
    for key in (k for k in kinds if f"`$.{k}[...]" in said):  # msgspec does not say which one of them
        for name, value in document[key].items():
            try:
                msgspec.convert(value, kinds[key])
            except msgspec.ValidationError as inner:
                return f"{key}.{name}: {inner}"
    return said


def _check_ranges(config: Config, where: str) -> None:
    ranges = [
        ("training.holdout", config.training.holdout, 0.05, 0.9),
        ("training.seed", config.training.seed, 0, 2**32 - 1),
        ("training.timeout_hours", config.training.timeout_hours, 0.01, 1e6),
        ("training.max_rows", config.training.max_rows, 50, 1e10),
        ("checks.max_rejected", config.checks.max_rejected, 0, 1),
        ("checks.max_duplicate_ids", config.checks.max_duplicate_ids, 0, 1),
        ("checks.mean_batches_between_false_halts", config.checks.mean_batches_between_false_halts, 1, 1e9),
        ("breaker.cool_down_hours", config.breaker.cool_down_hours, 0, 1e6),
        ("breaker.max_cool_down_hours", config.breaker.max_cool_down_hours, 0, 1e6),
        ("breaker.trials", config.breaker.trials, 1, 1000),
        ("breaker.inconclusive_limit", config.breaker.inconclusive_limit, 1, 1000),
        ("labels.min_rows", config.labels.min_rows, 10, 1e10),
        ("gate.margin", config.gate.margin, 0, 1e6),
        ("checks.tolerance", config.checks.tolerance or 0.0, 0, 1e6),
        ("checks.expected_rows", 1 if config.checks.expected_rows is None else config.checks.expected_rows, 1, 1e12),
        ("schedule.every_hours", config.schedule.every_hours, 0.01, 1e6),
    ]
    for key, value, low, high in ranges:
        if not low <= value <= high:
            raise SettingsError(f"{where}: {key} = {value} is outside of {low:g} to {high:g}")
    for name, source in list(config.sources.items())[1:]:
        if source.join is None:
            raise SettingsError(
                f"{where}: [sources.{name}] needs `join`: the column that it shares with the first source"
            )


def _no_unknown_keys(document: Mapping[str, Any], kind: type, where: str, prefix: str) -> None:
    known = {f.name for f in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in document.items():
        if key not in known:
            raise SettingsError(f"{where}: unknown key '{prefix}{key}'.{_near(key, known)}")
        if not isinstance(value, Mapping):
            continue
        nested = [t for t in (hints[key], *get_args(hints[key])) if is_dataclass(t)]
        if nested and is_dataclass(hints[key]):
            _no_unknown_keys(value, nested[0], where, f"{prefix}{key}.")  # type: ignore[arg-type]
        elif nested:
            for name, inner in value.items():
                if isinstance(inner, Mapping):
                    _no_unknown_keys(inner, nested[0], where, f"{prefix}{key}.{name}.")  # type: ignore[arg-type]


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def module_name(project: str, stem: str) -> str:
    """The name that a project's file has as a module, so that pickles of its classes find it again."""
    return f"fuseline_project_{project}_{stem}"


def load_module(path: Path, project: str) -> ModuleType:
    """Run a project's Python file as a module of its own; files beside it can be imported by it.

    Raises:
        ProjectError: it does not exist, or it fails; the line is named.
    """
    if not path.is_file():
        raise ProjectError(f"{path} does not exist; project {project} needs it")
    name = module_name(project, path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with importable(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:  # a data scientist's file can fail in any way
        del sys.modules[name]
        raise ProjectError(f"{path.name} of project {project} cannot be imported: {describe(error, path)}") from error
    return module


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let the files of a folder be imported by name, in place of those that another project folder has by that name."""
    folder = folder.absolute()
    for path in folder.glob("*.py"):
        origin = getattr(sys.modules.get(path.stem), "__file__", None)
        if origin is not None and Path(origin).parent in _FOLDERS - {folder}:
            del sys.modules[path.stem]
    _FOLDERS.add(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def describe(error: BaseException, path: Path) -> str:
    """The error of a project's file in one line, with the line of that file where it happened."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        line = None  # its own text names the file and the line
    at = f" ({path.name}, line {line})" if line else ""
    return f"{type(error).__name__}: {error}{at}"


def code_digest(code: Mapping[str, bytes]) -> str:
    """SHA-256 over the project's files: names and bytes, in the order of names."""
    total = hashlib.sha256()
    for name, data in sorted(code.items()):
        total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()
