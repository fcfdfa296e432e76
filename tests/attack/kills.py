"""Kills of workers and of the whole run at random moments: running again gives all that was to be.

The moments are counted in requests and drawn from a seed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from random import Random

import trio

from tests.attack.bars import Line
from tests.attack.process_tree import ProcessTree
from tests.attack.real_run import ROOT, Doors, command, url
from tests.server.good_image import good_image
from tests.server.web import Peer, Request, reply

ROWS, _PER_SHARD, ROUNDS = 160, 10, 4
#: Kills in a round: of workers in one run, or of runs one after another.
_KILLS = 3
#: Seconds between two looks, of the server and at the run.
_INTERVAL = 0.01


class Kills:
    """Rounds of kills.

    Args:
        folder: for outputs.
        seed: of all moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = Random(seed)
        self._requests = 0
        self._moment = 0  # the number of a request that has to wait for a kill; 0 for none

    def run(self, rounds: int = ROUNDS) -> list[Line]:
        """Run. Returns a line for each kind of kill."""
        with Doors(self._answer) as ports:
            self._once("calm", ports, [])
            expected = samples(self._folder / "calm" / "out")
            if len(expected) != ROWS:
                raise RuntimeError(f"{len(expected)} of {ROWS} images without any kill")
            bad = [0, 0]
            for number in range(rounds):
                moments = sorted(self._random.sample(range(1, ROWS), _KILLS))
                self._once(f"worker{number}", ports, moments)
                bad[0] += samples(self._folder / f"worker{number}" / "out") != expected
                for _ in range(_KILLS):
                    moment = self._random.randrange(1, ROWS // _KILLS)
                    self._once(f"run{number}", ports, [moment], whole=True)
                self._once(f"run{number}", ports, [])
                bad[1] += samples(self._folder / f"run{number}" / "out") != expected
        return [
            Line(
                f"{rounds * _KILLS} kills of {what}",
                f"{count} of {rounds} datasets differ from an undisturbed run's",
                failed=count > 0,
            )
            for what, count in zip(("workers", "runs"), bad, strict=True)
        ]

    async def _answer(self, request: Request, peer: Peer) -> bool:
        self._requests += 1
        while 0 < self._moment <= self._requests:  # noqa: ASYNC110 (another thread goes on)
            await trio.sleep(_INTERVAL)
        await peer.send(reply(good_image()))
        return True

    def _once(
        self, name: str, ports: tuple[int, int], moments: list[int], *, whole: bool = False
    ) -> None:
        """Run to the end, or to the kill of the whole run, with a kill at each moment."""
        urls = [url("http", f"h{number}", "/a.jpg") for number in range(ROWS)]
        line = command(
            self._folder / name, urls, ports, number_sample_per_shard=_PER_SHARD,
            processes_count=2, thread_count=8, max_shard_retry=2 * _KILLS,
        )  # fmt: skip
        self._requests, waiting = 0, [*moments, 0]
        self._moment = waiting.pop(0)
        process = subprocess.Popen(
            line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            if 0 < self._moment <= self._requests:
                workers = ProcessTree(process.pid).workers()
                for pid in [process.pid] if whole else workers and [self._random.choice(workers)]:
                    os.kill(pid, signal.SIGKILL)
                self._moment = waiting.pop(0)
            time.sleep(_INTERVAL)


def samples(folder: Path) -> dict[str, bytes]:
    """Return every image of every tar."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                if member.name.endswith(".jpg"):
                    found[member.name] = file.read()
    return found
