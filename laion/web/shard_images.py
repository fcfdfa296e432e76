"""Random access to the images in webdataset tars, by a table of offsets for each tar.

The tables are cached in the index folder, if it is writable.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from laion.provenance import require_tars

#: A row of a table: the hash of an image's key or URL, and where its bytes are.
_ENTRY = np.dtype([("name", "<u8"), ("offset", "<u8"), ("size", "<u4")])

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif")

#: The largest member that is read: no image of a dataset is larger.
_MAX_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class _Shard:
    path: str
    stem: str
    entries: npt.NDArray[Any]


class ShardImages:
    """The images in a folder of tars, by key, or by URL where rows have no key.

    Args:
        cache: folder for the tables.
        by_url: find images by the URLs in the `NNNNN.parquet` that img2ds writes next to each tar.
        report: called with the number of tars that are done, and of all.

    Attributes:
        columns: those of a row that `name` looks at.

    Raises:
        UsageError: there are no tars, or one is damaged.
    """

    columns = ("key", "url", "image_path")

    def __init__(
        self, folder: str, cache: str, by_url: bool, report: Callable[[int, int], None]
    ) -> None:
        if not os.path.isdir(folder):
            raise UsageError(f"--shards: no such folder '{folder}'")
        self._by_url = by_url
        tars = sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".tar"))
        if not tars:
            require_tars(folder)
            raise UsageError(f"--shards: the folder '{folder}' has no .tar files")
        self._shards: list[_Shard] = []
        for number, path in enumerate(tars, 1):
            stem = os.path.basename(path).removesuffix(".tar")
            self._shards.append(_Shard(path, stem, _table(path, cache, by_url)))
            report(number, len(tars))
        self._by_stem = {shard.stem: shard for shard in self._shards}
        self._stem_lengths = sorted({len(stem) for stem in self._by_stem})

    def name(self, row: dict[str, Any]) -> str | None:
        """Return the name of the image of a row; None where it has none.

        clip-retrieval calls the key of a tar `image_path`.
        """
        name: str | None = row["url"] if self._by_url else row["key"] or row["image_path"]
        return name

    def read(self, name: str) -> bytes | None:
        """Read the image with a key (or URL); None when no tar has it. Raises OSError."""
        wanted = _hashed(name)
        for shard in self._by_likelihood(name):
            place = int(np.searchsorted(shard.entries["name"], wanted))
            if place < len(shard.entries) and shard.entries["name"][place] == wanted:
                entry = shard.entries[place]
                with open(shard.path, "rb", buffering=0) as file:
                    data = os.pread(file.fileno(), int(entry["size"]), int(entry["offset"]))
                return data if len(data) == entry["size"] else None
        return None

    def _by_likelihood(self, key: str) -> Iterator[_Shard]:
        """All shards; first those whose number the key begins with, as img2ds's keys do."""
        stems = {key[:length] for length in self._stem_lengths}
        first = [self._by_stem[stem] for stem in stems if stem in self._by_stem]
        yield from first
        yield from (shard for shard in self._shards if shard.stem not in stems)


def _hashed(name: str) -> np.uint64:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    hashed: np.uint64 = np.uint64(int.from_bytes(digest, "little"))
    return hashed


def _table(path: str, cache: str, by_url: bool) -> npt.NDArray[Any]:
    """The entries of a tar, sorted by name; from the cache if the tar has not changed."""
    state = os.stat(path)
    identity = f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns} {by_url}"
    name = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
    cached = os.path.join(cache, f"{name}.npy")
    with contextlib.suppress(OSError, ValueError):
        entries: npt.NDArray[Any] = np.load(cached, mmap_mode="r")
        if entries.dtype == _ENTRY:
            return entries
    entries = _scan(path, by_url)
    with contextlib.suppress(OSError):  # the index folder may be read-only
        os.makedirs(cache, exist_ok=True)
        staging_path = f"{cached}.{os.getpid()}.tmp.npy"
        np.save(staging_path, entries)
        os.replace(staging_path, cached)
    return entries


def _scan(path: str, by_url: bool) -> npt.NDArray[Any]:
    urls = _urls(path) if by_url else {}
    found = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
                base, extension = os.path.splitext(member.name)
                if not member.isreg() or extension.lower() not in _EXTENSIONS:
                    continue
                if member.size > _MAX_BYTES:
                    continue
                key = base.rpartition("/")[2]
                name = urls.get(key) if by_url else key
                if name is not None:
                    found.append((_hashed(name), member.offset_data, member.size))
    except (tarfile.TarError, OSError) as error:
        raise UsageError(f"--shards: '{path}' cannot be read as a tar: {error}") from None
    entries = np.array(found, _ENTRY)
    return entries[np.argsort(entries["name"], kind="stable")]


def _urls(path: str) -> dict[str, str]:
    """URLs by key, from the table next to a tar."""
    table = path.removesuffix(".tar") + ".parquet"
    try:
        columns = pq.read_table(table, columns=["key", "url"])
    except (OSError, pa.ArrowException, KeyError):
        raise UsageError(
            f"--shards: the rows of the index have no keys, and '{table}' has no columns key and "
            "url to find images by URL"
        ) from None
    return dict(zip(columns["key"].to_pylist(), columns["url"].to_pylist(), strict=True))
