"""litdata: chunks of Lightning's LitData, `NNNNN.bin`, and `index.json`, for `StreamingDataset`.

A sample is a dict of `key`, the image under the name of the encode format, `txt` with captions, and
`json`, the metadata. Samples stand in the order of their keys. The format is that of
litdata/streaming/writer.py, by its PyTreeLoader; it takes no package to write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson

from img2ds.core.sample import FileRecord
from img2ds.engine.manifest import read_segments
from img2ds.formats import sample_file
from img2ds.formats.contract import DamagedShardError
from img2ds.formats.sample_file import SampleFileReader, SampleFileWriter, columns_of
from img2ds.storage import OutputFolder

#: LitData's serializers, litdata/streaming/serializers.py. JPEGs open as tensors; there is none for
#: the bytes of other images.
_SERIALIZERS = {"jpg": "jpeg", "png": "bytes", "webp": "bytes"}
#: Values of a sample without a caption, and with one.
_COUNTS = (3, 4)


class LitDataWriter(SampleFileWriter):
    """One `NNNNN.bin`."""

    format_name = "litdata"


class LitDataReader(SampleFileReader):
    """One `NNNNN.bin`. The names of values stand in the index alone, so they are computed."""

    format_name = "litdata"

    def __init__(self, folder: OutputFolder, name: str, extension: str | None) -> None:
        super().__init__(folder, name, extension)
        self._extension = extension or "jpg"

    def columns(self, between: bytes, count: int) -> list[str]:
        if between or count not in _COUNTS:
            raise DamagedShardError("damaged: the values of the first sample cannot be told apart")
        return columns_of(self._extension, count == max(_COUNTS))


def write_index(folder: OutputFolder) -> None:
    """Write `index.json`: the committed shards that have samples. Raises UsageError, OSError."""
    options = read_segments(folder)[-1].options
    columns = columns_of(options["encode_format"], options["captions"])
    sample_file.write_index(folder, "litdata", partial(_index, columns))


def _index(columns: Sequence[str], shards: list[tuple[FileRecord, int]]) -> bytes:
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    # PyTorch's treespec_dumps, protocol 1, of a dict.
    spec = {
        "type": "builtins.dict",
        "context": json.dumps(list(columns)),
        "children_spec": [leaf] * len(columns),
    }
    config: dict[str, Any] = {
        "chunk_bytes": None,
        "chunk_size": max((samples for _, samples in shards), default=1),
        "compression": None,
        "data_format": [_SERIALIZERS.get(name, "str") for name in columns],
        "data_spec": json.dumps([1, spec]),
        "encryption": None,
        "item_loader": "PyTreeLoader",
    }
    chunks = [
        {"chunk_bytes": record.size, "chunk_size": samples, "dim": None, "filename": record.name}
        for record, samples in shards
    ]
    # LitData takes another cache for another value.
    version = hashlib.sha256(orjson.dumps([chunks, config])).hexdigest()
    return orjson.dumps({"chunks": chunks, "config": config, "updated_at": version})
