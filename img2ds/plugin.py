"""What plug-ins are written with: the contracts of formats, filters, transforms and fetchers.

docs/plugins.md has an example of each. Names in this module stay as they are between versions.
"""

from __future__ import annotations

from img2ds.config.options import InputOptions, NetworkOptions
from img2ds.core.failure import Failure, Reason, UsageError, failure
from img2ds.core.hooks import Filter, Image, RowValues, Transform
from img2ds.core.naming import FormatNames
from img2ds.core.plugins import PluginName
from img2ds.core.sample import Fetched, FileRecord, Sample
from img2ds.formats.contract import (
    DamagedShardError,
    OutputFormat,
    ShardReader,
    ShardWriter,
    StagingPath,
    StoredSample,
)
from img2ds.formats.data_file import HashedFile
from img2ds.net.context import FetchContext
from img2ds.net.fetcher import Fetcher
from img2ds.source.plugin_source import BatchSource
from img2ds.source.source import InputFormat, Source
from img2ds.storage import OutputFolder, RetryingFile, file_record, open_stream

__all__ = [
    "BatchSource",
    "DamagedShardError",
    "Failure",
    "FetchContext",
    "Fetched",
    "Fetcher",
    "FileRecord",
    "Filter",
    "FormatNames",
    "HashedFile",
    "Image",
    "InputFormat",
    "InputOptions",
    "NetworkOptions",
    "OutputFolder",
    "OutputFormat",
    "PluginName",
    "Reason",
    "RetryingFile",
    "RowValues",
    "Sample",
    "ShardReader",
    "ShardWriter",
    "Source",
    "StagingPath",
    "StoredSample",
    "Transform",
    "UsageError",
    "failure",
    "file_record",
    "open_stream",
]
