"""Who holds a lock: the small JSON document that a lock file or a lock object contains."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

#: Seconds without a heartbeat after which a holder counts as dead: ten missed heartbeats.
STALE = 300.0


def holder_document(now: float, **more: Any) -> bytes:
    """Return the document of this process. `now` is in seconds since 1970."""
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "time": now, **more}
    return json.dumps(holder).encode()


def read_holder(document: bytes) -> dict[str, Any]:
    """Return the holder that a document names; empty if it names none."""
    try:
        holder = json.loads(document)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def is_stale(holder: dict[str, Any], now: float) -> bool:
    """Return whether a holder that sends heartbeats counts as dead."""
    return now - float(holder.get("time", 0)) >= STALE


def describe_holder(holder: dict[str, Any]) -> str:
    """Return a holder in words."""
    if "pid" not in holder:
        return "another run"
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder["time"])))
    return f"process {holder['pid']} on {holder['host']} (seen {seen})"


def in_use(folder: str, holder: str) -> str:
    """Return the message for a folder that another run holds, see `describe_holder`."""
    return (
        f"the output folder {folder} is in use by {holder}: wait for it, stop it, "
        "or take over the folder with --force"
    )
