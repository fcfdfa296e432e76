"""Which rows were retried: the lists of retries, the state files `.img2ds-retry-NAME`.

A retry is a segment of the manifest whose input is a list of rows that failed: parquet files, such
as `.img2ds-retry-NAME-00000`, and a JSON document, written last, which counts them. A segment names
its list in its fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from img2ds.core.failure import Failure, UsageError
from img2ds.core.state import retry_file
from img2ds.downloader.retried_rows import rows_path
from img2ds.report.tally import Tally
from img2ds.storage import InputFile, OutputFolder, read_state, sizes


@dataclass(frozen=True, slots=True)
class RetryList:
    """A list of rows to be retried.

    Attributes:
        reasons: those that rows were chosen by.
        shards: for each shard of the retry the reasons that its rows had failed for, counted.
        files: the names of its parquet files, as manifests have them, in order.
    """

    name: str
    reasons: tuple[str, ...]
    shards: tuple[Mapping[str, int], ...]
    files: tuple[str, ...]

    @property
    def rows(self) -> int:
        return sum(sum(shard.values()) for shard in self.shards)

    def inputs(self, folder: OutputFolder) -> list[InputFile]:
        """Return its files of rows. Raises OSError."""
        there = sizes(folder)
        found = []
        for file in self.files:
            path = rows_path(folder, self.name, file)
            found.append(InputFile(path, there.get(path.rpartition("/")[2]), file))
        return found

    def document(self) -> bytes:
        return json.dumps(
            {"reasons": self.reasons, "files": self.files, "rows": self.rows, "shards": self.shards}
        ).encode()

    @classmethod
    def read(cls, folder: OutputFolder, name: str) -> RetryList:
        """The list called `name`.

        Raises:
            UsageError: it is not there, or damaged.
            OSError: it cannot be read.
        """
        place = retry_file(name)
        data = read_state(folder, place)
        if data is None:
            raise UsageError(
                f"{folder.path}/{place} is missing, which lists the rows that were retried: "
                "restore it"
            )
        try:
            document = json.loads(data)
            return cls(
                name, tuple(document["reasons"]), tuple(document["shards"]),
                tuple(document["files"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder.path}/{place} is damaged ({error}): restore it") from None


def take_back(tally: Tally, reasons: Mapping[str, int]) -> None:
    """Rows that had failed for these reasons were retried: their latest outcome counts.

    A shard that was rebuilt after that may have fewer of them by now.
    """
    for reason, listed in reasons.items():
        times = min(listed, tally.reasons[reason])
        tally.reasons[reason] -= times
        if not tally.reasons[reason]:
            del tally.reasons[reason]
        failed = Failure(reason, "").status.value
        setattr(tally, failed, getattr(tally, failed) - times)
