"""`laion annotate`: adds columns to a folder of embeddings, shard by shard.

Rows and embeddings stay as they are. The files of heads are read once, in the parent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from laion.annotate.columns import Annotations, make_annotations
from laion.annotate.options import AnnotateOptions
from laion.annotate.tokens import Tokenize, count_tokens, padding_of
from laion.clip.model import ModelSpec, fetch, image_tokens, load, load_tokenizer
from laion.data.embedding_folder import EmbeddingFolder, EmbeddingShard, open_embedding_folder
from laion.data.embedding_layout import FOLDERS, IMAGES
from laion.data.embedding_writer import copy_rows
from laion.stage import StageReport, StageSpec, open_stage

LABELS = Labels("shard", "pairs", "pairs/s", "kept")


@dataclass(frozen=True, slots=True)
class AnnotateTask:
    """One shard to annotate."""

    shard_id: int
    source: EmbeddingShard


@dataclass(frozen=True, slots=True)
class ShardAnnotator:
    """Makes one shard. Picklable.

    Attributes:
        spec: the model whose tokens are counted, if any.
        kinds: the embeddings that the folder has.
    """

    annotations: Annotations
    spec: ModelSpec | None
    kinds: tuple[str, ...]

    def __call__(self, task: AnnotateTask, shard: ShardOutput) -> None:
        table = task.source.table()
        images = task.source.embeddings(IMAGES, table.num_rows) if self.annotations.heads else None
        lengths = None
        if self.spec is not None:
            tokenize, padding = _tokenizer(self.spec)
            texts = table["caption"].cast(pa.string()).to_pylist()
            lengths = count_tokens(tokenize, texts, padding)
        annotated = self.annotations.add(table, images, lengths)
        every = np.ones(table.num_rows, np.bool_)
        copy_rows(task.source, annotated, every, shard.name, shard.path, self.kinds)
        shard.counts.successes += table.num_rows


def check(options: AnnotateOptions) -> None:
    """Raise UsageError when a head or the detector cannot be used."""
    make_annotations(options)


def run(options: AnnotateOptions) -> StageReport:
    """Annotate what is not annotated yet.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    texts = options.language_rule is not None or options.token_counts
    source = open_embedding_folder(options.input, ("caption",) if texts else ())
    spec = _model(options, source) if options.token_counts else None
    annotations = make_annotations(options, image_tokens(load(spec).module) if spec else None)
    if annotations.heads:
        shard = next((s for s in source.shards if s.rows()), source.shards[0])
        annotations.check_width(shard.embeddings(IMAGES).shape[1], shard.path(IMAGES))
    stage = StageSpec(
        stage="annotate",
        options=options,
        fingerprint=source.fingerprint(),
        shard_count=len(source.shards),
        labels=LABELS,
        subfolders=FOLDERS,
        model=source.model,
    )
    worker = ShardAnnotator(annotations, spec, source.shards[0].kinds())
    with open_stage(stage) as build:
        first = build.first_shard
        tasks = [AnnotateTask(first + n, shard) for n, shard in enumerate(source.shards)]
        build.run(SequentialWorker(build.folder, worker), tasks)
    return build.report


def _model(options: AnnotateOptions, source: EmbeddingFolder) -> ModelSpec:
    """Return the model whose tokens are counted. Raises UsageError."""
    model = options.model or source.model.model
    if model is None:
        raise UsageError(
            f"--model is required with --token_counts: {options.input} does not record the model "
            "of its embeddings"
        )
    prepared = source.model.prepared if options.model is None else None
    pretrained = options.pretrained or source.model.pretrained
    return fetch(ModelSpec(model, pretrained, options.pretrained_tag, prepared))


@cache
def _tokenizer(spec: ModelSpec) -> tuple[Tokenize, int]:
    """Return the tokenizer of a model and its padding; once in a process."""
    tokenize = load_tokenizer(spec)
    return tokenize, padding_of(tokenize)
