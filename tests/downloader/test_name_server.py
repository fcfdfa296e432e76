"""`--resolver`: which name server a run starts, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.downloader import name_server
from img2ds.downloader.name_server import check_resolver, running_resolver


def options(**flags: object) -> Options:
    return Options.from_flags({"url_list": "urls.txt", "output_format": "webdataset", **flags})


def test_the_stub_starts_nothing() -> None:
    given = options()
    check_resolver(given)
    with running_resolver(given) as wanted:
        assert wanted is given


@pytest.mark.parametrize("distributor", ["pyspark", "ray"])
def test_other_machines_need_a_resolver_of_their_own(distributor: str) -> None:
    with pytest.raises(UsageError, match=f"those of {distributor}.*--dns_servers"):
        check_resolver(options(resolver="unbound", distributor=distributor))


def test_workers_ask_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []

    class Fake:
        address = "127.0.0.1:5353"

        def __init__(self, servers: Sequence[str], cache: Path | None) -> None:
            events.append((tuple(servers), cache))

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *_: object) -> None:
            events.append("ended")

    monkeypatch.setattr(name_server, "Unbound", Fake)
    monkeypatch.setattr(name_server, "cache_file", lambda: Path("cache"))
    with running_resolver(options(resolver="unbound")) as wanted:
        assert wanted.network.dns_servers == ("127.0.0.1:5353",)
    assert events == [((), Path("cache")), "ended"]
    with running_resolver(options(resolver="unbound", dns_servers=["9.9.9.9"])):
        assert events[2] == (("9.9.9.9",), None)
