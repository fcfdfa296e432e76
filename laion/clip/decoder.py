"""Turns shards into blocks of decoded pictures, in a process or thread of its own.

Pixels go through memory shared with the loader, all else through a connection. A block may be
made only where the loader has given a slot of that memory free, so memory is bounded.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.outcome import Failure, UsageError
from laion.clip.model import ModelSpec, exact_cutter, load_tokenizer
from laion.clip.picture import Cutter, cut_picture, longest_cut
from laion.clip.prepare import Cut, Pixels, Settings
from laion.clip.samples import Sample, read_samples

#: Pictures of a block, at most.
BLOCK = 32
#: Blocks that may wait in shared memory.
SLOTS = 3
#: Bytes of a slot: a block of pictures of 256 pixels a side, of which img2ds makes its data sets.
_SLOT_BYTES = BLOCK * 256 * 256 * 3


@dataclass(frozen=True, slots=True)
class Work:
    """What a decoder has to know. `spec` is None where no tokens are wanted."""

    settings: Settings
    spec: ModelSpec | None
    exact: bool

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot; the largest cut fits in."""
        height, width = (longest_cut(side) for side in self.settings.size)
        return max(_SLOT_BYTES, 3 * height * width)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard to decode, with the number it is known by."""

    number: int
    path: str


@dataclass(slots=True)
class Row:
    """A pair as it is in its shard, its picture apart; `size` is the picture's in pixels."""

    key: str
    caption: str
    fields: dict[str, Any]
    size: tuple[int, int]


@dataclass(slots=True)
class Block:
    """Some pairs of one shard: their pictures lie in a slot, one after the other (None: no pairs).

    `dropped` counts pairs that cannot be scored, by reason. `last` ends the shard, `error` says
    that it cannot be read.
    """

    number: int
    slot: int | None = None
    axes: npt.NDArray[np.int64] | None = None
    rows: list[Row] = field(default_factory=list)
    tokens: npt.NDArray[np.int64] | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    last: bool = False
    error: str | None = None


class Decoder:
    """The loop of one decoder, over its end of the connection."""

    def __init__(
        self,
        connection: Connection,
        memory: Any,
        work: Work,
        tokenize: Callable[[list[str]], Any] | None,
    ) -> None:
        self._connection = connection
        self._work = work
        self._memory = np.frombuffer(memory, np.uint8)
        self._free = deque(range(SLOTS))
        self._shards: deque[Shard] = deque()
        self._tokenize = tokenize
        settings = work.settings
        self._cut: Cutter = (
            exact_cutter(settings)
            if work.exact
            else lambda body, room: cut_picture(body, settings, room)
        )

    def run(self) -> None:
        """Decode shards until the loader is gone."""
        try:
            while True:
                while not self._shards:
                    self._hear()
                self._decode(self._shards.popleft())
        except (EOFError, ConnectionError, BrokenPipeError):
            return
        finally:
            self._connection.close()

    def _hear(self) -> None:
        message = self._connection.recv()
        if isinstance(message, Shard):
            self._shards.append(message)
        else:
            self._free.append(message)

    def _decode(self, shard: Shard) -> None:
        block, axes, used = Block(shard.number), list[Any](), 0
        try:
            for sample in read_samples(shard.path):
                if block.slot is None:
                    block.slot = self._free_slot()
                end = (block.slot + 1) * self._work.slot_bytes
                room = self._memory[end - self._work.slot_bytes + used : end]
                cut = self._judge(sample, room)
                if isinstance(cut, str):
                    block.dropped[cut] += 1
                    continue
                size = cut.pixels.size
                if size > len(room):
                    self._send(block, axes)
                    slot = self._free_slot()
                    block, axes, used = Block(shard.number, slot), [], 0
                    end = (slot + 1) * self._work.slot_bytes
                    room = self._memory[end - self._work.slot_bytes : end]
                if _address(cut.pixels) != _address(room):
                    room[:size] = cut.pixels.reshape(-1)
                used += size
                height, width = cut.pixels.shape[:2]
                axes.append(((*cut.rows, height), (*cut.columns, width)))
                block.rows.append(Row(sample.key, sample.caption or "", sample.fields, cut.size))
                if len(axes) == BLOCK:
                    self._send(block, axes)
                    block, axes, used = Block(shard.number), [], 0
        except (OSError, UsageError) as error:
            block.error = str(error)
        block.last = True
        self._send(block, axes)

    def _free_slot(self) -> int:
        while not self._free:
            self._hear()
        return self._free.popleft()

    def _judge(self, sample: Sample, room: Pixels) -> Cut | str:
        """The sample's picture, or the reason that it has none to score."""
        if sample.flaw:
            return sample.flaw
        if sample.body is None:
            return "no_image"
        if not sample.caption or not sample.caption.strip():
            return "no_caption"
        cut = self._cut(sample.body, room)
        return cut.reason if isinstance(cut, Failure) else cut

    def _send(self, block: Block, axes: list[Any]) -> None:
        if not axes and block.slot is not None:
            self._free.append(block.slot)
            block.slot = None
        if axes:
            block.axes = np.array(axes, np.int64)
            if self._tokenize is not None:
                block.tokens = self._tokenize([row.caption for row in block.rows]).numpy()
        self._connection.send(block)


def _address(pixels: Pixels) -> int:
    address: int = pixels.__array_interface__["data"][0]
    return address


def main(connection: int, memory: int) -> None:
    """The life of a decoder's process."""
    channel = Connection(connection)
    try:
        work: Work = channel.recv()
    except EOFError:
        return
    tokenize = None
    if work.spec is not None:
        tokenize = load_tokenizer(work.spec)
        import torch

        torch.set_num_threads(1)
    shared = mmap.mmap(memory, SLOTS * work.slot_bytes)
    os.close(memory)
    Decoder(channel, shared, work, tokenize).run()


if __name__ == "__main__":
    # By its own name: what is sent to and fro is of that module, not of `__main__`.
    import_module("laion.clip.decoder").main(int(sys.argv[1]), int(sys.argv[2]))
