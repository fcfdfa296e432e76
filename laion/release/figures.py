"""The figures of a release."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.release.contents import BINS, Contents


def check_figures() -> None:
    """Raise UsageError when matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UsageError(
            "drawing needs the package matplotlib: pip install 'img2ds[laion]', or use "
            "--figures False"
        ) from None


def draw_similarities(
    path: str, contents: Contents, scanned: npt.NDArray[np.int64], threshold: float
) -> None:
    """Write the histogram of similarities as a PNG of 1200 by 700 pixels. Raises OSError.

    Args:
        contents: of the release.
        scanned: all pairs that the release was chosen from, by similarity.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    edges = np.linspace(-1, 1, BINS + 1)
    kept = contents.histogram
    dropped = np.maximum(scanned - kept, 0)
    filled = np.flatnonzero(kept + dropped)
    first, last = (filled[0], filled[-1]) if len(filled) else (BINS // 2, BINS - 1)
    first, last = max(first - 2, 0), min(last + 2, BINS - 1)
    shown = slice(first, last + 1)
    figure = Figure(figsize=(8, 14 / 3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bars = {"width": edges[1] - edges[0], "align": "edge"}
    axes.bar(edges[shown], kept[shown], color="#4477aa", label="released", **bars)
    if dropped.any():
        axes.bar(
            edges[shown], dropped[shown], bottom=kept[shown], color="#d5c4b3", label="dropped",
            **bars,
        )  # fmt: skip
        axes.legend(frameon=False)
    if edges[first] <= threshold <= edges[last + 1]:
        axes.axvline(threshold, color="#aa3377", linewidth=1.5)
        axes.annotate(
            f"threshold {threshold:g}", (threshold, 1), xycoords=("data", "axes fraction"),
            xytext=(4, -12), textcoords="offset points", color="#aa3377",
        )  # fmt: skip
    axes.margins(y=0.1)  # room for the label of the threshold
    axes.set_xlabel("cosine similarity of image and text")
    axes.set_ylabel("pairs")
    title = f"{contents.scored:,} pairs released"
    if dropped.any():
        title += f", {int(dropped.sum()):,} dropped"
    axes.set_title(f"{title}; bins of 0.01")
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    figure.savefig(path, format="png")
