"""List an output folder with sizes, and read many of its small files at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from img2ds.storage.filesystem import as_os_error, resolve
from img2ds.storage.output import OutputFolder

#: Files of a remote folder that are read at once: reading is waiting, not work.
PARALLEL_READS = 32
#: Files requested ahead of the one that is yielded next.
_AHEAD = 1024


def sizes(folder: OutputFolder, inside: str = "") -> dict[str, int | None]:
    """Return the names of files with their sizes in bytes, and of folders with None; sorted.

    Args:
        inside: a folder in it to list; the names are relative to the output folder.

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
    """Yield the name and content of each file in order; the error if it cannot be read."""
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
    except FileNotFoundError:  # removed meanwhile, or a broken link
        return 0


def _read(folder: OutputFolder, name: str) -> bytes | OSError:
    try:
        return folder.read_bytes(name)
    except OSError as error:
        return error
