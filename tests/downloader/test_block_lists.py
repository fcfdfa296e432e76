"""Whole runs with block lists: blocked rows cost no request, and are counted by their reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds.core.failure import UsageError
from img2ds.image.pdq import pdq_hash
from tests.server.encodings import jpeg
from tests.server.photos import photo
from tests.server.sample_web import BackgroundWeb, SampleWeb
from tests.server.web import Peer, Request, reply

IMAGES = [jpeg(photo(number, 40, 30)) for number in range(12)]


class NotingWeb(SampleWeb):
    """Remembers the URLs that were asked for; `/to/HOST/PATH` redirects."""

    def __init__(self) -> None:
        super().__init__(IMAGES)
        self.asked: list[str] = []

    async def respond(self, request: Request, peer: Peer) -> bool:
        self.asked.append(f"{request.host}{request.target}")
        if request.path.startswith("/to/"):
            await peer.send(reply(status=302, location=f"http://{request.path[4:]}"))
            return True
        return await super().respond(request, peer)


class Background(BackgroundWeb):
    def __init__(self) -> None:
        super().__init__([])
        self.web = self.noting = NotingWeb()


URLS = [
    "http://good.example/photo/1.jpg", "http://good.example/photo/2.jpg",
    "https://good.example/photo/3.jpg", "http://img.bad.example/photo/4.jpg",
    "http://bad.example/photo/4.jpg", "http://other.example/photo/5.jpg",
    "http://other.example/to/bad.example/photo/4.jpg",
    "http://other.example/to/good.example/photo/6.jpg", "http://other.example/photo/7.jpg",
]  # fmt: skip
REASONS = {
    URLS[1]: "blocklisted_url", URLS[2]: "blocklisted_url", URLS[3]: "blocklisted_host",
    URLS[4]: "blocklisted_host", URLS[5]: "blocklisted_hash", URLS[6]: "blocklisted_host",
}  # fmt: skip
#: A hash of the image in another size.
COPY = pdq_hash(cv2.resize(photo(5, 40, 30), (80, 60))).bytes.hex()  # type: ignore[union-attr]
#: What may be asked for.
ASKED = [
    "good.example/photo/1.jpg", "good.example/photo/6.jpg", "other.example/photo/5.jpg",
    "other.example/photo/7.jpg", "other.example/to/bad.example/photo/4.jpg",
    "other.example/to/good.example/photo/6.jpg",
]  # fmt: skip


def lists(folder: Path, kind: str = "md5") -> dict[str, str]:
    for name, lines in {
        "urls": ["http://good.example/photo/2.jpg", "http://good.example/photo/3.jpg"],
        "hosts": ["bad.example"],
        "hashes": [f"pdq:{COPY}" if kind == "pdq" else hashlib.new(kind, IMAGES[5]).hexdigest()],
    }.items():
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return {f"block_{name}": str(folder / f"{name}.txt") for name in ("urls", "hosts", "hashes")}


def flags(folder: Path, address: str, **more: Any) -> dict[str, Any]:
    (folder / "list.txt").write_text("".join(f"{url}\n" for url in URLS))
    return {
        "url_list": str(folder / "list.txt"), "output_folder": str(folder / "out"),
        "output_format": "webdataset", "processes_count": 1, "connect_to": f"::{address}",
        "allow_private_addresses": True, "number_sample_per_shard": 4, **more,
    }  # fmt: skip


def reasons(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if row["reason"] is not None:
                found[row["url"]] = row["reason"]
    return found


@pytest.mark.parametrize(
    ("kind", "computed"), [("md5", "sha256"), ("sha256", "sha256"), ("pdq", "sha256")]
)
def test_blocked_rows(tmp_path: Path, kind: str, computed: str) -> None:
    with Background() as address:
        report = img2ds.download(
            **flags(tmp_path, address, compute_hash=computed, **lists(tmp_path, kind))
        )
    assert report.exit_code == 0
    assert reasons(tmp_path / "out") == REASONS
    assert report.tally.reasons == Counter(REASONS.values())
    counted: Counter[str] = Counter()
    for path in (tmp_path / "out").glob("*_stats.json"):
        marker = json.loads(path.read_text())
        assert marker["count"] == marker["successes"] + sum(marker["reasons"].values())
        counted.update(marker["reasons"])
    assert counted == Counter(REASONS.values())


@pytest.mark.parametrize("more", [{}, {"disable_all_reencoding": True}])
def test_a_column_of_perceptual_hashes(tmp_path: Path, more: dict[str, Any]) -> None:
    with Background() as address:
        report = img2ds.download(**flags(tmp_path, address, compute_pdq=True, max_rows=2, **more))
        with pytest.raises(UsageError, match="compute_pdq"):
            img2ds.download(**flags(tmp_path, address, max_rows=2, **more))
    assert report.exit_code == 0
    (rows,) = (pq.read_table(path).to_pylist() for path in (tmp_path / "out").glob("*.parquet"))
    for row in rows:
        number = int(row["url"].rpartition("/")[2].removesuffix(".jpg"))
        pixels = np.asarray(cv2.imdecode(np.frombuffer(IMAGES[number], np.uint8), 1))
        own = pdq_hash(pixels[:, :, ::-1])
        assert own is not None
        assert (int(row["pdq"], 16) ^ int(own.bytes.hex(), 16)).bit_count() <= 2, row["url"]


def test_blocked_rows_cost_no_request(tmp_path: Path) -> None:
    web = Background()
    with web as address:
        img2ds.download(**flags(tmp_path, address, **lists(tmp_path)))
    assert sorted(web.noting.asked) == ASKED


def test_a_stream(tmp_path: Path) -> None:
    failed: dict[str, str] = {}
    with Background() as address:
        given = flags(tmp_path, address, **lists(tmp_path))
        for name in ("output_folder", "output_format", "number_sample_per_shard"):
            del given[name]
        stream = img2ds.stream(
            **given, on_failure=lambda row: failed.update({row["url"]: row["reason"]})
        )
        assert len(list(stream)) == len(URLS) - len(REASONS)
    assert failed == REASONS


def test_a_folder_that_was_begun_without_lists_is_resumed(tmp_path: Path) -> None:
    """The lists hold for what is downloaded from now on."""
    with Background() as address:
        img2ds.download(**flags(tmp_path, address, max_rows=4))
        shutil.copytree(tmp_path / "out", tmp_path / "before")
        (tmp_path / "out" / "00000_stats.json").unlink()
        report = img2ds.download(**flags(tmp_path, address, max_rows=4, **lists(tmp_path)))
    assert report.exit_code == 0
    assert reasons(tmp_path / "before").get(URLS[1]) is None
    assert reasons(tmp_path / "out")[URLS[1]] == "blocklisted_url"


def test_a_bad_list_ends_the_run_before_anything_is_downloaded(tmp_path: Path) -> None:
    (tmp_path / "hosts.txt").write_text("http://a.example/x.jpg\n")
    with pytest.raises(UsageError, match=r"--block_hosts: .*hosts.txt, line 1: .* is not a host"):
        img2ds.download(**flags(tmp_path, "127.0.0.1:9", block_hosts=str(tmp_path / "hosts.txt")))
    assert not (tmp_path / "out").exists()
