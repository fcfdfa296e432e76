"""How much CPU does an image cost, from URL to shard, beside img2dataset?

Both tools run by turns on the same lists of pictures that are all there, on loopback. What an
image costs is the slope between a short and a long list, so that starting up does not count.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark import measure, peer, tools, web, world
from benchmark.corpus import Corpus, open_corpus
from benchmark.measure import Usage
from benchmark.tools import Tool

QUESTION = "end_to_end"
#: Host names of a list: a real one has a new host every second URL, a browser's cache does not.
HOSTS = 300
#: Rows of the first run of each tool, which is thrown away: it compiles and fills caches.
WARM_UP = 50


def make_urls(scheme: str, count: int) -> list[str]:
    """`count` URLs over `HOSTS` hosts, no two alike."""
    return [f"{scheme}://www.host{n % HOSTS:03d}.example/pictures/{n}.jpg" for n in range(count)]


def write_list(urls: list[str], path: Path) -> Path:
    """A parquet list with captions."""
    captions = [f"A landscape, number {n}, as it was drawn" for n in range(len(urls))]
    pq.write_table(pa.table({"URL": urls, "TEXT": captions}), path)
    return path


class Comparison:
    """Rounds of runs on a short and a long list."""

    def __init__(self, contenders: list[Tool], lists: tuple[Path, Path], folder: Path) -> None:
        self._tools = contenders
        self._lists = lists
        self._folder = folder
        self._runs = 0
        self.rounds: dict[str, list[tuple[Usage, Usage]]] = defaultdict(list)

    def run(self, tool: Tool, url_list: Path) -> Usage:
        """One run into a folder of its own, which is removed."""
        self._runs += 1
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            used = tool.run(url_list, Path(output) / "out")
        if used.images == 0:
            world.stop(f"{tool.name} wrote no image")
        return used

    def round(self) -> None:
        """Every tool once on each list, by turns."""
        short, long = ([self.run(tool, path) for tool in self._tools] for path in self._lists)
        for tool, one, other in zip(self._tools, short, long, strict=True):
            self.rounds[tool.name].append((one, other))
            print(f"  {tool.name}: {measure.slope(one, other):.2f} ms of CPU an image", flush=True)


def compare(scheme: str, corpus: Corpus, options: argparse.Namespace) -> None:
    """One scheme: run, print, keep."""
    urls = make_urls(scheme, options.long)
    with (
        tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name,
        web.serve(
            urls, corpus, workers=options.workers,
            system_authorities=not options.own_authority_only,
        ) as servers,
    ):  # fmt: skip
        folder = Path(name)
        contenders = [tools.img2ds(servers), tools.img2dataset(servers, options.peer_venv)]
        lists = tuple(
            write_list(urls[:count], folder / f"{count}.parquet")
            for count in (WARM_UP, options.short, options.long)
        )
        comparison = Comparison(contenders, (lists[1], lists[2]), folder)
        for tool in contenders:
            comparison.run(tool, lists[0])
        known = f", verified among {servers.authorities} authorities" if scheme == "https" else ""
        print(f"\n{scheme}{known}: {options.short} and {options.long} URLs", flush=True)
        for _ in range(options.rounds):
            comparison.round()
    report(scheme, comparison.rounds, options)


def report(
    scheme: str, rounds: dict[str, list[tuple[Usage, Usage]]], options: argparse.Namespace
) -> None:
    """Print the table of one scheme and keep its numbers."""
    slopes = {name: [measure.slope(*pair) for pair in pairs] for name, pairs in rounds.items()}
    cost = {name: measure.middle(values) for name, values in slopes.items()}
    rows, kept = [], {}
    for name, pairs in rounds.items():
        long = [pair[1] for pair in pairs]
        whole = measure.middle([used.cpu_per_image for used in long])
        wall = measure.middle([measure.wall_slope(*pair) for pair in pairs])
        peak = max(used.peak_rss for used in long)
        spread = f"{min(slopes[name]):.2f}-{max(slopes[name]):.2f}"
        rows.append([name, f"{cost[name]:.2f}", spread, f"{whole:.2f}", f"{wall:.2f}",
                     f"{peak / 1e6:.0f}", str(long[-1].images)])  # fmt: skip
        kept[name] = {
            "cpu_ms_per_image": cost[name], "slopes": slopes[name], "whole_run_ms": whole,
            "wall_ms_per_image": wall, "peak_rss": peak, "images": long[-1].images,
        }  # fmt: skip
    ratio = cost["img2dataset"] / cost["img2ds"]
    head = ["tool", "CPU ms/image", "rounds", "whole run", "wall ms/image", "peak MB", "images"]
    print(measure.table(head, rows))
    print(f"img2ds takes {ratio:.2f}x less CPU an image than img2dataset over {scheme}")
    measure.keep(QUESTION, {
        "scheme": scheme, "short": options.short, "long": options.long, "rounds": options.rounds,
        "img2dataset": peer.version(options.peer_venv), "system_authorities":
        not options.own_authority_only, "tools": kept, "ratio": ratio,
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", choices=("http", "https", "both"), default="both")
    parser.add_argument("--short", type=int, default=1000, help="URLs of the short list")
    parser.add_argument("--long", type=int, default=4000, help="URLs of the long list")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes of the web server")
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    parser.add_argument(
        "--own_authority_only", action="store_true",
        help="trust the benchmark's authority alone, not the system's beside it",
    )  # fmt: skip
    options = parser.parse_args()
    least = tools.PROCESSES * tools.SHARD
    if not least <= options.short < options.long:
        parser.error(f"--short must be at least {least}, a shard a process, and below --long")
    peer.program(options.peer_venv)
    world.enter()
    measure.warn_when_busy()
    corpus = open_corpus()
    print(f"{len(corpus.pictures)} pictures, {corpus.mean_size / 1000:.1f} kB on average")
    for scheme in ("http", "https") if options.scheme == "both" else (options.scheme,):
        compare(scheme, corpus, options)


if __name__ == "__main__":
    main()
