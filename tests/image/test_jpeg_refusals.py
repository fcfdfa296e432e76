"""JPEGs that libjpeg refuses or that exhaust a decoder: the built-in decoder refuses them."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
import simplejpeg

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image import decode
from img2ds.image.transform import InspectedImage, Transformer
from tests.image.extension import require
from tests.image.jpeg_parts import ZEROS, assemble, code, frame, quantisation, scan, segment
from tests.image.reference import opened
from tests.server.encodings import jpeg
from tests.server.photos import photo

_jpeg = require("jpeg")


def is_taken(body: bytes) -> bool:
    return isinstance(_jpeg.decode_planes(body, 8, False, 1 << 30), tuple)


def is_libjpeg_s(body: bytes) -> bool:
    try:
        return bool(simplejpeg.decode_jpeg(body, "GRAY").size)
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("sampling", "good"), [(0x11, True), (0x44, True), (0x51, False), (0x1F, False)]
)
def test_sampling_of_grey(sampling: int, good: bool) -> None:
    body = assemble(quantisation(1), frame(0xC0, 8, 8, sampling), ZEROS, scan("00"))
    assert is_taken(body) == is_libjpeg_s(body) == good


@pytest.mark.parametrize(("side", "good"), [(65500, True), (65501, False), (65535, False)])
@pytest.mark.parametrize("wide", [True, False])
def test_sides_are_no_longer_than_libjpeg_takes(side: int, good: bool, wide: bool) -> None:
    size = (side, 8) if wide else (8, side)
    bits = "00" * -(-side // 8)
    body = assemble(quantisation(1), frame(0xC0, *size), ZEROS, scan(bits))
    assert is_taken(body) == is_libjpeg_s(body) == good


@pytest.mark.parametrize(
    ("dc", "good"),
    [
        (code(0, b"\0"), True),
        (code(0, b"\0\1"), False),
        (code(0, b"\0", b"\1"), True),
        (code(0, b"\0", b"\1\2"), False),
        (code(0, b"\0", *[b""] * 14, bytes(range(1, 12))), True),
    ],
)
def test_no_code_is_all_ones(dc: bytes, good: bool) -> None:
    body = assemble(quantisation(1), frame(0xC0, 8, 8), dc, code(0x10, b"\0"), scan("00"))
    assert is_taken(body) == is_libjpeg_s(body) == good


def test_steps_of_zero_are_left_to_libjpeg() -> None:
    """Any mean would be within bounds then, and their sum without end."""
    for step in (0, 1):
        body = assemble(quantisation(step), frame(0xC0, 8, 8), ZEROS, scan("00"))
        assert is_taken(body) == bool(step)


def differences(count: int) -> bytes:
    """A progressive image of blocks that are each brighter by 8192, which is shifted away."""
    return assemble(
        quantisation(1),
        frame(0xC2, 8 * count, 8),
        code(0x00, b"\x0e"),
        code(0x10, b"\0"),
        scan(("0" + "1" + 13 * "0") * count, 0, 0, 0x03),
        *(scan("0" * count, 0, 0, shifts) for shifts in (0x32, 0x21, 0x10)),
        scan("0" * count, 1, 63),
    )


def test_sums_of_differences_stay_in_16_bits() -> None:
    assert is_taken(differences(3))
    assert not is_taken(differences(4))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak to be read")
def test_what_breaks_off_at_once_costs_no_memory() -> None:
    """Nine thousand pixels a side have 530 MB of coefficients."""
    colour = struct.pack(">BHHB", 8, 9000, 9000, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    body = assemble(quantisation(1), segment(0xC2, colour), ZEROS, scan("000", 0, 0, 0, 3))
    program = (
        "from pathlib import Path; from img2ds.image.native import _jpeg\n"
        f"assert _jpeg.decode_planes({body!r}, 8, False, 1 << 30) == _jpeg.CUT\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) < 200_000  # kB, of which Python has a tenth


def test_what_is_declined_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at the end is found only after as much work as for the whole image."""

    def tried(*_: object) -> None:
        pytest.fail("tried again")

    transformer = Transformer(ImageOptions(image_size=32))
    body = jpeg(photo(5, 48, 32))
    half = len(body) // 2
    found = transformer.inspect(body[:half] + body[half + 20 :])
    assert isinstance(found, InspectedImage)
    monkeypatch.setattr(decode, "decode_rgb", tried)
    assert isinstance(transformer.render(found), Encoded)  # as browsers show it


@pytest.mark.parametrize("sampling", [(0x42, 0x11, 0x11), (0x22, 0x21, 0x11), (0x11, 0x22, 0x11)])
def test_odd_sampling_of_chroma_is_left_to_pillow(sampling: tuple[int, int, int]) -> None:
    """TurboJPEG, between simplejpeg and libjpeg, knows the usual ones alone."""
    blocks = sum((factors >> 4) * (factors & 15) for factors in sampling)
    parts = b"".join(bytes([i, factors, 0]) for i, factors in enumerate(sampling, 1))
    colour = segment(0xC0, struct.pack(">BHHB", 8, 16, 16, 3) + parts)
    body = assemble(quantisation(1), colour, ZEROS, scan("00" * blocks, components=3))
    transformer = Transformer(ImageOptions(encode_format="png", encode_quality=1, image_size=16))
    found = transformer.inspect(body)
    assert isinstance(found, InspectedImage)
    result = transformer.render(found)
    assert isinstance(result, Encoded)
    assert (opened(bytes(result.data)) == 128).all()
