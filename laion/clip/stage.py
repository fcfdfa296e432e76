"""`laion score`: every pair's embeddings and their cosine, shard by shard.

One process a device. In it decoders work ahead, batches cross the borders of shards, and a
shard's scores are written when its last pair has come back from the device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.engine.cores import usable_cores
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from img2ds.storage import InputFile, OutputFolder, find_inputs
from laion.clip.decoder import DecoderConfig, Shard
from laion.clip.device import check_devices, claim_device, pick_devices
from laion.clip.embed import Embedder
from laion.clip.embedding_queue import EmbeddingQueue
from laion.clip.loader import LoadedBatch, Loader, ShardEnd
from laion.clip.metadata_table import PairRow, metadata_table
from laion.clip.model import ModelSpec, check_files, fetch
from laion.clip.options import ScoreOptions
from laion.clip.samples import read_samples
from laion.data.embedding_layout import FOLDERS
from laion.data.embedding_writer import write_embedding_shard
from laion.provenance import ModelNames, require_tars
from laion.stage import StageReport, StageSpec, file_fingerprint, open_stage

#: The reason of pairs below `--min_similarity`.
BELOW = "below_min_similarity"

#: Samples of a shard that are looked at for captions before anything is begun.
_LOOKED_AT = 100

#: Batches that may be under way on a device while the next one is put together.
_UNDER_WAY = 2


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """One shard to score."""

    shard_id: int
    path: str


def check(options: ScoreOptions) -> ModelSpec:
    """The model, its weights fetched. Raises UsageError when it or a device cannot be had."""
    check_devices(options.devices)
    spec = fetch(ModelSpec(options.model, options.pretrained))
    check_files(spec)
    return spec


def run(options: ScoreOptions) -> StageReport:
    """Score the shards that are missing.

    Raises:
        UsageError: the model, a device or the shards cannot be had; nothing was done.
    """
    try:
        files = find_inputs(options.input, [".tar"])
    except UsageError:
        require_tars(options.input)
        raise
    _check_captions(files[0])
    spec = check(options)
    devices: list[str] = []
    if options.on_this_machine:
        devices = pick_devices(options.devices)
        if devices != ["cpu"]:
            options = replace(options, processes_count=len(devices))
        elif options.processes_count is None:
            options = replace(options, processes_count=1)
    stage = StageSpec(
        stage="score",
        options=options,
        fingerprint=file_fingerprint("shards", files, weights=_weights(spec)),
        shard_count=len(files),
        labels=Labels("shard", "pairs", "pairs/s", "scored"),
        subfolders=FOLDERS,
        model=ModelNames(spec.model, spec.pretrained),
        gpus=list(options.devices) != ["cpu"],
    )
    with open_stage(stage) as build:
        first = build.first_shard
        tasks = [ScoreTask(first + place, file.path) for place, file in enumerate(files)]
        build.run(Scorer(build.folder, options, spec, tuple(devices)), tasks)
    return build.report


def _check_captions(file: InputFile) -> None:
    looked = 0
    try:
        for sample in read_samples(file.path):
            if sample.caption is not None:
                return
            looked += 1
            if looked == _LOOKED_AT:
                break
    except OSError:
        return  # reported when its turn comes
    if looked:
        raise UsageError(
            f"{file.path} has no captions, neither .txt files nor a caption in the .json: "
            "a score needs both; download with --caption_col"
        )


def _weights(spec: ModelSpec) -> str | None:
    """What tells a checkpoint file from another of its name; a tag's weights never change."""
    try:
        found = find_inputs(spec.pretrained, [""]) if spec.pretrained else []
    except UsageError:
        return None
    return found[0].digest() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Scorer:
    """The worker: one model on one device, fed by decoders.

    `devices` are this machine's; none where workers are on others, that look at their own.
    """

    folder: OutputFolder
    options: ScoreOptions
    spec: ModelSpec
    devices: tuple[str, ...]

    def __call__(self, tasks: Iterator[ScoreTask], emit: Callable[[Any], None]) -> None:
        self.folder.clean_dead_workers()
        devices = self.devices or tuple(pick_devices(self.options.devices))
        on_cpu = devices == ("cpu",)
        device = "cpu" if on_cpu else claim_device(devices)
        # On a machine of a cluster one a device, as here; on its CPUs one a core.
        processes = self.options.processes if self.devices else len(devices)
        threads = max(1, usable_cores() // processes) if self.devices or not on_cpu else 1
        embedder = Embedder(
            self.spec, device, self.options.precision, self.options.batch_size,
            compiled=self.options.compile, threads=threads,
        )  # fmt: skip
        queue = EmbeddingQueue(embedder)
        config = DecoderConfig(
            embedder.model.config,
            None if on_cpu else self.spec,
            self.options.preprocess == "open_clip",
        )
        decoders = self.options.decoders or (1 if on_cpu else max(1, threads - 1))
        scores: dict[int, Scores] = {}

        def shards() -> Iterator[Shard]:
            for task in tasks:
                output = ShardOutput(self.folder, task.shard_id, emit=emit)
                report = output.committed_report()
                if report is not None:
                    emit(report)
                    continue
                scores[task.shard_id] = Scores(output)
                yield Shard(task.shard_id, task.path)

        tokenize = embedder.model.tokenize if on_cpu else None
        with (
            Loader(config, embedder.batch_size, decoders, not on_cpu, tokenize) as loader,
            queue.pinned(loader.pixels),
        ):
            waiting: deque[LoadedBatch | ShardEnd] = deque()
            for item in loader.run(shards()):
                if isinstance(item, LoadedBatch):
                    queue.submit(item)
                waiting.append(item)
                while queue.in_flight > _UNDER_WAY or isinstance(waiting[0], ShardEnd):
                    self._settle(waiting.popleft(), queue, scores, emit)
                    if not waiting:
                        break
            while waiting:
                self._settle(waiting.popleft(), queue, scores, emit)

    def _settle(
        self,
        item: LoadedBatch | ShardEnd,
        queue: EmbeddingQueue,
        scores: dict[int, Scores],
        emit: Callable[[Any], None],
    ) -> None:
        if isinstance(item, LoadedBatch):
            image, text = queue.result()
            similarity = (image * text).sum(axis=1)
            least = self.options.min_similarity
            shard_numbers = np.array(item.shards)
            for number in np.unique(shard_numbers).tolist():
                places = np.flatnonzero(shard_numbers == number)
                scores[number].add(item.rows, places, image, text, similarity, least)
            return
        scored = scores.pop(item.number)
        for reason, count in item.dropped.items():
            scored.output.counts.drop(reason, count)
        if item.error:
            emit(scored.output.fail(item.error))
            return
        try:
            scored.write()
        except (OSError, pa.ArrowException) as error:
            emit(scored.output.fail_with(error))
        else:
            emit(scored.output.commit())


@dataclass(slots=True)
class Scores:
    """What has come back of one shard's pairs."""

    output: ShardOutput
    rows: list[PairRow] = field(default_factory=list)
    image: list[npt.NDArray[np.float16]] = field(default_factory=list)
    text: list[npt.NDArray[np.float16]] = field(default_factory=list)
    similarity: list[npt.NDArray[np.float32]] = field(default_factory=list)
    dim: int = 0

    def add(
        self,
        rows: list[PairRow],
        places: npt.NDArray[np.int64],
        image: npt.NDArray[np.float32],
        text: npt.NDArray[np.float32],
        similarity: npt.NDArray[np.float32],
        least: float | None,
    ) -> None:
        """Take those of a batch that are this shard's and pass `least`."""
        self.dim = image.shape[1]
        if least is not None:
            passing = places[similarity[places] >= least]
            self.output.counts.drop(BELOW, len(places) - len(passing))
            places = passing
        self.output.counts.successes += len(places)
        self.rows += [rows[place] for place in places]
        self.image.append(image[places].astype(np.float16))
        self.text.append(text[places].astype(np.float16))
        self.similarity.append(similarity[places])
        self.output.report_progress()

    def write(self) -> None:
        """Write the three files, rows in the order of their keys: a tar's is that of its making.

        Raises OSError.
        """
        order = sorted(range(len(self.rows)), key=lambda place: self.rows[place].key)
        table = metadata_table(
            [self.rows[place] for place in order],
            _joined(self.similarity, (0,), np.float32)[order],
        )
        image, text = (
            _joined(rows, (0, self.dim), np.float16)[order] for rows in (self.image, self.text)
        )
        write_embedding_shard(self.output.name, self.output.path, table, image, text)


def _joined(parts: list[Any], empty: tuple[int, ...], dtype: Any) -> Any:
    return np.concatenate(parts) if parts else np.empty(empty, dtype)
