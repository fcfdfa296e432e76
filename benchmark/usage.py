"""Run a command and write what its whole process tree used, as JSON, to a file.

`python usage.py REPORT COMMAND...`: seconds of wall and CPU time, the largest resident set of any
one process in bytes, the exit code. It is the reaper of orphans, so that they are counted too.
A program of its own: a small one, whose memory the command's does not inherit.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path

#: linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


def run(command: list[str]) -> dict[str, float]:
    """See the module."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    started = time.monotonic()
    first = os.posix_spawnp(command[0], command, os.environ)
    ended, code, cpu, peak = started, 0, 0.0, 0
    while True:
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += used.ru_utime + used.ru_stime
        peak = max(peak, used.ru_maxrss * 1024)
        if pid == first:
            ended, code = time.monotonic(), os.waitstatus_to_exitcode(status)
    return {"wall": ended - started, "cpu": cpu, "peak_rss": peak, "exit_code": code}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(run(sys.argv[2:])))
