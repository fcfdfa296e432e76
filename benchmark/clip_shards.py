"""Shards of real images, as img2ds writes them, for measuring what reads them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from benchmark.corpus import open_corpus
from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image.transform import InspectedImage, Transformer
from laion.clip.decoder import Shard
from laion.samples.source import SampleShard

CAPTION = "A photo of number {} of the things that people show each other, with a caption"


def make_shards(folder: Path, bodies: list[bytes], shards: int, count: int) -> list[str]:
    """Shards of `count` pairs as img2ds writes them; their paths."""
    paths = []
    for number in range(shards):
        path = folder / f"{number:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
            for place in range(count):
                key = f"{number * 10_000 + place:09d}"
                fields = f'{{"url": "http://host.test/{key}.jpg", "key": "{key}", "license": "?"}}'
                for ending, data in (
                    ("jpg", bodies[(number * count + place) % len(bodies)]),
                    ("txt", CAPTION.format(place).encode()),
                    ("json", fields.encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))
        paths.append(str(path))
    return paths


def sample_bodies() -> list[bytes]:
    """The corpus's images as img2ds keeps them: 256 pixels with borders, quality 95."""
    corpus = open_corpus()
    transformer = Transformer(ImageOptions())
    found = []
    for file in corpus.images[::3]:
        image = transformer.inspect((corpus.folder / "picture" / file.name).read_bytes())
        assert isinstance(image, InspectedImage)
        encoded = transformer.render(image)
        assert isinstance(encoded, Encoded)
        found.append(bytes(encoded.data))
    return found


def numbered(paths: list[str]) -> Iterator[Shard]:
    """The input of a loader."""
    return (Shard(number, SampleShard(path, None)) for number, path in enumerate(paths))
