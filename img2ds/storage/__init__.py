"""Files, here and elsewhere: finding and reading inputs, publishing outputs, locking a folder.

The only user of fsspec. Local paths take the operating system's calls directly.
"""

from __future__ import annotations

from img2ds.storage.commit import commit
from img2ds.storage.inputs import (
    InputFile,
    InputStream,
    find_inputs,
    open_seekable,
    open_stream,
    stdin_is_empty,
)
from img2ds.storage.listing import read_many, sizes
from img2ds.storage.lock import FolderLock, lock_holder
from img2ds.storage.output import OutputFolder
from img2ds.storage.patient import PatientFile, read_whole
from img2ds.storage.record import file_record

__all__ = [
    "FolderLock",
    "InputFile",
    "InputStream",
    "OutputFolder",
    "PatientFile",
    "commit",
    "file_record",
    "find_inputs",
    "lock_holder",
    "open_seekable",
    "open_stream",
    "read_many",
    "read_whole",
    "sizes",
    "stdin_is_empty",
]
