"""A process that decodes images of clients: one that exhausts its decoder costs itself alone.

A child lives until an image crashes it, takes too much CPU time, or hangs. It is refused memory
beyond a limit, and runs at low priority: searches come first.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason, failure
from img2ds.engine.child_process import ignore_stops, start_child
from img2ds.image.transform import Transformer
from laion.clip.crop import Crop, decode_crop
from laion.clip.geometry import PreprocessConfig
from laion.knn.query_image import QueryImageError, check_image

#: Seconds of waiting for a second of CPU, and besides, after which a decoder hangs.
_WAIT_PER_SECOND, _WAIT = 4.0, 10.0

#: Added to the niceness of decoders: they get what searches leave.
_NICENESS = 5


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What an image may cost.

    Attributes:
        pixels: of the image, at most.
        seconds: of CPU that decoding may take.
        memory: bytes that a decoder may allocate besides what it has at its start.
    """

    pixels: int
    seconds: float
    memory: int = 1 << 30

    @property
    def wall_seconds(self) -> float:
        """How long decoding may take beside everything else that runs."""
        return _WAIT_PER_SECOND * self.seconds + _WAIT


class DecoderEnded(Exception):
    """The process has ended, and another one is needed; the message states why."""


class DecoderProcess:
    """A child process that decodes. One thread at a time may call `decode`."""

    def __init__(self, preprocess: PreprocessConfig, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process, self._connection = start_child(
            "laion.web.decoder_process",
            stderr=subprocess.DEVNULL,  # codecs write to it
        )
        with contextlib.suppress(BrokenPipeError):  # `decode` notices
            self._connection.send((preprocess, limits))

    @property
    def pid(self) -> int:
        return self._process.pid

    def decode(self, body: bytes) -> Crop | Failure:
        """Decode an image; a failure if it cannot be.

        Raises:
            DecoderEnded: this image, or something else, has ended the process.
        """
        try:
            self._connection.send_bytes(body)
            if not self._connection.poll(self._limits.wall_seconds):
                self.close()
                raise DecoderEnded("decoding does not end")
            decoded: Crop | Failure = self._connection.recv()
            return decoded
        except (EOFError, OSError):
            code = self.close()
        if code == -signal.SIGPROF:
            raise DecoderEnded(f"decoding takes more than {self._limits.seconds:g} s of CPU")
        raise DecoderEnded("the image crashes its decoder")

    def close(self) -> int:
        """End the process. Returns its exit code, negative for a signal."""
        self._connection.close()
        try:
            return self._process.wait(0.2)  # it has ended, or does
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End the process at once, from any thread."""
        self._process.kill()


def _limit_memory(allowed: int) -> None:
    """Refuse memory beyond what there is now and `allowed` bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    limit = 1024 * int(lines["VmData"].split()[0]) + allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _decode(
    body: bytes, transformer: Transformer, preprocess: PreprocessConfig, max_pixels: int
) -> Crop | Failure:
    """Decode an image that its header does not rule out."""
    try:
        check_image(body, max_pixels)
        inspected = transformer.inspect(body)  # the checks of a download
        return inspected if isinstance(inspected, Failure) else decode_crop(body, preprocess)
    except QueryImageError as error:
        return failure(Reason.NOT_AN_IMAGE, str(error))
    except MemoryError:
        return failure(Reason.IMAGE_BOMB, "decoding takes too much memory")
    except Exception as error:
        return failure(Reason.INTERNAL_ERROR, f"internal error: {error!r}")


def main(descriptor: int) -> None:
    """Decode the images that arrive on a connection, until it is closed: the child's end."""
    ignore_stops()
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    connection = Connection(descriptor)
    preprocess, limits = connection.recv()
    with contextlib.suppress(OSError):  # not on macOS
        _limit_memory(limits.memory)
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")  # of all processes this one may be killed
    transformer = Transformer(
        ImageOptions(max_decoded_pixels=limits.pixels, resize_mode="no", extract_exif=False)
    )
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            body = connection.recv_bytes()
            signal.setitimer(signal.ITIMER_PROF, limits.seconds)
            decoded = _decode(body, transformer, preprocess, limits.pixels)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(decoded)


if __name__ == "__main__":
    main(int(sys.argv[1]))
