"""The progress bar of notebooks: tqdm's widget, or a line of text where there are no widgets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from img2ds.report.live_line import LiveLine, fitting

#: Steps of the bar, and characters of the text beside it.
_STEPS, _WIDTH = 1000, 120


def in_notebook() -> bool:
    """Return whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and getattr(shell, "kernel", None) is not None


def notebook_line(stream: Any) -> LiveLine:
    """Return the live line of a notebook."""
    # tqdm itself notices too late: its bar then complains when it is collected.
    return WidgetBar() if find_spec("ipywidgets") else TextLine(stream)


class WidgetBar:
    """tqdm's bar as a widget, with the facts beside it. Needs ipywidgets."""

    def __init__(self) -> None:
        from tqdm.notebook import tqdm

        self._bar = tqdm(total=_STEPS, bar_format="{bar} {desc}")

    def draw(self, facts: Sequence[str], done: float | None) -> None:
        self._bar.n = round((done or 0.0) * _STEPS)
        self._bar.set_description_str(fitting(facts, _WIDTH), refresh=False)
        self._bar.refresh()

    def hide(self) -> None:
        """A widget is in no line's way."""

    def close(self) -> None:
        self._bar.close()


class TextLine:
    """A line of text that a notebook replaces when it gets a carriage return."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._shown = 0

    def draw(self, facts: Sequence[str], done: float | None) -> None:
        text = fitting(facts, _WIDTH)
        self._stream.write("\r" + text.ljust(self._shown))
        self._stream.flush()
        self._shown = len(text)

    def hide(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
        self._shown = 0

    def close(self) -> None:
        if self._shown:
            self._stream.write("\n")
        self._shown = 0
