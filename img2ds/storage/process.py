"""Unique names of processes, and whether the process of a name has ended.

Output folders are shared by machines and containers. A host name and a process number are not
unique: containers may share the name of their host and number their processes from 1.
"""

from __future__ import annotations

import os
import socket
import uuid

#: Joins the parts of a name.
_SEPARATOR = "-"


def _namespace() -> str:
    """Return the inode of the namespace of process numbers, see pid_namespaces(7)."""
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "0"


_HOST = socket.gethostname().partition(".")[0].replace(_SEPARATOR, "_") or "host"
_PLACE = f"{_HOST}_{_namespace()}"


def process_name() -> str:
    """Return host, namespace, number, start, chance: `node7_4026531836-42-99881-0f3a…`."""
    pid = os.getpid()
    parts = (_PLACE, str(pid), str(_start_of(pid) or 0), uuid.uuid4().hex[:8])
    return _SEPARATOR.join(parts)


def is_dead(name: str) -> bool:
    """Return whether a name, or one that begins with it and a dash, is of a process that has ended.

    False for processes of other hosts and namespaces, of which nothing is known.
    """
    try:
        place, pid, started, *_ = name.split(_SEPARATOR)
        process = int(pid)
    except ValueError:
        return False  # not the name of a process
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
    """Return when a process started, in clock ticks since boot; None if there is none or no /proc.

    proc(5): the 22nd field of /proc/PID/stat; the second is in brackets and can contain anything.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None
