"""`fuseline doctor`: whether the store keeps the promises, what else it can do, and whether what is stored is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fuseline.abilities import abilities
from fuseline.artifacts import file_digest, libraries
from fuseline.bootstrap import Line, line, store_of
from fuseline.channels import findings
from fuseline.errors import FuselineError
from fuseline.models import registered
from fuseline.narrative import count
from fuseline.records import Finding, Published
from fuseline.settings import Settings
from fuseline.state import State
from fuseline.storage import Store, probe

SHOWN = 5  # wrong files that a finding names


def examine(settings: Settings, project: str | None = None) -> list[Finding]:
    """Look at the store, and at a project if one is named.

    Every bad finding says what to do; so does a good one of something that the store lacks and that is no must.

    Raises:
        SettingsError: the settings name no store at all.
    """
    store = store_of(settings)
    found = [
        Finding(True, "libraries: " + ", ".join(f"{name} {version}" for name, version in libraries().items())),
        _try(f"store {store.url} keeps create-only puts", lambda: probe(store)),
    ]
    if found[-1].ok:
        found += _abilities(store)
    if project is not None and all(f.ok for f in found):
        found += _project(settings, project)
    return [*found, *findings(settings.alerts)]


def _try(what: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except FuselineError as error:
        return Finding(False, what, str(error))
    return Finding(True, what)


def _abilities(store: Store) -> Iterator[Finding]:
    try:
        yield from abilities(store)
    except FuselineError as error:
        yield Finding(False, "store: what else it can do", str(error))


def _project(settings: Settings, project: str) -> Iterator[Finding]:
    config = _try(f"project {project} and its project.toml", lambda: line(project, settings=settings))
    yield config
    if not config.ok:
        return
    here = line(project, settings=settings)
    # From the first entry on, not from a checkpoint: a broken old entry would hide until history is asked for.
    ledger = _try(f"ledger of {project}", lambda: here.ledger.state(State()))
    yield ledger
    if not ledger.ok:
        return
    state = here.ledger.state()
    if state.champion is None:
        yield Finding(True, f"champion: none yet (fuseline train {project})")
    else:
        yield _try(f"champion {state.champion}: files, digests, libraries", lambda: _load(here, state.champion or ""))
    if state.last_good is not None:
        what = f"{state.last_good}, the champion before: files, digests, libraries"
        yield _try(what, lambda: _load(here, state.last_good or ""))
    yield from _predictions(here, state)


def _load(here: Line, version: str) -> None:
    model = here.models.open(version, registered(here.ledger, version))
    for name in model.manifest.files:
        here.models.file(model.manifest, name)
    _ = model.predictor


def _predictions(here: Line, state: State) -> Iterator[Finding]:
    """Whether consumers read exactly what the ledger says, to the byte."""
    project = here.project.name
    visible = {item.key for item in here.store.list(f"{project}/predictions/")}
    wanted = here.predictions.visible(state)
    apart = {
        "missing": sorted(wanted.keys() - visible),
        "not of the ledger": sorted(visible - wanted.keys()),
    }
    wrong = [f"{what}: {_named(keys)}" for what, keys in apart.items() if keys]
    fix = f"{'; '.join(wrong)}. `fuseline infer {project}` puts this right" if wrong else ""
    yield Finding(not wrong, f"predictions: {count(len(wanted), 'batch')} published, {len(visible)} visible", fix)
    if not wanted.keys() & visible:
        return
    changed = [batch for key, batch in sorted(wanted.items()) if key in visible and _changed(here, state, key, batch)]
    what = f"predictions: {count(len(wanted.keys() & visible), 'file')} read, byte for byte what was published"
    if not changed:
        yield Finding(True, what)
        return
    again = f"fuseline predictions {project} --withdraw {changed[0]} --reason …, then fuseline replay {project}"
    yield Finding(
        False,
        what,
        f"changed since: {_named(changed)}. Restore them from the store's versions or a backup, or score them again: "
        f"{again} {changed[0]} --reason … and fuseline infer {project}",
    )


def _changed(here: Line, state: State, key: str, batch: str) -> bool:
    event = here.ledger.entry(state.batches[batch].seq).event
    with here.store.local(key) as path:
        return isinstance(event, Published) and file_digest(path) != event.digest


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
