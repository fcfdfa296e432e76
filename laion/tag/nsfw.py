"""The NSFW tag of pictures, from their CLIP embeddings. Pure.

The rule of LAION-400M (https://laion.ai/blog/laion-400-open-dataset/, steps 6 and 7): of the two
prompts that a picture is most like, both are safe: UNLIKELY, both unsafe: NSFW, else UNSURE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

UNLIKELY, UNSURE, NSFW = "UNLIKELY", "UNSURE", "NSFW"

Vectors = npt.NDArray[Any]
Tags = npt.NDArray[np.str_]

#: By how many of the two best prompts are unsafe.
_BY_COUNT = np.array([UNLIKELY, UNSURE, NSFW])


class Tagger(Protocol):
    """Tags pictures. Picklable: it travels to the workers."""

    @property
    def dim(self) -> int:
        """Numbers of an embedding."""
        ...

    def tags(self, images: Vectors) -> Tags:
        """One of UNLIKELY, UNSURE and NSFW for each row of `images` [n, dim], unit rows."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddedGroup:
    """The embeddings of a group's prompts [n, dim], unit rows, the `flagged` flagged ones first."""

    prompts: Vectors
    flagged: int

    def best(self, rows: Vectors, count: int) -> npt.NDArray[np.bool_]:
        """Whether the `count` prompts that each row is most like are flagged, the best first.

        Returns:
            [n, count]. Of equally good prompts the earlier one counts.
        """
        likeness = rows.astype(np.float32) @ self.prompts.astype(np.float32).T
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
        flagged: npt.NDArray[np.bool_] = order < self.flagged
        return flagged


@dataclass(frozen=True, slots=True)
class ZeroShotTagger:
    """Tags by prompts; the flagged ones are the unsafe."""

    group: EmbeddedGroup

    @property
    def dim(self) -> int:
        return int(self.group.prompts.shape[1])

    def tags(self, images: Vectors) -> Tags:
        unsafe = self.group.best(images, 2).sum(axis=1)
        tags: Tags = _BY_COUNT[unsafe]
        return tags
