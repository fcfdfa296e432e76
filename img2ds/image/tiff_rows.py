"""Decode the large strips or tiles of a TIFF row by row, to pieces that are not compressed.

Each strip or tile becomes a TIFF of its own, whose only strip libtiff reads from the top. A tile is
stored as a strip of its width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np

from img2ds.image.headers.tiff_layout import PLAIN
from img2ds.image.libtiff import StripReader
from img2ds.image.orient import Pixels
from img2ds.image.tiff_page import HEIGHT, LONG, ROWS, SHORT, STRIPS, Entry, Page

_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES = 256, 258, 259, 262, 266, 277
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA = 284, 317, 322, 323, 338
_SAMPLE_FORMAT, _JPEG_TABLES = 339, 347
_FAX_OPTIONS, _YCC_PARAMETERS = (292, 293), (529, 530, 531, 532)
_BLACK_IS_ZERO, _RGB = 1, 2
#: What decoded rows do not have any more.
_UNDONE = (_FILL_ORDER, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _JPEG_TABLES, *_FAX_OPTIONS)


def decoded_entries(page: Page) -> dict[int, Entry]:
    """Return the tags of decoded rows, but for their number."""
    entries = {number: entry for number, entry in page.entries.items() if number not in _UNDONE}
    entries[_COMPRESSION] = page.numbers(SHORT, PLAIN)
    if page.layout.converted:
        entries[_PHOTOMETRIC] = page.numbers(SHORT, _RGB)
        for number in _YCC_PARAMETERS:
            entries.pop(number, None)
    return entries


def read_rows(page: Page, rows: int) -> Iterator[tuple[slice, list[Pixels]]]:
    """Yield slices of the rows of a page, and their samples by planes: uint8 [rows, bytes].

    Args:
        rows: of each slice but the last.

    Raises:
        DecodeError: the data are broken, or end.
    """
    layout = page.layout
    pixel_bits = layout.decoded_bytes * 8 // layout.columns
    row_bytes = -(-layout.width * pixel_bits // 8)
    with ExitStack() as stack:
        readers: list[StripReader] = []
        for top in range(0, layout.height, rows):
            bottom = min(top + rows, layout.height)
            planes = [np.empty((bottom - top, row_bytes), np.uint8) for _ in range(layout.planes)]
            at = top
            while at < bottom:
                row, inside = divmod(at, layout.rows)
                if not inside:
                    stack.close()
                    readers = [stack.enter_context(closing(_open(page, row, number)))
                               for number in range(layout.planes * layout.across)]  # fmt: skip
                end = min(bottom, (row + 1) * layout.rows)
                for number, reader in enumerate(readers):
                    plane, column = divmod(number, layout.across)
                    _fill(planes[plane][at - top : end - top], reader, column, layout.decoded_bytes)
                at = end
            yield slice(top, bottom), [_in_order(plane, page) for plane in planes]


def _fill(target: Pixels, reader: StripReader, column: int, decoded_bytes: int) -> None:
    """Read rows of a column of tiles, and cut what is outside of the page."""
    part = target[:, column * decoded_bytes : (column + 1) * decoded_bytes]
    if target.shape[1] == decoded_bytes:
        reader.read(target)
        return
    decoded = np.empty((target.shape[0], decoded_bytes), np.uint8)
    reader.read(decoded)
    part[:] = decoded[:, : part.shape[1]]


def _open(page: Page, row: int, number: int) -> StripReader:
    """Return a reader of a strip or tile.

    Args:
        row: of strips or tiles.
        number: of the column of tiles, counted plane by plane.
    """
    layout = page.layout
    plane, column = divmod(number, layout.across)
    height = layout.rows
    if layout.places == STRIPS:
        height = min(height, layout.height - row * height)
    entries = {name: entry for name, entry in page.entries.items()
               if name not in (_TILE_WIDTH, _TILE_HEIGHT)}  # fmt: skip
    entries[_WIDTH] = page.numbers(LONG, layout.columns)
    entries[HEIGHT] = entries[ROWS] = page.numbers(LONG, height)
    if layout.planes > 1:
        _keep_one_sample(entries, page)
    data = page.data((plane * layout.down + row) * layout.across + column)
    file = page.file(entries, STRIPS, [data])
    return StripReader(file, layout.decoded_bytes, converts=layout.converted)


def _keep_one_sample(entries: dict[int, Entry], page: Page) -> None:
    """Make the tags those of a page of one sample a pixel."""
    entries.pop(_EXTRA, None)
    for name, value in ((_BITS, page.bits), (_SAMPLES, 1), (_PHOTOMETRIC, _BLACK_IS_ZERO),
                        (_PLANAR, 1)):  # fmt: skip
        entries[name] = page.numbers(SHORT, value)
    if _SAMPLE_FORMAT in entries:
        kind, count, values = entries[_SAMPLE_FORMAT]
        entries[_SAMPLE_FORMAT] = kind, 1, values[: len(values) // count]


def _in_order(plane: Pixels, page: Page) -> Pixels:
    """Return decoded samples in the page's order of bytes: libtiff has them in the machine's."""
    if page.bits <= 8 or page.order == ("<" if sys.byteorder == "little" else ">"):
        return plane
    swapped: Pixels = plane.view(f"u{page.bits // 8}").byteswap().view(np.uint8)
    return swapped
