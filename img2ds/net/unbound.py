"""A recursive, validating resolver of a run's own: unbound on loopback, for `--resolver unbound`.

It asks the domains' own name servers, so that no forwarder's limit counts, and checks DNSSEC.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from img2ds.core.failure import UsageError
from img2ds.net.dns import BadMessage, RecordType, decode_answer, encode_query
from img2ds.net.dns_config import has_ipv6_route, parse_server

#: Seconds until it has to answer, and until it has to end.
START_TIME, STOP_TIME = 10.0, 10.0
#: Seconds after which the cache of an earlier run is too old: loading it starts its TTLs anew.
CACHE_AGE = 3600.0
#: The root zone's keys of 2017 and 2024 (https://data.iana.org/root-anchors/root-anchors.xml).
_ROOT_KEYS = (
    ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    ". DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)
#: linux/prctl.h: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1

_CONFIG = """\
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    interface: 127.0.0.1
    port: {port}
    access-control: 127.0.0.0/8 allow
    do-ip6: {ip6}
    num-threads: {threads}
    outgoing-range: 950
    num-queries-per-thread: 1024
    msg-cache-size: 64m
    rrset-cache-size: 128m
    infra-cache-numhosts: 100000
    qname-minimisation: yes
    harden-referral-path: no
    cache-min-ttl: 60
    module-config: "{modules}"
remote-control:
    control-enable: yes
    control-interface: "{folder}/control"
    control-use-cert: no
"""


def find_unbound() -> str:
    """Return the path of the program.

    Raises:
        UsageError: it is not installed.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    for name in ("unbound", "unbound-control"):
        found = shutil.which(name, path=path)
        if found is None:
            raise UsageError(
                f"--resolver unbound needs the program {name}; install it (on Debian and Ubuntu: "
                "apt-get install unbound), or leave --resolver out"
            )
    unbound = shutil.which("unbound", path=path)
    assert unbound is not None
    return unbound


def cache_file() -> Path:
    """Return where the cache is kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "img2ds" / "unbound.cache"


class Unbound:
    """A running unbound; a context manager that ends it.

    Args:
        servers: forwards all questions to these, ADDRESS or ADDRESS:PORT, and leaves validation
            to them; without any, it asks the domains' own servers.
        cache: file of the cache; loaded in the beginning and written in the end.

    Attributes:
        address: ADDRESS:PORT, as `--dns_servers` takes it.

    Raises:
        UsageError: it is not installed, or does not start.
    """

    def __init__(self, servers: Sequence[str] = (), cache: Path | None = None) -> None:
        self._cache = cache
        program = find_unbound()
        self._folder = tempfile.TemporaryDirectory(prefix="img2ds-unbound-")
        try:
            self._port = _free_port()
            self.address = f"127.0.0.1:{self._port}"
            self._config = Path(self._folder.name, "unbound.conf")
            self._config.write_text(_configuration(self._folder.name, self._port, servers))
            self._log = Path(self._folder.name, "log")
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [program, "-d", "-p", "-c", str(self._config)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,  # Ctrl-C is for the workers: they still resolve names
                    preexec_fn=_end_with_parent,
                )  # fmt: skip
            try:
                self._wait()
            except BaseException:
                self._end()
                raise
            self._load_cache()
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Unbound:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keep_cache()
        self._end()
        self._folder.cleanup()

    def _wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + START_TIME
        while time.monotonic() < until:
            if self._process.poll() is not None:
                lines = self._log.read_text(errors="replace").split("\n")
                said = next((line for line in lines if "error" in line), lines[0])
                raise UsageError(f"--resolver unbound: it does not start: {said.strip()}")
            if self._answers():
                return
        raise UsageError(f"--resolver unbound: no answer within {START_TIME:.0f} s of its start")

    def _answers(self) -> bool:
        """Ask for a name that needs nobody else's answer."""
        query = encode_query(1, "localhost", RecordType.A)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.1)
            try:
                sock.connect(("127.0.0.1", self._port))
                sock.send(query)
                decode_answer(sock.recv(512), query)
            except ConnectionRefusedError:
                time.sleep(0.02)
                return False
            except (OSError, BadMessage):
                return False
        return True

    def _control(
        self,
        command: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
    ) -> bool:
        """Run unbound-control; return whether that worked."""
        program = find_unbound() + "-control"
        done = subprocess.run(
            [program, "-c", str(self._config), command],
            stderr=subprocess.DEVNULL, timeout=60, check=False, stdin=stdin, stdout=stdout,
        )  # fmt: skip
        return done.returncode == 0

    def _load_cache(self) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            if self._cache is None or time.time() - self._cache.stat().st_mtime > CACHE_AGE:
                return
            with self._cache.open("rb") as file:
                self._control("load_cache", stdin=file.fileno())

    def _keep_cache(self) -> None:
        """Write the cache, or nothing at all."""
        if self._cache is None or self._process.poll() is not None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            new = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
            try:
                with new.open("wb") as file:
                    written = self._control("dump_cache", stdout=file.fileno())
                if written:
                    new.replace(self._cache)
            finally:
                new.unlink(missing_ok=True)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _configuration(folder: str, port: int, servers: Sequence[str]) -> str:
    text = _CONFIG.format(
        folder=folder,
        port=port,
        ip6="yes" if has_ipv6_route() else "no",
        threads=min(os.cpu_count() or 1, 4),
        modules="iterator" if servers else "validator iterator",
    )
    if not servers:
        keys = "".join(f'    trust-anchor: "{key}"\n' for key in _ROOT_KEYS)
        return text + "server:\n" + keys
    forward = "".join(f"    forward-addr: {a}@{p}\n" for a, p in map(parse_server, servers))
    return f'{text}server:\n    do-not-query-localhost: no\nforward-zone:\n    name: "."\n{forward}'


def _free_port() -> int:
    """Return a port of loopback that neither UDP nor TCP uses."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise UsageError("--resolver unbound: no free port on loopback")


_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Let this process, which becomes unbound, end with its parent, however that ends."""
    with suppress(AttributeError):  # not Linux
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
