"""TIFFs that no encoder here writes: of large tiles, of planes that lie apart, of reversed bits."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from img2ds.image.tiff_page import HEIGHT, LONG, ROWS, SHORT, STRIPS, TILES, Page, read_page

_WIDTH, _BITS, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR = 256, 258, 262, 266, 277, 284
_TILE_WIDTH, _TILE_HEIGHT, _RGB = 322, 323, 2
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def strip(image: Image.Image, **options: Any) -> bytes:
    """A page in a single strip."""
    file = io.BytesIO()
    tags = options.pop("tiffinfo", {}) | {ROWS: image.height}
    image.save(file, "TIFF", tiffinfo=tags, **options)
    return file.getvalue()


def _page(body: bytes) -> Page:
    page = read_page(body)
    assert page is not None
    return page


def tiled(image: Image.Image, columns: int, rows: int, **options: Any) -> bytes:
    """A page of tiles, which are black outside of the image."""
    pages = [
        _page(strip(image.crop((left, top, left + columns, top + rows)), **options))
        for top in range(0, image.height, rows)
        for left in range(0, image.width, columns)
    ]
    page = pages[0]
    sides = {_WIDTH: image.width, HEIGHT: image.height, _TILE_WIDTH: columns, _TILE_HEIGHT: rows}
    entries = {number: entry for number, entry in page.entries.items() if number != ROWS}
    entries |= {number: page.numbers(LONG, side) for number, side in sides.items()}
    return page.file(entries, TILES, [page.data(0) for page in pages])


def planes_apart(image: Image.Image, **options: Any) -> bytes:
    """A page in RGB with a strip for each colour."""
    pages = [_page(strip(band, **options)) for band in image.split()]
    page = pages[0]
    entries = dict(page.entries)
    entries[_BITS] = page.numbers(SHORT, 8, 8, 8)
    for number, value in ((_SAMPLES, 3), (_PHOTOMETRIC, _RGB), (_PLANAR, 2)):
        entries[number] = page.numbers(SHORT, value)
    return page.file(entries, STRIPS, [page.data(0) for page in pages])


def bits_reversed(body: bytes) -> bytes:
    """The same page in a single strip, the lowest bit of a byte first."""
    page = _page(body)
    data = bytes(page.data(0)).translate(_REVERSED)
    entries = {**page.entries, _FILL_ORDER: page.numbers(SHORT, 2)}
    return page.file(entries, STRIPS, [memoryview(data)])
