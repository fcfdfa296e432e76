"""mds: Mosaic Data Shards, `NNNNN.mds`, and `index.json`, for `streaming.StreamingDataset`.

A sample has the columns `key`, the image under the name of the encode format, `txt` with captions,
and `json`, the metadata. Samples stand in the order of their keys. The format is that of
streaming/base/format/mds/writer.py of mosaicml-streaming, version 2; it takes no package to write.
"""

from __future__ import annotations

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

#: Encodings of columns: streaming/base/format/mds/encodings.py. Images open as PIL images; there is
#: none for webp.
_ENCODINGS = {"jpg": "jpeg", "png": "png", "webp": "bytes", "json": "json"}


def _config(columns: Sequence[str]) -> dict[str, Any]:
    """Return what describes the columns, in each file and in the index."""
    return {
        "column_encodings": [_ENCODINGS.get(name, "str") for name in columns],
        "column_names": list(columns),
        "column_sizes": [None] * len(columns),
        "compression": None,
        "format": "mds",
        "hashes": ["sha256"],
        "size_limit": None,
        "version": 2,
    }


class MDSWriter(SampleFileWriter):
    """One `NNNNN.mds`."""

    format_name = "mds"

    def between(self, columns: Sequence[str]) -> bytes:
        return json.dumps(_config(columns), sort_keys=True).encode()


class MDSReader(SampleFileReader):
    """One `NNNNN.mds`."""

    format_name = "mds"

    def columns(self, between: bytes, count: int) -> list[str]:
        try:
            return [str(name) for name in orjson.loads(between)["column_names"]]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise DamagedShardError("damaged: the columns cannot be read") from None


def write_index(folder: OutputFolder) -> None:
    """Write `index.json`: the committed shards that have samples. Raises UsageError, OSError."""
    options = read_segments(folder)[-1].options
    config = _config(columns_of(options["encode_format"], options["captions"]))
    sample_file.write_index(folder, "mds", partial(_index, config))


def _index(config: dict[str, Any], shards: list[tuple[FileRecord, int]]) -> bytes:
    entries = [
        {
            **config,
            "raw_data": {
                "basename": record.name, "bytes": record.size, "hashes": {"sha256": record.sha256},
            },
            "samples": samples,
            "zip_data": None,
        }
        for record, samples in shards
    ]  # fmt: skip
    return orjson.dumps({"version": 2, "shards": entries})
