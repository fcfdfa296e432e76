"""The values that travel between the stages; plain data, picklable, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: A whole body; `bytearray` where it was received in place, so that nobody copies it.
Body = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` (included) to `stop` (excluded) of one input file that can be sought."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make. `rows` is either where to read them or the rows themselves.

    A carried table holds only the columns the job asked for, under their input names.
    """

    shard_id: int
    count: int
    rows: RowRange | pa.Table


@dataclass(frozen=True, slots=True)
class Fetched:
    """The body of one answer, content coding undone, within the byte caps."""

    body: Body


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image ready to be written.

    Sizes in pixels; the original ones are those of the upright picture. `exif` is a JSON
    object as a string, None when it was not asked for.
    """

    data: Body
    width: int
    height: int
    original_width: int
    original_height: int
    exif: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One successful row on its way into a shard.

    `index` is the row's place in its shard, `metadata` the row of the metadata table.
    `caption` is None when the job has no caption column.
    """

    index: int
    key: str
    image: Body
    caption: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A published file of a shard: name relative to the output folder, bytes, sha256 in hex.

    Or a published folder: then `files` is how many files there are in it, `size` is their sum, and
    `sha256` is of the list of them, see `listing_line`.
    """

    name: str
    size: int
    sha256: str
    files: int | None = None


def listing_line(name: str, sha256: str) -> str:
    """The line of a file in the list that a folder's hash is of; lines are sorted by name.

    It is what sha256sum prints: `cd 00000 && sha256sum * | sha256sum` (in the C locale) gives it.
    """
    return f"{sha256}  {name}\n"
