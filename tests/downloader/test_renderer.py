"""A worker that does not come back from a decoder ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

#: Renders an image that takes for ever, in the loop or in the thread.
SCRIPT = """
import sys, trio
from img2ds.config.options import ImageOptions
from img2ds.downloader import renderer
from img2ds.image.transform import Transformer

renderer._BESIDES = 0.0 if sys.argv[1] == "loop" else 1e6

def spin(self, image):
    while True:
        pass

Transformer.render = spin

class Image:
    costly = sys.argv[1] == "thread"

async def beat(one):
    while True:
        one.beat()
        await trio.sleep(0.02)

async def main():
    one = renderer.Renderer(ImageOptions(max_decode_time=0.2))
    one.beat()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat, one)
        await one.render(Image())

trio.run(main)
"""


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_it_ends_after_the_time_limit(where: str) -> None:
    if where == "thread" and sys.platform == "darwin":
        pytest.skip("macOS does not tell the CPU time of a thread")
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, where], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.returncode == -signal.SIGPROF
