"""A file written from its start to its end, in large pieces."""

from __future__ import annotations

import os

from img2ds.core.sample import Body

#: Bytes gathered before the file is written to; every open shard holds that many.
BUFFER = 1 << 18


class GatheredFile:
    """What is put into it waits in memory until there is enough for a write.

    Raises OSError wherever the disk does not take it.
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
        """Write what waits."""
        data = b"".join(self._gathered)
        self._gathered.clear()
        self._waiting = 0
        self.written(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def written(self, data: bytes) -> None:
        """Called with what is about to be written."""

    def read(self, start: int, size: int) -> bytes:
        """Bytes that were flushed, fewer than `size` at the end."""
        return os.pread(self._file.fileno(), size, start)

    def close(self) -> None:
        """Close the file; what waits is lost."""
        self._gathered.clear()
        self._file.close()
