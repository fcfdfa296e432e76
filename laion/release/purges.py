"""What was removed from a finished release, and the journal of a removal that is under way.

A removal has two steps. First the rows of all shards are found, and nothing of the release is
touched. Then the journal is written: from there on the release is rewritten, and a removal that
was cut off is completed from the journal, whatever is asked for next.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from img2ds.core.naming import shard_name
from img2ds.core.state import WORK, state_file
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder, read_state, write_state
from laion.data.embedding_folder import PURGE

#: The finished removals of a release, and the one that is under way.
PURGES, JOURNAL = state_file("purges"), PURGE
#: The rows to remove, a file a shard.
ROWS = f"{WORK}/purge"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Purge:
    """One removal.

    Attributes:
        day: when it was asked for, as YYYY-MM-DD.
        lists: what the block lists hold, in words.
        reasons: the removed pairs by reason.
        shards: the shards that had any.
    """

    day: str
    lists: str
    reasons: dict[str, int]
    shards: tuple[int, ...]

    @property
    def pairs(self) -> int:
        return sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class PurgedRows:
    """The rows of one shard to remove.

    Attributes:
        kept: a bit a row of the shard as it was.
        reasons: the rows to remove by reason.
    """

    kept: Mask
    reasons: Counter[str]

    def save(self, folder: OutputFolder, number: int) -> None:
        """Keep them in the release. Raises OSError."""
        bits = zlib.compress(np.packbits(self.kept).tobytes(), 1)
        document = {
            "rows": len(self.kept),
            "kept": base64.b64encode(bits).decode(),
            "reasons": self.reasons,
        }
        folder.write_bytes(rows_file(number), json.dumps(document).encode())

    @classmethod
    def load(cls, folder: OutputFolder, number: int) -> PurgedRows:
        """Return what was kept. Raises OSError."""
        document = json.loads(folder.read_bytes(rows_file(number)))
        bits = np.frombuffer(zlib.decompress(base64.b64decode(document["kept"])), np.uint8)
        kept = np.unpackbits(bits, count=document["rows"]).astype(np.bool_)
        return cls(kept, Counter(document["reasons"]))


def rows_file(number: int) -> str:
    """Return the name of the file with the rows of a shard."""
    return f"{ROWS}/{shard_name(number, DIGITS)}"


def read_purges(folder: OutputFolder) -> list[Purge]:
    """Return the finished removals, the first one first. Raises OSError."""
    data = read_state(folder, PURGES)
    return [] if data is None else [_purge(each) for each in json.loads(data)]


def add_purge(folder: OutputFolder, purge: Purge) -> None:
    """Add a finished removal, if it is not there yet. Raises OSError."""
    purges = read_purges(folder)
    if not purges or purges[-1] != purge:
        _write(folder, PURGES, [*purges, purge])


def read_journal(folder: OutputFolder) -> Purge | None:
    """Return the removal that is under way, None without one. Raises OSError."""
    data = read_state(folder, JOURNAL)
    return None if data is None else _purge(json.loads(data)[0])


def write_journal(folder: OutputFolder, purge: Purge) -> None:
    """Begin a removal: from now on it will be completed. Raises OSError."""
    _write(folder, JOURNAL, [purge])


def end_journal(folder: OutputFolder) -> None:
    """The removal is complete. Raises OSError."""
    folder.remove([JOURNAL, ROWS])


def _write(folder: OutputFolder, name: str, purges: Sequence[Purge]) -> None:
    write_state(folder, name, json.dumps([asdict(purge) for purge in purges]).encode())


def _purge(document: dict[str, object]) -> Purge:
    return Purge(**{**document, "shards": tuple(document["shards"])})  # type: ignore[arg-type]
