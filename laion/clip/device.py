"""Devices, and the lane that batches go through on one: copies and results beside the computing."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.clip.loader import Loaded
from laion.clip.prepare import Pixels

#: Held locks: a lock goes when its file is closed.
_claimed: list[IO[bytes]] = []


def claim_device(devices: Sequence[str]) -> str:
    """One of the devices for this process, as long as it lives: the first that no other process
    of this user has claimed. When all are claimed they are shared.
    """
    for device in devices:
        name = f"img2ds-{os.getuid()}-{device.replace(':', '-')}.lock"
        file = open(os.path.join(tempfile.gettempdir(), name), "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _claimed.append(file)
        return device
    return devices[os.getpid() % len(devices)]


def check_devices(names: Sequence[str]) -> None:
    """Raises UsageError unless these can be names of devices, of whichever machine."""
    for name in names:
        kind, _, number = name.partition(":")
        if name not in ("cpu", "auto") and (kind != "cuda" or (number and not number.isdigit())):
            raise UsageError(f"--devices {name}: name cpu, cuda, or cuda:0 and the like")
    if len(names) > 1 and {"cpu", "auto"} & set(names):
        raise UsageError("--devices: name cpu alone, or CUDA devices without it")


def pick_devices(names: Sequence[str]) -> list[str]:
    """The devices of this machine that a user's words stand for; none named are all CUDA
    devices, else the CPU.

    Raises:
        UsageError: one of them is no device of this machine, or a CPU is named beside others.
    """
    check_devices(names)
    if list(names) == ["cpu"]:
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    every = [f"cuda:{number}" for number in range(count)]
    if not names or list(names) == ["auto"]:
        return every or ["cpu"]
    found: list[str] = []
    for name in names:
        number = name.partition(":")[2]
        if int(number or 0) >= count:
            have = f"has {count} CUDA devices" if count else "has no CUDA device"
            raise UsageError(f"--devices {name}: this machine {have} that torch can use")
        found += [name] if number else every
    return list(dict.fromkeys(found))


class Lane:
    """Batches to embeddings in order, several under way at once on a CUDA device.

    Pictures are copied on a stream of their own while the batch before them is computed, and
    embeddings come back by themselves; nothing waits but `result`.
    """

    def __init__(self, embedder: Any) -> None:
        self._torch: Any = import_module("torch")
        self._embedder = embedder
        self._cuda = embedder.device.type == "cuda"
        self._done: deque[Any] = deque()
        self._copies: Any = self._torch.cuda.Stream(embedder.device) if self._cuda else None

    @property
    def under_way(self) -> int:
        """Batches submitted whose results have not been asked for."""
        return len(self._done)

    @contextmanager
    def pinned(self, pixels: Pixels) -> Iterator[None]:
        """Let a CUDA device read this memory by itself; it is copied twice where it cannot."""
        if not self._cuda:
            yield
            return
        torch = self._torch
        runtime = torch.cuda.cudart()
        address = pixels.ctypes.data
        registered = int(runtime.cudaHostRegister(address, pixels.nbytes, 0)) == 0
        if not registered:
            # The error waits for the next launch, which is not to blame.
            with suppress(RuntimeError):
                torch.zeros(1, device=self._embedder.device)
        try:
            yield
        finally:
            if registered:
                torch.cuda.synchronize(self._embedder.device)
                runtime.cudaHostUnregister(address)

    def submit(self, loaded: Loaded) -> None:
        """Start on a batch. Its pixels are not needed any more when this comes back."""
        if not self._cuda:
            image = self._embedder.batch(loaded.batch).numpy()
            self._done.append((image, self._embedder.tokens(loaded.tokens).numpy()))
            return
        torch = self._torch
        device = self._embedder.device
        computing = torch.cuda.current_stream(device)
        copied = torch.cuda.Event()
        with torch.cuda.stream(self._copies):
            batch = loaded.batch.to(device)
            tokens = torch.from_numpy(loaded.tokens).pin_memory().to(device, non_blocking=True)
            copied.record(self._copies)
        computing.wait_event(copied)
        batch.pixels.record_stream(computing)
        tokens.record_stream(computing)
        image = self._embedder.batch(batch)
        text = self._embedder.tokens(tokens)
        both = torch.stack([image, text])
        back = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
        back.copy_(both, non_blocking=True)
        done = torch.cuda.Event()
        done.record(computing)
        self._done.append((back, done))
        copied.synchronize()

    def result(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Image and text embeddings, float32 [n, dim] each, of the oldest batch under way."""
        done = self._done.popleft()
        if not self._cuda:
            image, text = done
            return image, text
        back, event = done
        event.synchronize()
        both = back.numpy()
        return both[0], both[1]
