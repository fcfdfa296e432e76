"""Whole runs with --respect_robots: one request a host over all processes, and exact counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import img2ds
from tests.server.encodings import jpeg
from tests.server.photos import photo
from tests.server.sample_web import BackgroundWeb, SampleWeb
from tests.server.web import Peer, Request, reply

IMAGE = jpeg(photo(1, 40, 30))
ROWS = 20


class RobotsWeb(SampleWeb):
    """Hosts that answer robots.txt as their names say; images come from all."""

    def __init__(self) -> None:
        super().__init__([IMAGE] * ROWS)
        self.asked: Counter[str] = Counter()

    async def respond(self, request: Request, peer: Peer) -> bool:
        host = request.host.partition(".")[0]
        if request.path != "/robots.txt":
            return await super().respond(request, peer)
        self.asked[host] += 1
        if host == "reset" and self.asked[host] == 1:
            peer.reset()
            return False
        rules = b"User-agent: *\nDisallow: /photo/1\n" if host == "some" else b""
        status = {"none": 404, "error": 503}.get(host, 200)
        await peer.send(reply(rules, status=status, content_type="text/plain"))
        return True


class Background(BackgroundWeb):
    def __init__(self) -> None:
        super().__init__([])
        self.web = self.robots = RobotsWeb()


def download(folder: Path, hosts: list[str], **more: Any) -> tuple[Counter[str], Counter[str]]:
    """How often each host was asked for robots.txt, and the rows by host and reason."""
    urls = [f"http://{host}.example/photo/{n}.jpg" for n in range(ROWS) for host in hosts]
    (folder / "list.txt").write_text("".join(f"{url}\n" for url in urls))
    web = Background()
    with web as address:
        report = img2ds.download(
            str(folder / "list.txt"), output_folder=str(folder / "out"),
            output_format="webdataset", processes_count=2, number_sample_per_shard=10,
            connect_to=f"::{address}", allow_private_addresses=True, respect_robots=True, **more,
        )  # fmt: skip
    found: Counter[str] = Counter()
    for path in (folder / "out").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found[f"{row['url'].split('/')[2].partition('.')[0]} {row['reason']}"] += 1
    assert found.total() == report.tally.count == len(urls)
    return web.robots.asked, found


def test_one_request_a_host_whatever_the_processes(tmp_path: Path) -> None:
    asked, found = download(tmp_path, ["some", "none", "error", "all"])
    assert asked == {"some": 1, "none": 1, "error": 1, "all": 1}
    assert found == {
        "some None": 9, "some disallowed_by_robots": 11,  # 1, and 10 to 19
        "none None": ROWS, "all None": ROWS, "error robots_unavailable": ROWS,
    }  # fmt: skip


def test_a_fault_of_the_network_loses_no_row(tmp_path: Path) -> None:
    asked, found = download(tmp_path, ["reset"], retries=1)
    assert found == {"reset None": ROWS}
    assert asked == {"reset": 2}
