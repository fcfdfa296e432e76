"""Divide a TIFF into TIFFs of some strips, or rows of tiles, each: a large page is decoded one
after the other, and never is in memory as a whole.

Large strips and tiles are divided as well, by libtiff, and a single strip that is not compressed.
"""

from __future__ import annotations

from collections.abc import Iterator

from img2ds.image import libtiff
from img2ds.image.tiff_page import HEIGHT, LONG, ROWS, STRIPS, Page, read_page
from img2ds.image.tiff_rows import decoded_entries, read_rows

#: Pixels of a piece at least.
_PIECE = 1 << 20


def pieces(body: bytes | bytearray, grain: int) -> Iterator[tuple[slice, bytes]] | None:
    """Yield the rows of each piece, and the piece; None if the page cannot be divided.

    Args:
        grain: what the number of rows of each but the last is a multiple of; 8 at most.

    Raises:
        DecodeError: while it yields: data are missing or broken.
    """
    page = read_page(body)
    if page is None:
        return None
    layout = page.layout
    if layout.row_bytes:
        return _of_plain_strip(page)
    if layout.by_rows and libtiff.is_there():
        return _of_decoded_rows(page)
    rows = layout.rows
    if rows < layout.height:
        rows *= max(grain, _PIECE // (layout.width * rows) // grain * grain)
    elif layout.down > 1:
        return None
    return None if rows % grain and rows < layout.height else _of_strips(page, rows)


def _of_plain_strip(page: Page) -> Iterator[tuple[slice, bytes]]:
    layout = page.layout
    rows = layout.part(divided=True)
    for top in range(0, layout.height, rows):
        count = min(rows, layout.height - top)
        place, size = top * layout.row_bytes, count * layout.row_bytes
        parts = [page.part(start + place, size) for start in page.offsets]
        number = page.numbers(LONG, count)
        entries = {**page.entries, HEIGHT: number, ROWS: number}
        yield slice(top, top + count), page.file(entries, layout.places, parts)


def _of_decoded_rows(page: Page) -> Iterator[tuple[slice, bytes]]:
    common = decoded_entries(page)
    for rows, planes in read_rows(page, page.layout.part(divided=True)):
        number = page.numbers(LONG, rows.stop - rows.start)
        parts = [plane.data.cast("B") for plane in planes]
        entries = {**common, HEIGHT: number, ROWS: number}
        yield rows, page.file(entries, STRIPS, parts)


def _of_strips(page: Page, rows: int) -> Iterator[tuple[slice, bytes]]:
    """Yield pieces of whole strips or tiles."""
    layout = page.layout
    each = layout.down * layout.across
    for top in range(0, layout.height, rows):
        count = min(rows, layout.height - top)
        first, last = top // layout.rows, -(-(top + count) // layout.rows)
        parts = [
            page.data(plane * each + number)
            for plane in range(layout.planes)
            for number in range(first * layout.across, last * layout.across)
        ]
        entries = {**page.entries, HEIGHT: page.numbers(LONG, count)}
        if layout.places == STRIPS:
            entries[ROWS] = page.numbers(LONG, layout.rows)
        yield slice(top, top + count), page.file(entries, layout.places, parts)
