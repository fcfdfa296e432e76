"""`laion release`: the pairs above a threshold, each once, as LAION-400M's parquet files.

It also writes the embeddings of the same rows, a dataset card, Table 1 and a histogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digests
from img2ds.engine.cores import usable_cores
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from laion.data.embedding_folder import open_embedding_folder
from laion.data.embedding_layout import FOLDERS, IMAGES, METADATA, TEXTS
from laion.data.embedding_writer import NpyWriter
from laion.data.laion_hash import laion_hashes
from laion.data.release_schema import (
    HASH,
    LAYOUTS,
    RELEASE_COLUMNS,
    ReleaseColumn,
    columns_of,
    part_name,
    release_rows,
    schema_of,
)
from laion.provenance import trace_stages, was_tagged
from laion.release.card import NEVER_TAGGED
from laion.release.figures import check_figures
from laion.release.finish import Origin, write_card
from laion.release.pair_ranges import Mask
from laion.release.plan import Piece, PlanStoppedError, ReleaseTask, plan_release
from laion.release.stats import describe
from laion.release.unified_schema import as_schema, unified_schema
from laion.release.unique import sample_ids, scratch_folder
from laion.samples.sample import TEXT_INDEX
from laion.stage import StageOptions, StageReport, StageSpec, open_stage

LABELS = Labels("shard", "pairs", "pairs/s", "kept")

#: Rows of a row group: readers such as Spark split by them; LAION-400M's have a million.
ROW_GROUP = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions(StageOptions):
    """The flags of `laion release`."""

    input: str = flag(
        MISSING,
        "str",
        "a folder that laion tag, crawl or score, or clip-retrieval wrote",
        identity=False,
    )
    threshold: float = flag(0.3, "float", "least similarity of a pair that is released")
    rows_per_part: int = flag(
        1_000_000,
        "int",
        "pairs of a released file: it takes whole shards of the input until it has them",
    )
    columns: str = flag(
        "laion400m", "choice",
        "whose columns the parts have: LAION-400M's, LAION-5B's or Re-LAION-5B's",
        *LAYOUTS, identity=False,
    )  # fmt: skip
    texts: str = flag(
        "all", "choice",
        "of an image with several texts (see laion group): the pair that CLIP prefers, or all",
        "all", "best", identity=False,
    )  # fmt: skip
    figures: bool = flag(True, "bool", "draw the histogram of similarities", identity=False)
    stages: tuple[str, ...] = flag(
        (), "list",
        "folders of further stages to list on the card, in addition to those recorded",
        identity=False,
    )  # fmt: skip
    require_tags: bool = flag(
        False, "bool", "refuse pairs that did not come through laion tag", identity=False
    )

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        at_least("rows_per_part", self.rows_per_part, 1)
        if not -1 <= self.threshold <= 1:
            raise UsageError(f"--threshold must be a cosine from -1 to 1, got {self.threshold}")
        if self.incremental_mode == "extend":
            raise UsageError(
                "a release cannot be extended, because each pair is in it only once: "
                "use --incremental_mode overwrite, or a new --output_folder"
            )

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the result; folders of earlier versions lack `columns`."""
        identity = super().identity()
        if self.columns != "laion400m":
            identity["columns"] = self.columns
        if self.texts != "all":
            identity["texts"] = self.texts
        return identity


def check(options: ReleaseOptions) -> None:
    """Raise UsageError when figures cannot be drawn, or a package for a column is missing."""
    if options.figures:
        check_figures()
    if any(column.name == HASH for column in LAYOUTS[options.columns]):
        laion_hashes([], [])


def run(options: ReleaseOptions) -> ReleaseReport:
    """Make the release. Raises UsageError when something about it cannot work."""
    scored = open_embedding_folder(options.input)
    if options.texts == "best" and TEXT_INDEX not in scored.shards[0].schema().names:
        raise UsageError(
            f"--texts best compares the texts of an image, and {scored.path} has no column "
            f"{TEXT_INDEX}: run laion group before laion download"
        )
    stages = trace_stages(scored.path, options.stages)
    tagged = was_tagged(stages)
    if options.require_tags and not tagged:
        raise UsageError(f"{scored.path} {NEVER_TAGGED}: run laion tag on it first")
    check(options)
    source = scored.fingerprint()
    # On other machines there is no scratch folder that all of them see.
    processes = options.processes if options.on_this_machine else usable_cores()
    try:
        with scratch_folder(options.tmp_dir) as scratch:
            plan = plan_release(
                scored.shards, options.threshold, options.rows_per_part, scratch, processes,
                options.texts == "best",
            )  # fmt: skip
    except PlanStoppedError as stopped:
        return ReleaseReport(stopped.report, "")
    spec = StageSpec(
        stage="release",
        options=options,
        fingerprint=source,
        shard_count=len(plan),
        labels=LABELS,
        subfolders=(*FOLDERS, "figures"),
        model=scored.model,
    )
    contents = ""
    columns = columns_of(options.columns, scored.shards[0].schema().names)
    with open_stage(spec) as build:
        if not tagged:
            build.note(f"warning: {scored.path} {NEVER_TAGGED}")
        tasks = [replace(task, shard_id=build.first_shard + task.number) for task in plan]
        make = partial(make_shard, columns=columns)
        if build.run(SequentialWorker(build.folder, make), tasks):
            scanned = sum(piece.histogram for task in plan for piece in task.pieces)
            origin = Origin(
                options.threshold, options.figures, tagged, stages, np.asarray(scanned).tolist()
            )
            origin.save(build.folder)
            contents = describe(write_card(build.folder, origin))
    return ReleaseReport(build.report, contents)


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """What a run did, and what is in the release."""

    stage: StageReport
    contents: str

    @property
    def exit_code(self) -> int:
        return self.stage.exit_code

    @property
    def text(self) -> str:
        return "\n\n".join(filter(None, (self.contents, self.stage.text)))


def make_shard(
    task: ReleaseTask, shard: ShardOutput, columns: Sequence[ReleaseColumn] = RELEASE_COLUMNS
) -> None:
    """Write one shard of the release, a scored shard after the other."""
    pieces = [(piece, piece.mask()) for piece in task.pieces]
    rows = sum(int(mask.sum()) for _, mask in pieces)
    # An empty array need not have the width of the others.
    like = next((piece.shard for piece, _ in pieces if piece.rows), pieces[0][0].shard)
    schema = unified_schema([piece.shard.schema() for piece, _ in pieces])
    arrays = {
        kind: NpyWriter(shard.path(kind.format(shard.name)), rows, like.embeddings(kind))
        for kind in (IMAGES, TEXTS)
    }
    with (
        pq.ParquetWriter(shard.path(METADATA.format(shard.name)), schema) as metadata,
        pq.ParquetWriter(
            shard.path(part_name(task.number, task.total)), schema_of(columns)
        ) as release,
    ):
        waiting: list[pa.Table] = []
        for piece, mask in pieces:
            table = piece.shard.table()
            for kind, array in arrays.items():
                array.add(piece.shard.embeddings(kind, table.num_rows), mask)
            kept = table.filter(pa.array(mask))
            metadata.write_table(as_schema(kept, schema))
            waiting.append(_released(kept, piece, mask, columns))
            if sum(table.num_rows for table in waiting) >= ROW_GROUP:
                release.write_table(pa.concat_tables(waiting), ROW_GROUP)
                waiting.clear()
            shard.counts.successes += kept.num_rows
            shard.counts.reasons.update(piece.dropped)
            shard.report_progress()
        if waiting:
            release.write_table(pa.concat_tables(waiting), ROW_GROUP)
    for array in arrays.values():
        array.close()


def _released(
    kept: pa.Table, piece: Piece, mask: Mask, columns: Sequence[ReleaseColumn] = RELEASE_COLUMNS
) -> pa.Table:
    """Return the release's rows of what a scored shard keeps."""
    urls, texts = (kept.column(name).to_pylist() for name in ("url", "caption"))
    ids = sample_ids(pair_digests(urls, texts))
    if piece.moved:
        places = np.flatnonzero(mask)
        for row, moved in piece.moved.items():
            ids[np.searchsorted(places, row)] = moved
    return release_rows(kept, ids, columns)
