"""`laion index`: an embedding folder to an index folder.

Shards (vectors and rows) are made first, as in every stage; then each index over all of them,
its recall measured and the search set accordingly; then `index.json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, stats_name
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import DIGITS, ShardOutput
from img2ds.storage import OutputFolder
from laion.knn.ann import Ann, load_faiss
from laion.knn.build import IndexBuild, Progress, Stopped
from laion.knn.description import (
    NAME,
    Description,
    IndexDescription,
    array_name,
    read_description,
    rows_name,
)
from laion.knn.kinds import KINDS, Kind, choose_kind
from laion.knn.layout import FOLDERS, EmbeddingFolder, EmbeddingPart, open_embeddings
from laion.knn.metadata import write_rows
from laion.knn.options import IndexOptions
from laion.knn.recall import held_out_rows, tune
from laion.knn.vectors import VectorFiles, keep_vectors, usable_rows
from laion.provenance import named, options_of, read_model
from laion.stage import StageBuild, StageReport, StageSpec, file_fingerprint, open_stage

_STEPS = "_img2ds/build"

#: Seconds between two lines about a long step.
_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class PartTask:
    """One shard to make."""

    shard_id: int
    part: EmbeddingPart


@dataclass(slots=True)
class IndexReport:
    """What a run came to."""

    stage: StageReport
    lines: list[str]

    @property
    def exit_code(self) -> int:
        return self.stage.exit_code

    @property
    def text(self) -> str:
        return "\n".join([self.stage.text, *self.lines])


def check(options: IndexOptions) -> None:
    """Raises UsageError when faiss is not installed, or the index would not be on this machine."""
    load_faiss()
    if not OutputFolder.open(options.output_folder).local:
        raise UsageError("--output_folder must be on this machine: indices are memory-mapped")


def run(options: IndexOptions) -> IndexReport:
    """Make what is missing. Blocks until that is done or stopped.

    Raises:
        UsageError: the input or the options cannot work; nothing was done.
    """
    check(options)
    embeddings = open_embeddings(options.input)
    kind = choose_kind(options.kind, embeddings.rows, embeddings.dimension, options.memory)
    Ann.create(kind.factory, embeddings.dimension)  # a wrong factory string is told before work
    source = OutputFolder.open(options.input)
    files = [file for part in embeddings.parts for file in part.files]
    spec = StageSpec(
        stage="index",
        options=options,
        fingerprint=file_fingerprint("embeddings", files),
        shard_count=len(embeddings.parts),
        subfolders=("metadata", *FOLDERS.values()),
    )
    lines: list[str] = []
    with open_stage(spec) as build:
        first = build.first_shard
        tasks = [PartTask(first + n, part) for n, part in enumerate(embeddings.parts)]
        if build.run(SequentialWorker(build.folder, make_shard), tasks):
            lines = _Indices(options, embeddings, source, build).make()
    return IndexReport(build.report, lines)


def make_shard(task: PartTask, shard: ShardOutput) -> None:
    """Its vectors and rows, but for rows that have no vector. Raises OSError, ArrowException."""
    usable = {kind: usable_rows(file) for kind, file in task.part.arrays.items()}
    masks = [mask for mask, _ in usable.values()]
    keep = masks[0] if len(masks) == 1 else masks[0] & masks[1]
    for kind, file in task.part.arrays.items():
        keep_vectors(file, shard.path(array_name(kind, task.shard_id)), keep, usable[kind][1])
    metrics = write_rows(task.part.metadata, shard.path(rows_name(task.shard_id)), keep)
    shard.counts.successes += int(keep.sum())
    if not keep.all():
        shard.counts.drop("no_vector", int((~keep).sum()))
    shard.counts.metrics.update(metrics)


class _Indices:
    """The indices over all committed shards, made while the folder is locked."""

    def __init__(
        self,
        options: IndexOptions,
        embeddings: EmbeddingFolder,
        source: OutputFolder,
        build: StageBuild,
    ) -> None:
        self._options = options
        self._source = source
        self._build = build
        self._folder = build.folder
        self._kinds = embeddings.kinds
        self._numbers = tuple(sorted(committed_shards(self._folder.names())))
        self._vectors = {
            kind: VectorFiles(self._path(array_name(kind, n)) for n in self._numbers)
            for kind in embeddings.kinds
        }
        self._next = 0.0

    def _path(self, name: str) -> str:
        return os.path.join(self._folder.path, name)

    def make(self) -> list[str]:
        """Make those that are missing; return lines about them, none when stopped.

        Raises:
            UsageError: no row has a vector.
            OSError: an index cannot be written; the steps that are done stay.
        """
        options = self._options
        vectors = self._vectors[self._kinds[0]]
        if not len(vectors):
            raise UsageError(f"{options.input}: no row has a vector (finite and not zero)")
        kind = choose_kind(options.kind, len(vectors), vectors.dimension, options.memory)
        build = {
            "rows": len(vectors),
            "parts": list(self._numbers),
            "factory": kind.factory,
            "recall": options.recall,
            "made": self._shard_times(),
        }
        try:
            self._make(kind, build)
        except Stopped:
            self._build.build.record_stop()
            return []
        return _summary(read_description(self._folder.path))

    def _shard_times(self) -> str:
        """Return what changes whenever a shard was rebuilt."""
        times = [os.stat(self._path(stats_name(n, DIGITS))).st_mtime_ns for n in self._numbers]
        return f"{len(times)} parts, last at {max(times)}"

    def _make(self, kind: Kind, build: dict[str, Any]) -> None:
        options, folder = self._options, self._folder
        steps = f"{_STEPS}/build.json"
        old = self._finished(build)
        if old is None:
            # The description goes first: what is there from here on is no index until it is back.
            folder.remove([NAME])
            if not folder.exists(steps) or json.loads(folder.read_bytes(steps)) != build:
                folder.remove([_STEPS])
                folder.write_bytes(steps, json.dumps(build).encode())
            indices = {name: self._index(name, kind) for name in self._kinds}
        else:
            indices = old.indices
        model, pretrained = read_model(self._source)
        embedding = options_of(self._source) if model is not None else {}
        if options.model is not None:
            model, pretrained = named(options.model), named(options.pretrained)
        Description(
            rows=len(self._vectors[self._kinds[0]]),
            dimension=self._vectors[self._kinds[0]].dimension,
            parts=self._numbers,
            indices=indices,
            model=model,
            pretrained=pretrained,
            tagged=self._build.report.total.metrics["tagged"] > 0,
            embedding=embedding,
            build=build,
        ).write(folder)
        folder.remove([_STEPS])

    def _finished(self, build: dict[str, Any]) -> Description | None:
        """The folder's description when nothing about the indices has to be made."""
        try:
            old = read_description(self._folder.path)
        except UsageError:
            return None
        files = [index.file for index in old.indices.values()]
        return old if old.build == build and all(map(self._folder.exists, files)) else None

    def _index(self, name: str, kind: Kind) -> IndexDescription:
        """Build one index and measure it; both are kept as steps."""
        done = f"{_STEPS}/{name}.json"
        if self._folder.exists(done):
            return IndexDescription(**json.loads(self._folder.read_bytes(done)))
        vectors = self._vectors[name]
        held_out = held_out_rows(len(vectors))

        def tell(progress: Progress) -> None:
            self._say(f"{name} index ({kind.factory}): {progress}")
            if self._build.stop.is_set():
                raise Stopped

        started = time.monotonic()
        file = f"{name}.index"
        build = IndexBuild(kind, vectors, self._path(f"{_STEPS}/{name}"), held_out, tell)
        index = build.run(self._path(file))
        seconds = time.monotonic() - started
        others = next((v for other, v in self._vectors.items() if other != name), None)
        setting, measured = tune(
            index,
            vectors,
            held_out,
            others,
            self._options.recall,
            lambda what, rows: tell(Progress(what, rows, len(vectors))),
        )
        chosen = next(m for m in measured if m.setting == setting)
        curve = [m.as_dict() for m in measured]
        self._note_recall(name, kind, index, len(held_out), seconds, curve)
        description = IndexDescription(
            file, kind.name, kind.factory, setting.effort, index.effort_name, setting.rerank,
            chosen.recall,
        )  # fmt: skip
        self._folder.write_bytes(done, json.dumps(_plain(description)).encode())
        build.clean()
        return description

    def _note_recall(
        self,
        name: str,
        kind: Kind,
        index: Ann,
        queries: int,
        seconds: float,
        measured: list[dict[str, Any]],
    ) -> None:
        """`recall.json`: for each index the curve up to the setting that was chosen, its last."""
        known = {}
        if self._folder.exists("recall.json"):
            known = json.loads(self._folder.read_bytes("recall.json"))
        known[name] = {
            "kind": kind.name,
            "factory": kind.factory,
            "rows": len(index),
            "queries": queries,
            "k": 10,
            "effort_name": index.effort_name,
            "build_seconds": round(seconds, 1),
            "measured": measured,
        }
        self._folder.write_bytes("recall.json", json.dumps(known, indent=1).encode())

    def _say(self, line: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            print(line, file=sys.stderr, flush=True)


def _plain(description: IndexDescription) -> dict[str, Any]:
    return {name: getattr(description, name) for name in description.__dataclass_fields__}


def _summary(description: Description) -> list[str]:
    lines = []
    for name, index in description.indices.items():
        effort = f", {index.effort_name} {index.effort}" if index.effort_name else ""
        kind = index.factory if index.kind not in KINDS else f"{index.kind} ({index.factory})"
        lines.append(
            f"{name} index: {kind}, {description.rows} rows, recall@10 {index.recall:.3f}{effort}"
        )
    model = f"{description.model} {description.pretrained or ''}".strip()
    lines.append(
        f"questions are embedded with {model}"
        if description.model
        else "the model of the embeddings is not recorded: give --model to index, search or serve"
    )
    return lines
