"""A version loaded and run in a clean process before anybody depends on it: its golden rows must score the same.

python -m fuseline.rehearsal STORE PROJECT VERSION
"""

from __future__ import annotations

import subprocess
import sys

from fuseline import tables
from fuseline.errors import FuselineError
from fuseline.models import GOLDEN, Models
from fuseline.rows import scores_of
from fuseline.storage import Store, open_store

TOLERANCE = 1e-12
TIMEOUT_SECONDS = 600


def rehearse(models: Models, version: str) -> str:
    """Score the golden rows of a version; returns what is wrong, empty if nothing is."""
    import numpy as np

    try:
        model = models.open(version)
        golden = model.table(GOLDEN)
        scores = model.predictor.scores(tables.to_frame(golden, model.contract))
    except FuselineError as error:
        return str(error)
    apart = float(np.max(np.abs(scores - scores_of(golden)), initial=0.0))
    if apart > TOLERANCE:
        return f"its {golden.num_rows} golden rows score differently when it is loaded again, by up to {apart:.3g}"
    return ""


def in_clean_process(store: Store, models: Models, version: str, timeout: float = TIMEOUT_SECONDS) -> str:
    """The same in a process of its own; a store that lives in this process's memory is rehearsed here."""
    if store.url.startswith("memory://"):
        return rehearse(models, version)
    command = [sys.executable, "-m", "fuseline.rehearsal", store.url, models.project, version]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not load and score {version} within {timeout:g} s in a clean process"
    if done.returncode == 0:
        return ""
    said = (done.stdout or done.stderr).strip()[-500:]
    return said or f"the clean process that loaded {version} ended with exit code {done.returncode} and said nothing"


def main(store: str, project: str, version: str) -> int:
    """Print what is wrong, if anything; the exit code says whether."""
    wrong = rehearse(Models(open_store(store), project), version)
    sys.stdout.write(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
