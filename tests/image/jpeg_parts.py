"""JPEGs put together from segments: kinds that no encoder here writes (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def assemble(*parts: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


def split(body: bytes) -> list[bytes]:
    """A JPEG cut before each of its markers, entropy-coded data with the marker before it."""
    cuts, at = [0], 2
    while body[at + 1] != 0xD9:
        cuts.append(at)
        at += 2 + struct.unpack_from(">H", body, at + 2)[0]
        while body[at] != 0xFF or body[at + 1] in (0, *range(0xD0, 0xD8)):
            at += 1
    ends = [*cuts[1:], at, len(body)]
    return [body[start:end] for start, end in zip([*cuts, at], ends, strict=True)]


def quantisation(step: int) -> bytes:
    return segment(0xDB, bytes([0, *[step] * 64]))


def frame(marker: int, width: int, height: int, sampling: int = 0x11) -> bytes:
    """Of one component."""
    return segment(marker, struct.pack(">BHHB3B", 8, height, width, 1, 1, sampling, 0))


def code(place: int, *symbols: bytes) -> bytes:
    """A Huffman table: `symbols` by the lengths of their codes, from 1 on."""
    counts = [len(some) for some in symbols] + [0] * (16 - len(symbols))
    return segment(0xC4, bytes([place, *counts]) + b"".join(symbols))


def scan(bits: str, first: int = 0, last: int = 63, shifts: int = 0, components: int = 1) -> bytes:
    """Of all components, by tables 0."""
    padded = bits + "1" * (-len(bits) % 8)
    data = int("1" + padded, 2).to_bytes(len(padded) // 8 + 1, "big")[1:]
    tables = b"".join(bytes([i + 1, 0]) for i in range(components))
    header = bytes([components]) + tables + bytes([first, last, shifts])
    return segment(0xDA, header) + data.replace(b"\xff", b"\xff\0")


#: "0" means no difference, and the end of a block.
ZEROS = code(0x00, b"\0") + code(0x10, b"\0")


def lossless(pixels: Pixels, marker: int = 0xC3) -> bytes:
    """A lossless JPEG, grey [height, width] or RGB [height, width, 3].

    Each sample is predicted by the one before it (T.81, H.1.2.1). The sizes of the differences, 0
    to 8, have codes of four bits.
    """
    height, width = pixels.shape[:2]
    samples = pixels.reshape(height, width, -1).astype(int)
    predicted = np.empty_like(samples)
    predicted[:, 1:] = samples[:, :-1]
    predicted[1:, 0] = samples[:-1, 0]
    predicted[0, 0] = 128
    bits = []
    for difference in (samples - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        value = difference if difference > 0 else difference + (1 << size) - 1
        bits.append(f"{size:04b}" + (f"{value:0{size}b}" if size else ""))
    channels = samples.shape[2]
    parts = b"".join(bytes([i + 1, 0x11, 0]) for i in range(channels))
    return assemble(
        segment(marker, struct.pack(">BHHB", 8, height, width, channels) + parts),
        code(0x00, b"", b"", b"", bytes(range(9))),
        scan("".join(bits), 1, 0, components=channels),
    )
