"""DataComp's image-based filter: images in the clusters of given ones, such as ImageNet's."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.data.embedding_layout import IMAGES
from laion.filter.rules import Rows

Vectors = npt.NDArray[np.float32]

#: Rows whose products with all centroids are in memory at once: 0.4 GB with 100,000 centroids.
_BLOCK = 1024
#: The key of DataComp's files of ImageNet's embeddings.
_KEY = "image_features"


def nearest(vectors: Any, centroids: Vectors) -> npt.NDArray[np.int64]:
    """Return the number of the centroid with the largest product for each row."""
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[start : start + _BLOCK], np.float32)
        found[start : start + _BLOCK] = (block @ centroids.T).argmax(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class NearTargets:
    """The image's nearest centroid is that of a target, too.

    Attributes:
        wanted: which centroids are, bool [k].
    """

    centroids: Vectors
    wanted: npt.NDArray[np.bool_]
    reasons: tuple[str, ...] = ("other_cluster",)

    @property
    def dim(self) -> int:
        """The length of the embeddings."""
        return int(self.centroids.shape[1])

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        images = rows.source.embeddings(IMAGES, rows.table.num_rows)
        return np.where(self.wanted[nearest(images, self.centroids)], -1, 0)


def near_targets(centroids: Vectors, targets: Vectors) -> NearTargets:
    """Return the rule for targets [n, dim]. Raises UsageError: their lengths differ."""
    if centroids.shape[1] != targets.shape[1]:
        raise UsageError(
            f"--targets have {targets.shape[1]} numbers each, --centroids {centroids.shape[1]}: "
            "use embeddings of one model"
        )
    wanted = np.zeros(len(centroids), np.bool_)
    wanted[np.unique(nearest(targets, centroids))] = True
    return NearTargets(centroids, wanted)


def load_vectors(flag: str, paths: Sequence[str]) -> tuple[Vectors, str]:
    """Read embeddings of `.npy` files, or of tensors that torch has saved, one after the other.

    Returns:
        float32 [n, dim], and the SHA-256 of the files in hex.

    Raises:
        UsageError: a file cannot be read, or holds anything else.
    """
    digest = hashlib.sha256()
    found: list[Vectors] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(f"--{flag} {path} cannot be read: {why}") from None
        digest.update(data)
        vectors = _vectors(data, f"--{flag} {path}")
        if vectors.ndim != 2 or (found and vectors.shape[1] != found[0].shape[1]):
            raise UsageError(f"--{flag} {path} is not [n, dim], or has another dim than the first")
        found.append(np.asarray(vectors, np.float32))
    return np.concatenate(found), digest.hexdigest()


def _vectors(data: bytes, name: str) -> Any:
    try:
        if data[:6] == b"\x93NUMPY":
            return np.load(io.BytesIO(data), allow_pickle=False)
        import torch

        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except ImportError:
        raise UsageError(f"{name} is no .npy file; others need torch") from None
    except pickle.UnpicklingError:
        raise UsageError(
            f"{name} holds more than tensors, and may run code when it is read: save it as .npy"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError):
        raise UsageError(f"{name} is neither .npy nor a tensor that torch has saved") from None
    if isinstance(held, Mapping) and _KEY in held:
        held = held[_KEY]
    if not hasattr(held, "detach"):
        raise UsageError(f"{name} holds no tensor: save the embeddings as .npy")
    return held.detach().float().numpy()
