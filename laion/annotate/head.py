"""Small networks that score image embeddings, in the layouts of LAION's predictors. Pure numpy.

What is read, by the names of its tensors; docs/curation.md lists where each comes from:

* `weight`, `bias`: one linear layer.
* `layers.0.weight`, `layers.3.weight` ...: an `nn.Sequential`. Its numbers tell what is between two
  linear layers: nothing in 6, 7; ReLU and dropout in 0, 3; dropout alone in 0, 2, 4, 6, 7, as in
  the improved aesthetic predictor. Where a single layer may be either, the user has to say.
* `norm.mean`, `norm.variance`, `linear_1.weight` ...: normalised input, ReLU, sigmoid at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from img2ds.core.failure import UsageError
from laion.annotate.head_file import Array, HeadFile

#: Rows that are scored at once: the widest layer of H-14's detector takes 64 MB then.
BLOCK = 8192

_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)\.weight")
#: The layers of the improved aesthetic predictor, which has no activations.
_WITHOUT_ACTIVATION = (0, 2, 4, 6, 7)
#: Added to the deviation by LAION's detectors.
_EPSILON = 1e-10

#: What a user may say of the layers between linear ones.
ACTIVATIONS = ("relu", "linear")


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer: `weight` [out, in], `bias` [out], and whether ReLU follows."""

    weight: Array
    bias: Array
    relu: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """A network from an embedding to one number.

    Attributes:
        mean, deviation: of the input [dim]; None where it is taken as it is.
        sigmoid: whether the number is turned into a probability.
        digest: the SHA-256 of its file in hex.
    """

    layers: tuple[Layer, ...]
    mean: Array | None = None
    deviation: Array | None = None
    sigmoid: bool = False
    digest: str = ""

    @property
    def dim(self) -> int:
        """The length of the embeddings that it takes."""
        return int(self.layers[0].weight.shape[1])

    def scores(self, embeddings: np.ndarray) -> Array:
        """Return float32 [n] for embeddings [n, dim], which are taken as unit vectors."""
        found = np.empty(len(embeddings), np.float32)
        for start in range(0, len(embeddings), BLOCK):
            found[start : start + BLOCK] = self._block(embeddings[start : start + BLOCK])
        return found

    def _block(self, embeddings: np.ndarray) -> Array:
        values = np.asarray(embeddings, np.float32)
        # Rounding to float16 changes the length; zero vectors stay.
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values = np.asarray(values / np.where(lengths == 0, 1, lengths), np.float32)
        if self.mean is not None and self.deviation is not None:
            values = (values - self.mean) / self.deviation
        for layer in self.layers:
            values = np.asarray(values @ layer.weight.T + layer.bias, np.float32)
            if layer.relu:
                values = np.maximum(values, np.float32(0))
        found = values[:, 0]
        if not self.sigmoid:
            return found
        return np.asarray(0.5 * (1 + np.tanh(0.5 * found)), np.float32)  # never overflows


def make_head(
    file: HeadFile, name: str, activation: str | None = None, sigmoid: bool = False
) -> Head:
    """Return the network of a file.

    Args:
        name: what messages call it.
        activation: one of `ACTIVATIONS`; None to tell by the layers.
        sigmoid: turn the result into a probability, also where the layout has no sigmoid.

    Raises:
        UsageError: it has none of the known layouts.
    """
    tensors = file.tensors
    prefix = _prefix(tensors)
    mean, variance = (tensors.get(f"{prefix}norm.{key}") for key in ("mean", "variance"))
    if mean is not None and variance is not None:
        count = sum(key.startswith(f"{prefix}linear_") for key in tensors) // 2
        stems = [f"{prefix}linear_{number}" for number in range(1, count + 1)]
        relu = [True] * (count - 1) + [False]
        sigmoid = True
    elif f"{prefix}weight" in tensors:
        stems, relu = [prefix.removesuffix(".") if prefix else ""], [False]
    else:
        numbers = sorted(
            int(match["number"]) for key in tensors if (match := _NUMBERED.fullmatch(key))
        )
        stems = [f"{prefix}{number}" for number in numbers]
        relu = _activations(numbers, name, activation)
    layers = [_layer(tensors, stem, after, name) for stem, after in zip(stems, relu, strict=True)]
    if not layers:
        raise UsageError(f"{name} has none of the known layouts: it has {', '.join(tensors)[:200]}")
    _check(layers, name)
    dim = layers[0].weight.shape[1]
    deviation = None
    if mean is not None and variance is not None:
        if mean.size != dim or variance.size != dim or (variance < 0).any():
            raise UsageError(f"{name}: norm needs a mean and a variance of {dim} numbers")
        mean, deviation = mean.reshape(-1), np.sqrt(variance.reshape(-1)) + np.float32(_EPSILON)
    return Head(tuple(layers), mean, deviation, sigmoid, file.digest)


def _prefix(tensors: Mapping[str, Array]) -> str:
    """Return what stands before the part of the names that tells the layout, as `layers.`."""
    for key in tensors:
        if key.endswith("norm.mean"):
            return key.removesuffix("norm.mean")
    for key in tensors:
        if match := _NUMBERED.fullmatch(key):
            return match["prefix"]
    return next(
        (key.removesuffix("weight") for key in tensors if re.fullmatch(r"(.+\.)?weight", key)), ""
    )


def _activations(numbers: Sequence[int], name: str, given: str | None) -> list[bool]:
    """Return for each linear layer of an `nn.Sequential` whether ReLU follows."""
    gaps = [after - before for before, after in pairwise(numbers)]
    if given is not None:
        return [given == "relu" and gap > 1 for gap in gaps] + [False]
    if max(gaps, default=1) > 2:  # ReLU and dropout; so a single layer is ReLU, too
        return [gap > 1 for gap in gaps] + [False]
    if 2 in gaps and tuple(numbers) != _WITHOUT_ACTIVATION:
        raise UsageError(
            f"{name}: what is between its layers {', '.join(map(str, numbers))} may be ReLU or "
            "dropout: add :relu or :linear to the file's name"
        )
    return [False] * len(numbers)


def _layer(tensors: Mapping[str, Array], stem: str, relu: bool, name: str) -> Layer:
    dot = f"{stem}." if stem else ""
    weight = tensors.get(f"{dot}weight")
    if weight is None or weight.ndim != 2:
        raise UsageError(f"{name}: {dot}weight is no matrix: only linear layers are supported")
    bias = tensors.get(f"{dot}bias", np.zeros(len(weight), np.float32))
    if bias.shape != weight.shape[:1]:
        raise UsageError(
            f"{name}: {dot}bias has {list(bias.shape)} numbers, and {dot}weight is "
            f"{list(weight.shape)}"
        )
    return Layer(weight, bias, relu)


def _check(layers: Sequence[Layer], name: str) -> None:
    for before, after in pairwise(layers):
        if before.weight.shape[0] != after.weight.shape[1]:
            raise UsageError(
                f"{name}: a layer has {after.weight.shape[1]} inputs, the one before has "
                f"{before.weight.shape[0]} outputs"
            )
    outputs = layers[-1].weight.shape[0]
    if outputs != 1:
        raise UsageError(f"{name}: the last layer has {outputs} outputs, and must have one")
