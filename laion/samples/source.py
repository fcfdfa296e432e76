"""Finds shards of samples, whoever made them: tars, folders of files, tables, loose files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from img2ds.core.failure import UsageError
from img2ds.core.naming import STATS_SUFFIX
from img2ds.engine.marker import marker_names
from img2ds.storage import InputFile, InputTree, OutputFolder, find_inputs, find_tree
from laion.provenance import options_of
from laion.samples.files import EXTENSIONS, SampleFiles, group_files, read_files, read_folder
from laion.samples.sample import Sample
from laion.samples.table import image_column, read_table
from laion.samples.tar import TARS, read_tar
from laion.stage import file_fingerprint

TABLES = (".parquet",)

#: Samples in a shard of loose files; img2ds's default.
FILES_PER_SHARD = 10_000

#: Samples that are looked at to learn whether there are images and texts.
_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class SampleShard:
    """One shard of samples. Picklable.

    Attributes:
        path: the tar, the table, or the folder of the files.
        size: its bytes; None if unknown.
        kind: what it is; loose files are `files`.
        files: the samples, where they are loose files.
    """

    path: str
    size: int | None
    kind: Literal["tar", "folder", "table", "files"] = "tar"
    files: tuple[SampleFiles, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def samples(self) -> Iterator[Sample]:
        """Yield its samples.

        Raises:
            UsageError: it does not exist, or cannot be read.
            OSError: it is damaged.
        """
        if self.kind == "tar":
            return read_tar(self.path)
        if self.kind == "folder":
            return read_folder(self.path)
        if self.kind == "table":
            return read_table(self.path)
        return read_files(self.files)


@dataclass(frozen=True, slots=True)
class SampleShards:
    """All shards of an input, in their order."""

    path: str
    shards: tuple[SampleShard, ...]

    def fingerprint(self, **more: Any) -> dict[str, Any]:
        """Return the fingerprint of this input."""
        if self.shards[0].kind != "files":
            files = [InputFile(shard.path, shard.size) for shard in self.shards]
            return file_fingerprint("shards", files, **more)
        digest, count = hashlib.sha256(), 0
        for shard in self.shards:
            for key, members in shard.files:
                count += 1
                sizes = ",".join(f"{file.name}:{file.size}" for file in members)
                digest.update(f"{key}\n{sizes}\n".encode("utf-8", "surrogatepass"))
        files = [InputFile(self.path, count)]
        return file_fingerprint("images", files, digest=digest.hexdigest(), **more)

    def first_samples(self) -> Sequence[Sample]:
        """Return the first samples, at most a hundred. Raises OSError, UsageError."""
        for shard in self.shards:
            if found := list(islice(shard.samples(), _LOOKED_AT)):
                return found
        return ()


def find_shards(place: str) -> SampleShards:
    """Return the shards of an input.

    Args:
        place: a folder, a glob or a file, local or remote: webdataset tars; img2dataset's folders
            of files or tables of images; or a folder of images and texts.

    Raises:
        UsageError: there are no samples.
    """
    files: list[InputFile] = []
    trouble = None
    try:
        files = find_inputs(place, [*TARS, *TABLES])
    except UsageError as error:
        trouble = error
    folder = OutputFolder.open(place)
    shards = _of_tars(files)
    if tables := [file for file in files if file.name.endswith(TABLES) and not shards]:
        _check_format(folder)
        shards = _of_folders(folder) or _of_tables(tables)
    elif files:
        shards = shards or _of_files(_loose(files))
    else:
        if trouble is not None and not folder.exists(""):
            raise trouble
        _check_format(folder)
        shards = _of_folders(folder) or _of_files(find_tree(place, EXTENSIONS))
    if not shards:
        raise UsageError(
            f"{place} has no samples: neither tars, tables of images, nor images or texts"
        )
    return SampleShards(place, shards)


def _check_format(folder: OutputFolder) -> None:
    made = options_of(folder).get("output_format", "files")
    if made in ("tfrecord", "dummy"):
        raise UsageError(
            f"{folder.path} was downloaded with --output_format {made}, which laion does not read: "
            "download with --output_format webdataset, as laion download does"
        )


def _of_tars(files: Sequence[InputFile]) -> tuple[SampleShard, ...]:
    return tuple(SampleShard(f.path, f.size) for f in files if f.name.endswith(TARS))


def _of_folders(folder: OutputFolder) -> tuple[SampleShard, ...]:
    """Return the folders that have a commit marker beside them: img2dataset's `files`."""
    there = set(folder.names())
    names = [name.removesuffix(STATS_SUFFIX) for name in marker_names(there)]
    return tuple(
        SampleShard(f"{folder.path}/{name}", None, "folder") for name in names if name in there
    )


def _of_tables(files: Sequence[InputFile]) -> tuple[SampleShard, ...]:
    if image_column(files[0].path) is None:
        raise UsageError(
            f"{files[0].path} has no column of images (jpg, png, webp): use img2ds to download "
            "them, or the folder that holds the tars"
        )
    return tuple(SampleShard(file.path, file.size, "table") for file in files)


def _of_files(tree: InputTree) -> tuple[SampleShard, ...]:
    samples = group_files(tree)
    shards = []
    for at in range(0, len(samples), FILES_PER_SHARD):
        piece = tuple(samples[at : at + FILES_PER_SHARD])
        size = sum(file.size or 0 for _, files in piece for file in files)
        shards.append(SampleShard(tree.path, size, "files", piece))
    return tuple(shards)


def _loose(files: Sequence[InputFile]) -> InputTree:
    """Return the files that a glob matches as a folder of its own.

    Raises:
        UsageError: they are neither images nor texts.
    """
    for file in files:
        if not file.path.lower().endswith(EXTENSIONS):
            raise UsageError(
                f"{file.path} is neither a tar ({', '.join(TARS)}), a table (.parquet), an image "
                "nor a text"
            )
    # Cut at a slash below; `commonpath` would change URLs.
    common = os.path.commonprefix([file.path for file in files])  # noqa: RUF071
    return InputTree(common.rpartition("/")[0], tuple(files))
