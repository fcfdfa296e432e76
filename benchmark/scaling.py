"""Do two processes on two cores do twice the work of one process on one core?

The servers need a share of the machine too, and there are no cores to spare for them. So all
scales together: one process and the servers are held on one core, then two processes and the
same servers have two. The table shows the CPU cost of an image next to the wall rates: if it does
not rise, nothing in img2ds makes the processes wait for each other.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmark import measure, tools, watch, web, world
from benchmark.corpus import open_corpus
from benchmark.end_to_end import make_urls, write_list
from benchmark.measure import Usage
from benchmark.tools import Tool

QUESTION = "scaling"
SERVERS = ("nginx", "dnsmasq")
#: Rows of the run that is thrown away: it compiles and fills caches.
WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Round:
    """A short and a long run; CPU milliseconds of the servers an image of the long one."""

    short: Usage
    long: Usage
    servers: float

    @property
    def cpu(self) -> float:
        """CPU milliseconds an image, without starting up."""
        return measure.slope(self.short, self.long)

    @property
    def rate(self) -> float:
        """Images a second, without starting up."""
        return 1000 / measure.wall_slope(self.short, self.long)


def one_round(tool: Tool, lists: tuple[Path, Path]) -> Round:
    """Both lists, by turns."""
    used = []
    servers = 0.0
    for url_list in lists:
        before = _servers_cpu()
        with tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as output:
            used.append(tool.run(url_list, Path(output) / "out"))
        servers = _servers_cpu() - before
    return Round(used[0], used[1], 1000 * servers / used[1].images)


def confine(cores: set[int]) -> None:
    """Hold this process, what it starts from now on, and the servers on these cores."""
    os.sched_setaffinity(0, cores)
    for name in SERVERS:
        for pid in watch.processes(name):
            os.sched_setaffinity(pid, cores)


def _servers_cpu() -> float:
    return sum(map(watch.cpu_seconds, SERVERS))


def report(rounds: dict[int, list[Round]], options: argparse.Namespace) -> None:
    """Print the table and its conclusion, and keep the numbers."""
    cpu, rate, servers = (
        {
            count: measure.middle([getattr(one, name) for one in some])
            for count, some in rounds.items()
        }
        for name in ("cpu", "rate", "servers")
    )
    rows = []
    for count, some in rounds.items():
        values = [one.cpu for one in some]
        took = (cpu[count] + servers[count]) * rate[count] / 1000
        rows.append([str(count), f"{rate[count]:.0f}", f"{cpu[count]:.2f}",
                     f"{min(values):.2f}-{max(values):.2f}", f"{servers[count]:.2f}",
                     f"{took:.2f}"])  # fmt: skip
    head = ["processes and cores", "images/s", "CPU ms/image", "rounds", "servers' ms/image",
            "cores used"]  # fmt: skip
    wall, by_cpu = rate[2] / rate[1], 2 * cpu[1] / cpu[2]
    print(measure.table(head, rows))
    print(f"wall rate: {wall:.2f}x from 1 to 2 processes and cores, servers on the same cores; "
          f"work a CPU second of img2ds does, times two: {by_cpu:.2f}x")  # fmt: skip
    measure.keep(QUESTION, {
        "scheme": options.scheme, "short": options.short, "long": options.long,
        "rounds": {
            str(count): [{"cpu": one.cpu, "rate": one.rate, "servers": one.servers} for one in some]
            for count, some in rounds.items()
        },
        "wall_ratio": wall, "cpu_ratio": by_cpu, "servers": "on the same cores",
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", choices=("http", "https"), default="https")
    parser.add_argument("--short", type=int, default=2000, help="URLs of the short list")
    parser.add_argument("--long", type=int, default=8000, help="URLs of the long list")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not 2 * tools.SHARD <= options.short < options.long:
        parser.error(f"--short must be at least {2 * tools.SHARD}, and below --long")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        world.stop("this benchmark needs two cores")
    world.enter()
    measure.warn_when_busy()
    urls = make_urls(options.scheme, options.long)
    rounds: dict[int, list[Round]] = {1: [], 2: []}
    with (
        tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name,
        web.serve(urls, open_corpus()) as servers,
    ):
        warm, short, long = (
            write_list(urls[:count], Path(name, f"{count}.parquet"))
            for count in (WARM_UP, options.short, options.long)
        )
        tool = tools.img2ds(servers)
        tool.run(warm, Path(name, "warm"))
        for _ in range(options.rounds):
            for count, some in rounds.items():
                confine(set(cores[:count]))
                flags = {**tool.flags, "processes_count": str(count)}
                some.append(one_round(dataclasses.replace(tool, flags=flags), (short, long)))
                last = some[-1]
                print(f"  {count}: {last.rate:.0f} images/s, {last.cpu:.2f} ms", flush=True)
    report(rounds, options)


if __name__ == "__main__":
    main()
