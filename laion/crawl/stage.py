"""`laion crawl`: what the paper's workers did. One unit of work is a WAT file, or a shard of
candidates; it is extracted, downloaded, scored, tagged and filtered in memory.

It writes what `laion tag` writes, the input of `laion release`. The functions are those of the
stages, so that the same pairs are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from img2ds.config.options import Options
from img2ds.core.sample import ShardTask
from img2ds.engine.cores import usable_cores
from img2ds.engine.distributors.contract import Task
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from img2ds.report.counters import Counts
from img2ds.storage import OutputFolder, RetryingFile
from laion.clip.device import check_devices, claim_device, pick_devices
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec, fetch
from laion.crawl.pairs import PairCollector, Scorer
from laion.data.candidate import CANDIDATE_SCHEMA, Candidate
from laion.data.embedding_layout import FOLDERS
from laion.fetch import (
    candidate_rows,
    candidate_shards,
    check_lists,
    crawling_workers,
    open_shard,
)
from laion.provenance import ModelNames, note_input, options_begun
from laion.stage import StageReport, StageSpec, open_stage
from laion.tag.prompts import load_prompts
from laion.tag.tagging import TagRules, make_rules
from laion.wat.archive import read_records
from laion.wat.catalog import choose, find_all_wats
from laion.wat.rules import Rules
from laion.wat.stage import Extractor, WatTask, wat_fingerprint, wat_tasks

#: Why a candidate that its WAT file has twice is not downloaded again; as of laion dedup.
DUPLICATE = "duplicate"

LABELS = Labels("shard", "pairs", "pairs/s", "downloaded")


@dataclass(frozen=True, slots=True)
class CrawlOpener:
    """What a worker process needs; it loads the model when it is called there.

    `devices` as users name them: each machine looks at its own.
    """

    spec: ModelSpec
    devices: tuple[str, ...]
    precision: str
    batch_size: int | None
    compiled: bool
    threads: int
    min_similarity: float
    tagging: TagRules | None
    save_images: bool
    extraction: Rules
    attributes: tuple[str, ...]

    def __call__(self, options: Options, folder: OutputFolder) -> Opening:
        return Opening(self, options, folder)


class Opening:
    """Opens units of work in one process."""

    def __init__(self, settings: CrawlOpener, options: Options, folder: OutputFolder) -> None:
        self._settings = settings
        self._options = options
        self._folder = folder
        devices = pick_devices(settings.devices)
        embedder = Embedder(
            settings.spec,
            "cpu" if devices == ["cpu"] else claim_device(devices),
            settings.precision,
            settings.batch_size,
            settings.compiled,
            settings.threads,
        )
        self._scorer = Scorer(embedder, settings.tagging, settings.min_similarity)

    def __call__(self, task: ShardTask | WatTask) -> Any:
        """Return the shard with its sink, or the report of one that is committed already."""
        output = ShardOutput(self._folder, task.shard_id)
        report = output.committed_report()
        if report is not None:
            return report
        counts = output.counts
        if isinstance(task, WatTask):
            table = read_wat(task, self._settings.extraction, self._settings.attributes, counts)
            task = ShardTask(task.shard_id, table.num_rows, table)
        table = candidate_rows(task, self._options)
        saved = self._options.image.encode_format if self._settings.save_images else None
        shard = open_shard(task, table, self._options, PairCollector(output, self._scorer, saved))
        return shard if shard.count else shard.commit()


def read_wat(task: WatTask, rules: Rules, attributes: Sequence[str], counts: Counts) -> pa.Table:
    """The candidates of a WAT file, equal ones once, in the order of their first occurrence.

    Args:
        counts: takes what is dropped; candidates are not counted, for they are yet to be judged.

    Raises:
        OSError, UsageError: the file cannot be read.
    """
    found: dict[bytes, Candidate] = {}
    extractor = Extractor(task.name, rules, attributes, counts)
    with RetryingFile(task.path) as file:
        for page in extractor.pages(read_records(file, task.path)):
            for candidate in page:
                found.setdefault(candidate.digest, candidate)
    extractor.check()
    counts.drop(DUPLICATE, counts.successes - len(found))
    counts.metrics["candidates"] = len(found)
    counts.successes = 0
    columns = list(zip(*found.values(), strict=True)) or [()] * len(CANDIDATE_SCHEMA)
    arrays = [pa.array(values, f.type) for values, f in zip(columns, CANDIDATE_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=CANDIDATE_SCHEMA)


def check(options: Any) -> ModelSpec:
    """The model, its weights fetched.

    Raises:
        UsageError: it, a device, a file of prompts or an option of the downloads cannot be had.
    """
    check_lists(options.img2ds())
    load_prompts(options.prompts)
    check_devices(options.devices)
    if options.on_this_machine:
        pick_devices(options.devices)  # raises for missing ones
    return fetch(ModelSpec(options.model, options.pretrained, options.pretrained_tag))


def run(options: Any) -> StageReport:
    """Crawl what is not crawled yet.

    Args:
        options: `CrawlOptions`.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    if options.wat:
        begun = options.extraction().as_begun()
        options = replace(options, language_rule=begun.language_rule)
    wanted = options.img2ds()
    prompts = load_prompts(options.prompts, options_begun(options).get("prompts"))
    source = _wats(options) if options.wat else _Source(*candidate_shards(wanted))
    spec = check(options)
    tagging = None
    if options.tag:
        tagging = make_rules(prompts, Embedder(spec, device="cpu").texts, options.classifier)
    opener = CrawlOpener(
        spec,
        options.devices,
        options.precision,
        options.batch_size,
        options.compile,
        max(1, usable_cores() // options.processes) if options.on_this_machine else 1,
        options.min_similarity,
        tagging,
        options.save_images,
        source.rules,
        source.attributes,
    )
    stage = StageSpec(
        stage="crawl",
        options=options,
        fingerprint=source.fingerprint,
        shard_count=len(source.tasks(0)),
        labels=LABELS,
        subfolders=FOLDERS,
        model=ModelNames(spec.model, spec.pretrained, spec.prepared),
        gpus=list(options.devices) != ["cpu"],
    )
    with (
        open_stage(stage) as build,
        crawling_workers(wanted, build.folder, opener) as (worker, isolated),
    ):
        build.run(worker, source.tasks(build.first_shard), isolated=isolated)
    if options.input:
        note_input(options.output_folder, options.input)
    return build.report


@dataclass(frozen=True, slots=True)
class _Source:
    """The units of work: `tasks` gives them, numbered from a first shard on.

    `rules` and `attributes` are those by which candidates are taken out of WAT files.
    """

    fingerprint: dict[str, Any]
    tasks: Callable[[int], Sequence[Task]]
    rules: Rules = field(default_factory=Rules)
    attributes: tuple[str, ...] = ()


def _wats(options: Any) -> _Source:
    extraction = options.extraction()
    wats = choose(
        find_all_wats(options.wat, options.bucket), options.first, options.sample, options.seed
    )
    return _Source(
        wat_fingerprint(options.wat, wats),
        partial(wat_tasks, wats),
        extraction.rules,
        tuple(extraction.attributes),
    )
