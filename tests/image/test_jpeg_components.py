"""JPEGs in RGB and in four inks by the extension, against libjpeg-turbo."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from img2ds.image import canvas, cost, jpeg, jpeg_components
from img2ds.image.decode_error import DecodeError
from img2ds.image.header import Header
from img2ds.image.jpeg_components import can_decode, decode_colours
from img2ds.image.orient import Pixels
from img2ds.image.sniff import sniff
from tests.attack.jpegs import image, zero
from tests.image.extension import require
from tests.server.photos import photo

require("jpeg")

WIDTH, HEIGHT = 203, 121
RGB = photo(7, WIDTH, HEIGHT)


def saved(mode: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, "JPEG", quality=85, **options)
    return file.getvalue()


def ycck(body: bytes) -> bytes:
    """With Adobe's transform for it."""
    data = bytearray(body)
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def turbo(subsampling: str) -> bytes:
    """YCCK as TurboJPEG writes it: black has the resolution of luma."""
    inks = np.ascontiguousarray(np.dstack([RGB, 255 - RGB[:, :, :1] // 2]))
    body: bytes = simplejpeg.encode_jpeg(inks, 85, "CMYK", subsampling)
    return body


BODIES = {
    "rgb": saved("RGB", keep_rgb=True, progressive=True),
    "cmyk": saved("CMYK", progressive=True),
    "ycck": ycck(saved("CMYK", progressive=True)),
    "ycck_444": turbo("444"),
    "ycck_422": turbo("422"),
    "ycck_420": turbo("420"),
    "ycc": saved("RGB", progressive=True),
}


def read(body: bytes) -> Header:
    found = sniff(body)
    assert isinstance(found, Header)
    return found


def by_libjpeg(body: bytes, header: Header, scale: int) -> Pixels:
    colours = "CMYK" if header.channels == 4 else "RGB"
    sides = -(-header.height // scale), -(-header.width // scale)
    pixels: Pixels = simplejpeg.decode_jpeg(
        body, colours, min_height=sides[0], min_width=sides[1], strict=False
    )
    return pixels


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("name", BODIES)
def test_pixels_are_those_of_libjpeg(name: str, scale: int) -> None:
    header = read(BODIES[name])
    wanted = by_libjpeg(BODIES[name], header, scale)
    found = decode_colours(BODIES[name], header, scale)
    assert found is not None
    assert found.shape == wanted.shape
    difference = np.abs(found.astype(int) - wanted)
    if name == "ycck_422" and scale == 8:  # libjpeg repeats chroma there
        assert difference.mean() < 5
    else:  # other roundings of conversions
        assert difference.max() <= (1 if name in ("rgb", "cmyk") else 4)
        assert difference.mean() < 0.6


def test_components_that_have_other_resolutions_are_declined() -> None:
    body = saved("CMYK", progressive=True, subsampling=2)  # of black, too
    assert decode_colours(body, read(body), 2) is None


def test_what_is_cut_short_is_noticed() -> None:
    body = BODIES["cmyk"]
    header = read(body)
    cut = 0
    places = range(len(body) // 3, len(body) - 2, 101)
    for at in places:
        try:  # None if a marker segment between scans is cut, or whole scans are missing
            assert decode_colours(body[:at], header, 2) is None
        except DecodeError:
            cut += 1
    assert cut > 0.9 * len(places)


def test_an_eighth_of_the_size_keeps_dc_alone() -> None:
    header = read(BODIES["cmyk"])
    blocks = sum(header.planes) / 64
    bound = jpeg.memory_bound(header, 0, 8)
    # Chroma might be as fine as luma, and its coefficients are those of blocks of four pixels.
    assert bound < 100_000 + blocks * (1 + 2) + 2 * 2.2 * max(header.planes)
    assert jpeg.decode_components(BODIES["cmyk"], header, 8) is not None


def test_which_images_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    header = read(BODIES["cmyk"])
    assert not can_decode(header, 8)  # small ones are libjpeg's
    for module in (canvas, cost, jpeg_components):
        monkeypatch.setattr(module, "LARGE", 1000)
    assert can_decode(header, 8)
    assert not can_decode(header, 1)
    assert not can_decode(read(saved("CMYK")), 8)  # of a single scan


def test_scans_of_a_component_each_are_decoded() -> None:
    body = image(56, 0xC0, *(zero(bytes([number]), 56) for number in (1, 2, 3, 4)), channels=4)
    header = read(body)
    assert header.passes
    found = decode_colours(body, header, 2)
    assert found is not None
    assert (found == 128).all()
