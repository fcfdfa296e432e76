"""Every option of a run: the sum of the groups, by group and by flag.

Modules receive the groups; users type the flat names. A flag is a field of a group: its name,
default, kind and help text are written there once, and the command line, `img2ds.download` and
`--help` are made from it. Names and defaults are img2dataset's wherever it has the flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

from img2ds.config.flags import Flags, identity_of
from img2ds.config.image import (
    HASHES,
    IMAGE_FORMATS,
    INTERPOLATIONS,
    MAX_DECODE_MEMORY,
    RESIZE_MODES,
    ImageOptions,
)
from img2ds.config.input import INPUT_FORMATS, InputOptions
from img2ds.config.network import FETCHERS, NetworkOptions
from img2ds.config.output import INCREMENTAL_MODES, OutputOptions
from img2ds.config.positions import POSITIONS
from img2ds.config.ranks import RankOptions
from img2ds.config.run import DISTRIBUTORS, RunOptions
from img2ds.core.failure import UsageError
from img2ds.core.naming import format_names

__all__ = [
    "COMMAND",
    "DISTRIBUTORS",
    "FLAGS",
    "GROUPS",
    "HASHES",
    "IMAGE_FORMATS",
    "INCREMENTAL_MODES",
    "INPUT_FORMATS",
    "INTERPOLATIONS",
    "RESIZE_MODES",
    "ImageOptions",
    "InputOptions",
    "NetworkOptions",
    "Options",
    "OutputOptions",
    "RankOptions",
    "RunOptions",
]


@dataclass(frozen=True, slots=True)
class Options:
    """All groups of one run."""

    input: InputOptions
    output: OutputOptions
    image: ImageOptions
    network: NetworkOptions
    run: RunOptions
    ranks: RankOptions = RankOptions()

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Options:
        """Return the options for flat names, as typed or as given to `img2ds.download`.

        Raises:
            UsageError: an unknown name, or a value of the wrong kind or out of range.
        """
        values = COMMAND.read(flags)
        built = {
            key: group(**{f.name: values[f.name] for f in fields(group) if f.name in values})
            for key, group in GROUPS.items()
        }
        return cls(**built)

    def __post_init__(self) -> None:
        written = self._columns_written()
        for column in self.input.kept_columns:
            if column in written:
                name = "bbox_col" if column == self.input.bbox_col else "save_additional_columns"
                raise UsageError(
                    f"--{name}: img2ds writes a column {column!r} itself; "
                    "rename the column in the input"
                )
        if self.input.bbox_col is not None and self.image.disable_all_reencoding:
            raise UsageError(
                "--bbox_col and --disable_all_reencoding exclude each other: "
                "a blurred image has to be encoded again"
            )

    def _columns_written(self) -> set[str]:
        """The columns and samples' fields that img2ds writes itself under fixed names."""
        written = {"key", "status", "error_message", "width", "height", "original_width",
                   "original_height", "reason"}  # fmt: skip
        if self.image.extract_exif:
            written.add("exif")
        if self.image.compute_hash is not None:
            written.add(self.image.compute_hash)
        if self.image.compute_pdq:
            written.add("pdq")
        if self.input.caption_col not in (None, "caption"):
            written.add("caption")
        if self.input.url_col != "url":
            written.add("url")
        names = format_names(self.output.output_format)
        if names.image_is_field:
            written.add(self.image.encode_format)
        if names.caption_field is not None and self.input.caption_col is not None:
            written.add(names.caption_field)
        return written

    def shard_identity(self) -> dict[str, Any]:
        """Return the options that decide what a shard contains, as the manifest records them.

        Resuming with others would mix two datasets.
        """
        identity: dict[str, Any] = {}
        for group in (self.input, self.output, self.image, self.network, self.run):
            identity |= identity_of(group)
        identity["encode_quality"] = self.image.quality
        if self.input.bbox_col is not None:
            identity["bbox_col"] = self.input.bbox_col
        if self.image.max_decode_memory != MAX_DECODE_MEMORY:
            identity["max_decode_memory"] = self.image.max_decode_memory
        if self.image.compute_pdq:  # newer than the first manifests
            identity["compute_pdq"] = True
        for hook in ("filter", "transform"):
            if plugins := getattr(self.image, hook):
                identity[hook] = [plugin.name for plugin in plugins]
        if self.network.fetcher not in FETCHERS:
            identity["fetcher"] = self.network.fetcher
        identity["captions"] = self.input.caption_col is not None
        return identity


GROUPS: dict[str, type[Any]] = {
    "input": InputOptions,
    "output": OutputOptions,
    "image": ImageOptions,
    "network": NetworkOptions,
    "run": RunOptions,
    "ranks": RankOptions,
}

#: Every flag by its name, in the order of the groups.
FLAGS: dict[str, Field[Any]] = {f.name: f for group in GROUPS.values() for f in fields(group)}

#: The flags of the command `img2ds`.
COMMAND = Flags("img2ds", FLAGS, {"concurrency": "thread_count"}, POSITIONS)
