"""Names of processes that are never given twice, and whether the process of a name is gone.

Output folders are shared by machines and by containers: a host's name and a process number are
not enough, since containers may share the name of their host and each count from 1.
"""

from __future__ import annotations

import os
import socket
import uuid

#: What two of whatever makes a name unique are joined by.
_SEPARATOR = "-"


def _space() -> str:
    """The inode of the space that process numbers are of; see pid_namespaces(7)."""
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "0"


_HOST = socket.gethostname().partition(".")[0].replace(_SEPARATOR, "_") or "host"
_PLACE = f"{_HOST}_{_space()}"


def process_name() -> str:
    """Host and number space, number, start, and chance: `node7_4026531836-4242-99881-0f3a…`."""
    pid = os.getpid()
    parts = (_PLACE, str(pid), str(_start_of(pid) or 0), uuid.uuid4().hex[:8])
    return _SEPARATOR.join(parts)


def is_dead(name: str) -> bool:
    """Whether `name`, or what begins with it and a dash, is of a process known to have ended.

    False for processes of other hosts and other number spaces: who knows.
    """
    try:
        place, pid, started, *_ = name.split(_SEPARATOR)
        process = int(pid)
    except ValueError:
        return False  # not a process's
    if place != _PLACE:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # alive, and somebody else's
    now = _start_of(process)
    return now is not None and started != "0" and str(now) != started


def _start_of(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None when there is none (or no /proc).

    proc(5): the 22nd field of /proc/PID/stat; the second one is in brackets and may hold anything.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None
