"""What stands for a host in the tables that the workers of a machine share."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=1024)  # a row asks several times
def host_tag(host: str) -> int:
    """Return a hash of 64 bits, the same in all processes; never 0."""
    return int.from_bytes(blake2b(host.encode(), digest_size=8).digest(), "little") or 1
