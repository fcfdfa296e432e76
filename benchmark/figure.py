"""The stages of a picture's way as bars: img2ds, img2dataset and the floor, in one drawing.

Made from the last lines of `results/` for fetching (http, a new connection each), codecs and
writing; `python -m benchmark.figure` draws `benchmark/stages.png`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")  # no screen is asked for

from matplotlib import pyplot as plt

from benchmark import measure, world

TARGET = measure.HERE / "stages.png"
STAGES = ("fetch", "decode", "resize", "encode", "header, hash, EXIF,\ntar, table")
#: Of colours that people who see few of them can tell apart.
COLOURS = {"img2dataset": "#b5b5b5", "img2ds": "#0b6e99", "floor": "#e8a33d"}


def last(question: str, wanted: str) -> dict[str, Any]:
    """The last result that has a `wanted` part; ends the program when there is none."""
    path = measure.RESULTS / f"{question}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    for line in reversed(lines):
        result: dict[str, Any] = json.loads(line)
        if result.get(wanted):
            return result
    world.stop(f"there is no result with img2dataset in {path.name}: run benchmark.{question}")


def gather() -> dict[str, list[float]]:
    """Milliseconds of CPU for each tool and stage; the last stage has all that is no other."""
    codec, fetch, write = last("codec", "img2dataset"), last("fetch", "ms"), last("write", "us")
    theirs, ours, us = codec["img2dataset"], codec["ms"]["all"], write["us"]
    fetched = fetch["ms"]["http, new"]
    digest = us["sha256 of what was fetched"] / 1000  # img2dataset's extras have theirs
    return {
        "img2dataset": [
            fetched["img2dataset's urllib, threads"],
            *(theirs[stage] for stage in ("decode", "resize", "encode")),
            us["img2dataset's writer, with its table"] / 1000 + theirs["extras"],
        ],
        "img2ds": [
            fetched["img2ds"],
            *(ours[stage] for stage in ("decode", "resize", "encode")),
            us["img2ds whole shard"] / 1000 + digest + ours["rest"],
        ],
        "floor": [
            fetched["floor: bare sockets"],
            *(ours[f"floor {stage}"] for stage in ("decode", "resize", "encode")),
            us["bare write, sha256"] / 1000 + digest,
        ],
    }


def draw(tools: dict[str, list[float]], target: Path) -> None:
    """Bars by stage, each with its number on it."""
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    width = 0.8 / len(tools)
    for place, (name, values) in enumerate(tools.items()):
        at = [stage + (place - 1) * width for stage in range(len(STAGES))]
        label = f"{name}: {sum(values):.2f} ms"
        bars = axes.bar(at, values, width * 0.94, label=label, color=COLOURS[name])
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=2, fontsize=8)
    axes.set_xticks(range(len(STAGES)), STAGES)
    axes.set_ylabel("CPU, milliseconds an image")
    axes.set_title(
        "From URL to sample, stage by stage (http, 256 x 256 with borders, quality 95)",
        loc="left", fontsize=10,
    )  # fmt: skip
    axes.legend(frameon=False, title="all stages together", alignment="left")
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    tools = gather()
    draw(tools, options.target)
    heads = [stage.replace("\n", " ") for stage in STAGES]
    rows = [[name, *(f"{v:.3f}" for v in (*values, sum(values)))] for name, values in tools.items()]
    print("ms of CPU an image, http")
    print(measure.table(["tool", *heads, "together"], rows))


if __name__ == "__main__":
    main()
