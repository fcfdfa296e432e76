"""Shards of shapes as img2ds makes them, for tests of what reads them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image.encode import make_encoder
from img2ds.image.transform import InspectedImage, Transformer
from laion.clip.shapes import ShapeImage, shape_images


@dataclass
class Pair:
    """A sample: the members of a tar that share a key."""

    key: str
    body: bytes | None
    caption: str | None
    fields: dict[str, Any] = field(default_factory=dict)
    ending: str = "jpg"


def write_shard(path: Path, pairs: Iterable[Pair]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for pair in pairs:
            members = {"json": orjson.dumps(pair.fields)}
            if pair.caption is not None:
                members["txt"] = pair.caption.encode()
            if pair.body is not None:
                members[pair.ending] = pair.body
            for ending, data in members.items():
                member = tarfile.TarInfo(f"{pair.key}.{ending}")
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))


def downloaded(image: ShapeImage, encode_format: str = "jpg") -> Encoded:
    """An image as a dataset has it: sent as a JPEG, bordered to 256 pixels, encoded again."""
    quality = 1 if encode_format == "png" else 95
    transformer = Transformer(ImageOptions(encode_format=encode_format, encode_quality=quality))
    inspected = transformer.inspect(make_encoder("jpg", 85)(image.pixels))
    assert isinstance(inspected, InspectedImage)
    encoded = transformer.render(inspected)
    assert isinstance(encoded, Encoded)
    return encoded


def shape_pairs(number: int, count: int, encode_format: str = "jpg") -> list[Pair]:
    """The pairs of shard `number`; each fourth has the caption of another kind of image."""
    drawn = list(shape_images(number, count))
    pairs = []
    for place, image in enumerate(drawn):
        key = f"{number * 10_000 + place:09d}"
        encoded = downloaded(image, encode_format)
        other = next(p for p in drawn if p.shape != image.shape and p.colour != image.colour)
        mismatched = place % 4 == 3
        fields = {
            "url": f"http://shapes.test/{key}.jpg",
            "caption": image.caption,
            "key": key,
            "status": "success",
            "error_message": None,
            "width": encoded.width,
            "height": encoded.height,
            "original_width": encoded.original_width,
            "original_height": encoded.original_height,
            "license": "?",
            "language": "en",
            "sha256": f"{place:064x}",
            "mismatched": mismatched,
        }
        caption = other.caption if mismatched else image.caption
        pairs.append(Pair(key, bytes(encoded.data), caption, fields, encode_format))
    return pairs
