"""List a folder of S3 by the thousand objects: pages parsed in one pass, several ranges at once.

botocore takes 60 µs for an object, most of them for its date, which nobody asks for; this takes 5.
A list comes in pages of a thousand, each after the other; names of shards are numbers, so that
ranges of them can be listed side by side.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

#: Called with the name of an entry, its size in bytes (None for a folder) and its ETag.
Add = Callable[[str, "int | None", str], None]

#: Requests in flight: parsing a page takes a fifth of the 20 ms that a service takes to answer.
_AT_ONCE = 8
#: Ranges that the rest of a long range is cut into, and how often.
_PARTS, _DEPTH = 8, 3
#: Numbers of a range that is not worth cutting: half a page is wasted at the end of each.
_FEW = 16_000
#: botocore calls this one before its own `before-parse.s3.*`, which parses the page as well.
_EVENT = "before-parse.*.ListObjectsV2"


@dataclass(slots=True)
class _Page:
    """What was taken from a page before botocore parses the rest."""

    objects: list[tuple[str, int, str]] = field(default_factory=list)


#: The page that this task waits for: pages that others list with the same client are left alone.
_waiting: ContextVar[_Page | None] = ContextVar("_waiting", default=None)


async def list_s3(fs: Any, bucket: str, prefix: str, add: Add) -> None:
    """Call `add` for each entry of a folder, in any order; for some of them twice.

    Args:
        fs: s3fs's filesystem.
        prefix: the key of the folder, with a slash at its end.

    Raises the errors of s3fs.
    """
    await fs.set_session()
    client = await fs.get_s3(bucket)
    # A client of an old version has no such event: its pages are then as botocore parses them.
    client.meta.events.register(_EVENT, _take_objects, unique_id=_EVENT)
    await _Folder(fs, bucket, prefix, add).run()


class _Folder:
    """The listing of one folder."""

    def __init__(self, fs: Any, bucket: str, prefix: str, add: Add) -> None:
        self._fs, self._add, self._prefix = fs, add, prefix
        self._request = {**fs.req_kw, "Bucket": bucket, "Prefix": prefix, "Delimiter": "/"}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """List all of it."""
        await self._range("", None, 0)

    async def _range(self, after: str, end: str | None, depth: int) -> None:
        """List the names after one up to another, `end`; None for all that follow."""
        async for last, is_sorted in self._pages(after):
            if end is not None and last >= end:
                return
            if not is_sorted or last <= after:  # a service that does not know `StartAfter`
                depth = _DEPTH
            if depth < _DEPTH and (bounds := _cut(last, end)):
                ranges = zip([last, *bounds], [*bounds, end], strict=True)
                await asyncio.gather(*(self._range(*part, depth + 1) for part in ranges))
                return

    async def _pages(self, after: str) -> AsyncIterator[tuple[str, bool]]:
        """Add the entries of pages; yields the last name of each, and whether names are in order.

        Nothing is yielded for the last page.
        """
        request = dict(self._request)
        if after:
            request["StartAfter"] = self._prefix + after
        while True:
            page = _Page()
            async with self._slots:
                _waiting.set(page)
                answer = await self._fs._call_s3("list_objects_v2", **request)
                _waiting.set(None)
            names = self._add_page(page, answer)
            if not answer.get("IsTruncated"):
                return
            yield max(map(max, filter(None, names)), default=""), all(map(_is_sorted, names))
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def _add_page(self, page: _Page, answer: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Add what is on a page. Returns the names of its objects and of its folders."""
        start, add = len(self._prefix), self._add
        objects = [(key[start:], size, tag) for key, size, tag in page.objects]
        objects += [  # what botocore has parsed
            (entry["Key"][start:], entry["Size"], entry.get("ETag", ""))
            for entry in answer.get("Contents", ())
        ]
        for name, size, tag in objects:
            if name:
                add(name, size, tag)
        folders = [each["Prefix"][start:] for each in answer.get("CommonPrefixes", ())]
        for folder in folders:
            if name := folder.rstrip("/"):
                add(name, None, "")
        return [name for name, _, _ in objects], folders


def _is_sorted(names: list[str]) -> bool:
    """Return whether a service lists in order; it does not for S3's directory buckets."""
    return names == sorted(names)


def _cut(last: str, end: str | None) -> list[str]:
    """Return names that cut what follows `last` into ranges of as many numbers.

    There are none where little follows, or where `last` is no number: such names are few.
    """
    digits = re.match("[0-9]{1,18}", last)
    if digits is None:
        return []
    width, first = len(digits[0]), int(digits[0])
    stop = 10**width if end is None else int(end.ljust(width, "0")[:width])
    if stop - first < _FEW:
        return []
    return [f"{first + (stop - first) * part // _PARTS:0{width}d}" for part in range(1, _PARTS)]


def _take_objects(response_dict: dict[str, Any], **other: object) -> None:
    """Take the objects out of a page before botocore parses it, at its event `before-parse`."""
    page = _waiting.get()
    if page is None or response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])
    except ElementTree.ParseError:
        return  # botocore raises its own error, after which s3fs asks again
    space = root.tag.removesuffix("ListBucketResult")
    is_quoted = root.findtext(f"{space}EncodingType") == "url"
    key_of, size_of, tag_of = (f"{space}{name}" for name in ("Key", "Size", "ETag"))
    objects = []
    for entry in root.findall(f"{space}Contents"):
        key, size, tag = entry.findtext(key_of), entry.findtext(size_of), entry.findtext(tag_of)
        if key is None or size is None or tag is None:
            return  # of a service that tells less: botocore parses all of it
        objects.append((unquote(key) if is_quoted and "%" in key else key, int(size), tag))
    page.objects = objects
    root[:] = [part for part in root if part.tag != f"{space}Contents"]
    response_dict["body"] = ElementTree.tostring(root)
