"""Local and remote files: find and read inputs, publish outputs, lock a folder.

The only user of fsspec. Local paths use the operating system directly.
"""

from __future__ import annotations

from img2ds.storage.commit import StoredMarker, commit
from img2ds.storage.folder_lock import FolderLock
from img2ds.storage.input_stream import (
    STDIN,
    InputStream,
    open_seekable,
    open_stream,
    stdin_start,
)
from img2ds.storage.input_tree import InputTree, find_tree
from img2ds.storage.inputs import InputFile, find_inputs
from img2ds.storage.listed import Listing
from img2ds.storage.listing import add_sizes, read_many, sizes
from img2ds.storage.lock import lock_holder
from img2ds.storage.output import OutputFolder
from img2ds.storage.ranges import Range, read_ranges
from img2ds.storage.record import file_record
from img2ds.storage.retrying_file import RetryingFile, read_whole
from img2ds.storage.state import move_state, read_state, write_state

__all__ = [
    "STDIN",
    "FolderLock",
    "InputFile",
    "InputStream",
    "InputTree",
    "Listing",
    "OutputFolder",
    "Range",
    "RetryingFile",
    "StoredMarker",
    "add_sizes",
    "commit",
    "file_record",
    "find_inputs",
    "find_tree",
    "lock_holder",
    "move_state",
    "open_seekable",
    "open_stream",
    "read_many",
    "read_ranges",
    "read_state",
    "read_whole",
    "sizes",
    "stdin_start",
    "write_state",
]
