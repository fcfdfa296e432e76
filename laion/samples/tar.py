"""The samples of a webdataset tar, whatever wrote it and wherever it is stored, one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from img2ds.formats.contract import DamagedShardError
from img2ds.formats.tar import read_members
from img2ds.storage import open_stream
from laion.samples import sample as limits
from laion.samples.sample import Sample

#: What the name of a tar ends in.
TARS = (".tar", ".tar.gz", ".tgz")

#: Bytes read at once.
_BUFFER = 1 << 18


def read_tar(path: str) -> Iterator[Sample]:
    """Yield the samples of a tar, which may be gzipped, in its order.

    A sample is consecutive members that share a key. Members without an extension belong to none.
    Samples that share a key have the flaw `duplicate_key`: all of them where they follow each
    other, since nobody knows which caption belongs to which image, else all but the first.

    Raises:
        UsageError: it does not exist, or cannot be read or decompressed.
        OSError: it is not a tar, is truncated, or damaged.
    """
    seen: set[str] = set()
    for sample in _read(path):
        if sample.key in seen:
            sample.flaw = "duplicate_key"
        seen.add(sample.key)
        yield sample.complete()


def _read(path: str) -> Iterator[Sample]:
    sample: Sample | None = None
    endings: set[str] = set()
    with _open(path) as file:
        for name, data in read_members(file.read, limits.MAX_FILE):
            folder, slash, leaf = name.rpartition("/")
            stem, dot, ending = leaf.partition(".")
            if not dot or not stem:
                continue
            key, ending = folder + slash + stem, ending.lower()
            if sample is None or sample.key != key or ending in endings:
                if sample is not None:
                    if sample.key == key:
                        sample.flaw = "duplicate_key"
                    yield sample
                sample, endings = Sample(key), set()
            endings.add(ending)
            sample.add(ending, data)
    if sample is not None:
        yield sample


@contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
    """Open the bytes of a tar, decompressed whatever the name is: `open_stream` looks at them."""
    try:
        with open_stream(path) as raw, io.BufferedReader(cast(Any, raw), _BUFFER) as file:
            yield file
    except DamagedShardError as error:
        raise OSError(f"{path}: {error}") from None
