"""`make demo`: img2ds over a sample web on loopback, counted, and one sheet to look at.

A few hundred photo-like images of all kinds under twelve host names, one link in seven broken.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import webdataset as wds
from PIL import Image, ImageDraw, ImageOps

from tests.server.sample_web import BackgroundWeb, Link, draw_all, links

IMAGES = 300
FOLDER = Path("demo")
#: Of the contact sheet: images in a row, the side of each, the height of a line of text, and the
#: letters of a line of a caption.
COLUMNS, SIDE, LINE, LETTERS = 14, 112, 14, 19


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    rows = list(links(IMAGES))
    urls, shards = FOLDER / "urls.csv", FOLDER / "shards"
    write_list(urls, rows)
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
    sheet = FOLDER / "contact_sheet.jpg"
    contact_sheet(shards, sheet)
    print(
        f"\nthe shards are in {shards}/, all images and failures on one sheet: {sheet}\n"
        "train on them: .venv/bin/pip install torch && "
        f".venv/bin/python examples/02_train_from_webdataset.py {shards}\n"
        "try other commands on the same web: make serve"
    )
    return 0


def write_list(path: Path, rows: list[Link]) -> None:
    """Write the links and their captions as csv."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "caption"))
        writer.writerows((row.url, row.caption) for row in rows)


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
    """Draw the centers of all images with their captions, in order of their keys, and below them
    the URLs that failed, by reason: one JPEG of less than 1 MB."""
    tars = sorted(map(str, shards.glob("*.tar")))
    samples = wds.WebDataset(tars, shardshuffle=False).decode("pil")
    images = sorted(
        ((s["__key__"], without_border(s["jpg"], s["json"]), s["txt"]) for s in samples),
        key=lambda sample: str(sample[0]),
    )
    failed = failures(shards)
    cell = SIDE + 2 * LINE + 6
    top = -(-len(images) // COLUMNS) * cell
    size = (COLUMNS * SIDE, top + (len(failed) + 2) * (LINE + 4))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place, (_, image, caption) in enumerate(images):
        left, upper = place % COLUMNS * SIDE, place // COLUMNS * cell
        sheet.paste(ImageOps.fit(image, (SIDE - 4, SIDE - 4)), (left, upper))
        lines = textwrap.wrap(caption, LETTERS, max_lines=2, placeholder=" …")
        draw.multiline_text((left, upper + SIDE - 2), "\n".join(lines), "black", font_size=11)
    for line, text in enumerate(["Failed:", *failed]):
        lower = top + LINE // 2 + line * (LINE + 4)
        draw.text((4, lower), text[:250], "black", font_size=13)
    sheet.save(path, quality=55)


def without_border(image: Image.Image, row: dict[str, Any]) -> Image.Image:
    """Cut off the border that `--resize_mode border` has added."""
    sides = row["original_width"], row["original_height"]
    width, height = (round(image.width * side / max(sides)) for side in sides)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def failures(shards: Path) -> list[str]:
    """Return a line for each reason: how many rows failed, and some of their URLs."""
    table = ds.dataset(sorted(map(str, shards.glob("*.parquet")))).to_table(["url", "reason"])
    found: dict[str, list[str]] = {}
    for url, reason in zip(*(table[name].to_pylist() for name in ("url", "reason")), strict=True):
        if reason is not None:
            found.setdefault(reason, []).append(url)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [f"{len(urls)} {reason}:  {'   '.join(urls[:3])}" for reason, urls in ordered]


if __name__ == "__main__":
    sys.exit(main())
