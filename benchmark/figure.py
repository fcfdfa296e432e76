"""The stages of an image's way as bars: img2ds, img2dataset and the floor, in one drawing.

Made from the last results of `end_to_end` that tell stages, over http and https;
`python -m benchmark.figure` draws `benchmark/stages.png`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")  # no screen is asked for

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmark import measure, world
from benchmark.end_to_end import STAGES

TARGET = measure.HERE / "stages.png"
SCHEMES = ("http", "https")
#: Of colours that people who see few of them can tell apart, in the order of the bars.
COLOURS = {"img2dataset": "#b5b5b5", "img2ds": "#0b6e99", "floor": "#e8a33d"}
LABELS = ("fetching", "decoding, resizing,\nencoding, hash, EXIF", "tar and table")


def last(scheme: str) -> dict[str, Any]:
    """The last result of a scheme that has stages; ends the program when there is none."""
    path = measure.RESULTS / "end_to_end.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    for line in reversed(lines):
        result: dict[str, Any] = json.loads(line)
        if result["scheme"] == scheme and result["tools"]["img2ds"].get("stages"):
            return result
    world.stop(f"there is no result over {scheme} with stages: run benchmark.end_to_end")


def draw(axes: Axes, result: dict[str, Any]) -> None:
    """Bars by stage, each with its number on it."""
    width = 0.8 / len(COLOURS)
    for place, (name, colour) in enumerate(COLOURS.items()):
        tool = result["tools"][name]
        # Writing is a difference of two runs; where it drowns in their noise it may be below 0.
        values = [max(0.0, tool["stages"][stage]) for stage in STAGES]
        words = [f"{value:.2f}" if value else "in the\nnoise" for value in values]
        at = [stage + (place - 1) * width for stage in range(len(STAGES))]
        label = f"{name}: {tool['cpu_ms_per_image']:.2f} ms"
        bars = axes.bar(at, values, width * 0.94, label=label, color=colour)
        axes.bar_label(bars, words, padding=2, fontsize=8)
    axes.set_xticks(range(len(STAGES)), LABELS)
    axes.set_title(f"{result['scheme']}: {result['ratio']:.1f}x less than img2dataset, "
                   f"{result['to_floor']:.2f}x the floor", loc="left", fontsize=10)  # fmt: skip
    axes.legend(frameon=False, title="from URL to sample", alignment="left")
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    results = [last(scheme) for scheme in SCHEMES]
    figure, panels = plt.subplots(1, len(results), figsize=(11, 4.5), layout="constrained")
    for axes, result in zip(panels, results, strict=True):
        draw(axes, result)
    panels[0].set_ylabel("CPU, milliseconds an image")
    figure.savefig(options.target, dpi=140)
    for result in results:
        tools = result["tools"].items()
        rows = [[name, *(f"{tool['stages'][stage]:.2f}" for stage in STAGES),
                 f"{tool['cpu_ms_per_image']:.2f}"] for name, tool in tools]  # fmt: skip
        print(measure.table([f"{result['scheme']}, CPU ms/image", *STAGES, "all"], rows), "\n")


if __name__ == "__main__":
    main()
