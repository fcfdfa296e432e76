"""Pictures out of webdataset tars, at random: a table of offsets for each tar.

The tables are made once and kept in the index folder, where it can be written to.
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

#: A row of a table: what the picture is known by, hashed, and where its bytes are.
_ENTRY = np.dtype([("name", "<u8"), ("offset", "<u8"), ("size", "<u4")])

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif")

#: The largest member that is read: no picture of a data set is larger.
_MOST_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class _Shard:
    path: str
    stem: str
    entries: npt.NDArray[Any]


class ShardImages:
    """The pictures of a folder of tars, by key, or by URL where rows have no key.

    Args:
        kept: folder for the tables.
        by_url: URLs are looked up in the `NNNNN.parquet` that img2ds writes beside each tar.
        tell: told how many tars are done, of how many.

    Raises:
        UsageError: there are no tars, or one is damaged.
    """

    def __init__(
        self, folder: str, kept: str, by_url: bool, tell: Callable[[int, int], None]
    ) -> None:
        if not os.path.isdir(folder):
            raise UsageError(f"--shards: there is no folder {folder}")
        tars = sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".tar"))
        if not tars:
            require_tars(folder)
            raise UsageError(f"--shards: the folder {folder} has no .tar in it")
        self._shards = []
        for number, path in enumerate(tars, 1):
            stem = os.path.basename(path).removesuffix(".tar")
            self._shards.append(_Shard(path, stem, _table(path, kept, by_url)))
            tell(number, len(tars))

    def read(self, name: str) -> bytes | None:
        """The bytes of the picture of a key (or URL); None when no tar has it. Raises OSError."""
        wanted = _hashed(name)
        for shard in self._likely(name):
            place = int(np.searchsorted(shard.entries["name"], wanted))
            if place < len(shard.entries) and shard.entries["name"][place] == wanted:
                entry = shard.entries[place]
                with open(shard.path, "rb", buffering=0) as file:
                    data = os.pread(file.fileno(), int(entry["size"]), int(entry["offset"]))
                return data if len(data) == entry["size"] else None
        return None

    def _likely(self, key: str) -> Iterator[_Shard]:
        """All shards, first the one that a key of img2ds's begins with the number of."""
        first = [shard for shard in self._shards if key.startswith(shard.stem)]
        yield from first
        yield from (shard for shard in self._shards if shard not in first)


def _hashed(name: str) -> np.uint64:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    hashed: np.uint64 = np.uint64(int.from_bytes(digest, "little"))
    return hashed


def _table(path: str, kept: str, by_url: bool) -> npt.NDArray[Any]:
    """The entries of a tar, sorted by name; from the file kept when the tar is still the same."""
    state = os.stat(path)
    told = f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns} {by_url}"
    name = hashlib.blake2b(told.encode(), digest_size=12).hexdigest()
    place = os.path.join(kept, f"{name}.npy")
    with contextlib.suppress(OSError, ValueError):
        entries: npt.NDArray[Any] = np.load(place, mmap_mode="r")
        if entries.dtype == _ENTRY:
            return entries
    entries = _scan(path, by_url)
    with contextlib.suppress(OSError):  # an index folder that may only be read
        os.makedirs(kept, exist_ok=True)
        staging_path = f"{place}.{os.getpid()}.tmp.npy"
        np.save(staging_path, entries)
        os.replace(staging_path, place)
    return entries


def _scan(path: str, by_url: bool) -> npt.NDArray[Any]:
    urls = _urls(path) if by_url else {}
    found = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # else it remembers all of them
                base, ending = os.path.splitext(member.name)
                if not member.isreg() or ending.lower() not in _ENDINGS:
                    continue
                if member.size > _MOST_BYTES:
                    continue
                key = base.rpartition("/")[2]
                name = urls.get(key) if by_url else key
                if name is not None:
                    found.append((_hashed(name), member.offset_data, member.size))
    except (tarfile.TarError, OSError) as error:
        raise UsageError(f"--shards: {path} cannot be read as a tar: {error}") from None
    entries = np.array(found, _ENTRY)
    return entries[np.argsort(entries["name"], kind="stable")]


def _urls(path: str) -> dict[str, str]:
    """URLs by key, of the table beside a tar."""
    table = path.removesuffix(".tar") + ".parquet"
    try:
        columns = pq.read_table(table, columns=["key", "url"])
    except (OSError, pa.ArrowException, KeyError):
        raise UsageError(
            f"--shards: the index's rows have no keys, and {table} does not say which URL is which"
        ) from None
    return dict(zip(columns["key"].to_pylist(), columns["url"].to_pylist(), strict=True))
