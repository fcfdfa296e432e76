"""Every option of a run, in frozen groups that validate themselves.

The groups are what the modules receive; the flat names are what users type. A flag is a
field: its name, default, kind and help text are written here once, and the command line,
`img2ds.download` and `--help` are all made from them. Names and defaults are img2dataset's
wherever it has the flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar

from img2ds.config.flags import Flags, at_least, flag, identity_of, positive
from img2ds.config.network import NetworkOptions as NetworkOptions
from img2ds.core.failure import UsageError

RESIZE_MODES = ("border", "no", "keep_ratio", "keep_ratio_largest", "center_crop")
INTERPOLATIONS = ("nearest", "linear", "cubic", "area", "lanczos", "lanczos4")
ENCODE_FORMATS = ("jpg", "png", "webp")
#: Formats of originals that can be read.
IMAGE_FORMATS = ("jpeg", "png", "webp", "gif")
HASHES = ("sha256", "md5", "sha512")
INPUT_FORMATS = ("txt", "csv", "tsv", "json", "jsonl", "parquet")
OUTPUT_FORMATS = ("files", "webdataset", "parquet", "tfrecord", "dummy")
INCREMENTAL_MODES = ("incremental", "overwrite", "extend")
DISTRIBUTORS = ("multiprocessing", "pyspark", "ray")


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What to read."""

    TITLE: ClassVar[str] = "Input"

    url_list: str = flag(
        MISSING, "str",
        "the list of image URLs: a file, a folder, a glob, an fsspec URL, or - for standard input",
        identity=False,
    )  # fmt: skip
    input_format: str | None = flag(
        None, "choice?",
        "format of the list, guessed from the name when not given; .gz may follow all but parquet",
        *INPUT_FORMATS, identity=False,
    )  # fmt: skip
    url_col: str = flag("url", "str", "column with the URLs", identity=False)
    caption_col: str | None = flag(
        None, "str?", "column with the captions; written as .txt", identity=False
    )
    save_additional_columns: tuple[str, ...] = flag(
        (), "list", 'further columns to keep in the metadata: \'["a","b"]\' or a,b'
    )
    verify_hash: tuple[str, ...] = flag(
        (), "list", "[column, md5|sha256|sha512]: the hash each original must have"
    )
    bbox_col: str | None = flag(
        None,
        "str?",
        "column with boxes to blur: [[left, top, right, bottom], ...], each 0 to 1",
        identity=False,
    )
    max_rows: int | None = flag(
        None, "int?", "stop after this many rows of the input", identity=False
    )

    def __post_init__(self) -> None:
        if not self.url_list:
            raise UsageError("--url_list is required: the list of image URLs to download")
        at_least("max_rows", self.max_rows, 1)
        if self.verify_hash and (len(self.verify_hash) != 2 or self.verify_hash[1] not in HASHES):
            raise UsageError(
                "--verify_hash takes two values, a column and one of "
                f'{", ".join(HASHES)}: --verify_hash \'["md5","md5"]\''
            )

    @property
    def columns(self) -> list[str]:
        """Every input column the job needs, each once, the URL first."""
        wanted = [self.url_col]
        if self.caption_col is not None:
            wanted.append(self.caption_col)
        wanted.extend(self.kept_columns)
        wanted.extend(self.verify_hash[:1])
        return list(dict.fromkeys(wanted))

    @property
    def kept_columns(self) -> list[str]:
        """The input columns that the metadata keep as they are; the boxes last, as img2dataset."""
        kept = (*self.save_additional_columns, self.bbox_col)
        return [name for name in dict.fromkeys(kept) if name is not None]


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What to write, and where."""

    TITLE: ClassVar[str] = "Output"

    output_folder: str = flag(
        "images", "str", "where the data set goes: a folder or fsspec URL", identity=False
    )
    output_format: str = flag(
        "files", "choice",
        "what a shard is: a folder of files, a tar for webdataset, a parquet file that holds the "
        "pictures too, a tfrecord file, or dummy (nothing but the stats)",
        *OUTPUT_FORMATS,
    )  # fmt: skip
    number_sample_per_shard: int = flag(10000, "int", "rows in a shard")
    oom_shard_count: int = flag(5, "int", "digits of a shard's name (order of magnitude of shards)")
    incremental_mode: str = flag(
        "incremental", "choice",
        "incremental goes on with what is missing, overwrite starts anew, extend adds this input",
        *INCREMENTAL_MODES, identity=False,
    )  # fmt: skip
    tmp_dir: str | None = flag(
        None,
        "str?",
        "local folder for unfinished shards (default: inside a local output folder)",
        identity=False,
    )
    force: bool = flag(
        False, "bool", "take the output folder over from a run that still holds it", identity=False
    )

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder must not be empty")
        at_least("number_sample_per_shard", self.number_sample_per_shard, 1)
        at_least("oom_shard_count", self.oom_shard_count, 1)
        if self.oom_shard_count > 20:  # keys are names in tars, which have 100 bytes for them
            raise UsageError("--oom_shard_count must be at most 20: it counts digits")


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What becomes of each picture."""

    TITLE: ClassVar[str] = "Images"

    image_size: int = flag(256, "int", "side of the result in pixels, see resize_mode")
    resize_mode: str = flag(
        "border", "choice",
        "border pads to a white square, center_crop cuts one, keep_ratio sizes the shorter side, "
        "keep_ratio_largest the longer one, no leaves sizes alone",
        *RESIZE_MODES,
    )  # fmt: skip
    resize_only_if_bigger: bool = flag(False, "bool", "leave pictures that are small enough alone")
    upscale_interpolation: str = flag("lanczos", "choice", "filter to enlarge", *INTERPOLATIONS)
    downscale_interpolation: str = flag("area", "choice", "filter to shrink", *INTERPOLATIONS)
    encode_format: str = flag("jpg", "choice", "format of the result", *ENCODE_FORMATS)
    encode_quality: int | None = flag(
        None, "int?", "1-100 for jpg and webp (95); 0-9, the compression level, for png (6)"
    )
    skip_reencode: bool = flag(
        False, "bool", "keep the original bytes of a picture already in encode_format and size"
    )
    disable_all_reencoding: bool = flag(
        False, "bool", "always keep the original bytes, whatever their format"
    )
    image_formats: tuple[str, ...] = flag(
        IMAGE_FORMATS, "list", "formats of originals to keep: any of jpeg, png, webp, gif"
    )
    min_image_size: int = flag(0, "int", "drop pictures whose shorter side is below, in pixels")
    max_image_area: float = flag(math.inf, "float", "drop pictures of more pixels")
    max_aspect_ratio: float = flag(math.inf, "float", "drop pictures longer than this many times")
    max_decoded_pixels: int = flag(89_478_484, "int", "never open a picture of more pixels")
    extract_exif: bool = flag(True, "bool", "keep the EXIF data in the metadata")
    compute_hash: str | None = flag(
        "sha256", "choice?", "hash of the original bytes, None for no hash", *HASHES
    )

    def __post_init__(self) -> None:
        at_least("image_size", self.image_size, 1)
        strange = sorted(set(self.image_formats) - set(IMAGE_FORMATS))
        if strange or not self.image_formats:
            raise UsageError(
                f"--image_formats takes some of {', '.join(IMAGE_FORMATS)}, "
                f"got {strange[0] if strange else 'none'}"
            )
        at_least("min_image_size", self.min_image_size, 0)
        at_least("max_decoded_pixels", self.max_decoded_pixels, 1)
        positive("max_image_area", self.max_image_area)
        if not self.max_aspect_ratio >= 1:
            raise UsageError("--max_aspect_ratio must be at least 1")
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        if not low <= self.quality <= high:
            raise UsageError(
                f"--encode_quality must be {low}-{high} for {self.encode_format}, "
                f"got {self.encode_quality}"
            )

    @property
    def quality(self) -> int:
        """The quality in force: the one given, else 95, or compression level 6 for png."""
        if self.encode_quality is not None:
            return self.encode_quality
        return 6 if self.encode_format == "png" else 95


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run."""

    TITLE: ClassVar[str] = "Run"

    processes_count: int | None = flag(
        None, "int?", "worker processes (default: one a core of the machine, container or cluster)"
    )
    memory_budget: int = flag(128_000_000, "size", "bytes of bodies held at once, per process")
    distributor: str = flag("multiprocessing", "choice", "who runs the workers", *DISTRIBUTORS)
    subjob_size: int = flag(1000, "int", "shards a job of pyspark; of no meaning to the others")
    max_shard_retry: int = flag(1, "int", "times a shard that broke is made again")
    max_runtime: float | None = flag(
        None, "float?", "seconds after which no further shard is started"
    )
    dry_run: bool = flag(False, "bool", "check everything, print the plan, download nothing")
    enable_wandb: bool = flag(False, "bool", "log to Weights & Biases, as img2dataset does")
    wandb_project: str = flag("img2dataset", "str", "project for --enable_wandb")

    def __post_init__(self) -> None:
        at_least("processes_count", self.processes_count, 1)
        at_least("memory_budget", self.memory_budget, 1)
        at_least("subjob_size", self.subjob_size, 1)
        at_least("max_shard_retry", self.max_shard_retry, 0)
        if self.max_runtime is not None:
            positive("max_runtime", self.max_runtime)
        if not self.wandb_project:
            raise UsageError("--wandb_project must not be empty")


@dataclass(frozen=True, slots=True)
class Options:
    """All groups of one run."""

    input: InputOptions
    output: OutputOptions
    image: ImageOptions
    network: NetworkOptions
    run: RunOptions

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Options:
        """Options from flat names, as typed or as given to `img2ds.download`.

        Raises:
            UsageError: an unknown name, a value of the wrong kind or out of range.
        """
        values = COMMAND.read(flags)
        built = {
            key: group(**{f.name: values[f.name] for f in fields(group) if f.name in values})
            for key, group in GROUPS.items()
        }
        return cls(**built)

    def __post_init__(self) -> None:
        wanted = self.input
        own = {"key", "status", "error_message", "width", "height", "original_width",
               "original_height", "reason"}  # fmt: skip
        if self.image.extract_exif:
            own.add("exif")
        if self.image.compute_hash is not None:
            own.add(self.image.compute_hash)
        if wanted.caption_col not in (None, "caption"):
            own.add("caption")
        if wanted.url_col != "url":
            own.add("url")
        if self.output.output_format in ("parquet", "tfrecord"):
            own.add(self.image.encode_format)  # the pictures
        if self.output.output_format == "tfrecord" and wanted.caption_col is not None:
            own.add("txt")
        for column in wanted.kept_columns:
            if column in own:
                name = "bbox_col" if column == wanted.bbox_col else "save_additional_columns"
                raise UsageError(
                    f"--{name}: {column!r} is the name of a column that img2ds writes itself; "
                    "rename it in the input"
                )
        if wanted.bbox_col is not None and self.image.disable_all_reencoding:
            raise UsageError("--bbox_col blurs pictures, which --disable_all_reencoding forbids")

    def shard_identity(self) -> dict[str, Any]:
        """The options that decide what a shard is: a resume with others would mix data sets."""
        identity: dict[str, Any] = {}
        for group in (self.input, self.output, self.image):
            identity |= identity_of(group)
        identity["encode_quality"] = self.image.quality
        if self.input.bbox_col is not None:
            identity["bbox_col"] = self.input.bbox_col
        identity["captions"] = self.input.caption_col is not None
        return identity


GROUPS: dict[str, type[Any]] = {
    "input": InputOptions,
    "output": OutputOptions,
    "image": ImageOptions,
    "network": NetworkOptions,
    "run": RunOptions,
}

#: Every flag by its name, in the order of the groups.
FLAGS: dict[str, Field[Any]] = {f.name: f for group in GROUPS.values() for f in fields(group)}

#: The command `img2ds`, as it is typed.
COMMAND = Flags("img2ds", FLAGS, {"concurrency": "thread_count"})
