"""webdataset tars: per sample KEY.jpg, KEY.txt when there are captions, KEY.json.

Headers are cut by hand from a template: the members differ in name and size alone, and
`tarfile` spends four times as long on them. Same input, same bytes: times and owners are fixed.
"""

from __future__ import annotations

import tarfile

import pyarrow as pa

from img2ds.core.sample import Body, FileRecord, Sample
from img2ds.formats.hashed_file import HashedFile
from img2ds.formats.members import members
from img2ds.formats.staging import StagingPath

_BLOCK = 512
#: tarfile and GNU tar fill archives up to a multiple of this.
_RECORD = 10_240
_PADDING = bytes(_BLOCK)
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


class TarWriter:
    """One `NNNNN.tar`. Samples stand in the order they were added."""

    has_metadata_file = True

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        self._extension = extension
        self._file = HashedFile(name, staging_path)

    def add(self, sample: Sample) -> None:
        pieces: list[Body] = []
        # All of a sample or nothing of it: what can fail comes before its first member is put.
        for extension, data in members(sample, self._extension):
            size = len(data)
            header = _HEADER.make(f"{sample.key}.{extension}".encode("ascii"), size)
            pieces += (header, data, _PADDING[: -size % _BLOCK])
        self._file.put(*pieces)

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        end = 2 * _BLOCK
        self._file.put(bytes(end + -(self._file.size + end) % _RECORD))
        return [self._file.finish()]

    def abort(self) -> None:
        self._file.close()
