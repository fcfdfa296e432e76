"""Invalid and broken images, and decompression bombs: always an outcome, never an exception."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, Status
from img2ds.core.sample import Encoded
from img2ds.image.transform import Transformer
from tests.server.encodings import ENCODINGS, avif, jpeg, jpeg2000, jpeg_progressive, png, webp
from tests.server.image import png_bomb, png_chunk
from tests.server.photos import photo

SOURCE = photo(5, 48, 32)
#: Reasons that an image broken on purpose may fail for.
BROKEN = {Reason.NOT_AN_IMAGE, Reason.TRUNCATED_IMAGE, Reason.DECODE_ERROR, Reason.IMAGE_BOMB}
PNG_START = b"\x89PNG\r\n\x1a\n"


def outcome(body: bytes, **options: Any) -> Encoded | Failure:
    transformer = Transformer(ImageOptions(**{"image_size": 32, **options}))
    inspected = transformer.inspect(body)
    return inspected if isinstance(inspected, Failure) else transformer.render(inspected)


def reason(body: bytes, **options: Any) -> str:
    result = outcome(body, **options)
    assert isinstance(result, Failure), result
    assert result.status is Status.FAILED_TO_RESIZE
    return result.reason


@cache
def whole(encoding: str) -> bytes:
    return ENCODINGS[encoding](SOURCE)


@pytest.fixture
def no_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any codec that is reached fails the test."""

    def reached(*_: Any, **__: Any) -> None:
        pytest.fail("a codec was reached")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", reached)
    monkeypatch.setattr(cv2, "imdecode", reached)
    monkeypatch.setattr(Image, "open", reached)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Fails the test that allocates more than 16 MB from Python, NumPy or Pillow's buffers."""
    tracemalloc.start()
    yield
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 16_000_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "unknown"),
        (b"\0", "unknown"),
        (b"\n\n<!DOCTYPE html><html></html>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b'<?xml version="1.0"?><rss/>', "XML"),
        (b'<!-- by a drawing program -->\n<svg:svg xmlns:svg="x"/>', "SVG"),
        (b'<?xml version="1.0"?>\n<!-- ' + b"-" * 5000 + b'--><!DOCTYPE svg PUBLIC "x">\n<svg/>',
         "SVG"),
        (b"<!-- a page --><html><svg/></html>", "HTML"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html/>', "HTML"),
        (b"<!--" * 3000, "HTML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc", "HEIC"),
        (b"\xff\x0a\xfa\x7f\x01", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", "JPEG XL"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "video"),
        (b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0", "BMP"),
        (b"BMW and other cars, and P2 parking", "BMP"),
        (b"P2 is where to park", "unknown"),
        (b"\0\0\2\0\1\0\x10\x10", "ICO"),
        (b"\0\0\1\0\1\0\x10\x10", "ICO"),
        (b"%PDF-1.7", "PDF"),
        (b'{"error": "gone"}', "JSON"),
        (b"GIF88a" + bytes(20), "unknown"),
        (b"RIFF\x20\0\0\0WAVEfmt ", "unknown"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_codec")
def test_invalid_images(body: bytes, words: str) -> None:
    result = outcome(body)
    assert isinstance(result, Failure)
    assert result.reason == Reason.NOT_AN_IMAGE
    assert words in result.message


def png_header(width: int, height: int) -> bytes:
    return PNG_START + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def jpeg_header(width: int, height: int) -> bytes:
    """A good JPEG whose frame header tells another size."""
    body = bytearray(jpeg(SOURCE))
    struct.pack_into(">HH", body, body.index(b"\xff\xc0") + 5, height, width)
    return bytes(body)


def webp_header(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + bytes(20)


def tiff_header(*tags: tuple[int, int]) -> bytes:
    """A TIFF of these tags, all LONG, without pixels."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    "body",
    [
        png_bomb(),
        png_header(100_000, 100_000),
        png_header(2**31 - 1, 2**31 - 1),
        jpeg_header(65_000, 65_000),
        webp_header(2**24, 2**24),
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(20),
        b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 60_000, -60_000, 1, 24) + bytes(24),
        b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 60_000, 60_000, 1, 24),
        b"P6 60000 #\n60000 255 ",
        b"P4\n60000\n60000\n",
        tiff_header((256, 60_000), (257, 60_000)),
        avif(SOURCE).replace(struct.pack(">II", 48, 32), struct.pack(">II", 60_000, 60_000)),
        jpeg2000(SOURCE).replace(struct.pack(">II", 48, 32), struct.pack(">II", 60_000, 60_000))
        .replace(struct.pack(">IIH", 32, 48, 3), struct.pack(">IIH", 60_000, 60_000, 3)),
    ],
    ids=["png_bomb", "png", "png_largest", "jpeg", "webp", "gif", "bmp", "bmp_core", "pnm",
         "pnm_bits", "tiff", "avif", "jpeg2000"],
)  # fmt: skip
@pytest.mark.usefixtures("no_codec", "little_memory")
def test_bombs_are_known_by_their_header(body: bytes) -> None:
    assert reason(body) == Reason.IMAGE_BOMB
    assert reason(body, disable_all_reencoding=True) == Reason.IMAGE_BOMB
    assert reason(body, skip_reencode=True) == Reason.IMAGE_BOMB


@pytest.mark.usefixtures("little_memory")
def test_a_gif_frame_larger_than_its_screen() -> None:
    screen = b"GIF89a" + struct.pack("<HH", 10, 10) + b"\x80\0\0" + bytes(6)
    frame = b"," + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\0\x02\x02\x4c\x01\0;"
    assert reason(screen + frame) == Reason.IMAGE_BOMB


def test_a_webp_frame_larger_than_its_canvas() -> None:
    inner = bytearray(webp(SOURCE)[12:])
    struct.pack_into("<HH", inner, 14, 16_383, 16_383)
    canvas = struct.pack("<4sII", b"VP8X", 10, 0) + (9).to_bytes(3, "little") * 2
    body = b"WEBP" + canvas + bytes(inner)
    assert reason(b"RIFF" + struct.pack("<I", len(body)) + body) in BROKEN


@pytest.mark.usefixtures("little_memory")
def test_a_profile_that_unpacks_without_end_is_let_be() -> None:
    """50 kB of iCCP that would be 50 MB."""
    body = png(SOURCE)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(500_000)) for _ in range(100)) + packer.flush()
    chunk = png_chunk(b"iCCP", b"x\0\0" + packed)
    result = outcome(body[:33] + chunk + body[33:])
    assert isinstance(result, Encoded)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
@pytest.mark.parametrize("encoding", ["png", "png_palette"])  # OpenCV's and Pillow's
def test_chunks_that_libraries_stumble_over_are_outcomes(encoding: str, kind: bytes) -> None:
    body = whole(encoding)
    chunk = png_chunk(kind, b"x\0\0" + zlib.compress(bytes(3_000_000), 9))
    result = outcome(body[:33] + chunk + body[33:])
    assert isinstance(result, Encoded) or result.reason == Reason.DECODE_ERROR


@pytest.mark.parametrize("mode", ["keep_ratio", "center_crop"])
@pytest.mark.usefixtures("no_codec")
def test_a_line_is_not_blown_up_to_a_bomb(mode: str) -> None:
    """An image of 60 000 x 1 whose shorter side is to be 256 would have four thousand million."""
    body = png_header(60_000, 1)
    assert reason(body, resize_mode=mode, image_size=256) == Reason.IMAGE_BOMB


def test_sides_of_zero() -> None:
    for body in (png_header(0, 5), jpeg_header(0, 32), jpeg_header(48, 0)):
        assert reason(body) == Reason.DECODE_ERROR


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "gif_animated"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(encoding: str, share: float) -> None:
    body = whole(encoding)
    assert reason(body[: int(len(body) * share)]) == Reason.TRUNCATED_IMAGE


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp", "gif", "jpeg_exif_6", "avif",
                                      "bmp", "tiff", "jpeg2000", "pnm"])  # fmt: skip
def test_every_cut_of_a_header_is_an_outcome(encoding: str) -> None:
    body = whole(encoding)
    for end in range(min(len(body), 700)):
        result = outcome(body[:end])
        assert isinstance(result, Failure)
        assert result.reason in BROKEN


def test_stray_bytes_after_an_image_do_no_harm() -> None:
    for encoding in ENCODINGS:
        body = whole(encoding)
        assert outcome(body + b"\0\r\n<!-- served by -->") == outcome(body), encoding


mutations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
        st.tuples(st.just("flip"), st.floats(0, 0.2), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.integers(1, 40)),
        st.tuples(st.just("double"), st.floats(0, 1, exclude_max=True), st.integers(1, 40)),
        st.tuples(st.just("end"), st.floats(0.02, 1), st.just(0)),
    ),
    min_size=1,
    max_size=6,
)


def mutated(body: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    data = bytearray(body)
    for kind, place, value in changes:
        at = int(place * (len(data) - 1)) if data else 0
        if kind == "end":
            del data[at:]
        elif kind == "cut":
            del data[at : at + value]
        elif kind == "double":
            data[at:at] = data[at : at + value]
        elif data:
            data[at] = value if kind == "set" else data[at] ^ value
    return bytes(data)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(mutations, st.sampled_from(["border", "no", "center_crop"]), st.booleans())
def test_mutations_are_outcomes(
    encoding: str, changes: list[tuple[str, float, int]], mode: str, skip: bool
) -> None:
    body = mutated(whole(encoding), changes)
    # A size that was tampered with may be allocated up to this bound.
    result = outcome(body, resize_mode=mode, skip_reencode=skip, max_decoded_pixels=200_000)
    if isinstance(result, Failure):
        assert result.reason in BROKEN | {Reason.ENCODE_ERROR}
    else:
        with Image.open(io.BytesIO(result.data)) as image:
            assert image.format == "JPEG"
            assert image.size == (result.width, result.height)


def test_a_jpeg_of_a_thousand_scans_is_a_bomb(no_codec: None) -> None:
    """A scan of a hundred bytes makes libjpeg walk over all pixels: 27 ms for 64 megapixels."""
    start, scan, end = scans()
    assert reason(start + scan * 1000 + end) == "image_bomb"
    assert reason(start + (b"\xff\xfe\x00\x04\xff\xd9" + scan) * 1000 + end) == "image_bomb"


def test_scans_are_those_of_the_image() -> None:
    """Data after the image that looks like scans, such as a video, is not counted."""
    start, scan, end = scans()
    assert isinstance(outcome(start + scan * 20 + end), Encoded)
    assert isinstance(outcome(start + end + b"\xff\xda" * 1000), Encoded)


def test_long_runs_of_fill_bytes_are_read_once() -> None:
    """A search that begins again at each of them takes minutes."""
    start, scan, end = scans()
    run = b"\xff" * 500_000 + b"\0"
    assert reason(start + run + scan * 1000 + end) == "image_bomb"
    assert isinstance(outcome(start[:2] + run + start[2:] + end), Encoded)


def scans() -> tuple[bytes, bytes, bytes]:
    """A progressive image: its head with all scans, its last scan once more, and its end."""
    body = jpeg_progressive(SOURCE)
    last, end = body.rindex(b"\xff\xda"), body.rindex(b"\xff\xd9")
    return body[:end], body[last:end], body[end:]


def test_offsets_beyond_any_file() -> None:
    far = (1 << 63).to_bytes(8, "little")
    assert reason(b"II+\0\x08\0\0\0" + far + bytes(40)) == Reason.TRUNCATED_IMAGE
    box = b"\0\0\0\1jp2h" + b"\xff" * 8
    assert reason(b"\0\0\0\x0cjP  \r\n\x87\n" + box + bytes(40)) in BROKEN
