"""Lists of pairs in DataComp's format: sorted 128-bit numbers, as numpy's "u8,u8".

`img2ds reshard --uids`, and DataComp's own resharder, make the shards of the pairs in such a file.
A pair's number is its `uid`, 32 hex digits, where it has one; else the digest of its URL and
caption.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.naming import committed_shards
from img2ds.core.pair_digest import pair_digests
from img2ds.core.uid import RECORD, UID, is_uid, uid_words
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder, open_seekable

#: The file with the numbers of all kept pairs.
UIDS = "uids.npy"
#: Ranges of numbers that are merged one after the other: 1/256 of all are in memory.
_RANGES = 256

Uids = npt.NDArray[Any]


def uids_name(shard: str) -> str:
    """Return the name of a shard's file."""
    return f"uids/uids_{shard}.npy"


def uids_of(table: pa.Table) -> Uids:
    """Return the numbers of pairs, sorted.

    Raises:
        OSError: a `uid` is no 128-bit number in hex.
    """
    found = np.empty(table.num_rows, RECORD)
    if UID in table.column_names:
        texts = table[UID].to_pylist()
        for text in texts:
            if not is_uid(text):
                raise OSError(f"the uid {text!r} is not 32 hex digits")
        words = uid_words(texts)
    else:
        urls, texts = (table[name].to_pylist() for name in ("url", "caption"))
        words = pair_digests(urls, texts)
    found["f0"], found["f1"] = words[:, 0], words[:, 1]
    found.sort()
    return found


def merge_uids(folder: OutputFolder) -> None:
    """Write the numbers of all committed shards to one file, sorted. Raises OSError."""
    names = [uids_name(f"{n:0{DIGITS}d}") for n in sorted(committed_shards(folder.names()))]
    shards = [_open(f"{folder.path}/{name}") for name in names]
    edges = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(56)
    cuts = [np.searchsorted(shard["f0"], edges) for shard in shards]
    with open(folder.staging_path(UIDS), "wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(RECORD),
            "fortran_order": False,
            "shape": (sum(map(len, shards)),),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for number in range(_RANGES):
            parts = [
                shard[cut[number - 1] if number else 0 : cut[number] if number < 255 else None]
                for shard, cut in zip(shards, cuts, strict=True)
            ]
            merged = np.concatenate(parts) if parts else np.empty(0, RECORD)
            merged.sort()
            file.write(merged.tobytes())
    folder.publish(UIDS)


def _open(path: str) -> Uids:
    if "://" in path:
        found: Uids = np.load(open_seekable(path), allow_pickle=False)
        return found
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    return found
