"""tfrecord: `NNNNN.tfrecord` has a `tf.train.Example` a sample, with img2dataset's features.

Features are `key`, the image under the name of the encode format, `txt` when there are captions,
and each field of the metadata: whole numbers are int64, others float, text and null bytes.

A record is its length (8 bytes), a checksum (4), the example, a checksum (4), little-endian. An
example is protobuf: features.feature, a map from names to lists of bytes, floats or whole numbers
(tensorflow/core/example/{example,feature}.proto). Both formats are a page long and have not
changed since 2015, so they are implemented here: TensorFlow is 1.6 GB with its dependencies. The
checksum alone has to be compiled code, and comes with `crc32c`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa

from img2ds.core.failure import UsageError
from img2ds.core.naming import ENCODE_FORMATS
from img2ds.core.sample import Body, FileRecord, Sample
from img2ds.formats.contract import DamagedShardError, Digest, StagingPath, StoredSample
from img2ds.formats.data_file import HashedFile
from img2ds.formats.hashed_stream import HashedStream
from img2ds.formats.members import plain
from img2ds.storage import OutputFolder, RetryingFile

#: Added to a checksum that is rotated by 15 bits: tensorflow/core/lib/hash/crc32c.h, kMaskDelta.
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
#: Bytes of the longest record that is believed.
_LONGEST = 1 << 31
#: Features that become parts of a sample.
_PARTS = (*ENCODE_FORMATS, "txt")


def checksum() -> Callable[[Body], int]:
    """Return the function for CRC-32C. Raises UsageError when its package is not installed."""
    try:
        import crc32c
    except ImportError:
        raise UsageError(
            "--output_format tfrecord needs the package crc32c: pip install 'img2ds[tfrecord]'"
        ) from None
    function: Callable[[Body], int] = crc32c.crc32c
    return function


class TFRecordWriter:
    """One `NNNNN.tfrecord`, with its samples in the order they were added.

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
            if value != []:  # has no type: to readers it is the same as missing
                features[name] = _feature(value)
        example = _field(_FIRST, b"".join(map(_entry, features.items())))
        length = struct.pack("<Q", len(example))
        self._file.put(length, self._mask(length), example, self._mask(example))

    def _mask(self, data: bytes) -> bytes:
        crc = self._crc32c(data)
        rotated = crc >> 15 | crc << 17
        return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        return [self._file.finish()]

    def abort(self) -> None:
        self._file.close()


def _entry(item: tuple[str, bytes]) -> bytes:
    """Encode an entry of the map from names to features."""
    name, feature = item
    return _field(_FIRST, _field(_FIRST, name.encode("utf-8")) + _field(_SECOND, feature))


def _feature(value: Any) -> bytes:
    """Encode a value as img2dataset does; values that it loses the row for become text."""
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
    """Encode a number, seven bits a byte, the lowest first; negative ones as 64-bit complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class TFRecordReader:
    """The file `name`: key, image and caption of each example.

    Checksums are not verified: img2ds's files have a sha256 in their commit marker, and in others
    damage shows in lengths that do not lead from one record to the next.
    """

    has_json, has_captions = False, True

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names = [name]
        self._path = f"{folder.path}/{name}"
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        last = "the start"
        with RetryingFile(self._path) as file, HashedStream(file) as stream:
            while head := stream.read(12):
                size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
                if size > _LONGEST:
                    raise DamagedShardError(f"damaged: no record begins after {last}")
                data = stream.read(size + 4)
                if len(head) < 12 or len(data) < size + 4:
                    raise DamagedShardError(f"truncated after {last}")
                sample = _decode(memoryview(data)[:size], last)
                last = sample.key
                yield sample
            self._digests[self.names[0]] = stream.digest()


def _decode(example: memoryview, last: str) -> StoredSample:
    parts: dict[str, bytes] = {}
    try:
        for features in _fields(example, 1):
            for entry in _fields(features, 1):
                name = bytes(next(_fields(entry, 1))).decode("utf-8", "replace")
                if name == "key" or name in _PARTS:
                    feature = next(_fields(entry, 2))
                    parts[name] = bytes(next(_fields(next(_fields(feature, 1)), 1)))
        return StoredSample(parts.pop("key").decode("utf-8", "replace"), parts)
    except (StopIteration, KeyError, IndexError, ValueError):
        raise DamagedShardError(f"damaged: no example with a key after {last}") from None


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the values of one field of a protobuf message; it has a type with a length.

    Raises:
        ValueError, IndexError: it is not a message.
    """
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = _read_varint(message, at)
            if at + size > len(message):
                raise ValueError("a field is longer than its message")
            if tag >> 3 == wanted:
                yield message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _read_varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("a field has an unknown type")


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Decode a number; return it and where the next field begins."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number does not end")
