"""What to read: the flags of the input, a group that validates itself."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import ClassVar

from img2ds.config.flags import at_least, flag
from img2ds.config.image import HASHES
from img2ds.core.failure import UsageError

INPUT_FORMATS = ("txt", "csv", "tsv", "json", "jsonl", "parquet")
#: Their names with a compression, as img2dataset has them.
_COMPRESSED = tuple(f"{name}.gz" for name in INPUT_FORMATS if name != "parquet")


@dataclass(frozen=True, slots=True)
class InputOptions:
    """The input: its location, format and columns.

    Where the input is and what its columns are called is not part of a dataset's identity: the
    manifest records the input itself.
    """

    TITLE: ClassVar[str] = "Input"

    url_list: str = flag(
        MISSING, "str",
        "list of image URLs: a file, a folder, a glob, an fsspec URL, or - for standard input",
        identity=False,
    )  # fmt: skip
    input_format: str | None = flag(
        None, "choice?",
        "format of the list (default: from the file name); all except parquet can be compressed "
        "with gzip, zstd, bzip2 or xz, which the file itself shows",
        *INPUT_FORMATS, *_COMPRESSED, identity=False, plugins=True,
    )  # fmt: skip
    url_col: str = flag("url", "str", "column of image URLs", identity=False)
    caption_col: str | None = flag(
        None, "str?", "column of captions, written as .txt", identity=False
    )
    save_additional_columns: tuple[str, ...] = flag(
        (), "list", 'other columns to keep in the metadata, such as a,b or \'["a","b"]\''
    )
    verify_hash: tuple[str, ...] = flag(
        (), "list", "[COLUMN, md5|sha256|sha512]: the expected hash of each original image"
    )
    bbox_col: str | None = flag(
        None, "str?",
        "column of boxes to blur: [[left, top, right, bottom], ...], each number from 0 to 1",
        identity=False,
    )  # fmt: skip
    config: str | None = flag(
        None, "str?", "YAML file with flags, NAME: VALUE; those of the command line count more",
        identity=False,
    )  # fmt: skip
    max_rows: int | None = flag(
        None, "int?", "read at most this many rows of the input", identity=False
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
    def plain_format(self) -> str | None:
        """The input format without its compression, which a file itself shows."""
        return None if self.input_format is None else self.input_format.removesuffix(".gz")

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
        """The input columns copied to the metadata; the boxes last, as in img2dataset."""
        kept = (*self.save_additional_columns, self.bbox_col)
        return [name for name in dict.fromkeys(kept) if name is not None]
