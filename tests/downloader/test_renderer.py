"""A worker that does not come back from a decoder ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
import trio
import trio.testing

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.downloader.renderer import SMALL, Renderer
from img2ds.image.transform import InspectedImage, Transformer
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
    memory = 0

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


class Rendering:
    """Renders by waiting for the word, and notes what is rendered at the same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: list[Any] = []
        self.seen: list[list[int]] = []
        self.may_end = threading.Event()
        main = threading.get_ident()

        def render(_: Transformer, image: Any) -> Encoded:
            self.now.append(image.memory)
            self.seen.append(sorted(self.now))
            if threading.get_ident() != main:
                assert self.may_end.wait(60)
            self.now.remove(image.memory)
            return Encoded(b"", 1, 1, 1, 1, None)

        monkeypatch.setattr(Transformer, "render", render)


def image(memory: int, costly: bool = False) -> InspectedImage:
    made: Any = type("Image", (), {"memory": memory, "costly": costly})()
    checked: InspectedImage = made
    return checked


def test_images_keep_to_the_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit beside the image in the thread waits for it, in order."""
    rendering = Rendering(monkeypatch)
    ended: list[int] = []

    async def render(renderer: Renderer, one: InspectedImage) -> None:
        await renderer.render(one)
        ended.append(one.memory)

    async def main() -> None:
        renderer = Renderer(ImageOptions(max_decode_memory=10 * SMALL))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(render, renderer, image(8 * SMALL, costly=True))
            await trio.testing.wait_all_tasks_blocked()
            for memory in (5 * SMALL, 6 * SMALL, 7 * SMALL):  # more than wait for the thread
                nursery.start_soon(render, renderer, image(memory))
                await trio.testing.wait_all_tasks_blocked()
            for memory in (SMALL, 2 * SMALL, 1):
                nursery.start_soon(render, renderer, image(memory))
                await trio.testing.wait_all_tasks_blocked()
            assert ended == [SMALL, 2 * SMALL, 1]
            rendering.may_end.set()

    trio.run(main)
    assert ended[3:] == [8 * SMALL, 5 * SMALL, 6 * SMALL, 7 * SMALL]
    assert max(map(sum, rendering.seen)) <= 10 * SMALL


def test_without_others_any_image_is_rendered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendering = Rendering(monkeypatch)
    renderer = Renderer(ImageOptions(max_decode_memory=10 * SMALL))
    trio.run(renderer.render, image(10 * SMALL))
    assert rendering.seen == [[10 * SMALL]]
