"""Digests that identify a pair of URL and text: 16 bytes, or two 64-bit words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_digest

Words = npt.NDArray[np.uint64]


def pair_digest(url: str, text: str) -> bytes:
    """Return the digest of a pair; `url` must not contain a line feed."""
    return xxh3_128_digest(f"{url}\n{text}".encode())


def pair_digests(urls: Sequence[str | None], texts: Sequence[str | None]) -> Words:
    """Return the digests of pairs as words [n, 2], the high word first; None counts as ""."""
    joined = b"".join(
        [pair_digest(url or "", text or "") for url, text in zip(urls, texts, strict=True)]
    )
    return np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, 2)
