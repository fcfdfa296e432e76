"""TFRecord files of `tf.train.Example`s, read back: key, picture and caption of each.

A record is its length (8 bytes), a checksum (4), the example, a checksum (4), little-endian. The
checksums are left alone: what a marker vouches for has a sha256, and lengths that do not lead from
one record to the next show the rest. An example is protobuf: features.feature, a map from names
to lists of bytes, floats or whole numbers (tensorflow/core/example/{example,feature}.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from img2ds.config.options import ENCODE_FORMATS
from img2ds.formats.hashed_stream import HashedStream
from img2ds.formats.stored import DamagedShardError, Digest, StoredSample
from img2ds.storage import PatientFile

#: Bytes of the longest record that is taken for one.
_LONGEST = 1 << 31
#: Features that become parts, the key apart.
_PARTS = (*ENCODE_FORMATS, "txt")


class TFRecordSamples:
    """See `stored.StoredShard`."""

    has_json, has_captions = False, True

    def __init__(self, folder: str, name: str) -> None:
        self.names = [name]
        self._path = f"{folder}/{name}"
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        last = "its beginning"
        with PatientFile(self._path) as file:
            stream = HashedStream(file)
            while head := stream.take(12):
                size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
                if size > _LONGEST:
                    raise DamagedShardError(f"no record begins behind {last}, where one has to")
                data = stream.take(size + 4)
                if len(head) < 12 or len(data) < size + 4:
                    raise DamagedShardError(f"it is cut off behind {last}, {stream.size} bytes in")
                sample = _sample(memoryview(data)[:size], last)
                last = sample.key
                yield sample
            self._digests[self.names[0]] = stream.size, stream.sha256()


def _sample(example: memoryview, last: str) -> StoredSample:
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
        raise DamagedShardError(f"the record behind {last} is no example with a key") from None


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of one field of a protobuf message, of those that have a length.

    Raises:
        ValueError, IndexError: it is no message.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field that is longer than its message")
            if tag >> 3 == wanted:
                yield message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("a field of no kind")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number that does not end")
