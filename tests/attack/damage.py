"""A bit that changes in each shard of a dataset: `verify` finds all, and `--repair` mends them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.attack.bars import Line
from tests.attack.kills import samples
from tests.attack.real_run import ROOT, Doors, command, url
from tests.server.good_image import good_image
from tests.server.web import Peer, Request, reply

SHARDS, _PER_SHARD = 60, 2
#: The files of a shard, in turn.
_FILES = ("{}.tar", "{}.parquet", "{}_stats.json")


class Damage:
    """One dataset, damaged, found and mended.

    Args:
        seed: of the places.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = Random(seed)

    def run(self) -> list[Line]:
        """Run. Returns what was found, and what became of the dataset."""
        urls = [url("http", f"h{n}", "/a.jpg") for n in range(SHARDS * _PER_SHARD)]
        with Doors(self._answer) as ports:
            line = command(self._folder, urls, ports, number_sample_per_shard=_PER_SHARD)
            _silently(line)
            before = samples(self._out)
            places = [self._flip(number) for number in range(SHARDS)]
            broken = self._verify("--repair")
            _silently(line)
        missed = [f"{name} at {at}" for name, at in places if name[:5] not in broken]
        left, after = self._verify(), samples(self._out)
        differ = sum(after.get(name) != data for name, data in before.items())
        return [
            Line(f"a bit of each of {SHARDS} shards", f"{len(broken)} found; not {missed}"
                 if missed else "all found", failed=bool(missed)),
            Line("the same after --repair", f"{differ} of {len(before)} samples differ, "
                 f"{len(left)} shards broken", failed=bool(differ or left)),
        ]  # fmt: skip

    @property
    def _out(self) -> Path:
        return self._folder / "out"

    async def _answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image()))
        return True

    def _flip(self, number: int) -> tuple[str, int]:
        """Change a bit of one file of a shard. Returns its name and the place."""
        path = self._out / _FILES[number % len(_FILES)].format(f"{number:05d}")
        data = bytearray(path.read_bytes())
        at = self._random.randrange(len(data))
        data[at] ^= 1 << self._random.randrange(8)
        path.write_bytes(data)
        return path.name, at

    def _verify(self, *flags: str) -> set[str]:
        """Return the names of broken shards."""
        line = [sys.executable, "-m", "img2ds", "verify", f"--output_folder={self._out}"]
        found = subprocess.run([*line, "--json", *flags], cwd=ROOT, capture_output=True, text=True)
        return set(json.loads(found.stdout)["broken"])


def _silently(line: list[str]) -> None:
    subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
