"""The sample web that users try commands on."""

from __future__ import annotations

import re
import shlex
import threading
from pathlib import Path

import pytest

from img2ds import cli
from tests import demo_server
from tests.server.sample_web import links

IMAGES = 6


def test_the_command_that_it_prints_downloads_its_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = threading.Event()

    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            printed.set()
            return super().wait(timeout)

    stopped = Stopped()
    server = threading.Thread(target=demo_server.serve, args=(IMAGES, 0, stopped))
    server.start()
    try:
        printed.wait()
        said = re.sub(r"\\\n *", "", capfd.readouterr().out)
        command = next(line for line in said.splitlines() if line.startswith("img2ds"))
        assert cli.run(shlex.split(command)[1:]) == 0
    finally:
        stopped.set()
        server.join()
    good = sum(link.reason is None for link in links(IMAGES))
    assert re.search(rf"^success +{good} ", capfd.readouterr().out, re.MULTILINE)
    assert (tmp_path / "images" / "00000.tar").exists()
