"""`laion tag`: gives every scored pair its NSFW tag and drops possibly illegal content.

The prompts are embedded once, in the parent; workers need numpy alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from img2ds.blocklist.blocks import Blocks, CompiledLists, block_lists
from img2ds.core.failure import UsageError
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from img2ds.report.units import counted
from laion.data.blocked import PDQ, blocked_reasons, open_lists
from laion.data.embedding_folder import EmbeddingFolder, EmbeddingShard, open_embedding_folder
from laion.data.embedding_layout import FOLDERS, IMAGES, TEXTS
from laion.data.embedding_writer import copy_rows
from laion.provenance import ModelNames, named, options_begun
from laion.release.purge import How, ReleasePurgeReport, is_release, purge_release
from laion.samples.sample import TEXT_INDEX
from laion.stage import StageReport, StageSpec, open_stage
from laion.tag.classifier import load_classifier
from laion.tag.image_hashes import pdq_column
from laion.tag.options import TagOptions
from laion.tag.prompts import load_prompts
from laion.tag.purge import ImageShards, PurgeReport, open_shards, pending, purge
from laion.tag.tagging import Embed, TagRules, make_rules, tag_rows

LABELS = Labels("shard", "pairs", "pairs/s", "kept")


@dataclass(frozen=True, slots=True)
class TagTask:
    """One scored shard to tag.

    Attributes:
        images: to be hashed, where lists have perceptual hashes and the metadata has none.
    """

    shard_id: int
    source: EmbeddingShard
    rules: TagRules
    blocks: Blocks | None = None
    images: ImageShards | None = None


@dataclass(frozen=True, slots=True)
class TagReport:
    """What a run did, and what was purged."""

    stage: StageReport
    purged: PurgeReport | None = None

    @property
    def exit_code(self) -> int:
        purging = self.purged.exit_code if self.purged is not None else 0
        return self.stage.exit_code or purging

    @property
    def text(self) -> str:
        lines = [self.stage.text]
        if self.purged is not None:
            lines.append(
                f"purged {counted(self.purged.pairs, 'pair')} from the input and from "
                f"{counted(self.purged.shards, 'shard')}"
            )
            lines += [f"shard {n} is not purged: {why}" for n, why in self.purged.failed.items()]
            if self.purged.stopped is not None:
                lines.append(f"{self.purged.stopped}: rerun the same command to purge the rest")
        return "\n".join(lines)


def check(options: TagOptions) -> None:
    """Raises UsageError when the prompts, the classifier or a block list cannot be read."""
    CompiledLists.of(block_lists(options))
    load_prompts(options.prompts)
    if options.classifier is not None:
        load_classifier(options.classifier)


def run(options: TagOptions, embed: Embed | None = None) -> TagReport | ReleasePurgeReport:
    """Tag what is not tagged yet; or remove blocked pairs from a release, see `release.purge`.

    Args:
        embed: embeds the prompts; the model's own embedder when None.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    if is_release(options.input) and options.purge:
        return _purge_release(options)
    if not options.output_folder:
        raise UsageError(
            f"--output_folder is required: {options.input} is not a release of laion release"
        )
    scored = open_embedding_folder(options.input, ("caption",))
    schema, place = scored.shards[0].schema(), options.shards or scored.made_from
    at_hand = place is not None and "key" in schema.names
    blocks, compiled = open_lists(options, schema, scored.path, at_hand)
    hashes = PDQ in compiled.hash_kinds and PDQ not in schema.names
    images = open_shards(place) if hashes and place is not None else None
    prompts = load_prompts(options.prompts, options_begun(options).get("prompts"))
    model, pretrained = _model(options, scored)
    prepared = scored.model.prepared
    options = replace(options, model=model, pretrained=pretrained)
    shards = _shards(options, scored) if options.purge else None
    if embed is None:
        from laion.clip.embed import Embedder
        from laion.clip.model import ModelSpec, fetch

        model_spec = ModelSpec(model, pretrained, options.pretrained_tag, prepared)
        embed = Embedder(fetch(model_spec), device="cpu").texts
    rules = make_rules(prompts, embed, options.classifier)
    _check_dim(rules, scored.shards)
    spec = StageSpec(
        stage="tag",
        options=options,
        fingerprint=scored.fingerprint(),
        shard_count=len(scored.shards),
        labels=LABELS,
        subfolders=FOLDERS,
        model=ModelNames(named(model), named(pretrained), prepared),
    )
    purged = None
    with open_stage(spec) as build:
        first = build.first_shard
        # In their order: where the input's numbers have no gaps, shards keep them.
        tasks = [
            TagTask(first + n, source, rules, blocks, images)
            for n, source in enumerate(scored.shards)
        ]
        if build.run(SequentialWorker(build.folder, make_shard), tasks) and options.purge:
            purged = purge(pending(scored.shards, build.folder), shards, options)
    return TagReport(build.report, purged)


def make_shard(task: TagTask, shard: ShardOutput) -> None:
    """Tag one scored shard."""
    table = task.source.table()
    if task.images is not None:
        table = table.append_column(PDQ, pdq_column(task.images, table))
        shard.counts.metrics["without_pdq"] += table[PDQ].null_count
    images, texts = (task.source.embeddings(kind, table.num_rows) for kind in (IMAGES, TEXTS))
    captions = table["caption"].cast(pa.string()).to_pylist()
    blocked = blocked_reasons(task.blocks, table) if task.blocks else None
    keys = table["key"].to_pylist() if TEXT_INDEX in table.column_names else None
    tagged = tag_rows(task.rules, images, texts, captions, blocked, keys)
    copy_rows(task.source, tagged.add_to(table), tagged.kept, shard.name, shard.path)
    shard.counts.successes += int(tagged.kept.sum())
    shard.counts.reasons.update(tagged.dropped)
    shard.counts.metrics.update(tagged.metrics())


def _purge_release(options: TagOptions) -> ReleasePurgeReport:
    if options.output_folder:
        raise UsageError(
            f"{options.input} is a release, which is purged in its place: leave --output_folder out"
        )
    how = How(
        options.distributor, options.processes, options.max_shard_retry, options.tmp_dir,
        options.force,
    )  # fmt: skip
    return purge_release(options.input, options, how)


def _model(options: TagOptions, scored: EmbeddingFolder) -> tuple[str, str | None]:
    """The model to embed prompts with: it must be the one that scored the pairs."""
    there = scored.model
    given = (options.model or there.model, options.pretrained or there.pretrained)
    if given[0] is None:
        raise UsageError(
            f"--model and --pretrained are required: {options.input} does not record the model "
            "that scored it"
        )
    for name, mine, theirs in zip(("model", "pretrained"), given, there[:2], strict=True):
        if mine and theirs and os.path.basename(mine) != os.path.basename(theirs):
            raise UsageError(
                f"--{name} {mine} is not what {options.input} was scored with, {theirs}: "
                "embeddings of two models cannot be compared"
            )
    return given[0], given[1]


def _shards(options: TagOptions, scored: EmbeddingFolder) -> ImageShards:
    if "key" not in scored.shards[0].schema().names:
        raise UsageError(
            f"--purge finds pairs by their key, and {options.input} has no column key: embed "
            "shards that have it in their metadata"
        )
    path = options.shards or scored.made_from
    if path is None:
        raise UsageError(
            f"--shards is required with --purge: {options.input} does not record the shards it was "
            "scored from"
        )
    return open_shards(path)


def _check_dim(rules: TagRules, shards: Sequence[EmbeddingShard]) -> None:
    """Raise UsageError unless the first shard with pairs has embeddings of the model's length."""
    for shard in shards:
        rows, dim = shard.embeddings(IMAGES).shape
        shard.embeddings(TEXTS)  # raises where it is missing; the filter looks at both
        if not rows:  # an empty array may have any width
            continue
        if dim == rules.dim:
            return
        raise UsageError(
            f"{shard.path(IMAGES)} has embeddings of {dim} numbers, the model's have {rules.dim}: "
            "name the model that scored it"
        )
