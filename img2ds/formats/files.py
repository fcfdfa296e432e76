"""files: a folder a shard, `NNNNN/`: per sample KEY.jpg, KEY.txt when there are captions, KEY.json.

The folder is staged and published as one. It has one record, however many files are in it: 30 000
records would be 4 MB of JSON in every commit marker. The metadata table lists the samples, and
`sample.listing_line` says how the record's hash is computed from the files. A shard without samples
has no folder: object stores cannot have one, and torchvision's ImageFolder refuses it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping

import pyarrow as pa

from img2ds.core.sample import Body, FileRecord, Sample, listing_line
from img2ds.formats.contract import Digest, StagingPath, StoredSample
from img2ds.formats.members import members
from img2ds.storage import OutputFolder, read_many, sizes


class FilesWriter:
    """The folder that will be published as `name`."""

    has_metadata_file = True

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        self._name = name
        self._extension = extension
        self._path = path = staging_path(name)
        if os.path.isdir(path):  # left by an attempt of this process that failed
            shutil.rmtree(path)
        os.mkdir(path)
        # Names relative to a descriptor spare the system the path lookup, 30 000 times.
        self._folder: int | None = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._size = 0
        self._count = 0
        self._lines: dict[str, str] = {}

    def add(self, sample: Sample) -> None:
        lines = []
        for extension, data in sorted(members(sample, self._extension), key=lambda pair: pair[0]):
            name = f"{sample.key}.{extension}"
            self._write(name, data)
            lines.append(listing_line(name, hashlib.sha256(data).hexdigest()))
            self._size += len(data)
        self._count += len(lines)
        self._lines[sample.key] = "".join(lines)

    def _write(self, name: str, data: Body) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(name, flags, 0o666, dir_fd=self._folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    def finish(self, metadata: pa.Table) -> list[FileRecord]:
        self.abort()
        if not self._count:
            os.rmdir(self._path)
            return []
        listing = hashlib.sha256()
        for key in sorted(self._lines):
            listing.update(self._lines[key].encode("ascii"))
        return [FileRecord(self._name, self._size, listing.hexdigest(), self._count)]

    def abort(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


class FilesReader:
    """The folder `name`, read back in the order of its files' names."""

    has_json = has_captions = True

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        self.names = [name]
        self._folder = folder
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        (folder,) = self.names
        listing, total = hashlib.sha256(), 0
        sample: StoredSample | None = None
        paths = list(sizes(self._folder, folder))
        for path, data in read_many(self._folder, paths):
            if isinstance(data, OSError):
                raise data
            name = path.rpartition("/")[2]
            listing.update(listing_line(name, hashlib.sha256(data).hexdigest()).encode())
            total += len(data)
            key, _, extension = name.partition(".")
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = StoredSample(key)
            sample.parts[extension] = data
        if paths or self._folder.inside(folder) is not None:
            self._digests[folder] = total, listing.hexdigest()
        if sample is not None:
            yield sample
