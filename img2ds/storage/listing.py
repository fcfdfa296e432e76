"""List an output folder with sizes, and read many of its small files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from img2ds.storage.filesystem import as_os_error, error_of, resolve, with_connections
from img2ds.storage.listed import Listing
from img2ds.storage.output import OutputFolder
from img2ds.storage.remote_listing import list_remote

#: Files that are requested at once of services with an asynchronous client: at 20 ms each, ten
#: thousand a second, more than one process can take in.
IN_FLIGHT = 256
#: Threads that read from other services.
PARALLEL_READS = 32
#: Files that are read, and kept in memory, at once.
_AHEAD = 2048


def sizes(folder: OutputFolder, inside: str = "") -> Listing:
    """Return the names of files with their sizes in bytes, and of folders with None; sorted.

    Args:
        inside: a folder in it to list; the names are relative to the output folder.

    Raises OSError.
    """
    found = Listing()
    add_sizes(found, folder, inside)
    return found.sort()


def add_sizes(found: Listing, folder: OutputFolder, inside: str = "") -> None:
    """Add what `sizes` returns to a listing, which has to be sorted afterwards. Raises OSError."""
    prefix = f"{inside}/" if inside else ""
    if folder.local:
        try:
            with os.scandir(os.path.join(folder.path, inside)) as entries:
                for entry in entries:
                    found.add(prefix + entry.name, *_size_and_version(entry))
        except (FileNotFoundError, NotADirectoryError):
            pass
        return

    def add(name: str, size: int | None, version: int) -> None:
        found.add(prefix + name, size, version)

    fs, path = resolve(f"{folder.path}/{inside}" if inside else folder.path)
    try:
        with as_os_error(f"list {folder.path}"):
            list_remote(fs, path, add if prefix else found.add)
    except (FileNotFoundError, NotADirectoryError):
        pass


def read_many(
    folder: OutputFolder, names: Sequence[str], listed: Mapping[str, int | None] | None = None
) -> Iterator[tuple[str, bytes | OSError]]:
    """Yield the name and content of each file in order; the error if it cannot be read.

    Args:
        listed: the sizes of the files: S3's client asks for each that it is not told.
    """
    if folder.local:
        for name in names:
            yield name, _read(folder, name)
        return
    pieces = [names[start : start + _AHEAD] for start in range(0, len(names), _AHEAD)]
    read = _reader(folder, listed)
    with ThreadPoolExecutor(1, "read-ahead") as ahead:
        waiting = ahead.submit(read, pieces[0]) if pieces else None
        for place, piece in enumerate(pieces):
            assert waiting is not None
            contents = waiting.result()
            if place + 1 < len(pieces):
                waiting = ahead.submit(read, pieces[place + 1])
            yield from zip(piece, contents, strict=True)


def _reader(
    folder: OutputFolder, listed: Mapping[str, int | None] | None
) -> Callable[[Sequence[str]], list[bytes | OSError]]:
    """Return what reads a piece of the names of a remote folder."""
    fs, root = resolve(folder.path)
    if not fs.async_impl:
        return lambda piece: _read_in_threads(folder, piece)
    fs = with_connections(fs, IN_FLIGHT)
    return lambda piece: _read_async(fs, root.rstrip("/"), piece, listed or {})


def _read_in_threads(folder: OutputFolder, piece: Sequence[str]) -> list[bytes | OSError]:
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return list(pool.map(lambda name: _read(folder, name), piece))


def _read_async(
    fs: Any, root: str, piece: Sequence[str], listed: Mapping[str, int | None]
) -> list[bytes | OSError]:
    ends = {name: size for name in piece if (size := listed.get(name))}
    paths = {name: f"{root}/{name}" for name in piece}
    whole = [name for name in piece if name not in ends]
    known = list(ends)
    found: dict[str, Any] = dict(
        zip(
            known,
            fs.cat_ranges(
                [paths[name] for name in known], 0, list(ends.values()),
                batch_size=IN_FLIGHT, on_error="return",
            ),
            strict=True,
        )
    )  # fmt: skip
    if whole:
        contents = fs.cat([paths[n] for n in whole], on_error="return", batch_size=IN_FLIGHT)
        found.update((name, contents[paths[name]]) for name in whole)
    return [
        content if isinstance(content, bytes) else error_of(f"read {name}", content)
        for name in piece
        for content in (found[name],)
    ]


def _size_and_version(entry: os.DirEntry[str]) -> tuple[int | None, int]:
    if entry.is_dir():
        return None, 0
    try:
        status = entry.stat()
    except FileNotFoundError:  # removed meanwhile, or a broken link
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _read(folder: OutputFolder, name: str) -> bytes | OSError:
    try:
        return folder.read_bytes(name)
    except OSError as error:
        return error
