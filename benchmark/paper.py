"""Is the paper's link full, with CPU to spare?

The LAION-400M paper had 1 Gbit/s for 16 cores; two cores' share is 125 Mbit/s. img2ds runs in a
network namespace of its own, behind a link that `tc tbf` holds to that rate.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark import measure, tools, web, world
from benchmark.corpus import open_corpus
from benchmark.end_to_end import make_urls, write_list
from benchmark.measure import Usage
from benchmark.watch import Watch
from benchmark.world import need

QUESTION = "paper"
#: The link's ends; a block that RFC 2544 sets aside for benchmarks.
SERVER, CLIENT = "198.18.0.1", "198.18.0.2"
DEVICE, FAR_DEVICE = "paper0", "paper1"
#: The paper: bits a second and cores, images of its dataset.
PAPER_RATE, PAPER_CORES, PAPER_IMAGES = 1e9, 16, 100e6
#: Bytes that tbf lets through at once, enough for one offloaded packet of 64 KiB; and the
#: seconds that a packet may wait in its queue.
BURST, LATENCY = 131_072, 0.05
INTERVAL = 0.25
#: Share of the run, at both ends, that does not count: starting, and the last rows' running out.
ENDS = 0.15


@contextmanager
def link(mbit: float) -> Iterator[list[str]]:
    """A namespace behind a shaped link; gives the words that run a command in it."""
    ip, tc = need("ip", "iproute2"), need("tc", "iproute2")
    dnsmasq, nsenter = need("dnsmasq", "dnsmasq-base"), need("nsenter", "util-linux")
    keeper = subprocess.Popen(
        [need("unshare", "util-linux"), "--net", "sh", "-c", "echo; exec sleep infinity"],
        stdout=subprocess.PIPE,
    )
    names = None
    try:
        assert keeper.stdout is not None
        keeper.stdout.readline()  # the namespace is there
        inside = [nsenter, f"--net=/proc/{keeper.pid}/ns/net"]
        rate = ["rate", f"{mbit}mbit", "burst", str(BURST), "latency", f"{LATENCY * 1000:.0f}ms"]
        far = [*inside, ip]
        for words in (
            [ip, "link", "add", DEVICE, "type", "veth", "peer", "name", FAR_DEVICE],
            [ip, "link", "set", FAR_DEVICE, "netns", str(keeper.pid)],
            [ip, "address", "add", f"{SERVER}/30", "dev", DEVICE],
            [ip, "link", "set", DEVICE, "up"],
            [*far, "link", "set", "lo", "up"],
            [*far, "address", "add", f"{CLIENT}/30", "dev", FAR_DEVICE],
            [*far, "link", "set", FAR_DEVICE, "up"],
            [tc, "qdisc", "add", "dev", DEVICE, "root", "tbf", *rate],
        ):
            subprocess.run(words, check=True)
        names = subprocess.Popen(
            [*inside, dnsmasq, "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
             "--bind-interfaces", f"--listen-address={world.NAME_SERVER}", "--local-ttl=300",
             "--local=/#/", f"--address=/#/{SERVER}", "--pid-file="],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.5)
        if names.poll() is not None:
            world.stop("dnsmasq does not come up behind the link")
        yield inside
    finally:
        for process in filter(None, (names, keeper)):
            process.kill()
            process.wait()


def sent() -> int:
    """Bytes that tbf has let through, as it counts them: with Ethernet headers."""
    words = [need("tc", "iproute2"), "-s", "-j", "qdisc", "show", "dev", DEVICE]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return sum(int(queue["bytes"]) for queue in json.loads(done.stdout) if queue["kind"] == "tbf")


def middle_rate(seen: list[tuple[float, int]]) -> float:
    """Bits a second over the middle of the time in which bytes flowed."""
    moving = [
        place for place in range(1, len(seen)) if seen[place][1] - seen[place - 1][1] > 100_000
    ]
    if len(moving) < 10:
        world.stop("the run was too short: give it more --rows")
    first, last = seen[moving[0]][0], seen[moving[-1]][0]
    cut = ENDS * (last - first)
    kept = [(now, total) for now, total in seen if first + cut <= now <= last - cut]
    return 8 * (kept[-1][1] - kept[0][1]) / (kept[-1][0] - kept[0][0])


def report(used: Usage, cpu: float, rate: float, sent_bytes: int, mbit: float) -> None:
    """Print what was measured, then what follows from it, and keep the numbers."""
    cores = len(os.sched_getaffinity(0))
    share = used.cpu / used.wall / cores
    bits = 8 * sent_bytes / used.images
    per_second = rate / bits
    head = ["link Mbit/s", "through it", "full", "images/s", "kB an image on the wire",
            "CPU ms/image", f"CPU of {cores} cores"]  # fmt: skip
    print(measure.table(head, [[
        f"{mbit:.0f}", f"{rate / 1e6:.1f}", f"{rate / 1e6 / mbit:.1%}", f"{per_second:.0f}",
        f"{bits / 8000:.1f}", f"{cpu:.2f}", f"{share:.0%}",
    ]]))  # fmt: skip
    gigabit = PAPER_RATE / bits
    needed = gigabit * cpu / 1000
    by_link = PAPER_IMAGES / gigabit / 3600
    by_cpu = PAPER_IMAGES * cpu / 1000 / PAPER_CORES / 3600
    print(f"measured: the rate over the middle {1 - 2 * ENDS:.0%} of the run, CPU of all of "
          "img2ds's processes; the servers, outside the link, share the cores")  # fmt: skip
    print(f"extrapolated, at {bits / 8000:.0f} kB and {cpu:.2f} ms an image: 1 Gbit/s carries "
          f"{gigabit:.0f} images/s and takes {needed:.1f} cores; {PAPER_IMAGES / 1e6:.0f} M images "
          f"take {by_link:.1f} h over that link, {by_cpu:.1f} h of {PAPER_CORES} cores without "
          "one")  # fmt: skip
    measure.keep(QUESTION, {
        "mbit": mbit, "rate": rate, "full": rate / 1e6 / mbit, "images_per_second": per_second,
        "images": used.images, "wall": used.wall, "cpu": used.cpu, "cpu_ms_per_image": cpu,
        "cpu_share": share, "bytes_per_image": bits / 8,
        "extrapolated": {"cores_for_1_gbit": needed, "hours_by_link": by_link,
                         "hours_by_16_cores": by_cpu},
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", choices=("http", "https"), default="https")
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--mbit", type=float, default=125.0)
    options = parser.parse_args()
    if options.rows < 4000:
        parser.error("--rows must be at least 4000: less never fills the link for long")
    world.enter()
    measure.warn_when_busy()
    urls = make_urls(options.scheme, options.rows)
    corpus = open_corpus()
    with (
        tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name,
        # The server's address is one of the list's for the servers' ears only.
        web.serve([*urls[:600], f"http://{SERVER}/"], corpus) as servers,
        link(options.mbit) as inside,
    ):
        folder = Path(name)
        tool = tools.img2ds(servers)
        tool = dataclasses.replace(tool, command=(*inside, *tool.command))
        short = tool.run(write_list(urls[:1000], folder / "short.parquet"), folder / "short")
        url_list = write_list(urls, folder / "long.parquet")
        before = sent()
        with Watch(sent, INTERVAL) as watch:
            used = tool.run(url_list, folder / "long")
        total = sent() - before
        report(used, measure.slope(short, used), middle_rate(watch.seen), total, options.mbit)


if __name__ == "__main__":
    main()
