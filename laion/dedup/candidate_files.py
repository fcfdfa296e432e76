"""Finds the committed files of candidate folders, in the order that decides which pair is first.

Files are ordered by the names of their WAT files, whatever folder or shard they are in; rows keep
their order in the file. The result therefore depends neither on the number of workers nor on the
names of folders.
"""

from __future__ import annotations

from collections.abc import Sequence

from img2ds.core.failure import UsageError
from img2ds.core.naming import committed_shards, shard_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import InputFile, OutputFolder, find_inputs
from laion.dedup.inspection import CandidateFile, inspect


def find_candidates(folders: Sequence[str], output_folder: str) -> list[CandidateFile]:
    """Return the committed files of candidate folders, in order.

    Raises:
        UsageError: a folder has none, is given twice or is the output folder, or a file has other
            content.
    """
    output = OutputFolder.open(output_folder).path
    files: list[InputFile] = []
    for folder in folders:
        committed = {
            f"{shard_name(number, DIGITS)}.parquet"
            for number in committed_shards(OutputFolder.open(folder).names())
        }
        found = [file for file in find_inputs(folder, [".parquet"]) if file.name in committed]
        if not found:
            raise UsageError(f"{folder} has no committed shards: run laion extract, which makes it")
        files += found
    if len({file.path for file in files}) < len(files):
        raise UsageError(
            "a folder is given twice, and all its pairs would be duplicates: name it once"
        )
    if any(file.path.rpartition("/")[0] == output for file in files):
        raise UsageError(
            f"{output} is an input too, whose files are replaced: choose another --output_folder"
        )
    return sorted(inspect(files), key=lambda candidate: (candidate.wat, candidate.file.path))
