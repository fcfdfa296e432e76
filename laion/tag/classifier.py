"""An NSFW classifier on image embeddings, read from a file: `--classifier FILE`.

The file is numpy's `.npz`: `weight_0` [dim, n], `bias_0` [n], `weight_1` [n, m] and so on to a last
layer with one output; `thresholds` [2]; optionally `mean` and `scale` [dim]. Embeddings are
normalised as (x - mean) / scale. All layers but the last are followed by ReLU. The sigmoid of the
last is the probability of NSFW: below thresholds[0] UNLIKELY, from thresholds[1] on NSFW, between
them UNSURE.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.tag.nsfw import NSFW, UNLIKELY, UNSURE, Tags, Vectors

_Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Classifier:
    """A `Tagger`; `digest` is the SHA-256 of the file in hex."""

    layers: tuple[_Layer, ...]
    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    low: float
    high: float
    digest: str

    @property
    def dim(self) -> int:
        return int(self.layers[0][0].shape[0])

    def probabilities(self, images: Vectors) -> npt.NDArray[np.float32]:
        """Return the probability of NSFW for each row of `images` [n, dim]."""
        values = (images.astype(np.float32) - self.mean) / self.scale
        for weight, bias in self.layers[:-1]:
            values = np.maximum(values @ weight + bias, 0)
        weight, bias = self.layers[-1]
        logits = (values @ weight + bias)[:, 0]
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)  # never overflows

    def tags(self, images: Vectors) -> Tags:
        probability = self.probabilities(images)
        return np.where(
            probability >= self.high, NSFW, np.where(probability < self.low, UNLIKELY, UNSURE)
        )


def load_classifier(path: str) -> Classifier:
    """Read a classifier.

    Raises:
        UsageError: the file cannot be read, or has another form.
    """
    name = f"--classifier {path}"
    try:
        with open(path, "rb") as file:
            data = file.read()
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key], np.float32) for key in archive.files}
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    except (ValueError, AttributeError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"{name} is not a .npz file of numbers") from None
    layers: list[_Layer] = []
    while f"weight_{len(layers)}" in arrays:
        weight = arrays.pop(f"weight_{len(layers)}")
        bias = arrays.pop(f"bias_{len(layers)}", np.empty(0, np.float32))
        if weight.ndim != 2 or bias.shape != weight.shape[1:]:
            raise UsageError(
                f"{name}: layer {len(layers)} needs weight [n, m] and bias [m], got "
                f"{list(weight.shape)} and {list(bias.shape)}"
            )
        if layers and layers[-1][0].shape[1] != weight.shape[0]:
            raise UsageError(
                f"{name}: layer {len(layers)} has {weight.shape[0]} inputs, the one before has "
                f"{layers[-1][0].shape[1]} outputs"
            )
        layers.append((weight, bias))
    if not layers or layers[-1][0].shape[1] != 1:
        raise UsageError(f"{name}: the last layer (weight_0, weight_1, ...) must have one output")
    dim = layers[0][0].shape[0]
    mean = arrays.pop("mean", np.zeros(dim, np.float32))
    scale = arrays.pop("scale", np.ones(dim, np.float32))
    thresholds = arrays.pop("thresholds", np.empty(0, np.float32))
    if mean.shape != (dim,) or scale.shape != (dim,) or not (scale > 0).all():
        raise UsageError(f"{name}: mean and scale must have {dim} numbers each, scale above 0")
    if thresholds.shape != (2,) or not 0 <= thresholds[0] <= thresholds[1] <= 1:
        raise UsageError(f"{name}: thresholds must be two probabilities, the lower one first")
    if arrays:
        raise UsageError(f"{name}: unknown array {min(arrays)!r}")
    digest = hashlib.sha256(data).hexdigest()
    low, high = map(float, thresholds)
    return Classifier(tuple(layers), mean, scale, low, high, digest)
