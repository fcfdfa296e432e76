"""The flags of a stream: all but those of output files and of whole runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from img2ds.config.image import ImageOptions
from img2ds.config.input import InputOptions
from img2ds.config.network import NetworkOptions
from img2ds.config.options import COMMAND, Options
from img2ds.core.failure import UsageError

#: The flags that `img2ds.stream` takes, in the order of the help page.
STREAM_FLAGS = tuple(
    [
        field.name
        for group in (InputOptions, ImageOptions, NetworkOptions)
        for field in fields(group)
    ]
    + ["processes_count", "memory_budget", "max_shard_retry"]
)


def stream_options(flags: Mapping[str, Any]) -> Options:
    """Return the options of a stream.

    Raises:
        UsageError: a flag is unknown, of no meaning to a stream, or has a wrong value.
    """
    for typed in flags:
        name = COMMAND.name(typed)
        if name in COMMAND.fields and name not in STREAM_FLAGS:
            raise UsageError(f"{name} is of no meaning to a stream, which writes no files")
    return Options.from_flags(flags)
