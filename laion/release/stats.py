"""`laion stats`: counts what LAION-style parquet files contain, with the paper's numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digests
from img2ds.report.units import share
from img2ds.storage import InputFile, find_inputs, open_seekable
from laion.data.release_schema import HASH, RELEASE_SCHEMA, SAMPLE_ID
from laion.release.contents import PAPER, TAGS, Contents
from laion.release.unique import UniquePairs, scratch_folder

#: Re-LAION-5B's names for columns of a release. They are img2dataset's, too, whose tables have rows
#: of failed downloads: a column `hash` tells that these are pairs.
SPELLINGS = {
    "URL": "url", "TEXT": "caption", "WIDTH": "original_width", "HEIGHT": "original_height",
}  # fmt: skip

#: Rows read at once.
_BATCH = 65_536

#: Pairs that LAION annotated manually, those of them tagged NSFW, and those that are NSFW
#: (https://laion.ai/blog/laion-400-open-dataset/, Analysis of the LAION-400M data).
ANNOTATED, ANNOTATED_TAGGED, ANNOTATED_NSFW = 3456, 4 + 73, 4 + 8


@dataclass(frozen=True, kw_only=True)
class StatsOptions:
    """The flags of `laion stats`."""

    input: str = flag(
        MISSING, "str", "LAION-style parquet: a release's folder, a file, a glob or an fsspec URL"
    )
    swapped_sizes: bool = flag(
        False, "bool", "HEIGHT holds widths and WIDTH heights, as in the files of LAION-400M"
    )
    json: bool = flag(False, "bool", "print one JSON object instead of tables")
    tmp_dir: str | None = flag(
        None, "str?", "local folder for temporary files, 24 bytes a pair (default: the system's)"
    )


@dataclass(frozen=True, slots=True)
class StatsReport:
    """The tables or the JSON object to print."""

    text: str
    exit_code: int = 0


def run(options: StatsOptions) -> StatsReport:
    """Count all rows in bounded memory. Raises UsageError when they cannot be read."""
    files = find_inputs(options.input, (".parquet",))
    contents = count_files(files, options.swapped_sizes, options.tmp_dir)
    if options.json:
        return StatsReport(json.dumps(contents.document(), indent=1))
    return StatsReport(describe(contents, options.swapped_sizes))


def count_files(
    files: Sequence[InputFile],
    swapped_sizes: bool = False,
    tmp_dir: str | None = None,
    unique: int | None = None,
) -> Contents:
    """Count the contents of parquet files together.

    Args:
        swapped_sizes: HEIGHT holds widths and WIDTH heights, as in the files of LAION-400M.
        tmp_dir: local folder for counting unique pairs, 24 bytes a pair.
        unique: the number of different pairs; None counts them.

    Raises:
        UsageError: a file cannot be read, or has no column URL.
    """
    contents = Contents(unique=unique)
    try:
        total = 0
        for file in files:  # one by one: a dataset may have more parts than file descriptors
            with _open(file) as reader:
                total += reader.metadata.num_rows
        with scratch_folder(tmp_dir) as scratch:
            pairs = UniquePairs(scratch, total) if unique is None else None
            for file in files:
                with _open(file) as reader:
                    _count(reader, contents, swapped_sizes, pairs)
            if pairs is not None:
                repeated = sum(len(resolved.repeated) for resolved in pairs.resolve())
                contents.unique = contents.rows - repeated
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"cannot read the dataset: {error}") from None
    return contents


def _open(file: InputFile) -> pq.ParquetFile:
    try:
        reader = pq.ParquetFile(open_seekable(file.path))
    except pa.ArrowInvalid as error:
        raise UsageError(f"{file.path} cannot be read as parquet: {error}") from None
    columns = reader.schema_arrow.names
    if "URL" not in columns and not {HASH, SPELLINGS["URL"]} <= set(columns):
        raise UsageError(f"{file.path} has no column URL; it has: {', '.join(columns)}")
    return reader


def _count(
    reader: pq.ParquetFile, contents: Contents, swapped: bool, pairs: UniquePairs | None
) -> None:
    unread = {SAMPLE_ID} if pairs is not None else {SAMPLE_ID, "URL", "TEXT"}
    there = set(reader.schema_arrow.names)
    names = {name if name in there else SPELLINGS.get(name, name): name
             for name in RELEASE_SCHEMA.names if name not in unread}  # fmt: skip
    read = [name for name in names if name in there]
    wanted = [names[name] for name in read]
    for one in reader.iter_batches(_BATCH, columns=read):
        batch = one.rename_columns([names[name] for name in one.schema.names])
        if pairs is not None:
            urls = batch.column("URL").to_pylist()
            texts = batch.column("TEXT").to_pylist() if "TEXT" in wanted else [""] * len(urls)
            places = np.arange(contents.rows, contents.rows + len(urls), dtype=np.uint64)
            pairs.add(places, pair_digests(urls, texts))
        contents.add(pa.Table.from_batches([batch]), swapped)


def describe(contents: Contents, swapped_sizes: bool = False) -> str:
    """Return tables for people: plain integers, with the paper's for comparison."""
    lines = [f"{'':<40}{'here':>14}{'share':>9}{'paper':>14}{'share':>9}"]
    every = next(iter(PAPER.values()))
    for name, count in contents.table1().items():
        paper = PAPER[name]
        here = "-" if count is None else str(count)
        part = "-" if count is None else share(count, contents.rows)
        lines.append(f"{name:<40}{here:>14}{part:>9}{paper:>14}{share(paper, every):>9}")
    lines.append(f"{'Number of rows':<40}{contents.rows:>14}")
    if contents.shapes.total():
        swapped = " (HEIGHT and WIDTH swapped)" if swapped_sizes else ""
        lines += ["", *_counts(f"shape{swapped}", dict(contents.shapes), contents.rows)]
    if contents.tags():
        lines += ["", *_counts("NSFW tag", contents.tags(), contents.rows)]
    if any(contents.tags().get(tag) for tag in TAGS):
        lines.append(
            f"LAION's manual check of {ANNOTATED:,} pairs: {share(ANNOTATED_TAGGED, ANNOTATED)} "
            f"tagged NSFW, {share(ANNOTATED_NSFW, ANNOTATED)} NSFW"
        )
    if contents.licenses:
        lines += ["", *_counts("licence", contents.named_licenses(), contents.rows)]
    if contents.mean_similarity is not None:
        bins = np.flatnonzero(contents.histogram)
        low, high = (bins[0] - 100) / 100, (bins[-1] - 99) / 100
        lines += [
            "",
            f"similarity: mean {contents.mean_similarity:.4f}, all from {low:.2f} to {high:.2f}",
        ]
    if contents.absent:
        lines += ["", f"missing columns: {', '.join(sorted(contents.absent))}"]
    return "\n".join(lines)


def _counts(title: str, counts: dict[str, int], total: int) -> list[str]:
    lines = [f"{title:<40}{'rows':>14}{'share':>9}"]
    lines += [f"  {name:<38}{n:>14}{share(n, total):>9}" for name, n in counts.items()]
    return lines
