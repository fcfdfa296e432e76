"""The most memory that decoding takes, in bytes a pixel, measured by the kernel in a process apart.

The decoders of libraries allocate where tracemalloc does not see it.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from img2ds.image import native

SIDE = 1500

PROGRAM = """
import sys
from pathlib import Path
from img2ds.image.decode import decode
from img2ds.image.sniff import sniff

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

for number, name in enumerate(sys.argv[1:]):
    body = Path(name).read_bytes()
    header = sniff(body)
    before = peak()
    decode(body, header, (0, 0), 10**9)
print((peak() - before) / (header.width * header.height))
"""


def picture(side: int, kind: str) -> bytes:
    """A square gradient, half transparent where the format has alpha."""
    rgba = np.full((side, side, 4), 128, np.uint8)
    rgba[:, :, 0] = np.arange(side) % 256
    rgba[:, :, 1] = (np.arange(side) % 256)[:, None]
    if kind == "png_16bit":
        return bytes(cv2.imencode(".png", rgba.astype(np.uint16) * 257)[1])
    image, options = Image.fromarray(rgba), dict[str, Any]()
    if kind == "webp_lossless":
        options = {"lossless": True, "quality": 0, "method": 0}
    elif kind == "webp":
        options = {"method": 0}
    elif kind == "png_grey_alpha":
        image = image.convert("LA")
    elif kind in ("bmp", "ppm"):
        image = image.convert("RGB")
    elif kind.startswith("jpeg_"):
        image = image.convert("CMYK" if kind == "jpeg_cmyk" else "RGB")
        options = {"progressive": True, "subsampling": 0}
    elif kind == "gif":
        image = image.convert("RGB").quantize(64)
    file = io.BytesIO()
    image.save(file, kind.partition("_")[0], **options)
    return file.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.parametrize(
    ("kind", "most"),
    [
        # RGBA, blended where it lies; OpenCV has it twice.
        ("png", 5.0 if native.load("png") else 9.0),
        ("png_16bit", 9.0),  # the same of twice the size
        ("webp", 9.0),  # libwebp has the planes, or its own pixels, beside the RGBA
        ("webp_lossless", 9.0),
        ("png_grey_alpha", 8.0),  # Pillow stores four bytes a pixel, the result has three
        ("jpeg_progressive", 13.0),  # the coefficients, planes, and RGB
        ("jpeg_cmyk", 13.0),  # the coefficients and Pillow's four bytes
        ("gif", 5.0),  # Pillow's one byte, and three
        ("avif", 12.0),  # libavif's planes and RGBA, and Pillow's beside the result
        ("bmp", 8.0),  # Pillow's four bytes, and three
        ("tiff", 12.0),  # and a copy of the file
        ("jpeg2000", 26.0),  # OpenJPEG has four bytes a sample
        ("ppm", 1.0),  # the body itself
    ],
)
def test_bytes_a_pixel(kind: str, most: float, tmp_path: Path) -> None:
    files = []
    for side in (16, SIDE):  # what a first call loads is no part of it
        files.append(tmp_path / f"{side}")
        files[-1].write_bytes(picture(side, kind))
    command = [sys.executable, "-c", PROGRAM, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) < most
