"""Chromium without a head, against the real `laion serve` on loopback and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Nothing of the browser's own goes out to the network.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

#: Milliseconds after which something that should show up counts as missing.
LEND_SLOT_AFTER = 10_000


def chromium() -> str:
    """The browser's path; the test is skipped where there is none and none can be installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: scripts/apt-packages.sh chromium installs it (needs root)")
    return path


@contextmanager
def serving(index: Path, *flags: str) -> Iterator[str]:
    """`laion serve` in a process of its own; its address. Ctrl-C ends it, with exit code 0."""
    command = [
        sys.executable, "-c", "from laion.cli import main; main()",
        "serve", "--index", str(index), "--port", "0", "--rate_limit", "0", *flags,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            raise AssertionError(f"laion serve: {process.communicate()[1]}")
        yield address
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


class Visit:
    """One page of one visitor, and what it did that it should not.

    Attributes:
        page: Playwright's page.
        faults: errors of scripts, and violations of the content policy.
        outside: requests to other servers, with their headers; all of them fail.
    """

    def __init__(self, running: Any, address: str, **context: Any) -> None:
        self._context = running.new_context(base_url=address, **context)
        self._context.set_default_timeout(LEND_SLOT_AFTER)
        self._address = address
        self.page = self._context.new_page()
        self.faults: list[str] = []
        self.outside: list[tuple[str, dict[str, str]]] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._heard)
        self._context.route(lambda url: not url.startswith(address), self._refuse)

    def _heard(self, message: Any) -> None:
        # A picture that cannot be loaded is what some tests are about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _refuse(self, route: Any) -> None:
        self.outside.append((route.request.url, route.request.headers))
        route.abort()

    def open(self, path: str = "/") -> Any:
        """Go to a path and wait for its results, when there are to be any."""
        self.page.goto(path)
        if "?" in path:
            self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until an answer is shown: cards, or a message."""
        self.page.wait_for_function(
            "() => document.getElementById('results').ariaBusy !== 'true'"
            " && (document.querySelector('.card:not(.blank)')"
            " || !document.getElementById('message').hidden)"
        )

    def ids(self) -> list[int]:
        """Rows whose cards are shown, in order."""
        found: list[int] = self.page.eval_on_selector_all(
            ".card > a", "links => links.map(link => Number(link.dataset.id))"
        )
        return found

    def close(self) -> None:
        self._context.close()
        assert self.faults == []
