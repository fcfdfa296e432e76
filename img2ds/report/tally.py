"""Counts of images: of a shard, of a worker's last half second, of a run. Tallies merge.

Counting is exact: count = successes + failed_to_download + failed_to_resize, and both the reasons
and the messages add up to the failures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from img2ds.core.failure import Failure, Status
from img2ds.report.counters import Counts
from img2ds.report.histogram import Durations

#: Distinct messages per tally: servers can send any number of different ones.
MAX_MESSAGES = 500
#: The message that counts those beyond the limit.
OTHER_MESSAGES = "other"


@dataclass(slots=True)
class Tally(Counts):
    """Rows by status, reason and message.

    Attributes:
        bytes_received: bytes of responses.
        bytes_written: bytes of encoded images.
        network: what limited a shard when it was committed, by name; not merged.
        messages: failed rows by message, see `MAX_MESSAGES`.
        seconds: thread time by step of the pipeline, summed over rows.
        fetches: attempts at URLs by their time, without what they waited for this process.
        lookups: name lookups of new connections by their time, those from the cache as well.
    """

    failed_to_download: int = 0
    failed_to_resize: int = 0
    network: dict[str, Any] = field(default_factory=dict)
    bytes_written: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    fetches: Durations = field(default_factory=Durations)
    lookups: Durations = field(default_factory=Durations)

    @property
    def count(self) -> int:
        """Rows that have ended."""
        return self.successes + self.failed_to_download + self.failed_to_resize

    def add_success(self, bytes_written: int) -> None:
        """Count an image of so many bytes."""
        self.successes += 1
        self.bytes_written += bytes_written

    def add_failure(self, failure: Failure) -> None:
        """Count a row without an image."""
        self._add_failures(failure, 1)

    def drop(self, reason: str, times: int = 1) -> None:
        """Count rows without an image that have no message of their own."""
        self._add_failures(Failure(reason, reason.replace("_", " ")), times)

    def _add_failures(self, failure: Failure, times: int) -> None:
        if not times:
            return
        Counts.drop(self, failure.reason, times)
        if failure.status is Status.FAILED_TO_DOWNLOAD:
            self.failed_to_download += times
        else:
            self.failed_to_resize += times
        self._add_message(failure.error_message, times)

    def merge(self, other: Counts) -> None:
        """Add other counts to this tally."""
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
        self.fetches.merge(other.fetches)
        self.lookups.merge(other.lookups)

    def _add_message(self, message: str, times: int) -> None:
        if message not in self.messages and len(self.messages) >= MAX_MESSAGES:
            message = OTHER_MESSAGES
        self.messages[message] += times
