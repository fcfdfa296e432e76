"""Runs batches through a model on one device; copies overlap with the computation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from laion.clip.batch import ImageBatch
from laion.clip.crop import Pixels
from laion.clip.embed import Rows
from laion.clip.loader import LoadedBatch


class EmbeddingQueue:
    """Turns batches into embeddings in order; on a CUDA device several are in flight at once.

    Images are copied on a stream of their own while the batch before them is computed, and
    embeddings are copied back asynchronously. Only `result` waits.
    """

    def __init__(self, embedder: Any) -> None:
        self._torch: Any = import_module("torch")
        self._embedder = embedder
        self._cuda = embedder.device.type == "cuda"
        self._done: deque[Any] = deque()
        self._copies: Any = self._torch.cuda.Stream(embedder.device) if self._cuda else None

    @property
    def in_flight(self) -> int:
        """Submitted batches whose results have not been taken."""
        return len(self._done)

    @contextmanager
    def pinned(self, pixels: Pixels) -> Iterator[None]:
        """Pin memory, so that a CUDA device can read it directly; otherwise it is copied twice."""
        if not self._cuda:
            yield
            return
        torch = self._torch
        runtime = torch.cuda.cudart()
        address = pixels.ctypes.data
        registered = int(runtime.cudaHostRegister(address, pixels.nbytes, 0)) == 0
        if not registered:
            # The error would be raised by the next launch, which did not cause it.
            with suppress(RuntimeError):
                torch.zeros(1, device=self._embedder.device)
        try:
            yield
        finally:
            if registered:
                torch.cuda.synchronize(self._embedder.device)
                runtime.cudaHostUnregister(address)

    def submit(self, loaded: LoadedBatch) -> None:
        """Start a batch. Its pixels are not needed any more on return."""
        if not self._cuda:
            self._done.append((self._embed(loaded.images, loaded.tokens), None))
            return
        torch = self._torch
        device = self._embedder.device
        computing = torch.cuda.current_stream(device)
        copied = torch.cuda.Event()
        images: ImageBatch | None = None
        tokens: Any = None
        with torch.cuda.stream(self._copies):
            if loaded.images is not None:
                images = loaded.images.to(device)
            if loaded.tokens is not None:
                tokens = torch.from_numpy(loaded.tokens).pin_memory().to(device, non_blocking=True)
            copied.record(self._copies)
        computing.wait_event(copied)
        if images is not None:
            images.pixels.record_stream(computing)
        if tokens is not None:
            tokens.record_stream(computing)
        back = [
            None if rows is None else self._copied_back(rows)
            for rows in self._embed(images, tokens)
        ]
        done = torch.cuda.Event()
        done.record(computing)
        self._done.append((back, done))
        copied.synchronize()

    def _embed(self, images: ImageBatch | None, tokens: Any) -> tuple[Any, Any]:
        return (
            None if images is None else self._embedder.batch(images),
            None if tokens is None else self._embedder.tokens(tokens),
        )

    def _copied_back(self, rows: Any) -> Any:
        back = self._torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        back.copy_(rows, non_blocking=True)
        return back

    def result(self) -> tuple[Rows | None, Rows | None]:
        """Return image and text embeddings, float32 [n, dim], of the oldest batch in flight."""
        (image, text), event = self._done.popleft()
        if event is not None:
            event.synchronize()
        return (
            None if image is None else image.numpy(),
            None if text is None else text.numpy(),
        )
