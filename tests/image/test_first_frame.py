"""The first frame of GIFs and WebPs: its place, and what it leaves uncovered."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2ds.core.failure import Failure, Reason
from img2ds.image.header import Header
from img2ds.image.sniff import sniff
from tests.image.reference import Pixels, upright
from tests.image.test_png import outcome, reason, shown
from tests.server.encodings import alpha
from tests.server.photos import photo

SOURCE = photo(8, 40, 30)
RED, BLUE = (200, 10, 20), (20, 30, 220)


def lzw(indices: list[int]) -> bytes:
    """Two-bit indices as LZW data that never grow their codes (GIF89a, appendix F)."""
    codes = [code for index in indices for code in (4, index)] + [5]
    bits = sum(code << 3 * at for at, code in enumerate(codes))
    data = bits.to_bytes(-(-3 * len(codes) // 8), "little")
    blocks = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"\2" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def frame(left: int, top: int, pixels: list[list[int]], clear: int | None = None,
          disposal: int = 0) -> bytes:  # fmt: skip
    flags = disposal << 2 | (clear is not None)
    control = b"!\xf9\4" + bytes([flags, 0, 0, clear or 0, 0])
    place = struct.pack("<HHHHB", left, top, len(pixels[0]), len(pixels), 0)
    return control + b"," + place + lzw([index for row in pixels for index in row])


def gif(width: int, height: int, *frames: bytes, before: bytes = b"", background: int = 0) -> bytes:
    """Colours are red and blue."""
    screen = struct.pack("<HHBBB", width, height, 0x80, background, 0)
    return b"GIF89a" + screen + bytes(RED + BLUE) + before + b"".join(frames) + b";"


CHECKED = [[0, 1, 0], [1, 0, 1]]
COLOURS = np.array([RED, BLUE], np.uint8)[np.array(CHECKED)]
DARK = frame(0, 0, [[1] * 6] * 5)


def on_white(width: int, height: int, left: int, top: int) -> Pixels:
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[top : top + 2, left : left + 3] = COLOURS
    return canvas


@pytest.mark.parametrize("disposal", range(4))
@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("more", [(), (DARK,)])
def test_what_a_small_frame_leaves_uncovered_is_white(
    disposal: int, background: int, more: tuple[bytes, ...]
) -> None:
    body = gif(6, 5, frame(2, 1, CHECKED, disposal=disposal), *more, background=background)
    assert (shown(body) == on_white(6, 5, 2, 1)).all()


@pytest.mark.parametrize(
    ("screen", "place", "size"),
    [
        ((2, 2), (0, 0), (3, 2)),
        ((2, 9), (1, 0), (4, 9)),
        ((1, 1), (4, 5), (7, 7)),
        ((0, 0), (0, 0), (3, 2)),
        ((0, 0), (4, 5), (3, 2)),
        ((7, 0), (4, 5), (3, 2)),
    ],
)
def test_the_screen_grows_with_the_first_frame(
    screen: tuple[int, int], place: tuple[int, int], size: tuple[int, int]
) -> None:
    left, top = place if all(screen) else (0, 0)
    pixels = shown(gif(*screen, frame(*place, CHECKED)))
    assert (pixels == on_white(*size, left, top)).all()


def test_a_transparent_colour_is_white() -> None:
    expected = COLOURS.copy()
    expected[np.array(CHECKED) == 1] = 255
    assert (shown(gif(3, 2, frame(0, 0, CHECKED, clear=1))) == expected).all()
    # Not that of another frame, nor of a frame's colours that an extension between resets.
    both = gif(3, 2, frame(0, 0, CHECKED), frame(0, 0, CHECKED, clear=1))
    assert (shown(both) == COLOURS).all()


@pytest.mark.parametrize(
    "before", [b"!\xfe\3a,;\0", b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0", b"\0\0\0", b"!\xfe\0" * 9]
)
def test_what_precedes_the_first_frame(before: bytes) -> None:
    assert (shown(gif(3, 2, frame(0, 0, CHECKED), before=before)) == COLOURS).all()


def test_gifs_without_a_frame() -> None:
    assert reason(gif(3, 2)) == Reason.DECODE_ERROR
    assert reason(gif(3, 2, before=b"!\xfe\3a")) == Reason.TRUNCATED_IMAGE
    assert reason(gif(3, 2, before=b"!\xfe" + b"\1a" * 300_000)) == Reason.DECODE_ERROR


@pytest.mark.parametrize("disposal", range(4))
def test_a_gif_frame_that_is_a_bomb_by_its_header(
    disposal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", None)
    descriptor = b"," + struct.pack("<HHHHB", 0, 0, 20_000, 20_000, 0)
    body = gif(1, 1, b"!\xf9\4" + bytes([disposal << 2, 0, 0, 0, 0]) + descriptor + lzw([0]))
    assert reason(body) == Reason.IMAGE_BOMB


def webp(*frames: Pixels, **options: Any) -> bytes:
    file = io.BytesIO()
    images = [Image.fromarray(pixels) for pixels in frames]
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:]}
    images[0].save(file, "WEBP", **{"lossless": True, **options})
    return file.getvalue()


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("clear", [False, True])
def test_the_first_frame_of_an_animated_webp(lossless: bool, clear: bool) -> None:
    pixels = alpha(SOURCE) if clear else SOURCE
    body = webp(pixels, 255 - pixels, lossless=lossless, quality=80)
    assert np.abs(shown(body) - upright(body)).max() < 1.5
    found = sniff(body)
    assert isinstance(found, Header)
    assert found.frame is not None


@pytest.mark.parametrize("lossless", [True, False])
def test_an_animated_webp_whose_later_frame_is_cut(lossless: bool) -> None:
    body = webp(SOURCE, 255 - SOURCE, lossless=lossless)
    second = body.rindex(b"ANMF")
    for end in (second, second + 10, second + 100, len(body) - 1):
        assert (shown(body[:end]) == shown(body)).all()
    assert reason(body[: second - 50]) == Reason.TRUNCATED_IMAGE
    assert reason(body[: body.index(b"ANMF") + 12]) == Reason.TRUNCATED_IMAGE


@pytest.mark.parametrize("pixels", [SOURCE, alpha(SOURCE)], ids=["opaque", "alpha"])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_that_is_cut_behind_its_pixels(pixels: Pixels, lossless: bool) -> None:
    body = webp(pixels, lossless=lossless, exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(60))
    assert (shown(body[:-20]) == shown(body)).all()
    assert reason(body[: body.index(b"EXIF") - 20]) == Reason.TRUNCATED_IMAGE
    plain = webp(SOURCE, lossless=lossless)
    longer = plain[:4] + struct.pack("<I", len(plain) + 100) + plain[8:] + b"XMP "
    assert (shown(longer) == shown(plain)).all()


def test_a_webp_frame_at_its_place() -> None:
    body = bytearray(webp(SOURCE, 255 - SOURCE))
    height, width = SOURCE.shape[:2]
    start = body.index(b"ANMF") + 8
    body[start : start + 6] = b"\2\0\0\1\0\0"  # at (4, 2), in a canvas of 50 x 40
    body[24:30] = (49).to_bytes(3, "little") + (39).to_bytes(3, "little")
    expected = np.full((40, 50, 3), 255, np.uint8)
    expected[2 : 2 + height, 4 : 4 + width] = SOURCE
    assert (shown(bytes(body)) == expected).all()


@pytest.mark.parametrize("what", ["place", "size", "data"])
def test_a_webp_frame_that_does_not_fit_is_known_by_the_header(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cv2.imdecode", None)
    body = bytearray(webp(SOURCE, 255 - SOURCE))
    start = body.index(b"ANMF") + 8
    if what == "place":
        body[start] = 5
    elif what == "size":
        body[start + 6 : start + 9] = (9999).to_bytes(3, "little")
    else:
        struct.pack_into("<I", body, start + 16 + 8 + 1, 0xFFFFFFF)  # 16 384 x 16 384
    assert reason(bytes(body)) == Reason.DECODE_ERROR


def test_the_smallest_lossless_webp() -> None:
    """Of 28 bytes: one pixel, and five codes of one symbol each."""
    codes = sum(1 << 3 + 4 * place for place in range(5))
    data = b"\x2f" + bytes(4) + codes.to_bytes(3, "little")
    body = b"RIFF\x14\0\0\0WEBPVP8L" + struct.pack("<I", len(data)) + data
    assert (shown(body) == 0).all()


def test_frames_of_every_cut_are_outcomes() -> None:
    for body in (gif(6, 5, frame(2, 1, CHECKED), DARK), webp(SOURCE, 255 - SOURCE)[:300]):
        for end in range(len(body)):
            result = outcome(body[:end])
            if isinstance(result, Failure):
                assert result.reason in (Reason.NOT_AN_IMAGE, Reason.TRUNCATED_IMAGE)
