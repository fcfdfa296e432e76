"""Counts the busy slots of img2ds's workers; on PYTHONPATH only while `hostile` measures them.

A slot is busy from taking a row to handing it back, except while the row waits to connect and has
given it up. Every worker appends to a file of its own in $IMG2DS_PROBE: monotonic seconds, the slot
seconds that were busy since it started, and the rows that were taken for the first time.
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
    """Wrap the method that does all of a slot's work, and those around the overflow."""
    from img2ds.downloader.pipeline import Pipeline
    from img2ds.downloader.slots import Slot, Slots

    attempt, give_up, enter = Pipeline._attempt, Slots.give_up, Slots.enter
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
        return await attempt(self, taken, context, boxes)

    def counted_give_up(self: Slots[Any], slot: Slot) -> None:
        change(-slot.held)
        give_up(self, slot)

    async def counted_enter(self: Slots[Any], slot: Slot, *, first: bool = False) -> None:
        await enter(self, slot, first=first)
        change(1)

    def write() -> None:
        with (folder / str(os.getpid())).open("w", buffering=1) as file:
            while True:
                time.sleep(INTERVAL)
                total = change(0)
                file.write(f"{time.monotonic()} {total} {fresh}\n")

    Pipeline._attempt = counted  # type: ignore[assignment, method-assign]
    Slots.give_up = counted_give_up  # type: ignore[method-assign]
    Slots.enter = counted_enter  # type: ignore[method-assign]
    threading.Thread(target=write, daemon=True).start()


if "IMG2DS_PROBE" in os.environ and "img2ds.engine.distributors.local" in sys.orig_argv:
    install(Path(os.environ["IMG2DS_PROBE"]))
