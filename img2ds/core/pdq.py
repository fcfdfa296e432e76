"""PDQ hashes as values: 256 bits, and how many of them differ between copies of an image.

See `image.pdq` for how they are made, and "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm" (Facebook, 2019), by whose authors' advice images are copies up to a
distance of 31 bits, and hashes of less than quality 50 are not to be compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Bytes of a hash.
BYTES = 32
#: Most bits in which duplicates differ, and the least quality that tells images apart.
DUPLICATE, GOOD = 31, 50


class PdqHash(NamedTuple):
    """A hash of 32 bytes, most significant first as in its hexadecimal form, and its quality.

    The quality is 0 to 100, higher for images with more detail.
    """

    bytes: bytes
    quality: int


def bit_counts(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return how many bits are set in each row of words, uint64 [n, any]."""
    # np.bitwise_count is of numpy 2. See "Hacker's Delight", figure 5-2.
    words = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    words = (words & pairs) + ((words >> np.uint64(2)) & pairs)
    words = (words + (words >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    total = (words * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return np.asarray(total.sum(axis=1), np.int64)
