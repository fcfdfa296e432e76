"""Decodes images of clients in a few processes of their own, apart from searches."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import anyio

from img2ds.core.failure import Failure, Reason
from laion.clip.crop import Crop
from laion.clip.geometry import PreprocessConfig
from laion.knn.query_image import QueryImageError
from laion.web.batch_queue import BatchLimits, BatchQueue, Overloaded
from laion.web.decoder_process import DecodeLimits, DecoderEnded, DecoderProcess

#: Images that wait for a decoder, at most, and for how many seconds each.
MAX_WAITING = 32
MAX_WAIT = 20.0


class DecoderPool:
    """Decoder processes, started when they are needed.

    Args:
        preprocess: what the model needs of an image.
        processes: how many images are decoded at once.
    """

    def __init__(self, preprocess: PreprocessConfig, limits: DecodeLimits, processes: int) -> None:
        self._preprocess = preprocess
        self._limits = limits
        self._lock = Lock()
        self._idle: list[DecoderProcess] = []
        self._busy: set[DecoderProcess] = set()
        self._is_closed = False
        self._queue: BatchQueue[bytes, Crop] = BatchQueue(
            "decode", self._decode, BatchLimits(processes, batch=1, waiting=MAX_WAITING)
        )

    def start(self) -> None:
        """Start a process, so that the first image need not wait for it."""
        self._idle.append(DecoderProcess(self._preprocess, self._limits))

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        return [process.pid for process in (*self._idle, *self._busy)]

    async def decode(self, body: bytes, client: str) -> Crop:
        """Decode an image; clients take turns.

        Raises:
            QueryImageError: it cannot be decoded, or takes too much.
            Overloaded: too many images wait, or they take too long.
        """
        try:
            with anyio.fail_after(MAX_WAIT + self._limits.wall_seconds):
                return await self._queue.submit(body, client)
        except TimeoutError:
            raise Overloaded("too many images are waiting", int(MAX_WAIT)) from None

    def close(self) -> None:
        """End all processes."""
        self._queue.close()
        with self._lock:
            self._is_closed = True
            processes, self._idle = self._idle, []
            for process in self._busy:  # their threads close them
                process.kill()
        for process in processes:
            process.close()

    def _decode(self, bodies: Sequence[bytes]) -> list[Crop | Exception]:
        return [self._decode_one(body) for body in bodies]

    def _decode_one(self, body: bytes) -> Crop | Exception:
        process = self._take()
        if process is None:
            return Overloaded("the server is stopping")
        is_alive = False
        try:
            decoded = process.decode(body)
            is_alive = True
        except DecoderEnded as error:
            return QueryImageError(str(error))
        finally:
            self._give_back(process, is_alive)
        if not isinstance(decoded, Failure):
            return decoded
        if decoded.reason == Reason.INTERNAL_ERROR:
            return RuntimeError(decoded.message)
        return QueryImageError(decoded.message, decoded.reason)

    def _take(self) -> DecoderProcess | None:
        with self._lock:
            if self._is_closed:
                return None
            process = self._idle.pop() if self._idle else None
            if process is None:
                process = DecoderProcess(self._preprocess, self._limits)
            self._busy.add(process)
            return process

    def _give_back(self, process: DecoderProcess, is_alive: bool) -> None:
        with self._lock:
            self._busy.discard(process)
            if is_alive and not self._is_closed:
                self._idle.append(process)
                return
        process.close()
