"""Reads a webdataset tar from beginning to end: samples, one after the other, wherever it lies.

Headers are cut by hand (POSIX.1-1988 ustar, and GNU's and pax's long names): the tar module takes
longer for a sample's three headers than its picture takes to be decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

import orjson

from img2ds.storage import open_stream

_BLOCK = 512
#: Of a header: name, size, its own sum, kind, magic, prefix of the name (POSIX.1-1988 ustar).
_HEADER = struct.Struct("100s24x12s12x8sc100x6s82x155s12x")
#: Bytes that are asked for at once.
_BUFFER = 1 << 18
#: Bytes of a member above which it is passed over: no picture, caption or metadata is that large.
MAX_MEMBER = 256 << 20

#: Endings of pictures, the first that a sample has counts.
PICTURES = ("jpg", "jpeg", "png", "webp")
#: Fields of the metadata that hold a caption, where there is no .txt.
CAPTIONS = ("caption", "TEXT", "text")


@dataclass(slots=True)
class Sample:
    """One sample: members that follow each other and share a key.

    `body` is the encoded picture and `caption` the text, None where there is none; `fields` is
    the JSON's. `flaw` says what is wrong with it besides, as a reason.
    """

    key: str
    body: bytes | None = None
    caption: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    flaw: str | None = None

    @property
    def lack(self) -> str | None:
        """The reason that it is no pair of picture and caption; None where it is one."""
        if self.flaw or self.body is None:
            return self.flaw or "no_image"
        return None if self.caption and self.caption.strip() else "no_caption"


def read_samples(path: str) -> Iterator[Sample]:
    """The samples of a tar, in its order.

    Raises:
        UsageError: it is not there, or cannot be read.
        OSError: it is no tar file, or ends too early.
    """
    with open_stream(path) as raw, io.BufferedReader(cast(Any, raw), _BUFFER) as file:
        sample: Sample | None = None
        for name, data in _members(cast(IO[bytes], file), path):
            folder, slash, leaf = name.rpartition("/")
            stem, dot, ending = leaf.partition(".")
            if not dot or not stem:
                continue
            key = folder + slash + stem
            if sample is None or sample.key != key:
                if sample is not None:
                    yield _whole(sample)
                sample = Sample(key)
            _add(sample, ending.lower(), data)
        if sample is not None:
            yield _whole(sample)


def _add(sample: Sample, ending: str, data: bytes | None) -> None:
    if ending in PICTURES:
        if data is None:
            sample.flaw = "too_large"
        elif sample.body is None:
            sample.body = data
    elif data is None:
        return
    elif ending == "txt":
        sample.caption = data.decode("utf-8", "replace")
    elif ending == "json":
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError:
            fields = None
        if isinstance(fields, dict):
            sample.fields = fields
        else:
            sample.flaw = "bad_metadata"


def _whole(sample: Sample) -> Sample:
    if sample.caption is None:
        for name in CAPTIONS:
            if isinstance(value := sample.fields.get(name), str):
                sample.caption = value
                break
    return sample


def _members(file: IO[bytes], path: str) -> Iterator[tuple[str, bytes | None]]:
    """Names and contents of the regular files; no content when it is above `MAX_MEMBER`."""
    long_name: str | None = None
    header = file.read(_BLOCK)
    while True:
        if header[:1] in (b"", b"\0") and not header.strip(b"\0"):
            if not header:
                raise OSError(f"{path} ends without the mark of a tar's end: it is cut short")
            return
        if len(header) < _BLOCK:
            raise OSError(f"{path} ends too early")
        name, length, told, kind, magic, prefix = _HEADER.unpack(header)
        size = _number(length, path)
        if not _sums_up(header, _number(told, path)):
            raise OSError(f"{path} is no tar file, or a damaged one")
        known = kind in (b"0", b"\0")
        named = kind in (b"L", b"x")
        if (named or known) and size <= MAX_MEMBER:
            content = file.read(size)
            if len(content) < size:
                raise OSError(f"{path} ends too early")
        else:
            content = None
            _skip(file, size, path)
        # The next header comes with what fills this content's last block up.
        padding = -size % _BLOCK
        header = file.read(padding + _BLOCK)[padding:]
        if named and content is not None:
            long_name = content.rstrip(b"\0").decode() if kind == b"L" else _pax_name(content)
            continue
        if known:
            yield long_name or _name(name, magic, prefix), content
        long_name = None


def _name(name: bytes, magic: bytes, prefix: bytes) -> str:
    name = name.partition(b"\0")[0]
    if magic == b"ustar\0" and (prefix := prefix.partition(b"\0")[0]):
        name = prefix + b"/" + name
    return name.decode("utf-8", "replace")


def _number(text: bytes, path: str) -> int:
    if text[0] & 0x80:  # GNU's binary form
        return int.from_bytes(text, "big") & ((1 << (8 * len(text) - 1)) - 1)
    try:
        return int(text.strip(b" \0") or b"0", 8)
    except ValueError:
        raise OSError(f"{path} is no tar file, or a damaged one") from None


def _sums_up(header: bytes, told: int) -> bool:
    """Whether the bytes of a header, its sum taken for blanks, come to what it tells.

    The low half of Adler-32 is one more than the sum of the bytes, modulo 65521 (RFC 1950 9).
    """
    found = zlib.adler32(header[156:], zlib.adler32(header[:148])) & 0xFFFF
    return (told - 8 * 32 + 1 - found) % 65521 == 0


def _pax_name(data: bytes) -> str | None:
    """The path of a pax header: records of `LENGTH KEY=VALUE` and a line's end."""
    at = 0
    while at < len(data):
        length = int(data[at : data.index(b" ", at)])
        key, _, value = data[at : at + length - 1].partition(b" ")[2].partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "replace")
        at += length
    return None


def _skip(file: IO[bytes], size: int, path: str) -> None:
    left = size
    while left:
        data = file.read(min(left, _BUFFER))
        if not data:
            raise OSError(f"{path} ends too early")
        left -= len(data)
