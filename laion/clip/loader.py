"""Feeds a model: decoders work ahead, and their blocks are gathered into batches.

A batch may hold pairs of several shards, so that it is full whatever the sizes of shards.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.clip.batch import ImageBatch
from laion.clip.crop import Pixels
from laion.clip.decoder import BLOCK, Block, Decoder, DecoderConfig, Shard
from laion.clip.metadata_table import PairRow
from laion.clip.shared_slots import SharedSlots

#: Slots that a decoder may have at once: the one that it fills, and those that it filled while
#: the loader was busy.
AHEAD = 3


@dataclass(slots=True)
class LoadedBatch:
    """A batch of samples; `shards` holds the number of the shard of each one.

    `images` or `tokens` are None where they are not wanted.
    """

    images: ImageBatch | None
    tokens: npt.NDArray[np.int64] | None
    rows: list[PairRow]
    shards: list[int]


@dataclass(slots=True)
class ShardEnd:
    """All pairs of a shard were yielded; `error` is why it could not be read to its end."""

    number: int
    dropped: Counter[str]
    error: str | None


class _DecoderHandle:
    """The loader's end of a decoder; `slots` are the slots that the decoder has."""

    def __init__(
        self,
        config: DecoderConfig,
        slots: SharedSlots,
        tokenize: Callable[[list[str]], Any] | None,
    ) -> None:
        self.shard: Shard | None = None
        self.slots: set[int] = set()
        self.process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        if slots.file is None:
            decoder = Decoder(Connection(theirs.detach()), slots.memory, config, tokenize)
            threading.Thread(target=decoder.run, name="decoder", daemon=True).start()
            return
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "laion.clip.decoder", str(theirs.fileno()), str(slots.file)],
            pass_fds=[theirs.fileno(), slots.file],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C is handled by the process of the loader.
            start_new_session=True,
        )
        theirs.close()
        self.send(config)

    def send(self, message: DecoderConfig | Shard | int) -> None:
        """Send a message; a dead decoder is noticed when the loader reads from it."""
        with suppress(BrokenPipeError, ConnectionError):
            self.connection.send(message)

    def close(self) -> int | None:
        """End the decoder; return the exit code of a process that ended by itself."""
        self.connection.close()
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            self.process.kill()
        self.process.wait()
        return code


class Loader:
    """Decodes shards ahead of its consumer; a context manager.

    Args:
        batch_size: pairs of a batch, fewer where images are large.
        decoders: shards decoded at once.
        own_processes: run each decoder as a process. Threads are enough where the model runs on
            the same cores.
        tokenize: the model's tokenizer, for threads.

    Attributes:
        pixels: the memory of the images of all batches, uint8 [bytes].
    """

    def __init__(
        self,
        config: DecoderConfig,
        batch_size: int,
        decoders: int,
        own_processes: bool,
        tokenize: Callable[[list[str]], Any] | None = None,
    ) -> None:
        self.batch_size = batch_size
        #: Slots of a batch, enough for a full one unless images are large: each decoder can add
        #: one that belongs to another batch as well.
        self.batch_slots = -(-batch_size // BLOCK) + decoders
        self._config = config
        self._count = decoders
        self._tokenize = tokenize
        self._slots = SharedSlots(
            self.batch_slots + AHEAD * decoders, config.slot_bytes, own_processes
        )
        self.pixels: Pixels = self._slots.pixels
        self._handles: list[_DecoderHandle] = []

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        self._slots.close()

    def run(self, shards: Iterator[Shard]) -> Iterator[LoadedBatch | ShardEnd]:
        """Yield batches, and the end of each shard after all of its pairs.

        A shard is taken from `shards` when a decoder is free. The pixels of a batch are valid
        until the next item is requested.
        """
        builder = _BatchBuilder(self)
        dropped: dict[int, Counter[str]] = {}
        more = True
        while True:
            while more and (free := self._free_decoder()) is not None:
                shard = next(shards, None)
                if shard is None:
                    more = False
                    break
                free.shard = shard
                free.send(shard)
            busy = {h.connection: h for h in self._handles if h.shard is not None}
            if not busy:
                break
            if not self._distribute_slots(busy.values()):
                yield from builder.flush()  # it holds all slots
                continue
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                handle = busy[ready]
                block = self._receive(handle, builder)
                counts = dropped.setdefault(block.number, Counter())
                counts.update(block.dropped)
                yield from builder.add(block)
                if block.last:
                    handle.shard = None
                    del dropped[block.number]
                    builder.ends.append(ShardEnd(block.number, counts, block.error))
                    if not builder.rows:
                        yield from builder.flush()
        yield from builder.flush()

    def release(self, slots: Iterable[int]) -> None:
        """Make slots free whose images are not needed any more."""
        for slot in slots:
            self._slots.release(slot)

    def _free_decoder(self) -> _DecoderHandle | None:
        for handle in self._handles:
            if handle.shard is None:
                return handle
        if len(self._handles) < self._count:
            handle = _DecoderHandle(self._config, self._slots, self._tokenize)
            self._handles.append(handle)
            return handle
        return None

    def _distribute_slots(self, handles: Iterable[_DecoderHandle]) -> bool:
        """Give free slots to decoders, evenly; return whether any decoder has one then."""
        for few in range(AHEAD):
            for handle in handles:
                if len(handle.slots) == few and self._slots:
                    slot = self._slots.take()
                    handle.slots.add(slot)
                    handle.send(slot)
        return any(handle.slots for handle in handles)

    def _receive(self, handle: _DecoderHandle, builder: _BatchBuilder) -> Block:
        """Return the next block of a decoder; a block with an error when the decoder died."""
        try:
            block: Block = handle.connection.recv()
        except (EOFError, ConnectionError):
            assert handle.shard is not None
            self._handles.remove(handle)
            code = handle.close()
            # The batch may hold images in these slots.
            builder.slots += handle.slots
            return Block(handle.shard.number, last=True, error=f"its decoder died (code {code})")
        if block.filled is not None:
            handle.slots.remove(block.filled)
        return block


@dataclass(slots=True)
class _BatchBuilder:
    """The batch being filled, and the ends of shards that come after it.

    `slots` are free once the batch is not needed any more.
    """

    loader: Loader
    slots: list[int] = field(default_factory=list)
    offsets: list[npt.NDArray[np.int64]] = field(default_factory=list)
    axes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    tokens: list[npt.NDArray[np.int64]] = field(default_factory=list)
    rows: list[PairRow] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)
    ends: list[ShardEnd] = field(default_factory=list)

    def add(self, block: Block) -> Iterator[LoadedBatch | ShardEnd]:
        """Take the pairs of a block and yield the batches that they complete."""
        at = 0
        while at < len(block.rows):
            end = min(at + self.loader.batch_size - len(self.rows), len(block.rows))
            self._take(block, at, end)
            at = end
            if len(self.rows) == self.loader.batch_size:
                if at == len(block.rows):
                    self._leave(block)
                yield from self.flush()
        self._leave(block)
        if len(self.slots) >= self.loader.batch_slots:
            yield from self.flush()

    def _take(self, block: Block, at: int, end: int) -> None:
        if block.offsets is not None and block.axes is not None:
            self.offsets.append(block.offsets[at:end])
            self.axes.append(block.axes[at:end])
        if block.tokens is not None:
            self.tokens.append(block.tokens[at:end])
        self.rows += block.rows[at:end]
        self.shards += [block.number] * (end - at)

    def _leave(self, block: Block) -> None:
        """Take over the slot of a block whose pairs are all in this batch or in earlier ones."""
        if block.filled is not None:
            self.slots.append(block.filled)
            block.filled = None

    def flush(self) -> Iterator[LoadedBatch | ShardEnd]:
        """Yield the batch as it is, then the ends that come after it."""
        if self.rows:
            images = None
            if self.axes:
                images = ImageBatch(
                    self.loader.pixels, np.concatenate(self.axes), np.concatenate(self.offsets)
                )
            tokens = np.concatenate(self.tokens) if self.tokens else None
            loaded = LoadedBatch(images, tokens, self.rows, self.shards)
            self.offsets, self.axes, self.tokens = [], [], []
            self.rows, self.shards = [], []
            yield loaded
        self.loader.release(self.slots)
        self.slots = []
        ends, self.ends = self.ends, []
        yield from ends
