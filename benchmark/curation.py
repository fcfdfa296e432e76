"""Is a dataset better after a recipe? A tiny CLIP trained on what is kept, and on everything.

A sample web of image-text pairs has the faults of `noisy_pairs.NOISE`. `laion score` embeds it with
the model of `laion tiny_clip`, which has seen none of it; `laion filter` applies each recipe. Then
a model is trained from scratch on each result, by CLIP's own loss, with the same number of samples
seen and three seeds, and judged on clean pairs that are in none of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmark import measure
from benchmark.noisy_pairs import NOISE, NoisyPair, make_pairs, write_shards
from benchmark.small_clip import KINDS, accuracy, pixels_of, tokens_of, train
from img2ds.image.encode import make_encoder
from laion import cli
from laion.clip.shapes import shape_images

QUESTION = "curation"
SEEDS = (0, 1, 2)
#: What each recipe is given besides its name; `{folder}` is that of the benchmark.
RECIPES: Mapping[str, tuple[str, ...]] = {
    "everything": (),
    "datacomp-basic": ("--recipe", "datacomp-basic"),
    "datacomp-clip-30": ("--recipe", "datacomp-clip-30"),
    "laion2b": ("--recipe", "laion2b"),
    "metaclip": (
        "--recipe", "metaclip", "--concepts", "{folder}/concepts.json", "--concept_limit", "60",
    ),
}  # fmt: skip


def main() -> None:
    """Print the table; keep the figures with those of other runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--held_out", type=int, default=640)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pairs = make_pairs(options.pairs, 0, NOISE)
        prepare(folder, pairs)
        encode = make_encoder("jpg", 90)
        held = list(shape_images(10_000, options.held_out, (96, 96)))
        clean = pixels_of([encode(image.pixels) for image in held])
        kinds = [(image.shape, image.colour) for image in held]
        pixels, tokens = pixels_of([p.body for p in pairs]), tokens_of([p.caption for p in pairs])
        results = {}
        for name in options.recipes.split(","):
            kept = filtered(folder, name, len(pairs))
            faults = Counter(pairs[n].fault for n in kept)
            found = []
            for seed in SEEDS:
                model = train(pixels[kept], tokens[kept], options.steps, seed)
                found.append(accuracy(model, clean, kinds))
                print(f"{name} seed {seed}: {found[-1]:.3f}", flush=True)
            results[name] = {
                "kept": len(kept),
                "clean": faults["clean"] / len(kept),
                "accuracy": found,
            }
    print(table(results))
    measure.keep(QUESTION, {"options": vars(options), "noise": NOISE, "results": results})


def prepare(folder: Path, pairs: list[NoisyPair]) -> None:
    """Write and score the web, and the list of concepts."""
    write_shards(folder / "shards", pairs)
    (folder / "concepts.json").write_text(
        json.dumps([f"{colour} {shape}" for shape, colour in KINDS])
    )
    run("tiny_clip", "--output_folder", f"{folder}/tiny")
    run(
        "score", "--input", f"{folder}/shards", "--output_folder", f"{folder}/scored",
        "--model", f"{folder}/tiny/tiny.json", "--pretrained", f"{folder}/tiny/tiny.pt",
        "--devices", "cpu",
    )  # fmt: skip


def filtered(folder: Path, name: str, count: int) -> list[int]:
    """Return the numbers of the pairs that a recipe keeps."""
    flags = [flag.format(folder=folder) for flag in RECIPES[name]]
    if not flags:
        return list(range(count))
    run("filter", "--input", f"{folder}/scored", "--output_folder", f"{folder}/{name}", *flags)
    paths = sorted((folder / name / "metadata").glob("*.parquet"))
    return [int(key) for path in paths for key in pq.read_table(path)["key"].to_pylist()]


def run(*command: str) -> None:
    """Run a command of laion."""
    if code := cli.run(list(command)):
        raise SystemExit(code)


def table(results: Mapping[str, Mapping[str, object]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| trained on | pairs | clean | accuracy by seed | mean | deviation | above everything |",
        "|---|--:|--:|---|--:|--:|--:|",
    ]
    base = np.mean(np.array(results["everything"]["accuracy"])) if "everything" in results else 0
    for name, found in results.items():
        values = np.array(found["accuracy"])
        seeds = " ".join(f"{value:.3f}" for value in values)
        above = "" if name == "everything" else f"{values.mean() - base:+.3f}"
        lines.append(
            f"| {name} | {found['kept']:,} | {100 * float(str(found['clean'])):.0f} % | {seeds} | "
            f"{values.mean():.3f} | {values.std(ddof=1):.3f} | {above} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
