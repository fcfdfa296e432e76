"""Good rows with hostile ones among them: none is lost, and all take at most twice as long.

The good rows are photos as phones take them, of 12 megapixels, and smaller images of the web. One
row in twenty is hostile.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from tests.attack.bars import Line
from tests.attack.case import Bodies, Case, make_bodies
from tests.attack.process_tree import ProcessTree
from tests.attack.real_run import ROOT, Doors, command, outcomes, url
from tests.server.encodings import jpeg, jpeg_progressive, png, webp
from tests.server.photos import photo
from tests.server.web import Peer, Request, reply

GOOD = 300
#: Of all rows.
_HOSTILE_SHARE = 0.05
#: Bytes that a worker may take, and how many times the CPU of the good rows alone all may take.
MOST_MEMORY, MOST_TIMES = 700_000_000, 2.0
#: Seconds between two looks at the memory of workers.
_INTERVAL = 0.05
_PHONE = (4000, 3000)


def good_images() -> list[bytes]:
    """Ten bodies: eight photos of a phone, and two of 2 megapixels."""
    drawn = photo(3, 1000, 750)
    large = cv2.resize(drawn, _PHONE, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).integers(-6, 7, (_PHONE[1], _PHONE[0], 1))
    large = np.clip(large.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    small = large[:1000, :2000].copy()
    return [*[jpeg(large)] * 7, jpeg_progressive(large), png(small), webp(small)]


def some_of(cases: Sequence[Case], good: int = GOOD) -> list[Case]:
    """Cases from all over the list, as many as their share of the rows allows."""
    rows = round(good * _HOSTILE_SHARE / (1 - _HOSTILE_SHARE))
    single = [case for case in cases if case.count == 1]
    return [single[place * len(single) // rows] for place in range(min(rows, len(single)))]


@dataclass(frozen=True, slots=True)
class _Spent:
    cpu: float
    wall: float
    memory: int
    lost: int
    reasons: dict[str, str]


class Mixed:
    """Runs over the same good rows, with and without the hostile ones.

    Args:
        folder: for lists and outputs.
        good: rows.
    """

    def __init__(self, cases: Sequence[Case], folder: Path, good: int = GOOD) -> None:
        self._cases = cases
        self._folder = folder
        self._rows = good
        self._good = good_images()

    def run(self) -> list[Line]:
        """Run twice. Returns what was found."""
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            making = {
                place: pool.submit(make_bodies, case.name)
                for place, case in enumerate(self._cases)
                if isinstance(case.behaviour, Bodies)
            }
            for place, made in making.items():
                self._cases[place].fill(made.result())
        with Doors(self._answer) as ports:
            alone = self._measure("alone", ports, [])
            mixed = self._measure("mixed", ports, self._cases)
        print(
            f"\n{self._rows} good rows alone: {alone.cpu:.1f} s of CPU, {alone.wall:.1f} s; with "
            f"{len(self._cases)} hostile ones: {mixed.cpu:.1f} s of CPU, {mixed.wall:.1f} s"
        )
        for name, reason in mixed.reasons.items():
            print(f"  {name}: {reason}")
        lost = alone.lost + mixed.lost
        return [
            Line("good rows", f"{lost} lost", failed=lost > 0),
            Line("all rows", f"{mixed.cpu / alone.cpu:.2f} times the CPU of good rows alone",
                 cpu=mixed.cpu, most_cpu=MOST_TIMES * alone.cpu),
            Line("the larger worker", "", memory=mixed.memory, most_memory=MOST_MEMORY),
        ]  # fmt: skip

    async def _answer(self, request: Request, peer: Peer) -> bool:
        host = request.host.partition(".")[0]
        number = int(host[1:])
        if host[0] == "c":
            return await self._cases[number].behaviour.answer(request, peer)
        await peer.send(reply(self._good[number % len(self._good)]))
        return True

    def _measure(self, name: str, ports: tuple[int, int], cases: Sequence[Case]) -> _Spent:
        urls = [url("http", f"g{number}", "/good.jpg") for number in range(self._rows)]
        step = len(urls) // (len(cases) + 1)
        for place, case in reversed(list(enumerate(cases))):
            urls.insert((place + 1) * step, url(case.scheme, f"c{place}", case.behaviour.path))
        folder = self._folder / name
        started = time.monotonic()
        line = command(folder, urls, ports, number_sample_per_shard=50, processes_count=2,
                       max_time=20)  # fmt: skip
        process = subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        tree, peaks, ended = ProcessTree(process.pid), [0], threading.Event()

        def watch() -> None:
            while not ended.wait(_INTERVAL):
                peaks.append(max(tree.peaks(), default=0))

        watching = threading.Thread(target=watch)
        watching.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watching.join()
        found = outcomes(folder)
        lost = sum(found.get(f"g{number}") != "success" for number in range(self._rows))
        reasons = {case.name: found.get(f"c{place}", "no row") for place, case in enumerate(cases)}
        cpu = used.ru_utime + used.ru_stime
        return _Spent(cpu, time.monotonic() - started, max(peaks), lost, reasons)
