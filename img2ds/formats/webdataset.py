"""webdataset: a tar a shard, `NNNNN.tar`: per sample KEY.jpg, KEY.txt with captions, KEY.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from img2ds.core.sample import Body, FileRecord, Sample
from img2ds.formats.contract import DamagedShardError, Digest, StagingPath, StoredSample
from img2ds.formats.data_file import HashedFile
from img2ds.formats.hashed_stream import HashedStream
from img2ds.formats.members import members
from img2ds.formats.tar import end_of_archive, member, read_end, read_members
from img2ds.storage import OutputFolder, RetryingFile

#: Bytes of the largest member that is believed: no image, caption or metadata comes near it.
MAX_MEMBER = 1 << 31


class TarWriter:
    """One `NNNNN.tar`, with its samples in the order they were added."""

    has_metadata_file = True

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        self._extension = extension
        self._file = HashedFile(name, staging_path)

    def add(self, sample: Sample) -> None:
        pieces: list[Body] = []
        # All of a sample or nothing of it: what can fail comes before its first member is put.
        for extension, data in members(sample, self._extension):
            pieces += member(f"{sample.key}.{extension}".encode("ascii"), data)
        self._file.put(*pieces)

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        self._file.put(end_of_archive(self._file.size))
        return [self._file.finish()]

    def abort(self) -> None:
        self._file.close()


class TarReader:
    """The tar `name`, read from first to last; its end-of-archive marker must be there."""

    has_json = has_captions = True

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names = [name]
        self._path = f"{folder.path}/{name}"
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        sample: StoredSample | None = None
        with RetryingFile(self._path) as file, HashedStream(file) as stream:
            for path, data in read_members(stream.read, MAX_MEMBER):
                if data is None:
                    raise DamagedShardError(f"{path} has more than {MAX_MEMBER} bytes")
                folder, slash, name = path.rpartition("/")
                stem, _, extension = name.partition(".")
                key = folder + slash + stem
                if sample is None or sample.key != key or extension in sample.parts:
                    if sample is not None:
                        yield sample
                    sample = StoredSample(key)
                sample.parts[extension] = data
            read_end(stream.read)
            self._digests[self.names[0]] = stream.digest()
        if sample is not None:
            yield sample
