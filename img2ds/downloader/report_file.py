"""`--report FILE`: the result of a run as JSON, for programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from img2ds.core.failure import UsageError
from img2ds.report.tally import Tally

if TYPE_CHECKING:
    from img2ds.downloader.job import Report


def document(report: Report) -> dict[str, Any]:
    """Return the result of a run as JSON types. Times in seconds."""
    tally: Tally = report.tally
    return {
        "output_folder": report.output_folder,
        "exit_code": report.exit_code,
        "stopped": report.stopped,
        "shortfall": report.shortfall,
        "shards": {
            "committed": report.shards_committed,
            "committed_before": report.shards_before,
            "partial": report.partial,
            "failed": {str(number): why for number, why in report.failed.items()},
        },
        "count": tally.count,
        "successes": tally.successes,
        "failed_to_download": tally.failed_to_download,
        "failed_to_resize": tally.failed_to_resize,
        "reasons": dict(tally.reasons.most_common()),
        "bytes": {"received": tally.bytes_received, "written": tally.bytes_written},
        "wall_time": round(report.wall_time, 3),
        "cpu_time": round(report.cpu_time, 3),
    }


def check(path: str | None) -> None:
    """Raise UsageError if no file can be written at `path`."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UsageError(f"--report: cannot write {path}: name a file in a folder that exists")


def write(path: str | None, report: Report) -> None:
    """Write the file, whole or not at all. Raises OSError."""
    if path is None:
        return
    staged = f"{path}.{os.getpid()}"
    with open(staged, "w", encoding="utf-8") as file:
        json.dump(document(report), file, indent=1)
        file.write("\n")
    os.replace(staged, path)
