"""`laion tag`: gives every scored pair its NSFW tag and drops possibly illegal content.

The prompts are embedded once, in the parent; workers need numpy alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.report.console import Labels, counted
from img2ds.storage import OutputFolder
from laion.data.embedding_folder import EmbeddingFolder, EmbeddingShard, open_embedding_folder
from laion.data.embedding_layout import FOLDERS, IMAGES, TEXTS
from laion.data.embedding_writer import copy_rows
from laion.part import Part
from laion.provenance import ModelNames, named
from laion.stage import SequentialWorker, StageReport, run_stage
from laion.tag.classifier import load_classifier
from laion.tag.options import TagOptions
from laion.tag.prompts import load_prompts
from laion.tag.purge import PurgeReport, ShardNames, open_shards, pending, purge
from laion.tag.tagging import Embed, TagRules, make_rules, tag_rows

WORDS = Labels("part", "pairs", "pairs/s", "kept")


@dataclass(frozen=True, slots=True)
class TagTask:
    """One scored part to tag."""

    shard_id: int
    source: EmbeddingShard
    rules: TagRules


@dataclass(frozen=True, slots=True)
class TagReport:
    """What a run did, and what was purged."""

    stage: StageReport
    purged: PurgeReport | None = None

    @property
    def exit_code(self) -> int:
        if self.purged is not None and self.purged.failed:
            return self.stage.exit_code or 1
        return self.stage.exit_code

    @property
    def text(self) -> str:
        lines = [self.stage.text]
        if self.purged is not None:
            lines.append(
                f"purged {counted(self.purged.pairs, 'pair')} from the input and from "
                f"{counted(self.purged.shards, 'shard')}"
            )
            lines += [f"part {n} is not purged: {why}" for n, why in self.purged.failed.items()]
        return "\n".join(lines)


def check(options: TagOptions) -> None:
    """Raises UsageError when the prompts or the classifier cannot be read."""
    load_prompts(options.prompts)
    if options.classifier is not None:
        load_classifier(options.classifier)


def run(options: TagOptions, embed: Embed | None = None) -> TagReport:
    """Tag what is not tagged yet.

    Args:
        embed: embeds the prompts; the model's own embedder when None.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    scored = open_embedding_folder(options.input)
    prompts = load_prompts(options.prompts)
    model, pretrained = _model(options, scored)
    options = replace(options, model=model, pretrained=pretrained)
    shards = _shards(options, scored) if options.purge else None
    if embed is None:
        from laion.clip.embed import Embedder
        from laion.clip.model import ModelSpec, fetch

        embed = Embedder(fetch(ModelSpec(model, pretrained)), device="cpu").texts
    rules = make_rules(prompts, embed, options.classifier)
    _check_dim(rules, scored.shards[0])
    purged: list[PurgeReport] = []

    def tasks(first: int) -> Sequence[TagTask]:
        # In their order: where the input's numbers have no gaps, parts keep them.
        return [TagTask(first + n, part, rules) for n, part in enumerate(scored.shards)]

    def finish(folder: OutputFolder, report: StageReport) -> None:
        if options.purge:
            todo = pending(scored.shards, folder)
            purged.append(purge(todo, shards, options.distributor, options.processes))

    report = run_stage(
        "tag",
        options,
        scored.fingerprint(),
        tasks,
        lambda folder: SequentialWorker(folder, make_part),
        words=WORDS,
        inside=FOLDERS,
        model=ModelNames(named(model), named(pretrained)),
        finish=finish,
    )
    return TagReport(report, purged[0] if purged else None)


def make_part(task: TagTask, part: Part) -> None:
    """Tag one scored part."""
    table = task.source.table()
    images, texts = (task.source.embeddings(kind, table.num_rows) for kind in (IMAGES, TEXTS))
    captions = table["caption"].cast(pa.string()).to_pylist()
    tagged = tag_rows(task.rules, images, texts, captions)
    copy_rows(task.source, tagged.add_to(table), tagged.kept, part.name, part.path)
    part.counts.successes += int(tagged.kept.sum())
    part.counts.reasons.update(tagged.dropped)
    part.counts.metrics.update(tagged.metrics())


def _model(options: TagOptions, scored: EmbeddingFolder) -> tuple[str, str | None]:
    """The model to embed prompts with: it must be the one that scored the pairs."""
    there = scored.model
    given = (options.model or there.model, options.pretrained or there.pretrained)
    if given[0] is None:
        raise UsageError(
            f"--model and --pretrained are required: {options.input} does not say which model "
            "scored it"
        )
    for name, mine, theirs in zip(("model", "pretrained"), given, there, strict=True):
        if mine and theirs and os.path.basename(mine) != os.path.basename(theirs):
            raise UsageError(
                f"--{name} {mine} is not what {options.input} was scored with, {theirs}: "
                "embeddings of two models cannot be compared"
            )
    return given[0], given[1]


def _shards(options: TagOptions, scored: EmbeddingFolder) -> ShardNames | None:
    path = options.shards or scored.made_from
    if path is None:
        raise UsageError(
            f"--shards is required with --purge: {options.input} does not say which shards it was "
            "scored from"
        )
    return open_shards(path)


def _check_dim(rules: TagRules, part: EmbeddingShard) -> None:
    dim = part.embeddings(IMAGES).shape[1]
    if dim != rules.dim:
        raise UsageError(
            f"{part.path(IMAGES)} has embeddings of {dim} numbers, the model's have {rules.dim}: "
            "name the model that scored it"
        )
