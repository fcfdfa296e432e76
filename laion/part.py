"""One numbered part of a stage's output: written aside, then published, its commit marker last.

What goes wrong with a disk is said here, and whether other parts can fare better.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from img2ds.core.naming import committed_shards, shard_name, stats_name
from img2ds.engine.marker import marker_json
from img2ds.report.counters import Counts
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.storage import OutputFolder, commit, file_record

#: Errors after which no part can be written any more.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")

#: Digits of a part's name, as of img2ds's shards.
DIGITS = 5


class Part:
    """One part in the making. Its files are written aside and published together by `commit`.

    Attributes:
        counts: rows kept and dropped by reason, and other figures; they go into the commit marker.
    """

    def __init__(
        self,
        folder: OutputFolder,
        number: int,
        emit: Callable[[Any], None] | None = None,
    ) -> None:
        self.number = number
        self.name = shard_name(number, DIGITS)
        self.counts = Counts()
        self.notes: list[str] = []
        self._folder = folder
        self._emit = emit
        self._told = Counts()
        self._names: list[str] = []
        self._started = time.time()

    def path(self, name: str) -> str:
        """The local path to write the file to that will be published as `name`."""
        if name not in self._names:
            self._names.append(name)
        return self._folder.staging_path(name)

    def tell(self) -> None:
        """Let people see how far this part has got."""
        if self._emit is None:
            return
        new = deepcopy(self.counts)
        new.successes -= self._told.successes
        new.bytes_received -= self._told.bytes_received
        new.reasons -= self._told.reasons
        new.metrics.clear()
        self._told = deepcopy(self.counts)
        self._emit(Progress(new))

    def commit(self) -> ShardReport[Counts]:
        """Publish the files in the order in which their paths were asked for, then the marker.

        Disk trouble is reported, not raised: the part stays uncommitted and can be made again.
        """
        marker = stats_name(self.number, DIGITS)
        try:
            records = [file_record(name, self._folder.staging_path(name)) for name in self._names]
            content = marker_json(self.counts.stats(), self._started, time.time(), records)
            if not commit(self._folder, self._names, marker, content):
                self.abort()
                return committed_report(self._folder, self.number)
        except OSError as error:
            return self.fail(cannot_write(error), fatal=True)
        self.tell()
        return self._report(None)

    def fail(self, why: str, fatal: bool = False) -> ShardReport[Counts]:
        """This part cannot be made; `fatal` when no other one could be either."""
        self.abort()
        return self._report(why, fatal)

    def broken(self, error: Exception) -> ShardReport[Counts]:
        """Reading or writing raised this. The other parts fare better, unless the disk is full."""
        if isinstance(error, OSError) and _is_full(error):
            return self.fail(cannot_write(error), fatal=True)
        return self.fail(str(error) or type(error).__name__)

    def abort(self) -> None:
        """Throw away what was written aside."""
        for name in self._names:
            path = self._folder.staging_path(name)
            if os.path.lexists(path):
                os.unlink(path)

    def _report(self, error: str | None, fatal: bool = False) -> ShardReport[Counts]:
        seconds = time.time() - self._started
        return ShardReport(self.number, self.counts, seconds, error, fatal, tuple(self.notes))


def cannot_write(error: OSError) -> str:
    """What people are told when the output folder cannot be written to."""
    if _is_full(error):
        words = os.strerror(errno.ENOSPC)
    elif error.errno:  # pyarrow has words of its own around the number's
        words = os.strerror(error.errno)
    else:
        words = str(error) or type(error).__name__
    return f"cannot write to the output folder: {words.lower()}"


def _is_full(error: OSError) -> bool:
    """Whether there is no room on the disk; numpy's error says so without a number."""
    return error.errno in _DISK_FULL or bool(_CUT_SHORT.fullmatch(str(error)))


def read_marker(folder: OutputFolder, number: int) -> dict[str, Any]:
    """The commit marker of a committed part. Raises OSError."""
    document: dict[str, Any] = json.loads(folder.read_bytes(stats_name(number, DIGITS)))
    return document


def committed_report(folder: OutputFolder, number: int) -> ShardReport[Counts]:
    """The report of a part that another attempt has committed. Raises OSError."""
    marker = read_marker(folder, number)
    return ShardReport(number, Counts.of_marker(marker), marker["duration"])


def committed_counts(folder: OutputFolder) -> Counts:
    """The counts of all committed parts of a stage's folder together. Raises OSError."""
    total = Counts()
    for number in sorted(committed_shards(folder.names())):
        total.merge(Counts.of_marker(read_marker(folder, number)))
    return total
