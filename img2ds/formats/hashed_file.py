"""A data file of a shard that is hashed while it is written."""

from __future__ import annotations

import hashlib

from img2ds.core.sample import FileRecord
from img2ds.formats.buffered_file import GatheredFile
from img2ds.formats.staging import StagingPath


class HashedFile(GatheredFile):
    """The file that will be published as `name`. Raises OSError when it cannot be made."""

    def __init__(self, name: str, staging_path: StagingPath) -> None:
        super().__init__(staging_path(name))
        self._name = name
        self._hash = hashlib.sha256()

    def written(self, data: bytes) -> None:
        self._hash.update(data)

    def finish(self) -> FileRecord:
        """Write the rest and close it."""
        self.flush()
        self.close()
        return FileRecord(self._name, self.size, self._hash.hexdigest())
