"""Builds one index from vector files in steps, so that an interrupted build resumes.

Kinds that can be merged are filled segment by segment; segments are stored and merged at the end,
on the disk. The others grow in memory and are stored at intervals.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from laion.knn.ann_index import AnnIndex, Ids, Vectors
from laion.knn.build_memory import BuildMemory
from laion.knn.index_kinds import IndexPlan, index_class
from laion.knn.vectors import VectorFiles

#: Rows added between two checks for a stop: a few seconds of work.
ADD_ROWS = 8192

#: Rows that a growing index gains, at least, before it is stored again.
CHECKPOINT_ROWS = 100_000
#: The same as a share of its rows: the bytes written stay a small multiple of its size.
CHECKPOINT_SHARE = 0.5

#: Makes the segments: see `IndexBuilder.run`.
Encode = Callable[[str, BuildMemory, int], Sequence[str]]

_CHECKPOINT = re.compile(r"grown-(\d+)\.index")


class Stopped(Exception):
    """The build was asked to stop; finished steps are kept."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step has come."""

    step: str
    rows: int
    total: int

    def __str__(self) -> str:
        return f"{self.step}, {self.rows:,} of {self.total:,} rows"


class IndexBuilder:
    """Builds one index.

    Args:
        folder: for intermediate files; it belongs to this build.
        held_out: sorted rows that are not trained on.
        report: called with the progress of every step; raises Stopped to end the build.
    """

    def __init__(
        self,
        plan: IndexPlan,
        vectors: VectorFiles,
        folder: str,
        held_out: Ids,
        report: Callable[[Progress], None],
    ) -> None:
        self._plan = plan
        self._library = index_class(plan.kind)
        self._vectors = vectors
        self._folder = folder
        self._held_out = held_out
        self._report = report
        self._memory = BuildMemory(plan.limit, vectors.dimension)
        self._block_rows = min(ADD_ROWS, self._memory.block_rows)

    def run(self, path: str, encode: Encode) -> AnnIndex:
        """Build the index, store it at `path`, and load it from there.

        Args:
            encode: makes the segments of so many rows with the trained index at a path, and
                returns their paths.

        Raises:
            UsageError: the library cannot create or train this kind.
            Stopped: `report` raised it.
            OSError: the disk is full.
        """
        os.makedirs(self._folder, exist_ok=True)
        trained = self._trained()
        if trained.is_mergeable:
            self._merge(trained, path, encode)
        else:
            self._grow(trained, path)
        return self._library.load(path, self._plan.on_disk)

    def clean(self) -> None:
        """Remove the intermediate files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{name}.index")

    def _trained(self) -> AnnIndex:
        path = self._path("trained")
        if os.path.exists(path):
            return self._library.resume(path)
        index = self._library.create(self._plan.factory, self._vectors.dimension)
        if not index.is_trained:
            sample = self._sample()
            self._report(Progress("training", 0, len(sample)))
            index.train(sample)
        _store(index, path)
        return index

    def _sample(self) -> Vectors:
        """Rows to train on, drawn from all files, none of them held out."""
        rows = len(self._vectors)
        count = min(self._plan.train_rows, rows)
        rng = np.random.default_rng(rows)
        drawn = np.unique(rng.integers(0, rows, count + len(self._held_out)))
        if len(drawn) < count:  # few rows: take nearly all of them
            drawn = np.arange(rows)
        drawn = np.setdiff1d(drawn, self._held_out, assume_unique=True)
        if len(drawn) > count:
            drawn = np.sort(rng.choice(drawn, count, replace=False))
        return self._vectors.rows(drawn.astype(np.int64))

    def _merge(self, trained: AnnIndex, path: str, encode: Encode) -> None:
        rows = len(self._vectors)
        size = self._memory.segment_rows(trained.code_size, rows)
        if size >= rows:
            for first, block in self._vectors.blocks(0, rows, self._block_rows):
                trained.add(block, np.arange(first, first + len(block), dtype=np.int64))
                self._report(Progress("adding", first + len(block), rows))
            _store(trained, path)
            return
        segments = encode(self._path("trained"), self._memory, size)
        self._report(Progress("merging", 0, rows))
        _store_with(lambda staging: trained.store_merged(staging, segments), path)

    def _grow(self, index: AnnIndex, path: str) -> None:
        rows = len(self._vectors)
        done, checkpoint = self._last_checkpoint()
        if checkpoint is not None:
            index = self._library.resume(checkpoint)
        index.reserve(rows)
        stored = done
        for first, block in self._vectors.blocks(done, rows, self._block_rows):
            index.add(block)
            done = first + len(block)
            if done < rows and done - stored >= max(CHECKPOINT_ROWS, CHECKPOINT_SHARE * stored):
                previous, checkpoint = checkpoint, self._path(f"grown-{done}")
                _store(index, checkpoint)
                if previous is not None:
                    os.unlink(previous)
                stored = done
            self._report(Progress("adding", done, rows))
        _store(index, path)

    def _last_checkpoint(self) -> tuple[int, str | None]:
        """Rows of the fullest index stored so far, and its path."""
        checkpoints = [
            (int(match[1]), os.path.join(self._folder, name))
            for name in os.listdir(self._folder)
            if (match := _CHECKPOINT.fullmatch(name))
        ]
        return max(checkpoints, default=(0, None))


def _store(index: AnnIndex, path: str) -> None:
    _store_with(index.store, path)


def _store_with(store: Callable[[str], None], path: str) -> None:
    """Write an index completely or not at all, and flush it to the disk."""
    staging_path = f"{path}.{os.getpid()}.tmp"
    try:
        store(staging_path)
        with open(staging_path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(staging_path, path)
    finally:
        if os.path.exists(staging_path):
            os.unlink(staging_path)
