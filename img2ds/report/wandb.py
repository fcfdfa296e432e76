"""Log a run to Weights & Biases: img2dataset's metrics under its names, and failure reasons.

Only the parent process logs, and only this module imports wandb. A failure at the start is a
UsageError; a later one is reported once, and the download continues without logging.
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

#: Seconds between two tables, and rows per table, as in img2dataset.
TABLE_INTERVAL, TABLE_ROWS = 60.0, 100
#: Reasons with a curve: the most frequent ones of the run so far.
CURVES = 20
#: Seconds allowed for reaching the service at the start, and for sending the rest at the end.
INIT_TIMEOUT, FINISH_TIMEOUT = 30.0, 60.0

_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")


def load_wandb() -> Any:
    """Import wandb. Raises UsageError if it is not installed."""
    try:
        import wandb
    except ImportError:
        raise UsageError(
            "--enable_wandb needs the package wandb: pip install 'img2ds[wandb]'"
        ) from None
    return wandb


class Board:
    """One run on Weights & Biases; a context manager that ends it.

    Args:
        say: prints the line for people if logging fails.
        clock: seconds since any point in time.

    Raises:
        UsageError: the run cannot be started.
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
        self._started = math.inf
        self._tables_at = self._clock()
        self._unlogged: Tally | None = None  # what is not in the tables yet
        try:
            self._run = self._wandb.init(
                project=options.run.wandb_project,
                config=flag_values(options),
                settings=_settings(self._wandb),
            )
        # Its errors have many roots: its own tree, pydantic's, and those of sockets and files.
        except Exception as error:
            raise UsageError(
                f"--enable_wandb: {_line(error)} (set WANDB_MODE=offline to log without "
                "network and login; `wandb sync` uploads the run later)"
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
            with suppress(Exception):  # the failure was reported; do not report it again at exit
                self._wandb.teardown()

    def shard(self, report: ShardReport[Tally], total: Tally) -> None:
        """Log a committed shard; `total` is the tally of the run including it."""
        now = self._clock()
        self._started = min(self._started, now - report.duration)
        self._unlogged = total

        def log() -> None:
            self._run.log(speeds("worker", report.tally, report.duration))
            self._run.log({**speeds("total", total, now - self._started), **reason_shares(total)})
            if now - self._tables_at > TABLE_INTERVAL:
                self._log_tables()

        self._attempt(log)

    def _log_tables(self) -> None:
        if self._unlogged is None:
            return
        tally, self._unlogged = self._unlogged, None
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
        except Exception as error:  # logging must not end the download
            self._run = None
            self._say(f"Weights & Biases failed, continuing without it: {_line(error)}")


def _settings(wandb: Any) -> Any:
    """Return the settings that differ from wandb's defaults; its environment variables win."""
    wanted: dict[str, Any] = {
        "console": "off",  # else it captures stdout and stderr, and breaks the progress line
        "init_timeout": INIT_TIMEOUT,
        "finish_timeout": FINISH_TIMEOUT,
    }
    ours = {k: v for k, v in wanted.items() if f"WANDB_{k.upper()}" not in os.environ}
    return wandb.Settings(**ours)


def speeds(prefix: str, tally: Tally, seconds: float) -> dict[str, float]:
    """Return img2dataset's five metrics of a shard (`worker`) or of the run so far (`total`).

    Args:
        seconds: from the first row to the last commit.
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
    """Return the shares of the most frequent reasons in all rows, as `reason/NAME`."""
    common = tally.reasons.most_common(CURVES)
    return {f"reason/{reason}": times / max(tally.count, 1) for reason, times in common}


def flag_values(options: Options) -> Mapping[str, Any]:
    """Return every flag by name for the run's page, without passwords."""
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
    """Return the first line of an error's message, or the error's type."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
