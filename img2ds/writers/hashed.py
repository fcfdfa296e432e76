"""A data file of a shard that is hashed while it is written."""

from __future__ import annotations

import hashlib

from img2ds.sample import FileRecord
from img2ds.writers.aside import Aside
from img2ds.writers.gathered import GatheredFile


class HashedFile(GatheredFile):
    """The file that will be published as `name`. Raises OSError when it cannot be made."""

    def __init__(self, name: str, aside: Aside) -> None:
        super().__init__(aside(name))
        self._name = name
        self._hash = hashlib.sha256()

    def written(self, data: bytes) -> None:
        self._hash.update(data)

    def finish(self) -> FileRecord:
        """Write the rest and close it."""
        self.flush()
        self.close()
        return FileRecord(self._name, self.size, self._hash.hexdigest())
