"""A run of good rows with hostile images among them, within the memory that decoding may take."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from img2ds.image import native
from tests.downloader.test_job import ROOT, Background, command, flags, write_list
from tests.server.good_image import good_image
from tests.server.image import png_chunk

ROWS, EVERY = 104, 13
#: Pixels a side of images that are as large as allowed.
SIDE = 9459


def flat_png(depth: int, colour: int, samples: int) -> bytes:
    """Zeros, a thousandth of their size."""
    ihdr = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + (SIDE * depth * samples + 7) // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(SIDE // 100))
    data += packer.compress(row * (SIDE % 100)) + packer.flush()
    chunks = ((b"IHDR", ihdr), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def flat_webp() -> bytes:
    """A lossless one of a single colour, in 40 bytes (RFC 9649, 3.4)."""
    fields = [(0x2F, 8), (SIDE - 1, 14), (SIDE - 1, 14), (0, 1), (0, 3), (0, 3)]
    fields += 5 * [(1, 4)]  # codes of one symbol, zero
    bits, at = 0, 0
    for value, count in fields:
        bits |= value << at
        at += count
    data = bits.to_bytes(20, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", 20) + data


#: Runs a command, and says how much memory the largest of its processes had at most, in kB.
PROGRAM = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("peak", code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run(images: list[bytes], folder: Path) -> tuple[int, Counter[str]]:
    """Download images; return the peak of the largest process, and the rows by status."""
    folder.mkdir()
    urls = write_list(folder / "list.txt", 0, len(images))
    with Background(images=images) as address:
        options = flags(address, urls, folder / "out", processes_count=1)
        arguments = command(options | {"number_sample_per_shard": len(images)})
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True
        )
    word, code, peak = done.stdout.splitlines()[-1].split()
    assert (word, code) == ("peak", "0"), done.stdout + done.stderr
    assert "died" not in done.stderr
    rows = pq.read_table(folder / "out" / "00000.parquet", columns=["status"]).column(0)
    return 1024 * int(peak), Counter(rows.to_pylist())


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.skipif(len(native.loaded()) < 4, reason="of the compiled parts")
def test_hostile_images_cost_no_more_than_their_memory(tmp_path: Path) -> None:
    """They are kept, as they are images; so are all good rows, and no worker dies."""
    hostile = [flat_png(1, 0, 1), flat_png(16, 2, 3), flat_webp(), flat_png(8, 6, 4)]
    images = [good_image()] * ROWS
    idle, _ = run(images[:EVERY], tmp_path / "good")
    for place in range(len(hostile) * 2):
        images[place * EVERY + 3] = hostile[place % len(hostile)]
    peak, statuses = run(images, tmp_path / "hostile")
    assert statuses == {"success": ROWS}
    assert peak - idle <= 512_000_000
