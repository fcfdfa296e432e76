"""Images that end the process which decodes them: see `sitecustomize`."""

from __future__ import annotations

import struct

from tests.server.good_image import good_image


def fatal(how: bytes, data: bytes | None = None) -> bytes:
    """Return a JPEG with a comment that makes decoders fatal: `abort`, `exhaust` or `spin`.

    Args:
        data: the JPEG, a small one if not given.
    """
    text = b"fatal: " + how
    data = data or good_image()
    return data[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[2:]
