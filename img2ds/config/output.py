"""What to write and where: the flags of the output, a group that validates itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from img2ds.core.naming import OUTPUT_FORMATS, format_names

INCREMENTAL_MODES = ("incremental", "overwrite", "extend")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where the dataset is written, and in which format."""

    TITLE: ClassVar[str] = "Output"

    output_folder: str = flag(
        "images", "str", "where to write the dataset: a folder or an fsspec URL", identity=False
    )
    output_format: str = flag(
        "files", "choice",
        "a shard is a folder of files, a tar (webdataset), a parquet file with the images, "
        "a tfrecord file, an mds or litdata file, or statistics only (dummy)",
        *OUTPUT_FORMATS, plugins=True,
    )  # fmt: skip
    number_sample_per_shard: int = flag(10000, "int", "rows per shard")
    oom_shard_count: int = flag(
        5, "int", "digits in shard names (the order of magnitude of the number of shards)"
    )
    incremental_mode: str = flag(
        "incremental", "choice",
        "in a folder that has shards, incremental resumes, overwrite starts over, and extend adds "
        "the new input",
        *INCREMENTAL_MODES, identity=False,
    )  # fmt: skip
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished shards (default: inside a local output folder)",
        identity=False,
    )  # fmt: skip
    force: bool = flag(
        False, "bool", "take over the output folder from a run that still holds it", identity=False
    )
    sizes_json: bool = flag(
        False, "bool", "also write sizes.json, the number of samples in each tar, for OpenCLIP",
        identity=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder must not be empty")
        if self.sizes_json and format_names(self.output_format).suffix != ".tar":
            raise UsageError(
                "--sizes_json counts the samples of tars: use --output_format webdataset"
            )
        at_least("number_sample_per_shard", self.number_sample_per_shard, 1)
        at_least("oom_shard_count", self.oom_shard_count, 1)
        if self.oom_shard_count > 20:  # keys are file names in tars, which are at most 100 bytes
            raise UsageError(
                f"--oom_shard_count must be at most 20, got {self.oom_shard_count}: "
                "it is a number of digits"
            )
