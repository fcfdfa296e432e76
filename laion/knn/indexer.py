"""Builds and measures the indices of an index folder from its committed shards, and describes them.

Progress is kept in the folder: finished indices, and the steps of an unfinished one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.core.state import WORK
from img2ds.engine.shard_output import DIGITS
from img2ds.report.units import counted
from img2ds.storage import OutputFolder
from laion.knn.ann_index import AnnIndex
from laion.knn.build_memory import BuildMemory
from laion.knn.description import (
    NAME,
    Description,
    IndexDescription,
    array_name,
    read_description,
)
from laion.knn.index_builder import IndexBuilder, Progress, Stopped
from laion.knn.index_kinds import CUSTOM, IndexPlan, choose_plan
from laion.knn.options import IndexOptions
from laion.knn.recall import K, Measurement, held_out_rows, tune
from laion.knn.segments import Encoder, cut, encode, segment_name
from laion.knn.vectors import VectorFiles
from laion.provenance import named, options_of, read_model
from laion.stage import StageBuild, StageReport

_STEPS = f"{WORK}/build"
_RECALL = "recall.json"

#: Seconds between two progress lines.
_INTERVAL = 5.0


@dataclass(slots=True)
class IndexReport:
    """The outcome of `laion index`."""

    stage: StageReport
    lines: list[str]

    @property
    def exit_code(self) -> int:
        return self.stage.exit_code

    @property
    def text(self) -> str:
        return "\n".join([self.stage.text, *self.lines])


class Indexer:
    """Builds the indices of a locked index folder whose shards are all committed.

    Args:
        kinds: of the embeddings: `image`, `text` or both.
    """

    def __init__(self, options: IndexOptions, kinds: tuple[str, ...], build: StageBuild) -> None:
        self._options = options
        self._stage = build
        self._folder = folder = build.folder
        self._shards = tuple(sorted(committed_shards(folder.names())))
        self._vectors = {
            kind: VectorFiles(self._path(array_name(kind, n)) for n in self._shards)
            for kind in kinds
        }
        #: Vectors that stand for the rows; all kinds have the same rows.
        self._rows = self._vectors[kinds[0]]
        self._next_line = 0.0

    def _path(self, name: str) -> str:
        return os.path.join(self._folder.path, name)

    def run(self) -> list[str]:
        """Build what is missing; return lines about it. Blocks until that is done or stopped.

        Raises:
            UsageError: the options do not fit the rows.
            OSError: an index cannot be written; the finished steps stay.
        """
        options = self._options
        count = len(self._rows)
        if not count:
            raise UsageError(f"'{options.input}': no row has a vector (finite and not zero)")
        plan = choose_plan(options.kind, count, self._rows.dimension, options.memory)
        try:
            self._build(plan)
        except Stopped:
            self._stage.record_stop()
            return []
        return _summary(read_description(self._folder.path))

    def _build(self, plan: IndexPlan) -> None:
        folder = self._folder
        build = {
            "rows": len(self._rows),
            "parts": list(self._shards),
            "factory": plan.factory,
            "recall": self._options.recall,
            "made": self._shard_times(),
        }
        indices = self._finished_indices(build)
        if indices is None:
            # index.json is removed first: without it the folder does not count as an index.
            folder.remove([NAME])
            steps = f"{_STEPS}/build.json"
            if not folder.exists(steps) or json.loads(folder.read_bytes(steps)) != build:
                folder.remove([_STEPS])
                folder.write_bytes(steps, json.dumps(build).encode())
            indices = {kind: self._build_one(kind, plan) for kind in self._vectors}
        self._describe(indices, build)
        folder.remove([_STEPS])

    def _shard_times(self) -> str:
        """A text that changes whenever a shard is rebuilt."""
        times = [os.stat(self._path(stats_name(n, DIGITS))).st_mtime_ns for n in self._shards]
        return f"{len(times)} parts, last at {max(times)}"

    def _finished_indices(self, build: dict[str, Any]) -> dict[str, IndexDescription] | None:
        """The indices in the folder; None unless all are there and up to date."""
        try:
            old = read_description(self._folder.path)
        except UsageError:
            return None
        complete = all(self._folder.exists(index.file) for index in old.indices.values())
        return old.indices if complete and old.build == build else None

    def _describe(self, indices: dict[str, IndexDescription], build: dict[str, Any]) -> None:
        """Write `index.json`. Its model is the one given, else the one the input records."""
        options = self._options
        source = OutputFolder.open(options.input)
        model, pretrained, prepared = read_model(source)
        embedding = options_of(source) if model is not None else {}
        if options.model is not None:
            model, pretrained = named(options.model), named(options.pretrained)
            prepared = None
        Description(
            rows=len(self._rows),
            dimension=self._rows.dimension,
            parts=self._shards,
            indices=indices,
            model=model,
            pretrained=pretrained,
            prepared=prepared,
            tagged=self._stage.report.total.metrics["tagged"] > 0,
            embedding=embedding,
            build=build,
        ).write(self._folder)

    def _build_one(self, kind: str, plan: IndexPlan) -> IndexDescription:
        """Build and measure the index of one kind of embeddings, unless that is done already."""
        done = f"{_STEPS}/{kind}.json"
        if self._folder.exists(done):
            return IndexDescription(**json.loads(self._folder.read_bytes(done)))
        vectors = self._vectors[kind]
        held_out = held_out_rows(len(vectors))

        def report(progress: Progress) -> None:
            self._print(f"{kind} index ({plan.factory}): {progress}")
            if self._stage.stop.is_set():
                raise Stopped

        started = time.monotonic()
        file = f"{kind}.index"
        builder = IndexBuilder(plan, vectors, self._path(f"{_STEPS}/{kind}"), held_out, report)
        index = builder.run(self._path(file), partial(self._encode, kind, plan))
        seconds = time.monotonic() - started
        setting, measured = tune(
            index,
            vectors,
            held_out,
            next((other for name, other in self._vectors.items() if name != kind), None),
            self._options.recall,
            lambda step, rows: report(Progress(step, rows, len(vectors))),
        )
        self._write_recall(
            kind,
            {
                "kind": plan.kind,
                "factory": plan.factory,
                **_measurements(index, len(held_out), seconds, measured),
            },
        )
        recall = next(each.recall for each in measured if each.setting == setting)
        description = IndexDescription(
            file, plan.kind, plan.factory, setting.effort, index.effort_name, setting.rerank,
            recall, setting.pool, plan.on_disk,
        )  # fmt: skip
        self._folder.write_bytes(done, json.dumps(asdict(description)).encode())
        builder.clean()
        return description

    def _encode(
        self, kind: str, plan: IndexPlan, trained: str, memory: BuildMemory, size: int
    ) -> list[str]:
        """Make the segments of an index on the stage's distributor. Raises Stopped."""
        options, stop = self._options, self._stage.stop
        # Each worker has its share of the memory.
        size = max(size // options.processes, 1)
        folder = self._path(f"{_STEPS}/{kind}/segments-{size}")
        segments = cut(len(self._vectors[kind]), size)
        arrays = tuple(self._path(array_name(kind, n)) for n in self._shards)
        encoder = Encoder(plan.kind, trained, arrays, memory.block_rows)
        report = encode(options, folder, encoder, segments)
        if report.exit_code:
            stop.interrupted = stop.interrupted or report.interrupted
            missing = f"{counted(len(report.failed), 'segment')} of the {kind} index failed"
            stop.set(report.stopped or missing)
            raise Stopped
        return [os.path.join(folder, segment_name(segment.shard_id)) for segment in segments]

    def _write_recall(self, kind: str, values: dict[str, Any]) -> None:
        """Set an index's entry of `recall.json`."""
        document = {}
        if self._folder.exists(_RECALL):
            document = json.loads(self._folder.read_bytes(_RECALL))
        document[kind] = values
        self._folder.write_bytes(_RECALL, json.dumps(document, indent=1).encode())

    def _print(self, line: str) -> None:
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _INTERVAL
            print(line, file=sys.stderr, flush=True)


def _measurements(
    index: AnnIndex, queries: int, seconds: float, measured: list[Measurement]
) -> dict[str, Any]:
    """The recall curve of an index, up to the setting that was chosen."""
    return {
        "rows": len(index),
        "queries": queries,
        "k": K,
        "effort_name": index.effort_name,
        "build_seconds": round(seconds, 1),
        "measured": [each.as_dict() for each in measured],
    }


def _summary(description: Description) -> list[str]:
    lines = []
    for name, index in description.indices.items():
        effort = f", {index.effort_name} {index.effort}" if index.effort_name else ""
        kind = index.factory if index.kind == CUSTOM else f"{index.kind} ({index.factory})"
        lines.append(
            f"{name} index: {kind}, {description.rows:,} rows, "
            f"recall@{K} {index.recall:.3f}{effort}"
        )
    if description.model:
        model = f"{description.model} {description.pretrained or ''}".strip()
        lines.append(f"queries are embedded with {model}")
    else:
        lines.append(
            "the input does not record the model of its embeddings: give --model to laion index, "
            "search or serve"
        )
    return lines
