"""`make demo`: img2ds over a sample web on loopback, counted, and one PNG to look at.

A few hundred photo-like images of all kinds under twelve host names, one link in seven broken.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.dataset as ds
import webdataset as wds
from PIL import Image

from tests.server.sample_web import BackgroundWeb, Link, draw_all, links

IMAGES = 300
FOLDER = Path("demo")
#: Of the contact sheet: images in a row, and the side of each in pixels.
COLUMNS, SIDE = 20, 112


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    rows = list(links(IMAGES))
    urls, shards = FOLDER / "urls.csv", FOLDER / "shards"
    with urls.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "caption"))
        writer.writerows((row.url, row.caption) for row in rows)
    print(f"drawing {IMAGES} images ...", flush=True)
    with BackgroundWeb(draw_all(IMAGES)) as address:
        command = [
            sys.executable, "-m", "img2ds",
            "--url_list", str(urls), "--caption_col", "caption",
            "--output_folder", str(shards), "--output_format", "webdataset",
            "--number_sample_per_shard", "100", "--image_size", "256",
            "--connect_to", f"::{address}", "--allow_private_addresses",
        ]  # fmt: skip
        print(f"serving them and {len(rows) - IMAGES} broken links on {address}\n")
        print("$ img2ds " + " ".join(command[3:]) + "\n", flush=True)
        code = subprocess.run(command, check=False).returncode
    if code:
        return code
    check(rows, shards)
    sheet = FOLDER / "contact_sheet.png"
    contact_sheet(shards, sheet)
    print(f"\nthe shards are in {shards}/, all images on one sheet: {sheet}")
    return 0


def check(rows: list[Link], shards: Path) -> None:
    """Check the outcome of every row. Raises SystemExit if one is wrong."""
    table = ds.dataset(sorted(map(str, shards.glob("*.parquet")))).to_table(["url", "reason"])
    found = dict(zip(table["url"].to_pylist(), table["reason"].to_pylist(), strict=True))
    wrong = [(row, found.get(row.url)) for row in rows if found.get(row.url) != row.reason]
    for row, reason in wrong[:10]:
        print(f"{row.url} should be {row.reason or 'success'}, is {reason or 'success'}")
    counts: Counter[str] = Counter()
    for marker in shards.glob("*_stats.json"):
        stats = json.loads(marker.read_text())
        counts.update({name: stats[name] for name in ("count", "successes")})
    good = sum(row.reason is None for row in rows)
    if wrong or counts["count"] != len(rows) or counts["successes"] != good:
        raise SystemExit(f"the counts are wrong: {dict(counts)} of {len(rows)} rows, {good} good")
    print(f"\nall {len(rows)} rows are accounted for, each with the outcome it had to have")


def contact_sheet(shards: Path, path: Path) -> None:
    """All images of all tars, in order of their keys, as one PNG."""
    tars = sorted(map(str, shards.glob("*.tar")))
    samples = wds.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple("__key__", "jpg")
    images = sorted(((key, image) for key, image in samples), key=lambda pair: str(pair[0]))
    lines = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, lines * SIDE), "white")
    for place, (_, image) in enumerate(images):
        corner = (place % COLUMNS * SIDE, place // COLUMNS * SIDE)
        sheet.paste(image.resize((SIDE - 2, SIDE - 2), Image.Resampling.LANCZOS), corner)
    sheet.save(path)


if __name__ == "__main__":
    sys.exit(main())
