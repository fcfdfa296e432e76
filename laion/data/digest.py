"""Digests that identify a pair of URL and text: 16 bytes, or two 64-bit words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_64_intdigest

#: Bytes of a digest: xxh3_128 of URL, line feed and text, big-endian.
DIGEST_BYTES = 16

Words = npt.NDArray[np.uint64]


def url_words(urls: Sequence[str | None]) -> Words:
    """Return a hash of each URL [n]; None counts as ""."""
    return np.fromiter(
        (xxh3_64_intdigest(url.encode() if url else b"") for url in urls), np.uint64, len(urls)
    )


def digest_words(column: pa.ChunkedArray | pa.Array) -> tuple[Words, Words]:
    """Return the high and the low word of each digest in a column.

    Args:
        column: fixed-size binary of 16 bytes, without nulls.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    words = [_chunk_words(chunk) for chunk in chunks if len(chunk)]
    if not words:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    pairs = np.concatenate(words)
    return pairs[:, 0].astype(np.uint64), pairs[:, 1].astype(np.uint64)


def _chunk_words(chunk: pa.Array) -> npt.NDArray[Any]:
    words = np.frombuffer(chunk.buffers()[1], ">u8").reshape(-1, DIGEST_BYTES // 8)
    return words[chunk.offset : chunk.offset + len(chunk)]
