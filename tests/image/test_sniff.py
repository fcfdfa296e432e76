"""Headers tell what Pillow tells of the same files, without a pixel decoded."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from img2ds.config.image import IMAGE_FORMATS
from img2ds.core.failure import Failure, Reason
from img2ds.image.header import MAX_ICC, Header
from img2ds.image.sniff import FORMATS, sniff
from tests.server.encodings import ENCODINGS, alpha, jpeg, jpeg_oriented, png, webp
from tests.server.image import png_chunk
from tests.server.photos import photo

SOURCE = photo(9, 53, 37)


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM")


def header(body: bytes | bytearray) -> Header:
    found = sniff(body)
    assert isinstance(found, Header), found
    return found


def test_formats_of_the_flag_are_those_that_can_be_read() -> None:
    assert set(FORMATS) == set(IMAGE_FORMATS)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_format_and_size_are_pillows(encoding: str) -> None:
    body = ENCODINGS[encoding](SOURCE)
    found = header(body)
    with Image.open(io.BytesIO(body)) as image:
        assert found.format.upper() == {"PPM": "PNM"}.get(image.format or "", image.format)
        assert (found.width, found.height) == image.size  # as stored
    assert found.complete
    assert header(bytearray(body)) == found


@pytest.mark.parametrize(
    ("encoding", "channels", "depth", "palette", "transparent"),
    [
        ("jpeg", 3, 8, False, False),
        ("jpeg_progressive", 3, 8, False, False),
        ("jpeg_grey", 1, 8, False, False),
        ("jpeg_cmyk", 4, 8, False, False),
        ("png", 3, 8, False, False),
        ("png_rgba", 3, 8, False, True),
        ("png_palette", 3, 8, True, False),
        ("png_grey", 1, 8, False, False),
        ("png_16bit", 3, 16, False, False),
        ("png_grey_16bit", 1, 16, False, False),
        ("webp", 3, 8, False, False),
        ("webp_lossless", 3, 8, False, False),
        ("webp_alpha", 3, 8, False, True),
        ("gif", 3, 8, True, False),
    ],
)
def test_kinds(encoding: str, channels: int, depth: int, palette: bool, transparent: bool) -> None:
    found = header(ENCODINGS[encoding](SOURCE))
    assert (found.channels, found.depth) == (channels, depth)
    assert (found.palette, found.transparent) == (palette, transparent)
    assert (found.frame is not None) is (encoding == "gif")


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(KINDS))
def test_any_size(width: int, height: int, kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, kind)
    found = header(file.getvalue())
    assert (found.width, found.height) == (width, height)


def test_lossless_webp_with_alpha() -> None:
    file = io.BytesIO()
    Image.fromarray(alpha(SOURCE)).save(file, "WEBP", lossless=True)
    assert header(file.getvalue()).transparent


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata_are_found(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = bytes(range(256)) * (500 if kind == "JPEG" else 2)  # a JPEG needs two segments
    file = io.BytesIO()
    Image.fromarray(SOURCE).save(file, kind, exif=exif, icc_profile=profile)
    found = header(file.getvalue())
    assert found.exif == exif.tobytes().removeprefix(b"Exif\0\0")
    assert found.icc == profile


def test_segments_of_a_profile_are_joined_by_their_numbers() -> None:
    def segment(number: int, data: bytes) -> bytes:
        content = b"ICC_PROFILE\0" + bytes([number, 2]) + data
        return b"\xff\xe2" + struct.pack(">H", len(content) + 2) + content

    body = jpeg(SOURCE)
    first, second = b"b" * 100, b"a" * 100
    found = header(body[:2] + segment(2, second) + segment(1, first) + body[2:])
    assert found.icc == first + second


def test_profiles_of_the_wrong_size_are_ignored() -> None:
    for profile in (b"short", bytes(MAX_ICC + 1)):
        file = io.BytesIO()
        Image.fromarray(SOURCE).save(file, "WEBP", icc_profile=profile)
        assert header(file.getvalue()).icc is None
    body = png(SOURCE)
    for packed in (b"not deflated", b""):
        broken = body[:33] + png_chunk(b"iCCP", b"name\0\0" + packed) + body[33:]
        assert header(broken).icc is None


def test_segments_before_the_frame_and_fill_bytes_are_passed() -> None:
    body = jpeg(SOURCE)
    comment = b"\xff\xfe" + struct.pack(">H", 60_000) + bytes(59_998)
    for before in (comment, b"\xff" * 5 + b"\xfe\0\x02", b"\xff\x01", comment * 4):
        found = header(body[:2] + before + body[2:])
        assert (found.width, found.height) == (53, 37)


def test_a_thumbnails_frame_is_not_the_images() -> None:
    exif = Image.Exif()
    exif[0x9286] = jpeg(photo(1, 40, 40))
    file = io.BytesIO()
    Image.fromarray(SOURCE).save(file, "JPEG", exif=exif)
    found = header(file.getvalue())
    assert (found.width, found.height) == (53, 37)


def test_a_missing_end_is_seen() -> None:
    for body in (png(SOURCE), webp(SOURCE)):
        assert not header(body[:-20]).complete


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xd8\xff", Reason.TRUNCATED_IMAGE),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", Reason.TRUNCATED_IMAGE),
        (b"\xff\xd8\xff\xd9\0\2", Reason.DECODE_ERROR),
        (b"\xff\xd8\xff\xe0\x00\x01JFIF" + bytes(50), Reason.DECODE_ERROR),
        (b"\xff\xd8\xff\xe0\x00\x04JFIF" + bytes(50), Reason.DECODE_ERROR),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Reason.TRUNCATED_IMAGE),
        (b"RIFF\x10\0\0\0WEBPVP8 ", Reason.TRUNCATED_IMAGE),
        (b"RIFF\x10\0\0\0WEBPVP9 " + bytes(50), Reason.DECODE_ERROR),
        (b"GIF89a\x01", Reason.TRUNCATED_IMAGE),
        (b"\xff\xd8", Reason.NOT_AN_IMAGE),
    ],
)
def test_broken_headers(body: bytes, reason: Reason) -> None:
    found = sniff(body)
    assert isinstance(found, Failure)
    assert found.reason == reason


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\0\0\0\0WEBPVP8X",
            b"GIF89a",
            b"",
            b"\0\0\0\x10ftypavif\0\0\0\0",
            b"BM" + bytes(12) + b"(\0\0\0",
            b"II*\0\x08\0\0\0",
            b"P6 ",
            b"\0\0\0\x0cjP  \r\n\x87\n",
            b"\xff\x4f\xff\x51",
        ]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_are_a_header_or_a_failure(start: bytes, rest: bytes) -> None:
    assert isinstance(sniff(start + rest), (Header, Failure))


def test_orientation_does_not_touch_the_stored_size() -> None:
    found = header(jpeg_oriented(SOURCE, 6))
    assert (found.width, found.height) == (37, 53)
