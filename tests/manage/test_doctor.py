"""`img2ds doctor`: each limit is found, and what to do about it is said."""

from __future__ import annotations

import json
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from img2ds import cli
from img2ds.config.network import NetworkOptions
from img2ds.manage.doctor import limits, surroundings
from img2ds.manage.doctor.finding import Finding, Level


def machine(root: Path, **files: str) -> limits.Load:
    """A machine whose kernel says so; `__` stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return limits.Load(processes=96, slots=256, root=root)


def only(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    return finding


CONNTRACK = "proc__sys__net__netfilter__nf_conntrack"


def test_cores() -> None:
    load = limits.Load(4, 256)
    assert limits.cores(load, 4, 64).text == "4 usable of 64 (affinity, cgroup); 4 processes"
    found = limits.cores(load, 2, 2)
    assert (found.level, found.advice[-19:]) == (Level.NOTE, "--processes_count 2")


@pytest.mark.parametrize(
    ("cgroup", "level", "advice"),
    [
        ("max", Level.OK, ""),
        ("3000000000", Level.BAD, "lower --processes_count to 10, or give the job more memory"),
    ],
)
def test_memory(tmp_path: Path, cgroup: str, level: Level, advice: str) -> None:
    load = machine(
        tmp_path, proc__meminfo="MemTotal: 9 kB\nMemAvailable:   50000000 kB\n",
        **{"sys__fs__cgroup__memory.max": cgroup},
    )  # fmt: skip
    found = only(limits.memory(load))
    assert (found.level, found.advice) == (level, advice)


def test_open_files() -> None:
    load = limits.Load(96, 256)
    assert limits.open_files(load, 1024, 840).level is Level.OK
    assert limits.open_files(load, 1024, resource.RLIM_INFINITY).level is Level.OK
    assert "ulimit -Hn 65536" in limits.open_files(load, 839, 839).advice


def test_open_files_of_the_machine(tmp_path: Path) -> None:
    load = machine(tmp_path, **{"proc__sys__fs__file-nr": "1000 0 80000"})
    assert only(limits.all_open_files(load)).text == "80,000 on this machine, 81,640 needed"
    machine(tmp_path, **{"proc__sys__fs__file-nr": "1000 0 9223372036854775807"})
    assert not list(limits.all_open_files(load))


def test_threads(tmp_path: Path) -> None:
    load = machine(tmp_path, **{"sys__fs__cgroup__pids.max": "1000"})
    assert "--pids-limit" in only(limits.processes(load)).advice


def test_ports_bound_proxies_alone(tmp_path: Path) -> None:
    load = machine(tmp_path, proc__sys__net__ipv4__ip_local_port_range="32768\t60999\n")
    assert only(limits.ports(load)).level is Level.OK
    behind = limits.Load(96, 256, proxy=True, root=tmp_path)
    assert only(limits.ports(behind)).level is Level.BAD


def test_conntrack(tmp_path: Path) -> None:
    assert only(limits.conntrack(machine(tmp_path))).text == "not in use on this machine"
    load = machine(tmp_path, **{f"{CONNTRACK}_max": "262144", f"{CONNTRACK}_count": "500"})
    found = only(limits.conntrack(load))
    assert found.level is Level.NOTE
    assert "nf_conntrack_max=16777216" in found.advice
    machine(tmp_path, **{f"{CONNTRACK}_tcp_timeout_time_wait": "2"})
    assert only(limits.conntrack(load)).level is Level.OK


def test_nothing_is_said_where_the_kernel_says_nothing(tmp_path: Path) -> None:
    load = machine(tmp_path)
    for check in (limits.memory, limits.all_open_files, limits.ports):
        assert not list(check(load))


@pytest.fixture
def name_server() -> Iterator[str]:
    """Answers every question with no record."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            query, client = server.recvfrom(512)
            server.sendto(query[:2] + b"\x81\x80" + query[4:], client)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_name_servers(name_server: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    options = NetworkOptions(dns_servers=(name_server, closed))
    first, second = surroundings.name_servers(options)
    assert (first.level, first.text) == (Level.OK, f"{name_server} answers")
    assert (second.level, second.text) == (Level.NOTE, f"{closed}: connection refused")
    options = NetworkOptions(dns_servers=(closed,))
    assert only(surroundings.name_servers(options)).level is Level.BAD
    assert only(surroundings.name_servers(options, proxied=True)).level is Level.NOTE


def test_proxies_without_their_passwords() -> None:
    found = only(
        surroundings.proxies(NetworkOptions(), {"http_proxy": "http://me:secret@p.example:3128"})
    )
    assert found.text == "p.example:3128"
    assert only(surroundings.proxies(NetworkOptions(), {})).text == "none"
    found = only(surroundings.proxies(NetworkOptions(), {"http_proxy": "socks5://p.example"}))
    assert (found.level, "SOCKS" in found.text) == (Level.BAD, True)


def test_disk(tmp_path: Path) -> None:
    (found,) = surroundings.disk(str(tmp_path / "not" / "there"))
    assert str(tmp_path) in found.text
    first, _ = surroundings.disk("s3://bucket/images")
    assert "is a service" in first.text


@pytest.mark.parametrize(("proxy", "code"), [("none", 0), ("http://127.0.0.1:1", 1)])
def test_the_command(
    proxy: str, code: int, name_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["doctor", "--proxy", proxy, "--dns_servers", name_server, "--processes_count", "1"]
    assert cli.run([*arguments, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is (code == 0)
    levels = {f["subject"]: f["level"] for f in document["findings"]}
    assert levels["proxy"] == ("bad" if code else "ok")


def test_the_page(capsys: pytest.CaptureFixture[str], name_server: str) -> None:
    assert cli.run(["doctor", "--dns_servers", name_server, "--processes_count", "1"]) == 0
    page = capsys.readouterr().out.splitlines()
    assert page[0].startswith("ok    version         img2ds ")
    assert page[-1] == "ready for 1 process"
