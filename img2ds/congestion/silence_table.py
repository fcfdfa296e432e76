"""The silent hosts of a machine: what one worker learns of a host's silence counts for all.

A table of a fixed size. The hash of a host names a few places, of which it takes a free one, or
that of the host whose last silence is the longest ago. Whoever learns something writes it; two
workers that write at once lose one of the two, and nobody ever waits.
"""

from __future__ import annotations

from img2ds.congestion.host_tag import host_tag
from img2ds.congestion.shared_file import SharedFile

#: Places for hosts: 640 kB; and how many of them a host may have.
PLACES, WAYS = 16_384, 8
#: Parts of all hashes. Of a part that no silent host has, no host is looked for: every row asks
#: several times.
_PARTS = 1 << 16
_ROW = 5  # doubles a place


class Silence:
    """A number of a silent host. Times are seconds of the clock that the workers share."""

    TAG = 0  #: hash of the host that has the place, an integer
    COUNT = 1  #: silences in a row
    ENDED_AT = 2  #: when the last one ended
    ASK_AT = 3  #: when it may be asked again
    ASKING_UNTIL = 4  #: until when a row that asks it has to know


class SilenceTable:
    """The table, as one worker sees it. Places are numbers from `find` and `take`.

    Args:
        token: the same for all workers of a run, see `shared_file`; None for a worker alone.

    Attributes:
        fields: the numbers of all places.
        any: of length 1, above 0 if any host was ever silent.
    """

    def __init__(self, token: str | None = None) -> None:
        self._file = SharedFile(token, "silences", 8 * (1 + _ROW * PLACES) + _PARTS)
        memory = memoryview(self._file.memory)
        end = 8 * (1 + _ROW * PLACES)
        self.any = memory[:8].cast("Q")
        self.fields = memory[8:end].cast("d")
        self._tags = memory[8:end].cast("Q")
        self._parts = memory[end:]

    def find(self, host: str) -> int:
        """Return where the numbers of a host begin in `fields`; -1 for one that is not there."""
        if not self.any[0]:
            return -1
        tag = host_tag(host)
        if not self._parts[tag % _PARTS]:
            return -1
        return next((at for at in _places(tag) if self._tags[at] == tag), -1)

    def take(self, host: str) -> int:
        """Return where the numbers of a host begin in `fields`: zeros for one that is new."""
        self.any[0] = 1
        tag = host_tag(host)
        self._parts[tag % _PARTS] = 1
        places = _places(tag)
        found = next((at for at in places if self._tags[at] == tag), None)
        if found is None:
            found = min(places, key=lambda at: self.fields[at + Silence.ENDED_AT])
            self.remove(found)
            self._tags[found] = tag
        return found

    def remove(self, at: int) -> None:
        """Forget the host whose numbers begin at `at`."""
        for number in range(at, at + _ROW):
            self.fields[number] = 0.0

    def close(self) -> None:
        """Give up the file."""
        self._file.close()


def _places(tag: int) -> list[int]:
    first = tag % PLACES
    return [(first + way) % PLACES * _ROW for way in range(WAYS)]
