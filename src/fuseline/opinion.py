"""A second opinion for people: what Evidently says of a sample of a batch, beside what the monitor says of all of it.

Nothing depends on it. It is asked for when a batch is settled, and in a process of its own (`fuseline.expert`):
Evidently takes seconds and hundreds of megabytes to import, and only a process can be stopped after a time, or crash,
and leave the run alone. One process looks at all batches of a run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from fuseline.batches import Batches
from fuseline.errors import ArtifactError, NotFound, SettingsError
from fuseline.models import REFERENCE, Models
from fuseline.records import Entry, Published, Quarantined

FORMAT = 1
SAMPLE, FIGURES, REPORT = "sample.parquet", "evidently.json", "evidently.html"
LIBRARY = "evidently"
COMMAND = (sys.executable, "-m", "fuseline.expert")
PATIENCE = 120.0  # seconds for all batches of a run
SHARE = 0.5  # of the columns: with so many drifted, Evidently calls the data set drifted


@dataclass(frozen=True)
class Column:
    """What Evidently says of one column.

    Attributes:
        method: its test or distance, e.g. `K-S p_value` or `Wasserstein distance (normed)`.
        score: the p-value or the distance; None where there is no figure.
        threshold: what the score was held against.
        drifted: None where there is no score.
    """

    name: str
    method: str
    score: float | None
    threshold: float | None
    drifted: bool | None

    @property
    def by_chance(self) -> bool:
        """Whether the score is a p-value: then a small one is drift."""
        return "p_value" in self.method


@dataclass(frozen=True)
class Opinion:
    """What Evidently says of a batch: evidently.json.

    Attributes:
        left_out: the columns that it was not given, each with the reason.
        share: of the columns it calls drifted, from 0 to 1; None after an error.
        rows, reference_rows: how many sampled rows it compared.
        seconds: that the comparison took, the import not counted.
        library: its name and version.
        error: why there is no opinion, empty where there is one.
    """

    columns: tuple[Column, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    share: float | None = None
    rows: int = 0
    reference_rows: int = 0
    seconds: float = 0.0
    library: str = LIBRARY
    error: str = ""
    format: int = FORMAT

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that it calls drifted."""
        return tuple(c.name for c in self.columns if c.drifted)

    @property
    def data_set_drifted(self) -> bool:
        """Whether it calls the data set as a whole drifted."""
        return self.share is not None and self.share >= SHARE


def installed(library: str = LIBRARY) -> bool:
    """Whether the library is there; it is not imported."""
    return find_spec(library) is not None


def read(batches: Batches, batch: str, attempt: str) -> Opinion | None:
    """The opinion on an attempt; None if there is none. One that cannot be read is an opinion with an error."""
    try:
        return decode(batches.store.get(batches.staged_key(batch, attempt, FIGURES)))
    except NotFound:
        return None
    except msgspec.MsgspecError as error:
        return Opinion(error=f"{FIGURES} cannot be read: {error}")


def decode(data: bytes) -> Opinion:
    """An opinion from the bytes of evidently.json. Raises MsgspecError."""
    document = msgspec.json.decode(data, type=dict[str, Any])
    if document.get("format") != FORMAT:
        return Opinion(error=f"{FIGURES} has format {document.get('format')}; this Fuseline reads {FORMAT}: upgrade it")
    return msgspec.convert(document, Opinion)


def encode(opinion: Opinion) -> bytes:
    """The bytes of evidently.json."""
    return msgspec.json.format(msgspec.json.encode(opinion), indent=1)


# ── in the run ───────────────────────────────────────────────────────────────────────────────────


def explain(
    entries: Sequence[Entry],
    batches: Batches,
    models: Models,
    command: Sequence[str] = COMMAND,
    patience: float = PATIENCE,
) -> dict[str, Opinion]:
    """Ask for an opinion on each batch that the entries settled, and store it beside the batch's metrics.json.

    A library that is missing, fails, crashes or is too slow gives an opinion with an error.

    Args:
        command: is started with a folder as its last argument; see `fuseline.expert`.
        patience: seconds after which it is stopped; the batches that it was done with keep their opinions.

    Returns:
        The opinion by batch; a batch without a sample (no row was accepted) has none.

    Raises:
        StoreError: the store cannot be read or written.
    """
    settled = [e.event for e in entries if isinstance(e.event, Published | Quarantined)]
    found: dict[str, Opinion] = {}
    with tempfile.TemporaryDirectory(prefix="fuseline-opinion-") as name:
        folder, asked = Path(name), dict[str, Published | Quarantined]()
        for event in settled:
            place = f"{len(asked):04d}"
            if event.attempt and _bring(event, folder / place, batches, models):
                asked[place] = event
        said = _ask(command, folder, patience) if asked else ""
        for place, event in asked.items():
            found[event.batch] = _keep(event, folder / place, batches, said)
    return found


def _bring(event: Published | Quarantined, place: Path, batches: Batches, models: Models) -> bool:
    """Put a batch's sample and its version's reference into a folder; False where there is no sample."""
    try:
        with batches.store.local(batches.staged_key(event.batch, event.attempt, SAMPLE)) as path:
            place.mkdir()
            shutil.copyfile(path, place / SAMPLE)
    except NotFound:
        return False
    try:
        (place / REFERENCE).write_bytes(models.file(models.manifest(event.version or ""), REFERENCE))
    except (ArtifactError, SettingsError) as error:
        (place / FIGURES).write_bytes(encode(Opinion(error=str(error))))
    return True


def _ask(command: Sequence[str], folder: Path, patience: float) -> str:
    """Run the command on the folder; returns what is to be said of a batch that it left no opinion on."""
    errors = folder / "errors.txt"
    try:
        with errors.open("wb") as file:
            done = subprocess.run(
                [*command, str(folder)],
                cwd=Path(__file__).resolve().parents[1],  # `-m` finds this package there, wherever the run's code is
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                timeout=patience,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"it was stopped after {patience:g} s"
    except OSError as error:
        return f"it could not be started: {error}"
    lines = errors.read_text(errors="replace").strip().splitlines()
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"it ended with {ended}" + (f": {lines[-1]}" if lines else "")


def _keep(event: Published | Quarantined, place: Path, batches: Batches, said: str) -> Opinion:
    """Store what was left in the folder: the page first, so that the figures never promise one that is not there."""
    try:
        opinion = decode((place / FIGURES).read_bytes())
    except (OSError, msgspec.MsgspecError):
        opinion = Opinion(error=said)
    if not opinion.error:
        batches.store.upload(batches.staged_key(event.batch, event.attempt, REPORT), place / REPORT)
    batches.store.put(batches.staged_key(event.batch, event.attempt, FIGURES), encode(opinion))
    return opinion
