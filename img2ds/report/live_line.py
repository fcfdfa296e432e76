"""One line that is updated in place: at the bottom of a terminal, or in a notebook's output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO


class LiveLine(Protocol):
    """A line that shows how far a run is."""

    def draw(self, facts: Sequence[str], done: float | None) -> None:
        """Replace what is shown.

        Args:
            facts: the most important first; those that do not fit are left out.
            done: the share of the work that is done, 0 to 1; None if unknown.
        """

    def hide(self) -> None:
        """Remove the line, so that another one can be printed."""

    def close(self) -> None:
        """Leave the line as it is; what is printed next goes below it."""


def terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal behind a stream, as it is now."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


class TerminalLine:
    """The line of a terminal; it fits the width that the terminal has when it is drawn.

    Args:
        width: returns the columns of the terminal.
    """

    def __init__(self, stream: TextIO, width: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._width = width or (lambda: terminal_width(stream))
        self._shown = ""

    def draw(self, facts: Sequence[str], done: float | None) -> None:
        width = max(self._width(), 2)
        # The last column is left free: a full line would move the cursor to the next one.
        text = fitting(facts, width - 1)
        self._write(self._erase(width) + text)
        self._shown = text

    def hide(self) -> None:
        self._write(self._erase(max(self._width(), 2)))
        self._shown = ""

    def close(self) -> None:
        if self._shown:
            self._write("\n")
        self._shown = ""

    def _erase(self, width: int) -> str:
        """Return what removes the line, which a narrower terminal has broken into several."""
        more = max(len(self._shown) - 1, 0) // width
        return (f"\x1b[{more}A" if more else "") + ("\r\x1b[J" if self._shown else "\r")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def fitting(facts: Sequence[str], width: int) -> str:
    """Return as many facts, the first of them, as fit into `width` columns."""
    text = ""
    for fact in facts:
        longer = f"{text}, {fact}" if text else fact
        if len(longer) > width:
            break
        text = longer
    return text or "".join(facts[:1])[:width]
