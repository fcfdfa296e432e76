"""The compiled loops of this folder's C files; None in their place where there was no C compiler.

Each has its equal in Python beside the place where it is used.
"""

from __future__ import annotations

from collections.abc import Callable

from laion.wat.plain import Found

Bytes = bytes | bytearray

#: See `plain.read_plain`, of a part of the bytes.
scan: Callable[[Bytes, int, int, tuple[bytes, ...]], Found | None] | None = None
#: A record and where its block starts and ends; None for whatever is not plain.
cut: Callable[[Bytes], tuple[Bytes, int, int] | None] | None = None
#: Where gzip's magic is at or behind a place, -1 for nowhere.
find_magic: Callable[[bytes, int], int] | None = None
#: URLs with a page's scheme, root or folder before them; None in the place of those not plain.
join: Callable[[list[str], str, str, str], list[str | None]] | None = None

try:
    from laion.wat.native import _join, _members, _scan
except ImportError:
    pass
else:
    scan, cut, find_magic, join = _scan.scan, _members.cut, _members.find_magic, _join.join
