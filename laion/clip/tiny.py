"""`laion tiny_clip`: trains a very small CLIP model on images of shapes in a minute, on a CPU.

It gives meaningful scores where no weights can be downloaded. The model is of open_clip's own
class and comes as a JSON file and weights, so that it is used like a large one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from img2ds.image.encode import make_encoder
from img2ds.report.units import duration, percent
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec
from laion.clip.open_clip_library import require_open_clip
from laion.clip.shapes import shape_images
from laion.clip.tiny_training import CONFIG, THRESHOLD, train


@dataclass(frozen=True, kw_only=True)
class TinyOptions:
    """The flags of `laion tiny_clip`."""

    output_folder: str = flag(
        "", "str", "where tiny.json and tiny.pt go: use them as --model and --pretrained"
    )
    seed: int = flag(0, "int", "seed of images and weights; the same seed gives the same model")
    steps: int = flag(500, "int", "training steps")
    pictures: int = flag(4096, "int", "images to train on")

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder is required: where tiny.json and tiny.pt go")
        at_least("steps", self.steps, 1)
        at_least("pictures", self.pictures, 32)


@dataclass(frozen=True, slots=True)
class TinyReport:
    """What was written, and the quality of the model on held-out pairs.

    Attributes:
        auc: area under the curve of matched against mismatched captions.
        passed: share of matched captions that reach the threshold.
        refused: share of mismatched captions that do not.
    """

    folder: str
    seconds: float
    auc: float
    passed: float
    refused: float
    exit_code: int = 0

    @property
    def text(self) -> str:
        return (
            f"wrote {self.folder}/tiny.json and tiny.pt in {duration(self.seconds)}\n"
            f"on held-out pairs: AUC {self.auc:.4f}; {percent(self.passed)} of the matched "
            f"captions reach {THRESHOLD}, {percent(self.refused)} of the mismatched ones do not\n"
            f"use: laion score --model {self.folder}/tiny.json --pretrained {self.folder}/tiny.pt"
        )


def run(options: TinyOptions) -> TinyReport:
    """Train a model, write it, and measure it.

    Raises:
        UsageError: the folder cannot be written to, or open_clip is missing.
    """
    started = time.monotonic()
    folder = os.path.abspath(os.path.expanduser(options.output_folder))

    def log(line: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {line}", file=sys.stderr, flush=True)

    config, weights = write(folder, options.seed, options.steps, options.pictures, log)
    log("measuring it on held-out images")
    auc, passed, refused = judge(Embedder(ModelSpec(config, weights), device="cpu"), options.seed)
    return TinyReport(folder, time.monotonic() - started, auc, passed, refused)


def write(
    folder: str,
    seed: int = 0,
    steps: int = 500,
    count: int = 4096,
    log: Callable[[str], None] | None = None,
) -> tuple[str, str]:
    """Train a model and write `tiny.json` and `tiny.pt` into a folder; return their paths.

    Args:
        log: is given a line at once and every few seconds.

    Raises:
        UsageError: the folder cannot be written to, or open_clip is missing.
    """
    if find_spec("open_clip") is None:
        require_open_clip()  # raises; where it is installed it loads for seconds
    config, weights = os.path.join(folder, "tiny.json"), os.path.join(folder, "tiny.pt")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(config, "w", encoding="utf-8") as file:
            json.dump(CONFIG, file, indent=2)
        with open(weights, "ab"):
            pass  # fails now and not after the training
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    if log:
        log("loading PyTorch")
    require_open_clip()
    import torch

    model = train(seed, steps, count, log=log)
    torch.save(model.state_dict(), weights)
    return config, weights


def judge(embedder: Embedder, seed: int = 0, count: int = 256) -> tuple[float, float, float]:
    """Return the metrics of a `TinyReport`, measured on `count` new images."""
    encode = make_encoder("jpg", 95)
    held_out = list(shape_images(seed + 1_000_003, count))
    images = embedder.images([encode(image.pixels) for image in held_out])
    cosines = images @ embedder.texts([image.caption for image in held_out]).T
    kinds = np.array([f"{image.colour} {image.shape}" for image in held_out])
    same = kinds[:, np.newaxis] == kinds
    matched, others = np.diag(cosines), np.sort(cosines[~same])
    auc = float(np.searchsorted(others, matched).mean() / len(others))
    return auc, float((matched >= THRESHOLD).mean()), float((others < THRESHOLD).mean())
