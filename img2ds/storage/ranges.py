"""Read places of many remote files, all requested at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from img2ds.storage.filesystem import resolve, with_connections
from img2ds.storage.listing import IN_FLIGHT, PARALLEL_READS
from img2ds.storage.retrying_file import with_retries


@dataclass(frozen=True, slots=True)
class Range:
    """The bytes of a file from `start` up to `stop`."""

    path: str
    start: int
    stop: int


def read_ranges(wanted: Sequence[Range]) -> list[bytes]:
    """Return the bytes of each range, in order; the files are on one service.

    Raises:
        OSError: one of them cannot be read.
    """
    if not wanted:
        return []
    fs, _ = resolve(wanted[0].path)
    paths = [resolve(each.path)[1] for each in wanted]
    if not fs.async_impl:
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            return list(pool.map(_read, wanted))
    fs = with_connections(fs, IN_FLIGHT)
    starts, stops = ([getattr(each, name) for each in wanted] for name in ("start", "stop"))
    found = fs.cat_ranges(paths, starts, stops, batch_size=IN_FLIGHT, on_error="return")
    # What failed is asked for again, with pauses.
    return [
        data if isinstance(data, bytes) else _read(each)
        for each, data in zip(wanted, found, strict=True)
    ]


def _read(wanted: Range) -> bytes:
    fs, path = resolve(wanted.path)
    return with_retries(
        wanted.path, lambda: bytes(fs.cat_file(path, start=wanted.start, end=wanted.stop))
    )
