"""A web whose images can be had later on, or never, as a test decides."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import trio

from tests.server.good_image import good_image
from tests.server.sample_web import BackgroundWeb, SampleWeb
from tests.server.web import Peer, Request, reply


class FlakyWeb(SampleWeb):
    """`answers` has the status of images by number, 200 where it has none.

    Images of `held` are answered once `opened`.
    """

    def __init__(self, count: int) -> None:
        super().__init__([good_image()] * count)
        self.answers: dict[int, int] = {}
        self.held: set[int] = set()
        self.opened = trio.Event()
        self.asked: list[int] = []

    async def respond(self, request: Request, peer: Peer) -> bool:
        number = int(request.path.rpartition("/")[2].partition(".")[0])
        self.asked.append(number)
        if number in self.held:
            await self.opened.wait()
        if (status := self.answers.get(number, 200)) != 200:
            await peer.send(reply(b"no", status, "text/plain"))
            return True
        return await super().respond(request, peer)


class Flaky(BackgroundWeb):
    """It in a thread."""

    def __init__(self, count: int) -> None:
        super().__init__([])
        self.flaky = FlakyWeb(count)
        self.web = self.flaky

    def open(self) -> None:
        self._token.run_sync_soon(self.flaky.opened.set)


def write_rows(path: Path, count: int) -> Path:
    """A list of images 0 on, with a caption and a number each."""
    table = pa.table(
        {
            "URL": [f"http://h.example/photo/{n}.jpg" for n in range(count)],
            "text": [f"caption {n}" if n % 5 else None for n in range(count)],
            "n": list(range(count)),
        }
    )
    pq.write_table(table, path)
    return path
