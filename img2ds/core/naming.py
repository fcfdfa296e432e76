"""Names of shards, samples and output formats, and the way back from a name to its number. Pure.

The rules are img2dataset's, so that keys agree: key = shard_id * 10**k + index with
k = ceil(log10(number_sample_per_shard)), zero-padded to k + oom_shard_count digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from img2ds.core.failure import UsageError
from img2ds.core.plugins import load


@dataclass(frozen=True, slots=True)
class FormatNames:
    """What the shards of one output format are called.

    Attributes:
        suffix: what follows the shard's name in the name of its data: "" where that is a folder,
            None where there is no data.
        image_is_field: whether the image stands among the metadata of its sample, under the name
            of the encode format, which no other column may have then.
        caption_field: the like for captions.
        index: the file of the whole folder that readers need, besides the shards; None for none.
    """

    suffix: str | None
    image_is_field: bool = False
    caption_field: str | None = None
    index: str | None = None


#: The index of a folder of mds or litdata shards.
INDEX = "index.json"

#: Every output format, in the order in which users read them. `formats.table` says what writes and
#: reads each.
OUTPUT_FORMATS = {
    "files": FormatNames(""),
    "webdataset": FormatNames(".tar"),
    "parquet": FormatNames(".parquet", image_is_field=True),
    "tfrecord": FormatNames(".tfrecord", image_is_field=True, caption_field="txt"),
    "mds": FormatNames(".mds", index=INDEX),
    "litdata": FormatNames(".bin", index=INDEX),
    "dummy": FormatNames(None),
}

#: Formats that images are encoded in: also the extensions of their files.
ENCODE_FORMATS = ("jpg", "png", "webp")

#: The commit marker that makes a shard count; it is published last.
STATS_SUFFIX = "_stats.json"
#: The samples of each tar; written on request.
TAR_SIZES = "sizes.json"
#: The metadata table, in every format that writes data; in `parquet` it is the data as well.
TABLE_SUFFIX = ".parquet"

#: Names that tell a format, in the order in which they do: a folder may be the user's, and the
#: data of `parquet` is called what the table of every other format is.
_DETECTION = sorted(
    (names.suffix in ("", TABLE_SUFFIX), names.suffix == TABLE_SUFFIX, name)
    for name, names in OUTPUT_FORMATS.items()
    if names.suffix is not None
)

_STATS = re.compile(r"(\d+)_stats\.json")
#: Suffixes of files with a shard's number; the last two are those of laion's embeddings. Those of
#: plug-ins are added when they are loaded.
_SUFFIXES = {
    *{STATS_SUFFIX, TABLE_SUFFIX, *(n.suffix for n in OUTPUT_FORMATS.values() if n.suffix)},
    ".npy",
    ".arrow",
}


def _shard_file() -> re.Pattern[str]:
    """Return the pattern of a shard's files.

    Also `img_emb/img_emb_12.npy`, `metadata/metadata_12.parquet`: one folder a kind of file, and
    `part-00012-of-00032.parquet` of a release.
    """
    suffixes = "|".join(map(re.escape, sorted(_SUFFIXES)))
    return re.compile(rf"(?:part-|[a-z_]+/[a-z_]+_)?(\d+)(?:-of-\d+)?(?:{suffixes})")


_SHARD_FILE = _shard_file()
#: Extensions of the files of a sample.
_SAMPLE_FILES = "|".join((*ENCODE_FORMATS, "txt", "json"))


def format_names(output_format: str) -> FormatNames:
    """Return what the shards of an output format are called, a plug-in's as well.

    Raises:
        UsageError: there is no such format.
    """
    global _SHARD_FILE
    if output_format in OUTPUT_FORMATS:
        return OUTPUT_FORMATS[output_format]
    names = getattr(load("output_format", output_format), "names", None)
    if not isinstance(names, FormatNames):
        raise UsageError(f"--output_format: {output_format} is no img2ds.plugin.OutputFormat")
    if names.suffix and names.suffix not in _SUFFIXES:
        _SUFFIXES.add(names.suffix)
        _SHARD_FILE = _shard_file()
    return names


def index_digits(number_sample_per_shard: int) -> int:
    """Decimal digits that the index inside a shard takes in a key."""
    return math.ceil(math.log10(number_sample_per_shard))


def shard_name(shard_id: int, oom_shard_count: int) -> str:
    """`00042` for shard 42; longer when the number does not fit, never cut."""
    return f"{shard_id:0{oom_shard_count}d}"


def data_name(shard: str, output_format: str) -> str:
    """The file, or folder, that holds the samples of the shard called `shard`, where any does."""
    return shard + (format_names(output_format).suffix or "")


def format_of(shard: str, names: Collection[str]) -> str | None:
    """The output format of the shard called `shard` whose files are `names`; None without data."""
    return next((name for *_, name in _DETECTION if data_name(shard, name) in names), None)


def stats_name(shard_id: int, oom_shard_count: int) -> str:
    """The name of a shard's commit marker."""
    return shard_name(shard_id, oom_shard_count) + STATS_SUFFIX


def sample_key(
    shard_id: int, index: int, number_sample_per_shard: int, oom_shard_count: int
) -> str:
    """The key of row `index` of shard `shard_id`, unique over the dataset."""
    digits = index_digits(number_sample_per_shard)
    return f"{shard_id * 10**digits + index:0{digits + oom_shard_count}d}"


def sample_keys(
    shard_id: int, count: int, number_sample_per_shard: int, oom_shard_count: int
) -> list[str]:
    """The keys of the first `count` rows of a shard, in order."""
    digits = index_digits(number_sample_per_shard)
    width = digits + oom_shard_count
    first = shard_id * 10**digits
    return [f"{number:0{width}d}" for number in range(first, first + count)]


def parse_key(key: str, number_sample_per_shard: int) -> tuple[int, int]:
    """(shard_id, index) of a key.

    Raises:
        ValueError: `key` is not a decimal number.
    """
    size: int = 10 ** index_digits(number_sample_per_shard)
    return divmod(int(key), size)


def committed_shards(names: Iterable[str]) -> set[int]:
    """The numbers of the shards whose commit marker is among `names`."""
    return {int(match[1]) for name in names if (match := _STATS.fullmatch(name))}


def is_shard_folder(name: str, inside: Iterable[str]) -> bool:
    """Whether the folder `name` that holds `inside` is a shard of `files`: all belong to samples.

    A folder of the user may be called 00012, or 2014, as well.
    """
    names = list(inside)
    sample = re.compile(rf"{re.escape(name)}\d*\.(?:{_SAMPLE_FILES})", re.ASCII)
    return is_number(name) and bool(names) and all(map(sample.fullmatch, names))


def shard_of_file(name: str) -> int | None:
    """The shard a file (or a `files` folder) of the output folder belongs to, None for others."""
    if match := _SHARD_FILE.fullmatch(name):
        return int(match[1])
    return int(name) if is_number(name) else None


def is_number(name: str) -> bool:
    """Whether a name is nothing but digits, as a folder of the `files` format is called."""
    return name.isascii() and name.isdigit()
