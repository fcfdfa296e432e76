"""Headless Chromium against a real `laion serve` on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: No background requests of the browser itself.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

#: Milliseconds to wait for an element.
TIMEOUT = 10_000


def chromium() -> str:
    """Return the browser's path; skip the test if it is not installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: scripts/apt-packages.sh chromium installs it (needs root)")
    return path


@contextmanager
def serving(index: Path, *flags: str) -> Iterator[str]:
    """Run `laion serve` in a process, yield its address, and stop it by Ctrl-C (exit code 0)."""
    with serve_process(index, *flags) as (address, _):
        yield address


@contextmanager
def serve_process(
    index: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `laion serve` as `serving` does; yield its address and its process.

    Args:
        environment: variables besides those of this process.
    """
    command = [
        sys.executable, "-c", "from laion.cli import main; main()",
        "serve", "--index", str(index), "--port", "0", *flags,
    ]  # fmt: skip
    if "--rate_limit" not in flags:
        command += ["--rate_limit", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            raise AssertionError(f"laion serve: {process.communicate()[1]}")
        yield address, process
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


@contextmanager
def browser() -> Iterator[Any]:
    """Start a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


class Visit:
    """One page of one visitor, and what it must not do.

    Attributes:
        page: Playwright's page.
        faults: script errors, and violations of the content policy.
        outside: requests to other servers, with their headers; all of them fail.
    """

    def __init__(self, running: Any, address: str, **context: Any) -> None:
        self._context = running.new_context(base_url=address, **context)
        self._context.set_default_timeout(TIMEOUT)
        self._address = address
        self.page = self._context.new_page()
        self.faults: list[str] = []
        self.outside: list[tuple[str, dict[str, str]]] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._on_console)
        self._context.route(lambda url: not url.startswith(address), self._refuse)

    def _on_console(self, message: Any) -> None:
        # Some tests load images that do not exist.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _refuse(self, route: Any) -> None:
        self.outside.append((route.request.url, route.request.headers))
        route.abort()

    def open(self, path: str = "/") -> Any:
        """Open a path and wait for its results, if it is a search."""
        self.page.goto(path)
        if "?" in path:
            self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until cards or a message are shown."""
        self.page.wait_for_function(
            "() => document.getElementById('results').ariaBusy !== 'true'"
            " && (document.querySelector('.card:not(.blank)')"
            " || !document.getElementById('message').hidden)"
        )

    def ids(self) -> list[int]:
        """Return the rows of the shown cards, in order."""
        found: list[int] = self.page.eval_on_selector_all(
            ".card > a", "links => links.map(link => Number(link.dataset.id))"
        )
        return found

    def close(self) -> None:
        self._context.close()
        assert self.faults == []
