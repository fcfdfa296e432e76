"""Large files read from first to last, here or elsewhere, whatever a busy service says meanwhile.

Common Crawl's bucket answers 503 SlowDown, and 403 over https, to those who ask too fast; it asks
for back-off in return.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import sleep
from types import TracebackType
from typing import TypeVar

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import local_path, resolve

#: Bytes of one request: some 40 for a WAT file, each of which can be asked for again by itself.
BLOCK = 8 << 20
#: Requests for one block before it is given up: four minutes of waiting, by the delays below.
ATTEMPTS = 9
#: Requests for a small file at the start of a run, when somebody waits for it: ten seconds.
FEW_ATTEMPTS = 5
#: Seconds before the second request; doubled each time, up to the longest.
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0

#: Answers that mean "later" (RFC 9110 15.5, 15.6; RFC 6585 4). 403 is Common Crawl's word for too
#: many requests over https; where it means what it says, it costs the attempts.
_LATER = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
#: Libraries of services, whose own errors for a connection that broke derive from nothing common.
_SERVICES = ("aiohttp", "botocore", "aiobotocore")

T = TypeVar("T")


def is_passing(error: BaseException) -> bool:
    """Whether to ask again may help: the service is busy, or the connection broke."""
    status = _status(error)
    if status is not None:
        return status in _LATER
    if isinstance(error, FileNotFoundError):
        # fsspec says so of whatever keeps it from learning a file's size over http.
        return error.__cause__ is not None and is_passing(error.__cause__)
    if isinstance(error, (OSError, TimeoutError, asyncio.TimeoutError)):
        return True
    return type(error).__module__.partition(".")[0] in _SERVICES


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    if status is None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _words(error: BaseException) -> str:
    """What went wrong in the first place: fsspec wraps it into a file that is not found."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def patiently(what: str, ask: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """What `ask` gives, asked again with growing, uneven delays while a service is busy.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it failed for good, or `attempts` times.
    """
    delay = FIRST_DELAY
    for attempt in range(1, attempts + 1):
        try:
            return ask()
        except UsageError:
            raise
        except Exception as error:
            # What a service's library raises cannot be named without importing it; the rest is
            # told from it here and passed on as it is.
            if not is_passing(error):
                if isinstance(error, OSError) or _status(error) is None:
                    raise
                raise OSError(errno.EIO, f"{what}: {_words(error)}") from error
            if attempt == attempts:
                words = f"{what}: {_words(error)} (asked {attempts} times)"
                raise OSError(errno.EIO, words) from error
        # Many workers were told the same at once: they must not come back at once.
        sleep(delay * random.uniform(0.5, 1.0))
        delay = min(2 * delay, LONGEST_DELAY)
    raise AssertionError("unreachable")


class PatientFile:
    """A file's stored bytes from first to last. The next block is fetched while one is used."""

    def __init__(self, path: str, attempts: int = ATTEMPTS) -> None:
        """Open it. Raises OSError; UsageError for a protocol that does not exist."""
        self.path = path
        self.bytes_read = 0
        self._attempts = attempts
        self._at = 0
        self._held = memoryview(b"")
        self._next: Future[bytes] | None = None
        self._threads: ThreadPoolExecutor | None = None
        local = local_path(path)
        self._local = open(local, "rb", buffering=0) if local is not None else None  # noqa: SIM115
        if self._local is None:
            self._fs, self._remote = resolve(path)
            self._size: int | None = self._ask(lambda: self._fs.size(self._remote))
            self._threads = ThreadPoolExecutor(1, "patient-file")
            self._go_on()

    def _ask(self, ask: Callable[[], T]) -> T:
        return patiently(self.path, ask, self._attempts)

    def _go_on(self) -> None:
        """Begin to fetch the next block."""
        self._next = None
        if self._threads is None:
            return
        start = self._at
        if self._size is None:
            if start == 0:
                self._next = self._threads.submit(self._ask, self._whole)
                self._at = 1
        elif start < self._size:
            end = min(start + BLOCK, self._size)
            self._next = self._threads.submit(self._ask, lambda: self._range(start, end))
            self._at = end

    def _whole(self) -> bytes:
        data: bytes = self._fs.cat_file(self._remote)
        return data

    def _range(self, start: int, end: int) -> bytes:
        data: bytes = self._fs.cat_file(self._remote, start=start, end=end)
        if len(data) == self._size != end - start:
            return data[start:end]  # a server that takes no ranges
        if len(data) != end - start:
            raise OSError(errno.EIO, f"{len(data)} bytes of {end - start} came")
        return data

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end. Raises OSError."""
        if self._local is not None:
            data = self._local.read(size) or b""
        else:
            if not self._held and self._next is not None:
                block = self._next
                self._held = memoryview(block.result())
                self._go_on()
            data, self._held = bytes(self._held[:size]), self._held[size:]
        self.bytes_read += len(data)
        return data

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> PatientFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_whole(path: str) -> bytes:
    """A small file's stored bytes. Raises as `PatientFile`."""
    with PatientFile(path, FEW_ATTEMPTS) as file:
        pieces = []
        while piece := file.read(BLOCK):
            pieces.append(piece)
    return b"".join(pieces)
