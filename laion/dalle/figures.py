"""Figures of a training: its curves, and the contact sheet of its samples."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from img2ds.core.failure import UsageError
from laion.dalle.sample import Sample

_TRAIN, _HELD_OUT = "#4477aa", "#aa3377"

#: Inches of an image on the sheet, and of a letter of the prompts to its left.
_CELL, _LETTER = 1.15, 0.075

#: Letters of a line of a prompt, at most.
_LINE = 26


def check_figures() -> None:
    """Raise UsageError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UsageError(
            "laion dalle needs the package matplotlib: pip install 'img2ds[laion]'"
        ) from None


def draw_curves(points: Sequence[dict[str, Any]], kept_steps: dict[str, int]) -> bytes:
    """Draw the losses of both phases, on trained and held-out pairs, as a PNG.

    Args:
        kept_steps: for each finished phase, the step whose weights are kept; it is marked if the
            phase went on.
    """
    figure = _figure(11, 3.6)
    panels = (
        ("codebook", "error", "image coder", "mean error, share of 255 levels"),
        ("transformer", "image", "transformer: image tokens", "nats a token"),
        ("transformer", "text", "transformer: text tokens", "nats a token"),
    )
    for place, (phase, name, title, unit) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        own = [point for point in points if point["phase"] == phase]
        steps = [point["step"] for point in own]
        for kind, colour in (("train", _TRAIN), ("held_out", _HELD_OUT)):
            values = [point[f"{kind}_{name}"] for point in own]
            axes.plot(
                steps, values, color=colour, marker="." if len(steps) < 3 else "",
                label=kind.replace("_", " "),
            )  # fmt: skip
        if steps and 0 < kept_steps.get(phase, 0) < steps[-1]:
            axes.axvline(
                kept_steps[phase], color="#777777", linewidth=1, linestyle=":", label="kept"
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return _png(figure)


def draw_sheet(prompts: Sequence[str], samples: Sequence[Sequence[Sample]]) -> bytes:
    """Draw a row for each prompt, its samples with their similarities, as a PNG."""
    columns = max(map(len, samples))
    wrapped = [
        textwrap.wrap(prompt, _LINE, max_lines=5, placeholder=" ...") or [""] for prompt in prompts
    ]
    # As wide as the longest line: a wider column would look as if images were missing.
    text_width = 0.25 + _LETTER * max(len(line) for lines in wrapped for line in lines)
    width, height = text_width + columns * _CELL, len(prompts) * (_CELL + 0.18)
    figure = _figure(width, height, layout=None)
    for row, (lines, some) in enumerate(zip(wrapped, samples, strict=True)):
        top = height - row * (_CELL + 0.18)
        figure.text(
            0.1 / width, (top - _CELL / 2) / height, "\n".join(lines).replace("$", r"\$"),
            va="center", fontsize=8,
        )  # fmt: skip
        for column, sample in enumerate(some):
            left = text_width + column * _CELL
            axes = figure.add_axes(
                ((left + 0.04) / width, (top - _CELL + 0.02) / height,
                 (_CELL - 0.08) / width, (_CELL - 0.08) / height)
            )  # fmt: skip
            axes.imshow(sample.pixels, interpolation="nearest")
            axes.set_axis_off()
            if sample.similarity is not None:
                figure.text(
                    (left + _CELL / 2) / width, (top - _CELL - 0.08) / height,
                    f"{sample.similarity:.3f}", ha="center", va="center", fontsize=7,
                    color="#444444",
                )  # fmt: skip
    return _png(figure)


def _figure(width: float, height: float, layout: Any = "constrained") -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
