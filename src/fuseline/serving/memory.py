"""How much memory there is, and how much a process has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def total() -> int:
    """Bytes that this process and its children can have together: the container's, or the machine's."""
    import psutil

    found = [int(psutil.virtual_memory().total)]
    groups = Path("/sys/fs/cgroup")
    files = [groups / "memory.max", groups / "memory" / "memory.limit_in_bytes"]
    with suppress(OSError):  # a service of systemd is in a group below that one
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        files += [groups / line.rpartition(":")[2].lstrip("/") / "memory.max" for line in lines]
    for file in files:
        with suppress(OSError, ValueError):  # `max` is no number
            found.append(int(file.read_text(encoding="utf-8")))
    return min(found)


def resident(pid: int) -> int:
    """Bytes that a process has in memory; 0 where there is no such process."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
