"""Renders the images of a worker, in the loop or in a thread, and ends the worker if that hangs.

Images are rendered in the loop's own thread when their headers say that this is cheap: handing
every image to a thread costs a tenth of all CPU. A costly image goes to a single thread, so that
the loop runs meanwhile, unless others wait for the thread already.

The two keep to `max_decode_memory` together: what does not fit beside the image in the thread waits
for the thread. Small images are not counted.

A decoder cannot be stopped from outside. A worker that does not come back from one ends itself. Its
shards are rebuilt with images rendered in a child process, where the one that takes too long
costs itself alone: see `image.isolated`.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import trio

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason
from img2ds.core.sample import Body, Encoded
from img2ds.downloader.process import release_memory
from img2ds.downloader.stand_in import Lent
from img2ds.image.boxes import Boxes
from img2ds.image.isolated import TIME_IS_UP, IsolatedTransformer
from img2ds.image.plugins import make_transformer
from img2ds.image.transform import InspectedImage, Transformer

#: Costly images that wait for the thread. When there are more, the loop itself decodes: it has no
#: less to do than the thread, and a queue there would fill with slots and their bodies.
MAX_WAITING_FOR_THREAD = 2
#: Bytes of an image that is rendered in the loop whatever the thread has.
SMALL = 16_000_000
#: Bytes of an image before and after which the heap is given back: bodies that have been processed
#: leave holes in it, and libraries 100 MB and more.
_LARGE = 64_000_000
#: Seconds of CPU that the process may take between two beats besides an image's.
_BESIDES = 5.0
#: Reasons of images that ended the process that decoded them.
KILLED = {Reason.DECODER_CRASH.value, Reason.DECODE_TIMEOUT.value}


class Renderer:
    """Renders images. Time limits are of CPU, which does not pass while the process is suspended.

    Attributes:
        lent: what the loop lends to its stand-in while it renders.

    Args:
        isolated: whether a child process renders.
    """

    def __init__(self, options: ImageOptions, isolated: bool = False) -> None:
        self._transformer: Transformer = (
            IsolatedTransformer(options) if isolated else make_transformer(options)
        )
        # A child is waited for, and a plug-in may take any time.
        self._always_threads = isolated or bool(options.filter or options.transform)
        self._limit = options.max_decode_time
        self._memory = options.max_decode_memory
        self._limiter = trio.CapacityLimiter(1)
        self._sent: list[int] = []  # bytes of the images in the thread, and waiting for it
        self._thread: tuple[int, float] | None = None  # its CPU clock, and when it began
        self._watched = True
        self.lent = Lent()

    def inspect(self, body: Body, boxes: Boxes, hashed: bool) -> InspectedImage | Failure:
        """See `Transformer.inspect`."""
        return self._transformer.inspect(body, boxes, hashed)

    async def render(self, image: InspectedImage) -> Encoded | Failure:
        """See `Transformer.render`."""
        if (
            self._always_threads
            or (image.costly and len(self._sent) <= MAX_WAITING_FOR_THREAD)
            or not self._fits(image.memory)
        ):
            self._sent.append(image.memory)
            try:
                # A run that stops does not wait for a decoder.
                return await trio.to_thread.run_sync(
                    self._in_thread, image, limiter=self._limiter, abandon_on_cancel=True
                )
            finally:
                self._sent.remove(image.memory)
        with self.lent:
            return self._transformer.render(image)

    def _fits(self, memory: int) -> bool:
        """Return whether an image may be rendered now, beside any that the thread may have."""
        return memory <= SMALL or not self._sent or memory + max(self._sent) <= self._memory

    def _in_thread(self, image: InspectedImage) -> Encoded | Failure:
        if hasattr(time, "pthread_getcpuclockid"):  # not on macOS
            clock = time.pthread_getcpuclockid(threading.get_ident())
            self._thread = clock, time.clock_gettime(clock)
        large = image.memory > _LARGE
        if large:
            release_memory()
        try:
            return self._transformer.render(image)
        finally:
            self._thread = None
            if large:
                release_memory()

    def beat(self) -> None:
        """Note that the event loop runs. Call it every second or so."""
        if not self._watched:
            return
        # The system ends the process if the loop itself does not come back.
        signal.setitimer(signal.ITIMER_PROF, self._limit + _BESIDES)
        if self._thread is not None:
            clock, began = self._thread
            if time.clock_gettime(clock) - began > self._limit:
                os.kill(os.getpid(), TIME_IS_UP)

    def stop_watching(self) -> None:
        """Let images take any time: the run stops, and waits for none. From any thread."""
        self._watched = False
        signal.setitimer(signal.ITIMER_PROF, 0)

    def close(self) -> None:
        """End the child, and stop watching."""
        self.stop_watching()
        self._transformer.close()
