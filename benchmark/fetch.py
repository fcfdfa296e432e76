"""What does fetching alone cost, against other clients and the floor?

The bodies are counted and thrown away. Twice: with a new host name in each URL, where there is
nothing to keep, and over few hosts with connections kept alive. Each client is a process of its
own; an image's CPU is the slope between a short and a long list.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmark import measure, peer, web, world
from benchmark.corpus import Corpus, open_corpus
from benchmark.measure import Usage
from benchmark.web import Web

QUESTION = "fetch"
SLOTS = 64
#: Hosts of the lists where connections are kept.
KEPT_HOSTS = 16
#: Lists of the client that makes an SSL context a request are shorter by this, over https.
SLOW_SHARE = 4


@dataclass(frozen=True, slots=True)
class Client:
    """One of `benchmark.clients`, and whose Python has it."""

    title: str
    name: str
    is_ours: bool
    keeps: bool = True


CLIENTS = (
    Client("floor: bare sockets", "bare", True),
    Client("img2ds", "trio", True),
    Client("img2ds --fetcher asks", "asks", True, keeps=False),
    Client("pycurl, multi", "pycurl", False),
    Client("aiohttp", "aiohttp", False),
    Client("img2dataset's urllib, threads", "img2dataset", False, keeps=False),
)


def make_urls(scheme: str, kept: bool, count: int) -> list[str]:
    """`count` URLs, all different; with as many hosts, or with a few."""
    hosts = KEPT_HOSTS if kept else count
    return [f"{scheme}://www.host{n % hosts}.example/pictures/{n}.jpg" for n in range(count)]


def available(home: Path) -> list[Client]:
    """The clients that are installed; a line for each other."""
    found = []
    for client in CLIENTS:
        if client.is_ours or peer.has(home, client.name):
            found.append(client)
        else:
            print(f"{client.name} is not in {home.name}, left out: run python -m benchmark.peer")
    return found


def run(client: Client, urls: list[str], kept: bool, servers: Web, home: Path) -> Usage:
    """Fetch `urls`; ends the benchmark when one does not come."""
    python = sys.executable if client.is_ours else str(home / "bin" / "python")
    with tempfile.TemporaryDirectory() as name:
        listed, sums, used = (Path(name, part) for part in ("urls", "sums", "usage"))
        listed.write_text("\n".join(urls))
        command = [
            python, "-W", "ignore", "-m", "benchmark.clients", client.name, f"--urls={listed}",
            f"--sums={sums}", f"--ca_bundle={servers.ca_bundle}", f"--slots={SLOTS}",
            *(["--keep"] if kept else []),
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, str(measure.HERE / "usage.py"), str(used), *command],
            env={**os.environ, "SSL_CERT_FILE": str(servers.ca_bundle),
                 "NO_ALBUMENTATIONS_UPDATE": "1"},
            cwd=measure.HERE.parent, stderr=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        usage = json.loads(used.read_text())
        if usage["exit_code"]:
            world.stop(f"{client.title}: {done.stderr.strip().splitlines()[-1:]}")
        came = json.loads(sums.read_text())["bodies"]
    if came != len(urls):
        world.stop(f"{client.title}: {came} of {len(urls)} images came")
    return Usage(usage["wall"], usage["cpu"], int(usage["peak_rss"]), came, came)


def compare(
    scheme: str, kept: bool, clients: list[Client], corpus: Corpus, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Slopes of all rounds by client; those that keep nothing are left out where that counts."""
    slopes: dict[str, list[float]] = defaultdict(list)
    urls = make_urls(scheme, kept, options.long)
    with web.serve(urls, corpus) as servers:
        for client in clients:
            run(client, urls[:SLOTS], kept, servers, options.peer_venv)
        for _ in range(options.rounds):
            for client in clients:
                if kept and not client.keeps:
                    continue
                slow = scheme == "https" and client.name == "img2dataset"
                share = SLOW_SHARE if slow else 1
                short, long = (
                    run(client, urls[: count // share], kept, servers, options.peer_venv)
                    for count in (options.short, options.long)
                )
                slopes[client.title].append(measure.slope(short, long))
    return slopes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", choices=("http", "https", "both"), default="both")
    parser.add_argument("--short", type=int, default=500, help="URLs of the short list")
    parser.add_argument("--long", type=int, default=2500, help="URLs of the long list")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    options = parser.parse_args()
    world.enter()
    measure.warn_when_busy()
    clients, corpus = available(options.peer_venv), open_corpus()
    schemes = ("http", "https") if options.scheme == "both" else (options.scheme,)
    columns = {}
    for scheme in schemes:
        for kept in (False, True):
            title = f"{scheme}, {'kept' if kept else 'new'}"
            columns[title] = compare(scheme, kept, clients, corpus, options)
            words = (f"{name} {measure.middle(all_):.2f}" for name, all_ in columns[title].items())
            print(f"  {title}: {', '.join(words)}", flush=True)
    middles = {
        title: {name: measure.middle(values) for name, values in column.items()}
        for title, column in columns.items()
    }
    rows = [
        [client.title, *(_cell(client.title, column) for column in middles.values())]
        for client in clients
    ]
    print(f"\nms of CPU an image, {SLOTS} in flight (times the floor)")
    print(measure.table(["client", *middles], rows))
    measure.keep(QUESTION, {
        "short": options.short, "long": options.long, "rounds": options.rounds, "ms": middles,
        "slopes": columns,
    })  # fmt: skip


def _cell(name: str, column: dict[str, float]) -> str:
    if name not in column:
        return "-"
    return f"{column[name]:.2f} ({column[name] / column[CLIENTS[0].title]:.2f}x)"


if __name__ == "__main__":
    main()
