"""Names of what img2ds keeps for itself in an output folder, today and in older folders. Pure.

Readers of datasets list that folder, so nothing of it may look like data: files are hidden and have
no extension, and a finished dataset has no further folder. torchvision's ImageFolder takes every
folder for a class, hidden or not; pathlib's globs match hidden names.
"""

from __future__ import annotations

import re

#: The folder of what is unfinished: it is there while a run works, and while something has to be
#: resumed.
WORK = ".img2ds"
#: Staged files, one folder a run.
STAGING = f"{WORK}/tmp"
#: The rights to publish shards.
CLAIMS = f"{WORK}/claims"
#: The locks of ranks, a file each while its run lives.
RANKS = f"{WORK}/ranks"

_PREFIX = f"{WORK}-"
LOCK = f"{_PREFIX}lock"
MANIFEST = f"{_PREFIX}manifest"

#: The folder that held all of it until version 0.1.
BEFORE = "_img2ds"

_RETRY = f"{_PREFIX}retry-"
_RETRY_NOW = re.compile(rf"{re.escape(_RETRY)}(\d+)(?:-(\d+))?")
_RETRY_BEFORE = re.compile(r"retries/(\d+)/(?:list\.json|(\d+)\.parquet)")


def state_file(kind: str) -> str:
    """Return the name of a file of state, such as `manifest`."""
    return _PREFIX + kind


def retry_file(retry: str, rows: str | None = None) -> str:
    """Return the name of the list of a retry, such as `0001`, or of its file of rows `00000`."""
    return _RETRY + retry + ("" if rows is None else f"-{rows}")


def retry_of_file(name: str) -> str | None:
    """Return the retry that a file belongs to; None for other files."""
    match = _RETRY_NOW.fullmatch(name)
    return None if match is None else match[1]


def is_state(name: str) -> bool:
    """Return whether a name in an output folder is img2ds's own."""
    return name in (WORK, BEFORE) or name.startswith(_PREFIX)


def name_before(name: str) -> str:
    """Return where an older folder has the file or folder of state `name`."""
    if name == LOCK:
        return f"{BEFORE}/lock"
    if name.startswith(f"{WORK}/"):
        return BEFORE + name.removeprefix(WORK)
    if match := _RETRY_NOW.fullmatch(name):
        leaf = "list.json" if match[2] is None else f"{match[2]}.parquet"
        return f"{BEFORE}/retries/{match[1]}/{leaf}"
    return f"{BEFORE}/{name.removeprefix(_PREFIX)}.json"


def name_now(before: str) -> str | None:
    """Return the name today of a file in an older folder; None for what is not kept, or unknown.

    Args:
        before: its path in `BEFORE`, without that.
    """
    if match := _RETRY_BEFORE.fullmatch(before):
        return retry_file(match[1], match[2])
    if is_obsolete(before):
        return None
    if "/" in before:
        return f"{WORK}/{before}"
    return state_file(before.removesuffix(".json")) if before.endswith(".json") else None


def is_obsolete(before: str) -> bool:
    """Return whether a file in an older folder is of no use once no run of its version lives."""
    first = before.partition("/")[0]
    return first in ("tmp", "claims", "lock") or first.startswith("probe-")
