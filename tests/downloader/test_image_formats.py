"""Whole runs over images of every format: what is asked for, stored, and kept when resuming."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import img2ds
from img2ds.config.image import FIRST_IMAGE_FORMATS
from img2ds.core.state import MANIFEST
from tests.downloader.test_job import flags, samples, write_list
from tests.server.encodings import avif, bmp, gif, jpeg, jpeg2000, png, pnm, tiff, webp
from tests.server.photos import photo
from tests.server.sample_web import BackgroundWeb
from tests.server.web import Peer, Request

MAKERS = (jpeg, png, webp, gif, avif, bmp, tiff, jpeg2000, pnm)
BODIES = [make(photo(number, 40, 30)) for number, make in enumerate(MAKERS)]
ONE = {"processes_count": 1, "number_sample_per_shard": 3, "image_size": 16}


def listed(folder: Path) -> Path:
    return write_list(folder / "list.txt", stop=len(BODIES))


def test_every_format_is_asked_for_and_kept(tmp_path: Path) -> None:
    web = BackgroundWeb(BODIES)
    asked: Counter[str] = Counter()
    respond = web.web.respond

    async def noted(request: Request, peer: Peer) -> bool:
        asked[request.headers.get("accept", "")] += 1
        return await respond(request, peer)

    web.web.respond = noted  # type: ignore[method-assign]
    with web as address:
        report = img2ds.download(**flags(address, listed(tmp_path), tmp_path / "out", **ONE))
    assert report.tally.successes == len(BODIES)
    (header,) = asked
    assert "image/avif" in header


def test_originals_have_the_extension_of_the_encode_format(tmp_path: Path) -> None:
    """As img2dataset stores them, whatever they are."""
    more = ONE | {"disable_all_reencoding": True}
    with BackgroundWeb(BODIES) as address:
        img2ds.download(**flags(address, listed(tmp_path), tmp_path / "out", **more))
    stored = {name: data for name, data in samples(tmp_path / "out").items()
              if name.endswith(".jpg")}  # fmt: skip
    assert sorted(stored.values()) == sorted(BODIES)


def test_a_folder_keeps_the_formats_that_it_was_begun_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = ONE | {"image_formats": list(FIRST_IMAGE_FORMATS)}
    with BackgroundWeb(BODIES) as address:
        img2ds.download(**flags(address, listed(tmp_path), out, **first))
        manifest = (out / MANIFEST).read_text()
        for path in out.glob("00001*"):
            path.unlink()
        report = img2ds.download(**flags(address, listed(tmp_path), out, **ONE))
    assert (report.shards_before, report.shards_committed) == (2, 1)
    assert (out / MANIFEST).read_text() == manifest
    reasons = json.loads((out / "00001_stats.json").read_text())["reasons"]
    assert reasons == {"unwanted_format": 2}
