"""Which rows were retried: the lists of retries, in `_img2ds/retries/NAME/`.

A retry is a segment of the manifest whose input is a list of rows that failed: parquet files,
and `list.json`, written last, which counts them. A segment names its list in its fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from img2ds.core.failure import Failure, UsageError
from img2ds.downloader.retried_rows import RETRIES
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder


@dataclass(frozen=True, slots=True)
class RetryList:
    """A list of rows to be retried.

    Attributes:
        reasons: those that rows were chosen by.
        shards: for each shard of the retry the reasons that its rows had failed for, counted.
        files: the names of its parquet files, in order.
    """

    name: str
    reasons: tuple[str, ...]
    shards: tuple[Mapping[str, int], ...]
    files: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where it lies, in the output folder."""
        return f"{RETRIES}/{self.name}"

    @property
    def rows(self) -> int:
        return sum(sum(shard.values()) for shard in self.shards)

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
        place = f"{RETRIES}/{name}/list.json"
        try:
            document = json.loads(folder.read_bytes(place))
            return cls(
                name, tuple(document["reasons"]), tuple(document["shards"]),
                tuple(document["files"]),
            )  # fmt: skip
        except FileNotFoundError:
            raise UsageError(
                f"{folder.path}/{place} is missing, which lists the rows that were retried: "
                "restore it"
            ) from None
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
