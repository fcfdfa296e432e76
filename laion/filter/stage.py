"""`laion filter`: keeps the pairs that a condition, a recipe, or a share of the best selects.

Each dropped pair is counted under the first clause or rule that it does not fulfil. A value that is
NULL fulfils none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.core.uid import UID
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from laion.data.embedding_folder import EmbeddingFolder, EmbeddingShard, open_embedding_folder
from laion.data.embedding_layout import FOLDERS
from laion.data.embedding_writer import copy_rows
from laion.filter.condition import Condition
from laion.filter.options import FilterOptions
from laion.filter.recipes import RECIPES, Recipe
from laion.filter.rules import Rows
from laion.filter.selection import Selection
from laion.filter.share import threshold_of
from laion.filter.uids import merge_uids, uids_name, uids_of
from laion.passes import Passes, PassesEndedError
from laion.stage import StageReport, StageSpec, open_stage

LABELS = Labels("shard", "pairs", "pairs/s", "kept")


@dataclass(frozen=True, slots=True)
class FilterTask:
    """One shard to filter."""

    shard_id: int
    source: EmbeddingShard


def run(options: FilterOptions) -> StageReport:
    """Filter what is not filtered yet.

    Raises:
        UsageError: something about it cannot work; nothing was done.
    """
    source = open_embedding_folder(options.input, _required(options))
    recipe = Recipe()
    identity: dict[str, Any] = {}
    if options.recipe is not None:
        recipe = RECIPES[options.recipe].make(options, source)
        identity = {"recipe": {"name": options.recipe, **recipe.identity}}
    if options.uids:
        identity["uids"] = True
    condition = _condition(options, source)
    selection = None if recipe.prepare else _selection(options, source, recipe, condition)
    spec = StageSpec(
        stage="filter",
        options=options,
        fingerprint=source.fingerprint(),
        shard_count=len(source.shards),
        labels=LABELS,
        subfolders=(*FOLDERS, "uids") if options.uids else FOLDERS,
        model=source.model,
        identity=identity,
    )
    with open_stage(spec) as build:
        first = build.first_shard
        tasks = [FilterTask(first + n, one) for n, one in enumerate(source.shards)]
        files = [(shard.path("{}"), shard.size) for shard in source.shards]
        passes = Passes.open(build, options, [options.identity(), identity, files], "pairs")
        if recipe.prepare and len(build.build.committed) < len(tasks):
            try:
                recipe = replace(recipe, rules=recipe.prepare(passes))
            except PassesEndedError:
                return build.report
            selection = _selection(options, source, recipe, condition)
        make = partial(make_shard, selection=selection, uids=options.uids)
        if build.run(SequentialWorker(build.folder, make), tasks):
            if options.uids:
                merge_uids(build.folder)
            passes.remove()
    return build.report


def make_shard(
    task: FilterTask, shard: ShardOutput, selection: Selection | None, uids: bool = False
) -> None:
    """Filter one shard."""
    assert selection is not None, "only a complete folder has none"
    table = task.source.table()
    kept, reasons = selection.kept(task.source, table)
    copy_rows(task.source, table, kept, shard.name, shard.path)
    if uids:
        np.save(shard.path(uids_name(shard.name)), uids_of(table.filter(pa.array(kept))))
    shard.counts.successes += int(kept.sum())
    shard.counts.reasons.update(reasons)


def _required(options: FilterOptions) -> tuple[str, ...]:
    columns = RECIPES[options.recipe].columns if options.recipe is not None else ()
    if options.keep_top is not None and not options.second_scores:
        columns = (*columns, options.by)
    return columns


def _condition(options: FilterOptions, source: EmbeddingFolder) -> Condition | None:
    """Return the condition. Raises UsageError: a column is missing, or of another type."""
    schema = source.shards[0].schema()
    condition = None
    if options.where is not None:
        condition = Condition(options.where)
        condition.check(schema)
    if options.uids and UID not in schema.names and not {"url", "caption"} <= set(schema.names):
        raise UsageError(f"--uids needs the column {UID}, or url and caption, in {options.input}")
    if options.share is not None and not options.second_scores:
        kind = schema.field(options.by).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise UsageError(
                f"--by {options.by} is a column of {kind}: --keep_top compares numbers"
            )
    return condition


def _selection(
    options: FilterOptions, source: EmbeddingFolder, recipe: Recipe, condition: Condition | None
) -> Selection:
    if options.share is None:
        return Selection(condition, recipe.rules)
    column = None if recipe.second else options.by
    plain = Selection(condition, recipe.rules, column, second=recipe.second)

    def read() -> Iterator[npt.NDArray[np.float32]]:
        every = condition is None and not recipe.rules
        for shard in source.shards:
            rows = Rows(shard, shard.table([column] if every and column else None))
            values = plain.values(rows)
            yield values if every else values[plain.passing(rows)[0]]

    found = threshold_of(options.share, read)
    threshold = float("inf") if found is None else found
    return Selection(condition, recipe.rules, column, threshold, recipe.second)
