"""How many rows are lost on networks with limits, and how long does a run take there?

Each world is a network in namespaces of its own: a user-space router with round-trip time, loss,
connection table and thin links, name servers and web servers with limits (`network_worlds` has the
table). In each world every row of an ordinary host can be had at a pace that the network bears. A
row is lost when the tool's output says that it failed, or when a finished run has no image for it;
rows of a run that was interrupted are open. `network_bounds` computes the shortest time possible.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from benchmark import measure, network_lab, peer, tools
from benchmark import world as namespaces
from benchmark.answers import Ports, Rule
from benchmark.end_to_end import write_list
from benchmark.network_bounds import bound_of
from benchmark.network_list import make_rows
from benchmark.network_settings import World
from benchmark.network_worlds import OPEN, WORLDS
from benchmark.tools import Tool
from benchmark.web import Web

QUESTION = "networks"
#: A run is interrupted after this many times its bound, and this many seconds more.
TIMEOUT_FACTOR, TIMEOUT_MORE = 5.0, 120.0
#: Seconds that an interrupted run has to end.
GRACE = 45.0
#: Shards a process, at least: all processes have work until the end.
SHARDS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """One run.

    Args:
        available: rows that could be had; `images`: those that were.
        lost: available rows without an image that the tool does not consider open.
        wall: seconds from the first packet to the tool's end.
        bound: shortest time possible, in seconds, and the limit that sets it.
        exit_code: of the tool; None when it was killed.
        reasons: failures of available rows by reason.
        seen: what router and servers counted.
    """

    world: str
    tool: str
    processes: int
    rows: int
    available: int
    images: int
    lost: int
    wall: float
    bound: float
    limit: str
    interrupted: bool
    exit_code: int | None
    reasons: dict[str, int]
    seen: dict[str, dict[str, Any]]

    @property
    def ratio(self) -> float:
        """Wall time to bound."""
        return self.wall / self.bound


@dataclass(frozen=True, slots=True)
class _Run:
    started: float
    ended: float
    interrupted: bool
    exit_code: int | None


def measure_world(world: World, tool: Tool, processes: int, count: int, at_best: float) -> Result:
    """Run `tool` in a world.

    Args:
        count: rows, before the world's share.
        at_best: seconds of the run without limits.
    """
    processes = world.processes or processes
    rows = make_rows(world, round(count * world.rows))
    shortest = bound_of(world, rows, processes)
    bound = shortest.total(at_best)
    patience = world.patience or bound * TIMEOUT_FACTOR + TIMEOUT_MORE
    shard = min(tools.SHARD, -(-len(rows.urls) // (SHARDS * processes)))
    tool = replace(
        tool,
        flags={
            **tool.flags, "processes_count": str(processes), "number_sample_per_shard": str(shard),
        },
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name:
        output = Path(name, "out")
        url_list = write_list(rows.urls, Path(name, "list.parquet"))
        with network_lab.build(world, len(rows.urls)) as lab:
            inside = replace(tool, command=(*lab.prefix, *tool.command))
            run = _run(inside, url_list, output, Path(name, "log"), patience)
        images, failed = _images(output), _failed(output)
    had = rows.available & images
    without = rows.available - images
    lost = without & failed.keys() if run.interrupted or run.exit_code else without
    reasons = Counter(failed[url] for url in without & failed.keys())
    first = lab.seen.get("router", {}).get("first_packet") or run.started
    return Result(
        world.name, tool.name, processes, len(rows.urls), len(rows.available), len(had), len(lost),
        run.ended - first, bound, shortest.strictest(at_best),
        run.interrupted, run.exit_code, dict(reasons), lab.seen,
    )  # fmt: skip


def _run(tool: Tool, url_list: Path, output: Path, log: Path, patience: float) -> _Run:
    """Run the tool to its end; interrupt it after `patience` seconds, kill it `GRACE` later."""
    started = time.monotonic()
    interrupted = False
    code: int | None = None
    with log.open("wb") as sink:
        process = subprocess.Popen(
            tool.line(url_list, output), env={**os.environ, **tool.environment},
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
        )  # fmt: skip
    try:
        code = process.wait(patience)
    except subprocess.TimeoutExpired:
        interrupted = True
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(GRACE)
    finally:
        ended = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code and not interrupted:
        print(f"  exit code {code}: {log.read_text(errors='replace')[-2000:]}")
    return _Run(started, ended, interrupted, code)


def _images(output: Path) -> frozenset[str]:
    """Return the URLs of all images in the tars."""
    found: set[str] = set()
    for path in output.glob("*.tar"):
        # A killed img2dataset leaves incomplete tars.
        with suppress(tarfile.ReadError):
            found.update(_urls_in(path))
    return frozenset(found)


def _urls_in(path: Path) -> Iterator[str]:
    urls: dict[str, str] = {}
    images: set[str] = set()
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, kind = member.name.rpartition(".")
            file = tar.extractfile(member)
            if kind == "json" and file is not None:
                urls[key] = orjson.loads(file.read())["url"]
            elif kind == "jpg" and member.size:
                images.add(key)
    return (urls[key] for key in images)


def _failed(output: Path) -> dict[str, str]:
    """Return the rows that the tool recorded as failed, with the reason."""
    found: dict[str, str] = {}
    for path in output.glob("*[0-9].parquet"):
        table = pq.read_table(path)
        reason = "reason" if "reason" in table.column_names else "error_message"
        for row in table.select(["url", "status", reason]).to_pylist():
            if row["status"] != "success":
                found[row["url"]] = str(row[reason])[:80]
    return found


def report(results: list[Result]) -> str:
    """Draw the table of all runs."""
    lines = []
    for result in results:
        share = f"{result.lost / result.available:.1%}" if result.available else "-"
        mark = " (interrupted)" if result.interrupted else ""
        top = sorted(result.reasons.items(), key=lambda item: -item[1])[:2]
        lines.append([
            result.world, f"{result.tool} x{result.processes}", str(result.available),
            str(result.lost), share, f"{result.wall:.1f}{mark}", f"{result.bound:.1f}",
            f"{result.ratio:.2f}", result.limit,
            ", ".join(f"{reason} {number}" for reason, number in top),
        ])  # fmt: skip
    head = ["world", "tool", "available", "lost", "share", "wall s", "bound s", "ratio",
            "bound by", "reasons"]  # fmt: skip
    return measure.table(head, lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", choices=("img2ds", "img2dataset"), default="img2ds")
    parser.add_argument("--world", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--processes", type=int, default=tools.PROCESSES)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--flag", nargs="*", default=[], help="further NAME=VALUE of the tool")
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    return parser.parse_args()


def _tool(options: argparse.Namespace) -> Tool:
    if options.tool == "img2dataset":
        tool = tools.img2dataset(_no_web(), options.peer_venv)
    else:
        tool = tools.img2ds(_no_web())
    flags = dict(tool.flags)
    # Worlds speak http only.
    flags.pop("ca_bundle", None)
    flags.update(flag.split("=", 1) for flag in options.flag)
    return replace(tool, flags=flags, environment={
        name: value for name, value in tool.environment.items() if name != "SSL_CERT_FILE"
    })  # fmt: skip


def _no_web() -> Web:
    return Web(Rule({}, frozenset(), Ports.of([])), Path(), 0, Path())


def main() -> None:
    options = _options()
    tool = _tool(options)
    namespaces.enter()
    measure.warn_when_busy()
    # The first run compiles and fills caches; the second tells what the machine needs.
    measure_world(OPEN, tool, options.processes, 50, 0.0)
    results: list[Result] = []
    at_best = 0.0
    for world in [OPEN, *(WORLDS[name] for name in options.world if name != OPEN.name)]:
        result = measure_world(world, tool, options.processes, options.rows, at_best)
        if world is OPEN:
            result = replace(result, bound=max(result.bound, result.wall), limit="machine")
            at_best = result.wall
        results.append(result)
        print(report([result]).splitlines()[-1], flush=True)
        measure.keep(QUESTION, {**asdict(result), "ratio": result.ratio, "flags": options.flag})
    print(f"\n{report(results)}")


if __name__ == "__main__":
    main()
