"""Shards of small images of shapes, and flags of a training that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from img2ds.image.encode import make_encoder
from laion.clip.shapes import shape_images
from laion.dalle.options import DalleOptions
from tests.laion.clip.shape_shards import Pair, write_shard

#: A training of a few steps.
QUICK: dict[str, Any] = {
    "preset": "tiny", "image_size": 32, "downsampling": 8, "codes": 32, "coder_width": 8,
    "codebook_steps": 12, "width": 32, "layers": 1, "heads": 2, "steps": 12, "batch_size": 8,
    "held_out": 0.1, "held_out_pairs": 16, "log_every": 4, "save_every": 5, "devices": ("cpu",),
    "samples": 2,
}  # fmt: skip


def write_shapes(folder: Path, shards: int, count: int, side: int = 48) -> Path:
    """Write `shards` of `count` pairs each; return the folder."""
    folder.mkdir(exist_ok=True)
    encode = make_encoder("jpg", 95)
    for shard in range(shards):
        drawn = shape_images(shard, count, (side, side))
        write_shard(
            folder / f"{shard:05d}.tar",
            [
                Pair(f"{shard:05d}{place:04d}", encode(image.pixels), image.caption)
                for place, image in enumerate(drawn)
            ],
        )
    return folder


def quick(folder: Path, output: Path, **flags: Any) -> DalleOptions:
    """Return the options of a quick training, with some changed."""
    return DalleOptions(input=str(folder), output_folder=str(output), **{**QUICK, **flags})


def typed(folder: Path, output: Path, **flags: Any) -> list[str]:
    """Return the same as command-line arguments."""
    given = {"input": folder, "output_folder": output, **QUICK, **flags}
    words = ["dalle"]
    for name, value in given.items():
        if value is not None:
            words += [f"--{name}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return words
