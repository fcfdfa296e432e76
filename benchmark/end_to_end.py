"""How much CPU does an image cost, from URL to shard, against img2dataset and the floor?

All run in turn on the same lists of images, none of them missing, on loopback. The cost of an
image is the slope between a short and a long list, so that start-up does not count. The cost of
a stage is measured by leaving it out: the runs are repeated without writing, and then without
any image processing.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections import defaultdict
from collections.abc import Mapping
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
#: The stages that a run leaves out, beginning with none.
WITHOUT: dict[str, Mapping[str, str]] = {
    "nothing": {},
    "writing": {"output_format": "dummy"},
    "writing and pictures": {
        "output_format": "dummy", "disable_all_reencoding": "True", "extract_exif": "False",
        "compute_hash": "None",
    },
}  # fmt: skip
STAGES = ("fetching", "pictures", "writing")
#: The long list of img2dataset's runs without stages, over https: it takes minutes else.
FEW = 2000


def make_urls(scheme: str, count: int) -> list[str]:
    """`count` URLs over `HOSTS` hosts, no two alike."""
    return [f"{scheme}://www.host{n % HOSTS:03d}.example/pictures/{n}.jpg" for n in range(count)]


def write_list(urls: list[str], path: Path) -> Path:
    """A parquet list with captions."""
    captions = [f"A landscape, number {n}, as it was drawn" for n in range(len(urls))]
    pq.write_table(pa.table({"URL": urls, "TEXT": captions}), path)
    return path


class Comparison:
    """Rounds of runs on a short and a long list.

    Attributes:
        rounds: by tool, the runs on both lists of every round.
        without: by tool and what was left out, the runs on both lists.
    """

    def __init__(self, contenders: list[Tool], lists: Mapping[int, Path], folder: Path) -> None:
        self._tools = contenders
        self._lists = lists
        self._folder = folder
        self.rounds: dict[str, list[tuple[Usage, Usage]]] = defaultdict(list)
        self.without: dict[str, dict[str, float]] = defaultdict(dict)

    def run(self, tool: Tool, count: int) -> Usage:
        """One run into a temporary folder."""
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            used = tool.run(self._lists[count], Path(output) / "out")
        if used.images != count:
            world.stop(f"{tool.name} has {used.images} of {count} images")
        return used

    def round(self, short: int, long: int) -> None:
        """Every tool once on each list, by turns."""
        runs = [[self.run(tool, count) for tool in self._tools] for count in (short, long)]
        for tool, one, other in zip(self._tools, *runs, strict=True):
            self.rounds[tool.name].append((one, other))
            print(f"  {tool.name}: {measure.slope(one, other):.2f} ms of CPU an image", flush=True)

    def leave_out(self, short: int, long: int, few: Mapping[str, int]) -> None:
        """The runs that leave stages out, every tool by turns."""
        for left_out, flags in WITHOUT.items():
            if not flags:
                continue
            for tool in self._tools:
                partly = dataclasses.replace(tool, flags={**tool.flags, **flags})
                runs = [self.run(partly, count) for count in (short, few.get(tool.name, long))]
                self.without[tool.name][left_out] = measure.slope(*runs)

    def stages(self, name: str, whole: float) -> dict[str, float]:
        """Milliseconds of CPU an image by stage."""
        fetching = self.without[name]["writing and pictures"]
        unwritten = self.without[name]["writing"]
        return dict(zip(STAGES, (fetching, unwritten - fetching, whole - unwritten), strict=True))


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
        contenders = [
            tools.img2ds(servers), tools.img2dataset(servers, options.peer_venv),
            tools.floor(servers),
        ]  # fmt: skip
        few = {"img2dataset": min(FEW, options.long)} if scheme == "https" else {}
        lists = {
            count: write_list(urls[:count], folder / f"{count}.parquet")
            for count in (WARM_UP, options.short, *few.values(), options.long)
        }
        comparison = Comparison(contenders, lists, folder)
        for tool in contenders:
            comparison.run(tool, WARM_UP)
        known = f", verified among {servers.authorities} authorities" if scheme == "https" else ""
        print(f"\n{scheme}{known}: {options.short} and {options.long} URLs", flush=True)
        for _ in range(options.rounds):
            comparison.round(options.short, options.long)
        if options.stages:
            comparison.leave_out(options.short, options.long, few)
    report(scheme, comparison, options)


def report(scheme: str, comparison: Comparison, options: argparse.Namespace) -> None:
    """Print the table of one scheme and keep its numbers."""
    rows, kept, cost = [], {}, {}
    for name, pairs in comparison.rounds.items():
        slopes = [measure.slope(*pair) for pair in pairs]
        cost[name] = measure.middle(slopes)
        long = [pair[1] for pair in pairs]
        whole = measure.middle([used.cpu_per_image for used in long])
        wall = measure.middle([measure.wall_slope(*pair) for pair in pairs])
        peak = max(used.peak_rss for used in long)
        stages = comparison.stages(name, cost[name]) if comparison.without else {}
        rows.append([name, *(f"{stages[stage]:.2f}" if stages else "-" for stage in STAGES),
                     f"{cost[name]:.2f}", f"{min(slopes):.2f}-{max(slopes):.2f}", f"{whole:.2f}",
                     f"{wall:.2f}", f"{peak / 1e6:.0f}", str(long[-1].images)])  # fmt: skip
        kept[name] = {
            "cpu_ms_per_image": cost[name], "slopes": slopes, "stages": stages,
            "whole_run_ms": whole, "wall_ms_per_image": wall, "peak_rss": peak,
            "images": long[-1].images,
        }  # fmt: skip
    head = ["CPU ms/image", *STAGES, "all", "rounds", "whole run", "wall ms", "peak MB", "images"]
    print(measure.table(head, rows))
    ratio, floor = cost["img2dataset"] / cost["img2ds"], cost["img2ds"] / cost["floor"]
    core = 1000 / cost["img2ds"]
    print(f"over {scheme} img2ds takes {ratio:.2f}x less CPU an image than img2dataset and "
          f"{floor:.3f}x the floor; a core is good for {core:.0f} images/s")  # fmt: skip
    measure.keep(QUESTION, {
        "scheme": scheme, "short": options.short, "long": options.long, "rounds": options.rounds,
        "img2dataset": peer.version(options.peer_venv), "system_authorities":
        not options.own_authority_only, "tools": kept, "ratio": ratio, "to_floor": floor,
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", choices=("http", "https", "both"), default="both")
    parser.add_argument("--short", type=int, default=1000, help="URLs of the short list")
    parser.add_argument("--long", type=int, default=4000, help="URLs of the long list")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--stages", action=argparse.BooleanOptionalAction, default=True,
        help="run again without stages, to tell what each costs",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="processes of the web server")
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    parser.add_argument(
        "--own_authority_only", action="store_true",
        help="trust only the benchmark's authority, not the system's",
    )  # fmt: skip
    options = parser.parse_args()
    least = tools.PROCESSES * tools.SHARD
    if not least <= options.short < options.long:
        parser.error(f"--short must be at least {least}, a shard a process, and below --long")
    peer.program(options.peer_venv)
    world.enter()
    measure.warn_when_busy()
    corpus = open_corpus()
    print(f"{len(corpus.images)} images, {corpus.mean_size / 1000:.1f} kB on average")
    for scheme in ("http", "https") if options.scheme == "both" else (options.scheme,):
        compare(scheme, corpus, options)


if __name__ == "__main__":
    main()
