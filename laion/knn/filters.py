"""Which candidate rows a search may show. Pure, on whole arrays of candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.knn.metadata_schema import CC, COMMERCIAL, DERIVATIVES

#: What a licence must permit, by the name of the choice.
LICENCES = {
    "any": 0,
    "cc": CC,
    "commercial": CC | COMMERCIAL,
    "derivatives": CC | DERIVATIVES,
    "free": CC | COMMERCIAL | DERIVATIVES,
}

#: Cosine from which two images count as near-duplicates: clip-retrieval's value.
NEAR_DUPLICATE = 0.94


@dataclass(frozen=True, slots=True)
class Filters:
    """What a row must satisfy.

    Attributes:
        safe: its NSFW tag is UNLIKELY.
        min_size: pixels of its shorter side, at least; a row of unknown size passes only 0.
        license: what its licence permits, a name in `LICENCES`.
    """

    safe: bool = True
    min_size: int = 0
    license: str = "any"

    @property
    def columns(self) -> tuple[str, ...]:
        """The filter columns (see `metadata_schema`) that `passed` needs."""
        needed = {"safe": self.safe, "side": self.min_size, "rights": LICENCES[self.license]}
        return tuple(name for name, is_needed in needed.items() if is_needed)

    def passed(self, columns: dict[str, npt.NDArray[Any]], count: int) -> npt.NDArray[np.bool_]:
        """Return a mask of the rows that pass, given `columns` of `count` rows."""
        mask = np.ones(count, bool)
        if self.safe:
            mask &= columns["safe"] == 1
        if self.min_size:
            mask &= columns["side"] >= self.min_size
        if needed := LICENCES[self.license]:
            mask &= columns["rights"] & needed == needed
        return mask


def without_near_duplicates(
    blocks: Iterable[npt.NDArray[np.float32]], limit: int, threshold: float = NEAR_DUPLICATE
) -> list[int]:
    """Return positions of the first `limit` vectors that are not near-duplicates of a kept one.

    A vector is compared with the kept ones only: a chain of small steps from one image to another
    does not hide the other.

    Args:
        blocks: the vectors, best first; only as many blocks as needed are taken.
    """
    positions: list[int] = []
    kept = np.empty((0, 0), np.float32)
    start = 0
    for block in blocks:
        if not kept.size:
            kept = np.empty((limit, block.shape[1]), np.float32)
        # A block is compared by two matrix products, many times faster than vector by vector.
        hidden = np.zeros(len(block), bool)
        if positions:
            hidden = (block @ kept[: len(positions)].T).max(axis=1) >= threshold
        near = block @ block.T >= threshold
        for place in range(len(block)):
            if hidden[place]:
                continue
            hidden |= near[place]
            kept[len(positions)] = block[place]
            positions.append(start + place)
            if len(positions) == limit:
                return positions
        start += len(block)
    return positions
