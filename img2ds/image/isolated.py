"""Renders images in a child process, so that an image that kills its decoder costs itself alone.

For shards whose worker has died. A child lives until an image kills it, takes more than
`max_decode_time` seconds of CPU, or hangs; the next image gets a new one.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
from multiprocessing.connection import Connection

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.core.sample import Encoded
from img2ds.engine.child_process import ignore_stops, start_child
from img2ds.image.plugins import make_transformer
from img2ds.image.transform import InspectedImage, Transformer

#: Seconds of waiting for a second of CPU, and besides, after which a child hangs.
_WAIT_PER_SECOND, _WAIT = 10.0, 60.0
#: The signal of a timer that counts CPU time.
TIME_IS_UP = signal.SIGPROF


class IsolatedTransformer(Transformer):
    """A `Transformer` whose child renders. One thread at a time may call `render`."""

    def __init__(self, options: ImageOptions) -> None:
        super().__init__(options)
        # A plug-in that cannot be set up must not look like a decoder that crashes.
        make_transformer(options).close()
        self._limit = options.max_decode_time
        self._child: _Child | None = None

    def render(self, image: InspectedImage) -> Encoded | Failure:
        """See `Transformer.render`. An image that ends its child fails."""
        child = self._child = self._child or _Child(self._options)
        try:
            return child.render(image, self._limit * _WAIT_PER_SECOND + _WAIT)
        except _HangsError:
            self.close()
            return failure(Reason.DECODE_TIMEOUT, "decoding does not end")
        except (EOFError, OSError):
            code = self.close()
        if code == -TIME_IS_UP:
            return failure(
                Reason.DECODE_TIMEOUT, f"decoding takes more than {self._limit:g} s of CPU"
            )
        return failure(Reason.DECODER_CRASH, f"the decoder crashed ({_words(code)})")

    def close(self) -> int:
        """End the child. Returns its exit code, negative for a signal."""
        child, self._child = self._child, None
        return 0 if child is None else child.close()


class _HangsError(Exception):
    pass


class _Child:
    """The process that renders, and this end of the connection to it."""

    def __init__(self, options: ImageOptions) -> None:
        self._process, self._connection = start_child(
            "img2ds.image.isolated",
            stderr=subprocess.DEVNULL,  # codecs write to it
        )
        with contextlib.suppress(BrokenPipeError):  # `render` notices
            self._connection.send(options)

    def render(self, image: InspectedImage, wait: float) -> Encoded | Failure:
        """Render in the child. Raises EOFError or OSError: it has ended; _HangsError."""
        self._connection.send(image)
        if not self._connection.poll(wait):
            raise _HangsError
        rendered: Encoded | Failure = self._connection.recv()
        return rendered

    def close(self) -> int:
        self._connection.close()
        try:
            return self._process.wait(1.0)  # it ends by itself, or has ended
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return name + (", out of memory?" if name == "SIGKILL" else "")


def main(descriptor: int) -> None:
    """Render the images that arrive on a connection, until it is closed: the child's end."""
    ignore_stops()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # of all processes this one may be killed
    connection = Connection(descriptor)
    options: ImageOptions = connection.recv()
    transformer = make_transformer(options)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            image = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, options.max_decode_time)
            try:
                rendered = transformer.render(image)
            except Exception as error:
                rendered = failure(Reason.INTERNAL_ERROR, f"internal error: {error!r}")
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(rendered)


if __name__ == "__main__":
    main(int(sys.argv[1]))
