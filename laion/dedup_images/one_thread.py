"""Keeps numpy's matrix product to one thread: there is a worker process a core."""

from __future__ import annotations

from contextlib import AbstractContextManager

from img2ds.core.failure import UsageError


def one_thread() -> AbstractContextManager[object]:
    """Return a context manager in which libraries of linear algebra use one thread.

    Raises:
        UsageError: threadpoolctl is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UsageError(
            "laion dedup_images needs the package threadpoolctl: pip install 'img2ds[images]'"
        ) from None
    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
