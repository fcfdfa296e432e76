"""What a listing found: names with sizes and versions, in 24 bytes for each file of a shard.

A dataset of a million shards has three million files. As Python objects their names and sizes take
a gigabyte, so names that differ in a number only are kept as that number.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from heapq import merge

import numpy as np

#: A name with a number that fits into 64 bits: the folder and what precedes the number, its digits,
#: and what follows.
_NUMBERED = re.compile(r"((?:.*/)?[^0-9/]*)([0-9]{1,18})(?![0-9])([^/]*)", re.DOTALL)
#: In place of the size of a folder.
_FOLDER = -1


def version_number(version: object) -> int:
    """Return 63 bits that tell one version of a file from another; 0 if it is unknown."""
    if version is None:
        return 0
    return text_version(str(version))


def text_version(version: str) -> int:
    """Return the `version_number` of a text."""
    return int.from_bytes(blake2b(version.encode(), digest_size=8).digest(), "big") >> 1 or 1


class _Family:
    """Names that differ in their number only, all with the same count of digits."""

    def __init__(self, start: str, digits: int, end: str) -> None:
        self._start, self._digits, self._end = start, digits, end
        self._numbers, self._sizes, self._versions = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, size: int, version: int) -> None:
        self._numbers.append(number)
        self._sizes.append(size)
        self._versions.append(version)

    def sort(self) -> None:
        """Order it by number; of a number that was added twice the last one is kept."""
        numbers = np.frombuffer(self._numbers, np.int64)
        if bool((numbers[1:] > numbers[:-1]).all()):
            return
        order = np.argsort(numbers, kind="stable")
        last = np.append(numbers[order][1:] != numbers[order][:-1], True)
        order = order[last]
        for name in ("_numbers", "_sizes", "_versions"):
            values = np.frombuffer(getattr(self, name), np.int64)[order]
            setattr(self, name, array("q", values.tobytes()))

    def find(self, number: int) -> tuple[int, int] | None:
        """Return the size and the version of a number."""
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            return None
        return self._sizes[place], self._versions[place]

    def names(self) -> Iterator[str]:
        return map(self.name, self._numbers)

    def name(self, number: int) -> str:
        return f"{self._start}{number:0{self._digits}d}{self._end}"


class Listing(Mapping[str, "int | None"]):
    """Names with their sizes in bytes, folders with None; iterates in order of names."""

    def __init__(self) -> None:
        self._families: dict[tuple[str, int, str], _Family] = {}
        self._others: dict[str, tuple[int, int]] = {}

    def add(self, name: str, size: int | None, version: int = 0) -> None:
        """Add a file, or a folder with the size None. Call `sort` after the last one."""
        stored = _FOLDER if size is None else size
        match = _NUMBERED.fullmatch(name)
        if match is None:
            self._others[name] = stored, version
            return
        start, number, end = match.groups()
        key = start, len(number), end
        family = self._families.get(key)
        if family is None:
            family = self._families[key] = _Family(*key)
        family.add(int(number), stored, version)

    def sort(self) -> Listing:
        """Put the names in order and return self."""
        for family in self._families.values():
            family.sort()
        self._others = dict(sorted(self._others.items()))
        return self

    def version(self, name: str) -> int:
        """Return the version of a file, see `version_number`; 0 if it is unknown or missing."""
        found = self._find(name)
        return 0 if found is None else found[1]

    def find(self, name: str) -> tuple[int | None, int] | None:
        """Return the size and the version of a name; None if it is not there."""
        found = self._find(name)
        return (None, found[1]) if found is not None and found[0] == _FOLDER else found

    def ending(self, end: str) -> Iterator[str]:
        """Yield the names that are a number followed by `end`, in order of names."""
        found = [
            family.names()
            for (start, _, after), family in self._families.items()
            if not start and after == end
        ]
        return found[0] if len(found) == 1 else merge(*found)

    def starting(self, start: str) -> Iterator[str]:
        """Yield the names that start with `start`, in any order."""
        yield from (name for name in self._others if name.startswith(start))
        for (before, _, _), family in self._families.items():
            number = start[len(before) :]
            if before.startswith(start) or (start.startswith(before) and number[0].isdigit()):
                yield from (name for name in family.names() if name.startswith(start))

    def numbered(self, number: int) -> Iterator[str]:
        """Yield the names in which this number stands, the first of their last component."""
        for family in self._families.values():
            if family.find(number) is not None:
                yield family.name(number)

    def _find(self, name: str) -> tuple[int, int] | None:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            return self._others.get(name)
        family = self._families.get((match[1], len(match[2]), match[3]))
        return None if family is None else family.find(int(match[2]))

    def __getitem__(self, name: str) -> int | None:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return None if found[0] == _FOLDER else found[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return merge(self._others, *(family.names() for family in self._families.values()))

    def __len__(self) -> int:
        return len(self._others) + sum(map(len, self._families.values()))
