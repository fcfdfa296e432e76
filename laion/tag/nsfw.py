"""Tags images as NSFW or not, by their CLIP embeddings. Pure.

The rule of LAION-400M (https://laion.ai/blog/laion-400-open-dataset/, steps 6 and 7) looks at the
two prompts most similar to the image: both safe give UNLIKELY, both unsafe NSFW, else UNSURE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

UNLIKELY, UNSURE, NSFW = "UNLIKELY", "UNSURE", "NSFW"

Vectors = npt.NDArray[Any]
Tags = npt.NDArray[np.str_]

#: The tag by the number of unsafe prompts among the two best.
_BY_COUNT = np.array([UNLIKELY, UNSURE, NSFW])


class Tagger(Protocol):
    """Tags images. Picklable: it is sent to the workers."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    def tags(self, images: Vectors) -> Tags:
        """Return UNLIKELY, UNSURE or NSFW for each row of `images` [n, dim], unit rows."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddedGroup:
    """Embeddings of the prompts of a group, unit rows [n, dim]; the first `flagged` are flagged."""

    prompts: Vectors
    flagged: int

    def best(self, rows: Vectors, count: int) -> npt.NDArray[np.bool_]:
        """Return whether the `count` prompts most similar to each row are flagged, the best first.

        Returns:
            [n, count]. Of equally similar prompts the earlier one counts.
        """
        similarity = rows.astype(np.float32) @ self.prompts.astype(np.float32).T
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
        flagged: npt.NDArray[np.bool_] = order < self.flagged
        return flagged


@dataclass(frozen=True, slots=True)
class ZeroShotTagger:
    """Tags by prompts, of which the unsafe ones are flagged."""

    group: EmbeddedGroup

    @property
    def dim(self) -> int:
        return int(self.group.prompts.shape[1])

    def tags(self, images: Vectors) -> Tags:
        unsafe = self.group.best(images, 2).sum(axis=1)
        tags: Tags = _BY_COUNT[unsafe]
        return tags
