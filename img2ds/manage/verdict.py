"""What was found out about a shard: its problems, a stable word and a line each. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Keys named a kind of problem; one shows what is wrong, a thousand hide it.
NAMED = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a shard: a stable word for it, and a line for people."""

    kind: str
    words: str


@dataclass(slots=True)
class Verdict:
    """What was found out about a shard.

    Attributes:
        rows, read: its rows, and the bytes that were read of it.
        strays: files with its number that neither its commit marker nor its format knows.
        key_digits: digits of a key behind those of the shard; None without keys.
    """

    problems: list[Problem] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    rows: int = 0
    read: int = 0
    key_digits: int | None = None


@dataclass(slots=True)
class Repeated:
    """Problems of a kind that many samples may have, in one line each."""

    keys: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, key: str) -> None:
        self.keys.setdefault(kind, []).append(key)

    def problems(self) -> list[Problem]:
        found = []
        for kind, keys in self.keys.items():
            named = ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")
            found.append(Problem(kind, f"{len(keys)} x {kind.replace('_', ' ')}: {named}"))
        return found
