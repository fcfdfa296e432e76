"""Memory that decoders write images into and models read them from, cut into slots.

One piece of memory serves all decoders. The loader owns the slots: it gives free ones to decoders,
and takes them back when their images are not needed any more.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

from laion.clip.crop import Pixels


class SharedSlots:
    """`count` slots of `size` bytes each, all of them free.

    Attributes:
        memory: all slots, one after the other.
        file: the descriptor for other processes; None where the memory is not shared.
        pixels: the memory as an array, uint8 [bytes].
    """

    def __init__(self, count: int, size: int, shared: bool) -> None:
        self.file = _shared_memory(count * size) if shared else None
        self.memory = mmap.mmap(-1 if self.file is None else self.file, count * size)
        self.pixels: Pixels = np.frombuffer(self.memory, np.uint8)
        self._free = list(reversed(range(count)))

    def __len__(self) -> int:
        """Return the number of free slots."""
        return len(self._free)

    def take(self) -> int:
        """Return a free slot: the one released last, which is most likely cached."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Make a slot free again."""
        self._free.append(slot)

    def close(self) -> None:
        """Close the descriptor. The memory goes when nothing refers to it any more."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def _shared_memory(size: int) -> int:
    """Return the descriptor of memory that processes can share and that ends with them."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("img2ds-images")
    else:
        file, path = tempfile.mkstemp()
        os.unlink(path)
    os.ftruncate(file, size)
    return file
