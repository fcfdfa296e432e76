"""Large files, local or remote, read from first to last with retries while a service is busy.

Common Crawl's bucket answers 503 SlowDown, and 403 over https, to clients that are too fast, and
expects them to back off.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import sleep
from types import TracebackType
from typing import TypeVar

from img2ds.core.failure import UsageError
from img2ds.storage.filesystem import local_path, resolve

#: Bytes of one request. A WAT file takes some 40, each of which can be retried on its own.
BLOCK = 8 << 20
#: Attempts at one block before giving up: four minutes of waiting, with the delays below. On S3
#: each waits for a busy service itself, see `filesystem`: half an hour in all.
ATTEMPTS = 9
#: Attempts at a small file at the start of a run, when somebody waits for it: ten seconds, and on a
#: busy S3 a quarter of an hour.
FEW_ATTEMPTS = 5
#: Seconds before the second attempt; doubled each time, up to the longest.
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0

#: Status codes that mean "later" (RFC 9110 15.5, 15.6; RFC 6585 4). Common Crawl answers 403 to too
#: many requests over https; elsewhere it costs the attempts.
_TRANSIENT = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
#: Libraries of services whose errors for a broken connection have no common base.
_SERVICES = ("aiohttp", "botocore", "aiobotocore")

T = TypeVar("T")


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help: the service is busy, or the connection broke."""
    status = _status(error)
    if status is not None:
        return status in _TRANSIENT
    if isinstance(error, FileNotFoundError):
        # fsspec raises it for anything that keeps it from learning a file's size over http.
        return error.__cause__ is not None and is_transient(error.__cause__)
    from asyncio import TimeoutError as AsyncTimeout  # of its own before Python 3.11

    if isinstance(error, (OSError, TimeoutError, AsyncTimeout)):
        return True
    return type(error).__module__.partition(".")[0] in _SERVICES


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    if status is None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _root_cause(error: BaseException) -> str:
    """Return the first error's message: fsspec wraps it into a FileNotFoundError."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def with_retries(name: str, request: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """Return the result of a request, retried with growing, random delays while a service is busy.

    Args:
        name: what is requested, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: all attempts failed, or one that cannot succeed.
    """
    delay = FIRST_DELAY
    for attempt in range(1, attempts + 1):
        try:
            return request()
        except UsageError:
            raise
        except Exception as error:
            # The exceptions of a service's library cannot be named without importing it; any
            # others are recognized here and passed on.
            if not is_transient(error):
                if isinstance(error, OSError) or _status(error) is None:
                    raise
                raise OSError(errno.EIO, f"{name}: {_root_cause(error)}") from error
            if attempt == attempts:
                message = f"{name}: {_root_cause(error)} ({attempts} attempts)"
                raise OSError(errno.EIO, message) from error
        # Many workers are refused at once; they must not come back at once.
        sleep(delay * random.uniform(0.5, 1.0))
        delay = min(2 * delay, LONGEST_DELAY)
    raise AssertionError("unreachable")


class RetryingFile:
    """A file's stored bytes, read from first to last. The next block is fetched ahead.

    Attributes:
        bytes_read: bytes returned so far.
    """

    def __init__(self, path: str, attempts: int = ATTEMPTS) -> None:
        """Open a file. Raises OSError; UsageError for an unknown protocol."""
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
            self._size: int | None = self._request(lambda: self._fs.size(self._remote))
            self._threads = ThreadPoolExecutor(1, "read-ahead")
            self._fetch_ahead()

    def _request(self, request: Callable[[], T]) -> T:
        return with_retries(self.path, request, self._attempts)

    def _fetch_ahead(self) -> None:
        """Start to fetch the next block."""
        self._next = None
        if self._threads is None:
            return
        start = self._at
        if self._size is None:
            if start == 0:
                self._next = self._threads.submit(self._request, self._whole)
                self._at = 1
        elif start < self._size:
            end = min(start + BLOCK, self._size)
            self._next = self._threads.submit(self._request, lambda: self._range(start, end))
            self._at = end

    def _whole(self) -> bytes:
        data: bytes = self._fs.cat_file(self._remote)
        return data

    def _range(self, start: int, end: int) -> bytes:
        data: bytes = self._fs.cat_file(self._remote, start=start, end=end)
        if len(data) == self._size != end - start:
            return data[start:end]  # the server ignored the range
        if len(data) != end - start:
            raise OSError(errno.EIO, f"got {len(data)} of {end - start} bytes")
        return data

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end. Raises OSError."""
        if self._local is not None:
            data = self._local.read(size) or b""
        else:
            if not self._held and self._next is not None:
                block = self._next
                self._held = memoryview(block.result())
                self._fetch_ahead()
            data, self._held = bytes(self._held[:size]), self._held[size:]
        self.bytes_read += len(data)
        return data

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> RetryingFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_whole(path: str) -> bytes:
    """Return a small file's stored bytes. Raises like `RetryingFile`."""
    local = local_path(path)
    if local is not None:
        with open(local, "rb") as plain:
            return plain.read()
    with RetryingFile(path, FEW_ATTEMPTS) as file:
        pieces = []
        while piece := file.read(BLOCK):
            pieces.append(piece)
    return b"".join(pieces)
