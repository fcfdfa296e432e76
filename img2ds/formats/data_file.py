"""Files that are written from start to end in large blocks, and hashed on the way."""

from __future__ import annotations

import hashlib
import os

from img2ds.core.sample import Body, FileRecord
from img2ds.formats.contract import StagingPath

#: Bytes gathered before the file is written to; every open shard holds that many.
BUFFER = 1 << 18


class BufferedFile:
    """A new file whose content is gathered in memory until there is enough for a write.

    Every method raises OSError when the disk does not take it.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self._gathered: list[Body] = []
        self._waiting = 0
        #: Bytes put into it so far.
        self.size = 0

    def put(self, *pieces: Body) -> None:
        """Append; may write."""
        self._gathered += pieces
        size = sum(map(len, pieces))
        self.size += size
        self._waiting += size
        if self._waiting >= BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write everything that is gathered."""
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._waiting = 0
        self.before_write(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def before_write(self, data: bytes) -> None:
        """Called with each block that is about to be written."""

    def read(self, start: int, size: int) -> bytes:
        """Return flushed bytes, fewer than `size` at the end."""
        return os.pread(self._file.fileno(), size, start)

    def close(self) -> None:
        """Close the file; what is not flushed is lost."""
        self._gathered.clear()
        self._file.close()


class HashedFile(BufferedFile):
    """The data file that will be published as `name`. Raises OSError when it cannot be created."""

    def __init__(self, name: str, staging_path: StagingPath) -> None:
        super().__init__(staging_path(name))
        self._name = name
        self._hash = hashlib.sha256()

    def before_write(self, data: bytes) -> None:
        self._hash.update(data)

    def finish(self) -> FileRecord:
        """Write the rest, close the file, and return its record."""
        self.flush()
        self.close()
        return FileRecord(self._name, self.size, self._hash.hexdigest())
