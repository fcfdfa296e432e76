"""The values that are passed between the steps of a download: plain, picklable data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: A whole response body; a `bytearray` if it was received in place, to save a copy.
Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` (included) to `stop` (excluded) of a seekable input file."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make.

    Attributes:
        rows: where to read the rows, or the rows themselves: only the columns that the job needs,
            under their names in the input.
    """

    shard_id: int
    count: int
    rows: RowRange | pa.Table


@dataclass(frozen=True, slots=True)
class Fetched:
    """The body of one response, decoded, within the limits on bytes."""

    body: Body


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image ready to be written.

    Attributes:
        original_width, original_height: pixels of the original, turned upright.
        exif: a JSON object as a string, None if it was not requested.
        pdq: its PDQ hash; None if it was not requested, or the image has none.
    """

    data: Body
    width: int
    height: int
    original_width: int
    original_height: int
    exif: str | None
    pdq: bytes | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A successful row, ready to be written to a shard.

    Attributes:
        index: the position of the row in its shard.
        caption: None if the job has no caption column.
        metadata: the row of the metadata table.
    """

    index: int
    key: str
    image: Body
    caption: str | None
    metadata: dict[str, Any]

    @property
    def url(self) -> str:
        """The URL, as the input has it."""
        return str(self.metadata["url"])

    def __repr__(self) -> str:
        image = f"<{len(self.image):,} bytes>"
        return (
            f"Sample(key={self.key!r}, url={self.url!r}, image={image}, caption={self.caption!r})"
        )


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A published file or folder of a shard.

    Attributes:
        name: relative to the output folder.
        size: bytes; of a folder, of all files in it.
        sha256: in hex; of a folder, of the list of its files, see `listing_line`.
        files: how many files a folder contains; None for a file.
    """

    name: str
    size: int
    sha256: str
    files: int | None = None


def listing_line(name: str, sha256: str) -> str:
    """Return the line of a file in the list that a folder's hash covers; lines are sorted by name.

    In the C locale, `cd 00000 && sha256sum * | sha256sum` prints the same hash.
    """
    return f"{sha256}  {name}\n"
