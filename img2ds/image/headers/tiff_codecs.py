"""What the decompressors of a TIFF's strips and tiles have in memory besides their rows."""

from __future__ import annotations

from img2ds.core.failure import Failure
from img2ds.image.headers import jpeg
from img2ds.image.headers.tiff_layout import Layout

_JPEG, _ZSTD = 7, 50000
#: The largest window of Zstandard that a decoder accepts if it is not told otherwise
#: (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`).
_WINDOW = 1 << 27
#: Pixels of a strip or tile from which on coefficients count.
_COUNTED = 1 << 19
#: Bytes of a coefficient, most samples of a pixel, and most bytes of one.
_COEFFICIENT, _MOST_SAMPLES, _WIDEST = 2, 4, 40


def codec_memory(
    body: bytes | bytearray,
    compression: int,
    layout: Layout,
    data: tuple[tuple[int, ...], tuple[int, ...]],
) -> int | Failure:
    """Return the most bytes that decoders which are there at once have.

    Args:
        data: offsets and lengths of strips or tiles.

    Returns:
        A Failure if one is a JPEG that is refused.
    """
    together = layout.across * layout.planes if layout.by_rows else 1
    if compression == _ZSTD:
        row_bytes = layout.decoded_bytes or _WIDEST * layout.columns
        return together * min(_WINDOW, layout.rows * row_bytes)
    if compression != _JPEG or layout.rows * layout.columns < _COUNTED:
        return 0
    if sum(data[1]) > len(body):  # data that are shared: they would be looked at often
        return together * _COEFFICIENT * _MOST_SAMPLES * layout.rows * layout.columns
    most = 0
    for start, size in zip(*data, strict=True):
        header = jpeg.read_header(bytes(memoryview(body)[start : start + size]))
        if isinstance(header, Failure):
            return header
        if header.passes:
            most = max(most, _COEFFICIENT * sum(header.planes))
    return together * most
