"""Keeps a model fed: decoders work ahead, their blocks are gathered into batches.

A batch may hold pairs of several shards, so that it is full whatever the shards' sizes are.
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

from laion.clip.decoder import BLOCK, Block, Decoder, Row, Shard, Work
from laion.clip.prepare import Batch, Pixels
from laion.clip.slots import Slots

#: Slots that a decoder may have at once: the one that it fills, and those that it filled while
#: the loader was busy.
AHEAD = 3


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
    """A decoder, seen from the loader. `slots` are those that it has."""

    def __init__(
        self, work: Work, slots: Slots, tokenize: Callable[[list[str]], Any] | None
    ) -> None:
        self.shard: Shard | None = None
        self.slots: set[int] = set()
        self.process: subprocess.Popen[bytes] | None = None
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        if slots.file is None:
            decoder = Decoder(Connection(theirs.detach()), slots.memory, work, tokenize)
            threading.Thread(target=decoder.run, name="decoder", daemon=True).start()
            return
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "laion.clip.decoder", str(theirs.fileno()), str(slots.file)],
            pass_fds=[theirs.fileno(), slots.file],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C is the business of whoever runs the loader.
            start_new_session=True,
        )
        theirs.close()
        self.send(work)

    def send(self, message: Work | Shard | int) -> None:
        """Tell the decoder; that it is dead is seen when it is read from."""
        with suppress(BrokenPipeError, ConnectionError):
            self.connection.send(message)

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
        batch_size: pairs of a batch, fewer where pictures are large.
        decoders: how many shards are decoded at once.
        own_processes: run each decoder as a process; threads otherwise, which is enough where
            the model runs on the same cores.
        tokenize: for threads, that share the model's tokenizer.

    Attributes:
        pixels: the memory of all batches' pictures, uint8 [bytes].
    """

    def __init__(
        self,
        work: Work,
        batch_size: int,
        decoders: int,
        own_processes: bool,
        tokenize: Callable[[list[str]], Any] | None = None,
    ) -> None:
        self.batch_size = batch_size
        #: Slots that a batch may have, in which it is full unless pictures are large: each
        #: decoder can add one that is in part another batch's.
        self.batch_slots = -(-batch_size // BLOCK) + decoders
        self._work = work
        self._count = decoders
        self._tokenize = tokenize
        self._slots = Slots(self.batch_slots + AHEAD * decoders, work.slot_bytes, own_processes)
        self.pixels: Pixels = self._slots.pixels
        self._handles: list[_Handle] = []

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        self._slots.close()

    def run(self, shards: Iterator[Shard]) -> Iterator[Loaded | ShardEnd]:
        """Batches and, each after all of its pairs, ends of shards. Shards are pulled one for
        each decoder that is free.

        The pixels of a batch are another one's as soon as the next item is asked for.
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
                free.send(shard)
            busy = {h.connection: h for h in self._handles if h.shard is not None}
            if not busy:
                break
            if not self._hand_out(busy.values()):
                yield from gathered.flush()  # it has them all
                continue
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                handle = busy[ready]
                block = self._hear(handle, gathered)
                counts = dropped.setdefault(block.number, Counter())
                counts.update(block.dropped)
                yield from gathered.add(block)
                if block.last:
                    handle.shard = None
                    del dropped[block.number]
                    gathered.ends.append(ShardEnd(block.number, counts, block.error))
                    if not gathered.rows:
                        yield from gathered.flush()
        yield from gathered.flush()

    def give_back(self, slots: Iterable[int]) -> None:
        """Their pictures are not needed any more."""
        for slot in slots:
            self._slots.give_back(slot)

    def _free_decoder(self) -> _Handle | None:
        for handle in self._handles:
            if handle.shard is None:
                return handle
        if len(self._handles) < self._count:
            handle = _Handle(self._work, self._slots, self._tokenize)
            self._handles.append(handle)
            return handle
        return None

    def _hand_out(self, handles: Iterable[_Handle]) -> bool:
        """Give free slots to decoders, evenly; whether any of them has one then."""
        for few in range(AHEAD):
            for handle in handles:
                if len(handle.slots) == few and self._slots:
                    slot = self._slots.take()
                    handle.slots.add(slot)
                    handle.send(slot)
        return any(handle.slots for handle in handles)

    def _hear(self, handle: _Handle, gathered: _Gathering) -> Block:
        """What a decoder says; that its shard cannot be read, when it died over it."""
        try:
            block: Block = handle.connection.recv()
        except (EOFError, ConnectionError):
            assert handle.shard is not None
            self._handles.remove(handle)
            code = handle.close()
            # Pairs that the batch has may lie in one of them.
            gathered.slots += handle.slots
            return Block(handle.shard.number, last=True, error=f"its decoder died (code {code})")
        if block.filled is not None:
            handle.slots.remove(block.filled)
        return block


@dataclass(slots=True)
class _Gathering:
    """The batch that is being filled, and the ends of shards that have to wait for it.

    `slots` are those that are free once the batch is done with.
    """

    loader: Loader
    slots: list[int] = field(default_factory=list)
    offsets: list[npt.NDArray[np.int64]] = field(default_factory=list)
    axes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    tokens: list[npt.NDArray[np.int64]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    ends: list[ShardEnd] = field(default_factory=list)

    def add(self, block: Block) -> Iterator[Loaded | ShardEnd]:
        """Take a block's pairs. Batches that get full come out."""
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
        assert block.offsets is not None
        assert block.axes is not None
        self.offsets.append(block.offsets[at:end])
        self.axes.append(block.axes[at:end])
        if block.tokens is not None:
            self.tokens.append(block.tokens[at:end])
        self.rows += block.rows[at:end]
        self.origins += [block.number] * (end - at)

    def _leave(self, block: Block) -> None:
        """All of a block's pairs are in this batch or in those before."""
        if block.filled is not None:
            self.slots.append(block.filled)
            block.filled = None

    def flush(self) -> Iterator[Loaded | ShardEnd]:
        """The batch as it is, then the ends that waited for it."""
        if self.rows:
            batch = Batch(
                self.loader.pixels, np.concatenate(self.axes), np.concatenate(self.offsets)
            )
            tokens = np.concatenate(self.tokens) if self.tokens else None
            loaded = Loaded(batch, tokens, self.rows, self.origins)
            self.offsets, self.axes, self.tokens = [], [], []
            self.rows, self.origins = [], []
            yield loaded
        self.loader.give_back(self.slots)
        self.slots = []
        ends, self.ends = self.ends, []
        yield from ends
