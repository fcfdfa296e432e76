"""From what users type to a filesystem and a path on it, with fsspec's errors mapped."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from img2ds.core.failure import UsageError


def resolve(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of `url` and the path on it.

    fsspec caches filesystems a process, so this is cheap and safe after a fork.

    Raises:
        UsageError: no such protocol, or the package for it is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        hint = ": pip install 'img2ds[s3]'" if "s3fs" in str(error) else ""
        raise UsageError(f"{url}: {error}{hint}") from None
    except ValueError as error:
        raise UsageError(f"{url}: {str(error).lower()}; is the part before :// right?") from None
    return fs, path


def local_path(url: str) -> str | None:
    """The absolute path that `url` stands for on this machine, None when it is elsewhere."""
    if "::" not in url and "://" not in url:
        return os.path.abspath(os.path.expanduser(url))
    fs, path = resolve(url)
    return path if isinstance(fs, LocalFileSystem) else None


@contextmanager
def said_plainly(action: str) -> Iterator[None]:
    """Turn what a storage service raises while it is first touched into a UsageError.

    Each service has its own exceptions (botocore's, gcsfs's, paramiko's), which cannot be named
    without importing all of them; at this boundary any of them means that the location,
    the credentials or the connection given are of no use.
    """
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"cannot {action}: it does not exist") from None
    except Exception as error:
        raise UsageError(f"cannot {action}: {_in_words(error)}") from None


@contextmanager
def as_os_error(action: str) -> Iterator[None]:
    """Turn what a storage service raises later on into an OSError, which callers deal with.

    Not all of the services' exceptions are one (a connection that botocore could not make).
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"cannot {action}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    first = str(words).splitlines()[0]
    return first[:1].lower() + first[1:]
