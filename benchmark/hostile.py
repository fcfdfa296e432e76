"""How does img2ds do on the hostile web: successes, rate, and are its slots ever idle?

One row in ten has a dead host, three in twenty are gone, others are late, slow or have a wrong
certificate (`hostile_web` has the shares). Runs with several numbers of slots show which fixed
number does best; img2dataset runs on the same rows, with its retries.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from benchmark import hostile_web, measure, peer, tools, web, world
from benchmark.answers import Ports, Rule
from benchmark.certificates import Authority
from benchmark.corpus import open_corpus
from benchmark.end_to_end import write_list
from benchmark.measure import Usage
from benchmark.tools import Tool
from img2ds.config.options import NetworkOptions

QUESTION = "hostile"
PROBE = Path(__file__).parent / "probe"
#: Seconds that an attempt at a dead host takes, the default of both tools.
TIMEOUT = 10.0
#: Default of slots a process for img2ds.
DEFAULT = NetworkOptions().thread_count
#: Seconds after which a worker's slots count: all can have their first row by then.
WARM_UP = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """A run, its images by URL, and the share of slot time that was busy (of img2ds only)."""

    tool: str
    slots: int
    used: Usage
    images: frozenset[str]
    reasons: dict[str, int]
    busy: float | None

    @property
    def rate(self) -> float:
        """Images a second of wall time."""
        return self.used.images / self.used.wall


@contextmanager
def serving() -> Iterator[web.Web]:
    """The servers of `hostile_web`, in a process of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="img2ds-web-")))
        authority = Authority()
        # Hosts of another domain show this certificate too, which is wrong for them.
        authority.write_certificates(["*.good.example", "www.example.com"], folder)
        bundle = folder / "authorities.pem"
        known = authority.write_bundle(bundle, with_system=True)
        command = [sys.executable, "-m", "benchmark.hostile_web",
                   str(folder / "*.good.example.crt"), str(folder / "key.pem")]  # fmt: skip
        stack.enter_context(web.running(command, folder / "servers.log", web.is_up))
        world.check_names()
        rule = Rule({}, frozenset(), Ports.of([]))
        yield web.Web(rule, bundle, known, folder / "none")


def run(tool: Tool, slots: int, url_list: Path, flags: dict[str, str]) -> Result:
    """One run of `tool` with that many slots a process."""
    with tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name:
        output, probe = Path(name, "out"), Path(name, "probe")
        probe.mkdir()
        tool = dataclasses.replace(
            tool, flags={**tool.flags, **flags, "thread_count": str(slots)},
            environment={
                **tool.environment,
                **({"IMG2DS_PROBE": str(probe), "PYTHONPATH": str(PROBE)}
                   if tool.name == "img2ds" else {}),
            },
        )  # fmt: skip
        used = tool.run(url_list, output)
        reasons = dict(measure.count(output).reasons)
        tracks = [_track(path) for path in sorted(probe.iterdir())]
        share = busy(tracks, slots) if tracks else None
        result = Result(tool.name, slots, used, _images(output), reasons, share)
    print(f"  {tool.name} {slots}: {used.images} images in {used.wall:.0f} s", flush=True)
    return result


def _images(output: Path) -> frozenset[str]:
    found: set[str] = set()
    for path in output.glob("*[0-9].parquet"):
        rows = pq.read_table(path, columns=["url", "status"]).to_pylist()
        found.update(row["url"] for row in rows if row["status"] == "success")
    return frozenset(found)


def _track(path: Path) -> list[tuple[float, float, int]]:
    lines = (line.split() for line in path.read_text().splitlines())
    return [(float(words[0]), float(words[1]), int(words[2])) for words in lines if len(words) == 3]


def busy(tracks: list[list[tuple[float, float, int]]], slots: int) -> float:
    """The share of slot time that was busy while a worker had rows that were not begun.

    What comes after is the last rows' running out, which takes up to a time-out a try.
    """
    spent = passed = 0.0
    for track in tracks:
        rows = track[-1][2]
        kept = [one for one in track if one[0] >= track[0][0] + WARM_UP and one[2] < rows]
        if kept:
            spent += kept[-1][1] - kept[0][1]
            passed += kept[-1][0] - kept[0][0]
    return spent / passed / slots if passed else 0.0


def report(results: list[Result], urls: list[str], options: argparse.Namespace) -> None:
    """Print the tables and keep the numbers."""
    best_peer = max((r for r in results if r.tool == "img2dataset"), key=_rate, default=None)
    ours = [r for r in results if r.tool == "img2ds"]
    best = max(ours, key=_rate)
    theirs = frozenset[str]().union(*(r.images for r in results if r.tool == "img2dataset"))
    there = frozenset(filter(hostile_web.is_image, urls))
    rows = []
    for result in results:
        lost = len(theirs - result.images)
        share = "" if result.busy is None else f"{result.busy:.1%}"
        name = f"{result.tool}, {tools.PROCESSES} x {result.slots}"
        rows.append([name, str(len(result.images)),
                     str(len(there - result.images)), str(lost), f"{result.used.wall:.0f}",
                     f"{result.rate:.0f}", f"{result.used.cpu_per_image:.1f}", share])  # fmt: skip
    head = ["tool and slots", "images", "of images missed", "lost to img2dataset",
            "wall s", "images/s", "CPU ms/image", "slots busy"]  # fmt: skip
    print(
        f"\n{len(urls)} rows of {options.hosts} hosts, {len(there)} of them images; "
        f"both tools with {options.retries} retries"
    )
    print(measure.table(head, rows))
    default = next((r for r in ours if r.slots == DEFAULT), best)
    print(f"failures with {default.slots} slots: {Counter(default.reasons).most_common()}")
    ratio = default.rate / best_peer.rate if best_peer else None
    if best_peer and ratio:
        print(f"img2ds with {default.slots} slots has {ratio:.2f}x the wall rate of img2dataset at "
              f"its best ({best_peer.slots} threads), with {best.slots} it has "
              f"{best.rate / best_peer.rate:.2f}x; whole runs")  # fmt: skip
    print("rates are soft: the servers share the machine's cores with the tools")
    measure.keep(QUESTION, {
        "rows": len(urls), "pictures": len(there), "hosts": options.hosts,
        "retries": options.retries, "ratio": ratio, "default": default.slots,
        "runs": [
            {"tool": r.tool, "slots": r.slots, "wall": r.used.wall,
             "cpu": r.used.cpu, "images": len(r.images), "missed": len(there - r.images),
             "busy": r.busy, "reasons": r.reasons}
            for r in results
        ],
    })  # fmt: skip


def _rate(result: Result) -> float:
    return result.rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--hosts", type=int, default=hostile_web.HOSTS)
    parser.add_argument("--slots", default="256,384,512", help="of img2ds, a process")
    parser.add_argument("--peer_slots", default="256", help="of img2dataset; empty for none")
    parser.add_argument("--retries", type=int, default=1, help="of both tools")
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    options = parser.parse_args()
    peer_slots = [int(word) for word in options.peer_slots.split(",") if word]
    if peer_slots:
        peer.program(options.peer_venv)
    open_corpus()  # drawing it takes longer than the servers may take to start
    world.enter()
    measure.warn_when_busy()
    urls = hostile_web.make_urls(options.rows, options.hosts)
    # Long shards: img2dataset waits at the end of each, and that should not decide here.
    flags = {"retries": str(options.retries), "timeout": f"{TIMEOUT:.0f}",
             "number_sample_per_shard": str(-(-options.rows // (2 * tools.PROCESSES)))}  # fmt: skip
    with serving() as servers, tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name:
        url_list = write_list(urls, Path(name, "list.parquet"))
        warm = write_list(urls[:50], Path(name, "warm.parquet"))
        ours = tools.img2ds(servers)
        run(ours, 64, warm, {})
        results = [run(ours, int(word), url_list, flags) for word in options.slots.split(",")]
        if peer_slots:
            theirs = tools.img2dataset(servers, options.peer_venv)
            results += [run(theirs, slots, url_list, flags) for slots in peer_slots]
    report(results, urls, options)


if __name__ == "__main__":
    main()
