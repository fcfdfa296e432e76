"""Keeps one of the rows that are nearly equal. Pure.

Rows come in the order in which they are preferred. A row is a duplicate if its closeness to a kept
row reaches the threshold, so what is kept is never similar, and each duplicate has a kept row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from laion.dedup_images.comparison import Found, Signatures

#: Rows compared with each other at once: comparing a block with itself does twice the work that is
#: needed, small blocks use the processor badly.
BLOCK = 192
#: Kept rows compared with a block at once: 6 MB of numbers.
_KEPT = 8192

Mask = npt.NDArray[np.bool_]
Closeness = npt.NDArray[np.float32]


class Leaders:
    """The kept rows of one bucket.

    Args:
        threshold: the least closeness of duplicates.
        closeness: returns that of two sets of rows, [n, m], higher for more similar.
    """

    def __init__(
        self, threshold: float, closeness: Callable[[Signatures, Signatures], Closeness]
    ) -> None:
        self._threshold = np.float32(threshold)
        self._closeness = closeness
        self._rows: Signatures | None = None
        self._numbers = np.empty(BLOCK, np.int64)
        self._count = 0
        self._seen = 0

    def add(self, block: Signatures) -> Found:
        """See `LeaderSet.add`."""
        cuts = range(0, len(block), BLOCK)
        parts = [self._add(block[start : start + BLOCK]) for start in cuts]
        if not parts:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        return Found(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def keep(self, block: Signatures) -> None:
        """Keep rows, whatever they are like."""
        self._keep(block, np.arange(len(block)))
        self._seen += len(block)

    def match(self, block: Signatures) -> Found:
        """Compare rows with the kept ones, and keep none of them."""
        parts = [
            self._nearest_kept(block[start : start + BLOCK])
            for start in range(0, len(block), BLOCK)
        ]
        leader = np.concatenate([np.empty(0, np.int64), *(part.leader for part in parts)])
        best = np.concatenate([np.empty(0, np.float32), *(part.closeness for part in parts)])
        return Found(np.where(best >= self._threshold, leader, -1), best)

    def _add(self, block: Signatures) -> Found:
        leader, best = self._nearest_kept(block)
        free = np.flatnonzero(best < self._threshold)
        inner = self._closeness(block, block)
        similar = inner >= self._threshold
        kept = free[_first_of_each(similar[np.ix_(free, free)])]
        self._take_inner(inner, kept, leader, best)
        leader[kept] = -1
        self._keep(block[kept], kept)
        self._seen += len(block)
        return Found(leader, best)

    def _nearest_kept(self, block: Signatures) -> Found:
        leader = np.full(len(block), -1, np.int64)
        best = np.full(len(block), -np.inf, np.float32)
        rows = np.arange(len(block))
        for start in range(0, self._count, _KEPT):
            assert self._rows is not None
            end = min(start + _KEPT, self._count)
            scores = self._closeness(block, self._rows[start:end])
            place = scores.argmax(axis=1)
            score = scores[rows, place]
            better = score > best
            best[better] = score[better]
            leader[better] = self._numbers[start + place[better]]
        return Found(leader, best)

    def _take_inner(
        self, inner: Closeness, kept: npt.NDArray[np.intp], leader: npt.NDArray[np.int64],
        best: Closeness,
    ) -> None:  # fmt: skip
        """Let rows have a leader that was kept of their own block, if it is nearer."""
        rows = np.delete(np.arange(len(inner)), kept)
        if not len(kept) or not len(rows):
            return
        scores = np.where(kept < rows[:, None], inner[np.ix_(rows, kept)], np.float32(-np.inf))
        place = scores.argmax(axis=1)
        score = scores[np.arange(len(rows)), place]
        better = score > best[rows]
        best[rows[better]] = score[better]
        leader[rows[better]] = self._seen + kept[place[better]]

    def _keep(self, rows: Signatures, numbers: npt.NDArray[np.intp]) -> None:
        count = self._count + len(rows)
        if self._rows is None:
            self._rows = np.empty((BLOCK, *rows.shape[1:]), rows.dtype)
        if count > len(self._rows):
            room = max(count, 2 * len(self._rows))
            self._rows = np.resize(self._rows, (room, *rows.shape[1:]))
            self._numbers = np.resize(self._numbers, room)
        self._rows[self._count : count] = rows
        self._numbers[self._count : count] = self._seen + numbers
        self._count = count


def _first_of_each(similar: Mask) -> Mask:
    """Return which rows are kept: a row is not if an earlier kept one is similar.

    Args:
        similar: [rows, rows].
    """
    kept = np.ones(len(similar), np.bool_)
    later = np.triu(similar, 1)
    for row in np.flatnonzero(later.any(axis=1)):
        if kept[row]:
            kept &= ~later[row]
    return kept
