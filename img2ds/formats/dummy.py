"""dummy: writes no data, to measure the rest of a run; the commit marker is all that remains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from img2ds.core.sample import FileRecord, Sample
from img2ds.formats.contract import Digest, StagingPath, StoredSample
from img2ds.storage import OutputFolder


class DummyWriter:
    """Discards its samples."""

    has_metadata_file = False

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        pass

    def add(self, sample: Sample) -> None:
        pass

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        return []

    def abort(self) -> None:
        pass


class DummyReader:
    """A shard without samples."""

    has_json = has_captions = False

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names: list[str] = []

    def samples(self) -> Iterator[StoredSample]:
        return iter(())

    def digests(self) -> Mapping[str, Digest]:
        return {}
