"""What lies in a folder, with sizes, and many small files of it read at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from img2ds.storage.filesystem import as_os_error, resolve
from img2ds.storage.output import OutputFolder

#: Files of a remote folder that are read at once: it is waiting, not work.
PARALLEL_READS = 32
#: Files asked for ahead of the one that is wanted next.
_AHEAD = 1024


def sizes(folder: OutputFolder, inside: str = "") -> dict[str, int | None]:
    """The names of its files with their sizes in bytes, and of its folders with None; sorted.

    Args:
        inside: a folder of it to look into; the names are relative to the output folder.

    Raises OSError.
    """
    prefix = f"{inside}/" if inside else ""
    if folder.local:
        try:
            with os.scandir(os.path.join(folder.path, inside)) as entries:
                found = {prefix + e.name: None if e.is_dir() else _size(e) for e in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return dict(sorted(found.items()))
    fs, path = resolve(f"{folder.path}/{inside}" if inside else folder.path)
    fs.invalidate_cache(path)
    try:
        with as_os_error(f"list {folder.path}"):
            entries_there = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    listed = {
        prefix + entry["name"].rstrip("/").rpartition("/")[2]: (
            None if entry["type"] == "directory" else entry.get("size")
        )
        for entry in entries_there
    }
    return dict(sorted(listed.items()))


def read_many(folder: OutputFolder, names: Sequence[str]) -> Iterator[tuple[str, bytes | OSError]]:
    """The content of each file, in order, or why it cannot be had."""
    if folder.local:
        for name in names:
            yield name, _read(folder, name)
        return
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        for start in range(0, len(names), _AHEAD):
            piece = names[start : start + _AHEAD]
            contents = pool.map(lambda name: _read(folder, name), piece)
            yield from zip(piece, contents, strict=True)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # gone since, or a link that leads nowhere
        return 0


def _read(folder: OutputFolder, name: str) -> bytes | OSError:
    try:
        return folder.read_bytes(name)
    except OSError as error:
        return error
