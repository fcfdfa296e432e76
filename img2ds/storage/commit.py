"""The commit of a shard: its files are published, and the marker that makes them count last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from img2ds.storage.output import OutputFolder


@dataclass(frozen=True, slots=True)
class StoredMarker:
    """A commit marker as it is in the folder.

    Attributes:
        version: tells this file from others of its name and size, as a listing does.
    """

    name: str
    content: bytes
    version: int


def commit(
    folder: OutputFolder, names: Iterable[str], marker: str, content: bytes
) -> StoredMarker | None:
    """Publish the files staged as `names`, in that order, then `content` as `marker`.

    Returns:
        None when another attempt at the shard has committed it: then nothing was published.

    Raises:
        OSError: the folder cannot be written to; what was published is removed again.
    """
    published: list[str] = []
    with folder.claim(marker) as free:
        if not free:
            return None
        try:
            for name in names:
                folder.publish(name)
                published.append(name)
            return StoredMarker(marker, content, folder.write_bytes(marker, content))
        except OSError:
            folder.remove(published)
            raise
