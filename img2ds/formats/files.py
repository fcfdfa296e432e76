"""A folder a shard, `NNNNN/`: per sample KEY.jpg, KEY.txt when there are captions, KEY.json.

The folder is made aside and published as one. Its record is one as well, however many files it
has: 30 000 of them would be 4 MB of JSON in every mark. Which samples there are says the metadata
table, and `sample.listing_line` how the record's hash is made again from the files.
"""

from __future__ import annotations

import hashlib
import os
import shutil

import pyarrow as pa

from img2ds.core.sample import Body, FileRecord, Sample, listing_line
from img2ds.formats.members import members
from img2ds.formats.staging import StagingPath


class FilesWriter:
    """The folder that will be published as `name`."""

    has_metadata_file = True

    def __init__(self, name: str, extension: str, staging_path: StagingPath) -> None:
        self._name = name
        self._extension = extension
        path = staging_path(name)
        if os.path.isdir(path):  # an attempt of this process that failed left it
            shutil.rmtree(path)
        os.mkdir(path)
        # Names relative to a descriptor spare the system the way to the folder, 30 000 times.
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
        listing = hashlib.sha256()
        for key in sorted(self._lines):
            listing.update(self._lines[key].encode("ascii"))
        return [FileRecord(self._name, self._size, listing.hexdigest(), self._count)]

    def abort(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
