"""Builds one index out of vector files, step by step, so that a killed build goes on.

Kinds that can be merged are filled part by part, each part stored, and put together at the end.
The others grow in memory and are stored as they grow. Either way memory holds the index, which
`max_memory` has room for, and one block of vectors.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from laion.knn.ann import Ann
from laion.knn.kinds import Kind
from laion.knn.vectors import VectorFiles, Vectors

#: Rows added between two looks at whether to stop: a few seconds of work.
ADD_ROWS = 8192

#: Rows of a part that is stored and merged later: some minutes of work.
SEGMENT_ROWS = 500_000

#: Rows that a growing index gains, at least, between two times it is stored.
CHECKPOINT_ROWS = 100_000
#: What it gains as a share of what it has: the bytes written stay a small multiple of its size.
CHECKPOINT_SHARE = 0.5

#: Rows a part, or an index, was filled up to.
_STEP = re.compile(r"(segment|grown)-(\d+)\.index")


class Stopped(Exception):
    """The build was asked to stop; the steps done are kept."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every step: what is being done, rows done and to do."""

    what: str
    rows: int
    of: int

    def __str__(self) -> str:
        return f"{self.what}, {self.rows} of {self.of} rows"


class IndexBuild:
    """One index in the making.

    Args:
        folder: for the steps; what is in it is of this build.
        held_out: rows that are not trained on, sorted.
        tell: is told of progress; raises Stopped to end the build.
    """

    def __init__(
        self,
        kind: Kind,
        vectors: VectorFiles,
        folder: str,
        held_out: np.ndarray[tuple[int], np.dtype[np.int64]],
        tell: Callable[[Progress], None],
    ) -> None:
        self._kind = kind
        self._vectors = vectors
        self._folder = folder
        self._held_out = held_out
        self._tell = tell

    def run(self, path: str) -> Ann:
        """Build it, store it at `path`, and open it there.

        Raises:
            UsageError: faiss cannot make or train this kind.
            Stopped: `tell` said so.
            OSError: the disk is full.
        """
        os.makedirs(self._folder, exist_ok=True)
        trained = self._trained()
        if trained.merges:
            self._merge(trained, path)
        else:
            self._grow(trained, path)
        return Ann.load(path)

    def clean(self) -> None:
        """Remove the steps."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _trained(self) -> Ann:
        path = os.path.join(self._folder, "trained.index")
        if os.path.exists(path):
            return Ann.resume(path)
        index = Ann.create(self._kind.factory, self._vectors.dimension)
        if not index.is_trained:
            sample = self._sample()
            self._tell(Progress("training", 0, len(sample)))
            index.train(sample)
        _store(index, path)
        return index

    def _sample(self) -> Vectors:
        """Rows to train on, drawn over all parts, none of them held out."""
        count = min(self._kind.train_rows, len(self._vectors))
        rng = np.random.default_rng(len(self._vectors))
        drawn = np.unique(rng.integers(0, len(self._vectors), count + len(self._held_out)))
        if len(drawn) < count:  # few rows: take nearly all of them
            drawn = np.arange(len(self._vectors))
        drawn = np.setdiff1d(drawn, self._held_out, assume_unique=True)
        if len(drawn) > count:
            drawn = np.sort(rng.choice(drawn, count, replace=False))
        return self._vectors.rows(drawn.astype(np.int64))

    def _merge(self, trained: Ann, path: str) -> None:
        rows = len(self._vectors)
        parts = []
        for start in range(0, rows, SEGMENT_ROWS):
            stop = min(start + SEGMENT_ROWS, rows)
            part = os.path.join(self._folder, f"segment-{stop}.index")
            parts.append(part)
            if os.path.exists(part):
                continue
            index = Ann.resume(os.path.join(self._folder, "trained.index"))
            for first, block in self._blocks(start, stop):
                index.add(block, np.arange(first, first + len(block), dtype=np.int64))
                self._tell(Progress("adding", first + len(block), rows))
            _store(index, part)
        for number, part in enumerate(parts):
            self._tell(Progress("merging", min(number * SEGMENT_ROWS, rows), rows))
            trained.merge(part)
        _store(trained, path)

    def _grow(self, index: Ann, path: str) -> None:
        rows = len(self._vectors)
        done, last = self._grown()
        if last is not None:
            index = Ann.resume(last)
        index.reserve(rows)
        stored = done
        for first, block in self._blocks(done, rows):
            index.add(block)
            done = first + len(block)
            if done < rows and done - stored >= max(CHECKPOINT_ROWS, CHECKPOINT_SHARE * stored):
                step = os.path.join(self._folder, f"grown-{done}.index")
                _store(index, step)
                if last is not None:
                    os.unlink(last)
                stored, last = done, step
            self._tell(Progress("adding", done, rows))
        _store(index, path)

    def _grown(self) -> tuple[int, str | None]:
        """Rows of the fullest index stored so far, and where it is."""
        steps = [
            (int(match[2]), os.path.join(self._folder, name))
            for name in os.listdir(self._folder)
            if (match := _STEP.fullmatch(name)) and match[1] == "grown"
        ]
        return max(steps, default=(0, None))

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, Vectors]]:
        return self._vectors.blocks(start, stop, ADD_ROWS)


def _store(index: Ann, path: str) -> None:
    """Written whole or not at all, and on the disk."""
    staging_path = f"{path}.{os.getpid()}.tmp"
    try:
        index.store(staging_path)
        with open(staging_path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(staging_path, path)
    finally:
        if os.path.exists(staging_path):
            os.unlink(staging_path)
