"""Hashes are those of the bytes, for any buffer type."""

from __future__ import annotations

import pytest

from img2ds.image.digest import make_digest

#: Of b"abc" (RFC 1321 A.5; FIPS 180-2 B.1, C.1).
KNOWN = {
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name: str) -> None:
    digest = make_digest(name)
    assert digest(b"abc") == KNOWN[name]
    assert digest(bytearray(b"abc")) == KNOWN[name]
    assert digest(memoryview(b"xabcx")[1:4]) == KNOWN[name]


def test_one_call_does_not_touch_the_next() -> None:
    digest = make_digest("sha256")
    digest(b"something else")
    assert digest(b"abc") == KNOWN["sha256"]
