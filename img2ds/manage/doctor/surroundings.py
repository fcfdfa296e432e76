"""What is installed, and what is around: name servers, proxies, certificates, disk."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import ssl
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from img2ds import __version__
from img2ds.config.network import NetworkOptions
from img2ds.core.failure import UsageError
from img2ds.core.native import SWITCH, is_enabled
from img2ds.image.native import EXTENSIONS, loaded
from img2ds.manage.doctor.finding import Finding, Level
from img2ds.net.check import check_proxy
from img2ds.net.dns import BadMessage, RecordType, decode_answer, encode_query
from img2ds.net.dns_config import address_family, system_config
from img2ds.net.proxies import read_rules

#: Extras, the package that tells whether each is there, and what it is for.
EXTRAS = {
    "s3": ("s3fs", "input and output on S3"),
    "gcs": ("gcsfs", "input and output on Google Cloud Storage"),
    "azure": ("adlfs", "input and output on Azure Blob Storage"),
    "hf": ("huggingface_hub", "lists on the Hugging Face Hub"),
    "http": ("aiohttp", "lists on web servers"),
    "tfrecord": ("crc32c", "--output_format tfrecord"),
    "ray": ("ray", "--distributor ray"),
    "spark": ("pyspark", "--distributor pyspark"),
    "wandb": ("wandb", "--enable_wandb"),
    "laion": ("open_clip", "the stages of laion"),
}
#: The name that servers are asked for, and the seconds that they have.
NAME, TIMEOUT = "example.com", 3.0
#: Free bytes below which a disk is worth a note: a shard of 10,000 images takes 200 MB.
LITTLE = 10e9


def parts() -> Iterator[Finding]:
    """Check the version, the compiled parts and the extras."""
    made = f"img2ds {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("version", Level.OK, made)
    there = loaded()
    # The JPEG decoder exists for x86-64 alone.
    wanted = [n for n in EXTENSIONS if n != "jpeg" or platform.machine() in ("x86_64", "AMD64")]
    missing = [name for name in wanted if name not in there]
    if not is_enabled():
        yield Finding(
            "compiled parts", Level.NOTE, f"turned off by {SWITCH}={os.environ[SWITCH]}",
            f"unset {SWITCH}: images take more CPU without them",
        )  # fmt: skip
    elif missing:
        yield Finding(
            "compiled parts", Level.NOTE, f"{', '.join(missing)} not built",
            "install a wheel, or a C compiler and img2ds again: images take more CPU without them",
        )  # fmt: skip
    else:
        yield Finding("compiled parts", Level.OK, ", ".join(there))
    for extra, (package, purpose) in EXTRAS.items():
        if find_spec(package) is None:
            text = f"not installed; needed for {purpose}"
            yield Finding(f"extra {extra}", Level.OK, text, f"pip install 'img2ds[{extra}]'")
        else:
            yield Finding(f"extra {extra}", Level.OK, "installed")


def name_servers(
    options: NetworkOptions, proxied: bool = False, name: str = NAME
) -> Iterator[Finding]:
    """Ask each name server a question.

    Args:
        proxied: whether a proxy resolves names, so that none is needed.

    Raises UsageError.
    """
    config = system_config(options.dns_servers)
    answered = 0
    found = []
    for server in config.servers:
        problem = _ask(server, name)
        answered += problem is None
        found.append((f"{server[0]}:{server[1]}", problem))
    for text, problem in found:
        if problem is None:
            yield Finding("name server", Level.OK, f"{text} answers")
        else:
            level = Level.NOTE if answered or proxied else Level.BAD
            yield Finding(
                "name server", level, f"{text}: {problem}",
                "check /etc/resolv.conf and the firewall, or choose others with --dns_servers; a "
                "machine behind a proxy needs none",
            )  # fmt: skip


def _ask(server: tuple[str, int], name: str) -> str | None:
    """Ask one question. Return what is wrong; None if there is an answer."""
    query = encode_query(int.from_bytes(os.urandom(2), "big"), name, RecordType.A)
    family = address_family(server[0])
    assert family is not None
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.settimeout(TIMEOUT)
            sender.connect(server)
            sender.send(query)
            answer = decode_answer(sender.recv(4096), query)
    except TimeoutError:
        return f"no answer within {TIMEOUT:.0f} s"
    except BadMessage as error:
        return f"bad answer ({error})"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None if answer.code in (0, 3) else f"answers with error {answer.code}"


def proxies(options: NetworkOptions, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say which proxies are used, and whether the one of --proxy can be reached."""
    try:
        rules = read_rules(options.proxy, environ)
        check_proxy(options)
    except UsageError as error:
        yield Finding("proxy", Level.BAD, str(error), "mend it, or --proxy none for no proxy")
        return
    if rules is None:
        yield Finding("proxy", Level.OK, "none")
        return
    names = sorted({f"{p.host}:{p.port}" for p in rules.by_scheme.values()})
    yield Finding("proxy", Level.OK, ", ".join(names))


def certificates(options: NetworkOptions) -> Finding:
    """Check that there are authorities to trust."""
    if options.ignore_ssl_certificate:
        return Finding("certificates", Level.NOTE, "--ignore_ssl_certificate: none is verified")
    if options.ca_bundle:
        return Finding("certificates", Level.OK, options.ca_bundle)
    paths = ssl.get_default_verify_paths()
    for place in (paths.cafile, paths.capath):
        if place and os.path.exists(place):
            return Finding("certificates", Level.OK, f"{place} (the system's)")
    return Finding("certificates", Level.OK, "certifi's (the system has none)")


def disk(folder: str | None) -> Iterator[Finding]:
    """Check the disk of the output folder, or of the working directory."""
    if folder is not None and "://" in folder:
        yield Finding("disk", Level.OK, f"{folder} is a service; shards are staged in --tmp_dir")
        folder = None
    place = os.path.abspath(folder or ".")
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free
    inodes = os.statvfs(place)
    words = f"{free / 1e9:,.1f} GB free in {place}"
    if not os.access(place, os.W_OK):
        yield Finding("disk", Level.BAD, f"{place} cannot be written to", "another --output_folder")
    elif free < LITTLE:
        yield Finding("disk", Level.NOTE, words, "1 million images of 256 pixels take about 20 GB")
    elif inodes.f_files and inodes.f_favail < 1_000_000:
        yield Finding(
            "disk", Level.NOTE, f"{words}, {inodes.f_favail:,} inodes free",
            "--output_format webdataset makes few files; the default format makes one an image",
        )  # fmt: skip
    else:
        yield Finding("disk", Level.OK, words)
