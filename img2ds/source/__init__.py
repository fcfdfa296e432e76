"""Input files as rows: one module a format, one protocol.

A source never holds more than one shard's rows and one row group's pages.
"""

from __future__ import annotations

from img2ds.source.memory import IteratorSource, MemoryFile, TableSource, as_table
from img2ds.source.ranges import RangeReader, read_rows
from img2ds.source.source import Source
from img2ds.source.table import file_extensions, guess_format, open_source

__all__ = [
    "IteratorSource",
    "MemoryFile",
    "RangeReader",
    "Source",
    "TableSource",
    "as_table",
    "file_extensions",
    "guess_format",
    "open_source",
    "read_rows",
]
