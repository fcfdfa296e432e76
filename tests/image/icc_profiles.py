"""Small ICC profiles (ICC.1:2010, 7 to 10)."""

from __future__ import annotations

import struct

#: The colours of sRGB's primaries in a profile's own space (IEC 61966-2-1, adapted to D50).
RED, GREEN, BLUE = (
    (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410),
)  # fmt: skip
_WHITE = (0.9642, 1.0, 0.8249)
_SRGB = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


_SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + _fixed(*_SRGB)


def _colour(xyz: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*xyz)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, 2, 28) + b"\0x\0\0"
    tags = {b"desc": text, b"cprt": text, b"wtpt": _colour(_WHITE), **tags}
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    header = struct.pack(">I4sI4s4s4s", 128 + len(body), b"\0\0\0\0", 0x04200000,
                         b"mntr", space, b"XYZ ")  # fmt: skip
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(*_WHITE)
    return header.ljust(128, b"\0") + body


def rgb_profile(
    red: tuple[float, ...] = RED,
    green: tuple[float, ...] = GREEN,
    blue: tuple[float, ...] = BLUE,
    gamma: float | None = None,
) -> bytes:
    """A display profile with the given primaries, and sRGB's curve or a power."""
    curve = _SRGB_CURVE if gamma is None else b"para" + bytes(8) + _fixed(gamma)
    return _profile(b"RGB ", {
        b"rXYZ": _colour(red), b"gXYZ": _colour(green), b"bXYZ": _colour(blue),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    })  # fmt: skip


def grey_profile(gamma: float) -> bytes:
    """Levels of grey by a power."""
    return _profile(b"GRAY", {b"kTRC": b"para" + bytes(8) + _fixed(gamma)})


def srgb_level(light: float) -> float:
    """The level, 0 to 255, of an amount of light, 0 to 1."""
    linear = 12.92 * light
    return 255 * (linear if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


def table_profile(kind: bytes, points: int, table: bytes) -> bytes:
    """A profile of RGB by a lookup table of three colours, with `points` a side."""
    if kind == b"mAB ":  # curves that change nothing for the results, and the table alone
        curves = 3 * (b"curv" + bytes(8))
        data = bytes([3, 3, 0, 0]) + struct.pack(">5I", 32, 0, 0, 32 + len(curves), 0) + curves
        data += bytes([points] * 3).ljust(16, b"\0") + b"\2\0\0\0" + table
    elif kind == b"mpet":
        data = struct.pack(">HHIII", 3, 3, 1, 24, 28 + len(table)) + b"clut" + bytes(4)
        data += struct.pack(">HH", 3, 3) + bytes([points] * 3).ljust(16, b"\0") + table
    else:
        data = bytes([3, 3, points, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
        curve = bytes(range(256)) if kind == b"mft1" else b"\0\0\xff\xff"
        data += (b"\0\2\0\2" if kind == b"mft2" else b"") + 3 * curve + table + 3 * curve
    name = b"D2B1" if kind == b"mpet" else b"A2B1"
    profile = _profile(b"RGB ", {name: kind + bytes(4) + data})
    return profile[:20] + b"Lab " + profile[24:]
