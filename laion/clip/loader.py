"""Keeps a model fed: decoders work ahead, their blocks are gathered into batches.

A batch may hold pairs of several shards, so that it is full whatever the shards' sizes are.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from laion.clip.decoder import SLOTS, Block, Decoder, Row, Shard, Work
from laion.clip.prepare import Batch, Pixels


@dataclass(slots=True)
class Loaded:
    """A batch of pairs. `origins` says for each the number of its shard."""

    batch: Batch
    tokens: npt.NDArray[np.int64] | None
    rows: list[Row]
    origins: list[int]


@dataclass(slots=True)
class ShardEnd:
    """All pairs of a shard have been given out; `error` says why it could not be read whole."""

    number: int
    dropped: Counter[str]
    error: str | None


class _Handle:
    """A decoder, seen from the loader."""

    def __init__(
        self, work: Work, own_process: bool, tokenize: Callable[[list[str]], Any] | None
    ) -> None:
        self.shard: Shard | None = None
        self.process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        size = SLOTS * work.slot_bytes
        if not own_process:
            self.memory = mmap.mmap(-1, size)
            decoder = Decoder(Connection(theirs.detach()), self.memory, work, tokenize)
            threading.Thread(target=decoder.run, name="decoder", daemon=True).start()
        else:
            file = _shared_memory(size)
            self.memory = mmap.mmap(file, size)
            root = str(Path(__file__).resolve().parents[2])
            path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "laion.clip.decoder", str(theirs.fileno()), str(file)],
                pass_fds=[theirs.fileno(), file],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is the business of whoever runs the loader.
                start_new_session=True,
            )
            theirs.close()
            os.close(file)
            with suppress(BrokenPipeError):  # it died at birth: seen when read from
                self.connection.send(work)
        self.pixels: Pixels = np.frombuffer(self.memory, np.uint8)

    def close(self) -> int | None:
        """End the decoder; the exit code of a process that ended by itself."""
        self.connection.close()
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            self.process.kill()
        self.process.wait()
        return code


class Loader:
    """Decodes shards ahead of whoever iterates. Use it in a `with`.

    Args:
        work: what the decoders do.
        batch_size: pairs of a batch.
        decoders: how many shards are decoded at once.
        own_processes: run each decoder as a process; threads otherwise, which is enough where
            the model runs on the same cores.
        tokenize: for threads, that share the model's tokenizer.
        buffer: gives the memory of a batch, uint8 [bytes]; a device wants it pinned.
    """

    def __init__(
        self,
        work: Work,
        batch_size: int,
        decoders: int,
        own_processes: bool,
        tokenize: Callable[[list[str]], Any] | None = None,
        buffer: Callable[[int], Pixels] | None = None,
    ) -> None:
        self._work = work
        self._batch_size = batch_size
        self._count = decoders
        self._own_processes = own_processes
        self._tokenize = tokenize
        self._buffer = buffer or (lambda size: np.empty(size, np.uint8))
        # Two slots' worth of pictures that are large, however many of a batch those are.
        self._most_bytes = max(2 * work.slot_bytes, batch_size * 256 * 256 * 3)
        self._handles: list[_Handle] = []

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.close()
        self._handles.clear()

    def run(self, shards: Iterator[Shard]) -> Iterator[Loaded | ShardEnd]:
        """Batches and, each after all of its pairs, ends of shards. Shards are pulled one for
        each decoder that is free.
        """
        gathered = _Gathering(self)
        dropped: dict[int, Counter[str]] = {}
        more = True
        while True:
            while more and (free := self._free_decoder()) is not None:
                shard = next(shards, None)
                if shard is None:
                    more = False
                    break
                free.shard = shard
                with suppress(BrokenPipeError, ConnectionError):  # seen when read from
                    free.connection.send(shard)
            busy = {h.connection: h for h in self._handles if h.shard is not None}
            if not busy:
                break
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                handle = busy[ready]
                block = self._hear(handle)
                counts = dropped.setdefault(block.number, Counter())
                counts.update(block.dropped)
                yield from gathered.add(block, handle)
                if block.last:
                    handle.shard = None
                    del dropped[block.number]
                    gathered.end(ShardEnd(block.number, counts, block.error))
                    if not gathered.rows:
                        yield from gathered.flush()
        yield from gathered.flush()

    @property
    def most_bytes(self) -> int:
        """Bytes of a batch's pictures, at most."""
        return self._most_bytes

    @property
    def batch_size(self) -> int:
        return self._batch_size

    def buffer(self) -> Pixels:
        return self._buffer(self._most_bytes)

    @property
    def slot_bytes(self) -> int:
        return self._work.slot_bytes

    def _free_decoder(self) -> _Handle | None:
        for handle in self._handles:
            if handle.shard is None:
                return handle
        if len(self._handles) < self._count:
            handle = _Handle(self._work, self._own_processes, self._tokenize)
            self._handles.append(handle)
            return handle
        return None

    def _hear(self, handle: _Handle) -> Block:
        """What a decoder says; that its shard cannot be read, when it died over it."""
        try:
            block: Block = handle.connection.recv()
        except (EOFError, ConnectionError):
            assert handle.shard is not None
            self._handles.remove(handle)
            code = handle.close()
            return Block(handle.shard.number, last=True, error=f"its decoder died (code {code})")
        return block


@dataclass(slots=True)
class _Gathering:
    """The batch that is being filled, and the ends of shards that have to wait for it."""

    loader: Loader
    pixels: Pixels | None = None
    used: int = 0
    axes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    tokens: list[npt.NDArray[np.int64]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    ends: list[ShardEnd] = field(default_factory=list)

    def add(self, block: Block, handle: _Handle) -> Iterator[Loaded | ShardEnd]:
        """Copy a block's pictures, and give its slot back. Batches that get full come out."""
        if block.slot is None or block.axes is None:
            return
        lengths = block.axes[:, 0, 4] * block.axes[:, 1, 4] * 3
        bounds = np.concatenate([[0], np.cumsum(lengths)]) + block.slot * self.loader.slot_bytes
        at = 0
        while at < len(block.rows):
            room = self.loader.most_bytes - self.used
            fits = int(np.searchsorted(bounds, bounds[at] + room, side="right")) - 1
            end = min(fits, at + self.loader.batch_size - len(self.rows), len(block.rows))
            if end > at:
                self._take(block, at, end, handle.pixels[bounds[at] : bounds[end]])
            at = max(at, end)
            if len(self.rows) == self.loader.batch_size or at < len(block.rows):
                yield from self.flush()
        with suppress(BrokenPipeError, ConnectionError):
            handle.connection.send(block.slot)

    def _take(self, block: Block, at: int, end: int, pixels: Pixels) -> None:
        if self.pixels is None:
            self.pixels = self.loader.buffer()
        self.pixels[self.used : self.used + len(pixels)] = pixels
        self.used += len(pixels)
        assert block.axes is not None
        self.axes.append(block.axes[at:end])
        if block.tokens is not None:
            self.tokens.append(block.tokens[at:end])
        self.rows += block.rows[at:end]
        self.origins += [block.number] * (end - at)

    def end(self, end: ShardEnd) -> None:
        self.ends.append(end)

    def flush(self) -> Iterator[Loaded | ShardEnd]:
        """The batch as it is, then the ends that waited for it."""
        if self.rows:
            assert self.pixels is not None
            batch = Batch(self.pixels[: self.used], np.concatenate(self.axes))
            tokens = np.concatenate(self.tokens) if self.tokens else None
            loaded = Loaded(batch, tokens, self.rows, self.origins)
            self.pixels, self.used = None, 0
            self.axes, self.tokens, self.rows, self.origins = [], [], [], []
            yield loaded
        ends, self.ends = self.ends, []
        yield from ends


def _shared_memory(size: int) -> int:
    """The descriptor of memory that processes can share, and that goes when they do."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("img2ds-pictures")
    else:
        handle, path = tempfile.mkstemp()
        os.unlink(path)
        file = handle
    os.ftruncate(file, size)
    return file
