"""Cases one after another through a worker of a real `img2ds`, each measured while it is alone.

The worker has a single slot, so that a request says that the row before it has ended. Behind each
case comes a good image, which must be stored: a stranger's row costs no other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import trio

from tests.attack.case import Bodies, Case, make_bodies
from tests.attack.process_tree import ProcessTree
from tests.attack.real_run import ROOT, Doors, command, outcomes, url
from tests.server.encodings import ENCODINGS
from tests.server.good_image import good_image
from tests.server.photos import photo
from tests.server.web import Peer, Request, reply

#: Rows of a shard. A case that kills its worker has those of its shard sent once more.
_SHARD = 8


@dataclass(slots=True)
class Measured:
    """CPU seconds of a case, and bytes above the idle worker at most."""

    cpu: float
    memory: int


class OneByOne:
    """A run over `cases`.

    Args:
        folder: for the list and the output.
        flags: of `img2ds` besides.

    Attributes:
        measured: by the places of cases.
    """

    def __init__(self, cases: Sequence[Case], folder: Path, flags: Mapping[str, Any]) -> None:
        self._cases = cases
        self._folder = folder
        self._flags = flags
        self._tree: ProcessTree
        self._idle = 0
        self._began = 0.0
        self._current: int | None = None
        self._prepared: int | None = None
        self._making: dict[int, Future[list[bytes]]] = {}
        self.measured: dict[int, Measured] = {}

    def run(self) -> list[str]:
        """Run `img2ds` to its end.

        Returns:
            The outcome of each case: `success` or a reason.

        Raises:
            RuntimeError: a good row was lost, or the run failed.
        """
        source = photo(5, 48, 32)
        self._small = [encode(source) for encode in ENCODINGS.values()]
        spawn = get_context("spawn")
        with ProcessPoolExecutor(1, spawn) as self._pool, Doors(self._respond) as ports:
            line = command(
                self._folder, self._urls(), ports, number_sample_per_shard=_SHARD,
                processes_count=1, thread_count=1, **self._flags,
            )  # fmt: skip
            with subprocess.Popen(line, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT) as process:  # fmt: skip
                self._tree = ProcessTree(process.pid)
                output, _ = process.communicate()
        found = outcomes(self._folder)
        lost = [case.name for place, case in enumerate(self._cases)
                if found.get(f"g{place}") != "success"]  # fmt: skip
        if lost or process.returncode:
            raise RuntimeError(
                f"img2ds ended with {process.returncode}; good rows were lost behind {lost}\n"
                f"{output[-3000:]}"
            )
        return [found[f"c{place}"] for place in range(len(self._cases))]

    def _urls(self) -> list[str]:
        urls = [url("http", "idle", f"/idle?n={number}") for number in range(len(ENCODINGS))]
        for place, case in enumerate(self._cases):
            path = case.behaviour.path
            urls += [url(case.scheme, f"c{place}", f"{path}?n={n}") for n in range(case.count)]
            urls.append(url("http", f"g{place}", "/good.jpg"))
        return urls

    async def _respond(self, request: Request, peer: Peer) -> bool:
        """Answer a request, which ends the row before it."""
        host = request.host.partition(".")[0]
        if host == "idle":
            number = int(request.number("n", 0))
            if number == len(self._small) - 1:
                await self._prepare(0)
            await peer.send(reply(self._small[number]))
            return True
        place = int(host[1:])
        if host[0] == "g":
            self._end()
            await self._prepare(place + 1)
            await peer.send(reply(good_image()))
            return True
        if self._current != place:
            self._end()
            await self._prepare(place)  # of a shard that is sent once more
            self._begin(place)
        return await self._cases[place].behaviour.answer(request, peer)

    async def _prepare(self, place: int) -> None:
        """Have the bodies of a case, and those of the next one made meanwhile."""
        if place >= len(self._cases) or self._prepared == place:
            return
        for case in self._cases:
            if isinstance(case.behaviour, Bodies):
                case.fill(())
        case = self._cases[place]
        if isinstance(case.behaviour, Bodies):
            made = self._making.pop(place, None) or self._pool.submit(make_bodies, case.name)
            case.fill(await trio.to_thread.run_sync(made.result))
        self._prepared = place
        for later in range(place + 1, min(place + 2, len(self._cases))):
            if isinstance(self._cases[later].behaviour, Bodies):
                self._making = {later: self._pool.submit(make_bodies, self._cases[later].name)}

    def _begin(self, place: int) -> None:
        if not self.measured:
            self._idle = self._tree.resident()
        self._tree.forget_peak()
        self._began = self._tree.cpu()
        self._current = place

    def _end(self) -> None:
        if self._current is None:
            return
        found = self.measured.setdefault(self._current, Measured(0.0, 0))
        found.cpu = max(found.cpu, self._tree.cpu() - self._began)
        found.memory = max(found.memory, self._tree.peak() - self._idle)
        self._current = None
