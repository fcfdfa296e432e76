"""Counts the busy slots of img2ds's workers; on PYTHONPATH only while `hostile` measures them.

A slot is busy from taking a row up to handing it back, but for the time in which the row waits for
a connection beside the slots. Every worker appends to a file of its own
in $IMG2DS_PROBE: monotonic seconds, the slot seconds that were busy since it started, and the
rows that were taken up for the first time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

INTERVAL = 0.25


def install(folder: Path) -> None:
    """Wrap the one method that all of a slot's work is in, and those around what is beside."""
    from img2ds.downloader.pipeline import Pipeline
    from img2ds.downloader.slots import Slot, Slots

    row, lend, enter = Pipeline._row, Slots.lend, Slots.enter
    busy = 0
    fresh = 0
    spent = 0.0
    changed = time.monotonic()
    lock = threading.Lock()

    def change(by: int) -> float:
        nonlocal busy, spent, changed
        with lock:
            now = time.monotonic()
            spent += busy * (now - changed)
            busy += by
            changed = now
            return spent

    async def counted(self: Pipeline, taken: Any, context: Any, boxes: Any) -> Any:
        nonlocal fresh
        fresh += not taken.attempts
        try:
            return await row(self, taken, context, boxes)
        finally:
            change(-context.connecting.held)

    def counted_lend(self: Slots[Any], slot: Slot) -> None:
        change(-1)
        lend(self, slot)

    async def counted_enter(self: Slots[Any], slot: Slot) -> None:
        await enter(self, slot)
        change(1)

    def write() -> None:
        with (folder / str(os.getpid())).open("w", buffering=1) as file:
            while True:
                time.sleep(INTERVAL)
                total = change(0)
                file.write(f"{time.monotonic()} {total} {fresh}\n")

    Pipeline._row = counted  # type: ignore[assignment, method-assign]
    Slots.lend = counted_lend  # type: ignore[method-assign]
    Slots.enter = counted_enter  # type: ignore[method-assign]
    threading.Thread(target=write, daemon=True).start()


if "IMG2DS_PROBE" in os.environ and "img2ds.engine.distributors.local" in sys.orig_argv:
    install(Path(os.environ["IMG2DS_PROBE"]))
