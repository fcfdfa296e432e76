"""The entries of a remote folder, one after the other: a million must not be in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fsspec.asyn import sync

from img2ds.storage.listed import version_number

#: Fields that change with a file's content, the best first. Services have different ones.
_VERSIONS = (
    "ETag", "etag", "e_tag", "md5Hash", "LastModified", "last_modified", "updated", "mtime",
)  # fmt: skip

Entry = Mapping[str, Any]


def list_remote(fs: Any, path: str, add: Callable[[str, Entry], None]) -> None:
    """Call `add` with the name and the information of each entry of a folder, in any order.

    Raises the service's errors, also FileNotFoundError.
    """
    fs.invalidate_cache(path)
    if "s3" in fs.protocol and hasattr(fs, "_iterdir"):
        sync(fs.loop, _stream_s3, fs, path, add)
        return
    for entry in fs.ls(path, detail=True):
        add(_leaf(entry["name"]), entry)


def entry_version(entry: Entry) -> int:
    """Return the version of a file that its information tells; 0 if it tells none."""
    for field in _VERSIONS:
        if entry.get(field) is not None:
            return version_number(f"{field} {entry[field]}")
    return 0


def is_folder(entry: Entry) -> bool:
    return bool(entry["type"] == "directory")


async def _stream_s3(fs: Any, path: str, add: Callable[[str, Entry], None]) -> None:
    """List page by page. `ls` keeps 1.2 kB for each object, and copies all of them twice."""
    bucket, key, _ = fs.split_path(path)
    prefix = f"{key.strip('/')}/" if key else ""
    async for entry in fs._iterdir(bucket, delimiter="/", prefix=prefix):
        if entry["name"].rstrip("/") != f"{bucket}/{prefix}".rstrip("/"):
            add(_leaf(entry["name"]), entry)


def _leaf(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
