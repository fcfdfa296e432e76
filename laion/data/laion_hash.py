"""LAION-5B's hash of a pair, by which its tables of tags are joined. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError


def laion_hashes(urls: Sequence[str | None], texts: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Return the first word of MurmurHash3 (x64, 128 bits) of URL and text; None counts as "".

    Raises:
        UsageError: the package mmh3 is not installed.
    """
    try:
        from mmh3 import hash64
    except ImportError:
        raise UsageError(
            "LAION-5B's column hash needs the package mmh3: pip install 'img2ds[laion]'"
        ) from None
    joined = [f"{url or ''}{text or ''}" for url, text in zip(urls, texts, strict=True)]
    return np.array([hash64(pair.encode())[0] for pair in joined], np.int64)
