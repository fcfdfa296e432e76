"""First inputs of each harness, made by the encoders of the tests."""

from __future__ import annotations

import numpy as np

from tests.image.jpeg_faults import END_FAULTS, HEADER_FAULTS
from tests.laion.wat import wat_records
from tests.server.encodings import (
    cmyk_progressive,
    jpeg,
    jpeg_444,
    jpeg_cmyk,
    jpeg_grey,
    jpeg_progressive,
)  # fmt: skip
from tests.server.photos import photo


def _jpegs() -> list[bytes]:
    """Small ones: a mutation is then more likely to matter."""
    bodies = [
        make(photo(seed, width, height))
        for seed, make in enumerate((jpeg, jpeg_444, jpeg_grey, jpeg_progressive))
        for width, height in ((8, 8), (40, 24), (67, 35))
    ]
    bodies += [
        fault(bodies[-1]) for faults in (HEADER_FAULTS, END_FAULTS) for fault in faults.values()
    ]
    seeds = [bytes([8 * number % 32 + number % 8]) + body for number, body in enumerate(bodies)]
    inks = [jpeg_cmyk(photo(9, 40, 24)), cmyk_progressive(photo(9, 40, 24))]
    return seeds + [bytes([32 + side]) + body for side in range(4) for body in inks]


def _rows() -> list[bytes]:
    """PNG rows of every filter."""
    random = np.random.default_rng(0)
    found = []
    for channels in range(1, 5):
        for width in (1, 7, 40):
            rows = random.integers(0, 256, (10, 1 + width * channels), np.uint8)
            rows[:, 0] = np.arange(10) % 5
            found.append(bytes([width - 1, channels - 1]) + rows.tobytes())
    return found


def _numbers() -> list[bytes]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, 32, np.uint8).tobytes() for _ in range(64)]


def _wats() -> list[bytes]:
    """A byte chooses what reads it, see fuzz_wat.c."""
    links = [
        wat_records.image("/a/b.jpg", "A caption"),
        wat_records.image("//c.example/d.png?e=f"),
        wat_records.image("g.gif", "\u00e9\u2028 \U0001f600", "data-src"),
        {"path": "A@/href", "url": "//c.example/e.MP3?f", "text": "A song"},
        {"path": "A@/href", "url": "http://creativecommons.org/licenses/by/2.0/", "rel": "license"},
    ]
    documents = [
        wat_records.response(links),
        wat_records.response(links, old=True, head={"Base": "/x/", "Link": links}),
        wat_records.metadata("deu"),
    ]
    urls = b"\0".join([b" a.jpg", b"/b?c", b"//d.example/e", b"https://f.example", b"data:image/g"])
    return [
        *(
            mode + wat_records.dump(document)
            for document in documents
            for mode in (b"\x02", b"\x06", b"\x0a")  # images, files, every image
        ),
        *(b"\x01" + wat_records.record(wat_records.dump(document)) for document in documents),
        b"\0" + wat_records.wat(documents)[:400],
        b"\x03" + urls,
        b"\x07\x1f"
        + b"\0".join([b"/b.gif", b"a  text", b"//d.example/e", "\u2018é\u2019".encode()]),
    ]


def _texts() -> list[bytes]:
    return ["Red car \u2013 caf\u00e9".encode(), "\u8d64\u3044\u3000\U0001f600 \U00020000".encode()]


SEEDS = {
    "jpeg": _jpegs,
    "png": _rows,
    "planes": _numbers,
    "resample": _numbers,
    "wat": _wats,
    "english": _texts,
}
