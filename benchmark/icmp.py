"""ICMP errors for a user-space router (RFC 792)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

#: The router's own address.
ROUTER = IPv4Address("198.18.0.1").packed
_ICMP = 1
_UNREACHABLE, _HOST = 3, 1


def host_unreachable(packet: bytes) -> bytes:
    """Build the answer "destination unreachable: host unreachable" to an IPv4 packet."""
    # The header and 8 bytes tell the sender which connection is meant.
    quoted = packet[:28]
    message = struct.pack("!BBHI", _UNREACHABLE, _HOST, 0, 0) + quoted
    message = message[:2] + _checksum(message) + message[4:]
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, _ICMP, 0, ROUTER, packet[12:16]
    )
    return header[:10] + _checksum(header) + header[12:] + message


def _checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
