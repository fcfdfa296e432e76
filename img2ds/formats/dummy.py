"""Writes nothing: for measuring the rest."""

from __future__ import annotations

import pyarrow as pa

from img2ds.core.sample import FileRecord, Sample


class DummyWriter:
    """Takes samples and forgets them; the shard's stats are all that remains."""

    has_metadata_file = False

    def add(self, sample: Sample) -> None:
        pass

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        return []

    def abort(self) -> None:
        pass
