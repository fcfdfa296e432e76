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
    """

    def __init__(self, token: str | None = None) -> None:
        self._file = SharedFile(token, "silences", 8 * (1 + _ROW * PLACES))
        memory = memoryview(self._file.memory)
        self._any = memory[:8].cast("Q")
        self.fields = memory[8:].cast("d")
        self._tags = memory[8:].cast("Q")

    def __bool__(self) -> bool:
        """Whether any host was ever silent: most lists are asked about it often, and briefly."""
        return self._any[0] > 0

    def find(self, host: str) -> int:
        """Return where the numbers of a host begin in `fields`; -1 for one that is not there."""
        if not self._any[0]:
            return -1
        tag = host_tag(host)
        return next((at for at in _places(tag) if self._tags[at] == tag), -1)

    def take(self, host: str) -> int:
        """Return where the numbers of a host begin in `fields`: zeros for one that is new."""
        self._any[0] = 1
        tag = host_tag(host)
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
