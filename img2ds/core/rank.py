"""Ranks: runs that share one output folder, each making the shards of its own. Pure.

Rank r of n makes the shards whose number leaves r when divided by n, so that the share of a rank
needs no count of the shards, which a streamed input does not have. Which rank made a shard is
recorded nowhere: any number of ranks can resume what others began.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world_size` runs, numbered from 0. A run by itself is rank 0 of 1."""

    number: int = 0
    world_size: int = 1

    @property
    def alone(self) -> bool:
        """Whether the run has the folder to itself."""
        return self.world_size == 1

    @property
    def name(self) -> str:
        """The name of its lock and its staging folder: `1-of-3`."""
        return f"{self.number}-of-{self.world_size}"

    @property
    def words(self) -> str:
        """For people: `rank 1 of 3`."""
        return f"rank {self.number} of {self.world_size}"

    @classmethod
    def of_name(cls, name: str) -> Rank | None:
        """Return the rank of a name; None if it is not one."""
        match = _NAME.fullmatch(name)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def owns(self, shard: int) -> bool:
        """Return whether this rank makes the shard."""
        return shard % self.world_size == self.number

    def share(self, shards: range) -> int:
        """Return how many of `shards` this rank makes."""
        first = shards.start + (self.number - shards.start) % self.world_size
        return len(range(first, shards.stop, self.world_size))


#: A run that has the folder to itself.
ALONE = Rank()
