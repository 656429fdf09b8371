"""What this machine, or the container around this process, offers: memory and cores."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files in which Linux gives the memory limit of a container, for both versions of its control groups."""


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container around this process."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or a limit of "max"
            limits.append(int(Path(path).read_text()))
    return min(limits)


def machine_cores() -> int:
    """Cores that this process may use: fewer than the machine has where the process is pinned to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
