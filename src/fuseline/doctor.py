"""`fuseline doctor`: whether the store keeps the promises, and whether what a project stores is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fuseline.artifacts import file_digest, libraries
from fuseline.bootstrap import Line, line, store_of
from fuseline.errors import FuselineError
from fuseline.records import Finding, Published
from fuseline.settings import Settings
from fuseline.storage import probe


def examine(settings: Settings, project: str | None = None) -> list[Finding]:
    """Look at the store, and at a project if one is named; every finding says what to do if it is bad."""
    store = store_of(settings)
    found = [
        Finding(True, "libraries: " + ", ".join(f"{name} {version}" for name, version in libraries().items())),
        _try(f"store {store.url} keeps create-only puts", lambda: probe(store)),
    ]
    if project is not None and all(f.ok for f in found):
        found += _project(settings, project)
    return found


def _try(what: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except FuselineError as error:
        return Finding(False, what, str(error))
    return Finding(True, what)


def _project(settings: Settings, project: str) -> Iterator[Finding]:
    config = _try(f"project {project} and its project.toml", lambda: line(project, settings=settings))
    yield config
    if not config.ok:
        return
    here = line(project, settings=settings)
    ledger = _try(f"ledger of {project}", here.ledger.state)
    yield ledger
    if not ledger.ok:
        return
    state = here.ledger.state()
    if state.champion is None:
        yield Finding(False, "champion", f"there is none yet: fuseline train {project}")
    else:
        yield _try(f"champion {state.champion}: files, digests, libraries", lambda: _load(here, state.champion or ""))
    yield _visible(here)


def _load(here: Line, version: str) -> None:
    model = here.models.open(version)
    for name in model.manifest.files:
        here.models.file(model.manifest, name)
    _ = model.predictor


def _visible(here: Line) -> Finding:
    """Whether consumers read exactly what the ledger says, to the byte."""
    state = here.ledger.state()
    published = state.with_status("published")
    prefix = here.predictions.key("").removesuffix(".parquet")
    visible = {item.key for item in here.store.list(prefix)}
    wanted = {here.predictions.key(batch): batch for batch in published}
    wrong = sorted(visible ^ wanted.keys())
    for key in sorted(visible & wanted.keys()):
        event = here.ledger.entry(published[wanted[key]].seq).event
        with here.store.local(key) as path:
            if isinstance(event, Published) and file_digest(path) != event.digest:
                wrong.append(key)
    what = f"predictions: {len(published)} batches published, {len(visible)} visible"
    if wrong:
        return Finding(False, what, f"these differ from the ledger: {', '.join(wrong[:5])}. `fuseline infer` mends it")
    return Finding(True, what)
