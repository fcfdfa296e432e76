"""TFRecord: `NNNNN.tfrecord` has a `tf.train.Example` a sample, with img2dataset's features.

`key`, the bytes under the name of the encode format, `txt` when there are captions, and each field
of the metadata: whole numbers are int64, others float, text and null bytes.

The two formats are a page long and have not changed since 2015, so they are written here, and
TensorFlow, which is 1.6 GB with what it needs, is not asked for. The checksum alone has to be
compiled code, and comes with `crc32c`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.core.sample import Body, FileRecord, Sample
from img2ds.formats.hashed_file import HashedFile
from img2ds.formats.members import plain
from img2ds.formats.staging import StagingPath

#: Added to a checksum that is turned by 15 bits: tensorflow/core/lib/hash/crc32c.h, kMaskDelta.
_MASK_DELTA = 0xA282EAD8
#: What int64 holds.
_MIN, _MAX = -(1 << 63), (1 << 63) - 1
#: Fields 1, 2 and 3 of a message, each with a length before what it holds:
#: protobuf.dev/programming-guides/encoding.
_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"
#: Varints of one byte.
_SMALL = [bytes((value,)) for value in range(0x80)]
#: Of a Feature, by its kind: tensorflow/core/example/feature.proto.
_BYTES, _FLOATS, _INTS = _FIRST, _SECOND, _THIRD


def checksum() -> Callable[[Body], int]:
    """CRC-32C. Raises UsageError when the package for it is not installed."""
    try:
        import crc32c
    except ImportError:
        raise UsageError(
            "--output_format tfrecord needs the package crc32c: pip install 'img2ds[tfrecord]'"
        ) from None
    function: Callable[[Body], int] = crc32c.crc32c
    return function


class TFRecordWriter:
    """One `NNNNN.tfrecord`. Samples stand in the order they were added.

    Args:
        feature: the name of the feature that holds the image.

    Raises:
        UsageError: the package for its checksums is not installed.
    """

    has_metadata_file = True

    def __init__(self, name: str, feature: str, staging_path: StagingPath) -> None:
        self._feature = feature
        self._crc32c = checksum()
        self._file = HashedFile(name, staging_path)

    def add(self, sample: Sample) -> None:
        features: dict[str, bytes] = {self._feature: _bytes([bytes(sample.image)])}
        if sample.caption is not None:
            features["txt"] = _bytes([sample.caption.encode("utf-8")])
        for name, value in sample.metadata.items():
            if value != []:  # of no kind: to readers it is as good as missing
                features[name] = _feature(value)
        example = _field(_FIRST, b"".join(map(_entry, features.items())))
        length = struct.pack("<Q", len(example))
        self._file.put(length, self._mask(length), example, self._mask(example))

    def _mask(self, data: bytes) -> bytes:
        crc = self._crc32c(data)
        turned = crc >> 15 | crc << 17
        return struct.pack("<I", (turned + _MASK_DELTA) & 0xFFFFFFFF)

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        return [self._file.finish()]

    def abort(self) -> None:
        self._file.close()


def _entry(item: tuple[str, bytes]) -> bytes:
    """An entry of the map from names to features."""
    name, feature = item
    return _field(_FIRST, _field(_FIRST, name.encode("utf-8")) + _field(_SECOND, feature))


def _feature(value: Any) -> bytes:
    """A value as img2dataset has it; what it cannot write, and loses the row for, is text."""
    if value is None or isinstance(value, str):
        return _bytes([(value or "").encode("utf-8")])
    values = value if isinstance(value, list) else [value]
    if all(isinstance(v, int) and _MIN <= v <= _MAX for v in values):
        return _field(_INTS, _field(_FIRST, b"".join(map(_varint, values))))
    if any(isinstance(v, float) for v in values) and all(
        v is None or isinstance(v, (int, float)) for v in values
    ):
        return _field(_FLOATS, _field(_FIRST, b"".join(map(_float, values))))
    return _bytes([_text(v) for v in values])


def _bytes(values: list[bytes]) -> bytes:
    return _field(_BYTES, b"".join([_field(_FIRST, value) for value in values]))


def _text(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return b"%d" % value  # beyond 64 bits
    written = orjson.dumps(value, default=plain)
    # A date is text in JSON, and needs no quotes here.
    return str(orjson.loads(written)).encode("utf-8") if written[:1] == b'"' else written


def _float(value: float | None) -> bytes:
    if value is None:
        return struct.pack("<f", math.nan)
    try:
        return struct.pack("<f", value)
    except OverflowError:  # beyond 32 bits: what a cast makes of it
        return struct.pack("<f", math.copysign(math.inf, value))


def _field(tag: bytes, data: bytes) -> bytes:
    size = len(data)
    return tag + (_SMALL[size] if size < 0x80 else _varint(size)) + data


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers as their 64-bit complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
