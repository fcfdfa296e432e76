"""Perceptual hashes of the images in shards: those of the originals, but for a few bits."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded, Sample
from img2ds.formats.webdataset import TarWriter
from img2ds.image.pdq import pdq_hash
from img2ds.image.transform import InspectedImage, Transformer
from img2ds.storage import OutputFolder
from laion.tag.image_hashes import pdq_column
from laion.tag.purge import ImageShards
from tests.server.encodings import jpeg
from tests.server.photos import photo

SIZES = [(400, 300), (300, 500), (640, 480), (120, 100)]


def stored(number: int, mode: str) -> bytes:
    transformer = Transformer(ImageOptions(resize_mode=mode))
    image = transformer.inspect(jpeg(photo(number, *SIZES[number])))
    assert isinstance(image, InspectedImage)
    encoded = transformer.render(image)
    assert isinstance(encoded, Encoded)
    return bytes(encoded.data)


@pytest.mark.parametrize("mode", ["keep_ratio", "border"])
def test_hashes_are_those_of_the_originals(tmp_path: Path, mode: str) -> None:
    keys = ["0000000", "0000001", "0000100", "0000101"]
    for number in range(2):
        writer = TarWriter(f"{number:05d}.tar", "jpg", lambda n: str(tmp_path / n))
        for place in (2 * number, 2 * number + 1):
            writer.add(Sample(place, keys[place], stored(place, mode), "", {}))
        if number:
            writer.add(Sample(9, "0000109", b"no image", "", {}))
        writer.finish(pa.table({}))
    shards = ImageShards(OutputFolder.open(str(tmp_path)), 100, 5)
    table = pa.table(
        {
            "key": [*keys, "0000109", "0000108"],
            "original_width": [size[0] for size in SIZES] + [10, None],
            "original_height": [size[1] for size in SIZES] + [10, None],
        }
    )
    *found, broken, missing = pdq_column(shards, table).to_pylist()
    assert broken is missing is None
    for number, text in enumerate(found):
        own = pdq_hash(photo(number, *SIZES[number]))
        assert own is not None
        assert (int(text, 16) ^ int(own.bytes.hex(), 16)).bit_count() <= 8
