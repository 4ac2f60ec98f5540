"""A Python file or a pickle as a source: loaded, warmed up, and loaded anew when it is edited."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from fuseline.artifacts import digest as digest_of
from fuseline.errors import FuselineError, ProjectError
from fuseline.serving.bounds import Bounds
from fuseline.serving.hooks import Hooks, callables, find, near
from fuseline.serving.intake import Kind
from fuseline.serving.loader import anew, imported, load_pickle, load_python
from fuseline.serving.plain import Plain
from fuseline.serving.problem import Problem
from fuseline.serving.served import Standing

EVERY = 0.5  # seconds between two looks where the file may be edited


class FileSource:
    """Implements `Source` for a Python file or a pickle.

    The process works in the file's folder from the first look on, and imports from it, as if the file was run there.

    Args:
        path: absolute.
        attribute: what of it is served: a class, an object, a function, or the key of a pickled dict; empty for all.
        hooks: `stage=name` for hooks that have other names.
        kind: what the first hook is given; None to do what its annotation says.
        reload: whether to look for changes.
        digest: SHA-256 that the file must have.
        name: what people call it, by default the stem of the file.
    """

    def __init__(
        self,
        path: Path,
        attribute: str = "",
        hooks: Sequence[str] = (),
        kind: Kind | None = None,
        reload: bool = False,
        digest: str | None = None,
        name: str = "",
        bounds: Bounds | None = None,
    ) -> None:
        self.path, self.attribute, self.hooks, self.kind, self.digest = path, attribute, tuple(hooks), kind, digest
        self.name, self.bounds, self.reload = name or path.stem, bounds, reload
        self.every = EVERY if reload else 0.0
        own = path.parent / "page.html"
        self.page = own if own.is_file() else None
        self.standing = Standing(problem=Problem("not-ready", f"{self.name} is being loaded"))
        self._seen: Mapping[Path, tuple[int, int]] = {}

    def look(self) -> bool:
        """Load the file the first time, and again when it changed; where that fails, the one before goes on answering.

        Raises:
            FuselineError: the first load failed.
        """
        first = self.standing.served is None
        if not first and not (self.reload and self._changed()):
            return False
        if first:
            self._settle()
        seen = self._files()
        try:
            served, trouble = self._load()
        except FuselineError as error:
            if first:
                raise
            said = f"an edit of {self.path.name}, or beside it, cannot be served; the one before answers. {error}"
            self.standing = replace(self.standing, trouble=said)
            return False
        else:
            self.standing = Standing(served, trouble=trouble)
            return True
        finally:
            self._seen = {path: seen.get(path, now) for path, now in self._files().items()}

    def _settle(self) -> None:
        """Work in the folder of the file, and import from it."""
        folder = str(self.path.parent)
        os.chdir(folder)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        if self.reload:
            sys.dont_write_bytecode = True  # a compiled copy knows changes by whole seconds only

    def _changed(self) -> bool:
        """Whether a file is another one than when it was loaded, is gone, or is new beside the file."""
        now = self._files()
        changed = any(now.get(path) != stamp for path, stamp in self._seen.items())
        changed |= any(path not in self._seen and path.parent == self.path.parent for path in now)
        self._seen = {**now, **self._seen}  # a hook may import more, and that is no change
        return changed

    def _files(self) -> dict[Path, tuple[int, int]]:
        """Time (ns) and size (bytes) of the file, of every Python file beside it, and of all that it imports there."""
        folder = self.path.parent
        names = [getattr(module, "__file__", None) for module in imported(folder).values()]
        found = {}
        for path in {self.path, *folder.glob("*.py"), *(Path(name) for name in names if name)}:
            try:
                stat = path.stat()
            except OSError:
                continue  # it is gone, which is a change
            found[path] = (stat.st_mtime_ns, stat.st_size)
        return found

    def _load(self) -> tuple[Plain, str]:
        """The model, warmed up, and what is wrong with it all the same. Raises FuselineError."""
        data = self._read()
        with anew(self.path.parent):
            if self.path.suffix == ".py":
                subject, trouble = load_python(self.path, data), ""
            else:
                subject, trouble = load_pickle(self.path, data)
            served = Plain(self.name, digest_of(data)[:12], self._hooks(subject), self.path, self.kind, self.bounds)
            served.warm_up()
        return served, trouble

    def _read(self) -> bytes:
        """The bytes of the file, if they are those that were asked for. Raises ProjectError."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ProjectError(f"{self.path} cannot be read: {error.strerror}") from error
        if self.digest is not None and (found := digest_of(data)) != self.digest:
            raise ProjectError(
                f"{self.path.name} is not the file that --digest names: its SHA-256 is {found}, expected "
                f"{self.digest}. It was not opened. Fetch the file again, or give this digest if it is to be trusted"
            )
        return data

    def _hooks(self, subject: Any) -> Hooks:
        """The hooks of what is to be served. Raises FuselineError."""
        where, folder = self.path.name, self.path.parent
        if not self.attribute:
            return find(subject, where, folder, self.hooks)
        found = dig(subject, self.attribute, where)
        if isinstance(subject, ModuleType) and inspect.isroutine(found):  # a function is the predict of its module
            return find(subject, where, folder, [*self.hooks, f"predict={self.attribute}"])
        return find(found, f"{where}:{self.attribute}", folder, self.hooks)


def dig(subject: Any, dotted: str, where: str) -> Any:
    """What a dotted name means in a module, an object or a dict. Raises ProjectError listing what is there."""
    for part in dotted.split("."):
        inside = subject if isinstance(subject, Mapping) else None
        found = inside.get(part) if inside is not None else getattr(subject, part, None)
        if found is None:
            names = [str(key) for key in inside] if inside is not None else _names(subject)
            listed = ", ".join(names[:20]) or "nothing that can be served"
            raise ProjectError(f"{where} has no {part!r}.{near(part, names)} It has {listed}")
        subject = found
    return subject


def _names(subject: Any) -> list[str]:
    """What of a module or an object could be served."""
    objects = [name for name, one in getattr(subject, "__dict__", {}).items() if hasattr(one, "predict")]
    return list(dict.fromkeys([*callables(subject), *(name for name in objects if not name.startswith("_"))]))
