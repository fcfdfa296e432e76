"""`laion score`: every sample's embeddings, and the cosine of every pair, shard by shard.

One process a device. In it decoders work ahead, batches cross the borders of shards, and a
shard's scores are written when its last pair has come back from the device.
"""

from __future__ import annotations

import sys
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
from img2ds.storage import OutputFolder, find_inputs
from laion.annotate.columns import Annotations, make_annotations
from laion.annotate.tokens import Lengths, lengths_of, padding_of
from laion.clip.decoder import DecoderConfig, Shard
from laion.clip.device import check_devices, claim_device, pick_devices
from laion.clip.embed import Embedder, Rows
from laion.clip.embedding_queue import EmbeddingQueue
from laion.clip.loader import LoadedBatch, Loader, ShardEnd
from laion.clip.metadata_table import PairRow, metadata_table
from laion.clip.model import (
    ModelSpec,
    Tokens,
    check_files,
    embedding_width,
    fetch,
    image_tokens,
)
from laion.clip.options import ScoreOptions
from laion.data.embedding_layout import FOLDERS
from laion.data.embedding_writer import write_embedding_shard
from laion.provenance import ModelNames
from laion.samples.sample import TEXT_INDEX
from laion.samples.source import SampleShard, SampleShards, find_shards
from laion.stage import StageReport, StageSpec, open_stage

#: The reason of pairs below `--min_similarity`.
BELOW = "below_min_similarity"

PAIRS = Labels("shard", "pairs", "pairs/s", "scored")
SAMPLES = Labels("shard", "samples", "samples/s", "embedded")

#: Batches that may be under way on a device while the next one is put together.
_UNDER_WAY = 2


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """One shard to score."""

    shard_id: int
    source: SampleShard


def check(options: ScoreOptions) -> ModelSpec:
    """The model, its weights fetched. Raises UsageError when it or a device cannot be had.

    Also when a head of `--heads` is not for this model.
    """
    check_devices(options.devices)
    annotations = make_annotations(options)
    spec = fetch(ModelSpec(options.model, options.pretrained, options.pretrained_tag))
    if annotations.heads:
        annotations.check_width(embedding_width(spec), f"--model {options.model}")
    check_files(spec)
    return spec


def run(options: ScoreOptions) -> StageReport:
    """Score the shards that are missing.

    Raises:
        UsageError: the model, a device or the shards cannot be had; nothing was done.
    """
    source = find_shards(options.input)
    options = what_to_embed(options, source)
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
        fingerprint=source.fingerprint(weights=_weights(spec)),
        shard_count=len(source.shards),
        labels=PAIRS if options.makes_pairs else SAMPLES,
        subfolders=FOLDERS,
        model=ModelNames(spec.model, spec.pretrained, spec.prepared),
        gpus=list(options.devices) != ["cpu"],
    )
    with open_stage(stage) as build:
        first = build.first_shard
        tasks = [ScoreTask(first + place, shard) for place, shard in enumerate(source.shards)]
        build.run(Scorer(build.folder, options, spec, tuple(devices)), tasks)
    return build.report


def what_to_embed(options: ScoreOptions, source: SampleShards) -> ScoreOptions:
    """Return the options with `enable_image` and `enable_text` as they are in the samples.

    Raises:
        UsageError: what is to be embedded is in none of the first samples.
    """
    try:
        looked_at = source.first_samples()
    except OSError:
        looked_at = ()  # reported when its turn comes
    if not looked_at:
        return options
    changes: dict[str, Any] = {}
    for flag, word, there, hint in (
        ("enable_image", "images", any(s.body is not None for s in looked_at), ""),
        ("enable_text", "captions", any(s.caption is not None for s in looked_at),
         ", neither .txt files nor a caption in the metadata"),
    ):  # fmt: skip
        if there:
            continue
        if getattr(options, flag):
            raise UsageError(f"{source.path} has no {word}{hint}: leave --{flag} out")
        changes[flag] = False
    if len(changes) == 2:
        raise UsageError(f"{source.path} has neither images nor captions")
    options = replace(options, **changes)
    for flag, word in (("enable_image", "captions"), ("enable_text", "images")):
        if flag in changes:
            print(f"note: {source.path} has {word} alone: there is no similarity", file=sys.stderr)
    return options


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
        texts = self.options.enable_text is not False
        config = DecoderConfig(
            embedder.model.config,
            None if on_cpu or not texts else self.spec,
            self.options.preprocess == "open_clip",
            self.options.enable_image is not False,
            texts,
        )
        decoders = self.options.decoders or (1 if on_cpu else max(1, threads - 1))
        annotations = make_annotations(self.options, image_tokens(embedder.model.module))
        padding = padding_of(embedder.model.tokenize) if annotations.token_counts else None
        scores: dict[int, Scores] = {}

        def shards() -> Iterator[Shard]:
            for task in tasks:
                output = ShardOutput(self.folder, task.shard_id, emit=emit)
                report = output.committed_report()
                if report is not None:
                    emit(report)
                    continue
                scores[task.shard_id] = Scores(output, annotations, padding)
                yield Shard(task.shard_id, task.source)

        tokenize = embedder.model.tokenize if on_cpu and texts else None
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
            embedded = Embedded(*queue.result(), item.tokens)
            shard_numbers = np.array(item.shards)
            for number in np.unique(shard_numbers).tolist():
                places = np.flatnonzero(shard_numbers == number)
                scores[number].add(item.rows, places, embedded, self.options.min_similarity)
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


class Embedded:
    """What has come back of a batch: embeddings float32 [n, dim], None where not wanted.

    `similarity` are the cosines of pairs, float32 [n]; `tokens` those of the captions.
    """

    def __init__(self, image: Rows | None, text: Rows | None, tokens: Tokens | None) -> None:
        self.image, self.text, self.tokens = image, text, tokens
        self.similarity: Rows | None = None
        if image is not None and text is not None:
            self.similarity = (image * text).sum(axis=1)


@dataclass(slots=True)
class Scores:
    """What has come back of one shard's samples; the lists of what is not wanted are empty.

    Attributes:
        padding: the token that fills up short captions; None where tokens are not counted.
    """

    output: ShardOutput
    annotations: Annotations
    padding: int | None
    rows: list[PairRow] = field(default_factory=list)
    image: list[npt.NDArray[np.float16]] = field(default_factory=list)
    text: list[npt.NDArray[np.float16]] = field(default_factory=list)
    similarity: list[npt.NDArray[np.float32]] = field(default_factory=list)
    lengths: list[Lengths] = field(default_factory=list)

    def add(
        self,
        rows: list[PairRow],
        places: npt.NDArray[np.int64],
        embedded: Embedded,
        least: float | None,
    ) -> None:
        """Take those of a batch that are this shard's and pass `least`."""
        similarity = embedded.similarity
        if least is not None and similarity is not None:
            passing = places[similarity[places] >= least]
            self.output.counts.drop(BELOW, len(places) - len(passing))
            places = passing
        self.output.counts.successes += len(places)
        self.rows += [rows[place] for place in places]
        if embedded.image is not None:
            self.image.append(embedded.image[places].astype(np.float16))
        if embedded.text is not None:
            self.text.append(embedded.text[places].astype(np.float16))
        if similarity is not None:
            self.similarity.append(similarity[places])
        if embedded.tokens is not None and self.padding is not None:
            self.lengths.append(lengths_of(embedded.tokens[places], self.padding))
        self.output.report_progress()

    def write(self) -> None:
        """Write the files, rows in the order of their keys: a tar's is that of its making.

        Raises OSError.
        """
        rows = self.rows
        order = sorted(
            range(len(rows)), key=lambda n: (rows[n].key, rows[n].fields.get(TEXT_INDEX, 0))
        )
        image, text = (
            np.concatenate(parts)[order] if parts else None for parts in (self.image, self.text)
        )
        similarity = np.concatenate(self.similarity)[order] if self.similarity else None
        lengths = np.concatenate(self.lengths)[order] if self.lengths else None
        table = metadata_table([rows[place] for place in order], similarity)
        table = self.annotations.add(table, image, lengths)
        write_embedding_shard(self.output.name, self.output.path, table, image, text)
