"""Headers that ask for much work: it is bounded before any of it is done."""

from __future__ import annotations

import struct
import sys
import zlib
from types import FrameType
from typing import Any

import pytest
import simplejpeg

from img2ds.core.failure import Failure, Reason
from img2ds.image.header import Header
from img2ds.image.headers import jpeg
from img2ds.image.headers.av1 import read_sequence
from img2ds.image.pnm import decode_pnm
from img2ds.image.sniff import sniff
from tests.image.jpeg_parts import ZEROS, assemble, quantisation, scan, segment
from tests.server.encodings import ENCODINGS
from tests.server.image import png_chunk
from tests.server.photos import photo

#: A scan of one component without data: 10 bytes.
EMPTY_SCAN = segment(0xDA, b"\1\2\0\0\x3f\0")
#: Bodies of the size that a run accepts would only repeat more.
LENGTH = 12_000_000
#: Lines of Python that reading any header may run: less than a second with all that is counted.
MOST_LINES = 2_000_000


def picture(width: int, height: int, *scans: bytes, marker: int = 0xC0) -> bytes:
    """A JPEG in colour, its first scan of one component."""
    colour = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    start = (quantisation(1), segment(marker, colour), ZEROS, segment(0xDD, b"\0\1"))
    return assemble(*start, scan("00"), *scans)


def failed(body: bytes) -> Failure | None:
    found = sniff(body)
    return found if isinstance(found, Failure) else None


@pytest.mark.parametrize(
    ("marker", "most"),
    [(0xC0, 10), (0xC1, 10), (0xC2, 100), (0xC3, 10), (0xC9, 10), (0xCA, 100)],
)
def test_scans_of_every_frame_are_counted(marker: int, most: int) -> None:
    assert failed(picture(16, 16, EMPTY_SCAN * (most - 1), marker=marker)) is None
    found = failed(picture(16, 16, EMPTY_SCAN * most, marker=marker))
    assert found is not None
    assert found.reason == Reason.IMAGE_BOMB


@pytest.mark.parametrize("low", [0x01, 0x02, 0x4F, 0xBF])
def test_no_length_hides_scans(low: int) -> None:
    """A decoder that looks for a restart skips such markers, and what follows is not theirs."""
    found = failed(picture(16, 16, bytes([0xFF, low, 0xFF, 0xFF]) + EMPTY_SCAN * 100))
    assert found is not None
    assert found.reason == Reason.IMAGE_BOMB


@pytest.mark.parametrize(("side", "most"), [(2236, 100), (3162, 50), (4500, 25), (9400, 25)])
def test_scans_by_size(side: int, most: int) -> None:
    assert failed(picture(side, side, EMPTY_SCAN * (most - 1), marker=0xC2)) is None
    found = failed(picture(side, side, EMPTY_SCAN * most, marker=0xC2))
    assert found is not None
    assert found.message == f"JPEG of more than {most} scans"


def test_what_follows_a_single_scan_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libjpeg does not read it, and counting would take time."""
    body = ENCODINGS["jpeg"](photo(5, 48, 32))
    monkeypatch.setattr(jpeg, "scan_markers", None)
    assert isinstance(sniff(body[:-2] + EMPTY_SCAN * 1000 + body[-2:]), Header)
    with pytest.raises(ValueError, match="more than one scan"):
        simplejpeg.decode_jpeg(body[:-2] + EMPTY_SCAN + body[-2:])


def test_reserved_markers_break_a_header() -> None:
    body = picture(16, 16)
    found = failed(body[:2] + b"\xff\x02\0\2" + body[2:])
    assert found is not None
    assert found.message == "broken JPEG header"


PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 9, 9, 8, 2, 0, 0, 0) + bytes(4)
WEBP = b"RIFF\xf0\xff\xff\2WEBPVP8X\x0a\0\0\0\x0c\0\0\0\x63\0\0\x63\0\0"
GIF = b"GIF89a\x0a\0\x0a\0\0\0\0"
TIFF = struct.pack("<2sHIH", b"II", 42, 8, 65535)
CODESTREAM = b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">8IH", 9, 9, 0, 0, 9, 9, 0, 0, 3)
SCANS = EMPTY_SCAN * 200


@pytest.mark.parametrize(
    ("start", "part", "end"),
    [
        (PNG, b"\0\0\0\0teXt\0\0\0\0", b""),
        (PNG, b"\0\0\0\0eXIf\0\0\0\0", b""),
        (b"\xff\xd8", b"\xff\xfe\0\2", b""),
        (b"\xff\xd8", b"\xff\x01", b""),
        (b"\xff\xd8", b"\xff\xe2\0\x10ICC_PROFILE\0\1\1", b""),
        (picture(16, 16, marker=0xC2)[:-2], b"\xff\xfe\0\2", SCANS),
        (picture(16, 16, marker=0xC2)[:-2], b"\xff\x01", SCANS),
        (WEBP, b"XXXX\0\0\0\0", b""),
        (GIF, b"!\1\0", b""),
        (GIF, b"!\xf9\4\1\0\0\1\0", b""),
        (TIFF, struct.pack("<HHII", 300, 3, 1, 1), b""),
        (CODESTREAM + b"\7\1\1" * 3, b"\xff\x64\0\2", b""),
        (CODESTREAM + b"\7\1\1" * 3, b"\xff\x52\0\x2d\1\0\0\1\0\x20\0\0\0\0" + b"\xff" * 33, b""),
        (b"\0\0\0\x14ftypavif\0\0\0\0avif", b"\0\0\0\x08free", b""),
    ],
    ids=[
        "png", "png-exif", "jpeg", "jpeg-tem", "jpeg-icc", "scans", "scans-tem", "webp", "gif",
        "gif-control", "tiff", "jpeg2000", "jpeg2000-styles", "avif",
    ],
)  # fmt: skip
def test_steps_are_bounded(start: bytes, part: bytes, end: bytes) -> None:
    body = start + part * (LENGTH // len(part)) + end
    lines = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        if lines > MOST_LINES:
            raise RuntimeError("too much work")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        sniff(body)
    finally:
        sys.settrace(before)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xd8\xff" + b"\xff" * 3_000_000, "decode_error"),
        (GIF + b"x" * 300_000, "decode_error"),
        (b"P1" + b" " * 100_000 + b"1 1 0", "not_an_image"),
        (b"P1 " + b"#\n" * 50_000 + b"1 1 0", "not_an_image"),
    ],
    ids=["jpeg", "gif", "pnm", "pnm-comments"],
)
def test_stray_bytes_are_bounded(body: bytes, reason: str) -> None:
    found = failed(body)
    assert found is not None
    assert found.reason == reason


def test_one_profile_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[bytes] = []
    monkeypatch.setattr("img2ds.image.headers.png._inflate_icc", inflated.append)
    sniff(PNG + png_chunk(b"iCCP", b"a\0\0first") + png_chunk(b"iCCP", b"a\0\0second"))
    assert inflated == [b"first"]


def test_units_of_av1_are_counted() -> None:
    frame = b"\x32\x00"
    found = read_sequence(frame * 40)
    assert found is not None
    assert found.frames == 40
    assert read_sequence(b"\x12\0" * 1001) is None


def test_an_avif_of_many_frames_is_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    body = ENCODINGS["avif"](photo(5, 48, 32))
    assert failed(body) is None
    monkeypatch.setattr("img2ds.image.headers.avif._MAX_FRAMES", 0)
    found = failed(body)
    assert found is not None
    assert found.reason == Reason.IMAGE_BOMB


def test_no_more_data_are_inflated_than_pixels_have() -> None:
    """Empty blocks and what follows the last pixel would be inflated, too."""
    head = PNG[:8] + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    data = b"\x78\x01" + b"\0\0\0\xff\xff" * 1_000_000
    found = failed(head + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b""))
    assert found == Failure("image_bomb", "PNG of more data than its pixels have")
    stored = zlib.compress(bytes(4), 0)
    assert failed(head + png_chunk(b"IDAT", stored) + png_chunk(b"IEND", b"")) is None


def test_tags_of_a_tiff_are_bounded() -> None:
    def page(*more: tuple[int, int, int, int]) -> bytes:
        tags = [(256, 4, 1, 4), (257, 4, 1, 4), (262, 3, 1, 1), *more]
        entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
        return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(400_000)

    assert failed(page()) is None
    found = failed(page((258, 1, 300_000, 100)))
    assert found is not None
    assert found.reason == Reason.IMAGE_BOMB
    found = failed(page((259, 3, 1, 34925)))
    assert found is not None
    assert found.message == "not supported: TIFF compressed by LZMA"


def test_comments_of_a_pnm_are_bounded() -> None:
    with pytest.raises(ValueError, match="comments"):
        decode_pnm(b"P3 16 16 255 " + b"#\n" * 20_000 + b"1 " * 768)
    assert decode_pnm(b"P3 16 16 255 " + b"#\n" * 20 + b"1 " * 768) is not None
