"""The fsspec filesystem and the path that a URL stands for; its errors mapped to ours."""

from __future__ import annotations

import errno
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from img2ds.core.failure import UsageError

#: The extras of protocols whose packages are optional.
_EXTRAS = {
    "http": "http", "https": "http", "s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs",
    "az": "azure", "abfs": "azure", "abfss": "azure", "hf": "hf",
}  # fmt: skip

#: Attempts of S3's client, each of which is five of botocore's. Pauses grow to 15 s: a service
#: may be busy for 74 s at least, and some three minutes on average.
_S3_ATTEMPTS = 14
#: Status codes of a service that is busy (RFC 9110 15.6, RFC 6585 4).
_BUSY = frozenset({429, 500, 502, 503, 504})


def resolve(url: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URL and the path on it.

    fsspec caches filesystems per process, so this is cheap and safe after a fork.

    Raises:
        UsageError: the protocol is unknown, or the package for it is not installed.
    """
    import fsspec  # a tenth of a second, which local files need not wait for

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        protocols = (part.partition("://")[0] for part in url.split("::"))
        extra = next((_EXTRAS[name] for name in protocols if name in _EXTRAS), None)
        words = str(error) if extra is None else f"needs a package: pip install 'img2ds[{extra}]'"
        raise UsageError(f"{url}: {words}") from None
    except ValueError as error:
        if "protocol" not in str(error).lower():  # of an archive that a chained URL names
            raise UsageError(f"cannot open {url}: {_describe(error)}") from None
        raise UsageError(f"{url}: {str(error).lower()}; check the part before ://") from None
    if "s3" in fs.protocol:
        _wait_for_s3(fs)
    return fs, path


def _wait_for_s3(fs: Any) -> None:
    """Have S3's client try again while a service is busy, in s3fs's own way.

    s3fs gives up a request after two seconds and botocore's retries, some 40 s in all, and one
    without a body (HEAD) after 8 s, since it knows a busy service by the text of the answer.
    """
    module = sys.modules[type(fs).__module__]
    before = getattr(module, "CUSTOM_ERROR_HANDLER", None)
    if before is None or not hasattr(fs, "retries"):  # an older s3fs, or another client
        return
    fs.retries = max(fs.retries, _S3_ATTEMPTS)
    if not isinstance(before, _Busy):
        module.set_custom_error_handler(_Busy(before))


class _Busy:
    """Tells s3fs which errors to try again after: those of a busy service, and `others`."""

    def __init__(self, others: Callable[[Exception], bool]) -> None:
        self._others = others

    def __call__(self, error: Exception) -> bool:
        answer = getattr(error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _BUSY or bool(self._others(error))


def with_connections(fs: Any, count: int) -> Any:
    """Return a filesystem like `fs` whose client has up to `count` connections.

    S3's has 10 by default, however many requests are in flight; others have no such limit.
    """
    if not hasattr(fs, "config_kwargs"):
        return fs
    settings = {"max_pool_connections": count, **fs.config_kwargs}
    more = type(fs)(*fs.storage_args, **{**fs.storage_options, "config_kwargs": settings})
    if hasattr(fs, "retries"):
        more.retries = fs.retries
    return more


def local_path(url: str) -> str | None:
    """Return the absolute path of a URL on this machine; None if it is remote."""
    if "::" not in url and "://" not in url:
        return os.path.abspath(os.path.expanduser(url))
    fs, path = resolve(url)
    from fsspec.implementations.local import LocalFileSystem

    return path if isinstance(fs, LocalFileSystem) else None


def open_remote(url: str, **how: Any) -> IO[bytes]:
    """Open a file for reading. Raises UsageError for an unknown protocol, OSError."""
    fs, path = resolve(url)
    file: IO[bytes] = fs.open(path, "rb", **how)
    # An archive that is a filesystem closes its files when it is collected.
    weakref.finalize(file, id, fs).atexit = False
    return file


@contextmanager
def as_usage_error(action: str) -> Iterator[None]:
    """Turn any error of the first access to a location into a UsageError.

    Each service has exceptions of its own (botocore's, gcsfs's, paramiko's), which cannot be named
    without importing all of them. At this boundary each of them means that the location, the
    credentials or the connection given cannot be used.

    Args:
        action: what fails, for the message: `cannot ACTION`.
    """
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"cannot {action}: it does not exist") from None
    except Exception as error:
        raise UsageError(f"cannot {action}: {_describe(error)}") from None


@contextmanager
def as_os_error(action: str) -> Iterator[None]:
    """Turn any error of a storage service into an OSError, which callers handle.

    Some exceptions of services are not OSErrors, such as botocore's for a failed connection.

    Args:
        action: what fails, for the message: `cannot ACTION`.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise error_of(action, error) from error


def error_of(action: str, error: Exception) -> OSError:
    """Return the error of a storage service as an OSError, see `as_os_error`."""
    if isinstance(error, OSError):
        return error
    return OSError(errno.EIO, f"cannot {action}: {_describe(error)}")


def _describe(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    first = str(text).splitlines()[0]
    return first[:1].lower() + first[1:]
