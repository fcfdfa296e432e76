"""Memory that decoders write pictures into and models read them from, cut into slots.

Who has a slot is the loader's business: it gives free ones to decoders, and takes those back
whose pictures nobody needs any more. There is one piece of memory for all decoders.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

from laion.clip.prepare import Pixels


class Slots:
    """`count` slots of `size` bytes each, all of them free.

    Attributes:
        memory: all of them, one after the other.
        file: its descriptor, for processes to share; None where it is this process's own.
        pixels: the same as an array, uint8 [bytes].
    """

    def __init__(self, count: int, size: int, shared: bool) -> None:
        self.file = _shared_memory(count * size) if shared else None
        self.memory = mmap.mmap(-1 if self.file is None else self.file, count * size)
        self.pixels: Pixels = np.frombuffer(self.memory, np.uint8)
        self._free = list(reversed(range(count)))

    def __len__(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self) -> int:
        """A free slot: the one given back last, which is in the caches if any is."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def close(self) -> None:
        """Let the descriptor go. The memory goes when nothing looks at it any more."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def _shared_memory(size: int) -> int:
    """The descriptor of memory that processes can share, and that goes when they do."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("img2ds-pictures")
    else:
        file, path = tempfile.mkstemp()
        os.unlink(path)
    os.ftruncate(file, size)
    return file
