"""A child process of a module of this package, connected by a socket pair.

Children are programs of their own, not forked (threads of Arrow and OpenCV do not survive a fork)
and not started by multiprocessing (which runs the user's main module again).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from img2ds.core.numpy_threads import ONE_THREAD

#: Signals that are for the run's parent alone: it decides what Ctrl-C means.
_STOPPING = {signal.SIGINT, signal.SIGTERM}


def start_child(module: str, **how: Any) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start `python -m module DESCRIPTOR`; return the process and this end of its connection.

    Args:
        how: further arguments of `Popen`.

    Raises:
        OSError: no process can be started.
    """
    ours, theirs = socket.socketpair()
    root = str(Path(__file__).resolve().parents[2])
    encoding = ["-X", "utf8"] if sys.flags.utf8_mode else []
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"), *_own_path())))
    # Ctrl-C reaches the whole foreground group, and a child that still imports its modules knows
    # nothing yet of `ignore_stops`: it inherits the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        process = subprocess.Popen(
            [sys.executable, *encoding, "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**ONE_THREAD, **os.environ, "PYTHONPATH": path},
            **how,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return process, Connection(ours.detach())


def _own_path() -> list[str]:
    """Return the folders that this process imports from and others do not by themselves.

    A script's own folder has the modules of its plug-ins.
    """
    installed = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix})
    found = [os.path.abspath(path) for path in sys.path]
    return [path for path in dict.fromkeys(found) if not path.startswith(installed)]


def ignore_stops() -> None:
    """Ignore the signals that are for the parent: a child calls it first."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
