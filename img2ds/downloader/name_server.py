"""The name server that a run starts for itself, as `--resolver` says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.net.unbound import Unbound, cache_file, find_unbound


def check_resolver(options: Options) -> None:
    """Raise UsageError when `--resolver` asks for what cannot be started here."""
    if options.network.resolver == "stub":
        return
    distributor = options.run.distributor
    if distributor != "multiprocessing":
        raise UsageError(
            f"--resolver unbound starts unbound on this machine, not on those of {distributor}: "
            "run a resolver on each of them and give --dns_servers 127.0.0.1"
        )
    find_unbound()


@contextmanager
def running_resolver(options: Options) -> Iterator[Options]:
    """Start the name server that the options ask for; it ends with the context.

    Returns:
        The options for the workers: `dns_servers` is that name server.

    Raises:
        UsageError: it does not start.
    """
    if options.network.resolver == "stub":
        yield options
        return
    # Caches of forwarders and of domains' own servers are not mixed.
    cache = None if options.network.dns_servers else cache_file()
    with Unbound(options.network.dns_servers, cache) as unbound:
        yield replace(options, network=replace(options.network, dns_servers=(unbound.address,)))
