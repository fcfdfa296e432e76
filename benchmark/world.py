"""A private world for a benchmark: Linux namespaces with nothing in them but a loopback device.

Real lists name real hosts on ports 80 and 443. In here these ports are free, every name leads to
the benchmark's own servers, and no packet can leave. What was started in here dies with it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import NoReturn

#: Where the world's name server answers.
NAME_SERVER = "127.0.0.53"
#: The address of every name.
SERVER = "127.0.0.1"

#: linux/prctl.h
_PR_SET_PDEATHSIG = 1
_INSIDE = "IMG2DS_BENCHMARK_WORLD"
_RESOLV_CONF = Path("/etc/resolv.conf")


def need(program: str, package: str) -> str:
    """The path of a program of the system; ends the benchmark in one line when it is missing."""
    # Debian keeps servers out of an ordinary user's PATH.
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        stop(f"this benchmark needs {program}: apt-get install {package}")
    return path


def stop(line: str) -> NoReturn:
    """Exit with a one-line message."""
    sys.exit(f"error: {line}")


def enter() -> None:
    """Run this program again, inside. Returns only there; every benchmark calls it first."""
    if _INSIDE not in os.environ:
        sys.exit(_run_inside())
    # The first process of a namespace is deaf to signals that it has no handler for.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    _check_closed()
    _ip("link", "set", "lo", "up")
    with tempfile.NamedTemporaryFile("w", prefix="resolv-", delete=False) as file:
        file.write(f"nameserver {NAME_SERVER}\n")
    Path(file.name).chmod(0o644)
    try:
        subprocess.run([need("mount", "mount"), "--bind", file.name, str(_RESOLV_CONF)], check=True)
    except subprocess.CalledProcessError:
        stop(f"cannot put a name server of the benchmark's own into {_RESOLV_CONF}")
    finally:
        Path(file.name).unlink()


def _run_inside() -> int:
    """This program's exit code in new namespaces, which end when this process does."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = [need("unshare", "util-linux"), *as_root, "--net", "--mount", "--pid", "--fork",
               "--kill-child", "--mount-proc", sys.executable, *sys.orig_argv[1:]]  # fmt: skip
    need("ip", "iproute2")
    sys.stdout.flush()
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        command,
        env={**os.environ, _INSIDE: "1"},
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        # unshare itself blocks signals; its only child is the program.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the program as well
    return process.wait()


def add_addresses(addresses: Iterable[str]) -> None:
    """Give the loopback device addresses that a list spells out, so that they lead here too."""
    for address in addresses:
        if not ipaddress.ip_address(address).is_loopback:
            _ip("address", "add", f"{address}/32", "dev", "lo")


def set_name_servers(addresses: Iterable[str]) -> None:
    """Name other servers in the world's own resolv.conf, for all that runs in it."""
    if "\n".join(_lines("/proc/self/mountinfo")).count(f" {_RESOLV_CONF} ") == 0:
        stop(f"{_RESOLV_CONF} is not the benchmark's own")
    _RESOLV_CONF.write_text("".join(f"nameserver {address}\n" for address in addresses))


def check_names() -> None:
    """Make sure, before any tool is let loose, that names are answered by the world's server."""
    _check_closed()
    if _RESOLV_CONF.read_text() != f"nameserver {NAME_SERVER}\n":
        stop(f"{_RESOLV_CONF} is not the benchmark's own")
    found = {info[4][0] for info in socket.getaddrinfo("www.example.com", 80)}
    if found != {SERVER}:
        stop(f"www.example.com is looked up as {found}, not as {SERVER}")


def _check_closed() -> None:
    """Stop unless every route of this network namespace is on the loopback device."""
    devices = {line.split()[0] for line in _lines("/proc/net/route")[1:]}
    devices |= {line.split()[-1] for line in _lines("/proc/net/ipv6_route")}
    if devices - {"lo"}:
        stop(f"not in a network namespace of its own: there are routes through {devices}")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _ip(*arguments: str) -> None:
    subprocess.run([need("ip", "iproute2"), *arguments], check=True)
