"""Weights & Biases: a run's numbers under img2dataset's names, and our reasons beside them.

Logs from the parent process alone. The only importer of wandb. What fails before the start is a
UsageError; what fails later is said once, and the download goes on without.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from img2ds.config.options import FLAGS, GROUPS, Options
from img2ds.core.failure import UsageError
from img2ds.report.shard_report import ShardReport
from img2ds.report.tally import Tally

#: Seconds between two tables, rows of one, as img2dataset has them.
TABLE_INTERVAL, TABLE_ROWS = 60.0, 100
#: Reasons that have a curve of their own: the most frequent ones of the whole run so far.
CURVES = 20
#: Seconds that reaching the service may take at the start, and sending the rest at the end.
INIT_TIMEOUT, FINISH_TIMEOUT = 30.0, 60.0

_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")


def load_wandb() -> Any:
    """The package. Raises UsageError when it is missing."""
    try:
        import wandb
    except ImportError:
        raise UsageError("--enable_wandb needs a package: pip install 'img2ds[wandb]'") from None
    return wandb


class Board:
    """One run on Weights & Biases; a context manager that ends it.

    Args:
        say: is given the one line that people should read when logging fails.
        clock: seconds, from anywhere on.

    Raises:
        UsageError: it cannot be begun.
    """

    def __init__(
        self,
        options: Options,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wandb = load_wandb()
        self._say = say
        self._clock = clock
        self._began = math.inf
        self._tables_at = self._clock()
        self._untold: Tally | None = None  # what the tables do not have yet
        try:
            self._run = self._wandb.init(
                project=options.run.wandb_project,
                config=flag_values(options),
                settings=_settings(self._wandb),
            )
        # Its errors have many roots: its own tree, pydantic's, and those of sockets and files.
        except Exception as error:
            raise UsageError(
                f"--enable_wandb: {_line(error)} (WANDB_MODE=offline needs neither network nor "
                "login: `wandb sync` sends the run later)"
            ) from None

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._attempt(self._log_tables)
        self._attempt(lambda: self._run.finish(exit_code=0 if error is None else 1))
        if self._run is None:
            with suppress(Exception):  # what failed is told; else it would be again at the exit
                self._wandb.teardown()

    def shard(self, report: ShardReport[Tally], total: Tally) -> None:
        """A shard was committed; `total` is the run's tally with it."""
        now = self._clock()
        self._began = min(self._began, now - report.duration)
        self._untold = total

        def log() -> None:
            self._run.log(speeds("worker", report.tally, report.duration))
            self._run.log({**speeds("total", total, now - self._began), **reason_shares(total)})
            if now - self._tables_at > TABLE_INTERVAL:
                self._log_tables()

        self._attempt(log)

    def _log_tables(self) -> None:
        if self._untold is None:
            return
        tally, self._untold = self._untold, None
        self._tables_at = self._clock()
        statuses = Counter({**tally.messages, "success": tally.successes})
        self._run.log({"status": self._table("status", statuses, tally.count)})
        self._run.log({"reasons": self._table("reason", tally.reasons, tally.count)})

    def _table(self, name: str, counts: Counter[str], total: int) -> Any:
        rows = [[word, n / max(total, 1), n] for word, n in counts.most_common(TABLE_ROWS) if n]
        return self._wandb.Table(columns=[name, "frequency", "count"], data=rows)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do `work`, unless logging has failed before."""
        if self._run is None:
            return
        try:
            work()
        except Exception as error:  # whatever befalls an onlooker, the download goes on
            self._run = None
            self._say(f"Weights & Biases failed, and the run goes on without: {_line(error)}")


def _settings(wandb: Any) -> Any:
    """What differs from wandb's defaults; its own environment variables have the last word."""
    wanted: dict[str, Any] = {
        "console": "off",  # else it takes over stdout and stderr, and the living line with them
        "init_timeout": INIT_TIMEOUT,
        "finish_timeout": FINISH_TIMEOUT,
    }
    ours = {k: v for k, v in wanted.items() if f"WANDB_{k.upper()}" not in os.environ}
    return wandb.Settings(**ours)


def speeds(prefix: str, tally: Tally, seconds: float) -> dict[str, float]:
    """img2dataset's five numbers of a shard (`worker`) or of the run so far (`total`).

    Args:
        seconds: from the first row to the last mark.
    """
    count = max(tally.count, 1)
    return {
        f"{prefix}/img_per_sec": tally.count / max(seconds, 1e-3),
        f"{prefix}/success": tally.successes / count,
        f"{prefix}/failed_to_download": tally.failed_to_download / count,
        f"{prefix}/failed_to_resize": tally.failed_to_resize / count,
        f"{prefix}/count": tally.count,
    }


def reason_shares(tally: Tally) -> dict[str, float]:
    """The share of all rows of the most frequent reasons, as `reason/NAME`."""
    common = tally.reasons.most_common(CURVES)
    return {f"reason/{reason}": times / max(tally.count, 1) for reason, times in common}


def flag_values(options: Options) -> Mapping[str, Any]:
    """Every flag by its name, for the run's page, without passwords."""
    values: dict[str, Any] = {}
    for key in GROUPS:
        group = getattr(options, key)
        for name in FLAGS.keys() & set(group.__dataclass_fields__):
            value = getattr(group, name)
            if FLAGS[name].metadata["secret"]:
                continue
            if isinstance(value, str):
                value = _USERINFO.sub("", value)
            elif value == math.inf:  # JSON has no infinity
                value = "inf"
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


def _line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
