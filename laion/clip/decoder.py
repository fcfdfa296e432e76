"""Turns shards into blocks of decoded images, in a process or thread of its own.

Images are decoded into slots of memory from the loader, where they stay until they are on the
device; everything else goes through a connection. A decoder without a slot waits, which bounds
memory.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import Failure, UsageError
from laion.clip.crop import Crop, CropDecoder, Pixels, decode_crop, max_crop_side
from laion.clip.geometry import PreprocessConfig
from laion.clip.metadata_table import PairRow
from laion.clip.model import ModelSpec, load_tokenizer
from laion.samples.sample import Sample
from laion.samples.source import SampleShard

#: Upper limit of images in a slot, and so in a block.
BLOCK = 32
#: Bytes of a slot: a block of images of 256 x 256 pixels, img2ds's default size.
SLOT_BYTES = BLOCK * 256 * 256 * 3


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The parameters of a decoder.

    Attributes:
        spec: the model whose tokenizer is used; None where no tokens are wanted.
        exact: use open_clip's own transform.
        images, texts: which of them are wanted; a sample that lacks one that is wanted is dropped.
        slot_bytes: size of a slot, raised to that of the largest crop.
    """

    preprocess: PreprocessConfig
    spec: ModelSpec | None
    exact: bool
    images: bool = True
    texts: bool = True
    slot_bytes: int = SLOT_BYTES

    def __post_init__(self) -> None:
        height, width = (max_crop_side(side) for side in self.preprocess.size)
        object.__setattr__(self, "slot_bytes", max(self.slot_bytes, 3 * height * width))

    def crop_decoder(self) -> CropDecoder:
        """Return the function that decodes an image."""
        if self.exact:
            from laion.clip.open_clip_transform import open_clip_decoder

            return open_clip_decoder(self.preprocess)
        config = self.preprocess
        return lambda body, buffer: decode_crop(body, config, buffer)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard to decode, and its number."""

    number: int
    source: SampleShard


@dataclass(slots=True)
class Block:
    """Some pairs of one shard.

    Attributes:
        number: the number of the shard.
        offsets: int64 [n], the first byte of each image in the memory of all slots; None without
            images.
        axes: as in an `ImageBatch`, None likewise.
        filled: the slot that is free once this block is not needed any more.
        dropped: samples that lack what is wanted, by reason.
        last: whether the shard ends here.
        error: why the shard cannot be read to its end.
    """

    number: int
    rows: list[PairRow] = field(default_factory=list)
    offsets: npt.NDArray[np.int64] | None = None
    axes: npt.NDArray[np.int64] | None = None
    tokens: npt.NDArray[np.int64] | None = None
    filled: int | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    last: bool = False
    error: str | None = None


class Decoder:
    """The loop of one decoder, at its end of the connection.

    It leaves a slot when the slot is full, and not at the end of a shard.
    """

    def __init__(
        self,
        connection: Connection,
        memory: Any,
        config: DecoderConfig,
        tokenize: Callable[[list[str]], Any] | None,
    ) -> None:
        self._connection = connection
        self._memory: Pixels = np.frombuffer(memory, np.uint8)
        self._address = _address(self._memory)
        self._slot_bytes = config.slot_bytes
        self._free_slots: deque[int] = deque()
        self._shards: deque[Shard] = deque()
        self._config = config
        self._tokenize = tokenize
        self._decode_crop = config.crop_decoder()
        # The slot being filled, the range of its free bytes, and its number of images.
        self._slot: int | None = None
        self._at = self._end = self._images = 0

    def run(self) -> None:
        """Decode shards until the loader closes the connection."""
        try:
            while True:
                while not self._shards:
                    self._receive()
                self._decode(self._shards.popleft())
        except (EOFError, ConnectionError, BrokenPipeError):
            return
        finally:
            self._connection.close()

    def _receive(self) -> None:
        message = self._connection.recv()
        if isinstance(message, Shard):
            self._shards.append(message)
        else:
            self._free_slots.append(message)

    def _open_slot(self) -> None:
        while not self._free_slots:
            self._receive()
        self._slot = self._free_slots.popleft()
        self._at, self._images = self._slot * self._slot_bytes, 0
        self._end = self._at + self._slot_bytes

    def _decode(self, shard: Shard) -> None:
        builder = _BlockBuilder(shard.number, self._tokenize)
        config = self._config
        try:
            for sample in shard.source.samples():
                wanted = []
                for part in sample.by_text():
                    if reason := part.lack(config.images, config.texts):
                        builder.block.dropped[reason] += 1
                    elif config.images:
                        wanted.append(part)
                    elif builder.add(part) == BLOCK:
                        self._connection.send(builder.finish())
                if wanted:
                    self._decode_image(wanted, builder)
        except (OSError, UsageError) as error:
            builder.block.error = str(error)
        builder.block.last = True
        self._connection.send(builder.finish())

    def _decode_image(self, samples: list[Sample], builder: _BlockBuilder) -> None:
        """Decode the image of samples, which is one, into the slot; send what is there when full.

        Each sample has a copy of its own: the device gets pairs.
        """
        body = samples[0].body
        assert body is not None
        if self._slot is None:
            self._open_slot()
        crop = self._decode_crop(body, self._memory[self._at : self._end])
        if isinstance(crop, Failure):
            builder.block.dropped[crop.reason] += len(samples)
            return
        if len(samples) > 1:  # the slot may be another block's by the time of the last copy
            crop = replace(crop, pixels=crop.pixels.copy())
        for sample in samples:
            self._place(sample, crop, builder)

    def _place(self, sample: Sample, crop: Crop, builder: _BlockBuilder) -> None:
        if self._slot is None:
            self._open_slot()
        room = self._memory[self._at : self._end]
        size = crop.pixels.size
        if size > len(room):
            self._leave_slot(builder)
            self._open_slot()
            room = self._memory[self._at : self._end]
        if _address(crop.pixels) != self._address + self._at:  # not decoded in place
            room[:size] = crop.pixels.reshape(-1)
        builder.add(sample, crop, self._at)
        self._at += size
        self._images += 1
        if self._images == BLOCK:
            self._leave_slot(builder)

    def _leave_slot(self, builder: _BlockBuilder) -> None:
        builder.block.filled, self._slot = self._slot, None
        self._connection.send(builder.finish())


class _BlockBuilder:
    """Gathers the pairs of a shard, block after block."""

    def __init__(self, number: int, tokenize: Callable[[list[str]], Any] | None) -> None:
        self.block = Block(number)
        self._tokenize = tokenize
        self._offsets: list[int] = []
        self._axes: list[Any] = []

    def add(self, sample: Sample, crop: Crop | None = None, offset: int = 0) -> int:
        """Add a sample, whose image starts at byte `offset`; return how many there are now."""
        if crop is not None:
            height, width = crop.pixels.shape[:2]
            self._offsets.append(offset)
            self._axes.append(((*crop.rows, height), (*crop.columns, width)))
        size = None if crop is None else crop.size
        self.block.rows.append(PairRow(sample.key, sample.caption, sample.fields, size))
        return len(self.block.rows)

    def finish(self) -> Block:
        """Return the block, and start another one."""
        block = self.block
        if self._axes:
            block.offsets = np.array(self._offsets, np.int64)
            block.axes = np.array(self._axes, np.int64)
        if block.rows and self._tokenize is not None:
            block.tokens = self._tokenize([row.caption or "" for row in block.rows]).numpy()
        self.block, self._offsets, self._axes = Block(block.number), [], []
        return block


def _address(pixels: Pixels) -> int:
    address: int = pixels.__array_interface__["data"][0]
    return address


def main(connection: int, memory: int) -> None:
    """Run a decoder in a process of its own, with file descriptors from the loader."""
    channel = Connection(connection)
    try:
        config: DecoderConfig = channel.recv()
    except EOFError:
        return
    tokenize = None
    if config.spec is not None:
        tokenize = load_tokenizer(config.spec)
        import torch

        torch.set_num_threads(1)
    shared = mmap.mmap(memory, os.fstat(memory).st_size)
    os.close(memory)
    Decoder(channel, shared, config, tokenize).run()


if __name__ == "__main__":
    # By its own name: messages are pickled as classes of that module, not of `__main__`.
    import_module("laion.clip.decoder").main(int(sys.argv[1]), int(sys.argv[2]))
