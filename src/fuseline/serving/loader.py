"""A Python file or a pickle, loaded anew each time together with the files beside it."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from fuseline.errors import ProjectError
from fuseline.projects import describe, importable

PICKLES = (".joblib", ".pkl", ".pickle")
OURS = ("fuseline", "__main__")  # top-level names that are never forgotten, wherever they lie


def load_python(path: Path, code: bytes) -> ModuleType:
    """Run a Python file as a module, under its own name where that is free, so that pickles of its classes find them.

    Args:
        path: absolute; the files beside it can be imported.
        code: what was read of it. No compiled copy is read or written, which could be older.

    Raises:
        ProjectError: it fails; the line is named.
    """
    with importable(path.parent):
        name = _name(path)
        loader = SourceFileLoader(name, str(path))
        spec = importlib.util.spec_from_loader(name, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            exec(loader.source_to_code(code, str(path)), module.__dict__)
        except SystemExit as error:
            raise ProjectError(
                f"{path.name} ends the program while it is imported: {describe(error, path)}. Put what only a script "
                "does under: if __name__ == '__main__'"
            ) from error
        except Exception as error:  # a data scientist's file can fail in any way
            raise ProjectError(f"{path.name} cannot be imported: {describe(error, path)}{_hint(error)}") from error
    return module


def load_pickle(path: Path, data: bytes) -> tuple[Any, str]:
    """Open a pickle, as joblib or pickle writes them. It runs whatever it holds: its bytes must be trusted.

    Returns:
        The object, and what is wrong with it although it could be opened: that another version of scikit-learn made it.

    Raises:
        ProjectError: it cannot be opened.
    """
    import joblib

    with importable(path.parent), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = joblib.load(io.BytesIO(data))
        except (Exception, SystemExit) as error:  # unpickling runs foreign code and can fail in any way
            said = f"{type(error).__name__}: {error}"
            raise ProjectError(f"{path.name} cannot be opened: {said}{_hint(error)}") from error
    made = {_made_with(one.message) for one in caught}
    for one in caught:
        if not _made_with(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    versions = " and ".join(sorted(made - {""}))
    return found, f"{path.name} was made with {versions}: its predictions could silently differ" if versions else ""


def _made_with(message: Warning | str) -> str:
    """What scikit-learn's warning about another version says, in short; empty for any other warning."""
    made, here = (getattr(message, f"{when}_sklearn_version", None) for when in ("original", "current"))
    return f"scikit-learn {made} (here {here})" if made else ""


def _hint(error: BaseException) -> str:
    """What to do about the usual errors of imports and pickles."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f". Install {error.name.partition('.')[0]}, or put the file beside this one"
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return (
            ". It was pickled by a script that defined the class itself: move the class to a file beside it, import it "
            "from there, and make the pickle again"
        )
    return ""


def _name(path: Path) -> str:
    """The name of a file as a module: its stem, or a name of its own where the stem is taken or no name."""
    stem, there = path.stem, sys.modules.get(path.stem)
    free = there is None or _origin(there).startswith(_inside(path.parent))
    if stem.isidentifier() and free and stem not in sys.stdlib_module_names:
        return stem
    return f"fuseline_file_{re.sub(r'[^0-9A-Za-z_]', '_', stem)}"


# ── what lies beside it ─────────────────────────────────────────────────────────────────────────


def imported(folder: Path) -> dict[str, ModuleType]:
    """The modules that were imported from a folder, by name; nothing that is installed there, and nothing of ours."""
    inside, found = _inside(folder), {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS or not (origin := _origin(module)).startswith(inside):
            continue
        if "site-packages" not in Path(origin[len(inside) :]).parts:
            found[name] = module
    return found


@contextmanager
def anew(folder: Path) -> Iterator[None]:
    """Let all of a folder be imported again; where that fails, what was imported before is as it was."""
    before = imported(folder)
    _forget(before)
    try:
        yield
    except BaseException:
        _forget(imported(folder))
        sys.modules.update(before)
        raise


def _forget(modules: dict[str, ModuleType]) -> None:
    for name in modules:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def _inside(folder: Path) -> str:
    return str(folder).rstrip(os.sep) + os.sep


def _origin(module: ModuleType) -> str:
    """The file of a module, or the folder of a package without one; empty for what is built in."""
    known = getattr(module, "__dict__", {})  # some modules import more when they are asked for an attribute
    if isinstance(file := known.get("__file__"), str):
        return file
    return next((f"{folder}{os.sep}" for folder in known.get("__path__", ()) if isinstance(folder, str)), "")
