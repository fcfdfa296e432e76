"""Counts that merge: of one shard, of a worker's last half second, of a whole run.

Counting is exact: count = successes + failed_to_download + failed_to_resize, and the
reasons add up to the failures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from img2ds.core.failure import Failure, Status
from img2ds.report.counters import Counts

#: Distinct messages kept a tally; servers can word an endless number of them.
MAX_MESSAGES = 500
#: Where messages beyond that are counted.
OTHER_MESSAGES = "other"


@dataclass(slots=True)
class Tally(Counts):
    """Rows by status, reason and message; bytes; seconds spent by stage.

    `bytes_received` are bodies as they came, `bytes_written` encoded images. `seconds` maps a
    stage's name to the time it kept its thread, summed over rows.
    """

    failed_to_download: int = 0
    failed_to_resize: int = 0
    bytes_written: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def count(self) -> int:
        """Rows that have come to an end."""
        return self.successes + self.failed_to_download + self.failed_to_resize

    def add_success(self, bytes_written: int) -> None:
        self.successes += 1
        self.bytes_written += bytes_written

    def add_failure(self, failure: Failure) -> None:
        if failure.status is Status.FAILED_TO_DOWNLOAD:
            self.failed_to_download += 1
        else:
            self.failed_to_resize += 1
        self.reasons[failure.reason] += 1
        self._add_message(failure.message, 1)

    def merge(self, other: Counts) -> None:
        """Add `other` to this tally."""
        Counts.merge(self, other)
        if not isinstance(other, Tally):
            return
        self.failed_to_download += other.failed_to_download
        self.failed_to_resize += other.failed_to_resize
        self.bytes_written += other.bytes_written
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds
        for message, times in other.messages.items():
            self._add_message(message, times)

    def _add_message(self, message: str, times: int) -> None:
        if message not in self.messages and len(self.messages) >= MAX_MESSAGES:
            message = OTHER_MESSAGES
        self.messages[message] += times
