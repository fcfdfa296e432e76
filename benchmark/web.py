"""The web of a list, on loopback: nginx for its pages, dnsmasq for its names.

Servers of a world of their own (see `world`): every host is this machine, ports 80 and 443 and
those that the list names are open, and every https host has its certificate.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.answers import (
    Address,
    Ports,
    Rule,
    answer_split,
    dead_hosts,
    image_splits,
    read_url,
)
from benchmark.certificates import Authority
from benchmark.corpus import Corpus
from benchmark.world import NAME_SERVER, SERVER, add_addresses, check_names, need, stop

#: The hosts of this domain share one certificate: a list may have a million of them.
MANY = "many.example"
#: Seconds for a server to come up.
_START_TIMEOUT = 20.0

_NGINX = """\
daemon off;
{user}worker_processes {workers};
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/servers.log;
events {{ worker_connections 8192; multi_accept on; }}
http {{
    access_log {access_log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    large_client_header_buffers 4 64k;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 30s;
    open_file_cache max=8192;
    map_hash_max_size 16384;
    types {{ image/jpeg jpg; image/png png; image/webp webp; image/gif gif; text/html html; }}
{splits}
    map $hundreds$tens$ones $file {{
{files}
    }}
    map $hundreds$tens$ones $jpeg {{
{jpegs}
    }}
    # Clients name no server in the handshake when the host is an address.
    map $ssl_server_name $certificate {{
        "" $server_addr;
        ~\\.{many}$ *.{many};
        default $ssl_server_name;
    }}
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:16m;
    server {{
{listens}
        server_name _;
        ssl_certificate {certificates}/$certificate.crt;
        ssl_certificate_key {certificates}/key.pem;
        root {images};
        location / {{
            if ($answer = 404) {{ return 404; }}
            if ($answer = 403) {{ return 403; }}
            if ($answer = 500) {{ return 500; }}
            if ($answer = closed) {{ return 444; }}
            if ($answer = html) {{ rewrite ^ /html last; }}
            if ($answer = cut) {{ rewrite ^ /cut/$jpeg break; }}
            rewrite ^ /picture/$file break;
        }}
        location = /html {{
            types {{ }}
            default_type text/html;
            return 200 "<!doctype html><title>Gone</title><p>This image is no longer here.";
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Web:
    """Servers that run.

    `ca_bundle` is a PEM file with their authority, the last of `authorities`; `access_log` has a
    line for every request, where it was asked for.
    """

    rule: Rule
    ca_bundle: Path
    authorities: int
    access_log: Path

    def requests(self) -> int:
        """How many have been answered so far."""
        with self.access_log.open("rb") as file:
            return sum(1 for _ in file)


@contextmanager
def serve(
    urls: Iterable[str | None],
    corpus: Corpus,
    *,
    failing: dict[str, float] | None = None,
    dead_percent: float = 0.0,
    workers: int = 2,
    log_requests: bool = False,
    system_authorities: bool = True,
) -> Iterator[Web]:
    """Answer `urls`; nothing runs any more when the context ends."""
    nginx, dnsmasq = need("nginx", "nginx-light"), need("dnsmasq", "dnsmasq-base")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="img2ds-web-")))
        read = map(read_url, urls)
        addresses = [a for a in read if a is not None and not a.host.startswith("[")]
        names = sorted({a.host for a in addresses if not _is_literal(a.host)})
        literals = sorted({a.host for a in addresses if _is_literal(a.host)})
        ports = Ports.of(addresses)
        rule = Rule(failing or {}, dead_hosts(names, dead_percent), ports)

        authority = Authority()
        certificates = folder / "certificates"
        certificates.mkdir()
        authority.write_certificates(_https_hosts(addresses), certificates)
        bundle = folder / "authorities.pem"
        known = authority.write_bundle(bundle, with_system=system_authorities)

        add_addresses(literals)
        (folder / "dnsmasq.conf").write_text(_dnsmasq_conf(rule.dead, folder))
        log = folder / "servers.log"
        stack.enter_context(running([dnsmasq, f"--conf-file={folder}/dnsmasq.conf"], log, is_up))
        check_names()

        access_log = folder / "access.log"
        settings = _nginx_conf(
            corpus, rule, [SERVER, *literals], folder, workers, access_log if log_requests else None
        )
        (folder / "nginx.conf").write_text(settings)
        command = [nginx, "-p", str(folder), "-c", "nginx.conf", "-e", str(log)]
        stack.enter_context(running(command, log, lambda: all(map(_accepts, ports.schemes))))
        yield Web(rule, bundle, known, access_log)


def _https_hosts(addresses: Iterable[Address]) -> set[str]:
    """In both spellings: some clients send the host's capitals in the handshake."""
    found: set[str] = set()
    for address in addresses:
        if address.scheme == "https" and address.host.endswith(f".{MANY}"):
            found.add(f"*.{MANY}")
        elif address.scheme == "https":
            found.add(address.host)
            if address.spelling.isascii():
                found.add(address.spelling)
    return found


def _is_literal(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _dnsmasq_conf(dead: Iterable[str], folder: Path) -> str:
    return "\n".join(
        (
            f"listen-address={NAME_SERVER}", "bind-interfaces", "no-resolv", "no-hosts",
            # In this mode it stays whom it is, which is all it may be in a user namespace.
            "no-daemon", "local-ttl=300", "cache-size=0",
            f"pid-file={folder}/dnsmasq.pid",
            # Names have an IPv4 address, and no other: not an error, an empty answer.
            f"address=/#/{SERVER}", "local=/#/",
            # An address of a more exact name, left out, is the answer "no such name".
            *(f"address=/{host}/" for host in sorted(dead)),
            "",
        )
    )  # fmt: skip


def _nginx_conf(
    corpus: Corpus,
    rule: Rule,
    addresses: list[str],
    folder: Path,
    workers: int,
    access_log: Path | None,
) -> str:
    count = len(corpus.images)
    files, jpegs = [], []
    last = next(image.name for image in corpus.images if image.name.endswith(".jpg"))
    for number, image in enumerate(corpus.images):
        key = f"{number // 100}{number // 10 % 10}{number % 10}"
        files.append(f"        {key} {image.name};")
        # Only JPEGs are cut; one stands in for its neighbours of other formats.
        last = image.name if image.name.endswith(".jpg") else last
        jpegs.append(f"        {key} {last};")
    splits = [answer_split(rule.failing), *image_splits(count)]
    listens = []
    for port, scheme in sorted(rule.ports.schemes.items()):
        kind = " ssl" if scheme == "https" else ""
        listens += [f"        listen {at}:{port}{kind} backlog=4096;" for at in addresses]
    return _NGINX.format(
        user="user root;\n" if os.geteuid() == 0 else "",
        workers=workers,
        folder=folder,
        access_log=access_log or "off",
        splits="\n".join(split.nginx() for split in splits),
        files="\n".join(files),
        jpegs="\n".join(jpegs),
        listens="\n".join(listens),
        certificates=folder / "certificates",
        many=MANY,
        images=corpus.folder,
    )


@contextmanager
def running(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """A server that is ready, until the context ends; without one the benchmark ends."""
    with log.open("ab") as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
    try:
        end = time.monotonic() + _START_TIMEOUT
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                last = log.read_text(errors="replace").splitlines()[-1:]
                stop(f"{command[0]} does not come up: {' '.join(last)}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_up() -> bool:
    try:
        return bool(socket.getaddrinfo("www.example.com", 80))
    except socket.gaierror:
        return False


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((SERVER, port), timeout=1).close()
    except OSError:
        return False
    return True
