"""The hooks of a Python file that knows nothing of Fuseline: found by their names, called as their signatures want.

A module, a class or any object has some of warm-up, pre-processing, predict and post-processing. A data hook is given
the value of the stage before. One more required argument is what warm-up returned, or the input of the request where
it has the name that the first hook gives to it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any

from fuseline.errors import ProjectError, SettingsError
from fuseline.projects import describe

NAMES = {  # stage -> its common names; the first that is there is taken
    "warm_up": ("warm_up", "warmup", "warmup_model", "load", "setup"),
    "preprocess": ("preprocess", "pre_process"),
    "predict": ("predict", "custom_predict"),
    "postprocess": ("postprocess", "post_process"),
}
COMMON = ("load", "setup")  # libraries and helpers have these names too: only a file's own, without arguments, count
SHOWN = 20  # names that an error lists at most
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Hook:
    """One hook, ready to be called.

    Attributes:
        stage: a key of `NAMES`.
        name: what it is called in the file.
        takes: names of its required positional arguments; the first is the value of the stage before.
        annotation: of its first argument, `Parameter.empty` without one.
    """

    stage: str
    name: str
    call: Callable[..., Any]
    takes: tuple[str, ...] = ()
    annotation: Any = Parameter.empty

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.takes)})"


@dataclass(frozen=True)
class Hooks:
    """What was found.

    Attributes:
        subject: the module or the object that they belong to.
        predict: always there; the others are None where the file has none.
        notes: what was decided on the way, for people, a sentence each.
        estimator: whether the subject is one of scikit-learn's kind and has no hook of its own.
    """

    subject: Any
    predict: Hook
    warm_up: Hook | None = None
    preprocess: Hook | None = None
    postprocess: Hook | None = None
    notes: tuple[str, ...] = ()
    estimator: bool = False

    @property
    def first(self) -> Hook:
        """The hook that is given the input of a request."""
        return self.preprocess or self.predict

    @property
    def data(self) -> tuple[Hook, ...]:
        """The hooks that a request goes through, in order."""
        return tuple(hook for hook in (self.preprocess, self.predict, self.postprocess) if hook is not None)

    def warmed(self, hook: Hook) -> tuple[str, ...]:
        """The arguments of a hook that only what warm-up returned can fill: one at most."""
        return tuple(name for name in hook.takes[1:] if hook is self.first or name not in self.first.takes[:1])


def find(subject: Any, where: str, folder: Path, named: Sequence[str] = ()) -> Hooks:
    """Find the hooks of a module, a class or an object.

    A class is made without arguments. Of a module without a predict hook, the one class that has one is taken.

    Args:
        where: what the subject is called in errors, e.g. `model.py:Model`.
        folder: that the file is in: what is defined there comes before what was inherited or imported.
        named: `stage=name` for hooks of other names, also dotted; `stage=` for none.

    Raises:
        SettingsError: `named` is wrong: an unknown stage, or nothing of that name.
        ProjectError: there is no predict hook, a class cannot be made, or a hook needs what nobody can give it.
    """
    wanted = _wanted(named)
    if inspect.isclass(subject):
        return _of(_made(subject, where), where, folder, wanted)
    if not isinstance(subject, ModuleType) or _candidates(subject, "predict", wanted):
        return _of(subject, where, folder, wanted)
    classes = _classes(subject, wanted)
    if len(classes) != 1:
        raise _nothing(subject, where, classes, wanted)
    (one,) = classes
    found = _of(_made(one, where), f"{where}:{one.__name__}", folder, wanted)
    note = f"{where} has no predict of its own: the class {one.__name__} is served"
    return replace(found, notes=(note, *found.notes))


def _wanted(named: Sequence[str]) -> dict[str, str]:
    """Stage to name of `--hook`. Raises SettingsError."""
    stages = {name: stage for stage, names in NAMES.items() for name in names}
    found: dict[str, str] = {}
    for text in named:
        word, equals, name = (part.strip() for part in text.partition("="))
        stage = stages.get(word)
        if stage is None or not equals:
            raise SettingsError(
                f"--hook {text}: expected STAGE=NAME with one of the stages {', '.join(NAMES)}.{near(word, NAMES)}"
            )
        if stage in found:
            raise SettingsError(f"--hook names {stage} twice: {found[stage]!r} and {name!r}. Name it once")
        found[stage] = name
    return found


def near(word: str, known: Iterable[str]) -> str:
    """A question that suggests the nearest name, or nothing.

    >>> near("predcit", ["predict", "load"])
    " Did you mean 'predict'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _of(subject: Any, where: str, folder: Path, wanted: Mapping[str, str]) -> Hooks:
    notes: list[str] = []
    chosen = {stage: _chosen(subject, stage, where, folder, wanted, notes) for stage in NAMES}
    predict = chosen.pop("predict")
    others = {stage: hook for stage, hook in chosen.items() if hook is not None}
    plain = not others and not wanted and hasattr(subject, "get_params")  # the mark of a scikit-learn estimator
    if predict is None:
        if not hasattr(subject, "predict_proba"):
            raise _nothing(subject, where, (), wanted)
        predict = _hook("predict", "predict_proba", subject.predict_proba, where)
    elif plain and predict.name != "predict":
        plain = False  # custom_predict is a hook of its own
    found = Hooks(subject, predict, **others, notes=tuple(notes), estimator=plain)
    for hook in () if plain else found.data:
        _check(found, hook, where)
    return found


def _candidates(subject: Any, stage: str, wanted: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """Name to callable of what could be this hook."""
    names = [wanted[stage]] if wanted.get(stage) else NAMES[stage]
    found = {name: _attribute(subject, name) for name in names}
    return {name: call for name, call in found.items() if callable(call) and not inspect.isclass(call)}


def _attribute(subject: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        subject = getattr(subject, part, None)
    return subject


def _chosen(
    subject: Any, stage: str, where: str, folder: Path, wanted: Mapping[str, str], notes: list[str]
) -> Hook | None:
    """The hook of one stage; what was decided about it goes into `notes`."""
    found = _candidates(subject, stage, wanted)
    if stage in wanted:
        if not wanted[stage]:
            return None
        if not found:
            names = callables(subject)
            raise SettingsError(
                f"--hook {stage}={wanted[stage]}: {where} has nothing of that name that can be called."
                f"{near(wanted[stage], names)} It has {_listed(names)}"
            )
        ((name, call),) = found.items()
        return _hook(stage, name, call, where)
    own = {name for name, call in found.items() if _is_own(call, folder)}
    usable = [name for name in found if name in own or name not in COMMON]
    for name in COMMON:
        if name in usable and (hook := _hook(stage, name, found[name], where)).takes:
            notes.append(f"{hook} is not taken for a warm-up hook, because it needs arguments")
            usable.remove(name)
    usable.sort(key=lambda name: name not in own)
    if len(usable) > 1:
        notes.append(
            f"{usable[0]} is called, and not {', '.join(usable[1:])}; --hook {stage}={usable[1]} would change that"
        )
    return _hook(stage, usable[0], found[usable[0]], where) if usable else None


def _is_own(call: Callable[..., Any], folder: Path) -> bool:
    """Whether a callable was written in the folder of the file, and not installed there or elsewhere."""
    code = getattr(inspect.unwrap(call), "__code__", None)
    if code is None:
        return False
    try:
        inside = Path(code.co_filename).resolve().relative_to(folder.resolve())
    except ValueError:
        return False
    return "site-packages" not in inside.parts


def _hook(stage: str, name: str, call: Callable[..., Any], where: str) -> Hook:
    """A hook with what its signature says. Raises ProjectError where it cannot be called with positions alone."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # some that are written in C do not tell
        return Hook(stage, name, call, () if stage == "warm_up" else ("data",))
    required = [p for p in parameters if p.default is Parameter.empty]
    if keywords := [p.name for p in required if p.kind is Parameter.KEYWORD_ONLY]:
        raise ProjectError(
            f"{name} of {where} needs {', '.join(keywords)} by name, and nothing is given by name: add a default"
        )
    places = [p for p in parameters if p.kind in POSITIONAL]
    takes = tuple(p.name for p in required if p.kind in POSITIONAL)
    if stage == "warm_up":
        return Hook(stage, name, call, takes)
    if not places and not any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        raise ProjectError(f"{name}() of {where} takes no argument: expected one, {_role(stage)}")
    first = tuple(p.name for p in places[:1])
    return Hook(stage, name, call, takes or first, places[0].annotation if places else Parameter.empty)


def _role(stage: str) -> str:
    return {"preprocess": "the input of a request", "predict": "the data"}.get(stage, "what predict returned")


def _check(hooks: Hooks, hook: Hook, where: str) -> None:
    """Refuse a hook that needs arguments which nobody can give it. Raises ProjectError."""
    if hooks.warm_up is not None and hooks.warm_up.takes:
        raise ProjectError(
            f"{hooks.warm_up} of {where} needs an argument, and warm-up is called without any. Is this the predict.py "
            "of a project? Serve the project by its name"
        )
    needed = hooks.warmed(hook)
    if len(needed) > 1 or (needed and hooks.warm_up is None):
        given = "what warm-up returns" if hooks.warm_up else "what a warm-up hook returns, and there is none"
        raise ProjectError(
            f"{hook} of {where} needs {', '.join(needed)} besides the data. One more argument could be given: {given}. "
            f"Give the others a default, name another hook (--hook {hook.stage}=NAME, or --hook {hook.stage}= for "
            "none), or serve a project by its name"
        )


# ── what a file has ─────────────────────────────────────────────────────────────────────────────


def _classes(module: ModuleType, wanted: Mapping[str, str]) -> list[type]:
    """The classes that a module defines and that have a predict hook; of those that inherit, the last ones only."""
    own = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    found = [one for one in dict.fromkeys(own) if _candidates(one, "predict", wanted)]
    return [one for one in found if not any(other is not one and issubclass(other, one) for other in found)]


def _made(one: type, where: str) -> Any:
    """An object of a class. Raises ProjectError where it needs arguments or fails."""
    name = one.__name__
    try:
        parameters = list(inspect.signature(one).parameters.values())
    except (TypeError, ValueError):  # some that are written in C do not tell
        parameters = []
    named = (*POSITIONAL, Parameter.KEYWORD_ONLY)
    missing = [p.name for p in parameters if p.default is Parameter.empty and p.kind in named]
    if missing:
        raise ProjectError(
            f"the class {name} of {where} is made without arguments, and it needs {', '.join(missing)}. Give them "
            f"defaults, or make an object of it in the file (model = {name}(…)) and serve FILE:model"
        )
    try:
        return one()
    except (Exception, SystemExit) as error:  # a data scientist's file can fail in any way
        said = describe(error, Path(where.partition(":")[0]))
        raise ProjectError(f"{name}() of {where} failed: {said}") from error


def callables(subject: Any) -> list[str]:
    """The names of a subject that could be hooks: for a module what it defines, for an object its methods."""
    if isinstance(subject, ModuleType):
        found = vars(subject).items()
        return [name for name, one in found if not name.startswith("_") and callable(one) and _of_module(one, subject)]
    names = [name for name in dir(type(subject)) if not name.startswith("_")]
    return [name for name in names if callable(getattr(type(subject), name, None))]


def _of_module(one: Any, module: ModuleType) -> bool:
    return getattr(one, "__module__", None) == module.__name__


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) + more) or "nothing that can be called"


def _nothing(subject: Any, where: str, classes: Sequence[type], wanted: Mapping[str, str]) -> Exception:
    """The error of a subject without a predict hook, with the way out that fits."""
    if wanted.get("predict"):
        names = callables(subject)
        return SettingsError(
            f"--hook predict={wanted['predict']}: {where} has nothing of that name that can be called."
            f"{near(wanted['predict'], names)} It has {_listed(names)}"
        )
    expected = f"{where} has no predict hook: expected {' or '.join(NAMES['predict'])}"
    if classes:
        several = ", ".join(f"{where}:{one.__name__}" for one in classes)
        return ProjectError(f"{expected}, or one class that has it, and there are several. Serve one of {several}")
    inside: Mapping[Any, Any] = subject if isinstance(subject, Mapping) else getattr(subject, "__dict__", {})
    objects = [
        f"{where}:{name}" for name, one in inside.items() if not inspect.isclass(one) and hasattr(one, "predict")
    ]
    if objects:
        return ProjectError(f"{expected}. Serve one of the objects that have it: {_listed(objects)}")
    if isinstance(subject, Mapping):
        found = f"it is a {type(subject).__name__} of {_listed([str(key) for key in subject])}"
    else:
        found = f"it has {_listed(callables(subject))}"
    return ProjectError(f"{expected}, and {found}. Name yours: --hook predict=NAME")
