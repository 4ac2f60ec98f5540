"""TARGET of the command line to a source: a project, a Python file, something in it, or a pickle."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from fuseline.errors import SettingsError
from fuseline.serving.bounds import Bounds
from fuseline.serving.hooks import near
from fuseline.serving.intake import Kind
from fuseline.serving.loader import PICKLES
from fuseline.serving.script import FileSource
from fuseline.serving.served import Source
from fuseline.settings import Settings

FORMS = "A TARGET is the name of a project, model.py, model.py:Class, model.py:object or model.joblib"
FILES = ("predict.py", "model.py")  # what is served of a folder that is no project
ATTRIBUTE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def open_target(
    text: str,
    settings: Settings,
    hooks: Sequence[str] = (),
    input: str | None = None,
    reload: bool = False,
    digest: str | None = None,
    bounds: Bounds | None = None,
) -> Source:
    """The source that TARGET names. Nothing is loaded before its first look.

    Args:
        text: a project, a file, `file:name`, or a folder with predict.py or model.py.
        hooks: `stage=name` for hooks of a file that have other names.
        input: what the first hook of a file is given, where its annotation does not say so.
        reload: load a file anew when it, or a Python file beside it, changes.
        digest: SHA-256 that the file must have.
        bounds: of the requests that are taken.

    Raises:
        SettingsError: there is no such thing, there are two, or an option does not go with it.
    """
    kind = _kind(input)
    place, attribute = (text, "") if Path(text).exists() else split(text)
    path = Path(place).expanduser()
    project = _project(text, path, settings)
    if project is not None:
        given = {"--hook": hooks, "--takes": input, "--reload": reload, "--digest": digest}
        if attribute:
            raise SettingsError(f"{text}: {project.name} is a project, and is served whole: leave out :{attribute}")
        if wrong := [option for option, value in given.items() if value]:
            raise SettingsError(f"{' and '.join(wrong)}: for a file only, and {project.name} is a project")
        from fuseline.bootstrap import line
        from fuseline.serving.champion import Champion

        found = line(project.name, "serve", replace(settings, projects=project.parent))
        return Champion(found, bounds=bounds)
    name = path.resolve().name if path.is_dir() else path.stem
    return FileSource(_file(text, path, settings), attribute, hooks, kind, reload, _hex(digest), name, bounds)


def split(text: str) -> tuple[str, str]:
    r"""Path and attribute of a target; the colon of a Windows drive is part of the path.

    >>> split("model.py:Model"), split(r"C:\x\model.py"), split(r"C:\x\model.py:Model")
    (('model.py', 'Model'), ('C:\\x\\model.py', ''), ('C:\\x\\model.py', 'Model'))
    """
    place, colon, attribute = text.rpartition(":")
    if not colon or len(place) < 2 or not ATTRIBUTE.fullmatch(attribute):
        return text, ""
    return place, attribute


def _kind(input: str | None) -> Kind | None:
    known: tuple[Kind, ...] = get_args(Kind)
    for kind in known:
        if kind == input:
            return kind
    if input is None:
        return None
    raise SettingsError(f"--takes {input}: expected {', '.join(known)}.{near(input, known)}")


def _hex(digest: str | None) -> str | None:
    """A digest as it is compared. Raises SettingsError."""
    if digest is None:
        return None
    found = digest.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        raise SettingsError(f"--digest {digest}: expected a SHA-256, 64 hexadecimal digits")
    return found


# ── what there is ───────────────────────────────────────────────────────────────────────────────


def _project(text: str, path: Path, settings: Settings) -> Path | None:
    """The folder of the project that is meant, by its name or its path; None where none is. Raises SettingsError."""
    named = settings.projects / text
    if re.fullmatch(r"[\w-]+", text) and (named / "project.toml").is_file():
        other = [one for one in (path / file for file in FILES) if one.is_file()]
        if other and path.resolve() != named.resolve():
            raise SettingsError(
                f"{text} is a project ({named}) and a folder with {other[0].name}. Name the one that is meant: "
                f"{named} or .{os.sep}{text}"
            )
        return named.resolve()
    return path.resolve() if (path / "project.toml").is_file() else None


def _file(text: str, path: Path, settings: Settings) -> Path:
    """The file that is meant. Raises SettingsError where there is none that can be served."""
    if path.is_dir():
        inside = [path / file for file in FILES if (path / file).is_file()]
        if not inside:
            raise SettingsError(
                f"{text} is a folder without project.toml, {' or '.join(FILES)}. It has {_scripts(path)}. {FORMS}"
            )
        return inside[0].resolve()
    if not path.is_file():
        raise SettingsError(_nothing(text, path, settings))
    if path.suffix not in (".py", *PICKLES):
        raise SettingsError(f"{text} ends in {path.suffix or 'nothing'}: expected .py, {', '.join(PICKLES)}. {FORMS}")
    return path.resolve()


def _nothing(text: str, path: Path, settings: Settings) -> str:
    """That there is neither such a project nor such a file, with the nearest names."""
    projects = sorted(toml.parent.name for toml in settings.projects.glob("*/project.toml"))
    files = [one.name for one in path.parent.glob("*") if one.suffix in (".py", *PICKLES)]
    alike = [file for file in files if Path(file).stem == path.name]
    hint = f" Did you mean '{alike[0]}'?" if alike else near(path.name, [*projects, *files])
    if path.suffix:
        return f"{text}: there is no such file.{hint} {path.resolve().parent} has {_scripts(path.parent)}. {FORMS}"
    found = f"Projects in {settings.projects}: {', '.join(projects) or 'none'}"
    return f"{text} is neither a project nor a file.{hint} {found}. {FORMS}"


def _scripts(folder: Path) -> str:
    names = sorted(one.name for one in folder.glob("*") if one.suffix in (".py", *PICKLES))
    return ", ".join(names[:20]) or "no Python file"
