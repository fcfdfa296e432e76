"""The memory of the built-in JPEG decoder is bounded by the size of the image that was accepted."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2ds.image.decode_error import DecodeError
from img2ds.image.header import Header
from img2ds.image.jpeg import decode_planes, decode_rgb, memory_bound
from img2ds.image.orient import Pixels
from img2ds.image.planes import Planes
from img2ds.image.sniff import sniff
from tests.image.extension import require

require("jpeg")


def jpeg(width: int, height: int, **options: Any) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def read(body: bytes) -> Header:
    found = sniff(body)
    assert isinstance(found, Header)
    return found


def least_limit(body: bytes, header: Header, scale: int) -> int:
    """The lowest limit under which it is decoded."""
    low, high = 0, memory_bound(header, len(body), scale)
    assert decode_planes(body, header, scale) is not None
    while high - low > 1:
        middle = (low + high) // 2
        if decode_planes(body, header, scale, limit=middle) is None:
            low = middle
        else:
            high = middle
    return high


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (200, 120)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_bound_is_enough_and_not_far_off(
    size: tuple[int, int], subsampling: int, progressive: bool
) -> None:
    body = jpeg(*size, subsampling=subsampling, progressive=progressive)
    header = read(body)
    for scale in (1, 2, 4, 8):
        assert decode_planes(body, header, scale) is not None
    least = least_limit(body, header, 1)
    assert least <= memory_bound(header, len(body), 1)
    if size == (200, 120):
        each = {0: 3, 1: 2, 2: 1.5}[subsampling]
        # The planes, and the coefficients of luma: the other components have passes of their own.
        expected = (each + (2.125 if progressive else 0)) * 200 * 120 + len(body)
        assert 0.9 * expected < least < 1.1 * expected


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_one_component_after_the_other(subsampling: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planes are the same as with the coefficients of all components at once."""
    body = jpeg(203, 121, subsampling=subsampling, progressive=True)
    header = read(body)
    for scale in (1, 2, 4, 8):
        at_once = decode_planes(body, header, scale)
        passes = decode_planes(body, header, scale, limit=least_limit(body, header, scale))
        assert at_once is not None
        assert passes is not None
        assert at_once.pitch == passes.pitch
        for one, other in zip(planes_of(at_once), planes_of(passes), strict=True):
            assert (one == other).all()
        pixels = decode_rgb(body, header, scale)
        if pixels is None:  # libjpeg would replicate chroma
            assert (scale, subsampling) == (8, 1)
            continue
        monkeypatch.setattr("img2ds.image.jpeg._ONE_PASS", 0)
        again = decode_rgb(body, header, scale)
        assert again is not None
        assert (pixels == again).all()
        monkeypatch.undo()


def planes_of(planes: Planes) -> tuple[Pixels, ...]:
    assert planes.cb is not None
    assert planes.cr is not None
    return planes.y, planes.cb, planes.cr


def test_what_any_pass_lacks_is_noticed() -> None:
    body = jpeg(200, 120, subsampling=0, progressive=True)
    header = read(body)
    limit = least_limit(body, header, 1)
    cut = 0
    places = range(len(body) // 4, len(body) - 2, 97)
    for at in places:
        for end in (b"", b"\xff\xd9"):
            try:  # None if a marker segment between scans is cut, or whole scans are missing
                assert decode_planes(body[:at] + end, header, 1, limit=limit) is None
            except DecodeError:
                cut += not end
    assert cut > 0.9 * len(places)


def test_an_eighth_of_the_size_keeps_no_other_coefficients_than_dc() -> None:
    body = jpeg(640, 480, subsampling=0, progressive=True)
    assert least_limit(body, read(body), 8) < len(body) + 640 * 480 / 64 * 3 * 4


def test_less_memory_is_declined() -> None:
    body = jpeg(64, 64, progressive=True)
    header = read(body)
    for limit in (-1, 0, 1000):
        assert decode_planes(body, header, 1, limit=limit) is None
        assert decode_rgb(body, header, 1, None, limit=limit) is None
    assert decode_rgb(body, header, 1, None) is not None


def test_a_frame_larger_than_the_header_that_was_accepted_is_declined() -> None:
    body = jpeg(640, 480, progressive=True)
    assert decode_planes(body, Header("jpeg", 64, 48), 1) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak to be read")
@pytest.mark.parametrize(
    "call", ["decode_planes(body, header, 1)", "decode_rgb(body, header, 1, pixels)"]
)
def test_the_peak_of_a_process_is_within_the_bound(call: str, tmp_path: Path) -> None:
    """Noise fills all coefficients."""
    body = jpeg(1500, 1500, progressive=True, subsampling=0, quality=50)
    (tmp_path / "body").write_bytes(body)
    program = f"""
import sys
from pathlib import Path
import numpy as np
from img2ds.image.jpeg import decode_planes, decode_rgb, memory_bound
from img2ds.image.sniff import sniff
body = Path(sys.argv[1]).read_bytes()
header = sniff(body)
pixels = np.ones(3 * 1500 * 1500, np.uint8)
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
assert {call} is not None
print(1024 * (peak() - before), memory_bound(header, len(body), 1))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "body")], capture_output=True, check=True
    )
    taken, bound = map(int, done.stdout.split())
    assert 0.7 * bound < taken < bound + 1_000_000
