"""The figures of a release."""

from __future__ import annotations

import numpy as np

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


def draw_similarities(path: str, contents: Contents, threshold: float | None) -> None:
    """Write the histogram of similarities as a PNG of 1200 by 700 pixels. Raises OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    edges = np.linspace(-1, 1, BINS + 1)
    filled = np.flatnonzero(contents.histogram)
    first, last = (filled[0], filled[-1]) if len(filled) else (BINS // 2, BINS - 1)
    first, last = max(first - 2, 0), min(last + 2, BINS - 1)
    figure = Figure(figsize=(8, 14 / 3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar(
        edges[first : last + 1],
        contents.histogram[first : last + 1],
        width=edges[1] - edges[0],
        align="edge",
        color="#4477aa",
    )
    if threshold is not None and edges[first] <= threshold <= edges[last + 1]:
        axes.axvline(threshold, color="#aa3377", linewidth=1.5)
        axes.annotate(
            f"threshold {threshold:g}", (threshold, 1), xycoords=("data", "axes fraction"),
            xytext=(4, -12), textcoords="offset points", color="#aa3377",
        )  # fmt: skip
    axes.margins(y=0.1)  # room for the label of the threshold
    axes.set_xlabel("cosine similarity of image and text")
    axes.set_ylabel("pairs")
    axes.set_title(f"{contents.scored:,} pairs, bins of 0.01")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")
