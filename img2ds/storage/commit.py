"""The commit of a shard: its files are published, and the marker that makes them count last."""

from __future__ import annotations

from collections.abc import Iterable

from img2ds.storage.output import OutputFolder


def commit(folder: OutputFolder, names: Iterable[str], marker: str, content: bytes) -> bool:
    """Publish what was written aside as `names`, in that order, then `content` as `mark`.

    Returns:
        False when another attempt at the shard has committed it: then nothing was published.

    Raises:
        OSError: the folder does not take it; what was published is taken back.
    """
    published: list[str] = []
    with folder.claim(marker) as free:
        if not free:
            return False
        try:
            for name in names:
                folder.publish(name)
                published.append(name)
            folder.write_bytes(marker, content)
        except OSError:
            folder.remove(published)
            raise
    return True
