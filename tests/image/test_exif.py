"""EXIF as JSON with exifread's names; broken EXIF costs no image."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image.exif import exif_json
from img2ds.image.header import Header
from img2ds.image.orient import read_orientation
from img2ds.image.sniff import sniff
from img2ds.image.transform import InspectedImage, Transformer
from tests.server.encodings import jpeg, jpeg_oriented
from tests.server.photos import photo

SOURCE = photo(3, 48, 32)


def camera() -> Image.Exif:
    """Tags of the first directory, of the EXIF one and of GPS, in their usual types."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Sample", "Model 1", 6
    exif[0x011A] = 72.0
    shot = exif.get_ifd(0x8769)
    shot[0x829A], shot[0x8827], shot[0x9003] = IFDRational(1, 125), 200, "2020:01:02 03:04:05"
    shot[0x9286] = b"ASCII\0\0\0hello"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def test_names_and_values_are_exifreads() -> None:
    tags = json.loads(exif_json(camera().tobytes()[6:]))
    assert tags["Image Make"] == "Sample"
    assert tags["Image Orientation"] == "Rotated 90 CW"
    assert tags["EXIF ISOSpeedRatings"] == "200"
    assert tags["EXIF ExposureTime"] == "1/125"
    assert tags["EXIF DateTimeOriginal"] == "2020:01:02 03:04:05"
    assert tags["GPS GPSLatitudeRef"] == "N"
    assert all(isinstance(value, str) for value in tags.values())


@pytest.mark.parametrize("order", ["II", "MM"])
def test_both_byte_orders(order: str) -> None:
    sign = "<" if order == "II" else ">"
    block = order.encode() + struct.pack(sign + "HI", 42, 8)
    block += struct.pack(sign + "HHHIHHI", 1, 0x0112, 3, 1, 8, 0, 0)
    assert json.loads(exif_json(block)) == {"Image Orientation": "Rotated 90 CCW"}
    assert read_orientation(block) == 8


def test_none_is_an_empty_object() -> None:
    assert exif_json(None) == "{}"


@pytest.mark.parametrize(
    "block",
    [
        b"", b"II", b"II*\0", b"XX*\0\x08\0\0\0", b"II*\0\xff\xff\xff\xff", bytes(100),
        b"II*\0\x08\0\0\0\xff\xff",  # 65 535 entries, and the end
        b"MM\0*\0\0\0\x08\0\0\0\0\0\x08",  # the next directory is this one
    ],
)  # fmt: skip
def test_broken_blocks_are_empty_objects_and_upright(block: bytes) -> None:
    assert exif_json(block) == "{}"
    assert read_orientation(block) == 1


def oriented(kind: int, value: int) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, kind, 1, value, 0, 0)


def test_orientations_out_of_range_are_upright() -> None:
    assert [read_orientation(oriented(3, value)) for value in range(10)] == [
        1, 1, 2, 3, 4, 5, 6, 7, 8, 1,
    ]  # fmt: skip
    assert read_orientation(oriented(4, 6)) == 1  # not a SHORT


def test_text_that_is_not_utf8_is_told_somehow() -> None:
    block = camera().tobytes()[6:].replace(b"Sample", b"S\xe4\xff\0le")
    tags = json.loads(exif_json(block))
    assert tags["Image Model"] == "Model 1"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12), st.floats(0, 1))
def test_mutated_blocks_are_json(changes: list[tuple[float, int]], share: float) -> None:
    block = bytearray(camera().tobytes()[6:])
    for place, value in changes:
        block[int(place * (len(block) - 1))] = value
    end = len(block) if share > 0.5 else int(2 * share * len(block))
    tags = json.loads(exif_json(bytes(block[:end])))
    assert isinstance(tags, dict)
    assert 1 <= read_orientation(bytes(block[:end])) <= 8


@pytest.mark.parametrize(("kind", "count"), [(5, 900), (3, 900), (2, 30_000)])
def test_blocks_built_to_waste_time_are_skipped(kind: int, count: int) -> None:
    """2500 tags that all have the same long value: seconds to read, or 75 MB of text."""
    tags = b"".join(struct.pack("<HHII", tag, kind, count, 30_020) for tag in range(2500))
    block = (b"II*\0\x08\0\0\0" + struct.pack("<H", 2500) + tags + bytes(4)).ljust(64_000, b"A")
    assert exif_json(block) == "{}"


def test_broken_exif_costs_no_row() -> None:
    body = jpeg_oriented(SOURCE, 6)
    at = body.index(b"Exif\0\0") + 6
    length = struct.unpack_from(">H", body, at - 8)[0] - 8
    transformer = Transformer(ImageOptions(image_size=32))
    for rubbish in (bytes(length), b"\xff" * length, b"II*\0" + b"\x08\0\0\0" + b"\xff" * length):
        broken = body[:at] + rubbish[:length] + body[at + length :]
        inspected = transformer.inspect(broken)
        assert isinstance(inspected, InspectedImage)
        result = transformer.render(inspected)
        assert isinstance(result, Encoded)
        assert result.exif == "{}"
        assert (result.original_width, result.original_height) == (32, 48)  # as stored


def test_the_block_is_found_in_a_jpeg() -> None:
    header = sniff(jpeg_oriented(SOURCE, 6))
    assert isinstance(header, Header)
    assert read_orientation(header.exif) == 6
    plain = sniff(jpeg(SOURCE))
    assert isinstance(plain, Header)
    assert plain.exif is None
