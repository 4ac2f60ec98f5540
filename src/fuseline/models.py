"""The model store: immutable versions with everything that is needed to score like them, and their promotion."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from fuseline import artifacts as blobs
from fuseline.errors import AlreadyExists, ArtifactError, NotFound, Refused, SettingsError
from fuseline.ledger import Ledger
from fuseline.predictor import Predictor
from fuseline.projects import importable, load_module, module_name
from fuseline.records import Check, Held, Promoted, Registered, Task
from fuseline.state import State
from fuseline.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from fuseline.contract import Contract
    from fuseline.profile import Bins

FORMAT = 1
MANIFEST, CONTRACT, BINS, REFERENCE, GOLDEN = (
    "manifest.json",
    "contract.json",
    "bins.json",
    "reference.parquet",
    "golden.parquet",
)


@dataclass(frozen=True)
class Stored:
    """A file of a version: its digest (SHA-256) and its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Window:
    """What a version was trained on.

    Attributes:
        rows: labelled rows in the window, held-out ones included.
        holdout: how many of them training never saw.
        first, last: extent of the time column as text, empty without one.
        sources: file or key of each source to the digest of its bytes.
        batches: scored batches whose labelled rows are in the window, the oldest first.
    """

    rows: int
    holdout: int
    first: str = ""
    last: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All that is known of a version; written last, so that a version without one does not exist."""

    version: str
    project: str
    created_at: str
    task: Task
    target: str
    classes: tuple[str, ...]
    positive: str
    features: tuple[str, ...]
    metric: str
    metrics: Mapping[str, float]
    importance: Mapping[str, float]
    calibration: tuple[Mapping[str, float], ...]
    artifacts: tuple[str, ...]
    files: Mapping[str, Stored]
    window: Window
    run: str
    code_digest: str
    lock_digest: str
    libraries: Mapping[str, str]
    format: int = FORMAT

    @property
    def order(self) -> tuple[str, ...]:
        """The classes as statistics want them: of two, the positive one last."""
        return class_order(self.task, self.classes, self.positive)


def class_order(task: Task, classes: tuple[str, ...], positive: str) -> tuple[str, ...]:
    """The classes with the positive one last where there are two; unchanged otherwise.

    >>> class_order("binary", ("cancelled", "kept"), "cancelled")
    ('kept', 'cancelled')
    """
    if task != "binary":
        return classes
    return (*(c for c in classes if c != positive), positive)


class Models:
    """The versions of one project."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project

    def key(self, version: str, file: str) -> str:
        """Where a file of a version is stored."""
        return f"{self.project}/versions/{version}/{file}"

    def reserve(self, state: State, run: str) -> str:
        """A new version name that nobody else has: the claim is a create-only put."""
        number = len(state.versions)
        while True:
            number += 1
            version = f"v{number:04d}"
            try:
                self.store.create(self.key(version, "claim.json"), msgspec.json.encode({"run": run}))
                return version
            except AlreadyExists:
                continue

    def save(self, version: str, files: Mapping[str, bytes]) -> dict[str, Stored]:
        """Store files of a version; returns what its manifest has to say of them."""
        for name, data in files.items():
            self.store.put(self.key(version, name), data)
        return {name: Stored(blobs.digest(data), len(data)) for name, data in files.items()}

    def write(self, manifest: Manifest) -> None:
        """Write the manifest: last, when every file that it names is stored."""
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self.store.put(self.key(manifest.version, MANIFEST), data)

    def register(self, ledger: Ledger, manifest: Manifest) -> None:
        """Write the entry that makes a version known."""
        digest = blobs.digest(self.store.get(self.key(manifest.version, MANIFEST)))
        event = Registered(manifest.version, digest, dict(manifest.metrics), manifest.run)
        ledger.append(lambda state: None if manifest.version in state.versions else event)

    def manifest(self, version: str, digest: str | None = None) -> Manifest:
        """The manifest of a version.

        Args:
            digest: what `registered` says of it; None for a version that is not registered yet.

        Raises:
            SettingsError: there is none.
            ArtifactError: it is unreadable, or not the one that was registered.
        """
        key = self.key(version, MANIFEST)
        try:
            data = self.store.get(key)
            document = msgspec.json.decode(data, type=dict[str, Any])
            written = document.get("format")
            if isinstance(written, int) and written > FORMAT:
                raise ArtifactError(f"{key} has format {written}; this Fuseline reads up to {FORMAT}: upgrade it")
            manifest = msgspec.convert(document, Manifest)
        except NotFound as error:
            raise SettingsError(f"there is no version {version!r} of {self.project} ({key} does not exist)") from error
        except msgspec.MsgspecError as error:
            raise ArtifactError(f"{key} is not a manifest: {error}. Restore it from the store's versions.") from error
        if digest is not None and digest != (found := blobs.digest(data)):
            raise ArtifactError(
                f"{key} was changed after it was registered: its SHA-256 is {found[:12]}…, the ledger says "
                f"{digest[:12]}…. Nothing of {version} was opened. Restore it from the store's versions or a backup, "
                "or roll back to another version."
            )
        return manifest

    def open(self, version: str, digest: str | None = None) -> Model:
        """A version ready to score: every file verified by digest before it is used, libraries compared.

        Args:
            digest: of its manifest, as `registered` says; None for a version that is not registered yet.

        Raises:
            ArtifactError: a file is not what was stored, the manifest not what was registered, or the libraries differ.
        """
        manifest = self.manifest(version, digest)
        blobs.check_libraries(manifest.libraries, version)
        return Model(self, manifest)

    def file(self, manifest: Manifest, name: str) -> bytes:
        """The verified bytes of a file of a version."""
        key = self.key(manifest.version, name)
        try:
            return blobs.verify(self.store.get(key), manifest.files[name].digest, key)
        except NotFound as error:
            raise ArtifactError(f"{key} is gone: restore it from the store's versions, or roll back") from error


class Model:
    """One version, its parts loaded when they are first used."""

    def __init__(self, models: Models, manifest: Manifest) -> None:
        self._models, self.manifest = models, manifest

    @property
    def version(self) -> str:
        """Its name."""
        return self.manifest.version

    @cached_property
    def contract(self) -> Contract:
        """The columns that it was trained on."""
        from fuseline.contract import Contract

        return Contract.from_json(msgspec.json.decode(self._models.file(self.manifest, CONTRACT)))

    @cached_property
    def bins(self) -> Bins:
        """The bins of its reference."""
        from fuseline.profile import Bins

        return Bins.from_json(msgspec.json.decode(self._models.file(self.manifest, BINS)))

    @cached_property
    def predictor(self) -> Predictor:
        """Its artifacts under its own predict.py, warmed up."""
        artifacts = self._artifacts()
        manifest = self.manifest
        predictor = Predictor(self._module(), artifacts, manifest.task, manifest.classes, manifest.positive)
        predictor.warm_up()
        return predictor

    @cached_property
    def hooks(self) -> Predictor:
        """Its predict.py alone, for what follows the scores: artifacts are opened only if `warm_up` may need them."""
        module = self._module()
        if hasattr(module, "warm_up"):
            return self.predictor
        return Predictor(module, {}, self.manifest.task, self.manifest.classes, self.manifest.positive)

    @cached_property
    def tells_outcomes(self) -> bool:
        """Whether its predict.py has the hook `outcomes`; no artifact is opened to know that."""
        return hasattr(self._module(), "outcomes")

    def table(self, name: str) -> pa.Table:
        """One of its Parquet files: the reference (`label`, scores, features) or the golden rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.read_table(pa.BufferReader(self._models.file(self.manifest, name)))

    def _artifacts(self) -> dict[str, Any]:
        found = {}
        for name in self.manifest.artifacts:
            file = f"artifacts/{name}.joblib"
            data = self._models.file(self.manifest, file)
            if module_name(self.manifest.project, "train").encode() in data:  # a class of train.py is pickled in it
                load_module(self._code / "train.py", self.manifest.project)
            with importable(self._code):  # an artifact may be of a class in a file beside train.py
                found[name] = blobs.load(data, self.manifest.files[file].digest, self._models.key(self.version, file))
        return found

    def _module(self) -> ModuleType | None:
        return load_module(self._code / "predict.py", self.manifest.project) if self._has("predict.py") else None

    def _has(self, file: str) -> bool:
        return f"code/{file}" in self.manifest.files

    @cached_property
    def _code(self) -> Path:
        """Its own copy of the project's files, so that a later edit does not change how an old version scores."""
        folder = Path(tempfile.mkdtemp(prefix="fuseline-code-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name in self.manifest.files:
            if name.startswith("code/"):
                (folder / name.removeprefix("code/")).write_bytes(self._models.file(self.manifest, name))
        return folder


def registered(ledger: Ledger, version: str, since: State | None = None) -> str:
    """The digest of the manifest with which a version was registered. Raises SettingsError for an unknown version."""
    known = ledger.state(since).versions
    if version not in known:
        raise SettingsError(f"there is no version {version!r}. Known: {', '.join(known) or 'none'}")
    event = ledger.entry(known[version].seq).event
    assert isinstance(event, Registered)
    return event.manifest_digest


def promote(
    ledger: Ledger, version: str, reason: str, *, how: str = "manual", checks: tuple[Check, ...] = ()
) -> Promoted:
    """Make a version the champion. Raises Refused for the champion itself or an unknown version."""

    def decide(state: State) -> Promoted:
        if version not in state.versions:
            raise Refused(f"there is no version {version!r}. Known: {', '.join(state.versions) or 'none'}")
        if version == state.champion:
            raise Refused(f"{version} is the champion already")
        return Promoted(version, state.champion, how, reason, checks)  # type: ignore[arg-type]

    entry = ledger.append(decide)
    assert entry is not None and isinstance(entry.event, Promoted)
    return entry.event


def rollback(ledger: Ledger, reason: str, version: str | None = None) -> Promoted:
    """Return to the champion before this one, or to `version`, which must have been champion. Raises Refused."""
    state = ledger.state()
    target = version or state.last_good
    if target is None:
        raise Refused("there is no earlier champion to return to")
    if target not in {t.version for t in state.tenures}:
        raise Refused(f"{target} never was the champion; `fuseline promote` makes it one")
    return promote(ledger, target, reason, how="rollback")


def hold(ledger: Ledger, version: str, reasons: tuple[str, ...], checks: tuple[Check, ...]) -> None:
    """Keep a challenger from the line until a person promotes it. Raises Refused for the champion or an unknown one."""

    def decide(state: State) -> Held:
        if version not in state.versions:
            raise Refused(f"there is no version {version!r}. Known: {', '.join(state.versions) or 'none'}")
        if version == state.champion:
            raise Refused(f"{version} is the champion: promote or roll back to another version instead")
        return Held(version, reasons, checks)

    ledger.append(decide)
