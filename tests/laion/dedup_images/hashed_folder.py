"""Images with planted copies in tars, and an embedding folder of their rows."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.laion.dedup_images.seeded_images import COPIES, encoded, scene
from tests.laion.embedding_folders import row, write_tree


def write_tars(folder: Path, images: Mapping[int, bytes], per_tar: int) -> None:
    """Write images into tars by their keys."""
    folder.mkdir()
    keys = sorted(images)
    for number, start in enumerate(range(0, len(keys), per_tar)):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for key in keys[start : start + per_tar]:
                member = tarfile.TarInfo(f"{key:09d}.jpg")
                member.size = len(images[key])
                tar.addfile(member, io.BytesIO(images[key]))


def write_hashed(place: Path) -> None:
    """Write `shards` and `scored`.

    30 scenes, then two copies of each of the first ten; then a broken and a plain image.
    Embeddings are random. The tar of the last rows is missing.
    """
    images = {n: encoded(scene(n)) for n in range(30)}
    names = list(COPIES)[:5]
    for n in range(20):
        images[30 + n] = COPIES[names[n % 5]][0](scene(n // 2))
    images[50] = encoded(scene(50))[:200]
    images[51] = encoded(scene(0).point(lambda _: 128))
    write_tars(place / "shards", images, per_tar=20)
    rows = [row(n, similarity=0.3 + n / 1000) for n in range(54)]
    write_tree(place / "scored", {0: rows[:25], 1: rows[25:]})
