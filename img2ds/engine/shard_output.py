"""The output of one shard: files are staged, then published together, the commit marker last.

A shard counts only when its marker, `NNNNN_stats.json`, is there. This module also says what is
wrong with a disk, and whether other shards can fare better.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from img2ds.core.naming import shard_name, stats_name
from img2ds.core.sample import FileRecord
from img2ds.engine.marker import CommitMarker, load_marker, marker_json
from img2ds.engine.partial import PLACES, partial_folder, remove_partial
from img2ds.report.counters import Counts
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.storage import OutputFolder, StoredMarker, commit, file_record

#: Digits of a shard's name where no option decides; img2dataset's default.
DIGITS = 5
#: Errors after which no shard can be written any more.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
#: numpy's words for a full disk, which come without a number.
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")


class ShardOutput:
    """The files and counts of one shard that is being made.

    Attributes:
        name: the shard's name, such as `00042`.
        counts: the outcomes of its rows; written to the commit marker.
        notes: lines for the log.
        emit: takes reports for the parent process.
        partial_place: the place of the partial shard that this one began with; None without.

    Args:
        digits: digits of the shard's name.
    """

    def __init__(
        self,
        folder: OutputFolder,
        number: int,
        digits: int = DIGITS,
        counts: Counts | None = None,
        emit: Callable[[Any], None] | None = None,
    ) -> None:
        self.number = number
        self.partial_place: str | None = None
        self.name = shard_name(number, digits)
        self.counts = counts or Counts()
        self.notes: list[str] = []
        self.emit = emit or _discard
        self._folder = folder
        self._digits = digits
        self._marker = stats_name(number, digits)
        self._reported = Counts()
        self._staged: dict[str, None] = {}
        self._published: dict[str, FileRecord | None] = {}
        self._started = time.time()

    def committed_report(self) -> ShardReport[Any] | None:
        """Return the report of an earlier attempt that has committed the shard, else None.

        That happens when a worker dies between the commit and its report.

        Raises:
            UsageError: the marker is damaged.
            OSError: it cannot be read.
        """
        if not self._folder.exists(self._marker):
            return None
        marker = load_marker(self._folder, self._marker)
        return ShardReport(self.number, marker.counts, marker.duration)

    def find_partial(self) -> tuple[OutputFolder, CommitMarker] | None:
        """Return where the partial shard is, and its marker; None without one.

        Sets `partial_place`. Raises as above.
        """
        found: tuple[OutputFolder, CommitMarker] | None = None
        for place in PLACES:
            there = partial_folder(self._folder, place)
            if there.exists(self._marker):
                marker = load_marker(there, self._marker)
                # There are two when a run was killed before it removed the first one.
                if found is None or marker.count >= found[1].count:
                    found, self.partial_place = (there, marker), place
        return found

    def partial_output(self) -> ShardOutput:
        """Return the output of the partial shard: files staged here can be published there.

        Raises OSError.
        """
        place = next(place for place in PLACES if place != self.partial_place)
        remove_partial(self._folder, self.name, (place,))
        return ShardOutput(partial_folder(self._folder, place), self.number, self._digits)

    def remove_partial(self, places: tuple[str, ...] = PLACES) -> None:
        """Remove the partial shard that this one began with. Raises OSError."""
        self.partial_place = None
        remove_partial(self._folder, self.name, places)

    def location(self, name: str) -> str:
        """Return the path or URL of a published file."""
        return f"{self._folder.path}/{name}"

    def stage(self, name: str) -> str:
        """Return the local staging path of a file that `add` may publish as `name`."""
        self._staged[name] = None
        return self._folder.staging_path(name)

    def path(self, name: str) -> str:
        """Return the local staging path of a file that is published as `name`."""
        self._published.setdefault(name)
        return self.stage(name)

    def add(self, records: Iterable[FileRecord]) -> None:
        """Publish staged files whose sizes and hashes are known already."""
        self._published.update({record.name: record for record in records})

    def report_progress(self, bytes_read: int = 0) -> None:
        """Report the rows that ended since the last call.

        Args:
            bytes_read: bytes read since then, where `counts` does not have them.
        """
        counts, before = self.counts, self._reported
        self._reported = Counts(counts.successes, counts.bytes_received, Counter(counts.reasons))
        self.emit(
            Progress(
                Counts(
                    counts.successes - before.successes,
                    counts.bytes_received - before.bytes_received + bytes_read,
                    counts.reasons - before.reasons,
                )
            )
        )

    def commit(self) -> ShardReport[Any]:
        """Publish the files in the order in which they were announced, then the marker.

        Disk trouble is reported, not raised: the shard stays uncommitted and can be rebuilt.
        """
        try:
            records = [
                record or file_record(name, self._folder.staging_path(name))
                for name, record in self._published.items()
            ]
            content = marker_json(self.counts, self._started, time.time(), records)
            marker = commit(self._folder, self._published, self._marker, content)
            if marker is None:
                self.abort()
                report = self.committed_report()
                assert report is not None
                return report
        except OSError as error:
            return self.cannot_write(error)
        if self.partial_place is not None:
            with contextlib.suppress(OSError):  # the next run removes it
                self.remove_partial()
        self.report_progress()
        return self._report(None, marker=marker)

    def fail(self, why: str, fatal: bool = False) -> ShardReport[Any]:
        """Give the shard up. `fatal` when no other shard can be made either."""
        self.abort()
        return self._report(why, fatal)

    def fail_with(self, error: Exception) -> ShardReport[Any]:
        """Give the shard up after an error. Other shards go ahead, unless the disk is full."""
        if isinstance(error, OSError) and _is_full(error):
            return self.cannot_write(error)
        return self.fail(str(error) or type(error).__name__)

    def cannot_write(self, error: OSError) -> ShardReport[Any]:
        """Give the shard up, and the run: the output folder cannot be written to."""
        return self.fail(cannot_write(error), fatal=True)

    def abort(self) -> None:
        """Remove the staged files."""
        for name in (*self._staged, self._marker):
            path = self._folder.staging_path(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)

    def _report(
        self, error: str | None, fatal: bool = False, marker: StoredMarker | None = None
    ) -> ShardReport[Any]:
        seconds, notes = time.time() - self._started, tuple(self.notes)
        return ShardReport(self.number, self.counts, seconds, error, fatal, notes, marker=marker)


def cannot_write(error: OSError) -> str:
    """Say that the output folder cannot be written to, and why."""
    if _is_full(error):
        words = os.strerror(errno.ENOSPC)
    elif error.errno:  # pyarrow puts words of its own around the number's
        words = os.strerror(error.errno)
    else:
        words = str(error) or type(error).__name__
    return f"cannot write to the output folder: {words.lower()}"


def _is_full(error: OSError) -> bool:
    return error.errno in _DISK_FULL or bool(_CUT_SHORT.fullmatch(str(error)))


def _discard(report: Any) -> None:
    pass
