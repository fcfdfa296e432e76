"""TUN devices in two network namespaces, with the addresses and routes that join them.

The servers' namespace is the caller's; the tool's belongs to another process. Both begin empty,
so the only way out of either is its TUN device, and that ends in this process.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
from pathlib import Path

from benchmark.network_list import SERVERS
from benchmark.world import need, stop

TOOL_ADDRESS, TOOL_DEVICE, WEB_DEVICE = "198.18.0.2", "tool0", "web0"
#: Of the tool, in a block of RFC 3849; packets to others end at the router.
_TOOL_IPV6 = "2001:db8::2"
#: linux/if_tun.h
_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001
#: linux/sched.h
_CLONE_NEWNET = 0x40000000


def open_web_side() -> int:
    """Create the servers' device in this namespace and route the tool's address to it."""
    device = _open(WEB_DEVICE)
    ip("route", "replace", "local", SERVERS, "dev", "lo")
    ip("link", "set", WEB_DEVICE, "up")
    ip("route", "replace", f"{TOOL_ADDRESS}/32", "dev", WEB_DEVICE)
    # Else one world's losses would set the first window of the next one's connections.
    Path("/proc/sys/net/ipv4/tcp_no_metrics_save").write_text("1")
    return device


def open_tool_side(keeper: int, *, ipv6: bool, up: bool) -> int:
    """Enter the network namespace of process `keeper`, for good, and create the tool's device."""
    with open(f"/proc/{keeper}/ns/net", "rb") as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    device = _open(TOOL_DEVICE)
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{TOOL_ADDRESS}/32", "dev", TOOL_DEVICE)
    if ipv6:
        ip("address", "add", f"{_TOOL_IPV6}/64", "dev", TOOL_DEVICE, "nodad")
    if up:
        set_tool_device(up=True)
        if ipv6:
            ip("-6", "route", "add", "default", "dev", TOOL_DEVICE)
    devices = {line.split(":")[0].strip() for line in _device_lines()}
    if not devices <= {"lo", TOOL_DEVICE}:
        stop(f"the tool's network namespace has other devices: {devices}")
    return device


def set_tool_device(*, up: bool) -> None:
    """Set the tool's device up, with a default route, or down."""
    ip("link", "set", TOOL_DEVICE, "up" if up else "down")
    if up:
        ip("route", "replace", "default", "dev", TOOL_DEVICE)


def ip(*arguments: str) -> None:
    """Run iproute2's `ip`."""
    subprocess.run([need("ip", "iproute2"), *arguments], check=True)


def _device_lines() -> list[str]:
    return Path("/proc/net/dev").read_text().splitlines()[2:]


def _open(name: str) -> int:
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    except OSError as error:
        stop(f"cannot create the TUN device {name}: {error.strerror}")
    return device
