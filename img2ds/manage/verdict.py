"""The result of checking a shard: its problems, with a stable kind and a message each. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Keys listed for a kind of problem: a few show what is wrong, a thousand hide it.
LISTED = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a shard.

    `kind` is for programs, which read it in the JSON of `verify`: it is never renamed. `message` is
    for people.
    """

    kind: str
    message: str


@dataclass(slots=True)
class Verdict:
    """The result of checking one shard.

    Attributes:
        strays: files with its number that neither its commit marker nor its format knows.
        rows: its rows, by the commit marker.
        read: bytes of its samples that were read.
        key_digits: digits of a key after those of the shard; None where they need no comparison
            with other shards, or there are no keys.
    """

    problems: list[Problem] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    rows: int = 0
    read: int = 0
    key_digits: int | None = None

    def add(self, kind: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, message))

    def unreadable(self, kind: str, name: str, error: Exception) -> None:
        """Add a file that cannot be read."""
        reason = error.strerror if isinstance(error, OSError) else None
        lines = (reason or str(error) or type(error).__name__).splitlines()
        self.add(kind, f"{name} cannot be read: {lines[0].lower() if reason else lines[0]}")


@dataclass(slots=True)
class KeyProblems:
    """Problems that many keys may have, with one message for each kind."""

    keys: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, key: str) -> None:
        self.keys.setdefault(kind, []).append(key)

    def report(self, verdict: Verdict) -> None:
        """Add them to a verdict."""
        for kind, keys in self.keys.items():
            name = kind.replace("_", " ").replace("picture", "image")
            listed = ", ".join(keys[:LISTED]) + (", ..." if len(keys) > LISTED else "")
            verdict.add(kind, f"{len(keys)} x {name}: {listed}")
