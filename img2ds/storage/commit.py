"""The commit of a shard: its files are published, and the marker that makes them count last."""

from __future__ import annotations

from collections.abc import Iterable

from img2ds.storage.output import OutputFolder


def commit(folder: OutputFolder, names: Iterable[str], marker: str, content: bytes) -> bool:
    """Publish the files staged as `names`, in that order, then `content` as `marker`.

    Returns:
        False when another attempt at the shard has committed it: then nothing was published.

    Raises:
        OSError: the folder cannot be written to; what was published is removed again.
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
