"""webdataset tars: per sample KEY.jpg, KEY.txt when there are captions, KEY.json.

Headers are cut by hand from a template: the members differ in name and size alone, and
`tarfile` spends four times as long on them. Same input, same bytes: times and owners are fixed.
"""

from __future__ import annotations

import hashlib
import tarfile

import orjson
import pyarrow as pa

from img2ds.sample import Body, FileRecord, Sample
from img2ds.writers.aside import Aside

_BLOCK = 512
#: tarfile and GNU tar fill archives up to a multiple of this.
_RECORD = 10_240
_PADDING = bytes(_BLOCK)
#: Bytes gathered before the file is written to; every open shard holds that many.
_BUFFER = 1 << 18
#: ustar has eleven octal digits for a size.
_MAX_SIZE = 8**11 - 1


class _Header:
    """A ustar header (POSIX.1-1988) of a plain file, mode 0444, time 0, no owner."""

    def __init__(self) -> None:
        info = tarfile.TarInfo("")
        info.mode = 0o444
        block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        block[124:136] = bytes(12)
        block[148:156] = b" " * 8  # the checksum counts itself as blanks
        self._after_name = bytes(block[100:124])
        self._after_size = bytes(block[136:148])
        self._after_checksum = bytes(block[156:])
        self._sum = sum(block)

    def make(self, name: bytes, size: int) -> bytes:
        """The header of member `name`, at most 100 bytes, of `size` bytes."""
        if len(name) > 100 or size > _MAX_SIZE:
            raise ValueError("does not fit a ustar header")
        digits = b"%011o\0" % size
        total = self._sum + sum(name) + sum(digits)
        return b"".join(
            (
                name.ljust(100, b"\0"),
                self._after_name,
                digits,
                self._after_size,
                b"%06o\0 " % total,
                self._after_checksum,
            )
        )


_HEADER = _Header()


def _plain(value: object) -> str:
    """What JSON has no form for, as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class TarWriter:
    """One `NNNNN.tar`. Samples stand in the order they were added."""

    has_metadata_file = True

    def __init__(self, name: str, extension: str, aside: Aside) -> None:
        self._name = name
        self._extension = b"." + extension.encode("ascii")
        self._hash = hashlib.sha256()
        self._file = open(aside(name), "wb", buffering=0)  # noqa: SIM115 - closed by finish or abort
        self._gathered: list[Body] = []
        self._waiting = 0
        self._size = 0

    def add(self, sample: Sample) -> None:
        key = sample.key.encode("ascii")
        # All of a sample or nothing of it: what can fail comes before its first member.
        metadata = orjson.dumps(sample.metadata, default=_plain)
        caption = None if sample.caption is None else sample.caption.encode("utf-8")
        self._member(key + self._extension, sample.image)
        if caption is not None:
            self._member(key + b".txt", caption)
        self._member(key + b".json", metadata)
        if self._waiting >= _BUFFER:
            self._write()

    def _member(self, name: bytes, data: Body) -> None:
        size = len(data)
        tail = -size % _BLOCK
        self._gathered += (_HEADER.make(name, size), data, _PADDING[:tail])
        self._waiting += _BLOCK + size + tail

    def _write(self) -> None:
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._waiting = 0
        self._hash.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        end = 2 * _BLOCK
        end += -(self._size + self._waiting + end) % _RECORD
        self._gathered.append(bytes(end))
        self._write()
        self._file.close()
        return [FileRecord(self._name, self._size, self._hash.hexdigest())]

    def abort(self) -> None:
        self._gathered.clear()
        self._file.close()
