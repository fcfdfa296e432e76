"""Which rows a search may show. Pure, on whole arrays of candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.knn.rows import CC, COMMERCIAL, DERIVATIVES

#: What a licence must permit, by the name that people choose it by.
LICENCES = {
    "any": 0,
    "cc": CC,
    "commercial": CC | COMMERCIAL,
    "derivatives": CC | DERIVATIVES,
    "free": CC | COMMERCIAL | DERIVATIVES,
}

#: Cosine from which two pictures count as the same one: clip-retrieval's value.
NEAR = 0.94


@dataclass(frozen=True, slots=True)
class Filters:
    """`min_size` is in pixels of the shorter side; rows of unknown size are below any but 0."""

    safe: bool = True
    min_size: int = 0
    license: str = "any"

    @property
    def columns(self) -> tuple[str, ...]:
        """The filter columns (see `rows`) that are needed."""
        wanted = ("safe" if self.safe else "", "side" if self.min_size else "",
                  "rights" if LICENCES[self.license] else "")  # fmt: skip
        return tuple(filter(None, wanted))

    def passed(self, columns: dict[str, npt.NDArray[Any]], count: int) -> npt.NDArray[np.bool_]:
        """Which of `count` rows may be shown, given their `columns`."""
        good = np.ones(count, bool)
        if self.safe:
            good &= columns["safe"] == 1
        if self.min_size:
            good &= columns["side"] >= self.min_size
        if needed := LICENCES[self.license]:
            good &= columns["rights"] & needed == needed
        return good


def first_of_its_kind(
    blocks: Iterable[npt.NDArray[np.float32]], limit: int, near: float = NEAR
) -> list[int]:
    """Places of the first `limit` vectors that are not near to an earlier one that is kept.

    Each one hidden is near to the best of its group, not to the last: a chain of small steps
    from one picture to another does not hide the other.

    Args:
        blocks: the vectors, best first; no more blocks are taken than are needed.
    """
    kept: list[int] = []
    chosen = np.empty((0, 0), np.float32)
    place = 0
    for block in blocks:
        if not chosen.size:
            chosen = np.empty((limit, block.shape[1]), np.float32)
        for vector in block:
            if not kept or float((chosen[: len(kept)] @ vector).max()) < near:
                chosen[len(kept)] = vector
                kept.append(place)
                if len(kept) == limit:
                    return kept
            place += 1
    return kept
