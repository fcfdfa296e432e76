"""Turns shards into blocks of decoded pictures, in a process or thread of its own.

Pictures are decoded into slots of memory that the loader has given, where they stay until they
are on the device; all else goes through a connection. Without a slot a decoder waits, so memory
is bounded.
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

from img2ds.core.failure import Failure, UsageError
from laion.clip.model import ModelSpec, exact_cutter, load_tokenizer
from laion.clip.picture import Cutter, cut_picture, longest_cut
from laion.clip.prepare import Cut, Pixels, Settings
from laion.clip.samples import Sample, read_samples

#: Pictures of a slot, at most, and so of a block.
BLOCK = 32
#: Bytes of a slot: a block of pictures of 256 pixels a side, of which img2ds makes its data sets.
SLOT_BYTES = BLOCK * 256 * 256 * 3


@dataclass(frozen=True, slots=True)
class Work:
    """What a decoder has to know. `spec` is None where no tokens are wanted.

    `slot_bytes` is made as large as the largest cut.
    """

    settings: Settings
    spec: ModelSpec | None
    exact: bool
    slot_bytes: int = SLOT_BYTES

    def __post_init__(self) -> None:
        height, width = (longest_cut(side) for side in self.settings.size)
        object.__setattr__(self, "slot_bytes", max(self.slot_bytes, 3 * height * width))


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
    """Some pairs of one shard.

    Their pictures begin at `offsets`, bytes in the memory of all slots; `axes` as in a `Batch`.
    `filled` is the slot that nothing more will be put into once this block is done with.
    `dropped` counts pairs that cannot be scored, by reason. `last` ends the shard, `error` says
    that it cannot be read.
    """

    number: int
    rows: list[Row] = field(default_factory=list)
    offsets: npt.NDArray[np.int64] | None = None
    axes: npt.NDArray[np.int64] | None = None
    tokens: npt.NDArray[np.int64] | None = None
    filled: int | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    last: bool = False
    error: str | None = None


class Decoder:
    """The loop of one decoder, over its end of the connection.

    It goes on in a slot with the next shard: a slot is left when it is full.
    """

    def __init__(
        self,
        connection: Connection,
        memory: Any,
        work: Work,
        tokenize: Callable[[list[str]], Any] | None,
    ) -> None:
        self._connection = connection
        self._memory: Pixels = np.frombuffer(memory, np.uint8)
        self._address = _address(self._memory)
        self._slot_bytes = work.slot_bytes
        self._given: deque[int] = deque()
        self._shards: deque[Shard] = deque()
        self._tokenize = tokenize
        settings = work.settings
        self._cut: Cutter = (
            exact_cutter(settings)
            if work.exact
            else lambda body, room: cut_picture(body, settings, room)
        )
        # The slot that is being filled: where its free bytes begin and end, and its pictures.
        self._slot: int | None = None
        self._at = self._end = self._pictures = 0

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
            self._given.append(message)

    def _open_slot(self) -> None:
        while not self._given:
            self._hear()
        self._slot = self._given.popleft()
        self._at, self._pictures = self._slot * self._slot_bytes, 0
        self._end = self._at + self._slot_bytes

    def _decode(self, shard: Shard) -> None:
        making = _Making(shard.number)
        try:
            for sample in read_samples(shard.path):
                if self._slot is None:
                    self._open_slot()
                room = self._memory[self._at : self._end]
                cut = self._judge(sample, room)
                if isinstance(cut, str):
                    making.block.dropped[cut] += 1
                    continue
                size = cut.pixels.size
                if size > len(room):
                    self._leave_slot(making)
                    self._open_slot()
                    room = self._memory[self._at : self._end]
                if _address(cut.pixels) != self._address + self._at:  # not decoded into its place
                    room[:size] = cut.pixels.reshape(-1)
                making.add(sample, cut, self._at)
                self._at += size
                self._pictures += 1
                if self._pictures == BLOCK:
                    self._leave_slot(making)
        except (OSError, UsageError) as error:
            making.block.error = str(error)
        making.block.last = True
        self._send(making)

    def _judge(self, sample: Sample, room: Pixels) -> Cut | str:
        """The sample's picture, or the reason that it has none to score."""
        if sample.lack or sample.body is None:
            return sample.lack or "no_image"
        cut = self._cut(sample.body, room)
        return cut.reason if isinstance(cut, Failure) else cut

    def _leave_slot(self, making: _Making) -> None:
        making.block.filled, self._slot = self._slot, None
        self._send(making)

    def _send(self, making: _Making) -> None:
        self._connection.send(making.whole(self._tokenize))


class _Making:
    """The block that is being made of a shard's pairs, and then the next one."""

    def __init__(self, number: int) -> None:
        self.block = Block(number)
        self._offsets: list[int] = []
        self._axes: list[Any] = []

    def add(self, sample: Sample, cut: Cut, offset: int) -> None:
        """A pair, whose picture lies at `offset`."""
        height, width = cut.pixels.shape[:2]
        self._offsets.append(offset)
        self._axes.append(((*cut.rows, height), (*cut.columns, width)))
        self.block.rows.append(Row(sample.key, sample.caption or "", sample.fields, cut.size))

    def whole(self, tokenize: Callable[[list[str]], Any] | None) -> Block:
        """The block as it is; another one is begun."""
        block = self.block
        if block.rows:
            block.offsets = np.array(self._offsets, np.int64)
            block.axes = np.array(self._axes, np.int64)
            if tokenize is not None:
                block.tokens = tokenize([row.caption for row in block.rows]).numpy()
        self.block, self._offsets, self._axes = Block(block.number), [], []
        return block


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
    shared = mmap.mmap(memory, os.fstat(memory).st_size)
    os.close(memory)
    Decoder(channel, shared, work, tokenize).run()


if __name__ == "__main__":
    # By its own name: what is sent to and fro is of that module, not of `__main__`.
    import_module("laion.clip.decoder").main(int(sys.argv[1]), int(sys.argv[2]))
