"""What a worker process sets up for itself once: open files, stderr, malloc, garbage collection."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys

from img2ds.config.options import Options
from img2ds.core.failure import UsageError

#: New objects between two searches for cycles, of which there are next to none. More than a worker
#: has at a time: with 3,000, searches took 0.15 s of the CPU of 5,000 images.
GC_OBJECTS = 50_000
#: glibc's M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, the last two in bytes.
_MALLOC = {-8: 1, -3: 8 << 20, -1: 16 << 20}
#: File descriptors besides one for each slot, each row in the overflow and each idle connection:
#: for DNS questions and shards.
SPARE_DESCRIPTORS = 200


def prepare_process() -> None:
    """Set up a worker process. May be called again."""
    raise_descriptor_limit()
    silence_native_code()
    limit_malloc()
    gc.freeze()  # modules live as long as the process
    gc.set_threshold(GC_OBJECTS)


_silenced = False


def silence_native_code() -> None:
    """Discard what codecs write to descriptor 2 themselves, as libpng does.

    Python's own stderr stays as it is. Done once a process, not around each image.
    """
    global _silenced
    if sys.stderr is None or _silenced:  # Spark runs one worker after another in a process
        return
    _silenced = True
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def limit_malloc() -> None:
    """Keep glibc's heap small among buffers of all sizes and lifetimes; elsewhere do nothing.

    By default it grows one heap a thread, raises its thresholds to 32 and 64 MB at the first large
    image, and then keeps that memory: 90 MB for 20 in use. With these settings it stays near 40 MB,
    at the same CPU: only images of more than 8 MB are mapped and unmapped each time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in _MALLOC.items():
            mallopt(name, value)


def release_memory() -> None:
    """Give freed memory of glibc's heap back to the system; elsewhere do nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def raise_descriptor_limit() -> int:
    """Raise this process' soft limit of open files to its hard one. Returns the limit now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**31 if hard == resource.RLIM_INFINITY else hard


def max_overflow(count: int) -> int:
    """Return how many rows may wait to connect without one of `count` slots, each with a socket."""
    return count // 2


def descriptors_needed(slots: int) -> int:
    """Return how many open files a worker process with so many slots may have."""
    return 2 * slots + max_overflow(slots) + SPARE_DESCRIPTORS


def check_descriptors(options: Options) -> None:
    """Check that all slots can have their sockets: else a million rows would fail for want of one.

    Raises:
        UsageError: they cannot.
    """
    slots = options.network.thread_count
    available = raise_descriptor_limit()
    needed = descriptors_needed(slots)
    if needed > available:
        fitting = max(1, (available - SPARE_DESCRIPTORS) * 2 // 5)
        raise UsageError(
            f"--thread_count {slots} needs {needed} open files and the limit is {available}: "
            f"lower it to {fitting}, or raise the limit (ulimit -Hn)"
        )
