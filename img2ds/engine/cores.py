"""The number of cores that this process may use.

A container's share of CPU time is a quota of its control group (Linux, cgroups(7)), which Docker's
--cpus and Kubernetes' limits set; `os.cpu_count` and the affinity do not show it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the cores that can be kept busy, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    quota = cpu_quota(_PROC, _MOUNT)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(groups: Path, mount: Path) -> float | None:
    """Return the CPU time that the control group gets, in cores; None without a limit.

    Args:
        groups: the file that names the process's groups.
        mount: the folder of the hierarchy.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for folder in _folders(mount / "cpu" if controllers else mount, path):
            quota = _first_version(folder) if controllers else _second_version(folder)
            if quota is not None:
                limits.append(quota)
    return min(limits, default=None)


def _folders(root: Path, path: str) -> Iterator[Path]:
    """Yield a group's folder and those of the groups around it; each may have a limit."""
    folder = root / path.lstrip("/")
    yield folder
    while folder != root and root in folder.parents:
        folder = folder.parent
        yield folder


def _second_version(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max", and the root has none
        return None


def _first_version(folder: Path) -> float | None:
    try:
        quota, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
