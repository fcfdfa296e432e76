"""The entries of a remote folder, one after the other: a million must not be in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from img2ds.storage.listed import text_version, version_number

#: Fields that change with a file's content, the best first. Services have different ones.
_VERSIONS = (
    "ETag", "etag", "e_tag", "md5Hash", "LastModified", "last_modified", "updated", "mtime",
)  # fmt: skip

Entry = Mapping[str, Any]
#: Called with the name of an entry, its size in bytes (None for a folder) and its version.
Add = Callable[[str, "int | None", int], None]


def has_pages(fs: Any) -> bool:
    """Return whether folders of a filesystem are listed page by page, in little memory."""
    return "s3" in fs.protocol and not getattr(fs, "version_aware", True)


def list_remote(fs: Any, path: str, add: Add) -> None:
    """Call `add` for each entry of a folder, in any order; for some of them twice.

    Raises the service's errors, also FileNotFoundError.
    """
    fs.invalidate_cache(path)
    if has_pages(fs):
        from fsspec.asyn import sync

        from img2ds.storage.s3_listing import list_s3  # local runs need no asyncio and no XML

        # `ls` keeps 1.2 kB for each object, and copies all of them twice.
        bucket, key, _ = fs.split_path(path)
        prefix = f"{key.strip('/')}/" if key else ""
        sync(fs.loop, list_s3, fs, bucket, prefix, _with_version(add))
        return
    for entry in fs.ls(path, detail=True):
        size = None if is_folder(entry) else int(entry.get("size") or 0)
        add(entry["name"].rstrip("/").rpartition("/")[2], size, entry_version(entry))


def entry_version(entry: Entry) -> int:
    """Return the version of a file that its information tells; 0 if it tells none."""
    for field in _VERSIONS:
        if entry.get(field) is not None:
            return version_number(f"{field} {entry[field]}")
    return 0


def is_folder(entry: Entry) -> bool:
    return bool(entry["type"] == "directory")


def _with_version(add: Add) -> Callable[[str, int | None, str], None]:
    """Return what adds an object of S3 with its ETag."""

    def add_object(name: str, size: int | None, tag: str) -> None:
        add(name, size, text_version("ETag " + tag) if tag else 0)

    return add_object
