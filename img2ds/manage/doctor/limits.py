"""What the kernel and the container allow: cores, memory, open files, processes, ports, conntrack.

Linux tells it in /proc and /sys; elsewhere most checks find nothing to say.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from img2ds.downloader.process import descriptors_needed
from img2ds.engine.cores import usable_cores
from img2ds.manage.doctor.finding import Finding, Level

#: Bytes that a worker process takes with the default --memory_budget.
PROCESS_BYTES = 300_000_000
#: New connections per second of a worker at full speed: most URLs of a list are of another host.
CONNECTIONS_PER_SECOND = 800
#: Where the kernel keeps a closed connection: 60 s as a port, twice that in conntrack by default.
TIME_WAIT = 120


@dataclass(frozen=True, slots=True)
class Load:
    """What a run asks of the machine.

    Attributes:
        processes: worker processes.
        slots: requests in flight for each.
        proxy: whether all connections go to one address.
        root: the root of /proc and /sys.
    """

    processes: int
    slots: int
    proxy: bool = False
    root: Path = Path("/")

    def read(self, path: str) -> list[int]:
        """Return the numbers in a file of the kernel; none if it is not there, or says "max"."""
        try:
            return [int(word) for word in (self.root / path).read_text().split()]
        except (OSError, ValueError):
            return []


def limits(load: Load) -> Iterator[Finding]:
    """Check all limits."""
    yield cores(load, usable_cores(), os.cpu_count() or 1)
    yield from memory(load)
    yield open_files(load, *resource.getrlimit(resource.RLIMIT_NOFILE))
    yield from all_open_files(load)
    yield from processes(load)
    yield from ports(load)
    yield from conntrack(load)


def cores(load: Load, usable: int, there: int) -> Finding:
    """Compare the processes with the cores that this process may use, out of those there are."""
    words = f"{usable} usable" + ("" if usable == there else f" of {there} (affinity, cgroup)")
    if load.processes > usable:
        return Finding(
            "cores", Level.NOTE, f"{words}; --processes_count {load.processes}",
            f"more processes than cores gain nothing: --processes_count {usable}",
        )  # fmt: skip
    return Finding("cores", Level.OK, f"{words}; {load.processes} processes")


def memory(load: Load) -> Iterator[Finding]:
    """Compare the memory of the processes with what the machine or the cgroup has."""
    available = _available_memory(load.root)
    cgroup = load.read("sys/fs/cgroup/memory.max") or load.read(
        "sys/fs/cgroup/memory/memory.limit_in_bytes"
    )
    if available is None and not cgroup:
        return
    least = min(value for value in (available, *cgroup) if value is not None)
    needed = load.processes * PROCESS_BYTES
    words = f"{least / 1e9:.1f} GB available, {needed / 1e9:.1f} GB needed"
    if needed <= least:
        yield Finding("memory", Level.OK, words)
        return
    fitting = max(1, least // PROCESS_BYTES)
    yield Finding(
        "memory", Level.BAD, words,
        f"lower --processes_count to {fitting}, or give the job more memory",
    )  # fmt: skip


def _available_memory(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None
    )


def open_files(load: Load, soft: int, hard: int) -> Finding:
    """Check the limit of a process; workers raise the soft one to the hard one themselves."""
    needed = descriptors_needed(load.slots)
    limit = math.inf if hard == resource.RLIM_INFINITY else hard
    words = f"limit {'none' if limit == math.inf else f'{hard:,}'}, {needed:,} needed a process"
    if needed <= limit:
        return Finding("open files", Level.OK, words)
    return Finding(
        "open files", Level.BAD, words,
        f"ulimit -Hn {max(needed, 65536)} as root, LimitNOFILE= of systemd, or docker's --ulimit "
        f"nofile={max(needed, 65536)}; or a lower --thread_count",
    )  # fmt: skip


def all_open_files(load: Load) -> Iterator[Finding]:
    """Check the limit of the whole machine."""
    used, *_, most = load.read("proc/sys/fs/file-nr") or (0, 0)
    needed = load.processes * descriptors_needed(load.slots)
    if most and used + needed > most:
        yield Finding(
            "open files", Level.BAD, f"{most:,} on this machine, {used + needed:,} needed",
            f"sysctl -w fs.file-max={2 * (used + needed)}",
        )  # fmt: skip


def processes(load: Load) -> Iterator[Finding]:
    """Check how many processes and threads may be started."""
    threads = 12 * load.processes
    found = [value for value in load.read("sys/fs/cgroup/pids.max") if value]
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if hard != resource.RLIM_INFINITY:
        found.append(hard)
    if found and min(found) < threads:
        yield Finding(
            "threads", Level.BAD, f"limit {min(found):,}, {threads:,} needed",
            "raise it: ulimit -u, docker's --pids-limit, or TasksMax= of systemd",
        )  # fmt: skip


def ports(load: Load) -> Iterator[Finding]:
    """Check the local ports: connections to one address need one each, and keep it for a minute."""
    low, high = load.read("proc/sys/net/ipv4/ip_local_port_range") or (0, 0)
    if not low:
        return
    there = high - low + 1
    needed = load.processes * load.slots
    words = f"{there:,} local ports"
    if not load.proxy or needed <= there // 2:
        yield Finding("ports", Level.OK, f"{words} for each address")
        return
    yield Finding(
        "ports", Level.BAD, f"{words}, {needed:,} connections to the proxy at once",
        "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or a lower --thread_count",
    )  # fmt: skip


def conntrack(load: Load) -> Iterator[Finding]:
    """Check the table of connections that a firewall or NAT on this machine keeps."""
    (most,) = load.read("proc/sys/net/netfilter/nf_conntrack_max")[:1] or (0,)
    if not most:
        yield Finding("conntrack", Level.OK, "not in use on this machine")
        return
    (used,) = load.read("proc/sys/net/netfilter/nf_conntrack_count")[:1] or (0,)
    name = "nf_conntrack_tcp_timeout_time_wait"
    (keeps,) = load.read(f"proc/sys/net/netfilter/{name}")[:1] or (TIME_WAIT,)
    needed = load.processes * (CONNECTIONS_PER_SECOND * keeps + load.slots)
    words = f"{most:,} connections, {used:,} in use; at full speed up to {needed:,}"
    if used + needed <= most:
        yield Finding("conntrack", Level.OK, words)
        return
    # A run finds the pace that the table bears, and loses no row: it is slower.
    yield Finding(
        "conntrack", Level.NOTE, words,
        f"sysctl -w net.netfilter.nf_conntrack_max={2 ** math.ceil(math.log2(used + needed))} "
        f"net.netfilter.{name}=10, or no tracking of outgoing packets (iptables -t raw, NOTRACK)",
    )  # fmt: skip
