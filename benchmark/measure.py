"""The cost and the output of a run; slopes between runs; tables; results kept as JSON lines."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"

#: Whose versions can change a result.
_LIBRARIES = (
    "trio", "httptools", "simplejpeg", "opencv-python-headless", "pillow", "numpy", "pyarrow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counts:
    """The sums of the `_stats.json` files of an output folder."""

    shards: int = 0
    rows: int = 0
    images: int = 0
    failed_to_download: int = 0
    failed_to_resize: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of one run: seconds, bytes (of its largest process), and the images it wrote."""

    wall: float
    cpu: float
    peak_rss: int
    rows: int
    images: int

    @property
    def cpu_per_image(self) -> float:
        """Milliseconds."""
        return 1000 * self.cpu / self.images


class RunFailed(Exception):
    """A command exited with an error; the message holds the end of what it printed."""


def count(output_folder: Path) -> Counts:
    """Read the commit markers. Works on img2dataset's output too, except for the reasons."""
    markers = [json.loads(path.read_text()) for path in sorted(output_folder.glob("*_stats.json"))]
    reasons: Counter[str] = Counter()
    for marker in markers:
        reasons.update(marker.get("reasons", {}))

    def total(name: str) -> int:
        return sum(marker[name] for marker in markers)

    return Counts(
        len(markers), total("count"), total("successes"), total("failed_to_download"),
        total("failed_to_resize"), reasons,
    )  # fmt: skip


def run(command: Sequence[str], environment: Mapping[str, str], output_folder: Path) -> Usage:
    """Run `command` to its end; what it prints is kept from the terminal.

    Raises:
        RunFailed: it exited with anything but 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "usage.json"), Path(folder, "log")
        with log.open("wb") as sink:
            subprocess.run(
                [sys.executable, str(HERE / "usage.py"), str(report), *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                check=True,
            )
        used = json.loads(report.read_text())
        if used["exit_code"]:
            last = log.read_text(errors="replace")[-3000:]
            raise RunFailed(f"{' '.join(command)}\nexited with {used['exit_code']}:\n{last}")
    counts = count(output_folder)
    return Usage(used["wall"], used["cpu"], int(used["peak_rss"]), counts.rows, counts.images)


def slope(short: Usage, long: Usage) -> float:
    """CPU milliseconds an image costs, without what starting up costs."""
    return 1000 * (long.cpu - short.cpu) / (long.images - short.images)


def wall_slope(short: Usage, long: Usage) -> float:
    """Wall milliseconds, as `slope`."""
    return 1000 * (long.wall - short.wall) / (long.images - short.images)


def middle(values: Sequence[float]) -> float:
    """The median: one disturbed round must not move a result."""
    return statistics.median(values)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in plain text, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, rule, *rows)
    )


def keep(question: str, result: Mapping[str, Any]) -> None:
    """Append `result` to the results of `question`, with where and when it came to be."""
    RESULTS.mkdir(exist_ok=True)
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": _machine(),
        "commit": _commit(),
        "versions": _versions(),
        **result,
    }
    with (RESULTS / f"{question}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def warn_when_busy() -> None:
    """Say so when others use the machine: CPU times rise a little by that, wall times a lot."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > cores / 2:
        print(f"note: load average {load:.1f} on {cores} cores before anything was begun")


def _machine() -> dict[str, Any]:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _commit() -> str:
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
