"""Where the lines of a run go: to `logging`, if the calling program has set it up, else to stderr.

Loggers are called `img2ds` and `laion`. Set up means that a handler takes records of level INFO
from them, as after `logging.basicConfig(level=logging.INFO)`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any, TextIO


class ForgivingStream:
    """A stream whose errors are ignored: a closed terminal or a full disk ends no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Log:
    """Takes the lines of a run, from any thread.

    Args:
        stream: where lines go that logging does not take.
        name: of the logger.
        quiet: only warnings and errors are taken.
    """

    def __init__(self, stream: Any, name: str = "img2ds", quiet: bool = False) -> None:
        self._stream = stream
        self._logger = logging.getLogger(name)
        self._quiet = quiet
        self._lock = threading.Lock()

    def write(self, line: str, level: int = logging.INFO, dated: bool = False) -> None:
        """Write a line.

        Args:
            dated: whether it begins with the time; logging has formats for that.
        """
        if self._quiet and level < logging.WARNING:
            return
        if self._logger.hasHandlers() and self._logger.isEnabledFor(logging.INFO):
            self._logger.log(level, "%s", line)
            return
        if dated:
            line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"
        with self._lock:  # of lines of two threads, none breaks into the other
            self._stream.write(f"{line}\n")
            self._stream.flush()
