"""The processes of a simulated network: router, name servers and web servers, and how to reach it.

The servers run in the benchmark's own network namespace (see `world`), the tool in another one,
whose only device leads to the router.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.network_list import DEAD_NAME_SERVER, NAME_SERVER
from benchmark.network_settings import World
from benchmark.world import need, set_name_servers, stop

#: Seconds until a server that was told to end is killed.
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Lab:
    """A network that is up.

    Args:
        prefix: the words that run a command in the tool's network namespace.
        seen: what each server saw, by its name; filled when the network has ended.
    """

    prefix: list[str]
    seen: dict[str, dict[str, Any]]


@contextmanager
def build(world: World, rows: int) -> Iterator[Lab]:
    """Build the network of a world; it ends with the context."""
    servers = ([DEAD_NAME_SERVER] if world.names.dead_first else []) + [NAME_SERVER]
    set_name_servers(servers)
    lab = Lab([], {})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="img2ds-network-")))
        shell = ["sh", "-c", "echo ready; exec sleep infinity"]
        keep = [need("unshare", "util-linux"), "--net", *shell]
        keeper = stack.enter_context(_running("namespace", keep))
        lab.prefix[:] = [need("nsenter", "util-linux"), f"--net=/proc/{keeper.pid}/ns/net"]
        # The router adds the servers' addresses, so it comes first.
        for name, arguments in {
            "router": [world.name, str(rows), str(keeper.pid)],
            "limited_dns": [world.name],
            "limited_web": [world.name, str(rows)],
        }.items():
            report = folder / f"{name}.json"
            command = [sys.executable, "-m", f"benchmark.{name}", *arguments, str(report)]
            stack.callback(_read, name, report, lab)
            stack.enter_context(_running(name, command))
        yield lab


def _read(name: str, report: Path, lab: Lab) -> None:
    if report.exists():
        lab.seen[name] = json.loads(report.read_text())


@contextmanager
def _running(name: str, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process that prints a line when it is ready; end it with the context."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            stop(f"the {name} of the benchmark does not come up")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
